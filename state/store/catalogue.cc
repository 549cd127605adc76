#include "state/store/catalogue.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "state/model/fail_point.h"
#include "state/store/checksum.h"

namespace sluice::state {
namespace {

constexpr std::uint64_t kMostManifestBytes = 256ull << 20;
constexpr std::string_view kDamagedSuffix = ".damaged";
// The last 8 bytes of a block-based table, little endian (RocksDB, table/format.h).
constexpr std::array<unsigned char, 8> kTableMagic = {0xf7, 0xcf, 0xf4, 0x85,
                                                      0xb7, 0x41, 0xe2, 0x88};

std::optional<CheckpointId> id_from(std::string_view name) {
    CheckpointId id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || std::to_string(id) != name) {
        return std::nullopt;
    }
    return id;
}

bool exists(Disk& disk, const std::string& path) { return disk.info(path).has_value(); }

}  // namespace

Catalogue::Catalogue(Disk& disk, StatePaths paths) : disk_(disk), paths_(std::move(paths)) {}

model::Result<std::vector<std::string>> Catalogue::sweep() {
    std::vector<std::string> swept;
    TRY(disk_.make_directory(paths_.checkpoints()));
    TRY(names, disk_.list(paths_.checkpoints()));
    for (const auto& name : names) {
        const auto path = paths_.checkpoints() + "/" + name;
        if (const auto id = id_from(name)) {
            greatest_ = std::max(greatest_, *id);
            if (exists(disk_, path + "/" + kManifestName)) {
                continue;
            }
        } else if (name.ends_with(kDamagedSuffix)) {
            const auto marked = id_from(name.substr(0, name.size() - kDamagedSuffix.size()));
            if (marked && exists(disk_, paths_.checkpoint(*marked) + "/" + kManifestName)) {
                continue;
            }
        } else if (!name.ends_with(".partial")) {
            continue;  // not ours
        }
        TRY(remove_tree(disk_, path));
        swept.push_back(path);
    }
    if (!swept.empty()) {
        TRY(disk_.sync_directory(paths_.checkpoints()));
    }
    return swept;
}

model::Result<std::vector<CatalogueEntry>> Catalogue::list() {
    std::vector<CatalogueEntry> entries;
    if (!exists(disk_, paths_.checkpoints())) {
        return entries;
    }
    TRY(names, disk_.list(paths_.checkpoints()));
    for (const auto& name : names) {
        const auto id = id_from(name);
        if (!id) {
            continue;
        }
        greatest_ = std::max(greatest_, *id);
        CatalogueEntry entry;
        entry.id = *id;
        entry.path = paths_.checkpoint(*id);
        const auto manifest = entry.path + "/" + kManifestName;
        if (!exists(disk_, manifest)) {
            continue;
        }
        if (const auto text = read_file(disk_, manifest, kMostManifestBytes); !text) {
            entry.damage = text.error().text;
        } else if (auto meta = parse_manifest(*text); !meta) {
            entry.damage = meta.error().text;
        } else if (meta->id != *id) {
            entry.damage = "its manifest is that of " + std::to_string(meta->id);
        } else {
            entry.manifest_bytes = text->size();
            entry.meta = std::move(*meta);
        }
        if (const auto known = damaged_.find(*id); known != damaged_.end()) {
            entry.damage = known->second;
        } else if (const auto mark = entry.path + std::string(kDamagedSuffix);
                   entry.damage.empty() && exists(disk_, mark)) {
            entry.damage = read_file(disk_, mark, 4096).value_or("marked as damaged");
        }
        entries.push_back(std::move(entry));
    }
    std::sort(entries.begin(), entries.end(),
              [](const CatalogueEntry& a, const CatalogueEntry& b) { return a.id > b.id; });
    return entries;
}

model::Result<CheckpointId> Catalogue::next_id() {
    TRY(disk_.make_directory(paths_.checkpoints()));
    TRY(names, disk_.list(paths_.checkpoints()));
    for (const auto& name : names) {
        if (const auto id = id_from(name)) {
            greatest_ = std::max(greatest_, *id);
        }
    }
    return ++greatest_;
}

model::Status Catalogue::validate(const CatalogueEntry& entry) {
    if (!entry.damage.empty()) {
        return model::corrupt(entry.damage);
    }
    for (const auto& file : entry.meta->files) {
        const auto path = entry.path + "/" + file.name;
        const auto info = disk_.info(path);
        if (!info) {
            return model::corrupt(file.name + " is missing");
        }
        if (info->size != file.size) {
            return model::corrupt(file.name + " has " + std::to_string(info->size) +
                                  " bytes instead of " + std::to_string(file.size));
        }
        if (!file.name.ends_with(".sst")) {
            // Small, and RocksDB believes them: all bytes, always.
            TRY(validate_bytes(entry, file));
            continue;
        }
        std::array<char, kTableMagic.size()> footer{};
        if (file.size < footer.size()) {
            return model::corrupt(file.name + " is too short for a table");
        }
        TRY(opened, disk_.open(path));
        TRY(got, opened->read(file.size - footer.size(), footer.size(), footer.data()));
        const bool magic =
            std::equal(footer.begin(), footer.end(), kTableMagic.begin(),
                       [](char a, unsigned char b) { return static_cast<unsigned char>(a) == b; });
        if (got != footer.size() || !magic) {
            return model::corrupt(file.name + " does not end like a table");
        }
    }
    return {};
}

