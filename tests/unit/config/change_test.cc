#include "config/change.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/examples.h"
#include "config/load.h"
#include "config/recorded.h"
#include "config/settings_table.h"
#include "tests/unit/config/environment.h"

namespace sluice::config {
namespace {

constexpr std::string_view kFile = R"toml(name = "clicks"
[source]
brokers = "kafka:9092"
topic = "clicks"
start = "earliest"
timestamp = "at"
out_of_order = "2s"
[[step]]
filter = "price > 0"
[[step]]
set = { country = "upper(geo.country ?? 'unknown')", "geo.user" = "user_id" }
[reduce.spend]
filter = "quantity > 0"
key = ["country", { who = "geo.user" }]
window = { tumbling = "15s", offset = "3s" }
allowed_lateness = "1s"
values = { n = "count()", spend = "sum(price * quantity)", each = "sum(price * quantity) / count()" }
write = ["HSET a:{country}:{who}:{window.start} n {n} spend {spend} each {each}"]
ttl = "1h"
[reduce.all]
key = []
window = { tumbling = "1m" }
time = "processing"
values = { n = "count()" }
ttl = "none"
[sink]
redis = "redis://localhost:6379/0"
[state]
directory = "/var/lib/sluice/clicks"
)toml";

Pipeline load_file(std::string_view text) {
    Loaded loaded = load_text(text, "/etc/clicks.toml", {}, environment_of());
    EXPECT_TRUE(loaded.pipeline) << to_text(loaded.diagnostics);
    return std::move(*loaded.pipeline);
}

// kFile with `old` replaced by `now`, which must be there.
std::string edited(std::string_view old, std::string_view now,
                   std::string text = std::string(kFile)) {
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos) << old;
    return text.replace(at, old.size(), now);
}

Edit edit_to(const std::string& text, const Decisions& decisions = {}) {
    const Pipeline from = load_file(kFile);
    return compare(from, load_file(text), decisions, effective_settings(from));
}

const Change* find(const Edit& edit, std::string_view key) {
    const auto found = std::ranges::find(edit.changes, key, &Change::key);
    return found == edit.changes.end() ? nullptr : &*found;
}

void expect_one(const Edit& edit, std::string_view key, Verdict verdict) {
    ASSERT_EQ(edit.changes.size(), 1u) << (edit.changes.empty() ? "" : edit.changes[1].key);
    EXPECT_EQ(edit.changes[0].key, key);
    EXPECT_EQ(name_of(edit.changes[0].verdict), name_of(verdict));
    EXPECT_FALSE(edit.changes[0].kept.empty());
    EXPECT_FALSE(edit.changes[0].command.empty());
}

TEST(RecordedInputs, AreEnoughToRunAgain) {
    std::vector<std::string> texts{std::string(kFile)};
    for (const Example& example : examples()) {
        texts.emplace_back(example.text);
    }
    for (const std::string& text : texts) {
        Loaded loaded =
            load_text(text, "/etc/x.toml", {"state.directory=\"/tmp/x\""}, environment_of());
        if (!loaded.pipeline) {
            continue;  // an example with what this version does not have
        }
        const auto again = recorded_pipeline(loaded.pipeline->inputs, *loaded.pipeline);
        ASSERT_TRUE(again) << again.error().text;
        EXPECT_EQ(again->inputs, loaded.pipeline->inputs);
        EXPECT_EQ(again->source.brokers, loaded.pipeline->source.brokers);
        EXPECT_EQ(again->sink.url, loaded.pipeline->sink.url);
        EXPECT_EQ(again->state.directory, loaded.pipeline->state.directory);
        EXPECT_EQ(effective_settings(*again), effective_settings(*loaded.pipeline));
        EXPECT_TRUE(compare(*again, *loaded.pipeline, {}).changes.empty());
    }
}

