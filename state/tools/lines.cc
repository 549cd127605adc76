#include "state/tools/lines.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "state/model/key.h"
#include "state/model/number.h"
#include "state/reduce/encoding.h"
#include "state/tools/row_check.h"

namespace sluice::state {
namespace {

using config::ReductionKind;
using model::Scalar;
using model::Type;
using Kind = JsonTree::Kind;

constexpr std::size_t kResultsAtOnce = 1024;
constexpr std::size_t kFloatPlaces = 1074;  // binary places of the least double

constexpr std::pair<ReductionKind, std::string_view> kKindNames[] = {
    {ReductionKind::count, "count"}, {ReductionKind::sum, "sum"}, {ReductionKind::mean, "mean"},
    {ReductionKind::min, "min"},     {ReductionKind::max, "max"}, {ReductionKind::first, "first"},
    {ReductionKind::last, "last"}};
constexpr std::pair<std::uint8_t, std::string_view> kTypeNames[] = {
    {kIntegers, "integer"}, {kDecimals, "decimal"}, {kFloats, "float"}};

std::string_view name_of(ReductionKind kind) {
    for (const auto& [known, name] : kKindNames) {
        if (known == kind) {
            return name;
        }
    }
    return "";
}

// ---- Exact floats: an odd mantissa in hex, times a power of two

std::string float_total_text(const FloatTotal& total) {
    const auto canonical = total.bytes();
    if (canonical.bytes.empty()) {
        return "0";
    }
    std::vector<unsigned> bytes;
    const bool negative = total.negative();
    unsigned carry = 1;
    for (const char c : canonical.bytes) {
        const auto byte = static_cast<unsigned>(static_cast<unsigned char>(c));
        const unsigned flipped = negative ? (byte ^ 0xffU) + carry : byte;
        carry = flipped >> 8;
        bytes.push_back(flipped & 0xffU);
    }
    bytes.push_back(0);
    const int zeros = std::countr_zero(bytes.front());  // the lowest byte is not 0
    std::string digits;
    for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
        const unsigned shifted = ((bytes[i] | (bytes[i + 1] << 8)) >> zeros) & 0xffU;
        constexpr std::string_view kDigits = "0123456789abcdef";
        digits.push_back(kDigits[shifted & 15U]);
        digits.push_back(kDigits[shifted >> 4]);
    }
    while (digits.back() == '0') {
        digits.pop_back();
    }
    std::reverse(digits.begin(), digits.end());
    const auto exponent = static_cast<std::int64_t>(8 * canonical.place) + zeros -
                          static_cast<std::int64_t>(kFloatPlaces);
    return (negative ? "-0x" : "0x") + digits + "*2^" + std::to_string(exponent);
}

std::optional<FloatTotal> float_total_from(std::string_view text) {
    if (text == "0") {
        return FloatTotal();
    }
    const bool negative = text.starts_with('-');
    text.remove_prefix(negative ? 1 : 0);
    const auto times = text.find("*2^");
    if (!text.starts_with("0x") || times == std::string_view::npos) {
        return std::nullopt;
    }
    const auto digits = text.substr(2, times - 2);
    const auto exponent = model::parse_number(text.substr(times + 3)).value;
    if (digits.empty() || digits.size() > 2 * FloatTotal::kMaxBytes ||
        exponent.type != Type::integer) {
        return std::nullopt;
    }
    const std::int64_t shift = exponent.value.integer + static_cast<std::int64_t>(kFloatPlaces);
    if (shift < 0 || shift > static_cast<std::int64_t>(8 * FloatTotal::kMaxBytes)) {
        return std::nullopt;
    }
    std::string bytes;  // of the mantissa, from the lowest bit of the place
    unsigned over = 0;  // bits that go into the next byte
    const unsigned bits = static_cast<unsigned>(shift % 8);
    for (std::size_t i = 0; i < digits.size() || over != 0; i += 2) {
        unsigned byte = 0;
        for (std::size_t half = 0; half < 2; ++half) {
            if (i + half < digits.size()) {
                const char c = digits[digits.size() - 1 - i - half];
                if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
                    return std::nullopt;
                }
                byte |= static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10) << (4 * half);
            }
        }
        const unsigned shifted = (byte << bits) | over;
        bytes.push_back(static_cast<char>(shifted & 0xffU));
        over = shifted >> 8;
    }
    auto place = static_cast<std::size_t>(shift / 8);
    bytes.push_back('\0');
    if (negative) {
        unsigned carry = 1;
        for (char& c : bytes) {
            const unsigned flipped =
                (static_cast<unsigned>(static_cast<unsigned char>(c)) ^ 0xffU) + carry;
            carry = flipped >> 8;
            c = static_cast<char>(flipped & 0xffU);
        }
    }
    // Canonical: no needless byte at either end.
    const auto top = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    while (bytes.size() > 1 && ((top(bytes.size() - 1) == 0 && top(bytes.size() - 2) < 0x80) ||
                                (top(bytes.size() - 1) == 0xff && top(bytes.size() - 2) >= 0x80))) {
        bytes.pop_back();
    }
    const auto first = bytes.find_first_not_of('\0');
    if (first == std::string::npos) {
        return FloatTotal();
    }
    return FloatTotal::from_bytes(place + first, std::string_view(bytes).substr(first));
}

