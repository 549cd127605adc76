#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "state/reduce/cursor.h"
#include "state/reduce/encoding.h"
#include "state/reduce/row.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using config::ReductionKind;
using model::int128;
using model::Scalar;
using model::Type;
using testing::exact;
using testing::Integer;
using testing::kAllKinds;
using testing::Rational;
using testing::Record;
using testing::Rows;
using testing::show;
using testing::Value;

// ---- Generators

rc::Gen<Value> any_integer() {
    return rc::gen::oneOf(
        rc::gen::map(rc::gen::inRange<std::int64_t>(-3, 4), [](auto v) { return Value::of(v); }),
        rc::gen::map(rc::gen::arbitrary<std::int64_t>(), [](auto v) { return Value::of(v); }),
        rc::gen::map(rc::gen::element(std::numeric_limits<std::int64_t>::min(),
                                      std::numeric_limits<std::int64_t>::max()),
                     [](auto v) { return Value::of(v); }));
}
rc::Gen<Value> any_decimal() {
    return rc::gen::oneOf(
        rc::gen::map(rc::gen::inRange(-6, 7),
                     [](auto v) { return Value::decimal(v * (model::kDecimalOne / 2)); }),
        rc::gen::map(
            rc::gen::pair(rc::gen::arbitrary<std::int64_t>(), rc::gen::arbitrary<std::int64_t>()),
            [](const auto& v) {
                return Value::decimal(static_cast<int128>(v.first) * v.second % model::kDecimalMax);
            }),
        rc::gen::map(rc::gen::element(1, -1),
                     [](auto sign) { return Value::decimal(sign * model::kDecimalMax); }));
}
rc::Gen<Value> any_real() {
    return rc::gen::oneOf(
        rc::gen::map(rc::gen::inRange(-6, 7), [](auto v) { return Value::of(v / 2.0); }),
        rc::gen::map(rc::gen::arbitrary<std::uint64_t>(),
                     [](auto bits) {
                         const auto v = std::bit_cast<double>(bits);
                         return Value::of(std::isfinite(v) ? v : 0.1);
                     }),
        rc::gen::map(rc::gen::element(-0.0, 1e300, -1e300, 5e-324, 0x1p63, -0x1p63, 0x1p67),
                     [](auto v) { return Value::of(v); }));
}
rc::Gen<Value> any_other() {
    return rc::gen::oneOf(
        rc::gen::just(Value::null()),
        rc::gen::map(rc::gen::arbitrary<bool>(), [](auto v) { return Value::of(v); }),
        rc::gen::map(rc::gen::arbitrary<std::string>(),
                     [](auto v) { return Value::of_text(std::move(v)); }));
}

// The values of one case are of one kind more often than not: else every minimum is mixed.
rc::Gen<Value> any_value(int mood) {
    switch (mood) {
        case 0:
            return any_integer();
        case 1:
            return rc::gen::oneOf(any_integer(), any_decimal());
        case 2:
            return rc::gen::oneOf(any_integer(), any_decimal(), any_real());
        case 3:
            return any_other();
        case 4:  // many of equal value and different type
            return rc::gen::map(rc::gen::tuple(rc::gen::inRange(0, 3), rc::gen::inRange(0, 3)),
                                [](const auto& drawn) {
                                    const auto [v, type] = drawn;
                                    return type == 0   ? Value::of(std::int64_t{v})
                                           : type == 1 ? Value::decimal(v * model::kDecimalOne)
                                                       : Value::of(v == 0 ? -0.0 : v);
                                });
        default:
            return rc::gen::oneOf(any_integer(), any_decimal(), any_real(), any_other());
    }
}

// A partition's records; (topic, partition) is `source`.
struct Sourced {
    Record record;
    int source = 0;
};
std::string topic_of(int source) { return source % 2 == 0 ? "a" : "b-longer-topic"; }
std::int32_t partition_of(int source) { return source / 2; }

