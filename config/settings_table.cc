#include "config/settings_table.h"

#include <array>

namespace sluice::config {
namespace {

using enum SettingType;

constexpr std::int64_t kKiB = 1 << 10;
constexpr std::int64_t kGiB = 1 << 30;
constexpr std::int64_t kTiB = 1LL << 40;
constexpr std::int64_t kDay = 86'400'000;

// Sections come in the order of the reference page, keys in the order in which people write them.
constexpr auto kTable = std::to_array<Setting>({
    // clang-format off
    {.section = "", .key = "name", .required = true, .values = "[a-z0-9][a-z0-9-]{0,62}",
     .meaning = "Names the instance, its state directory and its control keys in Redis."},
    {.section = "", .key = "source", .type = table, .required = true, .meaning = "Where records come from."},
    {.section = "", .key = "step", .type = special, .values = "[[step]]",
     .meaning = "What is done to each record, in order; each [[step]] has exactly one key."},
    {.section = "", .key = "table", .type = table, .later = true, .meaning = "Side tables for look-ups."},
    {.section = "", .key = "reduce", .type = table, .required = true, .values = "[reduce.ID]",
     .meaning = "The reductions. State and results belong to their ids."},
    {.section = "", .key = "sink", .type = table, .required = true, .meaning = "Where results go."},
    {.section = "", .key = "dead_letter", .type = table, .meaning = "Where records go that cannot be processed."},
    {.section = "", .key = "state", .type = table, .meaning = "State, checkpoints, memory and disk."},
    {.section = "", .key = "savepoint", .type = table, .meaning = "Savepoints: where they are kept, and when one is taken."},
    {.section = "", .key = "http", .type = table, .meaning = "The read-only HTTP listener."},
    {.section = "", .key = "threads", .type = table, .meaning = "Threads."},
    {.section = "", .key = "log", .type = table, .meaning = "The log."},

    {.section = "source", .key = "brokers", .required = true, .values = "host:port, host:port",
     .meaning = "Kafka brokers to begin with."},
    {.section = "source", .key = "topic", .values = "a topic's name", .meaning = "The topic; or see topics."},
    {.section = "source", .key = "topics", .type = special, .values = "[\"a\", \"b\"]", .meaning = "Several topics, read as one stream."},
    {.section = "source", .key = "start", .type = special, .required = true, .values = "earliest | latest | a time",
     .meaning = "Where to begin, only where no snapshot says otherwise."},
    {.section = "source", .key = "reader", .type = choice, .standard = "librdkafka", .values = "librdkafka|native",
     .available = "librdkafka", .meaning = "The Kafka client."},
    {.section = "source", .key = "partitions", .type = special, .standard = "all", .values = "\"all\" or a share such as \"0-7,12\"",
     .meaning = "This instance's share. With \"all\", new partitions are found while running."},
    {.section = "source", .key = "format", .type = choice, .standard = "json", .values = "json|csv|raw|avro|protobuf",
     .available = "json", .meaning = "How a value is encoded."},
    {.section = "source", .key = "csv", .type = table, .later = true, .meaning = "How csv is written."},
    {.section = "source", .key = "timestamp", .type = special, .standard = "kafka", .values = "kafka | an expression",
     .meaning = "The event time of a record, before any step."},
    {.section = "source", .key = "timestamp_unit", .type = choice, .standard = "ms", .values = "s|ms|us|ns|rfc3339",
     .meaning = "What `timestamp` counts; numbers may be quoted in the record."},
    {.section = "source", .key = "out_of_order", .type = duration, .standard = "5s",
     .meaning = "The watermark of a partition is its greatest timestamp minus this."},
    {.section = "source", .key = "idle_after", .type = duration, .none = true, .standard = "1m", .least = 1,
     .meaning = "A partition at its end for this long no longer holds the watermark back; \"none\": always does."},
    {.section = "source", .key = "max_future_skew", .type = duration, .none = true, .standard = "5m",
     .meaning = "A record further in the future does not move the watermark; \"none\" switches the guard off."},
    {.section = "source", .key = "on_error", .type = choice, .standard = "dead_letter", .values = "dead_letter|drop|stop",
     .meaning = "What happens to a record that cannot be decoded."},
    {.section = "source", .key = "on_null", .type = choice, .standard = "drop", .values = "drop|dead_letter|stop",
     .meaning = "What happens to a record with a null value."},
    {.section = "source", .key = "max_bytes", .type = size, .standard = "1MiB", .least = 1, .greatest = kGiB,
     .meaning = "The longest decompressed value."},
    {.section = "source", .key = "max_depth", .type = integer, .standard = "64", .least = 1, .greatest = 1000,
     .meaning = "The deepest nesting of a value; the outermost level is 1."},
    {.section = "source", .key = "username",
     .meaning = "SASL user: security.protocol sasl_ssl and sasl.mechanism PLAIN, unless [source.rdkafka] says otherwise."},
    {.section = "source", .key = "password", .type = special, .values = "{ credential = \"…\" }, { file = \"…\" } or { env = \"…\" }",
     .meaning = "SASL password, a reference."},
    {.section = "source", .key = "rdkafka", .type = table, .meaning = "Any librdkafka property."},
    {.section = "source.rdkafka", .key = "*", .type = special, .values = "text, a number, or true or false",
     .meaning = "Checked by librdkafka itself."},

    {.section = "step", .key = "filter", .values = "an expression", .meaning = "Keeps the records for which it is true."},
    {.section = "step", .key = "set", .type = table, .values = "{ path = \"expression\", … }",
     .meaning = "Sets fields, all computed from the record before the step."},
    {.section = "step", .key = "lookup", .type = special, .later = true, .meaning = "Adds fields from a side table."},
    {.section = "step", .key = "explode", .type = special, .later = true, .meaning = "Makes one record of each element."},
    {.section = "step", .key = "dedupe", .type = special, .later = true, .meaning = "Drops repeated records."},
    {.section = "step.set", .key = "*", .values = "an expression", .meaning = "The new value."},

    {.section = "reduce.*", .key = "filter", .values = "an expression", .meaning = "Which records this reduction takes."},
    {.section = "reduce.*", .key = "key", .type = special, .required = true,
     .values = "[\"field\", { name = \"expression\" }]; [] is one global key", .meaning = "What results are grouped by."},
    {.section = "reduce.*", .key = "window", .type = special, .required = true, .values = "{ tumbling = \"15s\" }",
     .meaning = "The windows that records fall into."},
    {.section = "reduce.*", .key = "idle_ttl", .type = duration, .later = true, .meaning = "When a running aggregate expires."},
    {.section = "reduce.*", .key = "time", .type = choice, .standard = "event", .values = "event|processing",
     .meaning = "Windows by the records' own time, or by when they are processed."},
    {.section = "reduce.*", .key = "allowed_lateness", .type = duration, .standard = "0s",
     .meaning = "How long after a window's end its records are still taken."},
    {.section = "reduce.*", .key = "late", .type = choice, .standard = "drop", .values = "drop|dead_letter", .available = "drop",
     .meaning = "What happens to records that come too late; they are always counted."},
    {.section = "reduce.*", .key = "emit", .type = special, .standard = "final", .values = "final | { every = \"1s\" }",
     .meaning = "Whether open windows give early results."},
    {.section = "reduce.*", .key = "values", .type = table, .required = true, .values = "{ name = \"count()\", … }",
     .meaning = "The results, expressions over reductions."},
    {.section = "reduce.*", .key = "write", .type = special, .values = "\"HSET …\" or a list of commands",
     .meaning = "What is sent to Redis for each result."},
    {.section = "reduce.*", .key = "ttl", .type = duration, .required = true, .none = true, .least = 1,
     .meaning = "When results expire in Redis; \"none\": no expiry is touched."},
    {.section = "reduce.*", .key = "ttl_from", .type = choice, .standard = "write", .values = "write|window",
     .meaning = "What ttl counts from: the write, or the window's end."},
    {.section = "reduce.*", .key = "null_key", .type = choice, .standard = "drop", .values = "drop|keep",
     .meaning = "A key with a null part: dropped and counted as refused, or printed empty."},
    {.section = "reduce.*", .key = "max_keys", .type = integer, .standard = "0", .available = "0",
     .meaning = "The most keys over all open windows; 0: no limit."},
    {.section = "reduce.*", .key = "suppress_incomplete", .type = boolean, .standard = "false",
     .meaning = "Hides windows that may miss records from before the first one read."},
    {.section = "reduce.*.values", .key = "*", .values = "an expression over reductions", .meaning = "One result."},

    {.section = "reduce.*.window", .key = "tumbling", .type = duration, .least = 1, .meaning = "Windows of this length, one after the other."},
    {.section = "reduce.*.window", .key = "offset", .type = duration, .standard = "0s", .meaning = "Shifts the grid of windows."},
    {.section = "reduce.*.window", .key = "hopping", .type = duration, .later = true, .meaning = "Windows that overlap."},
    {.section = "reduce.*.window", .key = "every", .type = duration, .later = true, .meaning = "How often a window begins."},
    {.section = "reduce.*.window", .key = "session", .type = duration, .later = true, .meaning = "Windows that end after a pause."},
    {.section = "reduce.*.window", .key = "cumulate", .type = duration, .later = true, .meaning = "Windows that grow step by step."},
    {.section = "reduce.*.window", .key = "calendar", .type = choice, .later = true, .meaning = "Windows of the calendar."},
    {.section = "reduce.*.window", .key = "zone", .later = true, .meaning = "The calendar's time zone."},

    {.section = "sink", .key = "redis", .required = true, .values = "redis://host:port/database or unix:/path",
     .meaning = "The Redis server."},
    {.section = "sink", .key = "username", .meaning = "Redis ACL user."},
    {.section = "sink", .key = "password", .type = special, .values = "{ credential = \"…\" }, { file = \"…\" } or { env = \"…\" }",
     .meaning = "Redis password, a reference."},
    {.section = "sink", .key = "connections", .type = integer, .standard = "2", .least = 1, .greatest = 16,
     .meaning = "Connections; a key stays on one. At most one per lane."},
    {.section = "sink", .key = "result_retention", .type = duration, .standard = "5m",
     .meaning = "Acknowledged results are kept so long to be sent again after Redis lost data."},
    {.section = "sink", .key = "result_retention_bytes", .type = size, .standard = "1GiB", .greatest = 1024 * kTiB,
     .meaning = "The most that kept results may take."},
    {.section = "sink", .key = "replicas", .type = integer, .standard = "0", .available = "0",
     .meaning = "Replicas to wait for."},

    {.section = "dead_letter", .key = "file", .standard = "dead-letters.jsonl", .meaning = "The file, in the state directory."},
    {.section = "dead_letter", .key = "max_bytes", .type = size, .standard = "256MiB", .least = 4 * kKiB, .greatest = 1024 * kTiB,
     .meaning = "The most that the file may take."},
    {.section = "dead_letter", .key = "on_full", .type = choice, .standard = "pause", .values = "pause|drop",
     .meaning = "What happens when it is full."},
    {.section = "dead_letter", .key = "topic", .later = true, .meaning = "A Kafka topic for dead letters."},

    {.section = "state", .key = "directory", .values = "a path", .meaning = "Where state is kept: $STATE_DIRECTORY, else ~/.local/state/sluice/NAME."},
    {.section = "state", .key = "checkpoint", .type = table, .values = "{ every = \"10s\", keep = 3, max_bytes = \"none\" }",
     .meaning = "When checkpoints are taken and how many are kept."},
    {.section = "state.checkpoint", .key = "every", .type = duration, .standard = "10s", .least = 10, .greatest = kDay,
     .meaning = "The target interval."},
    {.section = "state.checkpoint", .key = "keep", .type = integer, .standard = "3", .least = 1, .greatest = 1000, .meaning = "How many."},
    {.section = "state.checkpoint", .key = "max_bytes", .type = size, .none = true, .standard = "none", .least = 1, .greatest = 1024 * kTiB,
     .meaning = "The most that they may take; the newest is always kept."},
    {.section = "state", .key = "verify", .type = choice, .standard = "background", .values = "background|full",
     .meaning = "What of a snapshot is read before the gate opens."},
    {.section = "state", .key = "memory", .type = special, .standard = "70%", .values = "\"70%\" or a size",
     .meaning = "Tables, RocksDB, queues and buffers together; a share of the cgroup's or the machine's limit."},
    {.section = "state", .key = "reserve", .type = size, .standard = "2GiB", .greatest = 1024 * kTiB,
     .meaning = "Free disk below which input pauses."},
    {.section = "state", .key = "io", .type = choice, .standard = "auto", .values = "auto|io_uring|threads",
     .meaning = "How snapshots, runs and the journal are written."},

    {.section = "savepoint", .key = "directory", .standard = "savepoints",
     .meaning = "Where they are kept, relative to the state directory. Sluice never removes one."},
    {.section = "savepoint", .key = "on_stop", .type = boolean, .standard = "true",
     .meaning = "Whether a stop (TERM, INT) takes one."},
    {.section = "savepoint", .key = "copy", .type = boolean, .standard = "true",
     .meaning = "Completed in the background by copies of its own; false leaves hard links."},
    {.section = "savepoint", .key = "rate", .type = size, .none = true, .standard = "none", .least = 1, .greatest = 1024 * kTiB,
     .meaning = "Bytes per second for copies; \"none\": no limit."},
    {.section = "savepoint", .key = "timeout", .type = duration, .standard = "5m", .least = 1, .greatest = kDay,
     .meaning = "How long a stop waits for its savepoint before it leaves without (75)."},

    {.section = "http", .key = "listen", .type = special, .standard = "127.0.0.1:9464", .values = "\"host:port\" or \"off\"",
     .meaning = "The read-only listener. The Unix socket is always there."},
    {.section = "threads", .key = "workers", .type = integer, .standard = "0", .greatest = 1024,
     .meaning = "Workers; 0: one per core, at most one per partition."},
    {.section = "log", .key = "level", .type = choice, .standard = "info", .values = "debug|info|warning|error",
     .meaning = "The least that is written."},
    {.section = "log", .key = "format", .type = choice, .standard = "auto", .values = "auto|text|logfmt|journald|json",
     .meaning = "auto: text at a terminal, logfmt to a pipe, journal fields under systemd."},
    // clang-format on
});

}  // namespace

std::span<const Setting> settings_table() { return kTable; }

const Setting* find_setting(std::string_view section, std::string_view key) {
    const Setting* any = nullptr;
    for (const Setting& setting : kTable) {
        if (setting.section != section) {
            continue;
        }
        if (setting.key == key) {
            return &setting;
        }
        if (setting.key == "*") {
            any = &setting;
        }
    }
    return any;
}

}  // namespace sluice::config
