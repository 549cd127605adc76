#include "ingest/partition_time.h"

#include <algorithm>

#include "state/model/invariant.h"

namespace sluice::ingest {

using model::EventTime;
using model::kAfterAll;
using model::kBeforeAll;
using model::RowStatus;

namespace {

// The cap in force for a record: the broker's append time says more than any clock of ours.
inline EventTime cap_of(std::optional<model::DurationMs> skew, EventTime append_time,
                        EventTime barrier_cap) {
    if (!skew) {
        return kAfterAll;
    }
    return append_time == kAfterAll ? barrier_cap : model::saturating_add(append_time, *skew);
}

inline EventTime minus(EventTime t, model::DurationMs d) {
    return t == kBeforeAll ? kBeforeAll : model::saturating_add(t, -d);
}

}  // namespace

PartitionTimeState PartitionTime::begin(model::Offset next_offset, bool empty, EventTime floor) {
    PartitionTimeState state;
    state.floor = floor;
    state.first_record_pending = next_offset > 0 && !empty;
    return state;
}

PartitionTime::PartitionTime(const config::Source& source, model::Partition partition,
                             PartitionTimeState state)
    : out_of_order_ms_(source.out_of_order_ms),
      max_future_skew_ms_(source.max_future_skew_ms),
      partition_(std::move(partition)),
      state_(state) {}

EventTime PartitionTime::watermark() const {
    return std::max(minus(state_.max_timestamp, out_of_order_ms_), state_.floor);
}

void PartitionTime::fill(DecodedBatch& batch, std::size_t begin, std::size_t end) {
    auto& records = batch.records;
    INVARIANT(begin <= end && end <= records.rows, "rows of the batch");
    if (begin == end) {
        return;
    }
    state_.idle = false;
    EventTime max_timestamp = state_.max_timestamp;
    EventTime watermark_now = watermark();
    for (std::size_t row = begin; row < end; ++row) {
        records.watermark[row] = watermark_now;
        if (records.status[row] != RowStatus::ok) {
            continue;
        }
        const EventTime t = records.timestamp[row];
        if (state_.first_record_pending) {
            state_.first_record_pending = false;
            state_.incomplete_before =
                std::max(model::saturating_add(t, out_of_order_ms_), state_.floor);
        }
        if (t > max_timestamp &&
            t <= cap_of(max_future_skew_ms_, batch.append_time[row], state_.cap)) {
            max_timestamp = t;
            watermark_now = std::max(minus(t, out_of_order_ms_), state_.floor);
        }
    }
    state_.max_timestamp = max_timestamp;
}

bool PartitionTime::wants_cap(const DecodedBatch& batch, std::size_t begin, std::size_t end) const {
    if (!max_future_skew_ms_) {
        return false;
    }
    const auto& records = batch.records;
    for (std::size_t row = begin; row < end; ++row) {
        if (records.status[row] == RowStatus::ok && batch.append_time[row] == kAfterAll &&
            records.timestamp[row] > state_.cap && records.timestamp[row] > state_.max_timestamp) {
            return true;
        }
    }
    return false;
}

void PartitionTime::apply(const model::Barrier& barrier) {
    switch (barrier.kind) {
        case model::BarrierKind::cut:
            state_.floor = std::max(state_.floor, barrier.time);
            break;
        case model::BarrierKind::cap:
            state_.cap = std::max(state_.cap, barrier.time);
            break;
        case model::BarrierKind::idle:
            if (std::ranges::find(barrier.idle, partition_) != barrier.idle.end()) {
                state_.idle = true;
            }
            break;
        default:
            break;
    }
}

}  // namespace sluice::ingest
