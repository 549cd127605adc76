#include "state/io/io_queue.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "state/io/signals_blocked.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::state {

namespace {

// What O_DIRECT asks of position, length and memory on every file system that we use it on.
constexpr std::size_t kPage = 4096;

// The share of the background.
unsigned quarter(unsigned of) { return std::max(of / 4, 1u); }

char* allocate_block(std::size_t blocks) {
    void* const bytes = std::aligned_alloc(kPage, blocks * kBlock);
    if (bytes == nullptr) {
        throw std::bad_alloc();
    }
    return static_cast<char*>(bytes);
}

}  // namespace

model::Error error_of(const std::string& path, int error) {
    const std::string text = path + ": " + std::generic_category().message(error);
    switch (error) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return {model::ErrorKind::exhausted, text};
        case ENOENT:
        case EEXIST:
        case ENOTDIR:
        case EISDIR:
        case ENOTEMPTY:
        case EXDEV:
        case ENAMETOOLONG:
            return {model::ErrorKind::invalid, text};
        default:
            return {model::ErrorKind::unavailable, text};
    }
}

IoQueue::IoQueue(std::unique_ptr<Ring> ring, const DiskOptions& options, const model::Clock& clock)
    : options_(options),
      clock_(clock),
      pool_(allocate_block(options.buffers + options.read_buffers)),
      ring_(std::move(ring)),
      slots_(options.depth) {
    std::vector<std::span<char>> buffers;
    for (unsigned i = 0; i < options_.buffers + options_.read_buffers; ++i) {
        buffers.emplace_back(pool_.get() + i * kBlock, kBlock);
        (i < options_.buffers ? free_blocks_ : free_read_blocks_).push_back(static_cast<int>(i));
    }
    for (unsigned i = options_.depth; i > 0; --i) {
        free_slots_.push_back(i - 1);
    }
    registered_ = ring_->register_buffers(buffers);
    paced_at_ns_ = clock_.steady_ns();
    const SignalsBlocked blocked;
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "io");
}

IoQueue::~IoQueue() {
    {
        const std::lock_guard guard(mutex_);
        stopping_ = true;
        sleeping_ = false;
    }
    ring_->wake();
    thread_.join();
}

DiskStatistics IoQueue::statistics() const {
    const std::lock_guard guard(mutex_);
    DiskStatistics statistics = statistics_;
    statistics.in_flight = options_.depth - free_slots_.size();
    const std::int64_t now = clock_.steady_ns();
    for (const Operation& operation : slots_) {
        if (operation.submitted_ns != 0) {
            statistics.oldest_us = std::max(statistics.oldest_us, since_us(operation, now));
        }
    }
    return statistics;
}

model::Status IoQueue::status(OpenFile& file) {
    const std::lock_guard guard(mutex_);
    return status_locked(file);
}

Block IoQueue::take_block(bool background) {
    std::unique_lock guard(mutex_);
    const std::size_t kept = background ? options_.buffers - quarter(options_.buffers) : 0;
    const unsigned& under_way = background ? background_blocks_ : busy_blocks_;
    block_free_.wait(guard, [&] { return free_blocks_.size() > kept || under_way == 0; });
    if (free_blocks_.size() <= kept) {
        return {allocate_block(1), -1};
    }
    const int index = free_blocks_.back();
    free_blocks_.pop_back();
    return {pool_.get() + static_cast<std::size_t>(index) * kBlock, index};
}

void IoQueue::give_back(Block block) {
    const std::lock_guard guard(mutex_);
    give_back_locked(block);
}

Block IoQueue::take_read_block() {
    const std::lock_guard guard(mutex_);
    if (free_read_blocks_.empty()) {
        return {allocate_block(1), -1};
    }
    const int index = free_read_blocks_.back();
    free_read_blocks_.pop_back();
    return {pool_.get() + static_cast<std::size_t>(index) * kBlock, index};
}

void IoQueue::give_back_read(Block block) {
    const std::lock_guard guard(mutex_);
    if (block.index >= 0) {
        free_read_blocks_.push_back(block.index);
    } else {
        FreeAligned()(block.bytes);
    }
}

void IoQueue::enter(RingFile& file) {
    if (file.place < 0 && file.descriptor) {
        file.place = ring_->register_file(file.descriptor.number());
    }
}

