// The world as the tests of the configuration see it: only what they say.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "config/environment.h"

namespace sluice::config {

using Variables = std::map<std::string, std::string, std::less<>>;

inline Environment environment_of(Variables variables = {{"HOME", "/home/u"}}) {
    Environment fixed;
    fixed.variable =
        [variables = std::move(variables)](std::string_view name) -> std::optional<std::string> {
        const auto found = variables.find(name);
        return found == variables.end() ? std::nullopt : std::optional(found->second);
    };
    fixed.memory_limit_bytes = 10ULL << 30;
    return fixed;
}

}  // namespace sluice::config
