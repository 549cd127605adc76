// The settings of one pipeline, typed: what a configuration file says after defaults, units and
// checks.
//
// Plain values, one struct per section of the file. They are made by config::load() and never
// changed afterwards; modules get their own section by const reference.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "config/expression/program.h"
#include "config/write_template.h"
#include "state/model/time.h"

namespace sluice::config {

// A secret is a reference until it is needed; it is never printed.
struct Secret {
    enum class Kind : std::uint8_t { none, credential, file, environment };
    Kind kind = Kind::none;
    std::string name;
};

struct Start {
    enum class Kind : std::uint8_t { earliest, latest, time };
    Kind kind = Kind::earliest;
    model::EventTime time = 0;
};

enum class TimestampUnit : std::uint8_t { s, ms, us, ns, rfc3339 };
enum class OnError : std::uint8_t { dead_letter, drop, stop };

// Partitions first..last, both included.
struct PartitionRange {
    std::int32_t first = 0;
    std::int32_t last = 0;
};

struct Source {
    std::string brokers;
    std::vector<std::string> topics;
    Start start;
    std::string partitions = "all";     // or the share, sorted and joined: "0-7,12"
    std::vector<PartitionRange> share;  // the same; empty: all
    bool timestamp_from_kafka = true;
    std::optional<Program> timestamp;  // when not from Kafka
    TimestampUnit timestamp_unit = TimestampUnit::ms;
    model::DurationMs out_of_order_ms = 5000;
    std::optional<model::DurationMs> idle_after_ms = 60'000;        // none: never idle
    std::optional<model::DurationMs> max_future_skew_ms = 300'000;  // none: no guard
    OnError on_error = OnError::dead_letter;
    OnError on_null = OnError::drop;
    std::uint64_t max_bytes = 1 << 20;
    std::uint32_t max_depth = 64;
    std::string username;
    Secret password;
    std::map<std::string, std::string> rdkafka;
};

struct Assignment {
    std::uint32_t column;  // of Pipeline::fields
    Program program;
    std::string name;
};

// One [[step]]: exactly one of the two.
struct Step {
    std::optional<Program> filter;
    std::vector<Assignment> set;
    std::string text;  // for status and messages
};

struct KeyPart {
    std::string name;
    Program program;
};

enum class TimeKind : std::uint8_t { event, processing };
enum class TtlFrom : std::uint8_t { write, window };
enum class NullKey : std::uint8_t { drop, keep };

struct ResultValue {
    std::string name;
    ValueProgram program;
    std::string text;
};

struct Reduction {
    std::string id;
    std::optional<Program> filter;
    std::vector<KeyPart> key;
    model::DurationMs window_ms = 0;  // tumbling
    model::DurationMs offset_ms = 0;
    TimeKind time = TimeKind::event;
    model::DurationMs allowed_lateness_ms = 0;
    std::vector<ReductionCall> calls;
    std::vector<ResultValue> values;
    std::vector<CommandTemplate> write;
    std::optional<model::DurationMs> ttl_ms;  // none: no expiry is touched
    TtlFrom ttl_from = TtlFrom::write;
    NullKey null_key = NullKey::drop;
    bool suppress_incomplete = false;
};

struct Sink {
    std::string url;   // as written, without credentials
    std::string host;  // redis://
    std::uint16_t port = 6379;
    std::string unix_path;  // unix:
    int database = 0;
    std::string username;
    Secret password;
    int connections = 2;
    model::DurationMs result_retention_ms = 300'000;
    std::uint64_t result_retention_bytes = 1ull << 30;
};

struct DeadLetter {
    std::string file = "dead-letters.jsonl";
    std::uint64_t max_bytes = 256ull << 20;
    bool drop_when_full = false;  // else: pause
};

enum class IoBackend : std::uint8_t { automatic, io_uring, threads };

struct State {
    std::string directory;  // absolute
    model::DurationMs checkpoint_every_ms = 10'000;
    int checkpoint_keep = 3;
    std::optional<std::uint64_t> checkpoint_max_bytes;
    bool verify_full = false;
    std::uint64_t memory_bytes = 0;  // resolved from the percentage
    std::uint64_t reserve_bytes = 2ull << 30;
    IoBackend io = IoBackend::automatic;
};

struct Savepoint {
    std::string directory;  // absolute; empty: `savepoints` in the state directory
    bool on_stop = true;
    bool copy = true;
    std::optional<std::uint64_t> bytes_per_second;  // none: as fast as the disk
    model::DurationMs timeout_ms = 300'000;         // of a stop
};

struct Http {
    std::optional<std::string> host = "127.0.0.1";  // none: off
    std::uint16_t port = 9464;
};

struct LogSettings {
    std::string level = "info";
    std::string format = "auto";
};

struct Pipeline {
    std::string name;
    std::string path;         // of the file
    std::string config_hash;  // of the file's bytes
    std::string
        inputs;  // canonical text of the settings that can change a result (recorded in snapshots)
    Fields fields;
    Source source;
    std::vector<Step> steps;
    std::vector<Reduction> reductions;
    Sink sink;
    DeadLetter dead_letter;
    State state;
    Savepoint savepoint;
    Http http;
    int workers = 0;  // 0: one per core, at most one per partition
    LogSettings log;
};

}  // namespace sluice::config
