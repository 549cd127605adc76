// The log in Kafka, by librdkafka (2.0.2 and newer).
//
// Partitions are started one by one at explicit offsets, each with a queue of its own; there is no
// group membership, and the group id is only used to publish positions. Readers and the control
// client are separate librdkafka instances.
//
// What is handled here so that nobody else has to know it:
// - librdkafka hands some records out again (fetch from a stale position, before 2.4): every record
//   below a partition's expected offset is dropped and counted.
// - Calls with a timeout may take 30 s and more (watermark query before 2.3): all blocking calls
//   run on one helper thread, and the caller leaves at its deadline.
// - A full queue makes the fetcher sleep for up to a second (before 2.2): a reader wakes it when
//   its queues have drained to the half.
// - A batch that cannot be decompressed comes again for ever: the reader looks for its end by
//   reading from later offsets and hands out one Record with `damage` for the whole stretch.
//
// Not possible with librdkafka: to see how large a batch became by decompression before its memory
// is taken (gzip, snappy, lz4; zstd is bounded at 64 × max_bytes). Records longer than max_bytes
// are the decoder's matter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/kafka_settings.h"
#include "ingest/log.h"
#include "state/model/result.h"

namespace sluice::ingest {

// Runs the calling thread, and every thread that it creates from now on, on one core. A worker does
// it before open_reader(): librdkafka's threads and the worker then share that core, which halves
// the cost per record (the hand-over between cores is what costs). Errors: invalid (no such core).
model::Status pin_this_thread(int cpu);

struct ControlClient;

struct KafkaCounts {
    std::uint64_t duplicates_dropped = 0;
    std::uint64_t damaged_stretches = 0;
    std::uint64_t publish_errors = 0;
};

// Errors:  `unavailable` ends in what librdkafka complained about last (authentication, certificate
//          and the like).
// Life:    readers must be gone before the log.
// Thread:  as Log says.
class KafkaLog final : public Log {
 public:
    // Connects in the background; a broker that does not answer is no error here. Errors: invalid
    // (settings that librdkafka refuses).
    static model::Result<std::unique_ptr<KafkaLog>> open(KafkaLogSettings settings);
    ~KafkaLog() override;

    model::Result<std::vector<model::Partition>> partitions(std::int64_t timeout_ms) override;
    model::Result<std::vector<LogRange>> ranges(const std::vector<model::Partition>& partitions,
                                                std::int64_t timeout_ms) override;
    model::Result<std::vector<model::Offset>> offsets_at(
        const std::vector<model::Partition>& partitions, model::EventTime time,
        std::int64_t timeout_ms) override;
    model::Result<std::vector<std::optional<std::uint64_t>>> probe(
        const std::vector<Place>& places, std::int64_t timeout_ms) override;
    model::Result<std::vector<std::string>> compacted_topics(std::int64_t timeout_ms) override;
    model::Result<std::unique_ptr<LogReader>> open_reader(
        const model::RestoreToken& gate, const std::vector<model::Partition>& partitions) override;
    void publish(const model::Offsets& next_offsets) override;

    KafkaCounts counts() const;  // Thread: any.

 private:
    explicit KafkaLog(std::shared_ptr<ControlClient> shared);

    std::shared_ptr<ControlClient>
        shared_;  // shared with a helper thread that a dead broker may hold
};

}  // namespace sluice::ingest
