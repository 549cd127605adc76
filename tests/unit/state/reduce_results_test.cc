#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "config/settings.h"
#include "state/model/number.h"
#include "state/reduce/cursor.h"
#include "state/reduce/results.h"
#include "tests/unit/state/reduce_support.h"

namespace sluice::state {
namespace {

using testing::Record;
using testing::Rows;
using testing::Value;

config::Reduction reduction_of(const std::vector<std::string>& values) {
    config::Reduction reduction;
    reduction.id = "r";
    config::Fields fields;
    for (const auto& text : values) {
        auto program = config::compile_value(text, fields, reduction.calls);
        if (!program) {
            ADD_FAILURE() << text << ": " << program.error().message;
            continue;
        }
        reduction.values.push_back(
            {"v" + std::to_string(reduction.values.size()), std::move(*program), text});
    }
    return reduction;
}

// Folds every key's records and adds the rows in the order of cursors.
void add_all(ResultColumns& columns, const config::Reduction& reduction,
             const std::vector<Record>& records) {
    auto table = std::make_shared<SliceTable>(RowLayout(reduction.calls));
    Rows rows(records, reduction.calls.size());
    for (std::size_t i = 0; i < reduction.calls.size(); ++i) {
        if (!reduction.calls[i].argument) {
            rows.arguments()[i] = nullptr;
        }
    }
    model::ValueErrors errors;
    rows.fold_into(*table, errors);
    const auto cursor = cursor_over(table);
    while (true) {
        ASSERT_TRUE(cursor->next());
        if (!cursor->valid()) {
            return;
        }
        ASSERT_TRUE(columns.add(cursor->hash(), cursor->key(), cursor->row()));
    }
}

std::string printed(const model::ResultBatch& batch, std::size_t value, std::size_t row) {
    std::string text;
    model::append_printed(text, batch.values[value].at(row));
    return text;
}

Record record_of(std::string key, Value value) {
    Record record;
    record.key = std::move(key);
    record.value = std::move(value);
    return record;
}

TEST(ResultColumns, ComputesEveryValueOfEveryKey) {
    const auto reduction = reduction_of(
        {"count()", "sum(x)", "sum(x) / count()", "if count() > 1 then 'many' else first(x)"});
    ResultColumns columns(reduction);
    model::ResultBatch batch;
    batch.reduction = 3;
    model::ValueErrors errors;
    {
        std::vector<Record> records = {record_of("a", Value::of(std::int64_t{1})),
                                       record_of("a", Value::of(std::int64_t{2})),
                                       record_of("b", Value::of_text("a text of some length"))};
        records[1].offset = 1;
        records[1].rev = true;
        add_all(columns, reduction, records);
        EXPECT_EQ(columns.rows(), 2U);
        columns.finish(batch, errors);
    }
    EXPECT_EQ(columns.rows(), 0U);
    ASSERT_EQ(batch.rows, 2U);
    EXPECT_EQ(batch.reduction, 3U);
    const std::size_t a = batch.key[0] == testing::encoded_key("a") ? 0 : 1;
    const std::size_t b = 1 - a;
    EXPECT_LT(batch.hash[0], batch.hash[1]);
    EXPECT_EQ(batch.hash[a], model::key_hash(testing::encoded_key("a")));
    EXPECT_EQ(batch.key[b], testing::encoded_key("b"));
    EXPECT_EQ(batch.rev[a], 1U);
    EXPECT_EQ(batch.rev[b], 0U);
    EXPECT_EQ(printed(batch, 0, a), "2");
    EXPECT_EQ(printed(batch, 1, a), "3");
    EXPECT_EQ(printed(batch, 2, a), "1.5");
    EXPECT_EQ(printed(batch, 3, a), "many");
    EXPECT_EQ(printed(batch, 0, b), "1");
    EXPECT_EQ(printed(batch, 1, b), "");
    EXPECT_EQ(printed(batch, 3, b), "a text of some length");

    // And again, in the same memory; what was handed out stays whole.
    model::ResultBatch next;
    add_all(columns, reduction, {record_of("c", Value::of(std::int64_t{9}))});
    columns.finish(next, errors);
    EXPECT_EQ(next.rows, 1U);
    EXPECT_EQ(printed(next, 1, 0), "9");
    EXPECT_EQ(printed(batch, 3, b), "a text of some length");
    columns.finish(next, errors);
    EXPECT_EQ(next.rows, 0U);
    EXPECT_TRUE(next.key.empty());
    EXPECT_TRUE(next.values[0].type.empty());
}

TEST(ResultColumns, ASumByItselfPrintsInFullAndExpressionsOverItComputeWithTheNearestFloat) {
    const auto reduction = reduction_of({"sum(x)", "sum(x) * 1", "count()"});
    ResultColumns columns(reduction);
    std::vector<Record> records;
    for (int i = 0; i < 12; ++i) {
        records.push_back(record_of("a", Value::of(std::numeric_limits<std::int64_t>::max())));
    }
    records.push_back(record_of("b", Value::of(std::int64_t{1})));
    add_all(columns, reduction, records);
    model::ResultBatch batch;
    model::ValueErrors errors;
    columns.finish(batch, errors);
    const std::size_t a = batch.key[0] == testing::encoded_key("a") ? 0 : 1;
    EXPECT_EQ(printed(batch, 0, a), "110680464442257309684");
    EXPECT_EQ(printed(batch, 1, a), "110680464442257310000");
    EXPECT_EQ(printed(batch, 0, 1 - a), "1");
    EXPECT_EQ(batch.values[0].type[1 - a], model::Type::integer);
    EXPECT_EQ(errors.overflow, 0U);
}

TEST(ResultColumns, WhatHasNoResultIsNullAndCounted) {
    const auto reduction = reduction_of({"min(x)", "sum(x) / (count() - 2)"});
    ResultColumns columns(reduction);
    add_all(columns, reduction,
            {record_of("a", Value::of(std::int64_t{1})), record_of("a", Value::of_text("x"))});
    model::ResultBatch batch;
    model::ValueErrors errors;
    columns.finish(batch, errors);
    EXPECT_EQ(printed(batch, 0, 0), "");
    EXPECT_EQ(printed(batch, 1, 0), "");
    EXPECT_EQ(errors.wrong_type, 1U);
    EXPECT_EQ(errors.nan, 1U);
}

TEST(ResultColumns, RowsOfOtherReductionsAreCorrupt) {
    const auto reduction = reduction_of({"count()", "max(x)"});
    ResultColumns columns(reduction);
    using namespace std::string_view_literals;
    for (const auto row : {""sv, "\x01\x00\x01\x05"sv, "\x01\x00\x01\x05\x03\x00"sv,
                           "\x01\x00\x01\x05\x04\x00\x01\x00"sv}) {
        const auto status = columns.add(1, testing::encoded_key("a"), row);
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().kind, model::ErrorKind::corrupt);
    }
    EXPECT_TRUE(columns.add(1, testing::encoded_key("a"), "\x01\x00\x01\x05\x04\x00"sv));
    EXPECT_EQ(columns.rows(), 1U);
}

}  // namespace
}  // namespace sluice::state
