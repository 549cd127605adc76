#include "state/model/number.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "state/model/ascii.h"

namespace sluice::model {

namespace {

constexpr Computed failed(Fault fault) { return {Scalar{}, fault}; }
Computed value(const Scalar& scalar) { return {scalar, Fault::none}; }

// Infinity cannot enter: it is an overflow. Adding 0 makes -0 an ordinary 0.
Computed real(double v) {
    return std::isfinite(v) ? value(Scalar::of(v + 0.0)) : failed(Fault::overflow);
}

constexpr auto kPowers = [] {  // 10^0 to 10^38
    std::array<uint128, 39> powers{};
    uint128 power = 1;
    for (auto& p : powers) {
        p = power;
        power *= 10;  // the last product wraps and is not used
    }
    return powers;
}();

// The parts of a number's text; `digits` before and after the point.
struct NumberText {
    bool negative = false;
    std::string_view before;
    std::string_view after;
    bool point = false;
    bool exponent = false;
    std::int64_t power = 0;  // the exponent, held within +-2^40
};

bool take_digits(std::string_view& rest, std::string_view& digits) {
    std::size_t n = 0;
    while (n < rest.size() && is_digit(rest[n])) {
        ++n;
    }
    digits = rest.substr(0, n);
    rest.remove_prefix(n);
    return n > 0;
}

bool take_number(std::string_view rest, NumberText& out) {
    if (!rest.empty() && rest[0] == '-') {
        out.negative = true;
        rest.remove_prefix(1);
    }
    if (!take_digits(rest, out.before)) {
        return false;
    }
    if (!rest.empty() && rest[0] == '.') {
        out.point = true;
        rest.remove_prefix(1);
        if (!take_digits(rest, out.after)) {
            return false;
        }
    }
    if (!rest.empty() && (rest[0] == 'e' || rest[0] == 'E')) {
        out.exponent = true;
        rest.remove_prefix(1);
        const bool down = !rest.empty() && rest[0] == '-';
        if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
            rest.remove_prefix(1);
        }
        std::string_view digits;
        if (!take_digits(rest, digits)) {
            return false;
        }
        constexpr std::int64_t kFar = std::int64_t{1} << 40;
        for (const char c : digits) {
            out.power = std::min(out.power * 10 + (c - '0'), kFar);
        }
        out.power = down ? -out.power : out.power;
    }
    return rest.empty();
}

std::string_view without_leading_zeros(std::string_view digits) {
    const std::size_t n = digits.find_first_not_of('0');
    return n == std::string_view::npos ? std::string_view{} : digits.substr(n);
}

Computed read_real(std::string_view text, const NumberText& number) {
    double v = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error == std::errc::result_out_of_range) {
        // Too great or too small: the place of the first digit that is not zero tells.
        const auto before = without_leading_zeros(number.before);
        auto place = number.power + static_cast<std::int64_t>(before.size());
        if (before.empty()) {
            const auto after = without_leading_zeros(number.after);
            place -= static_cast<std::int64_t>(number.after.size() - after.size());
        }
        return place > 0 ? failed(Fault::overflow) : value(Scalar::of(0.0));
    }
    return real(v);
}

Computed read(std::string_view text, const NumberText& number) {
    if (number.exponent || number.after.size() > static_cast<std::size_t>(kDecimalScale)) {
        return read_real(text, number);
    }
    const auto before = without_leading_zeros(number.before);
    if (!number.point) {
        if (before.size() > 19) {
            return failed(Fault::overflow);
        }
        std::uint64_t m = 0;  // 19 digits fit
        for (const char c : before) {
            m = m * 10 + static_cast<std::uint64_t>(c - '0');
        }
        constexpr std::uint64_t kBottom = std::uint64_t{1} << 63;
        if (m > (number.negative ? kBottom : kBottom - 1)) {
            return failed(Fault::overflow);
        }
        return value(Scalar::of(static_cast<std::int64_t>(number.negative ? 0 - m : m)));
    }
    if (before.size() > 20) {
        return failed(Fault::overflow);
    }
    std::uint64_t after = 0;
    for (const char c : number.after) {
        after = after * 10 + static_cast<std::uint64_t>(c - '0');
    }
    uint128 m = 0;
    for (const char c : before) {
        m = m * 10 + static_cast<uint128>(c - '0');
    }
    m = m * static_cast<std::uint64_t>(kDecimalOne) +
        after * static_cast<std::uint64_t>(
                    kPowers[static_cast<std::size_t>(kDecimalScale) - number.after.size()]);
    const auto decimal = static_cast<int128>(m);
    return value(Scalar::of_decimal(number.negative ? -decimal : decimal));
}

