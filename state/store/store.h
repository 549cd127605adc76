// Rows on disk: RocksDB as a store of immutable sorted runs, and the view that joins it with the
// tables that workers have handed over.
//
// Nothing is ever Put. Workers' tables are collected in memory (add_tables); at a seal they are
// merged into sorted runs, written as SST files and ingested in one step. So the memtable is always
// empty, a checkpoint flushes nothing, and the WAL is off. The live database is a cache: it is made
// anew at every start from a snapshot's files, and never repaired.
//
// The view. Whoever reads a slice must see every row exactly once, although a row wanders from a
// table to a run meanwhile. `scan` therefore takes the list of tables and the RocksDB iterator
// under one mutex, and an ingest replaces both under the same one.
//
// Two column families (state/store/checkpoint_meta.h, Family). `short` never compacts: its SSTs are
// cut at slice ends, every later run of a slice lands one level above the one before it, and a
// whole slice goes by DeleteFilesInRanges. Small slices of a backlog share a file, but for the last
// ones of a run; what overflows into level 0 is rewritten. `default` compacts (universal), merging
// rows and leaving out expired ones. DeleteRange is never used: a tombstone would hide rows that
// are ingested later.
//
// Expiry is by rule: a slice at or below its reduction's dropped frontier does not exist for
// readers, whether or not its bytes are gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/io/disk.h"
#include "state/model/barrier.h"
#include "state/model/result.h"
#include "state/model/time.h"
#include "state/store/checkpoint_meta.h"

namespace rocksdb {
class Env;
}

namespace sluice::state {

// RocksDB goes on writing some of its own files (MANIFEST-, CURRENT, OPTIONS-): snapshots hold
// copies of them, which pass through memory. A longer one is none.
inline constexpr std::uint64_t kMostCopiedBytes = 1ull << 30;

class RowCursor;     // state/reduce/cursor.h
struct SealedSlice;  // state/reduce/reduction_folder.h
struct Rocks;        // what of RocksDB a store holds; state/store/rocks_options.h
class DropFrontiers;
class RowSource;   // state/store/row_source.h
class PackedRows;  // state/reduce/packed_rows.h

struct StoreOptions {
    std::string directory;  // of this boot, e.g. STATE/live/<boot>; made when it does not exist
    Disk* disk = nullptr;
    rocksdb::Env* env = nullptr;  // over `disk`
    std::uint64_t block_cache_bytes = 8ull << 20;
    std::uint64_t target_file_bytes = 64ull << 20;
    unsigned writers = 0;           // threads of write_rows(); 0: the caller writes
    bool background_steps = false;  // the environment queues background work (rocks_env.h)
};

// Resumes a scan behind the row (hash, key).
struct RowPosition {
    std::uint64_t hash = 0;
    std::string_view key;
};

// The rows of an ingest, written and not yet visible.
struct PreparedRun {
    model::BarrierNumber number = 0;
    struct File {
        std::string path;
        std::string checksum;  // as RocksDB keeps it: 16 bytes
    };
    std::vector<File> standard, brief;  // by family
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
    std::uint64_t slices = 0;
    std::uint64_t expired_slices = 0;  // left out by the discard frontiers
    std::set<std::uint64_t> taken;     // tables of the view that it replaces, by their serial
};

// What of the live database makes up a snapshot; see snapshotter.h.
struct LiveFile {
    std::string name;
    std::string path;
    std::uint64_t size = 0;  // of the file's beginning that counts
    std::string checksum;    // 32 hex digits; empty: not an SST, to be computed while copying
    std::string contents;    // not empty: this instead of the file
    bool link = false;       // immutable: a hard link will do
};

using Discards = std::map<std::uint32_t, model::EventTime>;  // reduction number → frontier

// Life:    open(), any calls, destruction. After an error within RocksDB (of whatever kind) the
//          database is unusable (`usable()` is false): the process starts again from a snapshot.
// Thread:  write_run/apply/live_files/set_dropped: the snapshot thread. add_tables: the
//          coordinator; it never waits for the disk. scan, windows_after: any one, typically the
//          fire thread; they may wait for an ingest, some milliseconds. A cursor belongs to one
//          thread and must die before the store.
class Store {
 public:
    // Opens the RocksDB database in `options.directory`, or makes an empty one. Errors: corrupt
    // (damaged files), unavailable (I/O), exhausted.
    static model::Result<std::unique_ptr<Store>> open(const StoreOptions& options);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    // The reductions whose rows are kept, each once, before any of their rows; again is harmless. A
    // changed family is a broken invariant, and so are rows of an unknown reduction.
    // Rows under a former number of a reduction belong to it: every call below that names the
    // reduction reads, expires and drops them with its own.
    void set_reductions(const std::vector<ReductionMeta>& reductions);
    // All their rows are expired from now on.
    void set_retired(const std::vector<RetiredRows>& retired);

