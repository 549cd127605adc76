#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "state/reduce/cursor.h"
#include "state/reduce/encoding.h"
#include "state/reduce/row.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using testing::Record;
using testing::Rows;
using testing::Value;

std::string count_row(std::uint64_t count) {
    std::string row;
    append_row_header(row, 0);
    append_count(row, count);
    return row;
}

struct Entry {
    std::uint64_t hash;
    std::string key;
    std::string row;
};

// A cursor over given entries, which fails behind the last one if told to.
class ListCursor final : public RowCursor {
 public:
    explicit ListCursor(std::vector<Entry> entries, bool fails = false)
        : entries_(std::move(entries)), fails_(fails) {}
    model::Status next() override {
        at_ = at_ + 1;
        if (fails_ && at_ > entries_.size()) {
            return model::unavailable("the source is gone");
        }
        return {};
    }
    bool valid() const override { return at_ >= 1 && at_ <= entries_.size(); }
    std::uint64_t hash() const override { return entries_[at_ - 1].hash; }
    std::string_view key() const override { return entries_[at_ - 1].key; }
    std::string_view row() const override { return entries_[at_ - 1].row; }

 private:
    std::vector<Entry> entries_;
    bool fails_;
    std::size_t at_ = 0;
};

std::vector<Entry> all_of(RowCursor& cursor) {
    std::vector<Entry> entries;
    EXPECT_FALSE(cursor.valid());
    while (true) {
        EXPECT_TRUE(cursor.next());
        if (!cursor.valid()) {
            return entries;
        }
        entries.push_back({cursor.hash(), std::string(cursor.key()), std::string(cursor.row())});
    }
}

template <class... Lists>
std::vector<std::unique_ptr<RowCursor>> sources(Lists... lists) {
    std::vector<std::unique_ptr<RowCursor>> cursors;
    (cursors.push_back(std::make_unique<ListCursor>(std::move(lists))), ...);
    return cursors;
}

TEST(MergeCursors, EqualKeysAreMergedAndOthersPassThrough) {
    const auto cursor = merge_cursors(sources(
        std::vector<Entry>{{1, "a", count_row(1)}, {1, "b", count_row(2)}, {9, "a", count_row(3)}},
        std::vector<Entry>{},
        std::vector<Entry>{{1, "b", count_row(10)}, {5, "x", "not a row, and nobody looks"}},
        std::vector<Entry>{{1, "b", count_row(100)}}));
    const auto entries = all_of(*cursor);
    ASSERT_EQ(entries.size(), 4U);
    EXPECT_EQ(entries[0].row, count_row(1));
    EXPECT_EQ(entries[1].key, "b");
    EXPECT_EQ(entries[1].row, count_row(112));
    EXPECT_EQ(entries[2].row, "not a row, and nobody looks");
    EXPECT_EQ(entries[3].hash, 9U);
}

// Keys that share their hash stand in any order in the sources that hold them.
TEST(MergeCursors, KeysOfOneHashAreToldApart) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    for (int round = 0; round < 200; ++round) {
        std::map<std::pair<std::uint64_t, std::string>, std::uint64_t> expected;
        std::vector<std::unique_ptr<RowCursor>> lists;
        for (std::size_t source = 0; source < 2 + random() % 6; ++source) {
            std::vector<Entry> entries;
            for (std::uint64_t hash = 0; hash < 3; ++hash) {
                for (const char* key : {"", "a", "ab", "b", "c"}) {
                    if (random() % 3 == 0) {
                        const std::uint64_t count = 1 + random() % 1000;
                        entries.push_back({hash, key, count_row(count)});
                        expected[{hash, key}] += count;
                    }
                }
            }
            lists.push_back(std::make_unique<ListCursor>(std::move(entries)));
        }
        const auto entries = all_of(*merge_cursors(std::move(lists)));
        ASSERT_EQ(entries.size(), expected.size());
        auto at = expected.begin();
        for (const Entry& entry : entries) {
            EXPECT_EQ(std::pair(entry.hash, entry.key), at->first);
            EXPECT_EQ(entry.row, count_row(at->second));
            ++at;
        }
    }
}

