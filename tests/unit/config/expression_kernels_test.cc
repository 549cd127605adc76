// Column kernels against a plain evaluator: random expressions over random records, computed once
// by the compiled program over a selection of many rows, and once by walking the tree row by row
// with exact rationals. Values, types and counted errors must be the same.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tests/unit/config/expression_records.h"
#include "tests/unit/model/exact_reference.h"

namespace sluice::config {
namespace {

// ---- The plain evaluator's values

struct Plain {
    enum class Kind { null, boolean, integer, decimal, real, text } kind = Kind::null;
    bool b = false;
    exact::Integer n;  // the integer, or the decimal times 10^18
    double r = 0;
    std::string t;

    bool is_null() const { return kind == Kind::null; }
    bool is_number() const {
        return kind == Kind::integer || kind == Kind::decimal || kind == Kind::real;
    }
    exact::Rational exact() const {
        return kind == Kind::integer   ? exact::Rational(n)
               : kind == Kind::decimal ? exact::Rational(n, exact::power(10, 18))
                                       : exact::real(r);
    }
    double nearest() const { return kind == Kind::real ? r : exact::nearest(exact()); }
};
using Kind = Plain::Kind;

struct Counts {
    std::uint64_t wrong_type = 0;
    std::uint64_t overflow = 0;
    std::uint64_t nan = 0;
};

Plain of(bool b) {
    Plain p;
    p.kind = Kind::boolean;
    p.b = b;
    return p;
}
Plain of(std::string t) {
    Plain p;
    p.kind = Kind::text;
    p.t = std::move(t);
    return p;
}

// One evaluation of one row.
class Evaluator {
 public:
    explicit Evaluator(Counts& counts) : counts_(counts) {}

    Plain wrong() {
        ++counts_.wrong_type;
        return {};
    }
    Plain overflow() {
        ++counts_.overflow;
        return {};
    }
    Plain nan() {
        ++counts_.nan;
        return {};
    }
    Plain integer(const exact::Integer& n) {
        if (n > std::numeric_limits<std::int64_t>::max() ||
            n < std::numeric_limits<std::int64_t>::min()) {
            return overflow();
        }
        Plain p;
        p.kind = Kind::integer;
        p.n = n;
        return p;
    }
    Plain real(double r) {
        if (!std::isfinite(r)) {
            return overflow();
        }
        Plain p;
        p.kind = Kind::real;
        p.r = r;
        return p;
    }
    // A result of integers and decimals: a decimal if it has at most 18 places.
    Plain decimal(const exact::Rational& value) {
        const exact::Rational scaled = value * exact::power(10, 18);
        if (denominator(scaled) != 1) {
            return real(exact::nearest(value));
        }
        const exact::Integer n = numerator(scaled);
        if (abs(n) >= exact::power(10, 38)) {
            return overflow();
        }
        Plain p;
        p.kind = Kind::decimal;
        p.n = n;
        return p;
    }

    Plain arithmetic(char op, const Plain& a, const Plain& b) {
        if (a.is_null() || b.is_null()) {
            return {};
        }
        if (op == '%') {
            if (a.kind != Kind::integer || b.kind != Kind::integer) {
                return wrong();
            }
            return b.n == 0 ? nan() : integer(exact::Integer(a.n % b.n));
        }
        if (!a.is_number() || !b.is_number()) {
            return wrong();
        }
        if (a.kind == Kind::real || b.kind == Kind::real) {
            const double x = a.nearest();
            const double y = b.nearest();
            return op == '/' && y == 0 ? nan()
                                       : real(op == '+'   ? x + y
                                              : op == '-' ? x - y
                                              : op == '*' ? x * y
                                                          : x / y);
        }
        const exact::Rational x = a.exact();
        const exact::Rational y = b.exact();
        if (op == '/') {
            return y == 0 ? nan() : real(exact::nearest(x / y));
        }
        const exact::Rational out = op == '+'   ? exact::Rational(x + y)
                                    : op == '-' ? exact::Rational(x - y)
                                                : exact::Rational(x * y);
        return a.kind == Kind::integer && b.kind == Kind::integer ? integer(numerator(out))
                                                                  : decimal(out);
    }

