#include "config/inputs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::config {
namespace {

using nlohmann::json;

const char* name_of(TimestampUnit unit) {
    switch (unit) {
        case TimestampUnit::s:
            return "s";
        case TimestampUnit::ms:
            return "ms";
        case TimestampUnit::us:
            return "us";
        case TimestampUnit::ns:
            return "ns";
        case TimestampUnit::rfc3339:
            return "rfc3339";
    }
    return "";
}

template <class T>
json or_none(const std::optional<T>& value) {
    return value ? json(*value) : json("none");
}

json source_inputs(const Source& source, const InputTexts& texts) {
    std::vector<std::string> topics = source.topics;
    std::ranges::sort(topics);
    json inputs = {{"topics", topics},
                   {"partitions", source.partitions},
                   {"format", "json"},
                   {"timestamp", source.timestamp_from_kafka ? "kafka" : texts.timestamp},
                   {"out_of_order_ms", source.out_of_order_ms},
                   {"idle_after_ms", or_none(source.idle_after_ms)},
                   {"max_future_skew_ms", or_none(source.max_future_skew_ms)},
                   {"max_bytes", source.max_bytes},
                   {"max_depth", source.max_depth}};
    if (!source.timestamp_from_kafka) {
        inputs["timestamp_unit"] = name_of(source.timestamp_unit);
    }
    return inputs;
}

json step_inputs(const InputTexts::Step& step) {
    if (step.set.empty()) {
        return {{"filter", step.filter}};
    }
    json set = json::object();
    for (const auto& [path, expression] : step.set) {
        set[path] = expression;
    }
    return {{"set", set}};
}

json reduction_inputs(const Reduction& reduction, const InputTexts::Reduction& texts) {
    json key = json::array();
    for (std::size_t i = 0; i < reduction.key.size(); ++i) {
        key.push_back({reduction.key[i].name, texts.key[i]});
    }
    // The order of the values is the order of the fields in the default template, and so of the
    // commands, but not of what is in Redis afterwards; still it is kept, as calls are numbered by
    // it.
    json values = json::array();
    for (const ResultValue& value : reduction.values) {
        values.push_back({value.name, value.text});
    }
    return {{"filter", texts.filter},
            {"key", key},
            {"window", {{"tumbling_ms", reduction.window_ms}, {"offset_ms", reduction.offset_ms}}},
            {"time", reduction.time == TimeKind::event ? "event" : "processing"},
            {"allowed_lateness_ms", reduction.allowed_lateness_ms},
            {"values", values},
            {"write", texts.write},
            {"ttl_ms", or_none(reduction.ttl_ms)},
            {"ttl_from", reduction.ttl_from == TtlFrom::write ? "write" : "window"},
            {"null_key", reduction.null_key == NullKey::drop ? "drop" : "keep"},
            {"suppress_incomplete", reduction.suppress_incomplete}};
}

// One setting per line, so that a difference between two of them can be shown to a person.
std::string print(const json& inputs) {
    return inputs.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string canonical_inputs(const Pipeline& pipeline, const InputTexts& texts) {
    json steps = json::array();
    for (const InputTexts::Step& step : texts.steps) {
        steps.push_back(step_inputs(step));
    }
    json reductions = json::object();
    for (std::size_t i = 0; i < pipeline.reductions.size(); ++i) {
        reductions[pipeline.reductions[i].id] =
            reduction_inputs(pipeline.reductions[i], texts.reductions[i]);
    }
    const json inputs = {{"version", 1},
                         {"name", pipeline.name},
                         {"source", source_inputs(pipeline.source, texts)},
                         {"steps", steps},
                         {"reductions", reductions}};
    return print(inputs);
}

std::string inputs_under(std::string_view name, std::string_view text) {
    json inputs = json::parse(text, nullptr, false);
    if (!inputs.is_object()) {
        return std::string(text);
    }
    inputs["name"] = name;
    return print(inputs);
}

}  // namespace sluice::config
