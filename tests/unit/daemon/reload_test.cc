#include "daemon/reload.h"

#include <gtest/gtest.h>

#include "config/load.h"

namespace sluice::daemon {
namespace {

config::Pipeline load(const std::string& reductions, const std::string& source = "") {
    config::Environment environment;
    environment.variable = [](std::string_view) { return std::nullopt; };
    environment.memory_limit_bytes = 1ull << 30;
    auto loaded = config::load_text(
        "name = \"p\"\n[source]\nbrokers = \"b:1\"\ntopic = \"t\"\nstart = \"earliest\"\n"
        "out_of_order = \"1s\"\n" +
            source + reductions + "[sink]\nredis = \"redis://r:1\"\n[state]\ndirectory = \"/s\"\n",
        "/p.toml", {}, environment);
    EXPECT_TRUE(loaded.pipeline) << config::to_text(loaded.diagnostics);
    return std::move(*loaded.pipeline);
}

std::string reduce(const std::string& id, const std::string& values,
                   const std::string& window = "10s") {
    return "[reduce." + id + "]\nkey = [\"k\"]\nwindow = { tumbling = \"" + window +
           "\" }\nallowed_lateness = \"2s\"\nttl = \"none\"\nvalues = { " + values + " }\n";
}

constexpr model::EventTime kLast = 100'000;
constexpr model::EventTime kOver = 99'000;

state::CheckpointMeta meta_of(const config::Pipeline& pipeline) {
    state::CheckpointMeta meta;
    std::uint32_t number = 0;
    state::PartitionMeta partition;
    partition.partition = {"t", 0};
    partition.max_timestamp = kLast;
    for (const config::Reduction& reduction : pipeline.reductions) {
        meta.reductions.push_back(new_reduction(reduction, ++number, 10'000));
        meta.reductions.back().acknowledged = 90'000;
        partition.reductions[reduction.id].reached = number;
    }
    meta.partitions.push_back(partition);
    return meta;
}

TEST(Reload, AnEntryIsReadBack) {
    const ReloadEntry entry{"0123", {{"a", "b"}, {{"c", "d"}}}};
    const auto read = parse_reload(to_text(entry));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->inputs, entry.inputs);
    EXPECT_EQ(read->decisions.drop_state, entry.decisions.drop_state);
    EXPECT_EQ(read->decisions.renamed, entry.decisions.renamed);
    EXPECT_FALSE(parse_reload("{}"));
    EXPECT_FALSE(parse_reload("x"));
}

TEST(Reload, WhatDidNotChangeStaysAsItIs) {
    const auto from = load(reduce("a", "n = \"count()\""));
    const auto meta = meta_of(from);
    const auto now = reloaded(meta, from, load(reduce("a", "n = \"count()\"")), {}, kOver);
    EXPECT_EQ(now.reductions[0].number, meta.reductions[0].number);
    EXPECT_EQ(now.reductions[0].dropped, std::nullopt) << "results may still be sent again";
    EXPECT_EQ(now.reductions[0].incomplete_before, std::nullopt);
    EXPECT_TRUE(now.retired.empty());
}

TEST(Reload, AnAddedValueGetsANumberAndKeepsTheRows) {
    const auto from = load(reduce("a", "n = \"count()\", s = \"sum(v)\""));
    const auto to = load(reduce("a", "m = \"min(v)\", s = \"sum(v)\""));
    const auto now = reloaded(meta_of(from), from, to, {}, kOver);
    const state::ReductionMeta& a = now.reductions[0];
    EXPECT_EQ(a.number, 2u);
    ASSERT_EQ(a.former.size(), 1u);
    EXPECT_EQ(a.former[0].number, 1u);
    EXPECT_EQ(a.former[0].calls, (std::vector<state::FormerCall>{{-1, config::ReductionKind::min},
                                                                 {1, config::ReductionKind::sum}}));
    EXPECT_EQ(a.incomplete_before, kLast + 1);
    EXPECT_EQ(a.acknowledged, 90'000);
    EXPECT_EQ(a.dropped, 90'000) << "written windows are not written again as something else";
    EXPECT_EQ(a.closed, kOver - 2000);

    // And once more: the oldest rows are known by what both edits did.
    const auto third = load(reduce("a", "s = \"sum(v)\", n = \"count()\", m = \"min(v)\""));
    const auto later = reloaded(now, to, third, {}, kOver);
    ASSERT_EQ(later.reductions[0].former.size(), 2u);
    EXPECT_EQ(later.reductions[0].former[0].calls,
              (std::vector<state::FormerCall>{{1, config::ReductionKind::sum},
                                              {-1, config::ReductionKind::count},
                                              {0, config::ReductionKind::min}}));
    EXPECT_EQ(later.reductions[0].former[1].calls,
              (std::vector<state::FormerCall>{{1, config::ReductionKind::sum},
                                              {-1, config::ReductionKind::count},
                                              {-1, config::ReductionKind::min}}))
        << "a count that was dropped starts empty when it comes back";
}

TEST(Reload, NumbersAreNeverGivenAgain) {
    const auto from = load(reduce("a", "n = \"count()\"") + reduce("b", "n = \"count()\""));
    const auto without = load(reduce("a", "n = \"count()\""));
    config::Decisions decisions;
    decisions.drop_state = {"b"};
    const auto gone = reloaded(meta_of(from), from, without, decisions, kOver);
    ASSERT_EQ(gone.retired.size(), 1u);
    EXPECT_EQ(gone.retired[0].number, 2u);
    EXPECT_FALSE(gone.partitions[0].reductions.contains("b"));
    const auto back = reloaded(gone, without, from, {}, kOver);
    EXPECT_EQ(back.reductions[1].number, 3u);
    EXPECT_EQ(back.reductions[1].closed, kOver) << "what it wrote before is final";
    EXPECT_EQ(back.reductions[1].acknowledged, std::nullopt);
}

TEST(Reload, ARenamedReductionTakesEverythingAlong) {
    const auto from = load(reduce("a", "n = \"count()\""));
    config::Decisions decisions;
    decisions.renamed["a"] = "z";
    const auto now =
        reloaded(meta_of(from), from, load(reduce("z", "n = \"count()\"")), decisions, kOver);
    EXPECT_EQ(now.reductions[0].id, "z");
    EXPECT_EQ(now.reductions[0].number, 1u);
    EXPECT_EQ(now.partitions[0].reductions.at("z").reached, 1u);
    EXPECT_FALSE(now.partitions[0].reductions.contains("a"));
}

TEST(Reload, GivenUpStateIsRetiredAndItsWindowsStayClosed) {
    const auto from = load(reduce("a", "n = \"count()\""));
    config::Decisions decisions;
    decisions.drop_state.insert("a");
    const auto now = reloaded(meta_of(from), from, load(reduce("a", "n = \"count()\"", "20s")),
                              decisions, kOver);
    EXPECT_EQ(now.reductions[0].number, 2u);
    EXPECT_TRUE(now.reductions[0].former.empty());
    EXPECT_EQ(now.retired[0].number, 1u);
    EXPECT_EQ(now.reductions[0].closed, kOver - 2000);
    EXPECT_EQ(now.reductions[0].incomplete_before, kLast + 1);
    EXPECT_FALSE(now.partitions[0].reductions.contains("a"));
}

TEST(Reload, AWatermarkNeverGoesBack) {
    const auto from = load(reduce("a", "n = \"count()\""));
    auto meta = meta_of(from);
    meta.partitions.push_back(meta.partitions[0]);
    meta.partitions[1].partition.id = 1;
    meta.partitions[1].max_timestamp = 5000;
    const auto share = load(reduce("a", "n = \"count()\""), "partitions = \"0\"\n");
    const auto resting = reloaded(meta, from, share, {}, kOver);
    EXPECT_EQ(resting.partitions[0].watermark_floor, kLast - 1000);
    EXPECT_EQ(resting.partitions[1].watermark_floor, 4000);
    const auto back = reloaded(resting, share, from, {}, kOver);
    EXPECT_EQ(back.partitions[1].watermark_floor, kOver) << "windows went by while it rested";
}

}  // namespace
}  // namespace sluice::daemon
