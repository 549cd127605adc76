// The sink against a real redis-server on a Unix socket.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sinks/redis_sink.h"
#include "tests/integration/real_redis.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

constexpr int kUsers = 300;

class RedisSinkIntegration : public ::testing::Test {
 protected:
    void SetUp() override {
        if (!RealRedis::installed()) {
            if (std::getenv("CI") != nullptr) {
                FAIL() << "redis-server is not installed";
            }
            GTEST_SKIP() << "redis-server is not installed";
        }
        settings_.pipeline = "clicks";
        settings_.reductions = {
            reduction("spend", {}),
            reduction("total", {"INCRBY total:{user} {clicks}", "RPUSH list:{user} {window.end}"})};
        settings_.reductions[0].ttl_ms = 3'600'000;
        settings_.owner = "me:1";
        settings_.reply_timeout_ms = 3000;
        settings_.queue_rows = 5000;
    }

    std::unique_ptr<RedisSink> make(const Address& address) {
        return std::make_unique<RedisSink>(settings_, socket_transports(address), clock_,
                                           [this](const std::string& line) {
                                               dead_letters_.push_back(line);
                                               return true;
                                           });
    }
    static bool run(RedisSink& sink, const std::function<bool()>& until) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!until()) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            if (!sink.step()) {
                sink.wait(20);
            }
        }
        return true;
    }
    void begin(RedisSink& sink, Begin::Mode mode,
               std::vector<model::EventTime> acknowledged = {model::kBeforeAll,
                                                             model::kBeforeAll}) {
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::greeted; }))
            << sink.statistics().reason;
        Begin begin;
        begin.mode = mode;
        begin.lineage = "one";
        begin.acknowledged = std::move(acknowledged);
        sink.begin(begin);
        ASSERT_TRUE(run(sink, [&] { return sink.phase() == SinkPhase::running; }));
    }
    // Windows [from, to) of both reductions, again from where a rewind says. `meanwhile` is called
    // after every push.
    void feed(RedisSink& sink, std::size_t from, std::size_t to,
              const std::function<void(std::size_t pushes)>& meanwhile = {}) {
        std::vector<std::size_t> next(2, from);
        for (std::uint32_t r = 0; r < 2; ++r) {  // never at or below what is acknowledged
            const model::EventTime acknowledged = sink.acknowledged(r);
            if (acknowledged != model::kBeforeAll) {
                next[r] = std::max(from, static_cast<std::size_t>(acknowledged / 1000));
            }
        }
        std::size_t pushes = 0;
        while (true) {
            if (const auto rewind = sink.take_rewind()) {
                ++rewinds_;
                for (std::size_t r = 0; r < 2; ++r) {
                    next[r] = rewind->from[r] == model::kBeforeAll
                                  ? 0
                                  : static_cast<std::size_t>(rewind->from[r] / 1000);
                }
            }
            bool all = true;
            for (std::uint32_t r = 0; r < 2; ++r) {
                all = all && next[r] == to && sink.acknowledged(r) >= end(to - 1);
                if (next[r] < to) {
                    std::vector<Row> rows;
                    for (int user = 0; user < kUsers; ++user) {
                        rows.push_back({{"u" + std::to_string(user)}, value(next[r], user)});
                    }
                    auto batch = batch_of(r, {end(next[r]) - 1000, end(next[r])}, rows, 1);
                    const auto generation = sink.generation();
                    if (sink.push(std::move(batch), generation)) {
                        sink.push_end(r, end(next[r]), generation);
                        ++next[r];
                        if (meanwhile) {
                            meanwhile(++pushes);
                        }
                    }
                }
            }
            if (all && sink.settled()) {
                return;
            }
            if (!sink.step()) {
                sink.wait(5);
            }
            ASSERT_LT(sink.phase(), SinkPhase::fenced) << sink.statistics().reason;
        }
    }
    static model::EventTime end(std::size_t n) {
        return static_cast<model::EventTime>(n + 1) * 1000;
    }
    static std::int64_t value(std::size_t window, int user) {
        return static_cast<std::int64_t>(window) * 10 + user;
    }
    // Redis holds windows [0, to) exactly.
    static void expect_windows(RedisClient client, std::size_t to) {
        std::string list;
        for (std::size_t n = 0; n < to; ++n) {
            list += std::to_string(end(n)) + " ";
        }
        for (int user = 0; user < kUsers; ++user) {
            const std::string name = "u" + std::to_string(user);
            std::int64_t total = 0;
            for (std::size_t n = 0; n < to; ++n) {
                total += value(n, user);
                const std::string key =
                    "clicks:spend:" + name + ":" + std::to_string(end(n) - 1000);
                ASSERT_EQ(client.text({"HGET", key, "clicks"}), std::to_string(value(n, user)));
                ASSERT_EQ(client.text({"HGET", key, "final"}), "1");
            }
            ASSERT_EQ(client.text({"GET", "total:" + name}), std::to_string(total)) << name;
            const Reply reply = client.command({"LRANGE", "list:" + name, "0", "-1"});
            std::string found;
            for (std::size_t i = 1; i < reply.nodes.size(); ++i) {
                found += std::string(reply.text(reply.nodes[i])) + " ";
            }
            ASSERT_EQ(found, list);
        }
        // Results, totals, lists, control hash, fence; nothing else.
        ASSERT_EQ(client.integer({"DBSIZE"}),
                  static_cast<std::int64_t>(kUsers * to + 2 * kUsers + 2));
    }

    model::SystemClock clock_;
    SinkSettings settings_;
    std::vector<std::string> dead_letters_;
    int rewinds_ = 0;
};

