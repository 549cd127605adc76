// What the coordinator and the workers say to each other. Values only: neither side touches the
// other's state.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/fold_latency.h"
#include "ingest/partition_time.h"
#include "state/model/barrier.h"
#include "state/model/ledger.h"
#include "state/model/value.h"
#include "state/reduce/reduction_folder.h"

namespace sluice::daemon {

// "Not known": no barrier, no time.
inline constexpr model::EventTime kNoTime = model::kBeforeAll;

// Coordinator to worker. A worker takes them in order, at a batch boundary.
struct Order {
    enum class Kind : std::uint8_t {
        barrier,   // apply now; its number is the next of the sequence
        replayed,  // apply when every owned partition has reached `barrier.next_offsets`, reading
                   // none beyond
        replay_over,  // live time begins: nothing holds the partitions any more
        close,        // hand over what no record can reach any more: event time up to `time`
        spill,        // replay: hand over everything, wherever you are
        drain,        // nothing at or above `ends` is wanted any more
        assign,       // `worker` owns `partition` from `next_offset` on
    };
    Kind kind = Kind::barrier;
    std::uint64_t ticket = 0;  // repeated in the answer
    model::Barrier barrier;
    bool seal_after = false;    // replayed: a checkpoint is taken right behind this barrier
    model::EventTime time = 0;  // close: up to here; assign: the floor in force
    std::uint32_t worker = 0;   // assign: who; the others only answer
    std::uint32_t partition = 0;
    model::Offset next_offset = 0;
    bool empty = false;                  // it held nothing when it was found
    std::optional<model::Offset> until;  // nothing at or above it is wanted
    model::Offsets ends;                 // drain: of every partition
};

// What a checkpoint keeps of one partition, as its worker has it at a batch boundary.
struct PartitionState {
    std::uint32_t partition = 0;
    model::Offset start_offset = 0;
    model::Offset next_offset = 0;
    ingest::PartitionTimeState time;
    model::Offset probe_offset = -1;  // the last record read; -1: none yet
    std::uint64_t probe_hash = 0;
    model::Ledger ledger;
    std::vector<model::ReductionLedger> reductions;  // by index into config::Pipeline::reductions
};

// Worker to coordinator: an order was carried out.
struct Answer {
    std::uint32_t worker = 0;
    std::uint64_t ticket = 0;
    std::vector<std::pair<std::uint32_t, model::Offset>> next_offsets;  // of the owned partitions
    std::vector<state::SealedSlice> tables;                             // close, tick, seal, spill
    model::BarrierNumber tag = 0;            // of `tables`: the first barrier behind their rows
    std::vector<PartitionState> partitions;  // seals only
    model::EventTime incomplete_before =
        kNoTime;  // windows that start below may miss records; kAfterAll: not known yet
    std::int64_t pause_ns = 0;  // how long this worker did not fold because of it
};

// What the coordinator wants to know of a partition between barriers.
struct PartitionProgress {
    std::uint32_t partition = 0;
    model::Offset next_offset = 0;
    model::EventTime watermark = kNoTime;           // floors included
    model::EventTime greatest_timestamp = kNoTime;  // of the records that moved the watermark
    bool idle = false;
    bool end_seen = false;  // in this run it was at its end at least once
    // Steady clock. Since when the broker has no more and nothing is queued here; none: not at the
    // end.
    std::optional<std::int64_t> quiet_since_ms;
    std::optional<std::int64_t> last_arrival_ms;  // of its last record, or of its taking up
    std::string gone;                 // not empty: its offsets are gone, nothing more comes
    model::Offset probe_offset = -1;  // the last record that was folded; -1: none
    std::uint64_t probe_hash = 0;
    model::Ledger ledger;
};

// How far a worker is, at any time; a copy.
struct WorkerProgress {
    std::vector<PartitionProgress> partitions;
    bool wants_cap = false;  // records above the cap in force wait for a newer one
    bool guarded = false;    // a record above the cap was folded since the last journaled barrier
    bool until_end_reached =
        false;  // `--until end`: nothing more is wanted from any of its partitions
    std::size_t table_bytes = 0;
    std::vector<std::uint64_t> keys;          // open rows by reduction
    std::vector<std::uint64_t> open_windows;  // by reduction
    std::vector<model::EventTime> first_end;  // of the open windows by reduction; kAfterAll: none
    std::vector<model::EventTime> last_end;   // kBeforeAll: none
    std::vector<model::ReductionLedger> reductions;
    model::ValueErrors decode_errors;  // before any step
    std::vector<model::ValueErrors> step_errors;
    std::vector<model::ValueErrors> reduction_errors;
    std::string
        stopped;  // not empty: a record, or a full dead-letter file, holds the input; says why
    std::string trouble;  // the last thing the log complained about; empty once records come again
    std::uint64_t replayed_records = 0;
    std::uint64_t records = 0;    // this run
    std::int64_t busy_ns = 0;     // decoding and folding
    std::int64_t blocked_ns = 0;  // input was on hold
    FoldLatency fold_latency;     // this run
};

// A bounded-by-protocol mailbox: each order has at most one answer, and orders are few.
// Thread: any.
template <class T>
class Mailbox {
 public:
    void put(T value) {
        std::lock_guard lock(mutex_);
        values_.push_back(std::move(value));
        size_.store(values_.size(), std::memory_order_release);
    }
    bool empty() const { return size_.load(std::memory_order_acquire) == 0; }
    std::optional<T> take() {
        if (empty()) {
            return std::nullopt;
        }
        std::lock_guard lock(mutex_);
        if (values_.empty()) {
            return std::nullopt;
        }
        T value = std::move(values_.front());
        values_.pop_front();
        size_.store(values_.size(), std::memory_order_release);
        return value;
    }

 private:
    mutable std::mutex mutex_;
    std::deque<T> values_;
    std::atomic<std::size_t> size_ = 0;
};

}  // namespace sluice::daemon
