#include "daemon/check.h"

#include <hiredis/hiredis.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <tuple>

#include "config/secret.h"
#include "config/units.h"
#include "daemon/file_system.h"
#include "ingest/kafka_log.h"

namespace sluice::daemon {
namespace {

using config::Diagnostic;
using config::Loaded;
using config::Severity;

constexpr std::int64_t kRedisTimeoutMs = 5'000;
// Two segments: the one that is written, and the one before it until a checkpoint has passed it.
constexpr std::uint64_t kJournalBytes = 16ULL << 20;
// What a checkpoint has alone before those that it supersedes go: copies of RocksDB's MANIFEST and
// OPTIONS, the meta row, its own manifest.
constexpr std::uint64_t kBeingMadeBytes = 1ULL << 20;

void add(Loaded& loaded, std::string_view key, Severity severity, std::string message,
         std::string hint = "") {
    loaded.diagnostics.push_back(loaded.at(key, severity, std::move(message), std::move(hint)));
}

void check_secret(Loaded& loaded, const config::Environment& environment,
                  const config::Secret& secret, std::string_view key) {
    const auto text = config::resolve(secret, environment);
    if (text) {
        return;
    }
    const bool elsewhere = secret.kind == config::Secret::Kind::credential &&
                           !environment.variable("CREDENTIALS_DIRECTORY");
    add(loaded, key, elsewhere ? Severity::warning : Severity::error, text.error().text);
}

// The nearest folder above `path` that exists.
std::filesystem::path existing(std::filesystem::path path) {
    std::error_code error;
    while (!path.empty() && !std::filesystem::exists(path, error) && path != path.parent_path()) {
        path = path.parent_path();
    }
    return path;
}

void check_kafka(Loaded& loaded, const config::Environment& environment, bool& reachable) {
    const config::Source& source = loaded.pipeline->source;
    ingest::KafkaLogSettings settings;
    settings.brokers = source.brokers;
    settings.topics = source.topics;
    settings.username = source.username;
    settings.password = config::resolve(source.password, environment).value_or("");
    settings.max_bytes = source.max_bytes;
    settings.properties = source.rdkafka;
    const auto log = ingest::KafkaLog::open(std::move(settings));
    if (!log) {
        add(loaded, "source", Severity::error, log.error().text);
        return;
    }
    const auto partitions = (*log)->partitions(ingest::kAskTimeoutMs);
    const std::string topic_key = "source.topics";
    if (!partitions && partitions.error().kind == model::ErrorKind::invalid) {
        add(loaded, topic_key, Severity::error, "Kafka: " + partitions.error().text);
        return;
    }
    if (!partitions) {
        reachable = false;
        add(loaded, "source.brokers", Severity::error, "Kafka: " + partitions.error().text);
        return;
    }
    for (const config::PartitionRange& range : source.share) {
        const bool any = std::ranges::any_of(*partitions, [&](const model::Partition& partition) {
            return partition.id >= range.first && partition.id <= range.last;
        });
        if (!any) {
            add(loaded, "source.partitions", Severity::error,
                "Kafka has no partition from " + std::to_string(range.first) + " to " +
                    std::to_string(range.last));
        }
    }
    if (const auto compacted = (*log)->compacted_topics(ingest::kAskTimeoutMs)) {
        for (const std::string& topic : *compacted) {
            add(loaded, topic_key, Severity::error,
                "the topic `" + topic + "` is compacted: records may be missing anywhere",
                "`run --accept-compacted` reads it all the same");
        }
    }
    if (const auto ranges = (*log)->ranges(*partitions, ingest::kAskTimeoutMs); !ranges) {
        reachable = false;
        add(loaded, "source.brokers", Severity::error, "Kafka: " + ranges.error().text);
    }
}

using RedisContext = std::unique_ptr<redisContext, decltype(&redisFree)>;
using RedisReply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

// The reply to one command; null when the connection is gone.
RedisReply ask_redis(redisContext& redis, const std::vector<std::string>& words) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
        texts.push_back(word.data());
        sizes.push_back(word.size());
    }
    return {static_cast<redisReply*>(redisCommandArgv(&redis, static_cast<int>(words.size()),
                                                      texts.data(), sizes.data())),
            &freeReplyObject};
}

