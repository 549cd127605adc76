#include "ingest/decoder.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "state/model/number.h"
#include "tests/unit/ingest/records.h"

namespace sluice::ingest {
namespace {

using model::RowStatus;
using model::Type;

const std::vector<model::Partition> kTable = {{"clicks", 3}, {"views", 0}};

// One field path, one value, and what came of it.
class DecoderTest : public ::testing::Test {
 protected:
    config::Pipeline pipeline;
    DecodedBatch batch;

    void run(const std::vector<TestRecord>& records, model::Offset first = 0,
             std::uint32_t partition = 0) {
        Decoder decoder(pipeline, kTable);
        decode(decoder, records, batch, first, partition);
    }
    // The value of `path` in `json`, printed; "null", or "undecodable: reason".
    std::string value(const std::string& path, const std::string& json) {
        config::Pipeline p;
        const std::uint32_t c = column_of(p, path);
        p.source.max_bytes = pipeline.source.max_bytes;
        p.source.max_depth = pipeline.source.max_depth;
        Decoder decoder(p, kTable);
        DecodedBatch b;
        decode(decoder, {{.value = json}}, b);
        errors = b.errors;
        if (b.records.status[0] != RowStatus::ok) {
            return "undecodable: " + b.set_aside.at(0).reason;
        }
        const model::Scalar s = b.records.columns[c].at(0);
        std::string out;
        model::append_printed(out, s);
        return s.is_null() ? "null" : s.type == Type::text ? "'" + out + "'" : out;
    }
    bool decodable(const std::string& json) { return !value("a", json).starts_with("undecodable"); }
    model::ValueErrors errors;
};

TEST_F(DecoderTest, NamedFieldsBecomeColumns) {
    EXPECT_EQ(value("a", R"({"a":1})"), "1");
    EXPECT_EQ(value("a", R"({ "b" : [1,{"a":2}] , "a" : -7 })"), "-7");
    EXPECT_EQ(value("a", R"({"a":"x"})"), "'x'");
    EXPECT_EQ(value("a", R"({"a":true})"), "true");
    EXPECT_EQ(value("a", R"({"a":false})"), "false");
    EXPECT_EQ(value("a", R"({"a":null})"), "null");
    EXPECT_EQ(value("a", R"({})"), "null");
    EXPECT_EQ(value("a", R"({"A":1})"), "null");
    EXPECT_EQ(value("a", R"({"a":1.50})"), "1.5");
    EXPECT_EQ(value("a", R"({"a":1e3})"), "1000");
    EXPECT_EQ(value("a", "\t\r\n {\"a\" :\n1\t}\r\n "), "1");
}

TEST_F(DecoderTest, TheLastProbeIsThatOfTheRecordAppendedLast) {
    pipeline.source.max_bytes = 100;
    column_of(pipeline, "a");
    Decoder decoder(pipeline, kTable);
    // Each behind each: nothing of the record before may be left.
    const std::vector<std::optional<std::string>> values{
        R"({"a":1})",    R"({"a":"longer than the one before"})",
        std::nullopt,    "",
        "no JSON",       "\xEF\xBB\xBF{}",
        R"({"a":"\u"})", std::string(200, 'x')};
    const std::vector<std::optional<std::string>> keys{std::nullopt, "", "key"};
    for (const auto& before : values) {
        for (const auto& value : values) {
            for (const auto& key : keys) {
                Record first;
                first.has_key = true;
                first.key = "another key";
                first.has_value = before.has_value();
                first.value = before ? std::string_view(*before) : std::string_view();
                Record last;
                last.offset = 1;
                last.timestamp = 77;
                last.has_key = key.has_value();
                last.key = key ? std::string_view(*key) : std::string_view();
                last.has_value = value.has_value();
                last.value = value ? std::string_view(*value) : std::string_view();
                PlainHeaders none({});
                first.header_source = last.header_source = &none;
                decoder.begin(batch, 0, 2);
                decoder.append(first);
                decoder.append(last);
                decoder.finish();
                EXPECT_EQ(decoder.last_probe(), probe_hash(last)) << value.value_or("null");
            }
        }
    }
}

TEST_F(DecoderTest, PathsGoThroughObjectsAndLists) {
    EXPECT_EQ(value("geo.country", R"({"geo":{"city":"b","country":"de"}})"), "'de'");
    EXPECT_EQ(value("geo.country", R"({"geo":"de"})"), "null");
    EXPECT_EQ(value("geo.country", R"({"geo":["country"]})"), "null");
    EXPECT_EQ(value("geo.country", R"({"geo":null})"), "null");
    EXPECT_EQ(value("items[1].price", R"({"items":[{"price":1},{"price":2}]})"), "2");
    EXPECT_EQ(value("items[1].price", R"({"items":[{"price":1}]})"), "null");
    EXPECT_EQ(value("items[0]", R"({"items":{"0":1}})"), "null");
    EXPECT_EQ(value("a[0][1]", R"({"a":[[1,2],[3,4]]})"), "2");
}

TEST_F(DecoderTest, AListOrObjectAsAScalarIsNullAndCounted) {
    EXPECT_EQ(value("a", R"({"a":[1]})"), "null");
    EXPECT_EQ(errors.wrong_type, 1u);
    EXPECT_EQ(value("a", R"({"a":{"a":1}})"), "null");
    EXPECT_EQ(errors.wrong_type, 1u);
    EXPECT_EQ(value("a", R"({"a":null})"), "null");
    EXPECT_EQ(errors.wrong_type, 0u);
}

TEST_F(DecoderTest, OfDuplicatesTheLastWins) {
    EXPECT_EQ(value("a", R"({"a":1,"a":2})"), "2");
    EXPECT_EQ(value("a", R"({"a":1,"b":0,"\u0061":3})"), "3");
    EXPECT_EQ(value("a", R"({"a":1,"a":null})"), "null");
    EXPECT_EQ(value("a", R"({"a":1,"a":{"x":1}})"), "null");
    EXPECT_EQ(value("a.b", R"({"a":{"b":1},"a":{"b":2}})"), "2");
    EXPECT_EQ(value("a.b", R"({"a":{"b":1},"a":{"c":2}})"), "null");
    EXPECT_EQ(value("a.b", R"({"a":{"b":1},"a":5})"), "null");
    EXPECT_EQ(value("a[1]", R"({"a":[1,2],"a":[3]})"), "null");
    EXPECT_EQ(value("a.b.c", R"({"a":{"b":{"c":1},"b":{}}})"), "null");
}

TEST_F(DecoderTest, NumbersBeyondTheirRangeAreNullAndCounted) {
    EXPECT_EQ(value("a", R"({"a":9223372036854775807})"), "9223372036854775807");
    EXPECT_EQ(value("a", R"({"a":-9223372036854775808})"), "-9223372036854775808");
    EXPECT_EQ(errors.overflow, 0u);
    EXPECT_EQ(value("a", R"({"a":9223372036854775808})"), "null");
    EXPECT_EQ(errors.overflow, 1u);
    EXPECT_EQ(value("a", R"({"a":1e400})"), "null");
    EXPECT_EQ(errors.overflow, 1u);
    EXPECT_EQ(value("a", R"({"a":123456789012345678901.5})"), "null");
    EXPECT_EQ(errors.overflow, 1u);
    EXPECT_EQ(value("b", R"({"a":9223372036854775808})"), "null") << "not asked for, not counted";
    EXPECT_EQ(errors.overflow, 0u);
}

TEST_F(DecoderTest, EscapesAreDecodedInNamesAndTexts) {
    EXPECT_EQ(value("a", R"({"\u0061":"\"\\\/\b\f\n\r\t"})"), "'\"\\/\b\f\n\r\t'");
    EXPECT_EQ(value("a", R"({"a":"\u00e4\u20ac\ud83d\ude00"})"), "'ä€😀'");
    EXPECT_EQ(value("a", R"({"a":"\u0000x"})"), std::string("'\0x'", 4));
    EXPECT_EQ(value("a", R"({"a":"ä€😀"})"), "'ä€😀'");
    const std::string longer(100, 'x');
    EXPECT_EQ(value("a", "{\"a\":\"" + longer + "\\n" + longer + "\"}"),
              "'" + longer + "\n" + longer + "'");
}

TEST_F(DecoderTest, BrokenJsonAnywhereIsUndecodable) {
    for (const char* json : {
             "",
             " ",
             "{",
             "}",
             "{]",
             R"({"a":1)",
             R"({"a":1]})",
             R"({"a":1}})",
             R"({"a":1}{"a":2})",
             R"({"a":1} x)",
             R"({"a":1},)",
             R"({"a" 1})",
             R"({"a":})",
             R"({"a":1,})",
             R"({,"a":1})",
             R"({"a":1 "b":2})",
             R"({"a":1 2})",
             R"({a:1})",
             R"({'a':1})",
             R"({"a":'x'})",
             R"({1:1})",
             R"({"a":[1,]})",
             R"({"a":[,1]})",
             R"({"a":[1 2]})",
             R"({"a":[1}})",
             R"({"a":{"b":1]})",
             R"({"b":01})",
             R"({"b":+1})",
             R"({"b":1.})",
             R"({"b":.5})",
             R"({"b":-})",
             R"({"b":1e})",
             R"({"b":0x10})",
             R"({"b":1x})",
             R"({"b":NaN})",
             R"({"b":Infinity})",
             R"({"b":-Infinity})",
             R"({"b":tru})",
             R"({"b":truee})",
             R"({"b":True})",
             R"({"b":nul})",
             R"({"b":falsey})",
             R"({"b":[[[nulll]]]})",
             R"({"b":"\x"})",
             R"({"b":"\u12"})",
             R"({"b":"\u12G4"})",
             R"({"b":"\ud800"})",
             R"({"b":"\ud800\u0041"})",
             R"({"b":"\udc00"})",
             R"({"\q":1})",
             R"({"b":"x)",
             R"({"b":"x\"})",
             "{\"b\":\"\n\"}",
             "{\"b\":\"\x01\"}",
             "{\"b\":\"\xff\"}",
             "{\"b\":\"\xc0\xaf\"}",
             "{\"b\":\"\xed\xa0\x80\"}",
             "{\"b\":\"\xf5\x80\x80\x80\"}",
             "{\"\xff\":1}",
             "{\"b\":1}\xff",
             "\xEF\xBB\xBF{\"a\":1}",
             "[1]",
             "1",
             "\"x\"",
             "null",
             "true",
             "[{\"a\":1}]",
             R"({"b":1}//)",
             R"({"b":/**/1})",
         }) {
        EXPECT_FALSE(decodable(json)) << json;
        EXPECT_FALSE(decodable(std::string(json) + " ")) << json;
    }
    EXPECT_FALSE(decodable(std::string("{\"a\":1}\0", 8)));
    EXPECT_FALSE(decodable(std::string("{\"a\":\0}", 7)));
}

TEST_F(DecoderTest, ReasonsSayWhatIsWrong) {
    EXPECT_EQ(value("a", ""), "undecodable: empty value");
    EXPECT_EQ(value("a", "  "), "undecodable: empty value");
    EXPECT_EQ(value("a", "[1]"), "undecodable: the top level is no object");
    EXPECT_EQ(value("a", "\xEF\xBB\xBF{}"), "undecodable: not JSON: a byte order mark");
    EXPECT_EQ(value("a", "{\"a\":\"\xff\"}"), "undecodable: invalid UTF-8");
    EXPECT_EQ(value("a", R"({"a":1}{})"), "undecodable: text follows the JSON value");
    EXPECT_EQ(value("a", R"({"b":01})"), "undecodable: not JSON: invalid number");
    EXPECT_EQ(value("a", R"({"b":"\x"})"), "undecodable: not JSON: invalid escape in a text");
}

TEST_F(DecoderTest, DepthCountsFromTheOutermost) {
    const auto nested = [](int depth) {
        std::string json = "{\"x\":";
        for (int i = 1; i < depth; ++i) {
            json += "[";
        }
        json += "1";
        json += std::string(static_cast<std::size_t>(depth - 1), ']');
        return json + "}";
    };
    EXPECT_EQ(value("a", nested(64)), "null");
    EXPECT_EQ(value("a", nested(65)), "undecodable: nested too deeply");
    EXPECT_EQ(value("a", nested(5000)), "undecodable: nested too deeply");
    pipeline.source.max_depth = 1;
    EXPECT_EQ(value("a", R"({"a":1})"), "1");
    EXPECT_EQ(value("a", R"({"a":[]})"), "undecodable: nested too deeply");
}

TEST_F(DecoderTest, LengthIsOfTheValue) {
    pipeline.source.max_bytes = 10;
    EXPECT_EQ(value("a", R"({"a":1234})"), "1234");
    EXPECT_EQ(value("a", R"({"a":12345})"), "undecodable: longer than 10 bytes");
}

TEST_F(DecoderTest, NullValuesAreNotUndecodable) {
    column_of(pipeline, "a");
    run({{.value = std::nullopt}, {.value = R"({"a":1})"}});
    EXPECT_EQ(batch.records.status[0], RowStatus::null_value);
    EXPECT_EQ(batch.records.status[1], RowStatus::ok);
    EXPECT_TRUE(batch.set_aside.empty());
    pipeline.source.on_null = config::OnError::dead_letter;
    run({{.value = std::nullopt, .key = "k"}});
    ASSERT_EQ(batch.set_aside.size(), 1u);
    EXPECT_EQ(batch.set_aside[0].reason, "null value");
    EXPECT_EQ(batch.set_aside[0].key, "k");
    EXPECT_EQ(batch.set_aside[0].value, std::nullopt);
}

TEST_F(DecoderTest, WhatIsSetAsideKeepsItsBytes) {
    column_of(pipeline, "a");
    run({{.value = R"({"a":1})"},
         {.value = std::string("\xff\0x", 3),
          .timestamp = 77,
          .key = std::string("\0k", 2),
          .headers = {{"h", "v"}, {"h", "w"}}},
         {.value = R"({"a":2})"}},
        100);
    ASSERT_EQ(batch.set_aside.size(), 1u);
    const SetAside& s = batch.set_aside[0];
    EXPECT_EQ(s.row, 1u);
    EXPECT_EQ(batch.records.offset[s.row], 101);
    EXPECT_EQ(s.first_offset, 101);
    EXPECT_EQ(s.timestamp, 77);
    EXPECT_EQ(s.value, std::string("\xff\0x", 3));
    EXPECT_EQ(s.key, std::string("\0k", 2));
    EXPECT_EQ(s.headers.size(), 2u);
    EXPECT_EQ(batch.records.columns[0].at(2).value.integer, 2) << "the next record goes on";
}

TEST_F(DecoderTest, ADamagedStretchIsOneRow) {
    column_of(pipeline, "a");
    run({{.value = R"({"a":1})"},
         {.value = std::nullopt, .timestamp = -1, .damage = "it is broken", .damaged_offsets = 5},
         {.value = R"({"a":2})"}},
        10);
    EXPECT_EQ(batch.records.offset, (std::vector<model::Offset>{10, 15, 16}));
    EXPECT_EQ(batch.records.status[1], RowStatus::undecodable);
    ASSERT_EQ(batch.set_aside.size(), 1u);
    EXPECT_EQ(batch.set_aside[0].first_offset, 11);
    EXPECT_EQ(batch.set_aside[0].reason, "it is broken");
}

TEST_F(DecoderTest, KafkaColumns) {
    const auto topic = column_of(pipeline, "kafka.topic");
    const auto partition = column_of(pipeline, "kafka.partition");
    const auto offset = column_of(pipeline, "kafka.offset");
    const auto timestamp = column_of(pipeline, "kafka.timestamp");
    const auto key = column_of(pipeline, "kafka.key");
    const auto header = column_of(pipeline, "kafka.header('h')");
    run({{.value = "{}",
          .timestamp = 5,
          .key = "\xffk",
          .headers = {{"h", "1"}, {"x", "2"}, {"h", "3"}}},
         {.value = "{}", .timestamp = 6},
         {.value = "{}", .headers = {{"h", "1"}, {"h", std::nullopt}}},
         {.value = "{}", .headers = {{"h", std::nullopt}, {"h", ""}}}},
        42);
    const auto& c = batch.records.columns;
    EXPECT_EQ(c[topic].at(0).value.text.view(), "clicks");
    EXPECT_EQ(c[partition].at(0).value.integer, 3);
    EXPECT_EQ(c[offset].at(1).value.integer, 43);
    EXPECT_EQ(c[timestamp].at(0).value.integer, 5);
    EXPECT_EQ(c[key].at(0).value.text.view(), "\xffk");
    EXPECT_TRUE(c[key].at(1).is_null());
    EXPECT_EQ(c[header].at(0).value.text.view(), "3") << "of equal headers the last";
    EXPECT_TRUE(c[header].at(1).is_null());
    EXPECT_TRUE(c[header].at(2).is_null()) << "a header without a value";
    ASSERT_FALSE(c[header].at(3).is_null());
    EXPECT_EQ(c[header].at(3).value.text.view(), "");
}

// ---- Event time

struct TimeCase {
    config::TimestampUnit unit;
    const char* json;
    std::optional<model::EventTime> time;
};

TEST_F(DecoderTest, EventTimeFromAField) {
    using enum config::TimestampUnit;
    const TimeCase cases[] = {
        {ms, R"({"t":1700000000123})", 1700000000123},
        {ms, R"({"t":"1700000000123"})", 1700000000123},
        {ms, R"({"t":-1})", -1},
        {ms, R"({"t":-1.5})", -2},
        {ms, R"({"t":1.9})", 1},
        {ms, R"({"t":1e3})", 1000},
        {ms, R"({"t":-62135596800000})", -62135596800000},
        {ms, R"({"t":-62135596800001})", std::nullopt},
        {ms, R"({"t":253402300799999})", 253402300799999},
        {ms, R"({"t":253402300799999.9})", 253402300799999},
        {ms, R"({"t":253402300800000})", std::nullopt},
        {ms, R"({"t":9223372036854775808})", std::nullopt},
        {ms, R"({"t":null})", std::nullopt},
        {ms, R"({})", std::nullopt},
        {ms, R"({"t":true})", std::nullopt},
        {ms, R"({"t":"x"})", std::nullopt},
        {ms, R"({"t":""})", std::nullopt},
        {ms, R"({"t":[1]})", std::nullopt},
        {s, R"({"t":1700000000})", 1700000000000},
        {s, R"({"t":1700000000.1239})", 1700000000123},
        {s, R"({"t":"1700000000.1239"})", 1700000000123},
        {s, R"({"t":-0.0001})", -1},
        {s, R"({"t":1.7e9})", 1700000000000},
        {s, R"({"t":9223372036854775807})", std::nullopt},
        {us, R"({"t":1700000000123999})", 1700000000123},
        {us, R"({"t":-1})", -1},
        {us, R"({"t":-1000})", -1},
        {us, R"({"t":-1001})", -2},
        {ns, R"({"t":1700000000123999999})", 1700000000123},
        {ns, R"({"t":1700000000123999999.5})", 1700000000123},
        {ns, R"({"t":-1})", -1},
        {rfc3339, R"({"t":"2023-11-14T22:13:20.1239Z"})", 1700000000123},
        {rfc3339, R"({"t":"2023-11-14 22:13:20"})", 1700000000000},
        {rfc3339, R"({"t":"2023-11-14T23:13:20+01:00"})", 1700000000000},
        {rfc3339, R"({"t":"1969-12-31T23:59:59.9999Z"})", -1},
        {rfc3339, R"({"t":"2023-13-14T23:13:20Z"})", std::nullopt},
        {rfc3339, R"({"t":1700000000000})", std::nullopt},
    };
    for (const auto& c : cases) {
        for (const char* program : {"t", "coalesce(t, t)"}) {
            config::Pipeline p;
            p.source.timestamp_from_kafka = false;
            p.source.timestamp = compiled(p, program);
            p.source.timestamp_unit = c.unit;
            Decoder decoder(p, kTable);
            decode(decoder, {{.value = R"({"t":1)"}, {.value = c.json, .key = "k"}}, batch);
            if (c.time) {
                ASSERT_EQ(batch.records.status[1], RowStatus::ok) << c.json << ' ' << program;
                EXPECT_EQ(batch.records.timestamp[1], *c.time) << c.json << ' ' << program;
                EXPECT_EQ(batch.set_aside.size(), 1u);
            } else {
                EXPECT_EQ(batch.records.status[1], RowStatus::undecodable)
                    << c.json << ' ' << program;
                ASSERT_EQ(batch.set_aside.size(), 2u);
                EXPECT_EQ(batch.set_aside[1].row, 1u);
                EXPECT_EQ(batch.set_aside[1].value, c.json);
                EXPECT_EQ(batch.set_aside[1].key, "k");
                EXPECT_TRUE(batch.set_aside[1].reason.starts_with("no event time"));
            }
        }
    }
}

TEST_F(DecoderTest, EventTimeFromKafka) {
    run({{.value = "{}", .timestamp = -1},
         {.value = "{}", .timestamp = 0},
         {.value = "{}", .timestamp = 253402300800000},
         {.value = "{}", .timestamp = 123, .append_time = true}});
    EXPECT_EQ(batch.records.status,
              (std::vector<RowStatus>{RowStatus::undecodable, RowStatus::ok, RowStatus::undecodable,
                                      RowStatus::ok}));
    EXPECT_EQ(batch.records.timestamp[3], 123);
    EXPECT_EQ(batch.append_time[1], model::kAfterAll);
    EXPECT_EQ(batch.append_time[3], 123);
}

TEST_F(DecoderTest, ADecoderIsUsedForManyBatches) {
    const auto c = column_of(pipeline, "a");
    Decoder decoder(pipeline, kTable);
    decode(decoder, {{.value = R"({"a":"one"})"}, {.value = "x"}}, batch);
    decode(decoder, {{.value = "{}"}}, batch, 0, 1);
    EXPECT_EQ(batch.records.rows, 1u);
    EXPECT_EQ(batch.records.partition, 1u);
    EXPECT_TRUE(batch.records.columns[c].at(0).is_null()) << "nothing stays of the batch before";
    EXPECT_TRUE(batch.set_aside.empty());
}

// ---- Against another parser

// Texts that are JSON, nearly JSON, or neither.
rc::Gen<std::string> json_like() {
    const auto token = rc::gen::element<std::string>(
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"a\":", "\"c\":", "1", "-0", "0.5", "1e5",
        "true", "false", "null", "\"x\\n\"", "\"\\u00e4\"", "\"ä\"", " ", "\n", "\"", "\\", "01",
        "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "{\"a\":1}", "[1,2]", "\t", "-", "\x7f", "\xc3");
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(token),
                        [](const std::vector<std::string>& tokens) {
                            std::string out;
                            for (const auto& t : tokens) {
                                out += t;
                            }
                            return out;
                        });
}

nlohmann::json arbitrary_json(int depth) {
    switch (*rc::gen::inRange(0, depth > 0 ? 8 : 6)) {
        case 0:
            return nullptr;
        case 1:
            return *rc::gen::arbitrary<bool>();
        case 2:
            return *rc::gen::arbitrary<std::int64_t>();
        case 3:
            return *rc::gen::inRange(-1000000, 1000000) / 64.0;
        case 4:
        case 5:
            return *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
        case 6: {
            auto array = nlohmann::json::array();
            const int n = *rc::gen::inRange(0, 4);
            for (int i = 0; i < n; ++i) {
                array.push_back(arbitrary_json(depth - 1));
            }
            return array;
        }
        default: {
            auto object = nlohmann::json::object();
            const int n = *rc::gen::inRange(0, 5);
            for (int i = 0; i < n; ++i) {
                object[*rc::gen::element<std::string>("a", "b", "c", "geo", "e\n")] =
                    arbitrary_json(depth - 1);
            }
            return object;
        }
    }
}

bool judged_decodable(const std::string& text) {
    if (text.starts_with("\xEF\xBB\xBF")) {
        return false;
    }
    const auto json = nlohmann::json::parse(text, nullptr, false);
    return json.is_object();
}

class AgainstAnotherParser : public DecoderTest {};

RC_GTEST_FIXTURE_PROP(AgainstAnotherParser, AgreesOnWhatIsJson, ()) {
    const std::string text = *json_like();
    for (const std::string& t :
         {text, "{" + text + "}", "{\"c\":" + text + "}", "{\"c\":[" + text + "],\"a\":1}"}) {
        RC_LOG(t);
        RC_ASSERT(decodable(t) == judged_decodable(t));
    }
}

RC_GTEST_FIXTURE_PROP(AgainstAnotherParser, AgreesOnMutatedDocuments, ()) {
    auto json = nlohmann::json::object();
    json["a"] = arbitrary_json(3);
    json["b"] = arbitrary_json(3);
    std::string text = json.dump();
    const int changes = *rc::gen::inRange(0, 3);
    for (int i = 0; i < changes && !text.empty(); ++i) {
        const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
        switch (*rc::gen::inRange(0, 3)) {
            case 0:
                text.erase(at, 1);
                break;
            case 1:
                text.insert(at, 1, *rc::gen::arbitrary<char>());
                break;
            default:
                text[at] = *rc::gen::element('{', '}', '[', ']', ',', ':', '"', '\\', '0', 'e', '.',
                                             ' ', 'u', '\x80');
        }
    }
    // A number beyond a double is JSON for us and null; the judge refuses it.
    RC_PRE(text.find('e') == std::string::npos || judged_decodable(text) || !decodable(text) ||
           errors.overflow == 0);
    RC_LOG(text);
    RC_ASSERT(decodable(text) == judged_decodable(text));
}

RC_GTEST_FIXTURE_PROP(AgainstAnotherParser, ReadsTheSameValues, ()) {
    auto json = nlohmann::json::object();
    for (const char* name : {"z", "a", "geo", "b"}) {
        if (*rc::gen::arbitrary<bool>()) {
            json[name] = arbitrary_json(3);
        }
    }
    const std::string text = json.dump();
    RC_LOG(text);
    config::Pipeline p;
    const std::pair<std::uint32_t, nlohmann::json::json_pointer> wanted[] = {
        {column_of(p, "a"), "/a"_json_pointer},
        {column_of(p, "geo.a"), "/geo/a"_json_pointer},
        {column_of(p, "geo.b.c"), "/geo/b/c"_json_pointer},
        {column_of(p, "b[1]"), "/b/1"_json_pointer},
        {column_of(p, "b[0].a"), "/b/0/a"_json_pointer},
        {column_of(p, "b"), "/b"_json_pointer},
    };
    Decoder decoder(p, kTable);
    DecodedBatch b;
    decode(decoder, {{.value = text}}, b);
    RC_ASSERT(b.records.status[0] == RowStatus::ok);
    for (const auto& [column, pointer] : wanted) {
        const model::Scalar got = b.records.columns[column].at(0);
        const auto* found = [&]() -> const nlohmann::json* {
            // "/b/1" of an object {"1": …} is not what b[1] means; names here are never digits.
            return json.contains(pointer) ? &json[pointer] : nullptr;
        }();
        if (found == nullptr || found->is_null() || found->is_structured()) {
            RC_ASSERT(got.is_null());
        } else if (found->is_boolean()) {
            RC_ASSERT(got.type == Type::boolean);
            RC_ASSERT(got.value.boolean == found->get<bool>());
        } else if (found->is_number_integer()) {
            RC_ASSERT(got.type == Type::integer);
            RC_ASSERT(got.value.integer == found->get<std::int64_t>());
        } else if (found->is_number_float()) {
            RC_ASSERT(got.is_number());
            RC_ASSERT(model::nearest_double(got) == found->get<double>());
        } else {
            RC_ASSERT(got.type == Type::text);
            RC_ASSERT(got.value.text.view() == found->get<std::string>());
        }
    }
}

// ---- What a decoder has learned from earlier documents

class LearnedShapes : public DecoderTest {
 protected:
    std::vector<std::uint32_t> columns;
    LearnedShapes() {
        pipeline.source.timestamp_from_kafka = false;
        pipeline.source.timestamp = compiled(pipeline, "time");
        for (const char* path : {"a", "geo.b", "list[1]", "longer_than_eight"}) {
            columns.push_back(column_of(pipeline, path));
        }
    }
    // All that a decoder says of one row.
    std::string told(const DecodedBatch& b, std::size_t row) const {
        std::string out;
        for (const SetAside& letter : b.set_aside) {
            if (letter.row == row) {
                out += letter.reason;
            }
        }
        if (b.records.status[row] == RowStatus::ok) {
            out += std::to_string(b.records.timestamp[row]);
            for (const std::uint32_t column : columns) {
                const model::Scalar value = b.records.columns[column].at(row);
                out += '|' + std::to_string(static_cast<int>(value.type)) + ' ';
                model::append_printed(out, value);
            }
        }
        return out;
    }
    // Decodes the documents one after another, and each by a decoder that has seen no other.
    void same_as_alone(const std::vector<std::string>& documents) {
        Decoder learned(pipeline, kTable);
        std::vector<TestRecord> records;
        for (const std::string& document : documents) {
            records.push_back({.value = document});
        }
        decode(learned, records, batch);
        model::ValueErrors alone_errors;
        for (std::size_t i = 0; i < documents.size(); ++i) {
            Decoder alone(pipeline, kTable);
            DecodedBatch b;
            decode(alone, {records[i]}, b);
            alone_errors += b.errors;
            ASSERT_EQ(told(batch, i), told(b, 0)) << documents[i];
        }
        EXPECT_EQ(batch.errors.overflow, alone_errors.overflow);
        EXPECT_EQ(batch.errors.wrong_type, alone_errors.wrong_type);
    }
};

TEST_F(LearnedShapes, AreNoReasonToReadADocumentDifferently) {
    const std::string known =
        R"({"time": 1700000000000, "a": "x", "geo": {"b": 1.5, "c": "y"}, "list": [1, 2]})";
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string document = known;
        document.replace(document.find(from), from.size(), to);
        return document;
    };
    std::vector<std::string> documents(3, known);
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
             {"\"x\"", "\"\""},
             {"\"x\"",
              "\"longer than a block of sixteen bytes, and than one of sixty-four bytes, too\""},
             {"\"x\"", "null"},
             {"\"x\"", "true"},
             {"\"x\"", "false"},
             {"\"x\"", "falsy"},
             {"\"x\"", "tru"},
             {"\"x\"", "-17"},
             {"\"x\"", "017"},
             {"\"x\"", "1e400"},
             {"\"x\"", "-"},
             {"\"x\"", ""},
             {"\"x\"", "{}"},
             {"\"x\"", "[\"x\"]"},
             {"\"x\"", "\"x\",\"a\":\"z\""},
             {"\"x\"", "\"x\\n\""},
             {"\"x\"", "\"x\n\""},
             {"\"x\"", "\"x\x01\""},
             {"\"x\"", "\"\u00e4\""},
             {"\"x\"", "\"\xc3\""},
             {"\"x\"", "\"x"},
             {"\"y\"", "\"\xc3\""},
             {"\"y\"", "01"},
             {"\"c\"", "\"d\""},
             {"\"geo\"", "\"gem\""},
             {"1700000000000", "\"1700000000001\""},
             {"1700000000000", "\"170000000000x\""},
             {"1700000000000", "\"17000000000:0\""},
             {"1700000000000", "\"-62135596800001\""},
             {"1700000000000", "12345678"},
             {"1700000000000", "123456789"},
             {"1700000000000", "1234567890123456"},
             {"1700000000000", "1.7e12"},
             {"1700000000000", "null"},
             {"2]", "2, 3]"},
             {"2]", "]"},
             {"]}", "]} "},
             {"]}", "]}}"},
             {"]}", "]"},
             {", \"list\": [1, 2]", ""},
         }) {
        documents.push_back(with(from, to));
        documents.push_back(known);
    }
    for (std::size_t length = 0; length < known.size(); ++length) {
        documents.push_back(known.substr(0, length));
    }
    same_as_alone(documents);
}

