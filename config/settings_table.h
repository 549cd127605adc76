// The one table of settings: what every key of a configuration file is called, holds and means.
//
// The loader reads it to tell known keys from unknown ones, to parse and to check ranges; the
// reference page and editors' schemas are printed from it. A key that the contract names but this
// version does not build has an entry too, so that it is refused by name and never ignored.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::config {

enum class SettingType : std::uint8_t {
    text,
    choice,   // one of `values`, separated by '|'
    integer,  // from `least` to `greatest`
    boolean,
    duration,  // ms, from `least` to `greatest`
    size,      // bytes, from `least` to `greatest`
    special,   // has a form of its own, told by `values`
    table,     // holds keys of its own
};

struct Setting {
    std::string_view section =
        {};                     // "" top level, "source", "step", "reduce.*", "reduce.*.window", …
    std::string_view key = {};  // "*": any name
    SettingType type = SettingType::text;
    bool required = false;
    bool none = false;               // "none" is a value as well
    std::string_view standard = {};  // the default as one would write it; empty: there is none
    std::string_view values = {};    // choices or forms
    std::int64_t least = 0;
    std::int64_t greatest = INT64_MAX;
    std::string_view available = {};  // choices that this version has, '|' between; empty: all
    bool later = false;               // named by the contract, not in this version
    std::string_view meaning = {};
};

std::span<const Setting> settings_table();

// The entry for `key` in `section`, or null.
const Setting* find_setting(std::string_view section, std::string_view key);

}  // namespace sluice::config
