// The bytes of encoded rows (state/reduce/row.h has the layout): how they are written and read, and
// the order of the scalars in them. Shared by tables, merges and results; not for other modules.
//
// Thread: free functions and values, any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/expression/program.h"
#include "state/model/time.h"
#include "state/model/value.h"
#include "state/reduce/exact.h"
#include "state/reduce/row.h"

namespace sluice::state {

// ---- Scalars of min, max, first, last

enum class ScalarState : std::uint8_t {
    none = 0,  // nothing folded yet
    value,
    mixed,  // min and max only: texts, numbers or booleans met; absorbs everything
};

// The sign of zero is no part of a value: -0.0 becomes 0.0.
inline double without_negative_zero(double v) { return v == 0 ? 0.0 : v; }

// Numbers, texts and booleans do not compare with one another. Neither is null.
inline bool comparable(model::Type a, model::Type b) {
    const auto class_of = [](model::Type t) {
        return t == model::Type::text ? 2 : t == model::Type::boolean ? 1 : 0;
    };
    return class_of(a) == class_of(b);
}

// Total order of comparable scalars: numbers by exact value, texts by bytes, false before true.
// Numbers of equal value and different types are equal here; min and max then keep the lower type.
std::strong_ordering compare_comparable(const model::Scalar& a, const model::Scalar& b);

// Whether `candidate` takes the place of `current` as the minimum (maximum). Both comparable. A
// strict order on all scalars that differ, so the order of merging cannot matter.
bool replaces_minimum(const model::Scalar& candidate, const model::Scalar& current);
bool replaces_maximum(const model::Scalar& candidate, const model::Scalar& current);

// ---- Order of first and last

struct RecordOrder {
    model::EventTime timestamp = 0;
    std::string_view topic;
    std::int32_t partition = 0;
    std::int64_t offset = 0;
    std::uint32_t element = 0;  // of an exploded record
    std::strong_ordering operator<=>(const RecordOrder&) const = default;
};

// ---- Accumulators as they stand in a row. Views point into the row.

inline constexpr std::uint8_t kIntegers = 1;
inline constexpr std::uint8_t kDecimals = 2;
inline constexpr std::uint8_t kFloats = 4;
inline constexpr std::uint8_t kAllFlags = kIntegers | kDecimals | kFloats;

struct SumState {
    std::uint8_t flags = 0;
    ExactTotal total;
    FloatTotal floats;
    std::uint64_t count = 0;  // mean only
};

struct ExtremeState {
    ScalarState state = ScalarState::none;
    model::Scalar value;
};

struct OrderedState {
    bool present = false;
    RecordOrder order;
    model::Scalar value;
    std::string_view value_bytes;  // the encoded scalar; set by reading
};

// ---- Writing: appends to `out`

inline void append_byte(std::string& out, std::uint8_t v) { out.push_back(static_cast<char>(v)); }
inline void append_varint(std::string& out, std::uint64_t v) {
    while (v >= 0x80) {
        append_byte(out, static_cast<std::uint8_t>(0x80U | (v & 0x7fU)));
        v >>= 7;
    }
    append_byte(out, static_cast<std::uint8_t>(v));
}
void append_signed(std::string& out, std::int64_t v);
inline void append_row_header(std::string& out, std::uint64_t rev) {
    append_byte(out, kRowSchema);
    append_varint(out, rev);
}

inline void append_count(std::string& out, std::uint64_t count) {
    append_byte(out, static_cast<std::uint8_t>(config::ReductionKind::count));
    append_varint(out, count);
}
// `floats` may be null where the flags do not say floats. The count is written for mean only.
void append_sum(std::string& out, config::ReductionKind kind, std::uint8_t flags,
                const ExactTotal& total, const FloatTotal* floats, std::uint64_t count);
void append_extreme(std::string& out, config::ReductionKind kind, const ExtremeState& state);
void append_ordered(std::string& out, config::ReductionKind kind, const OrderedState& state);

// ---- Reading

// Walks over one row. Every read checks; after the first false nothing more may be read. What a row
// of a count has is here, because every result is read three times on its way.
class RowReader {
 public:
    explicit RowReader(std::string_view row) : rest_(row) {}
    RowReader() = default;

    bool read_header(std::uint64_t& rev) {
        std::uint8_t schema = 0;
        return read_byte(schema) && schema == kRowSchema && read_varint(rev);
    }
    bool at_end() const { return rest_.empty(); }
    bool read_kind(config::ReductionKind& kind) {
        std::uint8_t byte = 0;
        if (!read_byte(byte) || byte < static_cast<std::uint8_t>(config::ReductionKind::count) ||
            byte > static_cast<std::uint8_t>(config::ReductionKind::last)) {
            return false;
        }
        kind = static_cast<config::ReductionKind>(byte);
        return true;
    }
    bool read_count(std::uint64_t& count) { return read_varint(count); }
    bool read_sum(config::ReductionKind kind, SumState& state);
    bool read_extreme(ExtremeState& state);
    bool read_ordered(OrderedState& state);

 private:
    // Every row that is merged, shown or imported goes through these: calls would cost more.
    bool read_byte(std::uint8_t& v) {
        if (rest_.empty()) {
            return false;
        }
        v = static_cast<std::uint8_t>(rest_.front());
        rest_.remove_prefix(1);
        return true;
    }
    bool read_varint(std::uint64_t& v) {
        if (rest_.empty()) {
            return false;
        }
        v = static_cast<unsigned char>(rest_.front());
        if (v >= 0x80) {
            return read_long_varint(v);
        }
        rest_.remove_prefix(1);
        return true;
    }
    bool read_signed(std::int64_t& v) {
        std::uint64_t bits = 0;
        if (!read_varint(bits)) {
            return false;
        }
        v = static_cast<std::int64_t>((bits >> 1) ^ (~(bits & 1) + 1));
        return true;
    }
    bool read_bytes(std::size_t size, std::string_view& v) {
        if (size > rest_.size()) {
            return false;
        }
        v = {rest_.data(), size};
        rest_.remove_prefix(size);
        return true;
    }
    bool read_long_varint(std::uint64_t& v);  // of two bytes and more
    bool read_text(std::string_view& v);
    bool read_total(ExactTotal& total, std::size_t max_bytes);
    bool read_scalar(std::uint8_t type, model::Scalar& v);

    std::string_view rest_;
};

}  // namespace sluice::state
