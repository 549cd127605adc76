#include "state/store/snapshotter.h"

#include <algorithm>
#include <utility>

#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/store/checksum.h"

namespace sluice::state {
namespace {

// MANIFEST-, CURRENT and OPTIONS-files: the options of the store keep them small.

model::Status write_synced(Disk& disk, const std::string& path, std::string_view bytes) {
    TRY(file, disk.create(path));
    TRY(file->append(bytes));
    return file->sync();
}

}  // namespace

Snapshotter::Snapshotter(SnapshotterOptions options, Disk& disk, const model::Clock& clock,
                         Store& store, Catalogue& catalogue, Inputs& inputs)
    : options_(std::move(options)),
      disk_(disk),
      clock_(clock),
      store_(store),
      catalogue_(catalogue),
      inputs_(inputs) {}

Snapshotter::~Snapshotter() = default;

void Snapshotter::submit(SnapshotJob job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    ++pending_;
}

std::size_t Snapshotter::pending() const {
    const std::lock_guard lock(mutex_);
    return pending_;
}

std::optional<SnapshotResult> Snapshotter::take_result() {
    const std::lock_guard lock(mutex_);
    if (results_.empty()) {
        return std::nullopt;
    }
    auto result = std::move(results_.front());
    results_.pop_front();
    return result;
}

void Snapshotter::verify(std::string path, const CheckpointMeta& meta) {
    verifier_ =
        std::make_unique<Verifier>(disk_, catalogue_, clock_, options_.verify_bytes_per_second);
    verifier_->begin(std::move(path), meta);
    verifies_ = meta.id;
    verify_total_bytes_.store(verifier_->total_bytes(), std::memory_order_relaxed);
}

Snapshotter::Verified Snapshotter::verified() const {
    return {verified_bytes_.load(std::memory_order_relaxed),
            verify_total_bytes_.load(std::memory_order_relaxed)};
}

bool Snapshotter::verify_some() {
    if (verifier_ == nullptr) {
        return false;
    }
    auto read = verifier_->step();
    verified_bytes_.store(verifier_->bytes(), std::memory_order_relaxed);
    if (read) {
        if (verifier_->done()) {
            verifier_.reset();
        }
        return *read;
    }
    verifier_.reset();
    if (read.error().kind != model::ErrorKind::corrupt) {
        // A file that cannot be read now: whether it is damaged the next start finds out.
        static_cast<void>(catalogue_.distrust(read.error().text));
    }
    damaged_ = true;
    SnapshotResult result;
    result.outcome = SnapshotResult::Outcome::unusable;
    result.error = std::move(read.error());
    const std::lock_guard lock(mutex_);
    results_.push_back(std::move(result));
    return true;
}

bool Snapshotter::step() {
    if (damaged_) {
        return false;
    }
    if (phase_ == Phase::idle) {
        std::unique_lock lock(mutex_);
        if (jobs_.empty()) {
            lock.unlock();
            return verify_some();
        }
        job_ = std::move(jobs_.front());
        jobs_.pop_front();
        phase_ = Phase::write;
    }
    step_cpu_ns_ = clock_.thread_cpu_ns();
    model::Status status;
    switch (phase_) {
        case Phase::idle:
            break;
        case Phase::write:
            status = write();
            break;
        case Phase::ingest:
            status = ingest();
            break;
        case Phase::link:
            status = link();
            break;
        case Phase::sync:
            status = sync();
            break;
        case Phase::commit:
            status = commit();
            break;
        case Phase::retain:
            retain();
            break;
    }
    if (!status) {
        fail(std::move(status.error()));
    }
    cpu_ns_ = phase_ == Phase::idle ? 0 : cpu_ns_ + clock_.thread_cpu_ns() - step_cpu_ns_;
    return true;
}

void Snapshotter::finish() {
    result_.kind = job_.kind;
    result_.number = job_.number;
    result_.checkpoint.cpu_ns =
        static_cast<std::uint64_t>(cpu_ns_ + clock_.thread_cpu_ns() - step_cpu_ns_);
    job_ = {};
    run_.reset();
    path_.clear();
    phase_ = Phase::idle;
    const std::lock_guard lock(mutex_);
    results_.push_back(std::exchange(result_, {}));
    --pending_;
}

void Snapshotter::fail(model::Error error) {
    const bool live = store_.usable() && error.kind != model::ErrorKind::corrupt;
    if (error.kind == model::ErrorKind::corrupt) {
        // Without the mark the next start may take the same damage again, and again.
        static_cast<void>(catalogue_.distrust(error.text));
    }
    result_.outcome = live ? SnapshotResult::Outcome::skipped : SnapshotResult::Outcome::unusable;
    result_.error = std::move(error);
    if (!path_.empty()) {
        // What cannot be removed has no manifest, or is complete: the next start sees which.
        static_cast<void>(catalogue_.remove(path_));
    }
    finish();
}

model::Status Snapshotter::write() {
    begun_ms_ = clock_.steady_ms();
    result_ = {};
    if (!store_.usable()) {
        return model::unavailable("the live database is unusable");
    }
    TRY(space, disk_.space(catalogue_.paths().root));
    const bool is_short = space.free_bytes < options_.reserve_bytes;
    short_of_space_.store(is_short, std::memory_order_relaxed);
    if (is_short && !job_.last) {
        return model::exhausted("only " + std::to_string(space.free_bytes) +
                                " bytes of disk are free, the reserve is " +
                                std::to_string(options_.reserve_bytes));
    }
    store_.set_reductions(job_.meta.reductions);
    job_.meta.number = job_.number;
    job_.meta.kind = job_.kind == SnapshotJob::Kind::savepoint ? SnapshotKind::savepoint
                                                               : SnapshotKind::checkpoint;
    if (job_.kind != SnapshotJob::Kind::spill) {
        job_.meta.inputs = inputs_hash(job_.inputs_text);
        job_.meta.taken = rfc3339(job_.meta.clock);
    }
    TRY(run, store_.write_run(job_.number, job_.meta, job_.discards));
    result_.rows = run.rows;
    run_ = std::move(run);
    phase_ = Phase::ingest;
    return {};
}

model::Status Snapshotter::ingest() {
    TRY(store_.apply(std::move(*run_)));
    run_.reset();
    if (job_.kind == SnapshotJob::Kind::spill) {
        finish();
    } else {
        phase_ = Phase::link;
    }
    return {};
}

model::Status Snapshotter::link() {
    TRY(inputs, inputs_.keep(job_.inputs_text));
    TRY(id, catalogue_.next_id());
    auto& meta = result_.meta;
    meta = job_.meta;
    meta.files.clear();  // whoever made the job may have begun from an older snapshot
    meta.id = id;
    auto path = catalogue_.paths().checkpoint(id);
    if (job_.kind == SnapshotJob::Kind::savepoint) {
        TRY(check_savepoint_name(job_.name));
        TRY(disk_.make_directory(catalogue_.paths().savepoints()));
        path = catalogue_.paths().savepoint(job_.name);
        const auto& folder = catalogue_.paths().savepoint_folder;
        if (disk_.info(path) || (!folder.empty() && disk_.info(folder + "/" + job_.name))) {
            return model::invalid(path + ": is there already; a savepoint is never overwritten");
        }
    }
    TRY(disk_.make_directory(path));
    path_ = std::move(path);  // ours: removed when the job fails
    SLUICE_FAIL_POINT("snapshot.directory_made");

    TRY(store_.hold_files());
    const auto link_all = [&]() -> model::Status {
        TRY(files, store_.live_files());
        for (auto& file : files) {
            const auto to = path_ + "/" + file.name;
            if (file.link) {
                TRY(disk_.link(file.path, to));
                TRY(info, disk_.info(to));
                INVARIANT(info.size == file.size, "RocksDB knows the size of its files");
                // Its name in the live directory and this one: no older snapshot has it.
                if (info.links <= 2) {
                    result_.checkpoint.new_bytes += file.size;
                }
            } else {
                if (file.contents.empty()) {
                    TRY(bytes, read_file(disk_, file.path, kMostCopiedBytes));
                    if (bytes.size() < file.size) {
                        return model::corrupt(file.path + " is shorter than RocksDB says");
                    }
                    bytes.resize(static_cast<std::size_t>(file.size));
                    file.contents = std::move(bytes);
                }
                TRY(write_synced(disk_, to, file.contents));
                file.size = file.contents.size();
                file.checksum = checksum_hex(file.contents);
                result_.checkpoint.new_bytes += file.size;
            }
            meta.files.push_back({file.name, file.size, file.checksum});
        }
        return {};
    };
    auto linked = link_all();
    store_.release_files();
    TRY(std::move(linked));

    const auto inputs_name = "INPUTS-" + inputs;
    TRY(disk_.link(inputs_.path(inputs), path_ + "/" + inputs_name));
    meta.files.push_back({inputs_name, job_.inputs_text.size(), inputs});
    std::sort(meta.files.begin(), meta.files.end(),
              [](const FileMeta& a, const FileMeta& b) { return a.name < b.name; });
    SLUICE_FAIL_POINT("snapshot.linked");
    phase_ = Phase::sync;
    return {};
}

model::Status Snapshotter::sync() {
    // The files themselves are durable: the tables were synced when they were written, the copies
    // just now. Their names, and the name of their directory, are not yet.
    TRY(disk_.sync_directory(path_));
    TRY(disk_.sync_directory(parent_directory(path_)));
    if (job_.before_commit) {
        TRY(job_.before_commit(result_.meta));
    }
    SLUICE_FAIL_POINT("snapshot.synced");
    phase_ = Phase::commit;
    return {};
}

model::Status Snapshotter::commit() {
    const auto text = manifest_text(result_.meta);
    const auto manifest = path_ + "/" + kManifestName;
    const auto temporary = manifest + ".partial";
    TRY(write_synced(disk_, temporary, text));
    SLUICE_FAIL_POINT("snapshot.manifest_written");
    TRY(disk_.rename(temporary, manifest));
    SLUICE_FAIL_POINT("snapshot.manifest_renamed");
    TRY(disk_.sync_directory(path_));
    SLUICE_FAIL_POINT("snapshot.committed");

    auto& done = result_.checkpoint;
    done.id = result_.meta.id;
    done.kind = result_.meta.kind;
    done.taken = result_.meta.taken;
    done.path = path_;
    done.bytes = text.size();
    done.new_bytes += text.size();
    for (const auto& file : result_.meta.files) {
        done.bytes += file.size;
    }
    done.duration_ms = static_cast<std::uint64_t>(clock_.steady_ms() - begun_ms_);
    phase_ = Phase::retain;
    return {};
}

void Snapshotter::retain() {
    const auto tidy = [&]() -> model::Status {
        const auto& paths = catalogue_.paths();
        if (!disk_.info(paths.initialized())) {
            // The folders are as new as the snapshot: without their names a state that claims to
            // have had one would have lost it.
            TRY(disk_.sync_directory(paths.root));
            TRY(write_file_durably(disk_, paths.initialized(), "sluice\n"));
        }
        for (const auto& reduction : result_.meta.reductions) {
            if (reduction.dropped) {
                TRY(store_.set_dropped(reduction.number, *reduction.dropped));
            }
        }
        TRY(store_.drop_retired(result_.meta.retired));
        SLUICE_FAIL_POINT("snapshot.dropped");
        for (const auto& stretch : job_.measure) {
            result_.measured.push_back(
                store_.bytes_between(stretch.reduction, stretch.after, stretch.up_to));
        }
        if (job_.kind == SnapshotJob::Kind::savepoint) {
            // The user may take it away at any time: nothing may rest on it.
            return {};
        }
        auto retention = options_.retention;
        if (verifier_ != nullptr) {
            retention.unverified = verifies_;
        }
        TRY(kept, catalogue_.retain(retention));
        result_.journal_needed_after = result_.meta.journal_number;
        std::set<std::string> inputs = options_.journaled_inputs;
        inputs.insert(result_.meta.inputs);
        for (const auto& entry : kept) {
            inputs.insert(entry.meta->inputs);
            if (entry.meta->lineage == result_.meta.lineage) {
                result_.journal_needed_after =
                    std::min(result_.journal_needed_after, entry.meta->journal_number);
            }
        }
        // Damaged ones that are still there keep their inputs: somebody may want to look at them.
        TRY(all, catalogue_.list());
        for (const auto& entry : all) {
            if (entry.meta) {
                inputs.insert(entry.meta->inputs);
            }
        }
        result_.kept = catalogue_.describe(all);
        TRY(inputs_.sweep(inputs));
        SLUICE_FAIL_POINT("snapshot.retained");
        return {};
    };
    if (auto status = tidy(); !status) {
        if (!store_.usable()) {
            if (status.error().kind == model::ErrorKind::corrupt) {
                static_cast<void>(catalogue_.distrust(status.error().text));
            }
            result_.outcome = SnapshotResult::Outcome::unusable;
            result_.error = std::move(status.error());
        } else {
            result_.note = std::move(status.error().text);
        }
    }
    finish();
}

}  // namespace sluice::state
