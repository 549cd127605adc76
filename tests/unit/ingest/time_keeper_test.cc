#include "ingest/time_keeper.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::ingest {
namespace {

using model::Barrier;
using model::BarrierKind;
using model::EventTime;
using model::kAfterAll;
using model::kBeforeAll;

class SteppedClock final : public model::Clock {
 public:
    EventTime wall_ms() const override { return wall; }
    std::int64_t steady_ns() const override { return steady * 1'000'000; }
    void pass(std::int64_t ms) {
        wall += ms;
        steady += ms;
    }
    EventTime wall = 1'000'000;
    std::int64_t steady = 500;
};

// As in "cut 1200; idle clicks[0],clicks[1]".
std::string told(const std::vector<Barrier>& barriers) {
    std::string out;
    for (const auto& b : barriers) {
        out += out.empty() ? "" : "; ";
        switch (b.kind) {
            case BarrierKind::cut:
                out += "cut " + std::to_string(b.time);
                break;
            case BarrierKind::tick:
                out += "tick " + std::to_string(b.time);
                break;
            case BarrierKind::cap:
                out += "cap " + std::to_string(b.time);
                break;
            case BarrierKind::idle: {
                out += "idle";
                const char* separator = " ";
                for (const auto& p : b.idle) {
                    out += separator + to_string(p);
                    separator = ",";
                }
                break;
            }
            default:
                out += "?";
        }
    }
    return out;
}

class TimeKeeperTest : public ::testing::Test {
 protected:
    TimeKeeperTest() {
        pipeline.source.out_of_order_ms = 100;
        pipeline.source.idle_after_ms = 60'000;
        pipeline.source.max_future_skew_ms.reset();
    }
    // Windows of 1 s in event time, or of 15 s in processing time.
    void reduction(config::TimeKind time, model::DurationMs window,
                   model::DurationMs lateness = 0) {
        config::Reduction r;
        r.time = time;
        r.window_ms = window;
        r.allowed_lateness_ms = lateness;
        pipeline.reductions.push_back(std::move(r));
        view.open.emplace_back();
    }
    PartitionView& partition(EventTime greatest) {
        PartitionView p;
        p.partition = {"clicks", static_cast<std::int32_t>(view.partitions.size())};
        p.greatest = greatest;
        p.watermark = greatest == kBeforeAll ? kBeforeAll : greatest - 100;
        p.last_arrival_ms = clock.steady;
        view.partitions.push_back(p);
        return view.partitions.back();
    }
    TimeKeeper keeper() { return TimeKeeper(pipeline, clock, state); }

    config::Pipeline pipeline;
    SteppedClock clock;
    TimeKeeperState state;
    TimeView view;
};

// ---- Cuts

TEST_F(TimeKeeperTest, WithoutIdlePartitionsTheWatermarkIsEnough) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(3500);
    view.open[0] = {2000, 6000};
    auto k = keeper();
    EXPECT_EQ(k.watermark(view), 3400);
    EXPECT_EQ(told(k.decide(view)), "");
    EXPECT_TRUE(k.event_time_reached(view, 3000));
    EXPECT_TRUE(k.event_time_reached(view, 3400));
    EXPECT_FALSE(k.event_time_reached(view, 3401));
}

TEST_F(TimeKeeperTest, APartitionWithoutRecordsHoldsItBack) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(kBeforeAll);
    view.open[0] = {2000, 6000};
    auto k = keeper();
    EXPECT_EQ(k.watermark(view), kBeforeAll);
    EXPECT_FALSE(k.event_time_reached(view, 2000));
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, WhileOneIsIdleWindowsCloseBehindCutsOnly) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(1500).idle = true;
    view.open[0] = {2000, 6000};
    auto k = keeper();
    EXPECT_EQ(k.watermark(view), 4900);
    EXPECT_FALSE(k.event_time_reached(view, 2000)) << "never on the watermark alone";
    EXPECT_EQ(told(k.decide(view)), "cut 4900");
    EXPECT_TRUE(k.event_time_reached(view, 4000));
    EXPECT_TRUE(k.event_time_reached(view, 4900));
    EXPECT_FALSE(k.event_time_reached(view, 5000));
    EXPECT_EQ(told(k.decide(view)), "") << "once";
}

TEST_F(TimeKeeperTest, NoCutThatClosesNothing) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(1500).idle = true;
    view.open[0] = {5000, 6000};
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "");
    view.partitions[0].watermark = 5000;
    EXPECT_EQ(told(k.decide(view)), "cut 5000");
    view.open[0] = {6000, 6000};
    view.partitions[0].watermark = 5999;
    EXPECT_EQ(told(k.decide(view)), "");
    view.partitions[0].watermark = 6100;
    EXPECT_EQ(told(k.decide(view)), "cut 6100");
}

