#include "ingest/log.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice::ingest {
namespace {

TEST(MissingRange, NamesPartitionAndRange) {
    EXPECT_EQ(missing_range({"clicks", 3}, 100, {200, 300}),
              "clicks[3]: offsets 100..199 are gone, log starts at 200");
    EXPECT_EQ(missing_range({"clicks", 3}, 500, {200, 300}),
              "clicks[3]: next offset is 500, but the log ends at 300");
    for (const model::Offset next : {200, 250, 300}) {
        EXPECT_EQ(missing_range({"clicks", 3}, next, {200, 300}), "");
    }
    EXPECT_TRUE(tells_of_a_gap("other; " + missing_range({"clicks", 3}, 100, {200, 300})));
    EXPECT_FALSE(tells_of_a_gap(missing_range({"clicks", 3}, 500, {200, 300})));
}

TEST(Probe, DependsOnKeyValueAndTimestampAlone) {
    Record record;
    record.offset = 5;
    record.timestamp = 1000;
    record.has_key = true;
    record.has_value = true;
    record.key = "ab";
    record.value = "c";
    std::set<std::uint64_t> seen{probe_hash(record)};
    const auto differs = [&seen](const Record& r) { return seen.insert(probe_hash(r)).second; };

    Record other = record;
    other.offset = 6;
    EXPECT_FALSE(differs(other));
    other = record;
    other.timestamp = 1001;
    EXPECT_TRUE(differs(other));
    other = record;
    other.key = "a";
    other.value = "bc";
    EXPECT_TRUE(differs(other)) << "lengths count";
    other = record;
    other.key = {};
    EXPECT_TRUE(differs(other));
    other.has_key = false;
    EXPECT_TRUE(differs(other)) << "no key is not an empty key";
    other = record;
    other.value = {};
    EXPECT_TRUE(differs(other));
    other.has_value = false;
    EXPECT_TRUE(differs(other));
}

TEST(Probe, StaysTheSameForEver) {
    Record record;
    record.timestamp = 1700000000000;
    record.has_key = true;
    record.has_value = true;
    record.key = "key";
    record.value = R"({"a":1})";
    EXPECT_EQ(probe_hash(record), 1574333544972282697u);
}

}  // namespace
}  // namespace sluice::ingest
