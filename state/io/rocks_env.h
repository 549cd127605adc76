// RocksDB on our Disk: every byte it writes goes through the same writer, with the same rules and
// the same faults, as everything else we write.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/options.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>

#include "state/io/disk.h"
#include "state/model/clock.h"

namespace sluice::state {

// RocksDB's background work (compaction, purge), kept in a queue instead of being given to threads;
// a test's scheduler runs it piece by piece. Thread: any; step() runs on the caller's.
//
// Closing a database waits for work that has begun, not for work that still waits here (RocksDB
// takes that back). What waits for background work on purpose (CompactRange, WaitForCompact, a
// stalled write) would wait for ever in a single thread: do not call it, call step().
class BackgroundSteps {
 public:
    bool step();  // runs the oldest piece; false: there is none
    std::size_t waiting() const;

 private:
    friend class DiskEnv;
    struct Work {
        void (*function)(void*);
        void* argument;
        void* tag;
        void (*unscheduled)(void*);
        rocksdb::Env::Priority priority;
    };
    mutable std::mutex mutex_;
    std::deque<Work> work_;
};

struct RocksEnvOptions {
    // Set: background work goes there and no thread is started. Must outlive the environment.
    BackgroundSteps* steps = nullptr;
    // Set: RocksDB's clock (times in properties and statistics). Must outlive the environment.
    const model::Clock* clock = nullptr;
};

// `disk` must outlive the environment, and the environment every database opened with it.
//   - A full disk is IOStatus::NoSpace, a missing file NotFound, anything else IOError.
//   - Flush() of a file only reports an earlier failure: bytes are with the kernel after Sync() or
//     Close(). RocksDB reads no file before that (its write-ahead log is off).
//   - LockFile() guards against a second use in this process only; STATE/LOCK does the rest.
//   - Its own log file is swallowed: no second log beside ours.
std::unique_ptr<rocksdb::Env> make_rocks_env(Disk& disk, const RocksEnvOptions& options = {});

// What every database of ours needs: the environment, no log of its own, no statistics threads.
void use_rocks_env(rocksdb::Env& env, rocksdb::DBOptions& options);
// Besides: nothing starts a thread or waits for one; needed where BackgroundSteps drive RocksDB.
void prepare_for_steps(rocksdb::DBOptions& options);

}  // namespace sluice::state
