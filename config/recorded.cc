#include "config/recorded.h"

#include <nlohmann/json.hpp>
#include <string>

#include "config/inputs.h"
#include "config/load.h"

namespace sluice::config {
namespace {

using nlohmann::json;

// A basic string of TOML: what JSON escapes, and DEL, which TOML does not take as it is.
std::string in_quotes(const json& text) {
    std::string out;
    for (const char c : json(text.get<std::string>()).dump()) {
        if (c == '\x7f') {
            out += "\\u007F";
        } else {
            out += c;
        }
    }
    return out;
}

std::string duration(const json& ms) {
    return ms.is_string() ? in_quotes(ms) : "\"" + std::to_string(ms.get<std::int64_t>()) + "ms\"";
}

std::string list(const json& texts) {
    std::string out;
    for (const json& text : texts) {
        out += (out.empty() ? "" : ", ") + in_quotes(text);
    }
    return "[" + out + "]";
}

std::string source_text(const json& source) {
    std::string text = "[source]\nbrokers = \"none:1\"\nstart = \"earliest\"\n";
    text += "topics = " + list(source.at("topics")) + "\n";
    text += "partitions = " + in_quotes(source.at("partitions")) + "\n";
    text += "format = " + in_quotes(source.at("format")) + "\n";
    text += "timestamp = " + in_quotes(source.at("timestamp")) + "\n";
    if (source.contains("timestamp_unit")) {
        text += "timestamp_unit = " + in_quotes(source.at("timestamp_unit")) + "\n";
    }
    text += "out_of_order = " + duration(source.at("out_of_order_ms")) + "\n";
    text += "idle_after = " + duration(source.at("idle_after_ms")) + "\n";
    text += "max_future_skew = " + duration(source.at("max_future_skew_ms")) + "\n";
    text += "max_bytes = " + std::to_string(source.at("max_bytes").get<std::uint64_t>()) + "\n";
    text += "max_depth = " + std::to_string(source.at("max_depth").get<std::uint32_t>()) + "\n";
    return text;
}

std::string step_text(const json& step) {
    if (step.contains("filter")) {
        return "[[step]]\nfilter = " + in_quotes(step.at("filter")) + "\n";
    }
    std::string text = "[[step]]\n[step.set]\n";
    for (const auto& [path, expression] : step.at("set").items()) {
        text += in_quotes(path) + " = " + in_quotes(expression) + "\n";
    }
    return text;
}

std::string reduction_text(const std::string& id, const json& reduction) {
    std::string text = "[reduce." + id + "]\n";
    if (!reduction.at("filter").get<std::string>().empty()) {
        text += "filter = " + in_quotes(reduction.at("filter")) + "\n";
    }
    std::string key;
    for (const json& part : reduction.at("key")) {
        key += (key.empty() ? "{ " : ", { ") + in_quotes(part.at(0)) + " = " +
               in_quotes(part.at(1)) + " }";
    }
    text += "key = [" + key + "]\n";
    const json& window = reduction.at("window");
    text += "window = { tumbling = " + duration(window.at("tumbling_ms")) +
            ", offset = " + duration(window.at("offset_ms")) + " }\n";
    text += "time = " + in_quotes(reduction.at("time")) + "\n";
    text += "allowed_lateness = " + duration(reduction.at("allowed_lateness_ms")) + "\n";
    text += "ttl = " + duration(reduction.at("ttl_ms")) + "\n";
    text += "ttl_from = " + in_quotes(reduction.at("ttl_from")) + "\n";
    text += "null_key = " + in_quotes(reduction.at("null_key")) + "\n";
    text += std::string("suppress_incomplete = ") +
            (reduction.at("suppress_incomplete").get<bool>() ? "true" : "false") + "\n";
    if (!reduction.at("write").empty()) {
        text += "write = " + list(reduction.at("write")) + "\n";
    }
    text += "[reduce." + id + ".values]\n";
    for (const json& value : reduction.at("values")) {
        text += in_quotes(value.at(0)) + " = " + in_quotes(value.at(1)) + "\n";
    }
    return text;
}

std::string file_text(const json& inputs) {
    std::string text = "name = " + in_quotes(inputs.at("name")) + "\n";
    text += source_text(inputs.at("source"));
    for (const json& step : inputs.at("steps")) {
        text += step_text(step);
    }
    for (const auto& [id, reduction] : inputs.at("reductions").items()) {
        text += reduction_text(id, reduction);
    }
    return text + "[sink]\nredis = \"redis://none:1\"\n[state]\ndirectory = \"/none\"\n";
}

// What the inputs leave out.
void take_over(const Pipeline& current, Pipeline& pipeline) {
    pipeline.path = current.path;
    pipeline.config_hash = current.config_hash;
    pipeline.source.brokers = current.source.brokers;
    pipeline.source.start = current.source.start;
    pipeline.source.on_error = current.source.on_error;
    pipeline.source.on_null = current.source.on_null;
    pipeline.source.username = current.source.username;
    pipeline.source.password = current.source.password;
    pipeline.source.rdkafka = current.source.rdkafka;
    pipeline.sink = current.sink;
    pipeline.dead_letter = current.dead_letter;
    pipeline.state = current.state;
    pipeline.http = current.http;
    pipeline.workers = current.workers;
    pipeline.log = current.log;
}

}  // namespace

model::Result<Pipeline> recorded_pipeline(std::string_view inputs, const Pipeline& current) {
    std::string text;
    const std::string wanted = inputs_under(current.name, inputs);
    try {
        const json parsed = json::parse(wanted);
        if (parsed.at("version").get<int>() != 1) {
            return model::invalid("the recorded inputs were written by another release (version " +
                                  parsed.at("version").dump() + ")");
        }
        text = file_text(parsed);
    } catch (const json::exception& error) {
        return model::invalid(std::string("the recorded inputs cannot be read: ") + error.what());
    }
    Environment environment;
    environment.variable = [](std::string_view) { return std::nullopt; };
    environment.memory_limit_bytes = 1ull << 30;
    Loaded loaded = load_text(text, "recorded inputs", {}, environment);
    if (!loaded.pipeline || loaded.pipeline->inputs != wanted) {
        return model::invalid(
            "this release cannot run the recorded inputs" +
            (loaded.pipeline ? std::string() : ": " + to_text(loaded.diagnostics)));
    }
    Pipeline pipeline = std::move(*loaded.pipeline);
    take_over(current, pipeline);
    return pipeline;
}

}  // namespace sluice::config
