// Every document is walked once, in its own order, with simdjson on demand. The walk goes through
// all of it, because a record with broken JSON anywhere is undecodable: stage 1 of simdjson checks
// UTF-8, control characters and that strings are closed; iteration checks commas, colons and
// brackets; what neither looks at (escapes, numbers, literals) is checked here. Members are matched
// while they pass by, so that of duplicates the last wins.
//
// Most documents do not come so far: they have the shape of one that was walked (document_shape.h),
// and only their values are looked at.
//
// Most documents hold no backslash. Then a text ends where the next token begins, less blanks and
// the quote, and needs no look at its characters; a name needs only to be compared.

#include "ingest/decoder.h"

#include <simdjson.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "ingest/document_shape.h"
#include "state/model/ascii.h"
#include "state/model/invariant.h"
#include "state/model/number.h"
#include "state/model/time.h"

namespace sluice::ingest {

namespace {

namespace ondemand = simdjson::ondemand;
using model::Column;
using model::EventTime;
using model::RowStatus;
using model::Scalar;
using model::Type;

// Where in a document the named columns are: one node per step of their paths.
struct Node {
    struct Member {
        std::string name;
        // The first 8 bytes of the name with its closing quote, and which of them count.
        std::uint64_t prefix;
        std::uint64_t mask;
        std::unique_ptr<Node> node;

