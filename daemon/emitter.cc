#include "daemon/emitter.h"

#include <algorithm>
#include <deque>

#include "state/model/invariant.h"

namespace sluice::daemon {

namespace {

constexpr std::size_t kRowsPerBatch = 2048;

}  // namespace

void extend(state::CompletenessSteps& steps, model::EventTime until,
            model::EventTime incomplete_before) {
    if (until == kNoTime || (!steps.empty() && until <= steps.back().until)) {
        return;
    }
    if (!steps.empty() && steps.back().incomplete_before == incomplete_before) {
        steps.back().until = until;
        return;
    }
    steps.push_back({until, incomplete_before});
}

model::EventTime incomplete_before(const state::CompletenessSteps& steps,
                                   model::EventTime deadline) {
    for (const state::CompletenessStep& step : steps) {
        if (deadline <= step.until) {
            return step.incomplete_before;
        }
    }
    return steps.empty() ? kNoTime : steps.back().incomplete_before;
}

struct Emitter::Reduction {
    Reduction(std::uint32_t at, const state::ReductionMeta& restored,
              const config::Reduction& reduction)
        : index(at),
          number(restored.number),
          settings(reduction),
          grown_before(restored.incomplete_before.value_or(kNoTime)),
          columns(reduction),
          fired(restored.acknowledged.value_or(kNoTime)) {}