std::vector<Sourced> any_records() {
    const int mood = *rc::gen::inRange(0, 6);
    const auto values = *rc::gen::container<std::vector<Value>>(any_value(mood));
    std::vector<Sourced> records;
    for (std::size_t i = 0; i < values.size(); ++i) {
        Sourced s;
        s.record.value = values[i];
        s.record.timestamp = *rc::gen::inRange<std::int64_t>(-2, 3);
        s.record.offset = static_cast<std::int64_t>(i);  // unique within every partition
        s.record.kept = *rc::gen::inRange(0, 5) != 0;
        s.record.rev = *rc::gen::inRange(0, 5) == 0;
        s.source = *rc::gen::inRange(0, 4);
        records.push_back(std::move(s));
    }
    return records;
}

// The one row of a table that folded `records` in their order. No record: the row of a key that
// only a record without effect made.
std::string row_of(const std::vector<Sourced>& records, model::ValueErrors& errors) {
    SliceTable table{RowLayout(kAllKinds)};
    {
        Record nothing;
        nothing.kept = false;
        const Rows rows({nothing}, std::size(kAllKinds));
        rows.fold_into(table, errors);
    }
    for (const auto& s : records) {
        const Rows rows({s.record}, std::size(kAllKinds), topic_of(s.source),
                        partition_of(s.source));
        rows.fold_into(table, errors);
    }
    std::string row;
    EXPECT_EQ(table.rows(), 1U);
    table.encode(0, row);
    // count() counts the record that nothing else sees; its `where` was false.
    return row;
}
std::string row_of(const std::vector<Sourced>& records) {
    model::ValueErrors errors;
    return row_of(records, errors);
}

std::string merged(const std::vector<std::string>& rows) {
    const std::vector<std::string_view> views(rows.begin(), rows.end());
    std::string out;
    const auto status = merge_rows(views, out);
    EXPECT_TRUE(status) << status.error().text;
    return out;
}

RowResults results_of(std::string_view row, model::Arena& arena, model::ValueErrors& errors) {
    RowResults results;
    const auto status = row_results(row, arena, results, errors);
    EXPECT_TRUE(status) << status.error().text;
    return results;
}

// ---- Laws

RC_GTEST_PROP(Row, EqualStateHasEqualBytesHoweverItWasFoldedAndMerged, ()) {
    auto records = any_records();
    const std::string whole = row_of(records);
    RC_ASSERT(validate_row(whole).has_value());

    // Any order, any number of tables.
    std::mt19937_64 random(*rc::gen::arbitrary<std::uint64_t>());
    std::shuffle(records.begin(), records.end(), random);
    std::vector<std::vector<Sourced>> shares(1 + random() % 4);
    for (const auto& s : records) {
        shares[random() % shares.size()].push_back(s);
    }
    std::vector<std::string> rows;
    for (const auto& share : shares) {
        rows.push_back(row_of(share));
    }
    RC_ASSERT(merged(rows) == whole);

    // Any grouping.
    while (rows.size() > 1) {
        const std::size_t i = random() % (rows.size() - 1);
        const std::string pair =
            random() % 2 == 0 ? merged({rows[i], rows[i + 1]}) : merged({rows[i + 1], rows[i]});
        rows[i] = pair;
        rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        RC_ASSERT(validate_row(pair).has_value());
    }
    RC_ASSERT(rows[0] == whole);
}

RC_GTEST_PROP(Row, AnEmptyRowIsTheIdentity, ()) {
    const std::string row = row_of(any_records());
    const std::string empty = row_of({});
    RC_ASSERT(merged({row, empty}) == row);
    RC_ASSERT(merged({empty, row}) == row);
    RC_ASSERT(merged({row}) == row);
    RC_ASSERT(merged({empty, empty, empty, empty, empty, empty, empty, empty, empty, row}) == row);
}

// ---- Against references

// Of a sum at scale 18, without the zeros at the end of its fraction.
std::size_t significant_digits(const Rational& sum) {
    Integer scaled = abs(numerator(sum) * (Integer(model::kDecimalOne) / denominator(sum)));
    for (int place = 0; place < 18 && scaled % 10 == 0; ++place) {
        scaled /= 10;
    }
    return scaled.str().size();
}

