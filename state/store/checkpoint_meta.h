// What a snapshot says about itself, apart from the rows: the values a restart goes on from.
//
// Plain values, written as JSON into MANIFEST.json (docs/FORMAT.md). Instants are milliseconds
// since the epoch; an instant that does not exist yet is an empty optional, `null` in the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/barrier.h"
#include "state/model/ledger.h"
#include "state/model/partition.h"
#include "state/model/result.h"
#include "state/model/time.h"
#include "state/model/value.h"
#include "state/reduce/row.h"

namespace sluice::state {

inline constexpr std::uint32_t kSnapshotFormatVersion = 1;

using CheckpointId = std::uint64_t;  // of one state directory; never given twice

enum class SnapshotKind : std::uint8_t { checkpoint, savepoint };

// Where a snapshot's rows come from. Only what a daemon took itself is a candidate for an automatic
// restore: nobody else can vouch that it belongs to the journal beside it.
enum class Provenance : std::uint8_t {
    taken,     // by a daemon
    edited,    // by a tool, from another snapshot: rows were put or deleted
    imported,  // from a portable stream or from lines
};

// The last record read of a partition: read again at a restore, it must still be the same one.
struct Probe {
    model::Offset offset = 0;
    std::uint64_t hash = 0;  // what of the record it covers, the daemon decides
    bool operator==(const Probe&) const = default;
};

struct PartitionMeta {
    model::Partition partition;
    model::Offset start_offset = 0;
    model::Offset next_offset = 0;
    std::optional<model::EventTime> max_timestamp;  // of the records that move the watermark
    model::EventTime watermark_floor = model::kBeforeAll;
    bool idle = false;
    bool read_from_zero = false;
    bool empty_at_first_sight = false;
    // Windows that start before it are incomplete. Empty, and not read from offset 0: no decodable
    // record was seen yet, so it is not known.
    std::optional<model::EventTime> incomplete_before;
    std::optional<Probe> probe;
    model::Ledger ledger;
    std::map<std::string, model::ReductionLedger> reductions;  // by reduction id
    std::map<std::string, model::ValueErrors> errors;          // by place: a reduction id, "step N"
    bool operator==(const PartitionMeta&) const;
};

// Where the rows of a reduction live; decided when the reduction is created, kept for ever.
enum class Family : std::uint8_t {
    standard,  // column family `default`: long windows, universal compaction
    brief,     // column family `short`: windows that end before compaction would pay
};
// Windows shorter than 10 checkpoint intervals are `brief`.
Family family_for(model::DurationMs window, model::DurationMs checkpoint_every);

// Rows that were written under an earlier definition of a reduction, whose calls were others. They
// stay as they are and are read as the present definition has them.
struct FormerRows {
    std::uint32_t number = 0;  // in row keys
    Family family = Family::standard;
    std::vector<FormerCall> calls;  // by call of the present definition
    bool operator==(const FormerRows&) const = default;
};

// Rows that nobody will read: of a reduction that is gone, or whose state was given up.
struct RetiredRows {
    std::uint32_t number = 0;
    Family family = Family::standard;
    bool operator==(const RetiredRows&) const = default;
};

struct ReductionMeta {
    std::string id;
    std::uint32_t number = 0;  // in row keys; from 1, never given to another reduction
    Family family = Family::standard;
    std::string schema;                            // canonical text of what the rows hold
    std::uint64_t schema_hash = 0;                 // XXH3-64 of it
    std::optional<model::EventTime> acknowledged;  // frontier: Redis has every window up to it
    // Rows of slices at or below it are expired: nobody reads them. Never above `acknowledged`.
    std::optional<model::EventTime> dropped;
    std::optional<model::EventTime> fired;  // greatest window end that fired
    // Set where an edit of the configuration touched the reduction:
    std::vector<FormerRows> former = {};  // newest first
    // Windows that start below lack what was added later.
    std::optional<model::EventTime> incomplete_before = {};
    // Windows that end at or below are over, whatever the lateness allowed by now.
    std::optional<model::EventTime> closed = {};
    bool operator==(const ReductionMeta&) const = default;
};

// One file of a snapshot. `checksum` is the XXH3-128 of all its bytes, big-endian, as 32 hex
// digits.
struct FileMeta {
    std::string name;  // inside the snapshot's directory, without slashes
    std::uint64_t size = 0;
    std::string checksum;
    bool operator==(const FileMeta&) const = default;
};

// What `complete` of a window was judged by when it was first allowed to fire: one that is fired
// again, in this run or another, is judged by the same.
struct CompletenessStep {
    // Of windows with their end (and lateness) at or below it and above the step before.
    model::EventTime until = model::kBeforeAll;
    // Those that start before it may miss records; kAfterAll: all may.
    model::EventTime incomplete_before = model::kBeforeAll;
    bool operator==(const CompletenessStep&) const = default;
};
// Ascending by `until`; behind the last step nothing was judged yet.
using CompletenessSteps = std::vector<CompletenessStep>;

struct CheckpointMeta {
    std::uint32_t format = kSnapshotFormatVersion;
    std::string pipeline;
    CheckpointId id = 0;
    SnapshotKind kind = SnapshotKind::checkpoint;
    Provenance provenance = Provenance::taken;
    std::string lineage;
    model::BarrierNumber number = 0;          // of the barrier whose offsets these are
    model::BarrierNumber journal_number = 0;  // last journaled barrier at or before it
    // The savepoint that this lineage began from (`--from`). Empty and 0: it began from nothing.
    std::string origin_lineage;
    model::BarrierNumber origin_number = 0;
    bool reset_sink = false;  // the sink is to be brought to this state before any result
    std::string taken;        // RFC 3339, UTC
    model::EventTime clock =
        0;  // wall clock behind `taken`; later barriers never carry a lower one

    model::EventTime cut_floor = model::kBeforeAll;  // time of the last cut
    // Greatest deadline of results in event time that may have left; in the journal before they do.
    model::EventTime closed = model::kBeforeAll;
    model::EventTime tick = model::kBeforeAll;  // processing time in force
    model::EventTime cap = model::kBeforeAll;   // future guard in force

    CompletenessSteps event_completeness, processing_completeness;

    std::vector<PartitionMeta> partitions;
    std::vector<ReductionMeta> reductions;
    std::vector<RetiredRows> retired;  // their numbers are never given again
    std::string inputs;                // hash of the recorded inputs (state/store/inputs.h)

    std::vector<FileMeta> files;  // filled by the snapshotter, sorted by name

    bool operator==(const CheckpointMeta&) const = default;
    const ReductionMeta* reduction(std::string_view id) const;  // null: not there
};

// The text of MANIFEST.json: JSON whose last member is the XXH3-128 of all bytes before it, so that
// a file cut short or changed in any byte is not a manifest.
std::string manifest_text(const CheckpointMeta& meta);
// Errors: corrupt (not a manifest, or damaged), invalid (written by a newer release).
model::Result<CheckpointMeta> parse_manifest(std::string_view text);

// The same values without file list and checksum: the row that every ingest puts into RocksDB.
std::string meta_row_text(const CheckpointMeta& meta);
model::Result<CheckpointMeta> parse_meta_row(std::string_view text);

// Of a snapshot from elsewhere: what no daemon would write, and would stop one that starts from it.
// Errors: corrupt.
model::Status check_meta(const CheckpointMeta& meta);

// "2025-04-01T12:00:00.250Z"
std::string rfc3339(model::EventTime instant);

}  // namespace sluice::state
