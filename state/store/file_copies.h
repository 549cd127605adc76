// One file copied through the disk seam, its bytes compared with the checksum that a manifest has
// of them. Used where a hard link will not do: a savepoint is to stand alone, or lies on another
// disk.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/checksum.h"

namespace sluice::state {

// Thread: one. Calls block on the disk.
class FileCopy {
 public:
    // `disk` must outlive it. `to` must not be there.
    FileCopy(Disk& disk, std::string from, std::string to, FileMeta file);

    // Copies a piece. True: all is copied, the bytes are those of the manifest, and durable (their
    // name is not). Errors: corrupt (the source is not what the manifest says), exhausted,
    // unavailable; what was written is the caller's to remove.
    model::Result<bool> step();

    std::uint64_t bytes() const { return at_; }  // so far

 private:
    Disk& disk_;
    const std::string from_, to_;
    const FileMeta file_;
    std::unique_ptr<ReadableFile> source_;
    std::unique_ptr<WritableFile> target_;
    Checksum checksum_;
    std::uint64_t at_ = 0;
    std::vector<char> buffer_;
};

}  // namespace sluice::state
