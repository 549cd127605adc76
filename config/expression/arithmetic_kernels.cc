// Arithmetic and comparison. The common pairs of types are computed in the loop; the rest goes
// through model/number.h, which is also what defines them.
#include <cmath>
#include <functional>

#include "config/expression/kernels.h"

namespace sluice::config::expression {

namespace {

using model::Computed;
using model::Fault;
using model::int128;
using model::Scalar;
using model::Type;

struct Add {
    static bool integers(std::int64_t a, std::int64_t b, std::int64_t& out) {
        return !__builtin_add_overflow(a, b, &out);
    }
    static bool decimals(int128 a, int128 b, int128& out) { return model::add_decimals(a, b, out); }
    static double reals(double a, double b) { return a + b; }
    static Computed any(const Scalar& a, const Scalar& b) { return model::add(a, b); }
};
struct Subtract {
    static bool integers(std::int64_t a, std::int64_t b, std::int64_t& out) {
        return !__builtin_sub_overflow(a, b, &out);
    }
    static bool decimals(int128 a, int128 b, int128& out) {
        return model::subtract_decimals(a, b, out);
    }
    static double reals(double a, double b) { return a - b; }
    static Computed any(const Scalar& a, const Scalar& b) { return model::subtract(a, b); }
};
struct Multiply {
    static bool integers(std::int64_t a, std::int64_t b, std::int64_t& out) {
        return !__builtin_mul_overflow(a, b, &out);
    }
    static double reals(double a, double b) { return a * b; }
    static Computed any(const Scalar& a, const Scalar& b) { return model::multiply(a, b); }
};

void put_decimal(const Step& step, std::size_t row, bool fits, int128 value) {
    if (fits) [[likely]] {
        step.out_type[row] = Type::decimal;
        step.out_value[row].decimal = value;
    } else {
        put_fault(step, row, Fault::overflow);
    }
}

template <class F>
void numbers(const Step& step) {
    constexpr bool kProduct = std::is_same_v<F, Multiply>;
    const View a = step.in[0];
    const View b = step.in[1];
    for (const std::uint32_t row : step.rows) {
        const auto& x = a.value_at(row);
        const auto& y = b.value_at(row);
        switch (pair(a.type_at(row), b.type_at(row))) {
            case pair(Type::integer, Type::integer): {
                std::int64_t out = 0;
                if (F::integers(x.integer, y.integer, out)) [[likely]] {
                    step.out_type[row] = Type::integer;
                    step.out_value[row].integer = out;
                } else {
                    put_fault(step, row, Fault::overflow);
                }
                break;
            }
            case pair(Type::decimal, Type::integer): {
                int128 out = 0;
                bool fits = false;
                if constexpr (kProduct) {
                    fits = model::multiply_decimal(x.decimal, y.integer, out);
                } else {
                    fits = F::decimals(x.decimal, model::decimal_of(y.integer), out);
                }
                put_decimal(step, row, fits, out);
                break;
            }
            case pair(Type::integer, Type::decimal): {
                int128 out = 0;
                bool fits = false;
                if constexpr (kProduct) {
                    fits = model::multiply_decimal(y.decimal, x.integer, out);
                } else {
                    fits = F::decimals(model::decimal_of(x.integer), y.decimal, out);
                }
                put_decimal(step, row, fits, out);
                break;
            }
            case pair(Type::decimal, Type::decimal):
                if constexpr (kProduct) {
                    put(step, row, model::multiply_decimals(x.decimal, y.decimal));
                } else {
                    int128 out = 0;
                    const bool fits = F::decimals(x.decimal, y.decimal, out);
                    put_decimal(step, row, fits, out);
                }
                break;
            case pair(Type::real, Type::real): {
                const double out = F::reals(x.real, y.real);
                if (std::isfinite(out)) [[likely]] {
                    step.out_type[row] = Type::real;
                    step.out_value[row].real = out + 0.0;  // no -0, as everywhere
                } else {
                    put_fault(step, row, Fault::overflow);
                }
                break;
            }
            default:
                put(step, row, F::any(a.at(row), b.at(row)));
        }
    }
}

void quotients(const Step& step) {
    for (const std::uint32_t row : step.rows) {
        put(step, row, model::divide(step.in[0].at(row), step.in[1].at(row)));
    }
}

void remainders(const Step& step) {
    const View a = step.in[0];
    const View b = step.in[1];
    for (const std::uint32_t row : step.rows) {
        if (a.type_at(row) == Type::integer && b.type_at(row) == Type::integer &&
            b.value_at(row).integer > 0) {
            step.out_type[row] = Type::integer;
            step.out_value[row].integer = a.value_at(row).integer % b.value_at(row).integer;
        } else {
            put(step, row, model::remainder(a.at(row), b.at(row)));
        }
    }
}

// F: std::less<> and its like.
template <class F>
void compare(const Step& step) {
    const View a = step.in[0];
    const View b = step.in[1];
    constexpr F kTest;
    for (const std::uint32_t row : step.rows) {
        const auto& x = a.value_at(row);
        const auto& y = b.value_at(row);
        bool out = false;
        switch (pair(a.type_at(row), b.type_at(row))) {
            case pair(Type::integer, Type::integer):
                out = kTest(x.integer, y.integer);
                break;
            case pair(Type::decimal, Type::integer):
                out = kTest(x.decimal, model::decimal_of(y.integer));
                break;
            case pair(Type::integer, Type::decimal):
                out = kTest(model::decimal_of(x.integer), y.decimal);
                break;
            case pair(Type::decimal, Type::decimal):
                out = kTest(x.decimal, y.decimal);
                break;
            case pair(Type::real, Type::real):
                out = kTest(x.real, y.real);
                break;
            case pair(Type::text, Type::text):
                out = kTest(x.text.view(), y.text.view());
                break;
            default: {
                const Scalar left = a.at(row);
                const Scalar right = b.at(row);
                if (left.is_null() || right.is_null()) {
                    put_null(step, row);
                    continue;
                }
                const auto order = model::compare_scalars(left, right);
                if (!order) {
                    put_fault(step, row, Fault::wrong_type);
                    continue;
                }
                out = kTest(*order < 0 ? -1 : (*order > 0 ? 1 : 0), 0);
            }
        }
        put_boolean(step, row, out);
    }
}

}  // namespace

void run_arithmetic(const Step& step) {
    switch (step.instruction.op) {
        case Op::add:
            numbers<Add>(step);
            break;
        case Op::subtract:
            numbers<Subtract>(step);
            break;
        case Op::multiply:
            numbers<Multiply>(step);
            break;
        case Op::divide:
            quotients(step);
            break;
        case Op::remainder:
            remainders(step);
            break;
        default:  // negate
            for (const std::uint32_t row : step.rows) {
                put(step, row, model::negate(step.in[0].at(row)));
            }
    }
}

void run_comparison(const Step& step) {
    switch (step.instruction.op) {
        case Op::equal:
            compare<std::equal_to<>>(step);
            break;
        case Op::not_equal:
            compare<std::not_equal_to<>>(step);
            break;
        case Op::less:
            compare<std::less<>>(step);
            break;
        case Op::less_equal:
            compare<std::less_equal<>>(step);
            break;
        case Op::greater:
            compare<std::greater<>>(step);
            break;
        default:
            compare<std::greater_equal<>>(step);
    }
}

}  // namespace sluice::config::expression
