#include "sinks/delivery.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "state/model/key.h"

namespace sluice::sinks {
namespace {

using Kind = Delivery::Loss::Kind;

constexpr model::EventTime kEnd = 1000;

ReductionOutput output(const char* id) {
    ReductionOutput output;
    output.id = id;
    return output;
}

std::uint64_t hash_of_lane(std::size_t lane) { return static_cast<std::uint64_t>(lane) << 60; }

// One row for lane `lane`, in the window that ends at `end`.
std::unique_ptr<model::ResultBatch> row(std::size_t lane, model::EventTime end,
                                        model::BarrierNumber barrier) {
    auto batch = std::make_unique<model::ResultBatch>();
    batch->window = {end - 100, end};
    batch->barrier = barrier;
    batch->rows = 1;
    batch->hash.push_back(hash_of_lane(lane));
    std::string key;
    model::append_key_part(key, "k");
    batch->key.push_back(batch->arena.copy(key));
    return batch;
}

class DeliveryTest : public ::testing::Test {
 protected:
    // What Redis holds of lineage "l" when both lanes of the window that ended at kEnd are there.
    static ControlHash whole() {
        ControlHash control;
        control.present = true;
        control.lineage = "l";
        control.barrier = 3;
        control.replication = "r1";
        control.frontiers["a"] = kEnd;
        control.lanes["a"][0] = LaneMark{kEnd, hash_of_lane(0), "k"};
        control.lanes["a"][1] = LaneMark{kEnd, hash_of_lane(1), "k"};
        return control;
    }

    // Two connections that have found `found`; the checkpoint knows of `acknowledged`.
    std::optional<Delivery::Loss> resume(ControlHash found, model::EventTime acknowledged,
                                         const char* replication = "r1") {
        delivery.found(std::move(found), replication);
        Begin begin;
        begin.lineage = "l";
        begin.acknowledged = {acknowledged};
        delivery.begin(begin);
        return delivery.resume();
    }

    const Lane& lane(std::size_t n) const { return delivery.outgoings()[0]->lanes[n]; }
    model::EventTime acknowledged() const { return delivery.acknowledged()[0]; }

    Delivery delivery{{output("a")}, "p", 2};
};

TEST_F(DeliveryTest, GoesOnFromWhatRedisHolds) {
    EXPECT_FALSE(resume(whole(), kEnd - 100));
    EXPECT_TRUE(delivery.established());
    EXPECT_EQ(acknowledged(), kEnd - 100) << "as the checkpoint says, until it is sent again";
    EXPECT_TRUE(lane(0).known);
    EXPECT_EQ(lane(0).skip, whole().lanes["a"][0]);
    EXPECT_FALSE(lane(1).known) << "the other connection has not looked yet";
    EXPECT_FALSE(delivery.look(1, whole(), "r1", true));
    EXPECT_TRUE(lane(1).known);
    EXPECT_EQ(lane(1).skip, whole().lanes["a"][1]);
    EXPECT_FALSE(delivery.control_due());
}

TEST_F(DeliveryTest, AHashThatIsNotOursIsWrittenAnewBeforeAnybodyElseSends) {
    auto foreign = whole();
    foreign.lineage = "of somebody else";
    const auto loss = resume(foreign, kEnd);
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->kind, Kind::everything);
    EXPECT_EQ(delivery.lose(Kind::some, 0, foreign, "r1"),
              std::vector<model::EventTime>{model::kBeforeAll})
        << "everything, whatever was thought of it";
    EXPECT_FALSE(delivery.established());
    EXPECT_FALSE(lane(0).skip);
    EXPECT_TRUE(delivery.control_due());
    EXPECT_FALSE(delivery.may_send(1, 0));
    EXPECT_TRUE(delivery.may_send(0, 0));

    Transaction t;
    EXPECT_TRUE(delivery.wipes(0, t));
    EXPECT_FALSE(delivery.wipes(1, t));
    const auto fields = delivery.fields(0, t);
    ASSERT_GE(fields.size(), 2u);
    EXPECT_EQ(fields[0], "lineage");
    EXPECT_EQ(fields[1], "l");
    EXPECT_EQ(t.new_fields, static_cast<std::int64_t>(fields.size() / 2));
    delivery.written(t);
    EXPECT_TRUE(delivery.established());
    EXPECT_FALSE(delivery.wipes(0, t));
    EXPECT_TRUE(delivery.may_send(1, 0));
}

TEST_F(DeliveryTest, AMarkOrAFrontierBelowWhatWasWrittenIsALoss) {
    ASSERT_FALSE(resume(whole(), kEnd));
    auto less = whole();
    less.lanes["a"][0] = LaneMark{kEnd - 100, hash_of_lane(0), "k"};
    auto loss = delivery.look(0, less, "r1", true);
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->kind, Kind::some);
    EXPECT_EQ(loss->reason, "Redis lost results of 'a'");

