#include "tests/simulation/rules.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace sluice::simulation {

namespace {

// (timestamp, partition, offset): the order of first and last. One topic.
using Order = std::tuple<std::int64_t, std::int32_t, std::int64_t>;

// One value of one key in one window.
struct Part {
    std::int64_t count = 0;
    std::int64_t sum = 0;
    std::int64_t least = 0;
    std::int64_t greatest = 0;
    std::map<Order, std::int64_t> values;

    void fold(std::int64_t value, const Order& order) {
        least = count == 0 ? value : std::min(least, value);
        greatest = count == 0 ? value : std::max(greatest, value);
        ++count;
        sum += value;
        values[order] = value;
    }
    std::string print(const std::string& name) const {
        if (name == "n") {
            return std::to_string(count);
        }
        if (count == 0) {
            return "";
        }
        return std::to_string(name == "s"    ? sum
                              : name == "lo" ? least
                              : name == "hi" ? greatest
                              : name == "a"  ? values.begin()->second
                                             : values.rbegin()->second);
    }
};

struct Row {
    std::int64_t rev = 0;
    bool reached = false;               // by a record that was not held off by the future guard
    std::map<std::string, Part> parts;  // by value
};

// What a partition has seen up to some offset.
struct Place {
    std::int64_t next = 0;
    std::int64_t greatest = model::kBeforeAll;
    std::int64_t floor = model::kBeforeAll;
    std::int64_t cap = model::kAfterAll;
    std::int64_t tick = model::kBeforeAll;

    std::int64_t watermark(std::int64_t out_of_order) const {
        return std::max(floor, greatest == model::kBeforeAll ? greatest : greatest - out_of_order);
    }
};

// What is known of a reduction beside its rows.
struct Reduced {
    std::map<std::pair<std::string, std::int64_t>, Row> rows;  // by key and window start
    std::int64_t closed = model::kBeforeAll;
    std::int64_t whole_from = model::kBeforeAll;
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
    text += std::string("[[step]]\nfilter = \"") + (keep_all ? "v > -1000" : "keep") + "\"\n";
    for (const Reduction& reduction : reductions) {
        text += "[reduce." + reduction.id + "]\nkey = [\"k\"]\n";
        text += "window = { tumbling = \"" + std::to_string(reduction.window_ms) +
                "ms\", offset = \"" + std::to_string(reduction.offset_ms) + "ms\" }\n";
        text += std::string("time = \"") + (reduction.event_time ? "event" : "processing") + "\"\n";
        if (reduction.lateness_ms > 0) {
            text += "allowed_lateness = \"" + std::to_string(reduction.lateness_ms) + "ms\"\n";
        }
        if (reduction.above) {
            text += "filter = \"v > " + std::to_string(*reduction.above) + "\"\n";
        }
        static const std::map<std::string, std::string> kCalls = {
            {"n", "count()"}, {"s", "sum(v)"},   {"lo", "min(v)"},
            {"hi", "max(v)"}, {"a", "first(v)"}, {"z", "last(v)"}};
        text += "ttl = \"none\"\n[reduce." + reduction.id + ".values]\n";
        for (const std::string& value : reduction.values) {
            text += value + " = \"" + kCalls.at(value) + "\"\n";
        }
    }
    text += "[sink]\nredis = \"redis://localhost:1\"\nresult_retention = \"1h\"\n";
    text += "[state]\ndirectory = \"" + directory + "\"\nmemory = \"256MiB\"\nreserve = \"0B\"\n";
    text += "checkpoint = { every = \"400ms\", keep = 2 }\n";
    return text;
}

namespace {

class Rules {
 public:
    Rules(const Jobs& jobs, const SimulatedLog& log,
          const std::vector<model::Partition>& partitions,
          const std::map<model::BarrierNumber, model::Barrier>& barriers)
        : jobs_(jobs), log_(log), partitions_(partitions), barriers_(barriers) {}

