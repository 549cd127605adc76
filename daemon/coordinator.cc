#include "daemon/coordinator.h"

#include <algorithm>

#include "daemon/partition_meta.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"
#include "state/store/inputs.h"

namespace sluice::daemon {

namespace {

// How many entries of the journal the workers know ahead. A checkpoint during a replay is put
// behind the next one after them.
constexpr std::size_t kReplayAhead = 16;
constexpr std::int64_t kStopPatienceMs = 5000;
// A close is a sync of the journal. Where event time runs faster than the clock, because a backlog
// is read, several windows share one.
constexpr std::int64_t kCloseEveryMs = 50;
constexpr std::int64_t kCrowdedEveryMs = 10;

}  // namespace

std::int64_t effective_interval_ms(std::int64_t every_ms, std::uint64_t cpu_ns) {
    const auto cost = static_cast<std::int64_t>(std::min<std::uint64_t>(
        4 * (cpu_ns / 1'000'000), static_cast<std::uint64_t>(10 * every_ms)));
    return std::max(every_ms, cost);
}

// Something that every worker was asked for. Takes effect in the order of issue.
struct Coordinator::Undertaking {
    Order order;
    std::size_t unanswered = 0;
    bool checkpoint = false;                   // else, for seals: a spill
    bool last = false;                         // the checkpoint of an orderly stop
    std::optional<WantedSavepoint> savepoint;  // instead of a checkpoint
    model::BarrierNumber tag = 0;              // the greatest of its tables
    std::vector<std::pair<std::uint32_t, model::Offset>> next_offsets;
    std::vector<PartitionState> partitions;
    std::vector<model::ValueErrors> errors;
    model::EventTime incomplete_before = kNoTime;
    std::int64_t pause_ns = 0;
    // Read before the seal was asked for: a window that is acknowledged while the seal is under way
    // may have rows behind it.
    std::vector<model::EventTime> frontiers;

    bool journaled() const {
        return (order.kind == Order::Kind::barrier && model::journaled(order.barrier.kind)) ||
               (order.kind == Order::Kind::close && order.barrier.number != 0);
    }
    bool seals() const {
        return order.seal_after || order.kind == Order::Kind::spill ||
               (order.kind == Order::Kind::barrier && !model::journaled(order.barrier.kind));
    }
};

// When which frontier of a reduction was acknowledged: rows stay for the result retention after
// that.
struct Coordinator::Retained {
    struct Acknowledged {
        model::EventTime frontier;
        model::EventTime at;      // wall clock
        std::uint64_t bytes = 0;  // of what it covers beyond the one before, as last measured
    };
    std::deque<Acknowledged> history;  // ascending
    model::EventTime noted = kNoTime;
    model::EventTime dropped = kNoTime;

