#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "state/reduce/exact.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using model::int128;
using testing::exact;
using testing::Integer;
using testing::Rational;

constexpr double kLeast = std::numeric_limits<double>::denorm_min();
constexpr double kGreatest = std::numeric_limits<double>::max();

std::string bytes_of(const ExactTotal& total) {
    std::string bytes;
    total.append_bytes(bytes);
    return bytes;
}

std::string bytes_of(const FloatTotal& total) {
    const auto bytes = total.bytes();
    return std::to_string(bytes.place) + ":" + bytes.bytes;
}

ExactTotal total_of(const Integer& v) {
    ExactTotal total;
    const bool negative = v < 0;
    const Integer magnitude = abs(v);
    // Built of pieces of 100 bits, shifted by doubling: only what the class itself offers.
    for (int piece = 1; piece >= 0; --piece) {
        const Integer part = (magnitude >> (100 * piece)) & ((Integer(1) << 100) - 1);
        const auto low = static_cast<std::uint64_t>(part & ~std::uint64_t{0});
        const auto high = static_cast<std::uint64_t>(part >> 64);
        for (int i = 0; i < (piece == 1 ? 0 : 100); ++i) {
            EXPECT_TRUE(total.add(ExactTotal(total)));
        }
        const int128 addend = (static_cast<int128>(high) << 64) | low;
        EXPECT_TRUE(total.add(ExactTotal(negative ? -addend : addend)));
    }
    return total;
}

rc::Gen<double> any_finite() {
    return rc::gen::map(rc::gen::tuple(rc::gen::arbitrary<std::uint64_t>(), rc::gen::inRange(0, 4),
                                       rc::gen::inRange<std::uint64_t>(0, 8)),
                        [](const auto& drawn) {
                            auto [bits, kind, near] = drawn;
                            constexpr std::uint64_t kExponent = 0x7ffULL << 52;
                            if (kind == 0) {  // close to 1, so that sums cancel
                                bits = (bits & ~kExponent) | ((1020 + near) << 52);
                            } else if (kind == 1) {  // subnormal and the least normal ones
                                bits = (bits & ~kExponent) | ((near / 4) << 52);
                            }
                            const auto v = std::bit_cast<double>(bits);
                            return std::isfinite(v) ? v : 1.0;
                        });
}

RC_GTEST_PROP(ExactTotal, KeepsItsValueThroughBytes,
              (const std::vector<std::uint64_t>& limbs, bool negative)) {
    Integer v = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(limbs.size(), 3); ++i) {
        v = (v << 64) + limbs[i];
    }
    v &= (Integer(1) << 190) - 1;
    if (negative) {
        v = -v;
    }
    const ExactTotal total = total_of(v);
    const std::string bytes = bytes_of(total);
    RC_ASSERT(bytes.size() == total.byte_count());
    const auto back = ExactTotal::from_bytes(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == total);
    // And the bytes are the two's complement.
    Integer read = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) {
        read = (read << 8) + static_cast<unsigned char>(bytes[i]);
    }
    if (!bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0) {
        read -= Integer(1) << static_cast<unsigned>(8 * bytes.size());
    }
    RC_ASSERT(read == v);
}

TEST(ExactTotal, RefusesNeedlessBytes) {
    EXPECT_FALSE(ExactTotal::from_bytes(std::string_view("\0", 1)));
    EXPECT_FALSE(ExactTotal::from_bytes(std::string_view("\x01\0", 2)));
    EXPECT_FALSE(ExactTotal::from_bytes("\x80\xff"));
    EXPECT_FALSE(ExactTotal::from_bytes(std::string(25, '\x01')));
    EXPECT_TRUE(ExactTotal::from_bytes("\xff"));
    EXPECT_TRUE(ExactTotal::from_bytes(std::string_view("\x80\0", 2)));
    EXPECT_TRUE(ExactTotal::from_bytes(""));
}

TEST(ExactTotal, SaysWhenItOverflows) {
    ExactTotal total(std::numeric_limits<std::int64_t>::max());
    int doublings = 0;
    while (total.add(ExactTotal(total))) {
        ++doublings;
    }
    EXPECT_EQ(doublings, 191 - 63);
}

