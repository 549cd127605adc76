#include "state/model/number.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <random>

#include "tests/unit/model/exact_reference.h"

namespace sluice::model {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kGreatest = std::numeric_limits<std::int64_t>::max();

std::string printed(const Scalar& x) {
    std::string out;
    append_printed(out, x);
    return out;
}

std::string shown(const Computed& c) {
    switch (c.fault) {
        case Fault::none:
            return std::string(1, "nbidrt"[static_cast<int>(c.value.type)]) + ":" +
                   printed(c.value);
        case Fault::wrong_type:
            return "wrong type";
        case Fault::overflow:
            return "overflow";
        case Fault::nan:
            return "nan";
        case Fault::unreadable:
            return "unreadable";
    }
    return "?";
}

std::string json(std::string_view text) { return shown(parse_json_number(text)); }

Scalar read(std::string_view text) {
    const Computed c = parse_json_number(text);
    EXPECT_EQ(c.fault, Fault::none) << text;
    return c.value;
}

std::string text(char c, std::size_t n) { return std::string(n, c); }

TEST(JsonNumber, WithoutPointAndExponentIsAnInteger) {
    EXPECT_EQ(json("0"), "i:0");
    EXPECT_EQ(json("-0"), "i:0");
    EXPECT_EQ(json("42"), "i:42");
    EXPECT_EQ(json("9223372036854775807"), "i:9223372036854775807");
    EXPECT_EQ(json("-9223372036854775808"), "i:-9223372036854775808");
}

TEST(JsonNumber, IntegerBeyond64BitsOverflows) {
    EXPECT_EQ(json("9223372036854775808"), "overflow");
    EXPECT_EQ(json("-9223372036854775809"), "overflow");
    EXPECT_EQ(json("99999999999999999999999999"), "overflow");
}

TEST(JsonNumber, WithAPointIsADecimalOfAtMost18And20Digits) {
    EXPECT_EQ(json("0.1"), "d:0.1");
    EXPECT_EQ(json("-0.0"), "d:0");
    EXPECT_EQ(json("1.50"), "d:1.5");
    EXPECT_EQ(json("2.0"), "d:2");
    EXPECT_EQ(json("99999999999999999999.999999999999999999"),
              "d:99999999999999999999.999999999999999999");
    EXPECT_EQ(json("-99999999999999999999.999999999999999999"),
              "d:-99999999999999999999.999999999999999999");
    EXPECT_EQ(json("0.000000000000000001"), "d:0.000000000000000001");
    EXPECT_EQ(json("100000000000000000000.5"), "overflow");
}

TEST(JsonNumber, MorePlacesOrAnExponentMakeAFloat) {
    EXPECT_EQ(json("0.1234567890123456789"), "r:0.12345678901234568");
    EXPECT_EQ(json("1e5"), "r:100000");
    EXPECT_EQ(json("1.5E-3"), "r:0.0015");
    EXPECT_EQ(json("1.5e+3"), "r:1500");
    EXPECT_EQ(json("123456789012345678901.1234567890123456789"), "r:123456789012345680000");
    EXPECT_EQ(json("1.0000000000000000000"), "r:1");
}

TEST(JsonNumber, BeyondDoubleOverflowsAndTooSmallIsZero) {
    EXPECT_EQ(json("1e309"), "overflow");
    EXPECT_EQ(json("-1e309"), "overflow");
    EXPECT_EQ(json("1e99999999999999999999"), "overflow");
    EXPECT_EQ(json("1" + text('0', 400) + "e-800"), "r:0");
    EXPECT_EQ(json("0." + text('0', 400) + "1e800"), "overflow");
    EXPECT_EQ(json("1e-400"), "r:0");
    EXPECT_EQ(json("-1e-99999999999999999999"), "r:0");
    EXPECT_EQ(json("1.7976931348623157e308"), "r:1.7976931348623157e+308");
    EXPECT_EQ(json("5e-324"), "r:5e-324");
    EXPECT_EQ(json("0e999999"), "r:0");
}

TEST(JsonNumber, AnythingElseIsUnreadable) {
    for (const char* bad : {"", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1.5.2", "NaN",
                            "Infinity", "0x10", " 1", "1 ", "1,5", "--1", "1e5.5"}) {
        EXPECT_EQ(json(bad), "unreadable") << bad;
    }
    EXPECT_EQ(shown(parse_number("+007")), "i:7");
    EXPECT_EQ(shown(parse_number("+-7")), "unreadable");
    EXPECT_EQ(shown(parse_number(" 7")), "unreadable");
}

RC_GTEST_PROP(JsonNumber, EqualsAnExactReading, ()) {
    const auto digits = [](int least, int most) {
        auto out = *rc::gen::container<std::string>(rc::gen::inRange<char>('0', '9' + 1));
        const auto size = static_cast<std::size_t>(*rc::gen::inRange(least, most + 1));
        out.resize(size, '9');
        return out;
    };
    std::string before = digits(1, 22);
    before.erase(0, std::min(before.find_first_not_of('0'), before.size() - 1));
    const std::string after = digits(0, 20);
    const bool minus = *rc::gen::arbitrary<bool>();
    const std::string whole = (minus ? "-" : "") + before + (after.empty() ? "" : "." + after);
    const Computed got = parse_json_number(whole);
    if (after.size() > 18) {
        RC_ASSERT(got.value.type == Type::real);
        RC_ASSERT(got.value.value.real == std::strtod(whole.c_str(), nullptr));
        return;
    }
    std::string all = before + after;  // a leading 0 would make it octal
    all.erase(0, std::min(all.find_first_not_of('0'), all.size() - 1));
    exact::Integer scaled(all);
    scaled *= exact::power(10, 18 - static_cast<int>(after.size()));
    scaled = minus ? exact::Integer(-scaled) : scaled;
    if (after.empty()) {
        const exact::Integer v = scaled / exact::power(10, 18);
        if (v > kGreatest || v < kLeast) {
            RC_ASSERT(got.fault == Fault::overflow);
        } else {
            RC_ASSERT(got.value.type == Type::integer);
            RC_ASSERT(exact::Integer(got.value.value.integer) == v);
        }
    } else if (abs(scaled) >= exact::power(10, 38)) {
        RC_ASSERT(got.fault == Fault::overflow);
    } else {
        RC_ASSERT(got.value.type == Type::decimal);
        RC_ASSERT(exact::integer(got.value.value.decimal) == scaled);
    }
}

// ---- Random numbers with the edges of every kind among them.

Scalar random_number(std::mt19937_64& random) {
    const auto pick = [&](std::uint64_t n) { return random() % n; };
    switch (pick(10)) {
        case 0:
            return Scalar::of(static_cast<std::int64_t>(random()));
        case 1:
            return Scalar::of(static_cast<std::int64_t>(pick(200)) - 100);
        case 2: {
            constexpr std::int64_t kEdges[] = {kLeast, kGreatest, kLeast + 1,      0,           -1,
                                               1,      1LL << 53, (1LL << 53) + 1, -(1LL << 62)};
            return Scalar::of(kEdges[pick(std::size(kEdges))]);
        }
        case 3: {  // a price
            const auto cents = static_cast<std::int64_t>(pick(1'000'000)) - 500'000;
            return Scalar::of_decimal(static_cast<int128>(cents) * (kDecimalOne / 100));
        }
        case 4: {  // any decimal
            const uint128 any = (static_cast<uint128>(random()) << 64) | random();
            const auto m = static_cast<int128>(any % (static_cast<uint128>(kDecimalMax) + 1));
            return Scalar::of_decimal(pick(2) == 0 ? m : -m);
        }
        case 5: {
            const auto m = static_cast<int128>(random() >> pick(64));
            return Scalar::of_decimal(pick(2) == 0 ? m : -m);
        }
        case 6: {
            const int128 kEdges[] = {kDecimalMax,
                                     -kDecimalMax,
                                     0,
                                     1,
                                     -1,
                                     kDecimalOne,
                                     static_cast<int128>(kDecimalOne) * kDecimalOne,
                                     kDecimalMax - 1,
                                     kDecimalOne / 2,
                                     -kDecimalOne / 2};
            return Scalar::of_decimal(kEdges[pick(std::size(kEdges))]);
        }
        case 7: {
            double v = 0;
            do {
                const std::uint64_t bits = random();
                std::memcpy(&v, &bits, sizeof v);
            } while (!std::isfinite(v));
            return Scalar::of(v);
        }
        case 8:
            return Scalar::of(
                std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(pick(140)) - 100) *
                (pick(2) == 0 ? 1 : -1));
        default: {
            constexpr double kEdges[] = {0.0,
                                         0.5,
                                         -0.5,
                                         1e20,
                                         1e21,
                                         -1e20,
                                         9223372036854775808.0,
                                         -9223372036854775808.0,
                                         9007199254740992.0,
                                         1e-7,
                                         0.1,
                                         5e-324,
                                         1.7976931348623157e308,
                                         147573952589676412928.0};
            return Scalar::of(kEdges[pick(std::size(kEdges))]);
        }
    }
}