TEST_F(RedisSinkIntegration, ResultsExpireAndAreVouchedFor) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 10);
    expect_windows(redis.client(), 10);
    auto client = redis.client();
    EXPECT_EQ(client.text({"HGET", "sluice:clicks", "frontier:spend"}), "10000");
    EXPECT_EQ(client.text({"HGET", "sluice:clicks", "lineage"}), "one");
    EXPECT_EQ(client.text({"GET", "sluice:clicks:fence"}), "1 me:1");
    const auto left = client.integer({"PTTL", "clicks:spend:u1:0"});
    EXPECT_GT(left, 3'000'000);
    EXPECT_LE(left, 3'600'000);
    EXPECT_EQ(client.integer({"PTTL", "total:u1"}), -1);
    EXPECT_EQ(client.integer({"PTTL", "sluice:clicks"}), -1);
    EXPECT_EQ(rewinds_, 0);
}

TEST_F(RedisSinkIntegration, OverTcp) {
    // A port that was free a moment ago.
    const int probe = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(probe, reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    socklen_t size = sizeof any;
    ::getsockname(probe, reinterpret_cast<sockaddr*>(&any), &size);
    ::close(probe);
    const std::uint16_t port = ntohs(any.sin_port);
    RealRedis redis({"--port", std::to_string(port), "--bind", "127.0.0.1"});
    auto sink = make({"localhost", port, ""});
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 3);
    expect_windows(redis.client(), 3);
}

TEST_F(RedisSinkIntegration, NoServerIsWaitedFor) {
    RealRedis redis;
    redis.stop();
    auto sink = make(redis.address());
    ASSERT_TRUE(run(*sink, [&] { return !sink->statistics().last_error.empty(); }));
    EXPECT_FALSE(sink->statistics().connected);
    EXPECT_NE(sink->statistics().reason.find("connect"), std::string::npos);
    redis.start();
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 2);
    expect_windows(redis.client(), 2);
}

// The server says so, and hangs up while we are still talking.
TEST_F(RedisSinkIntegration, AServerWithoutRoomForUsIsQuoted) {
    RealRedis redis;
    RedisClient client = redis.client();
    client.command({"CONFIG", "SET", "maxclients", "1"});
    const auto sink = make(redis.address());
    EXPECT_TRUE(run(*sink, [&] { return !sink->statistics().last_error.empty(); }));
    EXPECT_NE(sink->statistics().reason.find("max number of clients reached"), std::string::npos)
        << sink->statistics().reason;
    client.command({"CONFIG", "SET", "maxclients", "100"});
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 2);
    expect_windows(redis.client(), 2);
}

