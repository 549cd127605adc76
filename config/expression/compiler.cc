// Syntax tree to program: names, types, and the order of column operations.
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "config/diagnostic.h"
#include "config/expression/code.h"
#include "config/expression/functions.h"
#include "config/expression/syntax.h"
#include "state/model/invariant.h"
#include "state/model/number.h"

namespace sluice::config {

using namespace expression;

namespace {

using model::Scalar;
using model::Type;

// A part of an expression, short enough for a message.
std::string shown(const Node& node) {
    std::string text = print(node);
    constexpr std::size_t kLongest = 40;
    if (text.size() > kLongest) {
        std::size_t end = kLongest;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
            --end;
        }
        text.resize(end);
        text += "…";
    }
    return ticked(text);
}

std::string_view kind_of(TypeSet types) {
    types &= static_cast<TypeSet>(~kNull);
    if ((types & ~kNumber) == 0 && types != 0) {
        return types == kInteger ? "an integer" : types == kReal ? "a float" : "a number";
    }
    return types == kText      ? "text"
           : types == kBoolean ? "true or false"
           : types == 0        ? "null"
                               : "no such value";
}

// Null alone, as the literal is, fits everywhere: null among operands gives null.
bool fits(TypeSet types, TypeSet wanted) {
    const auto solid = static_cast<TypeSet>(types & ~kNull);
    return solid == 0 || (solid & wanted) != 0;
}

// Which of the three kinds of comparable values.
unsigned kinds(TypeSet types) {
    return ((types & kNumber) != 0 ? 1u : 0u) | ((types & kText) != 0 ? 2u : 0u) |
           ((types & kBoolean) != 0 ? 4u : 0u);
}

Op op_of(BinaryOp op) {
    switch (op) {
        case BinaryOp::equal:
            return Op::equal;
        case BinaryOp::not_equal:
            return Op::not_equal;
        case BinaryOp::less:
            return Op::less;
        case BinaryOp::less_equal:
            return Op::less_equal;
        case BinaryOp::greater:
            return Op::greater;
        case BinaryOp::greater_equal:
            return Op::greater_equal;
        case BinaryOp::add:
            return Op::add;
        case BinaryOp::subtract:
            return Op::subtract;
        case BinaryOp::multiply:
            return Op::multiply;
        case BinaryOp::divide:
            return Op::divide;
        case BinaryOp::remainder:
            return Op::remainder;
        case BinaryOp::or_:
            return Op::or_;
        case BinaryOp::and_:
            return Op::and_;
        case BinaryOp::coalesce:
            return Op::keep_null;
    }
    return Op::copy;
}

TypeSet types_of_arithmetic(BinaryOp op, TypeSet a, TypeSet b) {
    if (op == BinaryOp::divide) {
        return kReal | kNull;
    }
    if (op == BinaryOp::remainder) {
        return kInteger | kNull;
    }
    TypeSet out = kNull;
    if ((a & kInteger) != 0 && (b & kInteger) != 0) {
        out |= kInteger;
    }
    if (((a & kDecimal) != 0 && (b & (kInteger | kDecimal)) != 0) ||
        ((b & kDecimal) != 0 && (a & (kInteger | kDecimal)) != 0)) {
        out |= kDecimal;
    }
    const bool finer = op == BinaryOp::multiply && (a & kDecimal) != 0 && (b & kDecimal) != 0;
    if (((a & kReal) != 0 && (b & kNumber) != 0) || ((b & kReal) != 0 && (a & kNumber) != 0) ||
        finer) {
        out |= kReal;
    }
    return out;
}

bool is_prefix(const std::vector<FieldSource::Segment>& a,
               const std::vector<FieldSource::Segment>& b) {
    return a.size() <= b.size() && std::equal(a.begin(), a.end(), b.begin());
}

}  // namespace

