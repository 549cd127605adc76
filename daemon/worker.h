// One worker: owns partitions end to end, from reading the log to folding into slice tables.
//
// A worker decodes records of one partition into a batch and processes row ranges of it, one range
// per step. Between two ranges it is at a batch boundary: there, and nowhere else, it carries out
// orders, so that a barrier has the same place in the offsets of every partition, whatever the
// batches were.
//
// Replay: barriers of the journal arrive ahead of time with their offsets. The worker reads no
// partition beyond the offset of the first one not yet applied, and applies it once all its
// partitions are there. Without such a barrier it holds everything until the coordinator says that
// live time begins.
//
// Reload: behind a reload barrier nothing more is read. Whoever comes next folds under the new
// settings.
//
// Handing over is a pointer swap per table; the worker never waits for disk, for another worker, or
// for the size of the state.
//
// Life:    constructed with its partitions assigned by orders; step() until the owner stops calling
// it. Thread:  one; but progress(), put() and wake() may be called from any thread.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/messages.h"
#include "ingest/dead_letter.h"
#include "ingest/decoder.h"
#include "ingest/log.h"
#include "ingest/mapper.h"
#include "ingest/pace.h"
#include "ingest/partition_time.h"
#include "state/model/clock.h"

namespace sluice::daemon {

class Worker {
 public:
    struct Settings {
        std::uint32_t number = 0;
        const config::Pipeline& pipeline;
        const std::vector<model::Partition>&
            partitions;  // by number; grows only at the end, elements never move
        // By position in the pipeline: the number in row keys, and up to where windows are closed
        // for good.
        std::vector<std::uint32_t> reduction_numbers;
        std::vector<model::EventTime> closed;
        const model::Clock& clock;
        ingest::Paces& paces;  // of all workers
        ingest::DeadLetters& dead_letters;
        Mailbox<Answer>& answers;
        std::function<void()> wake_coordinator;
        model::EventTime processing_time = kNoTime;  // in force at the checkpoint
        model::BarrierNumber applied = 0;            // the checkpoint's number
    };

    // `reader` exists only behind the gate.
    Worker(Settings settings, std::unique_ptr<ingest::LogReader> reader);
    ~Worker();

    // Takes up a partition as a checkpoint has it, before the first step. `until`: records at or
    // above are not wanted.
    void own(const PartitionState& state, std::optional<model::Offset> until);

    // Carries out one thing: the orders that wait, or one batch. Returns false when there was
    // nothing to do.
    bool step();
    // Blocks until something may have happened, at most `timeout_ms`.
    void wait(std::int64_t timeout_ms);

    void put(Order order);            // Thread: any.
    void wake();                      // Thread: any.
    WorkerProgress progress() const;  // Thread: any. A copy.
    // Input on hold (back-pressure). Orders are still carried out. Thread: any.
    void set_paused(bool paused) { paused_.store(paused, std::memory_order_relaxed); }

 private:
    struct Owned;

    bool carry_out_orders();
    void carry_out(const Order& order);
    bool apply_replayed();
    void apply(const model::Barrier& barrier);
    void swap_tables(Answer& answer);
    Answer answer_to(const Order& order);
    void send(Answer answer);

    bool read_some();
    void tell_pace();
    bool fill(Owned& owned);
    bool process(Owned& owned);
    std::size_t set_aside(Owned& owned, std::size_t end);
    model::Offset bound(const Owned& owned) const;
    PartitionState state_of(const Owned& owned) const;
    bool until_end_reached(const Owned& owned) const;
    void note_blocked();
    void publish();

    const Settings settings_;
    std::unique_ptr<ingest::LogReader> reader_;
    ingest::Mapper mapper_;
    std::vector<std::unique_ptr<Owned>> owned_;
    std::vector<std::unique_ptr<state::ReductionFolder>> folders_;  // by reduction
    std::size_t turn_ = 0;  // round robin over the partitions
    // Of the shortest window, if partitions keep pace with one another: which records fall into a
    // window of processing time depends on when they are read, so with one of those they do not.
    model::DurationMs pace_window_ms_ = 0;
    bool held_back_ = false;  // records wait only because of others that are behind

    std::deque<Order> replayed_;  // entries of the journal, known ahead
    bool replaying_ = true;
    bool reloading_ = false;  // the last barrier of this worker was applied: nothing more is read
    model::BarrierNumber applied_ = 0;            // the last barrier applied
    model::EventTime processing_time_ = kNoTime;  // of the last tick
    std::optional<std::int64_t> cap_applied_ms_;  // steady
    model::EventTime cap_ = model::kBeforeAll;    // future guard in force
    model::ValueErrors decode_errors_;
    std::vector<model::ValueErrors> fold_errors_;  // by reduction
    bool guarded_ = false;                         // see WorkerProgress
    std::string trouble_;
    std::uint64_t records_ = 0;
    std::uint64_t replayed_records_ = 0;
    std::int64_t turn_begun_ns_ = 0;  // steady
    std::int64_t busy_ns_ = 0;
    std::int64_t blocked_ns_ = 0;
    std::optional<std::int64_t> blocked_since_ns_;  // steady; none: input flows
    FoldLatency fold_latency_;

    Mailbox<Order> orders_;
    std::atomic<bool> paused_ = false;

    mutable std::mutex progress_mutex_;
    WorkerProgress progress_;  // guarded by progress_mutex_
};

}  // namespace sluice::daemon