        Member(std::string n, std::unique_ptr<Node> child)
            : name(std::move(n)), prefix(0), mask(0), node(std::move(child)) {
            const std::string quoted = name + '"';
            const std::size_t size = std::min<std::size_t>(8, quoted.size());
            std::memcpy(&prefix, quoted.data(), size);
            std::memset(&mask, 0xFF, size);
        }
        // Whether the text behind `at` is this name and a quote. `word`: the 8 bytes at `at`. There
        // are as many bytes behind `at` as the longest name has, and 8.
        bool is_at(const char* at, std::uint64_t word) const {
            return ((word ^ prefix) & mask) == 0 &&
                   (name.size() < 8 ||
                    (std::memcmp(at, name.data(), name.size()) == 0 && at[name.size()] == '"'));
        }
    };
    struct Element {
        std::int64_t index;
        std::unique_ptr<Node> node;
    };
    std::optional<std::uint32_t> column;
    std::vector<Member> members;
    std::vector<Element> elements;
    std::size_t number = 0;  // among all nodes
};

struct Names {
    std::uint32_t column;
    std::string header;
};

constexpr std::uint64_t kOnes = 0x0101010101010101ull;
constexpr std::uint64_t kHighs = 0x8080808080808080ull;

// The bytes of `word` that are `c` have their high bit set (those above the first may be wrong).
inline std::uint64_t match(std::uint64_t word, char c) {
    const std::uint64_t x = word ^ (kOnes * static_cast<unsigned char>(c));
    return (x - kOnes) & ~x & kHighs;
}

// The first quote or backslash at or after `at`. There is one, and 8 bytes after it are readable.
inline const char* find_quote_or_backslash(const char* at) {
    static_assert(std::endian::native == std::endian::little);
    while (true) {
        std::uint64_t word = 0;
        std::memcpy(&word, at, sizeof word);
        const std::uint64_t found = match(word, '"') | match(word, '\\');
        if (found != 0) {
            return at + std::countr_zero(found) / 8;
        }
        at += sizeof word;
    }
}

inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
inline std::string_view trimmed(std::string_view token) {
    while (!token.empty() && is_space(token.back())) {
        token.remove_suffix(1);
    }
    return token;
}

// The number that the 8 digits of `word` are, least byte first; false: they are not all digits.
// After Lemire, "Quickly parsing eight digits" (2018).
inline bool eight_digits(std::uint64_t word, std::uint64_t& number) {
    constexpr std::uint64_t kZeros = kOnes * '0';
    constexpr std::uint64_t kUpper = kOnes * 0xf0;
    if (((word & kUpper) ^ kZeros) != 0 || (((word + kOnes * 6) & kUpper) ^ kZeros) != 0) {
        return false;
    }
    word -= kZeros;
    word = word * 10 + (word >> 8);  // pairs, in every other byte
    constexpr std::uint64_t kPairs = 0x000000ff000000ffull;
    number = ((word & kPairs) * (100 + (std::uint64_t{1000000} << 32)) +
              ((word >> 16) & kPairs) * (1 + (std::uint64_t{10000} << 32))) >>
             32;
    return true;
}

// The integer that the text is, if it has at most 18 digits. Not as an optional: its flag is one
// byte, and whoever reads it back as a word waits for the store.
inline bool short_integer(std::string_view t, std::int64_t& integer) {
    static_assert(std::endian::native == std::endian::little);
    const bool negative = !t.empty() && t.front() == '-';
    if (negative) {
        t.remove_prefix(1);
    }
    if (t.empty() || t.size() > 18 || (t.front() == '0' && t.size() > 1)) {
        return false;
    }
    std::int64_t v = 0;
    if (t.size() > 8 && t.size() <= 16) {  // as timestamps are
        std::uint64_t upper = 0;
        std::uint64_t lower = 0;
        std::memcpy(&upper, t.data(), 8);
        std::memcpy(&lower, t.data() + t.size() - 8, 8);
        const auto missing = static_cast<unsigned>(8 * (16 - t.size()));
        if (missing > 0) {
            upper = (upper << missing) | ((kOnes * '0') >> (64 - missing));
        }
        if (!eight_digits(upper, upper) || !eight_digits(lower, lower)) {
            return false;
        }
        v = static_cast<std::int64_t>(upper * 100'000'000 + lower);
        integer = negative ? -v : v;
        return true;
    }
    for (const char c : t) {
        if (!model::is_digit(c)) {
            return false;
        }
        v = v * 10 + (c - '0');
    }
    integer = negative ? -v : v;
    return true;
}

int hex_digit(char c) {
    if (model::is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

// Reads 4 hex digits at `at`; -1: they are not. Reads no further than a character that is none.
int hex4(const char* at) {
    int v = 0;
    for (int i = 0; i < 4; ++i) {
        const int d = hex_digit(at[i]);
        if (d < 0) {
            return -1;
        }
        v = v * 16 + d;
    }
    return v;
}

void append_utf8(std::string& out, std::uint32_t c) {
    const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | (c >> 6));
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | (c >> 12));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | (c >> 18));
        put(0x80 | ((c >> 12) & 0x3F));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

// Unescapes the string that begins at `at` (behind its quote) into `out`. False: an escape that
// JSON does not know, or half a surrogate pair, which no UTF-8 text can say.
bool unescape(const char* at, std::string& out) {
    out.clear();
    while (true) {
        const char* stop = find_quote_or_backslash(at);
        out.append(at, stop);
        if (*stop == '"') {
            return true;
        }
        at = stop + 2;
        switch (stop[1]) {
            case '"':
                out.push_back('"');
                break;
            case '\\':
                out.push_back('\\');
                break;
            case '/':
                out.push_back('/');
                break;
            case 'b':
                out.push_back('\b');
                break;
            case 'f':
                out.push_back('\f');
                break;
            case 'n':
                out.push_back('\n');
                break;
            case 'r':
                out.push_back('\r');
                break;
            case 't':
                out.push_back('\t');
                break;
            case 'u': {
                const int unit = hex4(at);
                if (unit < 0) {
                    return false;
                }
                at += 4;
                auto code = static_cast<std::uint32_t>(unit);
                if (code >= 0xDC00 && code <= 0xDFFF) {
                    return false;
                }
                if (code >= 0xD800 && code <= 0xDBFF) {
                    if (at[0] != '\\' || at[1] != 'u') {
                        return false;
                    }
                    const int low = hex4(at + 2);
                    if (low < 0xDC00 || low > 0xDFFF) {
                        return false;
                    }
                    at += 6;
                    code = 0x10000 + ((code - 0xD800) << 10) +
                           (static_cast<std::uint32_t>(low) - 0xDC00);
                }
                append_utf8(out, code);
                break;
            }
            default:
                return false;
        }
    }
}

constexpr std::size_t kShapes = 4;
constexpr std::uint64_t kLearnEvery = 64;  // documents at least between two, once there are kShapes

constexpr const char* kNotJson = "not JSON";
constexpr const char* kBadEscape = "not JSON: invalid escape in a text";
constexpr const char* kBadNumber = "not JSON: invalid number";
constexpr const char* kBadLiteral = "not JSON: invalid literal";

const char* reason_of(simdjson::error_code error) {
    switch (error) {
        case simdjson::UTF8_ERROR:
            return "invalid UTF-8";
        case simdjson::EMPTY:
            return "empty value";
        case simdjson::UNCLOSED_STRING:
            return "not JSON: a text is not closed";
        case simdjson::UNESCAPED_CHARS:
            return "not JSON: a control character in a text";
        case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
            return "not JSON: it ends too early, or text follows it";
        default:
            return kNotJson;
    }
}

bool in_calendar(EventTime t) { return t >= model::kFirstInstant && t <= model::kLastInstant; }

// False: outside the years 0001 to 9999.
inline bool integer_to_ms(std::int64_t v, std::int64_t per_second, EventTime& ms) {
    if (per_second == 1000) {
        ms = v;
    } else if (per_second > 1000) {
        ms = model::floor_div(v, per_second / 1000);
    } else if (__builtin_mul_overflow(v, std::int64_t{1000}, &ms)) {
        return false;
    }
    return in_calendar(ms);
}

// Milliseconds, floored, of a number in a unit with `per_second` to the second; empty: outside the
// years 0001 to 9999.
std::optional<EventTime> to_ms(const Scalar& number, std::int64_t per_second) {
    // value × 1000 / per_second, where per_second is 1, 1e3, 1e6 or 1e9.
    switch (number.type) {
        case Type::integer: {
            EventTime t = 0;
            return integer_to_ms(number.value.integer, per_second, t) ? std::optional(t)
                                                                      : std::nullopt;
        }
        case Type::decimal: {
            // The scale-18 number divided by (1e18 × per_second / 1000) is milliseconds.
            const model::int128 v = number.value.decimal;
            const model::int128 divisor =
                static_cast<model::int128>(model::kDecimalOne) * per_second / 1000;
            model::int128 q = v / divisor;
            if (v % divisor != 0 && v < 0) {
                --q;
            }
            if (q < model::kFirstInstant || q > model::kLastInstant) {
                return std::nullopt;
            }
            return static_cast<EventTime>(q);
        }
        case Type::real: {
            const double ms = per_second >= 1000
                                  ? number.value.real / static_cast<double>(per_second / 1000)
                                  : number.value.real * 1000.0;
            const double t = std::floor(ms);
            if (!(t >= static_cast<double>(model::kFirstInstant) &&
                  t <= static_cast<double>(model::kLastInstant))) {
                return std::nullopt;
            }
            return static_cast<EventTime>(t);
        }
        default:
            return std::nullopt;
    }
}

std::int64_t units_per_second(config::TimestampUnit unit) {
    switch (unit) {
        case config::TimestampUnit::s:
            return 1;
        case config::TimestampUnit::ms:
            return 1000;
        case config::TimestampUnit::us:
            return 1'000'000;
        case config::TimestampUnit::ns:
            return 1'000'000'000;
        case config::TimestampUnit::rfc3339:
            break;
    }
    return 0;
}

constexpr const char* kNoTime = "no event time: it is missing or null";
constexpr const char* kBadTime = "no event time: it cannot be read";
constexpr const char* kFarTime = "no event time: outside the years 0001 to 9999";

// Event time from a value; a reason where there is none.
std::expected<EventTime, const char*> event_time(const Scalar& value, config::TimestampUnit unit) {
    if (value.is_null()) {
        return std::unexpected(kNoTime);
    }
    if (unit == config::TimestampUnit::rfc3339) {
        if (value.type != Type::text) {
            return std::unexpected(kBadTime);
        }
        const auto t = model::parse_rfc3339(value.value.text.view());
        if (!t) {
            return std::unexpected(kBadTime);
        }
        return *t;
    }
    Scalar number = value;
    if (value.type == Type::text) {
        std::int64_t integer = 0;
        if (short_integer(value.value.text.view(), integer)) {
            EventTime t = 0;
            if (!integer_to_ms(integer, units_per_second(unit), t)) {
                return std::unexpected(kFarTime);
            }
            return t;
        }
        const model::Computed read = model::parse_json_number(value.value.text.view());
        if (read.fault == model::Fault::overflow) {
            return std::unexpected(kFarTime);
        }
        if (read.fault != model::Fault::none) {
            return std::unexpected(kBadTime);
        }
        number = read.value;
    }
    if (!number.is_number()) {
        return std::unexpected(kBadTime);
    }
    const auto t = to_ms(number, units_per_second(unit));
    if (!t) {
        return std::unexpected(kFarTime);
    }
    return *t;
}

}  // namespace

// What the configuration says, made ready once.
struct Decoder::Plan {
    const config::Source* source;
    const std::vector<model::Partition>* partitions;
    std::size_t columns = 0;
    Node root;
    std::size_t nodes = 1;
    std::size_t longest_name = 0;
    std::vector<std::uint32_t> json_columns;
    std::vector<std::uint32_t> topic, partition, offset, timestamp, key;
    std::vector<Names> headers;
    // Event time: from Kafka, from a column as it is decoded, or by a program over the whole batch.
    std::optional<std::uint32_t> time_column;
    std::int64_t units_per_second = 0;  // of the event time as a number; 0: it is a date
    bool from_kafka = false;            // any column is not from the document

