// Results to Redis commands, as bytes: the 15-second job's HSET with a ttl, and the default layout.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "config/write_template.h"
#include "sinks/renderer.h"
#include "state/model/key.h"
#include "state/model/result_batch.h"

namespace sluice::sinks {
namespace {

constexpr std::size_t kRows = 4096;

model::ResultBatch results() {
    std::vector<std::pair<std::uint64_t, std::string>> keys;
    for (std::size_t i = 0; i < kRows; ++i) {
        std::string key;
        model::append_key_part(key, "user" + std::to_string(i * 7919 % 1'000'000));
        keys.emplace_back(model::key_hash(key), key);
    }
    std::ranges::sort(keys);
    model::ResultBatch batch;
    batch.window = {1'714'521'600'000, 1'714'521'615'000};
    batch.rows = kRows;
    batch.values.resize(2);
    for (auto& column : batch.values) {
        column.resize(kRows);
    }
    for (std::size_t row = 0; row < kRows; ++row) {
        batch.hash.push_back(keys[row].first);
        batch.key.push_back(batch.arena.copy(keys[row].second));
        batch.rev.push_back(0);
        batch.values[0].set(row, model::Scalar::of(static_cast<std::int64_t>(row % 20)));
        batch.values[1].set(row, model::Scalar::of_decimal(static_cast<model::int128>(row * 137) *
                                                           (model::kDecimalOne / 100)));
    }
    return batch;
}

void render(benchmark::State& state, const char* command) {
    const config::TemplateNames names{{"user_id"}, {"clicks", "spend"}, true};
    ReductionOutput output;
    output.id = "spend";
    if (*command == '\0') {
        output.write.push_back(config::default_command(names));
    } else if (auto parsed = config::parse_command(command, names)) {
        output.write.push_back(std::move(*parsed));
    } else {
        state.SkipWithError(parsed.error().message.c_str());
        return;
    }
    output.ttl_ms = 3'600'000;
    Renderer renderer(output, "clicks");
    const model::ResultBatch batch = results();
    std::string bytes;
    std::size_t written = 0;
    for (auto _ : state) {
        bytes.clear();
        for (std::size_t row = 0; row < batch.rows; ++row) {
            renderer.render(batch, row, bytes);
        }
        benchmark::DoNotOptimize(bytes.data());
        written += bytes.size();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
    state.SetBytesProcessed(static_cast<std::int64_t>(written));
}
BENCHMARK_CAPTURE(render, fifteen_second_job,
                  "HSET spend:{user_id}:{window.start} clicks {clicks} spend {spend}");
BENCHMARK_CAPTURE(render, default_layout, "");

}  // namespace
}  // namespace sluice::sinks