void IoQueue::leave(RingFile& file) {
    if (file.place >= 0) {
        ring_->forget_file(std::exchange(file.place, -1));
    }
}

void IoQueue::write(OpenFile& file, Block block, std::size_t length, std::uint64_t offset) {
    Operation operation;
    operation.file = &file;
    operation.block = block;
    operation.traffic = file.background ? Traffic::background : Traffic::bulk;
    operation.request.bytes = block.bytes;
    operation.request.length = static_cast<std::uint32_t>(length);
    operation.request.offset = offset;
    const std::lock_guard guard(mutex_);
    const bool direct =
        direct_works_ && file.direct.descriptor && offset % kPage == 0 && length % kPage == 0;
    aim(operation.request, direct ? file.direct : file.cached);
    operation.request.buffer = registered_ ? block.index : -1;
    (file.background ? background_blocks_ : busy_blocks_) +=
        block.index >= 0 || file.background ? 1 : 0;
    enqueue_of_file_locked(std::move(operation));
}

void IoQueue::write(OpenFile& file, std::string bytes, std::uint64_t offset) {
    Operation operation;
    operation.file = &file;
    operation.traffic = file.background ? Traffic::background : Traffic::urgent;
    operation.small = std::move(bytes);
    aim(operation.request, file.cached);
    operation.request.length = static_cast<std::uint32_t>(operation.small.size());
    operation.request.offset = offset;
    const std::lock_guard guard(mutex_);
    enqueue_of_file_locked(std::move(operation));
}

void IoQueue::begin_sync(OpenFile& file) {
    const std::lock_guard guard(mutex_);
    file.sync_wanted = true;
    sync_when_idle_locked(file);
}

void IoQueue::abandon(OpenFile& file) {
    const std::lock_guard guard(mutex_);
    kill_locked(file, {model::ErrorKind::cancelled, file.path + ": given up"});
    if (sleeping_) {
        sleeping_ = false;
        ring_->wake();
    }
}

model::Status IoQueue::drain(OpenFile& file) {
    std::unique_lock guard(mutex_);
    file.idle.wait(guard, [&] { return file.pending == 0; });
    return status_locked(file);
}

model::Status IoQueue::sync(OpenFile& file) {
    begin_sync(file);
    return drain(file);
}

int IoQueue::sync(int descriptor, IoRequest::Kind kind) {
    IoRequest request;
    request.kind = kind;
    request.descriptor = descriptor;
    int result = 0;
    perform({&request, 1}, {&result, 1});
    return result;
}

void IoQueue::perform(std::span<const IoRequest> requests, std::span<int> results) {
    Waiting waiting;
    std::unique_lock guard(mutex_);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        Operation operation;
        operation.request = requests[i];
        operation.waiting = &waiting;
        operation.result = &results[i];
        ++waiting.pending;
        enqueue_locked(std::move(operation));
    }
    waiting.done.wait(guard, [&] { return waiting.pending == 0; });
}

void IoQueue::begin_read(const IoRequest& request, Waiting& waiting, int& result, bool background) {
    Operation operation;
    operation.traffic = background ? Traffic::background : Traffic::urgent;
    operation.request = request;
    operation.request.buffer = registered_ ? request.buffer : -1;
    operation.waiting = &waiting;
    operation.result = &result;
    const std::lock_guard guard(mutex_);
    ++waiting.pending;
    enqueue_locked(std::move(operation));
}

void IoQueue::await(Waiting& waiting) {
    std::unique_lock guard(mutex_);
    waiting.done.wait(guard, [&] { return waiting.pending == 0; });
}

void IoQueue::aim(IoRequest& request, const RingFile& file) {
    request.descriptor = file.descriptor.number();
    request.file = file.place;
}

std::uint64_t IoQueue::since_us(const Operation& operation, std::int64_t now) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(now - operation.submitted_ns, 0) /
                                      1000);
}

model::Status IoQueue::status_locked(const OpenFile& file) {
    return file.dead ? model::Status(std::unexpected(*file.dead)) : model::Status{};
}

void IoQueue::kill_locked(OpenFile& file, model::Error error) {
    if (!file.dead) {
        file.dead = std::move(error);
    }
}

void IoQueue::give_back_locked(Block block) {
    if (block.index >= 0) {
        free_blocks_.push_back(block.index);
        block_free_.notify_one();
    } else {
        FreeAligned()(block.bytes);
    }
}