    void expire(model::EventTime up_to) {
        dropped = std::max(dropped, up_to);
        while (!history.empty() && history.front().frontier <= dropped) {
            history.pop_front();
        }
    }
};

Coordinator::Coordinator(Parts parts, Options options, StartingPoint start)
    : parts_(std::move(parts)),
      options_(options),
      meta_(std::move(start.meta)),
      time_keeper_(parts_.pipeline, parts_.clock,
                   {meta_.clock, meta_.tick, meta_.cut_floor, meta_.cap}),
      resting_(std::move(start.resting)),
      reload_(std::move(start.reload)) {
    const std::size_t reductions = parts_.pipeline.reductions.size();
    INVARIANT(meta_.reductions.size() == reductions && start.open_ends.size() == reductions,
              "the checkpoint's reductions are the pipeline's");
    number_ = std::max({meta_.number, start.journal_end, start.greatest_number});
    journaled_ = start.journal_end;
    for (model::Barrier& barrier : start.replay) {
        replay_.push_back(std::move(barrier));
    }
    owned_ = meta_.partitions.size();
    open_ends_.resize(reductions);
    retained_.resize(reductions);
    for (std::size_t r = 0; r < reductions; ++r) {
        open_ends_[r].insert(start.open_ends[r].begin(), start.open_ends[r].end());
        retained_[r].dropped = meta_.reductions[r].dropped.value_or(kNoTime);
    }
    for (state::CheckpointSummary& kept : start.kept) {
        report_.kept.push_back({std::move(kept), 0});
    }
    checkpoint_begun_ms_ = parts_.clock.steady_ms();
    checkpoint_interval_ms_ = report_.checkpoint_interval_ms =
        parts_.pipeline.state.checkpoint_every_ms;
    collect_progress();
    // What was over before the checkpoint: not acknowledged in it, or wanted again because Redis
    // lost it.
    Allowance allowance;
    allowance.barrier = journaled_;
    allowance.processing_time = meta_.tick;
    if (const model::EventTime over = least_watermark(); over != model::kAfterAll) {
        allowance.event_time = over;
    }
    allowance.incomplete_before = incomplete_before(meta_);
    parts_.emitter.allow(allowance);
    publish();
}

Coordinator::~Coordinator() = default;

bool Coordinator::step() {
    if (outcome() != Outcome::running) {
        return false;
    }
    take_answers();
    bool busy = settle();
    busy |= take_snapshotter_result();
    if (outcome() != Outcome::running) {
        return true;
    }
    collect_progress();
    note_acknowledged();
    apply_pressure();
    busy |= feed_replay();
    busy |= decide_reload();
    if (live_ && !reloading_) {
        take_up_partitions();
        busy |= decide_time();
    }
    if (!reloading_) {
        busy |= close_what_is_over(forced_);
    }
    if (!reload_seal_) {
        busy |= decide_checkpoint();
    }
    busy |= decide_end();
    publish();
    return busy;
}

// ---- undertakings
// ---------------------------------------------------------------------------------------------

Coordinator::Undertaking& Coordinator::undertake(Order order) {
    order.ticket = ++tickets_;
    auto undertaking = std::make_unique<Undertaking>();
    undertaking->order = order;
    undertaking->unanswered = parts_.workers.size();
    undertakings_.push_back(std::move(undertaking));
    for (Worker* worker : parts_.workers) {
        worker->put(order);
        worker->wake();
    }
    return *undertakings_.back();
}

Coordinator::Undertaking& Coordinator::issue(model::Barrier barrier) {
    Order order;
    order.kind = Order::Kind::barrier;
    order.barrier = std::move(barrier);
    order.barrier.number = ++number_;
    return undertake(std::move(order));
}

void Coordinator::take_answers() {
    while (auto answer = parts_.answers.take()) {
        const auto found =
            std::find_if(undertakings_.begin(), undertakings_.end(),
                         [&](const auto& u) { return u->order.ticket == answer->ticket; });
        INVARIANT(found != undertakings_.end() && (*found)->unanswered > 0,
                  "an answer belongs to one undertaking");
        Undertaking& undertaking = **found;
        --undertaking.unanswered;
        for (const state::SealedSlice& sealed : answer->tables) {
            open_ends_[index_of(meta_, sealed.reduction)].insert(sealed.slice.end);
        }
        if (!answer->tables.empty()) {
            undertaking.tag = std::max(undertaking.tag, answer->tag);
            parts_.store.add_tables(answer->tag, std::move(answer->tables));
        }
        undertaking.next_offsets.insert(undertaking.next_offsets.end(),
                                        answer->next_offsets.begin(), answer->next_offsets.end());
        for (PartitionState& partition : answer->partitions) {
            undertaking.partitions.push_back(std::move(partition));
        }
        undertaking.incomplete_before =
            std::max(undertaking.incomplete_before, answer->incomplete_before);
        undertaking.pause_ns = std::max(undertaking.pause_ns, answer->pause_ns);
        if (undertaking.errors.size() < answer->errors.size()) {
            undertaking.errors.resize(answer->errors.size());
        }
        for (std::size_t i = 0; i < answer->errors.size(); ++i) {
            undertaking.errors[i] += answer->errors[i];
        }
    }
}

bool Coordinator::settle() {
    // A spill of a replay decides nothing and rests on nothing: it need not wait for the entries
    // before it, which may wait for the memory that it makes.
    for (auto at = undertakings_.begin(); at != undertakings_.end(); ++at) {
        if ((*at)->order.kind == Order::Kind::spill && (*at)->unanswered == 0) {
            if ((*at)->tag == 0) {
                seal_under_way_ = false;  // the tables had just been handed over otherwise
            } else {
                hand_to_snapshotter(**at);
            }
            undertakings_.erase(at);
            return true;
        }
    }
    std::size_t complete = 0;
    std::vector<model::Barrier> entries;
    while (complete < undertakings_.size() && undertakings_[complete]->unanswered == 0) {
        Undertaking& undertaking = *undertakings_[complete];
        if (undertaking.order.kind == Order::Kind::barrier) {
            for (const auto& [partition, offset] : undertaking.next_offsets) {
                undertaking.order.barrier.next_offsets[parts_.partitions[partition]] = offset;
            }
        }
        if (undertaking.journaled()) {
            entries.push_back(undertaking.order.barrier);
        }
        ++complete;
    }
    if (complete == 0) {
        return false;
    }
    // Everything that takes effect below rests on these numbers; they are durable first.
    if (!entries.empty()) {
        if (auto written = parts_.journal.append(entries); !written) {
            fail(written.error());
            return true;
        }
    }
    for (std::size_t i = 0; i < complete; ++i) {
        const std::unique_ptr<Undertaking> undertaking = std::move(undertakings_.front());
        undertakings_.pop_front();
        take_effect(*undertaking);
    }
    return true;
}

void Coordinator::take_effect(Undertaking& undertaking) {
    const Order& order = undertaking.order;
    const model::Barrier& barrier = order.barrier;
    Allowance allowance;
    allowance.incomplete_before = undertaking.incomplete_before;
    switch (order.kind) {
        case Order::Kind::assign:
        case Order::Kind::drain:
        case Order::Kind::replay_over:
            return;
        case Order::Kind::spill:
            INVARIANT(false, "a spill of a replay does not wait for its turn");
        case Order::Kind::close:
            close_under_way_ = false;
            closed_tag_ = std::max(closed_tag_, undertaking.tag);
            meta_.closed = std::max(meta_.closed, order.time);
            journaled_ = std::max(journaled_, barrier.number);
            for (std::size_t r = 0; r < open_ends_.size(); ++r) {
                const config::Reduction& reduction = parts_.pipeline.reductions[r];
                if (reduction.time == config::TimeKind::event) {
                    auto& ends = open_ends_[r];
                    ends.erase(ends.begin(), ends.upper_bound(model::saturating_add(
                                                 order.time, -reduction.allowed_lateness_ms)));
                }
            }
            allowance.event_time = order.time;
            break;
        case Order::Kind::barrier:
        case Order::Kind::replayed:
            if (order.kind == Order::Kind::replayed) {
                --replay_under_way_;
            }
            if (model::journaled(barrier.kind)) {
                journaled_ = std::max(journaled_, barrier.number);
            }
            if (barrier.kind == model::BarrierKind::cut) {
                meta_.cut_floor = std::max(meta_.cut_floor, barrier.time);
            } else if (barrier.kind == model::BarrierKind::cap) {
                meta_.cap = barrier.time;
            } else if (barrier.kind == model::BarrierKind::tick) {
                meta_.tick = barrier.time;
                allowance.processing_time = barrier.time;
                for (std::size_t r = 0; r < open_ends_.size(); ++r) {
                    if (parts_.pipeline.reductions[r].time == config::TimeKind::processing) {
                        open_ends_[r].erase(open_ends_[r].begin(),
                                            open_ends_[r].upper_bound(barrier.time));
                    }
                }
            }
            meta_.clock = std::max(meta_.clock, barrier.clock);
            if (barrier.kind == model::BarrierKind::reload) {
                begin_reload(undertaking);
                return;
            }
            if (undertaking.seals()) {
                hand_to_snapshotter(undertaking);
            }
            break;
    }
    if (allowance.event_time != kNoTime || allowance.processing_time != kNoTime) {
        allowance.barrier = journaled_;
        parts_.emitter.allow(allowance);
    }
}

// ---- replay
// ---------------------------------------------------------------------------------------------------

bool Coordinator::feed_replay() {
    if (live_) {
        return false;
    }
    bool busy = false;
    while (!replay_.empty() && replay_under_way_ < kReplayAhead) {
        const bool reload = replay_.front().kind == model::BarrierKind::reload;
        Order order;
        order.kind = Order::Kind::replayed;
        order.barrier = std::move(replay_.front());
        replay_.pop_front();
        time_keeper_.replayed(order.barrier);
        // No worker knows this entry yet, so none has passed it: the place for a checkpoint, if one
        // is due.
        std::optional<WantedSavepoint> savepoint;
        if (!seal_under_way_ && !reload) {
            savepoint = next_savepoint();
        }
        order.seal_after = reload || ((checkpoint_wanted_ || savepoint) && !seal_under_way_);
        reloading_ = reload;  // the last entry; what it seals waits for finish_reload()
        ++replay_under_way_;
        std::vector<model::EventTime> frontiers;
        if (order.seal_after && !reload) {
            frontiers = acknowledged();
            if (savepoint) {
                seal_under_way_ = true;
            } else {
                begin_checkpoint();
            }
        }
        Undertaking& undertaking = undertake(std::move(order));
        undertaking.checkpoint = undertaking.order.seal_after;
        undertaking.savepoint = std::move(savepoint);
        undertaking.frontiers = std::move(frontiers);
        busy = true;
    }
    if (replay_.empty() && replay_under_way_ == 0 && !reloading_ && !reload_due()) {
        go_live();
        busy = true;
    }
    return busy;
}

// ---- reload
// ---------------------------------------------------------------------------------------------------

void Coordinator::request_reload(Reload reload) {
    std::lock_guard lock(mutex_);
    wanted_reload_ = std::move(reload);
}

// Results of event time rest on records beyond the last barrier of the journal. What an earlier run
// closed is final: the records in it are folded under the old settings once more. Where there are
// none, nothing at all is read before the reload; where the log has lost some of them, it is read
// to its end, and what that run closed is over without them.
bool Coordinator::reload_due() const {
    return reload_ &&
           (meta_.closed == kNoTime || least_watermark() >= meta_.closed || everything_read());
}

// Each partition was at its end in this run: whatever an earlier one had read, this one has, if it
// is still there.
bool Coordinator::everything_read() const {
    std::size_t seen = 0;
    for (const WorkerProgress& worker : progress_) {
        for (const PartitionProgress& partition : worker.partitions) {
            if (!partition.end_seen && !worker.until_end_reached) {
                return false;
            }
            ++seen;
        }
    }
    return live_ && seen > 0 && seen == owned_;
}

// Issues the barrier when it is due and nothing else is sealed; afterwards sees the reload through.
bool Coordinator::decide_reload() {
    if (reloading_) {
        return finish_reload();
    }
    if (live_ && !stopping_ && !forced_) {  // an end that has begun goes first, and is the last
        std::lock_guard lock(mutex_);
        if (!savepoints_wanted_.empty()) {
            return false;  // asked for before: they are of the old settings
        }
        if (wanted_reload_) {
            reload_ = std::exchange(wanted_reload_, std::nullopt);
        }
    }
    const bool placed = live_ || (replay_.empty() && replay_under_way_ == 0);
    if (!placed || !reload_due() || stopping_ || forced_ || seal_under_way_ ||
        parts_.clock.steady_ms() < checkpoint_earliest_ms_) {
        return false;
    }
    // The entry names the inputs: they are durable before it. Nobody else uses them now.
    auto kept = parts_.inputs.keep(reload_->pipeline->inputs);
    if (!kept) {
        checkpoint_earliest_ms_ = parts_.clock.steady_ms() + 1000;
        std::lock_guard lock(mutex_);
        report_.checkpoint_problem = kept.error().text;
        return false;
    }
    reloading_ = true;
    Order order;
    order.kind = Order::Kind::barrier;
    order.seal_after = true;
    order.barrier.kind = model::BarrierKind::reload;
    order.barrier.number = ++number_;
    order.barrier.clock = time_keeper_.next_clock();
    order.barrier.reload = to_text({*kept, reload_->decisions});
    undertake(std::move(order)).checkpoint = true;
    return true;
}

// The barrier is durable and every worker stands behind it. What is over is a matter of their
// offsets alone, and so is what is still written under the old settings.
void Coordinator::begin_reload(Undertaking& undertaking) {
    SLUICE_FAIL_POINT("reload.journaled");
    collect_progress();
    reload_over_ = std::max(least_watermark(), meta_.closed);
    reload_number_ = undertaking.order.barrier.number;
    Allowance allowance;
    allowance.event_time = reload_over_ == model::kAfterAll ? kNoTime : reload_over_;
    allowance.barrier = journaled_;
    allowance.incomplete_before = undertaking.incomplete_before;
    if (allowance.event_time != kNoTime) {
        meta_.closed = std::max(meta_.closed, allowance.event_time);
        parts_.emitter.allow(allowance);
    }
    reload_seal_ = std::make_unique<Undertaking>(std::move(undertaking));
}

bool Coordinator::finish_reload() {
    if (!reload_seal_ || seal_under_way_ || !everything_delivered() ||
        parts_.clock.steady_ms() < checkpoint_earliest_ms_) {
        return false;
    }
    // No worker has rows behind the barrier: a window that is acknowledged by now has all of its
    // rows before it.
    SLUICE_FAIL_POINT("reload.delivered");
    begin_checkpoint();
    reload_seal_->frontiers = acknowledged();
    hand_to_snapshotter(*reload_seal_);
    return true;
}

void Coordinator::go_live() {
    live_ = true;
    // Until now every partition was held at the last journaled offsets. What follows is decided
    // anew, before the first record: the guard and the window of processing time that is open now.
    decide_time();
    Order order;
    order.kind = Order::Kind::replay_over;
    undertake(std::move(order));
}

// ---- time
// -----------------------------------------------------------------------------------------------------

model::EventTime Coordinator::least_watermark() const {
    model::EventTime least = model::kAfterAll;
    std::size_t seen = 0;
    for (const WorkerProgress& worker : progress_) {
        for (const PartitionProgress& partition : worker.partitions) {
            least = std::min(least, partition.watermark);
            ++seen;
        }
    }
    // One that was assigned and has not reported yet could be anywhere.
    return seen == 0 || seen < owned_ ? kNoTime : least;
}

ingest::TimeView Coordinator::time_view() const {
    ingest::TimeView view;
    // Until a worker has applied it, an idle barrier is known here only: without it, the same would
    // be decided again with every step.
    std::set<model::Partition> told_idle;
    for (const auto& undertaking : undertakings_) {
        if (undertaking->order.kind == Order::Kind::barrier) {
            const auto& idle = undertaking->order.barrier.idle;
            told_idle.insert(idle.begin(), idle.end());
        }
    }
    for (const WorkerProgress& worker : progress_) {
        view.cap_wanted |= worker.wants_cap;
        for (const PartitionProgress& partition : worker.partitions) {
            ingest::PartitionView seen;
            seen.partition = parts_.partitions[partition.partition];
            seen.watermark = partition.watermark;
            seen.greatest = partition.greatest_timestamp;
            // What the journal says of an earlier run holds until the partition has a record. That
            // run may have read one, and sent results that rest on it: no cut may come before this
            // one has looked.
            seen.idle =
                (partition.idle && partition.end_seen) || told_idle.contains(seen.partition);
            seen.quiet_since_ms = partition.quiet_since_ms;
            seen.last_arrival_ms = partition.last_arrival_ms;
            view.partitions.push_back(std::move(seen));
        }
    }
    view.open.resize(open_ends_.size());
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        ingest::OpenWindows& open = view.open[r];
        for (const WorkerProgress& worker : progress_) {
            if (worker.first_end[r] != model::kAfterAll) {
                open.first_end = std::min(open.first_end, worker.first_end[r]);
                open.last_end = std::max(open.last_end, worker.last_end[r]);
            }
        }
        if (!open_ends_[r].empty()) {
            open.first_end = std::min(open.first_end, *open_ends_[r].begin());
            open.last_end = std::max(open.last_end, *open_ends_[r].rbegin());
        }
    }
    return view;
}

