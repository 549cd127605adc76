#include "config/write_template.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::config {
namespace {

const TemplateNames kNames{{"user", "geo.country"}, {"clicks", "spend"}, true};

CommandTemplate parsed(std::string_view text, const TemplateNames& names = kNames) {
    auto command = parse_command(text, names);
    EXPECT_TRUE(command) << text << ": " << (command ? "" : command.error().message);
    return command ? *command : CommandTemplate{};
}

ExpressionError refused(std::string_view text, const TemplateNames& names = kNames) {
    auto command = parse_command(text, names);
    EXPECT_FALSE(command) << text;
    return command ? ExpressionError{} : command.error();
}

TEST(WriteTemplate, WordsArePiecesOfLiteralsAndPlaces) {
    const auto command = parsed("HSET  spend:{geo.country}:{user}:{window.start}\tclicks {clicks}");
    ASSERT_EQ(command.words.size(), 4u);
    EXPECT_EQ(command.words[0], Word({std::string("HSET")}));
    EXPECT_EQ(command.words[1],
              Word({std::string("spend:"), Place{PlaceKind::key_part, 1, PlaceFormat::plain},
                    std::string(":"), Place{PlaceKind::key_part, 0, PlaceFormat::plain},
                    std::string(":"), Place{PlaceKind::window_start, 0, PlaceFormat::plain}}));
    EXPECT_EQ(command.words[3], Word({Place{PlaceKind::value, 0, PlaceFormat::plain}}));
    EXPECT_EQ(command.key_words, std::vector<std::uint32_t>{1});
    EXPECT_TRUE(command.idempotent);
}

TEST(WriteTemplate, QuotesKeepBlanksAndBracesAreDoubled) {
    const auto command = parsed("SET 'a key {user} {{x}}' 'it''s'");
    EXPECT_EQ(command.words[1],
              Word({std::string("a key "), Place{PlaceKind::key_part, 0}, std::string(" {x}")}));
    EXPECT_EQ(command.words[2], Word({std::string("it's")}));
    EXPECT_EQ(parsed("SET k ''").words[2], Word({std::string()}));
}

TEST(WriteTemplate, Formats) {
    const auto command = parsed(
        "HSET {pipeline}:{reduce}:{user:enc} s {window.start:s} e {window.end:rfc3339} "
        "f {final} c {complete} r {rev} v {spend:enc}");
    EXPECT_EQ(std::get<Place>(command.words[1][4]).format, PlaceFormat::percent_encoded);
    EXPECT_EQ(std::get<Place>(command.words[3][0]).format, PlaceFormat::seconds);
    EXPECT_EQ(std::get<Place>(command.words[5][0]),
              (Place{PlaceKind::window_end, 0, PlaceFormat::rfc3339}));
    EXPECT_EQ(std::get<Place>(command.words[13][0]),
              (Place{PlaceKind::value, 1, PlaceFormat::percent_encoded}));
}

TEST(WriteTemplate, TheShareIsALiteral) {
    TemplateNames names = kNames;
    EXPECT_EQ(parsed("SET {share}:{user} 1", names).words[1],
              Word({std::string("all:"), Place{PlaceKind::key_part, 0}}));
    names.share = "0-7,12";
    EXPECT_EQ(parsed("SET a{share}b{share:enc} 1", names).words[1],
              Word({std::string("a0-7,12b0-7%2C12")}));
}

TEST(WriteTemplate, ErrorsPointIntoTheText) {
    const auto unknown = refused("SET k:{usr} {clicks}");
    EXPECT_EQ(unknown.column, 7u);
    EXPECT_EQ(unknown.length, 3u);
    EXPECT_EQ(unknown.message, "unknown name 'usr'");
    EXPECT_EQ(unknown.hint, "did you mean 'user'?");
    EXPECT_EQ(refused("SET k:{user:rfc3339} 1").column, 12u);
    EXPECT_EQ(refused("SET k {window.start:enc}").column, 20u);
    EXPECT_EQ(refused("SET k {window.start:x}").hint, "known: rfc3339, s");
    EXPECT_EQ(refused("SET k {user").column, 6u);
    EXPECT_EQ(refused("SET k a}b").column, 7u);
    EXPECT_EQ(refused("SET k 'open").column, 6u);
    EXPECT_EQ(refused("SET k 'a'b").column, 9u);
    EXPECT_EQ(refused("SET k a'b'").column, 7u);
    EXPECT_EQ(refused("").message, "a Redis command is expected");
    EXPECT_EQ(refused("  ").message, "a Redis command is expected");
    EXPECT_EQ(refused("{user} k v").column, 0u);
}

TEST(WriteTemplate, CommandsAreKnownWithTheirNumberOfWords) {
    const auto typo = refused(" HSTE k f v");
    EXPECT_EQ(typo.column, 1u);
    EXPECT_EQ(typo.length, 4u);
    EXPECT_NE(typo.hint.find("did you mean 'HSET'?"), std::string::npos);
    EXPECT_NE(refused("EVAL x").hint.find("supported:"), std::string::npos);
    EXPECT_NE(refused("EVAL x").hint.find("ZADD"), std::string::npos);
    EXPECT_NE(refused("HSET k f").hint.find("HSET key field value"), std::string::npos);
    refused("HSET k f v g");
    refused("MSET a 1 b");
    refused("PUBLISH c");
    parsed("hset k f v g w");
}

TEST(WriteTemplate, KeyPositionsAndIdempotence) {
    EXPECT_EQ(parsed("MSET a 1 b 2").key_words, (std::vector<std::uint32_t>{1, 3}));
    EXPECT_EQ(parsed("DEL a b c").key_words, (std::vector<std::uint32_t>{1, 2, 3}));
    EXPECT_TRUE(parsed("PUBLISH a b").key_words.empty());
    for (const auto* text : {"SADD k m", "ZADD k {clicks} {user}", "EXPIRE k 1", "SET k v"}) {
        EXPECT_TRUE(parsed(text).idempotent) << text;
    }
    for (const auto* text : {"INCRBY k {clicks}", "LPUSH k v", "RPUSH k v", "PUBLISH k v",
                             "XADD k * f v", "HINCRBY k f 1", "ZADD k INCR {clicks} {user}"}) {
        EXPECT_FALSE(parsed(text).idempotent) << text;
    }
}

TEST(WriteTemplate, RunningAggregatesHaveNoWindow) {
    const TemplateNames running{{"user"}, {"clicks"}, false};
    EXPECT_EQ(refused("SET {user}:{window.start} 1", running).column, 11u);
    EXPECT_EQ(default_command(running).words[1].size(), 5u);
}

TEST(WriteTemplate, DefaultEncodesSeparatorsOnlyWithSeveralParts) {
    const auto one = default_command({{"user"}, {"n"}, true});
    EXPECT_EQ(std::get<Place>(one.words[1][4]).format, PlaceFormat::plain);
    const auto two = default_command(kNames);
    EXPECT_EQ(std::get<Place>(two.words[1][4]).format, PlaceFormat::separator_encoded);
    EXPECT_EQ(two.words.size(), 2u + 4u + 6u);
    const auto none = default_command({{}, {"n"}, true});
    EXPECT_EQ(none.words[1], parsed("HSET {pipeline}:{reduce}:{window.start} a b").words[1]);
}

TEST(WriteTemplate, WindowInTheKey) {
    EXPECT_TRUE(names_window(parsed("SET {user}:{window.end:s} 1")));
    EXPECT_FALSE(names_window(parsed("SET {user} {window.end}")));
}

TEST(WriteTemplate, SharedKeys) {
    const auto share = [](std::string_view a, std::string_view b) {
        const bool there = may_share_key(parsed(a), "one", parsed(b), "two", "p");
        EXPECT_EQ(there, may_share_key(parsed(b), "two", parsed(a), "one", "p"));
        return there;
    };
    EXPECT_FALSE(share("SET a:{user} 1", "SET b:{user} 1"));
    EXPECT_TRUE(share("SET a:{user} 1", "SET {user} 1"));
    EXPECT_FALSE(share("SET {user}:{window.start}:a 1", "SET {user}:{window.start}:b 1"));
    EXPECT_FALSE(share("SET {reduce}:{user} 1", "SET {reduce}:{user} 1"));
    EXPECT_TRUE(share("SET x{window.start} 1", "SET x{rev} 1"));
    EXPECT_FALSE(share("SET x{window.start} 1", "SET x 1"));
    EXPECT_FALSE(share("SET {user:enc}:a 1", "SET b:{user:enc}:a 1"));
    EXPECT_TRUE(share("MSET a 1 b 1", "DEL c b"));
    EXPECT_FALSE(share("PUBLISH a 1", "SET a 1"));
    const auto of_default = default_command(kNames);
    EXPECT_FALSE(may_share_key(of_default, "one", of_default, "two", "p"));
    EXPECT_TRUE(may_share_key(of_default, "one", of_default, "one", "p"));
}

}  // namespace
}  // namespace sluice::config