RC_GTEST_PROP(Row, ResultsAreThoseOfExactArithmetic, ()) {
    const auto records = any_records();
    model::ValueErrors fold_errors;
    const std::string row = row_of(records, fold_errors);
    model::Arena arena;
    model::ValueErrors errors;
    const RowResults results = results_of(row, arena, errors);

    std::uint64_t rev = 0;
    std::int64_t count = 0;
    std::int64_t numbers = 0;
    std::uint64_t wrong = 0;
    Rational sum = 0;
    std::set<Type> types;
    std::set<int> classes;
    const Sourced* first = nullptr;
    const Sourced* last = nullptr;
    const auto order = [](const Sourced& s) {
        return std::tuple(s.record.timestamp, topic_of(s.source), partition_of(s.source),
                          s.record.offset);
    };
    for (const auto& s : records) {
        rev += s.record.rev ? 1 : 0;
        const Scalar v = s.record.value.get();
        if (!s.record.kept || v.is_null()) {
            continue;
        }
        ++count;
        types.insert(v.type);
        if (v.is_number()) {
            ++numbers;
            sum += exact(v);
            classes.insert(0);
        } else {
            wrong += 2;  // sum and mean
            classes.insert(v.type == Type::text ? 2 : 1);
        }
        first = first == nullptr || order(s) < order(*first) ? &s : first;
        last = last == nullptr || order(s) > order(*last) ? &s : last;
    }
    RC_ASSERT(results.rev == rev);
    RC_ASSERT(fold_errors.wrong_type == wrong);
    RC_ASSERT(results.calls.size() == std::size(kAllKinds));
    RC_ASSERT(results.calls[0].value.value.integer == count);

    // sum
    const Scalar total = results.calls[1].value;
    const std::string_view wide = results.calls[1].wide;
    std::uint64_t overflows = 0;
    if (numbers == 0) {
        RC_ASSERT(total.is_null());
    } else if (types.contains(Type::real)) {
        const auto expected = testing::nearest_double(sum);
        RC_ASSERT(total.is_null() == !expected.has_value());
        RC_ASSERT(!expected || (total.type == Type::real && total.value.real == *expected));
        overflows = expected ? 0U : 1U;
    } else if (significant_digits(sum) > 38) {
        RC_ASSERT(total.is_null());
        overflows = 1;
    } else if (wide.empty()) {
        RC_ASSERT(total.type == (types.contains(Type::decimal) ||
                                         sum > Rational(std::numeric_limits<std::int64_t>::max()) ||
                                         sum < Rational(std::numeric_limits<std::int64_t>::min())
                                     ? Type::decimal
                                     : Type::integer));
        RC_ASSERT(exact(total) == sum);
    } else {
        RC_ASSERT(abs(sum) > exact(Scalar::of_decimal(model::kDecimalMax)));
        RC_ASSERT(total.type == Type::real);
        RC_ASSERT(total.value.real == *testing::nearest_double(sum));
    }

    // min and max
    const Scalar least = results.calls[2].value;
    const Scalar greatest = results.calls[3].value;
    std::uint64_t mixed = 0;
    if (classes.empty()) {
        RC_ASSERT(least.is_null() && greatest.is_null());
    } else if (classes.size() > 1) {
        mixed = 2;
        RC_ASSERT(least.is_null() && greatest.is_null());
    } else {
        // Of equals, the lowest type.
        const auto key = [](const Scalar& v) {
            return std::tuple(v.is_number() ? exact(v) : Rational(0),
                              v.type == Type::boolean && v.value.boolean,
                              v.type == Type::text ? std::string(v.value.text.view()) : "");
        };
        std::optional<Scalar> low;
        std::optional<Scalar> high;
        for (const auto& s : records) {
            const Scalar v = s.record.value.get();
            if (!s.record.kept || v.is_null()) {
                continue;
            }
            if (!low || key(v) < key(*low) || (key(v) == key(*low) && v.type < low->type)) {
                low = v;
            }
            if (!high || key(v) > key(*high) || (key(v) == key(*high) && v.type < high->type)) {
                high = v;
            }
        }
        RC_ASSERT(least.type == low->type && key(least) == key(*low));
        RC_ASSERT(greatest.type == high->type && key(greatest) == key(*high));
        RC_ASSERT(least.type != Type::real || !std::signbit(least.value.real) ||
                  least.value.real != 0);
    }
    RC_ASSERT(errors.wrong_type == mixed);

    // mean
    const Scalar mean = results.calls[4].value;
    if (numbers == 0) {
        RC_ASSERT(mean.is_null());
    } else {
        const auto expected = testing::nearest_double(sum / Integer(numbers));
        RC_ASSERT(mean.is_null() == !expected.has_value());
        RC_ASSERT(!expected || (mean.type == Type::real && mean.value.real == *expected));
        overflows += expected ? 0U : 1U;
    }
    RC_ASSERT(errors.overflow == overflows);

    // first and last
    const auto same = [](const Scalar& a, const Scalar& b) {
        const bool zeros =
            a.type == Type::real && b.type == Type::real && a.value.real == 0 && b.value.real == 0;
        return zeros || show(a) == show(b);
    };
    RC_ASSERT(same(results.calls[5].value,
                   first != nullptr ? first->record.value.get() : Scalar::null()));
    RC_ASSERT(
        same(results.calls[6].value, last != nullptr ? last->record.value.get() : Scalar::null()));
}

