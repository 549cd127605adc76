// Stands in on this branch until the pipeline itself is there.
#include <cstdio>

#include "daemon/commands.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {
namespace {

int not_in_this_build(const char* command) {
    std::fprintf(stderr, "sluice: this build has no `%s`\n", command);
    return kExitUsage;
}

}  // namespace

int command_demo(const DemoOptions& /*options*/) { return not_in_this_build("demo"); }

}  // namespace sluice::daemon
