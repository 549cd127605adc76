// Text to tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression/program.h"

namespace sluice::config::expression {

enum class TokenKind : std::uint8_t { end, name, number, text, symbol };

struct Token {
    TokenKind kind = TokenKind::end;
    std::size_t column = 0;
    std::size_t length = 0;
    std::string_view spelled;  // as written; views into the expression
    std::string text;          // of a text: its bytes, escapes resolved
};

// The last token is always `end`.
Compiled<std::vector<Token>> tokenise(std::string_view text);

bool is_plain_name(std::string_view name);  // can be written without quotes
bool is_keyword(std::string_view name);

}  // namespace sluice::config::expression
