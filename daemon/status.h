// What a running pipeline says about itself: one plain value, taken at an instant, from which the
// status JSON, the metrics, the status page and the human page are all made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/fold_latency.h"
#include "state/io/disk.h"
#include "state/model/ledger.h"
#include "state/model/result.h"
#include "state/model/time.h"
#include "state/model/value.h"

namespace sluice::daemon {

enum class RunState : std::uint8_t { starting, restoring, running, paused, degraded, stopping };
std::string_view name_of(RunState state);

// Names: restore, tables, kafka, sink, disk, state, paused.
struct Condition {
    std::string name;
    bool ok = false;
    model::EventTime since = 0;  // of the last change
    std::string reason;          // empty when ok
};

struct PartitionStatus {
    std::string topic;
    std::int32_t partition = 0;
    std::int64_t next_offset = 0;
    std::int64_t checkpointed_offset = 0;
    std::optional<std::int64_t> end_offset;     // last stable offset; none: not known yet
    std::optional<model::EventTime> watermark;  // none: never had a record
    bool idle = false;
    model::Ledger ledger;
};

struct StepStatus {
    std::string text;  // as in the file
    model::ValueErrors errors;
};

struct ReductionStatus {
    std::string id;
    model::ReductionLedger ledger;
    std::uint64_t open_windows = 0;
    std::uint64_t keys = 0;                    // rows over open windows and workers, before merging
    std::uint64_t fired = 0;                   // results
    std::optional<model::EventTime> frontier;  // none: nothing fired yet
    model::ValueErrors errors;
};

struct CheckpointStatus {
    std::uint64_t id = 0;
    std::string kind = "checkpoint";
    model::EventTime taken = 0;
    std::uint64_t bytes = 0;
    std::uint64_t new_bytes = 0;
    std::uint64_t pause_us = 0;
    std::uint64_t duration_ms = 0;
    std::string path;
    std::uint64_t shared_bytes = 0;  // savepoints: in files that something else has, too
};

// The savepoint that is being made to stand alone.
struct CompletionStatus {
    std::string name;  // empty: none
    std::uint64_t bytes = 0;
    std::uint64_t total_bytes = 0;
    std::uint64_t bytes_per_second = 0;
    std::string problem;   // why one does not go on; empty: all do
    bool settled = false;  // nothing is left to do
};

struct SinkStatus {
    std::uint64_t results = 0;
    std::uint64_t commands = 0;
    std::uint64_t pending = 0;
    std::uint64_t retries = 0;
    std::uint64_t reconnects = 0;
    std::uint64_t refused = 0;
    std::uint64_t resent = 0;            // results sent again because Redis had lost them
    model::DurationMs retention_ms = 0;  // result retention reached
    std::uint64_t given_up = 0;          // times that retained results went because of their bytes
    std::string last_error;
};

struct Rejection {
    std::string path;
    std::string reason;
};

struct RestoreStatus {
    std::string from;  // empty: fresh start
    std::uint64_t bytes = 0;
    std::uint64_t total_bytes = 0;
    std::uint64_t duration_ms = 0;
    std::uint64_t replayed_records = 0;
    std::uint64_t verified_bytes = 0;  // read behind the gate, of
    std::uint64_t verify_bytes = 0;    // so many; 0: nothing was left to verify
    std::vector<Rejection> rejected;
    // locate, verify, restore, warm, sink_check, open (of the gate), done; failed.
    std::string phase;
    std::int64_t stalled_ms = 0;  // one piece of the start does not come back; 0: it moves
};

// Snapshot, run and journal I/O.
struct IoStatus {
    std::string backend;  // "io_uring", "threads"
    std::uint64_t submitted = 0;
    std::uint64_t completed = 0;
    std::uint64_t errors = 0;
    std::uint64_t in_flight = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t syncs = 0;
    std::uint64_t oldest_us = 0;  // how long the oldest operation in flight has been so
    state::DiskLatency write;
    state::DiskLatency read;
    state::DiskLatency sync;
};

// Where memory and disk stand.
struct RoomStatus {
    std::uint64_t memory_bytes = 0;  // in use by tables, queues, caches
    std::uint64_t memory_limit_bytes = 0;
    std::uint64_t disk_free_bytes = 0;
    std::uint64_t disk_reserve_bytes = 0;
};

struct WorkerStatus {
    std::uint64_t busy_ns = 0;     // decoding and folding
    std::uint64_t blocked_ns = 0;  // held back by memory, disk or sink
};

// Rates are over the last seconds; whoever fills the struct decides how many.
struct Rates {
    double records_per_second = 0;
    double results_per_second = 0;
};

struct DeadLetterStatus {
    std::uint64_t written = 0;
    std::uint64_t dropped = 0;  // file full and on_full = "drop"
    std::uint64_t bytes = 0;
};

struct Status {
    std::string name;
    RunState state = RunState::starting;
    bool ready = false;
    model::EventTime since = 0;  // of `state`
    model::EventTime started = 0;
    std::int64_t pid = 0;
    std::uint64_t epoch = 0;
    std::string config_hash;
    bool config_stale = false;
    std::vector<Condition> conditions;
    model::Ledger ledger;  // whole life of the state
    std::vector<PartitionStatus> partitions;
    std::vector<StepStatus> steps;
    std::vector<ReductionStatus> reductions;
    std::vector<CheckpointStatus> checkpoints;     // newest first
    model::DurationMs checkpoint_interval_ms = 0;  // effective
    std::uint64_t checkpoints_completed = 0;       // this run
    std::uint64_t checkpoints_failed = 0;
    std::uint64_t savepoints_taken = 0;  // this run
    std::uint64_t savepoints_failed = 0;
    CompletionStatus completion;
    std::string state_directory;
    std::string savepoint_directory;
    SinkStatus sink;
    RestoreStatus restore;
    DeadLetterStatus dead_letters;
    IoStatus io;
    RoomStatus room;
    std::vector<WorkerStatus> workers;
    FoldLatency fold_latency;  // of all workers; in the metrics only
    Rates rates;
    std::optional<model::EventTime> watermark;  // the pipeline's
    std::uint64_t barrier = 0;                  // the last one's number
    std::uint64_t records_before_ready = 0;     // 0 for ever
    std::vector<std::string> warnings;          // newest last, bounded
};

// The status JSON with the contract's names, one line without a newline. Instants are RFC 3339,
// watermarks, frontiers and offsets numbers or null. Further members come after the contract's.
std::string to_json(const Status& status);

// Reads what to_json() wrote, for the command line. Members that are missing keep their defaults,
// unknown ones are ignored, so that tools and daemons of different versions understand each other.
// Errors: invalid.
model::Result<Status> status_from_json(std::string_view text);

// The compact page that `sluice status` prints. `now` is for ages and lags.
std::string to_page(const Status& status, model::EventTime now);

// The same as HTML, without scripts, refreshed by the browser. Everything that came from outside is
// escaped.
std::string to_html(const Status& status, model::EventTime now);

}  // namespace sluice::daemon
