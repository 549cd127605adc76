// The snapshots of a pipeline for a command to show: read from its state directory, with the damage
// that a look at names, sizes and ends of files shows; asked of the daemon where it cannot be read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/control.h"
#include "state/model/result.h"
#include "state/model/time.h"

namespace sluice::daemon {

struct ListedSnapshot {
    std::string kind;                       // checkpoint, savepoint
    std::string owner;                      // sluice, user: who removes it
    std::string name;                       // a checkpoint's id
    std::optional<model::EventTime> taken;  // none: not known
    std::uint64_t bytes = 0;
    std::uint64_t own_bytes = 0;     // in files that nothing else has
    std::uint64_t shared_bytes = 0;  // the rest
    std::string path;
    std::string damage;  // empty: nothing known against it
};

// Checkpoints and savepoints, newest first. Blocks. Errors: unavailable (neither the daemon answers
// nor is there a state directory to be found).
model::Result<std::vector<ListedSnapshot>> list_snapshots(const Target& target);

// For people, or as one JSON list.
void print_snapshots(const std::vector<ListedSnapshot>& snapshots, bool as_json);

}  // namespace sluice::daemon
