// Between what a worker knows of a partition and what a checkpoint keeps of it.
#pragma once

#include <cstdint>
#include <vector>

#include "config/settings.h"
#include "daemon/messages.h"
#include "state/model/partition.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::daemon {

state::PartitionMeta to_meta(const PartitionState& state,
                             const std::vector<model::Partition>& partitions,
                             const config::Pipeline& pipeline);

// `cap` is that of the checkpoint: the guard in force is the same for all partitions.
PartitionState from_meta(const state::PartitionMeta& meta, std::uint32_t partition,
                         model::EventTime cap, const config::Pipeline& pipeline);

// Windows that start below may miss records, as far as these partitions know; kAfterAll: one does
// not know yet.
model::EventTime incomplete_before(const state::CheckpointMeta& meta);
model::EventTime incomplete_before(const ingest::PartitionTimeState& time);

// The position in `meta.reductions` (and in the pipeline's list) of the reduction with this number
// in row keys.
std::size_t index_of(const state::CheckpointMeta& meta, std::uint32_t number);

}  // namespace sluice::daemon
