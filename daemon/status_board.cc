#include "daemon/status_board.h"

#include <algorithm>
#include <utility>

namespace sluice::daemon {

namespace {

constexpr std::int64_t kRefreshMs = 200;
constexpr std::int64_t kNotReadyAfterMs = 5000;
constexpr double kLeastRate = 0.01;

// Trouble outside, which a start waits for.
bool is_outside(const Condition& condition) {
    return (condition.name == "kafka" || condition.name == "sink" || condition.name == "disk") &&
           condition.reason != kStarting && condition.reason != kConnecting;
}

}  // namespace

StatusBoard::StatusBoard(const model::Clock& clock) : clock_(clock) {
    for (const char* name : {"restore", "tables", "kafka", "sink", "disk", "state", "paused"}) {
        conditions_.push_back({name, false, clock_.wall_ms(), std::string(kStarting)});
    }
    set_condition("tables", true, "");
    set_condition("paused", true, "");
    status_.started = status_.since = clock_.wall_ms();
}

Status StatusBoard::current() const {
    std::lock_guard lock(mutex_);
    return status_;
}

void StatusBoard::change(const std::function<void(Status&)>& edit) {
    std::lock_guard lock(mutex_);
    edit(status_);
}

void StatusBoard::set_condition(const std::string& name, bool ok, std::string reason) {
    for (Condition& condition : conditions_) {
        if (condition.name == name) {
            if (condition.ok != ok) {
                condition.since = clock_.wall_ms();
                condition.ok = ok;
            }
            condition.reason = ok ? "" : std::move(reason);
            return;
        }
    }
}

bool StatusBoard::due() const {
    return published_ms_ == 0 || clock_.steady_ms() - published_ms_ >= kRefreshMs;
}

bool StatusBoard::publish(Status status, bool gate_open) {
    const model::EventTime now = clock_.wall_ms();
    status.ready = gate_open;
    for (const Condition& condition : conditions_) {
        if (condition.ok) {
            continue;
        }
        if (!was_ready_ || now - condition.since >= kNotReadyAfterMs) {
            status.ready = false;
        }
        const bool starts =
            status.state == RunState::starting || status.state == RunState::restoring;
        if (starts ? is_outside(condition)
                   : condition.name != "paused" && condition.reason != kConnecting &&
                         status.state == RunState::running) {
            status.state = RunState::degraded;
        }
    }
    status.conditions = conditions_;
    published_ms_ = clock_.steady_ms();
    const bool first = status.ready && !std::exchange(was_ready_, was_ready_ || status.ready);
    std::lock_guard lock(mutex_);
    status.since = status.state == status_.state ? status_.since : now;
    status_ = std::move(status);
    return first;
}

Rates StatusBoard::rates(std::uint64_t records, std::uint64_t results) {
    const std::int64_t passed = clock_.steady_ms() - published_ms_;
    if (passed > 0) {
        const auto rate = [&](std::uint64_t now, std::uint64_t before, double old) {
            const double current = static_cast<double>(now - std::min(now, before)) * 1000.0 /
                                   static_cast<double>(passed);
            const double next = 0.8 * old + 0.2 * current;
            return next < kLeastRate ? 0 : next;  // it would take minutes to get there
        };
        rates_.records_per_second = rate(records, last_records_, rates_.records_per_second);
        rates_.results_per_second = rate(results, last_results_, rates_.results_per_second);
        last_records_ = records;
        last_results_ = results;
    }
    return rates_;
}

std::string StatusBoard::stalled(std::int64_t stalled_ms, const std::string& what) {
    std::lock_guard lock(mutex_);
    status_.restore.stalled_ms = stalled_ms;
    for (Condition& condition : status_.conditions) {
        if (condition.name == "restore" && !condition.ok) {
            condition.reason = stalled_ms > 0 ? "restoring: " + what : "restoring";
        }
    }
    return status_.restore.phase;
}

}  // namespace sluice::daemon
