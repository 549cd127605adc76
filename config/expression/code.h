// What an expression is compiled to: a list of column operations, run one after the other.
//
// There are no jumps. A part that only some rows need runs over a selection of its own, which an
// earlier instruction narrowed; where no row needs it, its loops run over nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "config/expression/program.h"
#include "state/model/value.h"

namespace re2 {
class RE2;
}

namespace sluice::config::expression {

enum class Op : std::uint8_t {
    copy,
    add,
    subtract,
    multiply,
    divide,
    remainder,
    negate,
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    is_null,
    is_not_null,
    not_,
    and_,     // operands a, b; b counts only where a is not false
    or_,      // operands a, b; b counts only where a is not true
    in_set,   // `detail` is a set of literals
    in_list,  // operand 0 among the others
    matches,  // `detail` is a pattern
    to_integer,
    to_real,
    to_decimal,
    to_text,
    to_boolean,
    to_time,
    lower,
    upper,
    trim,
    length,
    substring,
    concat,
    replace,
    split,
    starts_with,
    ends_with,
    contains,
    absolute,
    round,
    floor,
    ceil,
    least,
    greatest,
    hash,
    // These write selection `detail` (`choose` also the one after it) instead of a column.
    keep_unless_false,
    keep_unless_true,
    keep_null,
    choose,  // true to `detail`, the rest to `detail` + 1
};

struct Operand {
    enum class Kind : std::uint8_t { column, scratch, constant, result };
    Kind kind = Kind::constant;
    std::uint32_t index = 0;
};

struct Instruction {
    Op op = Op::copy;
    std::uint32_t rows = 0;    // the selection that it runs over; 0 is the caller's
    std::uint32_t detail = 0;  // by op
    std::uint32_t first = 0;   // operands, in Code::operands
    std::uint32_t count = 0;
    Operand out;
};

// The literals of `x in […]`: all numbers, all texts or all booleans, ascending, without repeats.
struct LiteralSet {
    std::vector<model::Scalar> members;
    std::vector<std::int64_t> integers;  // the same, if all of them are integers
    bool has_null = false;
};

// The most operands of one instruction.
inline constexpr std::size_t kMaxOperands = 64;

}  // namespace sluice::config::expression

namespace sluice::config {

struct Program::Code {
    Code();
    ~Code();

    std::vector<expression::Instruction> instructions;
    std::vector<expression::Operand> operands;
    std::vector<model::Scalar> constants;  // texts point into `texts`
    std::deque<std::string> texts;
    std::vector<expression::LiteralSet> sets;
    std::vector<std::unique_ptr<const re2::RE2>> patterns;
    std::uint32_t scratch_columns = 0;
    std::uint32_t selections = 1;  // 0 is the caller's
    TypeSet types = kAnyType;
    std::optional<std::uint32_t> plain_column;
};

}  // namespace sluice::config

namespace sluice::config::expression {

// ---- Running

// A column or a constant: at(row) without asking which.
struct View {
    const model::Type* type;
    const model::Payload* value;
    std::size_t mask;  // all ones, or 0 for a constant

    model::Type type_at(std::size_t row) const { return type[row & mask]; }
    const model::Payload& value_at(std::size_t row) const { return value[row & mask]; }
    model::Scalar at(std::size_t row) const { return {type[row & mask], value[row & mask]}; }
};

// One instruction with its operands resolved.
struct Step {
    const Instruction& instruction;
    const Program::Code& code;
    const View* in;
    const model::Selection& rows;
    model::Type* out_type;
    model::Payload* out_value;
    model::Arena& arena;
    model::ValueErrors& errors;
    model::Selection* chosen;  // for the ops that write selections
};

void run_arithmetic(const Step& step);
void run_comparison(const Step& step);
void run_logic(const Step& step);
void run_function(const Step& step);

}  // namespace sluice::config::expression
