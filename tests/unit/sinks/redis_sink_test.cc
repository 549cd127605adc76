// One behaviour of the sink after the other, against the simulated Redis.
#include "sinks/redis_sink.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sinks/backoff.h"
#include "sinks/control.h"
#include "tests/simulation/simulated_redis.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

using simulation::RedisCondition;

class RedisSinkTest : public ::testing::Test {
 protected:
    RedisSinkTest() {
        settings_.pipeline = "clicks";
        settings_.reductions = {reduction("spend", {})};
        settings_.owner = "me:1";
        settings_.connections = 2;
        settings_.seed = 7;
    }

    std::unique_ptr<RedisSink> make() {
        return std::make_unique<RedisSink>(settings_, redis_.transports(++process_), clock_,
                                           [this](const std::string& line) {
                                               if (dead_letters_full_) {
                                                   return false;
                                               }
                                               dead_letters_.push_back(line);
                                               return true;
                                           });
    }

    // Steps everything until `until` holds; a minute of simulated time at most.
    bool run(RedisSink& sink, const std::function<bool()>& until, std::int64_t limit_ms = 60'000) {
        const std::int64_t end = clock_.steady_ms() + limit_ms;
        while (!until()) {
            if (clock_.steady_ms() >= end) {
                return false;
            }
            if (!(sink.step() | redis_.step())) {
                clock_.advance(5);
            }
        }
        return true;
    }
    void pass(RedisSink& sink, std::int64_t ms) {
        run(sink, [] { return false; }, ms);
    }

    void reset(RedisSink& sink) {
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::greeted; }));
        Begin begin;
        begin.mode = Begin::Mode::reset;
        begin.lineage = "one";
        begin.barrier = 3;
        begin.acknowledged.assign(settings_.reductions.size(), model::kBeforeAll);
        sink.begin(begin);
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::running; }));
    }
    void resume(RedisSink& sink, std::vector<model::EventTime> acknowledged) {
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::greeted; }));
        Begin begin;
        begin.lineage = "one";
        begin.acknowledged = std::move(acknowledged);
        sink.begin(begin);
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::running; }));
    }
    // A window of ten results of `reduction` and its end.
    static bool push(RedisSink& sink, model::EventTime start, std::uint32_t reduction = 0,
                     std::uint64_t generation = 0) {
        std::vector<Row> rows;
        for (int i = 0; i < 10; ++i) {
            rows.push_back({{"u" + std::to_string(i)}, start + i});
        }
        return sink.push(batch_of(reduction, {start, start + 1000}, rows, 5), generation) &&
               sink.push_end(reduction, start + 1000, generation);
    }
    bool settle(RedisSink& sink) {
        return run(sink, [&] { return sink.settled(); });
    }
    std::optional<std::string> control(const std::string& field) const {
        return redis_.hash_field("sluice:clicks", field);
    }

    FakeClock clock_;
    simulation::SimulatedRedis redis_{42, clock_};
    SinkSettings settings_;
    int process_ = 0;
    bool dead_letters_full_ = false;
    std::vector<std::string> dead_letters_;
};

TEST_F(RedisSinkTest, NothingButTheFenceIsWrittenBeforeBegin) {
    auto sink = make();
    ASSERT_TRUE(run(*sink, [&] { return sink->phase() == SinkPhase::greeted; }));
    EXPECT_FALSE(push(*sink, 0));
    pass(*sink, 5000);
    EXPECT_EQ(redis_.dump(""),
              (std::map<std::string, std::string>{{"sluice:clicks:fence", "string 1 me:1"}}));
    EXPECT_FALSE(sink->handshake().present);
    EXPECT_EQ(sink->epoch(), 1u);
}

