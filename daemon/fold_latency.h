// Fold latency: from the beginning of the worker's turn in which the log handed a batch over until
// its rows are in their windows.
//
// One duration for each row range that is folded in one piece: mostly a whole batch, less where a
// barrier divides it. Decoding is in it, and whatever keeps a worker from a batch that is there:
// the orders of the coordinator that it carries out first, a core that somebody else has, input on
// hold because memory, disk or Redis lack. What waits in the log is not (that is lag), and no batch
// of a replay, which waits for the journal's barriers on purpose.
#pragma once

#include <array>
#include <cstdint>

#include "state/model/histogram.h"

namespace sluice::daemon {

// Six bounds to a power of ten, so that a quantile is known within a factor of 1.5.
inline constexpr std::array<std::uint64_t, 37> kFoldBoundsUs{
    10,        15,        20,        30,        50,        70,      100,       150,
    200,       300,       500,       700,       1'000,     1'500,   2'000,     3'000,
    5'000,     7'000,     10'000,    15'000,    20'000,    30'000,  50'000,    70'000,
    100'000,   150'000,   200'000,   300'000,   500'000,   700'000, 1'000'000, 1'500'000,
    2'000'000, 3'000'000, 5'000'000, 7'000'000, 10'000'000};
using FoldLatency = model::Histogram<kFoldBoundsUs>;

}  // namespace sluice::daemon