    Plan(const config::Pipeline& pipeline, const std::vector<model::Partition>& table)
        : source(&pipeline.source), partitions(&table), columns(pipeline.fields.size()) {
        for (std::uint32_t c = 0; c < columns; ++c) {
            add(c, pipeline.fields.source(c));
        }
        if (!source->timestamp_from_kafka) {
            INVARIANT(source->timestamp.has_value(), "a timestamp is from Kafka or has a program");
            time_column = source->timestamp->plain_column();
        }
        units_per_second = ingest::units_per_second(source->timestamp_unit);
        from_kafka = !(topic.empty() && partition.empty() && offset.empty() && timestamp.empty() &&
                       key.empty() && headers.empty());
    }

    void add(std::uint32_t c, const config::FieldSource& field) {
        using Kind = config::FieldSource::Kind;
        switch (field.kind) {
            case Kind::json: {
                json_columns.push_back(c);
                Node* node = &root;
                for (const auto& segment : field.path) {
                    node = child(*node, segment);
                }
                node->column = c;
                break;
            }
            case Kind::assigned:
                break;
            case Kind::kafka_topic:
                topic.push_back(c);
                break;
            case Kind::kafka_partition:
                partition.push_back(c);
                break;
            case Kind::kafka_offset:
                offset.push_back(c);
                break;
            case Kind::kafka_timestamp:
                timestamp.push_back(c);
                break;
            case Kind::kafka_key:
                key.push_back(c);
                break;
            case Kind::kafka_header:
                headers.push_back({c, std::get<std::string>(field.path.at(0))});
                break;
        }
    }

