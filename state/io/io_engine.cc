#include "state/io/io_engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "state/io/signals_blocked.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::state {
namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::size_t kSmall = 64 * 1024;
constexpr std::size_t kBulkRead = 128 * 1024;
// What O_DIRECT asks of position, length and memory on every file system that we use it on.
constexpr std::size_t kPage = 4096;
constexpr unsigned kThreads = 4;
constexpr long kXfsMagic = 0x58465342;  // linux/magic.h of Debian 12 lacks it

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

std::unexpected<model::Error> failed(const std::string& path, int error) {
    return std::unexpected(error_of(path, error));
}

// A file descriptor, closed at the end.
class Descriptor {
 public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() {
        if (number_ >= 0) {
            ::close(number_);
        }
    }
    int number() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

 private:
    int number_ = -1;
};

// 256 KiB, from the pool (index >= 0) or, where every one of the pool is being filled, from the
// heap.
struct Block {
    char* bytes = nullptr;
    int index = -1;
};

struct FreeAligned {
    void operator()(char* bytes) const {
        std::free(bytes);
    }  // NOLINT(cppcoreguidelines-no-malloc): from aligned_alloc
};

char* allocate_block(std::size_t blocks) {
    void* const bytes = std::aligned_alloc(kPage, blocks * kBlock);
    if (bytes == nullptr) {
        throw std::bad_alloc();
    }
    return static_cast<char*>(bytes);
}

// A descriptor and its place in the ring's table of files.
struct RingFile {
    Descriptor descriptor;
    int place = -1;
};

// A file being written. Guarded by the engine's mutex, but for the constants.
struct OpenFile {
    std::string path;
    RingFile cached;
    RingFile direct;  // the same file past the page cache; opened when it grows big
    std::uint64_t pending = 0;
    bool sync_wanted = false;  // as soon as nothing is pending
    bool synced = false;       // since the last write
    std::optional<model::Error> dead;
    std::condition_variable idle;  // pending became 0
};

// Somebody who waits for a read or a sync. Guarded by the engine's mutex.
struct Waiting {
    unsigned pending = 0;
    std::condition_variable done;
};

struct Operation {
    IoRequest request;
    OpenFile* file = nullptr;    // of a write, or of a sync that nobody waits for yet
    Waiting* waiting = nullptr;  // of a read or a sync
    int* result = nullptr;       // of a read or a sync: where it goes
    Block block;                 // what a write owns: this,
    std::string small;           // or this
    bool bulk = false;
    std::int64_t submitted_ns = 0;
};

