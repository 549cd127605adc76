#include "sinks/result_queue.h"

#include <gtest/gtest.h>

#include <memory>

namespace sluice::sinks {
namespace {

std::unique_ptr<model::ResultBatch> batch(std::size_t rows) {
    auto made = std::make_unique<model::ResultBatch>();
    made->rows = rows;
    return made;
}

TEST(ResultQueue, AResultTakesRoomUntilItIsDone) {
    ResultQueue queue(1, 10, 1 << 20);
    EXPECT_TRUE(queue.push(batch(10), 0));
    auto refused = batch(1);
    EXPECT_FALSE(queue.push(std::move(refused), 0));
    EXPECT_NE(refused, nullptr) << "it is left with its owner";
    EXPECT_EQ(queue.take().size(), 1u);
    EXPECT_FALSE(queue.push(std::move(refused), 0)) << "taken is not done";
    queue.done(10);
    EXPECT_TRUE(queue.push(std::move(refused), 0));
    EXPECT_EQ(queue.pending(), 1u);
}

TEST(ResultQueue, ABatchTakesItsBytesUntilTheLastOneLetsGo) {
    ResultQueue queue(1, 1'000, 64);
    EXPECT_TRUE(queue.push(batch(1), 0));
    auto taken = queue.take();
    queue.done(1);
    EXPECT_FALSE(queue.push(batch(1), 0));
    taken.clear();
    EXPECT_TRUE(queue.push(batch(1), 0));
}

TEST(ResultQueue, WhatIsOfAnOlderGenerationIsTakenAndForgotten) {
    ResultQueue queue(1, 10, 1 << 20);
    EXPECT_TRUE(queue.push(batch(3), 0));
    queue.rewind({0, {500}, "lost"}, {500});
    EXPECT_EQ(queue.pending(), 0u);
    EXPECT_EQ(queue.generation(), 1u);
    EXPECT_TRUE(queue.push(batch(3), 0));
    queue.push_end(0, 600, 0);
    EXPECT_TRUE(queue.take().empty());
    EXPECT_EQ(queue.acknowledged(0), 500);
    EXPECT_TRUE(queue.push(batch(3), 1));
    EXPECT_EQ(queue.take().size(), 1u);
}

TEST(ResultQueue, ARewindThatNobodyTookIsPartOfTheNext) {
    ResultQueue queue(2, 10, 1 << 20);
    queue.rewind({0, {100, 400}, "first"}, {100, 400});
    queue.rewind({0, {300, 200}, "second"}, {300, 200});
    const auto rewind = queue.take_rewind();
    ASSERT_TRUE(rewind);
    EXPECT_EQ(rewind->generation, 2u);
    EXPECT_EQ(rewind->from, (std::vector<model::EventTime>{100, 200}));
    EXPECT_FALSE(queue.take_rewind());
}

TEST(ResultQueue, IsSettledWhenNothingWaitsIsOnItsWayOrIsAskedFor) {
    ResultQueue queue(1, 10, 1 << 20);
    EXPECT_TRUE(queue.settled());
    queue.push_end(0, 600, 0);
    EXPECT_FALSE(queue.settled());
    EXPECT_EQ(queue.take().size(), 1u);
    EXPECT_FALSE(queue.settled()) << "until the sink has said what it made of it";
    queue.publish(false, {600});
    EXPECT_TRUE(queue.settled());
    EXPECT_EQ(queue.acknowledged(0), 600);
    queue.rewind({0, {0}, "lost"}, {0});
    EXPECT_FALSE(queue.settled());
}

}  // namespace
}  // namespace sluice::sinks