    Node* child(Node& parent, const config::FieldSource::Segment& segment) {
        if (const auto* name = std::get_if<std::string>(&segment)) {
            for (auto& m : parent.members) {
                if (m.name == *name) {
                    return m.node.get();
                }
            }
            longest_name = std::max(longest_name, name->size());
            parent.members.emplace_back(*name, std::make_unique<Node>());
            parent.members.back().node->number = nodes++;
            return parent.members.back().node.get();
        }
        const std::int64_t index = std::get<std::int64_t>(segment);
        for (auto& e : parent.elements) {
            if (e.index == index) {
                return e.node.get();
            }
        }
        parent.elements.push_back({index, std::make_unique<Node>()});
        parent.elements.back().node->number = nodes++;
        return parent.elements.back().node.get();
    }
};

namespace {

// A record's bytes, kept until the batch's event times are known.
struct Kept {
    bool has_key = false;
    std::string_view key;
    std::string_view value;
    std::size_t first_header = 0;
    std::size_t headers = 0;
    EventTime timestamp = -1;
};

}  // namespace

struct Decoder::Work {
    const Plan& plan;
    ondemand::parser parser;
    ScannedDocument scanned;  // with simdjson's padding behind it

    DecodedBatch* batch = nullptr;
    std::size_t max_rows = 0;
    std::size_t row = 0;
    std::uint64_t serial = 0;         // of the document
    std::vector<std::uint64_t> seen;  // by node number: the document in which it was met last
    bool escapes = false;             // the document holds a backslash
    std::string unescaped;

    // Shapes of documents that were met, most of them many times.
    struct Shape {
        DocumentShape layout;
        std::vector<std::uint32_t> columns;  // of the wanted values
    };
    std::vector<Shape> shapes;
    std::size_t fitted = 0;        // the shape of the last document that had one
    std::uint64_t learned_at = 0;  // serial
    bool learnable = false;        // the document being walked
    std::vector<DocumentShape::Value> values;
    std::vector<std::uint32_t> wanted_columns;
    std::vector<std::string_view> wanted_tokens;
    bool decode_by_shape();
    void note(std::string_view token, const Node* node) {
        if (learnable) {
            values.push_back({token, node != nullptr && node->column});
            if (values.back().wanted) {
                wanted_columns.push_back(*node->column);
            }
        }
    }
    void learn(std::string_view document);

    // Only if the event time is a computed one.
    model::Arena kept_arena;
    std::vector<Kept> kept;
    std::vector<Header> kept_headers;
    Column times;
    config::Program::Scratch scratch;

    explicit Work(const Plan& p)
        : plan(p), scanned(simdjson::SIMDJSON_PADDING + p.longest_name), seen(p.nodes, 0) {
        const std::size_t depth = std::max<std::size_t>(1024, p.source->max_depth + 2);
        // The first document makes it grow to what is needed.
        INVARIANT(parser.allocate(16 * 1024, depth) == simdjson::SUCCESS,
                  "memory for a 16 KiB parser");
    }

    // By column number, into the batch; the members of a Scalar are set one by one, because a store
    // of its parts followed by a load of the whole stalls.
    struct Cells {
        Type* type;
        model::Payload* value;
    };
    std::vector<Cells> cells;
    void set(std::uint32_t c, const Scalar& value) {
        cells[c].type[row] = value.type;
        cells[c].value[row] = value.value;
    }
    void set_null(std::uint32_t c) { cells[c].type[row] = Type::null; }
    void set_integer(std::uint32_t c, std::int64_t v) {
        cells[c].type[row] = Type::integer;
        cells[c].value[row].integer = v;
    }
    void set_text(std::uint32_t c, std::string_view text) {
        cells[c].type[row] = Type::text;
        cells[c].value[row].text = {text.data(), static_cast<std::uint32_t>(text.size())};
    }