    less = whole();
    less.frontiers["a"] = kEnd - 200;
    EXPECT_FALSE(delivery.look(1, less, "r1", true)) << "the frontier is connection 0's";
    loss = delivery.look(0, less, "r1", true);
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->reason, "Redis lost the frontier of 'a'");
    EXPECT_EQ(delivery.lose(loss->kind, 0, less, "r1"), std::vector<model::EventTime>{kEnd - 200});
    EXPECT_EQ(acknowledged(), kEnd - 200);
    EXPECT_EQ(lane(0).skip, whole().lanes["a"][0]) << "what is there is a prefix of what was sent";
    EXPECT_FALSE(lane(1).known) << "its connection looks again";
}

TEST_F(DeliveryTest, AHashThatIsGoneIsALossOnlyIfItWasThereWhenAsked) {
    ASSERT_TRUE(resume(ControlHash{}, model::kBeforeAll));
    delivery.lose(Kind::everything, 0, ControlHash{}, "r1");
    EXPECT_FALSE(delivery.look(1, ControlHash{}, "r1", false)) << "nobody has written it yet";
    const auto loss = delivery.look(1, ControlHash{}, "r1", true);
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->kind, Kind::everything);
}

TEST_F(DeliveryTest, AHashThatAnotherServerBroughtAlongIsNotBelieved) {
    const auto loss = resume(whole(), kEnd, "r2");
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->kind, Kind::perhaps);
}

TEST_F(DeliveryTest, AnotherServerIsNotedOnlyWhenAllIsThereAgain) {
    ASSERT_FALSE(resume(whole(), kEnd));
    auto loss = delivery.look(0, whole(), "r2", true);
    ASSERT_TRUE(loss);
    EXPECT_EQ(loss->kind, Kind::perhaps);
    EXPECT_EQ(delivery.lose(loss->kind, 0, whole(), "r2"),
              std::vector<model::EventTime>{model::kBeforeAll});
    EXPECT_FALSE(delivery.look(0, whole(), "r2", true)) << "it is the one that we talk to";
    EXPECT_EQ(acknowledged(), model::kBeforeAll);
    EXPECT_FALSE(delivery.control_due()) << "a crash now must find the former id";
    EXPECT_TRUE(delivery.add_end(0, kEnd));
    EXPECT_EQ(acknowledged(), kEnd);
    ASSERT_TRUE(delivery.control_due());
    Transaction t;
    EXPECT_EQ(delivery.fields(0, t), (std::vector<std::string>{"replication", "r2"}));
    EXPECT_EQ(t.new_fields, 0);
    delivery.written(t);
    EXPECT_FALSE(delivery.control_due());
}

TEST_F(DeliveryTest, ResultsGoAfterTheBarrierBehindThemAndTheirFrontierAfterThem) {
    ASSERT_FALSE(resume(whole(), kEnd));
    ASSERT_FALSE(delivery.look(1, whole(), "r1", true));
    delivery.add(row(1, kEnd + 100, 4));
    EXPECT_FALSE(delivery.add_end(0, kEnd + 100)) << "a row of it is open";
    EXPECT_FALSE(delivery.may_send(1, 4));
    Transaction control;
    EXPECT_EQ(delivery.fields(0, control), (std::vector<std::string>{"barrier", "4"}));
    delivery.written(control);
    EXPECT_TRUE(delivery.may_send(1, 4));

    Transaction t;
    EXPECT_EQ(t.take(delivery.outgoings(), 0, 1, {100, 1 << 20}), 0u);
    EXPECT_EQ(delivery.fields(1, t).size(), 2u) << "the lane's mark";
    EXPECT_EQ(t.executed(delivery.outgoings()), 0u);
    delivery.written(t);
    EXPECT_FALSE(delivery.move_frontiers()) << "Redis does not say so yet";
    Transaction frontier;
    EXPECT_EQ(delivery.fields(0, frontier),
              (std::vector<std::string>{"frontier:a", std::to_string(kEnd + 100)}));
    delivery.written(frontier);
    EXPECT_TRUE(delivery.move_frontiers());
    EXPECT_EQ(acknowledged(), kEnd + 100);
}

TEST_F(DeliveryTest, AResetStandsOnlyOnWhatTheHandshakeSaw) {
    delivery.found(whole(), "r1");
    EXPECT_FALSE(delivery.lost_since(whole()));
    auto more = whole();
    more.frontiers["a"] = kEnd + 1;
    EXPECT_TRUE(delivery.lost_since(more));
    delivery.found(ControlHash{}, "r1");
    EXPECT_TRUE(delivery.lost_since(whole()));
    EXPECT_FALSE(delivery.lost_since(ControlHash{}));
    ControlHash bare;
    bare.present = true;
    EXPECT_TRUE(delivery.lost_since(bare));
}

}  // namespace
}  // namespace sluice::sinks