bool Coordinator::decide_time() {
    if (stopping_ || forced_) {
        return false;
    }
    bool issued = false;
    for (model::Barrier& barrier : time_keeper_.decide(time_view())) {
        issue(std::move(barrier));
        issued = true;
    }
    return issued;
}

bool Coordinator::close_what_is_over(bool at_once) {
    if (close_under_way_ || stopping_) {
        return false;
    }
    const std::int64_t now = parts_.clock.steady_ms();
    if (live_ && !at_once && closed_at_ms_ && now - *closed_at_ms_ < kCloseEveryMs) {
        return false;
    }
    const model::EventTime over = least_watermark();
    if (over == kNoTime || over == model::kAfterAll) {
        return false;
    }
    const ingest::TimeView view = time_view();
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        const config::Reduction& reduction = parts_.pipeline.reductions[r];
        if (reduction.time == config::TimeKind::event && view.open[r].any() &&
            model::saturating_add(view.open[r].first_end, reduction.allowed_lateness_ms) <= over) {
            if (live_ && std::any_of(progress_.begin(), progress_.end(),
                                     [](const auto& worker) { return worker.guarded; })) {
                // A record above the guard was folded and moved nothing. After a crash it would be
                // judged by a newer guard: what follows must not rest on that, so the place is
                // written down first. In a replay it is: an entry lies behind every record.
                model::Barrier barrier;
                barrier.kind = model::BarrierKind::cap;
                barrier.time = time_keeper_.state().cap;
                barrier.clock = time_keeper_.next_clock();
                issue(std::move(barrier));
            }
            close_under_way_ = true;
            closed_at_ms_ = now;
            Order order;
            order.kind = Order::Kind::close;
            order.time = over;
            if (over > meta_.closed) {
                order.barrier.kind = model::BarrierKind::close;
                order.barrier.number = ++number_;
                order.barrier.time = over;
                order.barrier.clock = time_keeper_.next_clock();
            }
            undertake(std::move(order));
            return true;
        }
    }
    return false;
}

