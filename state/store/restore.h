// From a state directory to an open store: the newest snapshot that is valid, or none because there
// never was one.
//
// LOCATE   sweep leftovers, list the snapshots: checkpoints, and the savepoints that were taken
// here,
//          newest first by barrier number
// VERIFY   newest first: manifest, file names, sizes, footers (all bytes with verify_full),
// journal,
//          inputs, and what only the daemon can ask (Kafka still has the offsets, the probe is the
//          same)
// RESTORE  wipe STATE/live, link the SST files, copy the small ones, open RocksDB: O(files); from
//          another file system the tables are copied, too, some at a time, and every byte is
//          compared on the way
// WARM     meta row against manifest, dropped frontiers, journal and inputs swept
// A snapshot that fails is rejected with its reason and the next older one is tried. Nothing of a
// snapshot is ever renamed or removed here. A directory that once had state and has no usable
// snapshot is an error, never a fresh start.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "state/io/disk.h"
#include "state/model/gate.h"
#include "state/model/result.h"
#include "state/store/catalogue.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/file_copies.h"
#include "state/store/inputs.h"
#include "state/store/store.h"

namespace sluice::state {

struct RestoreOptions {
    StoreOptions store;        // `directory` is set here: STATE/live/<boot>
    std::string boot;          // unique to this start; names the live directory
    std::string pipeline;      // snapshots of another name are rejected
    bool verify_full = false;  // so it is, too, when the catalogue is distrusted
    bool fresh = false;        // forget state: begin empty, whatever is there
    bool journal_has_entries = false;
    // Begin from this savepoint and no other, whoever took it: it begins a new lineage, so the
    // journal is not asked and the pipeline's name is its own. Tables from elsewhere are not safe
    // to open: every byte is compared with the manifest first. It is only read. Empty: what is
    // newest here.
    std::string from;
    // The journal runs without a gap from the snapshot's journal_number to its end, and is of its
    // lineage. An error of kind corrupt or invalid rejects the snapshot, any other ends the
    // restore.
    std::function<model::Status(const CheckpointMeta&)> journal_covers;
    // The recorded inputs can be run, Kafka still has the offsets and the probe is the same. The
    // snapshot's inputs are in its directory, from(). An error of kind corrupt or invalid rejects
    // the snapshot; `unavailable`: asked again with the next step(); any other ends the restore.
    std::function<model::Status(const CheckpointMeta&)> source_has;
};

// Thread: one. step() blocks on the disk.
class Restore {
 public:
    enum class Phase : std::uint8_t { locate, verify, restore, warm, done, failed };

    // The disk and the environment in options.store, `catalogue` and `inputs` must outlive it.
    Restore(RestoreOptions options, Catalogue& catalogue, Inputs& inputs);
    ~Restore();

    // Goes on by one piece of work. Errors are final (except `unavailable` from source_has: the
    // call may be repeated): corrupt = state was here and cannot be used (exit 65); else the disk.
    model::Result<Phase> step();

    Phase phase() const { return phase_; }
    const std::vector<Rejection>& rejected() const { return rejected_; }
    const Sweep& swept() const { return swept_; }
    std::string from() const { return from_; }       // path of the snapshot; "" on a fresh start
    bool every_byte() const { return every_byte_; }  // all files were read, not only looked at
    // Of the phase: compared in VERIFY (where every byte is read), linked or copied in RESTORE.
    std::uint64_t bytes() const { return bytes_ + copies_.bytes(); }
    std::uint64_t total_bytes() const { return total_bytes_; }

    struct Restored {
        std::unique_ptr<Store> store;
        std::optional<CheckpointMeta> meta;  // empty: a fresh start
        model::RestoreToken token;           // opens the gate, with sink and tables ready
    };
    // Once, when the phase is `done`.
    Restored finish();

 private:
    enum class Check : std::uint8_t { cheap, bytes, outside };

    model::Status locate();
    model::Status verify();
    model::Status ask(const CheckpointMeta& meta);
    model::Status restore();
    model::Status warm();
    model::Status begin_directory();
    bool on_another_disk(const FileMeta& file);
    model::Status place_files();
    model::Status place(const FileMeta& file);
    model::Status copy_some();
    void next_candidate();
    void reject(const std::string& reason);
    model::Status nothing_left();

    const RestoreOptions options_;
    Disk& disk_;
    Catalogue& catalogue_;
    Inputs& inputs_;
    Phase phase_ = Phase::locate;
    std::vector<CatalogueEntry> candidates_;  // oldest first: the next one is at the back
    std::vector<Rejection> rejected_;
    Sweep swept_;
    std::string from_;
    std::uint64_t bytes_ = 0, total_bytes_ = 0;
    std::string directory_;
    Check check_ = Check::cheap;
    bool every_byte_ = false;
    bool asking_ = false;              // the last answer from outside was `unavailable`
    std::size_t next_file_ = 0;        // of the candidate
    FileCopies copies_;                // of those from `copied_` on
    std::size_t copied_ = 0;           // of `to_copy_`
    std::vector<FileMeta> to_copy_;    // tables that cannot be linked
    std::vector<std::string> linked_;  // not known to be durable
    bool begun_ = false;               // the live directory is there
    std::uint64_t attempt_ = 0;
    std::unique_ptr<Store> store_;
    std::optional<CheckpointMeta> meta_;
};

}  // namespace sluice::state
