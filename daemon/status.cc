#include "daemon/status.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "config/units.h"

namespace sluice::daemon {
namespace {

using config::print_duration;
using config::print_size;
using config::print_time;
using config::read_time;
using nlohmann::ordered_json;

constexpr std::array<std::string_view, 6> kStates{"starting", "restoring", "running",
                                                  "paused",   "degraded",  "stopping"};

template <class T>
ordered_json or_null(const std::optional<T>& value) {
    return value ? ordered_json(*value) : ordered_json(nullptr);
}

ordered_json to_value(const model::Ledger& ledger) {
    return {{"consumed", ledger.consumed},   {"exploded", ledger.exploded},
            {"reached", ledger.reached},     {"filtered", ledger.filtered},
            {"null", ledger.null},           {"undecodable", ledger.undecodable},
            {"duplicate", ledger.duplicate}, {"skipped", ledger.skipped}};
}

ordered_json to_value(const model::ValueErrors& errors) {
    return {{"wrong_type", errors.wrong_type}, {"overflow", errors.overflow}, {"nan", errors.nan}};
}

ordered_json to_value(const Condition& condition) {
    return {{"name", condition.name},
            {"ok", condition.ok},
            {"since", print_time(condition.since)},
            {"reason", condition.reason}};
}

ordered_json to_value(const PartitionStatus& partition) {
    return {{"topic", partition.topic},
            {"partition", partition.partition},
            {"next_offset", partition.next_offset},
            {"checkpointed_offset", partition.checkpointed_offset},
            {"end_offset", or_null(partition.end_offset)},
            {"watermark", or_null(partition.watermark)},
            {"idle", partition.idle},
            {"ledger", to_value(partition.ledger)}};
}

ordered_json to_value(const ReductionStatus& reduction) {
    return {{"id", reduction.id},
            {"reached", reduction.ledger.reached},
            {"folded", reduction.ledger.folded},
            {"filtered", reduction.ledger.filtered},
            {"late", reduction.ledger.late},
            {"refused", reduction.ledger.refused},
            {"open_windows", reduction.open_windows},
            {"keys", reduction.keys},
            {"fired", reduction.fired},
            {"frontier", or_null(reduction.frontier)},
            {"errors", to_value(reduction.errors)}};
}

ordered_json to_value(const CheckpointStatus& checkpoint) {
    ordered_json value = {{"id", checkpoint.id},
                          {"kind", checkpoint.kind},
                          {"taken", print_time(checkpoint.taken)},
                          {"bytes", checkpoint.bytes},
                          {"new_bytes", checkpoint.new_bytes},
                          {"pause_us", checkpoint.pause_us},
                          {"duration_ms", checkpoint.duration_ms},
                          {"path", checkpoint.path}};
    if (checkpoint.kind == "savepoint") {
        value["shared_bytes"] = checkpoint.shared_bytes;
    }
    return value;
}

ordered_json to_value(const CompletionStatus& completion) {
    return {{"name", completion.name},
            {"bytes", completion.bytes},
            {"total_bytes", completion.total_bytes},
            {"bytes_per_second", completion.bytes_per_second},
            {"problem", completion.problem},
            {"settled", completion.settled}};
}

ordered_json to_value(const state::DiskLatency& latency) {
    return {{"p50_us", latency.quantile_us(0.5)},
            {"p99_us", latency.quantile_us(0.99)},
            {"sum_us", latency.sum_us},
            {"buckets", latency.counts}};
}

ordered_json to_value(const SinkStatus& sink) {
    return {{"results", sink.results},           {"commands", sink.commands},
            {"pending", sink.pending},           {"retries", sink.retries},
            {"reconnects", sink.reconnects},     {"refused", sink.refused},
            {"last_error", sink.last_error},     {"resent", sink.resent},
            {"retention_ms", sink.retention_ms}, {"given_up", sink.given_up}};
}

ordered_json to_value(const RestoreStatus& restore) {
    ordered_json rejected = ordered_json::array();
    for (const Rejection& rejection : restore.rejected) {
        rejected.push_back({{"path", rejection.path}, {"reason", rejection.reason}});
    }
    return {{"from", restore.from},
            {"bytes", restore.bytes},
            {"total_bytes", restore.total_bytes},
            {"duration_ms", restore.duration_ms},
            {"replayed_records", restore.replayed_records},
            {"rejected", std::move(rejected)},
            {"verified_bytes", restore.verified_bytes},
            {"verify_bytes", restore.verify_bytes},
            {"phase", restore.phase},
            {"stalled_ms", restore.stalled_ms}};
}

ordered_json to_value(const StepStatus& step) {
    return {{"text", step.text}, {"errors", to_value(step.errors)}};
}

ordered_json to_value(const WorkerStatus& worker) {
    return {{"busy_ns", worker.busy_ns}, {"blocked_ns", worker.blocked_ns}};
}

template <class T>
ordered_json to_list(const std::vector<T>& values) {
    ordered_json list = ordered_json::array();
    for (const T& value : values) {
        list.push_back(to_value(value));
    }
    return list;
}

// Reading: what is missing or of another kind keeps its default.
template <class T>
void take(const ordered_json& object, const char* name, T& value) {
    if (const auto found = object.find(name); found != object.end()) {
        if constexpr (std::is_same_v<T, std::string>) {
            if (found->is_string()) {
                value = found->template get<std::string>();
            }
        } else if constexpr (std::is_same_v<T, bool>) {
            if (found->is_boolean()) {
                value = found->template get<bool>();
            }
        } else if (found->is_number()) {
            value = found->template get<T>();
        }
    }
}

template <class T>
void take(const ordered_json& object, const char* name, std::optional<T>& value) {
    if (const auto found = object.find(name); found != object.end() && found->is_number()) {
        value = found->template get<T>();
    }
}

void take_time(const ordered_json& object, const char* name, model::EventTime& value) {
    std::string text;
    take(object, name, text);
    if (const auto time = read_time(text)) {
        value = *time;
    }
}

const ordered_json& member(const ordered_json& object, const char* name,
                           ordered_json::value_t kind) {
    static const ordered_json kEmptyObject = ordered_json::object();
    static const ordered_json kEmptyList = ordered_json::array();
    const auto found = object.find(name);
    if (found != object.end() && found->type() == kind) {
        return *found;
    }
    return kind == ordered_json::value_t::object ? kEmptyObject : kEmptyList;
}

const ordered_json& object_in(const ordered_json& object, const char* name) {
    return member(object, name, ordered_json::value_t::object);
}
const ordered_json& list_in(const ordered_json& object, const char* name) {
    return member(object, name, ordered_json::value_t::array);
}

state::DiskLatency latency_in(const ordered_json& from, const char* name) {
    const ordered_json& object = object_in(from, name);
    state::DiskLatency latency;
    take(object, "sum_us", latency.sum_us);
    const ordered_json& buckets = list_in(object, "buckets");
    for (std::size_t i = 0; i < std::min(buckets.size(), latency.counts.size()); ++i) {
        if (buckets[i].is_number_unsigned()) {
            latency.counts[i] = buckets[i].get<std::uint64_t>();
        }
    }
    return latency;
}

void take_ledger(const ordered_json& from, model::Ledger& ledger) {
    take(from, "consumed", ledger.consumed);
    take(from, "exploded", ledger.exploded);
    take(from, "reached", ledger.reached);
    take(from, "filtered", ledger.filtered);
    take(from, "null", ledger.null);
    take(from, "undecodable", ledger.undecodable);
    take(from, "duplicate", ledger.duplicate);
    take(from, "skipped", ledger.skipped);
}

void take_errors(const ordered_json& from, model::ValueErrors& errors) {
    take(from, "wrong_type", errors.wrong_type);
    take(from, "overflow", errors.overflow);
    take(from, "nan", errors.nan);
}

std::string grouped(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t i = digits.size(); i > 3; i -= 3) {
        digits.insert(i - 3, ",");
    }
    return digits;
}

std::string grouped(std::int64_t number) {
    return number < 0 ? "-" + grouped(static_cast<std::uint64_t>(-(number + 1)) + 1)
                      : grouped(static_cast<std::uint64_t>(number));
}

// "412 k/s"
std::string rate(double per_second) {
    constexpr std::array<const char*, 4> kUnits{"", " k", " M", " G"};
    std::size_t unit = 0;
    while (per_second >= 1000 && unit + 1 < kUnits.size()) {
        per_second /= 1000;
        ++unit;
    }
    std::array<char, 48> buffer{};
    std::snprintf(buffer.data(), buffer.size(),
                  per_second < 10 && unit > 0 ? "%.1f%s/s" : "%.0f%s/s", per_second, kUnits[unit]);
    return buffer.data();
}

// How long ago, to the second, the two greatest units.
std::string age(model::EventTime then, model::EventTime now) {
    const std::int64_t seconds = std::max<std::int64_t>(0, now - then) / 1000;
    if (seconds >= 86'400) {
        return print_duration(seconds / 3600 * 3'600'000);
    }
    if (seconds >= 3600) {
        return print_duration(seconds / 60 * 60'000);
    }
    return print_duration(seconds * 1000);
}

std::optional<std::int64_t> lag_of(const PartitionStatus& partition) {
    if (!partition.end_offset) {
        return std::nullopt;
    }
    return std::max<std::int64_t>(0, *partition.end_offset - partition.next_offset);
}

std::optional<std::int64_t> total_lag(const Status& status) {
    std::int64_t total = 0;
    for (const PartitionStatus& partition : status.partitions) {
        const auto lag = lag_of(partition);
        if (!lag) {
            return std::nullopt;
        }
        total += *lag;
    }
    return total;
}

std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    }
    return out;
}

