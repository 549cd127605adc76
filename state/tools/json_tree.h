// JSON as a tree that keeps every number as it is written: a decimal must not pass through a
// double.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "state/model/result.h"

namespace sluice::state {

// A plain value.
struct JsonTree {
    enum class Kind : std::uint8_t { null, boolean, number, text, list, object };
    Kind kind = Kind::null;
    bool boolean = false;
    std::string text;  // a text, or a number's digits
    std::vector<JsonTree> list;
    std::vector<std::pair<std::string, JsonTree>> members;  // in their order

    bool is(Kind k) const { return kind == k; }
    const JsonTree* member(std::string_view name) const;  // null: not there
};

// Errors: invalid: not JSON, deeper than 32, or an object that has a member twice.
model::Result<JsonTree> parse_json(std::string_view text);

// A JSON string of `text`, in ASCII, so that nothing of it reaches a terminal unescaped. What is no
// UTF-8 becomes {"base64":"…"}.
void append_json_text(std::string& out, std::string_view text);

model::Result<std::string> from_base64(std::string_view text);

}  // namespace sluice::state
