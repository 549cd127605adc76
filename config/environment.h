// What a configuration takes from outside its file: environment variables and the machine's limits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::config {

struct Environment {
    // A variable's value, or none when it is not set.
    std::function<std::optional<std::string>(std::string_view)> variable;
    // The least of the memory limits of the process' cgroups and the machine's memory, in bytes.
    std::uint64_t memory_limit_bytes = 0;
};

// The process' own. Blocks (reads /proc and the cgroup file system).
Environment process_environment();

}  // namespace sluice::config
