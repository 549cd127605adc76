// What the tests of reductions share: rows to fold without Kafka, and exact references.
#pragma once

#include <bit>
#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression/program.h"
#include "state/model/key.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"
#include "state/reduce/slice_table.h"

namespace sluice::state::testing {

using Integer = boost::multiprecision::cpp_int;
using Rational = boost::multiprecision::cpp_rational;

// A scalar that owns its text.
struct Value {
    model::Scalar scalar;
    std::string text;

    static Value null() { return {}; }
    template <class T>
    static Value of(T v) {
        return {model::Scalar::of(v), {}};
    }
    static Value decimal(model::int128 v) { return {model::Scalar::of_decimal(v), {}}; }
    static Value of_text(std::string v) {
        Value value;
        value.scalar.type = model::Type::text;
        value.text = std::move(v);
        return value;
    }
    model::Scalar get() const {
        return scalar.type == model::Type::text ? model::Scalar::of(std::string_view(text))
                                                : scalar;
    }
};

inline Integer to_integer(model::int128 v) {
    Integer high(static_cast<std::int64_t>(v >> 64));
    return (high << 64) + Integer(static_cast<std::uint64_t>(v));
}

inline std::string show(const model::Scalar& v) {
    switch (v.type) {
        case model::Type::null:
            return "null";
        case model::Type::boolean:
            return v.value.boolean ? "true" : "false";
        case model::Type::integer:
            return "integer " + std::to_string(v.value.integer);
        case model::Type::decimal:
            return "decimal " + to_integer(v.value.decimal).str();
        case model::Type::real: {
            char text[64];
            std::snprintf(text, sizeof(text), "real %a", v.value.real);
            return text;
        }
        case model::Type::text:
            return "text " + std::string(v.value.text.view());
    }
    return "?";
}
inline std::ostream& operator<<(std::ostream& out, const Value& v) { return out << show(v.get()); }

// The exact value of a finite double.
inline Rational exact(double v) {
    int exponent = 0;
    const double fraction = std::frexp(v, &exponent);
    const auto mantissa = static_cast<std::int64_t>(std::ldexp(fraction, 53));
    exponent -= 53;
    return exponent >= 0
               ? Rational(Integer(mantissa) << static_cast<unsigned>(exponent))
               : Rational(Integer(mantissa), Integer(1) << static_cast<unsigned>(-exponent));
}
inline Rational exact(const model::Scalar& v) {
    switch (v.type) {
        case model::Type::integer:
            return Rational(Integer(v.value.integer));
        case model::Type::decimal:
            return Rational(to_integer(v.value.decimal), Integer(model::kDecimalOne));
        case model::Type::real:
            return exact(v.value.real);
        default:
            return Rational(0);
    }
}

// The double nearest to `v`, ties to even, found by bisection over all doubles: slow, and sharing
// no idea with the code under test. Empty: rounds beyond double.
inline std::optional<double> nearest_double(const Rational& v) {
    const bool negative = v < 0;
    const Rational magnitude = negative ? Rational(-v) : v;
    std::uint64_t low = 0;  // positive doubles are ordered as their bits
    std::uint64_t high = std::bit_cast<std::uint64_t>(std::numeric_limits<double>::infinity());
    while (high - low > 1) {
        const std::uint64_t middle = low + (high - low) / 2;
        (exact(std::bit_cast<double>(middle)) <= magnitude ? low : high) = middle;
    }
    const auto below = std::bit_cast<double>(low);
    const bool last = below == std::numeric_limits<double>::max();
    const Rational above = last ? Rational(Integer(1) << 1024) : exact(std::bit_cast<double>(high));
    const Rational twice = 2 * magnitude;
    const Rational ends = exact(below) + above;
    const bool up = twice > ends || (twice == ends && (low & 1) != 0);
    if (up && last) {
        return std::nullopt;
    }
    const double nearest = up ? std::bit_cast<double>(high) : below;
    return negative ? -nearest : nearest;
}

// One record as a reduction sees it.
struct Record {
    std::string key = "k";
    Value value;
    std::int64_t timestamp = 0;
    std::int64_t offset = 0;
    std::int64_t watermark = model::kBeforeAll;
    bool kept = true;  // by `where`
    bool rev = false;
};

// Folds records of one partition into a table or a folder, with every call of the reduction over
// the same argument column.
class Rows {
 public:
    Rows(const std::vector<Record>& records, std::size_t calls, std::string topic = "t",
         std::int32_t partition = 0, bool with_where = true)
        : topic_(std::move(topic)) {
        batch_.rows = records.size();
        for (const auto& record : records) {
            std::string encoded;
            model::append_key_part(encoded, record.key);
            keys_.push_back(std::move(encoded));
            batch_.timestamp.push_back(record.timestamp);
            batch_.offset.push_back(record.offset);
            batch_.watermark.push_back(record.watermark);
            const model::Scalar value = record.value.get();
            argument_.type.push_back(value.type);
            argument_.value.push_back(value.value);
            if (value.type == model::Type::text) {
                texts_.push_back(std::string(value.value.text.view()));
                argument_.value.back() = model::Scalar::of(std::string_view(texts_.back())).value;
            }
            where_.type.push_back(model::Type::boolean);
            where_.value.push_back(model::Scalar::of(record.kept).value);
            rev_.push_back(record.rev ? 1 : 0);
            rows_.push_back(static_cast<std::uint32_t>(rows_.size()));
        }
        for (const auto& key : keys_) {
            views_.push_back(key);
            hash_.push_back(model::key_hash(key));
        }
        arguments_.assign(calls, &argument_);
        wheres_.assign(calls, with_where ? &where_ : nullptr);
        input_ = {&batch_, rows_, hash_, views_, arguments_, wheres_, topic_, partition};
    }
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;

    const FoldInput& input() const { return input_; }
    FoldInput& input() { return input_; }
    std::vector<const model::Column*>& arguments() { return arguments_; }
    std::vector<std::uint64_t>& hash() { return hash_; }
    void fold_into(SliceTable& table, model::ValueErrors& errors) const {
        table.fold(input_, rev_, errors);
    }

 private:
    model::RecordBatch batch_;
    model::Column argument_;
    model::Column where_;
    std::deque<std::string> texts_;
    std::deque<std::string> keys_;
    std::vector<std::string_view> views_;
    std::vector<std::uint64_t> hash_;
    std::vector<std::uint32_t> rows_;
    std::vector<std::uint8_t> rev_;
    std::vector<const model::Column*> arguments_;
    std::vector<const model::Column*> wheres_;
    std::string topic_;
    FoldInput input_;
};

inline std::string encoded_key(std::string_view part) {
    std::string key;
    model::append_key_part(key, part);
    return key;
}

inline constexpr config::ReductionKind kAllKinds[] = {
    config::ReductionKind::count, config::ReductionKind::sum,  config::ReductionKind::min,
    config::ReductionKind::max,   config::ReductionKind::mean, config::ReductionKind::first,
    config::ReductionKind::last};

}  // namespace sluice::state::testing
