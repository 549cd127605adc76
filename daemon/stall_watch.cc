#include "daemon/stall_watch.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "state/io/signals_blocked.h"

namespace sluice::daemon {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);

}  // namespace

StallWatch::StallWatch(const model::Clock& clock, std::int64_t limit_ms, Say say)
    : clock_(clock), limit_ms_(limit_ms), say_(std::move(say)), moved_ms_(clock.steady_ms()) {
    const state::SignalsBlocked blocked;
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "stall");
}

StallWatch::~StallWatch() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    stop_.notify_one();
    thread_.join();
}

void StallWatch::run() {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, kLookEvery, [this] { return stopping_; })) {
        const std::int64_t still_ms =
            clock_.steady_ms() - moved_ms_.load(std::memory_order_relaxed);
        if (still_ms >= limit_ms_) {
            said_ = true;
            say_(still_ms);
        } else if (std::exchange(said_, false)) {
            say_(0);
        }
    }
}

}  // namespace sluice::daemon
