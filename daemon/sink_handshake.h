// Whether this state may write to that Redis, and from where on: Redis' control hash, held against
// the state's lineage and journal. A pure decision; the sink carries it out.
#pragma once

#include <functional>
#include <string>

#include "sinks/redis_sink.h"
#include "state/model/barrier.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::daemon {

// `found` is what Redis says, `journal_end` the last number of the journal. Where a new lineage
// takes results over, Redis may have fewer than `meta` says were acknowledged: then `meta` is
// corrected, so that nobody vouches for more. `say` gets a line for the log.
// Errors: corrupt (another state writes there, or this one has lost its journal's tail).
model::Result<sinks::Begin> agree(const sinks::ControlHash& found, model::BarrierNumber journal_end,
                                  state::CheckpointMeta& meta,
                                  const std::function<void(const std::string&)>& say);

}  // namespace sluice::daemon