std::uint32_t Fields::column(const FieldSource& source) {
    if (source.kind == FieldSource::Kind::json) {
        for (auto it = assigned_.rbegin(); it != assigned_.rend(); ++it) {
            if (it->first == source.path) {
                return it->second;
            }
        }
    }
    const auto found = std::find(sources_.begin(), sources_.end(), source);
    if (found != sources_.end()) {
        return static_cast<std::uint32_t>(found - sources_.begin());
    }
    sources_.push_back(source);
    TypeSet types = kAnyType;
    switch (source.kind) {
        case FieldSource::Kind::kafka_topic:
            types = kText;
            break;
        case FieldSource::Kind::kafka_partition:
        case FieldSource::Kind::kafka_offset:
            types = kInteger;
            break;
        case FieldSource::Kind::kafka_timestamp:
            types = kInteger | kNull;
            break;
        case FieldSource::Kind::kafka_key:
        case FieldSource::Kind::kafka_header:
            types = kText | kNull;
            break;
        case FieldSource::Kind::json:
        case FieldSource::Kind::assigned:
            break;
    }
    types_.push_back(types);
    return static_cast<std::uint32_t>(sources_.size() - 1);
}

std::uint32_t Fields::assign(const std::vector<FieldSource::Segment>& path, TypeSet types) {
    const auto column = static_cast<std::uint32_t>(sources_.size());
    sources_.push_back({FieldSource::Kind::assigned, path});
    types_.push_back(types | kNull);
    assigned_.emplace_back(path, column);
    return column;
}

// Compiles one tree into one program.
//
// Life: one per program; either over records (`calls` is null) or over reductions.
class Compiler {
 public:
    enum class Place : std::uint8_t { record, argument, where };  // the latter two in a reduction

    explicit Compiler(Fields& fields, Place place = Place::record)
        : fields_(fields), place_(place) {}
    Compiler(Fields& fields, std::vector<ReductionCall>& calls) : fields_(fields), calls_(&calls) {}

    Compiled<Program> program(const Node& tree) {
        const TypeSet types = emit_into(tree, 0, {Operand::Kind::result, 0});
        if (problem_) {
            return std::unexpected(std::move(*problem_));
        }
        code_->types = types | kNull;
        if (code_->instructions.size() == 1 && code_->instructions[0].op == Op::copy &&
            code_->operands[0].kind == Operand::Kind::column) {
            code_->plain_column = code_->operands[0].index;
        }
        Program out;
        out.code_ = std::move(code_);
        return out;
    }

    std::vector<std::uint32_t> used_calls() {
        std::sort(used_.begin(), used_.end());
        used_.erase(std::unique(used_.begin(), used_.end()), used_.end());
        return std::move(used_);
    }

 private:
    // A value that is being computed: where it is, and what it can be.
    struct Value {
        Operand operand;
        TypeSet types = kAnyType;
    };

    // The first error counts; everything after it only has to be harmless.
    void fail(std::size_t column, std::size_t length, std::string message, std::string hint = {}) {
        if (!problem_) {
            problem_ = ExpressionError{column, std::max<std::size_t>(1, length), std::move(message),
                                       std::move(hint)};
        }
    }
    void fail_at(const Node& node, std::string message, std::string hint = {}) {
        fail(node.column, node.length, std::move(message), std::move(hint));
    }
    void fail_at_operator(const Node& node, std::string message, std::string hint = {}) {
        fail(node.operator_column, node.operator_length, std::move(message), std::move(hint));
    }

    // ---- Code