// ---- Rows to text

void append_scalar_json(std::string& out, const Scalar& v) {
    switch (v.type) {
        case Type::null:
            out.append("null");
            break;
        case Type::text:
            append_json_text(out, v.value.text.view());
            break;
        case Type::decimal:
            out.append("{\"decimal\":\"");
            model::append_printed(out, v);
            out.append("\"}");
            break;
        case Type::real:
            out.append("{\"float\":");
            model::append_printed(out, v);
            out.push_back('}');
            break;
        default:
            model::append_printed(out, v);
    }
}

void append_sum_json(std::string& out, ReductionKind kind, const SumState& sum) {
    out.append("{\"types\":[");
    bool any = false;
    for (const auto& [flag, name] : kTypeNames) {
        if ((sum.flags & flag) != 0) {
            out.append(any ? ",\"" : "\"").append(name).push_back('"');
            any = true;
        }
    }
    out.append("],\"total\":\"").append(sum.total.all_digits()).push_back('"');
    if ((sum.flags & kFloats) != 0) {
        out.append(",\"floats\":\"").append(float_total_text(sum.floats)).push_back('"');
    }
    if (kind == ReductionKind::mean) {
        out.append(",\"count\":").append(std::to_string(sum.count));
    }
    out.push_back('}');
}

void append_ordered_json(std::string& out, const OrderedState& ordered) {
    if (!ordered.present) {
        out.append("null");
        return;
    }
    out.append("{\"timestamp\":").append(std::to_string(ordered.order.timestamp));
    out.append(",\"topic\":");
    append_json_text(out, ordered.order.topic);
    out.append(",\"partition\":").append(std::to_string(ordered.order.partition));
    out.append(",\"offset\":").append(std::to_string(ordered.order.offset));
    out.append(",\"element\":").append(std::to_string(ordered.order.element));
    out.append(",\"value\":");
    append_scalar_json(out, ordered.value);
    out.push_back('}');
}

bool append_accumulator(std::string& out, RowReader& reader, ReductionKind kind) {
    switch (kind) {
        case ReductionKind::count: {
            std::uint64_t count = 0;
            if (!reader.read_count(count)) {
                return false;
            }
            out.append(std::to_string(count));
            return true;
        }
        case ReductionKind::sum:
        case ReductionKind::mean: {
            SumState sum;
            if (!reader.read_sum(kind, sum)) {
                return false;
            }
            append_sum_json(out, kind, sum);
            return true;
        }
        case ReductionKind::min:
        case ReductionKind::max: {
            ExtremeState extreme;
            if (!reader.read_extreme(extreme)) {
                return false;
            }
            if (extreme.state == ScalarState::mixed) {
                out.append("{\"mixed\":true}");
            } else {
                append_scalar_json(out, extreme.value);
            }
            return true;
        }
        case ReductionKind::first:
        case ReductionKind::last: {
            OrderedState ordered;
            if (!reader.read_ordered(ordered)) {
                return false;
            }
            append_ordered_json(out, ordered);
            return true;
        }
    }
    return false;
}