// 0.DIGITS * 10^point at scale 18, rounded half away from zero.
Computed decimal_from_digits(bool negative, std::string_view digits, std::int64_t point) {
    const std::size_t size = digits.size();
    digits = without_leading_zeros(digits);
    point -= static_cast<std::int64_t>(size - digits.size());
    if (digits.empty() || point < -kDecimalScale) {
        return value(Scalar::of_decimal(0));
    }
    if (point > 20) {
        return failed(Fault::overflow);
    }
    const auto kept = static_cast<std::size_t>(point + kDecimalScale);
    uint128 m = 0;
    for (std::size_t i = 0; i < kept; ++i) {
        m = m * 10 + static_cast<uint128>(i < digits.size() ? digits[i] - '0' : 0);
    }
    m += static_cast<uint128>(kept < digits.size() && digits[kept] >= '5');
    if (m > static_cast<uint128>(kDecimalMax)) {
        return failed(Fault::overflow);
    }
    const auto decimal = static_cast<int128>(m);
    return value(Scalar::of_decimal(negative ? -decimal : decimal));
}

// The shortest digits that mean `v`, and where the point is: 0.DIGITS * 10^point.
struct ShortestDigits {
    std::array<char, 32> text;
    std::size_t size = 0;
    int point = 0;
};

ShortestDigits shortest(double v) {
    ShortestDigits out;
    std::array<char, 32> text;
    const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), std::fabs(v),
                                            std::chars_format::scientific);
    const char* e = text.data();
    while (*e != 'e') {
        if (*e != '.') {
            out.text[out.size++] = *e;
        }
        ++e;
    }
    ++e;
    const bool down = *e == '-';
    int power = 0;
    for (++e; e != end; ++e) {
        power = power * 10 + (*e - '0');
    }
    out.point = (down ? -power : power) + 1;
    return out;
}

double rounded_by_digits(double x, std::int64_t places) {
    // Every double is a finite decimal fraction of at most 1,074 places and 309 digits before them.
    if (places >= 1074) {
        return x;
    }
    if (places < -309) {
        return 0;
    }
    std::array<char, 1500> exact;
    const auto [end, error] = std::to_chars(exact.data(), exact.data() + exact.size(), std::fabs(x),
                                            std::chars_format::fixed, 1074);
    std::string digits(exact.data(), static_cast<std::size_t>(end - exact.data()));
    const std::size_t before = digits.find('.');
    digits.erase(before, 1);
    const std::int64_t kept = static_cast<std::int64_t>(before) + places;
    if (kept < 0) {
        return 0;
    }
    const auto size = static_cast<std::size_t>(kept);
    const bool up = digits[size] >= '5';
    digits.resize(size);
    digits.insert(digits.begin(), '0');
    if (up) {
        std::size_t i = digits.size() - 1;
        while (digits[i] == '9') {
            digits[i--] = '0';
        }
        ++digits[i];
    }
    digits += "e" + std::to_string(-places);
    double out = std::numeric_limits<double>::infinity();
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return std::copysign(out, x);
}

double round_real(double x, std::int64_t places) {
    if (places == 0) {
        return std::round(x);
    }
    if (places < 0 || places > 22) {
        return rounded_by_digits(x, places);
    }
    int exponent = 0;
    const double fraction = std::frexp(std::fabs(x), &exponent);
    const int bits = 53 - exponent;  // |x| = m / 2^bits
    if (bits <= 0) {
        return x;
    }
    if (bits > 127) {
        return 0;  // m * 10^22 < 2^127: less than a half
    }
    const uint128 m = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
    const uint128 power = kPowers[static_cast<std::size_t>(places)];
    const uint128 scaled = m * power;
    const uint128 q = (scaled >> bits) + ((scaled >> (bits - 1)) & 1);
    const double out = q <= (uint128{1} << 53) ? static_cast<double>(q) / static_cast<double>(power)
                                               : nearest_quotient({q, 0}, power);
    return std::copysign(out, x);
}

