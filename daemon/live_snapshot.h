// A snapshot of a pipeline that shows it as of now, for a command that looks into it.
#pragma once

#include <expected>
#include <string>

#include "daemon/control.h"

namespace sluice::daemon {

// Has the daemon take a checkpoint and gives its path. Retention may remove it again while newer
// ones are taken: open its files soon. Blocks until it is committed. Errors: kExitUnreachable,
// kExitNoSnapshot, those of find_target().
std::expected<std::string, TargetError> checkpoint_now(const std::string& name);

// The same; where no daemon answers, the newest whole snapshot of the state directory.
std::expected<std::string, TargetError> newest_snapshot(const std::string& name);

}  // namespace sluice::daemon
