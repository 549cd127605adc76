// What passes between whoever makes results and the thread that writes them: results in, up to a
// bound; acknowledged frontiers and rewinds out.
//
// Generation.  A rewind empties the queue and raises the generation. What is pushed under an older
//   one is taken and forgotten, so nobody has to stop the other side.
// Room.  A result takes room until it is done() with; the bytes of its batch until the last one who
//   shares it lets go.
//
// Thread: take(), done(), publish() and rewind() one (sink); everything else any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "sinks/outgoing.h"
#include "sinks/redis_sink.h"
#include "state/model/result_batch.h"
#include "state/model/time.h"

namespace sluice::sinks {

class ResultQueue {
 public:
    struct Incoming {
        QueuedBatch batch;  // null: a window's end
        std::uint32_t reduction;
        model::EventTime end;
    };

    // It outlives every batch that was taken from it.
    ResultQueue(std::size_t reductions, std::size_t rows, std::size_t bytes)
        : most_rows_(rows),
          most_bytes_(bytes),
          reductions_(reductions),
          acknowledged_(reductions, model::kBeforeAll) {}

    // As RedisSink says it.
    bool push(std::unique_ptr<model::ResultBatch>&& batch, std::uint64_t generation);
    void push_end(std::uint32_t reduction, model::EventTime end, std::uint64_t generation);
    model::EventTime acknowledged(std::uint32_t reduction) const;
    std::optional<Rewind> take_rewind();
    std::uint64_t generation() const;
    std::size_t pending() const { return pending_rows_; }  // results that are not done
    bool settled() const;

    // From here on these are the frontiers, before the first push.
    void begin(std::vector<model::EventTime> acknowledged);
    std::vector<Incoming> take();
    void done(std::size_t rows) { pending_rows_ -= rows; }
    // `unwritten`: something is on its way to Redis or waits for its turn. With the frontiers, if
    // they moved: whoever finds it settled() finds them, too.
    void publish(bool unwritten);
    void publish(bool unwritten, std::vector<model::EventTime> acknowledged);
    // Everything that is queued is gone, and asked for again from where it says, or from where an
    // earlier one that nobody took says. `acknowledged`: what still holds.
    void rewind(Rewind rewind, std::vector<model::EventTime> acknowledged);

 private:
    static constexpr std::size_t kRowBytes = 64;  // of a row's columns, roughly

    const std::size_t most_rows_;
    const std::size_t most_bytes_;
    const std::size_t reductions_;
    // First, because batches count themselves out when they die.
    std::atomic<std::size_t> pending_rows_{0};
    std::atomic<std::size_t> queued_bytes_{0};
    mutable std::mutex mutex_;
    std::vector<Incoming> inbox_;                 // guarded by mutex_
    std::vector<model::EventTime> acknowledged_;  // guarded by mutex_
    std::optional<Rewind> rewind_;                // guarded by mutex_
    std::uint64_t generation_ = 0;                // guarded by mutex_
    bool unwritten_ = false;                      // guarded by mutex_
};

}  // namespace sluice::sinks
