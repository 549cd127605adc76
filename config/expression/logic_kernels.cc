// Three-valued logic, membership, patterns, and the selections of parts that only some rows need.
#include <re2/re2.h>

#include <algorithm>
#include <functional>

#include "config/expression/kernels.h"

namespace sluice::config::expression {

namespace {

using model::Fault;
using model::Scalar;
using model::Selection;
using model::Type;

enum class Truth : std::uint8_t { no, yes, unknown };

// What is neither a boolean nor null is unknown too, and counted.
Truth truth(const Step& step, const View& view, std::size_t row) {
    const Type type = view.type_at(row);
    if (type == Type::boolean) [[likely]] {
        return view.value_at(row).boolean ? Truth::yes : Truth::no;
    }
    if (type != Type::null) {
        model::count(step.errors, Fault::wrong_type);
    }
    return Truth::unknown;
}

void put_truth(const Step& step, std::size_t row, Truth value) {
    if (value == Truth::unknown) {
        put_null(step, row);
    } else {
        put_boolean(step, row, value == Truth::yes);
    }
}

// `decisive` on either side is the result. The right side has a value only where the left side is
// not decisive.
void connect(const Step& step, Truth decisive) {
    for (const std::uint32_t row : step.rows) {
        Truth out = truth(step, step.in[0], row);
        if (out != decisive) {
            const Truth right = truth(step, step.in[1], row);
            if (right == decisive || out != Truth::unknown) {
                out = right;
            }
        }
        put_truth(step, row, out);
    }
}

void keep_unless(const Step& step, bool decisive) {
    const View view = step.in[0];
    step.chosen->clear();
    for (const std::uint32_t row : step.rows) {
        const bool decided =
            view.type_at(row) == Type::boolean && view.value_at(row).boolean == decisive;
        if (!decided) {
            step.chosen->push_back(row);
        }
    }
}

void choose(const Step& step) {
    Selection& then = step.chosen[0];
    Selection& otherwise = step.chosen[1];
    then.clear();
    otherwise.clear();
    for (const std::uint32_t row : step.rows) {
        const bool yes = truth(step, step.in[0], row) == Truth::yes;
        (yes ? then : otherwise).push_back(row);
    }
}

bool comparable(const Scalar& a, const Scalar& b) {
    return a.type == b.type || (a.is_number() && b.is_number());
}

// `value` is of the members' kind. Few members are found faster one by one.
bool contains(const LiteralSet& set, const Scalar& value) {
    constexpr std::size_t kFew = 8;
    const auto& members = set.members;
    if (value.type == Type::text) {
        const std::string_view text = value.value.text.view();
        const auto view = [](const Scalar& s) { return s.value.text.view(); };
        return members.size() <= kFew
                   ? std::ranges::find(members, text, view) != members.end()
                   : std::ranges::binary_search(members, text, std::less<>(), view);
    }
    if (value.type == Type::integer && !set.integers.empty()) {
        const std::int64_t integer = value.value.integer;
        return set.integers.size() <= kFew
                   ? std::ranges::find(set.integers, integer) != set.integers.end()
                   : std::ranges::binary_search(set.integers, integer);
    }
    const auto at = std::lower_bound(
        members.begin(), members.end(), value,
        [](const Scalar& a, const Scalar& b) { return *model::compare_scalars(a, b) < 0; });
    return at != members.end() && *model::compare_scalars(*at, value) == 0;
}

void in_set(const Step& step) {
    const LiteralSet& set = step.code.sets[step.instruction.detail];
    const Truth absent = set.has_null ? Truth::unknown : Truth::no;
    for (const std::uint32_t row : step.rows) {
        const Scalar value = step.in[0].at(row);
        if (set.members.empty()) {
            put_truth(step, row, absent);
        } else if (value.is_null()) {
            put_null(step, row);
        } else if (!comparable(value, set.members[0])) {
            put_fault(step, row, Fault::wrong_type);
        } else {
            put_truth(step, row, contains(set, value) ? Truth::yes : absent);
        }
    }
}

// SQL: true if one member equals, else null if a comparison was not possible, else false.
void in_list(const Step& step) {
    for (const std::uint32_t row : step.rows) {
        const Scalar value = step.in[0].at(row);
        Truth out = Truth::no;
        bool wrong = false;
        for (std::uint32_t i = 1; i < step.instruction.count && out != Truth::yes; ++i) {
            const Scalar member = step.in[i].at(row);
            const auto order = model::compare_scalars(value, member);
            if (order && *order == 0) {
                out = Truth::yes;
            } else if (!order) {
                out = Truth::unknown;
                wrong = wrong || (!value.is_null() && !member.is_null());
            }
        }
        if (wrong && out != Truth::yes) {
            put_fault(step, row, Fault::wrong_type);
        } else {
            put_truth(step, row, out);
        }
    }
}

void matches(const Step& step) {
    const RE2& pattern = *step.code.patterns[step.instruction.detail];
    for (const std::uint32_t row : step.rows) {
        const Scalar value = step.in[0].at(row);
        if (value.type == Type::text) [[likely]] {
            const re2::StringPiece text(value.value.text.data, value.value.text.size);
            put_boolean(step, row,
                        pattern.Match(text, 0, text.size(), RE2::UNANCHORED, nullptr, 0));
        } else if (value.is_null()) {
            put_null(step, row);
        } else {
            put_fault(step, row, Fault::wrong_type);
        }
    }
}

}  // namespace

void run_logic(const Step& step) {
    const View view = step.in[0];
    switch (step.instruction.op) {
        case Op::copy:
            for (const std::uint32_t row : step.rows) {
                put(step, row, view.at(row));
            }
            break;
        case Op::is_null:
        case Op::is_not_null: {
            const bool null = step.instruction.op == Op::is_null;
            for (const std::uint32_t row : step.rows) {
                put_boolean(step, row, (view.type_at(row) == Type::null) == null);
            }
            break;
        }
        case Op::not_:
            for (const std::uint32_t row : step.rows) {
                const Truth value = truth(step, view, row);
                put_truth(step, row,
                          value == Truth::unknown ? value
                          : value == Truth::yes   ? Truth::no
                                                  : Truth::yes);
            }
            break;
        case Op::and_:
            connect(step, Truth::no);
            break;
        case Op::or_:
            connect(step, Truth::yes);
            break;
        case Op::in_set:
            in_set(step);
            break;
        case Op::in_list:
            in_list(step);
            break;
        case Op::matches:
            matches(step);
            break;
        case Op::keep_unless_false:
            keep_unless(step, false);
            break;
        case Op::keep_unless_true:
            keep_unless(step, true);
            break;
        case Op::keep_null:
            step.chosen->clear();
            for (const std::uint32_t row : step.rows) {
                if (view.type_at(row) == Type::null) {
                    step.chosen->push_back(row);
                }
            }
            break;
        case Op::choose:
            choose(step);
            break;
        default:
            break;
    }
}

}  // namespace sluice::config::expression
