// Instants and durations. Every instant is milliseconds since the epoch, UTC, as a signed 64-bit
// number; times before 1970 are negative and ordinary, so division is floor division.
#pragma once

#include <cstdint>
#include <limits>

namespace sluice::model {

using EventTime = std::int64_t;  // ms since the epoch
using DurationMs = std::int64_t;

// "Before everything": the watermark of a partition that never had a record.
inline constexpr EventTime kBeforeAll = std::numeric_limits<std::int64_t>::min();
inline constexpr EventTime kAfterAll = std::numeric_limits<std::int64_t>::max();

// The years 0001 to 9999: what a record may carry.
inline constexpr EventTime kFirstInstant = -62135596800000;
inline constexpr EventTime kLastInstant = 253402300799999;

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) {
    const std::int64_t q = a / b;
    return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

// `t + d` that stays at the ends of the range instead of overflowing.
constexpr std::int64_t saturating_add(std::int64_t t, std::int64_t d) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(t, d, &sum)) {
        return d > 0 ? kAfterAll : kBeforeAll;
    }
    return sum;
}

}  // namespace sluice::model