    std::map<std::string, std::string> run() {
        if (jobs_.first.empty()) {
            return {};  // no life came as far as a first checkpoint
        }
        job_ = jobs_.by_inputs.at(jobs_.first);
        auto begin = barriers_.begin();
        for (auto at = barriers_.begin(); at != barriers_.end(); ++at) {
            if (at->second.kind == model::BarrierKind::reload) {
                read(begin, std::next(at), &at->second);
                reload(at->second);
                begin = std::next(at);
            }
        }
        read(begin, barriers_.end(), nullptr);
        for (const Job::Reduction& reduction : job_.reductions) {
            write(reduction, model::kAfterAll);
        }
        return std::move(out_);
    }

 private:
    using Barriers = std::map<model::BarrierNumber, model::Barrier>;

    // The records behind what was read, up to the offsets of `last` or the end, under job_.
    void read(Barriers::const_iterator begin, Barriers::const_iterator end,
              const model::Barrier* last) {
        for (const model::Partition& partition : partitions_) {
            std::int64_t until = log_.end(partition);
            if (last != nullptr) {
                const auto listed = last->next_offsets.find(partition);
                if (listed == last->next_offsets.end()) {
                    continue;
                }
                until = listed->second;
            }
            Place& place = places_[partition];
            place.next = std::max(place.next, log_.begin(partition));
            auto next = begin;
            const auto pass = [&](std::int64_t offset) {
                for (; next != end; ++next) {
                    const auto at = next->second.next_offsets.find(partition);
                    if (at != next->second.next_offsets.end() && at->second > offset) {
                        break;
                    }
                    if (next->second.kind == model::BarrierKind::cut) {
                        place.floor = std::max(place.floor, next->second.time);
                    } else if (next->second.kind == model::BarrierKind::cap) {
                        place.cap = next->second.time;
                    } else if (next->second.kind == model::BarrierKind::tick) {
                        place.tick = next->second.time;
                    }
                }
            };
            for (; place.next < until; ++place.next) {
                pass(place.next);
                fold(partition, place);
            }
            pass(until);
        }
    }

    void fold(const model::Partition& partition, Place& place) {
        const auto& record = log_.record(partition, place.next);
        if (!record || !record->value) {
            return;
        }
        const auto document = nlohmann::json::parse(*record->value, nullptr, false);
        if (document.is_discarded()) {
            return;
        }
        const std::int64_t watermark = place.watermark(job_.out_of_order_ms);
        const std::int64_t timestamp = record->timestamp;
        if (timestamp <= place.cap) {
            place.greatest = std::max(place.greatest, timestamp);
        }
        const auto value = document["v"].get<std::int64_t>();
        if (!job_.keep_all && !document["keep"].get<bool>()) {
            return;
        }
        for (const Job::Reduction& reduction : job_.reductions) {
            if (reduction.above && value <= *reduction.above) {
                continue;
            }
            const std::int64_t start = floor_to(reduction.event_time ? timestamp : place.tick,
                                                reduction.window_ms, reduction.offset_ms);
            const std::int64_t end = start + reduction.window_ms;
            Reduced& reduced = reduced_[reduction.id];
            if (reduction.event_time &&
                (end + reduction.lateness_ms <= watermark || end <= reduced.closed)) {
                continue;
            }
            Row& row = reduced.rows[{document["k"].get<std::string>(), start}];
            row.rev += reduction.event_time && end <= watermark ? 1 : 0;
            row.reached |= !reduction.event_time || timestamp <= place.cap;
            for (const std::string& name : reduction.values) {
                row.parts[name].fold(value, {timestamp, partition.id, place.next});
            }
        }
    }

