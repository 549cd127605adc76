// A process that the demo starts and that never outlives it.
//
// Each is in a process group of its own, so that Ctrl-C at the terminal reaches the demo alone,
// which then ends its children in order; the kernel kills them when the demo dies in any other way.
// Their output goes to a file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "state/model/result.h"

namespace sluice::daemon {

// Life:    start() or fork(), kill() or end(); destruction kills.
// Thread:  the main thread only: the kernel takes the death of the thread that started a process
// for
//          the death of its parent.
class DemoChild {
 public:
    DemoChild() = default;
    ~DemoChild() { kill(); }
    DemoChild(DemoChild&& other) noexcept
        : pid_(std::exchange(other.pid_, -1)), code_(other.code_) {}
    DemoChild& operator=(DemoChild&& other) noexcept {
        kill();
        pid_ = std::exchange(other.pid_, -1);
        code_ = other.code_;
        return *this;
    }

    // Runs `program` (a path) with `arguments` (the first one is its name) and exactly
    // `environment`. A program that cannot be run is a process that ends with 127. Errors:
    // unavailable.
    static model::Result<DemoChild> start(const std::string& program,
                                          std::vector<std::string> arguments,
                                          std::vector<std::string> environment,
                                          const std::string& output_path);
    // Runs `body` in a copy of this process; its value is the exit code. Only for a process that
    // has one thread. Errors: unavailable.
    static model::Result<DemoChild> fork(const std::function<int()>& body,
                                         const std::string& output_path);

    pid_t pid() const { return pid_; }  // -1: none
    // False once it has ended; end() says how.
    bool alive();
    void kill();  // -9; blocks until it is gone
    // Asks it to stop (TERM) if `ask`, and waits for its end, at most `timeout_ms`; `go_on` is
    // called all the while and gives up with false. Returns the exit code, 128 + the signal that
    // ended it, or -1: it still runs.
    int end(bool ask, std::int64_t timeout_ms, const std::function<bool()>& go_on);

 private:
    explicit DemoChild(pid_t pid) : pid_(pid) {}

    pid_t pid_ = -1;
    int code_ = -1;
};

}  // namespace sluice::daemon
