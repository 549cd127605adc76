// Scalars as they flow through expressions, reductions and results.
//
// Numbers are integers (64 bit), decimals or floats. A decimal is a 128-bit integer at the fixed
// scale 18: up to 20 digits before the point and 18 after it (10^38 - 1 < 2^127), so that sums and
// comparisons need no rescaling. Printing drops trailing zeros.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace sluice::model {

__extension__ using int128 = __int128;
__extension__ using uint128 = unsigned __int128;

enum class Type : std::uint8_t { null = 0, boolean, integer, decimal, real, text };

inline constexpr int kDecimalScale = 18;
inline constexpr std::int64_t kDecimalOne = 1'000'000'000'000'000'000;  // 1 at scale 18
// The greatest magnitude of a decimal: 38 nines.
inline constexpr int128 kDecimalMax = static_cast<int128>(kDecimalOne) * kDecimalOne * 100 - 1;

// A text that somebody else owns.
struct Text {
    const char* data;
    std::uint32_t size;
    std::string_view view() const { return {data, size}; }
};

// The 16 bytes of one scalar; which member counts, the type beside it says.
union Payload {
    int128 decimal;  // at scale 18
    std::int64_t integer;
    double real;  // finite; never -0.0 matters: it prints as 0
    bool boolean;
    Text text;
};
static_assert(sizeof(Payload) == 16);

// One scalar by itself. Text is borrowed: whoever hands a Scalar out says for how long.
struct Scalar {
    Type type = Type::null;
    Payload value{};

    static Scalar null() { return {}; }
    static Scalar of(std::int64_t v) {
        Scalar s;
        s.type = Type::integer;
        s.value.integer = v;
        return s;
    }
    static Scalar of(double v) {
        Scalar s;
        s.type = Type::real;
        s.value.real = v;
        return s;
    }
    static Scalar of(bool v) {
        Scalar s;
        s.type = Type::boolean;
        s.value.boolean = v;
        return s;
    }
    static Scalar of_decimal(int128 v) {
        Scalar s;
        s.type = Type::decimal;
        s.value.decimal = v;
        return s;
    }
    static Scalar of(std::string_view v) {
        Scalar s;
        s.type = Type::text;
        s.value.text = {v.data(), static_cast<std::uint32_t>(v.size())};
        return s;
    }
    bool is_null() const { return type == Type::null; }
    bool is_number() const {
        return type == Type::integer || type == Type::decimal || type == Type::real;
    }
};

// What went wrong while values were computed. A wrong value becomes null and is counted here, never
// a crash.
struct ValueErrors {
    std::uint64_t wrong_type = 0;
    std::uint64_t overflow = 0;
    std::uint64_t nan = 0;
    ValueErrors& operator+=(const ValueErrors& o) {
        wrong_type += o.wrong_type;
        overflow += o.overflow;
        nan += o.nan;
        return *this;
    }
};

}  // namespace sluice::model
