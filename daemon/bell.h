// Wakes one sleeping thread. A ring before the wait is not lost. Thread: any.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace sluice::daemon {

class Bell {
 public:
    void ring() {
        {
            std::lock_guard lock(mutex_);
            pending_ = true;
        }
        rung_.notify_one();
    }
    void wait(std::int64_t timeout_ms) {
        std::unique_lock lock(mutex_);
        rung_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return pending_; });
        pending_ = false;
    }

 private:
    std::mutex mutex_;
    std::condition_variable rung_;
    bool pending_ = false;
};

// One for each thread that sleeps until another one has something for it.
struct Bells {
    Bell main, coordinator, fire, snapshot, savepoint, letters, watch;
};

}  // namespace sluice::daemon
