// One pipeline, from Kafka to Redis, under one seeded scheduler: the daemon's own worker,
// coordinator, emitter, snapshotter and sink, over a simulated log, disk, Redis and clock; RocksDB
// for real, on the simulated disk, its background work run as steps.
//
// One seed is one run, repeatable to the byte. At random steps the process dies (what was not
// synced is lost or torn, or only what was not flushed) and a new one starts on what is left; Redis
// loses data; the log is away. In the end Redis must hold what the rules say (rules.h), no final
// value ever changed, and no record was handed out before the gate.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::simulation {

struct Run {
    std::string failure;  // empty: all is well
    std::uint64_t steps = 0;
    std::uint64_t crashes = 0;
    std::uint64_t checkpoints = 0;
    std::uint64_t records = 0;
    std::uint64_t keys = 0;
    std::uint64_t losses = 0;        // of Redis' data
    std::uint64_t damages = 0;       // of a checkpoint's file
    std::uint64_t fresh_starts = 0;  // lineages that replaced another one
    std::uint64_t barriers = 0;
    std::uint64_t reloads = 0;       // edits that took over
    std::uint64_t live_reloads = 0;  // of them without a restart
    std::uint64_t ends = 0;          // stops and drains that came to their end
    std::uint64_t savepoints = 0;    // taken
    std::uint64_t completions = 0;   // savepoints seen standing alone
    std::uint64_t rollbacks = 0;     // lives that began from a savepoint
    std::uint64_t replays = 0;       // lives that had something to replay
    std::uint64_t full_disks = 0;    // times that the disk had no more room for a while
    std::uint64_t disk_deaths = 0;   // lives that ended because the disk failed or was full
    std::uint64_t trace = 0;         // hash over what happened: equal for equal seeds
};

struct Limits {
    bool narrate = false;  // every life, crash and fault to stderr
};

Run simulate(std::uint64_t seed, const Limits& limits = {});

}  // namespace sluice::simulation