    const std::uint32_t index;   // in the pipeline
    const std::uint32_t number;  // in row keys
    const config::Reduction& settings;
    const model::EventTime grown_before;  // windows that start below lack what was added later
    state::ResultColumns columns;
    std::atomic<model::EventTime> fired;      // everything up to here was handed to the sink
    model::EventTime looked_up_to = kNoTime;  // `ends` is complete up to here
    std::deque<model::EventTime> ends;        // windows to fire, ascending
    std::optional<model::EventTime> open;     // the window being fired
    std::unique_ptr<state::RowCursor> cursor;
    bool complete = true;
    bool suppressed = false;
    std::unique_ptr<model::ResultBatch> batch;  // computed, not yet taken by the sink
    bool end_waits = false;  // the window's end mark is not yet taken by the sink
    FiredCounts counts;      // guarded by the emitter's mutex_
};

Emitter::Emitter(const config::Pipeline& pipeline, state::Store& store, sinks::RedisSink& sink,
                 const state::CheckpointMeta& restored)
    : store_(store),
      sink_(sink),
      event_steps_(restored.event_completeness),
      processing_steps_(restored.processing_completeness) {
    INVARIANT(restored.reductions.size() == pipeline.reductions.size(),
              "a frontier for every reduction");
    for (std::size_t i = 0; i < restored.reductions.size(); ++i) {
        reductions_.push_back(std::make_unique<Reduction>(
            static_cast<std::uint32_t>(i), restored.reductions[i], pipeline.reductions[i]));
    }
}

Emitter::~Emitter() = default;

void Emitter::allow(const Allowance& allowance) {
    std::lock_guard lock(mutex_);
    allowance_.event_time = std::max(allowance_.event_time, allowance.event_time);
    allowance_.processing_time = std::max(allowance_.processing_time, allowance.processing_time);
    allowance_.barrier = std::max(allowance_.barrier, allowance.barrier);
    extend(event_steps_, allowance.event_time, allowance.incomplete_before);
    extend(processing_steps_, allowance.processing_time, allowance.incomplete_before);
    ++allowed_;
    quiet_.store(false, std::memory_order_release);
}

model::EventTime Emitter::fired(std::size_t reduction) const {
    return reductions_[reduction]->fired.load(std::memory_order_acquire);
}

Emitter::FiredCounts Emitter::counts(std::size_t reduction) const {
    std::lock_guard lock(mutex_);
    return reductions_[reduction]->counts;
}

void Emitter::keep_completeness(state::CheckpointMeta& meta) const {
    std::lock_guard lock(mutex_);
    meta.event_completeness = event_steps_;
    meta.processing_completeness = processing_steps_;
}

model::EventTime Emitter::allowed_end(const Reduction& reduction,
                                      const Allowance& allowance) const {
    if (reduction.settings.time == config::TimeKind::processing) {
        return allowance.processing_time;
    }
    return model::saturating_add(allowance.event_time, -reduction.settings.allowed_lateness_ms);
}

void Emitter::rewind() {
    const auto rewind = sink_.take_rewind();
    if (!rewind) {
        return;
    }
    generation_ = rewind->generation;
    for (const auto& reduction : reductions_) {
        reduction->cursor.reset();
        reduction->open.reset();
        reduction->batch.reset();
        reduction->end_waits = false;
        reduction->ends.clear();
        reduction->looked_up_to = kNoTime;
        reduction->fired.store(std::min(reduction->fired.load(), rewind->from[reduction->index]),
                               std::memory_order_release);
    }
}

model::Result<bool> Emitter::step() {
    rewind();
    Allowance allowance;
    std::uint64_t followed = 0;
    {
        std::lock_guard lock(mutex_);
        allowance = allowance_;
        followed = allowed_;
    }
    for (std::size_t i = 0; i < reductions_.size(); ++i) {
        turn_ = (turn_ + 1) % reductions_.size();
        TRY(busy, advance(*reductions_[turn_], allowance));
        if (busy) {
            blocked_.store(false, std::memory_order_release);
            return true;
        }
    }
    const bool waits = std::any_of(
        reductions_.begin(), reductions_.end(),
        [](const auto& reduction) { return reduction->batch != nullptr || reduction->end_waits; });
    blocked_.store(waits, std::memory_order_release);
    if (!waits) {
        std::lock_guard lock(mutex_);
        if (allowed_ == followed) {
            quiet_.store(true, std::memory_order_release);
        }
    }
    return false;
}

bool Emitter::hand_on(Reduction& reduction) {
    if (reduction.batch != nullptr) {
        const std::size_t rows = reduction.batch->rows;
        if (!sink_.push(std::move(reduction.batch), generation_)) {
            return false;
        }
        std::lock_guard lock(mutex_);
        reduction.counts.results += rows;
    }
    if (reduction.end_waits) {
        if (!sink_.push_end(reduction.index, *reduction.open, generation_)) {
            return false;
        }
        reduction.end_waits = false;
        reduction.fired.store(*reduction.open, std::memory_order_release);
        reduction.open.reset();
        std::lock_guard lock(mutex_);
        ++reduction.counts.windows;
    }
    return true;
}

model::Result<bool> Emitter::advance(Reduction& reduction, const Allowance& allowance) {
    if (reduction.batch != nullptr || reduction.end_waits) {
        return hand_on(reduction);
    }
    if (!reduction.open) {
        const model::EventTime up_to = allowed_end(reduction, allowance);
        if (reduction.ends.empty()) {
            if (up_to == kNoTime || reduction.looked_up_to >= up_to) {
                return false;
            }
            TRY(ends, store_.windows_after(reduction.number, reduction.fired, up_to));
            reduction.ends.assign(ends.begin(), ends.end());
            reduction.looked_up_to = up_to;
            return true;
        }
        reduction.open = reduction.ends.front();
        reduction.ends.pop_front();
        TRY(cursor, store_.scan_and_pack(reduction.number, *reduction.open));
        reduction.cursor = std::move(cursor);
        TRY(reduction.cursor->next());
        model::EventTime before = kNoTime;
        {
            std::lock_guard lock(mutex_);
            before = reduction.settings.time == config::TimeKind::processing
                         ? incomplete_before(processing_steps_, *reduction.open)
                         : incomplete_before(
                               event_steps_,
                               model::saturating_add(*reduction.open,
                                                     reduction.settings.allowed_lateness_ms));
        }
        reduction.complete = *reduction.open - reduction.settings.window_ms >=
                             std::max(before, reduction.grown_before);
        reduction.suppressed = !reduction.complete && reduction.settings.suppress_incomplete;
    }

    auto batch = sink_.spare();
    std::uint64_t suppressed = 0;
    std::size_t rows = 0;
    while (reduction.cursor->valid() && rows < kRowsPerBatch) {
        if (reduction.suppressed) {
            ++suppressed;
        } else {
            TRY(reduction.columns.add(reduction.cursor->hash(), reduction.cursor->key(),
                                      reduction.cursor->row()));
        }
        ++rows;
        TRY(reduction.cursor->next());
    }
    const bool over = !reduction.cursor->valid();
    model::ValueErrors errors;
    if (rows > suppressed) {
        reduction.columns.finish(*batch, errors);
        batch->reduction = reduction.index;
        batch->window = {*reduction.open - reduction.settings.window_ms, *reduction.open};
        batch->barrier = allowance.barrier;
        batch->final = true;
        batch->complete = reduction.complete;
        reduction.batch = std::move(batch);
    }
    {
        std::lock_guard lock(mutex_);
        reduction.counts.suppressed += suppressed;
        reduction.counts.errors += errors;
    }
    if (over) {
        reduction.cursor.reset();
        reduction.end_waits = true;
    }
    hand_on(reduction);
    return true;
}

}  // namespace sluice::daemon
