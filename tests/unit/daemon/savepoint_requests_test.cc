#include "daemon/savepoint_requests.h"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

TEST(SavepointRequests, OneAfterTheOtherAndEachOutcomeOnce) {
    SavepointRequests requests;
    EXPECT_FALSE(requests.waiting());
    EXPECT_FALSE(requests.next());
    const std::uint64_t first = requests.request("first");
    const std::uint64_t second = requests.request("second");
    EXPECT_NE(first, 0u) << "that one is the stop's";
    EXPECT_NE(first, second);
    EXPECT_TRUE(requests.waiting());
    EXPECT_FALSE(requests.take_outcome(first)) << "not yet";

    const auto wanted = requests.next();
    ASSERT_TRUE(wanted);
    EXPECT_EQ(wanted->name, "first");
    EXPECT_EQ(wanted->ticket, first);
    EXPECT_TRUE(requests.waiting());
    EXPECT_EQ(requests.next()->ticket, second);
    EXPECT_FALSE(requests.waiting());

    requests.settle(second, model::exhausted("the disk is full"));
    state::CheckpointSummary summary;
    summary.id = 7;
    requests.settle(first, summary);
    const auto taken = requests.take_outcome(first);
    ASSERT_TRUE(taken && *taken);
    EXPECT_EQ((**taken).id, 7u);
    EXPECT_FALSE(requests.take_outcome(first)) << "once";
    const auto failed = requests.take_outcome(second);
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->error().text, "the disk is full");
}

}  // namespace
}  // namespace sluice::daemon
