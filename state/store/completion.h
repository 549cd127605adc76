// Savepoints behind their freezing: what was frozen by links is made to stand alone, and what the
// user wants gone is removed.
//
// A savepoint is valid from the moment its manifest is durable; until it is complete it shares
// files with checkpoints and with the live database, so one bad block of the disk could hit them
// all. How much it shares is not stored anywhere: a file with more than one name is shared. So a
// completion that a crash cut off goes on at the next start, and what became unshared by itself is
// left alone.
//
//   in place   each shared file is copied beside itself, some at a time, compared with the
//              manifest's checksum, synced, and renamed over the link: at every instant the name
//              holds the right bytes
//   transfer   where the user keeps savepoints in a folder of their own: all files into
//              <folder>/<name>.partial, the manifest last, the directory renamed, and only then the
//              frozen one removed
//
// Savepoints are never removed but by remove().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "state/io/disk.h"
#include "state/model/clock.h"
#include "state/model/result.h"
#include "state/store/catalogue.h"
#include "state/store/file_copies.h"

namespace sluice::state {

// A savepoint as a listing and the status show it.
struct SavepointSummary {
    std::string name;
    CheckpointSummary info;
    model::BarrierNumber number = 0;
    std::uint64_t shared_bytes = 0;  // in files that have another name
    std::string damage;              // empty: nothing known against it
};

// Of all that `catalogue` finds, newest first. Blocks on the disk.
model::Result<std::vector<SavepointSummary>> describe_savepoints(Disk& disk, Catalogue& catalogue);

// Makes a savepoint of a retained snapshot, by links where they can be, without a daemon. Returns
// its directory; completing it is a Completion's matter. The caller holds the state's lock. Errors:
// invalid (the name, or something of that name), exhausted, unavailable. Blocks on the disk.
model::Result<std::string> freeze_savepoint(Disk& disk, Catalogue& catalogue,
                                            const CatalogueEntry& from, const std::string& name);

// Thread: step() by one (savepoint); the rest by any. Blocks in step() only.
class Completion {
 public:
    struct Options {
        bool copy = true;                    // false: links stay, where links can be
        std::uint64_t bytes_per_second = 0;  // of copies; 0: no limit
        std::uint64_t reserve_bytes = 0;     // free disk that copies leave alone
    };
    // `disk` and `clock` must outlive it.
    Completion(Disk& disk, const model::Clock& clock, StatePaths paths, Options options);

    // There may be a new savepoint. At a start, too: one that is not complete goes on.
    void look();

    // Removes a savepoint by its name; one that is being completed is given up first. `done` is
    // called once, from step(), or with `cancelled` from the destructor. Errors: invalid (no such
    // savepoint).
    using Done = std::function<void(model::Status)>;
    void remove(std::string name, Done done);

    // Does one piece. False: nothing to do now, because all is done or the rate is used up.
    bool step();

    struct Report {
        std::vector<SavepointSummary> savepoints;  // newest first
        std::string completing;                    // name; empty: none
        std::uint64_t done_bytes = 0, total_bytes = 0;
        std::uint64_t bytes_per_second = 0;  // of this completion, so far
        bool settled = false;                // nothing is left to do: all that can be complete is
        std::string problem;                 // why a completion does not go on; empty: all do
    };
    Report report() const;

    ~Completion();
    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;

 private:
    struct Job {
        CatalogueEntry entry;
        std::string name;
        std::string target;  // directory of a transfer; empty: in place
        std::vector<FileMeta> files;
        std::size_t next = 0;                // the first that is not done
        std::unique_ptr<FileCopies> copies;  // of those from `next` on
        std::uint64_t done_bytes = 0, total_bytes = 0;
        std::int64_t begun_ms = 0;
    };

    bool carry_out_removal();
    model::Status remove_now(const std::string& name);
    model::Status choose();
    model::Status begin_transfer();
    model::Result<bool> work();  // false: the rate is used up
    model::Status begin_file();
    model::Status finish_file();
    model::Status finish_job();
    void give_up(const model::Error& error);
    bool paced() const;
    std::string half_copied(const FileMeta& file) const;
    std::uint64_t copied() const;
    void publish();

    Disk& disk_;
    const model::Clock& clock_;
    const Options options_;

    Catalogue catalogue_;  // own thread, as everything up to the mutex
    std::optional<Job> job_;
    std::vector<std::string> given_up_;  // damaged or in somebody's way: not before the next start
    std::int64_t again_at_ms_ = 0;       // after trouble with the disk; 0: there was none
    std::vector<SavepointSummary> savepoints_;

    mutable std::mutex mutex_;
    bool look_ = true;                                   // guarded by mutex_
    std::deque<std::pair<std::string, Done>> removals_;  // guarded by mutex_
    Report report_;                                      // guarded by mutex_
};

}  // namespace sluice::state