    void forget(const Node& node) {
        if (node.column) {
            set_null(*node.column);
        }
        for (const auto& m : node.members) {
            forget(*m.node);
        }
        for (const auto& e : node.elements) {
            forget(*e.node);
        }
    }

    // Marks the node as met in this document; what an earlier duplicate left below it goes.
    void enter(const Node& node) {
        if (seen[node.number] == serial) {
            forget(node);
            learnable = false;
        }
        seen[node.number] = serial;
    }

    // The walk. `node` is null where no column is named below. Returns a reason or null.
    const char* walk_members(ondemand::object& object, const Node* node, std::uint32_t depth);
    const char* walk_elements(ondemand::array& array, const Node* node, std::uint32_t depth);
    const char* walk(ondemand::value& value, const Node* node, std::uint32_t depth);
    const char* text(ondemand::value& value, std::string_view token, const Node* node);
    const char* number(std::string_view token, const Node* node);
    bool set_number(std::string_view token, std::uint32_t column);
    const char* literal(std::string_view token, const Node* node, std::string_view word,
                        const Scalar& scalar);
    const Node* find(const Node& node, std::string_view name) const {
        for (const auto& m : node.members) {
            if (m.name == name) {
                return m.node.get();
            }
        }
        return nullptr;
    }
    const Node* find_at(const Node& node, const char* at) const {
        std::uint64_t word = 0;
        std::memcpy(&word, at, sizeof word);
        for (const auto& m : node.members) {
            if (m.is_at(at, word)) {
                return m.node.get();
            }
        }
        return nullptr;
    }

    const char* document(std::string_view value);
    void kafka_columns(const Record& record);
    bool short_time(std::uint32_t column, EventTime& time) const;
    void set_aside(const Record& record, std::string reason);
    void keep(const Record& record);