CallResult sum_of(const std::vector<Value>& values, model::Arena& arena,
                  model::ValueErrors& errors) {
    std::vector<Sourced> records;
    for (const auto& value : values) {
        Sourced s;
        s.record.value = value;
        s.record.offset = static_cast<std::int64_t>(records.size());
        records.push_back(std::move(s));
    }
    return results_of(row_of(records), arena, errors).calls[1];
}

TEST(Row, SumsBeyondTheNumberTypesKeepTheirDigits) {
    model::Arena arena;
    model::ValueErrors errors;
    const Value most = Value::of(std::numeric_limits<std::int64_t>::max());

    CallResult sum = sum_of({most, Value::of(std::int64_t{1})}, arena, errors);
    EXPECT_EQ(show(sum.value), "decimal 9223372036854775808000000000000000000");
    EXPECT_EQ(sum.wide, "");

    sum = sum_of(std::vector<Value>(12, most), arena, errors);
    EXPECT_EQ(sum.wide, "110680464442257309684");
    EXPECT_EQ(sum.value.value.real, 110680464442257309684.0);

    // 38 digits with some after the point, then 39.
    const Value ten19 =
        Value::decimal(static_cast<int128>(model::kDecimalOne) * 10'000'000'000'000'000'000ULL);
    std::vector<Value> values(10, ten19);
    sum = sum_of(values, arena, errors);
    EXPECT_EQ(sum.wide, "100000000000000000000");
    values.push_back(Value::decimal(10));
    sum = sum_of(values, arena, errors);
    EXPECT_EQ(sum.wide, "100000000000000000000.00000000000000001");
    EXPECT_EQ(errors.overflow, 0U);
    values.push_back(Value::decimal(1));
    sum = sum_of(values, arena, errors);
    EXPECT_TRUE(sum.value.is_null());
    EXPECT_EQ(errors.overflow, 1U);
}

TEST(Row, FloatSumsBeyondDoubleAreNullAndCounted) {
    model::Arena arena;
    model::ValueErrors errors;
    const std::vector<Value> values(2, Value::of(1e308));
    EXPECT_EQ(sum_of(values, arena, errors).value.type, Type::null);
    EXPECT_EQ(errors.overflow, 1U);
    EXPECT_EQ(sum_of({Value::of(1e308), Value::of(1e308), Value::of(-1e308)}, arena, errors)
                  .value.value.real,
              1e308);
    EXPECT_EQ(errors.overflow, 1U);
}

