#include "state/reduce/slice_table.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "state/reduce/cursor.h"
#include "state/reduce/row.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using config::ReductionKind;
using testing::Record;
using testing::Rows;
using testing::Value;

constexpr ReductionKind kCountAndSum[] = {ReductionKind::count, ReductionKind::sum};
// What a table takes beside its rows, at most.
constexpr std::size_t kOfATable = 6 * 1024;

// (hash, key) → what the row must say.
using Reference =
    std::map<std::pair<std::uint64_t, std::string>, std::pair<std::uint64_t, std::int64_t>>;

std::string key_of(std::uint64_t number) {
    std::string text = std::to_string(number);
    if (number % 3 == 0) {
        text += "-a-key-that-does-not-fit-into-a-row";
    }
    return testing::encoded_key(text);
}

// Folds a record for each of `numbers`, in batches, and keeps the books.
void fold_keys(SliceTable& table, const std::vector<std::uint64_t>& numbers, Reference* reference,
               std::uint64_t hash_mask = ~std::uint64_t{0}) {
    struct Book {
        std::string key;
        std::uint64_t hash = 0;
        std::uint64_t count = 0;
        std::int64_t sum = 0;
    };
    std::unordered_map<std::uint64_t, Book> books;
    constexpr std::size_t kBatch = 1000;
    model::RecordBatch batch;
    batch.timestamp.resize(kBatch);
    batch.offset.resize(kBatch);
    model::Column argument;
    const model::Column* const arguments[] = {&argument, &argument};
    const model::Column* const wheres[] = {nullptr, nullptr};
    std::vector<std::uint32_t> rows;
    std::vector<std::uint64_t> hash;
    std::vector<std::string_view> key;
    for (std::size_t begin = 0; begin < numbers.size(); begin += kBatch) {
        const std::size_t count = std::min(kBatch, numbers.size() - begin);
        rows.resize(count);
        hash.resize(count);
        key.resize(count);
        argument.resize(count);
        for (std::size_t i = 0; i < count; ++i) {
            const auto value = static_cast<std::int64_t>(i % 7);
            Book& book = books[numbers[begin + i]];
            if (book.count == 0) {
                book.key = key_of(numbers[begin + i]);
                book.hash = model::key_hash(book.key) & hash_mask;
            }
            ++book.count;
            book.sum += value;
            rows[i] = static_cast<std::uint32_t>(i);
            hash[i] = book.hash;
            key[i] = book.key;
            argument.set(i, model::Scalar::of(value));
        }
        model::ValueErrors errors;
        table.fold({&batch, rows, hash, key, arguments, wheres, "topic", 0}, {}, errors);
    }
    if (reference != nullptr) {
        for (const auto& [number, book] : books) {
            auto& [count, sum] = (*reference)[{book.hash, book.key}];
            count += book.count;
            sum += book.sum;
        }
    }
}

// The cursor gives exactly the reference, in its order.
void expect_rows(std::shared_ptr<const SliceTable> table, const Reference& reference) {
    const auto cursor = cursor_over(std::move(table));
    model::Arena arena;
    RowResults results;
    model::ValueErrors errors;
    for (const auto& [key, expected] : reference) {
        ASSERT_TRUE(cursor->next());
        ASSERT_TRUE(cursor->valid());
        ASSERT_EQ(cursor->hash(), key.first);
        ASSERT_EQ(cursor->key(), key.second);
        ASSERT_TRUE(row_results(cursor->row(), arena, results, errors));
        ASSERT_EQ(results.calls[0].value.value.integer, static_cast<std::int64_t>(expected.first));
        ASSERT_EQ(results.calls[1].value.value.integer, expected.second);
    }
    ASSERT_TRUE(cursor->next());
    EXPECT_FALSE(cursor->valid());
}

