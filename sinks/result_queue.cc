#include "sinks/result_queue.h"

#include <algorithm>

#include "state/model/invariant.h"

namespace sluice::sinks {

bool ResultQueue::push(std::unique_ptr<model::ResultBatch>&& batch, std::uint64_t generation) {
    std::unique_ptr<model::ResultBatch> forgotten;
    const std::scoped_lock lock(mutex_);
    if (generation < generation_) {
        forgotten = std::move(batch);
        return true;
    }
    if (pending_rows_ >= most_rows_ || queued_bytes_ >= most_bytes_) {
        return false;
    }
    INVARIANT(generation == generation_, "a generation comes from the sink");
    INVARIANT(batch->reduction < reductions_, "a result belongs to a reduction");
    pending_rows_ += batch->rows;
    const std::size_t bytes = batch->arena.used_bytes() + batch->rows * kRowBytes;
    queued_bytes_ += bytes;
    inbox_.push_back({QueuedBatch(batch.release(),
                                  [this, bytes](const model::ResultBatch* done) {
                                      queued_bytes_ -= bytes;
                                      delete done;
                                  }),
                      0, 0});
    return true;
}

void ResultQueue::push_end(std::uint32_t reduction, model::EventTime end,
                           std::uint64_t generation) {
    const std::scoped_lock lock(mutex_);
    if (generation >= generation_) {
        inbox_.push_back({nullptr, reduction, end});
    }
}

model::EventTime ResultQueue::acknowledged(std::uint32_t reduction) const {
    const std::scoped_lock lock(mutex_);
    return acknowledged_.at(reduction);
}

std::optional<Rewind> ResultQueue::take_rewind() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(rewind_, std::nullopt);
}

std::uint64_t ResultQueue::generation() const {
    const std::scoped_lock lock(mutex_);
    return generation_;
}

bool ResultQueue::settled() const {
    const std::scoped_lock lock(mutex_);
    return pending_rows_ == 0 && inbox_.empty() && !unwritten_ && !rewind_;
}

void ResultQueue::begin(std::vector<model::EventTime> acknowledged) {
    const std::scoped_lock lock(mutex_);
    acknowledged_ = std::move(acknowledged);
}

std::vector<ResultQueue::Incoming> ResultQueue::take() {
    const std::scoped_lock lock(mutex_);
    unwritten_ = unwritten_ || !inbox_.empty();  // until publish() knows better
    return std::exchange(inbox_, {});
}

void ResultQueue::publish(bool unwritten) {
    const std::scoped_lock lock(mutex_);
    unwritten_ = unwritten;
}

void ResultQueue::publish(bool unwritten, std::vector<model::EventTime> acknowledged) {
    const std::scoped_lock lock(mutex_);
    unwritten_ = unwritten;
    acknowledged_ = std::move(acknowledged);
}

void ResultQueue::rewind(Rewind rewind, std::vector<model::EventTime> acknowledged) {
    const std::scoped_lock lock(mutex_);
    inbox_.clear();
    pending_rows_ = 0;
    rewind.generation = ++generation_;
    if (rewind_) {
        for (std::size_t r = 0; r < rewind.from.size(); ++r) {
            rewind.from[r] = std::min(rewind.from[r], rewind_->from[r]);
        }
    }
    rewind_ = std::move(rewind);
    acknowledged_ = std::move(acknowledged);
}

}  // namespace sluice::sinks