bool read_rev(std::string_view row, std::uint64_t& rev) {
    RowReader reader(row);
    return reader.read_header(rev);
}

void append_result(std::string& out, const config::Reduction& reduction,
                   const model::ResultBatch& batch, std::size_t row) {
    out.append(",\"result\":{");
    for (std::size_t i = 0; i < reduction.values.size(); ++i) {
        if (i != 0) {
            out.push_back(',');
        }
        append_json_text(out, reduction.values[i].name);
        out.push_back(':');
        append_value(out, batch.values[i].at(row));
    }
    out.push_back('}');
}

// ---- Text to rows

std::unexpected<model::Error> wrong(std::string text) { return model::invalid(std::move(text)); }

template <class Integer>
model::Result<Integer> integer_from(const JsonTree& json, std::string_view what) {
    Integer value{};
    const char* const end = json.text.data() + json.text.size();
    if (!json.is(Kind::number)) {
        return wrong(std::string(what) + " is no number");
    }
    const auto read = std::from_chars(json.text.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end) {
        return wrong(std::string(what) + " is no number that fits: " + json.text);
    }
    return value;
}

model::Result<std::string> bytes_from(const JsonTree& json, std::string_view what) {
    if (json.is(Kind::text)) {
        return json.text;
    }
    if (const auto* encoded = json.member("base64");
        encoded != nullptr && encoded->is(Kind::text) && json.members.size() == 1) {
        return from_base64(encoded->text);
    }
    return wrong(std::string(what) + " is no text");
}

model::Status only_members(const JsonTree& json, std::string_view what,
                           std::initializer_list<std::string_view> known) {
    if (!json.is(Kind::object)) {
        return wrong(std::string(what) + " is no object");
    }
    for (const auto& [name, value] : json.members) {
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            return wrong(std::string(what) + " has a member that means nothing: " + name);
        }
    }
    return {};
}

model::Result<Scalar> number_from(const std::string& digits) {
    const auto number = model::parse_number(digits);
    if (number.value.is_null()) {
        return wrong("beyond what a number can hold: " + digits);
    }
    return number.value;
}

// A scalar; texts lie in `storage`.
model::Result<Scalar> scalar_from(const JsonTree& json, std::string& storage) {
    switch (json.kind) {
        case Kind::null:
            return Scalar::null();
        case Kind::boolean:
            return Scalar::of(json.boolean);
        case Kind::number:
            return number_from(json.text);
        case Kind::text:
            storage = json.text;
            return Scalar::of(std::string_view(storage));
        case Kind::list:
            break;
        case Kind::object:
            if (json.members.size() != 1) {
                break;
            }
            const auto& [name, value] = json.members.front();
            if (name == "decimal" && value.is(Kind::text)) {
                const auto total = ExactTotal::from_digits(value.text);
                const auto decimal = total ? total->decimal() : std::nullopt;
                return decimal ? model::Result<Scalar>(Scalar::of_decimal(*decimal))
                               : wrong("not a decimal: " + value.text);
            }
            if (name == "float" && value.is(Kind::number)) {
                double real = 0;
                const char* const end = value.text.data() + value.text.size();
                const auto read = std::from_chars(value.text.data(), end, real);
                return read.ec == std::errc() && read.ptr == end
                           ? model::Result<Scalar>(Scalar::of(without_negative_zero(real)))
                           : wrong("not a float: " + value.text);
            }
            if (name == "base64") {
                TRY(bytes, bytes_from(json, "a value"));
                storage = std::move(bytes);
                return Scalar::of(std::string_view(storage));
            }
            break;
    }
    return wrong("not a value");
}