// ---- Bytes from elsewhere

TEST(Row, RowsOfDifferentReductionsDoNotMerge) {
    const std::string row = row_of({});
    std::string out;
    const std::string shorter("\x01\x00\x01\x00", 4);  // count
    const std::string other("\x01\x00\x03\x00", 4);    // min
    for (const auto& pair : {std::pair(row, shorter), std::pair(shorter, row),
                             std::pair(shorter, other), std::pair(other, shorter)}) {
        const std::string_view views[] = {pair.first, pair.second};
        const auto status = merge_rows(views, out);
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().kind, model::ErrorKind::corrupt);
    }
    EXPECT_FALSE(merge_rows({}, out));
}

TEST(Row, IsReadAsAnotherDefinitionHasIt) {
    std::string row;
    append_row_header(row, 7);
    append_count(row, 3);
    append_count(row, 5);
    std::string out;
    const std::vector<FormerCall> calls = {{1, ReductionKind::count},
                                           {-1, ReductionKind::sum},
                                           {0, ReductionKind::count},
                                           {-1, ReductionKind::first}};
    ASSERT_TRUE(rearrange_row(row, calls, out));
    ASSERT_TRUE(validate_row(out));
    model::Arena arena;
    RowResults results;
    model::ValueErrors errors;
    ASSERT_TRUE(row_results(out, arena, results, errors));
    EXPECT_EQ(results.rev, 7u);
    ASSERT_EQ(results.calls.size(), 4u);
    EXPECT_EQ(results.calls[0].value.value.integer, 5);
    EXPECT_EQ(results.calls[1].value.type, model::Type::null);
    EXPECT_EQ(results.calls[2].value.value.integer, 3);
    EXPECT_EQ(results.calls[3].value.type, model::Type::null);

    // A row that is not of that definition is damage, never a guess.
    EXPECT_FALSE(rearrange_row(row, std::vector<FormerCall>{{2, ReductionKind::count}}, out));
    EXPECT_FALSE(rearrange_row(row, std::vector<FormerCall>{{0, ReductionKind::sum}}, out));
    EXPECT_FALSE(rearrange_row("x", calls, out));
}

