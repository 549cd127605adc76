// Turns seals into runs and runs into snapshots.
//
// One job at a time, one phase per step():
//   write   the tables up to the job's barrier into SST files
//   ingest  into RocksDB and the view (a spill ends here)
//   link    the database's files into STATE/checkpoints/<id>, or STATE/savepoints/<name>; manifest
//           and options copied
//   sync    the directory and its parent
//   commit  MANIFEST.json: temporary name, fsync, rename, fsync of the directory. The rename made
//   durable is
//           the one commit point: before it there is a leftover, after it a snapshot
//   retain  drop what the snapshot vouches for, remove what retention does not keep
// Nothing else is ingested between a checkpoint's last ingest and its links, because jobs run one
// after the other. Between jobs the files of the restored snapshot are read (verify()); damage
// there is a result `unusable`, and no job is begun behind it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "state/model/clock.h"
#include "state/store/catalogue.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/inputs.h"
#include "state/store/store.h"
#include "state/store/verifier.h"

namespace sluice::state {

struct SnapshotJob {
    // A savepoint is frozen as a checkpoint is, by links; completion.h makes it stand alone. It is
    // the user's: nothing is retained, swept or forgotten because of it.
    enum class Kind : std::uint8_t { checkpoint, savepoint, spill };
    Kind kind = Kind::checkpoint;
    std::string name;  // of a savepoint; refused when there is something of that name
    // The last job of an orderly stop may use the reserve: nothing comes after it.
    bool last = false;
    model::BarrierNumber number = 0;  // takes all tables with tag <= number
    // Complete but for `id`, `number`, `taken` (made of `clock`), `inputs` and `files`. Of a spill
    // nothing but `reductions` matters. `reductions[].dropped` comes into force for the live store
    // once the snapshot is committed.
    CheckpointMeta meta;
    Discards discards;  // tables of slices at or below are not written; see Store::write_run
    // Stretches of slices whose bytes on disk the submitter wants to know.
    struct Stretch {
        std::uint32_t reduction = 0;  // number
        model::EventTime after = model::kBeforeAll, up_to = model::kBeforeAll;
    };
    std::vector<Stretch> measure;
    std::string inputs_text;  // recorded, durably, before the manifest names its hash
    // Called before the manifest is written, with what it will say; an error skips the checkpoint.
    // Makes durable what must be durable with it (dead letters).
    std::function<model::Status(CheckpointMeta&)> before_commit;
};

struct SnapshotResult {
    enum class Outcome : std::uint8_t {
        done,
        skipped,   // no room, or a hook refused: nothing is lost, the next job takes everything
        unusable,  // the live database is broken: leave with 74, the next start restores
    };
    Outcome outcome = Outcome::done;
    SnapshotJob::Kind kind = SnapshotJob::Kind::checkpoint;
    model::BarrierNumber number = 0;
    CheckpointSummary checkpoint;  // of a checkpoint or savepoint that is done
    CheckpointMeta meta;           // as committed
    // All that are there now, newest first. Empty when nobody could look.
    std::vector<CheckpointSummary> kept;
    std::vector<std::uint64_t> measured;  // roughly, by SnapshotJob::measure
    // The journal may forget what lies at or before it: the least journal_number of the kept
    // snapshots of this lineage. Of a checkpoint that is done.
    model::BarrierNumber journal_needed_after = 0;
    std::uint64_t rows = 0;  // of the run
    std::string note;        // trouble behind the commit (retention), for the log
    model::Error error;      // when not done
};

struct SnapshotterOptions {
    Retention retention;
    std::uint64_t reserve_bytes = 0;  // free disk below which no job is begun
    std::uint64_t verify_bytes_per_second = 64ull << 20;
    // Hashes of the inputs that reload entries of the journal name: kept, whatever snapshots name.
    std::set<std::string> journaled_inputs = {};
};

// Thread: submit(), pending() and take_result() from any; step() from the snapshot thread. Every
// other object here must outlive it, and is used by step() only.
class Snapshotter {
 public:
    Snapshotter(SnapshotterOptions options, Disk& disk, const model::Clock& clock, Store& store,
                Catalogue& catalogue, Inputs& inputs);
    ~Snapshotter();
    Snapshotter(const Snapshotter&) = delete;
    Snapshotter& operator=(const Snapshotter&) = delete;

    void submit(SnapshotJob job);
    // Jobs submitted whose result has not been made yet.
    std::size_t pending() const;
    // Does one phase. False: nothing to do. Blocks on the disk.
    bool step();
    std::optional<SnapshotResult> take_result();

    // Reads the snapshot in `path`, of which `meta` is the manifest, between jobs. Before the first
    // step(). See state/store/verifier.h.
    void verify(std::string path, const CheckpointMeta& meta);
    struct Verified {
        std::uint64_t bytes = 0;
        std::uint64_t total_bytes = 0;  // 0: there is nothing to verify
    };
    Verified verified() const;  // Thread: any.

    // Room is short: below the reserve, as of the last look (each job's begin).
    bool short_of_space() const { return short_of_space_.load(std::memory_order_relaxed); }

 private:
    enum class Phase : std::uint8_t { idle, write, ingest, link, sync, commit, retain };

    model::Status write();
    model::Status ingest();
    model::Status link();
    model::Status sync();
    model::Status commit();
    void retain();
    void finish();
    void fail(model::Error error);
    bool verify_some();

    const SnapshotterOptions options_;
    Disk& disk_;
    const model::Clock& clock_;
    Store& store_;
    Catalogue& catalogue_;
    Inputs& inputs_;

    // Snapshot thread.
    Phase phase_ = Phase::idle;
    SnapshotJob job_;
    SnapshotResult result_;
    std::optional<PreparedRun> run_;
    std::string path_;
    std::int64_t begun_ms_ = 0;
    std::int64_t cpu_ns_ = 0;             // of the job's earlier steps
    std::int64_t step_cpu_ns_ = 0;        // the thread's CPU time when this step began
    std::unique_ptr<Verifier> verifier_;  // null: nothing is to be verified, or all is
    CheckpointId verifies_ = 0;
    bool damaged_ = false;  // what is live comes from a damaged snapshot

    std::atomic<bool> short_of_space_{false};
    std::atomic<std::uint64_t> verified_bytes_{0}, verify_total_bytes_{0};
    mutable std::mutex mutex_;
    std::deque<SnapshotJob> jobs_;
    std::deque<SnapshotResult> results_;
    std::size_t pending_ = 0;
};

}  // namespace sluice::state
