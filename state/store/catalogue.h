// The snapshots of a state directory: which there are, which are valid, which may go.
//
// A snapshot is a directory with a MANIFEST.json: a checkpoint is STATE/checkpoints/<id>, a
// savepoint lies in STATE/savepoints/<name>, or in the user's own folder of savepoints. The
// manifest is written last, so a directory without one is a leftover of a crash. Liveness is never
// counted or stored: it is what the readable manifests name. A damaged snapshot stays where it is;
// a checkpoint until enough newer ones are there, a savepoint for ever. One that the background
// verification found damaged is marked by a file <directory>.damaged beside it.
//
// Savepoints belong to the user. Nothing here removes one but remove(), and the user's own folder
// is only ever read: what is in it may be anybody's.
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
    std::string savepoint_folder{};  // the user's own, absolute; empty: STATE/savepoints
    std::string checkpoints() const { return root + "/checkpoints"; }
    std::string checkpoint(CheckpointId id) const {
        return checkpoints() + "/" + std::to_string(id);
    }
    std::string savepoints() const { return root + "/savepoints"; }  // every one is frozen here
    std::string savepoint(const std::string& name) const { return savepoints() + "/" + name; }
    std::string live() const { return root + "/live"; }
    std::string inputs() const { return root + "/inputs"; }
    std::string journal() const { return root + "/journal"; }
    std::string distrusted() const { return root + "/VERIFY"; }
    std::string initialized() const { return root + "/INITIALIZED"; }
    // What a start that gives up what is here was asked for; its first checkpoint is not there yet.
    std::string beginning() const { return root + "/BEGIN"; }
};

inline constexpr const char* kManifestName = "MANIFEST.json";
inline constexpr std::uint64_t kMostManifestBytes = 256ull << 20;  // a longer one is none

// A name that is one plain part of a path: letters, digits, `.`, `_`, `-`, at most 128, the first a
// letter or a digit, and none of the endings that we use ourselves. Errors: invalid, saying what.
model::Status check_savepoint_name(std::string_view name);

// What a sweep took away.
struct Swept {
    std::string path;
    std::uint64_t bytes = 0;  // given back to the disk: files that have no other name
};

struct Sweep {
    std::vector<Swept> removed;
    std::vector<std::string> foreign;  // paths where only snapshots should be, and left alone
};

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

    // Removes leftovers in STATE: temporary files, and directories without manifest that hold
    // nothing but files of a snapshot. Whatever else somebody has put there stays.
    model::Result<Sweep> sweep();

    // All checkpoints with a manifest, newest first, by id.
    model::Result<std::vector<CatalogueEntry>> list();
    // All savepoints with a manifest, of STATE and of the user's own folder, newest first by
    // barrier number. Symbolic links are passed over.
    model::Result<std::vector<CatalogueEntry>> list_savepoints();
    // The snapshot in a directory anywhere. Errors: invalid (there is none).
    model::Result<CatalogueEntry> look_at(const std::string& path);
    // Greater than every id that a snapshot here has or had, as far as can be seen.
    model::Result<CheckpointId> next_id();

    // Names, sizes and SST footers of all files. Errors: corrupt.
    model::Status validate(const CatalogueEntry& entry);
    // One file, byte by byte. Errors: corrupt.
    model::Status validate_bytes(const CatalogueEntry& entry, const FileMeta& file);

    // From now on the snapshot in `path` is not counted as one worth keeping; durable with `mark`.
    model::Status set_damaged(const std::string& path, const std::string& reason, bool mark);

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
    model::Status remove(const std::string& path);

    // For the status: every one that can be used, newest first. `new_bytes` against the older ones.
    model::Result<std::vector<CheckpointSummary>> describe();
    // The same of a list that was made before.
    std::vector<CheckpointSummary> describe(const std::vector<CatalogueEntry>& entries);

    // Paths of the snapshots that contain the file with this inode.
    model::Result<std::vector<std::string>> linking(std::uint64_t inode);

 private:
    CatalogueEntry entry_of(const std::string& path);
    model::Status sweep_folder(const std::string& folder, bool savepoints, Sweep& swept);
    model::Result<bool> is_leftover(const std::string& path);

    Disk& disk_;
    const StatePaths paths_;
    CheckpointId greatest_ = 0;
    std::map<std::string, std::string> damaged_;  // by path
};

}  // namespace sluice::state