    // Takes tables over; `tag` is the number of the first barrier behind their rows. They are seen
    // by every scan from now on. `reduction` in them is the reduction's number, as in row keys.
    // Slices at or below the dropped frontier are let go at once.
    void add_tables(model::BarrierNumber tag, std::vector<SealedSlice> tables);

    // Merges all tables with tag <= `number` into SST files, together with the meta row. A table
    // whose slice is at or below its reduction's frontier in `discards` is left out, and leaves the
    // view with the apply. Blocks on the disk. Errors: exhausted, unavailable; nothing has changed
    // then, and the files are removed.
    model::Result<PreparedRun> write_run(model::BarrierNumber number, const CheckpointMeta& meta,
                                         const Discards& discards);
    // The same for the rows of `rows` instead of tables: how tools fill a new snapshot. Memory:
    // 32 MiB of rows for each writer and as much again (pieces of a stream are not cut, and bring
    // what they are as stored besides), 18 MiB of small slices, and what RocksDB holds of a table's
    // blocks.
    model::Result<PreparedRun> write_rows(model::BarrierNumber number, const CheckpointMeta& meta,
                                          RowSource& rows);
    // Ingests a run (one IngestExternalFiles over both families, by link) and takes its tables out
    // of the view, in one step. Runs are applied in the order of their numbers.
    model::Status apply(PreparedRun run);
    // Both.
    model::Result<PreparedRun> ingest(model::BarrierNumber number, const CheckpointMeta& meta,
                                      const Discards& discards = {});

    // The rows of a slice, ascending by (hash, key), merged over all tables and RocksDB: every row
    // that was handed over before the call, none twice. `after`: only rows behind it. An expired
    // slice is empty.
    model::Result<std::unique_ptr<RowCursor>> scan(
        std::uint32_t reduction, model::EventTime slice_end,
        std::optional<RowPosition> after = std::nullopt) const;

    // The same from the first row on, for a slice that is complete or nearly so. Where its tables
    // are small, a cursor that has passed the last row leaves them merged: who reads the slice next
    // (the run that writes it, first of all) has no work with it, and the tables' memory goes back
    // to the workers now.
    model::Result<std::unique_ptr<RowCursor>> scan_and_pack(std::uint32_t reduction,
                                                            model::EventTime slice_end);

    // Ends of the slices of a reduction that hold rows and end after `after`, ascending, not behind
    // `up_to`. Costs a look into RocksDB for each of them.
    model::Result<std::vector<model::EventTime>> windows_after(
        std::uint32_t reduction, model::EventTime after,
        model::EventTime up_to = model::kAfterAll) const;

    // From now on slices at or below `frontier` are expired. Lets tables and whole files go. Never
    // moves back. Blocks on the disk when files can go.
    model::Status set_dropped(std::uint32_t reduction, model::EventTime frontier);
    // Lets whole files of retired rows go, once in a process. Blocks on the disk.
    model::Status drop_retired(const std::vector<RetiredRows>& retired);
    // set_dropped() without touching the disk: for the frontiers a restored snapshot was taken
    // with.
    void restore_dropped(std::uint32_t reduction, model::EventTime frontier);

    // The files of the database as it stands, from one consistent look. Between hold_files() and
    // release_files() no file is deleted.
    model::Status hold_files();
    model::Result<std::vector<LiveFile>> live_files() const;
    void release_files();

    // The meta row of the last ingest; invalid when there is none.
    model::Result<CheckpointMeta> meta_row() const;

    bool usable() const { return usable_.load(std::memory_order_relaxed); }
    std::uint64_t table_bytes() const;  // memory of the tables in the view
    std::uint64_t table_rows() const;   // a key in two tables counts twice
    std::uint64_t live_bytes() const;   // of the SST files
    // Roughly, of the SST files: the slices of `reduction` that end in (after, up_to]. May read an
    // index block. Thread: the snapshot thread.
    std::uint64_t bytes_between(std::uint32_t reduction, model::EventTime after,
                                model::EventTime up_to) const;
    std::uint64_t memory_bytes() const;  // of RocksDB: block cache and open tables
    int level0_files() const;            // the greater of both families
    // Intake is to slow down: more than 24 files lie in level 0.
    bool under_pressure() const { return level0_files() > 24; }

