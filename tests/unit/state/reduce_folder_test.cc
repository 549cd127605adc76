#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "state/model/window.h"
#include "state/reduce/cursor.h"
#include "state/reduce/reduction_folder.h"
#include "state/reduce/row.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using config::ReductionKind;
using model::kBeforeAll;
using testing::Record;
using testing::Rows;
using testing::Value;

FoldSettings settings_of(model::DurationMs window, model::DurationMs lateness,
                         config::TimeKind time = config::TimeKind::event) {
    static constexpr ReductionKind kCount[] = {ReductionKind::count};
    return {7, window, 0, lateness, time, RowLayout(kCount)};
}

struct Counted {
    std::int64_t count = 0;
    std::uint64_t rev = 0;
    bool operator==(const Counted&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Counted& c) {
    return out << c.count << " rev " << c.rev;
}
using Books = std::map<std::pair<std::int64_t, std::string>, Counted>;  // (window end, key)

void add_to(Books& books, const std::vector<SealedSlice>& sealed) {
    for (const auto& slice : sealed) {
        EXPECT_EQ(slice.reduction, 7U);
        EXPECT_EQ(slice.slice.end, slice.slice.accepted_from);
        const auto cursor = cursor_over(slice.table);
        while (true) {
            ASSERT_TRUE(cursor->next());
            if (!cursor->valid()) {
                break;
            }
            model::Arena arena;
            RowResults results;
            model::ValueErrors errors;
            ASSERT_TRUE(row_results(cursor->row(), arena, results, errors));
            auto& counted = books[{slice.slice.end, std::string(cursor->key())}];
            counted.count += results.calls[0].value.value.integer;
            counted.rev += results.rev;
        }
    }
}

Record record_at(std::int64_t timestamp, std::int64_t watermark, std::string key = "k") {
    Record record;
    record.timestamp = timestamp;
    record.watermark = watermark;
    record.key = std::move(key);
    record.value = Value::of(std::int64_t{1});
    return record;
}

FoldCounts fold(ReductionFolder& folder, const std::vector<Record>& records,
                std::optional<model::Window> window = {}) {
    const Rows rows(records, 1);
    model::ValueErrors errors;
    return folder.fold(rows.input(), window, errors);
}

TEST(ReductionFolder, ARowIsLateWhenItsOwnWatermarkHasPassedTheDeadline) {
    ReductionFolder folder(settings_of(10, 5));
    // Window [0, 10), deadline 15.
    const auto counts = fold(folder, {record_at(0, kBeforeAll), record_at(9, 9), record_at(9, 10),
                                      record_at(0, 14), record_at(9, 15), record_at(3, 100)});
    EXPECT_EQ(counts.folded, 4U);
    EXPECT_EQ(counts.late, 2U);
    Books books;
    add_to(books, folder.seal());
    // The watermark had passed the end, not the deadline, for two of them.
    EXPECT_EQ(books, (Books{{{10, testing::encoded_key("k")}, {4, 2}}}));
}

TEST(ReductionFolder, WithoutLatenessNothingCountsAsRevision) {
    ReductionFolder folder(settings_of(10, 0));
    const auto counts = fold(folder, {record_at(9, 9), record_at(9, 10)});
    EXPECT_EQ(counts.folded, 1U);
    EXPECT_EQ(counts.late, 1U);
    Books books;
    add_to(books, folder.seal());
    EXPECT_EQ(books, (Books{{{10, testing::encoded_key("k")}, {1, 0}}}));
}

TEST(ReductionFolder, TheBoundaryBelongsToTheNextWindowBeforeTheEpochToo) {
    ReductionFolder folder(settings_of(10, 0));
    fold(folder, {record_at(-11, kBeforeAll), record_at(-10, kBeforeAll), record_at(-1, kBeforeAll),
                  record_at(0, kBeforeAll), record_at(10, kBeforeAll)});
    Books books;
    add_to(books, folder.seal());
    const std::string k = testing::encoded_key("k");
    EXPECT_EQ(books,
              (Books{{{-10, k}, {1, 0}}, {{0, k}, {2, 0}}, {{10, k}, {1, 0}}, {{20, k}, {1, 0}}}));
}

TEST(ReductionFolder, CloseTakesWhatCanGetNoRecordAnyMore) {
    ReductionFolder folder(settings_of(10, 5));
    fold(folder, {record_at(1, kBeforeAll), record_at(11, kBeforeAll), record_at(21, kBeforeAll)});
    EXPECT_EQ(folder.slices(), 3U);
    EXPECT_EQ(folder.greatest_deadline(), 35);
    EXPECT_TRUE(folder.close(14).empty());
    const auto closed = folder.close(25);
    ASSERT_EQ(closed.size(), 2U);
    EXPECT_EQ(closed[0].slice.end, 10);
    EXPECT_EQ(closed[1].slice.end, 20);
    EXPECT_EQ(folder.rows(), 1U);
    EXPECT_EQ(folder.seal().size(), 1U);
    EXPECT_EQ(folder.slices(), 0U);
    EXPECT_EQ(folder.bytes(), 0U);
    EXPECT_EQ(folder.greatest_deadline(), 35);  // sealed rows are still open
}

TEST(ReductionFolder, LateRowsOpenNoSlice) {
    ReductionFolder folder(settings_of(10, 0));
    EXPECT_EQ(fold(folder, {record_at(1, 50), record_at(11, 50)}).late, 2U);
    EXPECT_EQ(folder.slices(), 0U);
    EXPECT_EQ(folder.greatest_deadline(), kBeforeAll);
    EXPECT_TRUE(folder.close(model::kAfterAll).empty());
}

TEST(ReductionFolder, ProcessingTimeTakesAllRowsIntoTheWindowGiven) {
    ReductionFolder folder(settings_of(10, 0, config::TimeKind::processing));
    const auto counts =
        fold(folder, {record_at(5, 1000), record_at(500'000, 0)}, model::Window{100, 110});
    EXPECT_EQ(counts.folded, 2U);
    EXPECT_EQ(counts.late, 0U);
    EXPECT_EQ(folder.greatest_deadline(), 110);
    Books books;
    add_to(books, folder.close(110));
    EXPECT_EQ(books, (Books{{{110, testing::encoded_key("k")}, {2, 0}}}));
}

TEST(ReductionFolder, SealedTablesComeBackToThePoolEmpty) {
    ReductionFolder folder(settings_of(10, 0));
    fold(folder, {record_at(1, kBeforeAll), record_at(2, kBeforeAll, "other")});
    auto first = folder.seal();
    const SliceTable* memory = first[0].table.get();
    fold(folder, {record_at(3, kBeforeAll)});
    auto second = folder.seal();
    EXPECT_NE(second[0].table.get(), memory);  // the first one is still read
    EXPECT_EQ(first[0].table->rows(), 2U);
    first.clear();
    fold(folder, {record_at(4, kBeforeAll)});
    auto third = folder.seal();
    EXPECT_EQ(third[0].table.get(), memory);
    EXPECT_EQ(third[0].table->rows(), 1U);
}

TEST(ReductionFolder, SealedTablesOutliveTheirFolder) {
    std::vector<SealedSlice> sealed;
    {
        ReductionFolder folder(settings_of(10, 0));
        fold(folder, {record_at(1, kBeforeAll)});
        sealed = folder.seal();
    }
    Books books;
    add_to(books, sealed);
    EXPECT_EQ(books.size(), 1U);
}

// Random records in batches of any size, with seals and closes between them, against the rule
// applied to one record at a time.
TEST(ReductionFolder, BatchesSealsAndClosesDoNotChangeWhatIsFolded) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    for (int round = 0; round < 50; ++round) {
        const auto size = static_cast<model::DurationMs>(1 + random() % 20);
        const auto lateness = static_cast<model::DurationMs>(random() % 30);
        FoldSettings settings = settings_of(size, lateness);
        settings.offset_ms = static_cast<model::DurationMs>(random() % 5);
        ReductionFolder folder(settings);
        Books expected;
        Books books;
        FoldCounts counts;
        std::uint64_t late = 0;
        std::int64_t watermark = kBeforeAll;
        std::int64_t now = -100;
        for (int batch = 0; batch < 20; ++batch) {
            std::vector<Record> records;
            for (std::uint64_t n = random() % 150; n > 0; --n) {
                now += static_cast<std::int64_t>(random() % 3);
                const auto timestamp = now - static_cast<std::int64_t>(random() % 60);
                auto record = record_at(timestamp, watermark, std::to_string(random() % 5));
                watermark = std::max(watermark, timestamp - 10);
                const auto window = model::tumbling_window(timestamp, size, settings.offset_ms);
                if (window.end + lateness <= record.watermark) {
                    ++late;
                } else {
                    auto& counted = expected[{window.end, testing::encoded_key(record.key)}];
                    ++counted.count;
                    counted.rev += record.watermark >= window.end ? 1 : 0;
                }
                records.push_back(std::move(record));
            }
            counts += fold(folder, records);
            if (random() % 4 == 0) {
                add_to(books, folder.seal());
            } else if (random() % 2 == 0) {
                add_to(books, folder.close(watermark));
            }
        }
        add_to(books, folder.seal());
        ASSERT_EQ(books, expected);
        ASSERT_EQ(counts.late, late);
    }
}

}  // namespace
}  // namespace sluice::state