TEST_F(RedisSinkIntegration, FlushAll) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 20, [&](std::size_t pushes) {
        if (pushes == 7 || pushes == 25 || pushes == 26) {
            redis.client().command({"FLUSHALL"});
        }
    });
    expect_windows(redis.client(), 20);
    EXPECT_GE(rewinds_, 1);
    rewinds_ = 0;
    redis.client().command({"FLUSHALL"});  // while nothing is sent
    ASSERT_TRUE(run(*sink, [&] { return sink->generation() > 0 && !sink->settled(); }));
    feed(*sink, 20, 20);
    expect_windows(redis.client(), 20);
    EXPECT_EQ(rewinds_, 1);
}

TEST_F(RedisSinkIntegration, KilledAndRestartedEmpty) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 20, [&](std::size_t pushes) {
        if (pushes == 21) {
            redis.stop();
            redis.start();
        }
    });
    expect_windows(redis.client(), 20);
    EXPECT_GE(rewinds_, 1);
    EXPECT_GE(sink->statistics().reconnects, 1u);
}

TEST_F(RedisSinkIntegration, KilledAndRestartedWithItsLogNothingCountsTwice) {
    RealRedis redis({"--appendonly", "yes", "--appendfsync", "always"});
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 20, [&](std::size_t pushes) {
        // Every restart makes it begin again: few enough that it comes to an end.
        if (pushes == 13 || pushes == 30 || pushes == 50) {
            redis.stop();
            redis.start();
        }
    });
    expect_windows(redis.client(), 20);
}

TEST_F(RedisSinkIntegration, ConnectionsKilledNothingCountsTwice) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 40, [&](std::size_t pushes) {
        if (pushes % 3 == 0) {
            redis.client().command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
        }
    });
    expect_windows(redis.client(), 40);
    EXPECT_GE(sink->statistics().reconnects, 1u);
    EXPECT_EQ(rewinds_, 0);
}

TEST_F(RedisSinkIntegration, OutOfMemoryIsAState) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    redis.client().command({"CONFIG", "SET", "maxmemory", "1"});
    bool seen = false;
    feed(*sink, 0, 5, [&](std::size_t pushes) {
        if (pushes == 2) {
            ASSERT_TRUE(run(
                *sink, [&] { return sink->statistics().reason.find("OOM") != std::string::npos; }));
            EXPECT_FALSE(sink->statistics().connected);
            seen = true;
            redis.client().command({"CONFIG", "SET", "maxmemory", "0"});
        }
    });
    EXPECT_TRUE(seen);
    EXPECT_TRUE(sink->statistics().connected);
    expect_windows(redis.client(), 5);
    EXPECT_TRUE(dead_letters_.empty());
}

TEST_F(RedisSinkIntegration, AReadOnlyReplicaIsWaitedForAndAPromotedOneGetsEverything) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 3);
    redis.client().command({"REPLICAOF", "127.0.0.1", "1"});
    feed(*sink, 3, 5, [&](std::size_t pushes) {
        if (pushes == 1) {
            ASSERT_TRUE(run(*sink, [&] {
                return sink->statistics().reason.find("READONLY") != std::string::npos;
            }));
            redis.client().command({"REPLICAOF", "NO", "ONE"});
        }
    });
    expect_windows(redis.client(), 5);
    EXPECT_GE(rewinds_, 1) << "a promoted server has a replication id of its own";
}

TEST_F(RedisSinkIntegration, WrongTypeIsADeadLetter) {
    RealRedis redis;
    redis.client().command({"SET", "clicks:spend:u7:0", "x"});
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 2);
    ASSERT_EQ(dead_letters_.size(), 1u);
    EXPECT_NE(dead_letters_[0].find("WRONGTYPE"), std::string::npos);
    EXPECT_EQ(sink->statistics().refused, 1u);
    EXPECT_EQ(redis.client().text({"HGET", "clicks:spend:u7:1000", "clicks"}), "17");
}

