#include "daemon/stall_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "tests/unit/fake_clock.h"

namespace sluice::daemon {
namespace {

TEST(StallWatch, SaysWhileNothingMovesAndOnceThatItMovesAgain) {
    test::FakeClock clock;
    std::mutex mutex;
    std::condition_variable said;
    std::vector<std::int64_t> stalls;
    StallWatch watch(clock, 10'000, [&](std::int64_t stalled_ms) {
        const std::lock_guard lock(mutex);
        stalls.push_back(stalled_ms);
        said.notify_one();
    });
    clock.advance(9'000);
    watch.moved();
    clock.advance(11'000);
    std::unique_lock lock(mutex);
    said.wait(lock, [&] { return stalls.size() >= 2; });
    EXPECT_EQ(stalls.front(), 11'000);
    EXPECT_EQ(stalls[1], 11'000) << "again with each look";
    watch.moved();
    said.wait(lock, [&] { return stalls.back() == 0; });
}

}  // namespace
}  // namespace sluice::daemon
