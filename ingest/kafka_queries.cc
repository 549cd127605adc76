#include "ingest/kafka_queries.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>

#include "ingest/kafka_message.h"
#include "state/model/invariant.h"

namespace sluice::ingest {

using model::Offset;
using model::Partition;

namespace {

List list_of(const std::vector<Partition>& partitions, std::int64_t offset) {
    List list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const auto& p : partitions) {
        rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.id)->offset = offset;
    }
    return list;
}

// The brokers know nothing of the topic or partition.
bool is_unknown(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
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

}  // namespace

model::Result<std::vector<Offset>> query_offsets(rd_kafka_t* client,
                                                 const std::vector<Partition>& partitions,
                                                 std::int64_t time, int timeout_ms) {
    std::vector<Offset> offsets(partitions.size(), -1);
    if (partitions.empty()) {
        return offsets;
    }
    const List list = list_of(partitions, time);
    const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client, list.get(), timeout_ms);
    if (is_unknown(error)) {
        return model::invalid("offsets cannot be queried: " + text_of(error));
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return model::unavailable("offsets cannot be queried: " + text_of(error));
    }
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        const auto* found = rd_kafka_topic_partition_list_find(
            list.get(), partitions[i].topic.c_str(), partitions[i].id);
        INVARIANT(found != nullptr, "a partition that was asked for is in the answer");
        if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            std::string text = to_string(partitions[i]) + ": " + text_of(found->err);
            return is_unknown(found->err) ? model::invalid(std::move(text))
                                          : model::unavailable(std::move(text));
        }
        offsets[i] = found->offset;
    }
    return offsets;
}

model::Result<std::vector<LogRange>> query_ranges(rd_kafka_t* client,
                                                  const std::vector<Partition>& partitions,
                                                  int timeout_ms) {
    const Deadline deadline(timeout_ms);
    TRY(begin, query_offsets(client, partitions, RD_KAFKA_OFFSET_BEGINNING, timeout_ms));
    TRY(end,
        query_offsets(client, partitions, RD_KAFKA_OFFSET_END, std::max(1, deadline.left_ms())));
    std::vector<LogRange> ranges(partitions.size());
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        ranges[i] = {begin[i], std::max(begin[i], end[i])};
    }
    return ranges;
}

namespace {

// Partitions whose records at one offset each arrive in one queue, so that its bound is that of all
// of them together.
class ProbeReader {
 public:
    ProbeReader(rd_kafka_t* client, const std::vector<Place>& places)
        : client_(client), places_(places), queue_(rd_kafka_queue_new(client)) {}
    ~ProbeReader() {
        for (std::size_t i = 0; i < open_.size(); ++i) {
            close(i);
        }
    }
    ProbeReader(const ProbeReader&) = delete;
    ProbeReader& operator=(const ProbeReader&) = delete;

    model::Status open() {
        for (const Place& place : places_) {
            Topic topic(rd_kafka_topic_new(client_, place.partition.topic.c_str(), nullptr));
            if (!topic || rd_kafka_consume_start_queue(topic.get(), place.partition.id,
                                                       place.offset, queue_.get()) != 0) {
                return model::unavailable(to_string(place.partition) +
                                          ": cannot be read: " + text_of(rd_kafka_last_error()));
            }
            index_.emplace(place.partition, open_.size());
            open_.push_back(std::move(topic));
        }
        answers_.resize(places_.size());
        return {};
    }
    bool done() const { return answered_ == places_.size(); }
    const std::vector<std::optional<std::uint64_t>>& answers() const { return answers_; }
    // Of the first place that is still open.
    std::string trouble() const {
        const auto open = std::ranges::find_if(open_, [](const Topic& t) { return t != nullptr; });
        const Place& place = places_[static_cast<std::size_t>(open - open_.begin())];
        return to_string(place.partition) + ": the record at offset " +
               std::to_string(place.offset) + " cannot be read: " + trouble_;
    }
    void take(int timeout_ms) {
        const std::unique_ptr<rd_kafka_message_t, decltype(&rd_kafka_message_destroy)> message(
            rd_kafka_consume_queue(queue_.get(), timeout_ms), &rd_kafka_message_destroy);
        rd_kafka_poll(client_, 0);
        if (!message || message->rkt == nullptr) {
            return;
        }
        const auto found =
            index_.find(Partition{rd_kafka_topic_name(message->rkt), message->partition});
        if (found == index_.end() || !open_[found->second]) {
            return;
        }
        const Offset wanted = places_[found->second].offset;
        switch (message->err) {
            case RD_KAFKA_RESP_ERR_NO_ERROR:
                if (message->offset >= wanted) {
                    if (message->offset == wanted) {
                        Record record;
                        fill_record(message.get(), record, headers_);
                        answers_[found->second] = probe_hash(record);
                    }
                    settle(found->second);
                }
                return;
            case RD_KAFKA_RESP_ERR__PARTITION_EOF:
            case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
            case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
            case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
                settle(found->second);
                return;
            default:
                trouble_ = rd_kafka_message_errstr(message.get());
        }
    }

 private:
    void settle(std::size_t i) {
        ++answered_;
        close(i);
    }
    void close(std::size_t i) {
        if (open_[i]) {
            rd_kafka_consume_stop(open_[i].get(), places_[i].partition.id);
            open_[i].reset();
        }
    }

    rd_kafka_t* const client_;
    const std::vector<Place>& places_;
    const Queue queue_;
    std::map<Partition, std::size_t> index_;  // position in `places_`
    std::vector<Topic> open_;                 // null: answered
    std::vector<std::optional<std::uint64_t>> answers_;
    std::size_t answered_ = 0;
    std::string trouble_ = "no answer";
    MessageHeaders headers_;
};

}  // namespace

model::Result<std::vector<std::optional<std::uint64_t>>> query_probes(
    rd_kafka_t* client, const std::vector<Place>& places, int timeout_ms) {
    const Deadline deadline(timeout_ms);
    ProbeReader reader(client, places);
    TRY(reader.open());
    while (!reader.done()) {
        if (deadline.over()) {
            return model::unavailable(reader.trouble());
        }
        reader.take(std::min(100, deadline.left_ms()));
    }
    return reader.answers();
}

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

}  // namespace sluice::ingest
