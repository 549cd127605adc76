// Integers wider than 128 bits, and the one rounding from exact integers to doubles.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "state/model/value.h"

namespace sluice::model {

// An unsigned integer of 256 bits: high * 2^128 + low.
struct uint256 {
    uint128 low = 0;
    uint128 high = 0;
    bool operator==(const uint256&) const = default;
};

constexpr uint128 magnitude(int128 v) {
    return v < 0 ? uint128{0} - static_cast<uint128>(v) : static_cast<uint128>(v);
}

constexpr int leading_zeros(uint128 v) {
    const auto high = static_cast<std::uint64_t>(v >> 64);
    return high != 0 ? std::countl_zero(high)
                     : 64 + std::countl_zero(static_cast<std::uint64_t>(v));
}

constexpr uint256 multiply_wide(uint128 a, uint128 b) {
    constexpr uint128 kLow = ~std::uint64_t{0};
    const uint128 ll = (a & kLow) * (b & kLow);
    const uint128 lh = (a & kLow) * (b >> 64);
    const uint128 hl = (a >> 64) * (b & kLow);
    const uint128 hh = (a >> 64) * (b >> 64);
    const uint128 middle = (ll >> 64) + (lh & kLow) + (hl & kLow);
    return {(middle << 64) | (ll & kLow), hh + (lh >> 64) + (hl >> 64) + (middle >> 64)};
}

// `bits` from 0 to 255.
constexpr uint256 shift_left(uint256 v, int bits) {
    if (bits == 0) {
        return v;
    }
    if (bits >= 128) {
        return {0, v.low << (bits - 128)};
    }
    return {v.low << bits, (v.high << bits) | (v.low >> (128 - bits))};
}
constexpr uint256 shift_right(uint256 v, int bits) {
    if (bits == 0) {
        return v;
    }
    if (bits >= 128) {
        return {v.high >> (bits - 128), 0};
    }
    return {(v.low >> bits) | (v.high << (128 - bits)), v.high >> bits};
}

// The double nearest to m * 2^exponent, ties to even; `more` says that the exact value lies a
// little above m * 2^exponent, by less than 2^exponent. With `more`, m must have at least 55 bits.
// The result must not be subnormal.
inline double nearest_double(uint128 m, int exponent, bool more) {
    if (m == 0) {
        return 0;
    }
    const int excess = 128 - leading_zeros(m) - 53;
    if (excess > 0) {
        const uint128 rest = m & ((uint128{1} << excess) - 1);
        const uint128 half = uint128{1} << (excess - 1);
        m >>= excess;
        exponent += excess;
        if (rest > half || (rest == half && (more || (m & 1) != 0))) {
            ++m;  // may carry to 2^53, which is exact
        }
    }
    return std::ldexp(static_cast<double>(static_cast<std::uint64_t>(m)), exponent);
}

// The double nearest to n / d, ties to even: an exact quotient, rounded once. d > 0, d < 2^127.
inline double nearest_quotient(uint256 n, uint128 d) {
    if (n == uint256{}) {
        return 0;
    }
    // Long division in digits of `digit` bits, fed from the top of n, until the quotient has enough
    // bits for one rounding. What is behind n's last bit are zeros.
    const int zeros = n.high != 0 ? leading_zeros(n.high) : 128 + leading_zeros(n.low);
    n = shift_left(n, zeros);
    int exponent = 256 - zeros;  // of the bit before the next one to feed
    const int digit = leading_zeros(d) < 63 ? leading_zeros(d) : 63;
    uint128 quotient = 0;
    uint128 rest = 0;
    while (quotient < (uint128{1} << 55)) {
        const uint128 fed = n.high >> (128 - digit);
        n = shift_left(n, digit);
        exponent -= digit;
        const uint128 part = (rest << digit) | fed;  // rest < d, so nothing is lost
        const uint128 q = part / d;
        rest = part - q * d;
        quotient = (quotient << digit) | q;
    }
    return nearest_double(quotient, exponent, rest != 0 || n != uint256{});
}

}  // namespace sluice::model