    // The record appended last; its value is in `scanned`, unless it was hashed at once.
    struct Last {
        bool has_key = false;
        std::string key;
        std::size_t value_size = 0;
        model::EventTime timestamp = -1;
        std::optional<std::uint64_t> hash;
    };
    Last last;
    void remember(const Record& record);
};

void Decoder::Work::remember(const Record& record) {
    if (!record.damage.empty() || !record.has_value || record.value.empty() ||
        record.value.size() > plan.source->max_bytes) {
        last.hash = probe_hash(record);  // document() does not see it
        return;
    }
    last.hash.reset();
    last.has_key = record.has_key;
    if (record.has_key) {
        last.key.assign(record.key);
    }
    last.value_size = record.value.size();
    last.timestamp = record.timestamp;
}

std::uint64_t Decoder::last_probe() const {
    const Work::Last& last = work_->last;
    if (last.hash) {
        return *last.hash;
    }
    Record record;
    record.has_key = last.has_key;
    record.key = last.has_key ? std::string_view(last.key) : std::string_view();
    record.has_value = true;
    record.value = work_->scanned.copy().substr(0, last.value_size);
    record.timestamp = last.timestamp;
    return probe_hash(record);
}

const char* Decoder::Work::text(ondemand::value& value, std::string_view token, const Node* node) {
    // To consume it is enough.
    ondemand::raw_json_string raw;
    if (const auto error = value.get_raw_json_string().get(raw)) {
        return reason_of(error);
    }
    const bool named = node != nullptr && node->column;
    if (!escapes) {
        token = trimmed(token);
        note(token, node);
        if (named) {
            set_text(*node->column, batch->records.arena.copy(token.substr(1, token.size() - 2)));
        }
        return nullptr;
    }
    if (!unescape(token.data() + 1, unescaped)) {
        return kBadEscape;
    }
    if (named) {
        set_text(*node->column, batch->records.arena.copy(unescaped));
    }
    return nullptr;
}

const char* Decoder::Work::number(std::string_view token, const Node* node) {
    token = trimmed(token);
    note(token, node);
    if (node == nullptr || !node->column) {
        return is_json_number(token) ? nullptr : kBadNumber;
    }
    return set_number(token, *node->column) ? nullptr : kBadNumber;
}

// False: it is none.
bool Decoder::Work::set_number(std::string_view token, std::uint32_t column) {
    if (std::int64_t integer = 0; short_integer(token, integer)) {
        set_integer(column, integer);
        return true;
    }
    const model::Computed read = model::parse_json_number(token);
    if (read.fault == model::Fault::unreadable) {
        return false;
    }
    model::count(batch->errors, read.fault);
    set(column, read.fault == model::Fault::none ? read.value : Scalar::null());
    return true;
}

const char* Decoder::Work::literal(std::string_view token, const Node* node, std::string_view word,
                                   const Scalar& scalar) {
    token = trimmed(token);
    if (token != word) {
        return kBadLiteral;
    }
    note(token, node);
    if (node != nullptr && node->column) {
        set(*node->column, scalar);
    }
    return nullptr;
}

const char* Decoder::Work::walk(ondemand::value& value, const Node* node, std::uint32_t depth) {
    if (node != nullptr) {
        enter(*node);
    }
    const std::string_view token = value.raw_json_token();
    switch (token.empty() ? '\0' : token.front()) {
        case '"':
            return text(value, token, node);
        case '{': {
            if (node != nullptr && node->column) {
                ++batch->errors.wrong_type;
                learnable = false;
            }
            ondemand::object object;
            if (const auto error = value.get_object().get(object)) {
                return reason_of(error);
            }
            return walk_members(object, node, depth + 1);
        }
        case '[': {
            if (node != nullptr && node->column) {
                ++batch->errors.wrong_type;
                learnable = false;
            }
            ondemand::array array;
            if (const auto error = value.get_array().get(array)) {
                return reason_of(error);
            }
            return walk_elements(array, node, depth + 1);
        }
        case 't':
            return literal(token, node, "true", Scalar::of(true));
        case 'f':
            return literal(token, node, "false", Scalar::of(false));
        case 'n':
            return literal(token, node, "null", Scalar::null());
        default:
            return number(token, node);
    }
}

const char* Decoder::Work::walk_members(ondemand::object& object, const Node* node,
                                        std::uint32_t depth) {
    if (depth > plan.source->max_depth) {
        return "nested too deeply";
    }
    for (auto item : object) {
        if (item.error() != simdjson::SUCCESS) {
            return reason_of(item.error());
        }
        // By reference: copying it costs more than the rest of the loop (small stores, wide loads).
        ondemand::field&& field = std::move(item).value_unsafe();
        const char* name = field.key().raw();
        const Node* next = nullptr;
        if (!escapes) {
            next = node == nullptr ? nullptr : find_at(*node, name);
        } else {
            if (!unescape(name, unescaped)) {
                return kBadEscape;
            }
            next = node == nullptr ? nullptr : find(*node, unescaped);
        }
        if (const char* reason = walk(field.value(), next, depth)) {
            return reason;
        }
    }
    return nullptr;
}

const char* Decoder::Work::walk_elements(ondemand::array& array, const Node* node,
                                         std::uint32_t depth) {
    if (depth > plan.source->max_depth) {
        return "nested too deeply";
    }
    std::int64_t index = 0;
    for (auto item : array) {
        if (item.error() != simdjson::SUCCESS) {
            return reason_of(item.error());
        }
        ondemand::value&& value = std::move(item).value_unsafe();
        const Node* next = nullptr;
        if (node != nullptr) {
            for (const auto& e : node->elements) {
                if (e.index == index) {
                    next = e.node.get();
                }
            }
        }
        if (const char* reason = walk(value, next, depth)) {
            return reason;
        }
        ++index;
    }
    return nullptr;
}

// Decodes one document into the columns of the row; a reason if it cannot be.
const char* Decoder::Work::document(std::string_view value) {
    if (value.empty()) {
        return "empty value";
    }
    scanned.take(value);
    if (value.starts_with("\xEF\xBB\xBF")) {
        return "not JSON: a byte order mark";
    }
    ++serial;
    if (decode_by_shape()) {
        return nullptr;
    }
    const std::string_view document = scanned.copy();
    escapes = scanned.special() && document.contains('\\');
    values.clear();
    wanted_columns.clear();
    learnable = !escapes && (shapes.size() < kShapes || serial - learned_at >= kLearnEvery);

    ondemand::document doc;
    if (const auto error = parser
                               .iterate(simdjson::padded_string_view(
                                   document.data(), document.size(), scanned.readable()))
                               .get(doc)) {
        return reason_of(error);
    }
    ondemand::json_type type{};
    if (const auto error = doc.type().get(type)) {
        return reason_of(error);
    }
    if (type != ondemand::json_type::object) {
        return "the top level is no object";
    }
    ondemand::object object;
    if (const auto error = doc.get_object().get(object)) {
        return reason_of(error);
    }
    if (const char* reason = walk_members(object, &plan.root, 1)) {
        return reason;
    }
    const char* rest = nullptr;
    if (doc.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
        return "text follows the JSON value";
    }
    if (learnable) {
        learn(document);
    }
    return nullptr;
}

bool Decoder::Work::decode_by_shape() {
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        if (!shapes[fitted].layout.fits(scanned, wanted_tokens)) {
            fitted = fitted + 1 == shapes.size() ? 0 : fitted + 1;
            continue;
        }
        const auto& columns = shapes[fitted].columns;
        for (std::size_t k = 0; k < columns.size(); ++k) {
            const std::string_view token = wanted_tokens[k];
            const std::uint32_t column = columns[k];
            switch (token.front()) {
                case '"':
                    set_text(column,
                             batch->records.arena.copy_padded(token.substr(1, token.size() - 2)));
                    break;
                case 't':
                case 'f':
                    set(column, Scalar::of(token.front() == 't'));
                    break;
                case 'n':
                    break;  // it is null
                default:
                    set_number(token, column);
            }
        }
        return true;
    }
    return false;
}

