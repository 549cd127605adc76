#include "daemon/coordinator.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "daemon/partition_meta.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
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

Coordinator::Coordinator(Parts parts, Options options, StartingPoint start)
    : parts_(std::move(parts)),
      options_(options),
      time_keeper_(parts_.pipeline, parts_.clock,
                   {start.meta.clock, start.meta.tick, start.meta.cut_floor, start.meta.cap}),
      progress_(parts_.pipeline, parts_.partitions, start.open_ends, start.meta.partitions.size()),
      sequence_({parts_.journal, parts_.partitions, parts_.workers.size(),
                 [this](const Order& order) {
                     for (Worker* worker : parts_.workers) {
                         worker->put(order);
                         worker->wake();
                     }
                 }},
                std::max({start.meta.number, start.journal_end, start.greatest_number}),
                start.journal_end),
      checkpoints_(
          {parts_.pipeline, parts_.partitions, parts_.clock, parts_.store, parts_.snapshotter,
           parts_.emitter, parts_.sink, parts_.dead_letters, parts_.savepoint_frozen},
          {std::move(start.meta), std::move(start.resting), std::move(start.kept)}),
      replay_(std::make_move_iterator(start.replay.begin()),
              std::make_move_iterator(start.replay.end())),
      reload_(std::move(start.reload)) {
    const state::CheckpointMeta& restored = checkpoints_.frame();
    INVARIANT(restored.reductions.size() == parts_.pipeline.reductions.size() &&
                  start.open_ends.size() == parts_.pipeline.reductions.size(),
              "the checkpoint's reductions are the pipeline's");
    collect_progress();
    // What was over before the checkpoint: not acknowledged in it, or wanted again because Redis
    // lost it.
    Allowance allowance;
    allowance.barrier = sequence_.journaled();
    allowance.processing_time = restored.tick;
    if (const model::EventTime over = progress_.least_watermark(); over != model::kAfterAll) {
        allowance.event_time = over;
    }
    allowance.incomplete_before = incomplete_before(restored);
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
    busy |= take_snapshotter_results();
    if (outcome() != Outcome::running) {
        return true;
    }
    collect_progress();
    checkpoints_.note_acknowledged();
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

// ---- the sequence
// ---------------------------------------------------------------------------------------------

void Coordinator::take_answers() {
    while (auto answer = parts_.answers.take()) {
        sequence_.answered(*answer);
        if (answer->tables.empty()) {
            continue;
        }
        for (const state::SealedSlice& sealed : answer->tables) {
            progress_.hold(index_of(checkpoints_.frame(), sealed.reduction), sealed.slice.end);
        }
        parts_.store.add_tables(answer->tag, std::move(answer->tables));
    }
}

bool Coordinator::settle() {
    if (const auto spill = sequence_.take_spill()) {
        if (spill->tag == 0) {
            checkpoints_.abandon();  // the tables had just been handed over otherwise
        } else {
            checkpoints_.hand_over(*spill, sequence_.journaled());
        }
        return true;
    }
    const auto settled = sequence_.settle();
    if (!settled) {
        fail(settled.error());
        return true;
    }
    while (const auto undertaking = sequence_.take_settled()) {
        take_effect(*undertaking);
    }
    return *settled;
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
        case Order::Kind::spill:
            return;
        case Order::Kind::close:
            close_under_way_ = false;
            checkpoints_.note_closed(order.time, undertaking.tag);
            progress_.pass_event_time(order.time);
            allowance.event_time = order.time;
            break;
        case Order::Kind::barrier:
        case Order::Kind::replayed:
            if (order.kind == Order::Kind::replayed) {
                --replay_under_way_;
            }
            checkpoints_.note(barrier);
            if (barrier.kind == model::BarrierKind::tick) {
                progress_.pass_processing_time(barrier.time);
                allowance.processing_time = barrier.time;
            }
            if (barrier.kind == model::BarrierKind::reload) {
                begin_reload(undertaking);
                return;
            }
            if (undertaking.seals()) {
                checkpoints_.hand_over(undertaking, sequence_.journaled());
            }
            break;
    }
    if (allowance.event_time != kNoTime || allowance.processing_time != kNoTime) {
        allowance.barrier = sequence_.journaled();
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
        const bool free = !reload && !checkpoints_.seal_under_way();
        auto savepoint = free ? checkpoints_.savepoints().next() : std::nullopt;
        order.seal_after = reload || (free && (savepoint || checkpoints_.wanted()));
        reloading_ = reload;  // the last entry; what it seals waits for finish_reload()
        ++replay_under_way_;
        if (savepoint) {
            checkpoints_.begin(std::move(*savepoint));
        } else if (order.seal_after && !reload) {
            checkpoints_.begin(Checkpoints::Kind::checkpoint);
        }
        sequence_.undertake(std::move(order));
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
    const model::EventTime closed = checkpoints_.frame().closed;
    return reload_ && (closed == kNoTime || progress_.least_watermark() >= closed ||
                       (live_ && progress_.everything_read()));
}

// Issues the barrier when it is due and nothing else is sealed; afterwards sees the reload through.
bool Coordinator::decide_reload() {
    if (reloading_) {
        return finish_reload();
    }
    if (live_ && !stopping_ && !forced_) {  // an end that has begun goes first, and is the last
        if (checkpoints_.savepoints().waiting()) {
            return false;  // asked for before: they are of the old settings
        }
        std::lock_guard lock(mutex_);
        if (wanted_reload_) {
            reload_ = std::exchange(wanted_reload_, std::nullopt);
        }
    }
    const bool placed = live_ || (replay_.empty() && replay_under_way_ == 0);
    if (!placed || !reload_due() || stopping_ || forced_ || checkpoints_.seal_under_way() ||
        !checkpoints_.may_begin()) {
        return false;
    }
    // The entry names the inputs: they are durable before it. Nobody else uses them now.
    auto kept = parts_.inputs.keep(reload_->pipeline->inputs);
    if (!kept) {
        checkpoints_.put_off(kept.error().text);
        return false;
    }
    reloading_ = true;
    model::Barrier barrier;
    barrier.kind = model::BarrierKind::reload;
    barrier.clock = time_keeper_.next_clock();
    barrier.reload = to_text({*kept, reload_->decisions});
    sequence_.issue(std::move(barrier), true);
    return true;
}

// The barrier is durable and every worker stands behind it. What is over is a matter of their
// offsets alone, and so is what is still written under the old settings.
void Coordinator::begin_reload(Undertaking& undertaking) {
    SLUICE_FAIL_POINT("reload.journaled");
    collect_progress();
    reload_over_ = std::max(progress_.least_watermark(), checkpoints_.frame().closed);
    reload_number_ = undertaking.order.barrier.number;
    Allowance allowance;
    allowance.event_time = reload_over_ == model::kAfterAll ? kNoTime : reload_over_;
    allowance.barrier = sequence_.journaled();
    allowance.incomplete_before = undertaking.incomplete_before;
    if (allowance.event_time != kNoTime) {
        checkpoints_.note_closed(allowance.event_time, 0);
        parts_.emitter.allow(allowance);
    }
    reload_seal_ = std::make_unique<Undertaking>(std::move(undertaking));
}

bool Coordinator::finish_reload() {
    if (!reload_seal_ || checkpoints_.seal_under_way() || !everything_delivered() ||
        !checkpoints_.may_begin()) {
        return false;
    }
    // No worker has rows behind the barrier: a window that is acknowledged by now has all of its
    // rows before it.
    SLUICE_FAIL_POINT("reload.delivered");
    checkpoints_.begin(Checkpoints::Kind::checkpoint);
    const Checkpoints::Takeover takeover{*reload_, reload_over_};
    checkpoints_.hand_over(*reload_seal_, sequence_.journaled(), &takeover);
    return true;
}

void Coordinator::go_live() {
    live_ = true;
    // Until now every partition was held at the last journaled offsets. What follows is decided
    // anew, before the first record: the guard and the window of processing time that is open now.
    decide_time();
    Order order;
    order.kind = Order::Kind::replay_over;
    sequence_.undertake(std::move(order));
}

// ---- time
// -----------------------------------------------------------------------------------------------------

// Until a worker has applied it, an idle barrier is known here only: without it, the same would be
// decided again with every step.
ingest::TimeView Coordinator::time_view() const {
    return progress_.time_view(sequence_.told_idle());
}

bool Coordinator::decide_time() {
    if (stopping_ || forced_) {
        return false;
    }
    bool issued = false;
    for (model::Barrier& barrier : time_keeper_.decide(time_view())) {
        sequence_.issue(std::move(barrier));
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
    const model::EventTime over = progress_.least_watermark();
    if (over == kNoTime || over == model::kAfterAll ||
        !progress_.anything_over(time_view(), over)) {
        return false;
    }
    if (live_ && progress_.guarded()) {
        // A record above the guard was folded and moved nothing. After a crash it would be judged
        // by a newer guard: what follows must not rest on that, so the place is written down first.
        // In a replay it is: an entry lies behind every record.
        model::Barrier barrier;
        barrier.kind = model::BarrierKind::cap;
        barrier.time = time_keeper_.state().cap;
        barrier.clock = time_keeper_.next_clock();
        sequence_.issue(std::move(barrier));
    }
    close_under_way_ = true;
    closed_at_ms_ = now;
    Order order;
    order.kind = Order::Kind::close;
    order.time = over;
    if (over > checkpoints_.frame().closed) {
        order.barrier.kind = model::BarrierKind::close;
        order.barrier.number = sequence_.next_number();
        order.barrier.time = over;
        order.barrier.clock = time_keeper_.next_clock();
    }
    sequence_.undertake(std::move(order));
    return true;
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
    if (time_keeper_.watermark(view) < checkpoints_.frame().closed &&
        !progress_.everything_read()) {
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
        sequence_.undertake(std::move(order));
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
        sequence_.issue(std::move(barrier));
    }
    progress_.own(found.size());
}

void Coordinator::add_partition(Found found) {
    std::lock_guard lock(mutex_);
    found_.push_back(found);
}

// ---- checkpoints
// ----------------------------------------------------------------------------------------------

bool Coordinator::decide_checkpoint() {
    checkpoints_.look();
    if (checkpoints_.seal_under_way() || stopping_ || forced_) {
        return false;
    }
    const bool short_of_memory = table_bytes() > parts_.memory_bytes / 2;
    if (!live_) {
        // In a replay feed_replay() places the checkpoints. A spill may be anywhere: it is no place
        // to start again from, and no worker has reached a barrier that is still to be sealed.
        if (short_of_memory) {
            checkpoints_.begin(Checkpoints::Kind::spill);
            Order order;
            order.kind = Order::Kind::spill;
            sequence_.undertake(std::move(order));
        }
        return short_of_memory;
    }
    if (reloading_) {
        return false;  // no barrier comes behind that of a reload
    }
    if (auto savepoint = checkpoints_.savepoints().next()) {
        checkpoints_.begin(std::move(*savepoint));
        issue_seal(model::BarrierKind::seal);
    } else if (checkpoints_.wanted() && checkpoints_.may_begin()) {
        checkpoints_.begin(Checkpoints::Kind::checkpoint);
        issue_seal(model::BarrierKind::seal);
    } else if (short_of_memory) {
        checkpoints_.begin(Checkpoints::Kind::spill);
        issue_seal(model::BarrierKind::spill);
    } else if (checkpoints_.closed_exceed(parts_.closed_bytes)) {
        checkpoints_.spill_closed(sequence_.journaled());
    } else {
        return false;
    }
    return true;
}

void Coordinator::issue_seal(model::BarrierKind kind) {
    model::Barrier barrier;
    barrier.kind = kind;
    barrier.clock = time_keeper_.next_clock();
    sequence_.issue(std::move(barrier));
}

bool Coordinator::take_snapshotter_results() {
    bool any = false;
    model::BarrierNumber forget = 0;
    while (const auto settled = checkpoints_.take_settled()) {
        any = true;
        const state::SnapshotResult& result = settled->result;
        if (result.outcome == state::SnapshotResult::Outcome::unusable) {
            fail(result.error);
            return true;
        }
        forget = std::max(forget, result.journal_needed_after);
        const bool done = result.outcome == state::SnapshotResult::Outcome::done;
        if (reloading_ && done && result.kind == state::SnapshotJob::Kind::checkpoint &&
            result.number == reload_number_) {
            end(Outcome::reloaded);
        }
        if (settled->last) {
            last_checkpoint_ok_.store(done);
            end(Outcome::finished);
        }
    }
    if (forget != 0) {
        if (auto forgotten = parts_.journal.forget_before(forget); !forgotten) {
            fail(forgotten.error());
        }
    }
    return any;
}

// ---- pressure and the end
// -------------------------------------------------------------------------------------

void Coordinator::set_hold(std::string reason) {
    std::lock_guard lock(mutex_);
    hold_ = std::move(reason);
}

std::size_t Coordinator::table_bytes() const {
    return parts_.store.table_bytes() + progress_.table_bytes();
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
    // In a replay a seal stands at offsets that are still to be read, and nothing is spilled before
    // it: records that wait for memory would wait for themselves. How much they take is bounded, no
    // worker reads beyond the entries that it knows.
    const bool seal_waits_for_records = !live_ && sequence_.seal_unanswered();
    std::string reason;
    if (stopping_) {
        reason = "stopping";
    } else if (parts_.emitter.blocked()) {
        reason = "the sink's queue is full";
    } else if (table_bytes() > parts_.memory_bytes && !seal_waits_for_records) {
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
    sequence_.undertake(std::move(order));
    options_.until_end = true;
    return true;
}

bool Coordinator::everything_delivered() const {
    return sequence_.empty() && parts_.emitter.quiet() && parts_.sink.settled();
}

// A reload comes first; but one that waits for Redis does not hold up a stop. What is not done
// then, the next start does.
bool Coordinator::stop_behind_reload() {
    if (!stop_requested_.load()) {
        return false;
    }
    if (stopping_since_ms_ == 0) {
        stopping_since_ms_ = parts_.clock.steady_ms();
    }
    if (parts_.clock.steady_ms() - stopping_since_ms_ < kStopPatienceMs) {
        return false;
    }
    const bool savepoint_wanted = stop_savepoint().has_value();
    if (savepoint_wanted) {
        checkpoints_.refuse_stop_savepoint("a reload is under way");
    }
    last_checkpoint_ok_.store(!savepoint_wanted);
    end(Outcome::finished);
    return true;
}

// `--until end`, or a drain: all that was wanted is read, closed and delivered. Returns true when
// it has issued something.
bool Coordinator::finish_input() {
    {
        std::lock_guard lock(mutex_);
        if (!found_.empty()) {
            return false;
        }
    }
    if (!progress_.until_end_reached() || !sequence_.empty() || close_what_is_over(true)) {
        return false;
    }
    if (!forced_ && !options_.keep_open) {
        ingest::TimeView view = time_view();
        view.finish = true;
        auto barriers = time_keeper_.decide(view);
        forced_ = true;
        for (model::Barrier& barrier : barriers) {
            sequence_.issue(std::move(barrier));
        }
        if (!barriers.empty()) {
            return true;
        }
    }
    forced_ = true;
    if (everything_delivered()) {
        stopping_ = true;
        stopping_since_ms_ = parts_.clock.steady_ms();
    }
    return false;
}

bool Coordinator::decide_end() {
    if (reloading_) {
        return stop_behind_reload();
    }
    if (begin_drain()) {
        return true;
    }
    if (stop_requested_.load() && !stopping_ && live_) {
        stopping_ = true;
        stopping_since_ms_ = parts_.clock.steady_ms();
        return true;
    }
    if (stop_requested_.load() && !live_ && !stop_savepoint()) {
        // Nothing new was taken: the checkpoint that was restored and the journal say it all.
        last_checkpoint_ok_.store(true);
        end(Outcome::finished);
        return true;
    }
    if (options_.until_end && live_ && !stopping_ && !reload_ && finish_input()) {
        return true;
    }
    if (!stopping_ || last_checkpoint_issued_ || checkpoints_.seal_under_way() ||
        !sequence_.empty()) {
        return false;
    }
    const bool patience_over = parts_.clock.steady_ms() - stopping_since_ms_ >= kStopPatienceMs;
    if (!everything_delivered() && !patience_over) {
        return false;
    }
    last_checkpoint_issued_ = true;
    if (auto savepoint = stop_savepoint()) {
        checkpoints_.begin(std::move(*savepoint), true);
    } else {
        checkpoints_.begin(Checkpoints::Kind::checkpoint, true);
    }
    issue_seal(model::BarrierKind::seal);
    return true;
}

std::optional<SavepointRequests::Wanted> Coordinator::stop_savepoint() const {
    std::lock_guard lock(mutex_);
    return stop_savepoint_.empty() ? std::nullopt
                                   : std::optional(SavepointRequests::Wanted{0, stop_savepoint_});
}

void Coordinator::end(Outcome outcome) { outcome_.store(outcome, std::memory_order_release); }

void Coordinator::fail(model::Error error) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(error);
    end(Outcome::failed);
}

model::Error Coordinator::failure() const {
    std::lock_guard lock(mutex_);
    return failure_;
}

// ---- what others see
// ------------------------------------------------------------------------------------------

void Coordinator::collect_progress() {
    std::vector<WorkerProgress> progress;
    for (const Worker* worker : parts_.workers) {
        progress.push_back(worker->progress());
    }
    progress_.update(std::move(progress));
}

void Coordinator::publish() {
    const ingest::TimeView view = time_view();
    const ResultRetention& retention = checkpoints_.retention();
    const std::size_t reductions = parts_.pipeline.reductions.size();
    std::lock_guard lock(mutex_);
    report_.live = live_;
    report_.waiting = sequence_.waiting();
    report_.number = sequence_.number();
    report_.watermark = time_keeper_.watermark(view);
    report_.acknowledged = checkpoints_.acknowledged();
    report_.retention_ms = retention.reach(parts_.clock.wall_ms());
    report_.retention_given_up = retention.given_up();
    report_.open_windows.resize(reductions);
    for (std::size_t r = 0; r < reductions; ++r) {
        report_.open_windows[r] = progress_.open_windows(r);
    }
}

Coordinator::Report Coordinator::report() const {
    Report report;
    {
        std::lock_guard lock(mutex_);
        report = report_;
    }
    report.checkpoints = checkpoints_.report();
    return report;
}

}  // namespace sluice::daemon
