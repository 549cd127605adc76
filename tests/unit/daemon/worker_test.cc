#include "daemon/worker.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/daemon/clicks_pipeline.h"
#include "tests/unit/fake_clock.h"

namespace sluice::daemon {
namespace {

using model::Offset;

// A log of three partitions that the test fills, and what the worker has told it about them.
// It outlives its reader.
struct ScriptedLog {
    struct One {
        std::deque<model::EventTime> queued;  // timestamps of its records
        Offset next = 0;
        bool paused = false;
        int resumed = 0;
        std::set<Offset> nulls;    // where there is no value
        std::set<Offset> damaged;  // where nobody can read
        bool transaction_open = false;
        std::optional<ingest::Probe> remembered;
    };
    std::map<std::uint32_t, One> partitions;
    int waits = 0;
};

class ScriptedReader final : public ingest::LogReader {
 public:
    explicit ScriptedReader(ScriptedLog& log) : log_(log) {}

    void assign(std::uint32_t partition, Offset next_offset) override {
        log_.partitions[partition].next = next_offset;
    }
    model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                    const Take& take) override {
        auto& one = log_.partitions.at(partition);
        std::size_t taken = 0;
        for (bool more = true; more && taken < limit && !one.queued.empty(); ++taken) {
            ingest::Record record;
            record.offset = one.next++;
            record.first_offset = record.offset;
            record.timestamp = one.queued.front();
            record.has_value = !one.nulls.contains(record.offset);
            record.value = record.has_value ? R"({"user": "u1"})" : "";
            if (one.damaged.contains(record.offset)) {
                record.damage = "does not decompress";
            }
            one.queued.pop_front();
            more = take(record);
        }
        return taken;
    }
    std::optional<Offset> at_end(std::uint32_t partition) const override {
        const auto& one = log_.partitions.at(partition);
        return one.queued.empty() ? std::optional(one.next) : std::nullopt;
    }
    void remember(std::uint32_t partition, const ingest::Probe& probe) override {
        log_.partitions.at(partition).remembered = probe;
    }
    bool behind_end_is_more(std::uint32_t partition) const override {
        return log_.partitions.at(partition).transaction_open;
    }
    void set_paused(std::uint32_t partition, bool paused) override {
        auto& one = log_.partitions.at(partition);
        one.resumed += one.paused && !paused ? 1 : 0;
        one.paused = paused;
    }
    void wait(std::int64_t /*timeout_ms*/) override { ++log_.waits; }
    void wake() override {}
    std::vector<std::pair<std::uint32_t, model::Error>> take_errors() override { return {}; }

 private:
    ScriptedLog& log_;
};

config::Pipeline stopped_by_nulls() {
    config::Pipeline pipeline = test::clicks_pipeline();
    pipeline.source.on_null = config::OnError::stop;
    return pipeline;
}

class WorkerTest : public ::testing::Test {
 protected:
    static constexpr std::uint32_t kFlowing = 0, kWaiting = 1, kEmpty = 2;
    // Records above the cap wait for a barrier that raises it.
    static constexpr model::EventTime kTime = test::FakeClock::kOrigin;
    static constexpr model::EventTime kCap = kTime + 1000;

    WorkerTest() {
        for (const std::uint32_t partition : {kFlowing, kWaiting, kEmpty}) {
            PartitionState state;
            state.partition = partition;
            state.time = ingest::PartitionTime::begin(0, false, kNoTime);
            state.time.cap = kCap;
            state.reductions.resize(1);
            worker_.own(state, std::nullopt);
        }
        Order live;
        live.kind = Order::Kind::replay_over;
        worker_.put(std::move(live));
    }
    void fill(std::uint32_t partition, std::size_t records, model::EventTime time = kTime) {
        auto& queued = log_.partitions.at(partition).queued;
        queued.insert(queued.end(), records, time);
    }
    void drive() {
        for (int i = 0; i < 20; ++i) {
            clock_.advance(1);
            if (!worker_.step()) {
                worker_.wait(100);
            }
        }
    }
    bool paused(std::uint32_t partition) const { return log_.partitions.at(partition).paused; }

