// Keeps partitions near one another in event time while a backlog is read.
//
// Partitions are read at different speeds, and a window is complete when the slowest one has passed
// it. What is read ahead of that one only makes windows that must be kept: in memory, in runs on
// the disk, and out of the processor's caches while records are folded. So a partition that is far
// ahead yields to those behind it that have records waiting.
//
// It yields, it does not stop: records are taken from it every kPatienceMs, whatever the others do,
// so that nothing stands still because of a partition whose timestamps never rise. Where processor
// time is no matter nothing is held up: a partition that waits for its broker counts as having
// nothing to read.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "state/model/time.h"

namespace sluice::ingest {

// What the workers know of one another. Thread: any; each tells its own.
class Paces {
 public:
    explicit Paces(std::size_t workers) : least_(workers) {
        for (auto& least : least_) {
            least.store(model::kAfterAll, std::memory_order_relaxed);
        }
    }
    // The least watermark of the worker's partitions that have records waiting; kAfterAll: of none.
    void tell(std::size_t worker, model::EventTime least) {
        least_[worker].store(least, std::memory_order_relaxed);
    }
    model::EventTime least() const {
        model::EventTime least = model::kAfterAll;
        for (const auto& one : least_) {
            least = std::min(least, one.load(std::memory_order_relaxed));
        }
        return least;
    }

 private:
    std::vector<std::atomic<model::EventTime>> least_;
};

// One partition's part. Thread: its worker's.
class PartitionPace {
 public:
    static constexpr std::int64_t kPatienceMs = 16;
    static constexpr std::int64_t kStrideMs = 20;
    static constexpr std::int64_t kWindows = 4;

    // `window_ms`: of the shortest window.
    explicit PartitionPace(model::DurationMs window_ms) : window_ms_(window_ms) {}

    // Some of its records were taken; this is its watermark now.
    void took(std::int64_t now_ms, model::EventTime watermark);
    // There was nothing to take, or it may not be.
    void stood() { flowing_ = false; }
    // When it was looked at last there were records.
    bool flowing() const { return flowing_; }

    // Whether its records should wait: `least` is the least watermark of what has records waiting.
    // How far it may be ahead: some windows, and as far as it comes in kStrideMs, so that workers
    // do not stop and go in turns.
    bool waits(std::int64_t now_ms, model::EventTime watermark, model::EventTime least);

 private:
    const model::DurationMs window_ms_;
    bool flowing_ = false;
    bool measured_ = false;  // since `since_ms_`, without a pause
    std::int64_t since_ms_ = 0;
    model::EventTime since_ = 0;  // watermark
    model::DurationMs stride_ = 0;
    std::int64_t took_ms_ = 0;
};

}  // namespace sluice::ingest
