#include "sinks/refusal.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "sinks/resp.h"
#include "tests/unit/sinks/sink_fixture.h"

namespace sluice::sinks::test {
namespace {

TEST(Refusal, RepliesHaveAClass) {
    for (const auto* text : {"OOM command not allowed", "BUSY Redis is busy", "MISCONF Redis is",
                             "NOREPLICAS Not enough good replicas",
                             "EXECABORT Transaction discarded because of: OOM command"}) {
        EXPECT_EQ(classify(text), ErrorClass::wait) << text;
    }
    for (const auto* text : {"LOADING Redis is loading", "READONLY You can't write", "MASTERDOWN x",
                             "CLUSTERDOWN x", "ERR max number of clients reached"}) {
        EXPECT_EQ(classify(text), ErrorClass::reconnect) << text;
    }
    for (const auto* text : {"NOAUTH Authentication required.", "WRONGPASS x", "NOPERM x"}) {
        EXPECT_EQ(classify(text), ErrorClass::permission) << text;
    }
    for (const auto* text : {"WRONGTYPE Operation against", "ERR unknown command", "CROSSSLOT x",
                             "OOMPH no such class", ""}) {
        EXPECT_EQ(classify(text), ErrorClass::refused) << text;
    }
}

TEST(Refusal, DeadLetterIsOneLineOfJson) {
    const auto batch = batch_of(0, {15'000, 30'000}, {{{"a\n\"", "\xff"}, 3}});
    std::string requests;
    RequestWriter writer(requests);
    writer.command({"HSET", "k \n", "f", ""});
    writer.command({"DEL", "\xff"});
    const std::string line =
        refused_result_json("spend", *batch, 0, requests, {"WRONGTYPE x", "y"});
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["reduce"], "spend");
    EXPECT_EQ(json["key"][0], "a\n\"");
    EXPECT_EQ(json["key"].size(), 2u);
    EXPECT_EQ(json["window"]["start"], 15'000);
    EXPECT_EQ(json["window"]["end"], 30'000);
    EXPECT_EQ(json["commands"][0], "HSET \"k \\x0a\" f \"\"");
    EXPECT_EQ(json["commands"][1], "DEL \"\\xff\"");
    EXPECT_EQ(json["reply"], "WRONGTYPE x; y");
}

}  // namespace
}  // namespace sluice::sinks::test
