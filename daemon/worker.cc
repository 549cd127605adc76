#include "daemon/worker.h"

#include <algorithm>

#include "daemon/partition_meta.h"
#include "state/model/invariant.h"

namespace sluice::daemon {

namespace {

constexpr std::size_t kBatchRows = 1024;
constexpr std::size_t kBatchTextBytes = 8 << 20;
// A new guard is asked for at most so often; in between, records above it are folded and move
// nothing.
constexpr std::int64_t kCapRenewalMs = 1000;
// Whoever is held back for the sake of others looks again after so long.
constexpr std::int64_t kHeldBackMs = 1;

// 0: some reduction is in processing time.
model::DurationMs pace_window(const config::Pipeline& pipeline) {
    model::DurationMs shortest = std::numeric_limits<model::DurationMs>::max();
    for (const config::Reduction& reduction : pipeline.reductions) {
        if (reduction.time == config::TimeKind::processing) {
            return 0;
        }
        shortest = std::min(shortest, reduction.window_ms);
    }
    return pipeline.reductions.empty() ? 0 : shortest;
}

}  // namespace

struct Worker::Owned {
    Owned(const config::Pipeline& pipeline, const std::vector<model::Partition>& partitions,
          const PartitionState& state)
        : partition(state.partition),
          start_offset(state.start_offset),
          next_offset(state.next_offset),
          time(pipeline.source, partitions[state.partition], state.time),
          pace(pace_window(pipeline)),
          probe_offset(state.probe_offset),
          probe_hash(state.probe_hash),
          ledger(state.ledger),
          reductions(state.reductions),
          decoder(pipeline, partitions) {}

    const std::uint32_t partition;
    const model::Offset start_offset;
    model::Offset next_offset;  // everything below is folded
    ingest::PartitionTime time;
    ingest::PartitionPace pace;
    model::Offset probe_offset;
    std::uint64_t probe_hash;
    model::Ledger ledger;
    std::vector<model::ReductionLedger> reductions;
    std::optional<model::Offset> until;
    std::string gone;
    std::string stopped;  // not empty: the record that it stands at, and why

    ingest::Decoder decoder;
    ingest::DecodedBatch batch;
    std::size_t at = 0;  // rows of the batch below are folded
    // Begin of the turn in which the log handed the batch over, steady; none: in a replay.
    std::optional<std::int64_t> handed_over_ns;
    // Of rows of the batch, ascending: every row in a replay, which ends anywhere, else the last
    // one.
    std::vector<std::pair<std::size_t, std::uint64_t>> probes;
    bool wants_cap = false;
    bool waits_for_barrier = false;  // taken up, and the barrier behind which it is read is to come
    bool paused = false;
    std::optional<std::int64_t> quiet_since_ms;
    bool end_seen = false;
    std::optional<std::int64_t> last_arrival_ms;

