// The two keys by which a pipeline keeps its place in Redis: the control hash and the fence.
// docs/FORMAT-redis.md is the reference; these functions are its only readers and writers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sinks/redis_sink.h"
#include "sinks/resp.h"

namespace sluice::sinks {

inline constexpr std::string_view kLineageField = "lineage";
inline constexpr std::string_view kBarrierField = "barrier";
inline constexpr std::string_view kReplicationField = "replication";

std::string control_key(std::string_view pipeline);  // sluice:NAME
std::string fence_key(std::string_view pipeline);    // sluice:NAME:fence
std::string lane_field(std::string_view reduction, int lane);
std::string frontier_field(std::string_view reduction);

// "END HASH KEY": decimal, 16 hexadecimal digits, the encoded key's bytes.
std::string encode_mark(const LaneMark& mark);
std::optional<LaneMark> decode_mark(std::string_view text);

// `elements` of `reply` from `node` are the fields and values of HGETALL. Fields of other meaning
// are passed over. Error: corrupt, a field of ours that cannot be read.
model::Result<ControlHash> read_control(const Reply& reply, std::size_t node);

struct Fence {
    std::uint64_t epoch = 0;
    std::string owner;
    bool operator==(const Fence&) const = default;
};
std::string encode_fence(const Fence& fence);
// Epoch 0 with the whole text as owner for what is no fence, so that any epoch of ours is newer.
Fence decode_fence(std::string_view text);

// The value of `field` in the text of INFO, or empty.
std::string_view info_field(std::string_view info, std::string_view field);

}  // namespace sluice::sinks