int sign(std::strong_ordering order) { return order < 0 ? -1 : (order > 0 ? 1 : 0); }

RC_GTEST_PROP(CompareNumbers, IsExactAcrossAllTypes, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20; ++i) {
        const Scalar a = random_number(random);
        Scalar b = random_number(random);
        if (random() % 3 == 0) {  // the same value in another type, or nearly
            b = a.type == Type::real ? a : Scalar::of(nearest_double(a));
        }
        const exact::Rational x = exact::number(a);
        const exact::Rational y = exact::number(b);
        const int expected = x < y ? -1 : (x > y ? 1 : 0);
        RC_LOG() << printed(a) << " " << printed(b) << "\n";
        RC_ASSERT(sign(compare_numbers(a, b)) == expected);
        RC_ASSERT(sign(compare_numbers(b, a)) == -expected);
    }
}

TEST(CompareNumbers, DoesNotRoundNeighbours) {
    EXPECT_EQ(sign(compare_numbers(Scalar::of(std::int64_t{9007199254740993}),
                                   Scalar::of(9007199254740992.0))),
              1);
    EXPECT_EQ(sign(compare_numbers(read("0.1"), Scalar::of(0.1))), -1);
    EXPECT_EQ(sign(compare_numbers(read("0.5"), Scalar::of(0.5))), 0);
    EXPECT_EQ(sign(compare_numbers(Scalar::of(kGreatest), Scalar::of(9223372036854775808.0))), -1);
    EXPECT_EQ(sign(compare_numbers(read("0.0"), Scalar::of(5e-324))), -1);
    EXPECT_EQ(sign(compare_numbers(read("-0.0"), Scalar::of(-0.0))), 0);
    EXPECT_EQ(sign(compare_numbers(Scalar::of(std::int64_t{1}), read("1.0"))), 0);
}

