#include "ingest/time_keeper.h"

#include <algorithm>

#include "state/model/invariant.h"
#include "state/model/window.h"

namespace sluice::ingest {

using model::Barrier;
using model::BarrierKind;
using model::EventTime;
using model::kAfterAll;
using model::kBeforeAll;

namespace {

constexpr std::int64_t kCapEveryMs = 1000;

bool in_event_time(const config::Reduction& r) { return r.time == config::TimeKind::event; }

bool any_processing_time(const config::Pipeline& pipeline) {
    return std::ranges::any_of(pipeline.reductions,
                               [](const auto& r) { return !in_event_time(r); });
}

// The end of the window of `r` that holds `t`.
EventTime end_of_window(const config::Reduction& r, EventTime t) {
    return model::tumbling_window(t, r.window_ms, r.offset_ms).end;
}

// Deadlines (end + allowed lateness) of what is open in event time and not closed by the last cut.
struct Deadlines {
    EventTime first = kAfterAll;
    EventTime last = kBeforeAll;
};

Deadlines deadlines(const config::Pipeline& pipeline, const TimeView& view, EventTime floor) {
    Deadlines d;
    for (std::size_t i = 0; i < pipeline.reductions.size(); ++i) {
        const auto& r = pipeline.reductions[i];
        const OpenWindows& open = view.open[i];
        if (!in_event_time(r) || !open.any()) {
            continue;
        }
        EventTime first = model::saturating_add(open.first_end, r.allowed_lateness_ms);
        const EventTime last = model::saturating_add(open.last_end, r.allowed_lateness_ms);
        if (last <= floor) {
            continue;
        }
        if (first <= floor) {
            // The first ones are closed and only not yet written: the next that may be open.
            first = end_of_window(r, floor - r.allowed_lateness_ms) + r.allowed_lateness_ms;
        }
        d.first = std::min(d.first, first);
        d.last = std::max(d.last, last);
    }
    return d;
}

bool all_idle(const TimeView& view) {
    return std::ranges::all_of(view.partitions, &PartitionView::idle);
}
bool any_idle(const TimeView& view) {
    return std::ranges::any_of(view.partitions, &PartitionView::idle);
}

EventTime greatest(const TimeView& view) {
    EventTime g = kBeforeAll;
    for (const auto& p : view.partitions) {
        g = std::max(g, p.greatest);
    }
    return g;
}

}  // namespace

TimeKeeper::TimeKeeper(const config::Pipeline& pipeline, const model::Clock& clock,
                       TimeKeeperState state)
    : pipeline_(pipeline), clock_(clock), state_(state) {}

void TimeKeeper::replayed(const Barrier& barrier) { note(barrier); }

void TimeKeeper::note(const Barrier& barrier) {
    state_.clock = std::max(state_.clock, barrier.clock);
    switch (barrier.kind) {
        case BarrierKind::cut:
            state_.floor = std::max(state_.floor, barrier.time);
            break;
        case BarrierKind::tick:
            state_.tick = std::max(state_.tick, barrier.time);
            break;
        case BarrierKind::cap:
            state_.cap = std::max(state_.cap, barrier.time);
            break;
        default:
            break;
    }
}

EventTime TimeKeeper::next_clock() {
    state_.clock = std::max(state_.clock, clock_.wall_ms());
    return state_.clock;
}

EventTime TimeKeeper::watermark(const TimeView& view) const {
    EventTime least = kAfterAll;
    for (const auto& p : view.partitions) {
        if (!p.idle) {
            least = std::min(least, p.watermark);
        }
    }
    // While nobody holds it back, only cuts move it.
    return least == kAfterAll ? state_.floor : std::max(least, state_.floor);
}

bool TimeKeeper::event_time_reached(const TimeView& view, EventTime deadline) const {
    if (deadline <= state_.floor) {
        return true;
    }
    return !view.partitions.empty() && !any_idle(view) && deadline <= watermark(view);
}

// What event time would be without cuts: the watermark of those that are not idle; if all are, it
// goes on from the last record at the pace of the clock, up to the last deadline of what is open.
EventTime TimeKeeper::event_time_now(const TimeView& view, EventTime last_deadline) const {
    if (!all_idle(view)) {
        return watermark(view);
    }
    const EventTime from = greatest(view);
    if (from == kBeforeAll) {
        return state_.floor;
    }
    std::optional<std::int64_t> last_arrival;
    for (const auto& p : view.partitions) {
        if (p.last_arrival_ms && (!last_arrival || *p.last_arrival_ms > *last_arrival)) {
            last_arrival = p.last_arrival_ms;
        }
    }
    const std::int64_t now = clock_.steady_ms();
    const std::int64_t passed = last_arrival ? std::max<std::int64_t>(0, now - *last_arrival) : 0;
    const EventTime time = model::saturating_add(model::saturating_add(from, passed),
                                                 -pipeline_.source.out_of_order_ms);
    return std::max(state_.floor, std::min(time, last_deadline));
}

// The greatest deadline that `--until end` may close: windows that only future-guarded records
// reached stay open.
EventTime TimeKeeper::finishing_cut(const TimeView& view) const {
    const EventTime last_record = greatest(view);
    EventTime cut = kBeforeAll;
    for (std::size_t i = 0; i < pipeline_.reductions.size(); ++i) {
        const auto& r = pipeline_.reductions[i];
        const OpenWindows& open = view.open[i];
        if (!in_event_time(r) || !open.any() || last_record == kBeforeAll) {
            continue;
        }
        const EventTime end = std::min(open.last_end, end_of_window(r, last_record));
        if (end < open.first_end) {
            continue;
        }
        cut = std::max(cut, model::saturating_add(end, r.allowed_lateness_ms));
    }
    return cut;
}

std::vector<Barrier> TimeKeeper::decide(const TimeView& view) {
    INVARIANT(view.open.size() == pipeline_.reductions.size(), "one entry per reduction");
    std::vector<Barrier> due;
    const EventTime now = next_clock();
    const std::int64_t steady = clock_.steady_ms();
    const auto issue = [&](BarrierKind kind, EventTime time) -> Barrier& {
        Barrier barrier;
        barrier.kind = kind;
        barrier.time = time;
        barrier.clock = now;
        note(barrier);
        due.push_back(std::move(barrier));
        return due.back();
    };

    // Caps. The first one before any record, so that none is taken for one of the future for want
    // of a cap.
    if (const auto skew = pipeline_.source.max_future_skew_ms) {
        const EventTime cap = model::saturating_add(now, *skew);
        const bool rested = !cap_issued_ms_ || steady - *cap_issued_ms_ >= kCapEveryMs;
        if (cap > state_.cap && rested && (view.cap_wanted || !cap_issued_ms_)) {
            issue(BarrierKind::cap, cap);
            cap_issued_ms_ = steady;
        }
    }

    // Ticks: one to begin with, then one behind each window boundary. Several boundaries at once
    // are one tick: nothing was read in between.
    if (any_processing_time(pipeline_)) {
        bool tick = !ticked_;
        for (const auto& r : pipeline_.reductions) {
            tick = tick || (!in_event_time(r) && ticked_ && end_of_window(r, state_.tick) <= now);
        }
        if (tick) {
            issue(BarrierKind::tick, std::max(now, state_.tick));
            ticked_ = true;
        }
    }

    // Idleness. It holds for the cut below at once: it comes behind it in every partition.
    TimeView with_idle;
    const TimeView* seen = &view;
    if (const auto idle_after = pipeline_.source.idle_after_ms) {
        std::vector<model::Partition> idle;
        for (const auto& p : view.partitions) {
            if (!p.idle && p.quiet_since_ms && steady - *p.quiet_since_ms >= *idle_after) {
                idle.push_back(p.partition);
            }
        }
        if (!idle.empty()) {
            with_idle = view;
            for (auto& p : with_idle.partitions) {
                p.idle = p.idle || std::ranges::find(idle, p.partition) != idle.end();
            }
            seen = &with_idle;
            issue(BarrierKind::idle, 0).idle = std::move(idle);
        }
    }

    // Cuts.
    const Deadlines open = deadlines(pipeline_, *seen, state_.floor);
    if (!seen->partitions.empty()) {
        const EventTime time = event_time_now(*seen, open.last);
        const bool closes = any_idle(*seen) && open.first <= time;
        if (time > state_.floor && (closes || seen->take_up)) {
            issue(BarrierKind::cut, time);
        }
    }

    if (seen->finish) {
        if (const EventTime cut = finishing_cut(*seen); cut > state_.floor) {
            issue(BarrierKind::cut, cut);
        }
        EventTime tick = kBeforeAll;
        for (std::size_t i = 0; i < pipeline_.reductions.size(); ++i) {
            if (!in_event_time(pipeline_.reductions[i]) && seen->open[i].any()) {
                tick = std::max(tick, seen->open[i].last_end);
            }
        }
        if (tick > state_.tick) {
            issue(BarrierKind::tick, tick);
        }
    }
    return due;
}

std::int64_t TimeKeeper::next_decision_ms(const TimeView& view) const {
    const std::int64_t steady = clock_.steady_ms();
    const EventTime now = std::max(state_.clock, clock_.wall_ms());
    std::int64_t wait = kCapEveryMs;
    const auto within = [&wait](std::int64_t ms) { wait = std::clamp<std::int64_t>(ms, 0, wait); };
    if (any_processing_time(pipeline_)) {
        if (!ticked_) {
            return steady;
        }
        for (const auto& r : pipeline_.reductions) {
            if (!in_event_time(r)) {
                const EventTime end = end_of_window(r, state_.tick);
                within(end <= now ? 0 : model::saturating_add(end, -now));
            }
        }
    }
    if (const auto idle_after = pipeline_.source.idle_after_ms) {
        for (const auto& p : view.partitions) {
            if (!p.idle && p.quiet_since_ms) {
                within(model::saturating_add(*p.quiet_since_ms, *idle_after) - steady);
            }
        }
    }
    const Deadlines open = deadlines(pipeline_, view, state_.floor);
    if (!view.partitions.empty() && all_idle(view) && open.first != kAfterAll) {
        const EventTime time = event_time_now(view, open.last);
        if (time != kBeforeAll) {
            within(open.first <= time ? 0 : model::saturating_add(open.first, -time));
        }
    }
    return steady + wait;
}

}  // namespace sluice::ingest