model::Status add_number(SumState& sum, const Scalar& number) {
    switch (number.type) {
        case Type::integer:
            sum.flags |= kIntegers;
            static_cast<void>(sum.total.add(ExactTotal(model::decimal_of(number.value.integer))));
            return {};
        case Type::decimal:
            sum.flags |= kDecimals;
            static_cast<void>(sum.total.add(ExactTotal(number.value.decimal)));
            return {};
        case Type::real:
            sum.flags |= kFloats;
            sum.floats.add(number.value.real);
            return {};
        default:
            return wrong("a sum is a number");
    }
}

// A plain number, or everything: {"types","total","floats"}. For a mean "count" and "sum" or those.
model::Result<SumState> sum_from(const JsonTree& json, ReductionKind kind) {
    SumState sum;
    std::string storage;
    if (json.is(Kind::null)) {
        return sum;
    }
    const bool mean = kind == ReductionKind::mean;
    const bool whole = json.member("total") != nullptr;
    if (!whole && !mean) {
        TRY(number, scalar_from(json, storage));
        TRY(add_number(sum, number));
        return sum;
    }
    TRY(only_members(json, "a sum", {"types", "total", "floats", "count", "sum"}));
    if (mean) {
        const auto* count = json.member("count");
        if (count == nullptr) {
            return wrong("a mean is given by its sum and its count");
        }
        TRY(number, integer_from<std::uint64_t>(*count, "the count of a mean"));
        sum.count = number;
    } else if (json.member("count") != nullptr) {
        return wrong("a sum has no count");
    }
    if (!whole) {
        const auto* plain = json.member("sum");
        if (plain == nullptr || json.members.size() != 2) {
            return wrong("a mean is given by its sum and its count");
        }
        if (sum.count != 0) {
            TRY(number, scalar_from(*plain, storage));
            TRY(add_number(sum, number));
        }
        return sum;
    }
    const auto* types = json.member("types");
    const auto* total = json.member("total");
    const auto* floats = json.member("floats");
    if (json.member("sum") != nullptr || types == nullptr || !types->is(Kind::list)) {
        return wrong("a sum has `types` and `total`");
    }
    for (const auto& type : types->list) {
        const auto* known =
            std::find_if(std::begin(kTypeNames), std::end(kTypeNames),
                         [&](const auto& entry) { return entry.second == type.text; });
        if (!type.is(Kind::text) || known == std::end(kTypeNames)) {
            return wrong("`types` are integer, decimal and float");
        }
        sum.flags |= known->first;
    }
    const auto exact = total->is(Kind::text) ? ExactTotal::from_digits(total->text) : std::nullopt;
    if (!exact) {
        return wrong("`total` is no decimal");
    }
    sum.total = *exact;
    if ((sum.flags & (kIntegers | kDecimals)) == 0 && !sum.total.is_zero()) {
        return wrong("a total of floats stands in `floats`");
    }
    if ((sum.flags & kDecimals) == 0 && !sum.total.is_whole()) {
        return wrong("a total of integers is whole");
    }
    if ((floats != nullptr) != ((sum.flags & kFloats) != 0)) {
        return wrong("`floats` goes with the type float");
    }
    if (floats != nullptr) {
        auto read = floats->is(Kind::text) ? float_total_from(floats->text) : std::nullopt;
        if (!read) {
            return wrong("`floats` is no exact number");
        }
        sum.floats = std::move(*read);
    }
    if (mean && (sum.count != 0) != (sum.flags != 0)) {
        return wrong("a mean has types exactly if it has values");
    }
    return sum;
}

