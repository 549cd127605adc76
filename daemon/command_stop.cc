#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {
namespace {

// Blocks until the process is gone; false: it was not within `timeout_ms` (-1: for ever). `file` is
// a descriptor of the process, taken before it was asked to stop, so that a number that is used
// again cannot be mistaken for it.
bool wait_until_gone(int file, int timeout_ms) {
    pollfd gone{file, POLLIN, 0};
    int ready = 0;
    while ((ready = poll(&gone, 1, timeout_ms)) < 0) {
    }
    return ready > 0;
}

}  // namespace

int command_stop(const StopOptions& options) {
    const auto target = find_target(options.target, config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    const auto alive = ask(*target, "GET", "/livez", kAnswerTimeoutMs);
    if (!alive) {
        std::fprintf(stderr, "sluice: %s\n", alive.error().text.c_str());
        return kExitUnreachable;
    }
    const int process =
        static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(alive->pid), 0));
    std::string path = "/stop?drain=" + std::string(options.drain ? "yes" : "no");
    if (options.savepoint || options.no_savepoint) {
        path += options.savepoint ? "&savepoint=yes" : "&savepoint=no";
    }
    const auto asked = ask(*target, "POST", path + "&wait=yes", 0);
    if (asked && asked->status != 200) {
        std::fprintf(stderr, "sluice: %s\n", reason_in(asked->body).c_str());
        return kExitUnreachable;
    }
    if (process >= 0) {
        const bool gone = wait_until_gone(process, asked ? -1 : static_cast<int>(kAnswerTimeoutMs));
        close(process);
        if (!gone) {
            std::fprintf(stderr, "sluice: %s\n", asked.error().text.c_str());
            return kExitUnreachable;
        }
    } else {
        // Another process namespace: the socket is all that we see of it.
        while (ask(*target, "GET", "/livez", kAnswerTimeoutMs)) {
            usleep(100'000);
        }
    }
    // Whoever left without a word left without order: QUIT, a second TERM, a crash.
    const auto verdict = nlohmann::json::parse(asked ? asked->body : std::string(), nullptr, false);
    const bool said = verdict.is_object();
    const int exit_code = said ? verdict.value("exit_code", kExitOk) : kExitNoSnapshot;
    if (exit_code != kExitOk) {
        std::fprintf(stderr, "sluice: %s: %s\n", target->name.c_str(),
                     said ? verdict.value("text", "").c_str()
                          : "left without a stop in order; the last complete snapshot is kept");
    }
    const std::string savepoint =
        said && exit_code == kExitOk ? verdict.value("savepoint", "") : "";
    if (options.json) {
        std::printf("%s\n", nlohmann::ordered_json{{"name", target->name},
                                                   {"stopped", true},
                                                   {"pid", alive->pid},
                                                   {"exit_code", exit_code},
                                                   {"savepoint", savepoint}}
                                .dump()
                                .c_str());
    } else if (exit_code == kExitOk) {
        std::printf("%s stopped%s%s\n", target->name.c_str(),
                    savepoint.empty() ? "" : " with savepoint ", savepoint.c_str());
    }
    return exit_code;
}

}  // namespace sluice::daemon
