// Places that tests/mutants breaks on purpose, to see that some test notices. `SLUICE_MUTANT(NAME)`
// is the constant false, but in sources that are compiled once more with SLUICE_MUTANTS for that
// folder: there it is true when the environment variable SLUICE_MUTANT says NAME.
#pragma once

#ifdef SLUICE_MUTANTS
#include <cstdlib>
#include <string_view>

namespace sluice::model {

// Any thread; the variable is read once.
inline bool mutant_is(std::string_view name) {
    static const char* const chosen = std::getenv("SLUICE_MUTANT");
    return chosen != nullptr && name == chosen;
}

}  // namespace sluice::model

#define SLUICE_MUTANT(name) (::sluice::model::mutant_is(#name))
#else
#define SLUICE_MUTANT(name) false
#endif
