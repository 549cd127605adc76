#include "config/reader.h"

#include <algorithm>

#include "config/units.h"

namespace sluice::config {
namespace {

std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> parts;
    while (true) {
        const std::size_t bar = list.find('|');
        parts.emplace_back(list.substr(0, bar));
        if (bar == std::string_view::npos) {
            return parts;
        }
        list.remove_prefix(bar + 1);
    }
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
    return std::ranges::find(list, item) != list.end();
}

std::string join(const std::vector<std::string>& parts, std::string_view quote) {
    std::string text;
    for (const std::string& part : parts) {
        text += (text.empty() ? "" : ", ") + std::string(quote) + part + std::string(quote);
    }
    return text;
}

std::string did_you_mean(std::string_view name) { return "did you mean " + ticked(name) + "?"; }

// What to write instead of an unknown key.
std::string hint_for_unknown(std::string_view pattern, std::string_view key) {
    std::vector<std::string> valid;
    std::vector<std::string> all;
    for (const Setting& setting : settings_table()) {
        if (setting.section == pattern && setting.key != "*") {
            (setting.later ? all : valid).emplace_back(setting.key);
        }
    }
    std::string near = nearest(key, valid);
    if (near.empty()) {
        near = nearest(key, all);
    }
    if (!near.empty()) {
        return did_you_mean(near);
    }
    for (const Setting& setting : settings_table()) {
        if (setting.key == key && setting.section != pattern && !setting.later) {
            std::string section(setting.section);
            if (const std::size_t star = section.find('*'); star != std::string::npos) {
                section.replace(star, 1, "ID");
            }
            return ticked(key) + " belongs " + place_of(section);
        }
    }
    return "valid here: " + join(valid, "");
}

}  // namespace

void Reading::error(const Spot& spot, std::string message, std::string hint) {
    problems.push_back({spot, Severity::error, std::move(message), std::move(hint)});
}

void Reading::warning(const Spot& spot, std::string message, std::string hint) {
    problems.push_back({spot, Severity::warning, std::move(message), std::move(hint)});
}

Spot Reading::spot_in(const TomlNode& node, std::size_t offset, std::size_t length) const {
    return spot_in_text(node, sources[node.value.origin], offset, length);
}

std::optional<std::string> text_of(const TomlNode& node) {
    if (node.kind == TomlNode::Kind::text) {
        return node.text;
    }
    const bool scalar = node.kind != TomlNode::Kind::table && node.kind != TomlNode::Kind::array;
    return scalar && node.value.origin > 0 ? std::optional(node.text) : std::nullopt;
}

std::string place_of(std::string_view path) {
    return path.empty() ? "at the top level" : "in " + label_of(path);
}

std::string label_of(std::string_view path) {
    if (path == "step") {
        return "[[step]]";
    }
    return "[" + std::string(path) + "]";
}

Section::Section(Reading& reading, const TomlNode* node, std::string pattern, std::string path,
                 Spot header)
    : reading_(reading),
      node_(node),
      pattern_(std::move(pattern)),
      path_(std::move(path)),
      header_(header) {
    if (node_ != nullptr && node_->kind != TomlNode::Kind::table) {
        reading_.error(node_->value, label_of(path_) + " must be a table, not " +
                                         std::string(kind_name(node_->kind)));
        node_ = nullptr;
    }
    if (node_ == nullptr) {
        return;
    }
    for (const auto& [key, member] : node_->members) {
        if (key.starts_with(kLostHeader)) {
            continue;
        }
        reading_.places.emplace(path_.empty() ? key : path_ + "." + key, member.key);
        const Setting* setting = find_setting(pattern_, key);
        if (setting == nullptr) {
            const bool is_table = path_.empty() && member.kind == TomlNode::Kind::table;
            reading_.error(member.key,
                           "unknown " + (is_table ? "table [" + key + "]"
                                                  : "key " + ticked(key) + " " + place_of(path_)),
                           hint_for_unknown(pattern_, key));
        } else if (setting->later) {
            reading_.error(member.key, (path_.empty() ? "[" + key + "]" : ticked(key)) +
                                           " is not available in this version");
        }
    }
}

