// Notices that a start does not move: one piece of it (a read of a dead disk, a network file system
// that does not answer) that does not come back. The thread that waits for it cannot say so itself,
// and the service manager's watchdog runs from READY on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "state/model/clock.h"

namespace sluice::daemon {

// Life: watches from construction to destruction, on a thread of its own, `stall`.
class StallWatch {
 public:
    // Called on that thread, every second while nothing has moved for at least `limit_ms`, with for
    // how long, and once with 0 when it moves again.
    using Say = std::function<void(std::int64_t stalled_ms)>;
    // `clock` must outlive it.
    StallWatch(const model::Clock& clock, std::int64_t limit_ms, Say say);
    ~StallWatch();
    StallWatch(const StallWatch&) = delete;
    StallWatch& operator=(const StallWatch&) = delete;

    // A piece of work came back. Thread: any.
    void moved() { moved_ms_.store(clock_.steady_ms(), std::memory_order_relaxed); }

 private:
    void run();

    const model::Clock& clock_;
    const std::int64_t limit_ms_;
    const Say say_;
    std::atomic<std::int64_t> moved_ms_;
    bool said_ = false;  // own thread
    std::mutex mutex_;
    std::condition_variable stop_;
    bool stopping_ = false;  // guarded by mutex_
    std::thread thread_;     // last: it uses all of the above
};

}  // namespace sluice::daemon
