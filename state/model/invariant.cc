#include "state/model/invariant.h"

#include <cstdio>
#include <cstdlib>

namespace sluice::model {

void invariant_broken(const char* condition, const char* text, const char* file, int line) {
    std::fprintf(stderr, "broken invariant: %s (%s) at %s:%d\n", text, condition, file, line);
    std::fflush(stderr);
#ifdef NDEBUG
    std::_Exit(70);
#else
    std::abort();
#endif
}

}  // namespace sluice::model
