#include "ingest/partition_time.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "state/model/window.h"

namespace sluice::ingest {
namespace {

using model::Barrier;
using model::BarrierKind;
using model::EventTime;
using model::kAfterAll;
using model::kBeforeAll;
using model::RowStatus;

const model::Partition kPartition{"clicks", 3};

struct Row {
    EventTime timestamp = 0;
    RowStatus status = RowStatus::ok;
    EventTime append_time = kAfterAll;
};

DecodedBatch batch_of(const std::vector<Row>& rows) {
    DecodedBatch batch;
    for (const auto& row : rows) {
        batch.records.offset.push_back(static_cast<model::Offset>(batch.records.rows));
        batch.records.timestamp.push_back(row.timestamp);
        batch.records.status.push_back(row.status);
        batch.records.watermark.push_back(12345);
        batch.append_time.push_back(row.append_time);
        ++batch.records.rows;
    }
    return batch;
}

Barrier barrier(BarrierKind kind, EventTime time) {
    Barrier b;
    b.kind = kind;
    b.time = time;
    return b;
}

config::Source settings(model::DurationMs out_of_order,
                        std::optional<model::DurationMs> skew = std::nullopt) {
    config::Source source;
    source.out_of_order_ms = out_of_order;
    source.max_future_skew_ms = skew;
    return source;
}

TEST(PartitionTime, TheRecordItselfCountsOnlyForTheRecordsAfterIt) {
    PartitionTime time(settings(5), kPartition, {});
    EXPECT_EQ(time.watermark(), kBeforeAll);
    DecodedBatch batch = batch_of({{100}, {110}, {90}, {111}});
    time.fill(batch, 0, 4);
    EXPECT_EQ(batch.records.watermark, (std::vector<EventTime>{kBeforeAll, 95, 105, 105}));
    EXPECT_EQ(time.watermark(), 106);
    EXPECT_EQ(time.greatest(), 111);
}

TEST(PartitionTime, NullAndUndecodableRecordsNeverMoveIt) {
    PartitionTime time(settings(0), kPartition, {});
    DecodedBatch batch =
        batch_of({{100}, {500, RowStatus::null_value}, {600, RowStatus::undecodable}, {101}});
    time.fill(batch, 0, 4);
    EXPECT_EQ(batch.records.watermark, (std::vector<EventTime>{kBeforeAll, 100, 100, 100}));
    EXPECT_EQ(time.watermark(), 101);
}

TEST(PartitionTime, TimesBeforeTheEpochAreOrdinary) {
    PartitionTime time(settings(10), kPartition, {});
    DecodedBatch batch = batch_of({{model::kFirstInstant}, {-5}});
    time.fill(batch, 0, 2);
    EXPECT_EQ(batch.records.watermark[1], model::kFirstInstant - 10);
    EXPECT_EQ(time.watermark(), -15);
}

TEST(PartitionTime, ACutIsAFloorFromItsOffsetsOn) {
    PartitionTime time(settings(10), kPartition, {});
    DecodedBatch batch = batch_of({{100}, {105}, {300}});
    time.fill(batch, 0, 1);
    time.apply(barrier(BarrierKind::cut, 200));
    time.apply(barrier(BarrierKind::cut, 150));  // never steps back
    EXPECT_EQ(time.watermark(), 200);
    time.fill(batch, 1, 3);
    EXPECT_EQ(batch.records.watermark, (std::vector<EventTime>{kBeforeAll, 200, 200}));
    EXPECT_EQ(time.watermark(), 290);
    EXPECT_EQ(time.greatest(), 300);
}

TEST(PartitionTime, AFloorHoldsForAPartitionFoundLater) {
    PartitionTime time(settings(10), kPartition, PartitionTime::begin(0, false, 700));
    DecodedBatch batch = batch_of({{100}});
    time.fill(batch, 0, 1);
    EXPECT_EQ(batch.records.watermark[0], 700);
}

TEST(PartitionTime, ARecordAboveTheCapDoesNotMoveIt) {
    PartitionTime time(settings(0, 50), kPartition, {});
    time.apply(barrier(BarrierKind::cap, 1000));
    DecodedBatch batch = batch_of({{900}, {1001}, {1000}, {10'000}, {950}});
    EXPECT_TRUE(time.wants_cap(batch, 0, 2));
    EXPECT_FALSE(time.wants_cap(batch, 2, 3));
    time.fill(batch, 0, 5);
    EXPECT_EQ(batch.records.watermark, (std::vector<EventTime>{kBeforeAll, 900, 900, 1000, 1000}));
    EXPECT_EQ(time.greatest(), 1000);
    time.apply(barrier(BarrierKind::cap, 900));  // clocks never step back
    DecodedBatch more = batch_of({{1000}});
    EXPECT_FALSE(time.wants_cap(more, 0, 1));
}

TEST(PartitionTime, WithoutACapYetNothingMovesIt) {
    PartitionTime time(settings(0, 50), kPartition, {});
    DecodedBatch batch = batch_of({{1}, {2}});
    EXPECT_TRUE(time.wants_cap(batch, 0, 2));
    time.fill(batch, 0, 2);
    EXPECT_EQ(time.watermark(), kBeforeAll);
}

TEST(PartitionTime, AppendTimeIsABetterCapThanAnyClock) {
    PartitionTime time(settings(0, 50), kPartition, {});
    DecodedBatch batch = batch_of({{150, RowStatus::ok, 100}, {151, RowStatus::ok, 100}});
    EXPECT_FALSE(time.wants_cap(batch, 0, 2));
    time.fill(batch, 0, 2);
    EXPECT_EQ(time.greatest(), 150);
}

TEST(PartitionTime, WithoutAGuardEverythingMovesIt) {
    PartitionTime time(settings(0), kPartition, {});
    DecodedBatch batch = batch_of({{model::kLastInstant}});
    EXPECT_FALSE(time.wants_cap(batch, 0, 1));
    time.fill(batch, 0, 1);
    EXPECT_EQ(time.watermark(), model::kLastInstant);
}

TEST(PartitionTime, IdleUntilItHasARecord) {
    PartitionTime time(settings(0), kPartition, {});
    Barrier idle = barrier(BarrierKind::idle, 0);
    idle.idle = {{"clicks", 2}, {"views", 3}};
    time.apply(idle);
    EXPECT_FALSE(time.idle()) << "others are";
    idle.idle.push_back(kPartition);
    time.apply(idle);
    EXPECT_TRUE(time.idle());
    DecodedBatch batch = batch_of({{1, RowStatus::null_value}});
    time.fill(batch, 0, 0);
    EXPECT_TRUE(time.idle());
    time.fill(batch, 0, 1);
    EXPECT_FALSE(time.idle());
}

TEST(PartitionTime, WindowsBeforeTheFirstRecordMayBeIncomplete) {
    const auto incomplete = [](model::Offset next, bool empty, EventTime floor,
                               const std::vector<Row>& rows) {
        PartitionTime time(settings(10), kPartition, PartitionTime::begin(next, empty, floor));
        DecodedBatch batch = batch_of(rows);
        time.fill(batch, 0, batch.records.rows);
        return time.incomplete_before();
    };
    EXPECT_EQ(incomplete(0, false, kBeforeAll, {{100}}), kBeforeAll) << "read from offset 0";
    EXPECT_EQ(incomplete(7, true, kBeforeAll, {{100}}), kBeforeAll) << "empty when first seen";
    EXPECT_EQ(incomplete(7, false, kBeforeAll, {{100}, {500}}), 110) << "stored once";
    EXPECT_EQ(incomplete(7, false, kBeforeAll, {{5, RowStatus::undecodable}, {100}}), 110);
    EXPECT_EQ(incomplete(7, false, 400, {{100}}), 400) << "at least the floor";
    EXPECT_EQ(incomplete(7, false, kBeforeAll, {}), kBeforeAll);
}

// The same rules, one record after the other, written as the rules are.
struct Reference {
    EventTime out_of_order;
    std::optional<model::DurationMs> skew;
    std::optional<EventTime> max_timestamp;
    std::optional<EventTime> floor;
    std::optional<EventTime> cap;

    EventTime watermark() const {
        EventTime w = kBeforeAll;
        if (max_timestamp) {
            w = *max_timestamp - out_of_order;
        }
        if (floor && *floor > w) {
            w = *floor;
        }
        return w;
    }
    void record(const Row& row) {
        if (row.status != RowStatus::ok) {
            return;
        }
        if (skew) {
            if (row.append_time != kAfterAll) {
                if (row.timestamp > row.append_time + *skew) {
                    return;
                }
            } else if (!cap || row.timestamp > *cap) {
                return;
            }
        }
        if (!max_timestamp || row.timestamp > *max_timestamp) {
            max_timestamp = row.timestamp;
        }
    }
};

RC_GTEST_PROP(PartitionTimeRules, AgreeWithTheRulesRecordByRecord, ()) {
    const auto out_of_order = *rc::gen::inRange<model::DurationMs>(0, 30);
    const auto skew = *rc::gen::maybe(rc::gen::inRange<model::DurationMs>(0, 100));
    const config::Source source =
        settings(out_of_order, skew ? std::optional(*skew) : std::nullopt);
    PartitionTime time(source, kPartition, {});
    Reference reference{out_of_order, source.max_future_skew_ms, {}, {}, {}};
    const int batches = *rc::gen::inRange(1, 5);
    for (int b = 0; b < batches; ++b) {
        std::vector<Row> rows;
        const int n = *rc::gen::inRange(0, 20);
        for (int i = 0; i < n; ++i) {
            Row row;
            row.timestamp = *rc::gen::inRange<EventTime>(-50, 200);
            row.status = *rc::gen::weightedElement<RowStatus>(
                {{8, RowStatus::ok}, {1, RowStatus::null_value}, {1, RowStatus::undecodable}});
            row.append_time =
                *rc::gen::inRange(0, 3) == 0 ? *rc::gen::inRange<EventTime>(-50, 200) : kAfterAll;
            rows.push_back(row);
        }
        DecodedBatch batch = batch_of(rows);
        // Any split of the batch gives the same numbers.
        std::size_t at = 0;
        while (true) {
            const std::size_t end =
                std::min(rows.size(), at + *rc::gen::inRange<std::size_t>(1, 12));
            time.fill(batch, at, end);
            for (std::size_t i = at; i < end; ++i) {
                RC_ASSERT(batch.records.watermark[i] == reference.watermark());
                reference.record(rows[i]);
            }
            RC_ASSERT(time.watermark() == reference.watermark());
            at = end;
            if (at == rows.size()) {
                break;
            }
            const EventTime t = *rc::gen::inRange<EventTime>(-50, 200);
            if (*rc::gen::arbitrary<bool>()) {
                time.apply(barrier(BarrierKind::cut, t));
                reference.floor = std::max(reference.floor.value_or(t), t);
            } else {
                time.apply(barrier(BarrierKind::cap, t));
                reference.cap = std::max(reference.cap.value_or(t), t);
            }
            // A snapshot at any barrier.
            time = PartitionTime(source, kPartition, PartitionTimeState(time.state()));
        }
    }
}

RC_GTEST_PROP(PartitionTimeRules, NeverStepsBackAndLatenessDependsOnItAlone, ()) {
    const config::Source source = settings(*rc::gen::inRange<model::DurationMs>(0, 30));
    PartitionTime time(source, kPartition, {});
    const auto timestamps =
        *rc::gen::container<std::vector<EventTime>>(rc::gen::inRange<EventTime>(-1000, 1000));
    std::vector<Row> rows;
    for (const EventTime t : timestamps) {
        rows.push_back({t});
    }
    DecodedBatch batch = batch_of(rows);
    time.fill(batch, 0, rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i > 0) {
            RC_ASSERT(batch.records.watermark[i] >= batch.records.watermark[i - 1]);
        }
        // A record that is in order by no more than the bound is never late.
        const EventTime before =
            i == 0 ? kBeforeAll
                   : *std::max_element(timestamps.begin(),
                                       timestamps.begin() + static_cast<std::ptrdiff_t>(i));
        if (i == 0 || timestamps[i] > before - source.out_of_order_ms) {
            RC_ASSERT(!model::late(timestamps[i] + 1, 0, batch.records.watermark[i]));
        }
    }
}

}  // namespace
}  // namespace sluice::ingest