TEST(CompareScalars, TextIsBytewiseAndFalseBeforeTrue) {
    EXPECT_EQ(sign(*compare_scalars(Scalar::of(std::string_view("Z")),
                                    Scalar::of(std::string_view("a")))),
              -1);
    EXPECT_EQ(sign(*compare_scalars(Scalar::of(std::string_view("\xc3\xa4")),
                                    Scalar::of(std::string_view("z")))),
              1);
    EXPECT_EQ(sign(*compare_scalars(Scalar::of(false), Scalar::of(true))), -1);
    EXPECT_FALSE(compare_scalars(Scalar::of(std::string_view("1")), Scalar::of(std::int64_t{1})));
    EXPECT_FALSE(compare_scalars(Scalar::null(), Scalar::null()));
    EXPECT_FALSE(compare_scalars(Scalar::of(true), Scalar::of(std::int64_t{1})));
}

// ---- Arithmetic

// What SEMANTICS says about an exact result of integers and decimals.
std::string expected_exact(const Scalar& a, const Scalar& b, const exact::Rational& value) {
    if (a.type == Type::integer && b.type == Type::integer) {
        const exact::Integer v = exact::floor(value);
        return v > kGreatest || v < kLeast ? "overflow" : "i:" + v.str();
    }
    const exact::Rational scaled = value * exact::power(10, 18);
    if (denominator(scaled) != 1) {
        return "r:" + printed(Scalar::of(exact::nearest(value)));
    }
    const exact::Integer v = numerator(scaled);
    return abs(v) >= exact::power(10, 38) ? "overflow" : "d:" + exact::print_decimal(v);
}

std::string expected_real(double v) {
    return std::isfinite(v) ? "r:" + printed(Scalar::of(v)) : "overflow";
}

