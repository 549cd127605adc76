// The functions and reductions that expressions know by name.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/expression/code.h"
#include "config/expression/program.h"

namespace sluice::config::expression {

inline constexpr TypeSet kBoolean = type_set(model::Type::boolean);
inline constexpr TypeSet kInteger = type_set(model::Type::integer);
inline constexpr TypeSet kDecimal = type_set(model::Type::decimal);
inline constexpr TypeSet kReal = type_set(model::Type::real);
inline constexpr TypeSet kText = type_set(model::Type::text);
inline constexpr TypeSet kNull = type_set(model::Type::null);
inline constexpr TypeSet kNumber = kInteger | kDecimal | kReal;

struct Function {
    std::string_view name;
    std::string_view usage;
    Op op;
    std::size_t least;  // arguments
    std::size_t most;
    TypeSet first;   // what the first argument may be
    TypeSet rest;    // what the others may be
    TypeSet result;  // 0: that of the first argument
};

const Function* find_function(std::string_view name);
std::span<const std::string_view> function_names();

struct ReductionName {
    std::string_view name;
    std::optional<ReductionKind> kind;  // none: not in this version
};
const ReductionName* find_reduction(std::string_view name);
std::span<const std::string_view> reduction_names();  // of this version

// "Did you mean …?": the valid name that `name` was probably meant to be, or empty. Nobody mistypes
// a name of a thousand characters; comparing those costs too much.
std::string nearest_name(std::string_view name, std::span<const std::string_view> valid);

}  // namespace sluice::config::expression