    Operand new_scratch() {
        if (!free_.empty()) {
            const std::uint32_t index = free_.back();
            free_.pop_back();
            return {Operand::Kind::scratch, index};
        }
        return {Operand::Kind::scratch, code_->scratch_columns++};
    }
    void release(const Operand& operand) {
        if (operand.kind == Operand::Kind::scratch) {
            free_.push_back(operand.index);
        }
    }
    void add(Op op, std::uint32_t rows, std::span<const Operand> in, Operand out,
             std::uint32_t detail = 0) {
        Instruction instruction;
        instruction.op = op;
        instruction.rows = rows;
        instruction.detail = detail;
        instruction.first = static_cast<std::uint32_t>(code_->operands.size());
        instruction.count = static_cast<std::uint32_t>(in.size());
        instruction.out = out;
        code_->operands.insert(code_->operands.end(), in.begin(), in.end());
        code_->instructions.push_back(instruction);
    }
    void add(Op op, std::uint32_t rows, std::initializer_list<Operand> in, Operand out,
             std::uint32_t detail = 0) {
        add(op, rows, std::span(in.begin(), in.size()), out, detail);
    }
    std::uint32_t new_selection(std::uint32_t count = 1) {
        const std::uint32_t first = code_->selections;
        code_->selections += count;
        return first;
    }
    Scalar kept(const Scalar& literal) {
        if (literal.type != Type::text) {
            return literal;
        }
        code_->texts.emplace_back(literal.value.text.view());
        return Scalar::of(std::string_view(code_->texts.back()));
    }

    // ---- Parts

    // Where the value of `node` can be read after its code ran over selection `rows`.
    Value emit(const Node& node, std::uint32_t rows) {
        if (node.kind == NodeKind::literal) {
            code_->constants.push_back(kept(node.literal));
            return {
                {Operand::Kind::constant, static_cast<std::uint32_t>(code_->constants.size() - 1)},
                type_set(node.literal.type)};
        }
        if (node.kind == NodeKind::field) {
            return field(node);
        }
        if (is_reduction(node)) {
            return reduction(node);
        }
        const Operand out = new_scratch();
        const TypeSet types = emit_into(node, rows, out);
        return {out, types};
    }

    // The same into a given column, of which only the rows of the selection are written.
    TypeSet emit_into(const Node& node, std::uint32_t rows, Operand out) {
        switch (node.kind) {
            case NodeKind::literal:
            case NodeKind::field:
                return emit_copy(node, rows, out);
            case NodeKind::call:
                return is_reduction(node) ? emit_copy(node, rows, out) : call(node, rows, out);
            case NodeKind::where:
                return where(node, rows, out);
            case NodeKind::negate:
                return negate(node, rows, out);
            case NodeKind::not_:
                return logical_not(node, rows, out);
            case NodeKind::if_:
                return choice(node, rows, out);
            case NodeKind::in:
                return membership(node, rows, out);
            case NodeKind::matches:
                return pattern(node, rows, out);
            case NodeKind::binary:
                return binary(node, rows, out);
        }
        return kAnyType;
    }

    TypeSet emit_copy(const Node& node, std::uint32_t rows, Operand out) {
        const Value value = emit(node, rows);
        add(Op::copy, rows, {value.operand}, out);
        return value.types;
    }

    Value field(const Node& node) {
        if (calls_ != nullptr) {
            const std::string path = print_path(node.source);
            fail_at(node, ticked(path) + " is a field of a record; a value is made of reductions",
                    "write sum(" + path + "), last(" + path + "), …");
            return {};
        }
        if (node.source.kind == FieldSource::Kind::json) {
            const auto& path = node.source.path;
            for (auto it = fields_.assigned_.rbegin(); it != fields_.assigned_.rend(); ++it) {
                if (it->first == path) {
                    break;
                }
                const bool below = is_prefix(it->first, path);
                if (below || is_prefix(path, it->first)) {
                    const std::string set =
                        ticked(print_path({FieldSource::Kind::json, it->first}));
                    fail_at(node, below
                                      ? set + " was set by a step and has no members any more"
                                      : "a member of this, " + set +
                                            ", was set by a step; the whole is no value any more");
                    return {};
                }
            }
        }
        const std::uint32_t column = fields_.column(node.source);
        return {{Operand::Kind::column, column}, fields_.types_[column]};
    }

