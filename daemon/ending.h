// What was asked of the daemon about its end. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "state/model/partition.h"

namespace sluice::daemon {

struct Ending {
    // With a savepoint, without one, or as [savepoint] on_stop says.
    enum class Farewell : std::uint8_t { policy, savepoint, no_savepoint };

    std::atomic<bool> requested = false;
    std::atomic<Farewell> farewell = Farewell::policy;
    std::atomic<bool> drain_requested = false;  // until somebody has asked the log for its ends
    std::atomic<bool> draining = false;         // the engine knows them

    // The ends of the log that a drain reads up to, between who asked for them and who tells the
    // engine.
    void set_drain_ends(model::Offsets ends) {
        std::lock_guard lock(mutex_);
        drain_ends_ = std::move(ends);
    }
    std::optional<model::Offsets> take_drain_ends() {
        std::lock_guard lock(mutex_);
        return std::exchange(drain_ends_, std::nullopt);
    }

 private:
    std::mutex mutex_;
    std::optional<model::Offsets> drain_ends_;  // guarded by mutex_
};

}  // namespace sluice::daemon
