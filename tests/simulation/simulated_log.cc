#include "tests/simulation/simulated_log.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>

namespace sluice::simulation {

namespace {

// What lies at an offset: a record, nothing that a reader sees, or damage.
struct Entry {
    enum class Kind : std::uint8_t { record, gap, damage } kind = Kind::gap;
    std::optional<SimulatedRecord> record;
    model::Offset first_of_damage = 0;
    model::Offset last_of_damage = 0;
};

struct PartitionLog {
    model::Offset begin = 0;
    std::deque<Entry> entries;  // from `begin`
    model::Offset end() const { return begin + static_cast<model::Offset>(entries.size()); }
    const Entry& at(model::Offset offset) const {
        return entries[static_cast<std::size_t>(offset - begin)];
    }
};

ingest::Record view_of(const SimulatedRecord& from, model::Offset offset,
                       std::vector<ingest::Header>& headers) {
    ingest::Record record;
    record.offset = offset;
    record.first_offset = offset;
    record.timestamp = from.timestamp;
    record.append_time = from.append_time;
    record.has_key = from.key.has_value();
    record.has_value = from.value.has_value();
    record.key = from.key ? std::string_view(*from.key) : std::string_view();
    record.value = from.value ? std::string_view(*from.value) : std::string_view();
    headers.clear();
    for (const auto& [name, value] : from.headers) {
        headers.push_back({name, value});
    }
    record.headers = headers;
    return record;
}

}  // namespace

struct SimulatedLog::World {
    explicit World(std::uint64_t seed) : random(seed) {}
    std::mt19937_64 random;
    std::map<model::Partition, PartitionLog> logs;
    std::vector<Reader*> readers;
    bool available = true;
    std::uint64_t handed_out = 0;
    model::Offsets published;
    std::optional<SimulatedRecord> nothing;
};

class SimulatedLog::Reader final : public ingest::LogReader {
 public:
    Reader(std::shared_ptr<World> world, const std::vector<model::Partition>& partitions)
        : world_(std::move(world)), partitions_(partitions) {
        world_->readers.push_back(this);
    }
    ~Reader() override { std::erase(world_->readers, this); }

    void assign(std::uint32_t partition, model::Offset next_offset) override {
        Assigned& assigned = assigned_[partition];
        assigned = {};
        assigned.fetched = next_offset;
    }

    model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                    const Take& take) override {
        Assigned& assigned = assigned_.at(partition);
        const PartitionLog& log = world_->logs.at(partitions_[partition]);
        std::vector<ingest::Header> headers;
        std::size_t taken = 0;
        while (taken < limit && !assigned.queue.empty()) {
            const model::Offset offset = assigned.queue.front();
            assigned.queue.pop_front();
            if (offset < log.begin || offset >= log.end()) {
                continue;
            }
            const Entry& entry = log.at(offset);
            ingest::Record record;
            if (entry.kind == Entry::Kind::damage) {
                record.offset = entry.last_of_damage;
                record.first_offset = entry.first_of_damage;
                record.damage = "cannot be decompressed";
            } else {
                record = view_of(*entry.record, offset, headers);
            }
            ++taken;
            ++world_->handed_out;
            if (!take(record)) {
                break;
            }
        }
        return taken;
    }

    std::optional<model::Offset> at_end(std::uint32_t partition) const override {
        const Assigned& assigned = assigned_.at(partition);
        return assigned.queue.empty() ? assigned.end_told : std::nullopt;
    }

    void set_paused(std::uint32_t partition, bool paused) override {
        assigned_.at(partition).paused = paused;
    }
    void wait(std::int64_t /*timeout_ms*/) override {}
    void wake() override {}

    std::vector<std::pair<std::uint32_t, model::Error>> take_errors() override {
        return std::exchange(errors_, {});
    }

