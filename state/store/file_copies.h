// Files copied through the disk seam, their bytes compared on the way with the checksums that a
// manifest has of them. Used where a hard link will not do: a savepoint is to stand alone, or lies
// on another disk.
//
// A few files are under way at a time: while one is written, the next ones are being read ahead and
// the ones before are becoming durable, so neither a small file nor a slow sync holds up the rest.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/checksum.h"

namespace sluice::state {

// Thread: one. Calls block on the disk.
class FileCopies {
 public:
    explicit FileCopies(Disk& disk) : disk_(disk) {}  // `disk` must outlive it

    // One more file, behind those under way; reading it begins. `to` must not be there. Errors:
    // corrupt (the source has another size), invalid (it is not there), unavailable; then nothing
    // of it is under way. Not when full().
    model::Status begin(const std::string& from, std::string to, const FileMeta& file);
    bool full() const;   // as many as there are to be are under way
    bool empty() const;  // none is
    const std::string& to(std::size_t i) const { return files_[i]->to; }  // under way, oldest first
    std::size_t size() const { return files_.size(); }

    // Copies a piece. True: the oldest one under way is done and is no longer under way: its bytes
    // are those of the manifest, and durable (their name is not). Errors: corrupt (the source is
    // not what the manifest says), exhausted, unavailable; what was written is the caller's to
    // remove, and the object is good for nothing but clear().
    model::Result<bool> step();

    std::uint64_t bytes() const;  // copied so far of those under way
    void clear();                 // gives up all under way; blocks until nothing is in flight

 private:
    struct File {
        std::string from, to;
        FileMeta meta;
        std::unique_ptr<ReadStream> source;  // none: all is copied, and on its way to be durable
        std::unique_ptr<WritableFile> target;
        Checksum checksum;
        std::uint64_t bytes = 0;
    };
    model::Status copy_piece(File& file);

    Disk& disk_;
    std::deque<std::unique_ptr<File>> files_;
};

}  // namespace sluice::state
