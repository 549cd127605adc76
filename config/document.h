// A TOML text as a tree of values that know where they stand.
//
// The only place that knows the TOML library: everything else reads TomlNodes. After a syntax error
// the statement around it is left out and parsing goes on, so that all errors of a file are found
// in one go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/diagnostic.h"

namespace sluice::config {

struct TomlNode {
    enum class Kind : std::uint8_t { table, array, text, integer, real, boolean, time };
    Kind kind = Kind::table;
    bool inline_table = false;  // written as { … }
    bool tables = false;        // an array written as [[…]]
    Spot key;                   // of the name; for [a.b] of `b`; of an array's element: as `value`
    Spot value;                 // of the value; for a table written with a header: of the header
    std::string text;           // kind text: the content; other scalars: as written
    bool plain = false;         // a text without quotes (from the command line)
    std::int64_t integer = 0;
    double real = 0;
    bool boolean = false;
    std::vector<std::pair<std::string, TomlNode>> members;  // kind table, in the order of the text
    std::vector<TomlNode> items;                            // kind array

    const TomlNode* find(std::string_view name) const;
};

// What a person reads as the kind: "text", "a number".
std::string_view kind_name(TomlNode::Kind kind);

struct SyntaxError {
    Spot spot;
    std::string message;
    std::string hint;
};

struct Document {
    TomlNode root;
    std::vector<SyntaxError> errors;
    std::vector<std::string> lost_keys;  // keys of statements that were left out, last segment
    bool lost_header = false;            // a [header] was left out: tables may seem to be missing
};

// The name of a table that stands in for a header that could not be read.
inline constexpr std::string_view kLostHeader = "\x01lost";

Document parse_document(std::string_view text, std::uint32_t origin);

// One `--set KEY=VALUE`: the value is TOML where it can be read as such, else it is text.
Document parse_override(std::string_view text, std::uint32_t origin);

// Puts the values of `over` into `base`: tables are joined, everything else and inline tables
// replace.
void apply_override(TomlNode& base, const TomlNode& over);

// Where byte `offset` of the content of text node `node` stands in `source`, the text that it was
// parsed from: quotes, escapes and line breaks are counted. `length` is in bytes of the content.
Spot spot_in_text(const TomlNode& node, std::string_view source, std::size_t offset,
                  std::size_t length);

// Line `line` (from 1) of a text, without its end.
std::string_view line_of(std::string_view source, std::uint32_t line);

}  // namespace sluice::config