Computed round_decimal(int128 x, std::int64_t places) {
    if (places >= kDecimalScale) {
        return value(Scalar::of_decimal(x));
    }
    if (places < -20) {
        return value(Scalar::of_decimal(0));
    }
    const uint128 unit = kPowers[static_cast<std::size_t>(kDecimalScale - places)];
    const uint128 m = magnitude(x);
    const uint128 rest = m % unit;
    uint128 out = m - rest;
    if (rest >= unit - rest) {
        out += unit;  // at most 10^38 + 10^38
    }
    if (out > static_cast<uint128>(kDecimalMax)) {
        return failed(Fault::overflow);
    }
    return value(Scalar::of_decimal(x < 0 ? -static_cast<int128>(out) : static_cast<int128>(out)));
}

Computed round_integer(std::int64_t x, std::int64_t places) {
    if (places >= 0) {
        return value(Scalar::of(x));
    }
    if (places < -19) {
        return value(Scalar::of(std::int64_t{0}));
    }
    const auto unit = static_cast<int128>(kPowers[static_cast<std::size_t>(-places)]);
    int128 q = x / unit;
    const int128 rest = x % unit;
    if ((rest < 0 ? -rest : rest) * 2 >= unit) {
        q += x < 0 ? -1 : 1;
    }
    const int128 out = q * unit;
    if (out > std::numeric_limits<std::int64_t>::max() ||
        out < std::numeric_limits<std::int64_t>::min()) {
        return failed(Fault::overflow);
    }
    return value(Scalar::of(static_cast<std::int64_t>(out)));
}

int128 decimal_part(const Scalar& x) {
    return x.type == Type::integer ? decimal_of(x.value.integer) : x.value.decimal;
}

// Null if an operand is null, wrong type if one is no number; none: go on.
std::optional<Computed> not_numbers(const Scalar& a, const Scalar& b) {
    if (a.is_number() && b.is_number()) {
        return std::nullopt;
    }
    return a.is_null() || b.is_null() ? Computed{} : failed(Fault::wrong_type);
}
std::optional<Computed> not_a_number(const Scalar& x) {
    if (x.is_number()) {
        return std::nullopt;
    }
    return x.is_null() ? Computed{} : failed(Fault::wrong_type);
}

Computed decimal(bool fits, int128 v) {
    return fits ? value(Scalar::of_decimal(v)) : failed(Fault::overflow);
}
Computed integer(bool fits, std::int64_t v) {
    return fits ? value(Scalar::of(v)) : failed(Fault::overflow);
}

bool both(const Scalar& a, const Scalar& b, Type type) { return a.type == type && b.type == type; }
bool any_real(const Scalar& a, const Scalar& b) {
    return a.type == Type::real || b.type == Type::real;
}

constexpr double kIntegerEnd = 9223372036854775808.0;  // 2^63

Computed truncated(double v) {
    const double whole = std::trunc(v);
    return whole >= -kIntegerEnd && whole < kIntegerEnd
               ? value(Scalar::of(static_cast<std::int64_t>(whole)))
               : failed(Fault::overflow);
}

Computed truncated(int128 decimal) {
    const int128 whole = decimal / kDecimalOne;
    return whole >= std::numeric_limits<std::int64_t>::min() &&
                   whole <= std::numeric_limits<std::int64_t>::max()
               ? value(Scalar::of(static_cast<std::int64_t>(whole)))
               : failed(Fault::overflow);
}

char* print_integer(char* to, std::int64_t v) { return std::to_chars(to, to + 21, v).ptr; }

char* print_padded(char* to, std::uint64_t v, int width) {
    for (int i = width - 1; i >= 0; --i) {
        to[i] = static_cast<char>('0' + v % 10);
        v /= 10;
    }
    return to + width;
}

