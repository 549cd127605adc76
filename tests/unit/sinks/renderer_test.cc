#include "sinks/renderer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sinks/resp.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

using Commands = std::vector<std::vector<std::string>>;

Commands rendered(const ReductionOutput& output, const model::ResultBatch& batch,
                  std::size_t row = 0) {
    Renderer renderer(output, "shop");
    std::string bytes;
    renderer.render(batch, row, bytes);
    std::string again;
    renderer.render(batch, row, again);
    EXPECT_EQ(bytes, again);
    Commands commands;
    std::string_view rest = bytes;
    while (const auto words = take_request(rest)) {
        commands.emplace_back(words->begin(), words->end());
    }
    EXPECT_TRUE(rest.empty());
    EXPECT_EQ(commands.size(), renderer.commands());
    return commands;
}

TEST(Renderer, DefaultLayout) {
    const auto batch = batch_of(0, {15'000, 30'000}, {{{"anna"}, 3}});
    EXPECT_EQ(rendered(reduction("spend", {}), *batch),
              (Commands{{"HSET", "shop:spend:anna:15000", "clicks", "3", "final", "1", "complete",
                         "1", "rev", "0"}}));
    const auto two = batch_of(0, {15'000, 30'000}, {{{"a:b%", "c d"}, 3}});
    EXPECT_EQ(rendered(reduction("spend", {}, {"x", "y"}), *two)[0][1],
              "shop:spend:a%3Ab%25:c d:15000");
    const auto plain = batch_of(0, {15'000, 30'000}, {{{"a:b%"}, 3}});
    EXPECT_EQ(rendered(reduction("spend", {}), *plain)[0][1], "shop:spend:a:b%:15000");
    const auto global = batch_of(0, {15'000, 30'000}, {{{}, 3}});
    EXPECT_EQ(rendered(reduction("spend", {}, {}), *global)[0][1], "shop:spend:15000");
}

TEST(Renderer, DataCannotInjectWordsOrCommands) {
    const std::string evil = "x y\r\n*1\r\n$8\r\nFLUSHALL\r\n{user}'";
    const auto batch = batch_of(0, {0, 1000}, {{{evil}, 1}});
    const auto commands = rendered(reduction("r", {"SET k:{user} '{user} {clicks}'"}), *batch);
    EXPECT_EQ(commands, (Commands{{"SET", "k:" + evil, evil + " 1"}}));
}

TEST(Renderer, Formats) {
    const auto batch = batch_of(0, {-1500, 86'400'123}, {{{"ä/~b"}, -1}});
    const auto commands = rendered(
        reduction("r", {"SET {user:enc} "
                        "'{window.start} {window.start:s} {window.end:rfc3339} {clicks:enc}'"}),
        *batch);
    EXPECT_EQ(commands[0][1], "%C3%A4%2F~b");
    EXPECT_EQ(commands[0][2], "-1500 -2 1970-01-02T00:00:00.123Z -1");
}

TEST(Renderer, ValuesOfEveryType) {
    auto batch = batch_of(0, {0, 1000}, {{{"a"}, 1}});
    const auto text_of = [&](const model::Scalar& value) {
        batch->values[0].set(0, value);
        return rendered(reduction("r", {"SET k {clicks}"}), *batch)[0][2];
    };
    EXPECT_EQ(text_of(model::Scalar::null()), "");
    EXPECT_EQ(text_of(model::Scalar::of(true)), "true");
    EXPECT_EQ(text_of(model::Scalar::of(0.1)), "0.1");
    EXPECT_EQ(text_of(model::Scalar::of_decimal(model::kDecimalOne / 4)), "0.25");
    EXPECT_EQ(text_of(model::Scalar::of(std::string_view("a b"))), "a b");
    EXPECT_EQ(text_of(model::Scalar::of(std::int64_t{-9})), "-9");
}

TEST(Renderer, EveryKeyExpiresOnceBehindItsCommands) {
    auto output = reduction("r", {"HSET a:{user} n {clicks}", "SADD index {user}",
                                  "HSET a:{user} m 1", "PUBLISH c {user}"});
    output.ttl_ms = 3'600'000;
    const auto batch = batch_of(0, {0, 1000}, {{{"u"}, 1}, {{"v"}, 2}});
    const std::string user = model::key_parts(batch->key[1])->front() == "u" ? "u" : "v";
    const auto commands = rendered(output, *batch, 1);
    ASSERT_EQ(commands.size(), 6u);
    EXPECT_EQ(commands[4], (std::vector<std::string>{"PEXPIRE", "a:" + user, "3600000"}));
    EXPECT_EQ(commands[5], (std::vector<std::string>{"PEXPIRE", "index", "3600000"}));
}

TEST(Renderer, ExpiryFromTheWindow) {
    auto output = reduction("r", {"SET a 1"});
    output.ttl_ms = 5000;
    output.ttl_from = config::TtlFrom::window;
    EXPECT_EQ(rendered(output, *batch_of(0, {0, 1000}, {{{"u"}, 1}}))[1],
              (std::vector<std::string>{"PEXPIREAT", "a", "6000"}));
}

TEST(Renderer, NextWindowHasItsOwnBounds) {
    Renderer renderer(reduction("r", {"SET {window.start} {window.end}"}), "p");
    std::string bytes;
    renderer.render(*batch_of(0, {0, 1000}, {{{"u"}, 1}}), 0, bytes);
    renderer.render(*batch_of(0, {1000, 2000}, {{{"u"}, 1}}), 0, bytes);
    std::string_view rest = bytes;
    take_request(rest);
    EXPECT_EQ(take_request(rest)->at(1), "1000");
}

// What a renderer keeps from the results before, lengths and the times of a window, shows in none.
TEST(Renderer, ResultsDoNotDependOnThoseBefore) {
    auto output = reduction(
        "r", {"HSET {user}:{window.start}:{user:enc} n {clicks} '{window.end:s}-{user}' {rev} t "
              "{window.end:rfc3339} f {final} s {window.start}"});
    output.ttl_ms = 5000;
    output.ttl_from = config::TtlFrom::window;
    Renderer one(output, "p");
    std::string bytes;
    std::string expected;
    const std::vector<model::Window> windows{
        {-1000, 0},           {0, 1000},         {9000, 10'000}, {10'000, 11'000}, {10'500, 11'500},
        {999'000, 1'000'000}, {-12'000, -11'000}};
    for (const model::Window window : windows) {
        for (const std::size_t size : {0u, 1u, 9u, 10u, 99u, 100u, 1u, 5000u, 0u}) {
            const auto batch = batch_of(0, window, {{{std::string(size, '%')}, 7}});
            batch->rev[0] = size;
            batch->final = size != 9;
            if (size == 10) {
                batch->values[0].set(0, model::Scalar::of(std::string_view(batch->key[0])));
            }
            one.render(*batch, 0, bytes);
            Renderer(output, "p").render(*batch, 0, expected);
            ASSERT_EQ(bytes, expected) << window.start << " " << size;
        }
    }
    std::string_view rest = bytes;
    const std::vector<std::string_view> last{"HSET", ":-12000:", "n", "7",
                                             "-11-", "0",        "t", "1969-12-31T23:59:49Z",
                                             "f",    "1",        "s", "-12000"};
    std::vector<std::string_view> words;
    while (const auto request = take_request(rest)) {
        if (request->front() == "HSET") {
            words = *request;
        }
    }
    EXPECT_TRUE(rest.empty());
    EXPECT_EQ(words, last);
}

}  // namespace
}  // namespace sluice::sinks::test
