#include "daemon/checkpoints.h"

#include <algorithm>
#include <utility>

#include "daemon/partition_meta.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::daemon {

namespace {

std::vector<model::EventTime> dropped_of(const state::CheckpointMeta& meta) {
    std::vector<model::EventTime> dropped;
    for (const state::ReductionMeta& reduction : meta.reductions) {
        dropped.push_back(reduction.dropped.value_or(kNoTime));
    }
    return dropped;
}

}  // namespace

Checkpoints::Checkpoints(Parts parts, Start start)
    : parts_(std::move(parts)),
      resting_(std::move(start.resting)),
      frame_(std::move(start.meta)),
      retention_(
          {parts_.pipeline.sink.result_retention_ms, parts_.pipeline.sink.result_retention_bytes},
          dropped_of(frame_)),
      schedule_(parts_.pipeline.state.checkpoint_every_ms, parts_.clock.steady_ms()) {
    for (state::CheckpointSummary& kept : start.kept) {
        report_.kept.push_back({std::move(kept), 0});
    }
    report_.interval_ms = schedule_.interval_ms();
}

Checkpoints::Report Checkpoints::report() const {
    std::lock_guard lock(mutex_);
    return report_;
}

// ---- the frame
// ------------------------------------------------------------------------------------------------

void Checkpoints::note(const model::Barrier& barrier) {
    if (barrier.kind == model::BarrierKind::cut) {
        frame_.cut_floor = std::max(frame_.cut_floor, barrier.time);
    } else if (barrier.kind == model::BarrierKind::cap) {
        frame_.cap = barrier.time;
    } else if (barrier.kind == model::BarrierKind::tick) {
        frame_.tick = barrier.time;
    }
    frame_.clock = std::max(frame_.clock, barrier.clock);
}

void Checkpoints::note_closed(model::EventTime over, model::BarrierNumber tag) {
    frame_.closed = std::max(frame_.closed, over);
    closed_tag_ = std::max(closed_tag_, tag);
}

void Checkpoints::note_acknowledged() {
    const model::EventTime now = parts_.clock.wall_ms();
    for (std::uint32_t r = 0; r < frame_.reductions.size(); ++r) {
        const model::EventTime frontier = parts_.sink.acknowledged(r);
        if (retention_.note(r, frontier, now) && SLUICE_MUTANT(DROP_ON_ACKNOWLEDGEMENT)) {
            static_cast<void>(parts_.store.set_dropped(frame_.reductions[r].number, frontier));
        }
    }
}

std::vector<model::EventTime> Checkpoints::acknowledged() const {
    std::vector<model::EventTime> frontiers;
    for (std::uint32_t r = 0; r < frame_.reductions.size(); ++r) {
        frontiers.push_back(parts_.sink.acknowledged(r));
    }
    return frontiers;
}

// ---- seals
// ----------------------------------------------------------------------------------------------------

void Checkpoints::put_off(std::string problem) {
    schedule_.put_off(parts_.clock.steady_ms());
    std::lock_guard lock(mutex_);
    report_.problem = std::move(problem);
}

void Checkpoints::refuse_stop_savepoint(std::string problem) {
    std::lock_guard lock(mutex_);
    report_.savepoint_problem = std::move(problem);
}

void Checkpoints::begin(Sealing sealing) {
    INVARIANT(!sealing_, "one seal at a time");
    sealing.frontiers = acknowledged();
    sealing_ = std::move(sealing);
}

void Checkpoints::begin(Kind kind, bool last) {
    Sealing sealing;
    sealing.kind = kind;
    sealing.last = last;
    begin(std::move(sealing));
    if (kind == Kind::checkpoint) {
        schedule_.begin(parts_.clock.steady_ms());
    }
}

void Checkpoints::begin(SavepointRequests::Wanted savepoint, bool last) {
    Sealing sealing;
    sealing.kind = Kind::savepoint;
    sealing.last = last;
    sealing.savepoint = std::move(savepoint);
    begin(std::move(sealing));
}

