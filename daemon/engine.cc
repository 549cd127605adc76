#include "daemon/engine.h"

#include <algorithm>
#include <set>

#include "daemon/partition_meta.h"
#include "daemon/sink_handshake.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::daemon {

namespace {

// More partitions than this cannot be found while running; room for them is made once.
constexpr std::size_t kPartitionRoom = 1 << 14;

int exit_code_of(const model::Error& error) {
    switch (error.kind) {
        case model::ErrorKind::corrupt:
            return kExitDamaged;
        case model::ErrorKind::invalid:
            return kExitConfiguration;
        case model::ErrorKind::fenced:
            return kExitFenced;
        case model::ErrorKind::unavailable:
        case model::ErrorKind::exhausted:
        case model::ErrorKind::cancelled:
            break;
    }
    return kExitStateBroken;
}

}  // namespace

Engine::Engine(const config::Pipeline& pipeline, Seams seams, Options options)
    : pipeline_(pipeline),
      seams_(std::move(seams)),
      options_(std::move(options)),
      catalogue_(seams_.disk,
                 state::StatePaths{pipeline.state.directory, pipeline.savepoint.directory}),
      inputs_(seams_.disk, catalogue_.paths().inputs()),
      settings_(pipeline_, seams_.disk, inputs_),
      mark_(seams_.disk, catalogue_.paths()),
      source_(seams_.log, {options_.accept_gap, options_.accept_compacted, options_.say}),
      beginning_{options_.fresh, options_.from} {
    partitions_.reserve(kPartitionRoom);
}

Engine::~Engine() {
    coordinator_.reset();
    completion_.reset();
    workers_.clear();
    emitter_.reset();
    snapshotter_.reset();
    sink_.reset();
    store_.reset();
}

bool Engine::fail(int exit_code, std::string text) {
    failure_ = {exit_code, std::move(text)};
    stage_ = Stage::failed;
    return false;
}

bool Engine::fail_at_disk(const model::Error& error) {
    fail(exit_code_of(error), error.text);
    failure_.no_room = error.kind == model::ErrorKind::exhausted;
    return false;
}

// Rows are checked as they are read, so this is the first that anybody knows of it, and which
// snapshots have the block nobody knows. The mark is the best that can be done: without it the next
// start would take the same damage again.
void Engine::note_damage(const model::Error& error) {
    if (error.kind == model::ErrorKind::corrupt) {
        if (auto marked = catalogue_.distrust(error.text); !marked) {
            options_.say("the damage could not be marked: " + marked.error().text);
        }
    }
}

bool Engine::wait_for(std::string what) {
    waiting_for_ = std::move(what);
    return false;
}

bool Engine::start_step() {
    waiting_for_.clear();
    switch (stage_) {
        case Stage::journal:
            return open_journal();
        case Stage::restore:
            return restore_some();
        case Stage::first:
            return first_checkpoint();
        case Stage::sink:
            return greet_sink();
        case Stage::open:
        case Stage::running:
        case Stage::failed:
            break;
    }
    return false;
}

// ---- journal and restore
// --------------------------------------------------------------------------------------

bool Engine::open_journal() {
    auto opened =
        state::Journal::open(seams_.disk, catalogue_.paths().journal(), {.boot = options_.boot});
    if (!opened) {
        return fail_at_disk(opened.error());
    }
    for (const std::string& repair : opened->repairs) {
        options_.say("journal: " + repair);
    }
    journal_ = std::move(opened->journal);
    if (const auto interrupted = mark_.interrupted()) {
        // The journal may be of the new lineage already, and no snapshot is: only the same start
        // leads out of this.
        if (!beginning_.gives_up()) {
            beginning_ = *interrupted;
            options_.say((beginning_.fresh ? "a fresh start" : "a start from " + beginning_.from) +
                         " was interrupted before its first checkpoint: it begins again");
        }
    } else if (!beginning_.from.empty() && !beginning_.fresh && has_state()) {
        return fail(kExitLocked,
                    pipeline_.state.directory +
                        " has a state of its own; --from gives it up: confirm with --fresh --yes");
    }

    state::RestoreOptions restore;
    restore.store.disk = &seams_.disk;
    restore.store.env = &seams_.rocks_env;
    restore.store.block_cache_bytes =
        std::clamp<std::uint64_t>(pipeline_.state.memory_bytes / 32, 4u << 20, 256u << 20);
    restore.boot = options_.boot;
    restore.pipeline = pipeline_.name;
    restore.verify_full = pipeline_.state.verify_full;
    restore.fresh = beginning_.fresh;
    restore.from = beginning_.from;
    restore.journal_has_entries = journal_->last_number() > 0;
    restore.journal_covers = [this](const state::CheckpointMeta& meta) {
        return journal_covers(meta);
    };
    restore.source_has = [this](const state::CheckpointMeta& meta) { return source_has(meta); };
    restore_ = std::make_unique<state::Restore>(std::move(restore), catalogue_, inputs_);
    stage_ = Stage::restore;
    return true;
}

