// One pipeline, from a state directory to running workers, over the four seams: log, disk, Redis'
// transport, clock. Production drives it with threads, tests/simulation with one seeded scheduler;
// neither adds a rule of its own.
//
// Start, one piece per start_step():
//   journal   read, repaired at its tail
//   restore   LOCATE → VERIFY → RESTORE → WARM (state/store/restore.h); Kafka is asked what it
//             still has (source_check.h)
//   first     a directory without state: start offsets are resolved to numbers and kept in a first
//             checkpoint
//   sink      Redis is greeted, its control hash compared with our lineage and journal
//             (sink_handshake.h), the epoch taken
//   open      the gate: only now there is a token, and only with it a reader
// If the file is another one than the state was made with, the recorded inputs run until the replay
// is over; an edit that would break state is refused right behind `restore`, with nothing changed.
// Then open_worker() for each worker, on the thread that will drive it; run(); and everybody steps.
//
// Life:    the seams outlive the engine. Readers die before the log: destroy the engine first.
// Thread:  start_step(), run() and destruction by one thread while no other uses it. Afterwards
// each object by its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/coordinator.h"
#include "daemon/emitter.h"
#include "daemon/exit_code.h"
#include "daemon/lineage_mark.h"
#include "daemon/settings_in_force.h"
#include "daemon/source_check.h"
#include "daemon/worker.h"
#include "ingest/dead_letter.h"
#include "ingest/log.h"
#include "sinks/redis_sink.h"
#include "state/io/disk.h"
#include "state/io/journal.h"
#include "state/model/clock.h"
#include "state/store/catalogue.h"
#include "state/store/completion.h"
#include "state/store/inputs.h"
#include "state/store/restore.h"
#include "state/store/snapshotter.h"
#include "state/store/store.h"

namespace sluice::daemon {

class Engine {
 public:
    struct Seams {
        ingest::Log& log;
        state::Disk& disk;
        rocksdb::Env& rocks_env;
        sinks::TransportFactory redis;
        const model::Clock& clock;
        ingest::DeadLetters& dead_letters;
    };
    struct Options {
        bool fresh = false;
        std::string from;  // begin a new lineage from this savepoint; absolute; empty: none
        bool until_end = false;
        bool keep_open = false;
        bool accept_gap = false;                // go on above offsets that are gone
        bool accept_compacted = false;          // records may be missing anywhere
        config::Decisions decisions;            // what an edit of the file may do to the state
        std::string boot;                       // unique to this start; of [a-z0-9]
        state::Lineage lineage{};               // random, in case that one begins
        std::string owner;                      // for the fence; no blanks
        std::uint64_t seed = 0;                 // of back-off jitter
        int workers = 1;                        // at most one per partition
        std::uint64_t closed_bytes = 48 << 20;  // tables of closed slices that wait for a seal
        std::function<model::Result<std::string>()> redis_password;
        std::function<void()> wake_coordinator = [] {};
        std::function<void(const std::string&)> say = [](const std::string&) {
        };  // one line for the log
    };

    enum class Stage : std::uint8_t { journal, restore, first, sink, open, running, failed };
    struct Failure {
        int exit_code = kExitInvariant;
        std::string text;
        bool no_room =
            false;  // of the disk, and nothing was begun that a new start does not repeat
    };

