#include "sinks/control.h"

#include <charconv>

namespace sluice::sinks {
namespace {

template <class Number>
std::optional<Number> number(std::string_view text, int base = 10) {
    Number value{};
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (code != std::errc() || end != text.data() + text.size() || text.empty()) {
        return std::nullopt;
    }
    return value;
}

constexpr std::string_view kLanePrefix = "lane:";
constexpr std::string_view kFrontierPrefix = "frontier:";

std::unexpected<model::Error> unreadable(std::string_view field) {
    return model::corrupt("control hash: field '" + std::string(field) + "' cannot be read");
}

}  // namespace

std::string control_key(std::string_view pipeline) { return "sluice:" + std::string(pipeline); }

std::string fence_key(std::string_view pipeline) { return control_key(pipeline) + ":fence"; }

std::string lane_field(std::string_view reduction, int lane) {
    return std::string(kLanePrefix) + std::string(reduction) + ":" + std::to_string(lane);
}

std::string frontier_field(std::string_view reduction) {
    return std::string(kFrontierPrefix) + std::string(reduction);
}

std::string encode_mark(const LaneMark& mark) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out = std::to_string(mark.end);
    out += ' ';
    for (int shift = 60; shift >= 0; shift -= 4) {
        out += kDigits[(mark.hash >> shift) & 15];
    }
    out += ' ';
    out += mark.key;
    return out;
}

std::optional<LaneMark> decode_mark(std::string_view text) {
    const std::size_t blank = text.find(' ');
    if (blank == std::string_view::npos || text.size() < blank + 18 || text[blank + 17] != ' ') {
        return std::nullopt;
    }
    const auto end = number<model::EventTime>(text.substr(0, blank));
    const auto hash = number<std::uint64_t>(text.substr(blank + 1, 16), 16);
    if (!end || !hash) {
        return std::nullopt;
    }
    return LaneMark{*end, *hash, std::string(text.substr(blank + 18))};
}

model::Result<ControlHash> read_control(const Reply& reply, std::size_t node) {
    ControlHash control;
    const auto& array = reply.nodes[node];
    if (array.kind != Reply::Kind::array || array.integer % 2 != 0) {
        return model::corrupt("control hash: HGETALL did not give fields and values");
    }
    for (std::int64_t i = 0; i < array.integer; i += 2) {
        const auto& name_node = reply.nodes[node + 1 + static_cast<std::size_t>(i)];
        const auto& value_node = reply.nodes[node + 2 + static_cast<std::size_t>(i)];
        if (name_node.kind != Reply::Kind::text || value_node.kind != Reply::Kind::text) {
            return model::corrupt("control hash: HGETALL did not give fields and values");
        }
        const std::string_view name = reply.text(name_node);
        const std::string_view value = reply.text(value_node);
        if (name == kLineageField) {
            control.lineage = value;
        } else if (name == kReplicationField) {
            control.replication = value;
        } else if (name == kBarrierField) {
            const auto barrier = number<model::BarrierNumber>(value);
            if (!barrier) {
                return unreadable(name);
            }
            control.barrier = *barrier;
        } else if (name.starts_with(kFrontierPrefix)) {
            const auto frontier = number<model::EventTime>(value);
            if (!frontier) {
                return unreadable(name);
            }
            control.frontiers[std::string(name.substr(kFrontierPrefix.size()))] = *frontier;
        } else if (name.starts_with(kLanePrefix)) {
            const std::size_t colon = name.rfind(':');
            const auto lane = number<int>(name.substr(colon + 1));
            auto mark = decode_mark(value);
            if (colon < kLanePrefix.size() || !lane || *lane < 0 || *lane >= model::kLanes ||
                !mark) {
                return unreadable(name);
            }
            const auto id = name.substr(kLanePrefix.size(), colon - kLanePrefix.size());
            control.lanes[std::string(id)][static_cast<std::size_t>(*lane)] = std::move(*mark);
        }
    }
    // The lineage is in the first transaction that ever writes the hash. Without it somebody
    // removed the hash and what is there is the rest of a batch.
    control.present = !control.lineage.empty();
    return control;
}

std::string encode_fence(const Fence& fence) {
    return std::to_string(fence.epoch) + " " + fence.owner;
}

Fence decode_fence(std::string_view text) {
    const std::size_t blank = text.find(' ');
    if (blank != std::string_view::npos) {
        if (const auto epoch = number<std::uint64_t>(text.substr(0, blank))) {
            return {*epoch, std::string(text.substr(blank + 1))};
        }
    }
    return {0, std::string(text)};
}

std::string_view info_field(std::string_view info, std::string_view field) {
    std::size_t at = 0;
    while (at < info.size()) {
        std::size_t end = info.find('\n', at);
        end = end == std::string_view::npos ? info.size() : end;
        std::string_view line = info.substr(at, end - at);
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        if (line.size() > field.size() && line.starts_with(field) && line[field.size()] == ':') {
            return line.substr(field.size() + 1);
        }
        at = end + 1;
    }
    return {};
}

}  // namespace sluice::sinks