model::Status append_accumulator_of(std::string& out, ReductionKind kind, const JsonTree& json) {
    std::string storage;
    switch (kind) {
        case ReductionKind::count: {
            std::uint64_t count = 0;
            if (!json.is(Kind::null)) {
                TRY(number, integer_from<std::uint64_t>(json, "a count"));
                count = number;
            }
            append_count(out, count);
            return {};
        }
        case ReductionKind::sum:
        case ReductionKind::mean: {
            TRY(sum, sum_from(json, kind));
            append_sum(out, kind, sum.flags, sum.total, &sum.floats, sum.count);
            return {};
        }
        case ReductionKind::min:
        case ReductionKind::max: {
            ExtremeState extreme;
            if (const auto* mixed = json.member("mixed"); mixed != nullptr && mixed->boolean) {
                extreme.state = ScalarState::mixed;
            } else {
                TRY(value, scalar_from(json, storage));
                extreme.value = value;
                extreme.state = value.is_null() ? ScalarState::none : ScalarState::value;
            }
            append_extreme(out, kind, extreme);
            return {};
        }
        case ReductionKind::first:
        case ReductionKind::last: {
            OrderedState ordered;
            std::string topic;
            if (!json.is(Kind::null)) {
                TRY(only_members(
                    json, "a first or last",
                    {"timestamp", "topic", "partition", "offset", "element", "value"}));
                const auto* timestamp = json.member("timestamp");
                const auto* value = json.member("value");
                if (timestamp == nullptr || value == nullptr) {
                    return wrong("a first or last has at least `timestamp` and `value`");
                }
                ordered.present = true;
                TRY(when, integer_from<model::EventTime>(*timestamp, "`timestamp`"));
                ordered.order.timestamp = when;
                if (const auto* named = json.member("topic")) {
                    TRY(name, bytes_from(*named, "`topic`"));
                    topic = std::move(name);
                    ordered.order.topic = topic;
                }
                if (const auto* number = json.member("partition")) {
                    TRY(partition, integer_from<std::int32_t>(*number, "`partition`"));
                    ordered.order.partition = partition;
                }
                if (const auto* number = json.member("offset")) {
                    TRY(offset, integer_from<std::int64_t>(*number, "`offset`"));
                    ordered.order.offset = offset;
                }
                if (const auto* number = json.member("element")) {
                    TRY(element, integer_from<std::uint32_t>(*number, "`element`"));
                    ordered.order.element = element;
                }
                TRY(scalar, scalar_from(*value, storage));
                if (scalar.is_null()) {
                    return wrong("a first or last of null is null itself");
                }
                ordered.value = scalar;
            }
            append_ordered(out, kind, ordered);
            return {};
        }
    }
    return wrong("an unknown kind of accumulator");
}

model::Status append_from_state(std::string& row, const Shape& shape, const JsonTree& state) {
    if (!state.is(Kind::list) || (shape.reduction && state.list.size() != shape.kinds.size())) {
        return wrong("`state` has one member for each of the reduction's " +
                     std::to_string(shape.kinds.size()) + " calls");
    }
    for (std::size_t i = 0; i < state.list.size(); ++i) {
        const auto& entry = state.list[i];
        if (!entry.is(Kind::object) || entry.members.size() != 1) {
            return wrong("a member of `state` is an object of one member");
        }
        const auto& [name, value] = entry.members.front();
        const auto* known = std::find_if(std::begin(kKindNames), std::end(kKindNames),
                                         [&](const auto& k) { return k.second == name; });
        if (known == std::end(kKindNames)) {
            return wrong("no accumulator is called " + name);
        }
        if (shape.reduction && shape.kinds[i] != known->first) {
            return wrong("`state` has " + name + " where the reduction has " +
                         std::string(name_of(shape.kinds[i])));
        }
        TRY(append_accumulator_of(row, known->first, value));
    }
    return {};
}

