// A running engine over simulated seams, for tests of what stands around it. Nothing moves but by
// run(); the clock stands until the test moves it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "daemon/engine.h"
#include "state/io/rocks_env.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/simulation/simulated_log.h"
#include "tests/simulation/simulated_redis.h"
#include "tests/unit/daemon/clicks_pipeline.h"
#include "tests/unit/fake_clock.h"

namespace sluice::test {

// Topic `clicks` of two partitions with three records each; one count by `user`.
class RunningEngine : public ::testing::Test {
 protected:
    static constexpr int kMostSteps = 200'000;

    RunningEngine()
        : log_(1),
          disk_(1),
          redis_(1, clock_),
          pipeline_(clicks_pipeline("[state]\ndirectory = \"/state\"\n")) {
        log_.add_topic("clicks", 2);
        for (const std::int32_t partition : {0, 1}) {
            for (int i = 0; i < 3; ++i) {
                append(partition, "u" + std::to_string(i));
            }
        }
        EXPECT_TRUE(disk_.make_directory("/state"));
        env_ = state::make_rocks_env(disk_, {.steps = &background_, .clock = &clock_});
        daemon::Engine::Options options;
        options.boot = "unit";
        options.lineage[0] = 1;
        options.owner = "unit";
        engine_ = std::make_unique<daemon::Engine>(pipeline_,
                                                   daemon::Engine::Seams{
                                                       .log = log_,
                                                       .disk = disk_,
                                                       .rocks_env = *env_,
                                                       .redis = redis_.transports(1),
                                                       .clock = clock_,
                                                       .dead_letters = letters_,
                                                   },
                                                   std::move(options));
        run([&] { return engine_->stage() == daemon::Engine::Stage::open; });
        EXPECT_TRUE(engine_->open_worker(0));
        engine_->run();
        running_ = true;
    }

    void append(std::int32_t partition, const std::string& user) {
        simulation::SimulatedRecord record;
        record.timestamp = clock_.wall_ms();
        record.value = R"({"user": ")" + user + R"("})";
        log_.append({"clicks", partition}, std::move(record));
    }

    // Everybody steps until `done`, the clock with them.
    void run(const std::function<bool()>& done) {
        for (int i = 0; i < kMostSteps; ++i) {
            if (done()) {
                return;
            }
            log_.step();
            redis_.step();
            background_.step();
            if (i % 8 == 0) {
                clock_.advance(1);
            }
            if (!running_) {
                engine_->start_step();
                ASSERT_NE(engine_->stage(), daemon::Engine::Stage::failed)
                    << engine_->failure().text;
                continue;
            }
            engine_->worker(0).step();
            engine_->coordinator().step();
            ASSERT_TRUE(engine_->fire_step());
            engine_->snapshotter().step();
            engine_->completion().step();
            engine_->sink().step();
        }
        FAIL() << "it did not come about in " << kMostSteps << " steps";
    }

    FakeClock clock_;
    simulation::SimulatedLog log_;
    simulation::SimulatedDisk disk_;
    simulation::SimulatedRedis redis_;
    config::Pipeline pipeline_;
    ingest::DeadLettersInMemory letters_;
    state::BackgroundSteps background_;
    std::unique_ptr<rocksdb::Env> env_;
    bool running_ = false;
    std::unique_ptr<daemon::Engine> engine_;  // the first to go
};

}  // namespace sluice::test