RC_GTEST_PROP(Arithmetic, IsExactOrRoundedOnce, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20; ++i) {
        const Scalar a = random_number(random);
        const Scalar b = random_number(random);
        RC_LOG() << shown({a}) << " " << shown({b}) << "\n";
        if (a.type == Type::real || b.type == Type::real) {
            const double x = exact::nearest(exact::number(a));
            const double y = exact::nearest(exact::number(b));
            RC_ASSERT(shown(add(a, b)) == expected_real(x + y));
            RC_ASSERT(shown(subtract(a, b)) == expected_real(x - y));
            RC_ASSERT(shown(multiply(a, b)) == expected_real(x * y));
            RC_ASSERT(shown(divide(a, b)) == (y == 0 ? "nan" : expected_real(x / y)));
            continue;
        }
        const exact::Rational x = exact::number(a);
        const exact::Rational y = exact::number(b);
        RC_ASSERT(shown(add(a, b)) == expected_exact(a, b, x + y));
        RC_ASSERT(shown(subtract(a, b)) == expected_exact(a, b, x - y));
        RC_ASSERT(shown(multiply(a, b)) == expected_exact(a, b, x * y));
        RC_ASSERT(shown(divide(a, b)) ==
                  (y == 0 ? "nan" : "r:" + printed(Scalar::of(exact::nearest(x / y)))));
    }
}

TEST(Arithmetic, NullIsNullAndOtherTypesAreWrong) {
    const Scalar one = Scalar::of(std::int64_t{1});
    const Scalar word = Scalar::of(std::string_view("1"));
    EXPECT_EQ(shown(add(one, Scalar::null())), "n:");
    EXPECT_EQ(shown(add(word, Scalar::null())), "n:");
    EXPECT_EQ(shown(add(one, word)), "wrong type");
    EXPECT_EQ(shown(multiply(one, Scalar::of(true))), "wrong type");
    EXPECT_EQ(shown(negate(word)), "wrong type");
    EXPECT_EQ(shown(absolute(Scalar::null())), "n:");
}

TEST(Arithmetic, ProductsKeep18PlacesOrBecomeFloats) {
    EXPECT_EQ(shown(multiply(read("12.34"), read("3.5"))), "d:43.19");
    EXPECT_EQ(shown(multiply(read("0.000000001"), read("0.000000001"))), "d:0.000000000000000001");
    EXPECT_EQ(shown(multiply(read("0.0000000001"), read("0.000000001"))), "r:1e-19");
    EXPECT_EQ(shown(multiply(read("10000000000.0"), read("10000000000.0"))), "overflow");
    EXPECT_EQ(shown(multiply(read("9999999999.0"), read("10000000000.0"))),
              "d:99999999990000000000");
    EXPECT_EQ(shown(multiply(read("12.34"), Scalar::of(std::int64_t{-3}))), "d:-37.02");
    EXPECT_EQ(shown(multiply(read("99999999999999999999.9"), Scalar::of(std::int64_t{1}))),
              "d:99999999999999999999.9");
    EXPECT_EQ(shown(multiply(read("99999999999999999999.9"), Scalar::of(kLeast))), "overflow");
}

TEST(Arithmetic, DivisionIsAFloatAndByZeroNothing) {
    const auto i = [](std::int64_t v) { return Scalar::of(v); };
    EXPECT_EQ(shown(divide(i(6), i(3))), "r:2");
    EXPECT_EQ(shown(divide(i(1), i(0))), "nan");
    EXPECT_EQ(shown(divide(i(0), read("0.0"))), "nan");
    EXPECT_EQ(shown(divide(Scalar::of(1.0), Scalar::of(-0.0))), "nan");
    EXPECT_EQ(shown(divide(Scalar::of(1e308), Scalar::of(1e-308))), "overflow");
    EXPECT_EQ(shown(divide(read("0.3"), read("0.1"))), "r:3");  // exact, then rounded once
    EXPECT_EQ(shown(divide(i(-0), i(-5))), "r:0");
}

