// Requests for checkpoints and savepoints, from whoever asks (the admin API, signals) to the
// running engine and back.
//
// Each is answered once: with what was taken, with why not, or because the engine it was passed to
// ends before. While no engine is served they are refused.
//
// Thread: serve(), settle() and withdraw() one (main); everything else any. Whatever is passed on
// holds the lock, so that the engine stays.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "config/settings.h"
#include "daemon/bell.h"
#include "daemon/ending.h"
#include "daemon/http_server.h"
#include "state/model/clock.h"

namespace sluice::daemon {

class Engine;

class ControlRequests {
 public:
    // All outlive it; `pipeline` changes only while no engine is served.
    ControlRequests(const config::Pipeline& pipeline, const model::Clock& clock,
                    const Ending& ending, Bells& bells)
        : pipeline_(pipeline), clock_(clock), ending_(ending), bells_(bells) {}

    void serve(Engine& engine);  // it runs
    void settle();               // answers what is over
    // The engine is about to go: nothing is asked of it any more, and what is open is answered so.
    void withdraw();
    bool serving() const;

    void checkpoint(Done done);
    // An empty name: one is made up.
    void savepoint(std::string name, Done done);
    void remove_savepoint(std::string name, Done done);
    // By the clock, so that names sort by age; unique in this run, and looked up where the clock
    // may have been set back.
    std::string new_savepoint_name();

 private:
    struct CheckpointRequest {
        std::uint64_t ticket = 0;
        Done done;
    };
    struct SavepointRequest {
        std::uint64_t ticket = 0;
        std::string name;
        Done done;
    };

    void settle_locked();
    bool settled(const CheckpointRequest& request);
    bool settled(const SavepointRequest& request);
    std::string make_name();

    const config::Pipeline& pipeline_;
    const model::Clock& clock_;
    const Ending& ending_;
    Bells& bells_;

    mutable std::mutex mutex_;
    Engine* engine_ = nullptr;                    // guarded by mutex_; null: none is served
    std::vector<CheckpointRequest> checkpoints_;  // guarded by mutex_
    std::vector<SavepointRequest> savepoints_;    // guarded by mutex_
    std::string last_name_;                       // guarded by mutex_
    std::uint64_t names_ = 0;                     // guarded by mutex_
};

}  // namespace sluice::daemon
