#include "daemon/partition_meta.h"

#include <algorithm>

#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::daemon {

state::PartitionMeta to_meta(const PartitionState& state,
                             const std::vector<model::Partition>& partitions,
                             const config::Pipeline& pipeline) {
    state::PartitionMeta meta;
    meta.partition = partitions[state.partition];
    meta.start_offset = state.start_offset;
    meta.next_offset = state.next_offset + (SLUICE_MUTANT(OFFSETS_PLUS_ONE) ? 1 : 0);
    if (state.time.max_timestamp != model::kBeforeAll && !SLUICE_MUTANT(WATERMARK_NOT_SAVED)) {
        meta.max_timestamp = state.time.max_timestamp;
    }
    meta.watermark_floor = state.time.floor;
    meta.idle = state.time.idle;
    // One that does not wait for its first record and has no bound misses nothing.
    meta.read_from_zero =
        !state.time.first_record_pending && state.time.incomplete_before == model::kBeforeAll;
    if (state.time.incomplete_before != model::kBeforeAll) {
        meta.incomplete_before = state.time.incomplete_before;
    }
    if (state.probe_offset >= 0) {
        meta.probe = state::Probe{state.probe_offset, state.probe_hash};
    }
    meta.ledger = state.ledger;
    for (std::size_t r = 0; r < pipeline.reductions.size(); ++r) {
        meta.reductions[pipeline.reductions[r].id] = state.reductions[r];
    }
    return meta;
}

PartitionState from_meta(const state::PartitionMeta& meta, std::uint32_t partition,
                         model::EventTime cap, const config::Pipeline& pipeline) {
    PartitionState state;
    state.partition = partition;
    state.start_offset = meta.start_offset;
    state.next_offset = meta.next_offset;
    state.time.max_timestamp = meta.max_timestamp.value_or(model::kBeforeAll);
    state.time.floor = meta.watermark_floor;
    state.time.cap = cap;
    state.time.idle = meta.idle;
    state.time.incomplete_before = meta.incomplete_before.value_or(model::kBeforeAll);
    state.time.first_record_pending = !meta.read_from_zero && !meta.incomplete_before;
    if (meta.probe) {
        state.probe_offset = meta.probe->offset;
        state.probe_hash = meta.probe->hash;
    }
    state.ledger = meta.ledger;
    for (const config::Reduction& reduction : pipeline.reductions) {
        const auto found = meta.reductions.find(reduction.id);
        state.reductions.push_back(found == meta.reductions.end() ? model::ReductionLedger{}
                                                                  : found->second);
    }
    return state;
}

model::EventTime incomplete_before(const ingest::PartitionTimeState& time) {
    return time.first_record_pending ? model::kAfterAll : time.incomplete_before;
}

model::EventTime incomplete_before(const state::CheckpointMeta& meta) {
    model::EventTime before = model::kBeforeAll;
    for (const state::PartitionMeta& partition : meta.partitions) {
        const bool pending = !partition.read_from_zero && !partition.incomplete_before;
        before =
            std::max(before, pending ? model::kAfterAll
                                     : partition.incomplete_before.value_or(model::kBeforeAll));
    }
    return before;
}

std::size_t index_of(const state::CheckpointMeta& meta, std::uint32_t number) {
    for (std::size_t r = 0; r < meta.reductions.size(); ++r) {
        if (meta.reductions[r].number == number) {
            return r;
        }
    }
    INVARIANT(false, "every table belongs to a reduction of the pipeline");
}

}  // namespace sluice::daemon
