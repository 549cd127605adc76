#include "config/write_template.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstddef>
#include <optional>
#include <utility>

namespace sluice::config {
namespace {

// The commands that a template may use. Places of keys as in Redis' own command table: first, last
// (negative counts from the end), step.
struct CommandRule {
    std::string_view name;
    std::uint32_t least_words;  // with the name
    std::uint32_t most_words;   // 0: no limit
    std::uint32_t first_key;    // 0: no keys
    std::int32_t last_key;
    std::uint32_t key_step;
    std::uint32_t group_from;  // words from here come in groups of `group_size`
    std::uint32_t group_size;  // 0: no groups
    bool idempotent;
    std::string_view usage;
};

constexpr std::uint32_t kAny = 0;

constexpr CommandRule one_key(std::string_view name, std::uint32_t least, std::uint32_t most,
                              bool idempotent, std::string_view usage) {
    return {name, least, most, 1, 1, 1, 0, 0, idempotent, usage};
}
constexpr CommandRule pairs(std::string_view name, std::string_view usage) {
    return {name, 4, kAny, 1, 1, 1, 2, 2, true, usage};
}

constexpr auto kCommands = std::to_array<CommandRule>({
    pairs("HSET", "HSET key field value [field value …]"),
    pairs("HMSET", "HMSET key field value [field value …]"),
    one_key("SET", 3, kAny, true, "SET key value [options]"),
    {"MSET", 3, kAny, 1, -1, 2, 1, 2, true, "MSET key value [key value …]"},
    {"MSETNX", 3, kAny, 1, -1, 2, 1, 2, true, "MSETNX key value [key value …]"},
    {"DEL", 2, kAny, 1, -1, 1, 0, 0, true, "DEL key [key …]"},
    {"UNLINK", 2, kAny, 1, -1, 1, 0, 0, true, "UNLINK key [key …]"},
    one_key("EXPIRE", 3, 4, true, "EXPIRE key seconds"),
    one_key("EXPIREAT", 3, 4, true, "EXPIREAT key seconds"),
    one_key("GEOADD", 5, kAny, true, "GEOADD key longitude latitude member"),
    one_key("HDEL", 3, kAny, true, "HDEL key field [field …]"),
    one_key("HSETNX", 4, 4, true, "HSETNX key field value"),
    one_key("JSON.SET", 4, 5, true, "JSON.SET key path value"),
    one_key("LSET", 4, 4, true, "LSET key index value"),
    one_key("PERSIST", 2, 2, true, "PERSIST key"),
    one_key("PEXPIRE", 3, 4, true, "PEXPIRE key milliseconds"),
    one_key("PEXPIREAT", 3, 4, true, "PEXPIREAT key milliseconds"),
    one_key("PFADD", 2, kAny, true, "PFADD key element [element …]"),
    one_key("PSETEX", 4, 4, true, "PSETEX key milliseconds value"),
    one_key("SADD", 3, kAny, true, "SADD key member [member …]"),
    one_key("SETBIT", 4, 4, true, "SETBIT key offset value"),
    one_key("SETEX", 4, 4, true, "SETEX key seconds value"),
    one_key("SETNX", 3, 3, true, "SETNX key value"),
    one_key("SETRANGE", 4, 4, true, "SETRANGE key offset value"),
    one_key("SREM", 3, kAny, true, "SREM key member [member …]"),
    one_key("ZADD", 4, kAny, true, "ZADD key [options] score member [score member …]"),
    one_key("ZREM", 3, kAny, true, "ZREM key member [member …]"),
    one_key("ZREMRANGEBYSCORE", 4, 4, true, "ZREMRANGEBYSCORE key min max"),
    one_key("APPEND", 3, 3, false, "APPEND key value"),
    one_key("DECR", 2, 2, false, "DECR key"),
    one_key("DECRBY", 3, 3, false, "DECRBY key decrement"),
    one_key("HINCRBY", 4, 4, false, "HINCRBY key field increment"),
    one_key("HINCRBYFLOAT", 4, 4, false, "HINCRBYFLOAT key field increment"),
    one_key("INCR", 2, 2, false, "INCR key"),
    one_key("INCRBY", 3, 3, false, "INCRBY key increment"),
    one_key("INCRBYFLOAT", 3, 3, false, "INCRBYFLOAT key increment"),
    one_key("LPUSH", 3, kAny, false, "LPUSH key element [element …]"),
    one_key("LPUSHX", 3, kAny, false, "LPUSHX key element [element …]"),
    one_key("LTRIM", 4, 4, false, "LTRIM key start stop"),
    {"PUBLISH", 3, 3, 0, 0, 0, 0, 0, false, "PUBLISH channel message"},
    one_key("RPUSH", 3, kAny, false, "RPUSH key element [element …]"),
    one_key("RPUSHX", 3, kAny, false, "RPUSHX key element [element …]"),
    // A second TS.ADD of the same instant is an error or adds up, as the server is configured.
    one_key("TS.ADD", 4, kAny, false, "TS.ADD key timestamp value"),
    // With an explicit id a second XADD is an error, with `*` a second entry.
    one_key("XADD", 5, kAny, false, "XADD key [options] id field value [field value …]"),
    one_key("ZINCRBY", 4, 4, false, "ZINCRBY key increment member"),
    one_key("ZREMRANGEBYRANK", 4, 4, false, "ZREMRANGEBYRANK key start stop"),
});

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) { return upper(c); });
    return out;
}

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({row[j - 1] + 1, above + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = above;
        }
    }
    return row[b.size()];
}

