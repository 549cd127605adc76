// The Redis sink: encoding results, parsing replies, and, where a redis-server is installed,
// results per second against plain pipelining of the same commands (512 per round trip, one
// connection, Unix socket). `vs plain` is the ratio of the two.
#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "sinks/redis_sink.h"
#include "sinks/renderer.h"
#include "sinks/resp.h"
#include "tests/integration/real_redis.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

constexpr std::size_t kRows = 4096;

ReductionOutput output() {
    return reduction("spend",
                     {"HSET spend:{country}:{user}:{window.start} clicks {clicks} spend {spend}"},
                     {"country", "user"}, {"clicks", "spend"});
}

std::unique_ptr<model::ResultBatch> results(std::int64_t window) {
    std::vector<Row> rows;
    for (std::size_t i = 0; i < kRows; ++i) {
        rows.push_back({{"DE", "user-" + std::to_string(i * 7919)}, static_cast<std::int64_t>(i)});
    }
    auto batch = batch_of(0, {window * 15'000, (window + 1) * 15'000}, rows);
    batch->values.resize(2);
    batch->values[1].resize(kRows);
    for (std::size_t i = 0; i < kRows; ++i) {
        batch->values[1].set(i, model::Scalar::of_decimal(model::kDecimalOne / 100 *
                                                          static_cast<std::int64_t>(i * 37)));
    }
    return batch;
}

void Encode(benchmark::State& state) {
    Renderer renderer(output(), "shop");
    const auto batch = results(1);
    std::string bytes;
    for (auto _ : state) {
        bytes.clear();
        for (std::size_t row = 0; row < kRows; ++row) {
            renderer.render(*batch, row, bytes);
        }
        benchmark::DoNotOptimize(bytes.data());
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(Encode);

void ParseReplies(benchmark::State& state) {
    std::string bytes = "+OK\r\n";
    for (int i = 0; i < 512; ++i) {
        bytes += "+QUEUED\r\n";
    }
    bytes += "*512\r\n";
    for (int i = 0; i < 512; ++i) {
        bytes += ":0\r\n";
    }
    ReplyReader reader;
    for (auto _ : state) {
        reader.feed(bytes);
        while (*reader.next() != nullptr) {
        }
    }
    state.SetItemsProcessed(state.iterations() * 512);
}
BENCHMARK(ParseReplies);

double plain_results_per_second(RealRedis& redis, std::size_t batches) {
    auto client = redis.client();
    Renderer renderer(output(), "shop");
    std::string bytes;
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t n = 0; n < batches; ++n) {
        const auto batch = results(static_cast<std::int64_t>(n));
        for (std::size_t row = 0; row < kRows;) {
            bytes.clear();
            std::size_t commands = 0;
            for (; commands < 512 && row < kRows; ++commands, ++row) {
                renderer.render(*batch, row, bytes);
            }
            client.send(bytes, commands);
        }
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(batches * kRows) / spent.count();
}

double sink_results_per_second(RealRedis& redis, std::size_t batches, int connections) {
    model::SystemClock clock;
    SinkSettings settings;
    settings.pipeline = "bench";
    settings.reductions = {output()};
    settings.owner = "bench";
    settings.connections = connections;
    RedisSink sink(settings, socket_transports(redis.address()), clock,
                   [](const std::string&) { return true; });
    const auto turn = [&sink] {
        if (!sink.step()) {
            sink.wait(5);
        }
    };
    while (sink.phase() != SinkPhase::greeted) {
        turn();
    }
    Begin start;
    start.mode = Begin::Mode::reset;
    start.lineage = "bench";
    start.acknowledged = {model::kBeforeAll};
    sink.begin(start);
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t n = 0; n < batches; ++n) {
        auto batch = results(static_cast<std::int64_t>(n));
        const model::EventTime end = batch->window.end;
        while (!sink.push(std::move(batch), 0)) {
            turn();
        }
        sink.push_end(0, end, 0);
        turn();
    }
    while (!sink.settled()) {
        turn();
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(batches * kRows) / spent.count();
}

void SinkAgainstPlainPipelining(benchmark::State& state) {
    if (!RealRedis::installed()) {
        state.SkipWithError("redis-server is not installed");
        return;
    }
    constexpr std::size_t kBatches = 60;
    double plain = 0;
    double sink = 0;
    for (auto _ : state) {
        RealRedis redis;
        plain += plain_results_per_second(redis, kBatches);
        redis.client().command({"FLUSHALL"});
        sink += sink_results_per_second(redis, kBatches, static_cast<int>(state.range(0)));
    }
    const auto runs = static_cast<double>(state.iterations());
    state.counters["plain/s"] = plain / runs;
    state.counters["sink/s"] = sink / runs;
    state.counters["vs plain"] = sink / plain;
}
BENCHMARK(SinkAgainstPlainPipelining)
    ->ArgName("connections")
    ->Arg(1)
    ->Arg(2)
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::sinks::test

BENCHMARK_MAIN();
