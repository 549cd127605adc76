#include "daemon/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "daemon/metrics.h"

namespace sluice::daemon {
namespace {

Status full() {
    Status s;
    s.name = "clicks";
    s.state = RunState::degraded;
    s.since = 1'714'521'600'000;
    s.epoch = 7;
    s.config_hash = "00ff";
    s.config_stale = true;
    s.conditions = {{"restore", true, 1'714'521'600'000, ""},
                    {"sink", false, 1'714'521'601'000, "READONLY \"x\" <b>"}};
    s.ledger = {.consumed = 10,
                .exploded = 0,
                .reached = 4,
                .filtered = 3,
                .null = 1,
                .undecodable = 2,
                .duplicate = 0,
                .skipped = 0};
    PartitionStatus p;
    p.topic = "clicks";
    p.partition = 3;
    p.next_offset = 90;
    p.checkpointed_offset = 80;
    p.end_offset = 100;
    p.watermark = 1'714'521'599'000;
    p.idle = true;
    p.ledger = s.ledger;
    s.partitions = {p, PartitionStatus{}};
    s.source.errors = {7, 8, 9};
    s.steps = {{"price > 0", {1, 2, 3}}};
    ReductionStatus r;
    r.id = "spend";
    r.ledger = {.reached = 4, .folded = 1, .filtered = 1, .late = 1, .refused = 1};
    r.open_windows = 2;
    r.keys = 3;
    r.fired = 5;
    r.frontier = 1'714'521'590'000;
    r.errors = {4, 5, 6};
    s.reductions = {r, ReductionStatus{}};
    s.checkpoints = {
        {12, "checkpoint", 1'714'521'595'000, 1000, 100, 250, 33, "/s/checkpoints/12"}};
    s.checkpoints_completed = 12;
    s.checkpoint_interval_ms = 10'000;
    s.sink = {.results = 5,
              .commands = 6,
              .pending = 7,
              .retries = 8,
              .reconnects = 9,
              .refused = 1,
              .resent = 2,
              .retention_ms = 300'000,
              .last_error = "READONLY"};
    s.restore = {.from = "/s/checkpoints/11",
                 .bytes = 1,
                 .total_bytes = 2,
                 .duration_ms = 3,
                 .replayed_records = 4,
                 .verified_bytes = 90,
                 .verify_bytes = 100,
                 .rejected = {{"/s/checkpoints/12", "damaged"}},
                 .phase = "verify",
                 .stalled_ms = 12'000};
    s.io.backend = "io_uring";
    s.io.submitted = 77;
    s.io.oldest_us = 1500;
    for (const std::uint64_t us : {10u, 60u, 70u, 20'000'000u}) {
        s.io.sync.add(us);
    }
    s.workers = {{2'000'000'000, 1'000'000'000}};
    s.fold_latency.add(180);
    s.fold_latency.add(1200);
    s.watermark = 1'714'521'599'000;
    s.warnings = {"careful"};
    return s;
}

std::vector<std::string> keys_of(const nlohmann::ordered_json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) {
        keys.push_back(key);
    }
    return keys;
}

using Keys = std::vector<std::string>;

TEST(StatusJson, HasTheContractsNamesInTheContractsOrder) {
    const auto page = nlohmann::ordered_json::parse(to_json(full()));
    Keys top = keys_of(page);
    top.resize(15);
    EXPECT_EQ(top, (Keys{"name", "state", "ready", "since", "epoch", "config_hash", "config_stale",
                         "conditions", "ledger", "partitions", "reductions", "checkpoints", "sink",
                         "restore", "records_before_ready"}));
    const Keys ledger{"consumed", "exploded",    "reached",   "filtered",
                      "null",     "undecodable", "duplicate", "skipped"};
    EXPECT_EQ(keys_of(page["ledger"]), ledger);
    EXPECT_EQ(keys_of(page["conditions"][0]), (Keys{"name", "ok", "since", "reason"}));
    EXPECT_EQ(keys_of(page["partitions"][0]),
              (Keys{"topic", "partition", "next_offset", "checkpointed_offset", "end_offset",
                    "watermark", "idle", "ledger"}));
    EXPECT_EQ(keys_of(page["partitions"][0]["ledger"]), ledger);
    EXPECT_EQ(keys_of(page["reductions"][0]),
              (Keys{"id", "reached", "folded", "filtered", "late", "refused", "open_windows",
                    "keys", "fired", "frontier", "errors"}));
    EXPECT_EQ(keys_of(page["reductions"][0]["errors"]), (Keys{"wrong_type", "overflow", "nan"}));
    EXPECT_EQ(keys_of(page["steps"][0]), (Keys{"text", "errors"}));
    EXPECT_EQ(page["source"]["errors"].dump(), R"({"wrong_type":7,"overflow":8,"nan":9})");
    EXPECT_EQ(keys_of(page["checkpoints"][0]), (Keys{"id", "kind", "taken", "bytes", "new_bytes",
                                                     "pause_us", "duration_ms", "path"}));
    Keys sink = keys_of(page["sink"]);
    sink.resize(7);
    EXPECT_EQ(sink, (Keys{"results", "commands", "pending", "retries", "reconnects", "refused",
                          "last_error"}));
    Keys restore = keys_of(page["restore"]);
    restore.resize(6);
    EXPECT_EQ(restore, (Keys{"from", "bytes", "total_bytes", "duration_ms", "replayed_records",
                             "rejected"}));
    EXPECT_EQ(keys_of(page["restore"]["rejected"][0]), (Keys{"path", "reason"}));
}

TEST(StatusJson, SaysNullWhereNothingIsKnown) {
    const auto page = nlohmann::ordered_json::parse(to_json(full()));
    EXPECT_TRUE(page["partitions"][1]["watermark"].is_null());
    EXPECT_TRUE(page["partitions"][1]["end_offset"].is_null());
    EXPECT_TRUE(page["reductions"][1]["frontier"].is_null());
    EXPECT_EQ(page["since"], "2024-05-01T00:00:00.000Z");
    EXPECT_EQ(page["state"], "degraded");
}

TEST(StatusJson, ReadsBackWhatItWrote) {
    const std::string json = to_json(full());
    const auto status = status_from_json(json);
    ASSERT_TRUE(status);
    EXPECT_EQ(to_json(*status), json);
}

TEST(StatusJson, ReadsWhatAnotherVersionWrote) {
    const auto status = status_from_json(
        "{\"name\":\"x\",\"ready\":\"yes\",\"state\":\"dreaming\",\"new\":1,\"sink\":[],"
        "\"partitions\":[{\"watermark\":null}]}");
    ASSERT_TRUE(status);
    EXPECT_EQ(status->name, "x");
    EXPECT_FALSE(status->ready);
    EXPECT_EQ(status->partitions.size(), 1U);
    EXPECT_FALSE(status_from_json("[]"));
    EXPECT_FALSE(status_from_json("{\"name\":"));
}

TEST(StatusPage, NamesWhatIsNotOk) {
    const std::string page = to_page(full(), 1'714'521'605'000);
    EXPECT_NE(page.find("clicks  degraded for 5s, not ready"), std::string::npos) << page;
    EXPECT_NE(page.find("NOT OK        sink: READONLY"), std::string::npos) << page;
    EXPECT_NE(page.find("clicks[3]"), std::string::npos);
    EXPECT_NE(page.find("(idle)"), std::string::npos);
    EXPECT_NE(page.find("damaged"), std::string::npos);
    EXPECT_NE(page.find("warning: careful"), std::string::npos);
}

TEST(StatusPage, IsHtmlWithoutScriptsAndWithEverythingEscaped) {
    Status status = full();
    status.warnings = {"<script>alert('x')</script>"};
    const std::string page = to_html(status, 1'714'521'605'000);
    EXPECT_EQ(page.find("<script"), std::string::npos);
    EXPECT_NE(page.find("READONLY &quot;x&quot; &lt;b&gt;"), std::string::npos);
}

TEST(Metrics, SaysWhatTheStatusSays) {
    const std::string text = to_metrics(full(), 1'714'521'605'000);
    for (const char* line :
         {"sluice_records_before_ready_total{pipeline=\"clicks\"} 0",
          "sluice_records_total{pipeline=\"clicks\",outcome=\"filtered\"} 3",
          "sluice_state{pipeline=\"clicks\",state=\"degraded\"} 1",
          "sluice_state{pipeline=\"clicks\",state=\"running\"} 0",
          "sluice_condition{pipeline=\"clicks\",condition=\"sink\"} 0",
          "sluice_source_lag_events{pipeline=\"clicks\",topic=\"clicks\",partition=\"3\"} 10",
          "sluice_source_checkpointed_lag_events{pipeline=\"clicks\",topic=\"clicks\",partition="
          "\"3\"} "
          "20",
          "sluice_io_submitted_total{pipeline=\"clicks\"} 77",
          "# TYPE sluice_io_duration_seconds histogram",
          "sluice_io_duration_seconds_bucket{pipeline=\"clicks\",operation=\"sync\",le=\"5e-05\"} "
          "1",
          "sluice_io_duration_seconds_bucket{pipeline=\"clicks\",operation=\"sync\",le=\"0.0001\"} "
          "3",
          "sluice_io_duration_seconds_bucket{pipeline=\"clicks\",operation=\"sync\",le=\"10\"} 3",
          "sluice_io_duration_seconds_bucket{pipeline=\"clicks\",operation=\"sync\",le=\"+Inf\"} 4",
          "sluice_io_duration_seconds_count{pipeline=\"clicks\",operation=\"sync\"} 4",
          "sluice_io_duration_seconds_sum{pipeline=\"clicks\",operation=\"sync\"} 20.00014",
          "sluice_restore_stalled_seconds{pipeline=\"clicks\"} 12",
          "sluice_io_oldest_inflight_seconds{pipeline=\"clicks\"} 0.0015",
          "sluice_checkpoint_pause_seconds{pipeline=\"clicks\"} 0.00025",
          "sluice_worker_busy_seconds_total{pipeline=\"clicks\",worker=\"0\"} 2",
          "# TYPE sluice_fold_latency_seconds histogram",
          "sluice_fold_latency_seconds_bucket{pipeline=\"clicks\",le=\"0.0002\"} 1",
          "sluice_fold_latency_seconds_bucket{pipeline=\"clicks\",le=\"0.0015\"} 2",
          "sluice_fold_latency_seconds_count{pipeline=\"clicks\"} 2",
          "# TYPE sluice_sink_results_total counter",
          "# TYPE sluice_io_inflight gauge",
          "process_resident_memory_bytes "}) {
        EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
    }
}

TEST(Metrics, CountersEndInTotalAndGaugesDoNot) {
    const std::string text = to_metrics(full(), 0);
    std::size_t at = 0;
    while ((at = text.find("# TYPE ", at)) != std::string::npos) {
        const std::size_t end = text.find('\n', at);
        const std::string line = text.substr(at + 7, end - at - 7);
        const std::string name = line.substr(0, line.find(' '));
        EXPECT_EQ(line.ends_with(" counter"), name.ends_with("_total")) << line;
        at = end;
    }
}

}  // namespace
}  // namespace sluice::daemon