TEST(ExactTotal, PrintsUpTo38Digits) {
    const Integer one(model::kDecimalOne);
    const auto print = [](const Integer& v) { return total_of(v).digits(); };
    EXPECT_EQ(print(0), "0");
    EXPECT_EQ(print(one), "1");
    EXPECT_EQ(print(-one / 2), "-0.5");
    EXPECT_EQ(print(1), "0.000000000000000001");
    EXPECT_EQ(print(one * 1000 + 10), "1000.00000000000000001");
    const Integer nines = pow(Integer(10), 38) - 1;
    EXPECT_EQ(print(one * nines), std::string(38, '9'));
    EXPECT_EQ(print(-one * nines), "-" + std::string(38, '9'));
    EXPECT_EQ(print(one * (nines + 1)), "");  // 39 digits
    EXPECT_EQ(print(nines), std::string(20, '9') + "." + std::string(18, '9'));
    EXPECT_EQ(print(nines * 10), std::string(21, '9') + "." + std::string(17, '9'));
    EXPECT_EQ(print(nines * 10 + 1), "");  // 39 digits, the last of them after the point
}

RC_GTEST_PROP(ExactTotal, DigitsAreThoseOfTheNumber,
              (std::uint64_t a, std::uint64_t b, std::uint8_t bits, bool negative)) {
    Integer v = ((Integer(a) << 64) + b) >> (bits % 128);
    if (negative) {
        v = -v;
    }
    const std::string digits = total_of(v).digits();
    RC_PRE(!digits.empty());
    Integer read = 0;
    int places = 0;
    bool point = false;
    for (const char c : digits) {
        if (c == '.') {
            point = true;
        } else if (c != '-') {
            read = read * 10 + (c - '0');
            places += point ? 1 : 0;
        }
    }
    RC_ASSERT(!point || digits.back() != '0');
    for (; places < 18; ++places) {
        read *= 10;
    }
    RC_ASSERT((digits[0] == '-' ? Integer(-read) : read) == v);
}

RC_GTEST_PROP(FloatTotal, TheOrderOfAddingDoesNotMatter, ()) {
    const auto values = *rc::gen::container<std::vector<double>>(any_finite());
    FloatTotal forward;
    FloatTotal backward;
    FloatTotal left;
    FloatTotal right;
    Rational sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        forward.add(values[i]);
        backward.add(values[values.size() - 1 - i]);
        (i % 3 == 0 ? left : right).add(values[i]);
        sum += exact(values[i]);
    }
    RC_ASSERT(right.add(left));
    RC_ASSERT(bytes_of(forward) == bytes_of(backward));
    RC_ASSERT(bytes_of(forward) == bytes_of(right));
    RC_ASSERT(forward.is_zero() == (sum == 0));
    RC_ASSERT(sum == 0 || forward.negative() == (sum < 0));

    const auto bytes = forward.bytes();
    const auto back = FloatTotal::from_bytes(bytes.place, bytes.bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(bytes_of(*back) == bytes_of(forward));
    RC_ASSERT(rounded(ExactTotal(), &*back, 1) == testing::nearest_double(sum));
}

TEST(FloatTotal, CarriesLengthenTheTotal) {
    // At every place within a limb: after some thousand addends of one sign the top limb is full.
    constexpr int kTimes = 10'000;
    for (int place = 0; place < 64; ++place) {
        for (const double sign : {1.0, -1.0}) {
            const double v = sign * std::ldexp(0x1.fffffffffffffp52, place - 512);
            FloatTotal total;
            for (int i = 0; i < kTimes; ++i) {
                total.add(v);
            }
            ASSERT_EQ(rounded(ExactTotal(), &total, 1), testing::nearest_double(kTimes * exact(v)))
                << v;
        }
    }
}

