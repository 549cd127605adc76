// JSON records → columns: exactly the columns that the pipeline's expressions name.
//
// A record is decoded from its bytes alone; what cannot be decoded is set aside with a reason and
// never stops the next record.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/settings.h"
#include "ingest/log.h"
#include "state/model/partition.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"

namespace sluice::ingest {

// A record that was not decoded, with all that its dead letter needs.
struct SetAside {
    std::uint32_t row = 0;
    std::string reason;
    model::Offset first_offset = 0;   // below the row's offset only for a damaged stretch
    model::EventTime timestamp = -1;  // Kafka's; -1: none
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

// Consecutive records of one partition with what only ingest knows about them.
struct DecodedBatch {
    model::RecordBatch records;
    // By row: the broker's append time where the topic has LogAppendTime, else kAfterAll.
    std::vector<model::EventTime> append_time;
    // Undecodable rows always; null rows if on_null asks for a dead letter (or a stop). Ascending.
    std::vector<SetAside> set_aside;
    model::ValueErrors errors;  // numbers beyond their range, lists and objects asked as scalars

    void clear() {
        records.clear();
        append_time.clear();
        set_aside.clear();
        errors = {};
    }
};

// Life:    begin(), append() …, finish(): one batch; then again. Memory is reused.
// Thread:  one. `pipeline` and `partitions` must outlive it; `partitions` may grow.
class Decoder {
 public:
    Decoder(const config::Pipeline& pipeline, const std::vector<model::Partition>& partitions);
    ~Decoder();
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    // Clears `batch` and prepares it for at most `max_rows` records of `partition` (an index into
    // the partition table). `batch` must stay where it is until finish().
    void begin(DecodedBatch& batch, std::uint32_t partition, std::size_t max_rows);

    // Decodes one record into the next row. Nothing of `record` is kept but what last_probe()
    // needs.
    void append(const Record& record);
    // probe_hash() of the record appended last. It costs a tenth of decoding, and only the last
    // record before a checkpoint needs it.
    std::uint64_t last_probe() const;

    // Computes event times; rows without one become undecodable. After it the columns of the rows
    // with status ok are complete, except those that steps assign.
    void finish();

    std::size_t rows() const;      // appended since begin()
    std::size_t max_rows() const;  // of begin()
    std::size_t text_bytes()
        const;  // taken by the batch so far, for a bound on batches of long texts

 private:
    struct Plan;
    struct Work;
    std::unique_ptr<const Plan> plan_;
    std::unique_ptr<Work> work_;
};

}  // namespace sluice::ingest
