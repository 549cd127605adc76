#include "state/reduce/encoding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "state/model/number.h"
#include "state/reduce/row.h"

namespace sluice::state {

namespace {

using config::ReductionKind;
using model::Scalar;
using model::Type;

constexpr std::uint8_t kMixed = 0x7f;
constexpr std::size_t kDecimalBytes = 16;

std::uint64_t zigzag(std::int64_t v) {
    return (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63);
}

void append_text(std::string& out, std::string_view text) {
    append_varint(out, text.size());
    out.append(text);
}

void append_total(std::string& out, const ExactTotal& total) {
    append_byte(out, static_cast<std::uint8_t>(total.byte_count()));
    total.append_bytes(out);
}

void append_scalar(std::string& out, const Scalar& v) {
    append_byte(out, static_cast<std::uint8_t>(v.type));
    switch (v.type) {
        case Type::null:
            break;
        case Type::boolean:
            append_byte(out, v.value.boolean ? 1 : 0);
            break;
        case Type::integer:
            append_signed(out, v.value.integer);
            break;
        case Type::decimal:
            append_total(out, ExactTotal(v.value.decimal));
            break;
        case Type::real: {
            const auto bits = std::bit_cast<std::uint64_t>(without_negative_zero(v.value.real));
            for (int i = 0; i < 8; ++i) {
                append_byte(out, static_cast<std::uint8_t>(bits >> (8 * i)));
            }
            break;
        }
        case Type::text:
            append_text(out, v.value.text.view());
            break;
    }
}

}  // namespace

std::strong_ordering compare_comparable(const Scalar& a, const Scalar& b) {
    switch (a.type) {
        case Type::text: {
            const int order = a.value.text.view().compare(b.value.text.view());
            return order <=> 0;
        }
        case Type::boolean:
            return a.value.boolean <=> b.value.boolean;
        case Type::integer:
            if (b.type == Type::integer) {
                return a.value.integer <=> b.value.integer;
            }
            return model::compare_numbers(a, b);
        default:
            return model::compare_numbers(a, b);
    }
}

bool replaces_minimum(const Scalar& candidate, const Scalar& current) {
    const auto order = compare_comparable(candidate, current);
    return order < 0 || (order == 0 && candidate.type < current.type);
}

bool replaces_maximum(const Scalar& candidate, const Scalar& current) {
    const auto order = compare_comparable(candidate, current);
    return order > 0 || (order == 0 && candidate.type < current.type);
}

void append_signed(std::string& out, std::int64_t v) { append_varint(out, zigzag(v)); }

void append_sum(std::string& out, ReductionKind kind, std::uint8_t flags, const ExactTotal& total,
                const FloatTotal* floats, std::uint64_t count) {
    append_byte(out, static_cast<std::uint8_t>(kind));
    append_byte(out, flags);
    append_total(out, total);
    if ((flags & kFloats) != 0) {
        const auto bytes = floats != nullptr ? floats->bytes() : FloatTotal::Bytes{};
        append_varint(out, bytes.bytes.size());
        if (!bytes.bytes.empty()) {
            append_varint(out, bytes.place);
            out.append(bytes.bytes);
        }
    }
    if (kind == ReductionKind::mean) {
        append_varint(out, count);
    }
}

void append_extreme(std::string& out, ReductionKind kind, const ExtremeState& state) {
    append_byte(out, static_cast<std::uint8_t>(kind));
    switch (state.state) {
        case ScalarState::none:
            append_byte(out, 0);
            break;
        case ScalarState::mixed:
            append_byte(out, kMixed);
            break;
        case ScalarState::value:
            append_scalar(out, state.value);
            break;
    }
}

void append_ordered(std::string& out, ReductionKind kind, const OrderedState& state) {
    append_byte(out, static_cast<std::uint8_t>(kind));
    append_byte(out, state.present ? 1 : 0);
    if (!state.present) {
        return;
    }
    append_signed(out, state.order.timestamp);
    append_text(out, state.order.topic);
    append_signed(out, state.order.partition);
    append_signed(out, state.order.offset);
    append_varint(out, state.order.element);
    append_scalar(out, state.value);
}

bool RowReader::read_long_varint(std::uint64_t& v) {
    const std::size_t most = std::min<std::size_t>(rest_.size(), 10);
    v = static_cast<unsigned char>(rest_.front()) & 0x7fU;
    unsigned shift = 7;
    for (std::size_t i = 1; i < most; ++i, shift += 7) {
        const auto byte = static_cast<unsigned char>(rest_[i]);
        v |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if (byte < 0x80) {
            rest_.remove_prefix(i + 1);
            // A zero at the top is a needless byte, and there are 64 bits.
            return byte != 0 && (shift < 63 || byte == 1);
        }
    }
    return false;
}

bool RowReader::read_text(std::string_view& v) {
    std::uint64_t size = 0;
    return read_varint(size) && size <= std::numeric_limits<std::uint32_t>::max() &&
           read_bytes(size, v);
}

bool RowReader::read_total(ExactTotal& total, std::size_t max_bytes) {
    std::uint8_t size = 0;
    std::string_view bytes;
    if (!read_byte(size) || size > max_bytes || !read_bytes(size, bytes)) {
        return false;
    }
    return total.set_bytes(bytes);
}

// Fields one by one: a scalar that was made elsewhere and is moved at once keeps the processor
// waiting for its parts.
bool RowReader::read_scalar(std::uint8_t type, Scalar& v) {
    v.type = static_cast<Type>(type);
    switch (v.type) {
        case Type::boolean: {
            std::uint8_t byte = 0;
            if (!read_byte(byte) || byte > 1) {
                return false;
            }
            v.value.boolean = byte == 1;
            return true;
        }
        case Type::integer:
            v.value.integer = 0;
            return read_signed(v.value.integer);
        case Type::decimal: {
            ExactTotal total;
            if (!read_total(total, kDecimalBytes)) {
                return false;
            }
            const auto decimal = total.decimal();
            if (!decimal) {
                return false;
            }
            v.value.decimal = *decimal;
            return true;
        }
        case Type::real: {
            std::string_view bytes;
            if (!read_bytes(8, bytes)) {
                return false;
            }
            std::uint64_t bits = 0;
            for (unsigned i = 0; i < 8; ++i) {
                bits |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
            }
            const auto real = std::bit_cast<double>(bits);
            if (!std::isfinite(real) || (real == 0 && bits != 0)) {
                return false;
            }
            v.value.real = real;
            return true;
        }
        case Type::text: {
            std::string_view text;
            if (!read_text(text)) {
                return false;
            }
            v.value.text = {text.data(), static_cast<std::uint32_t>(text.size())};
            return true;
        }
        default:
            return false;
    }
}

bool RowReader::read_sum(ReductionKind kind, SumState& state) {
    if (!read_byte(state.flags) || (state.flags & ~kAllFlags) != 0 ||
        !read_total(state.total, ExactTotal::kMaxBytes)) {
        return false;
    }
    // Nothing that was folded can have left a total of another kind.
    if ((state.flags & (kIntegers | kDecimals)) == 0 && !state.total.is_zero()) {
        return false;
    }
    if ((state.flags & kFloats) != 0) {
        std::uint64_t size = 0;
        std::uint64_t place = 0;
        std::string_view bytes;
        if (!read_varint(size) || size > FloatTotal::kMaxBytes) {
            return false;
        }
        if (size != 0 && (!read_varint(place) || place > FloatTotal::kMaxBytes)) {
            return false;
        }
        if (!read_bytes(size, bytes)) {
            return false;
        }
        auto floats = FloatTotal::from_bytes(place, bytes);
        if (!floats) {
            return false;
        }
        state.floats = std::move(*floats);
    } else {
        state.floats = FloatTotal();
    }
    state.count = 0;
    if (kind != ReductionKind::mean) {
        return true;
    }
    // A mean has a kind of value exactly if it has values.
    return read_varint(state.count) && (state.count != 0) == (state.flags != 0);
}

bool RowReader::read_extreme(ExtremeState& state) {
    std::uint8_t type = 0;
    if (!read_byte(type)) {
        return false;
    }
    if (type == 0) {
        state = {};
        return true;
    }
    if (type == kMixed) {
        state = {ScalarState::mixed, Scalar::null()};
        return true;
    }
    state.state = ScalarState::value;
    return read_scalar(type, state.value);
}

bool RowReader::read_ordered(OrderedState& state) {
    std::uint8_t present = 0;
    if (!read_byte(present) || present > 1) {
        return false;
    }
    state = {};
    if (present == 0) {
        return true;
    }
    state.present = true;
    std::int64_t partition = 0;
    std::uint64_t element = 0;
    if (!read_signed(state.order.timestamp) || !read_text(state.order.topic) ||
        !read_signed(partition) || !read_signed(state.order.offset) || !read_varint(element) ||
        partition < std::numeric_limits<std::int32_t>::min() ||
        partition > std::numeric_limits<std::int32_t>::max() ||
        element > std::numeric_limits<std::uint32_t>::max()) {
        return false;
    }
    state.order.partition = static_cast<std::int32_t>(partition);
    state.order.element = static_cast<std::uint32_t>(element);
    const std::string_view scalar = rest_;
    std::uint8_t type = 0;
    if (!read_byte(type) || !read_scalar(type, state.value)) {
        return false;
    }
    state.value_bytes = scalar.substr(0, scalar.size() - rest_.size());
    return true;
}

}  // namespace sluice::state
