// STATE/LOCK: one process at a time works in a state directory.
//
// An flock on an open file, not a pid file: the kernel gives it up when the last reference goes.
// One reference beyond our descriptor is wanted: the descriptor is registered in the io_uring
// (DiskOptions::lock_descriptor), because after kill -9 the kernel may go on with queued writes for
// some 100 ms, and the lock must outlive them. That is why taking it waits. The file is never
// unlinked: an unlinked lock file can be held by two processes at once.
#pragma once

#include <functional>
#include <string>

#include "state/model/result.h"
#include "state/model/time.h"

namespace sluice::state {

// Thread: any. Holds the lock until it is destroyed (and the ring that holds its descriptor).
class StateLock {
 public:
    struct Patience {
        model::DurationMs total_ms = 10'000;
        // For an owner that lives, and so will hold it for longer than its last writes take.
        model::DurationMs living_ms = 1'000;
        model::DurationMs step_ms = 50;
        // Called between attempts with step_ms: sleeps in production. Must be set; returning false
        // gives up (we are stopping).
        std::function<bool(model::DurationMs)> wait;
    };
    // Sleeps on the calling thread.
    static Patience sleeping_patience();

    // Takes `state_directory`/LOCK, creating it; the directory must exist. Writes our pid into it.
    // Errors: fenced: another process holds it, the text names its pid; cancelled: `wait` gave up;
    // invalid: the directory is not writable. The daemon exits with 73 on any of them.
    static model::Result<StateLock> take(const std::string& state_directory,
                                         const Patience& patience);

    StateLock(StateLock&& other) noexcept;
    StateLock& operator=(StateLock&& other) noexcept;
    ~StateLock();

    int descriptor() const { return descriptor_; }  // for DiskOptions::lock_descriptor
    const std::string& path() const { return path_; }

 private:
    StateLock(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
    int descriptor_ = -1;
    std::string path_;
};

}  // namespace sluice::state