// Documents of equal shape come in long runs, or a few shapes take turns.
void Decoder::Work::learn(std::string_view document) {
    Shape shape{DocumentShape(document, values), wanted_columns};
    learned_at = serial;
    if (shapes.size() < kShapes) {
        fitted = shapes.size();
        shapes.push_back(std::move(shape));
        return;
    }
    fitted = (fitted + 1) % kShapes;
    shapes[fitted] = std::move(shape);
}

void Decoder::Work::kafka_columns(const Record& record) {
    const model::Partition& partition = (*plan.partitions)[batch->records.partition];
    for (const auto c : plan.topic) {
        set(c, Scalar::of(std::string_view(partition.topic)));
    }
    for (const auto c : plan.partition) {
        set(c, Scalar::of(std::int64_t{partition.id}));
    }
    for (const auto c : plan.offset) {
        set(c, Scalar::of(record.offset));
    }
    for (const auto c : plan.timestamp) {
        set(c, record.timestamp == -1 ? Scalar::null() : Scalar::of(record.timestamp));
    }
    for (const auto c : plan.key) {
        set(c, record.has_key ? Scalar::of(batch->records.arena.copy(record.key)) : Scalar::null());
    }
    for (const auto& wanted : plan.headers) {
        std::optional<std::string_view> value;
        for (const auto& header : record.headers()) {  // of equal ones the last
            if (header.name == wanted.header) {
                value = header.value;
            }
        }
        set(wanted.column, value ? Scalar::of(batch->records.arena.copy(*value)) : Scalar::null());
    }
}

// The event time, if it is an integer within the years or its text, as most are. False:
// event_time() has to look. Members are read one by one, because a load of the whole right after
// their stores stalls.
bool Decoder::Work::short_time(std::uint32_t column, EventTime& time) const {
    if (plan.units_per_second == 0) {
        return false;
    }
    const model::Payload& value = cells[column].value[row];
    std::int64_t integer = 0;
    if (cells[column].type[row] == Type::text) {
        if (!short_integer({value.text.data, value.text.size}, integer)) {
            return false;
        }
    } else if (cells[column].type[row] == Type::integer) {
        integer = value.integer;
    } else {
        return false;
    }
    return integer_to_ms(integer, plan.units_per_second, time);
}

void Decoder::Work::set_aside(const Record& record, std::string reason) {
    SetAside s;
    s.row = static_cast<std::uint32_t>(row);
    s.reason = std::move(reason);
    s.first_offset = record.damage.empty() ? record.offset : record.first_offset;
    s.timestamp = record.timestamp;
    if (record.has_key) {
        s.key = std::string(record.key);
    }
    if (record.has_value) {
        s.value = std::string(record.value);
    }
    for (const auto& h : record.headers()) {
        s.headers.emplace_back(h.name,
                               h.value ? std::optional<std::string>(*h.value) : std::nullopt);
    }
    batch->set_aside.push_back(std::move(s));
}

void Decoder::Work::keep(const Record& record) {
    Kept k;
    k.has_key = record.has_key;
    k.key = kept_arena.copy(record.key);
    k.value = kept_arena.copy(record.value);
    k.first_header = kept_headers.size();
    k.timestamp = record.timestamp;
    for (const auto& h : record.headers()) {
        kept_headers.push_back({kept_arena.copy(h.name), std::nullopt});
        if (h.value) {
            kept_headers.back().value = kept_arena.copy(*h.value);
        }
    }
    k.headers = kept_headers.size() - k.first_header;
    kept.resize(row + 1);
    kept[row] = k;
}

Decoder::Decoder(const config::Pipeline& pipeline, const std::vector<model::Partition>& partitions)
    : plan_(std::make_unique<Plan>(pipeline, partitions)), work_(std::make_unique<Work>(*plan_)) {}

Decoder::~Decoder() = default;

