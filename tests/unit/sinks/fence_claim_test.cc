#include "sinks/fence_claim.h"

#include <gtest/gtest.h>

namespace sluice::sinks {
namespace {

FenceClaim::Claim taken(FenceClaim& fence, const Fence& found) {
    const auto claim = fence.over(found);
    EXPECT_TRUE(claim);
    fence.taken(*claim);
    return *claim;
}

TEST(FenceClaim, TheFirstClaimIsAboveEverythingThatWasSeen) {
    FenceClaim over_state("me", 7);
    EXPECT_EQ(over_state.epoch(), 0u);
    EXPECT_EQ(taken(over_state, {3, "other"}).value, "8 me");
    EXPECT_EQ(over_state.epoch(), 8u);
    FenceClaim over_redis("me", 1);
    EXPECT_EQ(taken(over_redis, {3, "other"}).value, "4 me");
}

TEST(FenceClaim, AConnectionThatComesBackRepeatsTheTurn) {
    FenceClaim fence("me", 0);
    taken(fence, {});
    EXPECT_EQ(fence.over({1, "me"})->value, "1 me");
}

TEST(FenceClaim, AFenceThatWasLostIsANewTurnWhichTheOthersFollow) {
    FenceClaim fence("me", 0);
    taken(fence, {});
    EXPECT_EQ(taken(fence, {}).value, "1 me#2") << "another value, so the others look again";
    EXPECT_EQ(fence.over({1, "me#2"})->value, "1 me#2");
    EXPECT_EQ(fence.over({1, "me"})->value, "1 me#2") << "an older turn of ours does not come back";
}

TEST(FenceClaim, ATurnThatWasTriedAndNotTakenIsOursAllTheSame) {
    FenceClaim fence("me", 0);
    taken(fence, {});
    EXPECT_EQ(fence.over({})->turn, 2u);  // its reply was lost
    EXPECT_EQ(fence.over({})->turn, 3u);
    EXPECT_EQ(fence.over({1, "me#2"})->turn, 2u);
}

TEST(FenceClaim, ANewerInstanceOrAnotherOneOfTheSameEpochFences) {
    FenceClaim fence("me", 4);
    taken(fence, {});
    EXPECT_FALSE(fence.over({6, "you"}));
    EXPECT_FALSE(fence.over({5, "you"}));
    EXPECT_TRUE(fence.over({4, "you"})) << "an older one took it meanwhile";
}

}  // namespace
}  // namespace sluice::sinks
