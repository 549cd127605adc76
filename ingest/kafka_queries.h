// Questions to the brokers that block. For the files of the log in Kafka alone: they are asked on
// the helper thread of ControlClient.
#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ingest/kafka_client.h"
#include "ingest/log.h"
#include "state/model/partition.h"
#include "state/model/result.h"

namespace sluice::ingest {

class Deadline {
 public:
    explicit Deadline(int timeout_ms)
        : at_(std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms)) {}
    int left_ms() const {
        return clamp_ms(std::chrono::duration_cast<std::chrono::milliseconds>(
                            at_ - std::chrono::steady_clock::now())
                            .count());
    }
    bool over() const { return std::chrono::steady_clock::now() >= at_; }

 private:
    std::chrono::steady_clock::time_point at_;
};

// One offset per partition, by their leaders; `time` is a timestamp or one of the special values
// for begin and end. -1: there is none. Errors of all: unavailable.
model::Result<std::vector<model::Offset>> query_offsets(
    rd_kafka_t* client, const std::vector<model::Partition>& partitions, std::int64_t time,
    int timeout_ms);
model::Result<std::vector<LogRange>> query_ranges(rd_kafka_t* client,
                                                  const std::vector<model::Partition>& partitions,
                                                  int timeout_ms);
// What Log::probe() answers. Must not be asked on a client that reads one of the partitions.
model::Result<std::vector<std::optional<std::uint64_t>>> query_probes(
    rd_kafka_t* client, const std::vector<Place>& places, int timeout_ms);
// Which of the topics have a `cleanup.policy` that compacts. A broker that does not know the
// question, or does not answer it to us, leaves it open: that is no reason not to read.
model::Result<std::vector<std::string>> query_compacted(rd_kafka_t* client,
                                                        const std::vector<std::string>& topics,
                                                        int timeout_ms);

}  // namespace sluice::ingest
