#include "config/change.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "config/units.h"

namespace sluice::config {
namespace {

using nlohmann::json;
using Settings = std::map<std::string, std::string>;

struct Rule {
    std::string_view section;
    std::string_view key;  // "*": every key of the section that has no rule of its own
    Verdict verdict;
};

constexpr auto kRules = std::to_array<Rule>({
    {"", "name", Verdict::breaks},
    {"", "*", Verdict::live},  // the tables themselves; their keys have rules of their own
    {"source", "topic", Verdict::breaks},
    {"source", "topics", Verdict::breaks},
    {"source", "start", Verdict::live},  // used once in the life of a state
    {"source", "*", Verdict::live},
    {"source.rdkafka", "*", Verdict::live},
    {"source.csv", "*", Verdict::live},
    {"step", "*", Verdict::live},
    {"step.set", "*", Verdict::live},
    {"table.*", "*", Verdict::live},
    {"reduce.*", "key", Verdict::breaks},
    {"reduce.*", "window", Verdict::breaks},
    {"reduce.*", "time", Verdict::breaks},
    {"reduce.*", "idle_ttl", Verdict::breaks},
    {"reduce.*", "values", Verdict::migrates},
    {"reduce.*", "*", Verdict::live},
    {"reduce.*.values", "*", Verdict::migrates},
    {"reduce.*.window", "*", Verdict::breaks},
    {"sink", "*", Verdict::live},
    {"dead_letter", "*", Verdict::restart},
    {"state", "directory", Verdict::restart},
    {"state", "io", Verdict::restart},
    {"state", "*", Verdict::live},
    {"state.checkpoint", "*", Verdict::live},
    {"savepoint", "*", Verdict::live},
    {"http", "*", Verdict::restart},
    {"threads", "*", Verdict::live},
    {"log", "*", Verdict::restart},
});

std::string joined(const std::vector<std::string>& texts) {
    std::string out;
    for (const std::string& text : texts) {
        out += (out.empty() ? "" : ", ") + text;
    }
    return out;
}

std::string bytes_text(std::uint64_t bytes) { return std::to_string(bytes) + "B"; }

std::string print(const Secret& secret) {
    switch (secret.kind) {
        case Secret::Kind::none:
            return "";
        case Secret::Kind::credential:
            return "credential " + secret.name;
        case Secret::Kind::file:
            return "file " + secret.name;
        case Secret::Kind::environment:
            return "env " + secret.name;
    }
    return "";
}

std::string print(const Start& start) {
    switch (start.kind) {
        case Start::Kind::earliest:
            return "earliest";
        case Start::Kind::latest:
            return "latest";
        case Start::Kind::time:
            return print_time(start.time);
    }
    return "";
}

std::string word(OnError reaction) {
    return reaction == OnError::drop ? "drop" : reaction == OnError::stop ? "stop" : "dead_letter";
}

void put(Settings& settings, const std::string& key, std::string text) {
    if (!text.empty()) {
        settings[key] = std::move(text);
    }
}

// What can change a result: read from the recorded text, so that nothing of it is overlooked.
void add_recorded(const Pipeline& pipeline, Settings& settings) {
    const json inputs = json::parse(pipeline.inputs);
    const auto text = [](const json& value) {
        return value.is_string() ? value.get<std::string>() : value.dump();
    };
    const auto time = [&](const json& value) {
        return value.is_number() ? print_duration(value.get<std::int64_t>()) : text(value);
    };
    settings["name"] = pipeline.name;
    for (const auto& [key, value] : inputs.at("source").items()) {
        if (key == "topics") {
            settings["source.topics"] = joined(value.get<std::vector<std::string>>());
        } else if (key.ends_with("_ms")) {
            settings["source." + key.substr(0, key.size() - 3)] = time(value);
        } else {
            settings["source." + key] = text(value);
        }
    }
    std::size_t number = 0;
    for (const json& step : inputs.at("steps")) {
        ++number;
        for (const auto& [kind, content] : step.items()) {
            settings["step." + std::to_string(number)] = kind + " " + text(content);
        }
    }
    for (const auto& [id, reduction] : inputs.at("reductions").items()) {
        const std::string at = "reduce." + id + ".";
        for (const auto& [key, value] : reduction.items()) {
            if (key == "values") {
                for (const json& one : value) {
                    settings[at + "values." + text(one.at(0))] = text(one.at(1));
                }
            } else if (key == "window") {
                settings[at + "window"] = "tumbling " + time(value.at("tumbling_ms")) +
                                          ", offset " + time(value.at("offset_ms"));
            } else if (key == "key") {
                std::string parts;
                for (const json& part : value) {
                    parts +=
                        (parts.empty() ? "" : ", ") + text(part.at(0)) + " = " + text(part.at(1));
                }
                settings[at + "key"] = "[" + parts + "]";
            } else if (key.ends_with("_ms")) {
                settings[at + key.substr(0, key.size() - 3)] = time(value);
            } else if (key == "write") {
                put(settings, at + key, joined(value.get<std::vector<std::string>>()));
            } else {
                put(settings, at + key, text(value));
            }
        }
    }
}

void add_unrecorded(const Pipeline& pipeline, Settings& settings) {
    const Source& source = pipeline.source;
    settings["source.brokers"] = source.brokers;
    settings["source.start"] = print(source.start);
    settings["source.on_error"] = word(source.on_error);
    settings["source.on_null"] = word(source.on_null);
    put(settings, "source.username", source.username);
    put(settings, "source.password", print(source.password));
    for (const auto& [property, value] : source.rdkafka) {
        // A value may be a secret that librdkafka takes as text.
        settings["source.rdkafka." + property] =
            property.find("password") == std::string::npos ? value : "(set)";
    }
    const Sink& sink = pipeline.sink;
    settings["sink.redis"] = sink.url;
    put(settings, "sink.username", sink.username);
    put(settings, "sink.password", print(sink.password));
    settings["sink.connections"] = std::to_string(sink.connections);
    settings["sink.result_retention"] = print_duration(sink.result_retention_ms);
    settings["sink.result_retention_bytes"] = bytes_text(sink.result_retention_bytes);
    settings["dead_letter.file"] = pipeline.dead_letter.file;
    settings["dead_letter.max_bytes"] = bytes_text(pipeline.dead_letter.max_bytes);
    settings["dead_letter.on_full"] = pipeline.dead_letter.drop_when_full ? "drop" : "pause";
    const State& state = pipeline.state;
    settings["state.directory"] = state.directory;
    settings["state.checkpoint.every"] = print_duration(state.checkpoint_every_ms);
    settings["state.checkpoint.keep"] = std::to_string(state.checkpoint_keep);
    settings["state.checkpoint.max_bytes"] =
        state.checkpoint_max_bytes ? bytes_text(*state.checkpoint_max_bytes) : "none";
    settings["state.verify"] = state.verify_full ? "full" : "background";
    settings["state.memory"] = bytes_text(state.memory_bytes);
    settings["state.reserve"] = bytes_text(state.reserve_bytes);
    settings["state.io"] = state.io == IoBackend::io_uring  ? "io_uring"
                           : state.io == IoBackend::threads ? "threads"
                                                            : "auto";
    const Savepoint& savepoint = pipeline.savepoint;
    settings["savepoint.directory"] =
        savepoint.directory.empty() ? state.directory + "/savepoints" : savepoint.directory;
    settings["savepoint.on_stop"] = savepoint.on_stop ? "true" : "false";
    settings["savepoint.copy"] = savepoint.copy ? "true" : "false";
    settings["savepoint.rate"] =
        savepoint.bytes_per_second ? bytes_text(*savepoint.bytes_per_second) : "none";
    settings["savepoint.timeout"] = print_duration(savepoint.timeout_ms);
    settings["http.listen"] =
        pipeline.http.host ? *pipeline.http.host + ":" + std::to_string(pipeline.http.port) : "off";
    settings["threads.workers"] = std::to_string(pipeline.workers);
    settings["log.level"] = pipeline.log.level;
    settings["log.format"] = pipeline.log.format;
}

const Reduction* find(const Pipeline& pipeline, std::string_view id) {
    const auto found = std::ranges::find(pipeline.reductions, id, &Reduction::id);
    return found == pipeline.reductions.end() ? nullptr : &*found;
}

// "reduce.spend.values.p99" → id "spend", rest "values.p99"; ids hold no dot.
struct KeyParts {
    std::string section;  // as in the table of settings
    std::string key;
    std::string id;    // of a reduction
    std::string rest;  // behind the id
};

KeyParts parts_of(const std::string& key) {
    KeyParts parts;
    if (key.starts_with("reduce.")) {
        const std::size_t dot = key.find('.', 7);
        parts.id = key.substr(7, dot == std::string::npos ? dot : dot - 7);
        parts.rest = dot == std::string::npos ? "" : key.substr(dot + 1);
        parts.section = parts.rest.starts_with("values.") ? "reduce.*.values" : "reduce.*";
        parts.key = parts.rest.starts_with("values.") ? parts.rest.substr(7) : parts.rest;
        return parts;
    }
    if (key.starts_with("step.")) {
        return {"step", "*", "", ""};
    }
    for (const std::string_view section : {"source.rdkafka", "state.checkpoint"}) {
        if (key.starts_with(std::string(section) + ".")) {
            return {std::string(section), key.substr(section.size() + 1), "", ""};
        }
    }
    const std::size_t dot = key.find('.');
    if (dot == std::string::npos) {
        return {"", key, "", ""};
    }
    return {key.substr(0, dot), key.substr(dot + 1), "", ""};
}

class Comparison {
 public:
    Comparison(const Pipeline& from, const Pipeline& to, const Decisions& decisions,
               const Settings& unrecorded)
        : from_(from), to_(to), decisions_(decisions) {
        add_recorded(from, before_);
        add_recorded(to, after_);
        if (!unrecorded.empty()) {
            Settings now;
            add_unrecorded(to, now);
            after_.insert(now.begin(), now.end());
            for (const auto& [key, text] : unrecorded) {
                before_.try_emplace(key, text);
            }
        }
    }

