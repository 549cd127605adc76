#include <chrono>
#include <cstdio>
#include <thread>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"
#include "daemon/status.h"
#include "state/model/clock.h"

namespace sluice::daemon {
namespace {

int show_once(const Target& target, bool as_json) {
    const auto answer = ask(target, "GET", "/status", kAnswerTimeoutMs);
    if (!answer) {
        std::fprintf(stderr, "sluice: %s\n", answer.error().text.c_str());
        return kExitUnreachable;
    }
    const auto status = status_from_json(answer->body);
    if (!status) {
        std::fprintf(stderr, "sluice: `%s`: %s\n", target.name.c_str(),
                     status.error().text.c_str());
        return kExitUnreachable;
    }
    const model::SystemClock clock;
    std::fputs(as_json ? answer->body.c_str() : to_page(*status, clock.wall_ms()).c_str(), stdout);
    return status->ready ? kExitOk : kExitFalse;
}

}  // namespace

int command_status(const StatusOptions& options) {
    const auto target = find_target(options.target, config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    int exit_code = show_once(*target, options.json);
    while (options.watch && std::fflush(stdout) == 0) {
        std::this_thread::sleep_for(std::chrono::seconds(2));
        std::fputs(options.json ? "" : "\n", stdout);
        exit_code = show_once(*target, options.json);
    }
    return exit_code;
}

}  // namespace sluice::daemon