    // `value` must be able to be one of `wanted`.
    void require(const Node& node, TypeSet types, TypeSet wanted, const std::string& who,
                 std::string_view needs, std::string hint = {}) {
        if (!fits(types, wanted)) {
            fail_at(node,
                    who + " needs " + std::string(needs) + ", but " + shown(node) + " is " +
                        std::string(kind_of(types)),
                    std::move(hint));
        }
    }

    TypeSet negate(const Node& node, std::uint32_t rows, Operand out) {
        const Value x = emit(*node.children[0], rows);
        require(*node.children[0], x.types, kNumber, "`-`", "a number");
        add(Op::negate, rows, {x.operand}, out);
        release(x.operand);
        return static_cast<TypeSet>((x.types & kNumber) | kNull);
    }

    TypeSet logical_not(const Node& node, std::uint32_t rows, Operand out) {
        const Value x = emit(*node.children[0], rows);
        require(*node.children[0], x.types, kBoolean, "`not`", "true or false");
        add(Op::not_, rows, {x.operand}, out);
        release(x.operand);
        return kBoolean | kNull;
    }

    TypeSet choice(const Node& node, std::uint32_t rows, Operand out) {
        const Value condition = emit(*node.children[0], rows);
        require(*node.children[0], condition.types, kBoolean, "`if`", "true or false");
        const std::uint32_t selections = new_selection(2);
        add(Op::choose, rows, {condition.operand}, {}, selections);
        release(condition.operand);
        const TypeSet then = emit_into(*node.children[1], selections, out);
        const TypeSet otherwise = emit_into(*node.children[2], selections + 1, out);
        return then | otherwise;
    }

    TypeSet pattern(const Node& node, std::uint32_t rows, Operand out) {
        const Value x = emit(*node.children[0], rows);
        require(*node.children[0], x.types, kText, "`matches`", "text", "use text(…)");
        RE2::Options options;
        options.set_log_errors(false);
        auto compiled =
            std::make_unique<RE2>(re2::StringPiece(node.text.data(), node.text.size()), options);
        if (!compiled->ok()) {
            fail_at_operator(node, "this pattern is wrong: " + compiled->error(),
                             "patterns are regular expressions as RE2 knows them");
            return kBoolean | kNull;
        }
        code_->patterns.push_back(std::move(compiled));
        add(Op::matches, rows, {x.operand}, out,
            static_cast<std::uint32_t>(code_->patterns.size() - 1));
        release(x.operand);
        return kBoolean | kNull;
    }

    TypeSet membership(const Node& node, std::uint32_t rows, Operand out) {
        const Value x = emit(*node.children[0], rows);
        bool all_literal = true;
        TypeSet literals = 0;
        for (std::size_t i = 1; i < node.children.size(); ++i) {
            const Node& member = *node.children[i];
            all_literal = all_literal && member.kind == NodeKind::literal;
            if (member.kind != NodeKind::literal || member.literal.is_null()) {
                continue;
            }
            const TypeSet type = type_set(member.literal.type);
            if (literals != 0 && kinds(literals) != kinds(type)) {
                fail_at(member, "a list has values of one kind, but " + shown(member) + " is " +
                                    std::string(kind_of(type)) + " and others are " +
                                    std::string(kind_of(literals)));
            } else if (!fits(x.types, kinds(type) == kinds(kNumber) ? kNumber : type)) {
                fail_at(member, shown(*node.children[0]) + " is " + std::string(kind_of(x.types)) +
                                    " and never equals " + shown(member) + ", which is " +
                                    std::string(kind_of(type)));
            }
            literals |= type;
        }
        if (all_literal) {
            add(Op::in_set, rows, {x.operand}, out, literal_set(node));
        } else if (node.children.size() > kMaxOperands) {
            fail_at_operator(node, "a list with fields in it has at most " +
                                       std::to_string(kMaxOperands - 1) + " members");
        } else {
            std::vector<Operand> operands{x.operand};
            for (std::size_t i = 1; i < node.children.size(); ++i) {
                operands.push_back(emit(*node.children[i], rows).operand);
            }
            add(Op::in_list, rows, operands, out);
            for (std::size_t i = 1; i < operands.size(); ++i) {
                release(operands[i]);
            }
        }
        release(x.operand);
        return kBoolean | kNull;
    }