TEST(FloatTotal, TheWholeRangeOfDoublesFits) {
    FloatTotal total;
    total.add(kGreatest);
    total.add(kLeast);
    for (int i = 0; i < 40; ++i) {
        FloatTotal same = total;
        ASSERT_TRUE(total.add(same));
    }
    EXPECT_FALSE(rounded(ExactTotal(), &total, 1));  // beyond double
    FloatTotal minus;
    minus.add(-kGreatest);
    for (int i = 0; i < 40; ++i) {
        FloatTotal same = minus;
        ASSERT_TRUE(minus.add(same));
    }
    ASSERT_TRUE(total.add(minus));
    EXPECT_EQ(rounded(ExactTotal(), &total, 1), std::ldexp(kLeast, 40));
}

TEST(FloatTotal, RefusesWhatItDoesNotWrite) {
    EXPECT_FALSE(FloatTotal::from_bytes(1, ""));
    EXPECT_FALSE(FloatTotal::from_bytes(0, std::string_view("\0\x01", 2)));
    EXPECT_FALSE(FloatTotal::from_bytes(0, std::string_view("\x01\0", 2)));
    EXPECT_FALSE(FloatTotal::from_bytes(0, "\x80\xff"));
    EXPECT_FALSE(FloatTotal::from_bytes(270, "\x01\x01\x01"));
    EXPECT_FALSE(FloatTotal::from_bytes(~std::size_t{0}, "\x01\x01\x01"));
    EXPECT_TRUE(FloatTotal::from_bytes(269, "\x01\x01\x01"));
}

RC_GTEST_PROP(Rounded, IsTheNearestDoubleToTheExactQuotient, ()) {
    const auto floats = *rc::gen::resize(6, rc::gen::container<std::vector<double>>(any_finite()));
    const auto a = *rc::gen::arbitrary<std::uint64_t>();
    const auto b = *rc::gen::arbitrary<std::int64_t>();
    const auto count_bits = *rc::gen::inRange(0, 64);
    const auto count = (*rc::gen::arbitrary<std::uint64_t>() >> count_bits) | std::uint64_t{1};
    const int shift = *rc::gen::inRange(0, 127);
    const int128 addend = ((static_cast<int128>(b) << 64) | a) >> shift;
    FloatTotal total;
    Rational sum(testing::to_integer(addend), Integer(model::kDecimalOne));
    for (const double v : floats) {
        total.add(v);
        sum += exact(v);
    }
    RC_ASSERT(rounded(ExactTotal(addend), &total, count) ==
              testing::nearest_double(sum / Integer(count)));
}

TEST(Rounded, TiesGoToEven) {
    const auto whole = [](const Integer& v) { return total_of(v * Integer(model::kDecimalOne)); };
    const Integer two53 = Integer(1) << 53;
    EXPECT_EQ(rounded(whole(two53 + 1), nullptr, 1), 0x1p53);
    EXPECT_EQ(rounded(whole(two53 + 3), nullptr, 1), 0x1p53 + 4);
    EXPECT_EQ(rounded(whole(-two53 - 1), nullptr, 1), -0x1p53);
    // What breaks the tie may be as small as the least double.
    FloatTotal least;
    least.add(kLeast);
    EXPECT_EQ(rounded(whole(two53 + 1), &least, 1), 0x1p53 + 2);
    FloatTotal minus;
    minus.add(-kLeast);
    EXPECT_EQ(rounded(whole(two53 + 3), &minus, 1), 0x1p53 + 2);
    // Halves of the least double: 0.5 to 0, 1.5 to 2.
    EXPECT_EQ(rounded(ExactTotal(), &least, 2), 0.0);
    FloatTotal three;
    three.add(3 * kLeast);
    EXPECT_EQ(rounded(ExactTotal(), &three, 2), 2 * kLeast);
}

TEST(Rounded, EndsWhereDoublesEnd) {
    FloatTotal total;
    total.add(kGreatest);
    EXPECT_EQ(rounded(ExactTotal(), &total, 1), kGreatest);
    total.add(0x1p969);  // less than half a unit in the last place
    EXPECT_EQ(rounded(ExactTotal(), &total, 1), kGreatest);
    total.add(0x1p969);  // the tie goes to even, which is 2^1024
    EXPECT_FALSE(rounded(ExactTotal(), &total, 1));
    EXPECT_EQ(rounded(ExactTotal(), &total, 2), 0x1p1023);
}

}  // namespace
}  // namespace sluice::state