// A lineage without an entry is none: a start that begins one may have died before its first
// checkpoint.
bool Engine::has_state() {
    const auto snapshots = catalogue_.list();
    const auto entries = journal_->entries_after(0);
    return !snapshots || !snapshots->empty() || !entries || !entries->empty() ||
           seams_.disk.info(catalogue_.paths().initialized());
}

model::Status Engine::journal_covers(const state::CheckpointMeta& meta) const {
    if (meta.lineage != state::to_string(journal_->lineage())) {
        if (journal_->last_number() == 0) {
            return model::invalid("goes with a journal that is gone: the one here is new");
        }
        return model::invalid("belongs to another lineage than the journal");
    }
    if (journal_->last_number() < meta.journal_number) {
        return model::corrupt("the journal ends at barrier " +
                              std::to_string(journal_->last_number()) + ", below the snapshot's " +
                              std::to_string(meta.journal_number));
    }
    if (journal_->has_gap_after(meta.journal_number)) {
        return model::corrupt("the journal has a gap behind barrier " +
                              std::to_string(meta.journal_number));
    }
    // After a start from an older snapshot the same numbers may have gone to other decisions. Then
    // what follows in the journal is not what followed this snapshot.
    TRY(entries, journal_->entries_after(meta.journal_number));
    for (const model::Barrier& next : entries) {
        bool ahead = next.number <= meta.number;
        for (const state::PartitionMeta& partition : meta.partitions) {
            const auto at = next.next_offsets.find(partition.partition);
            ahead |= at != next.next_offsets.end() && at->second < partition.next_offset;
        }
        if (ahead) {
            return model::invalid(
                "was taken on a way that was left: the journal goes on from an older snapshot with "
                "barrier " +
                std::to_string(next.number));
        }
    }
    return {};
}

model::Status Engine::source_has(const state::CheckpointMeta& meta) {
    TRY(settings_.put(meta, restore_->from()));
    std::vector<const state::PartitionMeta*> ours;
    for (const state::PartitionMeta& partition : meta.partitions) {
        if (share_holds(partition.partition)) {
            ours.push_back(&partition);
        }
    }
    return source_.has(ours);
}

bool Engine::restore_some() {
    const auto phase = restore_->step();
    if (!phase) {
        if (!source_.lacks().empty() && options_.until_end) {
            // Waiting brings nothing back.
            return fail(kExitDamaged,
                        source_.lacks() + (ingest::tells_of_a_gap(source_.lacks())
                                               ? "; --accept-gap goes on above what is gone"
                                               : ""));
        }
        if (phase.error().kind == model::ErrorKind::unavailable &&
            restore_->phase() == state::Restore::Phase::verify) {
            return wait_for("kafka: " + phase.error().text);
        }
        return fail_at_disk(phase.error());
    }
    return *phase == state::Restore::Phase::done ? finish_restore() : true;
}