void IoQueue::enqueue_of_file_locked(Operation operation) {
    OpenFile& file = *operation.file;
    ++file.pending;
    file.synced = operation.request.kind != IoRequest::Kind::write && file.synced;
    enqueue_locked(std::move(operation));
}

void IoQueue::sync_when_idle_locked(OpenFile& file) {
    if (!file.sync_wanted || file.pending > 0) {
        return;
    }
    file.sync_wanted = false;
    if (file.dead || file.synced) {
        return;  // a dead file is never synced again
    }
    Operation operation;
    operation.file = &file;
    operation.traffic = file.background ? Traffic::background : Traffic::urgent;
    operation.request.kind = IoRequest::Kind::data_sync;
    aim(operation.request, file.cached);
    enqueue_of_file_locked(std::move(operation));
}

void IoQueue::bound_background(std::uint64_t bytes_per_second) {
    const std::lock_guard guard(mutex_);
    background_bytes_per_second_ = bytes_per_second;
    if (sleeping_) {
        sleeping_ = false;
        ring_->wake();  // it may have gone to sleep for the former bound
    }
}

std::deque<Operation>& IoQueue::queue_of(const Operation& operation) {
    return queues_[static_cast<std::size_t>(operation.traffic)];
}

void IoQueue::enqueue_locked(Operation operation) {
    queue_of(operation).push_back(std::move(operation));
    if (sleeping_) {
        sleeping_ = false;
        ring_->wake();
    }
}

std::deque<Operation>* IoQueue::next_locked(std::int64_t now,
                                            std::optional<std::int64_t>& timeout_ns) {
    for (std::deque<Operation>& queue : queues_) {
        if (queue.empty()) {
            continue;
        }
        const Operation& operation = queue.front();
        const bool dead = operation.file != nullptr && operation.file->dead;
        if (operation.traffic == Traffic::background && !dead) {
            if (background_in_flight_ >= quarter(options_.depth)) {
                return nullptr;
            }
            const bool writes = operation.request.kind == IoRequest::Kind::write;
            if (const std::int64_t wait_ns = writes ? pace(now) : 0; wait_ns > 0) {
                timeout_ns = wait_ns;
                return nullptr;
            }
        }
        return &queue;
    }
    return nullptr;
}

void IoQueue::collect_locked(std::vector<IoRequest>& requests,
                             std::optional<std::int64_t>& timeout_ns) {
    const std::int64_t now = clock_.steady_ns();
    while (!free_slots_.empty()) {
        std::deque<Operation>* const queue = next_locked(now, timeout_ns);
        if (queue == nullptr) {
            return;
        }
        Operation operation = std::move(queue->front());
        queue->pop_front();
        if (operation.file != nullptr && operation.file->dead) {
            finish_of_file_locked(operation);  // nothing is done to a dead file any more
            continue;
        }
        if (operation.traffic == Traffic::background) {
            ++background_in_flight_;
            allowance_ -= operation.request.kind == IoRequest::Kind::write
                              ? static_cast<std::int64_t>(operation.request.length)
                              : 0;
        }
        const unsigned slot = free_slots_.back();
        free_slots_.pop_back();
        operation.submitted_ns = now;
        slots_[slot] = std::move(operation);
        Operation& kept = slots_[slot];
        if (!kept.small.empty()) {
            kept.request.bytes = kept.small.data();  // only now does it stay in its place
        }
        kept.request.token = slot;
        requests.push_back(kept.request);
        ++statistics_.submitted;
    }
}

std::int64_t IoQueue::pace(std::int64_t now) {
    if (background_bytes_per_second_ == 0) {
        allowance_ = 0;
        paced_at_ns_ = now;
        return 0;
    }
    const double rate = static_cast<double>(background_bytes_per_second_) / 1e9;  // bytes per ns
    const auto burst = std::max<std::int64_t>(
        static_cast<std::int64_t>(background_bytes_per_second_ / 10), kBlock);
    const auto earned = static_cast<double>(now - paced_at_ns_) * rate;
    allowance_ = static_cast<std::int64_t>(
        std::min(static_cast<double>(burst), static_cast<double>(allowance_) + earned));
    paced_at_ns_ = now;
    return allowance_ > 0
               ? 0
               : static_cast<std::int64_t>(static_cast<double>(1 - allowance_) / rate) + 1;
}

