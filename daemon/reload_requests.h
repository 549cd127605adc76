// Requests that the edited file take over, from whoever asks (the admin API, HUP) to the verdict.
//
// All or nothing: the file is read and judged before anything is asked of an engine. One edit at a
// time: while it is under way others wait, and are judged against what it leaves. Whoever asked has
// the verdict when the new settings are in force.
//
// Thread: request() any; everything else one (main).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "config/environment.h"
#include "config/settings.h"
#include "daemon/cli.h"
#include "daemon/http_server.h"

namespace sluice::daemon {

class ReloadRequests {
 public:
    // Both outlive it.
    ReloadRequests(const RunOptions& options, const config::Environment& environment)
        : options_(options), environment_(environment) {}

    void request(Done done);

    // There are no settings in force to judge an edit by: who waits is refused.
    void refuse();
    // Reads the file, if anybody asked, and judges it by the settings in force. `current` is the
    // file that they came with: what is read when the process starts stays as it is there. Null:
    // nobody asked, or it was refused with reasons. Not while one is under way.
    std::shared_ptr<config::Pipeline> take_up(const config::Pipeline& current,
                                              const config::Pipeline& in_force);
    bool under_way() const { return settings_ != nullptr; }
    // The settings of the one under way, if there is one, once nobody else has them any more.
    std::shared_ptr<config::Pipeline> take_over();
    // They are in force, or never will be.
    void in_force() { answer(verdict_); }
    void give_up(const model::Error& why) { answer(std::unexpected(why)); }

 private:
    std::vector<Done> take_requests();
    void answer(const model::Result<std::string>& verdict);

    const RunOptions& options_;
    const config::Environment& environment_;
    std::mutex mutex_;
    std::vector<Done> requests_;                  // guarded by mutex_; not yet looked at
    std::shared_ptr<config::Pipeline> settings_;  // shared with the coordinator
    std::string verdict_;                         // of the one under way
    std::vector<Done> waiting_;                   // for it
};

}  // namespace sluice::daemon
