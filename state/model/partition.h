// A Kafka partition and positions in it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

namespace sluice::model {

using Offset = std::int64_t;  // a `next_offset` is always the next one to read

struct Partition {
    std::string topic;
    std::int32_t id = 0;
    auto operator<=>(const Partition&) const = default;
};

inline std::string to_string(const Partition& p) {
    return p.topic + "[" + std::to_string(p.id) + "]";
}

using Offsets = std::map<Partition, Offset>;  // next offset of each partition

}  // namespace sluice::model
