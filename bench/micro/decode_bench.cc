// Decoding: 253-byte events of the Yahoo Streaming Benchmark, the 15-second job's records, and what
// mapping costs on top.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "config/settings.h"
#include "ingest/decoder.h"
#include "ingest/mapper.h"

namespace sluice::ingest {
namespace {

const std::vector<model::Partition> kTable = {{"events", 0}};
constexpr std::size_t kRows = 4096;

std::string uuid(std::mt19937_64& random) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string id = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    for (auto& c : id) {
        if (c == 'x') {
            c = kHex[random() & 15];
        }
    }
    return id;
}

std::vector<std::string> ysb_events() {
    std::mt19937_64 random(1);
    static constexpr const char* kAdTypes[] = {"banner", "modal", "sponsored-search", "mail",
                                               "mobile"};
    static constexpr const char* kEventTypes[] = {"view", "click", "purchase"};
    std::vector<std::string> events;
    for (std::size_t i = 0; i < kRows; ++i) {
        events.push_back("{\"user_id\": \"" + uuid(random) + "\", \"page_id\": \"" + uuid(random) +
                         "\", \"ad_id\": \"" + uuid(random) + "\", \"ad_type\": \"" +
                         kAdTypes[random() % 5] + "\", \"event_type\": \"" +
                         kEventTypes[random() % 3] + "\", \"event_time\": \"" +
                         std::to_string(1700000000000 + i) + "\", \"ip_address\": \"1.2.3.4\"}");
    }
    return events;
}

std::vector<std::string> orders() {
    std::mt19937_64 random(2);
    std::vector<std::string> events;
    for (std::size_t i = 0; i < kRows; ++i) {
        events.push_back("{\"user_id\":" + std::to_string(random() % 1'000'000) + ",\"price\":" +
                         std::to_string(random() % 100) + "." + std::to_string(10 + random() % 90) +
                         ",\"quantity\":" + std::to_string(random() % 10) + "}");
    }
    return events;
}

config::Program compiled(config::Pipeline& pipeline, const char* text) {
    return std::move(config::compile(text, pipeline.fields).value());
}

void decode_all(Decoder& decoder, DecodedBatch& batch, const std::vector<std::string>& events) {
    decoder.begin(batch, 0, events.size());
    Record record;
    record.timestamp = 1700000000000;
    record.has_value = true;
    for (const auto& event : events) {
        record.value = event;
        decoder.append(record);
        ++record.offset;
    }
    decoder.finish();
}

void report(benchmark::State& state, const std::vector<std::string>& events) {
    std::size_t bytes = 0;
    for (const auto& e : events) {
        bytes += e.size();
    }
    const auto rounds = static_cast<std::int64_t>(state.iterations());
    state.SetItemsProcessed(rounds * static_cast<std::int64_t>(events.size()));
    state.SetBytesProcessed(rounds * static_cast<std::int64_t>(bytes));
    state.counters["bytes/record"] =
        static_cast<double>(bytes) / static_cast<double>(events.size());
    state.counters["s/record"] = benchmark::Counter(
        static_cast<double>(events.size()),
        benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void decode_ysb(benchmark::State& state) {
    const auto events = ysb_events();
    config::Pipeline pipeline;
    pipeline.source.timestamp_from_kafka = false;
    pipeline.source.timestamp = compiled(pipeline, "event_time");
    compiled(pipeline, "ad_id");
    compiled(pipeline, "event_type");
    Decoder decoder(pipeline, kTable);
    DecodedBatch batch;
    for (auto _ : state) {
        decode_all(decoder, batch, events);
        benchmark::DoNotOptimize(batch.records.timestamp.data());
    }
    report(state, events);
}
BENCHMARK(decode_ysb);

config::Pipeline order_pipeline() {
    config::Pipeline pipeline;
    config::Reduction spend;
    spend.id = "spend";
    spend.window_ms = 15'000;
    spend.time = config::TimeKind::processing;
    spend.key.push_back({"user_id", compiled(pipeline, "user_id")});
    for (const char* text : {"count()", "sum(price * quantity)"}) {
        auto program = config::compile_value(text, pipeline.fields, spend.calls);
        spend.values.push_back({text, std::move(program.value()), text});
    }
    pipeline.reductions.push_back(std::move(spend));
    return pipeline;
}

void decode_orders(benchmark::State& state) {
    const auto events = orders();
    const config::Pipeline pipeline = order_pipeline();
    Decoder decoder(pipeline, kTable);
    DecodedBatch batch;
    for (auto _ : state) {
        decode_all(decoder, batch, events);
        benchmark::DoNotOptimize(batch.records.timestamp.data());
    }
    report(state, events);
}
BENCHMARK(decode_orders);

void decode_and_map_orders(benchmark::State& state) {
    const auto events = orders();
    const config::Pipeline pipeline = order_pipeline();
    Decoder decoder(pipeline, kTable);
    Mapper mapper(pipeline);
    DecodedBatch batch;
    for (auto _ : state) {
        decode_all(decoder, batch, events);
        benchmark::DoNotOptimize(mapper.process(batch, 0, batch.records.rows));
    }
    report(state, events);
}
BENCHMARK(decode_and_map_orders);

void decode_and_map_ysb(benchmark::State& state) {
    const auto events = ysb_events();
    config::Pipeline pipeline;
    pipeline.source.timestamp_from_kafka = false;
    pipeline.source.timestamp = compiled(pipeline, "event_time");
    config::Step step;
    step.filter = compiled(pipeline, "event_type == 'view'");
    pipeline.steps.push_back(std::move(step));
    config::Reduction views;
    views.id = "views";
    views.window_ms = 10'000;
    views.key.push_back({"ad_id", compiled(pipeline, "ad_id")});
    auto program = config::compile_value("count()", pipeline.fields, views.calls);
    views.values.push_back({"count", std::move(program.value()), "count()"});
    pipeline.reductions.push_back(std::move(views));
    Decoder decoder(pipeline, kTable);
    Mapper mapper(pipeline);
    DecodedBatch batch;
    for (auto _ : state) {
        decode_all(decoder, batch, events);
        benchmark::DoNotOptimize(mapper.process(batch, 0, batch.records.rows));
    }
    report(state, events);
}
BENCHMARK(decode_and_map_ysb);

}  // namespace
}  // namespace sluice::ingest
