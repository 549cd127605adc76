#include "daemon/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "daemon/version.h"

namespace sluice::daemon {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

double seconds_of(std::uint64_t us) { return static_cast<double>(us) / 1e6; }

class Families {
 public:
    explicit Families(std::string pipeline) : pipeline_(std::move(pipeline)) {}

    // Begins a family; samples that follow belong to it.
    void family(MetricType type, const std::string& name, const std::string& help) {
        families_.push_back({"sluice_" + name, help, type, {}});
    }

    template <class T>
    void sample(T value, const Labels& labels = {}) {
        ClientMetric metric;
        metric.label.push_back({"pipeline", pipeline_});
        for (const auto& [name, text] : labels) {
            metric.label.push_back({name, text});
        }
        (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
            static_cast<double>(value);
        families_.back().metric.push_back(std::move(metric));
    }

    // Durations in microseconds, as seconds.
    template <const auto& kBounds>
    void sample(const model::Histogram<kBounds>& latency, const Labels& labels = {}) {
        sample(0, labels);
        prometheus::ClientMetric::Histogram& histogram = families_.back().metric.back().histogram;
        for (std::size_t i = 0; i < latency.counts.size(); ++i) {
            histogram.sample_count += latency.counts[i];
            histogram.bucket.push_back(
                {histogram.sample_count, i < kBounds.size()
                                             ? seconds_of(kBounds[i])
                                             : std::numeric_limits<double>::infinity()});
        }
        histogram.sample_sum = seconds_of(latency.sum_us);
    }

    template <class T>
    void counter(const std::string& name, const std::string& help, T value) {
        family(MetricType::Counter, name, help);
        sample(value);
    }

    template <class T>
    void gauge(const std::string& name, const std::string& help, T value) {
        family(MetricType::Gauge, name, help);
        sample(value);
    }

    std::vector<MetricFamily>& all() { return families_; }

 private:
    std::string pipeline_;
    std::vector<MetricFamily> families_;
};

double seconds(model::EventTime time) { return static_cast<double>(time) / 1000; }

void add_process_state(Families& to, const Status& status) {
    to.family(MetricType::Gauge, "build_info", "What runs, always 1.");
    to.sample(1, {{"version", version()}, {"io_backend", status.io.backend}});
    to.gauge("start_time_seconds", "When the process started.", seconds(status.started));
    to.family(MetricType::Gauge, "state", "1 for the state that the pipeline is in.");
    for (const RunState state : {RunState::starting, RunState::restoring, RunState::running,
                                 RunState::paused, RunState::degraded, RunState::stopping}) {
        to.sample(state == status.state ? 1 : 0, {{"state", std::string(name_of(state))}});
    }
    to.gauge("ready", "1 when every condition is ok.", status.ready ? 1 : 0);
    to.family(MetricType::Gauge, "condition", "1 for each condition that is ok.");
    for (const Condition& condition : status.conditions) {
        to.sample(condition.ok ? 1 : 0, {{"condition", condition.name}});
    }
    to.family(MetricType::Gauge, "config_info", "The configuration that runs, always 1.");
    to.sample(1, {{"hash", status.config_hash}});
    to.gauge("config_stale", "1 when the file differs from what runs.",
             status.config_stale ? 1 : 0);
    to.gauge("epoch", "Fencing epoch of this run.", status.epoch);
    to.counter("records_before_ready_total", "Records read before the gate opened: 0 for ever.",
               status.records_before_ready);
}

void add_source(Families& to, const Status& status, model::EventTime now) {
    to.family(MetricType::Counter, "records_total",
              "What became of records, in the whole life of the state; the outcomes add up to "
              "consumed and exploded.");
    const model::Ledger& ledger = status.ledger;
    const std::array<std::pair<const char*, std::uint64_t>, 6> outcomes{
        {{"reached", ledger.reached},
         {"filtered", ledger.filtered},
         {"null", ledger.null},
         {"undecodable", ledger.undecodable},
         {"duplicate", ledger.duplicate},
         {"skipped", ledger.skipped}}};
    for (const auto& [name, value] : outcomes) {
        to.sample(value, {{"outcome", name}});
    }
    to.counter("source_events_total", "Records consumed, in the whole life of the state.",
               ledger.consumed);
    const auto per_partition = [&](MetricType type, const std::string& name,
                                   const std::string& help, const auto& value) {
        to.family(type, name, help);
        for (const PartitionStatus& partition : status.partitions) {
            if (const auto number = value(partition)) {
                to.sample(*number, {{"topic", partition.topic},
                                    {"partition", std::to_string(partition.partition)}});
            }
        }
    };
    using Number = std::optional<double>;
    const auto behind = [](const PartitionStatus& partition, std::int64_t offset) {
        return partition.end_offset ? Number(static_cast<double>(std::max<std::int64_t>(
                                          0, *partition.end_offset - offset)))
                                    : Number();
    };
    per_partition(
        MetricType::Gauge, "source_next_offset", "The next offset to read.",
        [](const PartitionStatus& p) { return Number(static_cast<double>(p.next_offset)); });
    per_partition(MetricType::Gauge, "source_lag_events", "Records not yet read.",
                  [&](const PartitionStatus& p) { return behind(p, p.next_offset); });
    per_partition(MetricType::Gauge, "source_checkpointed_lag_events",
                  "Records that a crash now would read again, or for the first time.",
                  [&](const PartitionStatus& p) { return behind(p, p.checkpointed_offset); });
    per_partition(MetricType::Gauge, "source_idle", "1 for a partition that is idle.",
                  [](const PartitionStatus& p) { return Number(p.idle ? 1 : 0); });
    if (status.watermark) {
        to.gauge("watermark_timestamp_seconds", "The pipeline's watermark.",
                 seconds(*status.watermark));
        to.gauge("watermark_lag_seconds", "How far the watermark is behind the clock.",
                 seconds(now - *status.watermark));
    }
    to.counter("dead_letters_total", "Dead letters written by this run.",
               status.dead_letters.written);
    to.counter("dead_letters_dropped_total", "Dead letters for which the file had no room.",
               status.dead_letters.dropped);
}

void add_errors(Families& to, const model::ValueErrors& errors, const Labels& place) {
    const std::array<std::pair<const char*, std::uint64_t>, 3> kinds{
        {{"wrong_type", errors.wrong_type}, {"overflow", errors.overflow}, {"nan", errors.nan}}};
    for (const auto& [kind, count] : kinds) {
        Labels labels = place;
        labels.emplace_back("error", kind);
        to.sample(count, labels);
    }
}

void add_reductions(Families& to, const Status& status) {
    to.family(MetricType::Counter, "step_errors_total", "Values that became null in a step.");
    for (std::size_t i = 0; i < status.steps.size(); ++i) {
        add_errors(to, status.steps[i].errors, {{"step", std::to_string(i + 1)}});
    }
    to.family(MetricType::Counter, "reduction_errors_total",
              "Values that became null in a reduction.");
    for (const ReductionStatus& reduction : status.reductions) {
        add_errors(to, reduction.errors, {{"reduction", reduction.id}});
    }
    to.family(MetricType::Counter, "reduction_records_total",
              "What became of the records that reached a reduction.");
    for (const ReductionStatus& reduction : status.reductions) {
        const std::array<std::pair<const char*, std::uint64_t>, 4> outcomes{
            {{"folded", reduction.ledger.folded},
             {"filtered", reduction.ledger.filtered},
             {"late", reduction.ledger.late},
             {"refused", reduction.ledger.refused}}};
        for (const auto& [name, value] : outcomes) {
            to.sample(value, {{"reduction", reduction.id}, {"outcome", name}});
        }
    }
    const auto per_reduction = [&](MetricType type, const std::string& name,
                                   const std::string& help, auto ReductionStatus::* member) {
        to.family(type, name, help);
        for (const ReductionStatus& reduction : status.reductions) {
            to.sample(reduction.*member, {{"reduction", reduction.id}});
        }
    };
    per_reduction(MetricType::Gauge, "window_open", "Open windows.",
                  &ReductionStatus::open_windows);
    per_reduction(MetricType::Gauge, "window_keys", "Rows of open windows.",
                  &ReductionStatus::keys);
    per_reduction(MetricType::Counter, "window_fired_total", "Results made.",
                  &ReductionStatus::fired);
    to.family(MetricType::Gauge, "frontier_timestamp_seconds",
              "The window end up to which every result is written.");
    for (const ReductionStatus& reduction : status.reductions) {
        if (reduction.frontier) {
            to.sample(seconds(*reduction.frontier), {{"reduction", reduction.id}});
        }
    }
    to.family(MetricType::Counter, "worker_busy_seconds_total", "Time spent decoding and folding.");
    for (std::size_t i = 0; i < status.workers.size(); ++i) {
        to.sample(static_cast<double>(status.workers[i].busy_ns) / 1e9,
                  {{"worker", std::to_string(i)}});
    }
    to.family(MetricType::Counter, "worker_blocked_seconds_total",
              "Time held back by memory, disk or sink.");
    for (std::size_t i = 0; i < status.workers.size(); ++i) {
        to.sample(static_cast<double>(status.workers[i].blocked_ns) / 1e9,
                  {{"worker", std::to_string(i)}});
    }
    to.family(MetricType::Histogram, "fold_latency_seconds",
              "From a worker's turn to a batch of records until they are in their windows.");
    to.sample(status.fold_latency);
}

void add_snapshots(Families& to, const Status& status, model::EventTime now) {
    to.family(MetricType::Counter, "checkpoints_total", "Checkpoints of this run.");
    to.sample(status.checkpoints_completed, {{"result", "completed"}});
    to.sample(status.checkpoints_failed, {{"result", "failed"}});
    to.gauge("checkpoint_interval_seconds", "The effective interval.",
             seconds(status.checkpoint_interval_ms));
    if (!status.checkpoints.empty()) {
        const CheckpointStatus& last = status.checkpoints.front();
        to.gauge("checkpoint_last_id", "The newest snapshot.", last.id);
        to.gauge("checkpoint_last_success_timestamp_seconds", "When it was taken.",
                 seconds(last.taken));
        to.gauge("checkpoint_age_seconds", "How long ago that was.", seconds(now - last.taken));
        to.family(MetricType::Gauge, "checkpoint_bytes", "Its size.");
        to.sample(last.bytes, {{"kind", "full"}});
        to.sample(last.new_bytes, {{"kind", "incremental"}});
        to.gauge("checkpoint_duration_seconds", "How long it took.",
                 static_cast<double>(last.duration_ms) / 1000);
        to.gauge("checkpoint_pause_seconds",
                 "The longest time a worker did not fold because of it.",
                 static_cast<double>(last.pause_us) / 1e6);
    }
    to.family(MetricType::Counter, "savepoints_total", "Savepoints of this run.");
    to.sample(status.savepoints_taken, {{"result", "taken"}});
    to.sample(status.savepoints_failed, {{"result", "failed"}});
    std::uint64_t kept = 0;
    std::uint64_t shared = 0;
    for (const CheckpointStatus& one : status.checkpoints) {
        kept += one.kind == "savepoint" ? 1U : 0U;
        shared += one.shared_bytes;
    }
    to.gauge("savepoints", "Savepoints that are there.", kept);
    to.gauge("savepoints_shared_bytes", "Bytes of theirs in files that something else has, too.",
             shared);
    to.gauge("savepoint_completion_bytes", "Copied of the savepoint that is being completed.",
             status.completion.bytes);
    to.gauge("savepoint_completion_total_bytes", "To copy of it; 0: none is being completed.",
             status.completion.total_bytes);
    to.gauge("restore_bytes", "Bytes restored at the start.", status.restore.bytes);
    to.gauge("restore_total_bytes", "Bytes to restore at the start.", status.restore.total_bytes);
    to.gauge("restore_duration_seconds", "How long the restore took.",
             static_cast<double>(status.restore.duration_ms) / 1000);
    to.gauge("restore_stalled_seconds",
             "How long one piece of the start has not come back, from 10 s on.",
             seconds(status.restore.stalled_ms));
    to.counter("restore_replayed_events_total", "Records read again after the restore.",
               status.restore.replayed_records);
    to.gauge("restore_verified_bytes",
             "Bytes of the restored snapshot that were read and compared.",
             status.restore.verified_bytes);
    to.gauge("restore_verify_bytes", "Bytes of it to read and compare behind the gate.",
             status.restore.verify_bytes);
    to.gauge("restore_rejected", "Snapshots that were not usable.", status.restore.rejected.size());
}

void add_io_and_room(Families& to, const Status& status) {
    to.counter("io_submitted_total", "Operations given to the writer.", status.io.submitted);
    to.counter("io_completed_total", "Operations that came back.", status.io.completed);
    to.counter("io_errors_total", "Operations that failed or were short.", status.io.errors);
    to.gauge("io_inflight", "Operations on their way.", status.io.in_flight);
    to.gauge("io_oldest_inflight_seconds", "How long the oldest of them has been so.",
             seconds_of(status.io.oldest_us));
    to.counter("io_syncs_total", "fdatasync and fsync calls.", status.io.syncs);
    to.family(MetricType::Histogram, "io_duration_seconds",
              "Operations by how long they took, from submission to completion.");
    to.sample(status.io.write, {{"operation", "write"}});
    to.sample(status.io.read, {{"operation", "read"}});
    to.sample(status.io.sync, {{"operation", "sync"}});
    to.family(MetricType::Counter, "io_bytes_total", "Bytes moved.");
    to.sample(status.io.bytes_written, {{"direction", "written"}});
    to.sample(status.io.bytes_read, {{"direction", "read"}});
    to.gauge("memory_bytes", "Memory in use by tables, queues and caches.",
             status.room.memory_bytes);
    to.gauge("memory_limit_bytes", "Its limit.", status.room.memory_limit_bytes);
    to.gauge("disk_free_bytes", "Free bytes on the disk of the state.",
             status.room.disk_free_bytes);
    to.gauge("disk_reserve_bytes", "Free bytes below which input pauses.",
             status.room.disk_reserve_bytes);
}

void add_sink(Families& to, const SinkStatus& sink) {
    to.counter("sink_results_total", "Results acknowledged by Redis.", sink.results);
    to.counter("sink_commands_total", "Commands acknowledged by Redis.", sink.commands);
    to.gauge("sink_pending_results", "Results on their way.", sink.pending);
    to.counter("sink_retries_total", "Batches sent again.", sink.retries);
    to.counter("sink_reconnects_total", "Connections made anew.", sink.reconnects);
    to.counter("sink_refused_total", "Results that Redis refused for good.", sink.refused);
    to.counter("sink_replayed_results_total", "Results sent again because Redis had lost them.",
               sink.resent);
    to.counter("sink_retention_given_up_total",
               "Times that acknowledged results were given up because of their bytes.",
               sink.given_up);
    to.gauge("sink_retention_seconds", "How far back acknowledged results can be sent again.",
             static_cast<double>(sink.retention_ms) / 1000);
}

// The standard names, without our prefix.
std::string process_metrics() {
    std::ostringstream out;
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages = 0;
    std::uint64_t resident = 0;
    if (statm >> pages >> resident) {
        out << "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes "
            << resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) << "\n";
    }
    std::ifstream stat("/proc/self/stat");
    std::string line;
    if (std::getline(stat, line) && line.rfind(')') != std::string::npos) {
        // The fields after the name: state is the first, utime the 12th, stime the 13th.
        std::istringstream fields(line.substr(line.rfind(')') + 2));
        std::string skipped;
        for (int i = 0; i < 11; ++i) {
            fields >> skipped;
        }
        std::uint64_t user = 0;
        std::uint64_t system = 0;
        if (fields >> user >> system) {
            out << "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "
                << static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK))
                << "\n";
        }
    }
    return out.str();
}

}  // namespace

std::string to_metrics(const Status& status, model::EventTime now) {
    Families families(status.name);
    add_process_state(families, status);
    add_source(families, status, now);
    add_reductions(families, status);
    add_snapshots(families, status, now);
    add_sink(families, status.sink);
    add_io_and_room(families, status);
    std::erase_if(families.all(), [](const MetricFamily& family) { return family.metric.empty(); });
    return prometheus::TextSerializer().Serialize(families.all()) + process_metrics();
}

}  // namespace sluice::daemon
