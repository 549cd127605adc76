// Decides, from what the workers report and from the clocks, which barriers of time are due: cuts,
// ticks, caps, idleness. Pure: the same views and clock readings give the same barriers. Each
// decision becomes an entry of the journal; nothing else in the pipeline looks at a clock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "config/settings.h"
#include "state/model/barrier.h"
#include "state/model/clock.h"
#include "state/model/partition.h"
#include "state/model/time.h"

namespace sluice::ingest {

// One partition as its worker reported it last. Instants on the steady clock, in ms.
struct PartitionView {
    model::Partition partition;
    model::EventTime watermark = model::kBeforeAll;  // kBeforeAll: never had a record
    model::EventTime greatest = model::kBeforeAll;   // PartitionTime::greatest()
    bool idle = false;
    // Since when the broker says that we are at the end and nothing is queued inside us; empty
    // while there is something to do, while it is paused, or when it is not known.
    std::optional<std::int64_t> quiet_since_ms;
    // When its last record was polled; after a restart, when the gate opened.
    std::optional<std::int64_t> last_arrival_ms;
};

// Windows of one reduction that hold records and have not fired, by window end (without lateness).
struct OpenWindows {
    model::EventTime first_end = model::kAfterAll;
    model::EventTime last_end = model::kBeforeAll;
    bool any() const { return last_end != model::kBeforeAll; }
};

struct TimeView {
    std::vector<PartitionView> partitions;  // all that are read; found ones once they are taken up
    std::vector<OpenWindows> open;          // one per reduction of the pipeline
    bool cap_wanted = false;                // a worker has records above the cap
    bool take_up = false;  // partitions were found that must begin behind a cut with our watermark
    bool finish = false;   // the input is over (`--until end`): close everything
};

// What survives a restart; kBeforeAll stands for "none yet".
struct TimeKeeperState {
    model::EventTime clock = model::kBeforeAll;  // of the last barrier
    model::EventTime tick = model::kBeforeAll;   // processing time in force
    model::EventTime floor = model::kBeforeAll;  // of the last cut
    model::EventTime cap = model::kBeforeAll;
    bool operator==(const TimeKeeperState&) const = default;
};

// Life:    made from a restored state; replayed() for each barrier of the journal, in order; then
//          decide() from time to time.
// Thread:  the coordinator's. `pipeline` and `clock` must outlive it.
class TimeKeeper {
 public:
    TimeKeeper(const config::Pipeline& pipeline, const model::Clock& clock, TimeKeeperState state);

    void replayed(const model::Barrier& barrier);

    // The barriers that are due now, in order, with kind, time, clock and idle filled in; number
    // and offsets are the coordinator's. Their effect on this object is taken as done: every one of
    // them must be issued. All carry the same clock.
    std::vector<model::Barrier> decide(const TimeView& view);

    // The wall clock for a barrier that the coordinator issues for another reason: never below that
    // of an earlier one.
    model::EventTime next_clock();

    // The pipeline's event time: the least watermark of the partitions that are not idle, not below
    // the last cut; kBeforeAll while one of them never had a record, or all are idle and nothing
    // was cut.
    model::EventTime watermark(const TimeView& view) const;

    // True if a window with this deadline (end + allowed lateness) may fire: by a cut, or, while no
    // partition is idle, by the watermark. In processing time: by the last tick.
    bool event_time_reached(const TimeView& view, model::EventTime deadline) const;

    // When decide() is worth calling again at the latest, by the steady clock in ms, if no worker
    // reports anything new.
    std::int64_t next_decision_ms(const TimeView& view) const;

    const TimeKeeperState& state() const { return state_; }

 private:
    void note(const model::Barrier& barrier);
    model::EventTime event_time_now(const TimeView& view, model::EventTime last_deadline) const;
    model::EventTime finishing_cut(const TimeView& view) const;

    const config::Pipeline& pipeline_;
    const model::Clock& clock_;
    TimeKeeperState state_;
    bool ticked_ = false;                        // since this object was made
    std::optional<std::int64_t> cap_issued_ms_;  // steady
};

}  // namespace sluice::ingest