bool Engine::finish_restore() {
    state::Restore::Restored restored = restore_->finish();
    store_ = std::move(restored.store);
    std::uint64_t freed = 0;
    for (const std::string& path : restore_->swept().foreign) {
        options_.say("left alone, it is no snapshot: " + path);
    }
    for (const state::Swept& swept : restore_->swept().removed) {
        options_.say("leftover removed: " + swept.path + ", " + std::to_string(swept.bytes) +
                     " bytes freed");
        freed += swept.bytes;
    }
    if (freed > 0) {
        options_.say("leftovers of an earlier run removed, " + std::to_string(freed) +
                     " bytes freed in all");
    }
    token_ = std::move(restored.token);
    if (!restored.meta) {
        settings_.put_file();
        fresh_start_ = true;
        stage_ = Stage::first;
        return true;
    }
    meta_ = std::move(*restored.meta);
    fill_reductions();
    std::vector<state::PartitionMeta> owned;
    for (state::PartitionMeta& partition : meta_.partitions) {
        if (share_holds(partition.partition)) {
            partitions_.push_back(partition.partition);
            owned.push_back(std::move(partition));
        } else {
            start_.resting.push_back(std::move(partition));
        }
    }
    meta_.partitions = std::move(owned);
    if (!plan_reload()) {
        return false;
    }
    if (auto kept = catalogue_.describe()) {
        kept_ = std::move(*kept);
    }
    from_savepoint_ = !beginning_.from.empty();
    stage_ = from_savepoint_ ? Stage::first : Stage::sink;
    return true;
}

bool Engine::plan_reload() {
    std::vector<model::Barrier> entries;
    if (beginning_.from.empty()) {  // else they are of another lineage
        auto behind = journal_->entries_after(meta_.number);
        if (!behind) {
            return fail(exit_code_of(behind.error()), behind.error().text);
        }
        entries = std::move(*behind);
    }
    auto plan = settings_.plan(std::move(entries), options_.decisions);
    if (!plan) {
        return fail(exit_code_of(plan.error()), plan.error().text);
    }
    start_.replay = std::move(plan->replay);
    start_.reload = std::move(plan->reload);
    reload_planned_ = start_.reload.has_value();
    if (reload_planned_) {
        options_.say("the settings changed: the recorded ones run until the replay is over");
    }
    return true;
}

state::SnapshotterOptions Engine::snapshotter_options() const {
    state::SnapshotterOptions options;
    options.retention = {pipeline_.state.checkpoint_keep, pipeline_.state.checkpoint_max_bytes};
    options.reserve_bytes = pipeline_.state.reserve_bytes;
    for (const std::string& text : journal_->reloads()) {
        if (const auto entry = parse_reload(text)) {
            options.journaled_inputs.insert(entry->inputs);
        }
    }
    return options;
}

// The checkpoint's reductions in the pipeline's order; new ones get numbers.
void Engine::fill_reductions() {
    std::vector<state::ReductionMeta> ordered;
    std::uint32_t greatest = daemon::greatest_number(meta_);
    for (const config::Reduction& reduction : pipeline().reductions) {
        if (const state::ReductionMeta* kept = meta_.reduction(reduction.id)) {
            ordered.push_back(*kept);
            continue;
        }
        ordered.push_back(
            new_reduction(reduction, ++greatest, pipeline_.state.checkpoint_every_ms));
    }
    meta_.reductions = std::move(ordered);
    store_->set_reductions(meta_.reductions);
}

// ---- the first checkpoint
// -------------------------------------------------------------------------------------

bool Engine::share_holds(const model::Partition& partition) const {
    return in_share(pipeline().source, partition.id);
}

model::Result<std::vector<model::Partition>> Engine::listed_partitions(std::int64_t timeout_ms) {
    return source_.listed(pipeline().source, timeout_ms);
}

