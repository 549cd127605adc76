#include "config/expression/program.h"

#include <re2/re2.h>

#include <array>

#include "config/expression/code.h"
#include "state/model/invariant.h"

namespace sluice::config {

using namespace expression;

namespace {

using model::Column;
using model::Scalar;
using model::Selection;
using model::Type;

// One evaluation: resolves operands to columns and runs the instructions in their order.
class Run {
 public:
    Run(const Program::Code& code, std::span<const Column> columns, std::size_t row_count,
        const Selection& rows, Column& out, model::Arena& arena, Program::Scratch& scratch)
        : code_(code), columns_(columns), rows_(rows), out_(out), arena_(arena), scratch_(scratch) {
        if (scratch.columns.size() < code.scratch_columns) {
            scratch.columns.resize(code.scratch_columns);
        }
        for (std::size_t i = 0; i < code.scratch_columns; ++i) {
            if (scratch.columns[i].type.size() < row_count) {
                scratch.columns[i].resize(row_count);
            }
        }
        if (scratch.selections.size() + 1 < code.selections) {
            scratch.selections.resize(code.selections - 1);
        }
    }

    void run() {
        for (const Instruction& instruction : code_.instructions) {
            std::array<View, kMaxOperands> in;
            for (std::uint32_t i = 0; i < instruction.count; ++i) {
                in[i] = view(code_.operands[instruction.first + i]);
            }
            Column& out = target(instruction.out);
            const Step step{instruction,
                            code_,
                            in.data(),
                            selection(instruction.rows),
                            out.type.data(),
                            out.value.data(),
                            arena_,
                            scratch_.errors,
                            instruction.detail == 0 ? nullptr : chosen(instruction)};
            dispatch(step);
        }
    }

 private:
    const Selection& selection(std::uint32_t number) const {
        return number == 0 ? rows_ : scratch_.selections[number - 1];
    }
    Selection* chosen(const Instruction& instruction) {
        return instruction.op >= Op::keep_unless_false
                   ? &scratch_.selections[instruction.detail - 1]
                   : nullptr;
    }
    Column& target(const Operand& operand) {
        return operand.kind == Operand::Kind::scratch ? scratch_.columns[operand.index] : out_;
    }
    View view(const Operand& operand) {
        constexpr std::size_t kAll = ~std::size_t{0};
        switch (operand.kind) {
            case Operand::Kind::constant: {
                const Scalar& constant = code_.constants[operand.index];
                return {&constant.type, &constant.value, 0};
            }
            case Operand::Kind::column:
                return {columns_[operand.index].type.data(), columns_[operand.index].value.data(),
                        kAll};
            case Operand::Kind::scratch:
            case Operand::Kind::result:
                break;
        }
        const Column& column = target(operand);
        return {column.type.data(), column.value.data(), kAll};
    }

    static void dispatch(const Step& step) {
        const Op op = step.instruction.op;
        if (op >= Op::add && op <= Op::negate) {
            run_arithmetic(step);
        } else if (op >= Op::equal && op <= Op::greater_equal) {
            run_comparison(step);
        } else if (op >= Op::to_integer && op <= Op::hash) {
            run_function(step);
        } else {
            run_logic(step);
        }
    }

    const Program::Code& code_;
    std::span<const Column> columns_;
    const Selection& rows_;
    Column& out_;
    model::Arena& arena_;
    Program::Scratch& scratch_;
};

}  // namespace

Program::Code::Code() = default;
Program::Code::~Code() = default;

Program::Program() = default;
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&&) noexcept = default;
Program::~Program() = default;

void Program::evaluate(std::span<const Column> columns, std::size_t row_count,
                       const Selection& rows, Column& out, model::Arena& arena,
                       Scratch& scratch) const {
    INVARIANT(code_ != nullptr, "a program is run after it was compiled");
    Run(*code_, columns, row_count, rows, out, arena, scratch).run();
}

void Program::filter(std::span<const Column> columns, std::size_t row_count, Selection& rows,
                     model::Arena& arena, Scratch& scratch) const {
    INVARIANT(code_ != nullptr, "a program is run after it was compiled");
    const Column* result = nullptr;
    if (code_->plain_column) {
        result = &columns[*code_->plain_column];
    } else {
        if (scratch.filter.type.size() < row_count) {
            scratch.filter.resize(row_count);
        }
        Run(*code_, columns, row_count, rows, scratch.filter, arena, scratch).run();
        result = &scratch.filter;
    }
    std::size_t kept = 0;
    for (const std::uint32_t row : rows) {
        const Type type = result->type[row];
        const bool keep = type == Type::boolean && result->value[row].boolean;
        scratch.errors.wrong_type += type != Type::boolean && type != Type::null ? 1 : 0;
        rows[kept] = row;
        kept += keep ? 1 : 0;
    }
    rows.resize(kept);
}

std::optional<std::uint32_t> Program::plain_column() const { return code_->plain_column; }

TypeSet Program::types() const { return code_->types; }

}  // namespace sluice::config
