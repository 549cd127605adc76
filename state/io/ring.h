// The seam below the disk: something that takes reads, writes and syncs and completes them later.
// In production io_uring or a pool of threads, in tests a script.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "state/model/result.h"

namespace sluice::state {

struct IoRequest {
    // `sync` is fsync(), for a directory, too; `data_sync` is fdatasync().
    enum class Kind : std::uint8_t { write, read, data_sync, sync };
    Kind kind = Kind::write;
    int descriptor = -1;
    int file = -1;    // what register_file() gave for the descriptor; -1: nothing
    int buffer = -1;  // index of the registered buffer that holds `bytes`; -1: none
    char* bytes = nullptr;
    std::uint32_t length = 0;
    std::uint64_t offset = 0;
    std::uint64_t token = 0;  // given back with the completion
};

struct IoCompletion {
    std::uint64_t token = 0;
    int result = 0;  // bytes done, or a negated errno
};

// Thread: from the `io` thread only (register_buffers before it runs), but for wake(),
// register_file() and forget_file(): any.
class Ring {
 public:
    virtual ~Ring() = default;
    // The memory of the buffers; it stays valid and in place as long as the ring. False: refused
    // (memlock); requests then carry no buffer index.
    virtual bool register_buffers(std::span<const std::span<char>> buffers) = 0;
    // A place in the ring's own table of files, which saves the kernel a look-up (and a count that
    // all threads share) with each request; -1: there is none, requests name the descriptor. The
    // table keeps the file open until it is forgotten, which no request of it may outlive.
    virtual int register_file(int descriptor) = 0;
    virtual void forget_file(int file) = 0;
    // Takes the requests over. Every one completes exactly once; its bytes belong to it until then.
    // The caller never has more than `depth` of them in flight.
    virtual void submit(std::span<const IoRequest> requests) = 0;
    // Blocks until something has completed, wake() was called or `timeout_ns` has passed; appends
    // what has completed. May return for no reason.
    virtual void wait(std::vector<IoCompletion>& completed,
                      std::optional<std::int64_t> timeout_ns) = 0;
    virtual void wake() = 0;                    // thread: any
    virtual std::string_view name() const = 0;  // what Disk::name() says
};

// Refused by kernel, sysctl, seccomp or memlock: unavailable, with the reason in an operator's
// words.
model::Result<std::unique_ptr<Ring>> open_uring(unsigned depth, int lock_descriptor);
// Threads `io-1`.. do the calls.
std::unique_ptr<Ring> make_thread_ring(unsigned threads);

}  // namespace sluice::state
