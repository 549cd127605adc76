// The seam for the input: a partitioned, offset-addressed log. Kafka in production, a simulated one
// in tests/simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/model/gate.h"
#include "state/model/partition.h"
#include "state/model/result.h"
#include "state/model/time.h"

namespace sluice::ingest {

struct Header {
    std::string_view name;
    std::optional<std::string_view> value;  // Kafka tells none from an empty one
};

// The headers of the record that is being handed out. Asked for only where somebody needs them:
// unpacking them takes as long as the rest of the record.
class HeaderSource {
 public:
    virtual ~HeaderSource() = default;
    virtual std::span<const Header> headers() = 0;
};

// Headers that are unpacked already.
class PlainHeaders final : public HeaderSource {
 public:
    explicit PlainHeaders(std::span<const Header> all) : all_(all) {}
    std::span<const Header> headers() override { return all_; }

 private:
    std::span<const Header> all_;
};

// One record as the log has it, or, with `damage`, a stretch of the log that nobody can read. Views
// are valid only during the call that hands it out.
struct Record {
    model::Offset offset = 0;
    // With `damage`: the first offset of the stretch; `offset` is its last one, so that the next
    // offset is right in both cases.
    model::Offset first_offset = 0;
    std::string_view damage;          // why the stretch cannot be read; empty for a record
    model::EventTime timestamp = -1;  // Kafka's, ms; -1: none
    bool append_time = false;         // the timestamp is the broker's (LogAppendTime)
    bool has_key = false;
    bool has_value = false;
    std::string_view key;
    std::string_view value;                 // null value: has_value is false
    HeaderSource* header_source = nullptr;  // null: none
    std::span<const Header> headers() const {
        return header_source == nullptr ? std::span<const Header>() : header_source->headers();
    }
};

// Where a partition begins and ends at the broker now.
struct LogRange {
    model::Offset begin = 0;
    model::Offset end =
        0;  // last stable offset: next offset that a read_committed consumer cannot read yet
};

// One offset of one partition.
struct Place {
    model::Partition partition;
    model::Offset offset = 0;
};

// A record that was read: where it stood, and its probe_hash().
struct Probe {
    model::Offset offset = 0;
    std::uint64_t hash = 0;
};

// Stands for a partition's number where an error is about the log as a whole.
inline constexpr std::uint32_t kWholeLog = UINT32_MAX;

// Reads the partitions that one worker owns. Thread: that worker's. Never reads below an assigned
// next offset.
class LogReader {
 public:
    virtual ~LogReader() = default;

    // Starts (or, for one already assigned, restarts) reading `partition` at `next_offset`. May
    // block for some milliseconds when the partition was assigned before.
    virtual void assign(std::uint32_t partition, model::Offset next_offset) = 0;
    // The probe of the last record that counts. Where a log loses our position, it tells the log
    // that was read from another one of the same name.
    virtual void remember(std::uint32_t partition, const Probe& probe) = 0;

    // Takes records of `partition` off the queue, oldest first, and hands them to `take` until it
    // returns false, nothing is queued, or `limit` records were taken. Returns how many were taken.
    // Does not block. A record for which `take` returned false has been taken. The number is the
    // index into `partitions` of open_reader().
    using Take = std::function<bool(const Record&)>;
    virtual model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                            const Take& take) = 0;

    // The partition's end as far as this reader knows: the broker said "no more" at this next
    // offset and nothing is queued. nullopt: not at the end, or not known.
    virtual std::optional<model::Offset> at_end(std::uint32_t partition) const = 0;
    // At its end only because what follows belongs to a transaction that is still open: there are
    // records on their way that are as old as the transaction.
    virtual bool behind_end_is_more(std::uint32_t partition) const = 0;

    // Stops and resumes fetching (back-pressure) without losing what is queued: what is fetched
    // while paused stays within the queue's bound, and read() still hands out what is there.
    // wait() does not look at paused partitions.
    virtual void set_paused(std::uint32_t partition, bool paused) = 0;

    // Blocks until records may be there, wake() was called, or the time is over.
    virtual void wait(std::int64_t timeout_ms) = 0;
    virtual void wake() = 0;  // Thread: any.

    // Errors since the last call, worst first; empty when nothing happened. `unavailable`: the
    // client goes on trying by itself; `invalid`: offsets are gone (text names partition and
    // range), or the log is another one than the one that was read: nothing more comes from that
    // partition until it is assigned again. A broker that went away is told once, not for as long
    // as it is away: whether the log answers now, ask Log::ranges().
    virtual std::vector<std::pair<std::uint32_t, model::Error>> take_errors() = 0;
};

// What a question to the brokers may take before they count as away.
inline constexpr std::int64_t kAskTimeoutMs = 5'000;

// The log as a whole: metadata, ranges, readers.
// Thread: any, but for readers. Blocking calls say so.
class Log {
 public:
    virtual ~Log() = default;

    // Blocks, at most `timeout_ms`. All partitions of all configured topics. Errors: unavailable;
    // invalid: the brokers say that there is no such topic, and name all of those.
    virtual model::Result<std::vector<model::Partition>> partitions(std::int64_t timeout_ms) = 0;
    // Blocks. Begin and end of each partition. Errors: unavailable; invalid: the brokers say that
    // there is no such topic or partition.
    virtual model::Result<std::vector<LogRange>> ranges(
        const std::vector<model::Partition>& partitions, std::int64_t timeout_ms) = 0;
    // Blocks. The first offset whose timestamp is at or above `time`, or the end.
    virtual model::Result<std::vector<model::Offset>> offsets_at(
        const std::vector<model::Partition>& partitions, model::EventTime time,
        std::int64_t timeout_ms) = 0;
    // Blocks. For each place (no partition twice) the hash of the record at exactly that offset:
    // XXH3-64 over key, value and timestamp; nullopt: no record there. All are read at once, so
    // that many partitions take hardly longer than one.
    virtual model::Result<std::vector<std::optional<std::uint64_t>>> probe(
        const std::vector<Place>& places, std::int64_t timeout_ms) = 0;

    // Blocks. Those of the configured topics that the broker compacts, which lose records in their
    // middle; empty where it cannot tell (an old broker, or no right to ask).
    virtual model::Result<std::vector<std::string>> compacted_topics(std::int64_t timeout_ms) = 0;

    // A reader for one worker. The token is the gate: only a finished restore has one. `partitions`
    // maps the numbers used with the reader to partitions and outlives it.
    // Thread: the one that will use the reader.
    virtual model::Result<std::unique_ptr<LogReader>> open_reader(
        const model::RestoreToken& gate, const std::vector<model::Partition>& partitions) = 0;

    // Tells the world how far we are (for lag monitors), never read back. Does not block; what goes
    // wrong is only counted.
    virtual void publish(const model::Offsets& next_offsets) = 0;
};

// "clicks[3]: offsets 100..199 are gone, log starts at 200", or the like for a next offset beyond
// the log's end; empty if `next_offset` can be read.
std::string missing_range(const model::Partition& partition, model::Offset next_offset,
                          const LogRange& range);
// Whether such a text, or one of several, tells of offsets that have expired: a start may accept
// that.
bool tells_of_a_gap(std::string_view missing);

// The probe of one record.
std::uint64_t probe_hash(const Record& record);

}  // namespace sluice::ingest
