#include "daemon/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "daemon/exit_code.h"
#include "daemon/logging.h"

namespace sluice::daemon {
namespace {

std::string signal_name(int signal) {
    const char* name = sigabbrev_np(signal);
    return name == nullptr ? std::to_string(signal) : name;
}

sigset_t ours() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2}) {
        sigaddset(&set, signal);
    }
    return set;
}

}  // namespace

class Signals::Running {
 public:
    Running(Actions actions, int signals, int leave)
        : actions_(std::move(actions)),
          signals_(signals),
          leave_(leave),
          thread_([this] { run(); }) {}

    ~Running() {
        const std::uint64_t one = 1;
        if (write(leave_, &one, sizeof(one)) != sizeof(one)) {
            std::abort();  // an eventfd takes a one as long as it is open
        }
        thread_.join();
        close(signals_);
        close(leave_);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

 private:
    void run() {
        pthread_setname_np(pthread_self(), "signals");
        while (true) {
            std::array<pollfd, 2> files{{{signals_, POLLIN, 0}, {leave_, POLLIN, 0}}};
            if (poll(files.data(), files.size(), -1) < 0) {
                continue;
            }
            if (files[1].revents != 0) {
                return;
            }
            signalfd_siginfo info{};
            if (read(signals_, &info, sizeof(info)) == sizeof(info)) {
                take(static_cast<int>(info.ssi_signo));
            }
        }
    }

    void take(int signal) {
        const std::string name = signal_name(signal);
        switch (signal) {
            case SIGTERM:
            case SIGINT:
                if (stopping_) {
                    log_warning(
                        "asked again to stop: what is unfinished is given up, the last complete "
                        "snapshot is kept",
                        {{"signal", name}});
                    std::_Exit(kExitNoSnapshot);
                }
                stopping_ = true;
                log_info("asked to stop", {{"signal", name}});
                actions_.stop(name);
                break;
            case SIGUSR2:
                if (stopping_) {
                    log_warning("the stop is under way already", {{"signal", name}});
                    break;
                }
                stopping_ = true;
                log_info("asked to stop with a savepoint", {{"signal", name}});
                actions_.stop_with_savepoint(name);
                break;
            case SIGUSR1:
                log_info("asked for a savepoint", {{"signal", name}});
                actions_.savepoint(name);
                break;
            case SIGQUIT:
                log_warning("leaving at once; the last complete snapshot is kept",
                            {{"signal", name}});
                std::_Exit(kExitNoSnapshot);
            case SIGHUP:
                log_info("asked to reload the configuration", {{"signal", name}});
                actions_.reload(name);
                break;
            default:
                break;
        }
    }

    const Actions actions_;
    const int signals_;
    const int leave_;
    bool stopping_ = false;  // own thread
    std::thread thread_;
};

void Signals::hold() {
    const sigset_t set = ours();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

Signals::Signals(std::unique_ptr<Running> running) : running_(std::move(running)) {}
Signals::~Signals() = default;

model::Result<std::unique_ptr<Signals>> Signals::open(Actions actions) {
    const sigset_t set = ours();
    std::signal(SIGPIPE, SIG_IGN);
    if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
        return model::unavailable(std::string("signals cannot be blocked: ") +
                                  std::strerror(error));
    }
    const int signals = signalfd(-1, &set, SFD_CLOEXEC);
    const int leave = eventfd(0, EFD_CLOEXEC);
    if (signals < 0 || leave < 0) {
        return model::unavailable(std::string("signalfd: ") + std::strerror(errno));
    }
    return std::unique_ptr<Signals>(
        new Signals(std::make_unique<Running>(std::move(actions), signals, leave)));
}

}  // namespace sluice::daemon