void check_redis(Loaded& loaded, const config::Environment& environment, bool& reachable) {
    const config::Sink& sink = loaded.pipeline->sink;
    const timeval timeout{kRedisTimeoutMs / 1000, 0};
    const RedisContext redis(sink.unix_path.empty()
                                 ? redisConnectWithTimeout(sink.host.c_str(), sink.port, timeout)
                                 : redisConnectUnixWithTimeout(sink.unix_path.c_str(), timeout),
                             &redisFree);
    if (!redis || redis->err != 0) {
        reachable = false;
        add(loaded, "sink.redis", Severity::error,
            std::string("Redis: ") + (redis ? redis->errstr : "no memory"));
        return;
    }
    redisSetTimeout(redis.get(), timeout);
    // Nothing is written: the fence belongs to whoever runs.
    const auto expect_ok = [&](const std::vector<std::string>& words, std::string_view key) {
        const RedisReply reply = ask_redis(*redis, words);
        if (!reply) {
            reachable = false;
            add(loaded, key, Severity::error, std::string("Redis: ") + redis->errstr);
            return false;
        }
        if (reply->type == REDIS_REPLY_ERROR) {
            add(loaded, key, Severity::error,
                "Redis refuses " + words.front() + ": " + std::string(reply->str, reply->len));
            return false;
        }
        return true;
    };
    const std::string password = config::resolve(sink.password, environment).value_or("");
    if (sink.password.kind != config::Secret::Kind::none) {
        const std::vector<std::string> words =
            sink.username.empty() ? std::vector<std::string>{"AUTH", password}
                                  : std::vector<std::string>{"AUTH", sink.username, password};
        if (!expect_ok(words, "sink.password")) {
            return;
        }
    }
    if (!expect_ok({"PING"}, "sink.redis") ||
        !expect_ok({"SELECT", std::to_string(sink.database)}, "sink.redis")) {
        return;
    }
    const RedisReply role = ask_redis(*redis, {"ROLE"});
    if (role && role->type == REDIS_REPLY_ARRAY && role->elements > 0 &&
        std::string_view(role->element[0]->str, role->element[0]->len) == "slave") {
        add(loaded, "sink.redis", Severity::error, "this Redis is a replica: it takes no writes",
            "name the master");
    }
}

}  // namespace

// What the state directory may take, as far as the configuration says it.
std::string disk_ceiling(const config::Pipeline& pipeline) {
    const config::State& state = pipeline.state;
    const std::uint64_t fixed =
        pipeline.dead_letter.max_bytes + Ballast::size_for(state.reserve_bytes) + kJournalBytes;
    // Live, and once more while it is rewritten; a checkpoint shares what did not change.
    const std::string others = config::print_size(fixed) +
                               " of dead letters, journal and ballast, and the savepoints, which "
                               "are yours to delete";
    if (state.checkpoint_max_bytes) {
        return "takes at most " +
               config::print_size(*state.checkpoint_max_bytes + kBeingMadeBytes + fixed) +
               " of disk (" + config::print_size(*state.checkpoint_max_bytes) +
               " of checkpoints, of which the newest two always stay; " +
               config::print_size(kBeingMadeBytes) + " of one that is being made; " + others +
               ") and twice the live state; input pauses when less than " +
               config::print_size(state.reserve_bytes) + " is free";
    }
    return "takes at most " + std::to_string(std::max(state.checkpoint_keep, 2) + 2) +
           " times the live state (" + std::to_string(std::max(state.checkpoint_keep, 2)) +
           " checkpoints that share nothing, and twice the live one) and " + others +
           "; checkpoint.max_bytes sets a number; input pauses when less than " +
           config::print_size(state.reserve_bytes) + " is free";
}