    // -1, 0, 1; 2 if they are of different kinds.
    static int order(const Plain& a, const Plain& b) {
        if (a.is_number() && b.is_number()) {
            return a.exact() < b.exact() ? -1 : (a.exact() > b.exact() ? 1 : 0);
        }
        if (a.kind != b.kind) {
            return 2;
        }
        if (a.kind == Kind::boolean) {
            return static_cast<int>(a.b) - static_cast<int>(b.b);
        }
        const int c = a.t.compare(b.t);
        return c < 0 ? -1 : (c > 0 ? 1 : 0);
    }

    Plain comparison(const std::string& op, const Plain& a, const Plain& b) {
        if (a.is_null() || b.is_null()) {
            return {};
        }
        const int o = order(a, b);
        if (o == 2) {
            return wrong();
        }
        return of(op == "=="   ? o == 0
                  : op == "!=" ? o != 0
                  : op == "<"  ? o < 0
                  : op == "<=" ? o <= 0
                  : op == ">"  ? o > 0
                               : o >= 0);
    }

    // 0 no, 1 yes, 2 unknown.
    int truth(const Plain& a) {
        if (a.kind == Kind::boolean) {
            return a.b ? 1 : 0;
        }
        if (!a.is_null()) {
            wrong();
        }
        return 2;
    }
    static Plain of_truth(int t) { return t == 2 ? Plain{} : of(t == 1); }

    Plain rounded(const std::string& how, const Plain& a, const Plain* places) {
        if (a.is_null() || (places != nullptr && places->is_null())) {
            return {};
        }
        if (!a.is_number() || (places != nullptr && places->kind != Kind::integer)) {
            return wrong();
        }
        exact::Rational unit = 1;
        if (places != nullptr) {
            const int n = static_cast<int>(places->n);
            unit = n >= 0 ? exact::Rational(1, exact::power(10, n))
                          : exact::Rational(exact::power(10, -n));
        }
        const exact::Rational x = a.exact() / unit;
        const exact::Integer whole = how == "floor"  ? exact::floor(x)
                                     : how == "ceil" ? exact::Integer(-exact::floor(-x))
                                                     : exact::round(x);
        const exact::Rational out = exact::Rational(whole) * unit;
        return a.kind == Kind::integer   ? integer(numerator(out))
               : a.kind == Kind::decimal ? decimal(out)
                                         : real(exact::nearest(out));
    }

    std::string printed(const Plain& a) {
        switch (a.kind) {
            case Kind::null:
                return "";
            case Kind::boolean:
                return a.b ? "true" : "false";
            case Kind::integer:
                return a.n.str();
            case Kind::decimal:
                return exact::print_decimal(a.n);
            case Kind::real: {  // tested by itself against the shortest digits
                std::string out;
                model::append_printed(out, model::Scalar::of(a.r));
                return out;
            }
            case Kind::text:
                return a.t;
        }
        return "";
    }

 private:
    Counts& counts_;
};

// ---- Random trees: each is its own text and its own evaluation.

using Row = std::vector<Plain>;

struct Tree {
    std::string text;
    std::function<Plain(Evaluator&, const Row&)> run;
};

std::vector<std::string> characters(const std::string& text) {
    std::vector<std::string> out;
    for (const char c : text) {
        if (out.empty() || (static_cast<unsigned char>(c) & 0xc0) != 0x80) {
            out.emplace_back();
        }
        out.back() += c;
    }
    return out;
}

// The fields and what they hold: integers, decimals, floats, texts, booleans, anything.
constexpr const char* kFieldNames[] = {"i", "j", "d", "e", "r", "t", "u", "b", "c", "m"};

class Generator {
 public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}

    std::uint64_t pick(std::uint64_t n) { return random_() % n; }

    Tree any(int depth) {
        switch (pick(3)) {
            case 0:
                return number(depth);
            case 1:
                return text(depth);
            default:
                return boolean(depth);
        }
    }

