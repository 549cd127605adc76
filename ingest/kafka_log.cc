#include "ingest/kafka_log.h"

#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <type_traits>

#include "state/model/invariant.h"

namespace sluice::ingest {

namespace {

using model::Offset;
using model::Partition;
using SteadyClock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

struct ConfDeleter {
    void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};
using Conf = std::unique_ptr<rd_kafka_conf_t, ConfDeleter>;
struct ListDeleter {
    void operator()(rd_kafka_topic_partition_list_t* list) const {
        rd_kafka_topic_partition_list_destroy(list);
    }
};
using List = std::unique_ptr<rd_kafka_topic_partition_list_t, ListDeleter>;
struct TopicDeleter {
    void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
};
using Topic = std::unique_ptr<rd_kafka_topic_t, TopicDeleter>;
struct QueueDeleter {
    void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, QueueDeleter>;

// The version that brought fetch.queue.backoff.ms.
constexpr int kVersionWithBackoffSetting = 0x02020000;

// Until then it repeats its own nonce in its last message of SCRAM, which brokers had put up with
// before 3.9.
constexpr int kVersionWithSoundScram = 0x02060100;

// Per partition. What waits in a queue longer than some milliseconds has left the processor's
// caches when it is read, and its memory has gone back to the system: both cost more than another
// fetch.
constexpr std::uint64_t kQueueMin = 256ull << 10;
constexpr std::uint64_t kQueueMax = 2ull << 20;
constexpr std::uint64_t kFetchBytes = 256ull << 10;

struct Owned {
    const char* key;
    const char* reason;
};
constexpr Owned kOwned[] = {
    {"bootstrap.servers", "write it as `brokers` of [source]"},
    {"metadata.broker.list", "write it as `brokers` of [source]"},
    {"group.id", "it is the pipeline's name; positions are published under it"},
    {"group.instance.id", "partitions are assigned without a group"},
    {"enable.auto.commit", "positions are published after checkpoints"},
    {"auto.commit.enable", "positions are published after checkpoints"},
    {"auto.commit.interval.ms", "positions are published after checkpoints"},
    {"enable.auto.offset.store", "positions are part of the snapshots"},
    {"offset.store.method", "positions are part of the snapshots"},
    {"offset.store.path", "positions are part of the snapshots"},
    {"offset.store.sync.interval.ms", "positions are part of the snapshots"},
    {"auto.offset.reset", "a missing range must be noticed, never jumped over"},
    {"enable.partition.eof", "idleness depends on it"},
    {"isolation.level", "it is read_committed: end offsets and results depend on it"},
    {"check.crcs", "it is always on"},
    {"queued.min.messages", "queues are bounded by `memory` of [state]"},
    {"queued.max.messages.kbytes", "queues are bounded by `memory` of [state]"},
    {"receive.message.max.bytes", "it follows from `max_bytes` of [source]"},
    {"statistics.interval.ms", "the daemon has metrics of its own"},
    {"plugin.library.paths", "foreign code is not loaded"},
};

const char* owned_because(std::string_view key) {
    for (const auto& owned : kOwned) {
        if (key == owned.key) {
            return owned.reason;
        }
    }
    return nullptr;
}

model::Status set(rd_kafka_conf_t* conf, const std::string& key, const std::string& value) {
    char text[512];
    if (rd_kafka_conf_set(conf, key.c_str(), value.c_str(), text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        return model::invalid(text);
    }
    return {};
}

std::string text_of(rd_kafka_resp_err_t error) { return rd_kafka_err2str(error); }

// What a `username` of [source] means where [source.rdkafka] does not say otherwise.
std::map<std::string, std::string> credentials(const std::string& username,
                                               const std::string& password) {
    if (username.empty()) {
        return {};
    }
    return {{"security.protocol", "sasl_ssl"},
            {"sasl.mechanism", "PLAIN"},
            {"sasl.username", username},
            {"sasl.password", password}};
}

// Of a property whose values are short.
std::string value_of(const rd_kafka_conf_t* conf, const char* key) {
    char value[64];
    std::size_t size = sizeof value;
    return rd_kafka_conf_get(conf, key, value, &size) == RD_KAFKA_CONF_OK ? value : "";
}

int clamp_ms(std::int64_t ms) {
    return static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000));
}

// Of one message at a time; the memory is reused.
class MessageHeaders final : public HeaderSource {
 public:
    void of(const rd_kafka_message_t* message) { message_ = message; }
    std::span<const Header> headers() override {
        all_.clear();
        rd_kafka_headers_t* raw = nullptr;
        if (rd_kafka_message_headers(message_, &raw) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return {};
        }
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t i = 0;
             rd_kafka_header_get_all(raw, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i) {
            all_.push_back({name, {static_cast<const char*>(value), value != nullptr ? size : 0}});
        }
        return all_;
    }

 private:
    const rd_kafka_message_t* message_ = nullptr;
    std::vector<Header> all_;
};

void fill_record(const rd_kafka_message_t* message, Record& record, MessageHeaders& headers) {
    headers.of(message);
    record.header_source = &headers;
    record.offset = message->offset;
    record.first_offset = message->offset;
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    record.timestamp = rd_kafka_message_timestamp(message, &type);
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) {
        record.timestamp = -1;
    }
    record.append_time = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    record.has_key = message->key != nullptr;
    record.key = {static_cast<const char*>(message->key), record.has_key ? message->key_len : 0};
    record.has_value = message->payload != nullptr;
    record.value = {static_cast<const char*>(message->payload),
                    record.has_value ? message->len : 0};
}

}  // namespace

