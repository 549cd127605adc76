#include "tests/simulation/simulated_log.h"

#include <algorithm>

#include "state/model/invariant.h"

namespace sluice::simulation {

using model::Offset;
using model::Partition;

namespace {

constexpr std::size_t kQueued = 256;  // items in one reader's queue of one partition

struct Damage {
    Offset first;
    Offset last;
};

struct PartitionLog {
    // By offset; empty: a gap. Expired and damaged ones are empty as well.
    std::vector<std::optional<SimulatedRecord>> entries;
    std::vector<Damage> damage;  // ascending
    Offset begin = 0;
    Offset end() const { return static_cast<Offset>(entries.size()); }
    const Damage* damage_at(Offset offset) const {
        for (const auto& d : damage) {
            if (offset >= d.first && offset <= d.last) {
                return &d;
            }
        }
        return nullptr;
    }
};

}  // namespace

struct SimulatedLog::World {
    explicit World(std::uint64_t seed) : random(seed) {}

    std::mt19937_64 random;
    std::map<Partition, PartitionLog> logs;
    std::vector<Reader*> readers;
    bool available = true;
    bool known = true;
    std::uint64_t handed_out = 0;
    model::Offsets published;

    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random() % n); }
    const PartitionLog& log(const Partition& p) const {
        const auto it = logs.find(p);
        INVARIANT(it != logs.end(), "the partition exists in the simulation");
        return it->second;
    }
    PartitionLog& log(const Partition& p) {
        const auto it = logs.find(p);
        INVARIANT(it != logs.end(), "the partition exists in the simulation");
        return it->second;
    }
    model::Status answer() const {
        if (!available) {
            return model::unavailable("the simulated broker does not answer");
        }
        if (!known) {
            return model::invalid("the simulated broker does not know the topic");
        }
        return {};
    }
};

class SimulatedLog::Reader final : public ingest::LogReader {
 public:
    Reader(std::shared_ptr<World> world, const std::vector<Partition>& partitions)
        : world_(std::move(world)), partitions_(partitions) {
        world_->readers.push_back(this);
    }
    ~Reader() override { std::erase(world_->readers, this); }

    void assign(std::uint32_t partition, Offset next_offset) override {
        INVARIANT(next_offset >= 0, "offsets are numbers");
        Open& open = open_[partition];
        open = {};
        open.position = next_offset;
    }