TEST_F(TimeKeeperTest, ClosedWindowsThatAreNotYetWrittenDoNotHoldCutsBack) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(1500).idle = true;
    view.open[0] = {2000, 7000};
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "cut 4900");
    view.partitions[0].watermark = 4950;
    EXPECT_EQ(told(k.decide(view)), "") << "no deadline between 4900 and 4950";
    view.partitions[0].watermark = 5000;
    EXPECT_EQ(told(k.decide(view)), "cut 5000");
}

TEST_F(TimeKeeperTest, AllowedLatenessMovesTheDeadline) {
    reduction(config::TimeKind::event, 1000, 500);
    partition(2400 + 100);
    partition(1500).idle = true;
    view.open[0] = {2000, 2000};
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "");
    view.partitions[0].watermark = 2500;
    EXPECT_EQ(told(k.decide(view)), "cut 2500");
}

TEST_F(TimeKeeperTest, FoundPartitionsBeginBehindACutWithTheWatermark) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    auto k = keeper();
    view.take_up = true;
    EXPECT_EQ(told(k.decide(view)), "cut 4900");
    EXPECT_EQ(told(k.decide(view)), "") << "the floor holds for them already";
    view.partitions[0].watermark = kBeforeAll;
    auto fresh = keeper();
    EXPECT_EQ(told(fresh.decide(view)), "") << "there is nothing to carry";
}

// ---- Idleness

TEST_F(TimeKeeperTest, APartitionAtItsEndBecomesIdle) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(kBeforeAll).quiet_since_ms = clock.steady;
    view.open[0] = {6000, 6000};
    auto k = keeper();
    clock.pass(59'999);
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(1);
    const auto due = k.decide(view);
    EXPECT_EQ(told(due), "idle clicks[1]");
    EXPECT_EQ(due[0].clock, clock.wall);
}

TEST_F(TimeKeeperTest, IdlenessAndTheCutThatItAllowsComeTogether) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    partition(1500).quiet_since_ms = clock.steady;
    view.open[0] = {2000, 6000};
    auto k = keeper();
    clock.pass(60'000);
    EXPECT_EQ(told(k.decide(view)), "idle clicks[1]; cut 4900");
}

TEST_F(TimeKeeperTest, NeverIdleIfToldSo) {
    reduction(config::TimeKind::event, 1000);
    pipeline.source.idle_after_ms.reset();
    partition(5000).quiet_since_ms = clock.steady;
    view.open[0] = {6000, 6000};
    auto k = keeper();
    clock.pass(1'000'000);
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, WhatIsBusyOrPausedIsNotIdle) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    auto k = keeper();
    clock.pass(1'000'000);
    EXPECT_EQ(told(k.decide(view)), "") << "quiet_since is not set";
}

// ---- All idle