const std::vector<std::pair<std::string, TomlNode>>& Section::members() const {
    static const std::vector<std::pair<std::string, TomlNode>> kNone;
    return node_ == nullptr ? kNone : node_->members;
}

bool Section::has(std::string_view key) const {
    return node_ != nullptr && node_->find(key) != nullptr;
}

Spot Section::value_spot(std::string_view key) const {
    const TomlNode* node = node_ == nullptr ? nullptr : node_->find(key);
    return node == nullptr ? header_ : node->value;
}

bool Section::meant(std::string_view key) const {
    if (reading_.lost_header ||
        std::ranges::find(reading_.lost_keys, key) != reading_.lost_keys.end()) {
        return true;
    }
    return std::ranges::any_of(members(), [&](const auto& member) {
        return find_setting(pattern_, member.first) == nullptr &&
               hint_for_unknown(pattern_, member.first) == did_you_mean(key);
    });
}

Section::Found Section::look(std::string_view key) {
    Found found;
    found.setting = find_setting(pattern_, key);
    found.node = node_ == nullptr ? nullptr : node_->find(key);
    if (found.node == nullptr && found.setting->required && !meant(key)) {
        const bool table = path_.empty() && found.setting->type == SettingType::table;
        reading_.error(
            header_,
            table ? "the table [" + std::string(key) + "] is missing"
                  : ticked(key) + " is missing " + place_of(path_),
            found.setting->values.empty() ? "" : "it holds: " + std::string(found.setting->values));
    }
    return found;
}

const TomlNode* Section::find(std::string_view key) {
    const Found found = look(key);
    return found.setting->later ? nullptr : found.node;
}

Section Section::table(std::string_view key) {
    const TomlNode* node = find(key);
    const std::string name(key);
    const std::string pattern = pattern_.empty() ? name : pattern_ + "." + name;
    const std::string path = path_.empty() ? name : path_ + "." + name;
    return Section(reading_, node, pattern, path, node == nullptr ? header_ : node->value);
}

void Section::wrong(const TomlNode& node, const Setting& setting, const std::string& why) {
    std::string hint;
    if (!setting.standard.empty()) {
        hint = "the default is " +
               (setting.type == SettingType::integer || setting.type == SettingType::boolean
                    ? std::string(setting.standard)
                    : "\"" + std::string(setting.standard) + "\"");
    }
    reading_.error(node.value, ticked(setting.key) + ": " + why, std::move(hint));
}

std::optional<std::string> Section::text(std::string_view key) {
    const Found found = look(key);
    if (found.node != nullptr) {
        if (auto text = text_of(*found.node)) {
            return text;
        }
        reading_.error(
            found.node->value,
            ticked(key) + " must be text in quotes, not " +
                std::string(kind_name(found.node->kind)),
            found.setting->values.empty() ? "" : "it holds: " + std::string(found.setting->values));
        return std::nullopt;
    }
    if (!found.setting->standard.empty()) {
        return std::string(found.setting->standard);
    }
    return std::nullopt;
}

std::string Section::choice(std::string_view key) {
    const Found found = look(key);
    const std::vector<std::string> values = split(found.setting->values);
    std::string standard(found.setting->standard);
    if (found.node == nullptr) {
        return standard;
    }
    const auto text = text_of(*found.node);
    if (!text || !contains(values, *text)) {
        const std::string near = text ? nearest(*text, std::span<const std::string>(values)) : "";
        reading_.error(found.node->value, ticked(key) + " must be one of " + join(values, "\""),
                       near.empty() ? "" : "did you mean \"" + near + "\"?");
        return standard;
    }
    if (!found.setting->available.empty() && !contains(split(found.setting->available), *text)) {
        reading_.error(found.node->value,
                       ticked(key) + " = \"" + *text + "\" is not available in this version",
                       "this version has " + join(split(found.setting->available), "\""));
        return standard;
    }
    return *text;
}

