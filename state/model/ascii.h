// Classes of ASCII characters, the same in every locale. Bytes of 128 and more are in none of them.
#pragma once

namespace sluice::model {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_letter(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }

}  // namespace sluice::model