    // `pipeline` is the current file; it outlives the engine. What runs is what the state was made
    // with, see pipeline(), until the journal's last barrier is passed; then, if they differ, the
    // coordinator's outcome is `reloaded`, and the next engine goes on with the current file.
    Engine(const config::Pipeline& pipeline, Seams seams, Options options);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Goes on by one piece. False: somebody outside has to move first (Kafka or Redis does not
    // answer: waiting_for()), or it is over.
    bool start_step();
    Stage stage() const { return stage_; }
    const Failure& failure() const { return failure_; }
    // What the start waits for: condition and reason. Empty: it moves.
    const std::string& waiting_for() const { return waiting_for_; }

    // Stage `open`.
    std::size_t worker_count() const { return workers_.size(); }
    model::Status open_worker(std::size_t number);  // Thread: the worker's.
    void run();                                     // when all workers are open

    // Fires what is allowed. False: nothing to do. Errors: the live state cannot be read (74); a
    // damaged block makes the next start read every byte. Thread: fire.
    model::Result<bool> fire_step();

    Worker& worker(std::size_t number) { return *workers_[number]; }
    Coordinator& coordinator() { return *coordinator_; }
    Emitter& emitter() { return *emitter_; }
    sinks::RedisSink& sink() { return *sink_; }  // from stage `sink` on
    state::Snapshotter& snapshotter() { return *snapshotter_; }
    state::Completion& completion() { return *completion_; }  // from stage `running` on
    state::Store& store() { return *store_; }
    const state::Restore* restore() const { return restore_.get(); }

    // Looks for partitions that are not read yet and takes them up. Blocks. Thread: any one.
    model::Status look_for_partitions(std::int64_t timeout_ms);
    // Whether the log is still the one that was read, as far as its records tell. Blocks. Errors:
    // unavailable, with what is missing or different. Thread: any one.
    model::Status same_log();

    // The settings in force: the recorded inputs, and addresses, memory and so on of the current
    // file. From the stage behind `restore` on.
    const config::Pipeline& pipeline() const { return settings_.pipeline(); }

    const std::vector<model::Partition>& partitions() const { return partitions_; }
    const state::CheckpointMeta& restored() const { return meta_; }
    // Of its partitions, as the snapshot has them: below restored() where a gap was accepted, until
    // a checkpoint holds that.
    const model::Offsets& stored_offsets() const { return stored_offsets_; }
    // The snapshots that are there when the run begins, newest first. From stage `sink` on.
    const std::vector<state::CheckpointSummary>& kept() const { return kept_; }
    bool fresh_start() const { return fresh_start_; }
    // This run ends with a reload that was decided at its start. From the stage behind `restore`
    // on.
    bool reload_planned() const { return reload_planned_; }
    bool share_holds(const model::Partition& partition) const;

 private:
    bool open_journal();
    bool restore_some();
    bool first_checkpoint();
    bool begin_lineage();
    bool resolve_start();
    bool has_state();
    model::BarrierNumber greatest_number();
    bool greet_sink();
    bool prepare();
    bool fail(int exit_code, std::string text);
    bool fail_at_disk(const model::Error& error);
    void note_damage(const model::Error& error);
    bool wait_for(std::string what);
    model::Status journal_covers(const state::CheckpointMeta& meta) const;
    model::Status source_has(const state::CheckpointMeta& meta);
    model::Result<std::vector<model::Partition>> listed_partitions(std::int64_t timeout_ms);
    void fill_reductions();
    bool plan_reload();
    state::SnapshotterOptions snapshotter_options() const;
    bool finish_restore();

    const config::Pipeline& pipeline_;  // the current file
    const Seams seams_;
    const Options options_;

    Stage stage_ = Stage::journal;
    Failure failure_;
    std::string waiting_for_;

    state::Catalogue catalogue_;
    state::Inputs inputs_;
    SettingsInForce settings_;
    LineageMark mark_;
    SourceCheck source_;
    LineageMark::Beginning beginning_;  // as asked for, or that of a start that was interrupted
    std::unique_ptr<state::Journal> journal_;
    std::unique_ptr<state::Restore> restore_;
    std::optional<model::RestoreToken> token_;
    std::unique_ptr<state::Store> store_;
    state::CheckpointMeta meta_;
    bool gap_accepted_ = false;
    model::Offsets stored_offsets_;
    bool fresh_start_ = false;
    bool reload_planned_ = false;
    std::vector<state::CheckpointSummary> kept_;
    bool from_savepoint_ = false;  // a new lineage begins from what was restored
    std::vector<std::optional<model::Offset>> until_;  // by partition

    std::vector<Coordinator::Found> found_;  // to be taken up when live time begins
    StartingPoint start_;

    std::vector<model::Partition> partitions_;  // by number; reserved once, so elements never move
    std::unique_ptr<sinks::RedisSink> sink_;
    bool begun_ = false;
    std::unique_ptr<state::Snapshotter> snapshotter_;
    std::unique_ptr<state::Completion> completion_;
    Mailbox<Answer> answers_;
    std::unique_ptr<Emitter> emitter_;
    std::unique_ptr<ingest::Paces> paces_;  // of the workers
    std::vector<std::unique_ptr<Worker>> workers_;
    std::unique_ptr<Coordinator> coordinator_;
};

}  // namespace sluice::daemon