    Edit compare() {
        for (const Reduction& reduction : to_.reductions) {
            edit_.reductions.push_back(edit_of(reduction));
            edit_.recorded |= edit_.reductions.back().dropped;
        }
        edit_.recorded |= from_.inputs != to_.inputs;
        Settings keys = before_;
        keys.insert(after_.begin(), after_.end());
        for (const auto& [key, text] : keys) {
            const auto was = before_.find(key);
            const auto is = after_.find(key);
            Change change;
            change.key = key;
            change.before = was == before_.end() ? "" : was->second;
            change.after = is == after_.end() ? "" : is->second;
            if (change.before != change.after && judge(change)) {
                edit_.changes.push_back(std::move(change));
            }
        }
        return std::move(edit_);
    }

 private:
    // The id whose state `id` of the new configuration takes over; empty: none.
    std::string source_of(const std::string& id) const {
        if (find(from_, id) != nullptr) {
            return id;
        }
        for (const auto& [old_id, new_id] : decisions_.renamed) {
            if (new_id == id && find(from_, old_id) != nullptr && find(to_, old_id) == nullptr) {
                return old_id;
            }
        }
        return "";
    }
    // Where the state of `id` of the old configuration goes; empty: nobody takes it.
    std::string heir_of(const std::string& id) const {
        for (const Reduction& reduction : to_.reductions) {
            if (source_of(reduction.id) == id) {
                return reduction.id;
            }
        }
        return "";
    }

