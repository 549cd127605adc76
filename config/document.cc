#include "config/document.h"

#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <sstream>

namespace sluice::config {
namespace {

std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// The bytes of `line` before character number `column` (from 1).
std::size_t byte_of_column(std::string_view line, std::uint32_t column) {
    std::size_t byte = 0;
    std::uint32_t at = 1;
    while (byte < line.size()) {
        if ((static_cast<unsigned char>(line[byte]) & 0xC0) != 0x80) {
            if (at == column) {
                return byte;
            }
            ++at;
        }
        ++byte;
    }
    return line.size();
}

Spot to_spot(const toml::source_region& region, std::uint32_t origin) {
    Spot spot;
    spot.origin = origin;
    if (!region.begin) {
        return spot;  // line 1
    }
    spot.line = region.begin.line;
    spot.column = region.begin.column;
    if (region.end && region.end.line == region.begin.line &&
        region.end.column > region.begin.column) {
        spot.length = region.end.column - region.begin.column;
    }
    return spot;
}

std::string text_at(std::string_view source, const Spot& spot) {
    const std::string_view line = line_of(source, spot.line);
    const std::size_t begin = byte_of_column(line, spot.column);
    const std::size_t end = byte_of_column(line, spot.column + spot.length);
    return std::string(line.substr(begin, end - begin));
}

class Converter {
 public:
    Converter(std::string_view source, std::uint32_t origin) : source_(source), origin_(origin) {}

    TomlNode convert(const toml::node& from) const {
        TomlNode node;
        node.value = to_spot(from.source(), origin_);
        node.key = node.value;
        switch (from.type()) {
            case toml::node_type::table: {
                const toml::table& table = *from.as_table();
                node.kind = TomlNode::Kind::table;
                node.inline_table = table.is_inline();
                for (const auto& [key, value] : table) {
                    TomlNode member = convert(value);
                    member.key = to_spot(key.source(), origin_);
                    node.members.emplace_back(std::string(key.str()), std::move(member));
                }
                // The library sorts by name; the order of the file is what users mean.
                std::ranges::stable_sort(node.members, {}, [](const auto& member) {
                    return std::pair(member.second.key.line, member.second.key.column);
                });
                break;
            }
            case toml::node_type::array:
                node.kind = TomlNode::Kind::array;
                for (const toml::node& item : *from.as_array()) {
                    node.items.push_back(convert(item));
                }
                node.tables = !node.items.empty() &&
                              std::ranges::all_of(node.items, [](const TomlNode& item) {
                                  return item.kind == TomlNode::Kind::table && !item.inline_table;
                              });
                break;
            case toml::node_type::string:
                node.kind = TomlNode::Kind::text;
                node.text = from.as_string()->get();
                break;
            case toml::node_type::integer:
                node.kind = TomlNode::Kind::integer;
                node.integer = from.as_integer()->get();
                node.text = text_at(source_, node.value);
                break;
            case toml::node_type::floating_point:
                node.kind = TomlNode::Kind::real;
                node.real = from.as_floating_point()->get();
                node.text = text_at(source_, node.value);
                break;
            case toml::node_type::boolean:
                node.kind = TomlNode::Kind::boolean;
                node.boolean = from.as_boolean()->get();
                node.text = node.boolean ? "true" : "false";
                break;
            default:
                node.kind = TomlNode::Kind::time;
                node.text = text_at(source_, node.value);
                break;
        }
        return node;
    }