TEST(Arithmetic, RemainderIsForIntegersWithTheDividendsSign) {
    const auto i = [](std::int64_t v) { return Scalar::of(v); };
    EXPECT_EQ(shown(remainder(i(7), i(3))), "i:1");
    EXPECT_EQ(shown(remainder(i(-7), i(3))), "i:-1");
    EXPECT_EQ(shown(remainder(i(7), i(-3))), "i:1");
    EXPECT_EQ(shown(remainder(i(kLeast), i(-1))), "i:0");
    EXPECT_EQ(shown(remainder(i(7), i(0))), "nan");
    EXPECT_EQ(shown(remainder(i(7), read("2.0"))), "wrong type");
    EXPECT_EQ(shown(remainder(read("2.0"), Scalar::null())), "n:");
}

TEST(Arithmetic, TheLeastIntegerHasNoNegative) {
    EXPECT_EQ(shown(negate(Scalar::of(kLeast))), "overflow");
    EXPECT_EQ(shown(absolute(Scalar::of(kLeast))), "overflow");
    EXPECT_EQ(shown(negate(read("-1.5"))), "d:1.5");
    EXPECT_EQ(shown(absolute(Scalar::of(-1.5))), "r:1.5");
}

// ---- Rounding

TEST(Round, HalfAwayFromZeroAndKeepsTheType) {
    EXPECT_EQ(shown(round(read("2.5"), 0)), "d:3");
    EXPECT_EQ(shown(round(read("-2.5"), 0)), "d:-3");
    EXPECT_EQ(shown(round(read("2.4999"), 0)), "d:2");
    EXPECT_EQ(shown(round(read("2.345"), 2)), "d:2.35");
    EXPECT_EQ(shown(round(Scalar::of(2.5), 0)), "r:3");
    EXPECT_EQ(shown(round(Scalar::of(0.49999999999999994), 0)), "r:0");
    EXPECT_EQ(shown(round(Scalar::of(-0.3), 0)), "r:0");
    EXPECT_EQ(shown(round(Scalar::of(std::int64_t{1250}), -2)), "i:1300");
    EXPECT_EQ(shown(round(Scalar::of(std::int64_t{-1250}), -2)), "i:-1300");
    EXPECT_EQ(shown(round(Scalar::of(std::int64_t{7}), 3)), "i:7");
    EXPECT_EQ(shown(round(Scalar::of(kGreatest), -1)), "overflow");
    EXPECT_EQ(shown(round(Scalar::of(kGreatest), -19)), "overflow");
    EXPECT_EQ(shown(round(Scalar::of(kGreatest), -20)), "i:0");
    EXPECT_EQ(shown(round(read("99999999999999999999.5"), 0)), "overflow");
    EXPECT_EQ(shown(round(read("99999999999999999999.5"), kLeast)), "d:0");
    EXPECT_EQ(shown(round(read("99999999999999999999.5"), kGreatest)), "d:99999999999999999999.5");
}

TEST(Round, OfAFloatTakesItsExactValue) {
    EXPECT_EQ(shown(round(Scalar::of(2.675), 2)), "r:2.67");  // it is 2.67499…
    EXPECT_EQ(shown(round(Scalar::of(0.125), 2)), "r:0.13");
    EXPECT_EQ(shown(round(Scalar::of(1e300), 5)), "r:1e+300");
    EXPECT_EQ(shown(round(Scalar::of(1e-300), 5)), "r:0");
    EXPECT_EQ(shown(round(Scalar::of(1e-300), 301)), "r:1e-300");
    EXPECT_EQ(shown(round(Scalar::of(1.7976931348623157e308), -308)), "overflow");
    EXPECT_EQ(shown(round(Scalar::of(5e307), -308)), "r:1e+308");
}

RC_GTEST_PROP(Round, EqualsExactRounding, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 10; ++i) {
        const Scalar x = random_number(random);
        const int places = static_cast<int>(random() % 60) - 25;
        const exact::Rational unit = places >= 0 ? exact::Rational(1, exact::power(10, places))
                                                 : exact::Rational(exact::power(10, -places));
        const exact::Rational value = exact::Rational(exact::round(exact::number(x) / unit)) * unit;
        RC_LOG() << shown({x}) << " to " << places << "\n";
        std::string expected;
        if (x.type == Type::real) {
            expected = expected_real(exact::nearest(value));
        } else {
            expected = expected_exact(x, x, value);
        }
        RC_ASSERT(shown(round(x, places)) == expected);
        const exact::Integer low = exact::floor(exact::number(x));
        const exact::Rational high = -exact::Rational(exact::floor(-exact::number(x)));
        RC_ASSERT(shown(floor(x)) == (x.type == Type::real
                                          ? expected_real(exact::nearest(exact::Rational(low)))
                                          : expected_exact(x, x, exact::Rational(low))));
        RC_ASSERT(shown(ceil(x)) == (x.type == Type::real ? expected_real(exact::nearest(high))
                                                          : expected_exact(x, x, high)));
    }
}

