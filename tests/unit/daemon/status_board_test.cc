#include "daemon/status_board.h"

#include <gtest/gtest.h>

#include "tests/unit/fake_clock.h"

namespace sluice::daemon {
namespace {

class StatusBoardTest : public testing::Test {
 protected:
    bool publish(bool gate_open, RunState state = RunState::running) {
        Status status = board_.current();
        status.state = state;
        return board_.publish(std::move(status), gate_open);
    }
    void all_well() {
        for (const char* name : {"restore", "kafka", "sink", "disk", "state"}) {
            board_.set_condition(name, true, "");
        }
    }

    test::FakeClock clock_;
    StatusBoard board_{clock_};
};

TEST_F(StatusBoardTest, IsReadyOnceTheGateIsOpenAndEverythingIsWell) {
    EXPECT_FALSE(publish(true, RunState::restoring));
    all_well();
    EXPECT_FALSE(publish(false, RunState::restoring));
    EXPECT_FALSE(board_.current().ready);
    EXPECT_TRUE(publish(true));
    EXPECT_TRUE(board_.current().ready);
    EXPECT_FALSE(publish(true)) << "the first time comes once";
    EXPECT_TRUE(board_.was_ready());
}

TEST_F(StatusBoardTest, AShortTroubleDegradesAndDoesNotFlipReadiness) {
    all_well();
    board_.set_condition("sink", false, "connecting");
    publish(true);
    EXPECT_FALSE(board_.current().ready) << "before the first time it counts at once";
    board_.set_condition("sink", true, "");
    publish(true);
    board_.set_condition("sink", false, "connection refused");
    clock_.advance(4'999);
    publish(true);
    EXPECT_TRUE(board_.current().ready);
    EXPECT_EQ(board_.current().state, RunState::degraded);
    board_.set_condition("sink", false, "still refused");
    clock_.advance(1);
    publish(true);
    EXPECT_FALSE(board_.current().ready) << "another reason is no new trouble";
    EXPECT_EQ(board_.current().conditions[3].reason, "still refused");
    board_.set_condition("sink", true, "");
    publish(true);
    EXPECT_TRUE(board_.current().ready);
    EXPECT_EQ(board_.current().conditions[3].reason, "");
}

// As it is for a moment behind every gate and every reload.
TEST_F(StatusBoardTest, ToConnectIsNoTrouble) {
    all_well();
    publish(true);
    board_.set_condition("sink", false, std::string(kConnecting));
    publish(true);
    EXPECT_EQ(board_.current().state, RunState::running);
    clock_.advance(5'000);
    publish(true);
    EXPECT_FALSE(board_.current().ready) << "it does not last";
}

TEST_F(StatusBoardTest, RatesBecomeZero) {
    publish(true);
    clock_.advance(200);
    board_.rates(100, 10);
    for (int i = 0; i < 100; ++i) {
        publish(true);
        clock_.advance(200);
        board_.rates(100, 10);
    }
    publish(true);
    clock_.advance(200);
    EXPECT_EQ(board_.rates(100, 10).records_per_second, 0);
    EXPECT_EQ(board_.rates(100, 10).results_per_second, 0);
}

TEST_F(StatusBoardTest, AStateIsSinceItsLastChange) {
    all_well();
    publish(true);
    const model::EventTime since = board_.current().since;
    clock_.advance(300);
    publish(true);
    EXPECT_EQ(board_.current().since, since);
    publish(true, RunState::stopping);
    EXPECT_EQ(board_.current().since, clock_.wall_ms());
}

TEST_F(StatusBoardTest, RatesAreOverTheTimeSinceTheLastPublication) {
    publish(true);
    EXPECT_FALSE(board_.due());
    clock_.advance(200);
    EXPECT_TRUE(board_.due());
    EXPECT_DOUBLE_EQ(board_.rates(100, 10).records_per_second, 0.2 * 500);
    publish(true);
    clock_.advance(200);
    EXPECT_DOUBLE_EQ(board_.rates(200, 20).records_per_second, 0.8 * 100 + 0.2 * 500);
}

TEST_F(StatusBoardTest, AStalledStartIsSeenWithoutTheThreadThatWaits) {
    board_.set_condition("restore", false, "restoring");
    board_.change([](Status& status) { status.restore.phase = "verify"; });
    publish(false, RunState::restoring);
    EXPECT_EQ(board_.stalled(12'000, "no progress for 12s"), "verify");
    EXPECT_EQ(board_.current().restore.stalled_ms, 12'000);
    EXPECT_EQ(board_.current().conditions[0].reason, "restoring: no progress for 12s");
    board_.stalled(0, "");
    EXPECT_EQ(board_.current().conditions[0].reason, "restoring");
}

}  // namespace
}  // namespace sluice::daemon