    Tree number(int depth) {
        if (depth == 0 || pick(6) == 0) {
            return number_leaf();
        }
        const int d = depth - 1;
        switch (pick(12)) {
            case 0:
            case 1:
            case 2:
            case 3: {
                const char op = "+-*/"[pick(4)];
                return binary(std::string(1, op), number(d), number(d),
                              [op](Evaluator& e, const Plain& a, const Plain& b) {
                                  return e.arithmetic(op, a, b);
                              });
            }
            case 4:
                return binary("%", whole(d), whole(d),
                              [](Evaluator& e, const Plain& a, const Plain& b) {
                                  return e.arithmetic('%', a, b);
                              });
            case 5: {
                const Tree x = number(d);
                return {"-(" + x.text + ")", [x](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            Plain zero;
                            zero.kind = Kind::integer;
                            return e.arithmetic('-', zero, a);
                        }};
            }
            case 6: {
                const bool least = pick(2) == 0;
                const Tree x = number(d);
                const Tree y = number(d);
                return {std::string(least ? "min(" : "max(") + x.text + ", " + y.text + ")",
                        [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            const Plain b = y.run(e, row);
                            if (a.is_null() || b.is_null()) {
                                return Plain{};
                            }
                            const int o = Evaluator::order(a, b);
                            return o == 2 ? e.wrong() : (least ? o <= 0 : o >= 0) ? a : b;
                        }};
            }
            case 7: {
                const char* how[] = {"round", "floor", "ceil", "abs"};
                const std::string name = how[pick(4)];
                const Tree x = number(d);
                return {name + "(" + x.text + ")", [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            if (name != "abs") {
                                return e.rounded(name, a, nullptr);
                            }
                            if (a.is_number() && a.exact() < 0) {
                                Plain zero;
                                zero.kind = Kind::integer;
                                return e.arithmetic('-', zero, a);
                            }
                            return a.is_number() || a.is_null() ? a : e.wrong();
                        }};
            }
            case 8: {
                const Tree x = number(d);
                const auto n = static_cast<std::int64_t>(pick(30)) - 10;
                return {"round(" + x.text + ", " + std::to_string(n) + ")",
                        [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            Plain places;
                            places.kind = Kind::integer;
                            places.n = n;
                            return e.rounded("round", a, &places);
                        }};
            }
            case 9: {
                const Tree x = text(d);
                return {"length(" + x.text + ")", [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            if (a.kind != Kind::text) {
                                return a.is_null() ? a : e.wrong();
                            }
                            return e.integer(characters(a.t).size());
                        }};
            }
            case 10:
                return whole(d);
            default:
                return choice(d, &Generator::number);
        }
    }

    Tree whole(int depth) {
        if (depth > 0 && pick(2) == 0) {
            const Tree x = number(depth - 1);
            return {
                "int(" + x.text + ")", [=](Evaluator& e, const Row& row) {
                    const Plain a = x.run(e, row);
                    if (a.kind == Kind::boolean) {
                        return e.integer(a.b ? 1 : 0);
                    }
                    if (a.kind == Kind::text) {  // fields of any kind hold no numbers as texts
                        return Plain{};
                    }
                    if (a.is_null()) {
                        return a;
                    }
                    const exact::Rational v = a.exact();
                    return e.integer(v < 0 ? exact::Integer(-exact::floor(-v)) : exact::floor(v));
                }};
        }
        switch (pick(4)) {
            case 0:
                return field(0);
            case 1:
                return field(1);
            case 2:
                return field(9);
            default: {
                const auto n = static_cast<std::int64_t>(pick(20)) - 5;
                return {n < 0 ? "(" + std::to_string(n) + ")" : std::to_string(n),
                        [n](Evaluator& e, const Row&) { return e.integer(n); }};
            }
        }
    }

