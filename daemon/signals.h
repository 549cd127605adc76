// Signals as calls: a thread reads them from a signalfd, so that no handler ever runs in the middle
// of anything.
//
//   TERM, INT          stop in order; a second one gives up what is unfinished and leaves with 75
//   QUIT               leaves at once with 75
//   HUP, USR1, USR2    logged: not available in this version
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
    // `stop` is called once, on the thread `signals`, with the signal's name, and must not block.
    static model::Result<std::unique_ptr<Signals>> open(
        std::function<void(const std::string& signal)> stop);
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

 private:
    class Running;
    explicit Signals(std::unique_ptr<Running> running);
    std::unique_ptr<Running> running_;
};

}  // namespace sluice::daemon