TEST(Row, CountersThatOverflowAreCorrupt) {
    const std::string most("\x01\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13);
    EXPECT_TRUE(validate_row(most));
    std::string out;
    const std::string_view views[] = {most, most};
    EXPECT_FALSE(merge_rows(views, out));
}

TEST(Row, OtherSpellingsAreRefused) {
    const auto valid = [](std::string_view row) { return validate_row(row).has_value(); };
    using namespace std::string_view_literals;
    EXPECT_TRUE(valid("\x01\x00\x01\x05"sv));
    EXPECT_FALSE(valid(""sv));
    EXPECT_FALSE(valid("\x02\x00\x01\x05"sv));      // schema
    EXPECT_FALSE(valid("\x01\x80\x00\x01\x05"sv));  // a needless byte in rev
    EXPECT_FALSE(valid("\x01\x00\x09\x05"sv));      // kind
    EXPECT_FALSE(valid("\x01\x00\x01"sv));
    EXPECT_FALSE(valid("\x01\x00\x01\x05\x01"sv));
    EXPECT_FALSE(valid("\x01\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv));  // 65 bits

    EXPECT_TRUE(valid("\x01\x00\x02\x00\x00"sv));                   // sum of nothing
    EXPECT_FALSE(valid("\x01\x00\x02\x08\x00"sv));                  // unknown flag
    EXPECT_FALSE(valid("\x01\x00\x02\x00\x01\x01"sv));              // a total of nothing
    EXPECT_TRUE(valid("\x01\x00\x02\x02\x01\x01"sv));               // 10^-18
    EXPECT_FALSE(valid("\x01\x00\x02\x01\x01\x01"sv));              // as an integer
    EXPECT_FALSE(valid("\x01\x00\x02\x02\x02\x01\x00"sv));          // a needless byte
    EXPECT_TRUE(valid("\x01\x00\x02\x04\x00\x00"sv));               // floats that sum to 0
    EXPECT_TRUE(valid("\x01\x00\x02\x04\x00\x01\x00\x01"sv));       // 2^-1074
    EXPECT_FALSE(valid("\x01\x00\x02\x04\x00\x02\x00\x00\x01"sv));  // a lower place would do
    EXPECT_FALSE(valid("\x01\x00\x05\x00\x00\x01"sv));              // a mean of values without kind
    EXPECT_FALSE(valid("\x01\x00\x05\x01\x00\x00"sv));

    EXPECT_TRUE(valid("\x01\x00\x03\x00"sv));
    EXPECT_TRUE(valid("\x01\x00\x03\x7f"sv));
    EXPECT_TRUE(valid("\x01\x00\x03\x01\x01"sv));
    EXPECT_FALSE(valid("\x01\x00\x03\x01\x02"sv));                              // a boolean of 2
    EXPECT_FALSE(valid("\x01\x00\x03\x04\x00\x00\x00\x00\x00\x00\x00\x80"sv));  // -0.0
    EXPECT_FALSE(valid("\x01\x00\x03\x04\x00\x00\x00\x00\x00\x00\xf0\x7f"sv));  // infinity
    EXPECT_FALSE(valid("\x01\x00\x03\x05\x05x"sv));                             // a text cut short
    EXPECT_FALSE(valid("\x01\x00\x06\x02"sv));
    EXPECT_TRUE(valid("\x01\x00\x06\x01\x00\x01t\x00\x00\x00\x02\x0a"sv));
    EXPECT_FALSE(valid("\x01\x00\x06\x01\x00\x01t\x00\x00\x00\x00"sv));  // nothing folded
}

// Damage of every kind: never a crash, and what passes is canonical: it merges with nothing to
// itself.
RC_GTEST_PROP(Row, DamagedRowsAreRefusedOrCanonical, ()) {
    std::string row = row_of(any_records());
    std::mt19937_64 random(*rc::gen::arbitrary<std::uint64_t>());
    for (int round = 0; round < 50; ++round) {
        std::string damaged = row;
        if (random() % 4 == 0) {
            damaged.resize(random() % (damaged.size() + 1));
        }
        for (std::uint64_t flips = random() % 4; flips > 0 && !damaged.empty(); --flips) {
            damaged[random() % damaged.size()] = static_cast<char>(random());
        }
        model::Arena arena;
        RowResults results;
        model::ValueErrors errors;
        const bool valid = validate_row(damaged).has_value();
        RC_ASSERT(row_results(damaged, arena, results, errors).has_value() == valid);
        std::string out;
        const std::string_view one[] = {damaged};
        if (merge_rows(one, out)) {
            RC_ASSERT(out == damaged);
        } else {
            RC_ASSERT(!valid);
        }
        const std::string_view two[] = {damaged, row};
        const std::string_view back[] = {row, damaged};
        std::string other;
        const bool merges = merge_rows(two, out).has_value();
        RC_ASSERT(merge_rows(back, other).has_value() == merges);
        RC_ASSERT(!merges || out == other);
    }
}

TEST(Row, RandomBytesNeverCrash) {
    std::mt19937_64 random(7);
    for (int i = 0; i < 20'000; ++i) {
        std::string row("\x01\x00", 2);
        for (std::uint64_t size = random() % 40; size > 0; --size) {
            // Small bytes make more of the way through than others.
            row.push_back(static_cast<char>(random() % 3 == 0 ? random() : random() % 8));
        }
        model::Arena arena;
        RowResults results;
        model::ValueErrors errors;
        const bool valid = validate_row(row).has_value();
        EXPECT_EQ(row_results(row, arena, results, errors).has_value(), valid);
        std::string out;
        const std::string_view views[] = {row, row};
        static_cast<void>(merge_rows(views, out));
    }
}

}  // namespace
}  // namespace sluice::state