    std::string setting(const Settings& settings, const std::string& id,
                        const std::string& key) const {
        const auto found = settings.find("reduce." + id + "." + key);
        return found == settings.end() ? "" : found->second;
    }

    bool may_drop(const std::string& id) const {
        return decisions_.drop_state.contains(id) || decisions_.drop_state.contains(source_of(id));
    }

    // Key, window or time: what a row is.
    bool other_rows(const std::string& id) const {
        const std::string from = source_of(id);
        return std::ranges::any_of(std::array{"key", "window", "time"}, [&](const std::string key) {
            return setting(before_, from, key) != setting(after_, id, key);
        });
    }

    ReductionEdit edit_of(const Reduction& reduction) const {
        ReductionEdit edit;
        edit.id = reduction.id;
        edit.from = source_of(reduction.id);
        edit.calls.assign(reduction.calls.size(), -1);
        edit.grows = true;
        if (edit.from.empty()) {
            return edit;
        }
        if (other_rows(reduction.id)) {
            edit.dropped = may_drop(reduction.id);
            return edit;
        }
        const Reduction& before = *find(from_, edit.from);
        edit.grows = false;
        edit.same_rows = before.calls.size() == reduction.calls.size();
        for (std::size_t i = 0; i < reduction.calls.size(); ++i) {
            const auto found =
                std::ranges::find(before.calls, reduction.calls[i].text, &ReductionCall::text);
            if (found != before.calls.end()) {
                edit.calls[i] = static_cast<int>(found - before.calls.begin());
            }
            edit.grows |= found == before.calls.end();
            edit.same_rows &= edit.calls[i] == static_cast<int>(i);
        }
        edit.same_results = edit.same_rows && edit.id == edit.from;
        for (const auto& [key, text] : after_) {
            edit.same_results &= !key.starts_with("reduce." + reduction.id + ".") ||
                                 !results_depend_on(key) || unchanged(key);
        }
        for (const auto& [key, text] : before_) {
            edit.same_results &= !key.starts_with("reduce." + edit.from + ".") ||
                                 !results_depend_on(key) || unchanged(key);
        }
        return edit;
    }
    static bool results_depend_on(const std::string& key) {
        const std::string rest = parts_of(key).rest;
        return rest.starts_with("values.") || rest == "write" || rest == "ttl" ||
               rest == "ttl_from" || rest == "suppress_incomplete";
    }
    bool unchanged(const std::string& key) const {
        const auto was = before_.find(key);
        const auto is = after_.find(key);
        return was != before_.end() && is != after_.end() && was->second == is->second;
    }

