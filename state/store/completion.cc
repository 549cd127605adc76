#include "state/store/completion.h"

#include <algorithm>
#include <utility>

#include "state/model/fail_point.h"

namespace sluice::state {
namespace {

constexpr const char* kPartial = ".partial";
constexpr std::int64_t kAgainMs = 5000;

std::string name_in(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

model::Result<std::vector<SavepointSummary>> describe_savepoints(Disk& disk, Catalogue& catalogue) {
    TRY(entries, catalogue.list_savepoints());
    std::vector<SavepointSummary> all;
    for (const auto& entry : entries) {
        SavepointSummary one;
        one.name = name_in(entry.path);
        one.damage = entry.damage;
        one.info.id = entry.id;
        one.info.kind = SnapshotKind::savepoint;
        one.info.path = entry.path;
        one.info.bytes = one.info.new_bytes = entry.manifest_bytes;
        if (entry.meta) {
            one.info.taken = entry.meta->taken;
            one.number = entry.meta->number;
            for (const auto& file : entry.meta->files) {
                one.info.bytes += file.size;
                const auto info = disk.info(entry.path + "/" + file.name);
                if (info && info->links > 1) {
                    one.shared_bytes += file.size;
                }
            }
        }
        one.info.new_bytes = one.info.bytes - one.shared_bytes;
        all.push_back(std::move(one));
    }
    return all;
}

model::Result<std::string> freeze_savepoint(Disk& disk, Catalogue& catalogue,
                                            const CatalogueEntry& from, const std::string& name) {
    TRY(check_savepoint_name(name));
    const auto& paths = catalogue.paths();
    const auto path = paths.savepoint(name);
    TRY(disk.make_directory(paths.savepoints()));
    if (disk.info(path) ||
        (!paths.savepoint_folder.empty() && disk.info(paths.savepoint_folder + "/" + name))) {
        return model::invalid(path + ": is there already; a savepoint is never overwritten");
    }
    TRY(catalogue.validate(from));
    TRY(id, catalogue.next_id());
    TRY(disk.make_directory(path));
    const auto fill = [&]() -> model::Status {
        CheckpointMeta meta = *from.meta;
        meta.kind = SnapshotKind::savepoint;
        meta.id = id;
        for (const auto& file : meta.files) {
            TRY(disk.link(from.path + "/" + file.name, path + "/" + file.name));
        }
        TRY(disk.sync_directory(path));
        TRY(disk.sync_directory(paths.savepoints()));
        return write_file_durably(disk, path + "/" + kManifestName, manifest_text(meta));
    };
    if (auto filled = fill(); !filled) {
        static_cast<void>(catalogue.remove(path));
        return std::unexpected(std::move(filled.error()));
    }
    return path;
}

Completion::Completion(Disk& disk, const model::Clock& clock, StatePaths paths, Options options)
    : disk_(disk), clock_(clock), options_(options), catalogue_(disk, std::move(paths)) {
    disk_.bound_background(options_.bytes_per_second);  // of whatever else may copy, too
}

Completion::~Completion() {
    for (auto& [name, done] : removals_) {
        done(model::cancelled("the daemon stops"));
    }
}

void Completion::look() {
    const std::lock_guard lock(mutex_);
    look_ = true;
}

void Completion::remove(std::string name, Done done) {
    const std::lock_guard lock(mutex_);
    removals_.emplace_back(std::move(name), std::move(done));
}

Completion::Report Completion::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

bool Completion::step() {
    if (carry_out_removal()) {
        return true;
    }
    if (!job_) {
        {
            const std::lock_guard lock(mutex_);
            const bool again = again_at_ms_ != 0 && clock_.steady_ms() >= again_at_ms_;
            if (!std::exchange(look_, false) && !again) {
                return false;
            }
        }
        again_at_ms_ = 0;
        if (auto chosen = choose(); !chosen) {
            give_up(chosen.error());
        } else if (!job_ && given_up_.empty()) {
            const std::lock_guard lock(mutex_);
            report_.problem.clear();  // what it was about is done, or gone
        }
        publish();
        return job_.has_value();
    }
    auto worked = work();
    if (!worked) {
        give_up(worked.error());
        return true;
    }
    publish();
    return *worked;
}

bool Completion::carry_out_removal() {
    std::pair<std::string, Done> wanted;
    {
        const std::lock_guard lock(mutex_);
        if (removals_.empty()) {
            return false;
        }
        wanted = std::move(removals_.front());
        removals_.pop_front();
        look_ = true;
    }
    auto removed = remove_now(wanted.first);
    if (auto all = describe_savepoints(disk_, catalogue_)) {
        savepoints_ = std::move(*all);
    }
    publish();
    wanted.second(std::move(removed));
    return true;
}

model::Status Completion::remove_now(const std::string& name) {
    TRY(check_savepoint_name(name));
    if (job_ && job_->name == name) {
        job_->copies->clear();
        if (!job_->target.empty()) {
            static_cast<void>(remove_tree(disk_, job_->target + kPartial));
        }
        job_.reset();
    }
    TRY(entries, catalogue_.list_savepoints());
    bool any = false;
    for (const auto& entry : entries) {
        if (name_in(entry.path) == name) {
            TRY(catalogue_.remove(entry.path));
            any = true;
        }
    }
    return any ? model::Status{} : model::invalid("there is no savepoint `" + name + "`");
}

// The oldest one that is not complete.
model::Status Completion::choose() {
    TRY(all, describe_savepoints(disk_, catalogue_));
    savepoints_ = std::move(all);
    TRY(entries, catalogue_.list_savepoints());
    const auto& paths = catalogue_.paths();
    const bool elsewhere =
        !paths.savepoint_folder.empty() && paths.savepoint_folder != paths.savepoints();
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
        const auto name = name_in(entry->path);
        // Only what was frozen here, and nothing that is not what its manifest says.
        if (!entry->path.starts_with(paths.savepoints() + "/") || !entry->meta ||
            !entry->damage.empty() ||
            std::find(given_up_.begin(), given_up_.end(), name) != given_up_.end()) {
            continue;
        }
        Job job;
        job.name = name;
        job.begun_ms = clock_.steady_ms();
        job.copies = std::make_unique<FileCopies>(disk_.background());
        for (const auto& file : entry->meta->files) {
            TRY(info, disk_.info(entry->path + "/" + file.name));
            if (elsewhere || (options_.copy && info.links > 1)) {
                job.files.push_back(file);
                job.total_bytes += file.size;
            }
        }
        if (job.files.empty()) {
            continue;
        }
        job.target = elsewhere ? paths.savepoint_folder + "/" + name : "";
        job.entry = std::move(*entry);
        job_ = std::move(job);
        return elsewhere ? begin_transfer() : model::Status{};
    }
    return {};
}

model::Status Completion::begin_transfer() {
    auto& job = *job_;
    TRY(disk_.make_directory(parent_directory(job.target)));
    if (disk_.info(job.target)) {
        // Renamed there by a run that died before it removed the frozen one, or somebody else's.
        const auto mine =
            read_file(disk_, job.entry.path + "/" + kManifestName, kMostManifestBytes);
        const auto there = read_file(disk_, job.target + "/" + kManifestName, kMostManifestBytes);
        if (!mine || !there || *mine != *there) {
            return model::invalid(job.target +
                                  ": is there already; a savepoint is never overwritten");
        }
        job.next = job.files.size();
        return {};
    }
    TRY(remove_tree(disk_, job.target + kPartial));
    return disk_.make_directory(job.target + kPartial);
}

std::uint64_t Completion::copied() const { return job_->done_bytes + job_->copies->bytes(); }

bool Completion::paced() const {
    if (options_.bytes_per_second == 0) {
        return false;
    }
    const auto elapsed_ms = static_cast<std::uint64_t>(clock_.steady_ms() - job_->begun_ms);
    const auto bytes = copied();
    return bytes / options_.bytes_per_second * 1000 +
               bytes % options_.bytes_per_second * 1000 / options_.bytes_per_second >
           elapsed_ms;
}

model::Result<bool> Completion::work() {
    auto& job = *job_;
    if (job.next == job.files.size()) {
        TRY(finish_job());
        return true;
    }
    if (paced()) {
        return false;
    }
    if (!job.copies->full() && job.next + job.copies->size() < job.files.size()) {
        TRY(begin_file());
        return true;
    }
    TRY(complete, job.copies->step());
    if (complete) {
        TRY(finish_file());
    }
    return true;
}

// The next one that is not under way.
model::Status Completion::begin_file() {
    auto& job = *job_;
    const auto& file = job.files[job.next + job.copies->size()];
    const auto from = job.entry.path + "/" + file.name;
    const auto to = half_copied(file);
    // A link is done at once: it waits until nothing before it is under way.
    if (!options_.copy && job.copies->empty() && disk_.link(from, to)) {
        job.done_bytes += file.size;
        ++job.next;
        return {};
    }
    TRY(space, disk_.space(disk_.info(parent_directory(to)) ? parent_directory(to) : from));
    std::uint64_t wanted = file.size;
    for (std::size_t i = 0; i < job.copies->size(); ++i) {
        wanted += job.files[job.next + i].size;  // of which some may be written: the safe side
    }
    if (space.free_bytes < options_.reserve_bytes + wanted) {
        if (!job.copies->empty()) {
            TRY(complete, job.copies->step());  // perhaps when that is done
            return complete ? finish_file() : model::Status{};
        }
        return model::exhausted("only " + std::to_string(space.free_bytes) +
                                " bytes of disk are free for a copy of " +
                                std::to_string(file.size) + " above the reserve of " +
                                std::to_string(options_.reserve_bytes));
    }
    TRY(disk_.remove(to));
    return job.copies->begin(from, to, file);
}

std::string Completion::half_copied(const FileMeta& file) const {
    return job_->target.empty() ? job_->entry.path + "/" + file.name + kPartial
                                : job_->target + kPartial + "/" + file.name;
}

model::Status Completion::finish_file() {
    auto& job = *job_;
    const auto& file = job.files[job.next];
    if (job.target.empty()) {
        const auto path = job.entry.path + "/" + file.name;
        SLUICE_FAIL_POINT("savepoint.copied");
        TRY(disk_.rename(path + kPartial, path));
        SLUICE_FAIL_POINT("savepoint.replaced");
    }
    job.done_bytes += file.size;
    ++job.next;
    return {};
}

model::Status Completion::finish_job() {
    auto& job = *job_;
    if (job.target.empty()) {
        TRY(disk_.sync_directory(job.entry.path));
        SLUICE_FAIL_POINT("savepoint.completed");
    } else {
        if (!disk_.info(job.target)) {
            const auto partial = job.target + kPartial;
            TRY(text, read_file(disk_, job.entry.path + "/" + kManifestName, kMostManifestBytes));
            TRY(write_file_durably(disk_, partial + "/" + kManifestName, text));
            SLUICE_FAIL_POINT("savepoint.transferred");
            TRY(disk_.rename(partial, job.target));
        }
        TRY(disk_.sync_directory(parent_directory(job.target)));
        SLUICE_FAIL_POINT("savepoint.renamed");
        TRY(catalogue_.remove(job.entry.path));
    }
    job_.reset();
    const std::lock_guard lock(mutex_);
    report_.problem.clear();
    look_ = true;  // for the next one, and for the listing
    return {};
}

void Completion::give_up(const model::Error& error) {
    std::string text = error.text;
    if (job_) {
        text = job_->name + ": " + text;
        if (job_->copies) {
            std::vector<std::string> halves;
            for (std::size_t i = 0; i < job_->copies->size(); ++i) {
                halves.push_back(job_->copies->to(i));
            }
            job_->copies->clear();
            for (const auto& half : halves) {
                static_cast<void>(disk_.remove(half));  // else the next start sweeps it
            }
        }
        if (error.kind == model::ErrorKind::corrupt || error.kind == model::ErrorKind::invalid) {
            given_up_.push_back(job_->name);
        }
        job_.reset();
    }
    again_at_ms_ = clock_.steady_ms() + kAgainMs;
    const std::lock_guard lock(mutex_);
    report_.problem = std::move(text);
    report_.completing.clear();
}

void Completion::publish() {
    const std::lock_guard lock(mutex_);
    report_.savepoints = savepoints_;
    report_.settled = !job_ && !look_ && removals_.empty() && again_at_ms_ == 0;
    report_.completing.clear();
    report_.done_bytes = report_.total_bytes = report_.bytes_per_second = 0;
    if (job_) {
        report_.completing = job_->name;
        report_.done_bytes = copied();
        report_.total_bytes = job_->total_bytes;
        const auto elapsed_ms = static_cast<std::uint64_t>(clock_.steady_ms() - job_->begun_ms);
        report_.bytes_per_second =
            elapsed_ms > 0 ? report_.done_bytes * 1000 / elapsed_ms : report_.done_bytes;
        for (auto& savepoint : report_.savepoints) {
            if (savepoint.name == job_->name && job_->target.empty()) {
                savepoint.shared_bytes -= std::min(savepoint.shared_bytes, job_->done_bytes);
            }
        }
    }
}

}  // namespace sluice::state
