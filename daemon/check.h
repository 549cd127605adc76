// What `check`, and `run` before it starts, find out beyond the text of a configuration.
//
// Each finding is a diagnostic at the place of a key, so that everything is reported in one form.
#pragma once

#include <string>
#include <vector>

#include "config/environment.h"
#include "config/load.h"

namespace sluice::daemon {

// Asks librdkafka about [source.rdkafka] and adds its verdicts. Connects to nothing.
void check_kafka_properties(config::Loaded& loaded);

// Whether the secrets can be read now. Outside the service manager its credentials are not there;
// that is a warning. Blocks (reads files).
void check_secrets(config::Loaded& loaded, const config::Environment& environment);

// Memory, disk and the state directory of this machine. Blocks (asks the file system).
void check_machine(config::Loaded& loaded, const config::Environment& environment);

// Kafka and Redis as they are now: topics there, not compacted; Redis answers and takes writes.
// `reachable` turns false when one of them does not answer. Blocks, at most some seconds.
void check_remotes(config::Loaded& loaded, const config::Environment& environment, bool& reachable);

// What the state directory may take of the disk, as far as the configuration says it.
std::string disk_ceiling(const config::Pipeline& pipeline);

// Plain sentences about what would run, for people: partitions, windows, memory, places.
std::vector<std::string> describe(const config::Pipeline& pipeline);

}  // namespace sluice::daemon
