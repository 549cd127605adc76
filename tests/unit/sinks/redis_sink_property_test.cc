// The sink against a Redis that fails in every way the simulation knows, with crashes, zombies and
// restores from older checkpoints. At the end Redis holds exactly what an undisturbed run writes,
// also where a second execution would count.
//
// SLUICE_SEED=n runs one seed, SLUICE_SEEDS=n that many.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "sinks/redis_sink.h"
#include "tests/simulation/simulated_redis.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

constexpr std::size_t kReductions = 3;
constexpr model::DurationMs kWindow = 1000;

class History {
 public:
    explicit History(std::uint64_t seed) : random_(seed), redis_(seed ^ 0x5eed, clock_) {
        windows_ = 5 + below(40);
        keys_ = 1 + below(60);
        connections_ = 1 + static_cast<int>(below(3));
        // Some runs suffer all at once, some one kind of fault, some none.
        const auto often = [this](std::uint32_t n) {
            return below(3) == 0 ? static_cast<std::uint32_t>(below(n)) : 0;
        };
        faults_ = {often(8000), often(1000), often(600), often(1000), often(1000), often(400)};
        crash_per_million_ = often(600);
        poison_ = faults_.flush + faults_.lose_all + faults_.lose_some == 0;
    }

    void go() {
        redis_.set_faults(faults_);
        start();
        std::size_t steps = 0;
        while (!done() && steps < 400'000) {
            if (++steps == 60'000) {
                redis_.set_faults({});
                crash_per_million_ = 0;
            }
            act();
            if (steps % 64 == 0) {
                check_frontier();
            }
            if (::testing::Test::HasFailure()) {
                return;
            }
        }
        ASSERT_TRUE(done()) << "does not come to an end: " << life_->sink->statistics().reason;
        check_end();
    }

    const simulation::SimulatedRedis& redis() const { return redis_; }
    std::uint64_t crashes() const { return crashes_; }

 private:
    struct Life {
        int process = 0;
        std::unique_ptr<RedisSink> sink;
        std::uint64_t generation = 0;
        bool begun = false;
        bool poisoned = false;
        std::vector<std::size_t> next = std::vector<std::size_t>(kReductions);  // window to push
        std::vector<std::unique_ptr<model::ResultBatch>> parts;  // of the window being pushed
        std::uint32_t pushing = 0;
    };

    std::uint64_t below(std::uint64_t n) { return random_() % n; }

    static std::vector<ReductionOutput> outputs() {
        return {reduction("spend", {}), reduction("total", {"INCRBY total:{user} {clicks}"}),
                reduction("list", {"RPUSH list:{user} {window.end}={clicks}",
                                   "HSET last:{user}:{window.end} n {clicks} final {final}"})};
    }

    // The results of one window: a function of seedless numbers, so that every life makes the same.
    std::vector<Row> rows(std::uint32_t reduction, std::size_t window) const {
        std::vector<Row> rows;
        for (std::size_t key = 0; key < keys_; ++key) {
            const std::uint64_t mix = (window * 1'000'003 + key * 7919 + reduction) * 2654435761u;
            if (mix % 3 != 0) {
                rows.push_back(
                    {{"u" + std::to_string(key)}, static_cast<std::int64_t>(mix % 1000) + 1});
            }
        }
        return rows;
    }
    static model::Window window(std::size_t n) {
        const auto start = static_cast<model::EventTime>(n) * kWindow;
        return {start, start + kWindow};
    }

    void start() {
        life_ = std::make_unique<Life>();
        life_->process = ++processes_;
        SinkSettings settings;
        settings.pipeline = "clicks";
        settings.reductions = outputs();
        settings.owner = "host:" + std::to_string(processes_);
        settings.own_epoch =
            epoch_;  // stored with the state, so that a Redis that lost it is no way back
        settings.connections = connections_;
        settings.queue_rows = 1 + below(200);
        settings.batch_commands = 1 + below(30);
        settings.reply_timeout_ms = 2000;
        settings.seed = random_();
        life_->sink = std::make_unique<RedisSink>(settings, redis_.transports(life_->process),
                                                  clock_, [this](const std::string& line) {
                                                      ADD_FAILURE() << "refused: " << line;
                                                      return true;
                                                  });
    }

