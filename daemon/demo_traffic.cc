#include "daemon/demo_traffic.h"

#include <array>
#include <cstdio>

namespace sluice::daemon {
namespace {

// Beside the value a record takes a few bytes, and a batch some sixty: counted to every record.
constexpr std::uint64_t kRecordOverhead = 16;

}  // namespace

std::string to_json(const DemoClick& click) {
    std::array<char, 96> text{};
    const int length = std::snprintf(
        text.data(), text.size(), R"({"user_id":"u%u","price":%d.%02d,"quantity":%d})", click.user,
        click.cents / 100, click.cents % 100, click.quantity);
    return {text.data(), static_cast<std::size_t>(length)};
}

DemoTraffic::DemoTraffic(const DemoTrafficSettings& settings)
    : settings_(settings),
      random_(settings.seed),
      bytes_(static_cast<std::size_t>(settings.partitions)),
      clicks_(static_cast<std::size_t>(settings.partitions)) {}

model::Result<std::unique_ptr<DemoTraffic>> DemoTraffic::open(const DemoTrafficSettings& settings) {
    std::unique_ptr<DemoTraffic> traffic(new DemoTraffic(settings));
    std::array<char, 512> problem{};
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_opaque(conf, traffic.get());
    rd_kafka_conf_set_dr_msg_cb(conf, &DemoTraffic::on_delivery);
    const std::array<std::array<const char*, 2>, 5> properties{{
        {"bootstrap.servers", settings.brokers.c_str()},
        {"acks", "all"},
        {"linger.ms", "10"},
        // A record that is produced again after a lost answer may be there twice, and the exact
        // answer would be wrong: it fails instead.
        {"retries", "0"},
        {"queue.buffering.max.messages", "1000000"},
    }};
    for (const auto& [name, value] : properties) {
        if (rd_kafka_conf_set(conf, name, value, problem.data(), problem.size()) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return model::unavailable(problem.data());
        }
    }
    traffic->producer_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem.data(), problem.size());
    if (traffic->producer_ == nullptr) {
        rd_kafka_conf_destroy(conf);
        return model::unavailable(problem.data());
    }
    traffic->topic_ = rd_kafka_topic_new(traffic->producer_, settings.topic.c_str(), nullptr);
    if (traffic->topic_ == nullptr) {
        return model::unavailable(rd_kafka_err2str(rd_kafka_last_error()));
    }
    return traffic;
}

DemoTraffic::~DemoTraffic() {
    if (topic_ != nullptr) {
        rd_kafka_topic_destroy(topic_);
    }
    if (producer_ != nullptr) {
        rd_kafka_purge(producer_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(producer_);
    }
}

void DemoTraffic::on_delivery(rd_kafka_t* /*producer*/, const rd_kafka_message_t* message,
                              void* self) {
    static_cast<DemoTraffic*>(self)->note(*message);
}

void DemoTraffic::note(const rd_kafka_message_t& message) {
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR || message.offset < 0) {
        problem_ = std::string("the embedded broker did not take a record: ") +
                   rd_kafka_err2str(message.err);
        return;
    }
    auto& partition = clicks_[static_cast<std::size_t>(message.partition)];
    const auto place = static_cast<std::size_t>(message.offset);
    if (partition.size() <= place) {
        partition.resize(place + 1);
    }
    partition[place] = sent_[reinterpret_cast<std::uintptr_t>(message._private)];
    ++delivered_;
}

model::Status DemoTraffic::pump(std::int64_t now_ms) {
    begun_ms_ = begun_ms_ < 0 ? now_ms : begun_ms_;
    const auto due =
        static_cast<std::size_t>((now_ms - begun_ms_) * settings_.clicks_per_second / 1000);
    while (sent_.size() < due) {
        // A few users click often, most of them now and then.
        const double place = static_cast<double>(random_() >> 11) * 0x1p-53;
        DemoClick click;
        click.user = static_cast<std::uint32_t>(place * place * settings_.users);
        click.cents = static_cast<std::int32_t>(1 + random_() % 9999);
        click.quantity = static_cast<std::int32_t>(1 + random_() % 5);
        const std::string value = to_json(click);
        const auto partition = random_() % bytes_.size();
        if (bytes_[partition] + value.size() + kRecordOverhead > settings_.partition_bytes) {
            break;
        }
        // The payload is copied; librdkafka does not write to it.
        void* payload = const_cast<char*>(value.data());
        void* number = reinterpret_cast<void*>(static_cast<std::uintptr_t>(sent_.size()));
        if (rd_kafka_produce(topic_, static_cast<std::int32_t>(partition), RD_KAFKA_MSG_F_COPY,
                             payload, value.size(), nullptr, 0, number) != 0) {
            break;  // its queue is full: the next call goes on
        }
        bytes_[partition] += value.size() + kRecordOverhead;
        sent_.push_back(click);
    }
    rd_kafka_poll(producer_, 5);
    return problem_.empty() ? model::Status() : model::unavailable(problem_);
}

model::Status DemoTraffic::finish(std::int64_t timeout_ms) {
    const auto error = rd_kafka_flush(producer_, static_cast<int>(timeout_ms));
    if (!problem_.empty()) {
        return model::unavailable(problem_);
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || delivered_ != sent_.size()) {
        return model::unavailable("the embedded broker does not answer");
    }
    std::uint64_t places = 0;
    for (const auto& partition : clicks_) {
        places += partition.size();
    }
    if (places != delivered_) {
        return model::unavailable("the embedded broker gave two records one offset");
    }
    return {};
}

}  // namespace sluice::daemon