std::vector<PropertyError> check_properties(const std::map<std::string, std::string>& properties,
                                            const std::string& username) {
    std::vector<PropertyError> errors;
    Conf conf(rd_kafka_conf_new());
    for (const auto& [key, value] : credentials(username, "taken as given")) {
        static_cast<void>(set(conf.get(), key, value));
    }
    for (const auto& [key, value] : properties) {
        if (const char* reason = owned_because(key)) {
            errors.push_back({key, std::string("set by Sluice: ") + reason});
        } else if (!username.empty() && (key == "sasl.username" || key == "sasl.password")) {
            errors.push_back({key, "[source] has a `username` and a `password` already"});
        } else if (const auto status = set(conf.get(), key, value); !status) {
            errors.push_back({key, status.error().text});
        } else if (!username.empty() && key == "security.protocol" &&
                   !value_of(conf.get(), "security.protocol").starts_with("sasl_")) {
            errors.push_back({key,
                              "the `username` of [source] would not be used: sasl_plaintext "
                              "or sasl_ssl"});
        }
    }
    if (!errors.empty()) {
        return errors;
    }
    if (rd_kafka_version() < kVersionWithSoundScram &&
        value_of(conf.get(), "sasl.mechanism").starts_with("SCRAM")) {
        errors.push_back(
            {properties.contains("sasl.mechanisms") ? "sasl.mechanisms" : "sasl.mechanism",
             std::string("librdkafka ") + rd_kafka_version_str() +
                 " is refused by brokers from 3.9 on, as if the password were wrong; "
                 "2.6.1 and newer are not",
             true});
    }
    // What only shows when all are together, and files that are named.
    std::vector<std::string> said;
    static_cast<void>(set(conf.get(), "debug", "conf"));  // else 2.0.2 keeps its warnings to itself
    rd_kafka_conf_set_opaque(conf.get(), &said);
    rd_kafka_conf_set_log_cb(
        conf.get(), [](const rd_kafka_t* client, int, const char* facility, const char* text) {
            if (std::string_view(facility) == "CONFWARN") {  // from rd_kafka_new(), so our thread
                static_cast<std::vector<std::string>*>(rd_kafka_opaque(client))->emplace_back(text);
            }
        });
    char text[512];
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    for (const std::string& line : said) {
        // "Configuration property queue.buffering.max.ms is a producer property and will be ignored
        // by this consumer instance", by its first name, which need not be the one that was used.
        constexpr std::string_view kBegin = "Configuration property ";
        const std::size_t begin = line.find(kBegin);
        const std::size_t end = line.find(" is a producer property");
        if (begin != std::string::npos && end != std::string::npos) {
            const std::size_t name = begin + kBegin.size();
            std::string key = line.substr(name, end - name);
            errors.push_back({properties.contains(key) ? key : "", line.substr(begin)});
        }
    }
    if (client == nullptr) {
        errors.push_back({"", text});
    } else {
        static_cast<void>(conf.release());
        rd_kafka_destroy(client);
    }
    return errors;
}

model::Status pin_this_thread(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0 || cpu >= CPU_SETSIZE) {
        return model::invalid("there is no CPU " + std::to_string(cpu));
    }
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0) {
        return model::invalid("this thread cannot run on CPU " + std::to_string(cpu) + ": " +
                              std::strerror(errno));
    }
    return {};
}

// What the log, its readers and the helper thread share. The helper may be inside a call that
// librdkafka does not end for half a minute, so it keeps this alive by itself.
struct KafkaLog::Shared {
    const KafkaLogSettings settings;
    rd_kafka_t* control = nullptr;  // the helper thread's; made before it starts
    // Of [source.rdkafka] or of ours: waking the fetchers repeats them.
    std::string sasl_username;
    std::string sasl_password;

    mutable std::mutex mutex;  // guards what follows
    std::condition_variable wake;
    std::deque<std::function<void(rd_kafka_t*)>> jobs;
    std::optional<model::Offsets> to_publish;
    bool stopping = false;
    bool finished = false;  // the helper has left
    std::condition_variable finished_now;
    std::string last_error;  // librdkafka's, since the last success of a blocking call
    KafkaCounts counts;

    explicit Shared(KafkaLogSettings s) : settings(std::move(s)) {}

    // That all brokers are down is what follows from a cause, and must not hide it.
    void note_error(int error, std::string text) {
        const std::lock_guard lock(mutex);
        if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || last_error.empty()) {
            last_error = std::move(text);
        }
    }
    void post(std::function<void(rd_kafka_t*)> job) {
        {
            const std::lock_guard lock(mutex);
            jobs.push_back(std::move(job));
        }
        wake.notify_one();
    }

    model::Result<Conf> conf(std::uint64_t partitions) const;
    void run();
    void publish_now(const model::Offsets& offsets);

    // Runs `call` on the helper thread and waits for it, but not longer than `timeout_ms`.
    template <class T>
    model::Result<T> within(std::int64_t timeout_ms,
                            std::function<model::Result<T>(rd_kafka_t*, int)> call);
};

namespace {

void log_line(const rd_kafka_t* client, int level, const char*, const char* text);
void error_event(rd_kafka_t* client, int error, const char* reason, void* opaque);

}  // namespace

