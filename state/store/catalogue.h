// The snapshots of a state directory: which there are, which are valid, which may go.
//
// A snapshot is a directory STATE/checkpoints/<id> with a MANIFEST.json. The manifest is written
// last, so a directory without one is a leftover of a crash. Liveness is never counted or stored:
// it is what the readable manifests name. A damaged snapshot stays where it is until enough newer
// ones are there; one that the background verification found damaged is marked by a file
// <id>.damaged beside it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::state {

// Where things lie in a state directory.
struct StatePaths {
    std::string root;
    std::string checkpoints() const { return root + "/checkpoints"; }
    std::string checkpoint(CheckpointId id) const {
        return checkpoints() + "/" + std::to_string(id);
    }
    std::string live() const { return root + "/live"; }
    std::string inputs() const { return root + "/inputs"; }
    std::string journal() const { return root + "/journal"; }
    std::string distrusted() const { return root + "/VERIFY"; }
    std::string initialized() const { return root + "/INITIALIZED"; }
    // A fresh start was asked for, and its first checkpoint is not there yet.
    std::string beginning() const { return root + "/FRESH"; }
};

inline constexpr const char* kManifestName = "MANIFEST.json";

struct Rejection {
    std::string path;
    std::string reason;
};

// A snapshot as a listing and the status show it.
struct CheckpointSummary {
    CheckpointId id = 0;
    SnapshotKind kind = SnapshotKind::checkpoint;
    std::string taken;
    std::uint64_t bytes = 0;
    std::uint64_t new_bytes = 0;    // not shared with an older snapshot
    std::uint64_t duration_ms = 0;  // from the job's start to its commit; 0 when not known
    std::uint64_t cpu_ns = 0;       // of the snapshot thread, retention included; 0 when not known
    std::string path;
};

struct CatalogueEntry {
    CheckpointId id = 0;
    std::string path;
    std::optional<CheckpointMeta> meta;  // empty: damaged, see reason
    std::string damage;                  // empty: nothing known against it
    std::uint64_t manifest_bytes = 0;
};

struct Retention {
    int keep = 3;  // never fewer than 2 are kept
    std::optional<std::uint64_t>
        max_bytes;  // of all checkpoints together, a shared file counted once
    // This one is what the daemon runs on, and not all of it was read yet: it stays, and so does
    // whatever is older, because damage in it is damage in all that are taken meanwhile.
    std::optional<CheckpointId> unverified = std::nullopt;
};

// Thread: one at a time (restore, then the snapshot thread). Calls block.
class Catalogue {
 public:
    // `disk` must outlive it.
    Catalogue(Disk& disk, StatePaths paths);

    const StatePaths& paths() const { return paths_; }

    // Removes leftovers: directories without manifest, temporary files. Returns what it removed.
    model::Result<std::vector<std::string>> sweep();

    // All snapshots with a manifest, newest first, by id.
    model::Result<std::vector<CatalogueEntry>> list();
    // Greater than every id that ever had a directory here, as far as can be seen.
    model::Result<CheckpointId> next_id();

    // Names, sizes and SST footers of all files. Errors: corrupt.
    model::Status validate(const CatalogueEntry& entry);
    // One file, byte by byte. Errors: corrupt.
    model::Status validate_bytes(const CatalogueEntry& entry, const FileMeta& file);

    // From now on a snapshot is not counted as one worth keeping; durable with `mark`.
    model::Status set_damaged(CheckpointId id, const std::string& reason, bool mark);

    // A block was found damaged while the store was in use, and nobody knows which snapshots have
    // it: the next start reads every byte before it believes a snapshot. Durable. Thread: any.
    model::Status distrust(const std::string& reason);
    bool distrusted();
    model::Status trust_again();

    // Removes what retention does not keep: valid ones beyond `keep`, then oldest first while they
    // exceed max_bytes, never the newest two valid ones; damaged ones that are older than all kept.
    // Returns the kept, newest first.
    model::Result<std::vector<CatalogueEntry>> retain(const Retention& retention);
    // Manifest first, durably, then the files: a crash leaves a leftover, never a half snapshot.
    model::Status remove(CheckpointId id);

    // For the status: every one that can be used, newest first. `new_bytes` against the older ones.
    model::Result<std::vector<CheckpointSummary>> describe();
    // The same of a list that was made before.
    std::vector<CheckpointSummary> describe(const std::vector<CatalogueEntry>& entries);

    // Snapshots that contain the file with this inode.
    model::Result<std::vector<CheckpointId>> linking(std::uint64_t inode);

 private:
    Disk& disk_;
    const StatePaths paths_;
    CheckpointId greatest_ = 0;
    std::map<CheckpointId, std::string> damaged_;
};

}  // namespace sluice::state
