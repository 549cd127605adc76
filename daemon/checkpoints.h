// Checkpoints and savepoints of a running pipeline: what is sealed, what goes into a snapshot, and
// what became of it.
//
// A seal is begun here, asked of the workers by the coordinator, and what they answered is handed
// over here. At most one is under way, from its beginning until the snapshotter is done with it. A
// spill is a seal without a snapshot: its tables become runs, because memory is short.
//
// What is acknowledged is read when a seal begins, before any worker is asked: a window that is
// acknowledged while the seal is under way may have rows behind it. A row goes only where the very
// snapshot holds the acknowledgement, and past its retention.
//
// The frame is what holds in the whole pipeline (floor, tick, cap, what was closed, frontiers):
// with the workers' partitions it is the meta of the next snapshot.
//
// Thread: requests and report() any; everything else one (coordinator).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/barrier_sequence.h"
#include "daemon/checkpoint_schedule.h"
#include "daemon/emitter.h"
#include "daemon/reload.h"
#include "daemon/result_retention.h"
#include "daemon/savepoint_requests.h"
#include "ingest/dead_letter.h"
#include "sinks/redis_sink.h"
#include "state/model/clock.h"
#include "state/store/catalogue.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/snapshotter.h"
#include "state/store/store.h"

namespace sluice::daemon {

class Checkpoints {
 public:
    using Kind = state::SnapshotJob::Kind;

    struct Parts {  // all outlive it
        const config::Pipeline& pipeline;
        const std::vector<model::Partition>& partitions;  // by number
        const model::Clock& clock;
        state::Store& store;
        state::Snapshotter& snapshotter;
        Emitter& emitter;
        sinks::RedisSink& sink;
        ingest::DeadLetters& dead_letters;
        std::function<void()> savepoint_frozen;
    };
    struct Start {
        state::CheckpointMeta meta;  // reductions in the pipeline's order
        // Partitions that are not of our share any more: kept as they are.
        std::vector<state::PartitionMeta> resting;
        std::vector<state::CheckpointSummary> kept;  // the snapshots that are there, newest first
    };
    Checkpoints(Parts parts, Start start);

    // ---- requests; thread: any
    std::uint64_t request() { return schedule_.request(); }
    bool done(std::uint64_t ticket) const { return schedule_.done(ticket); }
    // It began and was skipped, report().problem says why; it is tried again by itself.
    bool skipped(std::uint64_t ticket) const { return schedule_.skipped(ticket); }
    SavepointRequests& savepoints() { return savepoints_; }

    struct Taken {
        state::CheckpointSummary info;
        std::int64_t pause_us = 0;
    };
    struct Report {
        std::optional<Taken> last;  // of this run
        // All that are there, newest first; of earlier runs only what can be seen on the disk.
        std::vector<Taken> kept;
        std::int64_t interval_ms = 0;  // effective
        std::string problem;           // empty: the last one succeeded
        std::string note;              // trouble behind the last commit; empty: none
        std::uint64_t completed = 0;
        std::uint64_t failed = 0;
        std::uint64_t savepoints_taken = 0;
        std::uint64_t savepoints_failed = 0;
        std::string savepoint_problem;  // why the one of the stop was not taken
        model::Offsets committed_offsets;
    };
    Report report() const;  // Thread: any. A copy.

    // ---- the frame
    const state::CheckpointMeta& frame() const { return frame_; }
    void note(const model::Barrier& barrier);  // it is in force
    // Event time up to `over` is closed; `tag`: the greatest of the tables that came with it.
    void note_closed(model::EventTime over, model::BarrierNumber tag);
    void note_acknowledged();                            // what the sink has acknowledged by now
    std::vector<model::EventTime> acknowledged() const;  // by reduction
    const ResultRetention& retention() const { return retention_; }

    // ---- when
    void look() { schedule_.look(parts_.clock.steady_ms()); }
    bool wanted() const { return schedule_.wanted(); }
    bool may_begin() const { return schedule_.may_begin(parts_.clock.steady_ms()); }
    void put_off(std::string problem);  // none begins for a while
    void refuse_stop_savepoint(std::string problem);

    // ---- seals
    bool seal_under_way() const { return sealing_.has_value(); }
    // `last`: of an orderly stop. Then the workers are asked.
    void begin(Kind kind, bool last = false);
    void begin(SavepointRequests::Wanted savepoint, bool last = false);
    // There were no tables: it is over.
    void abandon();
    // Other settings take over behind this snapshot; up to `over` the old ones have delivered.
    struct Takeover {
        const Reload& reload;
        model::EventTime over;
    };
    // What the workers answered. `journaled`: the last number whose entry is in force.
    void hand_over(const Undertaking& sealed, model::BarrierNumber journaled,
                   const Takeover* takeover = nullptr);
    // Tables of closed slices, which no record can reach, take more than `bytes`.
    bool closed_exceed(std::size_t bytes) const;
    // Makes runs of them: no worker has a part in it, and while a backlog is read they need not
    // take memory until the next checkpoint.
    void spill_closed(model::BarrierNumber journaled);

    struct Settled {
        state::SnapshotResult result;
        bool last = false;
    };
    // What the snapshotter is done with; noted in the report. An `unusable` one is the end.
    std::optional<Settled> take_settled();

 private:
    struct Sealing {
        Kind kind = Kind::checkpoint;
        bool last = false;
        SavepointRequests::Wanted savepoint;      // of a savepoint
        std::vector<model::EventTime> frontiers;  // by reduction, as it began
        std::vector<ResultRetention::Stretch> stretches;
        std::int64_t pause_ns = 0;
    };

    void begin(Sealing sealing);
    void drop_expired(state::SnapshotJob& job);
    void fill_snapshot(state::SnapshotJob& job, const Undertaking& sealed,
                       model::BarrierNumber journaled, const Takeover* takeover);
    void note_savepoint(const Sealing& sealing, const state::SnapshotResult& result);
    void note_checkpoint(const Sealing& sealing, const state::SnapshotResult& result);
    void list_kept(const state::SnapshotResult& result);

    const Parts parts_;
    const std::vector<state::PartitionMeta> resting_;
    state::CheckpointMeta frame_;
    ResultRetention retention_;
    CheckpointSchedule schedule_;
    SavepointRequests savepoints_;

    std::optional<Sealing> sealing_;
    model::BarrierNumber closed_tag_ = 0;  // greatest of closed tables since the last seal; 0: none
    model::BarrierNumber last_run_ = 0;    // of the last seal or spill
    model::BarrierNumber spilled_ = 0;     // of the last spill that has no barrier

    mutable std::mutex mutex_;
    Report report_;  // guarded by mutex_
};

}  // namespace sluice::daemon