// The nearest of `names`, or empty when nothing is near.
std::string nearest(std::string_view wanted, const std::vector<std::string>& names) {
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(2, wanted.size() / 3) + 1;
    for (const auto& name : names) {
        const std::size_t distance = edit_distance(wanted, name);
        if (distance < best_distance) {
            best_distance = distance;
            best = name;
        }
    }
    return best;
}

std::string joined(const std::vector<std::string>& names, std::string_view between) {
    std::string out;
    for (const auto& name : names) {
        out += (out.empty() ? "" : std::string(between)) + name;
    }
    return out;
}

constexpr std::array<std::pair<std::string_view, PlaceKind>, 8> kOwnNames{{
    {"pipeline", PlaceKind::pipeline},
    {"reduce", PlaceKind::reduce},
    {"window.start", PlaceKind::window_start},
    {"window.end", PlaceKind::window_end},
    {"final", PlaceKind::final},
    {"complete", PlaceKind::complete},
    {"rev", PlaceKind::rev},
    {"share", PlaceKind::share},
}};

bool of_window(PlaceKind kind) {
    return kind == PlaceKind::window_start || kind == PlaceKind::window_end;
}

std::optional<Place> find_place(std::string_view name, const TemplateNames& names) {
    Place place;
    if (auto at = std::find(names.key.begin(), names.key.end(), name); at != names.key.end()) {
        place.kind = PlaceKind::key_part;
        place.index = static_cast<std::uint32_t>(at - names.key.begin());
        return place;
    }
    if (auto at = std::find(names.values.begin(), names.values.end(), name);
        at != names.values.end()) {
        place.kind = PlaceKind::value;
        place.index = static_cast<std::uint32_t>(at - names.values.begin());
        return place;
    }
    for (const auto& [own, kind] : kOwnNames) {
        if (own == name) {
            place.kind = kind;
            return place;
        }
    }
    return std::nullopt;
}

std::unexpected<ExpressionError> error(std::size_t column, std::size_t length, std::string message,
                                       std::string hint = {}) {
    return std::unexpected(ExpressionError{column, std::max<std::size_t>(1, length),
                                           std::move(message), std::move(hint)});
}

class Parser {
 public:
    Parser(std::string_view text, const TemplateNames& names) : text_(text), names_(names) {}

    Compiled<CommandTemplate> parse() {
        CommandTemplate command;
        std::vector<std::size_t> columns;
        while (true) {
            while (at_ < text_.size() && blank(text_[at_])) {
                ++at_;
            }
            if (at_ == text_.size()) {
                break;
            }
            columns.push_back(at_);
            auto word = parse_word();
            if (!word) {
                return std::unexpected(std::move(word.error()));
            }
            command.words.push_back(std::move(*word));
        }
        if (command.words.empty()) {
            return error(0, text_.size(), "a Redis command is expected",
                         "for instance HSET total:{window.start} clicks {clicks}");
        }
        if (auto wrong = apply_rule(command, columns)) {
            return std::unexpected(std::move(*wrong));
        }
        return command;
    }

