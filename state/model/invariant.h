// Broken program logic is not an error value: it is said once and ends the process, in release
// builds too.
#pragma once

namespace sluice::model {

// Prints the broken condition to stderr and leaves with exit code 70; aborts in debug builds, for
// the core dump.
[[noreturn]] void invariant_broken(const char* condition, const char* text, const char* file,
                                   int line);

}  // namespace sluice::model

#define INVARIANT(condition, text) \
    (static_cast<bool>(condition)  \
         ? static_cast<void>(0)    \
         : ::sluice::model::invariant_broken(#condition, text, __FILE__, __LINE__))
