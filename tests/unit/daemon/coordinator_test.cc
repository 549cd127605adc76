#include "daemon/coordinator.h"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

TEST(CheckpointInterval, StretchesWithTheCpuTimeOfTheLastOne) {
    EXPECT_EQ(effective_interval_ms(10'000, 0), 10'000);
    EXPECT_EQ(effective_interval_ms(10'000, 2'400'000'000), 10'000) << "cheap enough";
    EXPECT_EQ(effective_interval_ms(10'000, 5'000'000'000), 20'000);
    EXPECT_EQ(effective_interval_ms(10'000, 60'000'000'000), 100'000) << "at most ten intervals";
    EXPECT_EQ(effective_interval_ms(10'000, UINT64_MAX), 100'000);
}

}  // namespace
}  // namespace sluice::daemon