    Tree text(int depth) {
        if (depth == 0 || pick(4) == 0) {
            return text_leaf();
        }
        const int d = depth - 1;
        switch (pick(8)) {
            case 0: {
                const bool up = pick(2) == 0;
                return on_text(up ? "upper(" : "lower(", ")", text(d), [up](std::string s) {
                    for (char& c : s) {
                        if (up ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') {
                            c = static_cast<char>(c ^ 0x20);
                        }
                    }
                    return of(s);
                });
            }
            case 1:
                return on_text("trim(", ")", text(d), [](std::string s) {
                    while (!s.empty() && s.back() == ' ') {
                        s.pop_back();
                    }
                    while (!s.empty() && s.front() == ' ') {
                        s.erase(0, 1);
                    }
                    return of(s);
                });
            case 2: {
                const std::uint64_t from = pick(4);
                const std::uint64_t count = pick(4);
                return on_text(
                    "substring(", ", " + std::to_string(from) + ", " + std::to_string(count) + ")",
                    text(d), [=](const std::string& s) {
                        const auto all = characters(s);
                        std::string out;
                        for (std::uint64_t i = from; i < from + count && i < all.size(); ++i) {
                            out += all[i];
                        }
                        return of(out);
                    });
            }
            case 3: {
                const Tree x = any(d);
                const Tree y = text(d);
                return {"concat(" + x.text + ", " + y.text + ")",
                        [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            const Plain b = y.run(e, row);
                            return a.is_null() || b.is_null() ? Plain{}
                                                              : of(e.printed(a) + e.printed(b));
                        }};
            }
            case 4: {
                const Tree x = any(d);
                return {"text(" + x.text + ")", [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            return a.is_null() ? a : of(e.printed(a));
                        }};
            }
            case 5:
                return on_text("replace(", ", 'a', 'xy')", text(d), [](const std::string& s) {
                    std::string out;
                    for (const char c : s) {
                        out += c == 'a' ? "xy" : std::string(1, c);
                    }
                    return of(out);
                });
            case 6: {
                const std::uint64_t index = pick(3);
                return on_text("split(", ", ' ')[" + std::to_string(index) + "]", text(d),
                               [index](const std::string& s) {
                                   std::vector<std::string> parts(1);
                                   for (const char c : s) {
                                       if (c == ' ') {
                                           parts.emplace_back();
                                       } else {
                                           parts.back() += c;
                                       }
                                   }
                                   return index < parts.size() ? of(parts[index]) : Plain{};
                               });
            }
            default:
                return choice(d, &Generator::text);
        }
    }

    Tree boolean(int depth) {
        if (depth == 0 || pick(6) == 0) {
            return boolean_leaf();
        }
        const int d = depth - 1;
        switch (pick(10)) {
            case 0:
            case 1: {
                const bool numbers = pick(2) == 0;
                const char* ops[] = {"==", "!=", "<", "<=", ">", ">="};
                const std::string op = ops[pick(6)];
                const Tree x = numbers ? number(d) : text(d);
                const Tree y = numbers ? number(d) : text(d);
                return binary(op, x, y, [op](Evaluator& e, const Plain& a, const Plain& b) {
                    return e.comparison(op, a, b);
                });
            }
            case 2:
            case 3:
            case 4: {
                const int decisive = static_cast<int>(pick(2));
                const Tree x = boolean(d);
                const Tree y = boolean(d);
                return {"(" + x.text + (decisive == 0 ? " and " : " or ") + y.text + ")",
                        [=](Evaluator& e, const Row& row) {
                            const Plain a = x.run(e, row);
                            if (a.kind == Kind::boolean && a.b == (decisive == 1)) {
                                return a;
                            }
                            const Plain b = y.run(e, row);
                            const int s = e.truth(a);
                            const int t = e.truth(b);
                            return Evaluator::of_truth(t == decisive ? t : s == 2 ? 2 : t);
                        }};
            }
            case 5: {
                const Tree x = boolean(d);
                return {"(not " + x.text + ")", [=](Evaluator& e, const Row& row) {
                            const int t = e.truth(x.run(e, row));
                            return Evaluator::of_truth(t == 2 ? 2 : 1 - t);
                        }};
            }
            case 6: {
                const bool is = pick(2) == 0;
                const Tree x = any(d);
                return {"(" + x.text + (is ? " == null)" : " != null)"),
                        [=](Evaluator& e, const Row& row) {
                            return of(x.run(e, row).is_null() == is);
                        }};
            }
            case 7:
                return membership(d);
            case 8: {
                const char* names[] = {"starts_with", "ends_with", "contains"};
                const std::string name = names[pick(3)];
                return on_text(name + "(", ", 'a')", text(d), [name](const std::string& s) {
                    return of(name == "contains"    ? s.find('a') != std::string::npos
                              : name == "ends_with" ? !s.empty() && s.back() == 'a'
                                                    : !s.empty() && s.front() == 'a');
                });
            }
            default:
                if (pick(2) == 0) {
                    return on_text("(", " matches '^a|z')", text(d), [](const std::string& s) {
                        return of((!s.empty() && s[0] == 'a') || s.find('z') != std::string::npos);
                    });
                }
                return choice(d, &Generator::boolean);
        }
    }