// Where all values are texts the quotes are counted first: no byte may be mistaken for another one.
TEST_F(LearnedShapes, OfTextsAloneAreNoReasonEither) {
    for (const std::size_t blanks : {0u, 20u, 40u}) {
        const std::string gap(blanks, ' ');
        std::string known = "{" + gap + R"("time": "1700000000000",)" + gap +
                            R"("a":"x", "geo": {"b":")" + gap + R"(", "c": "y"},)" + gap +
                            R"("list": ["1", "22"], "longer_than_eight": ""})" + gap;
        std::vector<std::string> documents{known, known};
        for (std::size_t at = 0; at <= known.size(); ++at) {
            for (const char c : {'"', 'x', '\\', '\x80'}) {
                std::string document = known;
                document.insert(at, 1, c);
                documents.push_back(document);
                document.erase(std::min(at + 1, known.size()), 1);
                documents.push_back(document);
            }
            documents.push_back(known.substr(0, at));
            documents.push_back(known.substr(0, at) + known.substr(std::min(at + 1, known.size())));
            documents.push_back(known);
        }
        for (const char* value : {"null", "true", "17", "{}", "[\"\"]", "\"\"", "\"\\\"\""}) {
            for (const char* text : {R"("1700000000000")", R"("x")", R"("y")", R"("22")"}) {
                std::string document = known;
                document.replace(document.find(text), std::strlen(text), value);
                documents.push_back(document);
            }
        }
        same_as_alone(documents);
    }
}

