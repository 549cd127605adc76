#include "daemon/watch.h"

#include <utility>

#include "daemon/engine.h"
#include "daemon/file_system.h"
#include "daemon/logging.h"
#include "ingest/log.h"
#include "state/io/disk.h"

namespace sluice::daemon {

namespace {

constexpr std::int64_t kLookForPartitionsMs = 30'000;

}  // namespace

// No log ends, or begins, below where it did.
bool Watch::went_back(const std::vector<ingest::LogRange>& ranges) {
    bool back = false;
    for (std::size_t i = 0; i < ranges_.size() && i < ranges.size(); ++i) {
        back |= ranges[i].begin < ranges_[i].begin || ranges[i].end < ranges_[i].end;
    }
    ranges_ = ranges;
    return back;
}

void Watch::step() {
    const auto& partitions = parts_.engine.partitions();
    const std::vector<model::Partition> asked(partitions.begin(), partitions.end());
    const auto ranges = parts_.log.ranges(asked, ingest::kAskTimeoutMs);
    std::string kafka_problem = ranges ? "" : ranges.error().text;
    if (!ranges && ranges.error().kind == model::ErrorKind::invalid) {
        topic_away_ = true;
    } else if (ranges && went_back(*ranges)) {
        topic_away_ = true;  // deleted and made anew since the last look
    }
    if (ranges && topic_away_) {
        // There is one of that name again. What follows on where we stand may be anything.
        const auto same = parts_.engine.same_log();
        topic_away_ = !same;
        kafka_problem = same ? "" : same.error().text;
    }
    const auto space = parts_.disk.space(parts_.pipeline.state.directory);
    const std::uint64_t reserve = parts_.pipeline.state.reserve_bytes;
    std::string disk_problem;
    if (!space) {
        disk_problem = space.error().text;
    } else if (space->free_bytes < reserve) {
        disk_problem = std::to_string(space->free_bytes >> 20) + " MiB are free, the reserve is " +
                       std::to_string(reserve >> 20) + " MiB";
    }
    parts_.engine.coordinator().set_hold(!disk_problem.empty() ? "disk: " + disk_problem
                                         : topic_away_         ? "kafka: " + kafka_problem
                                                               : "");
    if (parts_.ending.requested) {
        parts_.ballast.let_go();
    } else if (space) {
        parts_.ballast.hold(space->free_bytes);
    }
    if (ranges && parts_.ending.drain_requested.exchange(false)) {
        model::Offsets ends;
        for (std::size_t i = 0; i < asked.size(); ++i) {
            ends[asked[i]] = (*ranges)[i].end;
        }
        parts_.ending.set_drain_ends(std::move(ends));
        parts_.bells.main.ring();
    }
    const std::int64_t now = parts_.clock.steady_ms();
    if (ranges && parts_.look_for_partitions && !parts_.ending.draining &&
        (!looked_for_partitions_ms_ || now - *looked_for_partitions_ms_ >= kLookForPartitionsMs)) {
        looked_for_partitions_ms_ = now;
        if (auto looked = parts_.engine.look_for_partitions(ingest::kAskTimeoutMs); !looked) {
            log_warning("cannot look for new partitions", {{"reason", looked.error().text}});
        }
    }
    std::lock_guard lock(mutex_);
    seen_.kafka_problem = std::move(kafka_problem);
    seen_.disk_problem = std::move(disk_problem);
    seen_.disk_free = space ? space->free_bytes : 0;
    if (ranges) {
        seen_.ends.resize(asked.size());
        for (std::size_t i = 0; i < asked.size(); ++i) {
            seen_.ends[i] = (*ranges)[i].end;
        }
    }
}

Watch::Seen Watch::seen() const {
    std::lock_guard lock(mutex_);
    return seen_;
}

}  // namespace sluice::daemon
