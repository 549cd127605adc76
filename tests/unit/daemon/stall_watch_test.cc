#include "daemon/stall_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace sluice::daemon {
namespace {

class FakeClock final : public model::Clock {
 public:
    model::EventTime wall_ms() const override { return 0; }
    std::int64_t steady_ns() const override { return now_ms * 1'000'000; }
    std::atomic<std::int64_t> now_ms{1'000};
};

TEST(StallWatch, SaysWhileNothingMovesAndOnceThatItMovesAgain) {
    FakeClock clock;
    std::mutex mutex;
    std::condition_variable said;
    std::vector<std::int64_t> stalls;
    StallWatch watch(clock, 10'000, [&](std::int64_t stalled_ms) {
        const std::lock_guard lock(mutex);
        stalls.push_back(stalled_ms);
        said.notify_one();
    });
    clock.now_ms = 10'000;
    watch.moved();
    clock.now_ms = 21'000;
    std::unique_lock lock(mutex);
    said.wait(lock, [&] { return stalls.size() >= 2; });
    EXPECT_EQ(stalls.front(), 11'000);
    EXPECT_EQ(stalls[1], 11'000) << "again with each look";
    watch.moved();
    said.wait(lock, [&] { return stalls.back() == 0; });
}

}  // namespace
}  // namespace sluice::daemon
