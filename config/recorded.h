// From recorded inputs back to a pipeline: a restart replays with the settings that were in force,
// whatever the file says by now.
#pragma once

#include <string_view>

#include "config/settings.h"
#include "state/model/result.h"

namespace sluice::config {

// The pipeline that `inputs` (Pipeline::inputs of some configuration) stand for. What they do not
// hold, because it cannot change a result, is that of `current`: addresses, credentials, threads,
// memory, paths, http, log, librdkafka's properties, and what becomes of records that cannot be
// decoded. Reductions come in the order of their ids. The name is `current`'s, too: a fork goes
// under a name of its own.
//
// Errors: invalid (written by another release, or of a setting that this one does not have).
model::Result<Pipeline> recorded_pipeline(std::string_view inputs, const Pipeline& current);

}  // namespace sluice::config