// Where results alone are enough: every call is a value by itself.
model::Status append_from_result(std::string& row, const Shape& shape, const JsonTree& result) {
    if (!shape.reduction) {
        return wrong("the inputs do not say what `" + shape.id + "` computes: `state` is needed");
    }
    const auto& reduction = *shape.reduction;
    if (!result.is(Kind::object)) {
        return wrong("`result` is no object");
    }
    for (const auto& [name, value] : result.members) {
        if (std::none_of(reduction.values.begin(), reduction.values.end(),
                         [&](const auto& v) { return v.name == name; })) {
            return wrong("`" + shape.id + "` has no value `" + name + "`");
        }
    }
    for (const auto& call : reduction.calls) {
        const auto value = std::find_if(reduction.values.begin(), reduction.values.end(),
                                        [&](const auto& v) { return v.text == call.text; });
        if (value == reduction.values.end()) {
            return wrong("`" + call.text + "` does not follow from the values of `" + shape.id +
                         "`: `state` is needed");
        }
        const auto* given = result.member(value->name);
        if (given == nullptr) {
            return wrong("`result` lacks `" + value->name + "`");
        }
        TRY(append_accumulator_of(row, call.kind, *given));
    }
    return {};
}

bool equal_results(const JsonTree& a, const JsonTree& b) {
    if (a.kind != b.kind) {
        return false;
    }
    switch (a.kind) {
        case Kind::null:
            return true;
        case Kind::boolean:
            return a.boolean == b.boolean;
        case Kind::number: {
            const auto x = model::parse_number(a.text).value;
            const auto y = model::parse_number(b.text).value;
            return a.text == b.text ||
                   (x.is_number() && y.is_number() && model::compare_numbers(x, y) == 0);
        }
        case Kind::text:
            return a.text == b.text;
        case Kind::list:
            return std::equal(a.list.begin(), a.list.end(), b.list.begin(), b.list.end(),
                              equal_results);
        case Kind::object:
            return a.members.size() == b.members.size() &&
                   std::all_of(a.members.begin(), a.members.end(), [&](const auto& member) {
                       const auto* other = b.member(member.first);
                       return other != nullptr && equal_results(member.second, *other);
                   });
    }
    return false;
}

}  // namespace

std::string encoded_key(const std::vector<std::string>& parts) {
    std::string key;
    for (const auto& part : parts) {
        model::append_key_part(key, part);
    }
    return key;
}

std::string header_line(const CheckpointMeta& meta, std::string_view inputs_text) {
    auto values = nlohmann::ordered_json::parse(meta_row_text(meta));
    for (const char* own : {"id", "kind", "provenance"}) {
        values.erase(own);
    }
    std::string line = "{\"snapshot\":";
    line += values.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
    line += ",\"inputs\":";
    append_json_text(line, inputs_text);
    line += "}\n";
    return line;
}

model::Result<std::optional<LinesHeader>> parse_header_line(std::string_view line) {
    try {
        auto json = nlohmann::ordered_json::parse(line);
        if (!json.is_object() || !json.contains("snapshot")) {
            return std::optional<LinesHeader>();
        }
        auto& values = json["snapshot"];
        values["id"] = 0;
        values["kind"] = "savepoint";
        values["provenance"] = "imported";
        LinesHeader header;
        TRY(meta, parse_meta_row(values.dump()));
        TRY(check_meta(meta));
        header.meta = std::move(meta);
        if (json.at("inputs").is_object()) {
            TRY(bytes, from_base64(json["inputs"].at("base64").get<std::string>()));
            header.inputs_text = std::move(bytes);
        } else {
            json.at("inputs").get_to(header.inputs_text);
        }
        return header;
    } catch (const nlohmann::json::exception& error) {
        return wrong(std::string("not a first line of a dump: ") + error.what());
    }
}

void append_place(std::string& out, const Shape& shape, const RowKey& key) {
    out.append("{\"reduction\":");
    append_json_text(out, shape.id);
    out.append(",\"window\":{");
    if (shape.window_ms) {
        out.append("\"start\":")
            .append(std::to_string(key.slice_end - *shape.window_ms))
            .append(",");
    }
    out.append("\"end\":").append(std::to_string(key.slice_end));
    if (key.accepted_from != 0) {
        out.append(",\"accepted_from\":").append(std::to_string(key.accepted_from));
    }
    out.append("},\"key\":[");
    bool first = true;
    for (const auto part : model::key_parts(key.key).value_or(std::vector<std::string_view>{})) {
        out.append(first ? "" : ",");
        append_json_text(out, part);
        first = false;
    }
    out.push_back(']');
}

