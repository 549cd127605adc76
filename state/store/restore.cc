#include "state/store/restore.h"

#include <algorithm>
#include <utility>

#include "state/model/fail_point.h"
#include "state/model/invariant.h"

namespace sluice::state {
namespace {

constexpr std::size_t kFilesPerStep = 256;

bool rejects(const model::Error& error) {
    return error.kind == model::ErrorKind::corrupt || error.kind == model::ErrorKind::invalid;
}

}  // namespace

Restore::Restore(RestoreOptions options, Catalogue& catalogue, Inputs& inputs)
    : options_(std::move(options)),
      disk_(*options_.store.disk),
      catalogue_(catalogue),
      inputs_(inputs),
      copies_(disk_) {
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
    every_byte_ = options_.verify_full || catalogue_.distrusted() || !options_.from.empty();
    if (!options_.from.empty()) {
        auto entry = catalogue_.look_at(options_.from);
        if (!entry) {
            return model::corrupt(entry.error().text);
        }
        candidates_.push_back(std::move(*entry));
        phase_ = Phase::verify;
        return {};
    }
    if (options_.fresh) {
        phase_ = Phase::restore;
        return {};
    }
    TRY(entries, catalogue_.list());
    TRY(savepoints, catalogue_.list_savepoints());
    std::move(savepoints.begin(), savepoints.end(), std::back_inserter(entries));
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
    next_file_ = copied_ = 0;
    copies_.clear();
    to_copy_.clear();
    begun_ = false;
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
    if (!options_.from.empty()) {
        return model::corrupt(options_.from + ": " + rejected_.front().reason);
    }
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
                TRY(catalogue_.set_damaged(entry.path, valid.error().text, false));
            }
            reject(valid.error().text);
            return {};
        }
        if (entry.meta->pipeline != options_.pipeline && options_.from.empty()) {
            reject("it belongs to the pipeline " + entry.meta->pipeline);
            return {};
        }
        if (entry.meta->provenance != Provenance::taken && options_.from.empty()) {
            reject(std::string("it was ") +
                   (entry.meta->provenance == Provenance::edited ? "edited" : "imported") +
                   ": only --from takes it");
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
        if (on_another_disk(file)) {
            return {};  // compared while it is copied
        }
        if (auto valid = catalogue_.validate_bytes(entry, file); !valid) {
            // What is outside is somebody else's: nothing is written there.
            TRY(catalogue_.set_damaged(entry.path, valid.error().text, options_.from.empty()));
            reject(valid.error().text);
            return {};
        }
        bytes_ += file.size;
        return {};
    }
    next_file_ = 0;
    phase_ = Phase::restore;
    return {};
}

bool Restore::on_another_disk(const FileMeta& file) {
    const auto there = disk_.info(from_ + "/" + file.name);
    const auto here = disk_.info(catalogue_.paths().root);
    return there && here && there->device != here->device;
}

// What the files alone do not say.
model::Status Restore::ask(const CheckpointMeta& meta) {
    if (options_.journal_covers && options_.from.empty()) {
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

// A link where there can be one; what cannot be linked is copied later.
model::Status Restore::place(const FileMeta& file) {
    const auto from = from_ + "/" + file.name;
    const auto to = directory_ + "/db/" + file.name;
    if (!file.name.ends_with(".sst")) {
        if (!file.name.starts_with("INPUTS-")) {
            // RocksDB goes on writing its manifest: a copy.
            TRY(bytes, read_file(disk_, from, kMostCopiedBytes));
            TRY(copy, disk_.create(to));
            TRY(copy->append(bytes));
            TRY(copy->flush());
        }
        bytes_ += file.size;
        return {};
    }
    if (!disk_.link(from, to)) {
        TRY(disk_.remove(to));
        to_copy_.push_back(file);
        return {};
    }
    if (!from_.starts_with(catalogue_.paths().checkpoints() + "/")) {
        // Perhaps somebody copied it there and nothing made it durable; the checkpoints to come
        // link it and rely on that.
        linked_.push_back(to);
    }
    bytes_ += file.size;
    return {};
}

model::Status Restore::copy_some() {
    if (!copies_.full() && copied_ + copies_.size() < to_copy_.size()) {
        const auto& file = to_copy_[copied_ + copies_.size()];
        return copies_.begin(from_ + "/" + file.name, directory_ + "/db/" + file.name, file);
    }
    TRY(complete, copies_.step());
    if (complete) {
        bytes_ += to_copy_[copied_++].size;
    }
    return {};
}

// Some of the work with each call; all is done when the phase is still `restore` and nothing is
// left.
model::Status Restore::place_files() {
    const auto& files = candidates_.back().meta->files;
    if (next_file_ < files.size()) {
        const auto end = std::min(files.size(), next_file_ + kFilesPerStep);
        for (; next_file_ < end; ++next_file_) {
            TRY(place(files[next_file_]));
        }
        TRY(disk_.sync_files(linked_));
        linked_.clear();
        return {};
    }
    return copy_some();
}

model::Status Restore::restore() {
    if (!begun_) {
        begun_ = true;
        bytes_ = 0;
        TRY(begin_directory());
        if (!candidates_.empty() && options_.from.empty()) {
            // It may be visible and not durable: the process that committed it may have died
            // between the rename and its sync.
            TRY(disk_.sync_directory(from_));
            TRY(disk_.sync_directory(parent_directory(from_)));
        }
    }
    if (!candidates_.empty() &&
        (next_file_ < candidates_.back().meta->files.size() || copied_ < to_copy_.size())) {
        auto placed = place_files();
        if (!placed && rejects(placed.error())) {
            TRY(catalogue_.set_damaged(candidates_.back().path, placed.error().text,
                                       options_.from.empty()));
            reject(placed.error().text);
            return {};
        }
        return placed;
    }
    SLUICE_FAIL_POINT("restore.linked");
    auto options = options_.store;
    options.directory = directory_;
    auto store = Store::open(options);
    if (!store) {
        if (candidates_.empty() || store.error().kind == model::ErrorKind::exhausted) {
            return std::unexpected(std::move(store.error()));
        }
        TRY(catalogue_.set_damaged(candidates_.back().path, store.error().text, false));
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
            row->kind = meta.kind;  // a savepoint can be made of a checkpoint
            row->files = meta.files;
        }
        if (!row || *row != meta) {
            const auto reason =
                row ? std::string("its manifest and its rows are of different barriers")
                    : row.error().text;
            TRY(catalogue_.set_damaged(candidates_.back().path, reason, false));
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
