#include "daemon/source_check.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/simulated_log.h"

namespace sluice::daemon {
namespace {

const model::Partition kFirst{"clicks", 0};

class SourceChecks : public testing::Test {
 protected:
    SourceChecks() : log_(1) {
        log_.add_topic("clicks", 4);
        for (int i = 0; i < 10; ++i) {
            log_.append(kFirst, {1'000 + i, false, std::nullopt, std::to_string(i), {}});
        }
    }

    SourceCheck check(bool accept_gap = false, bool accept_compacted = false) {
        return {log_,
                {accept_gap, accept_compacted, [this](const std::string& line) { said_ += line; }}};
    }

    // A state that has read up to `next`, with the probe of the record before it.
    state::PartitionMeta read_up_to(model::Offset next) {
        state::PartitionMeta partition;
        partition.partition = kFirst;
        partition.next_offset = next;
        partition.read_from_zero = true;
        partition.incomplete_before = 7;
        partition.ledger.consumed = static_cast<std::uint64_t>(next);
        const auto hashes = log_.probe({{kFirst, next - 1}}, 0);
        if (hashes && hashes->front()) {
            partition.probe = {next - 1, *hashes->front()};
        }
        return partition;
    }

    simulation::SimulatedLog log_;
    std::string said_;
};

TEST_F(SourceChecks, TheSameLogIsTaken) {
    const state::PartitionMeta partition = read_up_to(6);
    ASSERT_TRUE(partition.probe);
    SourceCheck source = check();
    EXPECT_TRUE(source.has({&partition}));
    EXPECT_EQ(source.lacks(), "");
}

TEST_F(SourceChecks, WhatIsGoneIsSaidToTheOffset) {
    const state::PartitionMeta partition = read_up_to(3);
    log_.expire(kFirst, 8);
    SourceCheck source = check();
    const model::Status has = source.has({&partition});
    ASSERT_FALSE(has);
    EXPECT_EQ(has.error().kind, model::ErrorKind::unavailable);
    EXPECT_EQ(source.lacks(), "clicks[0]: offsets 3..7 are gone, log starts at 8");
}

TEST_F(SourceChecks, AnAcceptedGapIsSkippedAndCounted) {
    std::vector<state::PartitionMeta> partitions{read_up_to(3)};
    log_.expire(kFirst, 8);
    SourceCheck source = check(true);
    EXPECT_TRUE(source.has({&partitions[0]}));
    const auto ranges = log_.ranges({kFirst}, 0);
    ASSERT_TRUE(ranges);
    EXPECT_TRUE(source.skip_gaps(partitions, *ranges));
    EXPECT_EQ(partitions[0].next_offset, 8);
    EXPECT_EQ(partitions[0].ledger.consumed, 8u);
    EXPECT_EQ(partitions[0].ledger.skipped, 5u);
    EXPECT_FALSE(partitions[0].read_from_zero);
    EXPECT_FALSE(partitions[0].incomplete_before) << "the first record behind the gap says it";
    EXPECT_FALSE(partitions[0].probe) << "of a record that is no longer the one before";
    EXPECT_NE(said_.find("offsets 3..7"), std::string::npos) << said_;
    EXPECT_FALSE(source.skip_gaps(partitions, *ranges)) << "once";
}

// --accept-gap is about what has expired, not about a log that ends before it was read.
TEST_F(SourceChecks, ALogThatIsTooShortIsNoGap) {
    const state::PartitionMeta partition = read_up_to(9);
    log_.truncate(kFirst, 4);
    SourceCheck source = check(true);
    EXPECT_FALSE(source.has({&partition}));
    EXPECT_NE(source.lacks().find("clicks[0]"), std::string::npos);
}

TEST_F(SourceChecks, AnotherTopicOfTheSameNameIsSeenByItsRecord) {
    const state::PartitionMeta partition = read_up_to(6);
    log_.recreate("clicks");
    for (int i = 0; i < 10; ++i) {
        log_.append(kFirst, {1'000 + i, false, std::nullopt, "other " + std::to_string(i), {}});
    }
    SourceCheck source = check(true, true);
    EXPECT_FALSE(source.has({&partition})) << "nothing that a user may accept";
    EXPECT_NE(source.lacks().find("the record at offset 5 is another one"), std::string::npos)
        << source.lacks();
}

TEST_F(SourceChecks, AProbeThatExpiredSaysNothing) {
    const state::PartitionMeta partition = read_up_to(6);
    log_.expire(kFirst, 6);
    SourceCheck source = check();
    EXPECT_TRUE(source.has({&partition}));
    EXPECT_NE(said_.find("cannot be compared"), std::string::npos) << said_;
}

TEST_F(SourceChecks, ARecordThatCompactionTookIsAcceptedByTheUserOnly) {
    state::PartitionMeta partition = read_up_to(6);
    log_.append_gap(kFirst, 5);
    partition.next_offset = 13;
    partition.probe = {12, 1};  // in the gap
    SourceCheck strict = check();
    EXPECT_FALSE(strict.has({&partition}));
    EXPECT_NE(strict.lacks().find("offset 12 is gone"), std::string::npos) << strict.lacks();
    EXPECT_TRUE(check(false, true).has({&partition}));
}

TEST_F(SourceChecks, BrokersThatAreAwayAreNoLack) {
    const state::PartitionMeta partition = read_up_to(6);
    log_.set_available(false);
    SourceCheck source = check(true, true);
    const model::Status has = source.has({&partition});
    ASSERT_FALSE(has);
    EXPECT_EQ(has.error().kind, model::ErrorKind::unavailable);
    EXPECT_EQ(source.lacks(), "") << "waiting helps";
}

TEST_F(SourceChecks, TheShareIsListedInOrder) {
    config::Source source;
    source.share = {{3, 3}, {0, 1}};
    const auto listed = check().listed(source, 0);
    ASSERT_TRUE(listed);
    EXPECT_EQ(*listed,
              (std::vector<model::Partition>{{"clicks", 0}, {"clicks", 1}, {"clicks", 3}}));
    EXPECT_TRUE(in_share({}, 7)) << "all of them";
}

TEST_F(SourceChecks, ASymbolicStartBecomesNumbers) {
    log_.expire(kFirst, 2);
    const auto ranges = log_.ranges({kFirst}, 0);
    ASSERT_TRUE(ranges);
    SourceCheck source = check();
    config::Start start;
    start.kind = config::Start::Kind::earliest;
    EXPECT_EQ(source.start_offsets(start, {kFirst}, *ranges), std::vector<model::Offset>{2});
    start.kind = config::Start::Kind::latest;
    EXPECT_EQ(source.start_offsets(start, {kFirst}, *ranges), std::vector<model::Offset>{10});
    start.kind = config::Start::Kind::time;
    start.time = 1'004;
    EXPECT_EQ(source.start_offsets(start, {kFirst}, *ranges), std::vector<model::Offset>{4});
}

}  // namespace
}  // namespace sluice::daemon
