// What one reduction still has to send: its lanes, and which window ends wait for which results.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>

#include "sinks/redis_sink.h"
#include "sinks/renderer.h"
#include "state/model/invariant.h"

namespace sluice::sinks {

// Shared by the lanes that its rows were dealt to and by the transactions in flight; the last one
// frees it.
using QueuedBatch = std::shared_ptr<const model::ResultBatch>;

// The place of a row in its lane's order.
struct RowPlace {
    model::EventTime end;
    std::uint64_t hash;
    std::string_view key;

    static RowPlace of(const model::ResultBatch& batch, std::size_t row) {
        return {batch.window.end, batch.hash[row], batch.key[row]};
    }
    bool at_or_below(const LaneMark& mark) const {
        return std::tie(end, hash, key) <=
               std::tuple(mark.end, mark.hash, std::string_view(mark.key));
    }
    LaneMark mark() const { return {end, hash, std::string(key)}; }
};

// Rows [row, end) of a batch that belong to one lane.
struct Piece {
    QueuedBatch batch;
    std::size_t row = 0;
    std::size_t end = 0;
    std::uint64_t segment = 0;
};

struct Lane {
    std::deque<Piece> waiting;
    std::optional<LaneMark> written;  // what Redis is known to hold
    std::optional<LaneMark> skip;     // rows at or below it need not be sent
    bool known = false;               // `written` was read since the last rewind
};

// Thread: the sink's.
class Outgoing {
 public:
    Outgoing(ReductionOutput output, std::string_view pipeline)
        : id(output.id), renderer(output, pipeline) {
        for (const auto& command : output.write) {
            idempotent = idempotent && command.idempotent;
        }
        clear();
    }

    // Deals the rows of `batch` to the lanes.
    void add(QueuedBatch batch) {
        const std::size_t rows = batch->rows;
        INVARIANT(batch->window.end > last_end_, "results come before the end of their window");
        std::size_t row = 0;
        while (row < rows) {
            INVARIANT(row + 1 == rows || batch->hash[row] <= batch->hash[row + 1],
                      "results of a window ascend by key hash");
            const auto lane = static_cast<std::size_t>(model::lane_of(batch->hash[row]));
            std::size_t end = row + 1;
            while (end < rows && model::lane_of(batch->hash[end]) == static_cast<int>(lane)) {
                ++end;
            }
            lanes[lane].waiting.push_back({batch, row, end, first_segment_ + segments_.size() - 1});
            row = end;
        }
        segments_.back().open += rows;
    }
    // All windows that ended at or before `window_end` have been added.
    void add_end(model::EventTime window_end) {
        if (window_end <= last_end_) {
            return;
        }
        last_end_ = window_end;
        if (segments_.size() > 1 && segments_.back().open == 0) {
            segments_[segments_.size() - 2].end = window_end;  // nothing in between
            return;
        }
        segments_.back().end = window_end;
        segments_.back().closed = true;
        segments_.emplace_back();
    }
    // `rows` of `segment` need no more: executed, refused or skipped.
    void done(std::uint64_t segment, std::size_t rows) {
        auto& s = segments_[static_cast<std::size_t>(segment - first_segment_)];
        INVARIANT(s.open >= rows, "a result is acknowledged once");
        s.open -= rows;
    }
    // The greatest window end whose results are all done. advance() finds out, ready() repeats it.
    model::EventTime ready() const { return ready_; }
    model::EventTime advance() {
        while (segments_.front().closed && segments_.front().open == 0) {
            ready_ = segments_.front().end;
            segments_.pop_front();
            ++first_segment_;
        }
        return ready_;
    }
    // Forgets everything that is queued; the next window ends come after `from`.
    void clear(model::EventTime from = model::kBeforeAll) {
        for (auto& lane : lanes) {
            lane = Lane{};
        }
        first_segment_ += segments_.size();
        segments_.clear();
        segments_.emplace_back();
        ready_ = from;
        last_end_ = from;
    }

    const std::string id;
    Renderer renderer;
    bool idempotent = true;
    bool skip_found = true;  // lanes skip what their marks cover when they are read again
    std::array<Lane, model::kLanes> lanes;
    model::EventTime acknowledged = model::kBeforeAll;
    model::EventTime frontier_written = model::kBeforeAll;  // in Redis
    bool frontier_exists = false;

 private:
    struct Segment {  // the results between two window ends
        std::size_t open = 0;
        model::EventTime end = model::kBeforeAll;
        bool closed = false;
    };
    std::deque<Segment> segments_;
    std::uint64_t first_segment_ = 0;
    model::EventTime ready_ = model::kBeforeAll;
    model::EventTime last_end_ = model::kBeforeAll;
};

}  // namespace sluice::sinks