 private:
    struct Held;  // a table of the view
    struct TablePart;
    class RowTables;
    class PackingCursor;
    using Slice = std::pair<std::uint32_t, model::EventTime>;  // reduction number, end
    using HeldRows = std::vector<std::shared_ptr<const Held>>;
    using Tables = std::map<Slice, HeldRows>;

    explicit Store(const StoreOptions& options);
    Family family_of(std::uint32_t reduction) const;
    std::vector<FormerRows> former_of(std::uint32_t reduction) const;
    // Shares of a scan: the tables and the stored rows of one number, and all rows of a reduction's
    // former numbers. `swap_mutex_` is held.
    void add_tables_of(std::uint32_t number, model::EventTime slice_end,
                       const std::optional<RowPosition>& after,
                       std::vector<std::unique_ptr<RowCursor>>& sources) const;
    void add_stored(std::uint32_t number, model::EventTime slice_end,
                    const std::optional<RowPosition>& after,
                    std::vector<std::unique_ptr<RowCursor>>& sources) const;
    void add_former(std::uint32_t reduction, model::EventTime slice_end,
                    const std::optional<RowPosition>& after,
                    std::vector<std::unique_ptr<RowCursor>>& sources) const;
    // Over the tables of a slice; null: they are not to be packed.
    std::unique_ptr<RowCursor> packing_cursor(const Slice& slice);
    void replace(const Slice& slice, const HeldRows& merged, std::unique_ptr<PackedRows> packed);
    // One number's share of windows_after() and bytes_between(). `swap_mutex_` is held by the
    // first.
    model::Status add_windows(std::uint32_t number, model::EventTime after, model::EventTime up_to,
                              std::set<model::EventTime>& ends) const;
    std::uint64_t bytes_under(std::uint32_t number, model::EventTime after,
                              model::EventTime up_to) const;
    // Takes the tables out that `gone` picks; they are let go by the caller, outside the lock.
    template <class Gone>
    Tables take_out(const Gone& gone);
    void note_files();
    bool may_hold(Family family, std::string_view begin, std::string_view end) const;
    model::Status drop_files(std::uint32_t reduction, model::EventTime frontier);
    model::Status tidy_level0();
    std::string next_run_path();
    template <class Rows>
    model::Result<PreparedRun> make_run(model::BarrierNumber number, const CheckpointMeta& meta,
                                        const Rows& rows);
    model::Status write_table(TablePart& part) const;
    void remove_files(const PreparedRun& run);
    model::Status unusable(model::Error error);

    const StoreOptions options_;              // constant after open()
    std::shared_ptr<DropFrontiers> dropped_;  // shared with the compaction filters RocksDB holds
    std::unique_ptr<Rocks> rocks_;

    std::uint64_t next_run_file_ = 1;        // snapshot thread
    model::BarrierNumber last_applied_ = 0;  // snapshot thread
    std::set<std::uint32_t> retired_;        // whose files went; snapshot thread

    mutable std::mutex families_mutex_;
    std::map<std::uint32_t, Family> families_;
    std::map<std::uint32_t, std::vector<FormerRows>> former_;

    // Order: swap_mutex_ before tables_mutex_. An ingest holds the first, so that the coordinator,
    // which takes only the second, never waits for the disk.
    mutable std::mutex swap_mutex_;
    // Keys of RocksDB's files by family, at the last ingest: from the first to the last of each,
    // ascending, joined where they overlap. Compactions and deletions only make less of them. While
    // a backlog is read most windows fire before a run holds anything of them, and an iterator
    // costs more than their rows. Guarded by swap_mutex_.
    struct KeyRange {
        std::string first;
        std::string last;
    };
    std::map<Family, std::vector<KeyRange>> stored_;
    mutable std::mutex tables_mutex_;
    Tables tables_;
    std::uint64_t next_serial_ = 1;
    std::uint64_t table_bytes_ = 0;
    std::uint64_t table_rows_ = 0;

    std::atomic<bool> usable_{true};
};

}  // namespace sluice::state
