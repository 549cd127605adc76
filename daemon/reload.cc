#include "daemon/reload.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "daemon/source_check.h"
#include "state/model/invariant.h"

namespace sluice::daemon {

namespace {

using nlohmann::json;

// What of a reduction its rows hold and mean; a different text is different state.
std::string schema_of(const config::Reduction& reduction) {
    std::string schema = "v1";
    for (const config::ReductionCall& call : reduction.calls) {
        schema += ";" + call.text;
    }
    return schema;
}

void raise(std::optional<model::EventTime>& time, model::EventTime to) {
    if (to != model::kBeforeAll) {
        time = std::max(time.value_or(to), to);
    }
}

// Windows that start below hold records from before the barrier, in which what is new had no part.
model::EventTime first_whole_window(const state::CheckpointMeta& meta, config::TimeKind time) {
    model::EventTime last = model::kBeforeAll;
    if (time == config::TimeKind::processing) {
        last = meta.tick;
    } else {
        for (const state::PartitionMeta& partition : meta.partitions) {
            last = std::max(last, partition.max_timestamp.value_or(model::kBeforeAll));
        }
    }
    return last == model::kBeforeAll ? last : last + 1;
}

std::vector<state::FormerCall> former_calls(const config::Reduction& reduction,
                                            const std::vector<int>& from) {
    std::vector<state::FormerCall> calls;
    for (std::size_t i = 0; i < from.size(); ++i) {
        calls.push_back({from[i], reduction.calls[i].kind});
    }
    return calls;
}

// `older` in terms of the calls that `newer` is in terms of.
std::vector<state::FormerCall> compose(const std::vector<state::FormerCall>& newer,
                                       const std::vector<state::FormerCall>& older) {
    std::vector<state::FormerCall> calls = newer;
    for (state::FormerCall& call : calls) {
        call.from = call.from < 0 ? -1 : older[static_cast<std::size_t>(call.from)].from;
    }
    return calls;
}

void retire(state::CheckpointMeta& meta, const state::ReductionMeta& reduction) {
    meta.retired.push_back({reduction.number, reduction.family});
    for (const state::FormerRows& former : reduction.former) {
        meta.retired.push_back({former.number, former.family});
    }
}

const config::Reduction& named(const config::Pipeline& pipeline, const std::string& id) {
    const auto found = std::ranges::find(pipeline.reductions, id, &config::Reduction::id);
    INVARIANT(found != pipeline.reductions.end(), "an edit names reductions that are there");
    return *found;
}

// Per partition and reduction: its ledger goes with the state.
template <class Map>
void rename_places(Map& places, const config::Pipeline& from, const config::Edit& edit) {
    Map renamed = places;
    for (const config::Reduction& reduction : from.reductions) {
        renamed.erase(reduction.id);
    }
    for (const config::ReductionEdit& reduction : edit.reductions) {
        if (const auto found = places.find(reduction.from);
            found != places.end() && !reduction.dropped) {
            renamed[reduction.id] = found->second;
        }
    }
    places = std::move(renamed);
}

void reload_partition(state::PartitionMeta& partition, const config::Pipeline& from,
                      const config::Pipeline& to, const config::Edit& edit, model::EventTime over) {
    // A watermark never goes back, whatever out_of_order says by now.
    if (partition.max_timestamp) {
        partition.watermark_floor =
            std::max(partition.watermark_floor,
                     model::saturating_add(*partition.max_timestamp, -from.source.out_of_order_ms));
    }
    if (!in_share(from.source, partition.partition.id) &&
        in_share(to.source, partition.partition.id)) {
        // It rested while windows went by: what falls into them now is late.
        partition.watermark_floor = std::max(partition.watermark_floor, over);
    }
    rename_places(partition.reductions, from, edit);
    rename_places(partition.errors, from, edit);
}

}  // namespace

std::string to_text(const ReloadEntry& entry) {
    return json{{"inputs", entry.inputs},
                {"drop_state", entry.decisions.drop_state},
                {"renamed", entry.decisions.renamed}}
        .dump();
}

model::Result<ReloadEntry> parse_reload(const std::string& text) {
    try {
        const json parsed = json::parse(text);
        ReloadEntry entry;
        parsed.at("inputs").get_to(entry.inputs);
        parsed.at("drop_state").get_to(entry.decisions.drop_state);
        parsed.at("renamed").get_to(entry.decisions.renamed);
        return entry;
    } catch (const json::exception& error) {
        return model::corrupt(std::string("a reload entry of the journal: ") + error.what());
    }
}

state::ReductionMeta new_reduction(const config::Reduction& reduction, std::uint32_t number,
                                   model::DurationMs checkpoint_every) {
    state::ReductionMeta made;
    made.id = reduction.id;
    made.number = number;
    made.family = state::family_for(reduction.window_ms, checkpoint_every);
    made.schema = schema_of(reduction);
    return made;
}

std::uint32_t greatest_number(const state::CheckpointMeta& meta) {
    std::uint32_t greatest = 0;
    for (const state::ReductionMeta& reduction : meta.reductions) {
        greatest = std::max(greatest, reduction.number);
        for (const state::FormerRows& former : reduction.former) {
            greatest = std::max(greatest, former.number);
        }
    }
    for (const state::RetiredRows& retired : meta.retired) {
        greatest = std::max(greatest, retired.number);
    }
    return greatest;
}

state::CheckpointMeta reloaded(state::CheckpointMeta meta, const config::Pipeline& from,
                               const config::Pipeline& to, const config::Decisions& decisions,
                               model::EventTime over) {
    const config::Edit edit = config::compare(from, to, decisions);
    INVARIANT(!edit.breaks(), "an edit that breaks state was refused");
    std::uint32_t greatest = greatest_number(meta);
    std::vector<state::ReductionMeta> before = std::move(meta.reductions);
    meta.reductions.clear();
    std::set<std::string> inherited;
    for (std::size_t r = 0; r < to.reductions.size(); ++r) {
        const config::Reduction& reduction = to.reductions[r];
        const config::ReductionEdit& fate = edit.reductions[r];
        const auto old = std::ranges::find(before, fate.from, &state::ReductionMeta::id);
        state::ReductionMeta now;
        if (old == before.end()) {
            now = new_reduction(reduction, ++greatest, to.state.checkpoint_every_ms);
            if (reduction.time == config::TimeKind::event) {
                // The id may have been there before: what it wrote then is final.
                raise(now.closed, over);
            }
        } else {
            inherited.insert(fate.from);
            now = *old;
            now.id = reduction.id;
            if (!fate.same_rows) {
                state::ReductionMeta made =
                    new_reduction(reduction, ++greatest, to.state.checkpoint_every_ms);
                now.number = made.number;
                now.family = made.family;
                now.schema = made.schema;
                now.former.clear();
                if (fate.dropped) {
                    retire(meta, *old);
                } else {
                    const auto calls = former_calls(reduction, fate.calls);
                    now.former.push_back({old->number, old->family, calls});
                    for (const state::FormerRows& former : old->former) {
                        now.former.push_back(
                            {former.number, former.family, compose(calls, former.calls)});
                    }
                }
            }
            if (!fate.same_results && now.acknowledged) {
                // What was written stays as it was: sent again, it would be something else.
                raise(now.dropped, *now.acknowledged);
            }
            const config::Reduction& was = named(from, fate.from);
            if (was.time != reduction.time) {  // its frontiers were of another time
                now.acknowledged.reset();
                now.dropped.reset();
                now.fired.reset();
                now.closed.reset();
            } else if (was.time == config::TimeKind::event && over != model::kBeforeAll) {
                raise(now.closed, model::saturating_add(over, -was.allowed_lateness_ms));
            }
        }
        if (fate.grows) {
            raise(now.incomplete_before, first_whole_window(meta, reduction.time));
        }
        meta.reductions.push_back(std::move(now));
    }
    for (const state::ReductionMeta& old : before) {
        if (!inherited.contains(old.id)) {
            retire(meta, old);
        }
    }
    for (state::PartitionMeta& partition : meta.partitions) {
        reload_partition(partition, from, to, edit, over);
    }
    return meta;
}

}  // namespace sluice::daemon
