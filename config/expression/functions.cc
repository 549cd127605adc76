#include "config/expression/functions.h"

#include <algorithm>
#include <array>

#include "config/diagnostic.h"

namespace sluice::config::expression {

namespace {

constexpr std::array kFunctions = {
    Function{"int", "int(x)", Op::to_integer, 1, 1, kAnyType, 0, kInteger},
    Function{"float", "float(x)", Op::to_real, 1, 1, kAnyType, 0, kReal},
    Function{"decimal", "decimal(x)", Op::to_decimal, 1, 1, kAnyType, 0, kDecimal},
    Function{"text", "text(x)", Op::to_text, 1, 1, kAnyType, 0, kText},
    Function{"bool", "bool(x)", Op::to_boolean, 1, 1, kAnyType, 0, kBoolean},
    Function{"time", "time(x)", Op::to_time, 1, 1, kNumber | kText, 0, kInteger},
    Function{"lower", "lower(x)", Op::lower, 1, 1, kText, 0, kText},
    Function{"upper", "upper(x)", Op::upper, 1, 1, kText, 0, kText},
    Function{"trim", "trim(x)", Op::trim, 1, 1, kText, 0, kText},
    Function{"length", "length(x)", Op::length, 1, 1, kText, 0, kInteger},
    Function{"substring", "substring(x, from, count)", Op::substring, 3, 3, kText, kInteger, kText},
    Function{"concat", "concat(a, b, …)", Op::concat, 1, kMaxOperands, kAnyType, kAnyType, kText},
    Function{"replace", "replace(x, from, to)", Op::replace, 3, 3, kText, kText, kText},
    Function{"split", "split(x, separator)[index]", Op::split, 2, 2, kText, kText, kText},
    Function{"starts_with", "starts_with(x, start)", Op::starts_with, 2, 2, kText, kText, kBoolean},
    Function{"ends_with", "ends_with(x, end)", Op::ends_with, 2, 2, kText, kText, kBoolean},
    Function{"contains", "contains(x, part)", Op::contains, 2, 2, kText, kText, kBoolean},
    Function{"abs", "abs(x)", Op::absolute, 1, 1, kNumber, 0, 0},
    Function{"round", "round(x) or round(x, places)", Op::round, 1, 2, kNumber, kInteger, 0},
    Function{"floor", "floor(x)", Op::floor, 1, 1, kNumber, 0, 0},
    Function{"ceil", "ceil(x)", Op::ceil, 1, 1, kNumber, 0, 0},
    Function{"min", "min(a, b, …)", Op::least, 2, kMaxOperands, kAnyType, kAnyType, 0},
    Function{"max", "max(a, b, …)", Op::greatest, 2, kMaxOperands, kAnyType, kAnyType, 0},
    Function{"hash", "hash(x)", Op::hash, 1, 1, kAnyType, 0, kInteger},
    // Compiled like the operator `??`.
    Function{"coalesce", "coalesce(a, b, …)", Op::keep_null, 1, kMaxOperands, kAnyType, kAnyType,
             0},
};

constexpr std::array kReductions = {
    ReductionName{"count", ReductionKind::count}, ReductionName{"sum", ReductionKind::sum},
    ReductionName{"min", ReductionKind::min},     ReductionName{"max", ReductionKind::max},
    ReductionName{"mean", ReductionKind::mean},   ReductionName{"first", ReductionKind::first},
    ReductionName{"last", ReductionKind::last},   ReductionName{"variance", std::nullopt},
    ReductionName{"stddev", std::nullopt},        ReductionName{"distinct", std::nullopt},
    ReductionName{"quantile", std::nullopt},      ReductionName{"top", std::nullopt},
    ReductionName{"arg_max", std::nullopt},       ReductionName{"arg_min", std::nullopt},
    ReductionName{"all", std::nullopt},           ReductionName{"any", std::nullopt},
};

constexpr auto kFunctionNames = [] {
    std::array<std::string_view, kFunctions.size()> names;
    for (std::size_t i = 0; i < names.size(); ++i) {
        names[i] = kFunctions[i].name;
    }
    return names;
}();

constexpr std::size_t kAvailable = 7;
static_assert(kReductions[kAvailable - 1].kind && !kReductions[kAvailable].kind);
constexpr auto kReductionNames = [] {
    std::array<std::string_view, kAvailable> names;
    for (std::size_t i = 0; i < names.size(); ++i) {
        names[i] = kReductions[i].name;
    }
    return names;
}();

template <class Table>
auto find(const Table& table, std::string_view name) -> decltype(table.data()) {
    const auto* at =
        std::find_if(table.begin(), table.end(), [&](const auto& f) { return f.name == name; });
    return at == table.end() ? nullptr : at;
}

}  // namespace

const Function* find_function(std::string_view name) { return find(kFunctions, name); }
std::span<const std::string_view> function_names() { return kFunctionNames; }
const ReductionName* find_reduction(std::string_view name) { return find(kReductions, name); }
std::span<const std::string_view> reduction_names() { return kReductionNames; }

std::string nearest_name(std::string_view name, std::span<const std::string_view> valid) {
    constexpr std::size_t kLongest = 100;
    return name.size() > kLongest ? std::string() : nearest(name, valid);
}

}  // namespace sluice::config::expression
