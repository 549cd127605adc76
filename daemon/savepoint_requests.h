// Savepoints that somebody asked for: taken one after the other, each outcome is had once, by the
// ticket of its request.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "state/model/result.h"
#include "state/store/catalogue.h"

namespace sluice::daemon {

class SavepointRequests {
 public:
    using Outcome = model::Result<state::CheckpointSummary>;
    struct Wanted {
        std::uint64_t ticket = 0;  // 0: of the stop; nobody asks for its outcome here
        std::string name;
    };

    std::uint64_t request(std::string name);
    // None: there is none yet, or it was taken.
    std::optional<Outcome> take_outcome(std::uint64_t ticket);

    bool waiting() const;
    std::optional<Wanted> next();  // the oldest that waits
    void settle(std::uint64_t ticket, Outcome outcome);

 private:
    mutable std::mutex mutex_;
    std::deque<Wanted> wanted_;                  // guarded by mutex_
    std::uint64_t tickets_ = 0;                  // guarded by mutex_
    std::map<std::uint64_t, Outcome> outcomes_;  // guarded by mutex_; by ticket, until taken
};

}  // namespace sluice::daemon