    bool exhausted() const { return at == batch.records.rows; }
    // The next record that is here, or where the next one will be.
    model::Offset waiting_offset() const {
        return exhausted() ? next_offset : batch.records.offset[at];
    }
};

Worker::Worker(Settings settings, std::unique_ptr<ingest::LogReader> reader)
    : settings_(std::move(settings)),
      reader_(std::move(reader)),
      mapper_(settings_.pipeline),
      pace_window_ms_(pace_window(settings_.pipeline)),
      applied_(settings_.applied),
      processing_time_(settings_.processing_time) {
    for (std::size_t r = 0; r < settings_.pipeline.reductions.size(); ++r) {
        state::FoldSettings fold =
            state::fold_settings(static_cast<std::uint32_t>(r), settings_.pipeline.reductions[r]);
        fold.reduction = settings_.reduction_numbers[r];
        fold.closed = settings_.closed[r];
        folders_.push_back(std::make_unique<state::ReductionFolder>(std::move(fold)));
    }
    fold_errors_.resize(folders_.size());
    publish();
}

Worker::~Worker() = default;

void Worker::own(const PartitionState& state, std::optional<model::Offset> until) {
    auto owned = std::make_unique<Owned>(settings_.pipeline, settings_.partitions, state);
    owned->until = until;
    cap_ = std::max(cap_, state.time.cap);
    owned->last_arrival_ms = settings_.clock.steady_ms();
    reader_->assign(state.partition, state.next_offset);
    if (state.probe_offset >= 0) {
        reader_->remember(state.partition, {state.probe_offset, state.probe_hash});
    }
    owned_.push_back(std::move(owned));
    publish();
}

void Worker::put(Order order) { orders_.put(std::move(order)); }

void Worker::wake() { reader_->wake(); }

void Worker::wait(std::int64_t timeout_ms) {
    reader_->wait(held_back_ ? std::min(timeout_ms, kHeldBackMs) : timeout_ms);
}

WorkerProgress Worker::progress() const {
    std::lock_guard lock(progress_mutex_);
    return progress_;
}

bool Worker::step() {
    turn_begun_ns_ = settings_.clock.steady_ns();
    bool busy = carry_out_orders();
    busy |= apply_replayed();
    busy |= read_some();
    if (busy) {
        busy_ns_ += settings_.clock.steady_ns() - turn_begun_ns_;
    }
    note_blocked();
    publish();
    return busy;
}

void Worker::note_blocked() {
    if (blocked_since_ns_) {
        blocked_ns_ += turn_begun_ns_ - *blocked_since_ns_;
        blocked_since_ns_.reset();
    }
    if (paused_.load(std::memory_order_relaxed) ||
        std::ranges::any_of(owned_, [](const auto& owned) { return !owned->stopped.empty(); })) {
        blocked_since_ns_ = turn_begun_ns_;
    }
}

// ---- orders
// ---------------------------------------------------------------------------------------------------

bool Worker::carry_out_orders() {
    bool any = false;
    while (auto order = orders_.take()) {
        any = true;
        if (order->kind == Order::Kind::replayed) {
            replayed_.push_back(std::move(*order));
        } else {
            carry_out(*order);
        }
    }
    return any;
}

Answer Worker::answer_to(const Order& order) {
    Answer answer;
    answer.worker = settings_.number;
    answer.ticket = order.ticket;
    for (const auto& owned : owned_) {
        answer.next_offsets.emplace_back(owned->partition, owned->next_offset);
        answer.incomplete_before =
            std::max(answer.incomplete_before, incomplete_before(owned->time.state()));
    }
    return answer;
}

void Worker::send(Answer answer) {
    settings_.answers.put(std::move(answer));
    settings_.wake_coordinator();
}

void Worker::carry_out(const Order& order) {
    const std::int64_t begun = settings_.clock.steady_ns();
    switch (order.kind) {
        case Order::Kind::replayed:
            INVARIANT(false, "entries of the journal wait for their offsets");
        case Order::Kind::replay_over:
            INVARIANT(replayed_.empty(), "the replay is over when every entry was applied");
            replaying_ = false;
            break;
        case Order::Kind::drain:
            for (const auto& owned : owned_) {
                const auto end = order.ends.find(settings_.partitions[owned->partition]);
                owned->until = end != order.ends.end() ? end->second : owned->waiting_offset();
            }
            break;
        case Order::Kind::assign:
            if (order.worker == settings_.number) {
                PartitionState state;
                state.partition = order.partition;
                state.start_offset = order.next_offset;
                state.next_offset = order.next_offset;
                state.time =
                    ingest::PartitionTime::begin(order.next_offset, order.empty, order.time);
                state.time.cap = cap_;
                state.reductions.resize(folders_.size());
                own(state, order.until);
                owned_.back()->waits_for_barrier = true;
            }
            break;
        case Order::Kind::spill: {
            Answer answer = answer_to(order);
            swap_tables(answer);
            answer.tag = applied_ + 1;
            send(std::move(answer));
            return;
        }
        case Order::Kind::close: {
            Answer answer = answer_to(order);
            for (const auto& folder : folders_) {
                if (folder->settings().time == config::TimeKind::event) {
                    for (state::SealedSlice& sealed : folder->close(order.time)) {
                        answer.tables.push_back(std::move(sealed));
                    }
                }
            }
            answer.tag = applied_ + 1;
            send(std::move(answer));
            return;
        }
        case Order::Kind::barrier: {
            apply(order.barrier);
            Answer answer = answer_to(order);
            if (order.barrier.kind == model::BarrierKind::tick) {
                for (const auto& folder : folders_) {
                    if (folder->settings().time == config::TimeKind::processing) {
                        for (state::SealedSlice& sealed : folder->close(order.barrier.time)) {
                            answer.tables.push_back(std::move(sealed));
                        }
                    }
                }
                answer.tag = applied_;
            }
            if (!model::journaled(order.barrier.kind) || order.seal_after) {
                swap_tables(answer);
            }
            answer.pause_ns = settings_.clock.steady_ns() - begun;
            publish();  // whoever has the answer sees what the barrier did
            send(std::move(answer));
            return;
        }
    }
    send(answer_to(order));
}

void Worker::apply(const model::Barrier& barrier) {
    INVARIANT(barrier.number > applied_, "barriers are applied in order");
    applied_ = barrier.number;
    guarded_ = guarded_ && !model::journaled(barrier.kind);
    for (const auto& owned : owned_) {
        owned->time.apply(barrier);
        owned->waits_for_barrier = false;
    }
    if (barrier.kind == model::BarrierKind::tick) {
        processing_time_ = barrier.time;
    } else if (barrier.kind == model::BarrierKind::reload) {
        reloading_ = true;
    } else if (barrier.kind == model::BarrierKind::cap) {
        cap_applied_ms_ = settings_.clock.steady_ms();
        cap_ = std::max(cap_, barrier.time);
        for (const auto& owned : owned_) {
            owned->wants_cap = false;
        }
    }
}

// The whole cost of a checkpoint for this worker: a pointer per table, and a small struct per
// partition.
void Worker::swap_tables(Answer& answer) {
    for (const auto& folder : folders_) {
        for (state::SealedSlice& sealed : folder->seal()) {
            answer.tables.push_back(std::move(sealed));
        }
    }
    answer.tag = applied_;
    for (const auto& owned : owned_) {
        answer.partitions.push_back(state_of(*owned));
    }
}

PartitionState Worker::state_of(const Owned& owned) const {
    PartitionState state;
    state.partition = owned.partition;
    state.start_offset = owned.start_offset;
    state.next_offset = owned.next_offset;
    state.time = owned.time.state();
    state.probe_offset = owned.probe_offset;
    state.probe_hash = owned.probe_hash;
    state.ledger = owned.ledger;
    state.reductions = owned.reductions;
    return state;
}

bool Worker::apply_replayed() {
    bool any = false;
    while (!replayed_.empty()) {
        const Order& order = replayed_.front();
        for (const auto& owned : owned_) {
            const auto listed =
                order.barrier.next_offsets.find(settings_.partitions[owned->partition]);
            if (listed != order.barrier.next_offsets.end() &&
                owned->waiting_offset() < listed->second) {
                return any;
            }
        }
        Order applied = std::move(replayed_.front());
        replayed_.pop_front();
        applied.kind = Order::Kind::barrier;
        carry_out(applied);
        any = true;
    }
    return any;
}

// ---- records
// --------------------------------------------------------------------------------------------------

// The first offset that may not be folded yet.
model::Offset Worker::bound(const Owned& owned) const {
    model::Offset bound = owned.until.value_or(std::numeric_limits<model::Offset>::max());
    if (!replayed_.empty()) {
        // A partition that an entry does not list had not been taken up by then: it waits for the
        // entry.
        const auto& offsets = replayed_.front().barrier.next_offsets;
        const auto listed = offsets.find(settings_.partitions[owned.partition]);
        bound = std::min(bound, listed == offsets.end() ? owned.next_offset : listed->second);
    } else if (replaying_ || reloading_ || owned.waits_for_barrier) {
        bound = std::min(bound, owned.next_offset);
    }
    return bound;
}

bool Worker::read_some() {
    for (auto& [partition, error] : reader_->take_errors()) {
        trouble_ = error.text;
        for (const auto& owned : owned_) {
            if (owned->partition == partition && error.kind == model::ErrorKind::invalid) {
                owned->gone = error.text;
            }
        }
    }
    const bool paused = paused_.load(std::memory_order_relaxed);
    const std::int64_t now = settings_.clock.steady_ms();
    const model::EventTime least =
        pace_window_ms_ == 0 ? model::kAfterAll : settings_.paces.least();
    held_back_ = false;
    bool any = false;
    for (std::size_t i = 0; i < owned_.size() && !any; ++i) {
        turn_ = (turn_ + 1) % owned_.size();
        Owned& owned = *owned_[turn_];
        const bool closed = paused || owned.waiting_offset() >= bound(owned);
        const bool waits = !closed && owned.pace.waits(now, owned.time.watermark(), least);
        held_back_ |= waits;
        if ((closed || waits) != owned.paused) {
            owned.paused = closed || waits;
            reader_->set_paused(owned.partition, owned.paused);
        }
        if (waits) {
            continue;
        }
        const bool there = !closed && (!owned.exhausted() || fill(owned));
        any = there && process(owned);
        if (any) {
            owned.pace.took(now, owned.time.watermark());
            continue;
        }
        owned.pace.stood();
        if (there) {
            // What it waits for is no record: more of them must not wake us. Tried again with the
            // next step.
            owned.paused = true;
            reader_->set_paused(owned.partition, true);
        }
    }
    tell_pace();
    return any;
}

void Worker::tell_pace() {
    model::EventTime least = model::kAfterAll;
    for (const auto& owned : owned_) {
        if (owned->pace.flowing()) {
            least = std::min(least, owned->time.watermark());
        }
    }
    settings_.paces.tell(settings_.number, least);
}

// Decodes the next batch of a partition. What is decoded depends on the records alone; when it is
// folded, on barriers.
bool Worker::fill(Owned& owned) {
    owned.at = 0;
    owned.probes.clear();
    owned.handed_over_ns = replaying_ ? std::nullopt : std::optional(turn_begun_ns_);
    owned.decoder.begin(owned.batch, owned.partition, kBatchRows);
    bool readable = false;  // the last one: what nobody can read is nothing to compare with later
    const auto taken =
        reader_->read(owned.partition, kBatchRows, [&](const ingest::Record& record) {
            owned.decoder.append(record);
            readable = record.damage.empty();
            if (replaying_ && readable) {
                owned.probes.emplace_back(owned.decoder.rows() - 1, owned.decoder.last_probe());
            }
            return owned.decoder.text_bytes() < kBatchTextBytes &&
                   !(owned.until && record.offset + 1 >= *owned.until);
        });
    if (!replaying_ && readable) {
        owned.probes.emplace_back(owned.decoder.rows() - 1, owned.decoder.last_probe());
    }
    owned.decoder.finish();
    decode_errors_ += owned.batch.errors;
    if (!taken) {
        trouble_ = taken.error().text;
        return false;
    }
    const std::int64_t now = settings_.clock.steady_ms();
    if (owned.batch.records.rows == 0) {
        const auto end = reader_->at_end(owned.partition);
        if (!end) {
            owned.quiet_since_ms.reset();
            return false;
        }
        // What lies between the last record and the end are markers and aborted records. The log
        // may drop them like any others, and then a position before them would be a gap.
        owned.next_offset = std::max(owned.next_offset, std::min(*end, bound(owned)));
        owned.end_seen = true;
        if (reader_->behind_end_is_more(owned.partition)) {
            owned.quiet_since_ms.reset();  // it has records; they only may not be read yet
        } else if (!owned.quiet_since_ms) {
            owned.quiet_since_ms = now;
        }
        return false;
    }
    trouble_.clear();
    owned.quiet_since_ms.reset();
    owned.last_arrival_ms = now;
    return true;
}

bool Worker::process(Owned& owned) {
    const auto& offsets = owned.batch.records.offset;
    const model::Offset limit = bound(owned);
    const std::size_t begin = owned.at;
    const auto first_beyond = std::lower_bound(offsets.begin() + static_cast<std::ptrdiff_t>(begin),
                                               offsets.end(), limit);
    auto end = static_cast<std::size_t>(first_beyond - offsets.begin());
    if (begin == end) {
        return false;
    }
    bool guards = owned.time.wants_cap(owned.batch, begin, end);
    if (!replaying_ && guards) {
        const std::int64_t now = settings_.clock.steady_ms();
        if (!cap_applied_ms_ || now - *cap_applied_ms_ >= kCapRenewalMs) {
            if (!owned.wants_cap) {
                owned.wants_cap =
                    true;  // the coordinator sees it, and the new cap comes as a barrier
                settings_.wake_coordinator();
            }
            return false;
        }
    }
    if (const std::size_t stop = set_aside(owned, end); stop < end) {
        if (stop == begin) {
            return false;
        }
        end = stop;
        guards = guards && owned.time.wants_cap(owned.batch, begin, end);
    }

    guarded_ |= guards;
    ingest::DecodedBatch& batch = owned.batch;
    owned.time.fill(batch, begin, end);
    owned.ledger += mapper_.process(batch, begin, end);
    const auto mapped = mapper_.reductions();
    for (std::size_t r = 0; r < folders_.size(); ++r) {
        const ingest::MappedReduction& input = mapped[r];
        state::FoldInput fold;
        fold.batch = &batch.records;
        fold.rows = input.rows;
        fold.hash = input.hash;
        fold.key = input.key;
        fold.arguments = input.arguments;
        fold.wheres = input.wheres;
        fold.topic = settings_.partitions[owned.partition].topic;
        fold.partition = settings_.partitions[owned.partition].id;
        const config::Reduction& settings = settings_.pipeline.reductions[r];
        std::optional<model::Window> window;
        if (settings.time == config::TimeKind::processing) {
            INVARIANT(processing_time_ != kNoTime, "a tick comes before the first record");
            window =
                model::tumbling_window(processing_time_, settings.window_ms, settings.offset_ms);
        }
        const state::FoldCounts counts = folders_[r]->fold(fold, window, fold_errors_[r]);
        model::ReductionLedger& ledger = owned.reductions[r];
        ledger.reached += input.reached;
        ledger.filtered += input.filtered;
        ledger.refused += input.refused;
        ledger.late += counts.late;
        ledger.folded += counts.folded;
    }
    owned.at = end;
    owned.next_offset = offsets[end - 1] + 1;
    const auto probe = std::partition_point(owned.probes.begin(), owned.probes.end(),
                                            [&](const auto& one) { return one.first < end; });
    if (probe != owned.probes.begin()) {
        owned.probe_offset = offsets[std::prev(probe)->first];
        owned.probe_hash = std::prev(probe)->second;
        reader_->remember(owned.partition, {owned.probe_offset, owned.probe_hash});
    }
    records_ += end - begin;
    if (replaying_) {
        replayed_records_ += end - begin;
    }
    if (owned.handed_over_ns) {
        fold_latency_.add(
            static_cast<std::uint64_t>(settings_.clock.steady_ns() - *owned.handed_over_ns) / 1000);
    }
    return true;
}

// Dead letters of the rows that are about to count. Returns the first row that may not count yet:
// there is no room for its letter now, or it is one to stop at.
std::size_t Worker::set_aside(Owned& owned, std::size_t end) {
    auto& letters = owned.batch.set_aside;
    const config::Source& source = settings_.pipeline.source;
    const model::Partition& partition = settings_.partitions[owned.partition];
    owned.stopped.clear();
    auto done = letters.begin();
    for (; done != letters.end() && done->row < end; ++done) {
        const model::Offset offset = owned.batch.records.offset[done->row];
        const bool null = owned.batch.records.status[done->row] == model::RowStatus::null_value;
        const config::OnError policy = null ? source.on_null : source.on_error;
        std::string problem;
        if (policy == config::OnError::stop) {
            problem = done->reason;
        } else if (policy == config::OnError::dead_letter) {
            const auto taken =
                settings_.dead_letters.append(ingest::dead_letter_line(partition, offset, *done));
            if (!taken) {
                problem = taken.error().text;
            }
        }
        if (!problem.empty()) {
            owned.stopped =
                model::to_string(partition) + " offset " + std::to_string(offset) + ": " + problem;
            break;
        }
    }
    const std::size_t stop = owned.stopped.empty() ? end : done->row;
    letters.erase(letters.begin(), done);  // a letter that was taken is not written twice
    return stop;
}

bool Worker::until_end_reached(const Owned& owned) const {
    if (!owned.until) {
        return false;
    }
    if (owned.waiting_offset() >= *owned.until) {
        return true;
    }
    // Control records and aborted ones behind the last record have no row: the broker's word
    // counts.
    const auto end = reader_->at_end(owned.partition);
    return end && *end >= *owned.until && owned.exhausted();
}

void Worker::publish() {
    WorkerProgress progress;
    progress.until_end_reached = !replaying_;
    for (const auto& owned : owned_) {
        PartitionProgress one;
        one.partition = owned->partition;
        one.next_offset = owned->next_offset;
        one.watermark = owned->time.watermark();
        one.greatest_timestamp = owned->time.greatest();
        one.idle = owned->time.idle();
        one.end_seen = owned->end_seen;
        if (!paused_.load(std::memory_order_relaxed) && owned->exhausted()) {
            one.quiet_since_ms = owned->quiet_since_ms;
        }
        one.last_arrival_ms = owned->last_arrival_ms;
        one.gone = owned->gone;
        if (!owned->stopped.empty()) {
            progress.stopped += (progress.stopped.empty() ? "" : "; ") + owned->stopped;
        }
        one.probe_offset = owned->probe_offset;
        one.probe_hash = owned->probe_hash;
        one.ledger = owned->ledger;
        progress.wants_cap |= owned->wants_cap;
        progress.until_end_reached &= until_end_reached(*owned);
        if (progress.reductions.empty()) {
            progress.reductions.resize(folders_.size());
        }
        for (std::size_t r = 0; r < folders_.size(); ++r) {
            progress.reductions[r] += owned->reductions[r];
        }
        progress.partitions.push_back(std::move(one));
    }
    progress.reductions.resize(folders_.size());
    for (const auto& folder : folders_) {
        progress.table_bytes += folder->bytes();
        progress.keys.push_back(folder->rows());
        progress.open_windows.push_back(folder->slices());
        progress.first_end.push_back(folder->first_end());
        progress.last_end.push_back(folder->last_end());
    }
    progress.decode_errors = decode_errors_;
    progress.step_errors.assign(mapper_.step_errors().begin(), mapper_.step_errors().end());
    progress.reduction_errors.assign(mapper_.reduction_errors().begin(),
                                     mapper_.reduction_errors().end());
    for (std::size_t r = 0; r < folders_.size(); ++r) {
        progress.reduction_errors[r] += fold_errors_[r];
    }
    progress.guarded = guarded_;
    progress.trouble = trouble_;
    progress.records = records_;
    progress.replayed_records = replayed_records_;
    progress.busy_ns = busy_ns_;
    progress.blocked_ns = blocked_ns_;
    progress.fold_latency = fold_latency_;
    std::lock_guard lock(progress_mutex_);
    std::swap(progress_, progress);
}

}  // namespace sluice::daemon
