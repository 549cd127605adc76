// The functions of expressions over columns.
#include <algorithm>
#include <array>
#include <cstring>

#include "config/expression/kernels.h"
#include "state/model/key.h"

namespace sluice::config::expression {

namespace {

using model::Computed;
using model::Fault;
using model::Scalar;
using model::Type;

// A text that an expression makes is at most so long; beyond it is overflow. Without a bound, a few
// nested replace() would fill the memory from one record.
constexpr std::size_t kLongestText = 16 * 1024 * 1024;

Computed value(const Scalar& scalar) { return {scalar, Fault::none}; }
Computed failed(Fault fault) { return {Scalar{}, fault}; }

template <class F>
void each(const Step& step, F f) {
    for (const std::uint32_t row : step.rows) {
        put(step, row, f(row));
    }
}

// f(text) where the operand is a text; null for null, anything else is a wrong type.
template <class F>
void each_text(const Step& step, F f) {
    each(step, [&step, &f](std::size_t row) -> Computed {
        const Scalar x = step.in[0].at(row);
        if (x.type == Type::text) [[likely]] {
            return f(x.value.text.view());
        }
        return x.is_null() ? Computed{} : failed(Fault::wrong_type);
    });
}

// The types of operands 1 to N - 1 in turn; null among any of them gives null.
template <std::size_t N, class F>
void each_typed(const Step& step, const std::array<Type, N>& types, F f) {
    each(step, [&step, &types, &f](std::size_t row) -> Computed {
        std::array<Scalar, N> in;
        bool null = false;
        bool wrong = false;
        for (std::size_t i = 0; i < N; ++i) {
            in[i] = step.in[i].at(row);
            null = null || in[i].is_null();
            wrong = wrong || (in[i].type != types[i] && !in[i].is_null());
        }
        if (null || wrong) [[unlikely]] {
            return null ? Computed{} : failed(Fault::wrong_type);
        }
        return f(in);
    });
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// ASCII only; a text without such letters is handed on as it is.
Computed with_letters(model::Arena& arena, std::string_view text, char first, char last,
                      int distance) {
    const auto is_wanted = [first, last](char c) { return c >= first && c <= last; };
    if (std::none_of(text.begin(), text.end(), is_wanted)) {
        return value(Scalar::of(text));
    }
    char* out = arena.allocate(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        out[i] = is_wanted(text[i]) ? static_cast<char>(text[i] + distance) : text[i];
    }
    return value(Scalar::of(std::string_view(out, text.size())));
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_space(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_space(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

// A byte that begins a code point. Bytes that are not UTF-8 (Kafka keys) end up in some code point.
bool begins(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

std::int64_t length(std::string_view text) {
    return std::count_if(text.begin(), text.end(), begins);
}

// Where code point `n` begins, at least at `at`, where one begins.
std::size_t advance(std::string_view text, std::size_t at, std::int64_t n) {
    while (n > 0 && at < text.size()) {
        ++at;
        while (at < text.size() && !begins(text[at])) {
            ++at;
        }
        --n;
    }
    return at;
}

Computed substring(std::string_view text, std::int64_t from, std::int64_t count) {
    if (from < 0 || count < 0) {
        return {};
    }
    const std::size_t start = advance(text, 0, from);
    return value(Scalar::of(text.substr(start, advance(text, start, count) - start)));
}

Computed replaced(model::Arena& arena, std::string_view text, std::string_view from,
                  std::string_view to) {
    std::size_t found = 0;
    if (!from.empty()) {
        for (std::size_t at = text.find(from); at != std::string_view::npos;
             at = text.find(from, at + from.size())) {
            ++found;
        }
    }
    if (found == 0) {
        return value(Scalar::of(text));
    }
    const std::size_t size = text.size() - found * from.size() + found * to.size();
    if (size > kLongestText) {
        return failed(Fault::overflow);
    }
    char* const out = arena.allocate(size);
    char* next = out;
    const auto append = [&next](std::string_view part) {
        next = std::copy(part.begin(), part.end(), next);
    };
    std::size_t at = 0;
    while (found-- > 0) {
        const std::size_t hit = text.find(from, at);
        append(text.substr(at, hit - at));
        append(to);
        at = hit + from.size();
    }
    append(text.substr(at));
    return value(Scalar::of(std::string_view(out, size)));
}

Computed split(std::string_view text, std::string_view separator, std::int64_t index) {
    if (index < 0 || separator.empty()) {
        return {};
    }
    while (true) {
        const std::size_t end = text.find(separator);
        if (index == 0) {
            return value(Scalar::of(text.substr(0, end)));
        }
        if (end == std::string_view::npos) {
            return {};
        }
        text.remove_prefix(end + separator.size());
        --index;
    }
}

void concat(const Step& step) {
    const std::uint32_t count = step.instruction.count;
    std::array<char, model::kPrintedMax * kMaxOperands> printed;
    std::array<std::string_view, kMaxOperands> parts;
    each(step, [&](std::size_t row) -> Computed {
        std::size_t size = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            const Scalar x = step.in[i].at(row);
            if (x.is_null()) {
                return {};
            }
            if (x.type == Type::text) {
                parts[i] = x.value.text.view();
            } else {
                char* const to = printed.data() + i * model::kPrintedMax;
                parts[i] = {to, model::print(to, x)};
            }
            size += parts[i].size();
        }
        if (size > kLongestText) {
            return failed(Fault::overflow);
        }
        char* const out = step.arena.allocate(size);
        char* next = out;
        for (std::uint32_t i = 0; i < count; ++i) {
            next = std::copy(parts[i].begin(), parts[i].end(), next);
        }
        return value(Scalar::of(std::string_view(out, size)));
    });
}

Computed to_text(model::Arena& arena, const Scalar& x) {
    if (x.is_null() || x.type == Type::text) {
        return value(x);
    }
    std::array<char, model::kPrintedMax> printed;
    const char* end = model::print(printed.data(), x);
    return value(Scalar::of(arena.copy({printed.data(), end})));
}

Computed to_boolean(const Scalar& x) {
    switch (x.type) {
        case Type::null:
            break;
        case Type::boolean:
            return value(x);
        case Type::integer:
            return value(Scalar::of(x.value.integer != 0));
        case Type::decimal:
            return value(Scalar::of(x.value.decimal != 0));
        case Type::real:
            return value(Scalar::of(x.value.real != 0));
        case Type::text: {
            const std::string_view text = x.value.text.view();
            if (text == "true" || text == "false") {
                return value(Scalar::of(text == "true"));
            }
            return failed(Fault::unreadable);
        }
    }
    return {};
}

// Numbers are epoch milliseconds already.
Computed to_time(const Scalar& x) {
    if (x.type == Type::text) {
        const auto time = model::parse_rfc3339(x.value.text.view());
        return time ? value(Scalar::of(*time)) : failed(Fault::unreadable);
    }
    if (!x.is_number()) {
        return x.is_null() ? Computed{} : failed(Fault::wrong_type);
    }
    const Computed whole = model::to_integer(model::floor(x).value);
    const std::int64_t ms = whole.value.value.integer;
    if (whole.value.is_null() || ms < model::kFirstInstant || ms > model::kLastInstant) {
        return failed(Fault::unreadable);
    }
    return whole;
}

Computed hash(const Scalar& x) {
    if (x.is_null()) {
        return {};
    }
    std::array<char, model::kPrintedMax> printed;
    const std::string_view text =
        x.type == Type::text ? x.value.text.view()
                             : std::string_view(printed.data(), model::print(printed.data(), x));
    return value(Scalar::of(static_cast<std::int64_t>(model::key_hash(text))));
}

// min() and max(): of equal numbers the first.
Computed extreme(const Scalar& a, const Scalar& b, bool least) {
    if (a.is_null() || b.is_null()) {
        return {};
    }
    const auto order = model::compare_scalars(a, b);
    if (!order) {
        return failed(Fault::wrong_type);
    }
    return value((least ? *order <= 0 : *order >= 0) ? a : b);
}

Computed rounded(const Step& step, std::size_t row) {
    const Scalar x = step.in[0].at(row);
    if (step.instruction.count == 1) {
        return model::round(x, 0);
    }
    const Scalar places = step.in[1].at(row);
    if (x.is_null() || places.is_null()) {
        return {};
    }
    return places.type == Type::integer ? model::round(x, places.value.integer)
                                        : failed(Fault::wrong_type);
}

template <Computed (*F)(const Scalar&)>
void each_scalar(const Step& step) {
    each(step, [&step](std::size_t row) { return F(step.in[0].at(row)); });
}

// f(text, part): starts_with and its like.
template <class F>
void each_test(const Step& step, F f) {
    each_typed<2>(step, {Type::text, Type::text}, [&f](const std::array<Scalar, 2>& in) {
        return value(Scalar::of(f(in[0].value.text.view(), in[1].value.text.view())));
    });
}

}  // namespace

void run_function(const Step& step) {
    model::Arena& arena = step.arena;
    switch (step.instruction.op) {
        case Op::to_integer:
            each_scalar<model::to_integer>(step);
            break;
        case Op::to_real:
            each_scalar<model::to_real>(step);
            break;
        case Op::to_decimal:
            each_scalar<model::to_decimal>(step);
            break;
        case Op::to_text:
            each(step, [&](std::size_t row) { return to_text(arena, step.in[0].at(row)); });
            break;
        case Op::to_boolean:
            each_scalar<to_boolean>(step);
            break;
        case Op::to_time:
            each_scalar<to_time>(step);
            break;
        case Op::lower:
            each_text(step, [&](std::string_view text) {
                return with_letters(arena, text, 'A', 'Z', 'a' - 'A');
            });
            break;
        case Op::upper:
            each_text(step, [&](std::string_view text) {
                return with_letters(arena, text, 'a', 'z', 'A' - 'a');
            });
            break;
        case Op::trim:
            each_text(step, [](std::string_view text) { return value(Scalar::of(trimmed(text))); });
            break;
        case Op::length:
            each_text(step, [](std::string_view text) { return value(Scalar::of(length(text))); });
            break;
        case Op::substring:
            each_typed<3>(step, {Type::text, Type::integer, Type::integer},
                          [](const std::array<Scalar, 3>& in) {
                              return substring(in[0].value.text.view(), in[1].value.integer,
                                               in[2].value.integer);
                          });
            break;
        case Op::concat:
            concat(step);
            break;
        case Op::replace:
            each_typed<3>(step, {Type::text, Type::text, Type::text},
                          [&](const std::array<Scalar, 3>& in) {
                              return replaced(arena, in[0].value.text.view(),
                                              in[1].value.text.view(), in[2].value.text.view());
                          });
            break;
        case Op::split:
            each_typed<3>(step, {Type::text, Type::text, Type::integer},
                          [](const std::array<Scalar, 3>& in) {
                              return split(in[0].value.text.view(), in[1].value.text.view(),
                                           in[2].value.integer);
                          });
            break;
        case Op::starts_with:
            each_test(step,
                      [](std::string_view x, std::string_view y) { return x.starts_with(y); });
            break;
        case Op::ends_with:
            each_test(step, [](std::string_view x, std::string_view y) { return x.ends_with(y); });
            break;
        case Op::contains:
            each_test(step, [](std::string_view x, std::string_view y) {
                return x.find(y) != std::string_view::npos;
            });
            break;
        case Op::absolute:
            each_scalar<model::absolute>(step);
            break;
        case Op::round:
            each(step, [&step](std::size_t row) { return rounded(step, row); });
            break;
        case Op::floor:
            each_scalar<model::floor>(step);
            break;
        case Op::ceil:
            each_scalar<model::ceil>(step);
            break;
        case Op::least:
        case Op::greatest: {
            const bool least = step.instruction.op == Op::least;
            each(step, [&step, least](std::size_t row) {
                return extreme(step.in[0].at(row), step.in[1].at(row), least);
            });
            break;
        }
        case Op::hash:
            each_scalar<hash>(step);
            break;
        default:
            break;
    }
}

}  // namespace sluice::config::expression
