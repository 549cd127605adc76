// The demo's judgement: it must see every kind of difference, or the demo proves nothing.
#include "daemon/demo_proof.h"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

model::Barrier tick(model::BarrierNumber number, model::EventTime time,
                    std::vector<model::Offset> offsets) {
    model::Barrier barrier{
        .number = number, .time = time, .clock = time, .idle = {}, .next_offsets = {}};
    for (std::size_t p = 0; p < offsets.size(); ++p) {
        barrier.next_offsets[{"clicks", static_cast<std::int32_t>(p)}] = offsets[p];
    }
    return barrier;
}

class DemoProof : public testing::Test {
 protected:
    DemoAnswer answer() const {
        auto found = exact_answer(clicks_, "clicks", barriers_, 2000);
        EXPECT_TRUE(found.has_value());
        return found.value_or(DemoAnswer{});
    }
    DemoDatabase exact_database() const {
        DemoDatabase database;
        for (const auto& [place, total] : answer()) {
            database[key_of(place)] = {fields_of(total), true};
        }
        return database;
    }
    DemoVerdict verdict(const DemoDatabase& database) const {
        return compare_demo(clicks_, answer(), database);
    }

    // User 1 clicks twice in partition 0, users 1 and 2 in partition 1.
    const DemoClicks clicks_{{{1, 1990, 1}, {1, 50, 3}}, {{1, 1000, 1}, {2, 100, 2}}};
    // The second tick lies between the two records of partition 0, and behind both of partition 1.
    const std::vector<model::Barrier> barriers_{tick(1, 2000, {0, 0}), tick(4, 4000, {1, 2})};
};

TEST_F(DemoProof, ARecordBelongsToTheWindowOfTheLastTickAtOrBeforeIt) {
    const DemoAnswer expected{{{2000, 1}, {2, 2990}}, {{2000, 2}, {1, 200}}, {{4000, 1}, {1, 150}}};
    EXPECT_EQ(answer(), expected);
}

TEST_F(DemoProof, OnlyTicksMoveProcessingTime) {
    auto barriers = barriers_;
    barriers.insert(barriers.begin() + 1, tick(2, 8000, {0, 0}));
    barriers[1].kind = model::BarrierKind::cut;
    EXPECT_EQ(exact_answer(clicks_, "clicks", barriers, 2000), answer());
}

TEST_F(DemoProof, ARecordBeforeTheFirstTickIsAnError) {
    EXPECT_FALSE(exact_answer(clicks_, "clicks", {tick(1, 2000, {1, 0})}, 2000).has_value());
}

TEST_F(DemoProof, EqualDatabasesHold) {
    const DemoVerdict found = verdict(exact_database());
    EXPECT_TRUE(found.holds());
    EXPECT_EQ(found.expected, 3u);
    EXPECT_EQ(found.redis, (DemoTotal{4, 3340}));
    ASSERT_EQ(found.windows.size(), 2u);
    EXPECT_EQ(found.windows[0].redis, (DemoTotal{3, 3190}));
}

TEST_F(DemoProof, AMissingResultIsSeen) {
    auto database = exact_database();
    database.erase("spend:u2:2000");
    const DemoVerdict found = verdict(database);
    EXPECT_FALSE(found.holds());
    EXPECT_EQ(found.missing, 1u);
    EXPECT_EQ(found.wrong_users, 1u);
}

TEST_F(DemoProof, ASurplusResultIsSeenWhateverItsKey) {
    for (const char* key : {"spend:u2:4000", "spend:u02:2000", "other"}) {
        auto database = exact_database();
        database[key] = {"clicks 1 spend 2", true};
        const DemoVerdict found = verdict(database);
        EXPECT_FALSE(found.holds()) << key;
        EXPECT_EQ(found.surplus, 1u) << key;
    }
}

TEST_F(DemoProof, ADifferentResultIsSeen) {
    for (const char* fields : {"clicks 2 spend 2", "clicks 1 spend 2.01", "clicks 1 spend 2.00",
                               "clicks 1", "WRONGTYPE", ""}) {
        auto database = exact_database();
        database["spend:u2:2000"].fields = fields;
        const DemoVerdict found = verdict(database);
        EXPECT_FALSE(found.holds()) << fields;
        EXPECT_EQ(found.different, 1u) << fields;
    }
}

TEST_F(DemoProof, AResultWithoutExpiryIsSeen) {
    auto database = exact_database();
    database["spend:u2:2000"].expires = false;
    EXPECT_EQ(verdict(database).different, 1u);
}

TEST_F(DemoProof, ARecordCountedInAnotherWindowIsSeen) {
    // The sums over all windows are right then, the windows are not.
    auto database = exact_database();
    database["spend:u1:2000"].fields = "clicks 1 spend 10";
    database["spend:u1:4000"].fields = "clicks 2 spend 21.4";
    const DemoVerdict found = verdict(database);
    EXPECT_FALSE(found.holds());
    EXPECT_EQ(found.different, 2u);
    EXPECT_EQ(found.wrong_users, 0u);
}

TEST_F(DemoProof, NothingProducedProvesNothing) { EXPECT_FALSE(compare_demo({}, {}, {}).holds()); }

TEST(DemoMoney, PrintsAsResultsDo) {
    EXPECT_EQ(money(1230), "12.3");
    EXPECT_EQ(money(1200), "12");
    EXPECT_EQ(money(7), "0.07");
    EXPECT_EQ(money(1995), "19.95");
    EXPECT_EQ(money(0), "0");
}

}  // namespace
}  // namespace sluice::daemon