    // The broker sends a few records, or says that there are no more.
    bool fetch() {
        if (assigned_.empty() || !world_->available) {
            return false;
        }
        auto chosen = assigned_.begin();
        std::advance(chosen, static_cast<std::ptrdiff_t>(world_->random() % assigned_.size()));
        Assigned& assigned = chosen->second;
        const PartitionLog& log = world_->logs.at(partitions_[chosen->first]);
        if (assigned.paused || assigned.queue.size() > 64) {
            return false;
        }
        if (assigned.fetched < log.begin) {
            if (!assigned.gone) {
                assigned.gone = true;
                errors_.emplace_back(chosen->first,
                                     model::Error{model::ErrorKind::invalid,
                                                  ingest::missing_range(
                                                      partitions_[chosen->first], assigned.fetched,
                                                      {log.begin, log.end()})});
            }
            return false;
        }
        if (assigned.fetched >= log.end()) {
            const bool news = assigned.end_told != log.end();
            assigned.end_told = log.end();
            return news;
        }
        assigned.end_told.reset();
        const std::size_t count = 1 + world_->random() % 12;
        for (std::size_t i = 0; i < count && assigned.fetched < log.end(); ++i) {
            const Entry& entry = log.at(assigned.fetched);
            if (entry.kind == Entry::Kind::record) {
                assigned.queue.push_back(assigned.fetched);
            } else if (entry.kind == Entry::Kind::damage &&
                       assigned.fetched == entry.first_of_damage) {
                assigned.queue.push_back(assigned.fetched);
            }
            ++assigned.fetched;
        }
        return true;
    }

 private:
    struct Assigned {
        model::Offset fetched = 0;        // everything below was fetched
        std::deque<model::Offset> queue;  // fetched and not taken
        std::optional<model::Offset> end_told;
        bool paused = false;
        bool gone = false;
    };
    std::shared_ptr<World> world_;
    const std::vector<model::Partition>& partitions_;
    std::map<std::uint32_t, Assigned> assigned_;
    std::vector<std::pair<std::uint32_t, model::Error>> errors_;
};

SimulatedLog::SimulatedLog(std::uint64_t seed) : world_(std::make_shared<World>(seed)) {}
SimulatedLog::~SimulatedLog() = default;

void SimulatedLog::add_topic(const std::string& topic, std::int32_t partitions) {
    for (std::int32_t i = 0; i < partitions; ++i) {
        world_->logs[{topic, i}];
    }
}

void SimulatedLog::add_partition(const std::string& topic) {
    std::int32_t id = 0;
    while (world_->logs.contains({topic, id})) {
        ++id;
    }
    world_->logs[{topic, id}];
}

model::Offset SimulatedLog::append(const model::Partition& partition, SimulatedRecord record) {
    PartitionLog& log = world_->logs.at(partition);
    log.entries.push_back({Entry::Kind::record, std::move(record), 0, 0});
    return log.end() - 1;
}

void SimulatedLog::append_gap(const model::Partition& partition, std::int64_t offsets) {
    PartitionLog& log = world_->logs.at(partition);
    for (std::int64_t i = 0; i < offsets; ++i) {
        log.entries.push_back({});
    }
}

void SimulatedLog::append_damage(const model::Partition& partition, std::int64_t offsets) {
    PartitionLog& log = world_->logs.at(partition);
    const model::Offset first = log.end();
    for (std::int64_t i = 0; i < offsets; ++i) {
        log.entries.push_back({Entry::Kind::damage, std::nullopt, first, first + offsets - 1});
    }
}

void SimulatedLog::expire(const model::Partition& partition, model::Offset before) {
    PartitionLog& log = world_->logs.at(partition);
    while (log.begin < before && !log.entries.empty()) {
        log.entries.pop_front();
        ++log.begin;
    }
}

void SimulatedLog::truncate(const model::Partition& partition, model::Offset end) {
    PartitionLog& log = world_->logs.at(partition);
    while (log.end() > end && !log.entries.empty()) {
        log.entries.pop_back();
    }
}