std::int64_t Section::integer(std::string_view key) {
    const Found found = look(key);
    const Setting& setting = *found.setting;
    std::int64_t standard = 0;
    for (const char digit : setting.standard) {
        standard = standard * 10 + (digit - '0');
    }
    if (found.node == nullptr) {
        return standard;
    }
    if (found.node->kind != TomlNode::Kind::integer) {
        wrong(*found.node, setting,
              "a whole number was expected" +
                  std::string(found.node->kind == TomlNode::Kind::text ? ", without quotes" : ""));
        return standard;
    }
    const std::int64_t value = found.node->integer;
    if (value < setting.least || value > setting.greatest) {
        wrong(*found.node, setting,
              "must be " + (setting.greatest == INT64_MAX
                                ? "at least " + std::to_string(setting.least)
                                : std::to_string(setting.least) + " to " +
                                      std::to_string(setting.greatest)));
        return standard;
    }
    if (!setting.available.empty() && std::to_string(value) != setting.available) {
        reading_.error(
            found.node->value,
            ticked(key) + " = " + std::to_string(value) + " is not available in this version",
            "this version has " + std::string(setting.available));
        return standard;
    }
    return value;
}

bool Section::boolean(std::string_view key) {
    const Found found = look(key);
    const bool standard = found.setting->standard == "true";
    if (found.node == nullptr) {
        return standard;
    }
    if (found.node->kind != TomlNode::Kind::boolean) {
        wrong(*found.node, *found.setting,
              "true or false was expected" +
                  std::string(found.node->kind == TomlNode::Kind::text ? ", without quotes" : ""));
        return standard;
    }
    return found.node->boolean;
}

std::optional<model::DurationMs> Section::duration(std::string_view key) {
    const Found found = look(key);
    const Setting& setting = *found.setting;
    std::optional<model::DurationMs> standard;
    if (!setting.standard.empty() && setting.standard != "none") {
        standard = *read_duration(setting.standard);
    }
    if (found.node == nullptr || setting.later) {
        return standard;
    }
    const TomlNode& node = *found.node;
    const auto text = text_of(node);
    if (!text) {
        reading_.error(node.value, ticked(key) + ": a duration such as \"15s\" was expected",
                       node.kind == TomlNode::Kind::integer
                           ? "write the unit, in quotes: \"" + node.text + "s\""
                           : "");
        return standard;
    }
    if (setting.none && *text == "none") {
        return std::nullopt;
    }
    const auto value = read_duration(*text);
    if (!value) {
        wrong(node, setting, value.error() + (setting.none ? "; or \"none\"" : ""));
        return standard;
    }
    if (*value < setting.least || *value > setting.greatest) {
        wrong(node, setting,
              "must be at least " + print_duration(setting.least) +
                  (setting.greatest == INT64_MAX
                       ? ""
                       : " and at most " + print_duration(setting.greatest)));
        return standard;
    }
    return *value;
}

std::optional<std::uint64_t> Section::size(std::string_view key) {
    const Found found = look(key);
    const Setting& setting = *found.setting;
    std::optional<std::uint64_t> standard;
    if (!setting.standard.empty() && setting.standard != "none") {
        standard = *read_size(setting.standard);
    }
    if (found.node == nullptr) {
        return standard;
    }
    const TomlNode& node = *found.node;
    std::optional<std::uint64_t> value;
    if (node.kind == TomlNode::Kind::integer) {
        if (node.integer >= 0) {
            value = static_cast<std::uint64_t>(node.integer);
        }
    } else if (const auto text = text_of(node)) {
        if (setting.none && *text == "none") {
            return std::nullopt;
        }
        const auto read = read_size(*text);
        if (!read) {
            wrong(node, setting, read.error() + (setting.none ? "; or \"none\"" : ""));
            return standard;
        }
        value = *read;
    }
    if (!value) {
        wrong(node, setting, "a size such as \"64MiB\" was expected");
        return standard;
    }
    if (*value < static_cast<std::uint64_t>(setting.least) ||
        *value > static_cast<std::uint64_t>(setting.greatest)) {
        wrong(node, setting,
              "must be at least " + print_size(static_cast<std::uint64_t>(setting.least)) +
                  " and at most " + print_size(static_cast<std::uint64_t>(setting.greatest)));
        return standard;
    }
    return value;
}

}  // namespace sluice::config
