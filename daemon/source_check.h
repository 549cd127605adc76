// What Kafka still has of what a state wants to go on from, and whether it is the same log.
//
// If not, the gate stays shut and says why: an older snapshot needs even more of the log, or, where
// it has no probe yet, would take another topic for this one and rewrite what is final. The user
// may accept a gap, or a compacted topic; whoever did is told what that was.
//
// Thread: one at a time. Calls block on Kafka.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "ingest/log.h"
#include "state/model/partition.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::daemon {

class SourceCheck {
 public:
    struct Options {
        bool accept_gap = false;        // go on above offsets that are gone
        bool accept_compacted = false;  // records may be missing anywhere
        std::function<void(const std::string&)> say;
    };
    // `log` outlives it.
    SourceCheck(ingest::Log& log, Options options) : log_(log), options_(std::move(options)) {}

    // The partitions of the source's share, in order.
    model::Result<std::vector<model::Partition>> listed(const config::Source& source,
                                                        std::int64_t timeout_ms);
    // All of it can be read from where it stands. Errors: unavailable, with what is missing; if it
    // is lacks(), waiting brings nothing back.
    model::Status has(const std::vector<const state::PartitionMeta*>& partitions);
    const std::string& lacks() const { return lacks_; }
    // What compaction took is missing in the middle, where nobody can see it. Errors: unavailable.
    model::Status not_compacted();
    // Takes positions above what is gone, if that is accepted; returns whether there were any. How
    // much the windows miss nobody knows, so the first record behind a gap says from where on they
    // are complete, as at a first start. `ranges`: of these partitions, by position.
    bool skip_gaps(std::vector<state::PartitionMeta>& partitions,
                   const std::vector<ingest::LogRange>& ranges);
    // The numbers that a symbolic start stands for now.
    model::Result<std::vector<model::Offset>> start_offsets(
        const config::Start& start, const std::vector<model::Partition>& partitions,
        const std::vector<ingest::LogRange>& ranges);

 private:
    // Empty: the records that were read last are still there, or can be done without.
    model::Result<std::string> compare_probes(
        const std::vector<const state::PartitionMeta*>& partitions);
    std::string compare_probe(const state::PartitionMeta& partition,
                              const std::optional<std::uint64_t>& found);

    ingest::Log& log_;
    const Options options_;
    std::string lacks_;
};

// Whether it is one of those that this daemon reads.
bool in_share(const config::Source& source, std::int32_t partition);

}  // namespace sluice::daemon
