#include "daemon/barrier_sequence.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/simulation/simulated_disk.h"

namespace sluice::daemon {
namespace {

// Two workers that answer when the test says so.
class BarrierSequenceTest : public testing::Test {
 protected:
    BarrierSequenceTest() {
        auto opened = state::Journal::open(disk_, "/journal", {.boot = "boot1"});
        journal_ = std::move(opened->journal);
        EXPECT_TRUE(journal_->start_lineage({1}, 6));
        sequence_ = std::make_unique<BarrierSequence>(
            BarrierSequence::Parts{*journal_, partitions_, 2,
                                   [this](const Order& order) { sent_.push_back(order); }},
            6, 6);
    }

    void issue(model::BarrierKind kind) {
        model::Barrier barrier;
        barrier.kind = kind;
        sequence_->issue(std::move(barrier));
    }

    void answer(std::size_t order, std::uint32_t worker, model::BarrierNumber tag = 0) {
        Answer answer;
        answer.worker = worker;
        answer.ticket = sent_.at(order).ticket;
        answer.next_offsets = {{worker, 100 + static_cast<model::Offset>(order)}};
        if (tag != 0) {
            answer.tag = tag;
            answer.tables.emplace_back();
        }
        sequence_->answered(answer);
    }

    std::vector<model::BarrierNumber> settle() {
        const auto settled = sequence_->settle();
        EXPECT_TRUE(settled);
        std::vector<model::BarrierNumber> numbers;
        while (const auto undertaking = sequence_->take_settled()) {
            numbers.push_back(undertaking->order.barrier.number);
            EXPECT_LE(sequence_->journaled(), journal_->last_number()) << "nothing is ahead of it";
        }
        EXPECT_EQ(*settled, !numbers.empty());
        return numbers;
    }

    using Numbers = std::vector<model::BarrierNumber>;

    simulation::SimulatedDisk disk_{1};
    const std::vector<model::Partition> partitions_ = {{"clicks", 0}, {"clicks", 1}};
    std::unique_ptr<state::Journal> journal_;
    std::vector<Order> sent_;
    std::unique_ptr<BarrierSequence> sequence_;
};

TEST_F(BarrierSequenceTest, WhatIsAnsweredEarlyWaitsForWhatWasIssuedBefore) {
    issue(model::BarrierKind::cut);
    issue(model::BarrierKind::tick);
    EXPECT_EQ(sequence_->number(), 8u);
    answer(1, 0);
    answer(1, 1);
    EXPECT_EQ(settle(), Numbers{});
    answer(0, 0);
    EXPECT_EQ(settle(), Numbers{});
    EXPECT_EQ(sequence_->waiting(), "1 workers with order 0, barrier 7");
    answer(0, 1);
    EXPECT_EQ(settle(), (Numbers{7, 8}));
    EXPECT_TRUE(sequence_->empty());
    EXPECT_EQ(sequence_->journaled(), 8u);
    const auto entries = journal_->entries_after(6);
    ASSERT_EQ(entries->size(), 2u);
    EXPECT_EQ((*entries)[1].next_offsets,
              (model::Offsets{{partitions_[0], 101}, {partitions_[1], 101}}));
}

TEST_F(BarrierSequenceTest, ASealIsOrderedWithTheOthersAndNotJournaled) {
    issue(model::BarrierKind::seal);
    issue(model::BarrierKind::cut);
    EXPECT_TRUE(sequence_->seal_unanswered());
    for (const std::size_t order : {0u, 1u}) {
        answer(order, 0);
        answer(order, 1);
    }
    EXPECT_FALSE(sequence_->seal_unanswered());
    EXPECT_EQ(settle(), (Numbers{7, 8}));
    EXPECT_EQ(journal_->entries_after(6)->size(), 1u);
    EXPECT_EQ(sequence_->journaled(), 8u);
}

TEST_F(BarrierSequenceTest, NothingTakesEffectThatCouldNotBeWritten) {
    issue(model::BarrierKind::cut);
    answer(0, 0);
    answer(0, 1);
    disk_.set_budget(0);
    EXPECT_FALSE(sequence_->settle());
    EXPECT_EQ(sequence_->journaled(), 6u);
}

TEST_F(BarrierSequenceTest, ASpillOfAReplayWaitsForItsWorkersOnly) {
    issue(model::BarrierKind::cut);
    Order order;
    order.kind = Order::Kind::spill;
    sequence_->undertake(order);
    answer(1, 0, 4);
    EXPECT_EQ(sequence_->take_spill(), nullptr);
    answer(1, 1, 6);
    const auto spill = sequence_->take_spill();
    ASSERT_NE(spill, nullptr);
    EXPECT_EQ(spill->tag, 6u);
    EXPECT_FALSE(sequence_->empty()) << "the cut is still under way";
    EXPECT_EQ(settle(), Numbers{});
}

TEST_F(BarrierSequenceTest, AReplayedEntryIsNotWrittenAgain) {
    Order order;
    order.kind = Order::Kind::replayed;
    order.barrier.kind = model::BarrierKind::tick;
    order.barrier.number = 5;
    sequence_->undertake(order);
    EXPECT_EQ(sequence_->number(), 6u);
    answer(0, 0);
    answer(0, 1);
    EXPECT_EQ(settle(), Numbers{5});
    EXPECT_EQ(journal_->entries_after(6)->size(), 0u);
    EXPECT_EQ(sequence_->journaled(), 6u);
}

TEST_F(BarrierSequenceTest, APartitionIsToldIdleUntilEveryWorkerKnows) {
    model::Barrier barrier;
    barrier.kind = model::BarrierKind::idle;
    barrier.idle = {partitions_[1]};
    sequence_->issue(std::move(barrier));
    EXPECT_EQ(sequence_->told_idle().count(partitions_[1]), 1u);
    answer(0, 0);
    answer(0, 1);
    settle();
    EXPECT_TRUE(sequence_->told_idle().empty());
}

}  // namespace
}  // namespace sluice::daemon
