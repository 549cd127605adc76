#include "daemon/sink_handshake.h"

#include <algorithm>

namespace sluice::daemon {

namespace {

// Redis may have lost results since the savepoint: nobody is to vouch for more than it has. And
// what another lineage has written is not what the savepoint knows: all that is retained goes out
// again.
void lower_acknowledged(const sinks::ControlHash& found, state::CheckpointMeta& meta) {
    for (state::ReductionMeta& reduction : meta.reductions) {
        const auto frontier = found.frontiers.find(reduction.id);
        const model::EventTime there =
            frontier == found.frontiers.end() || found.lineage != meta.origin_lineage
                ? model::kBeforeAll
                : frontier->second;
        const model::EventTime kept =
            std::max(there, reduction.dropped.value_or(model::kBeforeAll));
        if (reduction.acknowledged && kept < *reduction.acknowledged) {
            reduction.acknowledged =
                kept == model::kBeforeAll ? std::nullopt : std::optional<model::EventTime>(kept);
        }
    }
}

}  // namespace

model::Result<sinks::Begin> agree(const sinks::ControlHash& found, model::BarrierNumber journal_end,
                                  state::CheckpointMeta& meta,
                                  const std::function<void(const std::string&)>& say) {
    sinks::Begin begin;
    begin.lineage = meta.lineage;
    begin.barrier = meta.number;
    // Without a control hash there is nothing to reset: what is retained is sent, as after a loss.
    if (meta.reset_sink && found.present && found.lineage != meta.lineage) {
        begin.mode = sinks::Begin::Mode::reset;
        if (found.lineage == meta.origin_lineage && found.barrier <= meta.origin_number) {
            // Nothing was sent behind the savepoint: what Redis has is what the savepoint knows.
            begin.lanes = found.lanes;
        } else {
            say("the results in Redis, of lineage " + found.lineage + " up to barrier " +
                std::to_string(found.barrier) +
                ", are taken over; final ones may be written again");
        }
        lower_acknowledged(found, meta);
    } else if (found.present && !found.lineage.empty() && found.lineage != meta.lineage) {
        return model::corrupt(
            "Redis' control hash sluice:" + meta.pipeline + " belongs to lineage " + found.lineage +
            ", this state to " + meta.lineage +
            ": another state of the same name writes there, or this one was lost and begun anew; "
            "--fresh takes the results over");
    } else if (found.present && found.barrier > journal_end) {
        return model::corrupt(
            "Redis has results behind barrier " + std::to_string(found.barrier) +
            ", the journal ends at " + std::to_string(journal_end) +
            ": the journal has lost its tail, or another state of the same name and lineage writes "
            "there");
    }
    for (const state::ReductionMeta& reduction : meta.reductions) {
        begin.acknowledged.push_back(reduction.acknowledged.value_or(model::kBeforeAll));
    }
    return begin;
}

}  // namespace sluice::daemon
