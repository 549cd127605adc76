// What can be known about the Kafka log without a broker.
#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <thread>

#include "ingest/kafka_log.h"

namespace sluice::ingest {
namespace {

std::string verdict(const std::map<std::string, std::string>& properties) {
    std::string out;
    for (const auto& e : check_properties(properties)) {
        out += "[" + e.key + "] " + e.error + "\n";
    }
    return out;
}

TEST(KafkaProperties, GoodOnesPass) {
    EXPECT_EQ(verdict({}), "");
    EXPECT_EQ(verdict({{"fetch.min.bytes", "1"},
                       {"fetch.wait.max.ms", "10"},
                       {"socket.keepalive.enable", "true"},
                       {"broker.address.family", "v4"},
                       {"security.protocol", "plaintext"}}),
              "");
}

TEST(KafkaProperties, LibrdkafkaItselfJudges) {
    EXPECT_NE(verdict({{"fetch.min.byte", "1"}}).find("[fetch.min.byte] No such configuration"),
              std::string::npos);
    EXPECT_NE(verdict({{"fetch.min.bytes", "many"}}).find("[fetch.min.bytes] Invalid value"),
              std::string::npos);
    const auto both = check_properties({{"a.b", "1"}, {"c.d", "1"}, {"fetch.min.bytes", "1"}});
    EXPECT_EQ(both.size(), 2u) << "all of them at once";
}

TEST(KafkaProperties, WhatOnlyShowsTogetherIsSaidToo) {
    const auto errors = check_properties(
        {{"security.protocol", "ssl"}, {"ssl.ca.location", "/there/is/no/such/file"}});
    ASSERT_EQ(errors.size(), 1u);
    EXPECT_EQ(errors[0].key, "");
    EXPECT_NE(errors[0].error.find("ssl.ca.location"), std::string::npos);
}

TEST(KafkaProperties, SaslIsJudgedTogetherWithTheUserOfTheSource) {
    for (const char* mechanism : {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}) {
        for (const char* protocol : {"sasl_plaintext", "SASL_SSL"}) {
            const std::map<std::string, std::string> properties = {{"security.protocol", protocol},
                                                                   {"sasl.mechanisms", mechanism}};
            for (const PropertyError& error : check_properties(properties, "u")) {
                EXPECT_TRUE(error.doubt) << error.error;
                EXPECT_EQ(error.key, "sasl.mechanisms") << "SCRAM, where librdkafka is too old";
            }
            const auto errors = check_properties(properties);
            ASSERT_FALSE(errors.empty()) << "there is no user";
            EXPECT_FALSE(errors.back().doubt);
        }
    }
    EXPECT_TRUE(check_properties({}, "u").empty());
}

TEST(KafkaProperties, AUserThatWouldNotBeUsedIsAnError) {
    for (const char* protocol : {"plaintext", "SSL"}) {
        const auto errors = check_properties({{"security.protocol", protocol}}, "u");
        ASSERT_EQ(errors.size(), 1u) << protocol;
        EXPECT_EQ(errors[0].key, "security.protocol");
    }
    EXPECT_EQ(check_properties({{"sasl.username", "v"}, {"sasl.password", "p"}}, "u").size(), 2u);
}

TEST(KafkaProperties, OurOwnAreRefusedWithAReason) {
    for (const char* key :
         {"bootstrap.servers", "group.id", "enable.auto.commit", "auto.offset.reset",
          "enable.partition.eof", "isolation.level", "check.crcs", "queued.max.messages.kbytes"}) {
        EXPECT_NE(verdict({{key, "x"}}).find("set by Sluice"), std::string::npos) << key;
    }
}

TEST(KafkaLogWithoutABroker, OpensAndSaysThatNobodyAnswers) {
    KafkaLogSettings settings;
    settings.brokers = "127.0.0.1:1";
    settings.topics = {"clicks"};
    auto log = KafkaLog::open(settings);
    ASSERT_TRUE(log) << log.error().text;
    const auto ranges = (*log)->ranges({{"clicks", 0}}, 200);
    ASSERT_FALSE(ranges);
    EXPECT_EQ(ranges.error().kind, model::ErrorKind::unavailable);
    EXPECT_FALSE((*log)->partitions(200));
}

TEST(KafkaLogWithoutABroker, RefusesWrongSettings) {
    KafkaLogSettings settings;
    settings.brokers = "127.0.0.1:1";
    settings.properties = {{"no.such.thing", "1"}};
    const auto log = KafkaLog::open(settings);
    ASSERT_FALSE(log);
    EXPECT_EQ(log.error().kind, model::ErrorKind::invalid);
}

TEST(KafkaLogWithoutABroker, PasswordsAreTaken) {
    KafkaLogSettings settings;
    settings.brokers = "127.0.0.1:1";
    settings.username = "u";
    settings.password = "p";
    EXPECT_TRUE(KafkaLog::open(settings));
    settings.properties = {{"security.protocol", "sasl_plaintext"},
                           {"sasl.mechanisms", "SCRAM-SHA-512"}};
    EXPECT_TRUE(KafkaLog::open(settings));
}

TEST(PinThisThread, RunsOnThatCoreOrSaysWhyNot) {
    std::jthread thread([] {
        cpu_set_t allowed;
        CPU_ZERO(&allowed);
        ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
        int cpu = 0;
        while (!CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) {
            ++cpu;
        }
        EXPECT_TRUE(pin_this_thread(cpu));
        EXPECT_EQ(::sched_getcpu(), cpu);
        EXPECT_FALSE(pin_this_thread(-1));
        EXPECT_FALSE(pin_this_thread(1'000'000));
    });
}

}  // namespace
}  // namespace sluice::ingest