void IoQueue::finish_of_file_locked(Operation& operation) {
    if (operation.block.bytes != nullptr) {
        if (operation.file->background) {
            --background_blocks_;
        } else if (operation.block.index >= 0) {
            --busy_blocks_;
        }
        give_back_locked(operation.block);
        // Somebody may wait for "none is on its way", too.
        block_free_.notify_all();
    }
    OpenFile& file = *operation.file;
    if (--file.pending == 0) {
        sync_when_idle_locked(file);
    }
    if (file.pending == 0) {
        file.idle.notify_all();
    }
}

DiskLatency& IoQueue::latency_of(IoRequest::Kind kind) {
    switch (kind) {
        case IoRequest::Kind::write:
            return statistics_.write;
        case IoRequest::Kind::read:
            return statistics_.read;
        case IoRequest::Kind::data_sync:
        case IoRequest::Kind::sync:
            break;
    }
    return statistics_.sync;
}

void IoQueue::complete_locked(const IoCompletion& completion) {
    INVARIANT(completion.token < slots_.size(), "the ring gives back the tokens it got");
    const auto slot = static_cast<unsigned>(completion.token);
    Operation operation = std::move(slots_[slot]);
    slots_[slot] = {};
    free_slots_.push_back(slot);
    background_in_flight_ -= operation.traffic == Traffic::background ? 1 : 0;
    ++statistics_.completed;
    const IoRequest& request = operation.request;
    const int result = completion.result;
    latency_of(request.kind).add(since_us(operation, clock_.steady_ns()));
    if (result == -EINTR || result == -EAGAIN) {  // nothing was done
        queue_of(operation).push_front(std::move(operation));
        return;
    }
    const bool syncs =
        request.kind == IoRequest::Kind::data_sync || request.kind == IoRequest::Kind::sync;
    statistics_.syncs += syncs ? 1 : 0;
    if (operation.waiting != nullptr) {
        statistics_.errors += result < 0 ? 1u : 0u;
        if (request.kind == IoRequest::Kind::read && result > 0) {
            statistics_.read_bytes += static_cast<std::uint64_t>(result);
        }
        *operation.result = result;
        if (--operation.waiting->pending == 0) {
            operation.waiting->done.notify_all();
        }
        return;
    }
    OpenFile& file = *operation.file;
    if (result == -EINVAL && request.descriptor == file.direct.descriptor.number()) {
        // The device wants a larger alignment than we have: through the page cache then.
        direct_works_ = false;
        aim(operation.request, file.cached);
        queue_of(operation).push_front(std::move(operation));
        return;
    }
    if (result < 0) {
        ++statistics_.errors;
        kill_locked(file, error_of(file.path, -result));
    } else if (syncs) {
        file.synced = true;
    } else if (static_cast<std::uint32_t>(result) != request.length &&
               !SLUICE_MUTANT(SHORT_COMPLETION_ACCEPTED)) {
        // How a full disk shows. Going on from there would be right now and then; a file that
        // did not get its room once is not worth it.
        ++statistics_.errors;
        kill_locked(file, {model::ErrorKind::exhausted,
                           file.path + ": only " + std::to_string(result) + " of " +
                               std::to_string(request.length) + " bytes were written at " +
                               std::to_string(request.offset) + "; is the disk full?"});
    } else {
        statistics_.written_bytes += request.length;
    }
    finish_of_file_locked(operation);
}

void IoQueue::run() {
    std::vector<IoRequest> requests;
    std::vector<IoCompletion> completed;
    for (;;) {
        std::optional<std::int64_t> timeout_ns;
        requests.clear();
        {
            const std::lock_guard guard(mutex_);
            collect_locked(requests, timeout_ns);
            if (stopping_ && free_slots_.size() == slots_.size() &&
                std::ranges::all_of(queues_, [](const auto& queue) { return queue.empty(); })) {
                return;
            }
            sleeping_ = true;
        }
        if (!requests.empty()) {
            ring_->submit(requests);
        }
        completed.clear();
        ring_->wait(completed, timeout_ns);
        const std::lock_guard guard(mutex_);
        sleeping_ = false;
        for (const IoCompletion& completion : completed) {
            complete_locked(completion);
        }
    }
}

}  // namespace sluice::state