void Checkpoints::abandon() { sealing_.reset(); }

bool Checkpoints::closed_exceed(std::size_t bytes) const {
    return closed_tag_ != 0 && parts_.store.table_bytes() > bytes;
}

void Checkpoints::spill_closed(model::BarrierNumber journaled) {
    begin(Kind::spill);
    Undertaking closed;
    closed.order.kind = Order::Kind::spill;
    closed.tag = std::max(closed_tag_, last_run_);
    hand_over(closed, journaled);
}

void Checkpoints::hand_over(const Undertaking& sealed, model::BarrierNumber journaled,
                            const Takeover* takeover) {
    INVARIANT(sealing_, "a seal has begun before its tables come");
    state::SnapshotJob job;
    job.kind = sealing_->kind;
    job.last = sealing_->last;
    job.name = sealing_->savepoint.name;
    job.number = sealed.order.barrier.number;
    if (sealed.order.kind == Order::Kind::spill) {
        // One worker may be behind the others: runs still go in by rising numbers.
        job.number = spilled_ = std::max(spilled_, sealed.tag);
    }
    drop_expired(job);
    if (job.kind == Kind::spill) {
        job.meta.number = job.number;
        job.meta.reductions = frame_.reductions;
    } else {
        fill_snapshot(job, sealed, journaled, takeover);
    }
    sealing_->pause_ns = sealed.pause_ns;
    last_run_ = job.number;
    closed_tag_ = 0;
    parts_.snapshotter.submit(std::move(job));
}

// What is acknowledged in the very snapshot and past its retention needs no run any more. The live
// store drops rows up to there once the snapshot, and with it the acknowledgement, is committed.
void Checkpoints::drop_expired(state::SnapshotJob& job) {
    const model::EventTime now = parts_.clock.wall_ms();
    retention_.give_up_surplus();
    for (std::size_t r = 0; r < frame_.reductions.size(); ++r) {
        state::ReductionMeta& kept = frame_.reductions[r];
        if (sealing_->frontiers[r] != kNoTime) {
            kept.acknowledged = sealing_->frontiers[r];
        }
        const model::EventTime expired =
            std::min(retention_.past(r, now), kept.acknowledged.value_or(kNoTime));
        if (expired != kNoTime) {
            job.discards[kept.number] = expired;
            kept.dropped = std::max(kept.dropped.value_or(kNoTime), expired);
            retention_.expire(r, expired);
        }
        if (parts_.emitter.fired(r) != kNoTime) {
            kept.fired = parts_.emitter.fired(r);
        }
    }
}

void Checkpoints::fill_snapshot(state::SnapshotJob& job, const Undertaking& sealed,
                                model::BarrierNumber journaled, const Takeover* takeover) {
    sealing_->stretches = retention_.stretches();
    for (const ResultRetention::Stretch& stretch : sealing_->stretches) {
        job.measure.push_back(
            {frame_.reductions[stretch.reduction].number, stretch.after, stretch.up_to});
    }
    job.meta = frame_;
    parts_.emitter.keep_completeness(job.meta);
    job.meta.number = job.number;
    // In a replay the journal goes on behind it: what follows is needed to start from here.
    job.meta.journal_number = std::min(journaled, job.number);
    job.meta.reset_sink = false;
    job.meta.clock = sealed.order.barrier.clock;
    job.meta.partitions.clear();
    for (const PartitionState& partition : sealed.partitions) {
        job.meta.partitions.push_back(to_meta(partition, parts_.partitions, parts_.pipeline));
        INVARIANT(partition.ledger.balanced() &&
                      std::ranges::all_of(partition.reductions,
                                          [](const auto& ledger) { return ledger.balanced(); }),
                  "the ledger balances");
    }
    std::sort(job.meta.partitions.begin(), job.meta.partitions.end(),
              [](const auto& a, const auto& b) { return a.partition < b.partition; });
    job.meta.partitions.insert(job.meta.partitions.end(), resting_.begin(), resting_.end());
    job.inputs_text = parts_.pipeline.inputs;
    if (takeover != nullptr) {
        const Reload& reload = takeover->reload;
        job.inputs_text = reload.pipeline->inputs;
        job.meta = reloaded(std::move(job.meta), parts_.pipeline, *reload.pipeline,
                            reload.decisions, takeover->over);
        parts_.store.set_reductions(job.meta.reductions);
    }
    job.before_commit = [this](state::CheckpointMeta& meta) {
        if (SLUICE_MUTANT(FRONTIER_AFTER_SEALS)) {
            const auto frontiers = acknowledged();  // behind a reload the meta may have others
            for (std::size_t r = 0; r < std::min(frontiers.size(), meta.reductions.size()); ++r) {
                meta.reductions[r].acknowledged = frontiers[r];
            }
        }
        return parts_.dead_letters.sync();
    };
}