model::Status Catalogue::validate_bytes(const CatalogueEntry& entry, const FileMeta& file) {
    TRY(checksum, file_checksum(disk_, entry.path + "/" + file.name, file.size));
    if (checksum != file.checksum) {
        return model::corrupt(file.name + " does not match its checksum");
    }
    return {};
}

model::Status Catalogue::set_damaged(CheckpointId id, const std::string& reason, bool mark) {
    damaged_[id] = reason;
    if (!mark) {
        return {};
    }
    const auto path = paths_.checkpoint(id) + std::string(kDamagedSuffix);
    return exists(disk_, path) ? model::Status{} : write_file_durably(disk_, path, reason);
}

model::Status Catalogue::distrust(const std::string& reason) {
    return distrusted() ? model::Status{}
                        : write_file_durably(disk_, paths_.distrusted(), reason + "\n");
}

bool Catalogue::distrusted() { return exists(disk_, paths_.distrusted()); }

model::Status Catalogue::trust_again() {
    TRY(disk_.remove(paths_.distrusted()));
    return disk_.sync_directory(paths_.root);
}

model::Result<std::vector<CatalogueEntry>> Catalogue::retain(const Retention& retention) {
    TRY(entries, list());
    std::vector<CatalogueEntry> kept;
    std::vector<CheckpointId> gone;
    std::set<std::uint64_t> inodes;
    std::uint64_t bytes = 0;
    const auto keep = static_cast<std::size_t>(std::max(retention.keep, 2));
    bool full = false;
    for (auto& entry : entries) {
        if (!entry.damage.empty()) {
            if (kept.size() >= keep || full) {
                gone.push_back(entry.id);
            }
            continue;
        }
        if (retention.unverified && entry.id <= *retention.unverified) {
            kept.push_back(std::move(entry));
            continue;
        }
        if (kept.size() >= keep || full) {
            gone.push_back(entry.id);
            continue;
        }
        if (retention.max_bytes) {
            for (const auto& file : entry.meta->files) {
                const auto info = disk_.info(entry.path + "/" + file.name);
                if (info && inodes.insert(info->inode).second) {
                    bytes += info->size;
                }
            }
            if (bytes > *retention.max_bytes && kept.size() >= 2) {
                full = true;
                gone.push_back(entry.id);
                continue;
            }
        }
        kept.push_back(std::move(entry));
    }
    // Oldest first: whatever a crash or an error leaves is what retention would keep next.
    for (auto id = gone.rbegin(); id != gone.rend(); ++id) {
        TRY(remove(*id));
    }
    return kept;
}

model::Status Catalogue::remove(CheckpointId id) {
    const auto path = paths_.checkpoint(id);
    if (!exists(disk_, path)) {
        return {};
    }
    TRY(disk_.remove(path + "/" + kManifestName));
    TRY(disk_.sync_directory(path));
    SLUICE_FAIL_POINT("snapshot.manifest_removed");
    TRY(remove_tree(disk_, path));
    TRY(disk_.remove(path + std::string(kDamagedSuffix)));
    damaged_.erase(id);
    SLUICE_FAIL_POINT("snapshot.removed");
    return disk_.sync_directory(paths_.checkpoints());
}

model::Result<std::vector<CheckpointSummary>> Catalogue::describe() {
    TRY(entries, list());
    return describe(entries);
}

std::vector<CheckpointSummary> Catalogue::describe(const std::vector<CatalogueEntry>& entries) {
    std::vector<CheckpointSummary> infos;
    std::set<std::uint64_t> inodes;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {  // oldest first
        if (!entry->meta || !entry->damage.empty()) {
            continue;
        }
        CheckpointSummary info;
        info.id = entry->id;
        info.kind = entry->meta->kind;
        info.taken = entry->meta->taken;
        info.path = entry->path;
        info.bytes = info.new_bytes = entry->manifest_bytes;
        for (const auto& file : entry->meta->files) {
            info.bytes += file.size;
            const auto there = disk_.info(entry->path + "/" + file.name);
            if (there && inodes.insert(there->inode).second) {
                info.new_bytes += file.size;
            }
        }
        infos.push_back(std::move(info));
    }
    std::reverse(infos.begin(), infos.end());
    return infos;
}

model::Result<std::vector<CheckpointId>> Catalogue::linking(std::uint64_t inode) {
    TRY(entries, list());
    std::vector<CheckpointId> ids;
    for (const auto& entry : entries) {
        if (!entry.meta) {
            continue;
        }
        for (const auto& file : entry.meta->files) {
            const auto info = disk_.info(entry.path + "/" + file.name);
            if (info && info->inode == inode) {
                ids.push_back(entry.id);
                break;
            }
        }
    }
    return ids;
}

}  // namespace sluice::state