void Decoder::begin(DecodedBatch& batch, std::uint32_t partition, std::size_t max_rows) {
    batch.clear();
    auto& records = batch.records;
    records.partition = partition;
    records.offset.resize(max_rows);
    records.timestamp.resize(max_rows);
    records.status.resize(max_rows);
    records.watermark.resize(max_rows);
    records.columns.resize(plan_->columns);
    for (auto& column : records.columns) {
        if (column.type.size() < max_rows) {
            column.resize(max_rows);
        }
    }
    batch.append_time.resize(max_rows);
    Work& w = *work_;
    w.batch = &batch;
    w.cells.clear();
    for (auto& column : records.columns) {
        w.cells.push_back({column.type.data(), column.value.data()});
    }
    w.max_rows = max_rows;
    w.row = 0;
    w.kept.clear();
    w.kept_headers.clear();
    w.kept_arena.clear();
}

void Decoder::append(const Record& record) {
    Work& w = *work_;
    INVARIANT(w.row < w.max_rows, "a batch has room for the record");
    auto& records = w.batch->records;
    const std::size_t row = w.row;
    records.offset[row] = record.offset;
    records.timestamp[row] = 0;
    records.status[row] = RowStatus::undecodable;
    records.watermark[row] = model::kBeforeAll;
    w.batch->append_time[row] = record.append_time ? record.timestamp : model::kAfterAll;
    for (const auto c : plan_->json_columns) {
        w.set_null(c);
    }

    const config::Source& source = *plan_->source;
    w.remember(record);
    if (!record.damage.empty()) {
        w.set_aside(record, std::string(record.damage));
    } else if (!record.has_value) {
        records.status[row] = RowStatus::null_value;
        if (source.on_null != config::OnError::drop) {
            w.set_aside(record, "null value");
        }
    } else if (record.value.size() > source.max_bytes) {
        w.set_aside(record, "longer than " + std::to_string(source.max_bytes) + " bytes");
    } else if (const char* reason = w.document(record.value)) {
        w.set_aside(record, reason);
    } else {
        if (plan_->from_kafka) {
            w.kafka_columns(record);
        }
        records.status[row] = RowStatus::ok;
        if (source.timestamp_from_kafka) {
            if (record.timestamp == -1) {
                records.status[row] = RowStatus::undecodable;
                w.set_aside(record, kNoTime);
            } else if (!in_calendar(record.timestamp)) {
                records.status[row] = RowStatus::undecodable;
                w.set_aside(record, kFarTime);
            } else {
                records.timestamp[row] = record.timestamp;
            }
        } else if (plan_->time_column) {
            if (w.short_time(*plan_->time_column, records.timestamp[row])) {
                ++w.row;
                records.rows = w.row;
                return;
            }
            const auto time =
                event_time(records.columns[*plan_->time_column].at(row), source.timestamp_unit);
            if (time) {
                records.timestamp[row] = *time;
            } else {
                records.status[row] = RowStatus::undecodable;
                w.set_aside(record, time.error());
            }
        } else {
            w.keep(record);
        }
    }
    ++w.row;
    records.rows = w.row;
}

void Decoder::finish() {
    Work& w = *work_;
    DecodedBatch& batch = *w.batch;
    auto& records = batch.records;
    const std::size_t rows = w.row;
    records.offset.resize(rows);
    records.timestamp.resize(rows);
    records.status.resize(rows);
    records.watermark.resize(rows);
    batch.append_time.resize(rows);
    const config::Source& source = *plan_->source;
    if (source.timestamp_from_kafka || plan_->time_column) {
        return;
    }

    model::Selection selection;
    for (std::size_t row = 0; row < rows; ++row) {
        if (records.status[row] == RowStatus::ok) {
            selection.push_back(static_cast<std::uint32_t>(row));
        }
    }
    w.times.resize(rows);
    source.timestamp->evaluate(records.columns, rows, selection, w.times, records.arena, w.scratch);
    batch.errors += w.scratch.errors;
    w.scratch.errors = {};
    bool added = false;
    for (const std::uint32_t row : selection) {
        const auto time = event_time(w.times.at(row), source.timestamp_unit);
        if (time) {
            records.timestamp[row] = *time;
            continue;
        }
        records.status[row] = RowStatus::undecodable;
        const Kept& k = w.kept[row];
        Record record;
        record.offset = records.offset[row];
        record.timestamp = k.timestamp;
        record.has_key = k.has_key;
        record.has_value = true;
        record.key = k.key;
        record.value = k.value;
        PlainHeaders headers(std::span(w.kept_headers).subspan(k.first_header, k.headers));
        record.header_source = &headers;
        w.row = row;
        w.set_aside(record, time.error());
        added = true;
    }
    w.row = rows;
    if (added) {
        std::ranges::sort(batch.set_aside, {}, &SetAside::row);
    }
}

std::size_t Decoder::rows() const { return work_->row; }
std::size_t Decoder::max_rows() const { return work_->max_rows; }
std::size_t Decoder::text_bytes() const { return work_->batch->records.arena.used_bytes(); }

}  // namespace sluice::ingest