// ---- Conversions

TEST(Conversion, ToIntegerTruncates) {
    EXPECT_EQ(shown(to_integer(read("2.7"))), "i:2");
    EXPECT_EQ(shown(to_integer(read("-2.7"))), "i:-2");
    EXPECT_EQ(shown(to_integer(Scalar::of(-2.7))), "i:-2");
    EXPECT_EQ(shown(to_integer(Scalar::of(9223372036854775808.0))), "overflow");
    EXPECT_EQ(shown(to_integer(Scalar::of(-9223372036854775808.0))), "i:-9223372036854775808");
    EXPECT_EQ(shown(to_integer(read("9223372036854775808.0"))), "overflow");
    EXPECT_EQ(shown(to_integer(Scalar::of(std::string_view("2.7")))), "i:2");
    EXPECT_EQ(shown(to_integer(Scalar::of(std::string_view("abc")))), "unreadable");
    EXPECT_EQ(shown(to_integer(Scalar::of(std::string_view("99999999999999999999")))), "overflow");
    EXPECT_EQ(shown(to_integer(Scalar::of(true))), "i:1");
    EXPECT_EQ(shown(to_integer(Scalar::null())), "n:");
}

TEST(Conversion, ToDecimalRoundsTo18Places) {
    EXPECT_EQ(shown(to_decimal(Scalar::of(0.1))), "d:0.1");
    EXPECT_EQ(shown(to_decimal(Scalar::of(1e-7))), "d:0.0000001");
    EXPECT_EQ(shown(to_decimal(Scalar::of(1e-19))), "d:0");
    EXPECT_EQ(shown(to_decimal(Scalar::of(5e-19))), "d:0.000000000000000001");
    EXPECT_EQ(shown(to_decimal(Scalar::of(-5e-19))), "d:-0.000000000000000001");
    EXPECT_EQ(shown(to_decimal(Scalar::of(1e20))), "overflow");
    EXPECT_EQ(shown(to_decimal(Scalar::of(0.0))), "d:0");
    EXPECT_EQ(shown(to_decimal(Scalar::of(std::string_view("1.2345678901234567895")))),
              "d:1.23456789012345679");
    EXPECT_EQ(
        shown(to_decimal(Scalar::of(std::string_view("99999999999999999999.9999999999999999995")))),
        "overflow");
    EXPECT_EQ(shown(to_decimal(Scalar::of(std::string_view("12e-1")))), "d:1.2");
    EXPECT_EQ(shown(to_decimal(Scalar::of(std::string_view("1e999999999999")))), "overflow");
    EXPECT_EQ(shown(to_decimal(Scalar::of(std::int64_t{kLeast}))), "d:-9223372036854775808");
}

TEST(Conversion, ToRealReadsTextsAndRoundsToNearest) {
    EXPECT_EQ(shown(to_real(Scalar::of(std::string_view("1e3")))), "r:1000");
    EXPECT_EQ(shown(to_real(Scalar::of(std::string_view("12")))), "r:12");
    EXPECT_EQ(shown(to_real(Scalar::of(std::string_view("+0.5")))), "r:0.5");
    EXPECT_EQ(shown(to_real(Scalar::of(std::string_view("nan")))), "unreadable");
    EXPECT_EQ(shown(to_real(Scalar::of(std::string_view("1e400")))), "overflow");
    EXPECT_EQ(shown(to_real(Scalar::of(std::int64_t{9007199254740993}))), "r:9007199254740992");
}

RC_GTEST_PROP(Conversion, OfDecimalsToDoublesIsTheNearest, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20; ++i) {
        const Scalar x = random_number(random);
        if (x.type == Type::decimal) {
            const std::string digits = exact::print_decimal(exact::integer(x.value.decimal));
            RC_ASSERT(decimal_to_double(x.value.decimal) == std::strtod(digits.c_str(), nullptr));
        }
    }
}

