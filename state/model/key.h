// A key is its printed parts: 1 and "1" are the same key. Encoded as, for each part, its length
// (LEB128) and its bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::model {

inline constexpr int kLanes = 16;  // per reduction, fixed for ever

// XXH3-64 of the encoded key. Fixed for ever: rows, lanes and files are ordered by it.
std::uint64_t key_hash(std::string_view encoded);

inline int lane_of(std::uint64_t hash) { return static_cast<int>(hash >> 60); }

void append_key_part(std::string& encoded, std::string_view part);

// The parts of an encoded key, as views into it. Empty optional: not an encoded key.
std::optional<std::vector<std::string_view>> key_parts(std::string_view encoded);

}  // namespace sluice::model
