// A message of librdkafka as a Record, which borrows its bytes. On the path of every record, so all
// of it is here.
#pragma once

#include <librdkafka/rdkafka.h>

#include <span>
#include <vector>

#include "ingest/log.h"

namespace sluice::ingest {

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
            all_.push_back({name, std::nullopt});
            if (value != nullptr) {
                all_.back().value.emplace(static_cast<const char*>(value), size);
            }
        }
        return all_;
    }

 private:
    const rd_kafka_message_t* message_ = nullptr;
    std::vector<Header> all_;
};

// `record` is good for as long as `message` and `headers` are.
inline void fill_record(const rd_kafka_message_t* message, Record& record,
                        MessageHeaders& headers) {
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

}  // namespace sluice::ingest
