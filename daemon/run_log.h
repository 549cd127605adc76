// Says in the log what changed since it was last told, each change once.
//
// Thread: one (main).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "daemon/coordinator.h"
#include "state/store/completion.h"
#include "state/store/restore.h"

namespace sluice::daemon {

class RunLog {
 public:
    void restore(const state::Restore& restore);  // checkpoints that are not used
    void waiting(const std::string& what);        // of a start; empty: it moves
    // Returns whether a checkpoint was committed since. `stopping`: that input waits is no news.
    bool progress(const Coordinator::Report& report, bool stopping);
    void completion(const state::Completion::Report& completion);
    void next_engine() { checkpoints_ = 0; }

 private:
    std::size_t rejections_ = 0;
    std::string waiting_;
    std::uint64_t checkpoints_ = 0;
    std::string checkpoint_problem_, checkpoint_note_, paused_;
    std::string completing_, completion_problem_;
};

}  // namespace sluice::daemon