// A partition found while the daemon runs. It is read from its beginning, behind a cut that carries
// the pipeline's watermark, so old records in it are late. The order comes before the cut, and the
// worker holds the partition until it has applied the cut: so the entry in the journal names the
// partition and where it begins. Without that, a restart would take it up a second time, behind
// another cut, after results that rest on the first.
void Coordinator::take_up_partitions() {
    std::vector<Found> found;
    {
        std::lock_guard lock(mutex_);
        found.swap(found_);
    }
    if (found.empty() || stopping_ || forced_) {
        return;
    }
    ingest::TimeView view = time_view();
    if (time_keeper_.watermark(view) < meta_.closed && !everything_read()) {
        // Results have left without these partitions, perhaps in an earlier run; until the
        // watermark is past them, a record of theirs could still fall into such a window. Where
        // the log has lost what carried the watermark, waiting for it would be for ever.
        std::lock_guard lock(mutex_);
        found_.insert(found_.begin(), found.begin(), found.end());
        return;
    }
    for (const Found& one : found) {
        Order order;
        order.kind = Order::Kind::assign;
        order.partition = one.partition;
        order.next_offset = one.begin;
        order.empty = one.empty;
        order.until = one.until;
        order.time = time_keeper_.state().floor;
        order.worker = static_cast<std::uint32_t>(one.partition % parts_.workers.size());
        undertake(std::move(order));
    }
    view.take_up = true;
    auto barriers = time_keeper_.decide(view);
    if (barriers.empty()) {  // no watermark to carry: a cut that raises nothing
        model::Barrier barrier;
        barrier.kind = model::BarrierKind::cut;
        barrier.time = time_keeper_.state().floor;
        barrier.clock = time_keeper_.next_clock();
        barriers.push_back(std::move(barrier));
    }
    for (model::Barrier& barrier : barriers) {
        issue(std::move(barrier));
    }
    owned_ += found.size();
}