    std::mt19937_64& random() { return random_; }

 private:
    template <class F>
    static Tree binary(const std::string& op, const Tree& x, const Tree& y, F f) {
        return {"(" + x.text + " " + op + " " + y.text + ")", [=](Evaluator& e, const Row& row) {
                    const Plain a = x.run(e, row);
                    const Plain b = y.run(e, row);
                    return f(e, a, b);
                }};
    }
    template <class F>
    static Tree on_text(const std::string& before, const std::string& after, const Tree& x, F f) {
        return {before + x.text + after, [=](Evaluator& e, const Row& row) {
                    const Plain a = x.run(e, row);
                    return a.kind == Kind::text ? f(a.t) : a.is_null() ? a : e.wrong();
                }};
    }
    Tree choice(int d, Tree (Generator::*make)(int)) {
        const Tree x = (this->*make)(d);
        const Tree y = (this->*make)(d);
        if (pick(2) == 0) {
            return {"(" + x.text + " ?? " + y.text + ")", [=](Evaluator& e, const Row& row) {
                        const Plain a = x.run(e, row);
                        return a.is_null() ? y.run(e, row) : a;
                    }};
        }
        const Tree c = boolean(d);
        return {"(if " + c.text + " then " + x.text + " else " + y.text + ")",
                [=](Evaluator& e, const Row& row) {
                    return e.truth(c.run(e, row)) == 1 ? x.run(e, row) : y.run(e, row);
                }};
    }
    Tree membership(int d) {
        const bool numbers = pick(2) == 0;
        const bool literals = pick(2) == 0;
        const Tree x = numbers ? number(d) : text(d);
        std::vector<Tree> members;
        const std::uint64_t size = pick(literals ? 14 : 4);
        std::string list;
        for (std::uint64_t i = 0; i < size; ++i) {
            if (pick(10) == 0) {
                members.push_back({"null", [](Evaluator&, const Row&) { return Plain{}; }});
            } else if (literals) {
                members.push_back(numbers ? number_literal() : text_literal());
            } else {
                members.push_back(numbers ? number(d) : text(d));
            }
            list += (i > 0 ? ", " : "") + members.back().text;
        }
        return {"(" + x.text + " in [" + list + "])", [=](Evaluator& e, const Row& row) {
                    const Plain a = x.run(e, row);
                    bool unknown = false;
                    bool wrong = false;
                    bool found = false;
                    for (const Tree& member : members) {
                        const Plain b = member.run(e, row);
                        if (a.is_null() || b.is_null()) {
                            unknown = true;
                            continue;
                        }
                        const int o = Evaluator::order(a, b);
                        found = found || o == 0;
                        wrong = wrong || o == 2;
                    }
                    if (found) {
                        return of(true);
                    }
                    if (wrong) {
                        return e.wrong();
                    }
                    return unknown ? Plain{} : of(false);
                }};
    }

