// Plain, slow, exact arithmetic for tests: rationals over integers of any length. Nothing of the
// project's own arithmetic is used here.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "state/model/value.h"

namespace sluice::exact {

using Integer = boost::multiprecision::cpp_int;
using Rational = boost::multiprecision::cpp_rational;

inline Integer integer(model::int128 v) {
    const bool negative = v < 0;
    const auto m = negative ? model::uint128{0} - static_cast<model::uint128>(v)
                            : static_cast<model::uint128>(v);
    Integer out = static_cast<std::uint64_t>(m >> 64);
    out <<= 64;
    out += static_cast<std::uint64_t>(m);
    return negative ? Integer(-out) : out;
}

inline Integer power(int base, int exponent) {
    return boost::multiprecision::pow(Integer(base), static_cast<unsigned>(exponent));
}

inline Rational decimal(model::int128 v) { return Rational(integer(v), power(10, 18)); }

inline Rational real(double v) {
    int exponent = 0;
    const double fraction = std::frexp(v, &exponent);
    const auto m = static_cast<std::int64_t>(std::ldexp(fraction, 53));
    exponent -= 53;
    return exponent >= 0 ? Rational(Integer(m) * power(2, exponent))
                         : Rational(Integer(m), power(2, -exponent));
}

inline Rational number(const model::Scalar& x) {
    return x.type == model::Type::integer   ? Rational(Integer(x.value.integer))
           : x.type == model::Type::decimal ? decimal(x.value.decimal)
                                            : real(x.value.real);
}

// The double nearest to `x`, ties to even, found by trying the neighbours of an estimate.
inline double nearest(const Rational& x) {
    const Rational magnitude = abs(x);
    double best = magnitude.convert_to<double>();
    if (!std::isfinite(best)) {
        return x < 0 ? -best : best;
    }
    for (int i = 0; i < 3; ++i) {
        best = std::nextafter(best, 0.0);
    }
    double candidate = best;
    for (int i = 0; i < 6; ++i) {
        candidate = std::nextafter(candidate, INFINITY);
        const Rational was = abs(real(best) - magnitude);
        const Rational is = abs(real(candidate) - magnitude);
        std::uint64_t bits = 0;
        std::memcpy(&bits, &candidate, sizeof bits);
        if (is < was || (is == was && bits % 2 == 0)) {
            best = candidate;
        }
    }
    return x < 0 ? -best : best;
}

inline Integer floor(const Rational& x) {
    const Integer n = numerator(x);
    const Integer d = denominator(x);
    Integer q = n / d;
    return n < 0 && q * d != n ? Integer(q - 1) : q;
}

// Half away from zero.
inline Integer round(const Rational& x) {
    const Integer m = floor(abs(x) + Rational(1, 2));
    return x < 0 ? Integer(-m) : m;
}

inline std::string print_decimal(Integer scaled) {
    std::string out = scaled < 0 ? "-" : "";
    std::string digits = Integer(abs(scaled)).str();
    if (digits.size() < 19) {
        digits.insert(0, 19 - digits.size(), '0');
    }
    out += digits.substr(0, digits.size() - 18);
    std::string fraction = digits.substr(digits.size() - 18);
    while (!fraction.empty() && fraction.back() == '0') {
        fraction.pop_back();
    }
    return fraction.empty() ? out : out + "." + fraction;
}

}  // namespace sluice::exact