TEST(RecordedInputs, OddTextsSurvive) {
    const std::string text =
        edited("\"price > 0\"", R"("name != 'a\"b\\\\c\u007F\t{}' and price > 0")");
    const Pipeline pipeline = load_file(text);
    const auto again = recorded_pipeline(pipeline.inputs, pipeline);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(again->inputs, pipeline.inputs);
}

TEST(RecordedInputs, AForkGoesUnderItsOwnName) {
    const Pipeline fork = load_file(edited("\"clicks\"", "\"fork\""));
    const auto again = recorded_pipeline(load_file(kFile).inputs, fork);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(again->name, "fork");
    EXPECT_EQ(again->inputs, fork.inputs);
}

TEST(RecordedInputs, OfAnotherReleaseAreRefused) {
    const Pipeline pipeline = load_file(kFile);
    EXPECT_FALSE(recorded_pipeline("{}", pipeline));
    EXPECT_FALSE(recorded_pipeline("not json", pipeline));
    std::string newer = pipeline.inputs;
    newer.replace(newer.find("\"version\": 1"), 12, "\"version\": 2");
    EXPECT_FALSE(recorded_pipeline(newer, pipeline));
}

TEST(Change, EverySettingHasAVerdict) {
    for (const Setting& setting : settings_table()) {
        EXPECT_TRUE(verdict_of(setting.section, setting.key))
            << "[" << setting.section << "] " << setting.key;
    }
}

TEST(Change, NothingChangedIsNothingToSay) {
    const Edit edit = edit_to(std::string(kFile));
    EXPECT_TRUE(edit.changes.empty());
    EXPECT_FALSE(edit.recorded);
    ASSERT_EQ(edit.reductions.size(), 2u);
    EXPECT_TRUE(edit.reductions[0].same_rows && edit.reductions[0].same_results);
    EXPECT_FALSE(edit.reductions[0].grows);
}

TEST(Change, SpellingIsNoChange) {
    EXPECT_TRUE(edit_to(edited("\"price > 0\"", "\"price   >  0\"")).changes.empty());
    EXPECT_TRUE(edit_to(edited("\"15s\"", "\"15000ms\"")).changes.empty());
}

TEST(Change, AddressesAndSizesAreLiveAndNotRecorded) {
    for (const auto& [old, now, key] :
         {std::tuple{"kafka:9092", "other:9092", "source.brokers"},
          std::tuple{"localhost:6379/0", "elsewhere:6379/0", "sink.redis"},
          std::tuple{"[state]", "[threads]\nworkers = 3\n[state]", "threads.workers"},
          std::tuple{"[state]", "[state]\ncheckpoint = { every = \"3s\" }",
                     "state.checkpoint.every"},
          std::tuple{"[state]", "[state]\nreserve = \"1000001B\"", "state.reserve"},
          std::tuple{"start =", "on_null = \"stop\"\nstart =", "source.on_null"}}) {
        const Edit edit = edit_to(edited(old, now));
        expect_one(edit, key, Verdict::live);
        EXPECT_FALSE(edit.recorded);
    }
    // A secret is told by its reference, never by its content.
    const Edit edit =
        edit_to(edited("start =", "username = \"u\"\npassword = { env = \"P\" }\nstart ="));
    EXPECT_EQ(find(edit, "source.password")->verdict, Verdict::live);
    EXPECT_EQ(find(edit, "source.password")->after, "env P");
}

TEST(Change, WhatTheProcessReadsAtItsStartNeedsARestart) {
    for (const auto& [now, key] : {std::pair{"[log]\nlevel = \"debug\"\n[state]", "log.level"},
                                   std::pair{"[http]\nlisten = \"off\"\n[state]", "http.listen"},
                                   std::pair{"[state]\nio = \"threads\"", "state.io"}}) {
        const Edit edit = edit_to(edited("[state]", now));
        expect_one(edit, key, Verdict::restart);
        EXPECT_TRUE(edit.needs_restart());
        EXPECT_FALSE(edit.recorded);
    }
}

