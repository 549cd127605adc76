// What is on its way to the disk and what waits for it: the protocol of io_engine.h over any ring.
//
// Urgent operations (small writes, reads, syncs) go before bulk writes, and both before those of
// the background, which is copies and checks that can wait: of the operations in flight and of the
// blocks for writing it has a quarter, and what it writes may be bounded in bandwidth, all of it
// together. Nobody else ever waits for it. At most `depth` are in flight. A completion counts only
// if its result is the length: anything else kills the file for ever, and nothing is done to a dead
// file any more. A sync goes out when every write of its file has completed.
//
// Blocks are staged in a pool that the ring knows. A writer waits for one, a reader takes one from
// the heap instead.
//
// Thread: any; the work is done by one of its own, `io`. Whoever is named by an operation (a file,
// a waiting, a result, bytes) stays in its place until that has completed.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "state/io/descriptor.h"
#include "state/io/disk.h"
#include "state/io/io_engine.h"
#include "state/io/ring.h"
#include "state/model/clock.h"
#include "state/model/result.h"

namespace sluice::state {

inline constexpr std::size_t kBlock = 256 * 1024;

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

// A descriptor and its place in the ring's table of files.
struct RingFile {
    Descriptor descriptor;
    int place = -1;
};

// Whose turn it is: the lowest that has something to do.
enum class Traffic : std::uint8_t { urgent, bulk, background };

// A file being written. Guarded by the queue's mutex, but for the constants.
struct OpenFile {
    std::string path;
    bool background = false;
    RingFile cached;
    RingFile direct;  // the same file past the page cache; opened when it grows big
    std::uint64_t pending = 0;
    bool sync_wanted = false;  // as soon as nothing is pending
    bool synced = false;       // since the last write
    std::optional<model::Error> dead;
    std::condition_variable idle;  // pending became 0
};

// Somebody who waits for a read or a sync. Guarded by the queue's mutex.
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
    Traffic traffic = Traffic::urgent;
    std::int64_t submitted_ns = 0;
};

// Life:    every file that was entered has left, and every block of a file was given back, before
// it
//          is destroyed.
class IoQueue {
 public:
    IoQueue(std::unique_ptr<Ring> ring, const DiskOptions& options, const model::Clock& clock);
    ~IoQueue();
    IoQueue(const IoQueue&) = delete;
    IoQueue& operator=(const IoQueue&) = delete;

    bool registered() const { return registered_; }
    std::string_view name() const { return ring_->name(); }
    DiskStatistics statistics() const;

    model::Status status(OpenFile& file);  // what killed it

    // Blocks until one is free. Where all of the pool are being filled and none is on its way to
    // the disk, waiting would be for ever: then one comes from the heap.
    Block take_block(bool background);
    void give_back(Block block);
    // For reading ahead. Does not wait: what the pool does not have comes from the heap.
    Block take_read_block();
    void give_back_read(Block block);

    // The ring knows the file, while it has places. Before leave() nothing of it is in flight.
    void enter(RingFile& file);
    void leave(RingFile& file);

    // A bulk write, which owns the block; past the page cache where that can be.
    void write(OpenFile& file, Block block, std::size_t length, std::uint64_t offset);
    // An urgent one.
    void write(OpenFile& file, std::string bytes, std::uint64_t offset);

    // A sync behind the writes that are under way, without waiting for it.
    void begin_sync(OpenFile& file);

    // What of the file is not in flight is not done any more.
    void abandon(OpenFile& file);

    // Blocks until every write of the file has completed.
    model::Status drain(OpenFile& file);

    // Blocks. Any failure is final for the file.
    model::Status sync(OpenFile& file);
    int sync(int descriptor, IoRequest::Kind kind = IoRequest::Kind::data_sync);

    // Blocks until all have completed; reads and syncs only.
    void perform(std::span<const IoRequest> requests, std::span<int> results);

    // One read, waited for with await(). `waiting` and `result` stay in their places until then.
    void begin_read(const IoRequest& request, Waiting& waiting, int& result, bool background);
    void await(Waiting& waiting);

    // How many bytes a second the background may write from now on; 0: no bound.
    void bound_background(std::uint64_t bytes_per_second);

    // Which descriptor a request goes to.
    static void aim(IoRequest& request, const RingFile& file);

 private:
    static std::uint64_t since_us(const Operation& operation, std::int64_t now);
    static model::Status status_locked(const OpenFile& file);
    static void kill_locked(OpenFile& file, model::Error error);
    void give_back_locked(Block block);
    void enqueue_of_file_locked(Operation operation);
    void sync_when_idle_locked(OpenFile& file);
    std::deque<Operation>& queue_of(const Operation& operation);
    void enqueue_locked(Operation operation);

    // The queue whose turn it is, null: none. Sets how long to wait if the bound of the background
    // is all that holds more.
    std::deque<Operation>* next_locked(std::int64_t now, std::optional<std::int64_t>& timeout_ns);
    // Moves what may go now into slots.
    void collect_locked(std::vector<IoRequest>& requests, std::optional<std::int64_t>& timeout_ns);

    // 0: the background may write; else how long until it may. A bucket of a tenth of a second.
    std::int64_t pace(std::int64_t now);
    void finish_of_file_locked(Operation& operation);
    DiskLatency& latency_of(IoRequest::Kind kind);
    void complete_locked(const IoCompletion& completion);
    void run();

    const DiskOptions options_;
    const model::Clock& clock_;
    const std::unique_ptr<char, FreeAligned> pool_;
    const std::unique_ptr<Ring> ring_;  // goes before the buffers that it knows
    bool registered_ = false;           // constant after construction

    mutable std::mutex mutex_;  // guards all below but the thread
    std::condition_variable block_free_;
    std::array<std::deque<Operation>, 3> queues_;  // by Traffic
    std::vector<Operation> slots_;                 // in flight, by token
    std::vector<unsigned> free_slots_;
    std::vector<int> free_blocks_;
    std::vector<int> free_read_blocks_;
    // Of writes that are queued or in flight: blocks of the pool, and any of the background.
    unsigned busy_blocks_ = 0, background_blocks_ = 0;
    unsigned background_in_flight_ = 0;
    std::uint64_t background_bytes_per_second_ = 0;  // 0: no bound
    bool direct_works_ = true;
    bool sleeping_ = false;  // the thread is, or is about to be, in wait()
    bool stopping_ = false;
    std::int64_t allowance_ = 0;
    std::int64_t paced_at_ns_ = 0;
    DiskStatistics statistics_;
    std::thread thread_;  // last: it uses all of the above
};

}  // namespace sluice::state