// Rows of text in columns: the first is left, the others right. `cells` has the heads first.
struct Table {
    std::vector<std::vector<std::string>> rows;
};

std::string to_text(const Table& table) {
    std::vector<std::size_t> widths;
    for (const auto& row : table.rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    std::string text;
    for (const auto& row : table.rows) {
        text += "  ";
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string gap(widths[i] - row[i].size(), ' ');
            text += i == 0 ? row[i] + gap : "  " + gap + row[i];
        }
        text += "\n";
    }
    return text;
}

std::string html_escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
        }
    }
    return out;
}

std::string to_html(const Table& table) {
    std::string html = "<table>";
    bool head = true;
    for (const auto& row : table.rows) {
        html += "<tr>";
        for (const std::string& cell : row) {
            html += (head ? "<th>" : "<td>") + html_escaped(cell) + (head ? "</th>" : "</td>");
        }
        html += "</tr>\n";
        head = false;
    }
    return html + "</table>\n";
}

// The tables of both pages.
Table partition_table(const Status& status, model::EventTime now) {
    Table table{{{"PARTITION", "NEXT", "CHECKPOINTED", "END", "LAG", "WATERMARK"}}};
    for (const PartitionStatus& partition : status.partitions) {
        const auto lag = lag_of(partition);
        std::string watermark = "none";
        if (partition.watermark) {
            watermark = *partition.watermark > now ? print_time(*partition.watermark)
                                                   : age(*partition.watermark, now) + " ago";
        }
        table.rows.push_back(
            {printable(partition.topic) + "[" + std::to_string(partition.partition) + "]",
             grouped(partition.next_offset), grouped(partition.checkpointed_offset),
             partition.end_offset ? grouped(*partition.end_offset) : "?", lag ? grouped(*lag) : "?",
             watermark + (partition.idle ? " (idle)" : "")});
    }
    return table;
}