RC_GTEST_PROP(Wide, QuotientsAreRoundedOnce, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    const auto any = [&random] {
        return ((static_cast<uint128>(random()) << 64) | random()) >> (random() % 128);
    };
    const uint256 n{any(), random() % 2 == 0 ? any() : 0};
    const uint128 d = (any() >> 1) | 1;
    exact::Integer big = static_cast<std::uint64_t>(n.high >> 64);
    for (const uint128 part :
         {n.high & ~std::uint64_t{0}, n.low >> 64, n.low & ~std::uint64_t{0}}) {
        big = (big << 64) + static_cast<std::uint64_t>(part);
    }
    const exact::Rational quotient(big, exact::integer(static_cast<int128>(d)));
    RC_ASSERT(nearest_quotient(n, d) == exact::nearest(quotient));
}

// ---- Printing

TEST(Print, FloatsAsEcmaScriptDoes) {
    const auto real = [](double v) { return printed(Scalar::of(v)); };
    EXPECT_EQ(real(0.0), "0");
    EXPECT_EQ(real(-0.0), "0");
    EXPECT_EQ(real(1.0), "1");
    EXPECT_EQ(real(-1.5), "-1.5");
    EXPECT_EQ(real(0.1 + 0.2), "0.30000000000000004");
    EXPECT_EQ(real(1e-6), "0.000001");
    EXPECT_EQ(real(1.5e-6), "0.0000015");
    EXPECT_EQ(real(9.9e-7), "9.9e-7");
    EXPECT_EQ(real(1e-7), "1e-7");
    EXPECT_EQ(real(1e20), "100000000000000000000");
    EXPECT_EQ(real(123456789012345680000.0), "123456789012345680000");
    EXPECT_EQ(real(1e21), "1e+21");
    EXPECT_EQ(real(1.5e21), "1.5e+21");
    EXPECT_EQ(real(-1.5e300), "-1.5e+300");
    EXPECT_EQ(real(5e-324), "5e-324");
    EXPECT_EQ(real(1.7976931348623157e308), "1.7976931348623157e+308");
    EXPECT_EQ(real(123.456), "123.456");
    EXPECT_EQ(real(9007199254740993.0), "9007199254740992");
}

TEST(Print, OtherTypesExactly) {
    EXPECT_EQ(printed(Scalar::null()), "");
    EXPECT_EQ(printed(Scalar::of(true)), "true");
    EXPECT_EQ(printed(Scalar::of(false)), "false");
    EXPECT_EQ(printed(Scalar::of(kLeast)), "-9223372036854775808");
    EXPECT_EQ(printed(Scalar::of_decimal(-1)), "-0.000000000000000001");
    EXPECT_EQ(printed(Scalar::of_decimal(0)), "0");
    EXPECT_EQ(printed(Scalar::of_decimal(-kDecimalMax)),
              "-99999999999999999999.999999999999999999");
    EXPECT_EQ(printed(Scalar::of_decimal(static_cast<int128>(kDecimalOne) * 100)), "100");
    EXPECT_EQ(printed(Scalar::of(std::string_view("a\0b", 3))), std::string("a\0b", 3));
}

RC_GTEST_PROP(Print, ReadsBackAndIsShortest, (std::uint64_t seed)) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20; ++i) {
        const Scalar x = random_number(random);
        const std::string text = printed(x);
        RC_ASSERT(text.size() <= kPrintedMax);
        if (x.type == Type::real) {
            const double v = x.value.real;
            RC_ASSERT(std::strtod(text.c_str(), nullptr) == v);
            // No fewer digits read back as the same number.
            std::string digits;
            for (const char c : text.substr(0, text.find('e'))) {
                if (c >= '0' && c <= '9') {
                    digits += c;
                }
            }
            digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
            while (!digits.empty() && digits.back() == '0') {
                digits.pop_back();
            }
            for (int n = 1; n < static_cast<int>(digits.size()); ++n) {
                char buffer[64];
                std::snprintf(buffer, sizeof buffer, "%.*e", n - 1, v);
                RC_ASSERT(std::strtod(buffer, nullptr) != v);
            }
        } else if (x.type == Type::decimal) {
            RC_ASSERT(text == exact::print_decimal(exact::integer(x.value.decimal)));
        } else {
            RC_ASSERT(text == std::to_string(x.value.integer));
        }
    }
}

