#include <cstdio>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {

int command_checkpoint(const CheckpointOptions& options) {
    const auto target = find_target(options.target, config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    const auto answer = ask(*target, "POST", "/checkpoint", 0);
    if (!answer) {
        std::fprintf(stderr, "sluice: %s\n", answer.error().text.c_str());
        return kExitUnreachable;
    }
    if (answer->status != 200) {
        std::fprintf(stderr, "sluice: no checkpoint: %s", answer->body.c_str());
        return kExitNoSnapshot;
    }
    std::fputs(options.json ? answer->body.c_str() : "checkpoint taken\n", stdout);
    return kExitOk;
}

}  // namespace sluice::daemon