 private:
    Compiled<Word> parse_word() {
        Word word;
        std::string literal;
        const std::size_t begin = at_;
        const bool quoted = text_[at_] == '\'';
        bool closed = false;
        at_ += quoted ? 1 : 0;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            const char next = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
            if (!quoted && blank(c)) {
                break;
            }
            if (c == '\'') {
                if (!quoted) {
                    return error(at_, 1, "a quote in the middle of a word",
                                 "quote the whole word: '…', with '' for a quote");
                }
                if (next != '\'') {
                    closed = true;
                    ++at_;
                    break;
                }
                literal += '\'';
                at_ += 2;
            } else if ((c == '{' || c == '}') && next == c) {
                literal += c;
                at_ += 2;
            } else if (c == '}') {
                return error(at_, 1, "'}' without '{'", "a brace itself is written '}}'");
            } else if (c == '{') {
                auto place = parse_place();
                if (!place) {
                    return std::unexpected(std::move(place.error()));
                }
                if (place->kind == PlaceKind::share) {
                    literal += share(place->format);
                    continue;
                }
                if (!literal.empty()) {
                    word.emplace_back(std::exchange(literal, {}));
                }
                word.emplace_back(*place);
            } else {
                literal += c;
                ++at_;
            }
        }
        if (quoted && !closed) {
            return error(begin, text_.size() - begin, "the quote is not closed");
        }
        if (quoted && at_ < text_.size() && !blank(text_[at_])) {
            return error(at_, 1, "a blank is expected after the closing quote");
        }
        if (!literal.empty() || word.empty()) {
            word.emplace_back(std::move(literal));
        }
        return word;
    }

    Compiled<Place> parse_place() {
        const std::size_t begin = at_;
        const std::size_t end = text_.find('}', at_);
        if (end == std::string_view::npos) {
            return error(begin, text_.size() - begin, "'{' without '}'",
                         "a brace itself is written '{{'");
        }
        at_ = end + 1;
        const std::string_view inside = text_.substr(begin + 1, end - begin - 1);
        if (auto place = find_place(inside, names_)) {
            return checked(*place, begin, end);
        }
        const std::size_t colon = inside.rfind(':');
        if (colon == std::string_view::npos) {
            return unknown_name(inside, begin);
        }
        auto place = find_place(inside.substr(0, colon), names_);
        if (!place) {
            return unknown_name(inside.substr(0, colon), begin);
        }
        const std::string_view format = inside.substr(colon + 1);
        const std::size_t format_at = begin + 1 + colon + 1;
        if (format == "rfc3339" || format == "s") {
            if (!of_window(place->kind)) {
                return error(format_at, format.size(),
                             "':" + std::string(format) + "' is for window.start and window.end");
            }
            place->format = format == "s" ? PlaceFormat::seconds : PlaceFormat::rfc3339;
        } else if (format == "enc") {
            if (of_window(place->kind)) {
                return error(format_at, format.size(), "':enc' is for texts",
                             "a window bound takes ':rfc3339' or ':s'");
            }
            place->format = PlaceFormat::percent_encoded;
        } else {
            return error(format_at, format.size(), "unknown format '" + std::string(format) + "'",
                         of_window(place->kind) ? "known: rfc3339, s" : "known: enc");
        }
        return checked(*place, begin, end);
    }

    // Digits, `-` and `,`, of which one is encoded.
    std::string share(PlaceFormat format) const {
        std::string text;
        for (const char c : names_.share) {
            text += c == ',' && format == PlaceFormat::percent_encoded ? "%2C" : std::string(1, c);
        }
        return text;
    }

    Compiled<Place> checked(Place place, std::size_t begin, std::size_t end) const {
        if (of_window(place.kind) && !names_.windowed) {
            return error(begin, end + 1 - begin, "a running aggregate has no window bounds");
        }
        return place;
    }

    std::unexpected<ExpressionError> unknown_name(std::string_view name, std::size_t begin) const {
        std::vector<std::string> known = names_.key;
        known.insert(known.end(), names_.values.begin(), names_.values.end());
        for (const auto& [own, kind] : kOwnNames) {
            if (names_.windowed || !of_window(kind)) {
                known.emplace_back(own);
            }
        }
        const std::string near = nearest(name, known);
        return error(
            begin + 1, name.size(), "unknown name '" + std::string(name) + "'",
            near.empty() ? "known: " + joined(known, ", ") : "did you mean '" + near + "'?");
    }

    std::optional<ExpressionError> apply_rule(CommandTemplate& command,
                                              const std::vector<std::size_t>& columns) const {
        const std::size_t name_end = columns.size() > 1 ? columns[1] : text_.size();
        const std::size_t name_length = name_end - columns[0];
        const Word& first = command.words[0];
        if (first.size() != 1 || !std::holds_alternative<std::string>(first[0])) {
            return error(columns[0], name_length, "the command's name must not depend on data")
                .error();
        }
        const std::string written = std::get<std::string>(first[0]);
        const std::string name = upper(written);
        const auto* rule = std::find_if(kCommands.begin(), kCommands.end(),
                                        [&](const CommandRule& r) { return r.name == name; });
        if (rule == kCommands.end()) {
            std::vector<std::string> known;
            for (const auto& r : kCommands) {
                known.emplace_back(r.name);
            }
            const std::string near = nearest(name, known);
            std::sort(known.begin(), known.end());
            return error(columns[0], written.size(), "unknown command '" + written + "'",
                         (near.empty() ? "" : "did you mean '" + near + "'? ") +
                             ("supported: " + joined(known, " ")))
                .error();
        }
        const auto words = static_cast<std::uint32_t>(command.words.size());
        const bool whole_groups =
            rule->group_size == 0 || (words - rule->group_from) % rule->group_size == 0;
        if (words < rule->least_words || (rule->most_words != kAny && words > rule->most_words) ||
            !whole_groups) {
            return error(columns[0], text_.size() - columns[0],
                         std::string(rule->name) + " has a wrong number of words",
                         "it is " + std::string(rule->usage))
                .error();
        }
        command.idempotent = rule->idempotent && !adds_up(command, name);
        if (rule->first_key > 0) {
            const std::uint32_t last = rule->last_key > 0
                                           ? static_cast<std::uint32_t>(rule->last_key)
                                           : words - static_cast<std::uint32_t>(-rule->last_key);
            for (std::uint32_t i = rule->first_key; i <= last; i += rule->key_step) {
                command.key_words.push_back(i);
            }
        }
        return std::nullopt;
    }

    // ZADD key INCR … is an increment.
    static bool adds_up(const CommandTemplate& command, std::string_view name) {
        if (name != "ZADD") {
            return false;
        }
        for (std::size_t i = 2; i < command.words.size(); ++i) {
            const Word& word = command.words[i];
            if (word.size() != 1 || !std::holds_alternative<std::string>(word[0])) {
                return false;  // options come before the first score
            }
            if (upper(std::get<std::string>(word[0])) == "INCR") {
                return true;
            }
        }
        return false;
    }

    std::string_view text_;
    const TemplateNames& names_;
    std::size_t at_ = 0;
};