void append_value(std::string& out, const Scalar& value) {
    if (value.type == Type::null) {
        out.append("null");
    } else if (value.type == Type::text) {
        append_json_text(out, value.value.text.view());
    } else {
        model::append_printed(out, value);
    }
}

model::Status append_state(std::string& out, std::string_view row) {
    RowReader reader(row);
    std::uint64_t rev = 0;
    bool good = reader.read_header(rev);
    out.push_back('[');
    for (bool first = true; good && !reader.at_end(); first = false) {
        ReductionKind kind{};
        good = reader.read_kind(kind);
        if (good) {
            out.append(first ? "{\"" : ",{\"").append(name_of(kind)).append("\":");
            good = append_accumulator(out, reader, kind);
            out.push_back('}');
        }
    }
    out.push_back(']');
    return good ? model::Status{} : model::corrupt("not an encoded row");
}

model::Status LineWriter::add(const RowKey& key, std::string_view row, std::string& out) {
    if (shape_ == nullptr || shape_->number != key.reduction) {
        TRY(finish(out));
        shape_ = shapes_.by_number(key.reduction);
        if (shape_ == nullptr) {
            return model::corrupt("a row of an unknown reduction");
        }
        if (shape_->reduction) {
            results_ = std::make_unique<ResultColumns>(*shape_->reduction);
        }
    }
    std::string line;
    append_place(line, *shape_, key);
    std::uint64_t rev = 0;
    if (!read_rev(row, rev)) {
        return model::corrupt("not an encoded row");
    }
    line.append(",\"rev\":").append(std::to_string(rev)).append(",\"state\":");
    TRY(append_state(line, row));
    if (results_ != nullptr) {
        TRY(results_->add(key.hash, key.key, row));
    }
    begun_.push_back(std::move(line));
    if (begun_.size() == kResultsAtOnce) {
        const Shape* const shape = shape_;
        TRY(finish(out));
        shape_ = shape;
        if (shape_->reduction) {
            results_ = std::make_unique<ResultColumns>(*shape_->reduction);
        }
    }
    return {};
}

model::Status LineWriter::finish(std::string& out) {
    model::ResultBatch batch;
    model::ValueErrors errors;
    if (results_ != nullptr && !begun_.empty()) {
        results_->finish(batch, errors);
    }
    for (std::size_t i = 0; i < begun_.size(); ++i) {
        out.append(begun_[i]);
        if (results_ != nullptr) {
            append_result(out, *shape_->reduction, batch, i);
        }
        out.append("}\n");
    }
    begun_.clear();
    results_.reset();
    shape_ = nullptr;
    return {};
}

