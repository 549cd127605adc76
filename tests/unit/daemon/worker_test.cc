#include "daemon/worker.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
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
            record.timestamp = one.queued.front();
            record.has_value = true;
            record.value = R"({"user": "u1"})";
            one.queued.pop_front();
            more = take(record);
        }
        return taken;
    }
    std::optional<Offset> at_end(std::uint32_t partition) const override {
        const auto& one = log_.partitions.at(partition);
        return one.queued.empty() ? std::optional(one.next) : std::nullopt;
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
    const config::Pipeline pipeline_ = test::clicks_pipeline();
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

}  // namespace
}  // namespace sluice::daemon
