#include "daemon/source_check.h"

#include <algorithm>

namespace sluice::daemon {

namespace {

// Each may bring as much as one fetch of its partition before it is stopped.
constexpr std::size_t kProbesAtOnce = 64;

void append(std::string& list, const std::string& one) { list += (list.empty() ? "" : "; ") + one; }

}  // namespace

bool in_share(const config::Source& source, std::int32_t partition) {
    return source.share.empty() ||
           std::ranges::any_of(source.share, [partition](const config::PartitionRange& range) {
               return range.first <= partition && partition <= range.last;
           });
}

model::Result<std::vector<model::Partition>> SourceCheck::listed(const config::Source& source,
                                                                 std::int64_t timeout_ms) {
    TRY(all, log_.partitions(timeout_ms));
    std::erase_if(
        all, [&](const model::Partition& partition) { return !in_share(source, partition.id); });
    std::sort(all.begin(), all.end());
    return all;
}

model::Status SourceCheck::has(const std::vector<const state::PartitionMeta*>& partitions) {
    std::vector<model::Partition> wanted;
    for (const state::PartitionMeta* partition : partitions) {
        wanted.push_back(partition->partition);
    }
    lacks_.clear();
    TRY(ranges, log_.ranges(wanted, ingest::kAskTimeoutMs));
    std::string missing;
    std::vector<const state::PartitionMeta*> compared;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const state::PartitionMeta& partition = *partitions[i];
        const std::string gone = ingest::missing_range(wanted[i], partition.next_offset, ranges[i]);
        if (!gone.empty()) {
            if (!options_.accept_gap || partition.next_offset >= ranges[i].begin) {
                append(missing, gone);  // else skip_gaps()
            }
        } else if (partition.probe && partition.probe->offset < ranges[i].begin) {
            options_.say(model::to_string(partition.partition) +
                         ": the last record that was read has expired; it cannot be compared");
        } else if (partition.probe) {
            compared.push_back(&partition);
        }
    }
    TRY(others, compare_probes(compared));
    if (!others.empty()) {
        append(missing, others);
    }
    if (!missing.empty()) {
        lacks_ = missing;
        return model::unavailable(missing);
    }
    return {};
}

model::Result<std::string> SourceCheck::compare_probes(
    const std::vector<const state::PartitionMeta*>& partitions) {
    std::string others;
    for (std::size_t begin = 0; begin < partitions.size(); begin += kProbesAtOnce) {
        const std::size_t end = std::min(partitions.size(), begin + kProbesAtOnce);
        std::vector<ingest::Place> places;
        for (std::size_t i = begin; i < end; ++i) {
            places.push_back({partitions[i]->partition, partitions[i]->probe->offset});
        }
        TRY(found, log_.probe(places, ingest::kAskTimeoutMs));
        for (std::size_t i = begin; i < end; ++i) {
            if (const std::string other = compare_probe(*partitions[i], found[i - begin]);
                !other.empty()) {
                append(others, other);
            }
        }
    }
    return others;
}

std::string SourceCheck::compare_probe(const state::PartitionMeta& partition,
                                       const std::optional<std::uint64_t>& found) {
    const std::string record = model::to_string(partition.partition) + ": the record at offset " +
                               std::to_string(partition.probe->offset);
    if (!found && options_.accept_compacted) {
        options_.say(record + " is gone; accepted, the topic may be compacted");
        return {};
    }
    if (!found) {
        return record + " is gone: the topic was made anew, or is compacted";
    }
    return *found == partition.probe->hash
               ? std::string()
               : record + " is another one than the one that was read: the topic was made anew";
}

model::Status SourceCheck::not_compacted() {
    if (options_.accept_compacted) {
        return {};
    }
    TRY(compacted, log_.compacted_topics(ingest::kAskTimeoutMs));
    if (compacted.empty()) {
        return {};
    }
    std::string names;
    for (const std::string& topic : compacted) {
        names += (names.empty() ? "" : ", ") + topic;
    }
    return model::unavailable(
        names +
        ": the topic is compacted, so records may be missing anywhere; --accept-compacted reads it "
        "all the same");
}

bool SourceCheck::skip_gaps(std::vector<state::PartitionMeta>& partitions,
                            const std::vector<ingest::LogRange>& ranges) {
    bool any = false;
    for (std::size_t i = 0; options_.accept_gap && i < partitions.size(); ++i) {
        state::PartitionMeta& partition = partitions[i];
        if (partition.next_offset >= ranges[i].begin) {
            continue;
        }
        options_.say(ingest::missing_range(partition.partition, partition.next_offset, ranges[i]) +
                     "; accepted");
        const auto skipped = static_cast<std::uint64_t>(ranges[i].begin - partition.next_offset);
        partition.ledger.consumed += skipped;
        partition.ledger.skipped += skipped;
        partition.next_offset = ranges[i].begin;
        partition.read_from_zero = false;
        partition.incomplete_before.reset();
        partition.probe.reset();
        any = true;
    }
    return any;
}

model::Result<std::vector<model::Offset>> SourceCheck::start_offsets(
    const config::Start& start, const std::vector<model::Partition>& partitions,
    const std::vector<ingest::LogRange>& ranges) {
    if (start.kind == config::Start::Kind::time) {
        return log_.offsets_at(partitions, start.time, ingest::kAskTimeoutMs);
    }
    std::vector<model::Offset> offsets;
    for (const ingest::LogRange& range : ranges) {
        offsets.push_back(start.kind == config::Start::Kind::earliest ? range.begin : range.end);
    }
    return offsets;
}

}  // namespace sluice::daemon