// The settings that control client and readers have in common. Opaque and callbacks: the caller's.
model::Result<Conf> KafkaLog::Shared::conf(std::uint64_t partitions) const {
    Conf conf(rd_kafka_conf_new());
    const std::uint64_t queue = std::clamp(
        settings.queue_bytes / 2 / std::max<std::uint64_t>(1, partitions), kQueueMin, kQueueMax);
    const std::uint64_t received =
        std::clamp<std::uint64_t>(64 * settings.max_bytes, 64ull << 20, 1'000'000'000);
    std::map<std::string, std::string> all = {
        // Empty fetches come back soon: while one is out, a partition that has room again waits.
        {"fetch.wait.max.ms", "25"},
        {"fetch.error.backoff.ms", "100"},
        {"reconnect.backoff.max.ms", "2000"},
        {"max.partition.fetch.bytes", std::to_string(std::min(queue, kFetchBytes))},
        {"client.id", "sluice"},
    };
    all.merge(credentials(settings.username, settings.password));
    if (rd_kafka_version() >= kVersionWithBackoffSetting) {
        all["fetch.queue.backoff.ms"] = "2";
    }
    for (const auto& [key, value] : settings.properties) {
        if (const char* reason = owned_because(key)) {
            return model::invalid(key + ": set by Sluice: " + reason);
        }
        // Two names of one property must not fight.
        const std::string name = key == "sasl.mechanisms"           ? "sasl.mechanism"
                                 : key == "fetch.message.max.bytes" ? "max.partition.fetch.bytes"
                                                                    : key;
        all[name] = value;
    }
    all["bootstrap.servers"] = settings.brokers;
    all["enable.auto.commit"] = "false";
    all["enable.auto.offset.store"] = "false";
    all["auto.offset.reset"] = "error";
    all["enable.partition.eof"] = "true";
    all["isolation.level"] = "read_committed";
    all["check.crcs"] = "true";
    // The number of messages must never be what stops the fetcher; the bytes do.
    all["queued.min.messages"] = "10000000";
    all["queued.max.messages.kbytes"] = std::to_string(queue >> 10);
    all["receive.message.max.bytes"] = std::to_string(received);
    all.emplace("fetch.max.bytes",
                std::to_string(std::min<std::uint64_t>(received - 1024, 50ull << 20)));
    for (const auto& [key, value] : all) {
        TRY(set(conf.get(), key, value));
    }
    rd_kafka_conf_set_log_cb(conf.get(), log_line);
    rd_kafka_conf_set_error_cb(conf.get(), error_event);
    return conf;
}

namespace {

// What an rd_kafka_t's opaque points to.
struct ClientOwner {
    virtual ~ClientOwner() = default;
    virtual void on_log(int level, std::string_view text) = 0;
    virtual void on_error(int error, std::string text) = 0;
    virtual void on_commit_error() {}
};

void log_line(const rd_kafka_t* client, int level, const char*, const char* text) {
    if (auto* owner = static_cast<ClientOwner*>(rd_kafka_opaque(client))) {
        owner->on_log(level, text);
    }
}

void error_event(rd_kafka_t* client, int error, const char* reason, void*) {
    if (auto* owner = static_cast<ClientOwner*>(rd_kafka_opaque(client))) {
        owner->on_error(error, text_of(static_cast<rd_kafka_resp_err_t>(error)) + ": " + reason);
    }
}

struct ControlOwner final : ClientOwner {
    std::function<void(int, std::string_view)> log;
    std::function<void(int, std::string)> error;
    std::function<void()> commit_error;
    void on_log(int level, std::string_view text) override {
        if (log) {
            log(level, text);
        }
    }
    void on_error(int code, std::string text) override { error(code, std::move(text)); }
    void on_commit_error() override { commit_error(); }
};

void commit_event(rd_kafka_t* client, rd_kafka_resp_err_t error,
                  rd_kafka_topic_partition_list_t* offsets, void*) {
    bool failed = error != RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; offsets != nullptr && i < offsets->cnt; ++i) {
        failed = failed || offsets->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (failed) {
        static_cast<ClientOwner*>(rd_kafka_opaque(client))->on_commit_error();
    }
}

}  // namespace

constexpr Ms kGrace(250);

template <class T>
model::Result<T> KafkaLog::Shared::within(std::int64_t timeout_ms,
                                          std::function<model::Result<T>(rd_kafka_t*, int)> call) {
    struct Answer {
        std::mutex mutex;
        std::condition_variable ready;
        std::optional<model::Result<T>> result;
        bool abandoned = false;
    };
    const auto answer = std::make_shared<Answer>();
    const auto deadline = SteadyClock::now() + Ms(timeout_ms);
    post([answer, deadline, call = std::move(call)](rd_kafka_t* client) {
        {
            const std::lock_guard lock(answer->mutex);
            if (answer->abandoned) {
                return;
            }
        }
        const auto left = std::chrono::duration_cast<Ms>(deadline - SteadyClock::now()).count();
        auto result = call(client, clamp_ms(std::max<std::int64_t>(1, left)));
        rd_kafka_poll(client, 0);  // what it complained about meanwhile is the reason
        const std::lock_guard lock(answer->mutex);
        answer->result.emplace(std::move(result));
        answer->ready.notify_one();
    });
    std::unique_lock lock(answer->mutex);
    // The call keeps the deadline, as a rule, and then it knows the reason.
    if (!answer->ready.wait_until(lock, deadline + kGrace,
                                  [&] { return answer->result.has_value(); })) {
        answer->abandoned = true;
        lock.unlock();
        const std::lock_guard shared_lock(mutex);
        return model::unavailable("Kafka (" + settings.brokers + ") did not answer within " +
                                  std::to_string(timeout_ms) + " ms" +
                                  (last_error.empty() ? "" : ": " + last_error));
    }
    const std::lock_guard shared_lock(mutex);
    if (answer->result->has_value()) {
        last_error.clear();
    } else if (!last_error.empty()) {
        answer->result->error().text += " (" + last_error + ")";
    }
    return std::move(*answer->result);
}

// The helper thread.
void KafkaLog::Shared::run() {
    while (true) {
        std::function<void(rd_kafka_t*)> job;
        std::optional<model::Offsets> offsets;
        {
            std::unique_lock lock(mutex);
            // Without a job it looks after callbacks from time to time.
            wake.wait_for(lock, Ms(250),
                          [this] { return stopping || !jobs.empty() || to_publish.has_value(); });
            if (stopping) {
                break;
            }
            if (!jobs.empty()) {
                job = std::move(jobs.front());
                jobs.pop_front();
            }
            offsets.swap(to_publish);
        }
        if (job) {
            job(control);
        }
        if (offsets) {
            publish_now(*offsets);
        }
        rd_kafka_poll(control, 0);
    }
    auto* owner = static_cast<ClientOwner*>(rd_kafka_opaque(control));
    rd_kafka_destroy(control);
    delete owner;
    const std::lock_guard lock(mutex);
    finished = true;
    finished_now.notify_all();
}

void KafkaLog::Shared::publish_now(const model::Offsets& offsets) {
    List list(rd_kafka_topic_partition_list_new(static_cast<int>(offsets.size())));
    for (const auto& [partition, next_offset] : offsets) {
        rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.id)
            ->offset = next_offset;
    }
    if (rd_kafka_commit(control, list.get(), 1) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const std::lock_guard lock(mutex);
        ++counts.publish_errors;
    }
}

