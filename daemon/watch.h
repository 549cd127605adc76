// How Kafka and the disk are, and what follows from it: input is held while the disk is short, and
// from when the brokers do not know a topic, or it went back, until it is the one that was read;
// the ballast is kept or let go, a drain learns the ends of the log, new partitions are taken up.
//
// Thread: step() one (`watch`); seen() any.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/bell.h"
#include "daemon/ending.h"
#include "state/model/clock.h"

namespace sluice::ingest {
class Log;
struct LogRange;
}  // namespace sluice::ingest
namespace sluice::state {
class Disk;
}

namespace sluice::daemon {

class Ballast;
class Engine;

class Watch {
 public:
    struct Parts {  // all outlive it
        const config::Pipeline& pipeline;
        Engine& engine;  // it runs
        ingest::Log& log;
        state::Disk& disk;
        Ballast& ballast;
        const model::Clock& clock;
        Ending& ending;
        Bells& bells;
        bool look_for_partitions = true;
    };
    struct Seen {
        std::vector<std::optional<std::int64_t>> ends;  // by partition
        std::string kafka_problem;
        std::string disk_problem;
        std::uint64_t disk_free = 0;
    };

    explicit Watch(const Parts& parts) : parts_(parts) {}

    void step();  // one look; blocks on Kafka
    Seen seen() const;

 private:
    bool went_back(const std::vector<ingest::LogRange>& ranges);

    const Parts parts_;
    std::vector<ingest::LogRange> ranges_;  // at the last look; partitions are only added
    std::optional<std::int64_t> looked_for_partitions_ms_;
    bool topic_away_ = false;  // the brokers did not know it; nothing is read until it is the same
    mutable std::mutex mutex_;
    Seen seen_;  // guarded by mutex_
};

}  // namespace sluice::daemon