    void crash() {
        ++crashes_;
        epoch_ = std::max(epoch_, life_->sink->epoch());
        // One that has no epoch yet would not be a zombie but a newer instance.
        if (life_->sink->epoch() == 0 || below(2) == 0) {
            redis_.crash(life_->process);
        } else {
            zombies_.push_back(std::move(life_));
        }
        start();
    }

    void act() {
        const std::uint64_t what = below(100);
        if (what < 35) {
            life_->sink->step();
        } else if (what < 80) {
            if (!redis_.step()) {
                clock_.advance(static_cast<std::int64_t>(1 + below(60)));
            }
        } else if (what < 90) {
            emit(*life_);
        } else if (what < 95) {
            for (auto& zombie : zombies_) {
                haunt(*zombie);
            }
        } else {
            clock_.advance(static_cast<std::int64_t>(below(20)));
            if (life_->begun && below(4) == 0) {
                checkpoint_.clear();
                for (std::uint32_t r = 0; r < kReductions; ++r) {
                    checkpoint_.push_back(life_->sink->acknowledged(r));
                }
            }
        }
        if (life_->sink->phase() == SinkPhase::greeted) {
            begin();
        }
        if (life_->sink->phase() == SinkPhase::running) {
            reset_done_ = true;
        }
        ASSERT_NE(life_->sink->phase(), SinkPhase::fenced);
        ASSERT_NE(life_->sink->phase(), SinkPhase::refused);
        if (crash_per_million_ > 0 && below(1'000'000) < crash_per_million_) {
            crash();
        }
    }

    void begin() {
        const ControlHash found = life_->sink->handshake();
        Begin begin;
        begin.lineage = "one";
        if (reset_done_) {
            if (found.present) {
                EXPECT_EQ(found.lineage, "one");
            }
            begin.acknowledged = checkpoint_;
        } else {
            begin.mode = Begin::Mode::reset;
            checkpoint_.assign(kReductions, model::kBeforeAll);
            begin.acknowledged = checkpoint_;
        }
        EXPECT_GT(life_->sink->epoch(), 0u);
        epoch_ = life_->sink->epoch();
        go_to(*life_, begin.acknowledged);
        life_->begun = true;
        life_->sink->begin(begin);
    }

    static void go_to(Life& life, const std::vector<model::EventTime>& from) {
        life.parts.clear();
        for (std::size_t r = 0; r < kReductions; ++r) {
            life.next[r] =
                from[r] == model::kBeforeAll ? 0 : static_cast<std::size_t>(from[r] / kWindow);
        }
    }

    // Pushes a window, or a part of it, as the emitter does.
    void emit(Life& life, std::int64_t poison = 0) {
        if (!life.begun) {
            return;
        }
        if (const auto rewind = life.sink->take_rewind()) {
            life.generation = rewind->generation;
            go_to(life, rewind->from);
        }
        if (life.parts.empty()) {
            life.pushing = static_cast<std::uint32_t>(below(kReductions));
            const std::size_t n = life.next[life.pushing];
            if (n >= windows_) {
                return;
            }
            auto all = rows(life.pushing, n);
            for (auto& row : all) {
                row.value += poison;
            }
            life.parts.push_back(batch_of(life.pushing, window(n), all, 10 + n));
        }
        if (life.sink->push(std::move(life.parts.front()), life.generation)) {
            life.parts.erase(life.parts.begin());
        }
        if (life.parts.empty()) {
            const std::size_t n = life.next[life.pushing]++;
            life.sink->push_end(life.pushing, window(n).end, life.generation);
        }
    }

    // A zombie goes on; once the new life has taken the fence, with wrong values. Where Redis may
    // lose the fence with everything else, a zombie may be the first that comes back, and write
    // until the new life looks again: there it has the values that every life has.
    void haunt(Life& zombie) {
        zombie.sink->step();
        reset_done_ = reset_done_ || zombie.sink->phase() == SinkPhase::running;
        const bool taken = life_->sink->epoch() > 0;
        if (zombie.sink->phase() == SinkPhase::greeted ||
            zombie.sink->phase() == SinkPhase::fenced) {
            return;
        }
        emit(zombie, taken && poison_ ? 1'000'000 : 0);
    }

