#include "daemon/checkpoint_schedule.h"

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

TEST(CheckpointSchedule, OneIsDueAnIntervalAfterTheLastBegan) {
    CheckpointSchedule schedule(10'000, 500);
    schedule.look(10'499);
    EXPECT_FALSE(schedule.wanted());
    schedule.look(10'500);
    EXPECT_TRUE(schedule.wanted());
    schedule.begin(11'000);
    EXPECT_FALSE(schedule.wanted());
    schedule.committed(5'000'000'000);
    EXPECT_EQ(schedule.interval_ms(), 20'000);
    schedule.look(30'999);
    EXPECT_FALSE(schedule.wanted());
    schedule.look(31'000);
    EXPECT_TRUE(schedule.wanted());
}

TEST(CheckpointSchedule, ARequestIsAnsweredByACheckpointThatBeginsBehindIt) {
    CheckpointSchedule schedule(10'000, 0);
    const std::uint64_t first = schedule.request();
    schedule.look(1);
    EXPECT_TRUE(schedule.wanted());
    schedule.begin(1);
    const std::uint64_t second = schedule.request();
    schedule.committed(0);
    EXPECT_TRUE(schedule.done(first));
    EXPECT_FALSE(schedule.done(second)) << "what came before it may not be in that one";
    schedule.look(2);
    EXPECT_TRUE(schedule.wanted());
    schedule.begin(2);
    schedule.committed(0);
    EXPECT_TRUE(schedule.done(second));
}

TEST(CheckpointSchedule, OneThatWasSkippedIsWantedStillAndNotAtOnce) {
    CheckpointSchedule schedule(10'000, 0);
    const std::uint64_t ticket = schedule.request();
    schedule.look(100);
    schedule.begin(100);
    schedule.note_skipped(200);
    EXPECT_TRUE(schedule.skipped(ticket));
    EXPECT_FALSE(schedule.done(ticket));
    EXPECT_TRUE(schedule.wanted());
    EXPECT_FALSE(schedule.may_begin(1'199));
    EXPECT_TRUE(schedule.may_begin(1'200));
    schedule.begin(1'200);
    schedule.committed(0);
    EXPECT_TRUE(schedule.done(ticket));
    EXPECT_TRUE(schedule.may_begin(1'200));
}

}  // namespace
}  // namespace sluice::daemon