// ---- Times

TEST(Rfc3339, ReadsZonesFractionsAndSpaces) {
    EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00Z"), 0);
    EXPECT_EQ(parse_rfc3339("2024-02-29T12:34:56Z"), 1709210096000);
    EXPECT_EQ(parse_rfc3339("2024-02-29 12:34:56"), 1709210096000);
    EXPECT_EQ(parse_rfc3339("2024-02-29t12:34:56z"), 1709210096000);
    EXPECT_EQ(parse_rfc3339("2024-02-29T12:34:56.7Z"), 1709210096700);
    EXPECT_EQ(parse_rfc3339("2024-02-29T12:34:56.789999999Z"), 1709210096789);
    EXPECT_EQ(parse_rfc3339("2024-02-29T14:34:56+02:00"), 1709210096000);
    EXPECT_EQ(parse_rfc3339("2024-02-29T07:04:56-05:30"), 1709210096000);
    EXPECT_EQ(parse_rfc3339("1969-12-31T23:59:59.9999Z"), -1);
    EXPECT_EQ(parse_rfc3339("1969-12-31T23:59:58.0001Z"), -2000);
    EXPECT_EQ(parse_rfc3339("2016-12-31T23:59:60Z"), 1483228800000);
}

TEST(Rfc3339, KnowsTheRangeAndTheCalendar) {
    EXPECT_EQ(parse_rfc3339("0001-01-01T00:00:00Z"), kFirstInstant);
    EXPECT_EQ(parse_rfc3339("9999-12-31T23:59:59.999Z"), kLastInstant);
    EXPECT_FALSE(parse_rfc3339("0000-12-31T23:59:59Z"));
    EXPECT_FALSE(parse_rfc3339("0001-01-01T00:00:00+00:01"));
    EXPECT_FALSE(parse_rfc3339("9999-12-31T23:59:59-00:01"));
    EXPECT_TRUE(parse_rfc3339("2000-02-29T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("1900-02-29T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("2023-02-29T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("2023-04-31T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("2023-13-01T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("2023-00-01T00:00:00Z"));
    EXPECT_FALSE(parse_rfc3339("2023-01-00T00:00:00Z"));
}

TEST(Rfc3339, RefusesEverythingElse) {
    for (const char* bad : {"",
                            "2024",
                            "2024-01-01",
                            "2024-01-01T10:00",
                            "2024-01-01T10:00Z",
                            "2024-1-1T10:00:00Z",
                            "2024-01-01T24:00:00Z",
                            "2024-01-01T10:60:00Z",
                            "2024-01-01T10:00:61Z",
                            "2024-01-01T10:00:00.Z",
                            "2024-01-01T10:00:00+0100",
                            "2024-01-01T10:00:00+01",
                            "2024-01-01T10:00:00+24:00",
                            "2024-01-01T10:00:00+01:60",
                            "2024-01-01T10:00:00ZZ",
                            "2024-01-01T10:00:00 Z",
                            "2024-01-01X10:00:00Z",
                            "-024-01-01T10:00:00Z",
                            "2024-01-01T10:00:00+a1:00",
                            " 2024-01-01T10:00:00Z"}) {
        EXPECT_FALSE(parse_rfc3339(bad)) << bad;
    }
}

RC_GTEST_PROP(Rfc3339, PrintsWhatItReads, ()) {
    const auto ms = *rc::gen::inRange<std::int64_t>(kFirstInstant, kLastInstant + 1);
    const std::string text = print_rfc3339(ms);
    RC_ASSERT(parse_rfc3339(text) == ms);
    const std::time_t seconds = floor_div(ms, 1000);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char plain[40];
    std::snprintf(plain, sizeof plain, "%04d-%02d-%02dT%02d:%02d:%02d", parts.tm_year + 1900,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    RC_ASSERT(text.substr(0, 19) == plain);
    RC_ASSERT(text.back() == 'Z');
}

TEST(Rfc3339, PrintsTheFractionOnlyWhenThereIsOne) {
    EXPECT_EQ(print_rfc3339(0), "1970-01-01T00:00:00Z");
    EXPECT_EQ(print_rfc3339(1), "1970-01-01T00:00:00.001Z");
    EXPECT_EQ(print_rfc3339(-1), "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace sluice::model
