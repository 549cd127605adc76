// Where a state directory lies: what of it is not known to be safe, and what cannot work.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "state/model/result.h"

namespace sluice::daemon {

// Why `directory`, which need not be there yet, is no safe place for a state; in words, each on its
// own: a temp directory is cleaned by others, tmpfs is gone with the power, overlay and network
// file systems do not keep a durable write, or a lock, as promised. Empty: nothing is known against
// it. `run` refuses such a place without --force. Blocks on the file system.
std::vector<std::string> doubts_about(const std::string& directory);

// The part of it that the file system's type says, as statfs(2) has it in f_type.
std::string doubt_about_type(std::uint64_t type);

// The parts of a state are joined by hard links: all must lie on one file system. Errors: invalid,
// naming the part. Parts that are not there yet are not asked for.
model::Status check_one_file_system(const std::string& state_directory);

// STATE/BALLAST: blocks that are kept so that a stop in order finds room on a full disk. It is let
// go when the daemon stops, and held again at a start when there is room above the reserve.
//
// Thread: any. Nothing here is an error: without ballast a stop on a full disk may come
// to its end without a last snapshot.
class Ballast {
 public:
    // `reserve_bytes` is the free disk below which input pauses: the ballast is half of it, at most
    // 64 MiB; none without a reserve.
    Ballast(std::string state_directory, std::uint64_t reserve_bytes);

    static std::uint64_t size_for(std::uint64_t reserve_bytes);

    void hold(std::uint64_t free_bytes);  // unless it is held, or there is no room
    void let_go();                        // for good; when it returns, the room is there

 private:
    const std::string path_;
    const std::uint64_t reserve_bytes_;
    std::mutex mutex_;
    bool gone_ = false;  // guarded by mutex_
};

}  // namespace sluice::daemon