    model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                    const Take& take) override {
        Open& open = open_.at(partition);
        const PartitionLog& log = world_->log(partitions_.at(partition));
        std::size_t taken = 0;
        bool more = true;
        while (more && taken < limit && !open.queue.empty()) {
            const Item item = std::move(open.queue.front());
            open.queue.pop_front();
            more = item.record ? hand_out(item, take) : hand_out_damage(item, log, take);
            ++taken;
        }
        return taken;
    }

    std::optional<Offset> at_end(std::uint32_t partition) const override {
        const auto it = open_.find(partition);
        if (it == open_.end() || !it->second.queue.empty()) {
            return std::nullopt;
        }
        return it->second.end_told;
    }

    void set_paused(std::uint32_t partition, bool paused) override {
        open_.at(partition).paused = paused;
    }
    void wait(std::int64_t) override {}
    void wake() override {}

    std::vector<std::pair<std::uint32_t, model::Error>> take_errors() override {
        return std::exchange(errors_, {});
    }

    // Moves something into a queue; false if there is nothing to move.
    bool step() {
        std::vector<std::uint32_t> ready;
        for (const auto& [number, open] : open_) {
            const PartitionLog& log = world_->log(partitions_.at(number));
            const bool at_known_end =
                open.position == log.end() && open.end_told == std::optional(log.end());
            if (!open.lost && !at_known_end && open.queue.size() < kQueued) {
                ready.push_back(number);
            }
        }
        if (ready.empty()) {
            return false;
        }
        fetch(ready[world_->below(ready.size())]);
        return true;
    }

    void broker_went_away() {
        errors_.emplace_back(ingest::kWholeLog, model::Error{model::ErrorKind::unavailable,
                                                             "simulated broker is down"});
    }

 private:
    struct Item {
        Offset offset = 0;
        Offset first_offset = 0;
        std::optional<SimulatedRecord> record;  // none: damage
    };
    struct Open {
        Offset position = 0;  // next to fetch
        std::deque<Item> queue;
        std::optional<Offset> end_told;
        bool lost = false;
        bool paused = false;
    };

    bool hand_out(const Item& item, const Take& take) {
        ++world_->handed_out;
        const SimulatedRecord& r = *item.record;
        std::vector<ingest::Header> headers;
        for (const auto& [name, value] : r.headers) {
            headers.push_back({name, value});
        }
        ingest::Record record;
        record.offset = item.offset;
        record.first_offset = item.offset;
        record.timestamp = r.timestamp;
        record.append_time = r.append_time;
        record.has_key = r.key.has_value();
        record.has_value = r.value.has_value();
        record.key = r.key ? std::string_view(*r.key) : std::string_view();
        record.value = r.value ? std::string_view(*r.value) : std::string_view();
        ingest::PlainHeaders source(headers);
        record.header_source = &source;
        return take(record);
    }

    bool hand_out_damage(const Item& item, const PartitionLog&, const Take& take) {
        ++world_->handed_out;
        ingest::Record record;
        record.offset = item.offset;
        record.first_offset = item.first_offset;
        record.damage = "simulated damage";
        return take(record);
    }

    void fetch(std::uint32_t number) {
        Open& open = open_.at(number);
        const Partition& partition = partitions_.at(number);
        const PartitionLog& log = world_->log(partition);
        if (auto text = ingest::missing_range(partition, open.position, {log.begin, log.end()});
            !text.empty()) {
            open.lost = true;
            open.end_told.reset();
            errors_.emplace_back(number, model::Error{model::ErrorKind::invalid, std::move(text)});
            return;
        }
        if (open.position == log.end()) {
            open.end_told = log.end();
            return;
        }
        open.end_told.reset();
        // Short batches are as likely as long ones.
        const std::size_t wanted = std::size_t{1} << world_->below(8);
        for (std::size_t i = 0; i < wanted && open.position < log.end(); ++i) {
            const Offset offset = open.position;
            if (const Damage* damage = log.damage_at(offset)) {
                open.queue.push_back({damage->last, std::max(offset, damage->first), std::nullopt});
                open.position = damage->last + 1;
                continue;
            }
            ++open.position;
            if (const auto& entry = log.entries[static_cast<std::size_t>(offset)]) {
                open.queue.push_back({offset, offset, entry});
            }
        }
    }

    const std::shared_ptr<World> world_;
    const std::vector<Partition>& partitions_;
    std::map<std::uint32_t, Open> open_;
    std::vector<std::pair<std::uint32_t, model::Error>> errors_;
};

SimulatedLog::SimulatedLog(std::uint64_t seed) : world_(std::make_shared<World>(seed)) {}

SimulatedLog::~SimulatedLog() {
    INVARIANT(world_->readers.empty(), "readers are gone before their log");
}

void SimulatedLog::add_topic(const std::string& topic, std::int32_t partitions) {
    for (std::int32_t i = 0; i < partitions; ++i) {
        world_->logs.try_emplace({topic, i});
    }
}

void SimulatedLog::add_partition(const std::string& topic) {
    std::int32_t next = 0;
    while (world_->logs.contains({topic, next})) {
        ++next;
    }
    world_->logs.try_emplace({topic, next});
}

Offset SimulatedLog::append(const Partition& partition, SimulatedRecord record) {
    PartitionLog& log = world_->log(partition);
    log.entries.emplace_back(std::move(record));
    return log.end() - 1;
}

void SimulatedLog::append_gap(const Partition& partition, std::int64_t offsets) {
    PartitionLog& log = world_->log(partition);
    log.entries.resize(log.entries.size() + static_cast<std::size_t>(offsets));
}

void SimulatedLog::append_damage(const Partition& partition, std::int64_t offsets) {
    PartitionLog& log = world_->log(partition);
    log.damage.push_back({log.end(), log.end() + offsets - 1});
    append_gap(partition, offsets);
}

void SimulatedLog::expire(const Partition& partition, Offset before) {
    PartitionLog& log = world_->log(partition);
    before = std::min(before, log.end());
    for (Offset o = log.begin; o < before; ++o) {
        log.entries[static_cast<std::size_t>(o)].reset();
    }
    log.begin = std::max(log.begin, before);
}