char* print_decimal(char* to, int128 v) {
    const uint128 m = magnitude(v);
    constexpr auto kOne = static_cast<std::uint64_t>(kDecimalOne);
    const uint128 whole = m / kOne;
    auto fraction = static_cast<std::uint64_t>(m - whole * kOne);
    if (v < 0) {
        *to++ = '-';
    }
    constexpr std::uint64_t kSplit = 10'000'000'000'000'000'000u;  // 10^19
    if (whole >= kSplit) {
        to = std::to_chars(to, to + 21, static_cast<std::uint64_t>(whole / kSplit)).ptr;
        to = print_padded(to, static_cast<std::uint64_t>(whole % kSplit), 19);
    } else {
        to = std::to_chars(to, to + 21, static_cast<std::uint64_t>(whole)).ptr;
    }
    if (fraction != 0) {
        *to++ = '.';
        int places = kDecimalScale;
        constexpr std::uint64_t kHalf = 1'000'000'000;  // most have few places
        if (fraction % kHalf == 0) {
            fraction /= kHalf;
            places -= 9;
        }
        while (fraction % 10 == 0) {
            fraction /= 10;
            --places;
        }
        to = print_padded(to, fraction, places);
    }
    return to;
}

// ECMA-262, Number::toString(x, 10): `digits` are its s, `point` its n.
char* print_real(char* to, double v) {
    if (v == 0) {
        *to++ = '0';
        return to;
    }
    const ShortestDigits s = shortest(v);
    const int size = static_cast<int>(s.size);
    const auto copy = [&to](const char* from, int n) {
        std::memcpy(to, from, static_cast<std::size_t>(n));
        to += n;
    };
    const auto zeros = [&to](int n) {
        std::memset(to, '0', static_cast<std::size_t>(n));
        to += n;
    };
    if (v < 0) {
        *to++ = '-';
    }
    if (size <= s.point && s.point <= 21) {
        copy(s.text.data(), size);
        zeros(s.point - size);
    } else if (0 < s.point && s.point <= 21) {
        copy(s.text.data(), s.point);
        *to++ = '.';
        copy(s.text.data() + s.point, size - s.point);
    } else if (-6 < s.point && s.point <= 0) {
        *to++ = '0';
        *to++ = '.';
        zeros(-s.point);
        copy(s.text.data(), size);
    } else {
        *to++ = s.text[0];
        if (size > 1) {
            *to++ = '.';
            copy(s.text.data() + 1, size - 1);
        }
        *to++ = 'e';
        const int power = s.point - 1;
        if (power > 0) {
            *to++ = '+';
        }
        to = print_integer(to, power);
    }
    return to;
}

char* print_literal(char* to, std::string_view text) {
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

}  // namespace

// ---- Reading

Computed parse_json_number(std::string_view text) {
    NumberText number;
    if (!take_number(text, number) || (number.before.size() > 1 && number.before[0] == '0')) {
        return failed(Fault::unreadable);
    }
    return read(text, number);
}

Computed parse_number(std::string_view text) {
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
        text.remove_prefix(1);
    }
    NumberText number;
    return take_number(text, number) ? read(text, number) : failed(Fault::unreadable);
}

// ---- Conversions

Computed to_integer(const Scalar& x) {
    switch (x.type) {
        case Type::null:
            return {};
        case Type::boolean:
            return value(Scalar::of(std::int64_t{x.value.boolean}));
        case Type::integer:
            return value(x);
        case Type::decimal:
            return truncated(x.value.decimal);
        case Type::real:
            return truncated(x.value.real);
        case Type::text: {
            const Computed read = parse_number(x.value.text.view());
            return read.fault == Fault::none ? to_integer(read.value) : read;
        }
    }
    return {};
}

Computed to_decimal(const Scalar& x) {
    switch (x.type) {
        case Type::null:
            return {};
        case Type::boolean:
            return value(Scalar::of_decimal(decimal_of(x.value.boolean)));
        case Type::integer:
            return value(Scalar::of_decimal(decimal_of(x.value.integer)));
        case Type::decimal:
            return value(x);
        case Type::real: {
            const ShortestDigits s = shortest(x.value.real);
            return decimal_from_digits(x.value.real < 0, {s.text.data(), s.size}, s.point);
        }
        case Type::text: {
            std::string_view text = x.value.text.view();
            if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
                text.remove_prefix(1);
            }
            NumberText number;
            if (!take_number(text, number)) {
                return failed(Fault::unreadable);
            }
            std::string digits(number.before);
            digits += number.after;
            return decimal_from_digits(
                number.negative, digits,
                number.power + static_cast<std::int64_t>(number.before.size()));
        }
    }
    return {};
}

