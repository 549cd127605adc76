// What every librdkafka client of ours has in common, and the one that questions are put to. For
// the files of the log in Kafka alone (kafka_log.h).
#pragma once

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ingest/kafka_log.h"
#include "ingest/kafka_settings.h"
#include "state/model/partition.h"
#include "state/model/result.h"

namespace sluice::ingest {

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
inline constexpr int kVersionWithBackoffSetting = 0x02020000;

inline std::string text_of(rd_kafka_resp_err_t error) { return rd_kafka_err2str(error); }
inline int clamp_ms(std::int64_t ms) {
    return static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000));
}

// What an rd_kafka_t's opaque points to.
struct ClientOwner {
    virtual ~ClientOwner() = default;
    virtual void on_log(int level, std::string_view text) = 0;
    virtual void on_error(int error, std::string text) = 0;
    virtual void on_commit_error() {}
};

// Errors: invalid, in librdkafka's words.
model::Status set_property(rd_kafka_conf_t* conf, const std::string& key, const std::string& value);
// The settings that control client and readers have in common; the memory of the queues is shared
// by `partitions`. Opaque (a ClientOwner) and further callbacks are the caller's. Errors: invalid.
model::Result<Conf> make_conf(const KafkaLogSettings& settings, std::uint64_t partitions);

// What the log, its readers and the helper thread share. The helper may be inside a call that
// librdkafka does not end for half a minute, so it keeps this alive by itself.
struct ControlClient {
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

    explicit ControlClient(KafkaLogSettings s) : settings(std::move(s)) {}

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

    void run();  // the helper thread
    void publish_now(const model::Offsets& offsets);

    // Runs `call` on the helper thread and waits for it, but not longer than `timeout_ms`.
    template <class T>
    model::Result<T> within(std::int64_t timeout_ms,
                            std::function<model::Result<T>(rd_kafka_t*, int)> call);
};

template <class T>
model::Result<T> ControlClient::within(std::int64_t timeout_ms,
                                       std::function<model::Result<T>(rd_kafka_t*, int)> call) {
    struct Answer {
        std::mutex mutex;
        std::condition_variable ready;
        std::optional<model::Result<T>> result;
        bool abandoned = false;
    };
    const auto answer = std::make_shared<Answer>();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    post([answer, deadline, call = std::move(call)](rd_kafka_t* client) {
        {
            const std::lock_guard lock(answer->mutex);
            if (answer->abandoned) {
                return;
            }
        }
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                              deadline - std::chrono::steady_clock::now())
                              .count();
        auto result = call(client, clamp_ms(std::max<std::int64_t>(1, left)));
        rd_kafka_poll(client, 0);  // what it complained about meanwhile is the reason
        const std::lock_guard lock(answer->mutex);
        answer->result.emplace(std::move(result));
        answer->ready.notify_one();
    });
    std::unique_lock lock(answer->mutex);
    if (!answer->ready.wait_until(lock, deadline, [&] { return answer->result.has_value(); })) {
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

}  // namespace sluice::ingest
