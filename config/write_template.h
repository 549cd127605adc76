// The `write` templates: Redis commands whose words have places for key fields, values and window
// bounds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/expression/program.h"

namespace sluice::config {

enum class PlaceKind : std::uint8_t {
    key_part,  // `index` into Reduction::key
    value,     // `index` into Reduction::values
    pipeline,
    reduce,
    window_start,
    window_end,
    final,
    complete,
    rev,
    share,  // in names only: it is a literal by the time that a command is parsed
};

enum class PlaceFormat : std::uint8_t {
    plain,
    rfc3339,          // window bounds: 2024-05-01T12:00:15Z, with milliseconds where there are any
    seconds,          // window bounds: whole seconds since the epoch, floored
    percent_encoded,  // `:enc`: all but letters, digits, - _ . ~
    separator_encoded,  // the default layout's key parts: only `:` and `%`
};

struct Place {
    PlaceKind kind = PlaceKind::pipeline;
    std::uint32_t index = 0;
    PlaceFormat format = PlaceFormat::plain;
    bool operator==(const Place&) const = default;
};

// Literal text or a place. A word is split off before anything is substituted, so data cannot
// inject a command.
using Piece = std::variant<std::string, Place>;
using Word = std::vector<Piece>;

struct CommandTemplate {
    std::vector<Word> words;               // words[0] is the command's name, literal
    std::vector<std::uint32_t> key_words;  // which words are Redis keys (they get the TTL)
    bool idempotent = true;                // a second execution changes nothing
    bool operator==(const CommandTemplate&) const = default;
};

// What a template of one reduction may name.
struct TemplateNames {
    std::vector<std::string> key;     // of Reduction::key, in order
    std::vector<std::string> values;  // of Reduction::values, in order
    bool windowed = true;             // false: `window.start` and `window.end` are refused
    std::string share = "all";        // what `{share}` is: Source::partitions
};

// Parses one command, for instance `HSET spend:{user}:{window.start} clicks {clicks}`.
//
// Words are separated by blanks; a part in '…' is taken as it is, blanks included, but for places
// and doubled braces, and '' inside it is one quote. `{{` and `}}` are braces, `{name}` and
// `{name:format}` places. The command must be one that Sluice knows, with as many words as it
// needs. Errors carry byte columns of `text`.
Compiled<CommandTemplate> parse_command(std::string_view text, const TemplateNames& names);

// What is written where the file has no `write`: HSET {pipeline}:{reduce}:{KEY…}:{window.start}
// with every value, then final, complete, rev. Several key parts have `:` and `%` percent-encoded.
CommandTemplate default_command(const TemplateNames& names);

// Whether some key of the command depends on the window. One without is overwritten by the next
// window.
bool names_window(const CommandTemplate& command);

// Whether command `a` of reduction `reduce_a` could write a Redis key that command `b` of reduction
// `reduce_b` writes too, for some data. Places other than {pipeline} and {reduce} may hold
// anything that they can print.
bool may_share_key(const CommandTemplate& a, std::string_view reduce_a, const CommandTemplate& b,
                   std::string_view reduce_b, std::string_view pipeline);

}  // namespace sluice::config