// One byte class of a key pattern, once or any number of times.
struct PatternStep {
    std::bitset<256> bytes;
    bool any_number = false;
};

void add_literal(std::vector<PatternStep>& pattern, std::string_view text) {
    for (const char c : text) {
        PatternStep step;
        step.bytes.set(static_cast<unsigned char>(c));
        pattern.push_back(step);
    }
}

void add_some_of(std::vector<PatternStep>& pattern, std::string_view bytes) {
    PatternStep step;
    for (const char c : bytes) {
        step.bytes.set(static_cast<unsigned char>(c));
    }
    pattern.push_back(step);
    step.any_number = true;
    pattern.push_back(step);
}

void add_place(std::vector<PatternStep>& pattern, const Place& place) {
    PatternStep anything;
    anything.any_number = true;
    anything.bytes.set();
    switch (place.kind) {
        case PlaceKind::window_start:
        case PlaceKind::window_end:
            add_some_of(pattern,
                        place.format == PlaceFormat::rfc3339 ? "0123456789-:TZ." : "0123456789-");
            return;
        case PlaceKind::rev:
            add_some_of(pattern, "0123456789");
            return;
        case PlaceKind::final:
        case PlaceKind::complete: {
            PatternStep step;
            step.bytes.set('0');
            step.bytes.set('1');
            pattern.push_back(step);
            return;
        }
        default:
            break;
    }
    if (place.format == PlaceFormat::separator_encoded) {
        anything.bytes.reset(':');
    } else if (place.format == PlaceFormat::percent_encoded) {
        anything.bytes.reset();
        for (int c = 0; c < 128; ++c) {
            const bool kept = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                              (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' ||
                              c == '~' || c == '%';
            anything.bytes.set(static_cast<std::size_t>(c), kept);
        }
    }
    pattern.push_back(anything);
}

std::vector<PatternStep> pattern_of(const Word& word, std::string_view reduce,
                                    std::string_view pipeline) {
    std::vector<PatternStep> pattern;
    for (const Piece& piece : word) {
        if (const auto* literal = std::get_if<std::string>(&piece)) {
            add_literal(pattern, *literal);
            continue;
        }
        const Place& place = std::get<Place>(piece);
        if (place.kind == PlaceKind::pipeline) {
            add_literal(pattern, pipeline);  // names need no encoding
        } else if (place.kind == PlaceKind::reduce) {
            add_literal(pattern, reduce);
        } else {
            add_place(pattern, place);
        }
    }
    return pattern;
}

// Whether some text matches both: a walk over pairs of positions.
bool intersect(const std::vector<PatternStep>& a, const std::vector<PatternStep>& b) {
    const std::size_t width = b.size() + 1;
    std::vector<bool> seen((a.size() + 1) * width, false);
    std::vector<std::pair<std::size_t, std::size_t>> open;
    const auto visit = [&](std::size_t i, std::size_t j) {
        if (!seen[i * width + j]) {
            seen[i * width + j] = true;
            open.emplace_back(i, j);
        }
    };
    visit(0, 0);
    while (!open.empty()) {
        const auto [i, j] = open.back();
        open.pop_back();
        if (i == a.size() && j == b.size()) {
            return true;
        }
        if (i < a.size() && a[i].any_number) {
            visit(i + 1, j);
        }
        if (j < b.size() && b[j].any_number) {
            visit(i, j + 1);
        }
        if (i < a.size() && j < b.size() && (a[i].bytes & b[j].bytes).any()) {
            visit(a[i].any_number ? i : i + 1, b[j].any_number ? j : j + 1);
        }
    }
    return false;
}

}  // namespace