KafkaLog::KafkaLog(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

model::Result<std::unique_ptr<KafkaLog>> KafkaLog::open(KafkaLogSettings settings) {
    auto shared = std::make_shared<Shared>(std::move(settings));
    const auto property = [&shared](const char* key) {
        const auto& all = shared->settings.properties;
        const auto it = all.find(key);
        return it == all.end() ? std::string() : it->second;
    };
    const bool given = !shared->settings.username.empty();
    shared->sasl_username = given ? shared->settings.username : property("sasl.username");
    shared->sasl_password = given ? shared->settings.password : property("sasl.password");

    TRY(conf, shared->conf(1));
    if (!shared->settings.group_id.empty()) {
        TRY(set(conf.get(), "group.id", shared->settings.group_id));
    }
    auto owner = std::make_unique<ControlOwner>();
    owner->log = shared->settings.log;
    // The owner lives in the helper thread, which keeps `shared` alive.
    owner->error = [raw = shared.get()](int error, std::string text) {
        raw->note_error(error, std::move(text));
    };
    owner->commit_error = [raw = shared.get()] {
        const std::lock_guard lock(raw->mutex);
        ++raw->counts.publish_errors;
    };
    rd_kafka_conf_set_opaque(conf.get(), static_cast<ClientOwner*>(owner.get()));
    rd_kafka_conf_set_offset_commit_cb(conf.get(), commit_event);
    char text[512];
    shared->control = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    if (shared->control == nullptr) {
        return model::invalid(text);
    }
    static_cast<void>(conf.release());
    static_cast<void>(owner.release());  // deleted with the client, in run()
    std::thread([shared] { shared->run(); }).detach();
    return std::unique_ptr<KafkaLog>(new KafkaLog(std::move(shared)));
}

KafkaLog::~KafkaLog() {
    std::unique_lock lock(shared_->mutex);
    shared_->stopping = true;
    shared_->wake.notify_one();
    // A helper that hangs in librdkafka is left to itself; it owns all that it touches.
    shared_->finished_now.wait_for(lock, Ms(2000), [this] { return shared_->finished; });
}

namespace {

List list_of(const std::vector<Partition>& partitions, std::int64_t offset) {
    List list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const auto& p : partitions) {
        rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.id)->offset = offset;
    }
    return list;
}

// Asks the leaders for one offset per partition; `time` is a timestamp or one of the special values
// for begin and end. -1: there is none.
model::Result<std::vector<Offset>> query(rd_kafka_t* client,
                                         const std::vector<Partition>& partitions,
                                         std::int64_t time, int timeout_ms) {
    std::vector<Offset> offsets(partitions.size(), -1);
    if (partitions.empty()) {
        return offsets;
    }
    const List list = list_of(partitions, time);
    const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client, list.get(), timeout_ms);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return model::unavailable("offsets cannot be queried: " + text_of(error));
    }
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        const auto* found = rd_kafka_topic_partition_list_find(
            list.get(), partitions[i].topic.c_str(), partitions[i].id);
        INVARIANT(found != nullptr, "a partition that was asked for is in the answer");
        if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return model::unavailable(to_string(partitions[i]) + ": " + text_of(found->err));
        }
        offsets[i] = found->offset;
    }
    return offsets;
}

class Deadline {
 public:
    explicit Deadline(int timeout_ms) : at_(SteadyClock::now() + Ms(timeout_ms)) {}
    int left_ms() const {
        return clamp_ms(std::chrono::duration_cast<Ms>(at_ - SteadyClock::now()).count());
    }
    bool over() const { return SteadyClock::now() >= at_; }

 private:
    SteadyClock::time_point at_;
};

model::Result<std::vector<LogRange>> query_ranges(rd_kafka_t* client,
                                                  const std::vector<Partition>& partitions,
                                                  int timeout_ms) {
    const Deadline deadline(timeout_ms);
    TRY(begin, query(client, partitions, RD_KAFKA_OFFSET_BEGINNING, timeout_ms));
    TRY(end, query(client, partitions, RD_KAFKA_OFFSET_END, std::max(1, deadline.left_ms())));
    std::vector<LogRange> ranges(partitions.size());
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        ranges[i] = {begin[i], std::max(begin[i], end[i])};
    }
    return ranges;
}

// librdkafka puts questions about settings to the controller, and waits for it for as long as it
// may. A cluster whose controller is none of its brokers has none that answers: librdkafka's own
// mock.
model::Result<bool> controller_answers(rd_kafka_t* client, int timeout_ms) {
    const Deadline deadline(timeout_ms);
    const rd_kafka_metadata_t* metadata = nullptr;
    if (const auto error =
            rd_kafka_metadata(client, 0, nullptr, &metadata, std::max(1, timeout_ms));
        error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return model::unavailable("the brokers cannot be listed: " + text_of(error));
    }
    const std::unique_ptr<const rd_kafka_metadata_t, decltype(&rd_kafka_metadata_destroy)> owner(
        metadata, &rd_kafka_metadata_destroy);
    const std::int32_t controller = rd_kafka_controllerid(client, std::max(1, deadline.left_ms()));
    return std::any_of(metadata->brokers, metadata->brokers + metadata->broker_cnt,
                       [controller](const auto& broker) { return broker.id == controller; });
}

