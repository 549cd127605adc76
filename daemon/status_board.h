// The published status: what the admin API hands out. Around what was gathered it judges how the
// daemon is: by conditions, each with the instant of its last change.
//
// Ready is whoever may be sent to: the gate is open and no condition is bad for long. A short
// trouble does not flip it; before the first time there is nothing to be ready with, so it counts
// at once.
//
// Thread: current() and stalled() any; everything else one (main).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/status.h"
#include "state/model/clock.h"

namespace sluice::daemon {

class StatusBoard {
 public:
    // `clock` outlives it. Nothing is known yet: every condition but `tables` and `paused` is bad.
    explicit StatusBoard(const model::Clock& clock);

    Status current() const;

    // What changes seldom: the names, paths and hash of a file.
    void change(const std::function<void(Status&)>& edit);
    // One of Condition's names. A reason is kept while it is bad.
    void set_condition(const std::string& name, bool ok, std::string reason);

    // It was not published for a while.
    bool due() const;
    // Judges `status`, whose state is that of a daemon without trouble, and publishes it. Returns
    // whether this is the first time that it is ready.
    bool publish(Status status, bool gate_open);
    bool was_ready() const { return was_ready_; }  // once at least
    // Smoothed over the last seconds; of counts since the start, before publish().
    Rates rates(std::uint64_t records, std::uint64_t results);

    // One piece of a start does not come back for so long; 0: it did. Returns the phase.
    std::string stalled(std::int64_t stalled_ms, const std::string& what);

 private:
    const model::Clock& clock_;
    std::vector<Condition> conditions_;
    bool was_ready_ = false;
    std::int64_t published_ms_ = 0;  // steady; 0: never
    std::uint64_t last_records_ = 0, last_results_ = 0;
    Rates rates_;
    mutable std::mutex mutex_;
    Status status_;  // guarded by mutex_
};

}  // namespace sluice::daemon
