#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {
namespace {

constexpr std::int64_t kTimeoutMs = 5'000;

// Blocks until process `pid` is gone. `file` is a descriptor of the process, taken before it was
// asked to stop, so that a number that is used again cannot be mistaken for it.
void wait_until_gone(int file) {
    pollfd gone{file, POLLIN, 0};
    while (poll(&gone, 1, -1) < 0) {
    }
}

}  // namespace

int command_stop(const StopOptions& options) {
    const auto target = find_target(options.target, config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    const auto alive = ask(*target, "GET", "/livez", kTimeoutMs);
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
    const auto asked = ask(*target, "POST", path, kTimeoutMs);
    if (!asked || asked->status != 202) {
        std::fprintf(stderr, "sluice: %s\n",
                     asked ? asked->body.c_str() : asked.error().text.c_str());
        return kExitUnreachable;
    }
    if (process >= 0) {
        wait_until_gone(process);
        close(process);
    } else {
        // Another process namespace: the socket is all that we see of it.
        while (ask(*target, "GET", "/livez", kTimeoutMs)) {
            usleep(100'000);
        }
    }
    if (options.json) {
        std::printf("{\"name\":\"%s\",\"stopped\":true,\"pid\":%lld}\n", target->name.c_str(),
                    static_cast<long long>(alive->pid));
    } else {
        std::printf("%s stopped\n", target->name.c_str());
    }
    return kExitOk;
}

}  // namespace sluice::daemon