Computed to_real(const Scalar& x) {
    switch (x.type) {
        case Type::null:
            return {};
        case Type::boolean:
            return value(Scalar::of(x.value.boolean ? 1.0 : 0.0));
        case Type::integer:
        case Type::decimal:
        case Type::real:
            return value(Scalar::of(nearest_double(x)));
        case Type::text: {
            std::string_view text = x.value.text.view();
            if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
                text.remove_prefix(1);
            }
            NumberText number;
            return take_number(text, number) ? read_real(text, number) : failed(Fault::unreadable);
        }
    }
    return {};
}

double decimal_to_double(int128 decimal) {
    const uint128 m = magnitude(decimal);
    // Both operands are exact doubles, so that the division rounds once.
    const double v = m <= (uint128{1} << 53)
                         ? static_cast<double>(static_cast<std::uint64_t>(m)) / 1e18
                         : nearest_quotient({m, 0}, static_cast<uint128>(kDecimalOne));
    return decimal < 0 ? -v : v;
}

double nearest_double(const Scalar& number) {
    switch (number.type) {
        case Type::integer:
            return static_cast<double>(number.value.integer);
        case Type::decimal:
            return decimal_to_double(number.value.decimal);
        default:
            return number.value.real;
    }
}

// ---- Arithmetic

Computed add(const Scalar& a, const Scalar& b) {
    if (const auto early = not_numbers(a, b)) {
        return *early;
    }
    if (both(a, b, Type::integer)) {
        std::int64_t sum = 0;
        const bool fits = !__builtin_add_overflow(a.value.integer, b.value.integer, &sum);
        return integer(fits, sum);
    }
    if (any_real(a, b)) {
        return real(nearest_double(a) + nearest_double(b));
    }
    int128 sum = 0;
    const bool fits = add_decimals(decimal_part(a), decimal_part(b), sum);
    return decimal(fits, sum);
}

Computed subtract(const Scalar& a, const Scalar& b) {
    if (const auto early = not_numbers(a, b)) {
        return *early;
    }
    if (both(a, b, Type::integer)) {
        std::int64_t difference = 0;
        const bool fits = !__builtin_sub_overflow(a.value.integer, b.value.integer, &difference);
        return integer(fits, difference);
    }
    if (any_real(a, b)) {
        return real(nearest_double(a) - nearest_double(b));
    }
    int128 difference = 0;
    const bool fits = subtract_decimals(decimal_part(a), decimal_part(b), difference);
    return decimal(fits, difference);
}

Computed multiply_decimals(int128 a, int128 b) {
    const uint256 product = multiply_wide(magnitude(a), magnitude(b));  // at scale 36
    const bool negative = (a < 0) != (b < 0);
    // 10^18 = 2^18 * 5^18. If it divides the product, the quotient is what the inverse of 5^18
    // modulo 2^128 says, provided that it fits: two multiplications instead of a long division.
    constexpr std::uint64_t kOdd = 3'814'697'265'625;  // 5^18
    constexpr uint128 kInverse = [] {
        uint128 x = kOdd;  // Newton: the number of right bits doubles, from 3
        for (int i = 0; i < 6; ++i) {
            x *= 2 - kOdd * x;
        }
        return x;
    }();
    static_assert(kInverse * kOdd == 1);
    const bool even = (product.low & ((uint128{1} << kDecimalScale) - 1)) == 0;
    const uint256 odd = shift_right(product, kDecimalScale);
    if (even) {
        const uint128 q = odd.low * kInverse;
        if (multiply_wide(q, kOdd) == odd) {
            if (q > static_cast<uint128>(kDecimalMax)) {
                return failed(Fault::overflow);
            }
            const auto m = static_cast<int128>(q);
            return value(Scalar::of_decimal(negative ? -m : m));
        }
        // Either more than 18 places, or too great: the rest of a real division tells.
        const uint128 high_rest = odd.high % kOdd;
        constexpr uint128 kLow = ~std::uint64_t{0};
        const uint128 middle_rest = ((high_rest << 64) | (odd.low >> 64)) % kOdd;
        if (((middle_rest << 64) | (odd.low & kLow)) % kOdd == 0) {
            return failed(Fault::overflow);
        }
    }
    const double v = nearest_quotient(product, kPowers[36]);
    return value(Scalar::of(negative ? -v : v));
}