    bool done() {
        if (life_->sink->phase() != SinkPhase::running) {
            return false;
        }
        for (std::uint32_t r = 0; r < kReductions; ++r) {
            if (life_->next[r] < windows_ ||
                life_->sink->acknowledged(r) != window(windows_ - 1).end) {
                return false;
            }
        }
        // A loss that the sink has not noticed yet is not the end.
        redis_.set_faults({});
        crash_per_million_ = 0;
        if (settled_since_ == 0 || !life_->sink->settled()) {
            settled_since_ = life_->sink->settled() ? clock_.steady_ms() : 0;
            return false;
        }
        return clock_.steady_ms() - settled_since_ > 10'000;
    }

    // frontier:ID vouches for every result up to it.
    void check_frontier() {
        const auto frontier = redis_.hash_field("sluice:clicks", "frontier:spend");
        if (!frontier) {
            return;
        }
        for (std::size_t n = 0; n < windows_ && window(n).end <= std::stoll(*frontier); ++n) {
            for (const auto& row : rows(0, n)) {
                const std::string key =
                    "clicks:spend:" + row.key[0] + ":" + std::to_string(window(n).start);
                ASSERT_EQ(redis_.hash_field(key, "clicks"), std::to_string(row.value))
                    << key << " is below the frontier " << *frontier;
            }
        }
    }

    void check_end() {
        std::map<std::string, std::string> expected;
        std::map<std::string, std::int64_t> totals;
        std::map<std::string, std::string> lists;
        for (std::size_t n = 0; n < windows_; ++n) {
            const std::string start = std::to_string(window(n).start);
            const std::string end = std::to_string(window(n).end);
            for (const auto& row : rows(0, n)) {
                expected["clicks:spend:" + row.key[0] + ":" + start] =
                    "hash clicks=" + std::to_string(row.value) + " complete=1 final=1 rev=0";
            }
            for (const auto& row : rows(1, n)) {
                totals["total:" + row.key[0]] += row.value;
            }
            for (const auto& row : rows(2, n)) {
                lists["list:" + row.key[0]] += " " + end + "=" + std::to_string(row.value);
                expected["last:" + row.key[0] + ":" + end] =
                    "hash final=1 n=" + std::to_string(row.value);
            }
        }
        for (const auto& [key, total] : totals) {
            expected[key] = "string " + std::to_string(total);
        }
        for (const auto& [key, list] : lists) {
            expected[key] = "list" + list;
        }
        EXPECT_EQ(redis_.dump(), expected);
        EXPECT_EQ(redis_.changed_finals(), std::vector<std::string>());
        EXPECT_EQ(redis_.hash_field("sluice:clicks", "barrier"), std::to_string(10 + windows_ - 1));
        EXPECT_EQ(redis_.hash_field("sluice:clicks", "lineage"), "one");
    }

    FakeClock clock_;
    std::mt19937_64 random_;
    simulation::SimulatedRedis redis_;
    simulation::RedisFaults faults_;
    std::uint32_t crash_per_million_ = 0;
    bool poison_ = false;
    std::size_t windows_ = 0;
    std::size_t keys_ = 0;
    int connections_ = 1;
    int processes_ = 0;
    std::uint64_t epoch_ = 0;
    std::uint64_t crashes_ = 0;
    bool reset_done_ = false;
    std::int64_t settled_since_ = 0;
    std::vector<model::EventTime> checkpoint_;
    std::unique_ptr<Life> life_;
    std::vector<std::unique_ptr<Life>> zombies_;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 15;
#else
constexpr std::uint64_t kSeeds = 300;
#endif

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(RedisSinkProperty, RedisEndsAsInAnUndisturbedRun) {
    const std::uint64_t only = number_from("SLUICE_SEED", 0);
    const std::uint64_t seeds = only != 0 ? 1 : number_from("SLUICE_SEEDS", kSeeds);
    std::uint64_t losses = 0;
    std::uint64_t crashes = 0;
    for (std::uint64_t i = 0; i < seeds; ++i) {
        const std::uint64_t seed = only != 0 ? only : i + 1;
        History run(seed);
        run.go();
        losses += run.redis().losses();
        crashes += run.crashes();
        ASSERT_FALSE(HasFailure()) << "repeat with SLUICE_SEED=" << seed;
    }
    std::printf("%llu seeds, %llu crashes, %llu losses\n", static_cast<unsigned long long>(seeds),
                static_cast<unsigned long long>(crashes), static_cast<unsigned long long>(losses));
}

}  // namespace
}  // namespace sluice::sinks::test
