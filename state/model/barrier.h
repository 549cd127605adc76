// A barrier is a numbered point in every partition's offsets. The coordinator issues one sequence;
// every worker applies it in order, at a batch boundary. What depends on a clock is decided once,
// as a barrier, and written to the journal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "state/model/partition.h"
#include "state/model/time.h"

namespace sluice::model {

using BarrierNumber = std::uint64_t;

enum class BarrierKind : std::uint8_t {
    cut = 1,     // `time` is a floor for every partition's watermark from here on
    tick = 2,    // `time` is the processing time of the records from here on
    cap = 3,     // records above `time` do not move the watermark from here on
    idle = 4,    // `idle` lists the partitions that became idle
    emit = 5,    // early results
    reload = 6,  // recorded inputs change
    pause = 7,   // the user holds the input
    seal = 8,    // checkpoint; not journaled
    spill = 9,   // memory; not journaled
    close = 10,  // results whose deadline is at or below `time` may leave; applied nowhere
};

constexpr bool journaled(BarrierKind kind) {
    return kind != BarrierKind::seal && kind != BarrierKind::spill;
}

struct Barrier {
    BarrierNumber number = 0;
    BarrierKind kind = BarrierKind::tick;
    EventTime time = 0;   // what it decides, by kind
    EventTime clock = 0;  // wall clock of the decision, never below that of an earlier barrier
    std::vector<Partition> idle;  // kind idle only
    // Kind reload only: what takes over, as the daemon writes it (daemon/reload.h). For the journal
    // it is text.
    std::string reload = {};
    Offsets next_offsets;  // where it was applied; complete once every worker has answered
};

}  // namespace sluice::model