Table reduction_table(const Status& status) {
    Table table{{{"REDUCTION", "REACHED", "FOLDED", "FILTERED", "LATE", "REFUSED", "WINDOWS",
                  "KEYS", "FIRED", "FRONTIER"}}};
    for (const ReductionStatus& reduction : status.reductions) {
        table.rows.push_back({reduction.id, grouped(reduction.ledger.reached),
                              grouped(reduction.ledger.folded), grouped(reduction.ledger.filtered),
                              grouped(reduction.ledger.late), grouped(reduction.ledger.refused),
                              grouped(reduction.open_windows), grouped(reduction.keys),
                              grouped(reduction.fired),
                              reduction.frontier ? print_time(*reduction.frontier) : "none"});
    }
    return table;
}

Table checkpoint_table(const Status& status, model::EventTime now) {
    Table table{{{"SNAPSHOT", "KIND", "TAKEN", "SIZE", "NEW", "PAUSE", "TOOK"}}};
    for (const CheckpointStatus& checkpoint : status.checkpoints) {
        if (table.rows.size() > 10) {
            break;
        }
        table.rows.push_back({std::to_string(checkpoint.id), checkpoint.kind,
                              age(checkpoint.taken, now) + " ago", print_size(checkpoint.bytes),
                              print_size(checkpoint.new_bytes),
                              std::to_string(checkpoint.pause_us) + "us",
                              std::to_string(checkpoint.duration_ms) + "ms"});
    }
    return table;
}