// Symbolic starts become numbers once, and the numbers are durable before the first poll: a start
// "latest" that was looked up twice would skip what came in between.
bool Engine::first_checkpoint() {
    if (snapshotter_ != nullptr) {
        if (snapshotter_->step()) {
            return true;
        }
        const auto result = snapshotter_->take_result();
        INVARIANT(result, "a job ends with a result");
        snapshotter_.reset();
        if (result->outcome == state::SnapshotResult::Outcome::skipped) {
            return wait_for("disk: " + result->error.text);
        }
        if (result->outcome == state::SnapshotResult::Outcome::unusable) {
            return result->error.kind == model::ErrorKind::exhausted
                       ? fail_at_disk(result->error)
                       : fail(kExitStateBroken, result->error.text);
        }
        if (auto unmarked = mark_.clear(); !unmarked) {
            return fail(kExitStateBroken, unmarked.error().text);
        }
        meta_ = result->meta;
        kept_ = result->kept;
        std::erase_if(meta_.partitions, [&](const state::PartitionMeta& partition) {
            return !share_holds(partition.partition);
        });
        stage_ = Stage::sink;
        return true;
    }
    // A disk that was full for the first checkpoint has room again: the lineage is there already.
    if (journal_->lineage() != options_.lineage && !begin_lineage()) {
        return false;
    }
    snapshotter_ = std::make_unique<state::Snapshotter>(snapshotter_options(), seams_.disk,
                                                        seams_.clock, *store_, catalogue_, inputs_);
    state::SnapshotJob job;
    job.number = meta_.number;
    job.meta = meta_;
    job.meta.partitions.insert(job.meta.partitions.end(), start_.resting.begin(),
                               start_.resting.end());
    job.inputs_text = pipeline().inputs;
    snapshotter_->submit(std::move(job));
    return true;
}

bool Engine::begin_lineage() {
    if (!from_savepoint_ && !resolve_start()) {
        return false;
    }
    // Numbers go on above everything that this directory has seen, so that newest
    // stays newest.
    model::BarrierNumber number = std::max(journal_->last_number(), meta_.number);
    number = std::max(number, greatest_number());
    if (auto marked = mark_.note(beginning_); !marked) {
        return marked.error().kind == model::ErrorKind::exhausted
                   ? wait_for("disk: " + marked.error().text)
                   : fail(kExitStateBroken, marked.error().text);
    }
    if (from_savepoint_) {
        options_.say("a new lineage begins from " + beginning_.from + " (" + meta_.pipeline +
                     ", taken " + meta_.taken +
                     ", every byte compared with its manifest); results "
                     "behind it are written again, final ones as well");
        meta_.origin_lineage = meta_.lineage;
        meta_.origin_number = meta_.number;
    }
    if (auto begun = journal_->start_lineage(options_.lineage, number); !begun) {
        return begun.error().kind == model::ErrorKind::exhausted
                   ? fail_at_disk(begun.error())
                   : fail(kExitStateBroken, begun.error().text);
    }
    SLUICE_FAIL_POINT("begin.lineage");
    meta_.pipeline = pipeline_.name;
    meta_.lineage = state::to_string(options_.lineage);
    meta_.number = number;
    meta_.journal_number = number;
    meta_.reset_sink = beginning_.fresh || from_savepoint_;
    meta_.clock = std::max(meta_.clock, seams_.clock.wall_ms());
    meta_.inputs = state::inputs_hash(pipeline().inputs);
    // What was edited or imported the user has vouched for; from here on it is ours.
    meta_.provenance = state::Provenance::taken;
    return true;
}

bool Engine::resolve_start() {
    auto listed = listed_partitions(ingest::kAskTimeoutMs);
    if (!listed) {
        return wait_for("kafka: " + listed.error().text);
    }
    if (listed->empty()) {
        return wait_for("kafka: the topic has no partition of ours");
    }
    const auto ranges = seams_.log.ranges(*listed, ingest::kAskTimeoutMs);
    if (!ranges) {
        return wait_for("kafka: " + ranges.error().text);
    }
    const auto offsets = source_.start_offsets(pipeline_.source.start, *listed, *ranges);
    if (!offsets) {
        return wait_for("kafka: " + offsets.error().text);
    }
    partitions_ = std::move(*listed);
    partitions_.reserve(kPartitionRoom);
    meta_ = {};
    for (std::size_t i = 0; i < partitions_.size(); ++i) {
        PartitionState state;
        state.partition = static_cast<std::uint32_t>(i);
        state.start_offset = (*offsets)[i];
        state.next_offset = (*offsets)[i];
        state.time = ingest::PartitionTime::begin(
            (*offsets)[i], (*ranges)[i].begin == (*ranges)[i].end, model::kBeforeAll);
        state.reductions.resize(pipeline().reductions.size());
        meta_.partitions.push_back(to_meta(state, partitions_, pipeline()));
    }
    fill_reductions();
    return true;
}

