#include "daemon/sink_handshake.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::daemon {
namespace {

using Mode = sinks::Begin::Mode;

// A state of lineage "mine" at barrier 40, whose reduction Redis had up to 9,000.
state::CheckpointMeta state_of_mine() {
    state::CheckpointMeta meta;
    meta.pipeline = "clicks";
    meta.lineage = "mine";
    meta.number = 40;
    state::ReductionMeta reduction;
    reduction.id = "spend";
    reduction.acknowledged = 9'000;
    meta.reductions.push_back(reduction);
    return meta;
}

// The same, begun from a savepoint of lineage "parent" at barrier 40.
state::CheckpointMeta state_begun_from_parent() {
    state::CheckpointMeta meta = state_of_mine();
    meta.origin_lineage = "parent";
    meta.origin_number = 40;
    meta.reset_sink = true;
    return meta;
}

sinks::ControlHash control_hash(const std::string& lineage, model::BarrierNumber barrier,
                                model::EventTime frontier) {
    sinks::ControlHash found;
    found.present = true;
    found.lineage = lineage;
    found.barrier = barrier;
    found.frontiers["spend"] = frontier;
    found.lanes["spend"][3] = sinks::LaneMark{};
    return found;
}

class Handshake : public testing::Test {
 protected:
    model::Result<sinks::Begin> agree_on(const sinks::ControlHash& found,
                                         model::BarrierNumber journal_end) {
        return agree(found, journal_end, meta_, [this](const std::string& line) { said_ += line; });
    }

    state::CheckpointMeta meta_ = state_of_mine();
    std::string said_;
};

TEST_F(Handshake, OurOwnHashIsGoneOnWith) {
    const auto begin = agree_on(control_hash("mine", 42, 9'500), 42);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::resume);
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{9'000});
}

TEST_F(Handshake, ARedisThatLostItAllIsNotRefused) {
    const auto begin = agree_on({}, 42);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::resume);
}

TEST_F(Handshake, AnotherStateOfTheSameNameIsRefused) {
    const auto begin = agree_on(control_hash("other", 1, 0), 42);
    ASSERT_FALSE(begin);
    EXPECT_EQ(begin.error().kind, model::ErrorKind::corrupt);
    EXPECT_NE(begin.error().text.find("lineage other"), std::string::npos) << begin.error().text;
    EXPECT_NE(begin.error().text.find("--fresh"), std::string::npos) << begin.error().text;
}

TEST_F(Handshake, ResultsBehindTheJournalAreRefused) {
    EXPECT_TRUE(agree_on(control_hash("mine", 42, 9'000), 42));
    const auto begin = agree_on(control_hash("mine", 43, 9'000), 42);
    ASSERT_FALSE(begin);
    EXPECT_EQ(begin.error().kind, model::ErrorKind::corrupt);
    EXPECT_NE(begin.error().text.find("barrier 43"), std::string::npos) << begin.error().text;
}

// Nothing was sent behind the savepoint: its lanes go on, nothing is written twice.
TEST_F(Handshake, ASavepointsOwnRedisIsTakenWithItsLanes) {
    meta_ = state_begun_from_parent();
    const auto begin = agree_on(control_hash("parent", 40, 9'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::reset);
    EXPECT_TRUE(begin->lanes.at("spend")[3]);
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{9'000});
    EXPECT_EQ(said_, "");
}

TEST_F(Handshake, ARedisBehindTheSavepointLowersWhatIsVouchedFor) {
    meta_ = state_begun_from_parent();
    const auto begin = agree_on(control_hash("parent", 38, 4'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{4'000});
    EXPECT_EQ(meta_.reductions[0].acknowledged, 4'000) << "in the checkpoints to come, too";
}

TEST_F(Handshake, WhatIsExpiredIsNotAskedForAgain) {
    meta_ = state_begun_from_parent();
    meta_.reductions[0].dropped = 6'000;
    const auto begin = agree_on(control_hash("parent", 38, 4'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{6'000});
}

TEST_F(Handshake, ResultsBehindTheSavepointAreWrittenAnewAndSaidSo) {
    meta_ = state_begun_from_parent();
    const auto begin = agree_on(control_hash("parent", 41, 12'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::reset);
    EXPECT_TRUE(begin->lanes.empty()) << "marks of results that this lineage will count again";
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{9'000});
    EXPECT_NE(said_.find("lineage parent up to barrier 41"), std::string::npos) << said_;
}

TEST_F(Handshake, AStrangersResultsAreTakenOverWhole) {
    meta_ = state_begun_from_parent();
    const auto begin = agree_on(control_hash("stranger", 5, 20'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::reset);
    EXPECT_EQ(begin->acknowledged, std::vector<model::EventTime>{model::kBeforeAll});
    EXPECT_FALSE(meta_.reductions[0].acknowledged);
}

// The reset was carried out before the last death.
TEST_F(Handshake, AResetIsDoneOnce) {
    meta_ = state_begun_from_parent();
    const auto begin = agree_on(control_hash("mine", 40, 9'000), 40);
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->mode, Mode::resume);
}

}  // namespace
}  // namespace sluice::daemon