// `cleanup.policy` of each topic. A broker that does not know the question, or does not answer it
// to us, leaves it open: that is no reason not to read.
model::Result<std::vector<std::string>> query_compacted(rd_kafka_t* client,
                                                        const std::vector<std::string>& topics,
                                                        int timeout_ms) {
    const Deadline deadline(timeout_ms);
    std::vector<std::string> compacted;
    TRY(answers, controller_answers(client, deadline.left_ms()));
    if (!answers) {
        return compacted;
    }
    const std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)> queue(
        rd_kafka_queue_new(client), &rd_kafka_queue_destroy);
    const std::unique_ptr<rd_kafka_AdminOptions_t, decltype(&rd_kafka_AdminOptions_destroy)>
        options(rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS),
                &rd_kafka_AdminOptions_destroy);
    char text[256];
    rd_kafka_AdminOptions_set_request_timeout(options.get(), std::max(1, timeout_ms), text,
                                              sizeof text);
    for (const std::string& topic : topics) {
        const std::unique_ptr<rd_kafka_ConfigResource_t, decltype(&rd_kafka_ConfigResource_destroy)>
            resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()),
                     &rd_kafka_ConfigResource_destroy);
        rd_kafka_ConfigResource_t* asked = resource.get();
        rd_kafka_DescribeConfigs(client, &asked, 1, options.get(), queue.get());
        const std::unique_ptr<rd_kafka_event_t, decltype(&rd_kafka_event_destroy)> event(
            rd_kafka_queue_poll(queue.get(), std::max(1, deadline.left_ms())),
            &rd_kafka_event_destroy);
        if (!event) {
            return model::unavailable("topic " + topic +
                                      ": its settings cannot be read: no answer");
        }
        const auto error = rd_kafka_event_error(event.get());
        if (error == RD_KAFKA_RESP_ERR__TIMED_OUT || error == RD_KAFKA_RESP_ERR__TRANSPORT) {
            return model::unavailable("topic " + topic +
                                      ": its settings cannot be read: " + text_of(error));
        }
        const auto* result = rd_kafka_event_DescribeConfigs_result(event.get());
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR || result == nullptr) {
            continue;
        }
        std::size_t count = 0;
        const auto* const* resources = rd_kafka_DescribeConfigs_result_resources(result, &count);
        for (std::size_t i = 0; i < count; ++i) {
            std::size_t entries = 0;
            const auto* const* configs = rd_kafka_ConfigResource_configs(resources[i], &entries);
            for (std::size_t e = 0; e < entries; ++e) {
                const char* value = rd_kafka_ConfigEntry_value(configs[e]);
                if (value != nullptr &&
                    std::string_view(rd_kafka_ConfigEntry_name(configs[e])) == "cleanup.policy" &&
                    std::string_view(value).find("compact") != std::string_view::npos) {
                    compacted.push_back(topic);
                }
            }
        }
    }
    return compacted;
}

}  // namespace

model::Result<std::vector<Partition>> KafkaLog::partitions(std::int64_t timeout_ms) {
    return shared_->within<std::vector<Partition>>(
        timeout_ms,
        [shared = shared_](rd_kafka_t* client,
                           int timeout) -> model::Result<std::vector<Partition>> {
            const Deadline deadline(timeout);
            std::vector<Partition> all;
            std::string unknown;  // all of them are named
            for (const auto& name : shared->settings.topics) {
                const Topic topic(rd_kafka_topic_new(client, name.c_str(), nullptr));
                if (!topic) {
                    return model::invalid("topic " + name + ": " + text_of(rd_kafka_last_error()));
                }
                const rd_kafka_metadata_t* metadata = nullptr;
                const auto error = rd_kafka_metadata(client, 0, topic.get(), &metadata,
                                                     std::max(1, deadline.left_ms()));
                if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
                    return model::unavailable("topic " + name + ": " + text_of(error));
                }
                const std::unique_ptr<const rd_kafka_metadata_t,
                                      decltype(&rd_kafka_metadata_destroy)>
                    owner(metadata, &rd_kafka_metadata_destroy);
                if (metadata->topic_cnt != 1) {
                    return model::unavailable("topic " + name + ": no metadata");
                }
                const rd_kafka_metadata_topic_t& t = metadata->topics[0];
                if (t.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
                    unknown +=
                        (unknown.empty() ? "topic " : "; topic ") + name + ": " + text_of(t.err);
                    continue;
                }
                if (t.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
                    return model::unavailable("topic " + name + ": " + text_of(t.err));
                }
                for (int i = 0; i < t.partition_cnt; ++i) {
                    all.push_back({name, t.partitions[i].id});
                }
            }
            if (!unknown.empty()) {
                return model::invalid(unknown);
            }
            std::ranges::sort(all);
            return all;
        });
}

model::Result<std::vector<LogRange>> KafkaLog::ranges(const std::vector<Partition>& partitions,
                                                      std::int64_t timeout_ms) {
    return shared_->within<std::vector<LogRange>>(
        timeout_ms, [partitions](rd_kafka_t* client, int timeout) {
            return query_ranges(client, partitions, timeout);
        });
}

model::Result<std::vector<Offset>> KafkaLog::offsets_at(const std::vector<Partition>& partitions,
                                                        model::EventTime time,
                                                        std::int64_t timeout_ms) {
    return shared_->within<std::vector<Offset>>(
        timeout_ms,
        [partitions, time](rd_kafka_t* client, int timeout) -> model::Result<std::vector<Offset>> {
            const Deadline deadline(timeout);
            // Negative numbers have other meanings in the protocol; nothing in Kafka is older.
            TRY(offsets, query(client, partitions, std::max<model::EventTime>(0, time), timeout));
            TRY(end,
                query(client, partitions, RD_KAFKA_OFFSET_END, std::max(1, deadline.left_ms())));
            for (std::size_t i = 0; i < offsets.size(); ++i) {
                if (offsets[i] < 0 || offsets[i] > end[i]) {
                    offsets[i] = end[i];
                }
            }
            return offsets;
        });
}

model::Result<std::optional<std::uint64_t>> KafkaLog::probe(const Partition& partition,
                                                            Offset offset,
                                                            std::int64_t timeout_ms) {
    using Answer = std::optional<std::uint64_t>;
    return shared_->within<Answer>(
        timeout_ms, [partition, offset](rd_kafka_t* client, int timeout) -> model::Result<Answer> {
            const Deadline deadline(timeout);
            const Topic topic(rd_kafka_topic_new(client, partition.topic.c_str(), nullptr));
            if (!topic || rd_kafka_consume_start(topic.get(), partition.id, offset) != 0) {
                return model::unavailable(to_string(partition) +
                                          ": cannot be read: " + text_of(rd_kafka_last_error()));
            }
            struct Stop {
                rd_kafka_topic_t* topic;
                std::int32_t id;
                ~Stop() { rd_kafka_consume_stop(topic, id); }
            } const stop{topic.get(), partition.id};
            MessageHeaders headers;
            std::string trouble = "no answer";
            while (!deadline.over()) {
                const std::unique_ptr<rd_kafka_message_t, decltype(&rd_kafka_message_destroy)>
                    message(rd_kafka_consume(topic.get(), partition.id,
                                             std::min(100, deadline.left_ms())),
                            &rd_kafka_message_destroy);
                rd_kafka_poll(client, 0);
                if (!message) {
                    continue;
                }
                switch (message->err) {
                    case RD_KAFKA_RESP_ERR_NO_ERROR: {
                        if (message->offset < offset) {
                            continue;
                        }
                        if (message->offset > offset) {
                            return Answer();
                        }
                        Record record;
                        fill_record(message.get(), record, headers);
                        return Answer(probe_hash(record));
                    }
                    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
                    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
                    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
                    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
                        return Answer();
                    default:
                        trouble = rd_kafka_message_errstr(message.get());
                }
            }
            return model::unavailable(to_string(partition) + ": the record at offset " +
                                      std::to_string(offset) + " cannot be read: " + trouble);
        });
}

