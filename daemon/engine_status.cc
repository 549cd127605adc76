#include "daemon/engine_status.h"

#include <algorithm>

#include "daemon/engine.h"
#include "state/model/number.h"

namespace sluice::daemon {

namespace {

CheckpointStatus checkpoint_status(const state::CheckpointSummary& info, std::int64_t pause_us) {
    CheckpointStatus status;
    status.id = info.id;
    status.kind = info.kind == state::SnapshotKind::checkpoint ? "checkpoint" : "savepoint";
    status.taken = model::parse_rfc3339(info.taken).value_or(0);
    status.bytes = info.bytes;
    status.new_bytes = info.new_bytes;
    status.pause_us = static_cast<std::uint64_t>(pause_us);
    status.duration_ms = info.duration_ms;
    status.path = info.path;
    return status;
}

void show_reductions(Status& status, Engine& engine, const Coordinator::Report& report) {
    const std::size_t reductions = engine.pipeline().reductions.size();
    status.reductions.assign(reductions, {});
    for (std::size_t r = 0; r < reductions; ++r) {
        ReductionStatus& reduction = status.reductions[r];
        reduction.id = engine.pipeline().reductions[r].id;
        reduction.open_windows = report.open_windows[r];
        const Emitter::FiredCounts fired = engine.emitter().counts(r);
        reduction.fired = fired.results;
        reduction.errors = fired.errors;
        if (report.acknowledged[r] != kNoTime) {
            reduction.frontier = report.acknowledged[r];
        }
    }
}

void show_partition(PartitionStatus& partition, const PartitionProgress& progress,
                    const model::Partition& name, const Coordinator::Report& report,
                    const Watch::Seen& seen) {
    partition.topic = name.topic;
    partition.partition = name.id;
    partition.next_offset = progress.next_offset;
    partition.idle = progress.idle;
    partition.watermark =
        progress.watermark == kNoTime ? std::nullopt : std::optional(progress.watermark);
    partition.ledger = progress.ledger;
    if (progress.partition < seen.ends.size() && seen.ends[progress.partition]) {
        partition.end_offset = std::max(*seen.ends[progress.partition], progress.next_offset);
    }
    const model::Offsets& committed = report.checkpoints.committed_offsets;
    if (const auto found = committed.find(name); found != committed.end()) {
        partition.checkpointed_offset = found->second;
    }
}

// Adds what each worker has to what the reductions are known to have.
Found show_workers(Status& status, Engine& engine, const Coordinator::Report& report,
                   const Watch::Seen& seen) {
    Found found;
    status.ledger = {};
    status.source = {};
    status.steps.clear();
    status.workers.clear();
    status.fold_latency = {};
    for (const config::Step& step : engine.pipeline().steps) {
        status.steps.push_back({step.text, {}});
    }
    status.restore.replayed_records = 0;
    std::uint64_t table_bytes = engine.store().table_bytes();
    for (std::size_t w = 0; w < engine.worker_count(); ++w) {
        const WorkerProgress progress = engine.worker(w).progress();
        table_bytes += progress.table_bytes;
        found.records += progress.records;
        status.restore.replayed_records += progress.replayed_records;
        status.workers.push_back({static_cast<std::uint64_t>(progress.busy_ns),
                                  static_cast<std::uint64_t>(progress.blocked_ns)});
        status.fold_latency += progress.fold_latency;
        if (!progress.stopped.empty()) {
            found.stopped += (found.stopped.empty() ? "" : "; ") + progress.stopped;
        }
        if (!progress.trouble.empty()) {
            found.trouble = progress.trouble;
        }
        status.source.errors += progress.decode_errors;
        for (std::size_t s = 0; s < status.steps.size(); ++s) {
            status.steps[s].errors += progress.step_errors[s];
        }
        for (std::size_t r = 0; r < status.reductions.size(); ++r) {
            status.reductions[r].ledger += progress.reductions[r];
            status.reductions[r].keys += progress.keys[r];
            status.reductions[r].errors += progress.reduction_errors[r];
        }
        for (const PartitionProgress& one : progress.partitions) {
            status.partitions.resize(
                std::max<std::size_t>(status.partitions.size(), one.partition + 1));
            show_partition(status.partitions[one.partition], one,
                           engine.partitions()[one.partition], report, seen);
            status.ledger += one.ledger;
            if (!one.gone.empty()) {
                found.gone += (found.gone.empty() ? "" : "; ") + one.gone;
            }
        }
    }
    status.room.memory_bytes = table_bytes + engine.store().memory_bytes();
    return found;
}

// Checkpoints and, beside them, savepoints: newest first.
void show_snapshots(Status& status, Engine& engine, const Checkpoints::Report& report) {
    status.checkpoints_completed = report.completed;
    status.checkpoints_failed = report.failed;
    status.checkpoint_interval_ms = report.interval_ms;
    status.savepoints_taken = report.savepoints_taken;
    status.savepoints_failed = report.savepoints_failed;
    status.checkpoints.clear();
    for (const Checkpoints::Taken& kept : report.kept) {
        if (kept.info.kind == state::SnapshotKind::checkpoint) {
            status.checkpoints.push_back(checkpoint_status(kept.info, kept.pause_us));
        }
    }
    const state::Completion::Report kept = engine.completion().report();
    status.completion = {kept.completing,       kept.done_bytes, kept.total_bytes,
                         kept.bytes_per_second, kept.problem,    kept.settled};
    for (const state::SavepointSummary& savepoint : kept.savepoints) {
        CheckpointStatus one;
        one.id = savepoint.info.id;
        one.kind = "savepoint";
        one.taken = model::parse_rfc3339(savepoint.info.taken).value_or(0);
        one.bytes = savepoint.info.bytes;
        one.new_bytes = savepoint.info.new_bytes;
        one.shared_bytes = savepoint.shared_bytes;
        one.path = savepoint.info.path;
        status.checkpoints.push_back(std::move(one));
    }
    std::stable_sort(status.checkpoints.begin(), status.checkpoints.end(),
                     [](const auto& a, const auto& b) { return a.id > b.id; });
}

void show_sink(Status& status, Engine& engine, const Coordinator::Report& report) {
    const sinks::SinkStatistics sink = engine.sink().statistics();
    status.epoch = sink.epoch;
    status.sink.results = sink.results;
    status.sink.commands = sink.commands;
    status.sink.pending = sink.pending;
    status.sink.retries = sink.retries;
    status.sink.reconnects = sink.reconnects;
    status.sink.refused = sink.refused;
    status.sink.retention_ms = report.retention_ms;
    status.sink.given_up = report.retention_given_up;
    status.sink.last_error = sink.last_error;
}

}  // namespace

// What a start is about, as the status names it.
std::string_view restore_phase(const Engine& engine) {
    switch (engine.stage()) {
        case Engine::Stage::journal:
            return "locate";
        case Engine::Stage::restore:
            switch (engine.restore()->phase()) {
                case state::Restore::Phase::locate:
                    return "locate";
                case state::Restore::Phase::verify:
                    return "verify";
                case state::Restore::Phase::restore:
                    return "restore";
                case state::Restore::Phase::warm:
                case state::Restore::Phase::done:
                case state::Restore::Phase::failed:
                    break;
            }
            return "warm";
        case Engine::Stage::first:
        case Engine::Stage::sink:
            return "sink_check";
        case Engine::Stage::open:
            return "open";
        case Engine::Stage::running:
            break;
        case Engine::Stage::failed:
            return "failed";
    }
    return "done";
}

void show_restore(Status& status, const Engine& engine) {
    const state::Restore& restore = *engine.restore();
    status.restore.from = restore.from();
    status.restore.bytes = restore.bytes();
    status.restore.total_bytes = restore.total_bytes();
    status.restore.phase = restore_phase(engine);
    status.restore.stalled_ms = 0;
    status.restore.rejected.clear();
    for (const state::Rejection& rejection : restore.rejected()) {
        status.restore.rejected.push_back({rejection.path, rejection.reason});
    }
}

void show_restored(Status& status, const Engine& engine) {
    status.checkpoints.clear();
    for (const state::CheckpointSummary& kept : engine.kept()) {
        status.checkpoints.push_back(checkpoint_status(kept, 0));
    }
    if (engine.stage() <= Engine::Stage::restore) {
        return;
    }
    const std::vector<state::PartitionMeta>& partitions = engine.restored().partitions;
    status.partitions.resize(std::max(status.partitions.size(), partitions.size()));
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        const state::PartitionMeta& meta = partitions[i];
        PartitionStatus& partition = status.partitions[i];
        partition.topic = meta.partition.topic;
        partition.partition = meta.partition.id;
        partition.next_offset = partition.checkpointed_offset = meta.next_offset;
        if (const auto stored = engine.stored_offsets().find(meta.partition);
            stored != engine.stored_offsets().end()) {
            partition.checkpointed_offset = stored->second;
        }
        partition.ledger = meta.ledger;
    }
}

Found show_running(Status& status, Engine& engine, const Coordinator::Report& report,
                   const Watch::Seen& seen) {
    status.barrier = report.number;
    status.watermark = report.watermark == kNoTime ? std::nullopt : std::optional(report.watermark);
    show_reductions(status, engine, report);
    Found found = show_workers(status, engine, report, seen);
    show_snapshots(status, engine, report.checkpoints);
    show_sink(status, engine, report);
    const state::Snapshotter::Verified verified = engine.snapshotter().verified();
    status.restore.verified_bytes = verified.bytes;
    status.restore.verify_bytes = verified.total_bytes;
    status.room.disk_free_bytes = seen.disk_free;
    return found;
}

}  // namespace sluice::daemon