    // Writes the windows that end at or before `until`, and forgets them.
    void write(const Job::Reduction& reduction, std::int64_t until) {
        Reduced& reduced = reduced_[reduction.id];
        for (auto at = reduced.rows.begin(); at != reduced.rows.end();) {
            const auto& [key, start] = at->first;
            // At the end, what only future-guarded records reached stays open.
            if (start + reduction.window_ms > until || !at->second.reached) {
                ++at;
                continue;
            }
            std::map<std::string, std::string> fields;
            for (const std::string& name : reduction.values) {
                fields[name] = at->second.parts[name].print(name);
            }
            fields["complete"] = start >= reduced.whole_from ? "1" : "0";
            fields["final"] = "1";
            fields["rev"] = std::to_string(at->second.rev);
            std::string text = "hash";
            for (const auto& [name, value] : fields) {
                text += " " + name + "=" + value;
            }
            out_["sim:" + reduction.id + ":" + key + ":" + std::to_string(start)] = text;
            at = reduced.rows.erase(at);
        }
    }

    void reload(const model::Barrier& barrier) {
        const auto entry = nlohmann::json::parse(barrier.reload);
        const Job next = jobs_.by_inputs.at(entry.at("inputs").get<std::string>());
        std::int64_t over = model::kAfterAll;
        std::int64_t last = model::kBeforeAll;
        std::int64_t tick = model::kBeforeAll;
        for (const auto& [partition, offset] : barrier.next_offsets) {
            const Place& place = places_[partition];
            over = std::min(over, place.watermark(job_.out_of_order_ms));
            last = std::max(last, place.greatest);
            tick = std::max(tick, place.tick);
        }
        for (const Job::Reduction& reduction : job_.reductions) {
            if (!reduction.event_time) {
                write(reduction, tick);
            } else if (over != model::kBeforeAll) {
                write(reduction, over - reduction.lateness_ms);
            }
        }
        std::map<std::string, Reduced> reduced;
        for (const Job::Reduction& reduction : next.reductions) {
            Reduced& now = reduced[reduction.id];
            const std::int64_t whole_from = (reduction.event_time ? last : tick) + 1;
            const Job::Reduction* before = nullptr;
            for (const Job::Reduction& candidate : job_.reductions) {
                const auto renamed = entry.at("renamed").find(candidate.id);
                if (candidate.id == reduction.id ||
                    (renamed != entry.at("renamed").end() && *renamed == reduction.id)) {
                    before = &candidate;
                }
            }
            bool grows = before == nullptr;
            if (before != nullptr) {
                now = reduced_[before->id];
                if (before->window_ms != reduction.window_ms ||
                    before->offset_ms != reduction.offset_ms) {
                    now.rows.clear();
                    grows = true;
                }
                for (const std::string& name : reduction.values) {
                    grows |= std::ranges::find(before->values, name) == before->values.end();
                }
                for (auto& [place, row] : now.rows) {
                    std::erase_if(row.parts, [&](const auto& part) {
                        return std::ranges::find(reduction.values, part.first) ==
                               reduction.values.end();
                    });
                }
            }
            if (reduction.event_time && over != model::kBeforeAll) {
                now.closed =
                    std::max(now.closed, over - (before == nullptr ? 0 : before->lateness_ms));
            }
            if (grows && (reduction.event_time ? last : tick) != model::kBeforeAll) {
                now.whole_from = std::max(now.whole_from, whole_from);
            }
        }
        for (auto& [partition, place] : places_) {
            place.floor = place.watermark(job_.out_of_order_ms);
        }
        reduced_ = std::move(reduced);
        job_ = next;
    }

    const Jobs& jobs_;
    const SimulatedLog& log_;
    const std::vector<model::Partition>& partitions_;
    const Barriers& barriers_;
    Job job_;
    std::map<model::Partition, Place> places_;
    std::map<std::string, Reduced> reduced_;
    std::map<std::string, std::string> out_;
};

}  // namespace

std::map<std::string, std::string> expected(
    const Jobs& jobs, const SimulatedLog& log, const std::vector<model::Partition>& partitions,
    const std::map<model::BarrierNumber, model::Barrier>& barriers) {
    return Rules(jobs, log, partitions, barriers).run();
}

}  // namespace sluice::simulation
