#include <cstdio>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"
#include "daemon/snapshot_list.h"

namespace sluice::daemon {

int command_checkpoint(const CheckpointOptions& options) {
    const bool list = options.words.front() == "list" && options.words.size() == 2;
    if (!list && options.words.size() != 1) {
        std::fputs("sluice: checkpoint: `checkpoint NAME` or `checkpoint list NAME`\n", stderr);
        return kExitUsage;
    }
    const auto target = find_target(options.words.back(), config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    if (list) {
        auto snapshots = list_snapshots(*target);
        if (!snapshots) {
            std::fprintf(stderr, "sluice: %s\n", snapshots.error().text.c_str());
            return kExitUnreachable;
        }
        std::erase_if(*snapshots, [](const auto& one) { return one.kind != "checkpoint"; });
        print_snapshots(*snapshots, options.json);
        return kExitOk;
    }
    const auto answer = ask(*target, "POST", "/checkpoint", 0);
    if (!answer) {
        std::fprintf(stderr, "sluice: %s\n", answer.error().text.c_str());
        return kExitUnreachable;
    }
    if (answer->status != 200) {
        std::fprintf(stderr, "sluice: no checkpoint: %s\n", reason_in(answer->body).c_str());
        return kExitNoSnapshot;
    }
    std::fputs(options.json ? answer->body.c_str() : "checkpoint taken\n", stdout);
    return kExitOk;
}

}  // namespace sluice::daemon