    std::uint32_t literal_set(const Node& node) {
        LiteralSet set;
        if (problem_) {
            return 0;  // the members may not be comparable
        }
        for (std::size_t i = 1; i < node.children.size(); ++i) {
            const Scalar& literal = node.children[i]->literal;
            if (literal.is_null()) {
                set.has_null = true;
            } else {
                set.members.push_back(kept(literal));
            }
        }
        const auto before = [](const Scalar& a, const Scalar& b) {
            return *model::compare_scalars(a, b) < 0;
        };
        std::sort(set.members.begin(), set.members.end(), before);
        set.members.erase(std::unique(set.members.begin(), set.members.end(),
                                      [](const Scalar& a, const Scalar& b) {
                                          return *model::compare_scalars(a, b) == 0;
                                      }),
                          set.members.end());
        if (std::all_of(set.members.begin(), set.members.end(),
                        [](const Scalar& s) { return s.type == Type::integer; })) {
            for (const Scalar& member : set.members) {
                set.integers.push_back(member.value.integer);
            }
        }
        code_->sets.push_back(std::move(set));
        return static_cast<std::uint32_t>(code_->sets.size() - 1);
    }

    TypeSet binary(const Node& node, std::uint32_t rows, Operand out) {
        switch (node.op) {
            case BinaryOp::or_:
            case BinaryOp::and_:
                return logic(node, rows, out);
            case BinaryOp::coalesce:
                return alternatives(std::array{node.children[0].get(), node.children[1].get()},
                                    rows, out);
            case BinaryOp::equal:
            case BinaryOp::not_equal:
            case BinaryOp::less:
            case BinaryOp::less_equal:
            case BinaryOp::greater:
            case BinaryOp::greater_equal:
                return comparison(node, rows, out);
            default:
                return arithmetic(node, rows, out);
        }
    }

    TypeSet logic(const Node& node, std::uint32_t rows, Operand out) {
        const bool conjunction = node.op == BinaryOp::and_;
        const std::string who = conjunction ? "`and`" : "`or`";
        const Value a = emit(*node.children[0], rows);
        require(*node.children[0], a.types, kBoolean, who, "true or false");
        const std::uint32_t open = new_selection();
        add(conjunction ? Op::keep_unless_false : Op::keep_unless_true, rows, {a.operand}, {},
            open);
        const Value b = emit(*node.children[1], open);
        require(*node.children[1], b.types, kBoolean, who, "true or false");
        add(conjunction ? Op::and_ : Op::or_, rows, {a.operand, b.operand}, out);
        release(a.operand);
        release(b.operand);
        return kBoolean | kNull;
    }

