#include "ingest/mapper.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <string>

#include "state/model/key.h"
#include "state/model/number.h"
#include "tests/unit/ingest/records.h"

namespace sluice::ingest {
namespace {

const std::vector<model::Partition> kTable = {{"clicks", 0}};

void add_filter(config::Pipeline& p, std::string_view text) {
    config::Step step;
    step.filter = compiled(p, text);
    p.steps.push_back(std::move(step));
}

// Programs are compiled before any of the names is given its new meaning: all of them see the
// record before the step.
void add_set(config::Pipeline& p,
             const std::vector<std::pair<std::string, std::string>>& assignments) {
    config::Step step;
    std::vector<config::Program> programs;
    for (const auto& [name, text] : assignments) {
        programs.push_back(compiled(p, text));
    }
    for (std::size_t i = 0; i < assignments.size(); ++i) {
        step.set.push_back({p.fields.assign({assignments[i].first}), std::move(programs[i]),
                            assignments[i].first});
    }
    p.steps.push_back(std::move(step));
}

config::Reduction& add_reduction(config::Pipeline& p, const std::vector<std::string>& key,
                                 const std::vector<std::string>& values,
                                 std::string_view filter = {}) {
    config::Reduction r;
    if (!filter.empty()) {
        r.filter = compiled(p, filter);
    }
    for (const auto& k : key) {
        r.key.push_back({k, compiled(p, k)});
    }
    for (const auto& v : values) {
        auto program = config::compile_value(v, p.fields, r.calls);
        if (!program) {
            throw std::runtime_error(v + ": " + program.error().message);
        }
        r.values.push_back({v, std::move(*program), v});
    }
    p.reductions.push_back(std::move(r));
    return p.reductions.back();
}

std::string key_text(std::string_view encoded) {
    const auto parts = model::key_parts(encoded);
    if (!parts) {
        return "not a key";
    }
    std::string out;
    for (const auto& part : *parts) {
        out += "[" + std::string(part) + "]";
    }
    return out;
}

class MapperTest : public ::testing::Test {
 protected:
    void run(const std::vector<std::string>& values) {
        Decoder decoder(pipeline, kTable);
        std::vector<TestRecord> records;
        for (const auto& v : values) {
            records.push_back({.value = v});
        }
        decode(decoder, records, batch);
        mapper = std::make_unique<Mapper>(pipeline);
        ledger = mapper->process(batch, 0, batch.records.rows);
    }
    const MappedReduction& mapped(std::size_t r = 0) const { return mapper->reductions()[r]; }
    std::vector<std::string> keys(std::size_t r = 0) const {
        std::vector<std::string> out;
        for (const auto& k : mapped(r).key) {
            out.push_back(key_text(k));
        }
        return out;
    }