void SimulatedLog::truncate(const Partition& partition, Offset end) {
    PartitionLog& log = world_->log(partition);
    INVARIANT(end >= log.begin && end <= log.end(), "a log is truncated inside its range");
    log.entries.resize(static_cast<std::size_t>(end));
    std::erase_if(log.damage, [end](const Damage& d) { return d.last >= end; });
}

void SimulatedLog::recreate(const std::string& topic) {
    for (auto& [partition, log] : world_->logs) {
        if (partition.topic == topic) {
            log = {};
        }
    }
}

void SimulatedLog::set_available(bool available) {
    if (world_->available && !available) {
        for (Reader* reader : world_->readers) {
            reader->broker_went_away();
        }
    }
    world_->available = available;
}

bool SimulatedLog::available() const { return world_->available; }

void SimulatedLog::set_known(bool known) { world_->known = known; }

bool SimulatedLog::step() {
    if (!world_->available || world_->readers.empty()) {
        return false;
    }
    const std::size_t first = world_->below(world_->readers.size());
    for (std::size_t i = 0; i < world_->readers.size(); ++i) {
        if (world_->readers[(first + i) % world_->readers.size()]->step()) {
            return true;
        }
    }
    return false;
}

Offset SimulatedLog::begin(const Partition& partition) const {
    return world_->log(partition).begin;
}
Offset SimulatedLog::end(const Partition& partition) const { return world_->log(partition).end(); }

const std::optional<SimulatedRecord>& SimulatedLog::record(const Partition& partition,
                                                           Offset offset) const {
    return world_->log(partition).entries.at(static_cast<std::size_t>(offset));
}

std::uint64_t SimulatedLog::records_handed_out() const { return world_->handed_out; }
const model::Offsets& SimulatedLog::published() const { return world_->published; }

model::Result<std::vector<Partition>> SimulatedLog::partitions(std::int64_t) {
    TRY(world_->answer());
    std::vector<Partition> all;
    for (const auto& [partition, log] : world_->logs) {
        all.push_back(partition);
    }
    return all;
}

model::Result<std::vector<ingest::LogRange>> SimulatedLog::ranges(
    const std::vector<Partition>& partitions, std::int64_t) {
    TRY(world_->answer());
    std::vector<ingest::LogRange> ranges;
    for (const auto& p : partitions) {
        const PartitionLog& log = world_->log(p);
        ranges.push_back({log.begin, log.end()});
    }
    return ranges;
}

model::Result<std::vector<Offset>> SimulatedLog::offsets_at(
    const std::vector<Partition>& partitions, model::EventTime time, std::int64_t) {
    TRY(world_->answer());
    std::vector<Offset> offsets;
    for (const auto& p : partitions) {
        const PartitionLog& log = world_->log(p);
        Offset o = log.begin;
        while (o < log.end()) {
            const auto& entry = log.entries[static_cast<std::size_t>(o)];
            if (entry && entry->timestamp >= time) {
                break;
            }
            ++o;
        }
        offsets.push_back(o);
    }
    return offsets;
}

model::Result<std::optional<std::uint64_t>> SimulatedLog::probe(const Partition& partition,
                                                                Offset offset, std::int64_t) {
    TRY(world_->answer());
    const PartitionLog& log = world_->log(partition);
    if (offset < log.begin || offset >= log.end()) {
        return std::optional<std::uint64_t>();
    }
    const auto& entry = log.entries[static_cast<std::size_t>(offset)];
    if (!entry) {
        return std::optional<std::uint64_t>();
    }
    ingest::Record record;
    record.timestamp = entry->timestamp;
    record.has_key = entry->key.has_value();
    record.has_value = entry->value.has_value();
    record.key = entry->key ? std::string_view(*entry->key) : std::string_view();
    record.value = entry->value ? std::string_view(*entry->value) : std::string_view();
    return std::optional(ingest::probe_hash(record));
}

model::Result<std::unique_ptr<ingest::LogReader>> SimulatedLog::open_reader(
    const model::RestoreToken&, const std::vector<Partition>& partitions) {
    return std::unique_ptr<ingest::LogReader>(std::make_unique<Reader>(world_, partitions));
}

model::Result<std::vector<std::string>> SimulatedLog::compacted_topics(
    std::int64_t /*timeout_ms*/) {
    if (!available()) {
        return model::unavailable("simulated: the log is away");
    }
    return std::vector<std::string>{};
}

void SimulatedLog::publish(const model::Offsets& next_offsets) { world_->published = next_offsets; }

}  // namespace sluice::simulation
