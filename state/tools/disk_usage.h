// What snapshots take of the disk: by inode, as they share files with one another and with a live
// database.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"

namespace sluice::state {

struct DiskUsage {
    std::string path;
    std::uint64_t bytes = 0;      // of all its files, one that has two names in it counted once
    std::uint64_t exclusive = 0;  // of files that have no name elsewhere: what removing it frees
    std::uint64_t shared = 0;     // the rest
};
struct DiskUsages {
    std::vector<DiskUsage> snapshots;
    std::uint64_t bytes = 0;  // of all of them together, a shared file counted once
};

// `paths`: snapshots, directories of snapshots, state directories. Errors: invalid: there is no
// snapshot in one of them.
model::Result<DiskUsages> disk_usage(Disk& disk, const std::vector<std::string>& paths);

// The snapshots in a state directory, a directory of snapshots, or the snapshot itself: their
// paths, checkpoints first, by number and by name.
model::Result<std::vector<std::string>> snapshots_in(Disk& disk, const std::string& path);

}  // namespace sluice::state
