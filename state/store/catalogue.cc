#include "state/store/catalogue.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "state/model/fail_point.h"
#include "state/store/checksum.h"

namespace sluice::state {
namespace {

constexpr std::string_view kDamagedSuffix = ".damaged";
constexpr std::string_view kPartialSuffix = ".partial";
constexpr std::size_t kMostNameBytes = 128;
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

// What a snapshot that was not completed, or not wholly removed, can be made of.
bool is_part_of_a_snapshot(std::string_view name) {
    return name.ends_with(".sst") || name == "CURRENT" || name.starts_with("MANIFEST-") ||
           name.starts_with("OPTIONS-") || name.starts_with("INPUTS-") ||
           name.ends_with(kPartialSuffix);
}

// Of all files below `path` that have no other name: what removing it gives back.
model::Result<std::uint64_t> own_bytes(Disk& disk, const std::string& path) {
    TRY(info, disk.info(path));
    if (!info.directory) {
        return info.links == 1 ? info.size : std::uint64_t{0};
    }
    std::uint64_t bytes = 0;
    TRY(names, disk.list(path));
    for (const auto& name : names) {
        TRY(below, own_bytes(disk, path + "/" + name));
        bytes += below;
    }
    return bytes;
}

}  // namespace

model::Status check_savepoint_name(std::string_view name) {
    const auto letter_or_digit = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    const auto refuse = [&](const std::string& why) {
        return model::invalid("`" + std::string(name) + "` is no name of a savepoint: " + why);
    };
    if (name.empty() || name.size() > kMostNameBytes) {
        return refuse("it has 1 to " + std::to_string(kMostNameBytes) + " characters");
    }
    if (!letter_or_digit(name.front())) {
        return refuse("it begins with a letter or a digit");
    }
    for (const char c : name) {
        if (!letter_or_digit(c) && c != '.' && c != '_' && c != '-') {
            return refuse("letters, digits, `.`, `_` and `-` are allowed, no paths");
        }
    }
    for (const auto suffix : {kDamagedSuffix, kPartialSuffix}) {
        if (name.ends_with(suffix)) {
            return refuse("the ending " + std::string(suffix) + " is taken");
        }
    }
    return {};
}

Catalogue::Catalogue(Disk& disk, StatePaths paths) : disk_(disk), paths_(std::move(paths)) {}

model::Status Catalogue::sweep_folder(const std::string& folder, bool savepoints, Sweep& swept) {
    TRY(disk_.make_directory(folder));
    TRY(names, disk_.list(folder));
    const auto is_snapshot = [&](const std::string& name) {
        return savepoints ? check_savepoint_name(name).has_value() : id_from(name).has_value();
    };
    bool any = false;
    for (const auto& name : names) {
        const auto path = folder + "/" + name;
        if (is_snapshot(name)) {
            if (!savepoints) {
                greatest_ = std::max(greatest_, *id_from(name));
            }
            const auto info = disk_.info(path);
            if (info && info->directory && exists(disk_, path + "/" + kManifestName)) {
                continue;
            }
            TRY(ours, is_leftover(path));
            if (!ours) {
                // Somebody keeps things here, perhaps savepoints in folders of their own.
                swept.foreign.push_back(path);
                continue;
            }
        } else if (name.ends_with(kDamagedSuffix)) {
            const auto marked = path.substr(0, path.size() - kDamagedSuffix.size());
            if (exists(disk_, marked + "/" + kManifestName)) {
                continue;
            }
        } else if (!name.ends_with(kPartialSuffix)) {
            swept.foreign.push_back(path);
            continue;
        }
        TRY(bytes, own_bytes(disk_, path));
        TRY(remove_tree(disk_, path));
        swept.removed.push_back({path, bytes});
        any = true;
    }
    return any ? disk_.sync_directory(folder) : model::Status{};
}

// A directory of plain files, all with names of ours; or an empty one.
model::Result<bool> Catalogue::is_leftover(const std::string& path) {
    TRY(info, disk_.info(path));
    if (!info.directory) {
        return false;
    }
    TRY(names, disk_.list(path));
    for (const auto& name : names) {
        const auto file = disk_.info(path + "/" + name);
        if (!file || file->directory || !is_part_of_a_snapshot(name)) {
            return false;
        }
    }
    return true;
}

model::Result<Sweep> Catalogue::sweep() {
    Sweep swept;
    TRY(sweep_folder(paths_.checkpoints(), false, swept));
    TRY(sweep_folder(paths_.savepoints(), true, swept));
    // Copies of a completion that did not come to its end.
    TRY(entries, list_savepoints());
    for (const auto& entry : entries) {
        if (!entry.path.starts_with(paths_.savepoints() + "/")) {
            continue;
        }
        TRY(names, disk_.list(entry.path));
        for (const auto& name : names) {
            if (name.ends_with(kPartialSuffix)) {
                const auto path = entry.path + "/" + name;
                TRY(bytes, own_bytes(disk_, path));
                TRY(disk_.remove(path));
                swept.removed.push_back({path, bytes});
            }
        }
    }
    return swept;
}

CatalogueEntry Catalogue::entry_of(const std::string& path) {
    CatalogueEntry entry;
    entry.path = path;
    if (const auto text = read_file(disk_, path + "/" + kManifestName, kMostManifestBytes); !text) {
        entry.damage = text.error().text;
    } else if (auto meta = parse_manifest(*text); !meta) {
        entry.damage = meta.error().text;
    } else {
        entry.id = meta->id;
        entry.manifest_bytes = text->size();
        entry.meta = std::move(*meta);
    }
    if (const auto known = damaged_.find(path); known != damaged_.end()) {
        entry.damage = known->second;
    } else if (const auto mark = path + std::string(kDamagedSuffix);
               entry.damage.empty() && exists(disk_, mark)) {
        entry.damage = read_file(disk_, mark, 4096).value_or("marked as damaged");
    }
    return entry;
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
        const auto path = paths_.checkpoint(*id);
        if (!exists(disk_, path + "/" + kManifestName)) {
            continue;
        }
        CatalogueEntry entry = entry_of(path);
        if (entry.meta && entry.meta->id != *id) {
            entry.damage = "its manifest is that of " + std::to_string(entry.meta->id);
            entry.meta.reset();
        }
        entry.id = *id;
        entries.push_back(std::move(entry));
    }
    std::sort(entries.begin(), entries.end(),
              [](const CatalogueEntry& a, const CatalogueEntry& b) { return a.id > b.id; });
    return entries;
}