Computed multiply(const Scalar& a, const Scalar& b) {
    if (const auto early = not_numbers(a, b)) {
        return *early;
    }
    if (both(a, b, Type::integer)) {
        std::int64_t product = 0;
        const bool fits = !__builtin_mul_overflow(a.value.integer, b.value.integer, &product);
        return integer(fits, product);
    }
    if (any_real(a, b)) {
        return real(nearest_double(a) * nearest_double(b));
    }
    int128 product = 0;
    if (a.type == Type::integer) {
        const bool fits = multiply_decimal(b.value.decimal, a.value.integer, product);
        return decimal(fits, product);
    }
    if (b.type == Type::integer) {
        const bool fits = multiply_decimal(a.value.decimal, b.value.integer, product);
        return decimal(fits, product);
    }
    return multiply_decimals(a.value.decimal, b.value.decimal);
}

Computed divide(const Scalar& a, const Scalar& b) {
    if (const auto early = not_numbers(a, b)) {
        return *early;
    }
    if (any_real(a, b)) {
        const double divisor = nearest_double(b);
        return divisor == 0 ? failed(Fault::nan) : real(nearest_double(a) / divisor);
    }
    if (both(a, b, Type::integer)) {
        constexpr std::int64_t kExact = std::int64_t{1} << 53;
        const std::int64_t n = a.value.integer;
        const std::int64_t d = b.value.integer;
        if (d == 0) {
            return failed(Fault::nan);
        }
        if (n <= kExact && n >= -kExact && d <= kExact && d >= -kExact) {
            return real(static_cast<double>(n) / static_cast<double>(d));
        }
    }
    const int128 n = decimal_part(a);
    const int128 d = decimal_part(b);
    if (d == 0) {
        return failed(Fault::nan);
    }
    const double v = nearest_quotient({magnitude(n), 0}, magnitude(d));
    return real((n < 0) != (d < 0) ? -v : v);
}

Computed remainder(const Scalar& a, const Scalar& b) {
    if (!both(a, b, Type::integer)) {
        return (a.is_null() || b.is_null()) ? Computed{} : failed(Fault::wrong_type);
    }
    if (b.value.integer == 0) {
        return failed(Fault::nan);
    }
    if (b.value.integer == -1) {  // the least integer by -1 traps
        return value(Scalar::of(std::int64_t{0}));
    }
    return value(Scalar::of(a.value.integer % b.value.integer));
}

Computed negate(const Scalar& x) {
    if (const auto early = not_a_number(x)) {
        return *early;
    }
    if (x.type == Type::integer) {
        std::int64_t out = 0;
        const bool fits = !__builtin_sub_overflow(std::int64_t{0}, x.value.integer, &out);
        return integer(fits, out);
    }
    return x.type == Type::decimal ? value(Scalar::of_decimal(-x.value.decimal))
                                   : real(-x.value.real);
}

Computed absolute(const Scalar& x) {
    if (const auto early = not_a_number(x)) {
        return *early;
    }
    const bool negative = x.type == Type::integer   ? x.value.integer < 0
                          : x.type == Type::decimal ? x.value.decimal < 0
                                                    : x.value.real < 0;
    return negative ? negate(x) : value(x);
}

Computed round(const Scalar& x, std::int64_t places) {
    if (const auto early = not_a_number(x)) {
        return *early;
    }
    switch (x.type) {
        case Type::integer:
            return round_integer(x.value.integer, places);
        case Type::decimal:
            return round_decimal(x.value.decimal, places);
        default:
            return real(round_real(x.value.real, places));
    }
}