// Of every snapshot that is here, whether this start uses it or not.
model::BarrierNumber Engine::greatest_number() {
    model::BarrierNumber number = 0;
    for (const auto& entries : {catalogue_.list(), catalogue_.list_savepoints()}) {
        if (entries) {
            for (const state::CatalogueEntry& entry : *entries) {
                number = std::max(number, entry.meta ? entry.meta->number : 0);
            }
        }
    }
    return number;
}

// ---- sink
// -----------------------------------------------------------------------------------------------------

bool Engine::greet_sink() {
    if (sink_ == nullptr) {
        sinks::SinkSettings settings;
        settings.pipeline = pipeline_.name;
        for (const config::Reduction& reduction : pipeline().reductions) {
            settings.reductions.push_back(sinks::ReductionOutput::of(reduction));
        }
        settings.owner = options_.owner;
        settings.connections = pipeline_.sink.connections;
        settings.database = pipeline_.sink.database;
        settings.username = pipeline_.sink.username;
        settings.password = options_.redis_password;
        settings.seed = options_.seed;
        sink_ = std::make_unique<sinks::RedisSink>(
            std::move(settings), seams_.redis, seams_.clock,
            [letters = &seams_.dead_letters](const std::string& line) {
                return letters->append(line + "\n").has_value();
            });
        return true;
    }
    const bool moved = sink_->step();
    switch (sink_->phase()) {
        case sinks::SinkPhase::connecting:
        case sinks::SinkPhase::beginning:
            return moved ? true : wait_for("sink: " + sink_->statistics().reason);
        case sinks::SinkPhase::fenced:
            return fail(kExitFenced, sink_->statistics().reason);
        case sinks::SinkPhase::refused:
            return fail(kExitPermission, sink_->statistics().reason);
        case sinks::SinkPhase::running:
            return prepare();
        case sinks::SinkPhase::greeted:
            break;
    }
    if (begun_) {
        return moved;
    }
    auto begin = agree(sink_->handshake(), journal_->last_number(), meta_, options_.say);
    if (!begin) {
        return fail(exit_code_of(begin.error()), begin.error().text);
    }
    begun_ = true;
    sink_->begin(std::move(*begin));
    return true;
}