model::Result<std::vector<std::string>> KafkaLog::compacted_topics(std::int64_t timeout_ms) {
    using Answer = std::vector<std::string>;
    return shared_->within<Answer>(timeout_ms,
                                   [topics = shared_->settings.topics](
                                       rd_kafka_t* client, int timeout) -> model::Result<Answer> {
                                       return query_compacted(client, topics, timeout);
                                   });
}

void KafkaLog::publish(const model::Offsets& next_offsets) {
    if (shared_->settings.group_id.empty()) {
        return;
    }
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->to_publish = next_offsets;
    }
    shared_->wake.notify_one();
}

KafkaCounts KafkaLog::counts() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->counts;
}

// ---- The reader.

class KafkaLog::Reader final : public LogReader, private ClientOwner {
 public:
    static model::Result<std::unique_ptr<Reader>> open(std::shared_ptr<Shared> shared,
                                                       const std::vector<Partition>& partitions);
    ~Reader() override;

    void assign(std::uint32_t partition, Offset next_offset) override;
    model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                    const Take& take) override;
    std::optional<Offset> at_end(std::uint32_t partition) const override;
    void set_paused(std::uint32_t partition, bool paused) override;
    void wait(std::int64_t timeout_ms) override;
    void wake() override;
    std::vector<std::pair<std::uint32_t, model::Error>> take_errors() override;

 private:
    // The search for the end of a stretch that cannot be read. Reading from `bad` meets it, reading
    // from `good` does not; `at` is being tried. `told` is where the stretch begins by librdkafka's
    // word, which is not always true: it only tells one stretch from the next, and nothing is
    // passed over because of it.
    struct Search {
        Offset told = 0;
        Offset bad = 0;
        std::optional<Offset> good;
        Offset at = 0;
        Offset step = 1;
        std::string reason;
    };
    struct Open {
        Partition partition;
        Topic topic;
        Queue queue;
        Offset expected = 0;  // nothing below it is handed out
        bool paused = false;
        bool failed = false;  // its offsets are gone
        bool full = false;    // the queue came near its bound
        std::size_t mean_bytes = 256;
        std::optional<Offset> end;
        std::optional<Search> search;
        std::optional<Offset> seek_to;  // to be done outside the callback
        int repeats = 0;                // wrong checksums since the last record
    };
    // What a helper's answer is left in; outlives the reader if it must.
    struct Inbox {
        std::mutex mutex;
        std::vector<std::pair<std::uint32_t, model::Error>> errors;
        std::vector<std::uint32_t> again;  // partitions that turned out to be readable
        int fd = -1;
        ~Inbox() {
            if (fd >= 0) {
                ::close(fd);
            }
        }
        void signal() const {
            const std::uint64_t one = 1;
            static_cast<void>(!::write(fd, &one, sizeof one));
        }
    };
    struct Call {
        Reader* reader;
        Open* open;
        std::uint32_t number;
        const Take* take;
        std::size_t limit;
        std::size_t taken = 0;
        std::size_t bytes = 0;
        std::uint64_t duplicates = 0;
        bool stop = false;
    };

    Reader(std::shared_ptr<Shared> shared, const std::vector<Partition>& partitions)
        : shared_(std::move(shared)), partitions_(partitions), inbox_(std::make_shared<Inbox>()) {}

    static void on_message(rd_kafka_message_t* message, void* opaque);
    void hand_out(Call& call, const rd_kafka_message_t* message);
    void partition_event(Call& call, const rd_kafka_message_t* message);
    void damaged(Call& call, Offset at, std::string reason);
    void search_on(Call& call);
    void lost(std::uint32_t number, Open& open);
    static void start(Open& open, Offset next_offset);
    void add_error(std::uint32_t number, model::Error error);
    void poke();
    void watch_queue(Open& open, std::size_t taken, std::size_t bytes);

    void on_log(int level, std::string_view text) override;
    void on_error(int error, std::string text) override;

    const std::shared_ptr<Shared> shared_;
    const std::vector<Partition>& partitions_;
    const std::shared_ptr<Inbox> inbox_;
    std::uint64_t queue_bytes_ = 0;  // bound of one partition
    rd_kafka_t* client_ = nullptr;
    Queue main_queue_;
    std::map<std::uint32_t, Open> open_;
    std::vector<std::pair<std::uint32_t, model::Error>> errors_;
    MessageHeaders headers_;
};

model::Result<std::unique_ptr<KafkaLog::Reader>> KafkaLog::Reader::open(
    std::shared_ptr<Shared> shared, const std::vector<Partition>& partitions) {
    std::unique_ptr<Reader> reader(new Reader(std::move(shared), partitions));
    reader->inbox_->fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (reader->inbox_->fd < 0) {
        return model::exhausted(std::string("eventfd: ") + std::strerror(errno));
    }
    TRY(conf, reader->shared_->conf(partitions.size()));
    char value[64];
    std::size_t size = sizeof value;
    rd_kafka_conf_get(conf.get(), "queued.max.messages.kbytes", value, &size);
    reader->queue_bytes_ = std::stoull(value) << 10;
    rd_kafka_conf_set_opaque(conf.get(), static_cast<ClientOwner*>(reader.get()));
    char text[512];
    reader->client_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    if (reader->client_ == nullptr) {
        return model::invalid(text);
    }
    static_cast<void>(conf.release());
    reader->main_queue_.reset(rd_kafka_queue_get_main(reader->client_));
    const std::uint64_t one = 1;
    rd_kafka_queue_io_event_enable(reader->main_queue_.get(), reader->inbox_->fd, &one, sizeof one);
    return reader;
}

