// The coordinator: decides what happens when, and makes what follows from it happen in order.
//
// What it issues (barriers, closes) goes to every worker and through the sequence
// (barrier_sequence.h), which says when it takes effect:
//
//   cut, cap, idle, tick   journal → the emitter may fire what a tick closed
//   close                  journal → the emitter may fire what no record can reach any more. The
//                          entry says how far results may have left: which partitions they rest on
//                          is not written down elsewhere, and one that a restart finds must not add
//                          to them
//   seal, spill            the sealed tables and the offsets that belong to them become a snapshot
//                          or runs (checkpoints.h)
//
// Closes need no rule about idle partitions (pipeline_progress.h). Idleness only decides whether a
// cut is needed.
//
// Reload: not before the watermark is where it was when an earlier run sent its last result, or all
// that there is has been read. The last barrier of an engine's life. It is journaled and sealed in
// one; what is over by then is delivered under the old settings; the checkpoint behind it is that
// of the new ones.
//
// Replay: the journal's entries are handed to the workers a few at a time, so that a checkpoint
// during a long replay can be put behind an entry that no worker has passed. Live time begins when
// all are carried out: with a cap and a tick, in one entry.
//
// Thread: step() by one (coordinator); the requests and the reads by any.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/barrier_sequence.h"
#include "daemon/checkpoints.h"
#include "daemon/emitter.h"
#include "daemon/messages.h"
#include "daemon/pipeline_progress.h"
#include "daemon/reload.h"
#include "daemon/worker.h"
#include "ingest/time_keeper.h"
#include "state/io/journal.h"
#include "state/model/clock.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/snapshotter.h"
#include "state/store/store.h"

namespace sluice::daemon {

// What the coordinator starts from: a restored checkpoint and the journal behind it.
struct StartingPoint {
    state::CheckpointMeta meta;  // reductions in the pipeline's order; `closed` by the journal
    std::vector<model::Barrier> replay;    // journaled barriers above meta.number, but for closes
    model::BarrierNumber journal_end = 0;  // the last journaled number
    // Of every snapshot that is here, used or not: numbers go on above it, so that newest is
    // newest.
    model::BarrierNumber greatest_number = 0;
    std::vector<std::vector<model::EventTime>>
        open_ends;  // by reduction: windows that have rows and were not acknowledged
    std::vector<state::CheckpointSummary> kept;  // the snapshots that are there, newest first
    // Partitions that are not of our share any more: kept as they are.
    std::vector<state::PartitionMeta> resting;
    // Other settings take over where the replay ends: the last entry of `replay` says so already,
    // or it is to be written.
    std::optional<Reload> reload;
};

class Coordinator {
 public:
    struct Parts {
        const config::Pipeline& pipeline;
        const std::vector<model::Partition>&
            partitions;  // by number; grows only at the end, elements never move
        const model::Clock& clock;
        state::Journal& journal;
        state::Store& store;
        state::Snapshotter& snapshotter;
        state::Inputs& inputs;  // the snapshotter's: touched only while it has no job
        Emitter& emitter;
        sinks::RedisSink& sink;
        ingest::DeadLetters& dead_letters;
        Mailbox<Answer>& answers;
        std::function<void()> savepoint_frozen = [] {};
        std::vector<Worker*> workers;
        std::size_t memory_bytes =
            0;  // for tables: above it input pauses, above half of it a spill begins
        std::size_t closed_bytes = 0;  // for those of closed slices: above it they are spilled
    };
    struct Options {
        bool until_end = false;
        bool keep_open = false;
    };
    // reloaded: the checkpoint behind the reload barrier is committed, and the settings of
    // reload() are in force for whoever starts from it.
    enum class Outcome : std::uint8_t { running, finished, reloaded, failed };

    Coordinator(Parts parts, Options options, StartingPoint start);
    ~Coordinator();

    // Does what can be done without waiting for anybody but the disk (journal). Returns whether
    // anything was done.
    bool step();

