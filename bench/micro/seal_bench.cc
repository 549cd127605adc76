// A seal: what a worker waits for (the swap), and what the snapshot thread does behind its back
// (merge the workers' tables, write SST files, ingest them). count() and sum(price) of keys of 8 to
// 11 bytes, on the disk of the current directory. The argument is the number of keys.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "state/io/io_engine.h"
#include "state/io/rocks_env.h"
#include "state/model/key.h"
#include "state/reduce/reduction_folder.h"
#include "state/store/store.h"

namespace sluice::state {
namespace {

constexpr config::ReductionKind kKinds[] = {config::ReductionKind::count,
                                            config::ReductionKind::sum};
constexpr std::uint32_t kReduction = 1;
constexpr model::DurationMs kWindowMs = 15'000;
constexpr std::size_t kBatchRows = 4096;

void fold_keys(ReductionFolder& folder, std::uint64_t keys, model::Window window) {
    for (std::uint64_t begin = 0; begin < keys; begin += kBatchRows) {
        const std::uint64_t end = std::min(keys, begin + kBatchRows);
        model::RecordBatch records;
        model::Column price;
        std::vector<std::uint32_t> rows;
        std::vector<std::uint64_t> hash;
        std::vector<std::string_view> views;
        for (std::uint64_t number = begin; number < end; ++number) {
            std::string key;
            model::append_key_part(key, "user" + std::to_string(number));
            rows.push_back(static_cast<std::uint32_t>(number - begin));
            hash.push_back(model::key_hash(key));
            views.push_back(records.arena.copy(key));
            records.offset.push_back(static_cast<model::Offset>(number));
            records.timestamp.push_back(window.start);
            const auto value = model::Scalar::of_decimal(
                static_cast<model::int128>(number % 10'000) * (model::kDecimalOne / 100));
            price.type.push_back(value.type);
            price.value.push_back(value.value);
        }
        const std::vector<const model::Column*> arguments{nullptr, &price};
        const std::vector<const model::Column*> wheres{nullptr, nullptr};
        model::ValueErrors errors;
        folder.fold({&records, rows, hash, views, arguments, wheres, "topic", 0}, window, errors);
    }
}

FoldSettings settings() {
    return {kReduction, kWindowMs, 0, 0, config::TimeKind::processing, RowLayout(kKinds)};
}

// A directory beside the program, not in memory, that goes with it.
class Scratch {
 public:
    Scratch() {
        std::string name = "bench-XXXXXX";
        path_ = ::mkdtemp(name.data()) == nullptr ? std::string() : name;
    }
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    const std::string& path() const { return path_; }

 private:
    std::string path_;
};

// The pause that a checkpoint costs a worker.
void seal(benchmark::State& state) {
    ReductionFolder folder(settings());
    std::size_t rows = 0;
    for (auto _ : state) {
        state.PauseTiming();
        fold_keys(folder, static_cast<std::uint64_t>(state.range(0)), {0, kWindowMs});
        state.ResumeTiming();
        auto tables = folder.seal();
        state.PauseTiming();
        rows += tables.front().table->rows();
        tables.clear();
        state.ResumeTiming();
    }
    benchmark::DoNotOptimize(rows);
}
BENCHMARK(seal)->Arg(1'000)->Arg(1'000'000)->Iterations(20)->Unit(benchmark::kMicrosecond);

// `workers` hold the same keys, which is the most that a merge can have to do.
void write_and_ingest(benchmark::State& state) {
    const auto keys = static_cast<std::uint64_t>(state.range(0));
    const auto workers = state.range(1);
    const Scratch scratch;
    auto opened = open_disk({});
    if (!opened || scratch.path().empty()) {
        state.SkipWithError("there is no place to write to");
        return;
    }
    const auto env = make_rocks_env(*opened->disk);
    StoreOptions options;
    options.directory = scratch.path() + "/live";
    options.disk = opened->disk.get();
    options.env = env.get();
    auto store = Store::open(options);
    if (!store) {
        state.SkipWithError(store.error().text.c_str());
        return;
    }
    CheckpointMeta meta;
    meta.pipeline = "bench";
    meta.lineage = std::string(32, '0');
    meta.reductions = {{"spend", kReduction, Family::brief, "count sum", 1, {}, {}, {}}};
    (*store)->set_reductions(meta.reductions);
    std::vector<std::unique_ptr<ReductionFolder>> folders;
    for (std::int64_t worker = 0; worker < workers; ++worker) {
        folders.push_back(std::make_unique<ReductionFolder>(settings()));
    }
    std::uint64_t rows = 0, bytes = 0;
    model::BarrierNumber number = 0;
    for (auto _ : state) {
        state.PauseTiming();
        ++number;
        const auto start = static_cast<model::EventTime>(number) * kWindowMs;
        for (auto& folder : folders) {
            fold_keys(*folder, keys, {start, start + kWindowMs});
            (*store)->add_tables(number, folder->seal());
        }
        meta.number = meta.journal_number = number;
        state.ResumeTiming();
        const auto run = (*store)->ingest(number, meta);
        if (!run) {
            state.SkipWithError(run.error().text.c_str());
            return;
        }
        rows += run->rows;
        bytes += run->bytes;
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(rows));
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
    state.counters["bytes/row"] = static_cast<double>(bytes) / static_cast<double>(rows);
}
BENCHMARK(write_and_ingest)
    ->Args({1'000, 1})
    ->Args({1'000'000, 1})
    ->Args({1'000'000, 2})
    ->ArgNames({"keys", "workers"})
    ->Iterations(5)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::state