    static Tree field(std::size_t number) {
        return {kFieldNames[number], [number](Evaluator&, const Row& row) { return row[number]; }};
    }
    Tree number_literal() {
        constexpr const char* kLiterals[] = {"0",
                                             "1",
                                             "7",
                                             "1.5",
                                             "0.25",
                                             "2e0",
                                             "1e3",
                                             "12.34",
                                             "0.000000000000000001",
                                             "9223372036854775807",
                                             "99999999999999999999.0",
                                             "5e-1",
                                             "0.1",
                                             "1e-1"};
        const std::string literal = kLiterals[pick(std::size(kLiterals))];
        return {literal, [literal](Evaluator& e, const Row&) {
                    if (literal.find('e') != std::string::npos) {
                        return e.real(std::strtod(literal.c_str(), nullptr));
                    }
                    const auto point = literal.find('.');
                    std::string digits = literal;
                    int places = 0;
                    if (point != std::string::npos) {
                        digits.erase(point, 1);
                        places = static_cast<int>(literal.size() - point - 1);
                    }
                    digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
                    const exact::Rational v(exact::Integer(digits), exact::power(10, places));
                    return places == 0 ? e.integer(numerator(v)) : e.decimal(v);
                }};
    }
    Tree number_leaf() {
        return pick(3) == 0 ? number_literal() : field(pick(4) == 0 ? 9 : pick(5));
    }
    Tree text_literal() {
        constexpr const char* kLiterals[] = {"", "a", "ab", "Z", "b a", "z"};
        const std::string literal = kLiterals[pick(std::size(kLiterals))];
        return {"'" + literal + "'", [literal](Evaluator&, const Row&) { return of(literal); }};
    }
    Tree text_leaf() {
        return pick(3) == 0 ? text_literal() : field(pick(5) == 0 ? 9 : 5 + pick(2));
    }
    Tree boolean_leaf() {
        if (pick(4) == 0) {
            const bool value = pick(2) == 0;
            return {value ? "true" : "false",
                    [value](Evaluator&, const Row&) { return of(value); }};
        }
        return field(pick(5) == 0 ? 9 : 7 + pick(2));
    }

