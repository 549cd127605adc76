#include "state/store/restore.h"

#include <algorithm>
#include <utility>

#include "state/model/fail_point.h"
#include "state/model/invariant.h"

namespace sluice::state {
namespace {

constexpr std::size_t kFilesPerStep = 256;
constexpr std::uint64_t kMostCopiedBytes = 1ull << 30;

bool rejects(const model::Error& error) {
    return error.kind == model::ErrorKind::corrupt || error.kind == model::ErrorKind::invalid;
}

}  // namespace

Restore::Restore(RestoreOptions options, Catalogue& catalogue, Inputs& inputs)
    : options_(std::move(options)),
      disk_(*options_.store.disk),
      catalogue_(catalogue),
      inputs_(inputs) {
    INVARIANT(!options_.boot.empty(), "the live directory is named after the start");
}

Restore::~Restore() = default;

model::Result<Restore::Phase> Restore::step() {
    model::Status status;
    switch (phase_) {
        case Phase::locate:
            status = locate();
            break;
        case Phase::verify:
            status = verify();
            break;
        case Phase::restore:
            status = restore();
            break;
        case Phase::warm:
            status = warm();
            break;
        case Phase::done:
        case Phase::failed:
            break;
    }
    if (!status) {
        if (!asking_) {
            phase_ = Phase::failed;
        }
        return std::unexpected(std::move(status.error()));
    }
    return phase_;
}

model::Status Restore::locate() {
    TRY(swept, catalogue_.sweep());
    swept_ = std::move(swept);
    every_byte_ = options_.verify_full || catalogue_.distrusted();
    if (options_.fresh) {
        phase_ = Phase::restore;
        return {};
    }
    TRY(entries, catalogue_.list());
    // Damaged manifests have no number: they keep their place by id, at the newest end.
    std::stable_sort(
        entries.begin(), entries.end(), [](const CatalogueEntry& a, const CatalogueEntry& b) {
            return a.meta && b.meta ? a.meta->number > b.meta->number : !a.meta && b.meta;
        });
    std::reverse(entries.begin(), entries.end());
    candidates_ = std::move(entries);
    phase_ = Phase::verify;
    return {};
}

void Restore::next_candidate() {
    store_.reset();
    meta_.reset();
    from_.clear();
    bytes_ = total_bytes_ = 0;
    next_file_ = 0;
    check_ = Check::cheap;
    phase_ = Phase::verify;
}

void Restore::reject(const std::string& reason) {
    const auto& entry = candidates_.back();
    rejected_.push_back({entry.path, reason});
    candidates_.pop_back();
    next_candidate();
}

model::Status Restore::nothing_left() {
    const bool initialized = disk_.info(catalogue_.paths().initialized()).has_value();
    if (rejected_.empty() && !initialized && !options_.journal_has_entries) {
        phase_ = Phase::restore;  // there never was a state
        return {};
    }
    std::string text = catalogue_.paths().root + ": there was state here, but no usable snapshot";
    for (const auto& rejection : rejected_) {
        text += "; " + rejection.path + ": " + rejection.reason;
    }
    if (rejected_.empty()) {
        text += initialized ? " is left" : ": the journal has entries, and no snapshot is left";
    }
    return model::corrupt(std::move(text));
}

model::Status Restore::verify() {
    if (candidates_.empty()) {
        return nothing_left();
    }
    const auto& entry = candidates_.back();
    if (check_ == Check::cheap) {
        from_ = entry.path;
        if (auto valid = catalogue_.validate(entry); !valid) {
            // Damage that a look at the files shows: retention does not count such a snapshot.
            if (rejects(valid.error())) {
                TRY(catalogue_.set_damaged(entry.id, valid.error().text, false));
            }
            reject(valid.error().text);
            return {};
        }
        if (entry.meta->pipeline != options_.pipeline) {
            reject("it belongs to the pipeline " + entry.meta->pipeline);
            return {};
        }
        for (const auto& file : entry.meta->files) {
            total_bytes_ += file.size;
        }
        check_ = Check::outside;
        return {};
    }
    if (check_ == Check::outside) {
        auto answer = ask(*entry.meta);
        asking_ = !answer && answer.error().kind == model::ErrorKind::unavailable;
        if (!answer) {
            if (!rejects(answer.error())) {
                return answer;
            }
            reject(answer.error().text);
            return {};
        }
        check_ = Check::bytes;
        return {};
    }
    if (every_byte_ && next_file_ < entry.meta->files.size()) {
        const auto& file = entry.meta->files[next_file_++];
        if (auto valid = catalogue_.validate_bytes(entry, file); !valid) {
            TRY(catalogue_.set_damaged(entry.id, valid.error().text, true));
            reject(valid.error().text);
        }
        return {};
    }
    next_file_ = 0;
    phase_ = Phase::restore;
    return {};
}

// What the files alone do not say.
model::Status Restore::ask(const CheckpointMeta& meta) {
    if (options_.journal_covers) {
        TRY(options_.journal_covers(meta));
    }
    return options_.source_has ? options_.source_has(meta) : model::Status{};
}

// Whatever is live is a cache of an earlier start.
model::Status Restore::begin_directory() {
    const auto live = catalogue_.paths().live();
    if (disk_.info(live)) {
        TRY(remove_tree(disk_, live));
    }
    directory_ = live + "/" + options_.boot + "-" + std::to_string(++attempt_);
    for (const auto& path : {live, directory_, directory_ + "/db"}) {
        TRY(disk_.make_directory(path));
    }
    return {};
}

model::Status Restore::restore() {
    if (next_file_ == 0) {
        TRY(begin_directory());
        if (!candidates_.empty()) {
            // It may be visible and not durable: the process that committed it may have died
            // between the rename and its sync.
            TRY(disk_.sync_directory(from_));
            TRY(disk_.sync_directory(catalogue_.paths().checkpoints()));
        }
    }
    if (!candidates_.empty()) {
        const auto& files = candidates_.back().meta->files;
        const auto end = std::min(files.size(), next_file_ + kFilesPerStep);
        for (; next_file_ < end; ++next_file_) {
            const auto& file = files[next_file_];
            const auto from = from_ + "/" + file.name;
            const auto to = directory_ + "/db/" + file.name;
            if (file.name.ends_with(".sst")) {
                TRY(disk_.link(from, to));
            } else if (!file.name.starts_with("INPUTS-")) {
                // RocksDB goes on writing its manifest: a copy.
                TRY(bytes, read_file(disk_, from, kMostCopiedBytes));
                TRY(copy, disk_.create(to));
                TRY(copy->append(bytes));
                TRY(copy->flush());
            }
            bytes_ += file.size;
        }
        if (next_file_ < files.size()) {
            return {};
        }
    }
    SLUICE_FAIL_POINT("restore.linked");
    auto options = options_.store;
    options.directory = directory_;
    auto store = Store::open(options);
    if (!store) {
        if (candidates_.empty() || store.error().kind == model::ErrorKind::exhausted) {
            return std::unexpected(std::move(store.error()));
        }
        TRY(catalogue_.set_damaged(candidates_.back().id, store.error().text, false));
        reject(store.error().text);
        return {};
    }
    store_ = std::move(*store);
    SLUICE_FAIL_POINT("restore.opened");
    phase_ = Phase::warm;
    return {};
}

model::Status Restore::warm() {
    if (!candidates_.empty()) {
        const auto& meta = *candidates_.back().meta;
        auto row = store_->meta_row();
        if (row) {
            // What is only known when the manifest is written.
            row->id = meta.id;
            row->files = meta.files;
        }
        if (!row || *row != meta) {
            const auto reason =
                row ? std::string("its manifest and its rows are of different barriers")
                    : row.error().text;
            TRY(catalogue_.set_damaged(meta.id, reason, false));
            reject(reason);
            return {};
        }
        store_->set_reductions(meta.reductions);
        store_->set_retired(meta.retired);
        for (const auto& reduction : meta.reductions) {
            if (reduction.dropped) {
                store_->restore_dropped(reduction.number, *reduction.dropped);
            }
        }
        meta_ = meta;
    }
    if (catalogue_.distrusted()) {
        TRY(catalogue_.trust_again());
    }
    phase_ = Phase::done;
    return {};
}

Restore::Restored Restore::finish() {
    INVARIANT(phase_ == Phase::done && store_ != nullptr, "only a finished restore opens the gate");
    return {std::move(store_), std::move(meta_), model::RestoreToken()};
}

}  // namespace sluice::state
