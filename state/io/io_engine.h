// The production Disk: one ring and one thread, named `io`, for all bytes of snapshots, runs and
// journal and for every sync, of directories, too. Names are plain calls on the caller's thread.
//
// Protocol (io_engine.cc, once for both back ends):
//   - append() copies. Up to 64 KiB a file stages in memory of its own, so a small file (journal
//     entry, MANIFEST) needs nothing shared; beyond that it stages in 256 KiB buffers of a pool,
//     registered with the ring, and a full one is submitted at once. No free buffer: append()
//     waits. That and the bounded depth are the whole memory of writing.
//   - Whole blocks of big files are written past the page cache (O_DIRECT) where the file system
//     takes it; the unaligned rest through it, in pages of its own.
//   - A completion counts only if its result is the length. A short one (a full disk), an error or
//     a failed fdatasync kills the file for ever.
//   - Files being written and streams are registered with the ring while there are places.
//   - A stream keeps four blocks of 256 KiB on their way ahead of its reader, past the page cache
//     where that can be, in registered buffers while there are free ones.
//   - Small writes and syncs (the journal) pass bulk writes. What is opened in the background
//   (Disk::
//     background()) comes last, with a quarter of the depth and of the buffers, and what it writes
//     can be bounded in bandwidth, all files together: a token bucket of a tenth of a second.
//   - Reads from 128 KiB on go through the ring; smaller ones (RocksDB's blocks) are pread() on the
//     caller's thread: the hand-over would cost more than the read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "config/settings.h"
#include "state/io/disk.h"
#include "state/io/ring.h"
#include "state/model/clock.h"
#include "state/model/result.h"

namespace sluice::state {

struct DiskOptions {
    config::IoBackend backend = config::IoBackend::automatic;
    // StateLock::descriptor(): registered in the ring, so that the lock outlives late writes.
    // -1: none.
    int lock_descriptor = -1;
    unsigned depth = 32;        // operations in flight, 1..1024
    unsigned buffers = 16;      // of 256 KiB, for writing, 2..1024
    unsigned read_buffers = 8;  // of 256 KiB, for streams, 0..1024
    bool direct = true;         // O_DIRECT where the file system takes it
};

struct OpenedDisk {
    std::unique_ptr<Disk> disk;
    std::string description;  // one line for the log: which back end, and why
};

// Probes io_uring; where it is refused, `automatic` gives the thread pool and says why, `io_uring`
// fails (invalid). Blocks signals in its threads. Thread of the call: any.
model::Result<OpenedDisk> open_disk(const DiskOptions& options);

// The protocol over any ring (tests bring one that fails on purpose). `clock` paces the cap.
std::unique_ptr<Disk> make_disk(std::unique_ptr<Ring> ring, const DiskOptions& options,
                                const model::Clock& clock);

}  // namespace sluice::state