// Everything that is looked up once, before the first record: the journal behind the checkpoint,
// ends, partitions that are new.
bool Engine::prepare() {
    if (auto whole = source_.not_compacted(); !whole) {
        return wait_for("kafka: " + whole.error().text);
    }
    auto listed = listed_partitions(ingest::kAskTimeoutMs);
    if (!listed) {
        return wait_for("kafka: " + listed.error().text);
    }
    const std::set<model::Partition> known(partitions_.begin(), partitions_.end());
    model::Offsets journaled;  // where each partition stood when it was first named
    for (const model::Barrier& barrier : start_.replay) {
        journaled.insert(barrier.next_offsets.begin(), barrier.next_offsets.end());
    }
    std::vector<model::Partition> added;  // found since the checkpoint
    for (const model::Partition& partition : *listed) {
        if (!known.contains(partition)) {
            added.push_back(partition);
        }
    }
    std::vector<model::Partition> asked = partitions_;
    asked.insert(asked.end(), added.begin(), added.end());
    const auto ranges = seams_.log.ranges(asked, ingest::kAskTimeoutMs);
    if (!ranges) {
        return wait_for("kafka: " + ranges.error().text);
    }
    for (const state::PartitionMeta& partition : meta_.partitions) {
        stored_offsets_.emplace(partition.partition, partition.next_offset);
    }
    gap_accepted_ |= source_.skip_gaps(meta_.partitions, *ranges);
    until_.clear();
    found_.clear();
    const auto until = [&](std::size_t i) {
        return options_.until_end ? std::optional((*ranges)[i].end) : std::nullopt;
    };
    for (std::size_t i = 0; i < partitions_.size(); ++i) {
        until_.push_back(until(i));
    }
    // Those that the journal names were taken up before the crash: the replay reads them in their
    // places. The others come when live time begins.
    for (const bool replayed : {true, false}) {
        for (std::size_t a = 0; a < added.size(); ++a) {
            if (journaled.contains(added[a]) != replayed) {
                continue;
            }
            const ingest::LogRange& range = (*ranges)[known.size() + a];
            const bool empty = range.begin == range.end;
            partitions_.push_back(added[a]);
            const auto number = static_cast<std::uint32_t>(partitions_.size() - 1);
            if (!replayed) {
                found_.push_back({number, range.begin, empty, until(known.size() + a)});
                continue;
            }
            const model::Offset begin = journaled.at(added[a]);
            if (const auto gone = ingest::missing_range(added[a], begin, range); !gone.empty()) {
                return fail(kExitDamaged, gone);
            }
            PartitionState state;
            state.partition = number;
            state.start_offset = begin;
            state.next_offset = begin;
            state.time = ingest::PartitionTime::begin(begin, empty, meta_.cut_floor);
            state.reductions.resize(pipeline().reductions.size());
            meta_.partitions.push_back(to_meta(state, partitions_, pipeline()));
            until_.push_back(until(known.size() + a));
        }
    }
    for (const model::Barrier& barrier : start_.replay) {
        if (barrier.kind == model::BarrierKind::close) {
            meta_.closed = std::max(meta_.closed, barrier.time);
        }
    }
    std::erase_if(start_.replay, [](const model::Barrier& barrier) {
        return barrier.kind == model::BarrierKind::close;  // no worker has a part in it
    });
    start_.meta = meta_;
    start_.journal_end = journal_->last_number();
    start_.kept = kept_;
    start_.greatest_number = greatest_number();
    start_.open_ends.clear();
    for (const state::ReductionMeta& reduction : meta_.reductions) {
        auto ends = store_->windows_after(reduction.number,
                                          reduction.acknowledged.value_or(model::kBeforeAll));
        if (!ends) {
            note_damage(ends.error());
            return fail(kExitStateBroken, ends.error().text);
        }
        start_.open_ends.push_back(std::move(*ends));
    }
    const std::size_t wanted = static_cast<std::size_t>(std::max(options_.workers, 1));
    workers_.resize(std::min(wanted, partitions_.size()));
    paces_ = std::make_unique<ingest::Paces>(workers_.size());
    stage_ = Stage::open;
    return true;
}

// ---- the gate opens
// -------------------------------------------------------------------------------------------

model::Status Engine::open_worker(std::size_t number) {
    INVARIANT(stage_ == Stage::open && token_, "workers are opened behind the gate");
    Worker::Settings settings{
        .number = static_cast<std::uint32_t>(number),
        .pipeline = pipeline(),
        .partitions = partitions_,
        .reduction_numbers = {},
        .closed = {},
        .clock = seams_.clock,
        .paces = *paces_,
        .dead_letters = seams_.dead_letters,
        .answers = answers_,
        .wake_coordinator = options_.wake_coordinator,
        .processing_time = meta_.tick,
        .applied = meta_.number,
    };
    for (const state::ReductionMeta& reduction : meta_.reductions) {
        settings.reduction_numbers.push_back(reduction.number);
        settings.closed.push_back(reduction.closed.value_or(model::kBeforeAll));
    }
    TRY(reader, seams_.log.open_reader(*token_, partitions_));
    workers_[number] = std::make_unique<Worker>(std::move(settings), std::move(reader));
    for (std::size_t i = number; i < meta_.partitions.size(); i += workers_.size()) {
        const auto partition = static_cast<std::uint32_t>(i);
        workers_[number]->own(from_meta(meta_.partitions[i], partition, meta_.cap, pipeline()),
                              i < until_.size() ? until_[i] : std::nullopt);
    }
    return {};
}

