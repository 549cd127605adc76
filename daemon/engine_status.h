// What the status says of an engine, gathered from its parts.
//
// Thread: one (main), while the engine is there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/coordinator.h"
#include "daemon/status.h"
#include "daemon/watch.h"

namespace sluice::daemon {

class Engine;

// What a start is about: one of RestoreStatus::phase.
std::string_view restore_phase(const Engine& engine);

// How the restore went, or goes.
void show_restore(Status& status, const Engine& engine);
// What was restored, for as long as nothing runs that would say more.
void show_restored(Status& status, const Engine& engine);

// What only the parts of a running engine know, and the status has no room for.
struct Found {
    std::string trouble;  // the last thing that the log complained about
    std::string stopped;  // a record, or a full dead-letter file, holds the input
    std::string gone;     // offsets that Kafka does not have any more
    std::uint64_t records = 0;
};
Found show_running(Status& status, Engine& engine, const Coordinator::Report& report,
                   const Watch::Seen& seen);

}  // namespace sluice::daemon