TEST_F(TimeKeeperTest, WhenAllAreIdleTimeGoesOnFromTheLastRecord) {
    reduction(config::TimeKind::event, 1000);
    partition(5000).idle = true;
    partition(5600).idle = true;
    view.partitions[0].last_arrival_ms = clock.steady - 300;
    view.open[0] = {6000, 6000};
    auto k = keeper();
    // 5600 + 0 - 100: the last arrival counts, the greatest timestamp over all.
    EXPECT_EQ(told(k.decide(view)), "");
    EXPECT_EQ(k.watermark(view), kBeforeAll);
    clock.pass(499);
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(1);
    EXPECT_EQ(told(k.decide(view)), "cut 6000");
    view.open[0] = {};
    clock.pass(100'000);
    EXPECT_EQ(told(k.decide(view)), "") << "when nothing is open, nothing is cut";
}

TEST_F(TimeKeeperTest, NeverBeyondTheGreatestEndOfWhatIsOpen) {
    reduction(config::TimeKind::event, 1000, 500);
    partition(5600).idle = true;
    view.open[0] = {6000, 8000};
    auto k = keeper();
    clock.pass(3'600'000);
    EXPECT_EQ(told(k.decide(view)), "cut 8500");
    // An outage of the producer makes nothing late that was not open.
    EXPECT_EQ(k.state().floor, 8500);
}

TEST_F(TimeKeeperTest, AllIdleWithoutAnyRecordIsNothing) {
    reduction(config::TimeKind::event, 1000);
    partition(kBeforeAll).idle = true;
    partition(kBeforeAll).idle = true;
    auto k = keeper();
    clock.pass(3'600'000);
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, AllIdleDoesNotDependOnTheWallClock) {
    reduction(config::TimeKind::event, 1000);
    partition(5600).idle = true;
    view.open[0] = {6000, 6000};
    auto k = keeper();
    clock.wall += 3'600'000;
    EXPECT_EQ(told(k.decide(view)), "");
    clock.wall -= 7'200'000;
    clock.steady += 500;
    EXPECT_EQ(told(k.decide(view)), "cut 6000");
}

TEST_F(TimeKeeperTest, HistoricalDataClosesToo) {
    reduction(config::TimeKind::event, 1000);
    partition(-5'000'000).idle = true;
    view.open[0] = {-5'000'000 + 1000, -5'000'000 + 1000};
    auto k = keeper();
    clock.pass(1100);
    EXPECT_EQ(told(k.decide(view)), "cut -4999000");
}

// ---- Ticks

TEST_F(TimeKeeperTest, ATickAtTheStartAndAtEachBoundary) {
    reduction(config::TimeKind::processing, 15'000);
    partition(5000);
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "tick 31000");
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(13'999);
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(1);
    EXPECT_EQ(told(k.decide(view)), "tick 45000");
    clock.pass(15'040);
    EXPECT_EQ(told(k.decide(view)), "tick 60040");
    clock.pass(14'959);
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(1);
    EXPECT_EQ(told(k.decide(view)), "tick 75000");
}

TEST_F(TimeKeeperTest, BoundariesOfAllReductionsCount) {
    reduction(config::TimeKind::processing, 10'000);
    reduction(config::TimeKind::processing, 15'000);
    reduction(config::TimeKind::event, 1'000);
    pipeline.reductions[1].offset_ms = 1'000;
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "tick 31000");
    clock.wall = 40'000;
    EXPECT_EQ(told(k.decide(view)), "tick 40000");
    clock.wall = 45'999;
    EXPECT_EQ(told(k.decide(view)), "");
    clock.wall = 46'000;
    EXPECT_EQ(told(k.decide(view)), "tick 46000");
}

TEST_F(TimeKeeperTest, NoTicksInEventTime) {
    reduction(config::TimeKind::event, 1000);
    partition(5000);
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, ClocksNeverStepBack) {
    reduction(config::TimeKind::processing, 15'000);
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "tick 31000");
    clock.wall = 10'000;
    EXPECT_EQ(told(k.decide(view)), "");
    EXPECT_EQ(k.next_clock(), 31'000);
    clock.wall = 45'000;
    const auto due = k.decide(view);
    EXPECT_EQ(told(due), "tick 45000");
    EXPECT_EQ(due[0].clock, 45'000);
    EXPECT_EQ(k.next_clock(), 45'000);
}

TEST_F(TimeKeeperTest, AStallIsOneTick) {
    reduction(config::TimeKind::processing, 15'000);
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "tick 31000");
    clock.pass(100'000);
    EXPECT_EQ(told(k.decide(view)), "tick 131000");
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, ARestartGoesOnFromTheJournal) {
    reduction(config::TimeKind::processing, 15'000);
    reduction(config::TimeKind::event, 1'000);
    clock.wall = 31'000;
    auto k = keeper();
    Barrier b;
    b.kind = BarrierKind::tick;
    b.time = 61'000;
    b.clock = 61'000;
    k.replayed(b);
    b.kind = BarrierKind::cut;
    b.time = 5'000;
    b.clock = 62'000;
    k.replayed(b);
    b.kind = BarrierKind::cap;
    b.time = 70'000;
    k.replayed(b);
    EXPECT_EQ(k.state(), (TimeKeeperState{62'000, 61'000, 5'000, 70'000}));
    EXPECT_EQ(told(k.decide(view)), "tick 62000") << "one at the start, and the clock holds still";
    clock.wall = 76'000;
    EXPECT_EQ(told(k.decide(view)), "tick 76000");
}

// ---- Caps

TEST_F(TimeKeeperTest, TheFirstCapComesBeforeAnyRecord) {
    pipeline.source.max_future_skew_ms = 300'000;
    reduction(config::TimeKind::event, 1000);
    auto k = keeper();
    const auto due = k.decide(view);
    EXPECT_EQ(told(due), "cap 1300000");
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, ACapIsRenewedWhenAskedAtMostOnceASecond) {
    pipeline.source.max_future_skew_ms = 300'000;
    reduction(config::TimeKind::event, 1000);
    auto k = keeper();
    k.decide(view);
    clock.pass(100'000);
    EXPECT_EQ(told(k.decide(view)), "");
    view.cap_wanted = true;
    EXPECT_EQ(told(k.decide(view)), "cap 1400000");
    clock.pass(999);
    EXPECT_EQ(told(k.decide(view)), "");
    clock.pass(1);
    EXPECT_EQ(told(k.decide(view)), "cap 1401000");
    clock.steady += 5000;
    EXPECT_EQ(told(k.decide(view)), "") << "the wall clock stands: a new cap would change nothing";
}

TEST_F(TimeKeeperTest, WithoutAGuardNoCaps) {
    reduction(config::TimeKind::event, 1000);
    view.cap_wanted = true;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "");
}

// ---- The end of the input

TEST_F(TimeKeeperTest, FinishingClosesEverythingOpen) {
    reduction(config::TimeKind::event, 1000, 200);
    reduction(config::TimeKind::event, 10'000);
    reduction(config::TimeKind::processing, 15'000);
    partition(5500);
    partition(kBeforeAll);
    view.open[0] = {4000, 6000};
    view.open[1] = {10'000, 10'000};
    view.open[2] = {45'000, 45'000};
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "tick 31000");
    view.finish = true;
    EXPECT_EQ(told(k.decide(view)), "cut 10000; tick 45000");
    EXPECT_EQ(told(k.decide(view)), "");
    EXPECT_TRUE(k.event_time_reached(view, 6200));
}

TEST_F(TimeKeeperTest, FinishingWithNothingOpenDoesNothing) {
    reduction(config::TimeKind::event, 1000);
    reduction(config::TimeKind::processing, 15'000);
    partition(5500);
    clock.wall = 31'000;
    auto k = keeper();
    k.decide(view);
    view.finish = true;
    EXPECT_EQ(told(k.decide(view)), "");
}

TEST_F(TimeKeeperTest, WindowsThatOnlyGuardedRecordsReachedStayOpen) {
    reduction(config::TimeKind::event, 1000);
    partition(5500);
    view.open[0] = {6000, 99'000};
    view.finish = true;
    auto k = keeper();
    EXPECT_EQ(told(k.decide(view)), "cut 6000");
    view.open[0] = {99'000, 99'000};
    EXPECT_EQ(told(k.decide(view)), "");
    view.partitions[0].greatest = kBeforeAll;
    auto fresh = keeper();
    EXPECT_EQ(told(fresh.decide(view)), "");
}

TEST_F(TimeKeeperTest, AProcessingTimeWindowThatWasClosedStaysClosed) {
    reduction(config::TimeKind::processing, 15'000);
    view.open[0] = {45'000, 45'000};
    clock.wall = 31'000;
    auto k = keeper();
    k.decide(view);
    view.finish = true;
    EXPECT_EQ(told(k.decide(view)), "tick 45000");
    // The next run, in the same window by the clock.
    state = k.state();
    clock.wall = 40'000;
    view.finish = false;
    view.open[0] = {};
    auto next = keeper();
    EXPECT_EQ(told(next.decide(view)), "tick 45000");
    clock.wall = 59'999;
    EXPECT_EQ(told(next.decide(view)), "");
    clock.wall = 60'000;
    EXPECT_EQ(told(next.decide(view)), "tick 60000");
}

// ---- When to look again

TEST_F(TimeKeeperTest, LooksAgainInTime) {
    reduction(config::TimeKind::processing, 15'000);
    clock.wall = 31'000;
    auto k = keeper();
    EXPECT_EQ(k.next_decision_ms(view), clock.steady) << "the first tick is due";
    k.decide(view);
    EXPECT_EQ(k.next_decision_ms(view), clock.steady + 1000) << "at least once a second";
    clock.wall = 44'900;
    EXPECT_EQ(k.next_decision_ms(view), clock.steady + 100);
    clock.wall = 45'100;
    EXPECT_EQ(k.next_decision_ms(view), clock.steady);
}

TEST_F(TimeKeeperTest, LooksAgainForIdlenessAndForTheLastWindow) {
    reduction(config::TimeKind::event, 1'000);
    auto& p = partition(5600);
    p.quiet_since_ms = clock.steady - 59'700;
    auto k = keeper();
    EXPECT_EQ(k.next_decision_ms(view), clock.steady + 300);
    p.idle = true;
    view.open[0] = {6000, 6000};
    EXPECT_EQ(k.next_decision_ms(view), clock.steady + 500);
    clock.pass(500);
    EXPECT_EQ(k.next_decision_ms(view), clock.steady);
}

}  // namespace
}  // namespace sluice::ingest