void SimulatedLog::recreate(const std::string& topic) {
    for (auto& [partition, log] : world_->logs) {
        if (partition.topic == topic) {
            log = {};
        }
    }
}

void SimulatedLog::set_available(bool available) { world_->available = available; }
bool SimulatedLog::available() const { return world_->available; }

bool SimulatedLog::step() {
    if (world_->readers.empty()) {
        return false;
    }
    return world_->readers[world_->random() % world_->readers.size()]->fetch();
}

model::Offset SimulatedLog::begin(const model::Partition& partition) const {
    return world_->logs.at(partition).begin;
}
model::Offset SimulatedLog::end(const model::Partition& partition) const {
    return world_->logs.at(partition).end();
}

const std::optional<SimulatedRecord>& SimulatedLog::record(const model::Partition& partition,
                                                           model::Offset offset) const {
    const PartitionLog& log = world_->logs.at(partition);
    if (offset < log.begin || offset >= log.end()) {
        return world_->nothing;
    }
    return log.at(offset).record;
}

std::uint64_t SimulatedLog::records_handed_out() const { return world_->handed_out; }
const model::Offsets& SimulatedLog::published() const { return world_->published; }

model::Result<std::vector<model::Partition>> SimulatedLog::partitions(std::int64_t /*timeout_ms*/) {
    if (!world_->available) {
        return model::unavailable("the simulated log is away");
    }
    std::vector<model::Partition> all;
    for (const auto& [partition, log] : world_->logs) {
        all.push_back(partition);
    }
    return all;
}

model::Result<std::vector<ingest::LogRange>> SimulatedLog::ranges(
    const std::vector<model::Partition>& partitions, std::int64_t /*timeout_ms*/) {
    if (!world_->available) {
        return model::unavailable("the simulated log is away");
    }
    std::vector<ingest::LogRange> ranges;
    for (const model::Partition& partition : partitions) {
        const auto found = world_->logs.find(partition);
        if (found == world_->logs.end()) {
            return model::invalid(model::to_string(partition) + " does not exist");
        }
        ranges.push_back({found->second.begin, found->second.end()});
    }
    return ranges;
}

model::Result<std::vector<model::Offset>> SimulatedLog::offsets_at(
    const std::vector<model::Partition>& partitions, model::EventTime time,
    std::int64_t /*timeout_ms*/) {
    if (!world_->available) {
        return model::unavailable("the simulated log is away");
    }
    std::vector<model::Offset> offsets;
    for (const model::Partition& partition : partitions) {
        const PartitionLog& log = world_->logs.at(partition);
        model::Offset at = log.begin;
        while (at < log.end() && !(log.at(at).record && log.at(at).record->timestamp >= time)) {
            ++at;
        }
        offsets.push_back(at);
    }
    return offsets;
}

model::Result<std::optional<std::uint64_t>> SimulatedLog::probe(const model::Partition& partition,
                                                                model::Offset offset,
                                                                std::int64_t /*timeout_ms*/) {
    if (!world_->available) {
        return model::unavailable("the simulated log is away");
    }
    const auto& found = record(partition, offset);
    if (!found) {
        return std::optional<std::uint64_t>();
    }
    std::vector<ingest::Header> headers;
    return std::optional(ingest::probe_hash(view_of(*found, offset, headers)));
}

model::Result<std::unique_ptr<ingest::LogReader>> SimulatedLog::open_reader(
    const model::RestoreToken& /*gate*/, const std::vector<model::Partition>& partitions) {
    return std::unique_ptr<ingest::LogReader>(std::make_unique<Reader>(world_, partitions));
}

void SimulatedLog::publish(const model::Offsets& next_offsets) {
    for (const auto& [partition, offset] : next_offsets) {
        world_->published[partition] = offset;
    }
}

}  // namespace sluice::simulation