 private:
    std::string_view source_;
    std::uint32_t origin_;
};

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// [a.b] or [[a]], and nothing else but a comment.
bool is_header(std::string_view line) {
    line = trimmed(line.substr(0, line.find('#')));
    return line.starts_with('[') && line.ends_with(']') && line.find(',') == line.npos &&
           line.find_first_of("{}") == line.npos && line.size() > 2;
}

// Whether a line seems to begin a statement: a [header], or a key and '='.
bool begins_statement(std::string_view line) {
    line = trimmed(line);
    if (line.starts_with('[')) {
        return true;
    }
    std::size_t i = 0;
    while (i < line.size() && line[i] != '=') {
        const char c = line[i];
        if (c == '"' || c == '\'') {
            i = line.find(c, i + 1);
            if (i == std::string_view::npos) {
                return false;
            }
        } else if (!(c == '.' || c == '-' || c == '_' || c == ' ' || c == '\t' ||
                     (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) {
            return false;
        }
        ++i;
    }
    return i > 0 && i < line.size();
}

// Whether the statement that begins in line `from` goes on in line `to`: a list, an inline table or
// a text of several lines is not closed before it.
bool is_open(const std::vector<std::string>& lines, std::size_t from, std::size_t to) {
    int depth = 0;
    std::string_view quote;  // of the text that we are in
    for (std::size_t i = from; i < to; ++i) {
        std::string_view line = lines[i];
        while (!line.empty()) {
            if (!quote.empty()) {
                if (quote.front() == '"' && line.front() == '\\') {
                    line.remove_prefix(std::min<std::size_t>(2, line.size()));
                } else if (line.starts_with(quote)) {
                    line.remove_prefix(quote.size());
                    quote = {};
                } else {
                    line.remove_prefix(1);
                }
                continue;
            }
            if (line.front() == '#') {
                break;
            }
            for (const std::string_view opening : {"\"\"\"", "'''", "\"", "'"}) {
                if (quote.empty() && line.starts_with(opening)) {
                    quote = opening;
                }
            }
            depth += line.front() == '[' || line.front() == '{' ? 1 : 0;
            depth -= line.front() == ']' || line.front() == '}' ? 1 : 0;
            line.remove_prefix(std::max<std::size_t>(1, quote.size()));
        }
        if (quote.size() == 1) {
            quote = {};  // texts of one line end with it
        }
    }
    return depth > 0 || !quote.empty();
}

// The line in which the statement that goes on in line `at` begins: the nearest that is not closed
// before, or `at` itself.
std::size_t begin_of_statement(const std::vector<std::string>& lines, std::size_t at) {
    for (std::size_t from = at; from-- > 0;) {
        if (begins_statement(lines[from]) && is_open(lines, from, at)) {
            return from;
        }
    }
    return at;
}

// The first line behind the statement that begins in line `from`: behind what closes it, where that
// comes before the next [header], else before whatever seems to begin a statement.
std::size_t end_of_statement(const std::vector<std::string>& lines, std::size_t from) {
    std::size_t end = from + 1;
    while (end < lines.size() && is_open(lines, from, end) && !is_header(lines[end])) {
        ++end;
    }
    if (is_open(lines, from, end)) {
        end = from + 1;
    }
    while (end < lines.size() && !begins_statement(lines[end])) {
        ++end;
    }
    return end;
}

// The last segment of the key that a statement begins with, as written.
std::string key_of(std::string_view line) {
    std::string_view key = trimmed(line.substr(0, line.find('=')));
    if (const std::size_t dot = key.rfind('.'); dot != std::string_view::npos) {
        key = trimmed(key.substr(dot + 1));
    }
    if (key.size() >= 2 && (key.front() == '"' || key.front() == '\'')) {
        key = key.substr(1, key.size() - 2);
    }
    return std::string(key);
}

// The library's sentence, cut to what a user needs.
std::string tidy(std::string_view message) {
    constexpr std::string_view kPrefix = "Error while parsing ";
    if (message.starts_with(kPrefix)) {
        message.remove_prefix(kPrefix.size());
    }
    return "not TOML: " + std::string(message);
}

std::vector<std::string> split_lines(std::string_view text) {
    std::vector<std::string> lines;
    while (true) {
        const std::size_t end = text.find('\n');
        lines.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) {
            return lines;
        }
        text.remove_prefix(end + 1);
    }
}

}  // namespace

const TomlNode* TomlNode::find(std::string_view name) const {
    for (const auto& [name_of_member, node] : members) {
        if (name_of_member == name) {
            return &node;
        }
    }
    return nullptr;
}

std::string_view kind_name(TomlNode::Kind kind) {
    switch (kind) {
        case TomlNode::Kind::table:
            return "a table";
        case TomlNode::Kind::array:
            return "a list";
        case TomlNode::Kind::text:
            return "text";
        case TomlNode::Kind::integer:
        case TomlNode::Kind::real:
            return "a number";
        case TomlNode::Kind::boolean:
            return "true or false";
        case TomlNode::Kind::time:
            return "a date or time";
    }
    return "";
}

Document parse_document(std::string_view text, std::uint32_t origin) {
    constexpr std::size_t kMostErrors = 50;
    Document document;
    std::string source(text);
    while (true) {
        try {
            const toml::table root = toml::parse(std::string_view(source));
            document.root = Converter(text, origin).convert(root);
            document.root.value = Spot{origin, 1, 1, 1};
            document.root.key = document.root.value;
            return document;
        } catch (const toml::parse_error& error) {
            SyntaxError syntax;
            syntax.spot = to_spot(error.source(), origin);
            syntax.message = tidy(error.description());

            std::vector<std::string> lines = split_lines(source);
            const std::size_t reported = std::min<std::size_t>(syntax.spot.line, lines.size()) - 1;
            const std::size_t at = begin_of_statement(lines, reported);
            const bool behind_last =
                trimmed(lines[reported]).empty() || reported + 1 == lines.size();
            if (at < reported && (behind_last || begins_statement(lines[reported]))) {
                // The library stumbles where the next statement begins; the fault is where this one
                // does.
                const std::string_view begin = trimmed(lines[at]);
                syntax.spot = Spot{origin, static_cast<std::uint32_t>(at + 1),
                                   static_cast<std::uint32_t>(lines[at].find(begin) + 1),
                                   static_cast<std::uint32_t>(characters(begin))};
                syntax.message = "not TOML: what begins here is not closed";
            }
            if (syntax.message.find("inline table") != std::string::npos &&
                syntax.message.find("\\n") != std::string::npos) {
                syntax.hint = "{ … } must stand on one line; or write it as a [table]";
            }
            // A key whose shorter form is a value already cannot be a table as well: librdkafka has
            // such names.
            if (syntax.message.find("redefine") != std::string::npos) {
                for (std::size_t i = at; i-- > 0;) {
                    const std::string_view header = trimmed(lines[i]);
                    if (header.starts_with('[')) {
                        if (header.starts_with("[source.rdkafka]")) {
                            syntax.hint = "write this name in quotes";
                        }
                        break;
                    }
                }
            }
            const std::string_view statement = trimmed(lines[at]);
            const bool header = statement.starts_with('[');
            if (!header) {
                document.lost_keys.push_back(key_of(statement));
            }
            const bool list = statement.starts_with("[[");
            document.errors.push_back(std::move(syntax));
            document.lost_header = document.lost_header || header;
            const bool hopeless =
                statement.empty() || statement.find("\\u0001lost") != statement.npos;
            if (hopeless || document.errors.size() >= kMostErrors) {
                document.lost_header = true;
                return document;
            }
            const std::size_t end = end_of_statement(lines, at);
            for (std::size_t i = at; i < end; ++i) {
                lines[i].clear();
            }
            if (header) {
                const std::string name =
                    "\"\\u0001lost" + std::to_string(document.errors.size()) + "\"";
                lines[at] = list ? "[[" + name + "]]" : "[" + name + "]";
            }
            source.clear();
            for (std::size_t i = 0; i < lines.size(); ++i) {
                source += (i > 0 ? "\n" : "") + lines[i];
            }
        }
    }
}

Document parse_override(std::string_view text, std::uint32_t origin) {
    Document document;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || text.find('\n') != std::string_view::npos) {
        document.errors.push_back({Spot{origin, 1, 1, static_cast<std::uint32_t>(characters(text))},
                                   "an override has the form key=value",
                                   "for instance --set sink.connections=4"});
        return document;
    }
    try {
        const toml::table root = toml::parse(text);
        document.root = Converter(text, origin).convert(root);
        return document;
    } catch (const toml::parse_error&) {
        // Not TOML: plain text, without quotes.
    }
    try {
        const std::string with_text = std::string(text.substr(0, equals)) + "=''";
        const toml::table root = toml::parse(with_text);
        document.root = Converter(with_text, origin).convert(root);
    } catch (const toml::parse_error& error) {
        document.errors.push_back({to_spot(error.source(), origin), tidy(error.description()), ""});
        return document;
    }
    TomlNode* leaf = &document.root;
    while (leaf->kind == TomlNode::Kind::table && !leaf->members.empty()) {
        leaf = &leaf->members.front().second;
    }
    leaf->text = std::string(text.substr(equals + 1));
    leaf->plain = true;
    leaf->value =
        Spot{origin, 1, static_cast<std::uint32_t>(characters(text.substr(0, equals + 1)) + 1),
             static_cast<std::uint32_t>(std::max<std::size_t>(1, characters(leaf->text)))};
    return document;
}

void apply_override(TomlNode& base, const TomlNode& over) {
    for (const auto& [name, node] : over.members) {
        const auto found =
            std::ranges::find(base.members, name, [](const auto& member) { return member.first; });
        if (found == base.members.end()) {
            base.members.emplace_back(name, node);
        } else if (node.kind == TomlNode::Kind::table && !node.inline_table &&
                   found->second.kind == TomlNode::Kind::table) {
            apply_override(found->second, node);
        } else {
            found->second = node;
        }
    }
}

std::string_view line_of(std::string_view source, std::uint32_t line) {
    for (std::uint32_t i = 1; i < line; ++i) {
        const std::size_t end = source.find('\n');
        if (end == std::string_view::npos) {
            return {};
        }
        source.remove_prefix(end + 1);
    }
    std::string_view found = source.substr(0, source.find('\n'));
    if (found.ends_with('\r')) {
        found.remove_suffix(1);
    }
    return found;
}

Spot spot_in_text(const TomlNode& node, std::string_view source, std::size_t offset,
                  std::size_t length) {
    Spot spot = node.value;
    // Walk the text as written from its first quote, counting the bytes of content that each
    // written character stands for.
    std::size_t at = 0;
    for (std::uint32_t i = 1; i < spot.line; ++i) {
        at = source.find('\n', at);
        if (at == std::string_view::npos) {
            return spot;
        }
        ++at;
    }
    at += byte_of_column(source.substr(at, source.find('\n', at) - at), spot.column);
    std::uint32_t line = spot.line;
    std::uint32_t column = spot.column;
    const auto advance = [&] {
        if (source[at] == '\n') {
            ++line;
            column = 1;
        } else if (at + 1 >= source.size() ||
                   (static_cast<unsigned char>(source[at + 1]) & 0xC0) != 0x80) {
            ++column;
        }
        ++at;
    };
    bool escapes = false;
    bool multiline = false;
    if (!node.plain) {
        const std::string_view rest = source.substr(at);
        escapes = rest.starts_with('"');
        multiline = rest.starts_with("\"\"\"") || rest.starts_with("'''");
        for (int i = 0; i < (multiline ? 3 : 1) && at < source.size(); ++i) {
            advance();
        }
        if (multiline && source.substr(at).starts_with("\r\n")) {
            advance();
        }
        if (multiline && source.substr(at).starts_with("\n")) {
            advance();
        }
    }
    std::size_t content = 0;
    std::optional<Spot> begin;
    while (true) {
        if (!begin && content >= offset) {
            begin = Spot{spot.origin, line, column, 1};
        }
        if ((begin && content >= offset + std::max<std::size_t>(1, length)) ||
            content >= node.text.size() || at >= source.size()) {
            break;
        }
        if (escapes && source[at] == '\\' && at + 1 < source.size()) {
            const char kind = source[at + 1];
            advance();
            if (kind == 'u' || kind == 'U') {
                const std::size_t digits = kind == 'u' ? 4 : 8;
                const std::string hex(source.substr(at + 1, digits));
                const unsigned long code = std::strtoul(hex.c_str(), nullptr, 16);
                for (std::size_t i = 0; i <= digits && at < source.size(); ++i) {
                    advance();
                }
                content += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
            } else if (multiline && (kind == '\n' || kind == '\r' || kind == ' ' || kind == '\t')) {
                while (at < source.size() && (source[at] == '\n' || source[at] == '\r' ||
                                              source[at] == ' ' || source[at] == '\t')) {
                    advance();
                }
            } else {
                advance();
                ++content;
            }
        } else {
            advance();
            ++content;
        }
    }
    if (!begin) {
        begin = Spot{spot.origin, line, column, 1};
    }
    if (begin->line == line && column > begin->column) {
        begin->length = column - begin->column;
    }
    return *begin;
}

}  // namespace sluice::config