TEST_F(RedisSinkTest, ResultsMarksFrontierAndBarrier) {
    auto sink = make();
    reset(*sink);
    EXPECT_EQ(control("barrier"), "3");
    EXPECT_FALSE(control("frontier:spend"));
    ASSERT_TRUE(push(*sink, 0));
    EXPECT_EQ(sink->acknowledged(0), model::kBeforeAll);
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(sink->acknowledged(0), 1000);
    EXPECT_EQ(redis_.dump().size(), 10u);
    EXPECT_EQ(redis_.hash_field("clicks:spend:u3:0", "clicks"), "3");
    EXPECT_EQ(control("frontier:spend"), "1000");
    EXPECT_EQ(control("barrier"), "5");
    EXPECT_EQ(control("lineage"), "one");
    EXPECT_TRUE(control("replication"));
    for (int i = 0; i < 10; ++i) {
        std::string key;
        model::append_key_part(key, "u" + std::to_string(i));
        const int lane = model::lane_of(model::key_hash(key));
        const auto mark = decode_mark(control(lane_field("spend", lane)).value_or(""));
        ASSERT_TRUE(mark);
        EXPECT_GE(*mark, (LaneMark{1000, model::key_hash(key), key}));
    }
    const auto statistics = sink->statistics();
    EXPECT_EQ(statistics.results, 10u);
    EXPECT_EQ(statistics.commands, 10u);
    EXPECT_EQ(statistics.pending, 0u);
    EXPECT_TRUE(statistics.connected);
    EXPECT_EQ(statistics.reason, "");
}

TEST_F(RedisSinkTest, EpochIsAboveTheStoredAndTheOwn) {
    redis_.execute({"SET", "sluice:clicks:fence", "41 other"});
    auto sink = make();
    ASSERT_TRUE(run(*sink, [&] { return sink->phase() == SinkPhase::greeted; }));
    EXPECT_EQ(sink->epoch(), 42u);
    settings_.own_epoch = 50;
    auto next = make();
    ASSERT_TRUE(run(*next, [&] { return next->phase() == SinkPhase::greeted; }));
    EXPECT_EQ(next->epoch(), 51u);
    EXPECT_EQ(redis_.dump("").at("sluice:clicks:fence"), "string 51 me:1");
}

TEST_F(RedisSinkTest, ANewerInstanceFencesAnOlderOne) {
    auto old = make();
    reset(*old);
    ASSERT_TRUE(push(*old, 0));
    ASSERT_TRUE(settle(*old));
    const auto before = redis_.dump();
    auto newer = make();
    resume(*newer, {1000});
    ASSERT_TRUE(push(*old, 1000));
    ASSERT_TRUE(run(*old, [&] { return old->phase() == SinkPhase::fenced; }));
    EXPECT_NE(old->statistics().reason.find("fenced by me:1, epoch 2"), std::string::npos);
    EXPECT_EQ(redis_.dump(), before);
    EXPECT_FALSE(old->step());
    EXPECT_EQ(newer->phase(), SinkPhase::running);
}

TEST_F(RedisSinkTest, AnIdleInstanceNoticesThatItIsFenced) {
    auto old = make();
    reset(*old);
    redis_.execute({"SET", "sluice:clicks:fence", "9 other"});
    ASSERT_TRUE(run(*old, [&] { return old->phase() == SinkPhase::fenced; }, 3000));
}

TEST_F(RedisSinkTest, ANilExecAloneIsNotFencing) {
    settings_.connections = 1;
    auto sink = make();
    reset(*sink);
    redis_.execute({"SET", "sluice:clicks:fence", "1 me:1"});
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(sink->phase(), SinkPhase::running);
    EXPECT_EQ(redis_.dump().size(), 10u);
    EXPECT_GE(sink->statistics().retries, 1u);
}

TEST_F(RedisSinkTest, AnOlderFenceIsTakenBack) {
    settings_.own_epoch = 5;
    auto sink = make();
    reset(*sink);
    redis_.execute({"SET", "sluice:clicks:fence", "2 zombie"});
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    // With another value than before, so that none of our connections overlooks it.
    EXPECT_TRUE(redis_.dump("").at("sluice:clicks:fence").starts_with("string 6 me:1#"));
    EXPECT_EQ(redis_.dump().size(), 10u);
}

