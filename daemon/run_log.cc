#include "daemon/run_log.h"

#include <utility>

#include "daemon/logging.h"
#include "ingest/log.h"

namespace sluice::daemon {

void RunLog::restore(const state::Restore& restore) {
    while (rejections_ < restore.rejected().size()) {
        const state::Rejection& rejection = restore.rejected()[rejections_++];
        log_warning("a checkpoint is not used",
                    {{"path", rejection.path}, {"reason", rejection.reason}});
    }
}

void RunLog::waiting(const std::string& what) {
    if (what.empty() || what == waiting_ || what.ends_with(kConnecting)) {
        return;
    }
    waiting_ = what;
    if (ingest::tells_of_a_gap(what)) {
        // Nobody can tell any more: what was there is gone.
        log_warning("waiting", {{"for", what},
                                {"hint",
                                 "a start with --accept-gap goes on above it; no record is missing "
                                 "if that was only markers of transactions"}});
    } else {
        log_warning("waiting", {{"for", what}});
    }
}

void RunLog::conditions(const std::vector<Condition>& conditions) {
    for (const Condition& condition : conditions) {
        if (condition.ok && troubles_.erase(condition.name) > 0) {
            log_info("trouble is over", {{"condition", condition.name}});
        } else if (!condition.ok && condition.reason != kStarting &&
                   condition.reason != kConnecting && troubles_.insert(condition.name).second) {
            log_warning("trouble", {{"condition", condition.name}, {"reason", condition.reason}});
        }
    }
}

bool RunLog::progress(const Coordinator::Report& report, bool stopping) {
    if (report.input_paused_reason != paused_ && !stopping) {
        if (report.input_paused_reason.empty()) {
            log_info("input flows again");
        } else {
            log_warning("input waits", {{"reason", report.input_paused_reason}});
        }
        paused_ = report.input_paused_reason;
    }
    const Checkpoints::Report& checkpoints = report.checkpoints;
    if (checkpoints.problem != std::exchange(checkpoint_problem_, checkpoints.problem) &&
        !checkpoints.problem.empty()) {
        log_warning("a checkpoint was skipped", {{"reason", checkpoints.problem}});
    }
    if (checkpoints.note != std::exchange(checkpoint_note_, checkpoints.note) &&
        !checkpoints.note.empty()) {
        log_warning("trouble behind a checkpoint", {{"reason", checkpoints.note}});
    }
    if (!checkpoints.last || checkpoints.completed == checkpoints_) {
        return false;
    }
    checkpoints_ = checkpoints.completed;
    const state::CheckpointSummary& info = checkpoints.last->info;
    log_info("checkpoint", {{"id", info.id},
                            {"bytes", info.bytes},
                            {"new_bytes", info.new_bytes},
                            {"duration_ms", info.duration_ms},
                            {"pause_us", checkpoints.last->pause_us}});
    return true;
}

void RunLog::completion(const state::Completion::Report& completion) {
    if (completion.completing != completing_) {
        if (!completing_.empty() && completion.problem.empty()) {
            log_info("savepoint completed", {{"name", completing_}});
        }
        completing_ = completion.completing;
    }
    if (completion.problem != std::exchange(completion_problem_, completion.problem) &&
        !completion.problem.empty()) {
        log_warning("a savepoint is not complete; it is valid, and shares files until it is",
                    {{"reason", completion.problem}});
    }
}

}  // namespace sluice::daemon
