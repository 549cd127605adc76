#include "ingest/kafka_log.h"

#include <librdkafka/rdkafka.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "ingest/kafka_client.h"
#include "ingest/kafka_queries.h"
#include "ingest/kafka_reader.h"
#include "state/model/invariant.h"

namespace sluice::ingest {

namespace {

using model::Offset;
using model::Partition;
using Ms = std::chrono::milliseconds;

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

KafkaLog::KafkaLog(std::shared_ptr<ControlClient> shared) : shared_(std::move(shared)) {}

model::Result<std::unique_ptr<KafkaLog>> KafkaLog::open(KafkaLogSettings settings) {
    auto shared = std::make_shared<ControlClient>(std::move(settings));
    const auto property = [&shared](const char* key) {
        const auto& all = shared->settings.properties;
        const auto it = all.find(key);
        return it == all.end() ? std::string() : it->second;
    };
    const bool given = !shared->settings.username.empty();
    shared->sasl_username = given ? shared->settings.username : property("sasl.username");
    shared->sasl_password = given ? shared->settings.password : property("sasl.password");

    TRY(conf, make_conf(shared->settings, 1));
    if (!shared->settings.group_id.empty()) {
        TRY(set_property(conf.get(), "group.id", shared->settings.group_id));
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
            TRY(offsets,
                query_offsets(client, partitions, std::max<model::EventTime>(0, time), timeout));
            TRY(end, query_offsets(client, partitions, RD_KAFKA_OFFSET_END,
                                   std::max(1, deadline.left_ms())));
            for (std::size_t i = 0; i < offsets.size(); ++i) {
                if (offsets[i] < 0 || offsets[i] > end[i]) {
                    offsets[i] = end[i];
                }
            }
            return offsets;
        });
}

model::Result<std::vector<std::optional<std::uint64_t>>> KafkaLog::probe(
    const std::vector<Place>& places, std::int64_t timeout_ms) {
    return shared_->within<std::vector<std::optional<std::uint64_t>>>(
        timeout_ms, [places](rd_kafka_t* client, int timeout) {
            return query_probes(client, places, timeout);
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

model::Result<std::unique_ptr<LogReader>> KafkaLog::open_reader(
    const model::RestoreToken&, const std::vector<Partition>& partitions) {
    TRY(reader, KafkaReader::open(shared_, partitions));
    return std::unique_ptr<LogReader>(std::move(reader));
}

}  // namespace sluice::ingest
