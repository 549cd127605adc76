#include "daemon/watch.h"

#include "daemon/file_system.h"
#include "tests/unit/daemon/engine_fixture.h"

namespace sluice::daemon {
namespace {

class WatchTest : public test::RunningEngine {
 protected:
    Watch make_watch(bool look_for_partitions = true) {
        return Watch({.pipeline = pipeline_,
                      .engine = *engine_,
                      .log = log_,
                      .disk = disk_,
                      .ballast = ballast_,
                      .clock = clock_,
                      .ending = ending_,
                      .bells = bells_,
                      .look_for_partitions = look_for_partitions});
    }
    std::string paused() const { return engine_->coordinator().report().input_paused_reason; }
    // What the coordinator says once it has heard of the watch's last look.
    std::string paused_now() {
        int steps = 0;
        run([&] { return ++steps == 200; });
        return paused();
    }
    // Everything that is in the log now has been read.
    void read_all() {
        run([&] { return log_.records_handed_out() >= records_; });
    }

    std::uint64_t records_ = 6;
    Ballast ballast_{"/nowhere", 0};
    Ending ending_;
    Bells bells_;
};

TEST_F(WatchTest, SaysWhereTheLogEndsAndHowTheDiskIs) {
    Watch watch = make_watch();
    EXPECT_TRUE(watch.seen().ends.empty());
    watch.step();
    const Watch::Seen seen = watch.seen();
    EXPECT_EQ(seen.ends, (std::vector<std::optional<std::int64_t>>{3, 3}));
    EXPECT_EQ(seen.kafka_problem, "");
    EXPECT_EQ(seen.disk_problem, "");
    EXPECT_GT(seen.disk_free, 1u << 30);
    EXPECT_EQ(paused_now(), "");
}

TEST_F(WatchTest, ABrokerThatDoesNotAnswerHoldsNothing) {
    Watch watch = make_watch();
    watch.step();
    log_.set_available(false);
    watch.step();
    EXPECT_EQ(watch.seen().kafka_problem, "the simulated broker does not answer");
    EXPECT_EQ(watch.seen().ends, (std::vector<std::optional<std::int64_t>>{3, 3}))
        << "as they were";
    EXPECT_EQ(paused_now(), "");
}

TEST_F(WatchTest, ATopicThatWasAwayIsReadOnOnlyIfItIsTheSame) {
    Watch watch = make_watch();
    read_all();
    watch.step();
    log_.set_known(false);
    watch.step();
    EXPECT_EQ(paused_now(), "kafka: the simulated broker does not know the topic");
    log_.set_available(false);
    watch.step();
    EXPECT_TRUE(paused_now().starts_with("kafka: ")) << "nobody knows whether it is the same";

    log_.set_available(true);
    log_.set_known(true);
    watch.step();
    EXPECT_EQ(paused_now(), "") << "nothing had happened to it";

    log_.set_known(false);
    watch.step();
    log_.recreate("clicks");
    for (int i = 0; i < 4; ++i) {
        append(0, "other");
        append(1, "other");
    }
    log_.set_known(true);
    watch.step();
    EXPECT_TRUE(paused_now().starts_with("kafka: ")) << paused();
    EXPECT_NE(watch.seen().kafka_problem, "");
    watch.step();
    EXPECT_TRUE(paused_now().starts_with("kafka: ")) << "and so it stays";
}

TEST_F(WatchTest, InputIsHeldWhileTheDiskIsShortOfTheReserve) {
    pipeline_.state.reserve_bytes = 64 << 20;
    Watch watch = make_watch();
    disk_.set_budget(disk_.used_bytes() + (10 << 20) + 5);
    watch.step();
    EXPECT_EQ(watch.seen().disk_problem, "10 MiB are free, the reserve is 64 MiB");
    EXPECT_EQ(watch.seen().disk_free, (10u << 20) + 5);
    EXPECT_EQ(paused_now(), "disk: 10 MiB are free, the reserve is 64 MiB");
    disk_.set_budget(std::nullopt);
    watch.step();
    EXPECT_EQ(watch.seen().disk_problem, "");
    EXPECT_EQ(paused_now(), "");
}

TEST_F(WatchTest, ADrainLearnsTheEndsOnceAndFromBrokersThatAnswer) {
    Watch watch = make_watch();
    ending_.drain_requested = true;
    log_.set_available(false);
    watch.step();
    EXPECT_FALSE(ending_.take_drain_ends());
    EXPECT_TRUE(ending_.drain_requested) << "asked again";
    log_.set_available(true);
    append(1, "late");
    watch.step();
    const auto ends = ending_.take_drain_ends();
    ASSERT_TRUE(ends);
    EXPECT_EQ(*ends, (model::Offsets{{{"clicks", 0}, 3}, {{"clicks", 1}, 4}}));
    watch.step();
    EXPECT_FALSE(ending_.take_drain_ends()) << "once";
}

TEST_F(WatchTest, NewPartitionsAreLookedForEveryThirtySecondsUnlessItDrains) {
    Watch watch = make_watch();
    watch.step();
    log_.add_partition("clicks");
    append(2, "new");
    clock_.advance(29'999);
    watch.step();
    EXPECT_EQ(paused_now(), "");
    EXPECT_EQ(engine_->partitions().size(), 2u);
    ending_.draining = true;
    clock_.advance(30'000);
    watch.step();
    paused_now();
    EXPECT_EQ(log_.records_handed_out(), 6u) << "a drain ends at the ends it knows";
    ending_.draining = false;
    watch.step();
    records_ = 7;
    read_all();
}

}  // namespace
}  // namespace sluice::daemon
