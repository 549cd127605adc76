// Fires windows: merges what the view holds of a window, computes the results, hands them to the
// sink in order.
//
// The coordinator allows; the emitter follows. A window of a reduction is fired when its time is
// allowed: every worker has handed over what it had of it, and every barrier that it depends on is
// durable in the journal. Windows of a reduction leave in the order of their ends, rows of a window
// by (key hash, key). There is no outbox: what the sink has lost is fired again from the retained
// rows, and gives the same bytes.
//
// Thread: step() and progress by one (fire); allow() and the counters by any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "config/settings.h"
#include "daemon/messages.h"
#include "sinks/redis_sink.h"
#include "state/reduce/cursor.h"
#include "state/reduce/results.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/store.h"

namespace sluice::daemon {

// Up to which time windows may leave, and what that rests on.
struct Allowance {
    model::EventTime event_time = kNoTime;  // windows with end + allowed lateness at or below it
    model::EventTime processing_time =
        kNoTime;                       // windows of processing time with their end at or below it
    model::BarrierNumber barrier = 0;  // the last journaled number behind it, durable
    // Windows that start below may miss records from before our first ones.
    model::EventTime incomplete_before = kNoTime;
};

// Adds what holds for windows whose deadline (end + lateness) is in (the last `until`, until].
void extend(state::CompletenessSteps& steps, model::EventTime until,
            model::EventTime incomplete_before);
model::EventTime incomplete_before(const state::CompletenessSteps& steps,
                                   model::EventTime deadline);

class Emitter {
 public:
    struct FiredCounts {
        std::uint64_t windows = 0;
        std::uint64_t results = 0;
        std::uint64_t suppressed = 0;
        model::ValueErrors errors;
    };

    // All are borrowed and outlive the emitter. `restored`: its reductions in the pipeline's order,
    // with what is acknowledged, and what `complete` was judged by so far.
    Emitter(const config::Pipeline& pipeline, state::Store& store, sinks::RedisSink& sink,
            const state::CheckpointMeta& restored);
    ~Emitter();

    // Never takes anything back. Thread: any.
    void allow(const Allowance& allowance);

    // One batch of results, or the look for the next window. Returns whether anything was done.
    // Errors: corrupt (a stored row).
    model::Result<bool> step();

    // Nothing allowed is left to fire, and nothing waits for the sink. Thread: any.
    bool quiet() const { return quiet_.load(std::memory_order_acquire); }
    // The sink's queue is full and results wait. Thread: any.
    bool blocked() const { return blocked_.load(std::memory_order_acquire); }
    // The greatest end fired of a reduction; kNoTime: none. Thread: any.
    model::EventTime fired(std::size_t reduction) const;
    FiredCounts counts(std::size_t reduction) const;  // Thread: any.
    // Writes what every window allowed so far is judged by into `meta`. Thread: any.
    void keep_completeness(state::CheckpointMeta& meta) const;

 private:
    struct Reduction;

    model::EventTime allowed_end(const Reduction& reduction, const Allowance& allowance) const;
    void rewind();
    model::Result<bool> advance(Reduction& reduction, const Allowance& allowance);
    bool hand_on(Reduction& reduction);

    state::Store& store_;
    sinks::RedisSink& sink_;
    std::uint64_t generation_ = 0;
    std::vector<std::unique_ptr<Reduction>> reductions_;
    std::size_t turn_ = 0;

    std::atomic<bool> quiet_ = false;
    std::atomic<bool> blocked_ = false;
    mutable std::mutex mutex_;
    // The newest allowance, and how often there was one: quiet means that the newest was followed.
    Allowance allowance_;                        // guarded by mutex_
    std::uint64_t allowed_ = 0;                  // guarded by mutex_
    state::CompletenessSteps event_steps_;       // guarded by mutex_
    state::CompletenessSteps processing_steps_;  // guarded by mutex_
};

}  // namespace sluice::daemon
