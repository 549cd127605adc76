// The demo's broker: librdkafka's mock cluster in a process of its own, so that it survives the
// daemon. It listens on a port of loopback that the kernel chooses, and dies with the demo.
//
// It keeps its records in memory, the newest 5 MiB of each partition only: kDemoPartitionBytes is
// what may be produced into one.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/demo_child.h"
#include "state/model/result.h"

namespace sluice::daemon {

inline constexpr std::uint64_t kDemoPartitionBytes = 4ull << 20;

struct DemoBroker {
    DemoChild process;
    std::string address;  // host:port
};

// With one topic. Only for a process that has one thread. Blocks until it listens. Errors:
// unavailable.
model::Result<DemoBroker> start_demo_broker(const std::string& topic, int partitions,
                                            const std::string& output_path);

}  // namespace sluice::daemon