Computed floor(const Scalar& x) {
    if (const auto early = not_a_number(x)) {
        return *early;
    }
    if (x.type == Type::integer) {
        return value(x);
    }
    if (x.type == Type::real) {
        return real(std::floor(x.value.real));
    }
    const int128 rest = x.value.decimal % kDecimalOne;
    const int128 out = x.value.decimal - rest - (rest < 0 ? kDecimalOne : 0);
    return decimal(in_decimal_range(out), out);
}

Computed ceil(const Scalar& x) {
    if (const auto early = not_a_number(x)) {
        return *early;
    }
    if (x.type == Type::integer) {
        return value(x);
    }
    if (x.type == Type::real) {
        return real(std::ceil(x.value.real));
    }
    const int128 rest = x.value.decimal % kDecimalOne;
    const int128 out = x.value.decimal - rest + (rest > 0 ? kDecimalOne : 0);
    return decimal(in_decimal_range(out), out);
}

// ---- Order

std::strong_ordering compare(std::int64_t a, double b) {
    if (b >= kIntegerEnd) {
        return std::strong_ordering::less;
    }
    if (b < -kIntegerEnd) {
        return std::strong_ordering::greater;
    }
    const double whole = std::trunc(b);
    if (const auto order = a <=> static_cast<std::int64_t>(whole); order != 0) {
        return order;
    }
    return whole < b   ? std::strong_ordering::less
           : whole > b ? std::strong_ordering::greater
                       : std::strong_ordering::equal;
}

std::strong_ordering compare(int128 decimal, double b) {
    constexpr double kFar = 147573952589676412928.0;  // 2^67, beyond every decimal
    if (b >= kFar) {
        return std::strong_ordering::less;
    }
    if (b <= -kFar) {
        return std::strong_ordering::greater;
    }
    if ((decimal < 0) != (b < 0) || decimal == 0 || b == 0) {
        const int sign = decimal < 0 ? -1 : (decimal > 0 ? 1 : 0);
        const int other = b < 0 ? -1 : (b > 0 ? 1 : 0);
        return sign <=> other;
    }
    // |b| = m * 2^shift, with m below 2^53. At scale 18 its whole part fits into 128 bits.
    int exponent = 0;
    const double fraction = std::frexp(std::fabs(b), &exponent);
    const uint128 m = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
    const uint128 scaled = m * static_cast<std::uint64_t>(kDecimalOne);
    const int shift = exponent - 53;
    uint128 whole = 0;
    bool more = false;
    if (shift >= 0) {
        whole = scaled << shift;
    } else if (shift > -128) {
        whole = scaled >> -shift;
        more = (whole << -shift) != scaled;
    } else {
        more = true;
    }
    auto order = magnitude(decimal) <=> whole;
    if (order == 0 && more) {
        order = std::strong_ordering::less;
    }
    return decimal < 0 ? 0 <=> order : order;
}

std::strong_ordering compare_numbers(const Scalar& a, const Scalar& b) {
    if (a.type == Type::real && b.type == Type::real) {
        return a.value.real < b.value.real   ? std::strong_ordering::less
               : a.value.real > b.value.real ? std::strong_ordering::greater
                                             : std::strong_ordering::equal;
    }
    if (a.type == Type::real) {
        return 0 <=> compare_numbers(b, a);
    }
    if (b.type == Type::real) {
        return a.type == Type::integer ? compare(a.value.integer, b.value.real)
                                       : compare(a.value.decimal, b.value.real);
    }
    if (both(a, b, Type::integer)) {
        return a.value.integer <=> b.value.integer;
    }
    return decimal_part(a) <=> decimal_part(b);
}

std::optional<std::strong_ordering> compare_scalars(const Scalar& a, const Scalar& b) {
    if (a.is_number() && b.is_number()) {
        return compare_numbers(a, b);
    }
    if (both(a, b, Type::text)) {
        return a.value.text.view() <=> b.value.text.view();
    }
    if (both(a, b, Type::boolean)) {
        return a.value.boolean <=> b.value.boolean;
    }
    return std::nullopt;
}

// ---- Printing

char* print(char* to, const Scalar& x) {
    switch (x.type) {
        case Type::boolean:
            return print_literal(to, x.value.boolean ? "true" : "false");
        case Type::integer:
            return print_integer(to, x.value.integer);
        case Type::decimal:
            return print_decimal(to, x.value.decimal);
        case Type::real:
            return print_real(to, x.value.real);
        case Type::null:
        case Type::text:
            break;
    }
    return to;
}