TEST_F(RedisSinkIntegration, AnUnknownCommandAbortsAndTheRestGoesOn) {
    auto bogus = reduction("bogus", {"HSET {user} n {clicks}"});
    bogus.write[0].words[0] = {std::string("NOSUCHCOMMAND")};
    settings_.reductions[1] = bogus;
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 2);
    EXPECT_EQ(dead_letters_.size(), 2u * kUsers);
    EXPECT_EQ(redis.client().text({"HGET", "clicks:spend:u299:1000", "clicks"}), "309");
}

TEST_F(RedisSinkIntegration, AZombieWritesNothingBehindTheFence) {
    RealRedis redis;
    auto zombie = make(redis.address());
    begin(*zombie, Begin::Mode::reset);
    feed(*zombie, 0, 5);
    // It has more in its queue, and a batch on its way that is not executed before the new fence.
    for (std::uint32_t r = 0; r < 2; ++r) {
        zombie->push(batch_of(r, {5000, 6000}, {{{"poison"}, 1}}, 1), 0);
    }
    settings_.owner = "me:2";
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::resume, {end(4), end(4)});
    ASSERT_TRUE(run(*zombie, [&] { return zombie->phase() == SinkPhase::fenced; }));
    feed(*sink, 5, 8);
    expect_windows(redis.client(), 8);
    EXPECT_EQ(rewinds_, 0);
    EXPECT_EQ(sink->epoch(), 2u);
}

TEST_F(RedisSinkIntegration, ANewLifeGoesOnAtTheMarks) {
    RealRedis redis;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 10);
    sink.reset();
    sink = make(redis.address());
    begin(*sink, Begin::Mode::resume, {end(3), model::kBeforeAll});
    feed(*sink, 0, 12);
    expect_windows(redis.client(), 12);
    EXPECT_EQ(rewinds_, 0);
    EXPECT_GE(sink->statistics().skipped, 6u * kUsers + 10u * kUsers);
}

TEST_F(RedisSinkIntegration, PasswordsAndPermissions) {
    RealRedis redis;
    auto client = redis.client();
    client.command({"ACL", "SETUSER", "sluice", "on", ">secret", "~*", "+@all"});
    client.command({"ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read"});
    client.command({"ACL", "SETUSER", "default", "off"});
    const auto starts_as = [&](const std::string& user, const std::string& password) {
        settings_.username = user;
        settings_.password = [password]() -> model::Result<std::string> { return password; };
        auto sink = make(redis.address());
        EXPECT_TRUE(run(*sink, [&] {
            return sink->phase() == SinkPhase::greeted || sink->phase() == SinkPhase::refused;
        }));
        return std::pair(sink->phase(), sink->statistics().last_error);
    };
    EXPECT_EQ(starts_as("sluice", "secret").first, SinkPhase::greeted);
    const auto [wrong, text] = starts_as("sluice", "other");
    EXPECT_EQ(wrong, SinkPhase::refused);
    EXPECT_NE(text.find("WRONGPASS"), std::string::npos);
    const auto [denied, reason] = starts_as("reader", "secret");
    EXPECT_EQ(denied, SinkPhase::refused);
    EXPECT_NE(reason.find("NOPERM"), std::string::npos);
    settings_.password = nullptr;
    auto sink = make(redis.address());
    EXPECT_TRUE(run(*sink, [&] { return sink->phase() == SinkPhase::refused; }));
    EXPECT_NE(sink->statistics().last_error.find("NOAUTH"), std::string::npos);
}

TEST_F(RedisSinkIntegration, AnotherDatabase) {
    RealRedis redis;
    settings_.database = 5;
    auto sink = make(redis.address());
    begin(*sink, Begin::Mode::reset);
    feed(*sink, 0, 1);
    auto client = redis.client();
    EXPECT_EQ(client.integer({"DBSIZE"}), 0);
    client.command({"SELECT", "5"});
    EXPECT_EQ(client.text({"HGET", "clicks:spend:u3:0", "clicks"}), "3");
}

}  // namespace
}  // namespace sluice::sinks::test