    std::mt19937_64 random_;
};

// ---- Random records

Plain random_value(Generator& g, std::size_t field, std::uint64_t nulls) {
    if (g.pick(100) < nulls) {
        return {};
    }
    Counts none;
    Evaluator e(none);
    const std::size_t kind = field == 9 ? g.pick(9) : field;
    switch (kind) {
        case 0:
            return e.integer(static_cast<std::int64_t>(g.pick(20)) - 10);
        case 1: {
            constexpr std::int64_t kEdges[] = {std::numeric_limits<std::int64_t>::max(),
                                               std::numeric_limits<std::int64_t>::min(),
                                               0,
                                               1,
                                               -1,
                                               9007199254740993,
                                               1'000'000'007};
            return e.integer(g.pick(3) == 0 ? static_cast<std::int64_t>(g.random()())
                                            : kEdges[g.pick(std::size(kEdges))]);
        }
        case 2:
            return e.decimal(
                exact::Rational(static_cast<std::int64_t>(g.pick(200'000)) - 100'000, 100));
        case 3: {
            exact::Integer n = g.random()();
            n = n * g.random()() % exact::power(10, static_cast<int>(g.pick(39)));
            return e.decimal(
                exact::Rational(g.pick(2) == 0 ? n : exact::Integer(-n), exact::power(10, 18)));
        }
        case 4: {
            constexpr double kReals[] = {0.0,  0.1, -2.5,       1e300, -1e300,
                                         1e-7, 3.0, 123456.789, 1e21};
            return e.real(kReals[g.pick(std::size(kReals))]);
        }
        case 5:
        case 6: {
            constexpr const char* kTexts[] = {"",    "a",     "ab", " A b ",       "\xc3\xa4z",
                                              "xyz", "a a a", "Z",  "\xe2\x82\xac"};
            return of(std::string(kTexts[g.pick(std::size(kTexts))]));
        }
        default:
            return of(g.pick(2) == 0);
    }
}

model::Scalar scalar(const Plain& p) {
    switch (p.kind) {
        case Kind::null:
            return model::Scalar::null();
        case Kind::boolean:
            return model::Scalar::of(p.b);
        case Kind::integer:
            return model::Scalar::of(static_cast<std::int64_t>(p.n));
        case Kind::decimal: {
            const exact::Integer m = abs(p.n);
            const auto high = static_cast<std::uint64_t>(exact::Integer(m >> 64));
            const auto low =
                static_cast<std::uint64_t>(exact::Integer(m & exact::Integer(~std::uint64_t{0})));
            const auto v =
                static_cast<model::int128>((static_cast<model::uint128>(high) << 64) | low);
            return model::Scalar::of_decimal(p.n < 0 ? -v : v);
        }
        case Kind::real:
            return model::Scalar::of(p.r);
        case Kind::text:
            return model::Scalar::of(std::string_view(p.t));
    }
    return {};
}

std::string shown_plain(Evaluator& e, const Plain& p) {
    return std::string(1, "nbidrt"[static_cast<int>(p.kind)]) + ":" + e.printed(p);
}

void check(std::uint64_t seed) {
    Generator g(seed);
    const int depth = 1 + static_cast<int>(g.pick(4));
    const Tree tree = g.any(depth);
    RC_LOG() << tree.text << "\n";
    Fields fields;
    auto program = compile(tree.text, fields);
    if (!program) {
        RC_LOG() << problem(program.error()) << "\n";
        // Statically of one kind and used as another: rare, and right.
        RC_ASSERT(program.error().message.find("needs") != std::string::npos ||
                  program.error().message.find("compare") != std::string::npos ||
                  program.error().message.find("equals") != std::string::npos);
        return;
    }
    // The canonical text means the same.
    const auto again = canonical(tree.text);
    RC_ASSERT(again.has_value());
    RC_ASSERT(canonical(*again).value_or("") == *again);

    const std::size_t row_count = 1 + g.pick(40);
    std::vector<Row> records(row_count);
    const std::uint64_t nulls = g.pick(4) * 10;
    for (Row& row : records) {
        for (std::size_t f = 0; f < std::size(kFieldNames); ++f) {
            row.push_back(random_value(g, f, nulls));
        }
    }
    model::Selection rows;
    const std::uint64_t share = 1 + g.pick(3);
    for (std::uint32_t row = 0; row < row_count; ++row) {
        if (g.pick(share) == 0) {
            rows.push_back(row);
        }
    }

    std::vector<model::Column> columns(fields.size());
    for (std::uint32_t c = 0; c < fields.size(); ++c) {
        const auto& name = std::get<std::string>(fields.source(c).path.at(0));
        const auto* found = std::find(std::begin(kFieldNames), std::end(kFieldNames), name);
        const auto f = static_cast<std::size_t>(found - std::begin(kFieldNames));
        columns[c].resize(row_count);
        for (std::size_t row = 0; row < row_count; ++row) {
            columns[c].set(row, scalar(records[row][f]));
        }
    }
    Fields other;
    for (std::uint32_t c = 0; c < fields.size(); ++c) {
        other.column(fields.source(c));
    }
    const auto same = compile(*again, other);
    RC_ASSERT(same.has_value());

    Counts counts;
    Evaluator evaluator(counts);
    std::vector<std::string> expected;
    for (const std::uint32_t row : rows) {
        expected.push_back(shown_plain(evaluator, tree.run(evaluator, records[row])));
    }
    const Program* const both[] = {&*program, &*same};
    for (const Program* p : both) {
        model::Column out;
        out.resize(row_count);
        model::Arena arena;
        Program::Scratch scratch;
        p->evaluate(columns, row_count, rows, out, arena, scratch);
        std::vector<std::string> got;
        for (const std::uint32_t row : rows) {
            got.push_back(shown(out.at(row)));
            RC_ASSERT((p->types() & type_set(out.type[row])) != 0);
        }
        RC_ASSERT(got == expected);
        RC_ASSERT(scratch.errors.wrong_type == counts.wrong_type);
        RC_ASSERT(scratch.errors.overflow == counts.overflow);
        RC_ASSERT(scratch.errors.nan == counts.nan);
    }
}

RC_GTEST_PROP(Kernels, AgreeWithAPlainEvaluator, (std::uint64_t seed)) {
    std::mt19937_64 more(seed);
    for (int i = 0; i < 10; ++i) {
        check(more());
    }
}

}  // namespace
}  // namespace sluice::config