    config::Pipeline pipeline;
    DecodedBatch batch;
    std::unique_ptr<Mapper> mapper;
    model::Ledger ledger;
};

TEST_F(MapperTest, StepsRunInOrder) {
    add_filter(pipeline, "price > 0");
    add_set(pipeline, {{"amount", "price * quantity"}});
    add_filter(pipeline, "amount < 100");
    add_reduction(pipeline, {"user"}, {"sum(amount)"});
    run({R"({"user":"a","price":2,"quantity":3})", R"({"user":"b","price":-2,"quantity":3})",
         R"({"user":"c","price":50,"quantity":2})", R"({"user":"d","price":1,"quantity":1})"});
    EXPECT_EQ(keys(), (std::vector<std::string>{"[a]", "[d]"}));
    EXPECT_EQ(mapped().rows, (model::Selection{0, 3}));
    EXPECT_EQ(mapped().arguments[0]->at(0).value.integer, 6);
    EXPECT_EQ(mapped().arguments[0]->at(3).value.integer, 1);
    EXPECT_EQ(ledger.consumed, 4u);
    EXPECT_EQ(ledger.filtered, 2u);
    EXPECT_EQ(ledger.reached, 2u);
    EXPECT_TRUE(ledger.balanced());
}

TEST_F(MapperTest, MembersOfOneSetSeeTheRecordBeforeTheStep) {
    add_set(pipeline, {{"a", "b"}, {"b", "a"}});
    add_set(pipeline, {{"a", "concat(a, '!')"}});
    add_reduction(pipeline, {"a", "b"}, {"count()"});
    run({R"({"a":"1","b":"2"})"});
    EXPECT_EQ(keys(), std::vector<std::string>{"[2!][1]"});
}

TEST_F(MapperTest, AKeyIsItsPrintedParts) {
    add_reduction(pipeline, {"k"}, {"count()"});
    run({R"({"k":1})", R"({"k":"1"})", R"({"k":1.0})", R"({"k":1.50})", R"({"k":true})",
         R"({"k":""})", R"({"k":"a:b"})", R"({"k":1e21})"});
    EXPECT_EQ(keys(), (std::vector<std::string>{"[1]", "[1]", "[1]", "[1.5]", "[true]", "[]",
                                                "[a:b]", "[1e+21]"}));
    EXPECT_EQ(mapped().hash[0], mapped().hash[1]);
    EXPECT_EQ(mapped().hash[0], model::key_hash(mapped().key[0]));
    EXPECT_NE(mapped().hash[0], mapped().hash[3]);
}

TEST_F(MapperTest, LongAndManyPartsAreEncodedRight) {
    const std::string text(300, 'x');
    add_reduction(pipeline, {"a", "b", "c"}, {"count()"});
    add_reduction(pipeline, {"a"}, {"count()"});
    run({R"({"a":")" + text + R"(","b":-7,"c":false})"});
    EXPECT_EQ(keys(), std::vector<std::string>{"[" + text + "][-7][false]"});
    EXPECT_EQ(keys(1), std::vector<std::string>{"[" + text + "]"});
    std::string encoded;
    model::append_key_part(encoded, text);
    EXPECT_EQ(mapped(1).key[0], encoded) << "the short way and the long way agree";
}

TEST_F(MapperTest, TheEmptyKeyIsOneKey) {
    add_reduction(pipeline, {}, {"count()"});
    run({R"({"k":1})", R"({})"});
    EXPECT_EQ(mapped().key, (std::vector<std::string_view>{"", ""}));
    EXPECT_EQ(mapped().hash[0], mapped().hash[1]);
}

TEST_F(MapperTest, ANullInTheKeyIsRefusedOrKept) {
    add_reduction(pipeline, {"a", "b"}, {"count()"});
    add_reduction(pipeline, {"a", "b"}, {"count()"}).null_key = config::NullKey::keep;
    run({R"({"a":1,"b":2})", R"({"a":1})", R"({"b":null})"});
    EXPECT_EQ(keys(), std::vector<std::string>{"[1][2]"});
    EXPECT_EQ(mapped().refused, 2u);
    EXPECT_EQ(mapped().reached, 3u);
    EXPECT_EQ(keys(1), (std::vector<std::string>{"[1][2]", "[1][]", "[][]"}));
    EXPECT_EQ(mapped(1).refused, 0u);
}

TEST_F(MapperTest, FilteredComesBeforeRefused) {
    add_reduction(pipeline, {"k"}, {"count()"}, "x > 0");
    run({R"({"x":1,"k":1})", R"({"x":1})", R"({"x":0})", R"({"k":1})", R"({"x":"?"})"});
    EXPECT_EQ(mapped().rows.size(), 1u);
    EXPECT_EQ(mapped().filtered, 3u);
    EXPECT_EQ(mapped().refused, 1u);
}

TEST_F(MapperTest, ArgumentsAndWheres) {
    add_reduction(
        pipeline, {"k"},
        {"count()", "sum(price) ", "sum(price * 2) where kind == 'buy'", "count() where flag"});
    run({R"({"k":1,"price":10,"kind":"buy","flag":true})",
         R"({"k":1,"price":20,"kind":"sell","flag":false})", R"({"k":1,"price":30})"});
    ASSERT_EQ(mapped().arguments.size(), 4u);
    EXPECT_EQ(mapped().arguments[0], nullptr);
    EXPECT_EQ(mapped().wheres[0], nullptr);
    EXPECT_EQ(mapped().arguments[1], &batch.records.columns[column_of(pipeline, "price")])
        << "a plain field is not copied";
    const auto* where = mapped().wheres[2];
    EXPECT_TRUE(where->at(0).value.boolean);
    EXPECT_FALSE(where->at(1).value.boolean);
    EXPECT_TRUE(where->at(2).is_null());
    EXPECT_EQ(mapped().arguments[2]->at(0).value.integer, 20);
    EXPECT_EQ(mapped().arguments[3], nullptr);
}

TEST_F(MapperTest, ErrorsAreCountedWhereTheyHappen) {
    add_set(pipeline, {{"y", "x * 9223372036854775807"}});
    add_filter(pipeline, "kind != 'no'");
    add_reduction(pipeline, {"k"}, {"sum(x + 1) where kind == 'buy'", "count() where z * z > 0"});
    add_reduction(pipeline, {"k"}, {"sum(y)"});
    const std::string big = "9223372036854775807";
    run({R"({"k":1,"x":2,"kind":"buy"})", R"({"k":1,"x":"t","kind":"sell"})",
         R"({"k":1,"x":)" + big + R"(,"kind":"buy"})",
         R"({"k":1,"x":)" + big + R"(,"kind":"sell","z":)" + big + "}"});
    EXPECT_EQ(mapper->step_errors()[0].overflow, 3u);
    EXPECT_EQ(mapper->step_errors()[0].wrong_type, 1u);
    EXPECT_EQ(mapper->step_errors()[1].overflow, 0u);
    EXPECT_EQ(mapper->reduction_errors()[0].overflow, 2u)
        << "x + 1 only where it counts, and the overflow inside `where`";
    EXPECT_EQ(mapper->reduction_errors()[0].wrong_type, 0u);
    EXPECT_EQ(mapper->reduction_errors()[1].overflow, 0u);
}

TEST_F(MapperTest, NullAndUndecodableRowsReachNothing) {
    add_reduction(pipeline, {"k"}, {"count()"});
    Decoder decoder(pipeline, kTable);
    decode(decoder, {{.value = R"({"k":1})"}, {}, {.value = "x"}, {.value = R"({"k":2})"}}, batch);
    Mapper m(pipeline);
    const model::Ledger l = m.process(batch, 0, 4);
    EXPECT_EQ(l.consumed, 4u);
    EXPECT_EQ(l.null, 1u);
    EXPECT_EQ(l.undecodable, 1u);
    EXPECT_EQ(l.reached, 2u);
    EXPECT_TRUE(l.balanced());
    EXPECT_EQ(m.reductions()[0].rows, (model::Selection{0, 3}));
}

// ---- Any split of a batch gives the same; and both agree with looking at one record at a time.

struct Event {
    int user;  // 0: none
    int price;
    int quantity;
    std::string kind;
};

RC_GTEST_PROP(MapperRules, AgreeWithOneRecordAtATime, ()) {
    config::Pipeline pipeline;
    add_filter(pipeline, "price > 0");
    add_set(pipeline, {{"amount", "price * quantity"}});
    add_reduction(pipeline, {"user", "kind"}, {"sum(amount) where kind == 'b'", "max(price)"},
                  "quantity != 3");
    add_reduction(pipeline, {}, {"count()"});

    const auto size = *rc::gen::inRange<std::size_t>(0, 30);
    std::vector<Event> events;
    std::vector<TestRecord> records;
    for (std::size_t i = 0; i < size; ++i) {
        const Event e{*rc::gen::inRange(0, 4), *rc::gen::inRange(-2, 5), *rc::gen::inRange(0, 5),
                      *rc::gen::element<std::string>("a", "b")};
        std::string json = "{\"price\":" + std::to_string(e.price) +
                           ",\"quantity\":" + std::to_string(e.quantity) + ",\"kind\":\"" + e.kind +
                           "\"";
        json += e.user == 0 ? "}" : ",\"user\":" + std::to_string(e.user) + "}";
        records.push_back({.value = json});
        events.push_back(e);
    }
    Decoder decoder(pipeline, kTable);
    DecodedBatch batch;
    decode(decoder, records, batch);
    Mapper mapper(pipeline);
    model::Ledger total;
    std::size_t at = 0;
    while (at < size) {
        const std::size_t end = std::min(size, at + *rc::gen::inRange<std::size_t>(1, 10));
        total += mapper.process(batch, at, end);
        const auto& first = mapper.reductions()[0];
        const auto& second = mapper.reductions()[1];
        std::size_t f = 0;
        std::size_t s = 0;
        std::uint64_t filtered = 0;
        std::uint64_t refused = 0;
        for (std::size_t row = at; row < end; ++row) {
            const Event& e = events[row];
            if (e.price <= 0) {
                continue;
            }
            RC_ASSERT(s < second.rows.size());
            RC_ASSERT(second.rows[s++] == row);
            if (e.quantity == 3) {
                ++filtered;
                continue;
            }
            if (e.user == 0) {
                ++refused;
                continue;
            }
            RC_ASSERT(f < first.rows.size());
            RC_ASSERT(first.rows[f] == row);
            RC_ASSERT(key_text(first.key[f]) == "[" + std::to_string(e.user) + "][" + e.kind + "]");
            RC_ASSERT(first.hash[f] == model::key_hash(first.key[f]));
            RC_ASSERT(first.wheres[0]->at(row).value.boolean == (e.kind == "b"));
            if (e.kind == "b") {
                RC_ASSERT(first.arguments[0]->at(row).value.integer == e.price * e.quantity);
            }
            RC_ASSERT(first.arguments[1]->at(row).value.integer == e.price);
            ++f;
        }
        RC_ASSERT(first.rows.size() == f);
        RC_ASSERT(second.rows.size() == s);
        RC_ASSERT(first.filtered == filtered);
        RC_ASSERT(first.refused == refused);
        RC_ASSERT(first.reached == f + filtered + refused);
        at = end;
    }
    RC_ASSERT(total.consumed == size);
    RC_ASSERT(total.balanced());
}

}  // namespace
}  // namespace sluice::ingest