model::Result<std::vector<CatalogueEntry>> Catalogue::list_savepoints() {
    std::vector<CatalogueEntry> entries;
    for (const auto& folder : {paths_.savepoints(), paths_.savepoint_folder}) {
        if (folder.empty() || !exists(disk_, folder)) {
            continue;
        }
        auto names = disk_.list(folder);
        if (!names) {
            if (folder == paths_.savepoints()) {
                return std::unexpected(std::move(names.error()));
            }
            continue;  // the user's folder may be on a disk that is not there today
        }
        for (const auto& name : *names) {
            const auto path = folder + "/" + name;
            const auto info = disk_.info(path);
            if (!check_savepoint_name(name) || !info || !info->directory ||
                !exists(disk_, path + "/" + kManifestName)) {
                continue;
            }
            CatalogueEntry entry = entry_of(path);
            if (entry.meta && entry.meta->kind != SnapshotKind::savepoint) {
                continue;  // somebody's copy of a checkpoint
            }
            greatest_ = std::max(greatest_, entry.id);
            entries.push_back(std::move(entry));
        }
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const CatalogueEntry& a, const CatalogueEntry& b) {
                         return (a.meta ? a.meta->number : 0) > (b.meta ? b.meta->number : 0);
                     });
    return entries;
}

model::Result<CatalogueEntry> Catalogue::look_at(const std::string& path) {
    if (!exists(disk_, path + "/" + kManifestName)) {
        return model::invalid(path + ": there is no snapshot (no " + kManifestName + ")");
    }
    return entry_of(path);
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

model::Status Catalogue::set_damaged(const std::string& snapshot, const std::string& reason,
                                     bool mark) {
    damaged_[snapshot] = reason;
    if (!mark) {
        return {};
    }
    const auto path = snapshot + std::string(kDamagedSuffix);
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
    std::vector<std::string> gone;
    std::set<std::uint64_t> inodes;
    std::uint64_t bytes = 0;
    const auto keep = static_cast<std::size_t>(std::max(retention.keep, 2));
    bool full = false;
    for (auto& entry : entries) {
        if (!entry.damage.empty()) {
            if (kept.size() >= keep || full) {
                gone.push_back(entry.path);
            }
            continue;
        }
        if (retention.unverified && entry.id <= *retention.unverified) {
            kept.push_back(std::move(entry));
            continue;
        }
        if (kept.size() >= keep || full) {
            gone.push_back(entry.path);
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
                gone.push_back(entry.path);
                continue;
            }
        }
        kept.push_back(std::move(entry));
    }
    // Oldest first: whatever a crash or an error leaves is what retention would keep next.
    for (auto path = gone.rbegin(); path != gone.rend(); ++path) {
        TRY(remove(*path));
    }
    return kept;
}

model::Status Catalogue::remove(const std::string& path) {
    if (!exists(disk_, path)) {
        return {};
    }
    TRY(disk_.remove(path + "/" + kManifestName));
    TRY(disk_.sync_directory(path));
    SLUICE_FAIL_POINT("snapshot.manifest_removed");
    TRY(remove_tree(disk_, path));
    TRY(disk_.remove(path + std::string(kDamagedSuffix)));
    damaged_.erase(path);
    SLUICE_FAIL_POINT("snapshot.removed");
    return disk_.sync_directory(parent_directory(path));
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

model::Result<std::vector<std::string>> Catalogue::linking(std::uint64_t inode) {
    TRY(entries, list());
    TRY(savepoints, list_savepoints());
    std::move(savepoints.begin(), savepoints.end(), std::back_inserter(entries));
    std::vector<std::string> paths;
    for (const auto& entry : entries) {
        if (!entry.meta) {
            continue;
        }
        for (const auto& file : entry.meta->files) {
            const auto info = disk_.info(entry.path + "/" + file.name);
            if (info && info->inode == inode) {
                paths.push_back(entry.path);
                break;
            }
        }
    }
    return paths;
}

}  // namespace sluice::state