// ---- what became of them
// --------------------------------------------------------------------------------------

std::optional<Checkpoints::Settled> Checkpoints::take_settled() {
    auto result = parts_.snapshotter.take_result();
    if (!result) {
        return std::nullopt;
    }
    if (result->outcome == state::SnapshotResult::Outcome::unusable) {
        return Settled{std::move(*result), false};
    }
    INVARIANT(sealing_, "a result is that of the seal under way");
    const Sealing sealing = std::move(*std::exchange(sealing_, std::nullopt));
    if (result->kind == Kind::savepoint) {
        note_savepoint(sealing, *result);
        parts_.savepoint_frozen();
    } else if (result->outcome == state::SnapshotResult::Outcome::skipped) {
        {
            std::lock_guard lock(mutex_);
            report_.problem = result->error.text;
            ++report_.failed;
        }
        schedule_.note_skipped(parts_.clock.steady_ms());
    } else if (result->kind == Kind::checkpoint) {
        note_checkpoint(sealing, *result);
    }
    return Settled{std::move(*result), sealing.last};
}

void Checkpoints::note_savepoint(const Sealing& sealing, const state::SnapshotResult& result) {
    const bool done = result.outcome == state::SnapshotResult::Outcome::done;
    {
        std::lock_guard lock(mutex_);
        ++(done ? report_.savepoints_taken : report_.savepoints_failed);
        if (sealing.savepoint.ticket == 0) {
            report_.savepoint_problem = done ? "" : result.error.text;
            return;
        }
    }
    savepoints_.settle(sealing.savepoint.ticket, done
                                                     ? SavepointRequests::Outcome(result.checkpoint)
                                                     : std::unexpected(result.error));
}

void Checkpoints::note_checkpoint(const Sealing& sealing, const state::SnapshotResult& result) {
    const auto& stretches = sealing.stretches;
    for (std::size_t i = 0; i < std::min(stretches.size(), result.measured.size()); ++i) {
        retention_.measured(stretches[i], result.measured[i]);
    }
    std::lock_guard lock(mutex_);
    report_.problem.clear();
    report_.note = result.note;
    ++report_.completed;
    report_.last = Taken{result.checkpoint, sealing.pause_ns / 1000};
    list_kept(result);
    for (const state::PartitionMeta& partition : result.meta.partitions) {
        report_.committed_offsets[partition.partition] = partition.next_offset;
    }
    // Under the lock: whoever sees that it is done finds it in the report.
    schedule_.committed(result.checkpoint.cpu_ns);
    report_.interval_ms = schedule_.interval_ms();
}

// What only the run that took a checkpoint knows of it stays with it for as long as it is kept.
// mutex_ is held.
void Checkpoints::list_kept(const state::SnapshotResult& result) {
    std::vector<Taken> kept{*report_.last};
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

}  // namespace sluice::daemon
