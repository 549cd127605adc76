#include "daemon/demo_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

namespace sluice::daemon {
namespace {

int code_of(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// What a new process does first. The parent may have many threads, each of which may hold a lock:
// system calls only.
void settle(pid_t parent, int output) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) {  // it died before the line above
        ::_exit(1);
    }
    ::setpgid(0, 0);
    for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) {
        ::signal(number, SIG_DFL);
    }
    const int input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(input, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

int open_output(const std::string& path) {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

}  // namespace

model::Result<DemoChild> DemoChild::start(const std::string& program,
                                          std::vector<std::string> arguments,
                                          std::vector<std::string> environment,
                                          const std::string& output_path) {
    const std::vector<char*> argv = pointers(arguments);
    const std::vector<char*> envp = pointers(environment);
    const int output = open_output(output_path);
    const pid_t parent = ::getpid();
    const pid_t pid = output < 0 ? -1 : ::fork();
    if (pid == 0) {
        settle(parent, output);
        ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
        ::execve(program.c_str(), argv.data(), envp.data());
        ::_exit(127);
    }
    const int problem = errno;
    ::close(output);
    if (pid < 0) {
        return model::unavailable(arguments.front() + ": " + std::strerror(problem));
    }
    return DemoChild(pid);
}

model::Result<DemoChild> DemoChild::fork(const std::function<int()>& body,
                                         const std::string& output_path) {
    std::fflush(nullptr);  // or both processes write what is still in the buffers
    const int output = open_output(output_path);
    const pid_t parent = ::getpid();
    const pid_t pid = output < 0 ? -1 : ::fork();
    if (pid == 0) {
        settle(parent, output);
        ::_exit(body());
    }
    const int problem = errno;
    ::close(output);
    if (pid < 0) {
        return model::unavailable(std::string("fork: ") + std::strerror(problem));
    }
    return DemoChild(pid);
}

bool DemoChild::alive() {
    int status = 0;
    if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) {
        code_ = code_of(status);
        pid_ = -1;
    }
    return pid_ > 0;
}

void DemoChild::kill() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        code_ = code_of(status);
        pid_ = -1;
    }
}

int DemoChild::end(bool ask, std::int64_t timeout_ms, const std::function<bool()>& go_on) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    if (ask && alive()) {
        ::kill(pid_, SIGTERM);
    }
    while (alive()) {
        if (std::chrono::steady_clock::now() >= deadline || !go_on()) {
            return -1;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return code_;
}

}  // namespace sluice::daemon
