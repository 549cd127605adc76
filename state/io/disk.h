// The seam for the disk. In production the io_uring engine or the thread pool beside it, in
// tests/simulation a disk that drops what was not synced, tears writes, fills up and fails.
//
// The rules of durability (one place, so that nobody has to remember them):
//   - a file's bytes are durable after a successful sync(); a failed sync() or append() kills that
//     file for ever: every later call on it fails, it is never synced again, and its name is not
//     used again;
//   - a name is durable after sync_directory() of the directory that holds it;
//   - a write counts only when it was completed in full (a full disk shows as a short write).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/histogram.h"
#include "state/model/result.h"

namespace sluice::state {

// A file being written, from its beginning to its end. Thread: one at a time.
class WritableFile {
 public:
    virtual ~WritableFile() = default;  // closes; never makes anything durable
    // Copies `bytes`; may return before they are written. Errors (also of earlier appends):
    // exhausted (no space), unavailable (I/O).
    virtual model::Status append(std::string_view bytes) = 0;
    // Blocks until all appended bytes are durable.
    virtual model::Status sync() = 0;
    // What was appended begins to become durable, so that the sync() that has to follow finds less
    // to wait for. Errors come with that one.
    virtual void begin_sync() {}
    // Blocks until all appended bytes are with the kernel (not durable). Readers see them then.
    virtual model::Status flush() = 0;
    // What was there and what was appended.
    virtual std::uint64_t size() const = 0;
};

// Thread: any.
class ReadableFile {
 public:
    virtual ~ReadableFile() = default;
    // Reads up to `bytes` at `offset` into `to`; fewer only at the end of the file. Blocks.
    virtual model::Result<std::size_t> read(std::uint64_t offset, std::size_t bytes,
                                            char* to) const = 0;
    // That this is asked for next, so that it may be on its way already. Of its own accord nothing.
    virtual void read_soon(std::uint64_t /*offset*/, std::size_t /*bytes*/) const {}
    virtual std::uint64_t size() const = 0;
};

// A file read once, from its beginning to its end, ahead of the reader and past the page cache
// where that can be. Thread: one at a time.
class ReadStream {
 public:
    virtual ~ReadStream() = default;
    // The bytes that follow, valid until the next call; none at the end. Blocks. Errors:
    // unavailable, for good.
    virtual model::Result<std::string_view> next() = 0;
    virtual std::uint64_t size() const = 0;  // of the file when it was opened
};

struct FileFacts {
    std::uint64_t size = 0;
    bool directory = false;
    bool symbolic = false;  // a symbolic link: what is said is of the link, it is never followed
    std::uint64_t inode = 0;
    std::uint64_t device = 0;  // files of one are on one file system
    std::uint32_t links = 1;
};

struct DiskSpace {
    std::uint64_t free_bytes = 0;  // for us (not root's reserve)
    std::uint64_t total_bytes = 0;
};

// Operations of one kind by how long they took, from submission to completion.
inline constexpr std::array<std::uint64_t, 16> kDiskBoundsUs{
    50,     100,    250,     500,     1'000,   2'500,     5'000,     10'000,
    25'000, 50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 10'000'000};
using DiskLatency = model::Histogram<kDiskBoundsUs>;

struct DiskStatistics {
    std::uint64_t submitted = 0, completed = 0, errors = 0, in_flight = 0, written_bytes = 0,
                  read_bytes = 0, syncs = 0;
    std::uint64_t oldest_us = 0;  // how long the oldest one in flight has been so; 0: none is
    DiskLatency write, read, sync;
};

// Paths are as the process sees them. Files must not outlive their disk. Thread: any; calls block.
// A name that is not there (or, for create() and link(), already there) is `invalid`, no room
// `exhausted`, the rest `unavailable`.
class Disk {
 public:
    virtual ~Disk() = default;

    virtual model::Result<std::unique_ptr<WritableFile>> create(
        const std::string& path) = 0;  // fails if it exists
    virtual model::Result<std::unique_ptr<WritableFile>> append_to(
        const std::string& path) = 0;  // goes on at its end
    // Errors: corrupt, if it is no ordinary file (a pipe nobody writes to would be waited for).
    virtual model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) = 0;
    // Of its own accord by way of open().
    virtual model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path);
    virtual model::Status make_directory(const std::string& path) = 0;  // exists already: success
    virtual model::Status rename(const std::string& from, const std::string& to) = 0;
    virtual model::Status link(const std::string& from, const std::string& to) = 0;  // hard link
    virtual model::Status remove(
        const std::string& path) = 0;  // a file or an empty directory; already gone: success
    virtual model::Status truncate(const std::string& path,
                                   std::uint64_t size) = 0;  // durable when it returns
    // Makes the bytes of a file durable, whoever wrote them. The file is only read.
    virtual model::Status sync_file(const std::string& path) = 0;
    // The same for many, at once where that can be; the first error. Of its own accord one after
    // the other.
    virtual model::Status sync_files(std::span<const std::string> paths);
    virtual model::Status sync_directory(const std::string& path) = 0;
    virtual model::Result<std::vector<std::string>> list(
        const std::string& path) = 0;  // names, sorted, without . and ..
    virtual model::Result<FileFacts> info(const std::string& path) = 0;  // not there: invalid
    virtual model::Result<DiskSpace> space(const std::string& path) = 0;
    // The same disk for work that can wait, copies and checks: what is opened by way of it gives
    // way to everything else, in its order and in the room that it has. A file that is written so
    // and destroyed without flush() or sync() may lack what was appended last. Lives as long as
    // this one, which it is of its own accord.
    virtual Disk& background() { return *this; }
    // How many bytes a second may be written in the background from now on, by all files together;
    // 0: no bound. A call that writes may then block for as long. Of its own accord none.
    virtual void bound_background(std::uint64_t /*bytes_per_second*/) {}
    virtual DiskStatistics statistics() const = 0;
    virtual std::string_view name() const = 0;  // "io_uring", "threads", "simulated"
};

// The directory that holds the name `path`; "." for a bare name.
std::string parent_directory(const std::string& path);

// Helpers over any disk.
model::Result<std::string> read_file(Disk& disk, const std::string& path,
                                     std::uint64_t limit_bytes);
model::Status remove_tree(Disk& disk, const std::string& path);  // not there: success; not synced
// Temporary name beside it, write, sync, rename, sync of the directory.
model::Status write_file_durably(Disk& disk, const std::string& path, std::string_view bytes);

}  // namespace sluice::state
