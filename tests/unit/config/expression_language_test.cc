// The rules of expressions, one by one.
#include <random>

#include "tests/unit/config/expression_records.h"

namespace sluice::config {
namespace {

using model::Scalar;
using namespace std::string_literals;

std::string canonical_of(std::string_view expression) {
    const auto out = canonical(expression);
    return out ? *out : "error: " + problem(out.error());
}

testing::AssertionResult starts(const std::string& whole, std::string_view start) {
    return whole.starts_with(start) ? testing::AssertionSuccess()
                                    : testing::AssertionFailure() << whole;
}

// ---- Precedence and form

TEST(Precedence, LoosestFirstAsTheTableSays) {
    // Canonical text drops parentheses that change nothing; what stays shows how it is read.
    EXPECT_EQ(canonical_of("(a or (b and (not (c == (d ?? (e + (f * (-g))))))))"),
              "a or b and not c == d ?? e + f * -g");
    EXPECT_EQ(canonical_of("if a then b else (c or d)"), "if a then b else c or d");
    EXPECT_EQ(canonical_of("(if a then b else c) or d"), "(if a then b else c) or d");
    EXPECT_EQ(canonical_of("(a or b) and c"), "(a or b) and c");
    EXPECT_EQ(canonical_of("not (a and b)"), "not (a and b)");
    EXPECT_EQ(canonical_of("(a ?? b) + c"), "(a ?? b) + c");
    EXPECT_EQ(canonical_of("a ?? (b + c)"), "a ?? b + c");
    EXPECT_EQ(canonical_of("(a == b) == c"), "(a == b) == c");
    EXPECT_EQ(canonical_of("-(a + b)"), "-(a + b)");
    EXPECT_EQ(canonical_of("a - (b - c)"), "a - (b - c)");
    EXPECT_EQ(canonical_of("(a - b) - c"), "a - b - c");
    EXPECT_EQ(canonical_of("(a + b) in [1,2]"), "a + b in [1, 2]");
    EXPECT_EQ(canonical_of("(a in [1]) matches 'x'"), "(a in [1]) matches 'x'");
    EXPECT_EQ(evaluated("1 + 2 * 3"), "i:7");
    EXPECT_EQ(evaluated("(1 + 2) * 3"), "i:9");
    EXPECT_EQ(evaluated("10 - 3 - 2"), "i:5");
    EXPECT_EQ(evaluated("7 % 4 * 2"), "i:6");
    EXPECT_EQ(evaluated("-2 * -3"), "i:6");
    EXPECT_EQ(evaluated("not true or true"), "b:true");
    EXPECT_EQ(evaluated("not 1 == 2"), "b:true");
    EXPECT_EQ(evaluated("null ?? 1 + 2"), "i:3");
    EXPECT_EQ(evaluated("1 < null ?? 2"), "b:true");
    EXPECT_EQ(evaluated("false and false or true"), "b:true");
}

TEST(Canonical, EqualExpressionsHaveEqualTexts) {
    EXPECT_EQ(canonical_of("price*quantity"), "price * quantity");
    EXPECT_EQ(canonical_of("\n upper ( geo . country?"
                           "?'unknown' )\t"),
              "upper(geo.country ?? 'unknown')");
    EXPECT_EQ(canonical_of("1.50"), "1.5");
    EXPECT_EQ(canonical_of("1.0"), "1.0");  // a decimal stays one
    EXPECT_EQ(canonical_of("1e2"), "100e0");
    EXPECT_EQ(canonical_of("1e300"), "1e+300");
    EXPECT_EQ(canonical_of("-5"), "-5");
    EXPECT_EQ(canonical_of("-(5)"), "-(5)");
    EXPECT_EQ(canonical_of("- -5"), "-(-5)");
    EXPECT_EQ(canonical_of(R"('a\'b\\c\n\t\u0041\u0007')"), R"('a\'b\\c\n\tA\u0007')");
    EXPECT_EQ(canonical_of("['odd name'].x['y'][3]"), ".'odd name'.x.y[3]");
    EXPECT_EQ(canonical_of(".'plain'"), "plain");
    EXPECT_EQ(canonical_of(".'kafka'.topic"), ".'kafka'.topic");
    EXPECT_EQ(canonical_of("geo.in"), "geo.in");
    EXPECT_EQ(canonical_of(".'in'"), ".'in'");
    EXPECT_EQ(canonical_of("kafka.header( 'n' )"), "kafka.header('n')");
    EXPECT_EQ(canonical_of("split( a ,',' ) [ 0 ]"), "split(a, ',')[0]");
    EXPECT_EQ(canonical_of("(sum(a) where b>1)/count()"), "(sum(a) where b > 1) / count()");
    EXPECT_EQ(canonical_of("count() / sum(a) where b"), "count() / (sum(a) where b)");
}

TEST(Errors, PointAtWhatIsWrong) {
    EXPECT_EQ(refused("a < b < c"),
              "6+1: comparisons cannot be chained | write a < b and b < c, or put one of them into "
              "parentheses");
    EXPECT_TRUE(starts(refused("a == b in [1]"), "7+2: comparisons cannot be chained | w"));
    EXPECT_EQ(refused("price >"), "7+1: expected a value, found the end of the expression");
    EXPECT_EQ(refused(""), "0+1: expected a value, found the end of the expression");
    EXPECT_EQ(refused("(a"), "2+1: expected `)`, found the end of the expression");
    EXPECT_EQ(refused("a b"), "2+1: expected an operator or the end of the expression, found `b`");
    EXPECT_TRUE(starts(refused("a adn b"), "2+3"));
    EXPECT_NE(refused("a adn b").find("did you mean `and`?"), std::string::npos);
    EXPECT_EQ(refused("a = 1"), "2+1: `=` is not known here | write `==` to compare");
    EXPECT_EQ(refused("a && b"), "2+2: `&&` is not known here | write `and`");
    EXPECT_EQ(refused("!a"), "0+1: `!` is not known here | write `not`");
    EXPECT_TRUE(starts(refused("a \xc2\xa7 b"), "2+2"));
    EXPECT_EQ(refused("'abc"),
              "0+4: this text does not end | texts are written '…'; a quote inside is \\'");
    EXPECT_EQ(refused("'a\\x'"),
              R"(2+2: unknown escape in a text | there are \' \\ \n \t and \uXXXX)");
    EXPECT_TRUE(starts(refused("'\\ud800'"), "1+6"));
    EXPECT_EQ(refused("007"), "0+3: numbers have no leading zeros");
    EXPECT_TRUE(starts(refused("12abc"), "0+5: `12abc` is neither a number nor a na"));
    EXPECT_TRUE(starts(refused("9223372036854775808"), "0+19: this number is too great"));
    EXPECT_TRUE(
        starts(refused("if a then b"), "11+1: expected `else`, found the end of the expression "));
    EXPECT_TRUE(starts(refused("1 + if a then b else c"), "4+2: expected a value, found `if` |"));
    EXPECT_TRUE(starts(refused("a in 5"), "5+1: expected a list behind `"));
    EXPECT_EQ(
        refused("a not in [5]"),
        "2+3: expected an operator or the end of the expression, found `not` | write not (x in "
        "[…])");
    EXPECT_EQ(refused("then"),
              "0+4: expected a value, found `then` | a field with this name is written .'then'");
    EXPECT_TRUE(starts(refused("a[x]"), "2+1"));
    EXPECT_TRUE(starts(refused("a[-1]"), "2+1"));
    EXPECT_EQ(refused("a[1.5]"), "2+3: an index is an integer from 0");
    EXPECT_TRUE(starts(refused("(a).b"), "3+1"));
    EXPECT_TRUE(starts(refused("kafka"), "5+1"));
    EXPECT_EQ(refused("kafka.topics"), "6+6: kafka has no `topics` | did you mean `topic`?");
    EXPECT_EQ(refused("kafka.header"),
              "6+6: `kafka.header` needs a header's name in quotes | kafka.header('trace-id')");
}

TEST(Errors, DepthAndLengthAreBounded) {
    EXPECT_NE(refused(std::string(10'000, '(') + "1"), "compiles");
    EXPECT_NE(refused(std::string(10'000, '-') + "1"), "compiles");
    std::string nots;
    std::string sum = "1";
    for (int i = 0; i < 5000; ++i) {
        nots += "not ";
        sum += "+1";
    }
    EXPECT_NE(refused(nots + "true"), "compiles");
    EXPECT_NE(refused(sum), "compiles");
    EXPECT_EQ(refused(sum.substr(0, 801)), "compiles");
    EXPECT_EQ(refused(std::string(70'000, ' ')), "0+1: the expression is longer than 64 KiB");
    std::string list = "x in [0";
    for (int i = 1; i < 5000; ++i) {
        list += "," + std::to_string(i);
    }
    EXPECT_EQ(evaluated(list + "]", {{"x", number("4711")}}), "b:true");
    EXPECT_EQ(evaluated(list + "]", {{"x", number("5000")}}), "b:false");
}

TEST(Errors, RandomBytesNeverCrashTheParser) {
    constexpr const char* kPieces[] = {
        "a",    "1",        "1.5",   "'t'",   "(",        ")",    "[",    "]",       ",",
        ".",    "+",        "-",     "*",     "/",        "%",    "==",   "<",       "??",
        "and",  "or",       "not",   "in",    "if",       "then", "else", "matches", "where",
        "sum",  "count",    "split", "kafka", "topic",    "null", "true", "\\",      "'",
        "\xff", "\xc3\xa4", " ",     "min",   "quantile", "1e5",  "'['"};
    for (std::uint64_t seed = 0; seed < 20'000; ++seed) {
        std::mt19937_64 random(seed);
        std::string expression;
        const std::size_t pieces = random() % 16;
        for (std::size_t i = 0; i < pieces; ++i) {
            if (random() % 20 == 0) {
                expression += static_cast<char>(random());
            } else {
                expression += kPieces[random() % std::size(kPieces)];
                expression += random() % 2 == 0 ? " " : "";
            }
        }
        SCOPED_TRACE("seed " + std::to_string(seed) + ": " + expression);
        Fields fields;
        std::vector<ReductionCall> calls;
        const auto program = compile(expression, fields);
        const auto value = compile_value(expression, fields, calls);
        for (const auto* error :
             {program ? nullptr : &program.error(), value ? nullptr : &value.error()}) {
            if (error != nullptr) {
                ASSERT_LE(error->column, expression.size());
                ASSERT_GE(error->length, 1u);
                ASSERT_LE(error->column + error->length, expression.size() + 1);
                ASSERT_FALSE(error->message.empty());
            }
        }
        if (const auto text = canonical(expression)) {
            ASSERT_EQ(canonical_of(*text), *text);
        }
    }
}

// ---- Types at compile time

TEST(Types, WhatCanNeverBeRightIsRefused) {
    EXPECT_EQ(refused("'a' + name"),
              "0+3: `+` needs numbers, but `'a'` is text | texts are joined by concat('a', name)");
    EXPECT_TRUE(
        starts(refused("1 * kafka.key"), "4+9: `*` needs numbers, but `kafka.key` is text"));
    EXPECT_EQ(refused("1.5 % 2"),
              "0+3: `%` needs integers, but `1.5` is a number | take int(…) first");
    EXPECT_EQ(refused("1 and true"), "0+1: `and` needs true or false, but `1` is an integer");
    EXPECT_EQ(refused("not 'a'"), "4+3: `not` needs true or false, but `'a'` is text");
    EXPECT_EQ(refused("if 1 then 2 else 3"),
              "3+1: `if` needs true or false, but `1` is an integer");
    EXPECT_EQ(
        refused("1 == 'a'"),
        "2+2: `1` is an integer, but `'a'` is text: they cannot be compared | write the number "
        "without quotes");
    EXPECT_TRUE(starts(refused("upper(x) > 5"), "9+1"));
    EXPECT_TRUE(starts(refused("kafka.offset in ['1']"), "17+3: "));
    EXPECT_TRUE(starts(refused("x in [1, 'a']"), "9+3: a list has values of one kind,"));
    EXPECT_TRUE(starts(refused("5 matches 'a'"), "0+1"));
    EXPECT_TRUE(starts(refused("x matches y"), "10+1: expected a pattern in quot"));
    EXPECT_TRUE(starts(refused("x matches 'a(b'"), "10+5: this pattern is wron"));
    EXPECT_EQ(refused("-'a'"), "1+3: `-` needs a number, but `'a'` is text");
    EXPECT_EQ(refused("min(1, 'a')"), "0+3: `min` compares values of one kind");
    EXPECT_EQ(refused("length(5)"),
              "7+1: `length` needs text, but `5` is an integer | convert it: text(…)");
    // Null fits everywhere, and so does what is only known with the record.
    for (const char* fine : {"null + 1", "not null", "null and x", "x + y", "x == 'a'", "x < 5",
                             "if null then 1 else 2", "length(null)", "x in [null]", "null == 5"}) {
        EXPECT_EQ(refused(fine), "compiles") << fine;
    }
}

TEST(Types, FunctionsAreCheckedByNameAndArity) {
    EXPECT_EQ(refused("lenght(x)"), "0+6: there is no function `lenght` | did you mean `length`?");
    EXPECT_TRUE(starts(refused("UPPER(x)"), "0+5: there is no function `UPPER` "));
    EXPECT_EQ(refused("length()"), "0+6: `length` takes 1 argument, not 0 | write length(x)");
    EXPECT_EQ(refused("length(a, b)"), "0+6: `length` takes 1 argument, not 2 | write length(x)");
    EXPECT_EQ(refused("substring(a, 1)"),
              "0+9: `substring` takes 3 arguments, not 2 | write substring(x, from, count)");
    EXPECT_EQ(refused("round(a, 1, 2)"),
              "0+5: `round` takes 1 or 2 arguments, not 3 | write round(x) or round(x, places)");
    EXPECT_EQ(refused("concat()"),
              "0+6: `concat` takes at least 1 argument, not 0 | write concat(a, b, …)");
    EXPECT_EQ(refused("split(a, ',')"),
              "0+5: `split` gives a list, and lists are no values | take one of its parts: "
              "split(x, ',')[0]");
    EXPECT_TRUE(starts(refused("split(a)[0]"), "0+5: `split` takes 2 arguments, no"));
    EXPECT_EQ(refused("sum(price)"),
              "0+3: `sum` is a reduction | reductions belong into `values` of a [reduce.…]");
    EXPECT_TRUE(starts(refused("max(price)"), "0+3: `max` of one argument is a reduction, "));
    EXPECT_TRUE(starts(refused("sum(a) where b"), "7+5: `where` belongs to a re"));
}

TEST(Types, FiltersMustBeAbleToBeTrue) {
    Fields fields;
    EXPECT_TRUE(compile_filter("price > 0", fields));
    EXPECT_TRUE(compile_filter("flag", fields));
    const auto wrong = compile_filter(" price * 2", fields);
    ASSERT_FALSE(wrong);
    EXPECT_TRUE(starts(problem(wrong.error()), "1+9: a filter needs true or false,"));
}

TEST(Types, ProgramsKnowWhatTheyGive) {
    const auto types = [](std::string_view expression) {
        Fields fields;
        return compile(expression, fields)->types();
    };
    const auto set = [](std::initializer_list<model::Type> members) {
        TypeSet out = type_set(model::Type::null);
        for (const auto member : members) {
            out |= type_set(member);
        }
        return out;
    };
    using model::Type;
    EXPECT_EQ(types("1 + 2"), set({Type::integer}));
    EXPECT_EQ(types("1 + 2.5"), set({Type::decimal}));
    EXPECT_EQ(types("1.5 * 2.5"), set({Type::decimal, Type::real}));
    EXPECT_EQ(types("1 / 2"), set({Type::real}));
    EXPECT_EQ(types("a < b"), set({Type::boolean}));
    EXPECT_EQ(types("a"), kAnyType);
    EXPECT_EQ(types("upper(a)"), set({Type::text}));
    EXPECT_EQ(types("if a then 1 else 'x'"), set({Type::integer, Type::text}));
    EXPECT_EQ(types("kafka.offset"), set({Type::integer}));
}

// ---- Fields

TEST(Fields, PathsBecomeColumnsOnce) {
    Fields fields;
    const auto program = compile("geo.country == items[0].price + geo.country", fields);
    ASSERT_TRUE(program);
    ASSERT_EQ(fields.size(), 2u);
    using Path = std::vector<FieldSource::Segment>;
    EXPECT_EQ(fields.source(0).path, (Path{"geo"s, "country"s}));
    EXPECT_EQ(fields.source(1).path, (Path{"items"s, std::int64_t{0}, "price"s}));
    EXPECT_EQ(compile("geo.country", fields)->plain_column(), 0u);
    EXPECT_EQ(compile(".'geo'['country']", fields)->plain_column(), 0u);
    EXPECT_EQ(compile("(items[0].price)", fields)->plain_column(), 1u);
    EXPECT_EQ(compile("items[0].price + 0", fields)->plain_column(), std::nullopt);
    EXPECT_EQ(compile("'x'", fields)->plain_column(), std::nullopt);
    EXPECT_EQ(fields.size(), 2u);
}

TEST(Fields, KafkasOwn) {
    Fields fields;
    ASSERT_TRUE(
        compile("concat(kafka.topic, kafka.key, kafka.header('trace'), kafka.partition, "
                "kafka.offset, kafka.timestamp)",
                fields));
    using Kind = FieldSource::Kind;
    const Kind kinds[] = {Kind::kafka_topic,     Kind::kafka_key,    Kind::kafka_header,
                          Kind::kafka_partition, Kind::kafka_offset, Kind::kafka_timestamp};
    ASSERT_EQ(fields.size(), std::size(kinds));
    for (std::uint32_t i = 0; i < std::size(kinds); ++i) {
        EXPECT_EQ(fields.source(i).kind, kinds[i]);
    }
    EXPECT_EQ(std::get<std::string>(fields.source(2).path.at(0)), "trace");
    EXPECT_EQ(compile(".'kafka'.topic", fields)->plain_column(), 6u);
    EXPECT_EQ(fields.source(6).kind, Kind::json);
}

TEST(Fields, ASetPathMeansItsNewColumnFromThenOn) {
    Fields fields;
    EXPECT_EQ(compile("geo.country", fields)->plain_column(), 0u);
    const auto made = compile("upper(geo.country)", fields);
    const std::uint32_t column = fields.assign(*parse_path("geo.country"), made->types());
    EXPECT_EQ(column, 1u);
    EXPECT_EQ(fields.source(1).kind, FieldSource::Kind::assigned);
    EXPECT_EQ(compile("geo.country", fields)->plain_column(), 1u);
    const std::uint32_t again = fields.assign(*parse_path("geo.country"));
    EXPECT_EQ(compile("geo.country", fields)->plain_column(), again);
    EXPECT_EQ(compile("geo.city", fields)->plain_column(), 3u);  // a sibling is what it was
}

TEST(Fields, AroundASetPathThereAreNoValues) {
    Fields fields;
    fields.assign(*parse_path("geo.country"), type_set(model::Type::text));
    const auto below = compile("1 + geo.country.code", fields);
    ASSERT_FALSE(below);
    EXPECT_EQ(problem(below.error()),
              "4+16: `geo.country` was set by a step and has no members any more");
    const auto above = compile("geo", fields);
    ASSERT_FALSE(above);
    EXPECT_TRUE(
        starts(problem(above.error()), "0+3: a member of this, `geo.country`, was set by "));
    const auto wrong = compile("geo.country + 1", fields);  // its type is known
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().length, 11u);
}

TEST(Fields, PathsByThemselves) {
    EXPECT_EQ(parse_path("a.b[2].'c d'")->size(), 4u);
    EXPECT_FALSE(parse_path("a + b"));
    EXPECT_FALSE(parse_path(""));
    EXPECT_FALSE(parse_path("kafka.topic"));
    EXPECT_FALSE(parse_path("5"));
    EXPECT_TRUE(parse_path(".'kafka'"));
}

// ---- Null and logic

TEST(Logic, HasThreeValues) {
    const char* values[] = {"false", "true", "null"};
    const char* ands[3][3] = {
        {"b:false", "b:false", "b:false"}, {"b:false", "b:true", "n:"}, {"b:false", "n:", "n:"}};
    const char* ors[3][3] = {
        {"b:false", "b:true", "n:"}, {"b:true", "b:true", "b:true"}, {"n:", "b:true", "n:"}};
    for (std::size_t a = 0; a < 3; ++a) {
        for (std::size_t b = 0; b < 3; ++b) {
            const std::string left = values[a];
            const std::string right = values[b];
            EXPECT_EQ(evaluated(left + " and " + right), ands[a][b]) << left << right;
            EXPECT_EQ(evaluated(left + " or " + right), ors[a][b]) << left << right;
        }
    }
    EXPECT_EQ(evaluated("not null"), "n:");
    EXPECT_EQ(evaluated("not true"), "b:false");
    EXPECT_EQ(evaluated("x and true", {{"x", number("1")}}), "n: 1 wrong type");
    EXPECT_EQ(evaluated("x and false", {{"x", number("1")}}), "b:false 1 wrong type");
}

TEST(Logic, EqualsNullTestsForNull) {
    EXPECT_EQ(evaluated("x == null", std::vector<Record>{{}, {{"x", number("0")}}}),
              "b:true b:false");
    EXPECT_EQ(evaluated("null != x", std::vector<Record>{{}, {{"x", number("0")}}}),
              "b:false b:true");
    EXPECT_EQ(evaluated("null == null"), "b:true");
    EXPECT_EQ(evaluated("x == y"), "n:");  // two missing fields are not known to be equal
    EXPECT_EQ(evaluated("x < null", {{"x", number("1")}}), "n:");
}

TEST(Logic, NullOperandsGiveNull) {
    for (const char* expression : {"x + 1",
                                   "1 - x",
                                   "x * 2",
                                   "x / 2",
                                   "x % 2",
                                   "-x",
                                   "x < 1",
                                   "x == 1",
                                   "upper(x)",
                                   "concat('a', x)",
                                   "abs(x)",
                                   "min(1, x)",
                                   "max(x, 1)",
                                   "hash(x)",
                                   "int(x)",
                                   "text(x)",
                                   "bool(x)",
                                   "time(x)",
                                   "round(1.5, x)",
                                   "substring('abc', x, 1)",
                                   "x matches 'a'",
                                   "x in [1, 2]",
                                   "contains('a', x)",
                                   "split('a', x)[0]",
                                   "replace(x, 'a', 'b')"}) {
        EXPECT_EQ(evaluated(expression), "n:") << expression;
    }
}

TEST(Logic, AlternativesAndChoices) {
    EXPECT_EQ(evaluated("x ?? 'none'"), "t:none");
    EXPECT_EQ(evaluated("x ?? y ?? 3"), "i:3");
    EXPECT_EQ(evaluated("coalesce(x, 2, 3)"), "i:2");
    EXPECT_EQ(evaluated("false ?? true"), "b:false");
    EXPECT_EQ(evaluated("if x then 1 else 2"), "i:2");  // null takes else
    EXPECT_EQ(evaluated("if x then 1 else 2", {{"x", boolean(true)}}), "i:1");
    EXPECT_EQ(evaluated("if x then 1 else 2", {{"x", number("1")}}), "i:2 1 wrong type");
    EXPECT_EQ(evaluated("if true then if false then 1 else 2 else 3"), "i:2");
}

TEST(Logic, PartsThatAreNotNeededCountNoErrors) {
    const std::vector<Record> records = {
        {{"x", number("0")}}, {{"x", number("2")}}, {}, {{"x", text("a")}}};
    EXPECT_EQ(evaluated("if x != 0 then 1 / x else 0", {{"x", number("0")}}), "i:0");
    EXPECT_EQ(evaluated("x != 0 and 4 / x > 1", {{"x", number("0")}}), "b:false");
    EXPECT_EQ(evaluated("x == 0 or 4 / x > 1", {{"x", number("0")}}), "b:true");
    EXPECT_EQ(evaluated("x ?? 1 / 0", {{"x", number("0")}}), "i:0");
    EXPECT_EQ(evaluated("x ?? 1 / 0"), "n: 1 nan");
    // Each row for itself. A comparison of the text is wrong once, then `x + 1` is once more.
    EXPECT_EQ(evaluated("if x == 0 then 'zero' else x + 1", records),
              "t:zero i:3 n: n: 2 wrong type");
}

TEST(Logic, InIsSqls) {
    const Record five = {{"x", number("5")}};
    EXPECT_EQ(evaluated("x in [1, 5]", five), "b:true");
    EXPECT_EQ(evaluated("x in [1, 2]", five), "b:false");
    EXPECT_EQ(evaluated("x in [1, null]", five), "n:");
    EXPECT_EQ(evaluated("x in [5, null]", five), "b:true");
    EXPECT_EQ(evaluated("x in [5.0, 7]", five), "b:true");
    EXPECT_EQ(evaluated("x in [5e0]", five), "b:true");
    EXPECT_EQ(evaluated("x in []", five), "b:false");
    EXPECT_EQ(evaluated("x in []"), "b:false");
    EXPECT_EQ(evaluated("x in ['5']", five), "n: 1 wrong type");
    EXPECT_EQ(evaluated("x in [y, 5]", five), "b:true");
    EXPECT_EQ(evaluated("x in [y, 6]", five), "n:");
    EXPECT_EQ(evaluated("x in [z, 6]", {{"x", number("5")}, {"z", text("a")}}), "n: 1 wrong type");
    EXPECT_EQ(evaluated("x in [z, 5]", {{"x", number("5")}, {"z", text("a")}}), "b:true");
    EXPECT_EQ(evaluated("x in ['view', 'buy']", {{"x", text("buy")}}), "b:true");
    EXPECT_EQ(evaluated("x in [true]", {{"x", boolean(true)}}), "b:true");
}

TEST(Comparison, IsExactBytewiseAndTyped) {
    EXPECT_EQ(evaluated("1 == 1.0"), "b:true");
    EXPECT_EQ(evaluated("0.1 == 1e-1"), "b:false");  // the float is not exactly 0.1
    EXPECT_EQ(evaluated("0.5 == 5e-1"), "b:true");
    EXPECT_EQ(evaluated("9007199254740993 > 9007199254740992e0"), "b:true");
    EXPECT_EQ(evaluated("'Z' < 'a'"), "b:true");
    EXPECT_EQ(evaluated("'a' < 'ab'"), "b:true");
    EXPECT_EQ(evaluated("'\xc3\xa4' > 'z'"), "b:true");
    EXPECT_EQ(evaluated("false < true"), "b:true");
    EXPECT_EQ(evaluated("x == '1'", {{"x", number("1")}}), "n: 1 wrong type");
    EXPECT_EQ(evaluated("x < true", {{"x", number("1")}}), "n: 1 wrong type");
}

// ---- Numbers

TEST(Numbers, OverflowAndDivisionByZeroAreNullAndCounted) {
    const Record greatest = {{"x", number("9223372036854775807")}};
    EXPECT_EQ(evaluated("x + 1", greatest), "n: 1 overflow");
    EXPECT_EQ(evaluated("x * 2", greatest), "n: 1 overflow");
    EXPECT_EQ(evaluated("-x - 2", greatest), "n: 1 overflow");
    EXPECT_EQ(evaluated("-x - 1", greatest), "i:-9223372036854775808");
    EXPECT_EQ(evaluated("-(-x - 1)", greatest), "n: 1 overflow");
    EXPECT_EQ(evaluated("x * 1.5", greatest), "d:13835058055282163710.5");
    EXPECT_EQ(evaluated("x * 15.0", greatest), "n: 1 overflow");
    EXPECT_EQ(evaluated("99999999999999999999.0 + 1"), "n: 1 overflow");
    EXPECT_EQ(evaluated("1e308 * 10"), "n: 1 overflow");
    EXPECT_EQ(evaluated("1 / 0"), "n: 1 nan");
    EXPECT_EQ(evaluated("0 / 0.0"), "n: 1 nan");
    EXPECT_EQ(evaluated("1 % 0"), "n: 1 nan");
    EXPECT_EQ(evaluated("x % -1", {{"x", number("-9223372036854775808")}}), "i:0");
    EXPECT_EQ(evaluated("-7 % 3"), "i:-1");
    EXPECT_EQ(evaluated("7 / 2"), "r:3.5");
    EXPECT_EQ(evaluated("6 / 2"), "r:3");
    EXPECT_EQ(evaluated("12.34 * 3"), "d:37.02");
    EXPECT_EQ(evaluated("0.1 + 0.2"), "d:0.3");
    EXPECT_EQ(evaluated("0.1 + 2e-1"), "r:0.30000000000000004");
    EXPECT_EQ(evaluated("0.0000000001 * 0.000000001"), "r:1e-19");
    EXPECT_EQ(evaluated("-9223372036854775808"), "i:-9223372036854775808");
}

TEST(Numbers, WrongTypesAreNullAndCounted) {
    for (const char* expression :
         {"x + 1", "1 - x", "x * x", "x / 2", "x % 2", "-x", "abs(x)", "round(x)", "floor(x)",
          "ceil(x)", "x < 5", "min(x, 1)", "round(1.25, x)"}) {
        EXPECT_EQ(evaluated(expression, {{"x", text("7")}}), "n: 1 wrong type") << expression;
    }
    for (const char* expression :
         {"upper(x)", "lower(x)", "trim(x)", "length(x)", "substring(x, 0, 1)",
          "replace(x, 'a', 'b')", "split(x, ',')[0]", "starts_with(x, 'a')", "ends_with('a', x)",
          "contains(x, 'a')", "x matches 'a'"}) {
        EXPECT_EQ(evaluated(expression, {{"x", number("7")}}), "n: 1 wrong type") << expression;
    }
    EXPECT_EQ(evaluated("x % 2", {{"x", number("7.0")}}), "n: 1 wrong type");
    EXPECT_EQ(evaluated("time(x)", {{"x", boolean(true)}}), "n: 1 wrong type");
}

TEST(Numbers, Rounding) {
    EXPECT_EQ(evaluated("round(2.5)"), "d:3");
    EXPECT_EQ(evaluated("round(-2.5)"), "d:-3");
    EXPECT_EQ(evaluated("round(2.345, 2)"), "d:2.35");
    EXPECT_EQ(evaluated("round(1250, -2)"), "i:1300");
    EXPECT_EQ(evaluated("floor(-2.5)"), "d:-3");
    EXPECT_EQ(evaluated("ceil(-2.5)"), "d:-2");
    EXPECT_EQ(evaluated("floor(25e-1)"), "r:2");
    EXPECT_EQ(evaluated("abs(-2.5)"), "d:2.5");
    EXPECT_EQ(evaluated("min(3, 2.5, 4e0)"), "d:2.5");
    EXPECT_EQ(evaluated("max('a', 'b')"), "t:b");
    EXPECT_EQ(evaluated("min(1, 1.0)"), "i:1");  // of equals the first
    EXPECT_EQ(evaluated("max(1.0, 1)"), "d:1");
}

TEST(Conversions, ReadWhatCanBeReadAndCountNothingElse) {
    EXPECT_EQ(evaluated("int(2.7)"), "i:2");
    EXPECT_EQ(evaluated("int(-2.7)"), "i:-2");
    EXPECT_EQ(evaluated("int('12')"), "i:12");
    EXPECT_EQ(evaluated("int('abc')"), "n:");
    EXPECT_EQ(evaluated("int('')"), "n:");
    EXPECT_EQ(evaluated("int('99999999999999999999')"), "n: 1 overflow");
    EXPECT_EQ(evaluated("float('1e3')"), "r:1000");
    EXPECT_EQ(evaluated("float(1)"), "r:1");
    EXPECT_EQ(evaluated("float('NaN')"), "n:");
    EXPECT_EQ(evaluated("decimal('1.25')"), "d:1.25");
    EXPECT_EQ(evaluated("decimal(1e-1)"), "d:0.1");
    EXPECT_EQ(evaluated("text(1.50)"), "t:1.5");
    EXPECT_EQ(evaluated("text(1e21)"), "t:1e+21");
    EXPECT_EQ(evaluated("text(true)"), "t:true");
    EXPECT_EQ(evaluated("bool('true')"), "b:true");
    EXPECT_EQ(evaluated("bool('TRUE')"), "n:");
    EXPECT_EQ(evaluated("bool(0.0)"), "b:false");
    EXPECT_EQ(evaluated("int(true)"), "i:1");
}

TEST(Conversions, TimeGivesEpochMilliseconds) {
    EXPECT_EQ(evaluated("time('2024-02-29T12:34:56.7899Z')"), "i:1709210096789");
    EXPECT_EQ(evaluated("time('2024-02-29 12:34:56')"), "i:1709210096000");
    EXPECT_EQ(evaluated("time('yesterday')"), "n:");
    EXPECT_EQ(evaluated("time(1709210096000)"), "i:1709210096000");
    EXPECT_EQ(evaluated("time(-0.5)"), "i:-1");
    EXPECT_EQ(evaluated("time(9e18)"), "n:");
    EXPECT_EQ(evaluated("time(253402300800000)"), "n:");
}

// ---- Texts

TEST(Texts, CountCodePointsFrom0) {
    EXPECT_EQ(evaluated("length('a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80')"), "i:4");
    EXPECT_EQ(evaluated("length('')"), "i:0");
    EXPECT_EQ(evaluated("substring('a\xc3\xa4\xe2\x82\xac"
                        "b', 1, 2)"),
              "t:\xc3\xa4\xe2\x82\xac");
    EXPECT_EQ(evaluated("substring('abc', 0, 0)"), "t:");
    EXPECT_EQ(evaluated("substring('abc', 1, 99)"), "t:bc");
    EXPECT_EQ(evaluated("substring('abc', 9, 1)"), "t:");
    EXPECT_EQ(evaluated("substring('abc', -1, 1)"), "n:");
    EXPECT_EQ(evaluated("substring('abc', 9223372036854775807, 9223372036854775807)"), "t:");
    EXPECT_EQ(evaluated("length(x)", {{"x", text("\xff\xfe\x80")}}), "i:2");  // not UTF-8: total
}

TEST(Texts, CaseIsAsciiOnly) {
    EXPECT_EQ(evaluated("upper('a\xc3\xa4z')"), "t:A\xc3\xa4Z");
    EXPECT_EQ(evaluated("lower('A\xc3\x84Z')"), "t:a\xc3\x84z");
    EXPECT_EQ(evaluated("upper('ABC1')"), "t:ABC1");
    EXPECT_EQ(evaluated(R"(trim(' \t\na b '))"), "t:a b");
    EXPECT_EQ(evaluated("trim('  ')"), "t:");
}

TEST(Texts, PartsAndReplacements) {
    EXPECT_EQ(evaluated("concat('a', 1, 2.50, true)"), "t:a12.5true");
    EXPECT_EQ(evaluated("concat('a', null)"), "n:");
    EXPECT_EQ(evaluated("replace('aXbXX', 'X', '--')"), "t:a--b----");
    EXPECT_EQ(evaluated("replace('abc', '', '-')"), "t:abc");
    EXPECT_EQ(evaluated("replace('aaa', 'aa', 'b')"), "t:ba");
    EXPECT_EQ(evaluated("split('a,b,,c', ',')[0]"), "t:a");
    EXPECT_EQ(evaluated("split('a,b,,c', ',')[2]"), "t:");
    EXPECT_EQ(evaluated("split('a,b,,c', ',')[3]"), "t:c");
    EXPECT_EQ(evaluated("split('a,b,,c', ',')[4]"), "n:");
    EXPECT_EQ(evaluated("split('abc', '--')[0]"), "t:abc");
    EXPECT_EQ(evaluated("split('abc', '')[0]"), "n:");
    EXPECT_EQ(evaluated("split('a,b', ',')[1 - 2]"), "n:");
    EXPECT_EQ(evaluated("split('a,b', ',')[x]", {{"x", number("1")}}), "t:b");
    EXPECT_EQ(evaluated("starts_with('abc', 'ab')"), "b:true");
    EXPECT_EQ(evaluated("ends_with('abc', 'bc')"), "b:true");
    EXPECT_EQ(evaluated("contains('abc', '')"), "b:true");
    EXPECT_EQ(evaluated("contains('abc', 'x')"), "b:false");
    EXPECT_EQ(evaluated(R"('\u00e4\ud83d\ude00\'\\\n\t')"), "t:\xc3\xa4\xf0\x9f\x98\x80'\\\n\t");
    EXPECT_EQ(evaluated(R"(length('\u0000'))"), "i:1");
}

TEST(Texts, MadeTextsAreBounded) {
    const std::string mega(1 << 20, 'x');
    const Record record = {{"x", text(mega)}};
    EXPECT_EQ(evaluated("length(concat(x, x))", record), "i:2097152");
    EXPECT_EQ(evaluated("replace(x, 'x', x)", record), "n: 1 overflow");
    EXPECT_EQ(evaluated("concat(concat(x, x, x, x, x), concat(x, x, x, x, x, x), x, x, x, x, x, x)",
                        record),
              "n: 1 overflow");
}

TEST(Texts, MatchesFindsAnywhere) {
    const Record record = {{"x", text("hello world")}};
    EXPECT_EQ(evaluated("x matches 'o w'", record), "b:true");
    EXPECT_EQ(evaluated("x matches '^world'", record), "b:false");
    EXPECT_EQ(evaluated("x matches '^hel+o'", record), "b:true");
    EXPECT_EQ(evaluated("x matches ''", record), "b:true");
    EXPECT_EQ(evaluated(R"(x matches '\\bworld$')", record), "b:true");
}

TEST(Texts, HashIsOfThePrintedFormForEver) {
    // XXH3-64 of "abc" and of "1"; the values are those of the reference implementation.
    EXPECT_EQ(evaluated("hash('abc')"), "i:8696274497037089104");
    EXPECT_EQ(evaluated("hash(1) == hash('1')"), "b:true");
    EXPECT_EQ(evaluated("hash(1.50) == hash('1.5')"), "b:true");
    EXPECT_EQ(evaluated("hash(true) == hash('true')"), "b:true");
    EXPECT_EQ(evaluated("hash('')"), "i:3244421341483603138");
}

// ---- Selections

TEST(Selections, OnlyTheChosenRowsAreTouched) {
    Fields fields;
    const auto program = compile("if x > 1 then x * 10 else x - 1", fields);
    const auto columns = columns_of(
        fields,
        {{{"x", number("1")}}, {{"x", number("2")}}, {{"x", number("3")}}, {{"x", text("a")}}});
    model::Column out;
    out.resize(4);
    for (std::size_t row = 0; row < 4; ++row) {
        out.set(row, number("99"));
    }
    model::Arena arena;
    Program::Scratch scratch;
    program->evaluate(columns, 4, {0, 2}, out, arena, scratch);
    EXPECT_EQ(shown(out.at(0)), "i:0");
    EXPECT_EQ(shown(out.at(1)), "i:99");
    EXPECT_EQ(shown(out.at(2)), "i:30");
    EXPECT_EQ(shown(out.at(3)), "i:99");
    EXPECT_EQ(scratch.errors.wrong_type, 0u);
    program->evaluate(columns, 4, {}, out, arena, scratch);  // nothing to do is fine
}

TEST(Selections, FiltersKeepOnlyTrue) {
    const std::vector<Record> records = {{{"x", number("1")}, {"f", boolean(true)}},
                                         {{"x", number("-1")}, {"f", boolean(false)}},
                                         {},
                                         {{"x", text("a")}, {"f", number("1")}}};
    Fields fields;
    const auto program = compile_filter("x > 0", fields);
    const auto plain = compile_filter("f", fields);
    const auto columns = columns_of(fields, records);
    model::Arena arena;
    for (const auto* filter : {&*program, &*plain}) {
        Program::Scratch scratch;
        model::Selection rows = {0, 1, 2, 3};
        filter->filter(columns, 4, rows, arena, scratch);
        EXPECT_EQ(rows, (model::Selection{0}));
        EXPECT_EQ(scratch.errors.wrong_type, 1u);
    }
}

TEST(Selections, ScratchServesProgramsOfAnySize) {
    Program::Scratch scratch;
    model::Arena arena;
    for (const std::size_t size : {3u, 100u, 5u}) {
        for (const char* expression : {"x + 1", "(x + 1) * (x + 2) + (x * x - (x + x * 2))",
                                       "if x > 2 and x < 50 or x == 1 then x else -x"}) {
            Fields fields;
            const auto program = compile(expression, fields);
            std::vector<Record> records;
            model::Selection rows;
            for (std::uint32_t i = 0; i < size; ++i) {
                records.push_back({{"x", Scalar::of(std::int64_t{i})}});
                rows.push_back(i);
            }
            const auto columns = columns_of(fields, records);
            model::Column out;
            out.resize(size);
            program->evaluate(columns, size, rows, out, arena, scratch);
            for (std::uint32_t i = 0; i < size; ++i) {
                const std::string alone =
                    evaluated(expression, {{"x", Scalar::of(std::int64_t{i})}});
                ASSERT_EQ(shown(out.at(i)), alone) << expression;
            }
        }
    }
}

// ---- Values of reductions

struct Compiled1 {
    std::string problem;
    std::vector<ReductionCall> calls;
    std::optional<ValueProgram> value;
};
Compiled1 value_of(std::string_view expression) {
    Compiled1 out;
    Fields fields;
    auto value = compile_value(expression, fields, out.calls);
    if (value) {
        out.value = std::move(*value);
    } else {
        out.problem = problem(value.error());
    }
    return out;
}

TEST(Values, AreExpressionsOverReductions) {
    const auto mean = value_of("sum(amount*2)/count()");
    ASSERT_TRUE(mean.value) << mean.problem;
    ASSERT_EQ(mean.calls.size(), 2u);
    EXPECT_EQ(mean.calls[0].kind, ReductionKind::sum);
    EXPECT_EQ(mean.calls[0].text, "sum(amount * 2)");
    EXPECT_TRUE(mean.calls[0].argument);
    EXPECT_FALSE(mean.calls[0].where);
    EXPECT_EQ(mean.calls[1].kind, ReductionKind::count);
    EXPECT_FALSE(mean.calls[1].argument);
    EXPECT_EQ(mean.value->calls, (std::vector<std::uint32_t>{0, 1}));

    std::vector<model::Column> results(2);
    for (auto& column : results) {
        column.resize(1);
    }
    results[0].set(0, number("7.5"));
    results[1].set(0, number("2"));
    model::Column out;
    out.resize(1);
    model::Arena arena;
    Program::Scratch scratch;
    mean.value->result.evaluate(results, 1, {0}, out, arena, scratch);
    EXPECT_EQ(shown(out.at(0)), "r:3.75");
}

TEST(Values, ShareEqualCalls) {
    Fields fields;
    std::vector<ReductionCall> calls;
    const auto first = compile_value("sum(a)", fields, calls);
    const auto second = compile_value("sum( a ) / count() + sum(a)", fields, calls);
    const auto third = compile_value("(sum(a) where b) ?? count()", fields, calls);
    ASSERT_TRUE(first && second && third);
    ASSERT_EQ(calls.size(), 3u);
    EXPECT_EQ(first->calls, (std::vector<std::uint32_t>{0}));
    EXPECT_EQ(first->result.plain_column(), 0u);
    EXPECT_EQ(second->calls, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_EQ(third->calls, (std::vector<std::uint32_t>{1, 2}));
    EXPECT_EQ(calls[2].text, "sum(a) where b");
}

TEST(Values, WhereTakesAllThatFollows) {
    const auto simple = value_of("sum(price) where kind == 'buy' and price > 0 or vip");
    ASSERT_TRUE(simple.value) << simple.problem;
    EXPECT_EQ(simple.calls[0].text, "sum(price) where kind == 'buy' and price > 0 or vip");
    EXPECT_TRUE(simple.calls[0].where);
    const auto share = value_of("(count() where kind == 'buy') / count()");
    ASSERT_TRUE(share.value) << share.problem;
    EXPECT_EQ(share.calls[0].text, "count() where kind == 'buy'");
    const auto inside = value_of("max(count() where a, count() where b)");
    ASSERT_TRUE(inside.value) << inside.problem;
    EXPECT_EQ(inside.calls.size(), 2u);
    EXPECT_EQ(value_of("sum(a) where x == 1 / count()").problem,
              "22+5: `count` is a reduction | `where` takes all that follows: put it and its "
              "reduction into parentheses, (sum(a) where …) / count()");
    EXPECT_TRUE(starts(value_of("abs(sum(a)) where b").problem,
                       "12+5: `where` belongs behind a reduction, "));
    EXPECT_EQ(value_of("sum(a) where 1").problem,
              "13+1: `where` needs true or false, but `1` is an integer");
}

TEST(Values, MinAndMaxAreToldApartByArity) {
    const auto reduction = value_of("min(price)");
    ASSERT_TRUE(reduction.value) << reduction.problem;
    EXPECT_EQ(reduction.calls[0].kind, ReductionKind::min);
    const auto function = value_of("max(min(price), mean(price), 0)");
    ASSERT_TRUE(function.value) << function.problem;
    EXPECT_EQ(function.calls.size(), 2u);
    const auto nested = value_of("sum(min(price, 100))");
    ASSERT_TRUE(nested.value) << nested.problem;
    EXPECT_EQ(nested.calls[0].text, "sum(min(price, 100))");
    const auto kinds = value_of("concat(first(a), last(a), count(a))");
    ASSERT_TRUE(kinds.value) << kinds.problem;
    EXPECT_EQ(kinds.calls[0].kind, ReductionKind::first);
    EXPECT_EQ(kinds.calls[1].kind, ReductionKind::last);
    EXPECT_TRUE(kinds.calls[2].argument);
}

TEST(Values, AreCheckedToo) {
    EXPECT_EQ(value_of("price + sum(price)").problem,
              "0+5: `price` is a field of a record; a value is made of reductions | write "
              "sum(price), last(price), …");
    EXPECT_TRUE(starts(value_of("kafka.offset").problem, "0+12: `kafka.offset` is a field of a "));
    EXPECT_EQ(value_of("sum(count())").problem,
              "4+5: `count` is a reduction | reductions do not nest");
    EXPECT_TRUE(starts(value_of("sum()").problem, "0+3: `sum` takes 1 argument, not 0 "));
    EXPECT_TRUE(starts(value_of("sum(a, b)").problem, "0+3: `sum` takes 1 argument, not 2 "));
    EXPECT_TRUE(
        starts(value_of("count(a, b)").problem, "0+5: `count` takes at most 1 argument, n"));
    EXPECT_EQ(value_of("count(*)").problem, "6+1: expected a value, found `*` | write count()");
    EXPECT_TRUE(starts(value_of("sum(upper(a))").problem,
                       "4+8: `sum` needs a number, but `upper(a)` is text"));
    EXPECT_EQ(value_of("sun(a)").problem, "0+3: there is no function `sun` | did you mean `sum`?");
    EXPECT_EQ(value_of("count() and true").problem,
              "0+7: `and` needs true or false, but `count()` is an integer");
    for (const char* later : {"variance(a)", "stddev(a)", "distinct(a)", "quantile(a, 0.99)",
                              "top(a, 3)", "arg_max(a, b)", "arg_min(a, b)", "all(a)", "any(a)"}) {
        const std::string name(later, std::string_view(later).find('('));
        EXPECT_EQ(value_of(later).problem, "0+" + std::to_string(name.size()) + ": `" + name +
                                               "` is not available in this version");
        EXPECT_TRUE(starts(value_of("1 + " + std::string(later) + " where b").problem, "4+"));
    }
}

}  // namespace
}  // namespace sluice::config