KafkaLog::Reader::~Reader() {
    if (client_ == nullptr) {
        return;
    }
    rd_kafka_queue_io_event_enable(main_queue_.get(), -1, nullptr, 0);
    for (auto& [number, open] : open_) {
        rd_kafka_queue_io_event_enable(open.queue.get(), -1, nullptr, 0);
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
    }
    open_.clear();
    main_queue_.reset();
    rd_kafka_destroy(client_);
}

void KafkaLog::Reader::assign(std::uint32_t partition, Offset next_offset) {
    INVARIANT(next_offset >= 0, "offsets are resolved to numbers before anything is read");
    Open& open = open_[partition];
    if (!open.topic) {
        open.partition = partitions_.at(partition);
        open.topic.reset(rd_kafka_topic_new(client_, open.partition.topic.c_str(), nullptr));
        open.queue.reset(rd_kafka_queue_new(client_));
        const std::uint64_t one = 1;
        rd_kafka_queue_io_event_enable(open.queue.get(), inbox_->fd, &one, sizeof one);
    } else {
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
    }
    open.expected = next_offset;
    open.failed = false;
    open.full = false;
    open.end.reset();
    open.search.reset();
    open.seek_to.reset();
    open.repeats = 0;
    start(open, next_offset);
}

void KafkaLog::Reader::start(Open& open, Offset next_offset) {
    INVARIANT(rd_kafka_consume_start_queue(open.topic.get(), open.partition.id, next_offset,
                                           open.queue.get()) == 0,
              "librdkafka starts a stopped partition at an offset that is not negative");
}

model::Result<std::size_t> KafkaLog::Reader::read(std::uint32_t partition, std::size_t limit,
                                                  const Take& take) {
    const auto it = open_.find(partition);
    INVARIANT(it != open_.end(), "only assigned partitions are read");
    Open& open = it->second;
    if (open.failed || limit == 0) {
        return std::size_t{0};
    }
    Call call{.reader = this, .open = &open, .number = partition, .take = &take, .limit = limit};
    rd_kafka_consume_callback_queue(open.queue.get(), 0, &Reader::on_message, &call);
    if (open.seek_to) {
        // Stop and start, not a seek: behind the log's end the fetcher is off, and then librdkafka
        // ignores a seek without a word. What is queued is out of date from here on.
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
        start(open, *open.seek_to);
        open.seek_to.reset();
    }
    if (call.duplicates > 0) {
        const std::lock_guard lock(shared_->mutex);
        shared_->counts.duplicates_dropped += call.duplicates;
    }
    watch_queue(open, call.taken, call.bytes);
    return call.taken;
}

// Wakes the fetcher when a queue that had come near its bound is down to less than the half.
void KafkaLog::Reader::watch_queue(Open& open, std::size_t taken, std::size_t bytes) {
    if (taken == 0) {
        return;
    }
    open.mean_bytes = std::max<std::size_t>(1, (open.mean_bytes * 3 + bytes / taken) / 4);
    const std::uint64_t left =
        static_cast<std::uint64_t>(rd_kafka_queue_length(open.queue.get())) * open.mean_bytes;
    if (left + bytes >= queue_bytes_ / 4 * 3) {
        open.full = true;
    }
    if (open.full && left < queue_bytes_ / 2) {
        open.full = false;
        poke();
    }
}

// Makes the broker threads look at once whether there is something to fetch. From 2.2 on a setting
// sees to that; before, setting the credentials (to what they are) is the one public call that
// wakes them and does nothing else.
void KafkaLog::Reader::poke() {
    if (rd_kafka_version() < kVersionWithBackoffSetting) {
        if (rd_kafka_error_t* error = rd_kafka_sasl_set_credentials(
                client_, shared_->sasl_username.c_str(), shared_->sasl_password.c_str())) {
            rd_kafka_error_destroy(error);
        }
    }
}

void KafkaLog::Reader::on_message(rd_kafka_message_t* message, void* opaque) {
    Call& call = *static_cast<Call*>(opaque);
    Reader& reader = *call.reader;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        reader.partition_event(call, message);
    } else {
        reader.hand_out(call, message);
    }
    if (call.stop || call.taken == call.limit || call.open->seek_to || call.open->failed) {
        rd_kafka_yield(reader.client_);
    }
}

void KafkaLog::Reader::hand_out(Call& call, const rd_kafka_message_t* message) {
    Open& open = *call.open;
    if (open.search) {
        if (message->offset >= open.search->at) {
            open.search->good = open.search->at;
            search_on(call);
        }
        return;
    }
    if (message->offset < open.expected) {
        ++call.duplicates;
        return;
    }
    Record record;
    fill_record(message, record, headers_);
    open.expected = record.offset + 1;
    open.end.reset();
    open.repeats = 0;
    ++call.taken;
    call.bytes += record.key.size() + record.value.size();
    call.stop = !(*call.take)(record);
}

void KafkaLog::Reader::partition_event(Call& call, const rd_kafka_message_t* message) {
    Open& open = *call.open;
    const auto told = [&] {
        return to_string(open.partition) + ": " + rd_kafka_message_errstr(message);
    };
    switch (message->err) {
        case RD_KAFKA_RESP_ERR__PARTITION_EOF:
            if (open.search) {
                open.search->good = open.search->at;
                search_on(call);
                return;
            }
            open.expected = std::max(open.expected, message->offset);
            open.end = message->offset;
            return;
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
            if (open.search) {
                // Behind a wrong checksum librdkafka may fetch from an offset that it made up. Its
                // error outlives a restart and is not the answer to what is being tried.
                if (message->offset == open.search->at) {
                    open.search->good = open.search->at;  // behind the log's end
                    search_on(call);
                } else {
                    open.seek_to = open.search->at;
                }
                return;
            }
            lost(call.number, open);
            return;
        case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
            damaged(call, message->offset, rd_kafka_message_errstr(message));
            return;
        case RD_KAFKA_RESP_ERR__BAD_MSG:
            // A wrong checksum. librdkafka goes on somewhere behind it, which would be a gap that
            // nobody sees: fetch again. It may have come from the network; three times is the disk.
            if (open.search || ++open.repeats >= 3) {
                damaged(call, message->offset, rd_kafka_message_errstr(message));
            } else {
                add_error(call.number, {model::ErrorKind::unavailable, told()});
                open.seek_to = open.expected;
            }
            return;
        default:
            add_error(call.number, {model::ErrorKind::unavailable, told()});
    }
}