// The protocol: queues, depth, cap, completions, dead files, blocks.
class Engine {
 public:
    Engine(std::unique_ptr<Ring> ring, const DiskOptions& options, const model::Clock& clock)
        : options_(options),
          clock_(clock),
          pool_(allocate_block(options.buffers + options.read_buffers)),
          ring_(std::move(ring)),
          slots_(options.depth) {
        std::vector<std::span<char>> buffers;
        for (unsigned i = 0; i < options_.buffers + options_.read_buffers; ++i) {
            buffers.emplace_back(pool_.get() + i * kBlock, kBlock);
            (i < options_.buffers ? free_blocks_ : free_read_blocks_)
                .push_back(static_cast<int>(i));
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
    ~Engine() {
        {
            const std::lock_guard guard(mutex_);
            stopping_ = true;
            sleeping_ = false;
        }
        ring_->wake();
        thread_.join();
    }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    bool registered() const { return registered_; }
    std::string_view name() const { return ring_->name(); }
    DiskStatistics statistics() const {
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

    model::Status status(OpenFile& file) {
        const std::lock_guard guard(mutex_);
        return status_locked(file);
    }

    // Blocks until one is free. Where all of the pool are being filled and none is on its way to
    // the disk, waiting would be for ever: then one comes from the heap.
    Block take_block() {
        std::unique_lock guard(mutex_);
        block_free_.wait(guard, [this] { return !free_blocks_.empty() || busy_blocks_ == 0; });
        if (free_blocks_.empty()) {
            return {allocate_block(1), -1};
        }
        const int index = free_blocks_.back();
        free_blocks_.pop_back();
        return {pool_.get() + static_cast<std::size_t>(index) * kBlock, index};
    }
    void give_back(Block block) {
        const std::lock_guard guard(mutex_);
        give_back_locked(block);
    }
    // For reading ahead. Does not wait: what the pool does not have comes from the heap.
    Block take_read_block() {
        const std::lock_guard guard(mutex_);
        if (free_read_blocks_.empty()) {
            return {allocate_block(1), -1};
        }
        const int index = free_read_blocks_.back();
        free_read_blocks_.pop_back();
        return {pool_.get() + static_cast<std::size_t>(index) * kBlock, index};
    }
    void give_back_read(Block block) {
        const std::lock_guard guard(mutex_);
        if (block.index >= 0) {
            free_read_blocks_.push_back(block.index);
        } else {
            FreeAligned()(block.bytes);
        }
    }

    void enter(RingFile& file) {
        if (file.place < 0 && file.descriptor) {
            file.place = ring_->register_file(file.descriptor.number());
        }
    }
    // Nothing of it is in flight.
    void leave(RingFile& file) {
        if (file.place >= 0) {
            ring_->forget_file(std::exchange(file.place, -1));
        }
    }

    void write(OpenFile& file, Block block, std::size_t length, std::uint64_t offset) {
        Operation operation;
        operation.file = &file;
        operation.block = block;
        operation.bulk = true;
        operation.request.bytes = block.bytes;
        operation.request.length = static_cast<std::uint32_t>(length);
        operation.request.offset = offset;
        const std::lock_guard guard(mutex_);
        const bool direct =
            direct_works_ && file.direct.descriptor && offset % kPage == 0 && length % kPage == 0;
        aim(operation.request, direct ? file.direct : file.cached);
        operation.request.buffer = registered_ ? block.index : -1;
        busy_blocks_ += block.index >= 0 ? 1 : 0;
        enqueue_of_file_locked(std::move(operation));
    }
    void write(OpenFile& file, std::string bytes, std::uint64_t offset) {
        Operation operation;
        operation.file = &file;
        operation.small = std::move(bytes);
        aim(operation.request, file.cached);
        operation.request.length = static_cast<std::uint32_t>(operation.small.size());
        operation.request.offset = offset;
        const std::lock_guard guard(mutex_);
        enqueue_of_file_locked(std::move(operation));
    }

    // A sync behind the writes that are under way, without waiting for it.
    void begin_sync(OpenFile& file) {
        const std::lock_guard guard(mutex_);
        file.sync_wanted = true;
        sync_when_idle_locked(file);
    }

    // Blocks until every write of the file has completed.
    model::Status drain(OpenFile& file) {
        std::unique_lock guard(mutex_);
        file.idle.wait(guard, [&] { return file.pending == 0; });
        return status_locked(file);
    }

    // Blocks. Any failure is final for the file.
    model::Status sync(OpenFile& file) {
        begin_sync(file);
        return drain(file);
    }
    int sync(int descriptor, IoRequest::Kind kind = IoRequest::Kind::data_sync) {
        IoRequest request;
        request.kind = kind;
        request.descriptor = descriptor;
        int result = 0;
        perform({&request, 1}, {&result, 1});
        return result;
    }

    // Blocks until all have completed; reads and syncs only.
    void perform(std::span<const IoRequest> requests, std::span<int> results) {
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

    // One read, waited for with await(). `waiting` and `result` stay in their places until then.
    void begin_read(const IoRequest& request, Waiting& waiting, int& result) {
        Operation operation;
        operation.request = request;
        operation.request.buffer = registered_ ? request.buffer : -1;
        operation.waiting = &waiting;
        operation.result = &result;
        const std::lock_guard guard(mutex_);
        ++waiting.pending;
        enqueue_locked(std::move(operation));
    }
    void await(Waiting& waiting) {
        std::unique_lock guard(mutex_);
        waiting.done.wait(guard, [&] { return waiting.pending == 0; });
    }

    static void aim(IoRequest& request, const RingFile& file) {
        request.descriptor = file.descriptor.number();
        request.file = file.place;
    }

 private:
    static std::uint64_t since_us(const Operation& operation, std::int64_t now) {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(now - operation.submitted_ns, 0) /
                                          1000);
    }

    static model::Status status_locked(const OpenFile& file) {
        return file.dead ? model::Status(std::unexpected(*file.dead)) : model::Status{};
    }

    static void kill_locked(OpenFile& file, model::Error error) {
        if (!file.dead) {
            file.dead = std::move(error);
        }
    }

    void give_back_locked(Block block) {
        if (block.index >= 0) {
            free_blocks_.push_back(block.index);
            block_free_.notify_one();
        } else {
            FreeAligned()(block.bytes);
        }
    }

    void enqueue_of_file_locked(Operation operation) {
        OpenFile& file = *operation.file;
        ++file.pending;
        file.synced = operation.request.kind != IoRequest::Kind::write && file.synced;
        enqueue_locked(std::move(operation));
    }

    void sync_when_idle_locked(OpenFile& file) {
        if (!file.sync_wanted || file.pending > 0) {
            return;
        }
        file.sync_wanted = false;
        if (file.dead || file.synced) {
            return;  // a dead file is never synced again
        }
        Operation operation;
        operation.file = &file;
        operation.request.kind = IoRequest::Kind::data_sync;
        aim(operation.request, file.cached);
        enqueue_of_file_locked(std::move(operation));
    }

    void enqueue_locked(Operation operation) {
        (operation.bulk ? bulk_ : urgent_).push_back(std::move(operation));
        if (sleeping_) {
            sleeping_ = false;
            ring_->wake();
        }
    }

    // Moves what may go now into slots. Sets how long to wait if the cap is all that holds more.
    void collect_locked(std::vector<IoRequest>& requests, std::optional<std::int64_t>& timeout_ns) {
        const std::int64_t now = clock_.steady_ns();
        while (!free_slots_.empty()) {
            std::deque<Operation>* queue = &urgent_;
            if (queue->empty()) {
                queue = &bulk_;
                if (queue->empty()) {
                    return;
                }
                if (const std::int64_t wait_ns = pace(now); wait_ns > 0) {
                    timeout_ns = wait_ns;
                    return;
                }
            }
            Operation operation = std::move(queue->front());
            queue->pop_front();
            if (operation.file != nullptr && operation.file->dead) {
                finish_of_file_locked(operation);  // nothing is done to a dead file any more
                continue;
            }
            if (operation.bulk && options_.bytes_per_second != 0) {
                allowance_ -= static_cast<std::int64_t>(operation.request.length);
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

    // 0: a bulk write may go; else how long until one may. A bucket of a tenth of a second.
    std::int64_t pace(std::int64_t now) {
        if (options_.bytes_per_second == 0) {
            return 0;
        }
        const double rate = static_cast<double>(options_.bytes_per_second) / 1e9;  // bytes per ns
        const auto burst = std::max<std::int64_t>(
            static_cast<std::int64_t>(options_.bytes_per_second / 10), kBlock);
        const auto earned = static_cast<double>(now - paced_at_ns_) * rate;
        allowance_ = static_cast<std::int64_t>(
            std::min(static_cast<double>(burst), static_cast<double>(allowance_) + earned));
        paced_at_ns_ = now;
        return allowance_ > 0
                   ? 0
                   : static_cast<std::int64_t>(static_cast<double>(1 - allowance_) / rate) + 1;
    }

    void finish_of_file_locked(Operation& operation) {
        if (operation.block.bytes != nullptr) {
            if (operation.block.index >= 0) {
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

    DiskLatency& latency_of(IoRequest::Kind kind) {
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

    void complete_locked(const IoCompletion& completion) {
        INVARIANT(completion.token < slots_.size(), "the ring gives back the tokens it got");
        const auto slot = static_cast<unsigned>(completion.token);
        Operation operation = std::move(slots_[slot]);
        slots_[slot] = {};
        free_slots_.push_back(slot);
        ++statistics_.completed;
        const IoRequest& request = operation.request;
        const int result = completion.result;
        latency_of(request.kind).add(since_us(operation, clock_.steady_ns()));
        if (result == -EINTR || result == -EAGAIN) {  // nothing was done
            (operation.bulk ? bulk_ : urgent_).push_front(std::move(operation));
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
            bulk_.push_front(std::move(operation));
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

    void run() {
        std::vector<IoRequest> requests;
        std::vector<IoCompletion> completed;
        for (;;) {
            std::optional<std::int64_t> timeout_ns;
            requests.clear();
            {
                const std::lock_guard guard(mutex_);
                collect_locked(requests, timeout_ns);
                if (stopping_ && urgent_.empty() && bulk_.empty() &&
                    free_slots_.size() == slots_.size()) {
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

    const DiskOptions options_;
    const model::Clock& clock_;
    const std::unique_ptr<char, FreeAligned> pool_;
    const std::unique_ptr<Ring> ring_;  // goes before the buffers that it knows
    bool registered_ = false;           // constant after construction

    mutable std::mutex mutex_;  // guards all below but the thread
    std::condition_variable block_free_;
    std::deque<Operation> urgent_;
    std::deque<Operation> bulk_;
    std::vector<Operation> slots_;  // in flight, by token
    std::vector<unsigned> free_slots_;
    std::vector<int> free_blocks_;
    std::vector<int> free_read_blocks_;
    unsigned busy_blocks_ = 0;  // of the pool, queued or in flight
    bool direct_works_ = true;
    bool sleeping_ = false;  // the thread is, or is about to be, in wait()
    bool stopping_ = false;
    std::int64_t allowance_ = 0;
    std::int64_t paced_at_ns_ = 0;
    DiskStatistics statistics_;
    std::thread thread_;  // last: it uses all of the above
};

bool takes_direct(int descriptor) {
    struct statfs about{};
    return ::fstatfs(descriptor, &about) == 0 &&
           (about.f_type == EXT4_SUPER_MAGIC || about.f_type == kXfsMagic);
}

// By descriptor, not by name: the name may be another file's by now.
Descriptor open_direct_as(int descriptor, int flags) {
    const std::string same = "/proc/self/fd/" + std::to_string(descriptor);
    return Descriptor(::open(same.c_str(), flags | O_DIRECT | O_CLOEXEC));
}

class EngineWriter final : public WritableFile {
 public:
    EngineWriter(Engine& engine, std::string path, Descriptor descriptor, std::uint64_t size,
                 bool direct)
        : engine_(engine), direct_wanted_(direct), position_(size) {
        file_.path = std::move(path);
        file_.cached.descriptor = std::move(descriptor);
    }
    ~EngineWriter() override {
        // Not durable, but not forgotten either: as close() leaves a file.
        static_cast<void>(EngineWriter::flush());
        // A dead file, too, waits for what is in flight: it points to us.
        static_cast<void>(engine_.drain(file_));
        engine_.leave(file_.cached);
        engine_.leave(file_.direct);
        if (block_.bytes != nullptr) {
            engine_.give_back(block_);
        }
    }
    EngineWriter(const EngineWriter&) = delete;
    EngineWriter& operator=(const EngineWriter&) = delete;

    model::Status append(std::string_view bytes) override {
        TRY(engine_.status(file_));
        if (block_.bytes == nullptr && small_.size() + bytes.size() <= kSmall) {
            small_ += bytes;
            return {};
        }
        std::string before = std::move(small_);
        small_.clear();
        fill(before);
        fill(bytes);
        return {};
    }

    model::Status flush() override {
        TRY(engine_.status(file_));
        send();
        return engine_.drain(file_);
    }

    void begin_sync() override {
        if (engine_.status(file_)) {
            send();
            engine_.begin_sync(file_);
        }
    }

    model::Status sync() override {
        TRY(engine_.status(file_));
        send();
        return engine_.sync(file_);
    }

    std::uint64_t size() const override { return position_ + used_ + small_.size(); }

 private:
    void fill(std::string_view bytes) {
        while (!bytes.empty()) {
            if (block_.bytes == nullptr) {
                open_direct();
                block_ = engine_.take_block();
            }
            // Blocks end at multiples of their size, so after an odd start the next one is aligned.
            const std::size_t limit = kBlock - static_cast<std::size_t>(position_ % kBlock);
            const std::size_t take = std::min(bytes.size(), limit - used_);
            std::memcpy(block_.bytes + used_, bytes.data(), take);
            used_ += take;
            bytes.remove_prefix(take);
            if (used_ == limit) {
                send();
            }
        }
    }

    // What is staged goes to the engine.
    void send() {
        if (!small_.empty() || used_ > 0) {
            engine_.enter(file_.cached);
        }
        if (!small_.empty()) {
            const std::uint64_t length = small_.size();
            engine_.write(file_, std::move(small_), position_);
            small_.clear();
            position_ += length;
        } else if (used_ > 0) {
            engine_.write(file_, std::exchange(block_, {}), used_, position_);
            position_ += std::exchange(used_, 0);
        }
    }

    void open_direct() {
        const int cached = file_.cached.descriptor.number();
        if (std::exchange(direct_wanted_, false) && takes_direct(cached)) {
            file_.direct.descriptor = open_direct_as(cached, O_WRONLY);
            engine_.enter(file_.direct);
        }
    }

    Engine& engine_;
    OpenFile file_;
    bool direct_wanted_;
    std::uint64_t position_;  // of what is staged: in `block_` if it has one, else in `small_`
    Block block_;
    std::size_t used_ = 0;
    std::string small_;
};

// On the caller's thread. Fewer bytes only at the end of the file.
model::Result<std::size_t> read_here(int descriptor, const std::string& path, std::uint64_t offset,
                                     std::size_t bytes, char* to) {
    std::size_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            ::pread(descriptor, to + done, bytes - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return failed(path, errno);
        }
        if (got == 0) {
            break;
        }
        done += static_cast<std::size_t>(got);
    }
    return done;
}

class EngineReader final : public ReadableFile {
 public:
    EngineReader(Engine& engine, std::string path, Descriptor descriptor)
        : engine_(engine), path_(std::move(path)), descriptor_(std::move(descriptor)) {}

    model::Result<std::size_t> read(std::uint64_t offset, std::size_t bytes,
                                    char* to) const override {
        if (bytes < kBulkRead) {
            return read_here(descriptor_.number(), path_, offset, bytes, to);
        }
        // Readers ahead ask for far more than there is.
        const std::uint64_t end = size();
        bytes = static_cast<std::size_t>(
            std::min<std::uint64_t>(bytes, end > offset ? end - offset : 0));
        std::vector<IoRequest> requests;
        for (std::size_t at = 0; at < bytes; at += kBlock) {
            IoRequest request;
            request.kind = IoRequest::Kind::read;
            request.descriptor = descriptor_.number();
            request.bytes = to + at;
            request.length = static_cast<std::uint32_t>(std::min(kBlock, bytes - at));
            request.offset = offset + at;
            requests.push_back(request);
        }
        std::vector<int> results(requests.size());
        engine_.perform(requests, results);
        std::size_t done = 0;
        for (std::size_t i = 0; i < requests.size(); ++i) {
            if (results[i] < 0) {
                return failed(path_, -results[i]);
            }
            done += static_cast<std::size_t>(results[i]);
            if (static_cast<std::uint32_t>(results[i]) < requests[i].length) {
                // The end of the file, or a read that came back early: ask again from there.
                TRY(rest,
                    read_here(descriptor_.number(), path_, offset + done, bytes - done, to + done));
                return done + rest;
            }
        }
        return done;
    }

    std::uint64_t size() const override {
        struct stat about{};
        return ::fstat(descriptor_.number(), &about) == 0
                   ? static_cast<std::uint64_t>(about.st_size)
                   : 0;
    }

 private:
    Engine& engine_;
    const std::string path_;
    const Descriptor descriptor_;
};

class EngineStream final : public ReadStream {
 public:
    EngineStream(Engine& engine, std::string path, Descriptor descriptor, bool direct)
        : engine_(engine), path_(std::move(path)) {
        struct stat about{};
        if (::fstat(descriptor.number(), &about) == 0) {
            size_ = static_cast<std::uint64_t>(about.st_size);
        }
        if (direct && size_ >= kBulkRead && takes_direct(descriptor.number())) {
            direct_.descriptor = open_direct_as(descriptor.number(), O_RDONLY);
            engine_.enter(direct_);
        }
        cached_.descriptor = std::move(descriptor);
        if (!direct_.descriptor) {
            engine_.enter(cached_);
        }
        for (std::size_t i = 0; i < kAhead && asked_ < size_; ++i) {
            pieces_[i].block = engine_.take_read_block();
            ask(pieces_[i]);
        }
    }
    ~EngineStream() override {
        for (Piece& piece : pieces_) {
            if (piece.block.bytes != nullptr) {
                engine_.await(piece.waiting);
                engine_.give_back_read(piece.block);
            }
        }
        engine_.leave(direct_);
        engine_.leave(cached_);
    }
    EngineStream(const EngineStream&) = delete;
    EngineStream& operator=(const EngineStream&) = delete;

    model::Result<std::string_view> next() override {
        if (given_ != nullptr) {
            ask(*std::exchange(given_, nullptr));
        }
        if (at_ == size_) {
            return std::string_view();
        }
        Piece& piece = pieces_[static_cast<std::size_t>(at_ / kBlock) % kAhead];
        engine_.await(piece.waiting);
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, size_ - at_));
        // Past the page cache whole pages are asked for, and more than there is may come.
        auto got = std::min(wanted, static_cast<std::size_t>(std::max(piece.result, 0)));
        if (piece.result == -EINVAL && direct_.descriptor) {
            direct_works_ = false;  // the device wants a larger alignment than we have
        } else if (piece.result < 0) {
            return failed(path_, -piece.result);
        }
        if (got < wanted) {
            TRY(rest, read_here(cached_.descriptor.number(), path_, at_ + got, wanted - got,
                                piece.block.bytes + got));
            got += rest;
        }
        if (got < wanted) {
            return model::unavailable(path_ + ": became shorter while it was read");
        }
        at_ += got;
        given_ = &piece;
        return std::string_view(piece.block.bytes, got);
    }

    std::uint64_t size() const override { return size_; }

 private:
    static constexpr std::size_t kAhead = 4;
    struct Piece {
        Block block;
        Waiting waiting;
        int result = 0;
    };

    void ask(Piece& piece) {
        if (asked_ >= size_) {
            return;
        }
        IoRequest request;
        request.kind = IoRequest::Kind::read;
        Engine::aim(request, direct_.descriptor && direct_works_ ? direct_ : cached_);
        request.buffer = piece.block.index;
        request.bytes = piece.block.bytes;
        request.length = kBlock;
        request.offset = asked_;
        engine_.begin_read(request, piece.waiting, piece.result);
        asked_ += kBlock;
    }

    Engine& engine_;
    const std::string path_;
    RingFile cached_;
    RingFile direct_;
    bool direct_works_ = true;
    std::uint64_t size_ = 0;
    std::uint64_t asked_ = 0;  // up to here, in whole blocks
    std::uint64_t at_ = 0;     // up to here it was given
    Piece* given_ = nullptr;   // what the caller looks at
    std::array<Piece, kAhead> pieces_;
};

class EngineDisk final : public Disk {
 public:
    EngineDisk(std::unique_ptr<Ring> ring, const DiskOptions& options, const model::Clock& clock)
        : options_(options), engine_(std::move(ring), options, clock) {}

    bool registered() const { return engine_.registered(); }

    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
        Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
        if (!descriptor) {
            return failed(path, errno);
        }
        return std::make_unique<EngineWriter>(engine_, path, std::move(descriptor), 0,
                                              options_.direct);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
        // Not O_APPEND: it would ignore the positions that we write at.
        Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        struct stat about{};
        if (!descriptor || ::fstat(descriptor.number(), &about) != 0) {
            return failed(path, errno);
        }
        return std::make_unique<EngineWriter>(engine_, path, std::move(descriptor),
                                              static_cast<std::uint64_t>(about.st_size),
                                              options_.direct);
    }
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!descriptor) {
            return failed(path, errno);
        }
        return std::make_unique<EngineReader>(engine_, path, std::move(descriptor));
    }
    model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path) override {
        Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!descriptor) {
            return failed(path, errno);
        }
        return std::make_unique<EngineStream>(engine_, path, std::move(descriptor),
                                              options_.direct);
    }
    model::Status make_directory(const std::string& path) override {
        if (::mkdir(path.c_str(), 0750) == 0) {
            return {};
        }
        const int error = errno;
        struct stat about{};
        if (error == EEXIST && ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode)) {
            return {};
        }
        return failed(path, error);
    }
    model::Status rename(const std::string& from, const std::string& to) override {
        return ::rename(from.c_str(), to.c_str()) == 0 ? model::Status{}
                                                       : failed(from + " -> " + to, errno);
    }
    model::Status link(const std::string& from, const std::string& to) override {
        return ::link(from.c_str(), to.c_str()) == 0 ? model::Status{}
                                                     : failed(from + " -> " + to, errno);
    }
    model::Status remove(const std::string& path) override {
        return ::remove(path.c_str()) == 0 || errno == ENOENT ? model::Status{}
                                                              : failed(path, errno);
    }
    model::Status truncate(const std::string& path, std::uint64_t size) override {
        const Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!descriptor || ::ftruncate(descriptor.number(), static_cast<off_t>(size)) != 0) {
            return failed(path, errno);
        }
        const int result = engine_.sync(descriptor.number());
        return result == 0 ? model::Status{} : failed(path, -result);
    }
    model::Status sync_file(const std::string& path) override { return sync_files({&path, 1}); }
    model::Status sync_files(std::span<const std::string> paths) override {
        // As many at once as may be in flight: the device puts their flushes together.
        for (std::size_t at = 0; at < paths.size(); at += options_.depth) {
            const auto some =
                paths.subspan(at, std::min<std::size_t>(options_.depth, paths.size() - at));
            std::vector<Descriptor> descriptors;
            std::vector<IoRequest> requests(some.size());
            std::vector<int> results(some.size());
            for (std::size_t i = 0; i < some.size(); ++i) {
                descriptors.emplace_back(::open(some[i].c_str(), O_RDONLY | O_CLOEXEC));
                if (!descriptors.back()) {
                    return failed(some[i], errno);
                }
                requests[i].kind = IoRequest::Kind::data_sync;
                requests[i].descriptor = descriptors.back().number();
            }
            engine_.perform(requests, results);
            for (std::size_t i = 0; i < some.size(); ++i) {
                if (results[i] != 0) {
                    return failed(some[i], -results[i]);
                }
            }
        }
        return {};
    }
    model::Status sync_directory(const std::string& path) override {
        const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!descriptor) {
            return failed(path, errno);
        }
        const int result = engine_.sync(descriptor.number(), IoRequest::Kind::sync);
        return result == 0 ? model::Status{} : failed(path, -result);
    }
    model::Result<std::vector<std::string>> list(const std::string& path) override {
        const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
        if (directory == nullptr) {
            return failed(path, errno);
        }
        std::vector<std::string> names;
        errno = 0;
        while (const dirent* const entry = ::readdir(directory.get())) {
            const std::string name = entry->d_name;
            if (name != "." && name != "..") {
                names.push_back(name);
            }
            errno = 0;
        }
        if (errno != 0) {
            return failed(path, errno);
        }
        std::ranges::sort(names);
        return names;
    }
    model::Result<FileFacts> info(const std::string& path) override {
        struct stat about{};
        if (::lstat(path.c_str(), &about) != 0) {
            return failed(path, errno);
        }
        FileFacts info;
        info.symbolic = S_ISLNK(about.st_mode);
        info.size = static_cast<std::uint64_t>(about.st_size);
        info.directory = S_ISDIR(about.st_mode);
        info.inode = about.st_ino;
        info.device = about.st_dev;
        info.links = static_cast<std::uint32_t>(about.st_nlink);
        return info;
    }
    model::Result<DiskSpace> space(const std::string& path) override {
        struct statvfs about{};
        if (::statvfs(path.c_str(), &about) != 0) {
            return failed(path, errno);
        }
        return DiskSpace{about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize};
    }
    DiskStatistics statistics() const override { return engine_.statistics(); }
    std::string_view name() const override { return engine_.name(); }

 private:
    const DiskOptions options_;
    Engine engine_;
};

}  // namespace

std::unique_ptr<Disk> make_disk(std::unique_ptr<Ring> ring, const DiskOptions& options,
                                const model::Clock& clock) {
    INVARIANT(options.depth >= 1 && options.depth <= 1024, "1..1024 operations are in flight");
    INVARIANT(options.buffers >= 2 && options.buffers <= 1024, "2..1024 buffers");
    return std::make_unique<EngineDisk>(std::move(ring), options, clock);
}

model::Result<OpenedDisk> open_disk(const DiskOptions& options) {
    INVARIANT(options.depth >= 1 && options.depth <= 1024, "1..1024 operations are in flight");
    INVARIANT(options.buffers >= 2 && options.buffers <= 1024, "2..1024 buffers");
    static const model::SystemClock clock;
    try {
        std::string refusal = "as configured";
        if (options.backend != config::IoBackend::threads) {
            auto ring = open_uring(options.depth, options.lock_descriptor);
            if (ring) {
                auto disk = std::make_unique<EngineDisk>(std::move(*ring), options, clock);
                std::string description = "disk: io_uring, " + std::to_string(options.depth) +
                                          " deep, " + std::to_string(options.buffers) +
                                          " buffers of 256 KiB";
                description += disk->registered()
                                   ? ", registered"
                                   : ", not registered: the limit of locked memory is too low";
                return OpenedDisk{std::move(disk), std::move(description)};
            }
            if (options.backend == config::IoBackend::io_uring) {
                return model::invalid("io = \"io_uring\": " + ring.error().text);
            }
            refusal = ring.error().text;
        }
        return OpenedDisk{
            std::make_unique<EngineDisk>(make_thread_ring(kThreads), options, clock),
            "disk: " + std::to_string(kThreads) + " threads instead of io_uring: " + refusal};
    } catch (const std::system_error& error) {
        return model::exhausted(std::string("disk: no thread to be had: ") + error.what());
    } catch (const std::bad_alloc&) {
        return model::exhausted("disk: no memory for its buffers");
    }
}

}  // namespace sluice::state