void Coordinator::add_partition(Found found) {
    std::lock_guard lock(mutex_);
    found_.push_back(found);
}

// ---- checkpoints
// ----------------------------------------------------------------------------------------------

bool Coordinator::decide_checkpoint() {
    const std::int64_t now = parts_.clock.steady_ms();
    if (checkpoints_requested_.load() > checkpoints_begun_ ||
        now - checkpoint_begun_ms_ >= checkpoint_interval_ms_) {
        checkpoint_wanted_ = true;
    }
    if (seal_under_way_ || stopping_ || forced_) {
        return false;
    }
    if (!live_) {
        // In a replay feed_replay() places the checkpoints. A spill may be anywhere: it is no place
        // to start again from, and no worker has reached a barrier that is still to be sealed.
        if (table_bytes() > parts_.memory_bytes / 2) {
            seal_under_way_ = true;
            Order order;
            order.kind = Order::Kind::spill;
            std::vector<model::EventTime> frontiers = acknowledged();
            undertake(std::move(order)).frontiers = std::move(frontiers);
            return true;
        }
        return false;
    }
    if (reloading_) {
        return false;  // no barrier comes behind that of a reload
    }
    if (auto savepoint = next_savepoint()) {
        seal(model::BarrierKind::seal, false, std::move(savepoint));
        return true;
    }
    if (checkpoint_wanted_ && now >= checkpoint_earliest_ms_) {
        seal(model::BarrierKind::seal, false);
        return true;
    }
    if (table_bytes() > parts_.memory_bytes / 2) {
        seal(model::BarrierKind::spill, false);
        return true;
    }
    if (closed_tag_ != 0 && parts_.store.table_bytes() > parts_.closed_bytes) {
        spill_closed();
        return true;
    }
    return false;
}

// No record can reach a closed slice, and it is sealed with the next checkpoint at the latest:
// while a backlog is read, it need not take memory until then. No worker has a part in it.
void Coordinator::spill_closed() {
    seal_under_way_ = true;
    Undertaking undertaking;
    undertaking.order.kind = Order::Kind::spill;
    undertaking.tag = std::max(closed_tag_, last_run_);
    undertaking.frontiers = acknowledged();
    hand_to_snapshotter(undertaking);
}

std::size_t Coordinator::table_bytes() const {
    std::size_t bytes = parts_.store.table_bytes();
    for (const WorkerProgress& worker : progress_) {
        bytes += worker.table_bytes;
    }
    return bytes;
}

void Coordinator::begin_checkpoint() {
    seal_under_way_ = true;
    checkpoint_wanted_ = false;
    checkpoint_begun_ms_ = parts_.clock.steady_ms();
    checkpoints_begun_ = checkpoints_requested_.load();
}

void Coordinator::seal(model::BarrierKind kind, bool last,
                       std::optional<WantedSavepoint> savepoint) {
    const bool checkpoint = kind == model::BarrierKind::seal;
    std::vector<model::EventTime> frontiers = acknowledged();
    if (checkpoint && !savepoint) {
        begin_checkpoint();
    } else {
        seal_under_way_ = true;
    }
    model::Barrier barrier;
    barrier.kind = kind;
    barrier.clock = time_keeper_.next_clock();
    Undertaking& undertaking = issue(std::move(barrier));
    undertaking.checkpoint = checkpoint;
    undertaking.last = last;
    undertaking.savepoint = std::move(savepoint);
    undertaking.frontiers = std::move(frontiers);
}

// ---- savepoints
// -----------------------------------------------------------------------------------------------

std::uint64_t Coordinator::request_savepoint(std::string name) {
    std::lock_guard lock(mutex_);
    savepoints_wanted_.push_back({++savepoint_tickets_, std::move(name)});
    return savepoint_tickets_;
}

std::optional<model::Result<state::CheckpointSummary>> Coordinator::take_savepoint(
    std::uint64_t ticket) {
    std::lock_guard lock(mutex_);
    const auto found = savepoints_done_.find(ticket);
    if (found == savepoints_done_.end()) {
        return std::nullopt;
    }
    auto result = std::move(found->second);
    savepoints_done_.erase(found);
    return result;
}

std::optional<Coordinator::WantedSavepoint> Coordinator::next_savepoint() {
    std::lock_guard lock(mutex_);
    if (savepoints_wanted_.empty()) {
        return std::nullopt;
    }
    auto wanted = std::move(savepoints_wanted_.front());
    savepoints_wanted_.pop_front();
    return wanted;
}

// mutex_ is held.
void Coordinator::settle_savepoint(const WantedSavepoint& savepoint,
                                   const state::SnapshotResult& result) {
    const bool done = result.outcome == state::SnapshotResult::Outcome::done;
    ++(done ? report_.savepoints_taken : report_.savepoints_failed);
    if (savepoint.ticket == 0) {
        report_.savepoint_problem = done ? "" : result.error.text;
        return;
    }
    savepoints_done_.emplace(savepoint.ticket,
                             done ? model::Result<state::CheckpointSummary>(result.checkpoint)
                                  : std::unexpected(result.error));
}

std::vector<model::EventTime> Coordinator::acknowledged() const {
    std::vector<model::EventTime> frontiers;
    for (std::uint32_t r = 0; r < open_ends_.size(); ++r) {
        frontiers.push_back(parts_.sink.acknowledged(r));
    }
    return frontiers;
}