void KafkaLog::Reader::damaged(Call& call, Offset at, std::string reason) {
    Open& open = *call.open;
    if (!open.search) {
        Search search;
        search.told = at;
        search.bad = open.expected;
        search.at = open.expected;
        search.reason = std::move(reason);
        open.search = std::move(search);
    } else if (Search& s = *open.search; at != s.told && at > s.bad && at <= s.at) {
        s.good = at;  // the next stretch that is damaged
    } else {
        s.bad = s.at;
    }
    search_on(call);
}

// Chooses the next offset to try: by doubled steps until one is readable, then by halves.
void KafkaLog::Reader::search_on(Call& call) {
    Open& open = *call.open;
    Search& s = *open.search;
    if (s.good && *s.good == s.bad + 1) {
        Record record;
        record.first_offset = std::clamp(s.told, open.expected, s.bad);
        record.offset = s.bad;
        record.damage = s.reason;
        open.expected = *s.good;
        open.seek_to = *s.good;
        open.repeats = 0;
        {
            const std::lock_guard lock(shared_->mutex);
            ++shared_->counts.damaged_stretches;
        }
        ++call.taken;
        call.stop = !(*call.take)(record);
        open.search.reset();
        return;
    }
    if (s.good) {
        s.at = s.bad + (*s.good - s.bad) / 2;
    } else {
        s.at = s.bad + s.step;
        s.step *= 2;
    }
    open.seek_to = s.at;
}

// The offsets are gone. The exact range comes from the helper; until then nothing is read.
void KafkaLog::Reader::lost(std::uint32_t number, Open& open) {
    open.failed = true;
    open.end.reset();
    shared_->post([inbox = inbox_, number, partition = open.partition,
                   expected = open.expected](rd_kafka_t* client) {
        const auto ranges = query_ranges(client, {partition}, 10'000);
        const std::lock_guard lock(inbox->mutex);
        if (!ranges) {
            inbox->errors.emplace_back(
                number, model::Error{model::ErrorKind::invalid,
                                     to_string(partition) + ": offset " + std::to_string(expected) +
                                         " cannot be read, and the log's range is not known: " +
                                         ranges.error().text});
        } else if (auto text = missing_range(partition, expected, ranges->front()); text.empty()) {
            inbox->again.push_back(number);
        } else {
            inbox->errors.emplace_back(number,
                                       model::Error{model::ErrorKind::invalid, std::move(text)});
        }
        inbox->signal();
    });
}

std::optional<Offset> KafkaLog::Reader::at_end(std::uint32_t partition) const {
    const auto it = open_.find(partition);
    if (it == open_.end() || !it->second.end || it->second.search || it->second.failed ||
        rd_kafka_queue_length(it->second.queue.get()) > 0) {
        return std::nullopt;
    }
    return it->second.end;
}

void KafkaLog::Reader::set_paused(std::uint32_t partition, bool paused) {
    const auto it = open_.find(partition);
    INVARIANT(it != open_.end(), "only assigned partitions are paused");
    const bool resumed = it->second.paused && !paused;
    it->second.paused = paused;
    if (resumed) {
        it->second.full = true;  // it may have stood at its bound
    }
}

void KafkaLog::Reader::wait(std::int64_t timeout_ms) {
    for (const auto& [number, open] : open_) {
        if (!open.paused && !open.failed && rd_kafka_queue_length(open.queue.get()) > 0) {
            return;
        }
    }
    pollfd fd{inbox_->fd, POLLIN, 0};
    if (::poll(&fd, 1, clamp_ms(timeout_ms)) > 0) {
        std::uint64_t count = 0;
        static_cast<void>(!::read(inbox_->fd, &count, sizeof count));
    }
    rd_kafka_poll(client_, 0);
}

void KafkaLog::Reader::wake() { inbox_->signal(); }

void KafkaLog::Reader::add_error(std::uint32_t number, model::Error error) {
    constexpr std::size_t kKept = 64;
    for (auto& [n, e] : errors_) {
        if (n == number && e.text == error.text) {
            return;
        }
    }
    if (errors_.size() < kKept) {
        errors_.emplace_back(number, std::move(error));
    }
}

std::vector<std::pair<std::uint32_t, model::Error>> KafkaLog::Reader::take_errors() {
    rd_kafka_poll(client_, 0);
    std::vector<std::uint32_t> again;
    {
        const std::lock_guard lock(inbox_->mutex);
        for (auto& [number, error] : inbox_->errors) {
            add_error(number, std::move(error));
        }
        inbox_->errors.clear();
        again.swap(inbox_->again);
    }
    for (const std::uint32_t number : again) {
        Open& open = open_.at(number);
        if (open.failed) {
            add_error(number, {model::ErrorKind::unavailable,
                               to_string(open.partition) + ": reading starts again at offset " +
                                   std::to_string(open.expected)});
            assign(number, open.expected);
        }
    }
    auto errors = std::exchange(errors_, {});
    std::ranges::stable_sort(errors, [](const auto& a, const auto& b) {
        return a.second.kind == model::ErrorKind::invalid &&
               b.second.kind != model::ErrorKind::invalid;
    });
    return errors;
}

void KafkaLog::Reader::on_log(int level, std::string_view text) {
    if (shared_->settings.log) {
        shared_->settings.log(level, text);
    }
}

// Called from rd_kafka_poll(), so on the worker's thread.
void KafkaLog::Reader::on_error(int error, std::string text) {
    shared_->note_error(error, text);
    add_error(kWholeLog, {model::ErrorKind::unavailable, std::move(text)});
}

model::Result<std::unique_ptr<LogReader>> KafkaLog::open_reader(
    const model::RestoreToken&, const std::vector<Partition>& partitions) {
    TRY(reader, Reader::open(shared_, partitions));
    return std::unique_ptr<LogReader>(std::move(reader));
}

}  // namespace sluice::ingest