TEST_F(LearnedShapes, AreReplacedWhenTheStreamChanges) {
    std::vector<std::string> documents;
    for (int shape = 0; shape < 12; ++shape) {
        const std::string blanks(static_cast<std::size_t>(shape), ' ');
        for (int i = 0; i < 100; ++i) {
            documents.push_back("{" + blanks + "\"time\":" + std::to_string(1'700'000'000'000 + i) +
                                ",\"longer_than_eight\":" + std::to_string(i) + "}" + blanks);
            documents.push_back("{\"time\":\"" + std::to_string(i) + "\",\"a\":\"" + blanks +
                                "\"}");
        }
    }
    same_as_alone(documents);
}

RC_GTEST_FIXTURE_PROP(LearnedShapes, AgreeOnMutatedDocuments, ()) {
    auto json = nlohmann::json::object();
    json["time"] = 1'700'000'000'000;
    json["a"] = arbitrary_json(1);
    json["geo"] = arbitrary_json(2);
    json["z"] = arbitrary_json(2);
    const std::string known = json.dump();
    std::vector<std::string> documents{known, known};
    for (int i = 0; i < 20; ++i) {
        std::string text = known;
        const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
        switch (*rc::gen::inRange(0, 3)) {
            case 0:
                text.erase(at, 1);
                break;
            case 1:
                text.insert(at, 1, *rc::gen::arbitrary<char>());
                break;
            default:
                text[at] = *rc::gen::element('{', '}', '[', ']', ',', ':', '"', '\\', '0', 'e', '.',
                                             ' ', 'u', '\x80');
        }
        documents.push_back(text);
    }
    same_as_alone(documents);
    RC_ASSERT(!HasFailure());
}

}  // namespace
}  // namespace sluice::ingest