    // Fills in the verdict. False: no change worth a line.
    bool judge(Change& change) const {
        const KeyParts parts = parts_of(change.key);
        if (!parts.id.empty()) {
            return judge_reduction(change, parts);
        }
        change.verdict = verdict_of(parts.section, parts.key).value_or(Verdict::restart);
        change.kept = "all state";
        change.command = "sluice reload " + to_.name;
        if (change.verdict == Verdict::restart) {
            change.command = "restart " + to_.name;
        } else if (change.key == "name") {
            change.kept = "nothing: the state belongs to " + from_.name;
            change.lost = "all state";
            change.command = "sluice run FILE --from SAVEPOINT, with a state directory of its own";
        } else if (change.verdict == Verdict::breaks) {
            change.kept = "nothing: offsets and windows belong to the other log";
            change.lost = "all state";
            change.command = "sluice run FILE --fresh --yes";
        } else if (parts.section == "step" || change.key == "source.timestamp" ||
                   change.key == "source.timestamp_unit" || change.key == "source.format") {
            change.kept =
                "all state; windows that are open keep what they hold, records from then "
                "on follow the new text";
        } else if (change.key == "source.start") {
            change.kept = "all state; where to begin counts only for a state that begins";
        } else if (change.key == "source.partitions") {
            change.kept = "all state; positions of partitions that are left out are kept";
        }
        return true;
    }

    bool judge_reduction(Change& change, const KeyParts& parts) const {
        const std::string& id = parts.id;
        const bool is_new = find(from_, id) == nullptr;
        const bool is_gone = find(to_, id) == nullptr;
        change.command = "sluice reload " + to_.name;
        if (is_gone) {
            return judge_gone(change, parts);
        }
        const std::string from = source_of(id);
        if (is_new && from.empty()) {
            if (parts.rest != "window") {
                return false;  // one line for the whole reduction
            }
            change.key = "reduce." + id;
            change.after = "[reduce." + id + "]";
            change.verdict = Verdict::starts_empty;
            change.kept = "what others hold";
            return true;
        }
        if (is_new) {
            // Renamed: compared with what it was, key by key.
            change.before = setting(before_, from, parts.rest);
            if (parts.rest == "window" && change.before == change.after) {
                change.key = "reduce." + id;
                change.before = "[reduce." + from + "]";
                change.after = "[reduce." + id + "]";
                change.verdict = Verdict::migrates;
                change.kept = "all state of " + from;
                change.command = "sluice run FILE --rename " + from + "=" + id;
                return true;
            }
            if (change.before == change.after) {
                return false;
            }
        }
        if (parts.rest == "key" || parts.rest == "window" || parts.rest == "time") {
            change.verdict = may_drop(id) ? Verdict::starts_empty : Verdict::breaks;
            change.kept = "what was written, and what others hold";
            change.lost = "open windows of " + from + ": rows of another " + parts.rest +
                          " cannot be merged with the new ones, nor be finished under the old";
            change.command = "sluice run FILE --drop-state " + id;
            return true;
        }
        if (parts.section == "reduce.*.values") {
            judge_value(change, id, from);
            return true;
        }
        change.verdict = Verdict::live;
        change.kept = "all state of " + id;
        if (parts.rest == "filter" || parts.rest == "null_key") {
            change.kept +=
                "; windows that are open keep what they hold, records from then on "
                "follow the new text";
        }
        return true;
    }