TEST(SliceTable, HoldsWhatAMapHolds) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    auto table = std::make_shared<SliceTable>(RowLayout(kCountAndSum));
    Reference reference;
    std::vector<std::uint64_t> numbers;
    for (int i = 0; i < 1'000'000; ++i) {
        numbers.push_back(random() % (i % 4 == 0 ? 400'000 : 1000));
    }
    fold_keys(*table, numbers, &reference);
    EXPECT_EQ(table->rows(), reference.size());
    EXPECT_GT(table->parts_in_order().size(), 3U);  // more than 64 Ki rows have split
    expect_rows(table, reference);

    // The memory stays, the rows do not.
    const std::size_t reserved = table->reserved_rows();
    table->clear();
    EXPECT_EQ(table->rows(), 0U);
    EXPECT_EQ(table->bytes(), 0U);
    EXPECT_EQ(table->reserved_rows(), reserved);
    expect_rows(table, {});
    reference.clear();
    numbers.resize(100'000);
    fold_keys(*table, numbers, &reference);
    expect_rows(table, reference);
    EXPECT_EQ(table->reserved_rows(), reserved);
}

TEST(SliceTable, HashesThatHardlyDifferAreStillTold) {
    // Every hash, four hashes, hashes that differ in their lowest or in their highest bits only.
    for (const std::uint64_t mask : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{0xffff},
                                     std::uint64_t{0xffff} << 48, std::uint64_t{0xff} << 56}) {
        SCOPED_TRACE(mask);
        auto table = std::make_shared<SliceTable>(RowLayout(kCountAndSum));
        Reference reference;
        std::vector<std::uint64_t> numbers;
        for (std::uint64_t i = 0; i < 4000; ++i) {
            numbers.push_back(i % 1500);
        }
        fold_keys(*table, numbers, &reference, mask);
        expect_rows(table, reference);
    }
}

TEST(SliceTable, PartsOfUnequalDepthAscend) {
    // The second half of the keys lose their highest bit: the lower hashes split more often than
    // the upper ones.
    auto table = std::make_shared<SliceTable>(RowLayout(kCountAndSum));
    Reference reference;
    std::vector<std::uint64_t> numbers(100'000);
    std::iota(numbers.begin(), numbers.end(), 0U);
    fold_keys(*table, numbers, &reference);
    std::iota(numbers.begin(), numbers.end(), numbers.size());
    fold_keys(*table, numbers, &reference, ~std::uint64_t{0} >> 1);
    EXPECT_EQ(table->rows(), 2 * numbers.size());
    EXPECT_EQ(table->parts_in_order().size() % 2, 1U);
    expect_rows(table, reference);
}

TEST(SliceTable, BytesFollowTheRows) {
    SliceTable table{RowLayout(kCountAndSum)};
    EXPECT_EQ(table.bytes(), 0U);
    std::size_t before = 0;
    for (std::uint64_t i = 0; i < 5; ++i) {
        fold_keys(table, {i * 2 + 1, i * 2 + 2}, nullptr);
        EXPECT_GE(table.bytes(), before + 2 * table.layout().row_bytes());
        before = table.bytes();
    }
    fold_keys(table, {1, 2, 3}, nullptr);
    EXPECT_EQ(table.bytes(), before);
}

TEST(SliceTable, BytesCountTheTableToo) {
    SliceTable table{RowLayout(kCountAndSum)};
    fold_keys(table, {1}, nullptr);
    EXPECT_GE(table.bytes(), kOfATable / 2);
    EXPECT_LE(table.bytes(), kOfATable);
    table.clear();
    EXPECT_EQ(table.bytes(), 0U);
}

TEST(SliceTable, TextsThatGrowTakeBoundedRoom) {
    constexpr ReductionKind kLast[] = {ReductionKind::last};
    SliceTable table{RowLayout(kLast)};
    model::ValueErrors errors;
    for (std::int64_t i = 0; i < 2000; ++i) {
        Record record;
        record.offset = i;
        record.value = Value::of_text(std::string(static_cast<std::size_t>(i), 'x'));
        const Rows rows({record}, 1);
        rows.fold_into(table, errors);
    }
    EXPECT_LT(table.bytes(), 3U * 2048U + kOfATable);
    std::string row;
    table.encode(0, row);
    model::Arena arena;
    RowResults results;
    ASSERT_TRUE(row_results(row, arena, results, errors));
    EXPECT_EQ(results.calls[0].value.value.text.view(), std::string(1999, 'x'));
}

TEST(SliceTable, WhereAndNullLeaveOut) {
    constexpr ReductionKind kKinds[] = {ReductionKind::count, ReductionKind::count,
                                        ReductionKind::sum};
    std::vector<Record> records(4);
    records[0].value = Value::of(std::int64_t{1});
    records[1].value = Value::null();
    records[2].value = Value::of(std::int64_t{10});
    records[2].kept = false;
    records[3].value = Value::of_text("100");
    Rows rows(records, std::size(kKinds));
    rows.arguments()[0] = nullptr;  // count()
    SliceTable table{RowLayout(kKinds)};
    model::ValueErrors errors;
    rows.fold_into(table, errors);
    std::string row;
    table.encode(0, row);
    model::Arena arena;
    RowResults results;
    ASSERT_TRUE(row_results(row, arena, results, errors));
    EXPECT_EQ(results.calls[0].value.value.integer, 3);  // count() counts nulls
    EXPECT_EQ(results.calls[1].value.value.integer, 2);  // count(x) does not
    EXPECT_EQ(results.calls[2].value.value.integer, 1);
    EXPECT_EQ(errors.wrong_type, 1U);
}

}  // namespace
}  // namespace sluice::state
