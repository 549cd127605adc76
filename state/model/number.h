// Arithmetic, comparison, reading and printing of scalars: the one place where a number's rules
// live.
//
// Integers have 64 bits; decimals 20 digits before the point and 18 after it; floats are finite
// doubles. Integers and decimals compute exactly or fail; a float among the operands makes the
// result a float. Everything is pure and may be called from any thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "state/model/time.h"
#include "state/model/value.h"
#include "state/model/wide.h"

namespace sluice::model {

// Why a computation has no value.
enum class Fault : std::uint8_t {
    none,
    wrong_type,  // an operand that the operation does not take
    overflow,    // beyond 64 bits, 20 digits before the point, or a double
    nan,         // division by zero
    unreadable,  // a text that is no number; not counted
};

// A value, or null and the reason. A null operand gives null without a fault.
struct Computed {
    Scalar value;
    Fault fault = Fault::none;
};

inline void count(ValueErrors& errors, Fault fault) {
    errors.wrong_type += fault == Fault::wrong_type ? 1 : 0;
    errors.overflow += fault == Fault::overflow ? 1 : 0;
    errors.nan += fault == Fault::nan ? 1 : 0;
}

// ---- Reading

// A number as JSON writes it. Without point and exponent it is an integer; with a point a decimal
// of at most 18 digits after it; with more of them or an exponent a float. Overflow: an integer
// beyond 64 bits, a decimal of more than 20 digits before the point, a float beyond a double (too
// small is 0). Unreadable: anything that JSON does not call a number.
Computed parse_json_number(std::string_view text);

// The same for texts that people write: a sign `+` and leading zeros are fine, spaces are not.
Computed parse_number(std::string_view text);

// ---- Conversions, as the functions of the same names in expressions: null for null, booleans are
// 1 and 0, a text is read by parse_number().

Computed to_integer(const Scalar& x);  // int(): truncates
// decimal(): rounds what is finer than 18 places half away from zero; of a float it takes the
// shortest digits that mean the float, so that decimal(float(0.1)) is 0.1.
Computed to_decimal(const Scalar& x);
Computed to_real(const Scalar& x);  // float(): nearest, ties to even

// The nearest double of a number (not of other types).
double nearest_double(const Scalar& number);
double decimal_to_double(int128 decimal);

// ---- Arithmetic. Operands of another type than a number are a wrong type.

Computed add(const Scalar& a, const Scalar& b);
Computed subtract(const Scalar& a, const Scalar& b);
// A product of decimals with more than 18 places after the point is a float: the exact product,
// rounded once.
Computed multiply(const Scalar& a, const Scalar& b);
// Always a float. Of integers and decimals the exact quotient rounded once.
Computed divide(const Scalar& a, const Scalar& b);
Computed remainder(const Scalar& a, const Scalar& b);  // integers only; the dividend's sign
Computed negate(const Scalar& x);
Computed absolute(const Scalar& x);
// Half away from zero at `places` after the point, negative ones before it. Keeps the type. Of a
// float the exact binary value is rounded, and the result is the float nearest to that.
Computed round(const Scalar& x, std::int64_t places);
Computed floor(const Scalar& x);
Computed ceil(const Scalar& x);

// Building blocks for column kernels: false is overflow.
inline bool in_decimal_range(int128 v) { return v <= kDecimalMax && v >= -kDecimalMax; }
inline int128 decimal_of(std::int64_t v) { return static_cast<int128>(v) * kDecimalOne; }
inline bool add_decimals(int128 a, int128 b, int128& out) {
    return !__builtin_add_overflow(a, b, &out) && in_decimal_range(out);
}
inline bool subtract_decimals(int128 a, int128 b, int128& out) {
    return !__builtin_sub_overflow(a, b, &out) && in_decimal_range(out);
}
inline bool multiply_decimal(int128 a, std::int64_t b, int128& out) {
    const uint128 m = magnitude(a);
    const uint128 n = magnitude(b);
    const uint128 low = static_cast<std::uint64_t>(m) * n;
    const uint128 high = (m >> 64) * n + (low >> 64);
    if ((high >> 63) != 0) {
        return false;
    }
    const uint128 product = (high << 64) | static_cast<std::uint64_t>(low);
    out = ((a < 0) != (b < 0)) ? -static_cast<int128>(product) : static_cast<int128>(product);
    return in_decimal_range(out);
}
Computed multiply_decimals(int128 a, int128 b);

// ---- Order

// By exact value, over integers, decimals and floats, without any rounding. Both are numbers.
std::strong_ordering compare_numbers(const Scalar& a, const Scalar& b);
inline std::strong_ordering compare(std::int64_t a, int128 decimal) {
    return decimal_of(a) <=> decimal;
}
std::strong_ordering compare(std::int64_t a, double b);
std::strong_ordering compare(int128 decimal, double b);

// Numbers by value, texts by bytes, false before true. Empty: null among them, or different kinds.
std::optional<std::strong_ordering> compare_scalars(const Scalar& a, const Scalar& b);

// ---- Printing. Integers and decimals exactly, decimals without trailing zeros; floats as
// ECMAScript's Number::toString; true, false; null is empty; text as it is.

inline constexpr std::size_t kPrintedMax = 48;  // of anything but a text

// Writes at most kPrintedMax bytes at `to` and returns their end. Not for texts.
char* print(char* to, const Scalar& x);
void append_printed(std::string& out, const Scalar& x);

// ---- Times

// 2024-02-29T12:00:00.123Z; the fraction only when it is not zero.
std::string print_rfc3339(EventTime ms);

// A space for T, small letters, and no zone (UTC) are accepted; a leap second is the next second's
// begin; what is finer than a millisecond is floored. Empty: not such a time, or outside the years
// 0001 to 9999.
std::optional<EventTime> parse_rfc3339(std::string_view text);

}  // namespace sluice::model