void Engine::run() {
    INVARIANT(stage_ == Stage::open, "run() comes after the workers");
    snapshotter_ = std::make_unique<state::Snapshotter>(snapshotter_options(), seams_.disk,
                                                        seams_.clock, *store_, catalogue_, inputs_);
    if (!restore_->from().empty() && !restore_->every_byte()) {
        snapshotter_->verify(restore_->from(), meta_);
    }
    completion_ = std::make_unique<state::Completion>(
        seams_.disk, seams_.clock, catalogue_.paths(),
        state::Completion::Options{pipeline_.savepoint.copy,
                                   pipeline_.savepoint.bytes_per_second.value_or(0),
                                   pipeline_.state.reserve_bytes});
    emitter_ = std::make_unique<Emitter>(pipeline(), *store_, *sink_, meta_);
    Coordinator::Parts parts{
        .pipeline = pipeline(),
        .partitions = partitions_,
        .clock = seams_.clock,
        .journal = *journal_,
        .store = *store_,
        .snapshotter = *snapshotter_,
        .inputs = inputs_,
        .emitter = *emitter_,
        .sink = *sink_,
        .dead_letters = seams_.dead_letters,
        .answers = answers_,
        .savepoint_frozen = [this] { completion_->look(); },
        .workers = {},
        .memory_bytes = pipeline_.state.memory_bytes / 2,
        .closed_bytes = std::min(options_.closed_bytes, pipeline_.state.memory_bytes / 8),
    };
    for (const auto& worker : workers_) {
        parts.workers.push_back(worker.get());
    }
    coordinator_ = std::make_unique<Coordinator>(
        std::move(parts), Coordinator::Options{options_.until_end, options_.keep_open},
        std::move(start_));
    for (const Coordinator::Found& found : found_) {
        coordinator_->add_partition(found);
    }
    if (meta_.kind == state::SnapshotKind::savepoint || gap_accepted_) {
        // A savepoint is the user's, who may take it away: what this run rests on is to be its own.
        // A gap was accepted for this start, and holds for ever.
        coordinator_->request_checkpoint();
    }
    stage_ = Stage::running;
}

model::Result<bool> Engine::fire_step() {
    auto fired = emitter_->step();
    if (!fired) {
        note_damage(fired.error());
    }
    return fired;
}

model::Status Engine::same_log() {
    std::vector<state::PartitionMeta> stand;
    for (const auto& worker : workers_) {
        for (const PartitionProgress& one : worker->progress().partitions) {
            state::PartitionMeta& meta = stand.emplace_back();
            meta.partition = partitions_[one.partition];
            meta.next_offset = one.next_offset;
            if (one.probe_offset >= 0) {
                meta.probe = state::Probe{one.probe_offset, one.probe_hash};
            }
        }
    }
    std::vector<const state::PartitionMeta*> asked;
    for (const state::PartitionMeta& meta : stand) {
        asked.push_back(&meta);
    }
    return SourceCheck(seams_.log, {false, options_.accept_compacted, options_.say}).has(asked);
}

model::Status Engine::look_for_partitions(std::int64_t timeout_ms) {
    TRY(listed, listed_partitions(timeout_ms));
    std::vector<model::Partition> found;
    for (model::Partition& partition : listed) {
        if (std::find(partitions_.begin(), partitions_.end(), partition) == partitions_.end()) {
            found.push_back(std::move(partition));
        }
    }
    if (found.empty()) {
        return {};
    }
    TRY(ranges, seams_.log.ranges(found, timeout_ms));
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (partitions_.size() == kPartitionRoom) {
            return model::exhausted("more than " + std::to_string(kPartitionRoom) + " partitions");
        }
        options_.say(model::to_string(found[i]) + " found, read from offset " +
                     std::to_string(ranges[i].begin));
        partitions_.push_back(found[i]);
        coordinator_->add_partition({static_cast<std::uint32_t>(partitions_.size() - 1),
                                     ranges[i].begin, ranges[i].begin == ranges[i].end,
                                     std::nullopt});
    }
    return {};
}

}  // namespace sluice::daemon
