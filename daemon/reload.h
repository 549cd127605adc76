// A reload: other settings take over at one journaled barrier. Everything before its offsets was
// decoded and folded under the old ones, everything behind it under the new.
//
// It is carried out by ending one engine and beginning the next in the same process: at the barrier
// all workers stop and hand over their tables; every window that is over by then is written under
// the old definition; a checkpoint is taken whose meta is reloaded(), below; the next engine starts
// from it, as any restart does. So a reload while running, an edited file at a restart and the
// replay of either are one path: a replay that comes to a reload entry of the journal does the same
// again, at the same offsets, with the inputs that the entry names.
//
// Pure functions; any thread.
#pragma once

#include <memory>
#include <string>

#include "config/change.h"
#include "config/settings.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::daemon {

// What is to take over.
struct Reload {
    std::shared_ptr<const config::Pipeline> pipeline;  // shared: engine and coordinator read it
    config::Decisions decisions;
};

// What a reload entry of the journal says: the hash of the new inputs, and what the user decided.
struct ReloadEntry {
    std::string inputs;
    config::Decisions decisions;
};
std::string to_text(const ReloadEntry& entry);
// Errors: corrupt.
model::Result<ReloadEntry> parse_reload(const std::string& text);

// A reduction that begins without state.
state::ReductionMeta new_reduction(const config::Reduction& reduction, std::uint32_t number,
                                   model::DurationMs checkpoint_every);
// The greatest number that any rows ever had.
std::uint32_t greatest_number(const state::CheckpointMeta& meta);

// The state as `to` has it, made of what stood at the barrier under `from`. `over`: event time up
// to which every window was over there; all of them are acknowledged. The edit must not break
// state.
state::CheckpointMeta reloaded(state::CheckpointMeta meta, const config::Pipeline& from,
                               const config::Pipeline& to, const config::Decisions& decisions,
                               model::EventTime over);

}  // namespace sluice::daemon
