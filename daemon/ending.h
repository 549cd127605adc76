// What was asked of the daemon about its end. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::daemon {

struct Ending {
    // With a savepoint, without one, or as [savepoint] on_stop says.
    enum class Farewell : std::uint8_t { policy, savepoint, no_savepoint };

    std::atomic<bool> requested = false;
    std::atomic<Farewell> farewell = Farewell::policy;
    std::atomic<bool> drain_requested = false;  // until somebody has asked the log for its ends
    std::atomic<bool> draining = false;         // the engine knows them
};

}  // namespace sluice::daemon
