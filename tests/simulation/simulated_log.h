// A log in memory, driven by the simulation's scheduler.
//
// Faults that it can produce: gaps by control and aborted records, batches of random size, records
// that come late to a reader although they are in the log, an end that is told late, a broker that
// does not answer, damaged stretches, expiry of old offsets, a truncated or recreated topic.
// Nothing blocks; wait() returns at once. Single-threaded.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ingest/log.h"

namespace sluice::simulation {

struct SimulatedRecord {
    model::EventTime timestamp = 0;
    bool append_time = false;
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::vector<std::pair<std::string, std::string>> headers;
};

class SimulatedLog final : public ingest::Log {
 public:
    explicit SimulatedLog(std::uint64_t seed);
    ~SimulatedLog() override;

    // ---- The world's side.
    void add_topic(const std::string& topic, std::int32_t partitions);
    void add_partition(const std::string& topic);  // one more
    // Appends and returns the record's offset.
    model::Offset append(const model::Partition& partition, SimulatedRecord record);
    // Offsets that no reader ever sees: control records, an aborted transaction.
    void append_gap(const model::Partition& partition, std::int64_t offsets);
    // A batch that cannot be decompressed.
    void append_damage(const model::Partition& partition, std::int64_t offsets);
    void expire(const model::Partition& partition, model::Offset before);
    // Cuts the log's end off, as an unclean election does.
    void truncate(const model::Partition& partition, model::Offset end);
    // Replaces a topic's records by none, as if deleted and created again.
    void recreate(const std::string& topic);
    void set_available(bool available);  // false: calls fail, readers get nothing more
    bool available() const;
    void set_known(bool known);  // false: the brokers do not know the topic (invalid)

    // One step of the broker and the network: moves some records from the log to a reader's queue,
    // or tells it that it is at the end. False: nothing was left to do.
    bool step();

    model::Offset begin(const model::Partition& partition) const;
    model::Offset end(const model::Partition& partition) const;
    const std::optional<SimulatedRecord>& record(const model::Partition& partition,
                                                 model::Offset offset) const;
    std::uint64_t records_handed_out() const;  // to take()
    const model::Offsets& published() const;

    // ---- The pipeline's side.
    model::Result<std::vector<model::Partition>> partitions(std::int64_t timeout_ms) override;
    model::Result<std::vector<ingest::LogRange>> ranges(
        const std::vector<model::Partition>& partitions, std::int64_t timeout_ms) override;
    model::Result<std::vector<model::Offset>> offsets_at(
        const std::vector<model::Partition>& partitions, model::EventTime time,
        std::int64_t timeout_ms) override;
    model::Result<std::optional<std::uint64_t>> probe(const model::Partition& partition,
                                                      model::Offset offset,
                                                      std::int64_t timeout_ms) override;
    model::Result<std::vector<std::string>> compacted_topics(std::int64_t timeout_ms) override;
    // Readers may be destroyed at any time (a crash) and must be gone before the log.
    model::Result<std::unique_ptr<ingest::LogReader>> open_reader(
        const model::RestoreToken& gate, const std::vector<model::Partition>& partitions) override;
    void publish(const model::Offsets& next_offsets) override;

 private:
    class Reader;
    struct World;
    std::shared_ptr<World> world_;
};

}  // namespace sluice::simulation
