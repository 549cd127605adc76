// The demo's traffic: clicks of many users, produced at an even pace, and the memory of every one
// of them by its place in the log.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "state/model/result.h"

namespace sluice::daemon {

// {"user_id":"u17","price":19.90,"quantity":2}
struct DemoClick {
    std::uint32_t user = 0;
    std::int32_t cents = 0;  // price
    std::int32_t quantity = 0;
};

std::string to_json(const DemoClick& click);

// By partition, then by offset from 0.
using DemoClicks = std::vector<std::vector<DemoClick>>;

struct DemoTrafficSettings {
    std::string brokers;
    std::string topic;
    int partitions = 0;
    std::uint32_t users = 0;
    std::int64_t clicks_per_second = 0;
    std::uint64_t partition_bytes = 0;  // where it is reached, no more is produced
    std::uint64_t seed = 0;
};

// Life:    pump() often, then finish().
// Thread:  one. What librdkafka reports arrives within pump() and finish().
class DemoTraffic {
 public:
    // Errors: unavailable (librdkafka refuses).
    static model::Result<std::unique_ptr<DemoTraffic>> open(const DemoTrafficSettings& settings);
    ~DemoTraffic();
    DemoTraffic(const DemoTraffic&) = delete;
    DemoTraffic& operator=(const DemoTraffic&) = delete;

    // Produces what is due by `now_ms` (steady clock; the first call is the beginning); blocks for
    // 5 ms at most. Errors: unavailable (the broker did not take a record).
    model::Status pump(std::int64_t now_ms);
    // Waits until the broker has all of them.
    model::Status finish(std::int64_t timeout_ms);

    std::uint64_t delivered() const { return delivered_; }
    // The broker has them all: after finish() each place is filled.
    const DemoClicks& clicks() const { return clicks_; }

 private:
    explicit DemoTraffic(const DemoTrafficSettings& settings);
    static void on_delivery(rd_kafka_t* producer, const rd_kafka_message_t* message, void* self);
    void note(const rd_kafka_message_t& message);

    const DemoTrafficSettings settings_;
    std::mt19937_64 random_;
    rd_kafka_t* producer_ = nullptr;
    rd_kafka_topic_t* topic_ = nullptr;
    std::int64_t begun_ms_ = -1;
    std::vector<DemoClick> sent_;       // by number: a message's opaque is its number
    std::vector<std::uint64_t> bytes_;  // by partition
    DemoClicks clicks_;
    std::uint64_t delivered_ = 0;
    std::string problem_;
};

}  // namespace sluice::daemon