TEST(MergeCursors, NoSourceAndEmptySourcesGiveNothing) {
    EXPECT_TRUE(all_of(*merge_cursors({})).empty());
    EXPECT_TRUE(all_of(*merge_cursors(sources(std::vector<Entry>{}))).empty());
    EXPECT_TRUE(
        all_of(*merge_cursors(sources(std::vector<Entry>{}, std::vector<Entry>{}))).empty());
}

TEST(MergeCursors, ErrorsOfSourcesAndRowsComeOut) {
    auto lists = sources(std::vector<Entry>{{1, "a", count_row(1)}});
    lists.push_back(std::make_unique<ListCursor>(std::vector<Entry>{{2, "b", count_row(1)}}, true));
    const auto cursor = merge_cursors(std::move(lists));
    EXPECT_TRUE(cursor->next());
    EXPECT_TRUE(cursor->next());
    const auto status = cursor->next();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, model::ErrorKind::unavailable);

    const auto damaged = merge_cursors(sources(std::vector<Entry>{{1, "a", count_row(1)}},
                                               std::vector<Entry>{{1, "a", "damage"}}));
    const auto corrupt = damaged->next();
    ASSERT_FALSE(corrupt);
    EXPECT_EQ(corrupt.error().kind, model::ErrorKind::corrupt);
}

// Records spread over several tables come out as they do from one.
TEST(MergeCursors, TablesMergeToTheTableOfAllRecords) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    constexpr std::size_t kTables = 4;
    constexpr std::size_t kCalls = std::size(testing::kAllKinds);
    auto whole = std::make_shared<SliceTable>(RowLayout(testing::kAllKinds));
    std::vector<std::shared_ptr<SliceTable>> parts;
    for (std::size_t i = 0; i < kTables; ++i) {
        parts.push_back(std::make_shared<SliceTable>(RowLayout(testing::kAllKinds)));
    }
    model::ValueErrors errors;
    for (int batch = 0; batch < 40; ++batch) {
        std::vector<Record> records;
        for (int i = 0; i < 500; ++i) {
            Record record;
            record.key = std::to_string(random() % 4000);
            record.timestamp = static_cast<std::int64_t>(random() % 100);
            record.offset = batch * 500 + i;
            record.value = i % 3 == 0   ? Value::of(static_cast<std::int64_t>(random()))
                           : i % 3 == 1 ? Value::of(static_cast<double>(random() % 1000) / 7)
                                        : Value::decimal(static_cast<std::int64_t>(random()));
            records.push_back(std::move(record));
        }
        const Rows rows(records, kCalls);
        rows.fold_into(*whole, errors);
        rows.fold_into(*parts[random() % kTables], errors);
    }
    std::vector<std::unique_ptr<RowCursor>> cursors;
    for (const auto& part : parts) {
        cursors.push_back(cursor_over(part));
    }
    const auto expected = all_of(*cursor_over(whole));
    const auto merged = all_of(*merge_cursors(std::move(cursors)));
    ASSERT_EQ(merged.size(), expected.size());
    for (std::size_t i = 0; i < merged.size(); ++i) {
        ASSERT_EQ(merged[i].hash, expected[i].hash);
        ASSERT_EQ(merged[i].key, expected[i].key);
        ASSERT_EQ(merged[i].row, expected[i].row);
    }
    EXPECT_TRUE(std::is_sorted(merged.begin(), merged.end(), [](const auto& a, const auto& b) {
        return std::tie(a.hash, a.key) < std::tie(b.hash, b.key);
    }));
}

TEST(TableCursor, SeveralThreadsReadOneTable) {
    auto table = std::make_shared<SliceTable>(RowLayout(testing::kAllKinds));
    std::vector<Record> records;
    for (int i = 0; i < 5000; ++i) {
        Record record;
        record.key = std::to_string(i);
        record.value = Value::of(0.5 * i);
        records.push_back(std::move(record));
    }
    model::ValueErrors errors;
    const Rows rows(records, std::size(testing::kAllKinds));
    rows.fold_into(*table, errors);
    std::vector<std::size_t> counts(3);
    {
        std::vector<std::jthread> threads;
        for (auto& count : counts) {
            threads.emplace_back([&count, table] { count = all_of(*cursor_over(table)).size(); });
        }
    }
    EXPECT_EQ(counts, (std::vector<std::size_t>{5000, 5000, 5000}));
}

}  // namespace
}  // namespace sluice::state
