#include "daemon/pipeline_progress.h"

#include <algorithm>

namespace sluice::daemon {

PipelineProgress::PipelineProgress(const config::Pipeline& pipeline,
                                   const std::vector<model::Partition>& partitions,
                                   const std::vector<std::vector<model::EventTime>>& open_ends,
                                   std::size_t owned)
    : pipeline_(pipeline), partitions_(partitions), owned_(owned) {
    for (const std::vector<model::EventTime>& ends : open_ends) {
        open_ends_.emplace_back(ends.begin(), ends.end());
    }
}

void PipelineProgress::pass_event_time(model::EventTime over) {
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        const config::Reduction& reduction = pipeline_.reductions[r];
        if (reduction.time == config::TimeKind::event) {
            open_ends_[r].erase(open_ends_[r].begin(),
                                open_ends_[r].upper_bound(
                                    model::saturating_add(over, -reduction.allowed_lateness_ms)));
        }
    }
}

void PipelineProgress::pass_processing_time(model::EventTime over) {
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        if (pipeline_.reductions[r].time == config::TimeKind::processing) {
            open_ends_[r].erase(open_ends_[r].begin(), open_ends_[r].upper_bound(over));
        }
    }
}

model::EventTime PipelineProgress::least_watermark() const {
    model::EventTime least = model::kAfterAll;
    std::size_t seen = 0;
    for (const WorkerProgress& worker : workers_) {
        for (const PartitionProgress& partition : worker.partitions) {
            least = std::min(least, partition.watermark);
            ++seen;
        }
    }
    // One that was assigned and has not reported yet could be anywhere.
    return seen == 0 || seen < owned_ ? kNoTime : least;
}

bool PipelineProgress::everything_read() const {
    std::size_t seen = 0;
    for (const WorkerProgress& worker : workers_) {
        for (const PartitionProgress& partition : worker.partitions) {
            if (!partition.end_seen && !worker.until_end_reached) {
                return false;
            }
            ++seen;
        }
    }
    return seen > 0 && seen >= owned_;
}

bool PipelineProgress::anything_over(const ingest::TimeView& view, model::EventTime over) const {
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        const config::Reduction& reduction = pipeline_.reductions[r];
        if (reduction.time == config::TimeKind::event && view.open[r].any() &&
            model::saturating_add(view.open[r].first_end, reduction.allowed_lateness_ms) <= over) {
            return true;
        }
    }
    return false;
}

ingest::TimeView PipelineProgress::time_view(const std::set<model::Partition>& told_idle) const {
    ingest::TimeView view;
    for (const WorkerProgress& worker : workers_) {
        view.cap_wanted |= worker.wants_cap;
        for (const PartitionProgress& partition : worker.partitions) {
            ingest::PartitionView seen;
            seen.partition = partitions_[partition.partition];
            seen.watermark = partition.watermark;
            seen.greatest = partition.greatest_timestamp;
            // What the journal says of an earlier run holds until the partition has a record. That
            // run may have read one, and sent results that rest on it: no cut may come before this
            // one has looked.
            seen.idle =
                (partition.idle && partition.end_seen) || told_idle.contains(seen.partition);
            seen.quiet_since_ms = partition.quiet_since_ms;
            seen.last_arrival_ms = partition.last_arrival_ms;
            view.partitions.push_back(std::move(seen));
        }
    }
    view.open.resize(open_ends_.size());
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        ingest::OpenWindows& open = view.open[r];
        for (const WorkerProgress& worker : workers_) {
            if (worker.first_end[r] != model::kAfterAll) {
                open.first_end = std::min(open.first_end, worker.first_end[r]);
                open.last_end = std::max(open.last_end, worker.last_end[r]);
            }
        }
        if (!open_ends_[r].empty()) {
            open.first_end = std::min(open.first_end, *open_ends_[r].begin());
            open.last_end = std::max(open.last_end, *open_ends_[r].rbegin());
        }
    }
    return view;
}

std::uint64_t PipelineProgress::open_windows(std::size_t reduction) const {
    std::uint64_t in_tables = 0;
    for (const WorkerProgress& worker : workers_) {
        in_tables = std::max(in_tables, worker.open_windows[reduction]);
    }
    return std::max<std::uint64_t>(open_ends_[reduction].size(), in_tables);
}

std::size_t PipelineProgress::table_bytes() const {
    std::size_t bytes = 0;
    for (const WorkerProgress& worker : workers_) {
        bytes += worker.table_bytes;
    }
    return bytes;
}

bool PipelineProgress::guarded() const {
    return std::ranges::any_of(workers_, [](const auto& worker) { return worker.guarded; });
}

bool PipelineProgress::until_end_reached() const {
    return owned_ > 0 && std::ranges::all_of(
                             workers_, [](const auto& worker) { return worker.until_end_reached; });
}

}  // namespace sluice::daemon
