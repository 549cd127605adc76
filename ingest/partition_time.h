// The event time of one partition: its watermark, row by row, and what rides on it.
//
// Everything here is a function of the partition's records and of the barriers applied between them
// (floors, caps, idleness), so a replay gives the same numbers.
#pragma once

#include <cstdint>
#include <optional>

#include "config/settings.h"
#include "ingest/decoder.h"
#include "state/model/barrier.h"
#include "state/model/time.h"

namespace sluice::ingest {

// What a snapshot keeps of it. Plain values; kBeforeAll stands for "none yet".
struct PartitionTimeState {
    model::EventTime max_timestamp =
        model::kBeforeAll;                       // of the records that may move the watermark
    model::EventTime floor = model::kBeforeAll;  // of the cuts applied
    model::EventTime cap = model::kBeforeAll;    // of the last cap barrier
    bool idle = false;
    // Windows that start before it may miss records from before our first one.
    model::EventTime incomplete_before = model::kBeforeAll;
    // The first decodable record is still to come and will set incomplete_before.
    bool first_record_pending = false;

    bool operator==(const PartitionTimeState&) const = default;
};

// Life:    made once per partition, from a snapshot's state or begin().
// Thread:  the worker that owns the partition.
class PartitionTime {
 public:
    // `floor`: that of the last cut, which holds for partitions found later as well. `empty`: the
    // partition held nothing when it was first seen.
    static PartitionTimeState begin(model::Offset next_offset, bool empty, model::EventTime floor);

    PartitionTime(const config::Source& source, model::Partition partition,
                  PartitionTimeState state);

    // Sets batch.records.watermark for the rows [begin, end) — each the watermark before its record
    // — and moves on past them. Rows that are not ok count for idleness only.
    void fill(DecodedBatch& batch, std::size_t begin, std::size_t end);

    // True if a row of [begin, end) lies above the cap in force, so that a newer cap could let it
    // move the watermark: ask for one before the rows are processed.
    bool wants_cap(const DecodedBatch& batch, std::size_t begin, std::size_t end) const;

    // Cuts raise the floor, caps replace the cap, idle marks the partition if it is listed; other
    // kinds change nothing.
    void apply(const model::Barrier& barrier);

    // Of the next record; kBeforeAll: none yet.
    model::EventTime watermark() const;
    bool idle() const { return state_.idle; }
    // The greatest timestamp, without those that the future guard held off; kBeforeAll: none yet.
    model::EventTime greatest() const { return state_.max_timestamp; }
    model::EventTime incomplete_before() const { return state_.incomplete_before; }

    const PartitionTimeState& state() const { return state_; }

 private:
    model::DurationMs out_of_order_ms_;
    std::optional<model::DurationMs> max_future_skew_ms_;
    model::Partition partition_;
    PartitionTimeState state_;
};

}  // namespace sluice::ingest