    bool judge_gone(Change& change, const KeyParts& parts) const {
        const std::string heir = heir_of(parts.id);
        if (!heir.empty()) {
            // Said where the new id stands, but for what it does not have any more.
            if (setting(after_, heir, parts.rest).empty()) {
                change.key = "reduce." + heir + "." + parts.rest;
                change.verdict = Verdict::live;
                change.kept = "all state of " + parts.id;
                if (parts.section == "reduce.*.values") {
                    judge_value(change, heir, parts.id);
                }
                return true;
            }
            return false;
        }
        if (parts.rest != "window") {
            return false;
        }
        change.key = "reduce." + parts.id;
        change.before = "[reduce." + parts.id + "]";
        // It may have been renamed, or taken out for a moment: what goes is said first.
        change.verdict =
            decisions_.drop_state.contains(parts.id) ? Verdict::migrates : Verdict::breaks;
        change.kept = "what was written, and what others hold";
        change.lost = "open windows of " + parts.id;
        change.command = "sluice run FILE --drop-state " + parts.id +
                         ", or, if it has another name now, --rename " + parts.id + "=NEW";
        return true;
    }

    void judge_value(Change& change, const std::string& id, const std::string& from) const {
        const auto at = std::ranges::find(to_.reductions, id, &Reduction::id);
        const ReductionEdit& edit =
            edit_.reductions[static_cast<std::size_t>(at - to_.reductions.begin())];
        change.kept = "every other value of " + id;
        if (change.after.empty()) {
            change.verdict = Verdict::migrates;
            change.lost = "this value";
            return;
        }
        const std::string name = change.key.substr(change.key.rfind('.') + 1);
        const auto value = std::ranges::find(at->values, name, &ResultValue::name);
        const bool grows = std::ranges::any_of(
            value->program.calls, [&](std::uint32_t call) { return edit.calls[call] < 0; });
        if (edit.from.empty() || edit.dropped || !grows) {
            change.verdict = Verdict::live;
            change.kept = "all state of " + id + ": it is computed from what is there";
            if (edit.dropped) {
                change.kept = "nothing of " + from + ", see its key, window or time";
            }
            return;
        }
        change.verdict = Verdict::starts_empty;
        change.kept += "; complete = 0 until its first whole window";
        if (!change.before.empty()) {
            change.lost = "what was computed by the old text, in windows that are open";
        }
    }

    const Pipeline& from_;
    const Pipeline& to_;
    const Decisions& decisions_;
    Settings before_;
    Settings after_;
    Edit edit_;
};

}  // namespace

std::string_view name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::live:
            return "live";
        case Verdict::restart:
            return "restart";
        case Verdict::starts_empty:
            return "new, starts empty";
        case Verdict::migrates:
            return "migrates";
        case Verdict::breaks:
            return "breaks state";
    }
    return "";
}

bool Edit::breaks() const {
    return std::ranges::any_of(
        changes, [](const Change& change) { return change.verdict == Verdict::breaks; });
}

bool Edit::needs_restart() const {
    return std::ranges::any_of(
        changes, [](const Change& change) { return change.verdict == Verdict::restart; });
}

std::map<std::string, std::string> effective_settings(const Pipeline& pipeline) {
    Settings settings;
    add_recorded(pipeline, settings);
    add_unrecorded(pipeline, settings);
    return settings;
}

Edit compare(const Pipeline& from, const Pipeline& to, const Decisions& decisions,
             const std::map<std::string, std::string>& before) {
    return Comparison(from, to, decisions, before).compare();
}

std::optional<Verdict> verdict_of(std::string_view section, std::string_view key) {
    for (const bool any : {false, true}) {
        for (const Rule& rule : kRules) {
            if (rule.section == section && rule.key == (any ? "*" : key)) {
                return rule.verdict;
            }
        }
    }
    return std::nullopt;
}

std::string refusal(const Edit& edit) {
    std::string text;
    for (const Change& change : edit.changes) {
        if (change.verdict == Verdict::breaks) {
            text += (text.empty() ? "" : "; ") + change.key +
                    (change.after.empty()
                         ? " is gone"
                         : " changed from `" + change.before + "` to `" + change.after + "`") +
                    ": " + change.lost + "; " + change.command;
        }
    }
    return text;
}

}  // namespace sluice::config