std::string ledger_line(const model::Ledger& ledger) {
    return grouped(ledger.consumed) + " consumed" +
           (ledger.exploded > 0 ? " + " + grouped(ledger.exploded) + " exploded" : "") + " = " +
           grouped(ledger.reached) + " reached + " + grouped(ledger.filtered) + " filtered + " +
           grouped(ledger.null) + " null + " + grouped(ledger.undecodable) + " undecodable + " +
           grouped(ledger.duplicate) + " duplicate + " + grouped(ledger.skipped) + " skipped";
}

// Every line of the page but the tables: label and text.
std::vector<std::pair<std::string, std::string>> facts(const Status& status) {
    std::vector<std::pair<std::string, std::string>> lines;
    const auto lag = total_lag(status);
    lines.emplace_back("input", rate(status.rates.records_per_second) + ", lag " +
                                    (lag ? grouped(*lag) + " records" : "not known"));
    lines.emplace_back("results", rate(status.rates.results_per_second) + ", " +
                                      grouped(status.sink.results) + " written, " +
                                      grouped(status.sink.pending) + " pending, " +
                                      grouped(status.sink.retries) + " retries, " +
                                      grouped(status.sink.reconnects) + " reconnects, " +
                                      grouped(status.sink.refused) + " refused");
    if (!status.sink.last_error.empty()) {
        lines.emplace_back("redis", printable(status.sink.last_error));
    }
    lines.emplace_back("ledger", ledger_line(status.ledger));
    if (status.dead_letters.written > 0 || status.dead_letters.dropped > 0) {
        lines.emplace_back("dead letters", grouped(status.dead_letters.written) + " written, " +
                                               grouped(status.dead_letters.dropped) + " dropped");
    }
    const RestoreStatus& restore = status.restore;
    std::string restored = restore.from.empty() ? "fresh start" : "from " + restore.from;
    if (status.state == RunState::restoring && restore.total_bytes > 0) {
        restored += ", " + restore.phase + " " + print_size(restore.bytes) + " of " +
                    print_size(restore.total_bytes);
    } else if (!restore.from.empty()) {
        restored += " in " + std::to_string(restore.duration_ms) + "ms, " +
                    grouped(restore.replayed_records) + " records replayed";
        if (restore.verified_bytes < restore.verify_bytes) {
            restored += ", " + print_size(restore.verified_bytes) + " of " +
                        print_size(restore.verify_bytes) + " verified";
        }
    }
    if (restore.stalled_ms > 0) {
        restored += ", no progress for " + print_duration(restore.stalled_ms / 1000 * 1000);
    }
    lines.emplace_back("restore", printable(restored));
    for (const Rejection& rejection : restore.rejected) {
        lines.emplace_back("rejected", printable(rejection.path + ": " + rejection.reason));
    }
    lines.emplace_back("checkpoints", "every " + print_duration(status.checkpoint_interval_ms) +
                                          ", " + grouped(status.checkpoints_completed) +
                                          " completed, " + grouped(status.checkpoints_failed) +
                                          " failed");
    lines.emplace_back("room", print_size(status.room.memory_bytes) + " of " +
                                   print_size(status.room.memory_limit_bytes) + " memory, " +
                                   print_size(status.room.disk_free_bytes) +
                                   " disk free, reserve " +
                                   print_size(status.room.disk_reserve_bytes) +
                                   (status.io.backend.empty() ? "" : ", io " + status.io.backend));
    return lines;
}

std::vector<const Condition*> failing(const Status& status) {
    std::vector<const Condition*> conditions;
    for (const Condition& condition : status.conditions) {
        if (!condition.ok) {
            conditions.push_back(&condition);
        }
    }
    return conditions;
}

}  // namespace

std::string_view name_of(RunState state) { return kStates[static_cast<std::size_t>(state)]; }

