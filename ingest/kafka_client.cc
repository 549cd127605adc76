#include "ingest/kafka_client.h"

#include <map>

namespace sluice::ingest {

namespace {

// Per partition. What waits in a queue longer than some milliseconds has left the processor's
// caches when it is read, and its memory has gone back to the system: both cost more than another
// fetch.
constexpr std::uint64_t kQueueMin = 256ull << 10;
constexpr std::uint64_t kQueueMax = 2ull << 20;
constexpr std::uint64_t kFetchBytes = 256ull << 10;

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

}  // namespace

model::Status set_property(rd_kafka_conf_t* conf, const std::string& key,
                           const std::string& value) {
    char text[512];
    if (rd_kafka_conf_set(conf, key.c_str(), value.c_str(), text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        return model::invalid(text);
    }
    return {};
}

model::Result<Conf> make_conf(const KafkaLogSettings& settings, std::uint64_t partitions) {
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
    all["fetch.max.bytes"] = std::to_string(std::min<std::uint64_t>(received - 1024, 50ull << 20));
    for (const auto& [key, value] : all) {
        TRY(set_property(conf.get(), key, value));
    }
    rd_kafka_conf_set_log_cb(conf.get(), log_line);
    rd_kafka_conf_set_error_cb(conf.get(), error_event);
    return conf;
}

// The helper thread.
void ControlClient::run() {
    while (true) {
        std::function<void(rd_kafka_t*)> job;
        std::optional<model::Offsets> offsets;
        {
            std::unique_lock lock(mutex);
            // Without a job it looks after callbacks from time to time.
            wake.wait_for(lock, std::chrono::milliseconds(250),
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

void ControlClient::publish_now(const model::Offsets& offsets) {
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

}  // namespace sluice::ingest
