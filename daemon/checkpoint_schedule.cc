#include "daemon/checkpoint_schedule.h"

#include <algorithm>

namespace sluice::daemon {

namespace {

constexpr std::int64_t kPutOffMs = 1000;

}  // namespace

std::int64_t effective_interval_ms(std::int64_t every_ms, std::uint64_t cpu_ns) {
    const auto cost = static_cast<std::int64_t>(std::min<std::uint64_t>(
        4 * (cpu_ns / 1'000'000), static_cast<std::uint64_t>(10 * every_ms)));
    return std::max(every_ms, cost);
}

void CheckpointSchedule::look(std::int64_t now_ms) {
    if (requested_.load() > answers_ || now_ms - begun_ms_ >= interval_ms_) {
        wanted_ = true;
    }
}

void CheckpointSchedule::begin(std::int64_t now_ms) {
    wanted_ = false;
    begun_ms_ = now_ms;
    answers_ = requested_.load();
}

void CheckpointSchedule::committed(std::uint64_t cpu_ns) {
    interval_ms_ = effective_interval_ms(every_ms_, cpu_ns);
    earliest_ms_ = 0;
    done_.store(answers_);
}

void CheckpointSchedule::note_skipped(std::int64_t now_ms) {
    put_off(now_ms);
    wanted_ = true;
    skipped_.store(answers_);
}

void CheckpointSchedule::put_off(std::int64_t now_ms) { earliest_ms_ = now_ms + kPutOffMs; }

}  // namespace sluice::daemon