    // a ?? b ?? …: each only where all before it are null.
    TypeSet alternatives(std::span<const Node* const> nodes, std::uint32_t rows, Operand out) {
        TypeSet types = kNull;
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            if (i > 0) {
                const std::uint32_t open = new_selection();
                add(Op::keep_null, rows, {out}, {}, open);
                rows = open;
            }
            types = static_cast<TypeSet>(types & ~kNull);
            types |= emit_into(*nodes[i], rows, out);
        }
        return types;
    }

    TypeSet comparison(const Node& node, std::uint32_t rows, Operand out) {
        const Node& left = *node.children[0];
        const Node& right = *node.children[1];
        const auto is_null = [](const Node& n) {
            return n.kind == NodeKind::literal && n.literal.is_null();
        };
        const bool equality = node.op == BinaryOp::equal || node.op == BinaryOp::not_equal;
        if (equality && (is_null(left) || is_null(right))) {
            const Value x = emit(is_null(left) ? right : left, rows);
            add(node.op == BinaryOp::equal ? Op::is_null : Op::is_not_null, rows, {x.operand}, out);
            release(x.operand);
            return kBoolean;
        }
        const Value a = emit(left, rows);
        const Value b = emit(right, rows);
        const unsigned a_kinds = kinds(a.types);
        const unsigned b_kinds = kinds(b.types);
        if (a_kinds != 0 && b_kinds != 0 && (a_kinds & b_kinds) == 0) {
            std::string hint;
            if ((a_kinds | b_kinds) == 3) {
                const Node& text = a_kinds == 2 ? left : right;
                hint = text.kind == NodeKind::literal ? "write the number without quotes"
                                                      : "convert it: int(…), decimal(…), text(…)";
            }
            fail_at_operator(node,
                             shown(left) + " is " + std::string(kind_of(a.types)) + ", but " +
                                 shown(right) + " is " + std::string(kind_of(b.types)) +
                                 ": they cannot be compared",
                             hint);
        }
        add(op_of(node.op), rows, {a.operand, b.operand}, out);
        release(a.operand);
        release(b.operand);
        return kBoolean | kNull;
    }

    TypeSet arithmetic(const Node& node, std::uint32_t rows, Operand out) {
        const Node& left = *node.children[0];
        const Node& right = *node.children[1];
        const Value a = emit(left, rows);
        const Value b = emit(right, rows);
        const bool whole = node.op == BinaryOp::remainder;
        const std::string who = ticked(symbol(node.op));
        for (const auto& [part, types] : {std::pair{&left, a.types}, std::pair{&right, b.types}}) {
            std::string hint;
            if (node.op == BinaryOp::add && (types & ~kNull) == kText) {
                hint = "texts are joined by concat(" + print(left) + ", " + print(right) + ")";
            } else if (whole && (types & kNumber) != 0) {
                hint = "take int(…) first";
            } else if ((types & kText) != 0) {
                hint = "convert it: int(…), decimal(…), float(…)";
            }
            require(*part, types, whole ? kInteger : kNumber, who, whole ? "integers" : "numbers",
                    hint);
        }
        add(op_of(node.op), rows, {a.operand, b.operand}, out);
        release(a.operand);
        release(b.operand);
        return types_of_arithmetic(node.op, a.types, b.types);
    }

    // ---- Functions

    static std::string_view needs(TypeSet wanted) {
        return wanted == kInteger            ? "an integer"
               : wanted == kNumber           ? "a number"
               : wanted == kText             ? "text"
               : wanted == (kNumber | kText) ? "a number or text"
                                             : "a value";
    }

    bool check_name(const Node& node, const Function* function) {
        if (function != nullptr) {
            return true;
        }
        if (find_reduction(node.text) != nullptr) {
            fail_at_operator(node, ticked(node.text) + " is a reduction",
                             place_ == Place::where
                                 ? "`where` takes all that follows: put it and its reduction into "
                                   "parentheses, (sum(a) where …) / count()"
                             : place_ == Place::argument
                                 ? "reductions do not nest"
                                 : "reductions belong into `values` of a [reduce.…]");
            return false;
        }
        std::vector<std::string_view> names(function_names().begin(), function_names().end());
        if (calls_ != nullptr) {
            names.insert(names.end(), reduction_names().begin(), reduction_names().end());
        }
        const std::string near = nearest_name(node.text, names);
        std::string hint;
        if (!near.empty()) {
            hint = "did you mean `" + near + "`?";
        } else {
            hint = "there are";
            for (const auto name : names) {
                hint += ' ';
                hint += name;
            }
        }
        fail_at_operator(node, "there is no function " + ticked(node.text), std::move(hint));
        return false;
    }

    TypeSet call(const Node& node, std::uint32_t rows, Operand out) {
        const Function* function = find_function(node.text);
        if (!check_name(node, function)) {
            return kAnyType;
        }
        const bool split = function->op == Op::split;  // its index comes last
        const std::size_t given = node.children.size() - (split ? 1 : 0);
        if (given < function->least || given > function->most) {
            if (given == 1 && find_reduction(node.text) != nullptr) {
                fail_at_operator(node,
                                 ticked(node.text) +
                                     " of one argument is a reduction, and those "
                                     "belong into `values`",
                                 "the function is " + std::string(function->usage));
            } else {
                fail_at_operator(node,
                                 ticked(node.text) + " takes " + arity(*function) + ", not " +
                                     std::to_string(given),
                                 "write " + std::string(function->usage));
            }
            return kAnyType;
        }
        if (function->op == Op::keep_null) {
            std::vector<const Node*> parts;
            for (const auto& child : node.children) {
                parts.push_back(child.get());
            }
            return alternatives(parts, rows, out);
        }
        std::vector<Operand> operands;
        TypeSet all = 0;
        TypeSet first = 0;
        unsigned one_kind = kinds(kAnyType);
        for (std::size_t i = 0; i < node.children.size(); ++i) {
            const Node& child = *node.children[i];
            const Value value = emit(child, rows);
            const bool index = split && i == given;
            const TypeSet wanted = index ? kInteger : i == 0 ? function->first : function->rest;
            require(child, value.types, wanted, ticked(node.text), needs(wanted),
                    conversion_hint(value.types, wanted));
            operands.push_back(value.operand);
            all |= value.types;
            one_kind &= kinds(value.types) == 0 ? one_kind : kinds(value.types);
            first = i == 0 ? value.types : first;
        }
        const bool extreme = function->op == Op::least || function->op == Op::greatest;
        if (extreme && one_kind == 0) {
            fail_at_operator(node, ticked(node.text) + " compares values of one kind");
        }
        if (extreme) {  // min(a, b, c) is min(min(a, b), c)
            for (std::size_t i = 1; i < operands.size(); ++i) {
                add(function->op, rows, {i == 1 ? operands[0] : out, operands[i]}, out);
            }
        } else {
            add(function->op, rows, operands, out);
        }
        for (const Operand& operand : operands) {
            release(operand);
        }
        if (function->result != 0) {
            return function->result | kNull;
        }
        return static_cast<TypeSet>((extreme ? all : first & kNumber) | kNull);
    }

    static std::string conversion_hint(TypeSet types, TypeSet wanted) {
        if (wanted == kText) {
            return "convert it: text(…)";
        }
        return (types & kText) != 0 && (wanted & kNumber) != 0
                   ? "convert it: int(…), decimal(…), float(…)"
                   : "";
    }

    static std::string arity(const Function& function) {
        if (function.most == kMaxOperands) {
            return "at least " + std::to_string(function.least) +
                   (function.least == 1 ? " argument" : " arguments");
        }
        if (function.least != function.most) {
            return std::to_string(function.least) + " or " + std::to_string(function.most) +
                   " arguments";
        }
        return std::to_string(function.least) + (function.least == 1 ? " argument" : " arguments");
    }

    // ---- Reductions

    // A call that state computes, as opposed to a function of the same name.
    bool is_reduction(const Node& node) const {
        if (calls_ == nullptr) {
            return false;
        }
        if (node.kind == NodeKind::where) {
            return true;
        }
        return node.kind == NodeKind::call && find_reduction(node.text) != nullptr &&
               (find_function(node.text) == nullptr || node.children.size() < 2);
    }

    TypeSet where(const Node& node, std::uint32_t rows, Operand out) {
        if (calls_ == nullptr) {
            fail_at_operator(node, "`where` belongs to a reduction, and those into `values`");
            return kAnyType;
        }
        return emit_copy(node, rows, out);
    }

    Value reduction(const Node& node) {
        const Node& call = node.kind == NodeKind::where ? *node.children[0] : node;
        const ReductionName* name = find_reduction(call.text);
        if (name == nullptr || !is_reduction(call)) {
            fail_at_operator(
                node,
                "`where` belongs behind a reduction, and " + ticked(call.text) + " is a function",
                "sum(price) where kind == 'buy'");
            return {};
        }
        if (!name->kind) {
            fail_at_operator(call, ticked(call.text) + " is not available in this version");
            return {};
        }
        ReductionCall out;
        out.kind = *name->kind;
        const bool counts = out.kind == ReductionKind::count;
        if (call.children.size() > 1 || (call.children.empty() && !counts)) {
            fail_at_operator(
                call,
                ticked(call.text) +
                    (counts ? " takes at most 1 argument, not " : " takes 1 argument, not ") +
                    std::to_string(call.children.size()),
                "write " + call.text + "(x)");
            return {};
        }
        TypeSet types = kInteger;
        if (!call.children.empty()) {
            auto argument = over_records(*call.children[0], Place::argument);
            if (!argument) {
                return {};
            }
            const TypeSet given = argument->types();
            const bool numeric = out.kind == ReductionKind::sum || out.kind == ReductionKind::mean;
            if (numeric) {
                require(*call.children[0], given, kNumber, ticked(call.text), "a number",
                        conversion_hint(given, kNumber));
            }
            types = counts                            ? kInteger
                    : out.kind == ReductionKind::mean ? kReal
                    : numeric                         ? static_cast<TypeSet>(given & kNumber)
                                                      : given;
            out.argument = std::move(*argument);
        }
        if (node.kind == NodeKind::where) {
            const Node& condition = *node.children[1];
            auto filter = over_records(condition, Place::where);
            if (!filter) {
                return {};
            }
            require(condition, filter->types(), kBoolean, "`where`", "true or false");
            out.where = std::move(*filter);
        }
        if (problem_) {
            return {};
        }
        out.text = print(node);
        const auto same = std::find_if(calls_->begin(), calls_->end(),
                                       [&](const auto& c) { return c.text == out.text; });
        const auto index = static_cast<std::uint32_t>(same - calls_->begin());
        if (same == calls_->end()) {
            calls_->push_back(std::move(out));
        }
        used_.push_back(index);
        return {{Operand::Kind::column, index}, static_cast<TypeSet>(types | kNull)};
    }

    // A part of a reduction, as a program over records.
    std::optional<Program> over_records(const Node& node, Place place) {
        auto compiled = Compiler(fields_, place).program(node);
        if (!compiled) {
            fail(compiled.error().column, compiled.error().length,
                 std::move(compiled.error().message), std::move(compiled.error().hint));
            return std::nullopt;
        }
        return std::move(*compiled);
    }

    Fields& fields_;
    Place place_ = Place::record;
    std::vector<ReductionCall>* calls_ = nullptr;
    std::unique_ptr<Program::Code> code_ = std::make_unique<Program::Code>();
    std::vector<std::uint32_t> free_;  // scratch columns
    std::vector<std::uint32_t> used_;  // calls
    std::optional<ExpressionError> problem_;
};

Compiled<Program> compile(std::string_view text, Fields& fields) {
    auto tree = parse(text);
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    return Compiler(fields).program(**tree);
}

Compiled<Program> compile_filter(std::string_view text, Fields& fields) {
    auto tree = parse(text);
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    auto program = Compiler(fields).program(**tree);
    if (program && !fits(program->types(), kBoolean)) {
        const Node& root = **tree;
        return std::unexpected(ExpressionError{root.column, root.length,
                                               "a filter needs true or false, but " + shown(root) +
                                                   " is " + std::string(kind_of(program->types())),
                                               "compare it with something"});
    }
    return program;
}

Compiled<ValueProgram> compile_value(std::string_view text, Fields& fields,
                                     std::vector<ReductionCall>& calls) {
    auto tree = parse(text);
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    Compiler compiler(fields, calls);
    auto program = compiler.program(**tree);
    if (!program) {
        return std::unexpected(std::move(program.error()));
    }
    return ValueProgram{compiler.used_calls(), std::move(*program)};
}

}  // namespace sluice::config
