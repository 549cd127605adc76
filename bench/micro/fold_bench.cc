// Folding, reading and merging slice tables: count() and sum(x) per key, keys of 8 to 11 bytes
// drawn evenly, one core. The argument is the number of keys.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "state/model/key.h"
#include "state/reduce/cursor.h"
#include "state/reduce/results.h"
#include "state/reduce/slice_table.h"

namespace sluice::state {
namespace {

using config::ReductionKind;

constexpr ReductionKind kKinds[] = {ReductionKind::count, ReductionKind::sum};
constexpr std::size_t kBatchRows = 4096;

// Batches of records, made beforehand: about 2^20 rows, so that the input itself comes from memory
// as it does from a decoder.
struct Batches {
    struct Batch {
        model::RecordBatch records;
        model::Column price;
        std::vector<std::uint32_t> rows;
        std::vector<std::uint64_t> hash;
        std::vector<std::string_view> key;
        std::vector<const model::Column*> arguments;
        std::vector<const model::Column*> wheres;
    };
    std::vector<std::unique_ptr<Batch>> batches;
    model::Arena arena;

    Batches(std::uint64_t keys, model::Type type, std::uint64_t seed = 1) {
        std::mt19937_64 random(seed);
        for (int b = 0; b < 256; ++b) {
            auto batch = std::make_unique<Batch>();
            for (std::size_t i = 0; i < kBatchRows; ++i) {
                add_row(*batch, "user" + std::to_string(random() % keys), random(), type);
            }
            batch->arguments = {nullptr, &batch->price};
            batch->wheres = {nullptr, nullptr};
            batches.push_back(std::move(batch));
        }
    }
    void add_row(Batch& batch, const std::string& name, std::uint64_t drawn, model::Type type) {
        std::string key;
        model::append_key_part(key, name);
        batch.rows.push_back(static_cast<std::uint32_t>(batch.rows.size()));
        batch.hash.push_back(model::key_hash(key));
        batch.key.push_back(arena.copy(key));
        batch.records.timestamp.push_back(0);
        batch.records.offset.push_back(0);
        const auto cents = static_cast<std::int64_t>(drawn % 100'000);
        const auto value = type == model::Type::integer ? model::Scalar::of(cents)
                           : type == model::Type::real
                               ? model::Scalar::of(static_cast<double>(cents) / 100)
                               : model::Scalar::of_decimal(static_cast<model::int128>(cents) *
                                                           (model::kDecimalOne / 100));
        batch.price.type.push_back(value.type);
        batch.price.value.push_back(value.value);
    }
    void fold(std::size_t number, SliceTable& table) const {
        const Batch& batch = *batches[number % batches.size()];
        model::ValueErrors errors;
        table.fold({&batch.records, batch.rows, batch.hash, batch.key, batch.arguments,
                    batch.wheres, "topic", 0},
                   {}, errors);
    }
};

// Every key once or more, and the rows of `keys` below 2^20 complete.
std::shared_ptr<SliceTable> table_of(std::uint64_t keys) {
    auto table = std::make_shared<SliceTable>(RowLayout(kKinds));
    Batches batches(1, model::Type::integer);
    for (std::uint64_t begin = 0; begin < keys; begin += kBatchRows) {
        Batches::Batch batch;
        model::Arena arena;
        for (std::uint64_t key = begin; key < std::min(begin + kBatchRows, keys); ++key) {
            batches.add_row(batch, "user" + std::to_string(key), key, model::Type::decimal);
        }
        batch.arguments = {nullptr, &batch.price};
        batch.wheres = {nullptr, nullptr};
        model::ValueErrors errors;
        table->fold({&batch.records, batch.rows, batch.hash, batch.key, batch.arguments,
                     batch.wheres, "topic", 0},
                    {}, errors);
    }
    return table;
}

// Into rows that are there: the steady state of a window.
void fold(benchmark::State& state, model::Type type) {
    const auto keys = static_cast<std::uint64_t>(state.range(0));
    auto table = table_of(keys);
    const Batches batches(keys, type);
    std::size_t number = 0;
    for (auto _ : state) {
        batches.fold(number++, *table);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatchRows));
    state.counters["bytes_per_key"] =
        static_cast<double>(table->bytes()) / static_cast<double>(table->rows());
}
BENCHMARK_CAPTURE(fold, decimals, model::Type::decimal)
    ->Arg(1'000)
    ->Arg(1'000'000)
    ->Arg(10'000'000);
BENCHMARK_CAPTURE(fold, integers, model::Type::integer)->Arg(1'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(fold, floats, model::Type::real)->Arg(1'000)->Arg(1'000'000);

// Into an empty table, growth and splits included; `reused`: one that clear() emptied.
void fold_new_keys(benchmark::State& state, bool reused) {
    const auto keys = static_cast<std::uint64_t>(state.range(0));
    const Batches batches(keys, model::Type::decimal);
    auto table = std::make_unique<SliceTable>(RowLayout(kKinds));
    std::size_t rows = 0;
    for (auto _ : state) {
        state.PauseTiming();
        if (reused) {
            table->clear();
        } else {
            table = std::make_unique<SliceTable>(RowLayout(kKinds));
        }
        state.ResumeTiming();
        for (std::size_t number = 0; number < batches.batches.size(); ++number) {
            batches.fold(number, *table);
        }
        rows += batches.batches.size() * kBatchRows;
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(rows));
}
BENCHMARK_CAPTURE(fold_new_keys, fresh, false)->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fold_new_keys, reused, true)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

// What a seal does with a table: sort by (hash, key) and encode.
void read_in_order(benchmark::State& state) {
    const auto table = table_of(static_cast<std::uint64_t>(state.range(0)));
    for (auto _ : state) {
        const auto cursor = cursor_over(table);
        std::size_t bytes = 0;
        while (cursor->next() && cursor->valid()) {
            bytes += cursor->key().size() + cursor->row().size();
        }
        benchmark::DoNotOptimize(bytes);
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(table->rows()));
}
BENCHMARK(read_in_order)->Arg(1'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

// Two workers' tables with the same keys, merged, and the results computed.
void merge_and_read_results(benchmark::State& state) {
    const auto a = table_of(static_cast<std::uint64_t>(state.range(0)));
    const auto b = table_of(static_cast<std::uint64_t>(state.range(0)));
    model::Arena arena;
    for (auto _ : state) {
        std::vector<std::unique_ptr<RowCursor>> sources;
        sources.push_back(cursor_over(a));
        sources.push_back(cursor_over(b));
        const auto cursor = merge_cursors(std::move(sources));
        RowResults results;
        model::ValueErrors errors;
        while (cursor->next() && cursor->valid()) {
            if (!row_results(cursor->row(), arena, results, errors)) {
                state.SkipWithError("a row cannot be read");
                return;
            }
            benchmark::DoNotOptimize(results.rev);
        }
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(a->rows()));
}
BENCHMARK(merge_and_read_results)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::state
