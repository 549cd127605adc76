#include "daemon/result_retention.h"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

ResultRetention::Limits limits(model::DurationMs duration_ms, std::uint64_t bytes = UINT64_MAX) {
    return {duration_ms, bytes};
}

TEST(ResultRetention, AFrontierIsPastWhenItHasStoodForItsRetention) {
    ResultRetention retention(limits(1'000), {model::kBeforeAll});
    EXPECT_TRUE(retention.note(0, 10, 100));
    EXPECT_FALSE(retention.note(0, 10, 150)) << "the same one counts from when it was first seen";
    EXPECT_TRUE(retention.note(0, 20, 200));
    EXPECT_EQ(retention.past(0, 1'099), model::kBeforeAll);
    EXPECT_EQ(retention.past(0, 1'100), 10);
    EXPECT_EQ(retention.past(0, 1'200), 20);
    EXPECT_EQ(retention.reach(300), 200);
}

TEST(ResultRetention, WhatWasDroppedInAnEarlierRunIsPast) {
    ResultRetention retention(limits(1'000), {5});
    EXPECT_EQ(retention.past(0, 0), 5);
    retention.note(0, 10, 0);
    EXPECT_EQ(retention.past(0, 0), 5);
}

TEST(ResultRetention, WhatRedisLostBeginsItsRetentionAnew) {
    ResultRetention retention(limits(1'000), {model::kBeforeAll});
    retention.note(0, 10, 100);
    retention.note(0, 20, 200);
    EXPECT_FALSE(retention.note(0, 10, 300)) << "it fell";
    EXPECT_TRUE(retention.note(0, 20, 900));
    EXPECT_EQ(retention.past(0, 1'200), 10);
    EXPECT_EQ(retention.past(0, 1'900), 20);
}

TEST(ResultRetention, BeyondTheBytesTheOldestGoesFirstOfWhicheverReduction) {
    ResultRetention retention(limits(1'000'000, 100), {model::kBeforeAll, model::kBeforeAll});
    retention.note(0, 10, 2);
    retention.note(1, 30, 1);
    retention.note(0, 20, 3);
    const auto stretches = retention.stretches();
    ASSERT_EQ(stretches.size(), 3u);
    EXPECT_EQ(stretches[1].after, 10);
    EXPECT_EQ(stretches[1].up_to, 20);
    for (const auto& stretch : stretches) {
        retention.measured(stretch, 50);
    }
    retention.give_up_surplus();
    EXPECT_EQ(retention.given_up(), 1u);
    EXPECT_EQ(retention.past(1, 4), 30);
    EXPECT_EQ(retention.past(0, 4), model::kBeforeAll);
    retention.give_up_surplus();
    EXPECT_EQ(retention.given_up(), 1u) << "what is left fits";
}

TEST(ResultRetention, AStretchThatExpiredWhileItWasMeasuredIsForgotten) {
    ResultRetention retention(limits(1'000), {model::kBeforeAll});
    retention.note(0, 10, 0);
    retention.note(0, 20, 0);
    const auto stretches = retention.stretches();
    retention.expire(0, 10);
    retention.measured(stretches[0], 7);
    retention.measured(stretches[1], 7);
    ASSERT_EQ(retention.stretches().size(), 1u);
    EXPECT_EQ(retention.stretches()[0].after, 10);
    EXPECT_EQ(retention.reach(500), 500);
}

}  // namespace
}  // namespace sluice::daemon