    test::FakeClock clock_;
    const config::Pipeline pipeline_ = stopped_by_nulls();
    const std::vector<model::Partition> table_ = {{"clicks", 0}, {"clicks", 1}, {"clicks", 2}};
    ingest::Paces paces_{1};
    ingest::DeadLettersInMemory letters_;
    Mailbox<Answer> answers_;
    ScriptedLog log_;
    Worker worker_{{.number = 0,
                    .pipeline = pipeline_,
                    .partitions = table_,
                    .reduction_numbers = {1},
                    .closed = {model::kBeforeAll},
                    .clock = clock_,
                    .paces = paces_,
                    .dead_letters = letters_,
                    .answers = answers_,
                    .wake_coordinator = [] {},
                    .processing_time = kNoTime,
                    .applied = 0},
                   std::make_unique<ScriptedReader>(log_)};
};

// A pause costs the reader its look at the partition: whoever is paused without need is read when
// something else wakes the worker, and each resume makes the fetchers run.
TEST_F(WorkerTest, OnlyAPartitionWhoseRecordsCannotBeFoldedYetIsPaused) {
    fill(kFlowing, 10'000);
    fill(kWaiting, 10, kCap + 1);
    drive();
    EXPECT_EQ(worker_.progress().records, 10'000u);
    EXPECT_TRUE(worker_.progress().wants_cap);

    EXPECT_TRUE(paused(kWaiting)) << "more of its records must not wake the worker";
    for (const std::uint32_t partition : {kFlowing, kEmpty}) {
        EXPECT_FALSE(paused(partition)) << partition;
        EXPECT_EQ(log_.partitions.at(partition).resumed, 0) << partition << " was paused before";
    }
    EXPECT_GT(log_.waits, 0) << "it sleeps";

    Order raise;
    raise.barrier.number = 1;
    raise.barrier.kind = model::BarrierKind::cap;
    raise.barrier.time = kCap + 1000;
    worker_.put(std::move(raise));
    drive();
    EXPECT_EQ(worker_.progress().records, 10'010u);
    EXPECT_FALSE(paused(kWaiting));
}

// Back-pressure: all of them, and all of them again.
TEST_F(WorkerTest, InputOnHoldPausesEveryPartitionUntilItFlowsAgain) {
    fill(kFlowing, 10);
    worker_.set_paused(true);
    drive();
    EXPECT_EQ(worker_.progress().records, 0u);
    for (const std::uint32_t partition : {kFlowing, kWaiting, kEmpty}) {
        EXPECT_TRUE(paused(partition)) << partition;
    }
    worker_.set_paused(false);
    drive();
    EXPECT_EQ(worker_.progress().records, 10u);
    for (const std::uint32_t partition : {kFlowing, kWaiting, kEmpty}) {
        EXPECT_FALSE(paused(partition)) << partition;
        EXPECT_EQ(log_.partitions.at(partition).resumed, 1) << partition;
    }
}

// What a record stops is its partition, and it is said for as long as it stands.
TEST_F(WorkerTest, APartitionThatIsStoppedStopsNoOther) {
    log_.partitions[kWaiting].nulls = {5};
    for (const std::uint32_t partition : {kFlowing, kWaiting, kEmpty}) {
        fill(partition, 5'000);
    }
    for (int i = 0; i < 20; ++i) {
        clock_.advance(1);
        worker_.step();
        EXPECT_TRUE(i < 3 || worker_.progress().stopped.starts_with("clicks[1] offset 5: "))
            << i << ": " << worker_.progress().stopped;
    }
    EXPECT_EQ(worker_.progress().records, 10'005u);
}

// It would be asked for at the next start, and nobody could answer.
TEST_F(WorkerTest, WhatNobodyCanReadIsNoProbe) {
    log_.partitions[kFlowing].damaged = {3};
    fill(kFlowing, 3);
    drive();
    ASSERT_TRUE(log_.partitions[kFlowing].remembered);
    EXPECT_EQ(log_.partitions[kFlowing].remembered->offset, 2);
    fill(kFlowing, 1);
    drive();
    EXPECT_EQ(worker_.progress().partitions[0].next_offset, 4);
    EXPECT_EQ(worker_.progress().partitions[0].probe_offset, 2);
    fill(kFlowing, 1);
    drive();
    EXPECT_EQ(worker_.progress().partitions[0].probe_offset, 4);
}

TEST_F(WorkerTest, APartitionThatWaitsForATransactionIsNotQuiet) {
    const auto quiet = [this] { return worker_.progress().partitions[0].quiet_since_ms; };
    drive();
    EXPECT_TRUE(quiet());
    log_.partitions[kFlowing].transaction_open = true;
    drive();
    EXPECT_FALSE(quiet());
    EXPECT_TRUE(worker_.progress().partitions[0].end_seen) << "there is nothing to read";
    log_.partitions[kFlowing].transaction_open = false;
    const std::int64_t before = clock_.steady_ms();
    drive();
    ASSERT_TRUE(quiet());
    EXPECT_GT(*quiet(), before);
}

}  // namespace
}  // namespace sluice::daemon