model::Result<LineReader::Place> LineReader::place_of(const JsonTree& line,
                                                      const Shape*& shape) const {
    Place place;
    const auto* reduction = line.member("reduction");
    if (reduction == nullptr || !reduction->is(Kind::text)) {
        return wrong("`reduction` is missing");
    }
    shape = shapes_.by_id(reduction->text);
    if (shape == nullptr) {
        return wrong("the snapshot has no reduction `" + reduction->text + "`");
    }
    place.reduction = shape->number;
    if (const auto* window = line.member("window")) {
        TRY(only_members(*window, "`window`", {"start", "end", "accepted_from"}));
        const auto* start = window->member("start");
        const auto* end = window->member("end");
        std::optional<model::EventTime> from_start;
        if (start != nullptr && shape->window_ms) {
            TRY(at, integer_from<model::EventTime>(*start, "the window's start"));
            from_start = model::saturating_add(at, *shape->window_ms);
        }
        if (end != nullptr) {
            TRY(at, integer_from<model::EventTime>(*end, "the window's end"));
            if (from_start && *from_start != at) {
                return wrong("the window is not as long as those of `" + shape->id + "`");
            }
            place.slice_end = at;
        } else if (from_start) {
            place.slice_end = from_start;
        } else {
            return wrong("`window` needs its `end`");
        }
        if (const auto* accepted = window->member("accepted_from")) {
            TRY(step, integer_from<std::uint32_t>(*accepted, "`accepted_from`"));
            place.accepted_from = step;
        }
    }
    if (const auto* key = line.member("key")) {
        if (!key->is(Kind::list)) {
            return wrong("`key` is a list of the key's parts");
        }
        if (shape->reduction && key->list.size() != shape->key_parts) {
            return wrong("the key of `" + shape->id + "` has " + std::to_string(shape->key_parts) +
                         " parts");
        }
        std::string encoded;
        for (const auto& part : key->list) {
            if (part.is(Kind::number)) {
                TRY(number, number_from(part.text));
                std::string printed;
                model::append_printed(printed, number);
                model::append_key_part(encoded, printed);
            } else if (part.is(Kind::boolean)) {
                model::append_key_part(encoded, part.boolean ? "true" : "false");
            } else {
                TRY(bytes, bytes_from(part, "a part of the key"));
                model::append_key_part(encoded, bytes);
            }
        }
        place.key = std::move(encoded);
    }
    return place;
}

model::Result<LineReader::Place> LineReader::place(std::string_view line) {
    TRY(json, parse_json(line));
    // A line of a dump will do: what it says beside the place does not count.
    TRY(only_members(json, "the line", {"reduction", "window", "key", "rev", "state", "result"}));
    const Shape* shape = nullptr;
    return place_of(json, shape);
}

model::Result<LineRow> LineReader::row(std::string_view line) {
    TRY(json, parse_json(line));
    TRY(only_members(json, "the line", {"reduction", "window", "key", "rev", "state", "result"}));
    const Shape* shape = nullptr;
    TRY(place, place_of(json, shape));
    if (!place.slice_end || !place.key) {
        return wrong("`window` and `key` are needed");
    }
    if (!shape->ends_at(*place.slice_end)) {
        return wrong("no window of `" + shape->id + "` ends at " +
                     std::to_string(*place.slice_end) + " (ms since the epoch)");
    }
    LineRow row;
    row.key = slice_prefix(place.reduction, *place.slice_end, place.accepted_from);
    append_row(row.key, model::key_hash(*place.key), *place.key);
    std::uint64_t rev = 0;
    if (const auto* given = json.member("rev")) {
        TRY(number, integer_from<std::uint64_t>(*given, "`rev`"));
        rev = number;
    }
    append_row_header(row.row, rev);
    const auto* state = json.member("state");
    const auto* result = json.member("result");
    if (state != nullptr) {
        TRY(append_from_state(row.row, *shape, *state));
        if (result != nullptr && shape->reduction) {
            TRY(agree(*shape, row.row, *result));
        }
    } else if (result != nullptr) {
        TRY(append_from_result(row.row, *shape, *result));
    } else {
        return wrong("`state` or `result` is needed");
    }
    return row;
}

// Whoever edits one of the two and not the other must be told, not guessed at.
model::Status LineReader::agree(const Shape& shape, const std::string& row,
                                const JsonTree& result) const {
    ResultColumns columns(*shape.reduction);
    TRY(columns.add(0, "", row));
    model::ResultBatch batch;
    model::ValueErrors errors;
    columns.finish(batch, errors);
    std::string text = "{\"x\":0";
    append_result(text, *shape.reduction, batch, 0);
    text.push_back('}');
    TRY(computed, parse_json(text));
    if (!equal_results(*computed.member("result"), result)) {
        return wrong(
            "`result` is not what follows from `state`: leave `result` out, or `state` where the "
            "results are enough");
    }
    return {};
}

}  // namespace sluice::state