void Coordinator::hand_to_snapshotter(Undertaking& undertaking) {
    state::SnapshotJob job;
    job.kind = undertaking.savepoint    ? state::SnapshotJob::Kind::savepoint
               : undertaking.checkpoint ? state::SnapshotJob::Kind::checkpoint
                                        : state::SnapshotJob::Kind::spill;
    job.last = undertaking.last;
    job.number = undertaking.order.barrier.number;
    if (undertaking.order.kind == Order::Kind::spill) {
        // One worker may be behind the others: runs still go in by rising numbers.
        job.number = spilled_ = std::max(spilled_, undertaking.tag);
    }
    give_up_retained();
    for (std::size_t r = 0; r < meta_.reductions.size(); ++r) {
        state::ReductionMeta& kept = meta_.reductions[r];
        if (undertaking.frontiers[r] != kNoTime) {
            kept.acknowledged = undertaking.frontiers[r];
        }
        // What is acknowledged in the very snapshot and past its retention needs no run any more.
        // The live store drops rows up to there once the snapshot, and with it the acknowledgement,
        // is committed.
        const model::EventTime expired =
            std::min(past_retention(retained_[r]), kept.acknowledged.value_or(kNoTime));
        if (expired != kNoTime) {
            job.discards[kept.number] = expired;
            kept.dropped = std::max(kept.dropped.value_or(kNoTime), expired);
            retained_[r].expire(expired);
        }
        if (parts_.emitter.fired(r) != kNoTime) {
            kept.fired = parts_.emitter.fired(r);
        }
    }
    for (std::size_t r = 0; undertaking.checkpoint && r < retained_.size(); ++r) {
        model::EventTime after = retained_[r].dropped;
        for (const Retained::Acknowledged& one : retained_[r].history) {
            job.measure.push_back({meta_.reductions[r].number, after, one.frontier});
            after = one.frontier;
        }
    }
    measuring_ = job.measure;
    if (undertaking.checkpoint) {
        job.meta = meta_;
        parts_.emitter.keep_completeness(job.meta);
        job.meta.number = job.number;
        // In a replay the journal goes on behind it: what follows is needed to start from here.
        job.meta.journal_number = std::min(journaled_, job.number);
        job.meta.reset_sink = false;
        job.meta.clock = undertaking.order.barrier.clock;
        job.meta.partitions.clear();
        model::Ledger total;
        for (const PartitionState& partition : undertaking.partitions) {
            job.meta.partitions.push_back(to_meta(partition, parts_.partitions, parts_.pipeline));
            if (!partition.ledger.balanced() ||
                !std::all_of(partition.reductions.begin(), partition.reductions.end(),
                             [](const auto& ledger) { return ledger.balanced(); })) {
                INVARIANT(false, "the ledger balances");
            }
        }
        std::sort(job.meta.partitions.begin(), job.meta.partitions.end(),
                  [](const auto& a, const auto& b) { return a.partition < b.partition; });
        job.meta.partitions.insert(job.meta.partitions.end(), resting_.begin(), resting_.end());
        job.inputs_text = parts_.pipeline.inputs;
        if (undertaking.order.barrier.kind == model::BarrierKind::reload) {
            job.inputs_text = reload_->pipeline->inputs;
            job.meta = reloaded(std::move(job.meta), parts_.pipeline, *reload_->pipeline,
                                reload_->decisions, reload_over_);
            parts_.store.set_reductions(job.meta.reductions);
        }
        job.before_commit = [this](state::CheckpointMeta& meta) {
            for (std::uint32_t r = 0; SLUICE_MUTANT(FRONTIER_AFTER_SEALS) && r < retained_.size();
                 ++r) {
                meta.reductions[r].acknowledged = parts_.sink.acknowledged(r);
            }
            return parts_.dead_letters.sync();
        };
        pauses_[job.number] = undertaking.pause_ns;
    } else {
        job.meta.number = job.number;
        job.meta.reductions = meta_.reductions;
    }
    seals_last_[job.number] = undertaking.last;
    last_run_ = job.number;
    closed_tag_ = 0;
    if (undertaking.savepoint) {
        job.name = undertaking.savepoint->name;
        seals_savepoint_[job.number] = *undertaking.savepoint;
    }
    parts_.snapshotter.submit(std::move(job));
}

bool Coordinator::take_snapshotter_result() {
    bool any = false;
    model::BarrierNumber forget = 0;
    while (auto result = parts_.snapshotter.take_result()) {
        any = true;
        const bool last = std::exchange(seals_last_[result->number], false);
        seals_last_.erase(result->number);
        seal_under_way_ = false;
        std::lock_guard lock(mutex_);
        if (result->outcome == state::SnapshotResult::Outcome::unusable) {
            failure_ = result->error;
            outcome_.store(Outcome::failed, std::memory_order_release);
            return true;
        }
        const bool checkpoint = result->kind == state::SnapshotJob::Kind::checkpoint;
        if (result->kind == state::SnapshotJob::Kind::savepoint) {
            settle_savepoint(seals_savepoint_[result->number], *result);
            parts_.savepoint_frozen();
            seals_savepoint_.erase(result->number);
            pauses_.erase(result->number);
        } else if (result->outcome == state::SnapshotResult::Outcome::skipped) {
            report_.checkpoint_problem = result->error.text;
            ++report_.checkpoints_failed;
            checkpoint_earliest_ms_ = parts_.clock.steady_ms() + 1000;
            checkpoint_wanted_ = true;
        } else if (checkpoint) {
            report_.checkpoint_problem.clear();
            ++report_.checkpoints_completed;
            report_.last_checkpoint = Taken{result->checkpoint, pauses_[result->number] / 1000};
            list_kept(*result);
            note_measured(measuring_, result->measured);
            for (const state::PartitionMeta& partition : result->meta.partitions) {
                report_.committed_offsets[partition.partition] = partition.next_offset;
            }
            checkpoint_interval_ms_ = effective_interval_ms(
                parts_.pipeline.state.checkpoint_every_ms, result->checkpoint.cpu_ns);
            report_.checkpoint_interval_ms = checkpoint_interval_ms_;
            checkpoint_earliest_ms_ = 0;
            checkpoints_done_.store(checkpoints_begun_);
        }
        if (checkpoint) {
            pauses_.erase(result->number);
        }
        if (result->journal_needed_after != 0) {
            forget = std::max(forget, result->journal_needed_after);
        }
        if (checkpoint && reloading_ && result->number == reload_number_ &&
            result->outcome == state::SnapshotResult::Outcome::done) {
            outcome_.store(Outcome::reloaded, std::memory_order_release);
        }
        if (last) {
            last_checkpoint_ok_.store(result->outcome == state::SnapshotResult::Outcome::done);
            outcome_.store(Outcome::finished, std::memory_order_release);
        }
        if (!result->note.empty()) {
            report_.notes.push_back(result->note);
        }
    }
    if (forget != 0) {
        if (auto forgotten = parts_.journal.forget_before(forget); !forgotten) {
            fail(forgotten.error());
        }
    }
    return any;
}

