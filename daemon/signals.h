// Signals as calls: a thread reads them from a signalfd, so that no handler ever runs in the middle
// of anything.
//
//   TERM, INT          stop in order, with a savepoint by policy; another one gives up what is
//                      unfinished and leaves with 75
//   USR1               a savepoint now; the daemon goes on
//   USR2               stop with a savepoint, whatever the policy
//   QUIT               leaves at once with 75
//   HUP                reload the configuration file
//   PIPE               ignored
//
// Leaving at once is safe at any instant: it is what a crash does.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "state/model/result.h"

namespace sluice::daemon {

// Life:   open() before any other thread exists, because threads inherit what is blocked.
//         Destruction joins the thread; the signals stay blocked.
class Signals {
 public:
    // Called on the thread `signals`, with the signal's name; they must not block.
    struct Actions {
        std::function<void(const std::string& signal)> stop;                 // once
        std::function<void(const std::string& signal)> stop_with_savepoint;  // once, instead of it
        std::function<void(const std::string& signal)> reload = {};
        std::function<void(const std::string& signal)> savepoint;
    };
    // Until open() takes them, they wait: one that comes early does not end the process.
    static void hold();
    static model::Result<std::unique_ptr<Signals>> open(Actions actions);
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

 private:
    class Running;
    explicit Signals(std::unique_ptr<Running> running);
    std::unique_ptr<Running> running_;
};

}  // namespace sluice::daemon