TEST_F(RedisSinkTest, ServerTroubleIsAStateWithAReason) {
    for (const auto& [condition, word] : std::vector<std::pair<RedisCondition, std::string>>{
             {RedisCondition::oom, "OOM"},
             {RedisCondition::readonly, "READONLY"},
             {RedisCondition::misconf, "MISCONF"},
             {RedisCondition::loading, "LOADING"}}) {
        redis_.restart_losing_everything();
        auto sink = make();
        reset(*sink);
        redis_.set_condition(condition, 20'000);
        const model::EventTime since = clock_.wall_ms();
        ASSERT_TRUE(push(*sink, 0));
        pass(*sink, 10'000);
        const auto statistics = sink->statistics();
        EXPECT_FALSE(statistics.connected) << word;
        EXPECT_NE(statistics.reason.find(word), std::string::npos) << statistics.reason;
        EXPECT_NE(statistics.last_error.find(word), std::string::npos);
        EXPECT_GE(statistics.since, since);
        EXPECT_EQ(statistics.pending, 10u);
        EXPECT_EQ(sink->phase(), SinkPhase::running);
        ASSERT_TRUE(settle(*sink));
        EXPECT_TRUE(sink->statistics().connected);
        EXPECT_EQ(redis_.dump().size(), 10u);
        EXPECT_TRUE(dead_letters_.empty());
    }
}

TEST_F(RedisSinkTest, TroubleAtTheStartIsWaitedFor) {
    redis_.set_condition(RedisCondition::loading, 20'000);
    auto sink = make();
    pass(*sink, 10'000);
    EXPECT_EQ(sink->phase(), SinkPhase::connecting);
    EXPECT_NE(sink->statistics().reason.find("LOADING"), std::string::npos);
    reset(*sink);
}

TEST_F(RedisSinkTest, AResultThatRedisRefusesBecomesADeadLetter) {
    auto sink = make();
    reset(*sink);
    redis_.execute({"SET", "clicks:spend:u4:0", "not a hash"});
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    ASSERT_EQ(dead_letters_.size(), 1u);
    EXPECT_NE(dead_letters_[0].find("WRONGTYPE"), std::string::npos);
    EXPECT_NE(dead_letters_[0].find("\"key\":[\"u4\"]"), std::string::npos);
    EXPECT_EQ(sink->statistics().refused, 1u);
    EXPECT_EQ(sink->statistics().results, 9u);
    EXPECT_EQ(sink->acknowledged(0), 1000);
    EXPECT_EQ(redis_.dump().size(), 10u);
}

TEST_F(RedisSinkTest, ItsLaneWaitsWhileDeadLettersAreFull) {
    auto sink = make();
    reset(*sink);
    redis_.execute({"SET", "clicks:spend:u4:0", "not a hash"});
    dead_letters_full_ = true;
    ASSERT_TRUE(push(*sink, 0));
    pass(*sink, 3000);
    EXPECT_EQ(sink->acknowledged(0), model::kBeforeAll);
    EXPECT_FALSE(sink->settled());
    EXPECT_FALSE(sink->statistics().connected);
    dead_letters_full_ = false;
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(dead_letters_.size(), 1u);
    EXPECT_EQ(sink->acknowledged(0), 1000);
}

TEST_F(RedisSinkTest, AfterExecAbortTheRestIsSentAgain) {
    auto bogus = reduction("bogus", {"HSET {user} n {clicks}"});
    bogus.write[0].words[0] = {std::string("BOGUS")};
    settings_.reductions.push_back(bogus);
    settings_.connections = 1;
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0, 1));
    ASSERT_TRUE(push(*sink, 0, 0));
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(dead_letters_.size(), 10u);
    EXPECT_EQ(sink->statistics().refused, 10u);
    EXPECT_EQ(sink->statistics().results, 10u);
    EXPECT_EQ(redis_.dump().size(), 10u);
    EXPECT_EQ(sink->acknowledged(0), 1000);
    EXPECT_EQ(sink->acknowledged(1), 1000);
}

TEST_F(RedisSinkTest, PasswordIsReadAtEveryConnect) {
    redis_.require_password("right");
    std::string password = "wrong";
    settings_.password = [&]() -> model::Result<std::string> { return password; };
    auto sink = make();
    ASSERT_TRUE(run(*sink, [&] { return sink->phase() == SinkPhase::refused; }));
    EXPECT_NE(sink->statistics().reason.find("WRONGPASS"), std::string::npos);

    password = "right";
    sink = make();
    reset(*sink);
    redis_.require_password("new");
    redis_.cut_connections();
    ASSERT_TRUE(push(*sink, 0));
    pass(*sink, 9000);
    EXPECT_EQ(sink->phase(), SinkPhase::running);
    EXPECT_NE(sink->statistics().reason.find("WRONGPASS"), std::string::npos);
    password = "new";
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(redis_.dump().size(), 10u);
}

TEST_F(RedisSinkTest, AnIdleSinkNoticesAFlush) {
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    redis_.flush_all();
    std::optional<Rewind> rewind;
    ASSERT_TRUE(run(*sink, [&] { return (rewind = sink->take_rewind()).has_value(); }, 3000));
    EXPECT_EQ(rewind->generation, 1u);
    EXPECT_EQ(rewind->from, std::vector<model::EventTime>{model::kBeforeAll});
    EXPECT_EQ(sink->acknowledged(0), model::kBeforeAll);
    EXPECT_EQ(sink->generation(), 1u);
    EXPECT_TRUE(push(*sink, 5000, 0, 0)) << "an old generation is taken and forgotten";
    ASSERT_TRUE(push(*sink, 0, 0, 1));
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(redis_.dump().size(), 10u);
    EXPECT_EQ(control("frontier:spend"), "1000");
    EXPECT_EQ(control("lineage"), "one");
    EXPECT_EQ(control("barrier"), "5");
}

TEST_F(RedisSinkTest, ARemovedControlHashIsNoticedByTheNextBatch) {
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    redis_.execute({"DEL", "sluice:clicks"});
    ASSERT_TRUE(push(*sink, 1000));
    std::optional<Rewind> rewind;
    ASSERT_TRUE(run(*sink, [&] { return (rewind = sink->take_rewind()).has_value(); }, 500));
    EXPECT_EQ(rewind->from[0], model::kBeforeAll);
}

TEST_F(RedisSinkTest, LostWritesAreAskedForFromTheFrontierFound) {
    auto sink = make();
    reset(*sink);
    for (model::EventTime start = 0; start < 4000; start += 1000) {
        ASSERT_TRUE(push(*sink, start));
        ASSERT_TRUE(settle(*sink));
    }
    ASSERT_EQ(sink->acknowledged(0), 4000);
    // A checkpoint knows more than a Redis that was rolled back.
    const std::string replication = *control("replication");
    sink.reset();
    redis_.execute({"HSET", "sluice:clicks", "frontier:spend", "2000"});
    auto next = make();
    resume(*next, {4000});
    const auto rewind = next->take_rewind();
    ASSERT_TRUE(rewind);
    EXPECT_EQ(rewind->from, std::vector<model::EventTime>{2000});
    EXPECT_EQ(next->acknowledged(0), 2000);
    ASSERT_TRUE(push(*next, 2000, 0, 1));
    ASSERT_TRUE(push(*next, 3000, 0, 1));
    ASSERT_TRUE(settle(*next));
    EXPECT_EQ(next->statistics().skipped, 20u) << "the lanes' marks say that they are there";
    EXPECT_EQ(control("frontier:spend"), "4000");
}

TEST_F(RedisSinkTest, AnotherReplicationIdMeansEverythingRetained) {
    settings_.reductions.push_back(reduction("total", {"INCRBY total:{user} {clicks}"}));
    auto sink = make();
    reset(*sink);
    for (std::uint32_t r = 0; r < 2; ++r) {
        ASSERT_TRUE(push(*sink, 1000, r));
    }
    ASSERT_TRUE(settle(*sink));
    const auto before = redis_.dump();
    const auto old_id = control("replication");
    redis_.restart_losing_writes(0);
    std::optional<Rewind> rewind;
    ASSERT_TRUE(run(*sink, [&] { return (rewind = sink->take_rewind()).has_value(); }));
    EXPECT_EQ(rewind->from, (std::vector<model::EventTime>(2, model::kBeforeAll)));
    EXPECT_EQ(control("frontier:spend"), "2000") << "the frontier is not taken back";
    const auto results = sink->statistics().results;
    ASSERT_TRUE(push(*sink, 1000, 0, 1));
    pass(*sink, 2000);
    EXPECT_EQ(control("replication"), old_id) << "until everything was sent again";
    ASSERT_TRUE(push(*sink, 1000, 1, 1));
    ASSERT_TRUE(settle(*sink));
    EXPECT_NE(control("replication"), old_id);
    EXPECT_EQ(sink->statistics().results, results + 10) << "idempotent ones are sent again";
    EXPECT_EQ(sink->statistics().skipped, 10u) << "the others are not";
    EXPECT_EQ(redis_.dump(), before);
}

TEST_F(RedisSinkTest, AFailOverWhileWeWereDownIsNoticed) {
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    sink.reset();
    redis_.restart_losing_writes(0);
    auto next = make();
    resume(*next, {1000});
    const auto rewind = next->take_rewind();
    ASSERT_TRUE(rewind);
    EXPECT_EQ(rewind->from[0], model::kBeforeAll);
}

TEST_F(RedisSinkTest, ARestoreFromAnOlderCheckpointSkipsAndLowersNothing) {
    auto sink = make();
    reset(*sink);
    for (model::EventTime start = 0; start < 3000; start += 1000) {
        ASSERT_TRUE(push(*sink, start));
    }
    ASSERT_TRUE(settle(*sink));
    sink.reset();
    auto next = make();
    resume(*next, {model::kBeforeAll});
    EXPECT_FALSE(next->take_rewind());
    ASSERT_TRUE(push(*next, 0));
    ASSERT_TRUE(settle(*next));
    EXPECT_EQ(next->acknowledged(0), 1000);
    EXPECT_EQ(control("frontier:spend"), "3000");
    EXPECT_EQ(next->statistics().skipped, 10u);
    EXPECT_EQ(next->statistics().results, 0u);
}

TEST_F(RedisSinkTest, AResetReplacesTheControlHash) {
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    sink.reset();
    auto next = make();
    ASSERT_TRUE(run(*next, [&] { return next->phase() == SinkPhase::greeted; }));
    EXPECT_EQ(next->handshake().lineage, "one");
    EXPECT_EQ(next->handshake().frontiers.at("spend"), 1000);
    Begin begin;
    begin.mode = Begin::Mode::reset;
    begin.lineage = "two";
    begin.barrier = 1;
    begin.acknowledged = {-2000};
    begin.lanes["spend"][3] = LaneMark{-2000, 0x3000000000000000, "\x01x"};
    next->begin(begin);
    ASSERT_TRUE(run(*next, [&] { return next->phase() == SinkPhase::running; }));
    EXPECT_EQ(control("lineage"), "two");
    EXPECT_EQ(control("barrier"), "1");
    EXPECT_EQ(control("frontier:spend"), "-2000");
    EXPECT_EQ(redis_.dump("").at("sluice:clicks").find("lane:spend:0"), std::string::npos);
    EXPECT_EQ(decode_mark(*control("lane:spend:3")), begin.lanes["spend"][3]);
    ASSERT_TRUE(push(*next, 0));
    ASSERT_TRUE(settle(*next));
    EXPECT_EQ(next->statistics().results, 10u) << "marks of another lineage do not count";
}

TEST_F(RedisSinkTest, NoAnswerClosesTheConnection) {
    auto sink = make();
    reset(*sink);
    redis_.set_condition(RedisCondition::stalled, 12'000);
    ASSERT_TRUE(push(*sink, 0));
    pass(*sink, 8000);
    EXPECT_FALSE(sink->statistics().connected);
    EXPECT_NE(sink->statistics().reason.find("no answer within 5000 ms"), std::string::npos)
        << sink->statistics().reason;
    EXPECT_GE(sink->statistics().reconnects, 1u);
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(redis_.dump().size(), 10u);
}

TEST_F(RedisSinkTest, TheQueueIsBounded) {
    settings_.queue_rows = 15;
    auto sink = make();
    reset(*sink);
    redis_.set_condition(RedisCondition::oom, 5000);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(push(*sink, 1000)) << "the bound may be passed by one batch";
    auto batch = batch_of(0, {2000, 3000}, {{{"u"}, 1}});
    EXPECT_FALSE(sink->push(std::move(batch), 0));
    ASSERT_NE(batch, nullptr) << "what was not taken stays with the caller";
    ASSERT_TRUE(run(*sink, [&] { return sink->pending() == 0; }));
    EXPECT_TRUE(sink->push(std::move(batch), 0));
    EXPECT_EQ(batch, nullptr);
}

TEST_F(RedisSinkTest, BytesBoundTheQueueToo) {
    settings_.queue_bytes = 1000;
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(sink->push(batch_of(0, {0, 1000}, {{{std::string(2000, 'x')}, 1}}), 0));
    EXPECT_FALSE(sink->push(batch_of(0, {1000, 2000}, {{{"u"}, 1}}), 0));
    ASSERT_TRUE(settle(*sink));
    EXPECT_TRUE(sink->push(batch_of(0, {1000, 2000}, {{{"u"}, 1}}), 0));
}

TEST_F(RedisSinkTest, KeysExpire) {
    settings_.reductions[0].ttl_ms = 60'000;
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(push(*sink, 0));
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(redis_.dump().size(), 10u);
    EXPECT_EQ(sink->statistics().commands, 20u);
    clock_.advance(60'000);
    EXPECT_EQ(redis_.dump().size(), 0u);
}

TEST_F(RedisSinkTest, WindowsWithoutResultsMoveTheFrontier) {
    auto sink = make();
    reset(*sink);
    ASSERT_TRUE(sink->push_end(0, 7000, 0));
    ASSERT_TRUE(settle(*sink));
    EXPECT_EQ(sink->acknowledged(0), 7000);
    EXPECT_EQ(control("frontier:spend"), "7000");
}

TEST_F(RedisSinkTest, AStrangeServerIsNotBelieved) {
    // Its replies would be taken for those of the next command.
    class Echo final : public Transport {
     public:
        void connect() override { open_ = true; }
        State state() override { return open_ ? State::open : State::closed; }
        std::size_t send(std::string_view bytes) override { return bytes.size(); }
        std::size_t receive(std::string& to, std::size_t) override {
            if (open_) {
                to += "HTTP/1.1 400 Bad Request\r\n\r\n";
            }
            return open_ ? 27 : 0;
        }
        void close() override { open_ = false; }
        const std::string& error() const override { return error_; }
        int descriptor() const override { return -1; }

     private:
        bool open_ = false;
        std::string error_;
    };
    RedisSink sink(
        settings_, [](int) { return std::make_unique<Echo>(); }, clock_,
        [](const std::string&) { return true; });
    pass(sink, 10'000);
    EXPECT_EQ(sink.phase(), SinkPhase::connecting);
    EXPECT_NE(sink.statistics().reason.find("reply"), std::string::npos);
}

TEST(Backoff, DoublesToFiveSecondsWithJitter) {
    Backoff backoff(1);
    for (const model::DurationMs whole : {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000}) {
        const model::DurationMs delay = backoff.next();
        EXPECT_LE(delay, whole);
        EXPECT_GE(delay, whole / 2);
    }
    backoff.reset();
    EXPECT_LE(backoff.next(), 50);
}

}  // namespace
}  // namespace sluice::sinks::test