// What only the run that took a checkpoint knows of it stays with it for as long as it is kept.
void Coordinator::list_kept(const state::SnapshotResult& result) {
    std::vector<Taken> kept{*report_.last_checkpoint};
    for (const state::CheckpointSummary& one : result.kept) {
        if (one.id == result.checkpoint.id) {
            continue;
        }
        const auto known = std::find_if(report_.kept.begin(), report_.kept.end(),
                                        [&](const Taken& t) { return t.info.id == one.id; });
        kept.push_back(known == report_.kept.end() ? Taken{one, 0} : *known);
    }
    report_.kept = std::move(kept);
}

// ---- what was acknowledged, and for how long it is kept
// -------------------------------------------------------

void Coordinator::note_acknowledged() {
    for (std::uint32_t r = 0; r < retained_.size(); ++r) {
        Retained& retained = retained_[r];
        const model::EventTime frontier = parts_.sink.acknowledged(r);
        if (frontier <
            retained.noted) {  // Redis lost results: what is sent again begins its retention anew
            while (!retained.history.empty() && retained.history.back().frontier > frontier) {
                retained.history.pop_back();
            }
            retained.noted = frontier;
        } else if (frontier > retained.noted) {
            // What was acknowledged before this start counts its retention from now: when it was is
            // not kept.
            retained.history.push_back({frontier, parts_.clock.wall_ms(), 0});
            retained.noted = frontier;
            if (SLUICE_MUTANT(DROP_ON_ACKNOWLEDGEMENT)) {
                static_cast<void>(parts_.store.set_dropped(meta_.reductions[r].number, frontier));
            }
        }
    }
}

// What is retained beyond its bytes goes, the oldest first, whichever reduction it is of.
void Coordinator::give_up_retained() {
    std::uint64_t bytes = 0;
    for (const Retained& retained : retained_) {
        for (const Retained::Acknowledged& one : retained.history) {
            bytes += one.bytes;
        }
    }
    while (bytes > parts_.pipeline.sink.result_retention_bytes) {
        Retained* oldest = nullptr;
        for (Retained& retained : retained_) {
            if (!retained.history.empty() &&
                (oldest == nullptr || retained.history.front().at < oldest->history.front().at)) {
                oldest = &retained;
            }
        }
        if (oldest == nullptr) {
            return;
        }
        const Retained::Acknowledged& one = oldest->history.front();
        bytes -= std::min(bytes, one.bytes);
        ++retention_given_up_;
        oldest->expire(one.frontier);
    }
}

// Whatever a checkpoint found a stretch to hold. The rest of the history came since.
void Coordinator::note_measured(const std::vector<state::SnapshotJob::Stretch>& stretches,
                                const std::vector<std::uint64_t>& bytes) {
    for (std::size_t i = 0; i < std::min(stretches.size(), bytes.size()); ++i) {
        auto& history = retained_[index_of(meta_, stretches[i].reduction)].history;
        const auto found = std::find_if(history.begin(), history.end(), [&](const auto& one) {
            return one.frontier == stretches[i].up_to;
        });
        if (found != history.end()) {
            found->bytes = bytes[i];
        }
    }
}

// How far back what Redis has acknowledged can be sent again.
model::DurationMs Coordinator::retention_reached() const {
    const model::EventTime now = parts_.clock.wall_ms();
    model::EventTime oldest = now;
    for (const Retained& retained : retained_) {
        if (!retained.history.empty()) {
            oldest = std::min(oldest, retained.history.front().at);
        }
    }
    return now - oldest;
}

model::EventTime Coordinator::past_retention(const Retained& retained) const {
    const model::EventTime now = parts_.clock.wall_ms();
    model::EventTime past = retained.dropped;
    for (const Retained::Acknowledged& one : retained.history) {
        if (one.at + parts_.pipeline.sink.result_retention_ms > now) {
            break;
        }
        past = std::max(past, one.frontier);
    }
    return past;
}

// ---- pressure and the end
// -------------------------------------------------------------------------------------

void Coordinator::set_hold(std::string reason) {
    std::lock_guard lock(mutex_);
    hold_ = std::move(reason);
}

// In a replay a seal stands at offsets that are still to be read, and nothing is spilled before it:
// records that wait for memory would wait for themselves. How much they take is bounded, no worker
// reads beyond the entries that it knows.
bool Coordinator::seal_waits_for_records() const {
    return !live_ && std::ranges::any_of(undertakings_, [](const auto& undertaking) {
        return undertaking->seals() && undertaking->unanswered != 0;
    });
}

// RocksDB is not asked in every step: it takes a lock of its own and prints a number for it.
bool Coordinator::crowded() {
    const std::int64_t now = parts_.clock.steady_ms();
    if (now - crowded_asked_ms_ >= kCrowdedEveryMs) {
        crowded_asked_ms_ = now;
        crowded_ = parts_.store.under_pressure();
    }
    return crowded_;
}

void Coordinator::apply_pressure() {
    std::string reason;
    if (stopping_) {
        reason = "stopping";
    } else if (parts_.emitter.blocked()) {
        reason = "the sink's queue is full";
    } else if (table_bytes() > parts_.memory_bytes && !seal_waits_for_records()) {
        reason = "the memory budget is used up";
    } else if (crowded()) {
        reason = "RocksDB has too many files in level 0";
    } else {
        std::lock_guard lock(mutex_);
        reason = hold_;
    }
    for (Worker* worker : parts_.workers) {
        worker->set_paused(!reason.empty());
    }
    std::lock_guard lock(mutex_);
    report_.input_paused_reason = std::move(reason);
}