    // Thread: any.
    // In order: nothing unfinished fires; a last checkpoint, or the savepoint of this name, then
    // `finished`. For a savepoint a replay is gone through first.
    void request_stop(const std::string& savepoint = "");
    // A drain, or `--until end`, ends with the savepoint of this name instead of a checkpoint.
    void name_stop_savepoint(const std::string& savepoint);
    // As `--until end` from now: `ends` are read up to, every window closes, then as
    // request_stop().
    void request_drain(model::Offsets ends);
    // Freezes a savepoint. The outcome is had once, by the ticket, when there is one.
    std::uint64_t request_savepoint(std::string name) {
        return checkpoints_.savepoints().request(std::move(name));
    }
    std::optional<SavepointRequests::Outcome> take_savepoint(std::uint64_t ticket) {
        return checkpoints_.savepoints().take_outcome(ticket);
    }
    // Returns a ticket for checkpoint_done().
    std::uint64_t request_checkpoint() { return checkpoints_.request(); }
    bool checkpoint_done(std::uint64_t ticket) const { return checkpoints_.done(ticket); }
    bool checkpoint_skipped(std::uint64_t ticket) const { return checkpoints_.skipped(ticket); }
    // A partition that nobody reads yet: to be read from `begin` (below `until`); `empty`: it holds
    // nothing.
    struct Found {
        std::uint32_t partition = 0;
        model::Offset begin = 0;
        bool empty = false;
        std::optional<model::Offset> until;
    };
    void add_partition(Found found);
    // Other settings take over at a barrier, as soon as there is a place for it; then `reloaded`.
    // The edit must not break state. One at a time: a newer one replaces one that has not begun.
    void request_reload(Reload reload);
    void set_hold(std::string reason);  // input waits for as long as the reason is not empty

    Outcome outcome() const { return outcome_.load(std::memory_order_acquire); }
    model::Error failure() const;  // when failed
    bool last_checkpoint_ok() const { return last_checkpoint_ok_.load(); }

    struct Report {
        std::string waiting;  // what the oldest undertaking waits for; empty: there is none
        bool live = false;    // the replay is over
        model::BarrierNumber number = 0;
        model::EventTime watermark = kNoTime;        // the pipeline's
        std::vector<model::EventTime> acknowledged;  // by reduction
        std::vector<std::uint64_t> open_windows;     // by reduction
        model::DurationMs retention_ms = 0;          // how far back results can be sent again
        std::uint64_t retention_given_up = 0;        // frontiers, because of their bytes
        std::string input_paused_reason;             // empty: input flows
        Checkpoints::Report checkpoints;
    };
    Report report() const;  // Thread: any. A copy.

 private:
    void take_answers();
    bool settle();
    void take_effect(Undertaking& undertaking);

    bool feed_replay();
    void go_live();

    bool reload_due() const;
    bool decide_reload();
    void begin_reload(Undertaking& undertaking);
    bool finish_reload();

    ingest::TimeView time_view() const;
    bool decide_time();
    bool close_what_is_over(bool at_once);
    void take_up_partitions();

    bool decide_checkpoint();
    void issue_seal(model::BarrierKind kind);
    bool take_snapshotter_results();

    bool crowded();
    std::size_t table_bytes() const;
    void apply_pressure();
    bool everything_delivered() const;
    bool begin_drain();
    bool finish_input();
    bool stop_behind_reload();
    bool decide_end();
    std::optional<SavepointRequests::Wanted> stop_savepoint() const;
    void end(Outcome outcome);
    void fail(model::Error error);
    void collect_progress();
    void publish();

    const Parts parts_;
    Options options_;  // until_end turns true with a drain
    ingest::TimeKeeper time_keeper_;
    PipelineProgress progress_;
    BarrierSequence sequence_;
    Checkpoints checkpoints_;

    std::deque<model::Barrier> replay_;  // not yet handed to the workers
    std::size_t replay_under_way_ = 0;
    bool live_ = false;
    bool close_under_way_ = false;
    std::optional<std::int64_t> closed_at_ms_;  // steady clock
    bool crowded_ = false;                      // level 0 of RocksDB, as of then
    std::int64_t crowded_asked_ms_ = 0;

    std::optional<Reload> reload_;            // to be issued, or under way
    bool reloading_ = false;                  // its barrier was issued: the last one of this engine
    model::EventTime reload_over_ = kNoTime;  // event time that was over at the barrier
    std::unique_ptr<Undertaking> reload_seal_;  // took effect; its checkpoint waits for deliveries
    model::BarrierNumber reload_number_ = 0;

    bool stopping_ = false;
    bool last_checkpoint_issued_ = false;
    bool forced_ = false;  // `--until end`: nothing is decided by a clock any more
    std::int64_t stopping_since_ms_ = 0;

    std::atomic<Outcome> outcome_ = Outcome::running;
    std::atomic<bool> stop_requested_ = false;
    std::atomic<bool> last_checkpoint_ok_ = false;
    mutable std::mutex mutex_;
    model::Error failure_;                 // guarded by mutex_
    Report report_;                        // guarded by mutex_; but for `checkpoints`
    std::vector<Found> found_;             // guarded by mutex_
    std::string stop_savepoint_;           // guarded by mutex_
    std::optional<model::Offsets> drain_;  // guarded by mutex_
    std::string hold_;                     // guarded by mutex_
    std::optional<Reload> wanted_reload_;  // guarded by mutex_
};

}  // namespace sluice::daemon
