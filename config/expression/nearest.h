// "Did you mean …?"
#pragma once

#include <span>
#include <string_view>

namespace sluice::config {

// The candidate nearest to `name` by Damerau-Levenshtein distance (insert, delete, replace, swap of
// neighbours; optimal string alignment), if it is at most a third of the longer length away, at
// least one; small and capital letters are the same. Empty: none is near. Of equals the first.
std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace sluice::config