std::string to_json(const Status& status) {
    ordered_json page;
    page["name"] = status.name;
    page["state"] = name_of(status.state);
    page["ready"] = status.ready;
    page["since"] = print_time(status.since);
    page["epoch"] = status.epoch;
    page["config_hash"] = status.config_hash;
    page["config_stale"] = status.config_stale;
    page["conditions"] = to_list(status.conditions);
    page["ledger"] = to_value(status.ledger);
    page["partitions"] = to_list(status.partitions);
    page["reductions"] = to_list(status.reductions);
    page["checkpoints"] = to_list(status.checkpoints);
    page["sink"] = to_value(status.sink);
    page["restore"] = to_value(status.restore);
    page["records_before_ready"] = status.records_before_ready;
    // What follows is beyond the stable names.
    page["source"] = {{"errors", to_value(status.source.errors)}};
    page["steps"] = to_list(status.steps);
    page["started"] = print_time(status.started);
    page["pid"] = status.pid;
    page["barrier"] = status.barrier;
    page["watermark"] = or_null(status.watermark);
    page["checkpoint_interval_ms"] = status.checkpoint_interval_ms;
    page["checkpoints_completed"] = status.checkpoints_completed;
    page["checkpoints_failed"] = status.checkpoints_failed;
    page["savepoints_taken"] = status.savepoints_taken;
    page["savepoints_failed"] = status.savepoints_failed;
    page["completion"] = to_value(status.completion);
    page["state_directory"] = status.state_directory;
    page["savepoint_directory"] = status.savepoint_directory;
    page["dead_letters"] = {{"written", status.dead_letters.written},
                            {"dropped", status.dead_letters.dropped},
                            {"bytes", status.dead_letters.bytes}};
    page["io"] = {{"backend", status.io.backend},       {"submitted", status.io.submitted},
                  {"completed", status.io.completed},   {"errors", status.io.errors},
                  {"in_flight", status.io.in_flight},   {"bytes_written", status.io.bytes_written},
                  {"bytes_read", status.io.bytes_read}, {"syncs", status.io.syncs},
                  {"oldest_us", status.io.oldest_us},   {"write", to_value(status.io.write)},
                  {"read", to_value(status.io.read)},   {"sync", to_value(status.io.sync)}};
    page["room"] = {{"memory_bytes", status.room.memory_bytes},
                    {"memory_limit_bytes", status.room.memory_limit_bytes},
                    {"disk_free_bytes", status.room.disk_free_bytes},
                    {"disk_reserve_bytes", status.room.disk_reserve_bytes}};
    page["workers"] = to_list(status.workers);
    page["rates"] = {{"records_per_second", status.rates.records_per_second},
                     {"results_per_second", status.rates.results_per_second}};
    page["warnings"] = status.warnings;
    return page.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

model::Result<Status> status_from_json(std::string_view text) {
    const ordered_json page = ordered_json::parse(text, nullptr, false);
    if (!page.is_object()) {
        return model::invalid("the answer is not a status");
    }
    Status status;
    take(page, "name", status.name);
    std::string state;
    take(page, "state", state);
    if (const auto found = std::ranges::find(kStates, state); found != kStates.end()) {
        status.state = static_cast<RunState>(found - kStates.begin());
    }
    take(page, "ready", status.ready);
    take_time(page, "since", status.since);
    take_time(page, "started", status.started);
    take(page, "pid", status.pid);
    take(page, "epoch", status.epoch);
    take(page, "config_hash", status.config_hash);
    take(page, "config_stale", status.config_stale);
    for (const ordered_json& from : list_in(page, "conditions")) {
        Condition condition;
        take(from, "name", condition.name);
        take(from, "ok", condition.ok);
        take_time(from, "since", condition.since);
        take(from, "reason", condition.reason);
        status.conditions.push_back(std::move(condition));
    }
    take_ledger(object_in(page, "ledger"), status.ledger);
    for (const ordered_json& from : list_in(page, "partitions")) {
        PartitionStatus partition;
        take(from, "topic", partition.topic);
        take(from, "partition", partition.partition);
        take(from, "next_offset", partition.next_offset);
        take(from, "checkpointed_offset", partition.checkpointed_offset);
        take(from, "end_offset", partition.end_offset);
        take(from, "watermark", partition.watermark);
        take(from, "idle", partition.idle);
        take_ledger(object_in(from, "ledger"), partition.ledger);
        status.partitions.push_back(std::move(partition));
    }
    take_errors(object_in(object_in(page, "source"), "errors"), status.source.errors);
    for (const ordered_json& from : list_in(page, "steps")) {
        StepStatus step;
        take(from, "text", step.text);
        take_errors(object_in(from, "errors"), step.errors);
        status.steps.push_back(std::move(step));
    }
    for (const ordered_json& from : list_in(page, "reductions")) {
        ReductionStatus reduction;
        take(from, "id", reduction.id);
        take(from, "reached", reduction.ledger.reached);
        take(from, "folded", reduction.ledger.folded);
        take(from, "filtered", reduction.ledger.filtered);
        take(from, "late", reduction.ledger.late);
        take(from, "refused", reduction.ledger.refused);
        take(from, "open_windows", reduction.open_windows);
        take(from, "keys", reduction.keys);
        take(from, "fired", reduction.fired);
        take(from, "frontier", reduction.frontier);
        take_errors(object_in(from, "errors"), reduction.errors);
        status.reductions.push_back(std::move(reduction));
    }
    for (const ordered_json& from : list_in(page, "checkpoints")) {
        CheckpointStatus checkpoint;
        take(from, "id", checkpoint.id);
        take(from, "kind", checkpoint.kind);
        take_time(from, "taken", checkpoint.taken);
        take(from, "bytes", checkpoint.bytes);
        take(from, "new_bytes", checkpoint.new_bytes);
        take(from, "pause_us", checkpoint.pause_us);
        take(from, "duration_ms", checkpoint.duration_ms);
        take(from, "path", checkpoint.path);
        take(from, "shared_bytes", checkpoint.shared_bytes);
        status.checkpoints.push_back(std::move(checkpoint));
    }
    const ordered_json& sink = object_in(page, "sink");
    take(sink, "results", status.sink.results);
    take(sink, "commands", status.sink.commands);
    take(sink, "pending", status.sink.pending);
    take(sink, "retries", status.sink.retries);
    take(sink, "reconnects", status.sink.reconnects);
    take(sink, "refused", status.sink.refused);
    take(sink, "resent", status.sink.resent);
    take(sink, "retention_ms", status.sink.retention_ms);
    take(sink, "given_up", status.sink.given_up);
    take(sink, "last_error", status.sink.last_error);
    const ordered_json& restore = object_in(page, "restore");
    take(restore, "from", status.restore.from);
    take(restore, "bytes", status.restore.bytes);
    take(restore, "total_bytes", status.restore.total_bytes);
    take(restore, "duration_ms", status.restore.duration_ms);
    take(restore, "replayed_records", status.restore.replayed_records);
    take(restore, "verified_bytes", status.restore.verified_bytes);
    take(restore, "verify_bytes", status.restore.verify_bytes);
    take(restore, "phase", status.restore.phase);
    take(restore, "stalled_ms", status.restore.stalled_ms);
    for (const ordered_json& from : list_in(restore, "rejected")) {
        Rejection rejection;
        take(from, "path", rejection.path);
        take(from, "reason", rejection.reason);
        status.restore.rejected.push_back(std::move(rejection));
    }
    take(page, "records_before_ready", status.records_before_ready);
    take(page, "barrier", status.barrier);
    take(page, "watermark", status.watermark);
    take(page, "checkpoint_interval_ms", status.checkpoint_interval_ms);
    take(page, "checkpoints_completed", status.checkpoints_completed);
    take(page, "checkpoints_failed", status.checkpoints_failed);
    take(page, "savepoints_taken", status.savepoints_taken);
    take(page, "savepoints_failed", status.savepoints_failed);
    const ordered_json& completion = object_in(page, "completion");
    take(completion, "name", status.completion.name);
    take(completion, "bytes", status.completion.bytes);
    take(completion, "total_bytes", status.completion.total_bytes);
    take(completion, "bytes_per_second", status.completion.bytes_per_second);
    take(completion, "problem", status.completion.problem);
    take(completion, "settled", status.completion.settled);
    take(page, "state_directory", status.state_directory);
    take(page, "savepoint_directory", status.savepoint_directory);
    const ordered_json& dead_letters = object_in(page, "dead_letters");
    take(dead_letters, "written", status.dead_letters.written);
    take(dead_letters, "dropped", status.dead_letters.dropped);
    take(dead_letters, "bytes", status.dead_letters.bytes);
    const ordered_json& io = object_in(page, "io");
    take(io, "backend", status.io.backend);
    take(io, "submitted", status.io.submitted);
    take(io, "completed", status.io.completed);
    take(io, "errors", status.io.errors);
    take(io, "in_flight", status.io.in_flight);
    take(io, "bytes_written", status.io.bytes_written);
    take(io, "bytes_read", status.io.bytes_read);
    take(io, "syncs", status.io.syncs);
    take(io, "oldest_us", status.io.oldest_us);
    status.io.write = latency_in(io, "write");
    status.io.read = latency_in(io, "read");
    status.io.sync = latency_in(io, "sync");
    const ordered_json& room = object_in(page, "room");
    take(room, "memory_bytes", status.room.memory_bytes);
    take(room, "memory_limit_bytes", status.room.memory_limit_bytes);
    take(room, "disk_free_bytes", status.room.disk_free_bytes);
    take(room, "disk_reserve_bytes", status.room.disk_reserve_bytes);
    for (const ordered_json& from : list_in(page, "workers")) {
        WorkerStatus worker;
        take(from, "busy_ns", worker.busy_ns);
        take(from, "blocked_ns", worker.blocked_ns);
        status.workers.push_back(worker);
    }
    const ordered_json& rates = object_in(page, "rates");
    take(rates, "records_per_second", status.rates.records_per_second);
    take(rates, "results_per_second", status.rates.results_per_second);
    for (const ordered_json& from : list_in(page, "warnings")) {
        if (from.is_string()) {
            status.warnings.push_back(from.get<std::string>());
        }
    }
    return status;
}

std::string to_page(const Status& status, model::EventTime now) {
    std::string page = printable(status.name) + "  " + std::string(name_of(status.state)) +
                       " for " + age(status.since, now) + ", " +
                       (status.ready ? "ready" : "not ready") + "  (pid " +
                       std::to_string(status.pid) + ", epoch " + std::to_string(status.epoch) +
                       ", config " + status.config_hash +
                       (status.config_stale ? ", the file differs from what runs" : "") + ")\n";
    for (const Condition* condition : failing(status)) {
        page += "  NOT OK        " + condition->name + ": " + printable(condition->reason) +
                ", for " + age(condition->since, now) + "\n";
    }
    for (const auto& [label, text] : facts(status)) {
        page += "  " + label + std::string(label.size() < 14 ? 14 - label.size() : 1, ' ') + text +
                "\n";
    }
    page += "\n" + to_text(partition_table(status, now));
    page += "\n" + to_text(reduction_table(status));
    if (!status.checkpoints.empty()) {
        page += "\n" + to_text(checkpoint_table(status, now));
    }
    for (const std::string& warning : status.warnings) {
        page += "  warning: " + printable(warning) + "\n";
    }
    return page;
}

std::string to_html(const Status& status, model::EventTime now) {
    std::string html =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta http-equiv=\"refresh\" content=\"2\"><title>" +
        html_escaped(status.name) +
        "</title><style>body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:70em}"
        "table{border-collapse:collapse;margin:1em 0}th,td{padding:.1em .8em;text-align:right;"
        "font-variant-numeric:tabular-nums}th{border-bottom:1px solid}"
        "th:first-child,td:first-child{text-align:left}dt{float:left;clear:left;width:8em;"
        "font-weight:bold}dd{margin-left:9em}.bad{color:#b00}</style></head><body>\n<h1>" +
        html_escaped(status.name) + " <small>" + std::string(name_of(status.state)) + ", " +
        (status.ready ? "ready" : "<span class=\"bad\">not ready</span>") + ", for " +
        age(status.since, now) + "</small></h1>\n";
    for (const Condition* condition : failing(status)) {
        html += "<p class=\"bad\">" + html_escaped(condition->name + ": " + condition->reason) +
                ", for " + age(condition->since, now) + "</p>\n";
    }
    if (status.config_stale) {
        html += "<p>The configuration file differs from what runs.</p>\n";
    }
    html += "<dl>";
    for (const auto& [label, text] : facts(status)) {
        html += "<dt>" + label + "</dt><dd>" + html_escaped(text) + "</dd>\n";
    }
    html += "</dl>\n" + to_html(partition_table(status, now)) + to_html(reduction_table(status)) +
            to_html(checkpoint_table(status, now));
    for (const std::string& warning : status.warnings) {
        html += "<p>warning: " + html_escaped(warning) + "</p>\n";
    }
    return html +
           "<p><a href=\"/status\">status</a> <a href=\"/metrics\">metrics</a> "
           "<a href=\"/livez\">livez</a> <a href=\"/readyz\">readyz</a></p></body></html>\n";
}

}  // namespace sluice::daemon
