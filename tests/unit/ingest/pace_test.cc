#include "ingest/pace.h"

#include <gtest/gtest.h>

namespace sluice::ingest {
namespace {

constexpr model::DurationMs kWindow = 1000;
constexpr model::EventTime kFar = 1'000'000;

// One that has taken records once a millisecond, `step` further each time.
PartitionPace moving(std::int64_t from_ms, std::int64_t to_ms, model::EventTime step) {
    PartitionPace pace(kWindow);
    model::EventTime watermark = 0;
    for (std::int64_t now = from_ms; now <= to_ms; ++now) {
        pace.took(now, watermark);
        watermark += step;
    }
    return pace;
}

TEST(Pace, WhoIsAheadWaitsForWhoeverHasRecords) {
    PartitionPace pace = moving(0, 30, 1);
    EXPECT_TRUE(pace.waits(31, kFar, kFar - 5 * kWindow));
    EXPECT_FALSE(pace.waits(31, kFar, kFar - 4 * kWindow));
    EXPECT_FALSE(pace.waits(31, kFar, kFar + kWindow));
    EXPECT_FALSE(pace.waits(31, kFar, model::kAfterAll)) << "nobody has records";
    EXPECT_FALSE(pace.waits(31, kFar, model::kBeforeAll)) << "nobody knows how far behind";
}

TEST(Pace, NobodyWaitsLong) {
    PartitionPace pace = moving(0, 30, 1);
    EXPECT_TRUE(pace.waits(30 + PartitionPace::kPatienceMs - 1, kFar, 0));
    EXPECT_FALSE(pace.waits(30 + PartitionPace::kPatienceMs, kFar, 0));
    pace.took(30 + PartitionPace::kPatienceMs, kFar);
    EXPECT_TRUE(pace.waits(31 + PartitionPace::kPatienceMs, kFar, 0));
}

TEST(Pace, WhoHasNothingDoesNotWait) {
    PartitionPace pace = moving(0, 30, 1);
    EXPECT_TRUE(pace.flowing());
    pace.stood();
    EXPECT_FALSE(pace.flowing());
    EXPECT_FALSE(pace.waits(31, kFar, 0));
    PartitionPace fresh(kWindow);
    EXPECT_FALSE(fresh.flowing());
    fresh.took(0, model::kBeforeAll);
    EXPECT_FALSE(fresh.waits(1, model::kBeforeAll, 0)) << "no record had a time";
}

// A window may be shorter than what flows in a moment: workers must not stop and go in turns.
TEST(Pace, AheadIsMeasuredByTheSpeed) {
    constexpr model::EventTime kStep = 1000 * kWindow;  // in a millisecond
    PartitionPace pace = moving(0, 100, kStep);
    const model::EventTime stride = PartitionPace::kStrideMs * kStep;
    EXPECT_FALSE(pace.waits(101, kFar, kFar - stride));
    EXPECT_TRUE(pace.waits(101, kFar, kFar - stride - 1));
    // A pause is no slow flow.
    pace.took(110, kFar);
    pace.took(125, kFar);
    EXPECT_FALSE(pace.waits(126, kFar, kFar - stride));
}

TEST(Pace, TheLeastOfAllWorkers) {
    Paces paces(2);
    EXPECT_EQ(paces.least(), model::kAfterAll);
    paces.tell(0, 7);
    paces.tell(1, 5);
    EXPECT_EQ(paces.least(), 5);
    paces.tell(1, model::kAfterAll);
    EXPECT_EQ(paces.least(), 7);
}

}  // namespace
}  // namespace sluice::ingest
