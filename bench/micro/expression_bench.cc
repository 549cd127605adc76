// Expressions over a batch of 4096 rows: what a step, a key or an argument costs per record.
#include <benchmark/benchmark.h>

#include <array>
#include <random>
#include <string>
#include <string_view>

#include "config/expression/program.h"
#include "state/model/record_batch.h"

namespace sluice::config {
namespace {

constexpr std::size_t kRows = 4096;

// Columns as a decoder fills them. Texts are string literals.
model::Scalar drawn(std::string_view field, std::mt19937_64& random) {
    constexpr std::array<std::string_view, 3> kEventTypes{"view", "click", "purchase"};
    constexpr std::array<std::string_view, 4> kCountries{"de", "fr", "us", "jp"};
    if (field == "price") {
        return model::Scalar::of_decimal(static_cast<model::int128>(random() % 10'000) *
                                         (model::kDecimalOne / 100));
    }
    if (field == "weight") {
        return model::Scalar::of(static_cast<double>(random() % 10'000) / 128);
    }
    if (field == "event_type") {
        return model::Scalar::of(kEventTypes[random() % kEventTypes.size()]);
    }
    if (field == "country") {
        return random() % 10 == 0 ? model::Scalar::null()
                                  : model::Scalar::of(kCountries[random() % kCountries.size()]);
    }
    return model::Scalar::of(static_cast<std::int64_t>(random() % 100));
}

struct Input {
    Fields fields;
    std::vector<model::Column> columns;
    model::Selection all;

    void fill() {
        std::mt19937_64 random(7);
        columns.resize(fields.size());
        for (std::uint32_t c = 0; c < fields.size(); ++c) {
            columns[c].resize(kRows);
            const auto& name = std::get<std::string>(fields.source(c).path.front());
            for (std::size_t row = 0; row < kRows; ++row) {
                columns[c].set(row, drawn(name, random));
            }
        }
        for (std::uint32_t row = 0; row < kRows; ++row) {
            all.push_back(row);
        }
    }
};

void evaluate(benchmark::State& state, const char* text) {
    Input input;
    const auto program = compile(text, input.fields);
    if (!program) {
        state.SkipWithError(program.error().message.c_str());
        return;
    }
    input.fill();
    model::Column out;
    out.resize(kRows);
    model::Arena arena;
    Program::Scratch scratch;
    for (auto _ : state) {
        program->evaluate(input.columns, kRows, input.all, out, arena, scratch);
        benchmark::DoNotOptimize(out.value.data());
        arena.clear();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}
BENCHMARK_CAPTURE(evaluate, integer_arithmetic, "quantity * 3 + items");
BENCHMARK_CAPTURE(evaluate, decimal_times_integer, "price * quantity");
BENCHMARK_CAPTURE(evaluate, float_arithmetic, "weight * 2.5e0 + 1");
BENCHMARK_CAPTURE(evaluate, text_function, "upper(country ?? 'unknown')");
BENCHMARK_CAPTURE(evaluate, conditional, "if quantity > 50 then price else price * 2");
BENCHMARK_CAPTURE(evaluate, hash, "hash(country)");

void filter(benchmark::State& state, const char* text) {
    Input input;
    const auto program = compile_filter(text, input.fields);
    if (!program) {
        state.SkipWithError(program.error().message.c_str());
        return;
    }
    input.fill();
    model::Arena arena;
    Program::Scratch scratch;
    model::Selection rows;
    for (auto _ : state) {
        rows = input.all;
        program->filter(input.columns, kRows, rows, arena, scratch);
        benchmark::DoNotOptimize(rows.data());
        arena.clear();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}
BENCHMARK_CAPTURE(filter, text_equals, "event_type == 'view'");
BENCHMARK_CAPTURE(filter, in_list, "event_type in ['view', 'purchase']");
BENCHMARK_CAPTURE(filter, numbers, "price > 10 and quantity < 50");
BENCHMARK_CAPTURE(filter, pattern, "country matches '^[df]'");

}  // namespace
}  // namespace sluice::config