void append_printed(std::string& out, const Scalar& x) {
    if (x.type == Type::text) {
        out += x.value.text.view();
        return;
    }
    std::array<char, kPrintedMax> buffer;
    out.append(buffer.data(), print(buffer.data(), x));
}

// ---- Times

std::string print_rfc3339(EventTime ms) {
    const std::int64_t day = floor_div(ms, 86'400'000);
    const auto in_day = static_cast<std::uint64_t>(ms - day * 86'400'000);
    const std::chrono::year_month_day date{
        std::chrono::sys_days{std::chrono::days{static_cast<int>(day)}}};
    const int year = static_cast<int>(date.year());
    std::array<char, 40> text;
    char* to = text.data();
    if (year >= 0 && year <= 9999) {
        to = print_padded(to, static_cast<std::uint64_t>(year), 4);
    } else {
        to = print_integer(to, year);
    }
    const auto part = [&to](char separator, std::uint64_t v, int width) {
        *to++ = separator;
        to = print_padded(to, v, width);
    };
    part('-', static_cast<unsigned>(date.month()), 2);
    part('-', static_cast<unsigned>(date.day()), 2);
    part('T', in_day / 3'600'000, 2);
    part(':', in_day / 60'000 % 60, 2);
    part(':', in_day / 1000 % 60, 2);
    if (in_day % 1000 != 0) {
        part('.', in_day % 1000, 3);
    }
    *to++ = 'Z';
    return {text.data(), to};
}

std::optional<EventTime> parse_rfc3339(std::string_view text) {
    // 0123456789012345678
    // YYYY-MM-DDTHH:MM:SS
    constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
    if (text.size() < kShape.size()) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < kShape.size(); ++i) {
        const bool right = kShape[i] == 'd'   ? is_digit(text[i])
                           : kShape[i] == 'T' ? text[i] == 'T' || text[i] == 't' || text[i] == ' '
                                              : text[i] == kShape[i];
        if (!right) {
            return std::nullopt;
        }
    }
    const auto two = [text](std::size_t at) {
        return (text[at] - '0') * 10 + (text[at + 1] - '0');
    };
    const int year = two(0) * 100 + two(2);
    const int hour = two(11);
    const int minute = two(14);
    const int second = two(17);
    const std::chrono::year_month_day date{std::chrono::year{year},
                                           std::chrono::month{static_cast<unsigned>(two(5))},
                                           std::chrono::day{static_cast<unsigned>(two(8))}};
    if (!date.ok() || hour > 23 || minute > 59 || second > 60) {
        return std::nullopt;
    }
    std::string_view rest = text.substr(kShape.size());
    std::int64_t ms = 0;
    if (!rest.empty() && rest[0] == '.') {
        rest.remove_prefix(1);
        std::string_view digits;
        if (!take_digits(rest, digits)) {
            return std::nullopt;
        }
        for (std::size_t i = 0; i < 3; ++i) {
            ms = ms * 10 + (i < digits.size() ? digits[i] - '0' : 0);
        }
    }
    std::int64_t zone_minutes = 0;
    if (rest.size() == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':') {
        for (const std::size_t i : {1u, 2u, 4u, 5u}) {
            if (!is_digit(rest[i])) {
                return std::nullopt;
            }
        }
        const int zone_hour = (rest[1] - '0') * 10 + (rest[2] - '0');
        const int zone_minute = (rest[4] - '0') * 10 + (rest[5] - '0');
        if (zone_hour > 23 || zone_minute > 59) {
            return std::nullopt;
        }
        zone_minutes = zone_hour * 60 + zone_minute;
        zone_minutes = rest[0] == '-' ? -zone_minutes : zone_minutes;
    } else if (!rest.empty() && rest != "Z" && rest != "z") {
        return std::nullopt;
    }
    const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
    const std::int64_t out =
        (((days * 24 + hour) * 60 + minute - zone_minutes) * 60 + second) * 1000 + ms;
    if (out < kFirstInstant || out > kLastInstant) {
        return std::nullopt;
    }
    return out;
}

}  // namespace sluice::model