TEST(Change, DecodingStepsAndFiltersAreLiveBehindABarrier) {
    for (const auto& [old, now, key] :
         {std::tuple{"price > 0", "price > 1", "step.1"},
          std::tuple{"'unknown'", "'none'", "step.2"},
          std::tuple{"\"2s\"", "\"3s\"", "source.out_of_order"},
          std::tuple{"timestamp = \"at\"", "timestamp = \"time\"", "source.timestamp"},
          std::tuple{"quantity > 0", "quantity > 1", "reduce.spend.filter"},
          std::tuple{"ttl = \"1h\"", "ttl = \"2h\"", "reduce.spend.ttl"},
          std::tuple{"allowed_lateness = \"1s\"", "allowed_lateness = \"9s\"",
                     "reduce.spend.allowed_lateness"},
          std::tuple{"start =", "partitions = \"0-1\"\nstart =", "source.partitions"}}) {
        const Edit edit = edit_to(edited(old, now));
        expect_one(edit, key, Verdict::live);
        EXPECT_TRUE(edit.recorded);
        EXPECT_TRUE(edit.reductions[0].same_rows);
    }
}

TEST(Change, AValueThatIsAddedStartsEmpty) {
    const Edit edit =
        edit_to(edited("n = \"count()\", spend", "top = \"max(price)\", n = \"count()\", spend"));
    expect_one(edit, "reduce.spend.values.top", Verdict::starts_empty);
    const ReductionEdit& spend = edit.reductions[0];
    EXPECT_TRUE(spend.grows);
    EXPECT_FALSE(spend.same_rows);
    EXPECT_EQ(spend.calls, (std::vector<int>{-1, 0, 1}));
    EXPECT_TRUE(edit.reductions[1].same_rows && edit.reductions[1].same_results);
}

TEST(Change, AValueOverWhatIsThereLosesNothing) {
    const Edit edit = edit_to(
        edited("\"sum(price * quantity) / count()\"", "\"count() - sum(price * quantity)\""));
    expect_one(edit, "reduce.spend.values.each", Verdict::live);
    EXPECT_FALSE(edit.reductions[0].grows);
    EXPECT_FALSE(edit.reductions[0].same_results);
}

TEST(Change, AValueThatIsRemovedIsDropped) {
    std::string text = edited(", each = \"sum(price * quantity) / count()\"", "");
    text = edited(", spend = \"sum(price * quantity)\"", "", text);
    text = edited(" spend {spend} each {each}", "", text);
    const Edit edit = edit_to(text);
    EXPECT_FALSE(edit.breaks());
    EXPECT_EQ(find(edit, "reduce.spend.values.spend")->verdict, Verdict::migrates);
    EXPECT_EQ(find(edit, "reduce.spend.values.spend")->lost, "this value");
    EXPECT_EQ(edit.reductions[0].calls, (std::vector<int>{0}));
    EXPECT_FALSE(edit.reductions[0].grows);
    EXPECT_FALSE(edit.reductions[0].same_rows);
}

TEST(Change, KeyWindowAndTimeBreakState) {
    for (const auto& [old, now, key] :
         {std::tuple{"\"15s\"", "\"30s\"", "reduce.spend.window"},
          std::tuple{"offset = \"3s\"", "offset = \"4s\"", "reduce.spend.window"},
          std::tuple{"[\"country\", ", "[{ country = \"lower(country)\" }, ",
                     "reduce.spend.key"}}) {
        const std::string text = edited(old, now);
        const Edit edit = edit_to(text);
        expect_one(edit, key, Verdict::breaks);
        EXPECT_TRUE(edit.breaks());
        EXPECT_NE(refusal(edit).find("--drop-state spend"), std::string::npos);
        EXPECT_FALSE(edit.changes[0].lost.empty());

        Decisions decisions;
        decisions.drop_state = {"spend"};
        const Edit dropped = edit_to(text, decisions);
        EXPECT_FALSE(dropped.breaks());
        EXPECT_TRUE(dropped.reductions[0].dropped);
        EXPECT_EQ(find(dropped, key)->verdict, Verdict::starts_empty);
        EXPECT_FALSE(find(dropped, key)->lost.empty());
    }
}

