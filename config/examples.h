// The example configurations that are built into the binary: what `sluice init` prints.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace sluice::config {

struct Example {
    std::string_view name;
    std::string_view text;
};

std::span<const Example> examples();
std::optional<std::string_view> example(std::string_view name);

}  // namespace sluice::config