void Coordinator::name_stop_savepoint(const std::string& savepoint) {
    std::lock_guard lock(mutex_);
    stop_savepoint_ = savepoint;
}

void Coordinator::request_stop(const std::string& savepoint) {
    name_stop_savepoint(savepoint);
    stop_requested_.store(true);
}

void Coordinator::request_drain(model::Offsets ends) {
    std::lock_guard lock(mutex_);
    drain_ = std::move(ends);
}

bool Coordinator::begin_drain() {
    Order order;
    order.kind = Order::Kind::drain;
    {
        std::lock_guard lock(mutex_);
        if (!drain_ || !live_) {
            return false;
        }
        order.ends = std::move(*drain_);
        drain_.reset();
        found_.clear();  // whatever is found now is left to the next start
    }
    undertake(std::move(order));
    options_.until_end = true;
    return true;
}

std::uint64_t Coordinator::request_checkpoint() { return checkpoints_requested_.fetch_add(1) + 1; }

bool Coordinator::checkpoint_done(std::uint64_t ticket) const {
    return checkpoints_done_.load() >= ticket;
}

bool Coordinator::everything_delivered() const {
    return undertakings_.empty() && parts_.emitter.quiet() && parts_.sink.settled();
}

bool Coordinator::decide_end() {
    if (reloading_) {
        // It comes first; but one that waits for Redis does not hold up a stop. What is not done
        // then, the next start does.
        if (!stop_requested_.load()) {
            return false;
        }
        if (stopping_since_ms_ == 0) {
            stopping_since_ms_ = parts_.clock.steady_ms();
        }
        if (parts_.clock.steady_ms() - stopping_since_ms_ < kStopPatienceMs) {
            return false;
        }
        std::lock_guard lock(mutex_);
        if (!stop_savepoint_.empty()) {
            report_.savepoint_problem = "a reload is under way";
        }
        last_checkpoint_ok_.store(stop_savepoint_.empty());
        outcome_.store(Outcome::finished, std::memory_order_release);
        return true;
    }
    if (begin_drain()) {
        return true;
    }
    if (stop_requested_.load() && !stopping_ && live_) {
        stopping_ = true;
        stopping_since_ms_ = parts_.clock.steady_ms();
        return true;
    }
    const auto stop_savepoint = [&]() -> std::optional<WantedSavepoint> {
        std::lock_guard lock(mutex_);
        return stop_savepoint_.empty() ? std::nullopt
                                       : std::optional(WantedSavepoint{0, stop_savepoint_});
    };
    if (stop_requested_.load() && !live_ && !stop_savepoint()) {
        // Nothing new was taken: the checkpoint that was restored and the journal say it all.
        last_checkpoint_ok_.store(true);
        outcome_.store(Outcome::finished, std::memory_order_release);
        return true;
    }
    if (options_.until_end && live_ && !stopping_ && !reload_) {
        {
            std::lock_guard lock(mutex_);
            if (!found_.empty()) {
                return false;
            }
        }
        const bool reached =
            owned_ > 0 && std::all_of(progress_.begin(), progress_.end(),
                                      [&](const auto& worker) { return worker.until_end_reached; });
        if (!reached || !undertakings_.empty() || close_what_is_over(true)) {
            return false;
        }
        if (!forced_ && !options_.keep_open) {
            ingest::TimeView view = time_view();
            view.finish = true;
            const auto barriers = time_keeper_.decide(view);
            forced_ = true;
            for (const model::Barrier& barrier : barriers) {
                issue(barrier);
            }
            if (!barriers.empty()) {
                return true;
            }
        }
        forced_ = true;
        if (!everything_delivered()) {
            return false;
        }
        stopping_ = true;
        stopping_since_ms_ = parts_.clock.steady_ms();
    }
    if (stopping_ && !last_checkpoint_issued_ && !seal_under_way_ && undertakings_.empty()) {
        const bool patience_over = parts_.clock.steady_ms() - stopping_since_ms_ >= kStopPatienceMs;
        if (!everything_delivered() && !patience_over) {
            return false;
        }
        last_checkpoint_issued_ = true;
        seal(model::BarrierKind::seal, true, stop_savepoint());
        return true;
    }
    return false;
}

void Coordinator::fail(model::Error error) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(error);
    outcome_.store(Outcome::failed, std::memory_order_release);
}

model::Error Coordinator::failure() const {
    std::lock_guard lock(mutex_);
    return failure_;
}

// ---- what others see
// ------------------------------------------------------------------------------------------

void Coordinator::collect_progress() {
    progress_.clear();
    for (const Worker* worker : parts_.workers) {
        progress_.push_back(worker->progress());
    }
}

void Coordinator::publish() {
    const ingest::TimeView view = time_view();
    std::lock_guard lock(mutex_);
    report_.live = live_;
    report_.waiting.clear();
    if (!undertakings_.empty()) {
        const Undertaking& oldest = *undertakings_.front();
        report_.waiting = std::to_string(oldest.unanswered) + " workers with order " +
                          std::to_string(static_cast<int>(oldest.order.kind)) + ", barrier " +
                          std::to_string(oldest.order.barrier.number);
    }
    report_.number = number_;
    report_.watermark = time_keeper_.watermark(view);
    report_.acknowledged = acknowledged();
    report_.retention_ms = retention_reached();
    report_.retention_given_up = retention_given_up_;
    report_.open_windows.resize(open_ends_.size());
    for (std::size_t r = 0; r < open_ends_.size(); ++r) {
        std::uint64_t in_tables = 0;
        for (const WorkerProgress& worker : progress_) {
            in_tables = std::max(in_tables, worker.open_windows[r]);
        }
        report_.open_windows[r] = std::max<std::uint64_t>(open_ends_[r].size(), in_tables);
    }
}

Coordinator::Report Coordinator::report() const {
    std::lock_guard lock(mutex_);
    return report_;
}

}  // namespace sluice::daemon