TEST(Change, TopicAndNameBreakEverything) {
    EXPECT_TRUE(edit_to(edited("topic = \"clicks\"", "topic = \"other\"")).breaks());
    EXPECT_TRUE(edit_to(edited("name = \"clicks\"", "name = \"other\"")).breaks());
}

TEST(Change, ADecisionThatNothingCallsForDoesNothing) {
    Decisions decisions;
    decisions.drop_state = {"spend"};
    decisions.renamed["spend"] = "other";
    const Edit edit = edit_to(std::string(kFile), decisions);
    EXPECT_FALSE(edit.recorded);
    EXPECT_FALSE(edit.reductions[0].dropped);
}

TEST(Change, ARenamedReductionIsNewUnlessItIsSaid) {
    const std::string text = edited("[reduce.spend]", "[reduce.revenue]");
    const Edit silent = edit_to(text);
    EXPECT_TRUE(silent.breaks());
    EXPECT_EQ(silent.changes.size(), 2u);
    EXPECT_EQ(find(silent, "reduce.revenue")->verdict, Verdict::starts_empty);
    EXPECT_EQ(find(silent, "reduce.spend")->verdict, Verdict::breaks);
    EXPECT_NE(refusal(silent).find("reduce.spend is gone: open windows of spend"),
              std::string::npos);
    EXPECT_EQ(find(silent, "reduce.spend")->lost, "open windows of spend");
    EXPECT_NE(find(silent, "reduce.spend")->command.find("--rename spend="), std::string::npos);
    EXPECT_EQ(silent.reductions[0].from, "");

    Decisions given_up;
    given_up.drop_state = {"spend"};
    const Edit dropped = edit_to(text, given_up);
    EXPECT_FALSE(dropped.breaks());
    EXPECT_EQ(find(dropped, "reduce.spend")->verdict, Verdict::migrates);
    EXPECT_EQ(dropped.reductions[0].from, "");

    Decisions decisions;
    decisions.renamed["spend"] = "revenue";
    const Edit said = edit_to(text, decisions);
    expect_one(said, "reduce.revenue", Verdict::migrates);
    EXPECT_EQ(said.reductions[0].from, "spend");
    EXPECT_TRUE(said.reductions[0].same_rows);
    EXPECT_FALSE(said.reductions[0].same_results);
    EXPECT_FALSE(said.reductions[0].grows);
}

TEST(Change, RenamedAndEditedAtOnce) {
    std::string text = edited("[reduce.spend]", "[reduce.revenue]");
    text = edited("n = \"count()\", spend", "low = \"min(price)\", n = \"count()\", spend", text);
    Decisions decisions;
    decisions.renamed["spend"] = "revenue";
    const Edit edit = edit_to(text, decisions);
    EXPECT_EQ(find(edit, "reduce.revenue.values.low")->verdict, Verdict::starts_empty);
    EXPECT_EQ(find(edit, "reduce.revenue.values.n"), nullptr);
    EXPECT_EQ(edit.reductions[0].calls, (std::vector<int>{-1, 0, 1}));
}

TEST(Change, PlacesAreThoseOfTheFile) {
    const std::string text =
        edited("n = \"count()\", spend", "top = \"max(price)\", n = \"count()\", spend");
    const Loaded loaded = load_text(text, "/etc/clicks.toml", {}, environment_of());
    for (const char* key : {"step.1", "step.2", "reduce.spend", "reduce.spend.values.top",
                            "reduce.spend.window", "source.topics", "source.out_of_order"}) {
        EXPECT_TRUE(loaded.places.contains(key)) << key;
    }
}

}  // namespace
}  // namespace sluice::config
