#include "tests/simulation/rules.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace sluice::simulation {

namespace {

// (timestamp, partition, offset): the order of first and last. One topic.
using Order = std::tuple<std::int64_t, std::int32_t, std::int64_t>;

struct Row {
    std::int64_t count = 0;
    std::int64_t sum = 0;
    std::int64_t least = 0;
    std::int64_t greatest = 0;
    std::int64_t rev = 0;
    std::map<Order, std::int64_t> values;
};

std::int64_t floor_to(std::int64_t t, std::int64_t size, std::int64_t offset) {
    std::int64_t begin = (t - offset) / size * size + offset;
    while (begin > t) {
        begin -= size;
    }
    return begin;
}

}  // namespace

std::string Job::toml(const std::string& directory) const {
    std::string text =
        "name = \"sim\"\n[source]\nbrokers = \"none:1\"\ntopic = \"t\"\nstart = \"earliest\"\n";
    text +=
        "out_of_order = \"" + std::to_string(out_of_order_ms) + "ms\"\nidle_after = \"700ms\"\n";
    text += "[[step]]\nfilter = \"keep\"\n";
    for (const Reduction& reduction : reductions) {
        text += "[reduce." + reduction.id + "]\nkey = [\"k\"]\n";
        text += "window = { tumbling = \"" + std::to_string(reduction.window_ms) +
                "ms\", offset = \"" + std::to_string(reduction.offset_ms) + "ms\" }\n";
        text += std::string("time = \"") + (reduction.event_time ? "event" : "processing") + "\"\n";
        if (reduction.lateness_ms > 0) {
            text += "allowed_lateness = \"" + std::to_string(reduction.lateness_ms) + "ms\"\n";
        }
        text +=
            "values = { n = \"count()\", s = \"sum(v)\", lo = \"min(v)\", hi = \"max(v)\", a = "
            "\"first(v)\", z = "
            "\"last(v)\" }\nttl = \"none\"\n";
    }
    text += "[sink]\nredis = \"redis://localhost:1\"\nresult_retention = \"1h\"\n";
    text += "[state]\ndirectory = \"" + directory + "\"\nmemory = \"256MiB\"\nreserve = \"0B\"\n";
    text += "checkpoint = { every = \"400ms\", keep = 2 }\n";
    return text;
}

std::map<std::string, std::string> expected(
    const Job& job, const SimulatedLog& log, const std::vector<model::Partition>& partitions,
    const std::map<model::BarrierNumber, model::Barrier>& barriers) {
    // By reduction, key and window start.
    std::map<std::tuple<std::size_t, std::string, std::int64_t>, Row> rows;
    for (const model::Partition& partition : partitions) {
        std::int64_t greatest = model::kBeforeAll;
        std::int64_t floor = model::kBeforeAll;
        std::int64_t cap = model::kAfterAll;
        std::int64_t tick = model::kBeforeAll;
        auto next = barriers.begin();
        for (std::int64_t offset = log.begin(partition); offset < log.end(partition); ++offset) {
            for (; next != barriers.end(); ++next) {
                const auto at = next->second.next_offsets.find(partition);
                if (at != next->second.next_offsets.end() && at->second > offset) {
                    break;
                }
                if (next->second.kind == model::BarrierKind::cut) {
                    floor = std::max(floor, next->second.time);
                } else if (next->second.kind == model::BarrierKind::cap) {
                    cap = next->second.time;
                } else if (next->second.kind == model::BarrierKind::tick) {
                    tick = next->second.time;
                }
            }
            const auto& record = log.record(partition, offset);
            if (!record || !record->value) {
                continue;
            }
            const auto document = nlohmann::json::parse(*record->value, nullptr, false);
            if (document.is_discarded()) {
                continue;
            }
            const std::int64_t watermark = std::max(
                floor, greatest == model::kBeforeAll ? greatest : greatest - job.out_of_order_ms);
            const std::int64_t timestamp = record->timestamp;
            if (timestamp <= cap) {
                greatest = std::max(greatest, timestamp);
            }
            if (!document["keep"].get<bool>()) {
                continue;
            }
            for (std::size_t r = 0; r < job.reductions.size(); ++r) {
                const Job::Reduction& reduction = job.reductions[r];
                const std::int64_t start = floor_to(reduction.event_time ? timestamp : tick,
                                                    reduction.window_ms, reduction.offset_ms);
                const std::int64_t end = start + reduction.window_ms;
                if (reduction.event_time && end + reduction.lateness_ms <= watermark) {
                    continue;
                }
                Row& row = rows[{r, document["k"].get<std::string>(), start}];
                const auto value = document["v"].get<std::int64_t>();
                row.least = row.count == 0 ? value : std::min(row.least, value);
                row.greatest = row.count == 0 ? value : std::max(row.greatest, value);
                ++row.count;
                row.sum += value;
                row.rev += reduction.event_time && end <= watermark ? 1 : 0;
                row.values[{timestamp, partition.id, offset}] = value;
            }
        }
    }
    std::map<std::string, std::string> out;
    for (const auto& [place, row] : rows) {
        const auto& [r, key, start] = place;
        out["sim:" + job.reductions[r].id + ":" + key + ":" + std::to_string(start)] =
            "hash a=" + std::to_string(row.values.begin()->second) +
            " complete=1 final=1 hi=" + std::to_string(row.greatest) +
            " lo=" + std::to_string(row.least) + " n=" + std::to_string(row.count) +
            " rev=" + std::to_string(row.rev) + " s=" + std::to_string(row.sum) +
            " z=" + std::to_string(row.values.rbegin()->second);
    }
    return out;
}

}  // namespace sluice::simulation