void check_kafka_properties(Loaded& loaded) {
    for (const ingest::PropertyError& error :
         ingest::check_properties(loaded.rdkafka, loaded.username)) {
        const Severity severity = error.doubt ? Severity::warning : Severity::error;
        if (!error.key.empty()) {
            add(loaded, "source.rdkafka." + error.key, severity,
                "`" + error.key + "`: " + error.error);
        } else if (loaded.pipeline) {  // of a file with errors it may follow from one of them
            add(loaded, "source.rdkafka", severity, "librdkafka: " + error.error);
        }
    }
    // In file order; those of the command line stay behind them.
    std::ranges::stable_sort(loaded.diagnostics, {}, [&](const Diagnostic& diagnostic) {
        const bool of_file = diagnostic.file == loaded.file;
        return std::tuple(!of_file, of_file ? diagnostic.line : 0, of_file ? diagnostic.column : 0);
    });
    if (loaded.pipeline && config::has_error(loaded.diagnostics)) {
        loaded.outcome = config::Outcome::invalid;
        loaded.pipeline.reset();
    }
}

void check_secrets(Loaded& loaded, const config::Environment& environment) {
    check_secret(loaded, environment, loaded.pipeline->source.password, "source.password");
    check_secret(loaded, environment, loaded.pipeline->sink.password, "sink.password");
}

void check_machine(Loaded& loaded, const config::Environment& environment) {
    const config::State& state = loaded.pipeline->state;
    const std::filesystem::path folder = existing(state.directory);
    if (access(folder.c_str(), W_OK | X_OK) != 0) {
        add(loaded, "state.directory", Severity::warning,
            "the state directory " + state.directory + " cannot be written by this user");
    }
    struct statvfs disk{};
    if (statvfs(folder.c_str(), &disk) == 0) {
        const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
        if (free < state.reserve_bytes) {
            add(loaded, "state.reserve", Severity::warning,
                "input would pause at once: " + config::print_size(free) + " are free in " +
                    folder.string() + ", the reserve is " + config::print_size(state.reserve_bytes),
                "a smaller reserve, or another disk");
        }
    }
    for (const std::string& doubt : doubts_about(state.directory)) {
        add(loaded, "state.directory", Severity::warning,
            "the state directory " + state.directory + " is not known to be a safe place: " + doubt,
            "`run` refuses it without --force");
    }
    if (auto one = check_one_file_system(state.directory);
        !one && std::filesystem::exists(state.directory)) {
        add(loaded, "state.directory", Severity::error, one.error().text);
    }
    if (environment.memory_limit_bytes > 0 && state.memory_bytes < (64ULL << 20)) {
        add(loaded, "state.memory", Severity::warning,
            config::print_size(state.memory_bytes) +
                " of memory is little: state will be spilled to disk often");
    }
}

void check_remotes(Loaded& loaded, const config::Environment& environment, bool& reachable) {
    check_kafka(loaded, environment, reachable);
    check_redis(loaded, environment, reachable);
}

std::vector<std::string> describe(const config::Pipeline& pipeline) {
    std::vector<std::string> lines;
    std::string topics;
    for (const std::string& topic : pipeline.source.topics) {
        topics += (topics.empty() ? "" : ", ") + topic;
    }
    lines.push_back("reads " + topics + " (partitions: " + pipeline.source.partitions + ") from " +
                    pipeline.source.brokers);
    if (!pipeline.steps.empty()) {
        lines.push_back(std::to_string(pipeline.steps.size()) + " steps");
    }
    for (const config::Reduction& reduction : pipeline.reductions) {
        const bool event = reduction.time == config::TimeKind::event;
        std::string key;
        for (const config::KeyPart& part : reduction.key) {
            key += (key.empty() ? "" : ", ") + part.name;
        }
        lines.push_back("reduces " + reduction.id + " by (" + key + ") in windows of " +
                        config::print_duration(reduction.window_ms) + " of " +
                        (event ? "event" : "processing") + " time" +
                        (event ? ", final " +
                                     config::print_duration(reduction.allowed_lateness_ms +
                                                            pipeline.source.out_of_order_ms) +
                                     " after their end"
                               : ""));
    }
    lines.push_back("writes to " + pipeline.sink.url + " on " +
                    std::to_string(pipeline.sink.connections) + " connections");
    lines.push_back(disk_ceiling(pipeline));
    lines.push_back("keeps state in " + pipeline.state.directory + ", a checkpoint every " +
                    config::print_duration(pipeline.state.checkpoint_every_ms));
    lines.push_back(
        "uses at most " + config::print_size(pipeline.state.memory_bytes) +
        " of memory for state; where keys do not follow partitions, a key takes a row in "
        "every worker until the next checkpoint");
    return lines;
}

}  // namespace sluice::daemon