Compiled<CommandTemplate> parse_command(std::string_view text, const TemplateNames& names) {
    return Parser(text, names).parse();
}

CommandTemplate default_command(const TemplateNames& names) {
    const auto place = [](PlaceKind kind, std::size_t index = 0,
                          PlaceFormat format = PlaceFormat::plain) {
        return Place{kind, static_cast<std::uint32_t>(index), format};
    };
    CommandTemplate command;
    command.words.push_back({std::string("HSET")});
    Word key{place(PlaceKind::pipeline), std::string(":"), place(PlaceKind::reduce)};
    const PlaceFormat format =
        names.key.size() > 1 ? PlaceFormat::separator_encoded : PlaceFormat::plain;
    for (std::size_t i = 0; i < names.key.size(); ++i) {
        key.emplace_back(std::string(":"));
        key.emplace_back(place(PlaceKind::key_part, i, format));
    }
    if (names.windowed) {
        key.emplace_back(std::string(":"));
        key.emplace_back(place(PlaceKind::window_start));
    }
    command.words.push_back(std::move(key));
    for (std::size_t i = 0; i < names.values.size(); ++i) {
        command.words.push_back({names.values[i]});
        command.words.push_back({place(PlaceKind::value, i)});
    }
    for (const auto& [name, kind] : {std::pair{"final", PlaceKind::final},
                                     {"complete", PlaceKind::complete},
                                     {"rev", PlaceKind::rev}}) {
        command.words.push_back({std::string(name)});
        command.words.push_back({place(kind)});
    }
    command.key_words = {1};
    command.idempotent = true;
    return command;
}

bool names_window(const CommandTemplate& command) {
    return std::any_of(command.key_words.begin(), command.key_words.end(), [&](std::uint32_t i) {
        return std::any_of(command.words[i].begin(), command.words[i].end(), [](const Piece& p) {
            const auto* place = std::get_if<Place>(&p);
            return place != nullptr && of_window(place->kind);
        });
    });
}

bool may_share_key(const CommandTemplate& a, std::string_view reduce_a, const CommandTemplate& b,
                   std::string_view reduce_b, std::string_view pipeline) {
    for (const std::uint32_t i : a.key_words) {
        const auto pattern_a = pattern_of(a.words[i], reduce_a, pipeline);
        for (const std::uint32_t j : b.key_words) {
            if (intersect(pattern_a, pattern_of(b.words[j], reduce_b, pipeline))) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace sluice::config
