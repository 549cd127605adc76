// The `write` templates: Redis commands whose words have places for key fields, values and window
// bounds.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

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
};

enum class PlaceFormat : std::uint8_t { plain, rfc3339, seconds, percent_encoded };

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

}  // namespace sluice::config
