// How far the pipeline is: what every worker has last said of itself, and the windows whose tables
// have left the workers and that are not over.
//
// The least of all watermarks, floors included, is a time below which nothing can come any more.
// Which partitions are idle plays no part in it: a cut is a floor for every partition's watermark.
//
// Thread: one (coordinator). Reductions are named by their position in the pipeline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "config/settings.h"
#include "daemon/messages.h"
#include "ingest/time_keeper.h"
#include "state/model/partition.h"
#include "state/model/time.h"

namespace sluice::daemon {

class PipelineProgress {
 public:
    // `pipeline` and `partitions` (by number) outlive it. `open_ends`: by reduction, windows that
    // have rows and were not acknowledged. `owned`: partitions that workers own.
    PipelineProgress(const config::Pipeline& pipeline,
                     const std::vector<model::Partition>& partitions,
                     const std::vector<std::vector<model::EventTime>>& open_ends,
                     std::size_t owned);

    void update(std::vector<WorkerProgress> workers) { workers_ = std::move(workers); }
    // A worker will own so many more. Until it reports them, nothing is known of the whole.
    void own(std::size_t partitions) { owned_ += partitions; }

    // Windows: one has rows outside of the workers; all with the deadline (event time) or the end
    // (processing time) at or below it are over.
    void hold(std::size_t reduction, model::EventTime end) { open_ends_[reduction].insert(end); }
    void pass_event_time(model::EventTime over);
    void pass_processing_time(model::EventTime over);

    // kNoTime: not known. kAfterAll: there is no partition with a record.
    model::EventTime least_watermark() const;
    // The windows of event time in `view` with which something is over by now.
    bool anything_over(const ingest::TimeView& view, model::EventTime over) const;
    // `told_idle`: partitions of idle barriers that not every worker has applied.
    ingest::TimeView time_view(const std::set<model::Partition>& told_idle) const;

    std::uint64_t open_windows(std::size_t reduction) const;
    std::size_t table_bytes() const;  // in the workers
    bool guarded() const;             // one has folded a record above the cap
    bool until_end_reached() const;   // by all, and there are partitions
    // Each partition was at its end in this run: whatever an earlier one had read, this one has, if
    // it is still there. Means something once the replay is over.
    bool everything_read() const;

 private:
    const config::Pipeline& pipeline_;
    const std::vector<model::Partition>& partitions_;
    std::vector<std::set<model::EventTime>> open_ends_;
    std::size_t owned_;
    std::vector<WorkerProgress> workers_;
};

}  // namespace sluice::daemon
