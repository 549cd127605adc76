// Windows are half-open, [start, end), aligned to the epoch plus an offset.
#pragma once

#include <compare>
#include <cstdint>

#include "state/model/time.h"

namespace sluice::model {

struct Window {
    EventTime start = 0;
    EventTime end = 0;
    auto operator<=>(const Window&) const = default;
};

// The piece of time that overlapping windows share. A record can be late for the first of its
// windows and in time for the rest; `accepted_from` is the end of the first window that still
// accepts it, equal to `end` for records in time.
struct SliceId {
    EventTime end = 0;
    EventTime accepted_from = 0;
    auto operator<=>(const SliceId&) const = default;
};

// The tumbling window of `size` ms that holds `t`. `size` > 0; `offset` shifts the grid.
constexpr Window tumbling_window(EventTime t, DurationMs size, DurationMs offset) {
    const EventTime start = floor_div(t - offset, size) * size + offset;
    return {start, start + size};
}

// The one lateness rule of all windows: `watermark` is that of the record's own partition before
// the record. The deadline is the window's end (for sessions: timestamp + 1).
constexpr bool late(EventTime deadline, DurationMs allowed_lateness, EventTime watermark) {
    return saturating_add(deadline, allowed_lateness) <= watermark;
}

}  // namespace sluice::model
