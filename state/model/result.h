// What a call that can fail returns. An error's kind says what the caller can do, its text where it
// happened.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace sluice::model {

enum class ErrorKind {
    unavailable,  // try again with back-off: broker, Redis or disk does not answer
    exhausted,    // stop taking input until there is room
    invalid,      // this record or this configuration is wrong: set it aside, or refuse to start
    corrupt,      // stored bytes are not what we wrote: stop, never guess
    fenced,       // a newer instance owns this: stop
    cancelled,    // we are stopping
};

struct Error {
    ErrorKind kind = ErrorKind::invalid;
    std::string text;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(ErrorKind kind, std::string text) {
    return std::unexpected(Error{kind, std::move(text)});
}
inline std::unexpected<Error> unavailable(std::string text) {
    return fail(ErrorKind::unavailable, std::move(text));
}
inline std::unexpected<Error> exhausted(std::string text) {
    return fail(ErrorKind::exhausted, std::move(text));
}
inline std::unexpected<Error> invalid(std::string text) {
    return fail(ErrorKind::invalid, std::move(text));
}
inline std::unexpected<Error> corrupt(std::string text) {
    return fail(ErrorKind::corrupt, std::move(text));
}
inline std::unexpected<Error> fenced(std::string text) {
    return fail(ErrorKind::fenced, std::move(text));
}
inline std::unexpected<Error> cancelled(std::string text) {
    return fail(ErrorKind::cancelled, std::move(text));
}

}  // namespace sluice::model

#define SLUICE_CONCAT_(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_(a, b)
#define SLUICE_TRY1(tmp, expr)                              \
    do {                                                    \
        if (auto tmp = (expr); !tmp) {                      \
            return std::unexpected(std::move(tmp.error())); \
        }                                                   \
    } while (false)
#define SLUICE_TRY2(tmp, name, expr)                    \
    auto tmp = (expr);                                  \
    if (!tmp) {                                         \
        return std::unexpected(std::move(tmp.error())); \
    }                                                   \
    auto name = std::move(*tmp)
#define SLUICE_PICK_TRY(a, b, macro, ...) macro
#define SLUICE_TRY_VALUE(name, expr) SLUICE_TRY2(SLUICE_CONCAT(try_, __COUNTER__), name, expr)
#define SLUICE_TRY_STATUS(expr) SLUICE_TRY1(SLUICE_CONCAT(try_, __COUNTER__), expr)
// TRY(name, expression): binds the value or returns the error. TRY(expression): the same without a
// value.
#define TRY(...) \
    SLUICE_PICK_TRY(__VA_ARGS__, SLUICE_TRY_VALUE, SLUICE_TRY_STATUS, unused)(__VA_ARGS__)
