#include "state/tools/shapes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::state {
namespace {

// "v1;count();sum(a)": the calls, in the order of the rows' accumulators.
std::vector<std::string> calls_of(std::string_view schema) {
    std::vector<std::string> calls;
    bool quoted = false;
    for (std::size_t at = 0; at < schema.size(); ++at) {
        const char c = schema[at];
        if (c == ';' && !quoted) {
            calls.emplace_back();
            continue;
        }
        quoted = c == '\'' ? !quoted : quoted;
        if (!calls.empty()) {
            calls.back().push_back(c);
            if (c == '\\' && quoted && at + 1 < schema.size()) {
                calls.back().push_back(schema[++at]);
            }
        }
    }
    return calls;
}

// Throws what nlohmann throws.
void read_reduction(const nlohmann::json& inputs, std::string_view schema, Shape& shape) {
    shape.window_ms = inputs.at("window").at("tumbling_ms").get<model::DurationMs>();
    shape.offset_ms = inputs.at("window").at("offset_ms").get<model::DurationMs>();
    shape.key_parts = inputs.at("key").size();
    config::Reduction reduction;
    reduction.id = shape.id;
    reduction.window_ms = *shape.window_ms;
    config::Fields fields;
    // The rows' own order first: values find their calls by text. A value whose calls are in no row
    // yet makes the results unknown, and no guess is made.
    const auto in_rows = calls_of(schema);
    for (const auto& call : in_rows) {
        if (!config::compile_value(call, fields, reduction.calls)) {
            return;
        }
    }
    for (const auto& value : inputs.at("values")) {
        auto text = value.at(1).get<std::string>();
        auto program = config::compile_value(text, fields, reduction.calls);
        if (!program) {
            return;
        }
        reduction.values.push_back(
            {value.at(0).get<std::string>(), std::move(*program), std::move(text)});
    }
    if (reduction.calls.size() != in_rows.size()) {
        return;
    }
    for (const auto& call : reduction.calls) {
        shape.kinds.push_back(call.kind);
    }
    shape.reduction = std::move(reduction);
}

}  // namespace

Shapes::Shapes(const CheckpointMeta& meta, std::string_view inputs_text) {
    const auto inputs = nlohmann::json::parse(inputs_text, nullptr, false);
    for (const auto& known : meta.reductions) {
        Shape shape;
        shape.id = known.id;
        shape.number = known.number;
        try {
            read_reduction(inputs.at("reductions").at(known.id), known.schema, shape);
        } catch (const nlohmann::json::exception&) {
            shape.reduction.reset();  // not known: rows say what they hold, not what it means
        }
        shapes_.push_back(std::move(shape));
    }
    std::sort(shapes_.begin(), shapes_.end(),
              [](const Shape& a, const Shape& b) { return a.number < b.number; });
}

bool Shape::ends_at(model::EventTime end) const {
    constexpr model::EventTime kMost = model::kAfterAll / 2;
    if (!window_ms) {
        return true;
    }
    return *window_ms > 0 && end > -kMost && end < kMost && offset_ms > -kMost &&
           offset_ms < kMost && (end - offset_ms) % *window_ms == 0;
}

const Shape* Shapes::by_number(std::uint32_t number) const {
    const auto it =
        std::lower_bound(shapes_.begin(), shapes_.end(), number,
                         [](const Shape& shape, std::uint32_t n) { return shape.number < n; });
    return it == shapes_.end() || it->number != number ? nullptr : &*it;
}

const Shape* Shapes::by_id(std::string_view id) const {
    const auto it = std::find_if(shapes_.begin(), shapes_.end(),
                                 [&](const Shape& shape) { return shape.id == id; });
    return it == shapes_.end() ? nullptr : &*it;
}

}  // namespace sluice::state
