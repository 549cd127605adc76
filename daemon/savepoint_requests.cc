#include "daemon/savepoint_requests.h"

#include <utility>

namespace sluice::daemon {

std::uint64_t SavepointRequests::request(std::string name) {
    std::lock_guard lock(mutex_);
    wanted_.push_back({++tickets_, std::move(name)});
    return tickets_;
}

std::optional<SavepointRequests::Outcome> SavepointRequests::take_outcome(std::uint64_t ticket) {
    std::lock_guard lock(mutex_);
    auto taken = outcomes_.extract(ticket);
    return taken.empty() ? std::nullopt : std::optional(std::move(taken.mapped()));
}

bool SavepointRequests::waiting() const {
    std::lock_guard lock(mutex_);
    return !wanted_.empty();
}

std::optional<SavepointRequests::Wanted> SavepointRequests::next() {
    std::lock_guard lock(mutex_);
    if (wanted_.empty()) {
        return std::nullopt;
    }
    Wanted wanted = std::move(wanted_.front());
    wanted_.pop_front();
    return wanted;
}

void SavepointRequests::settle(std::uint64_t ticket, Outcome outcome) {
    std::lock_guard lock(mutex_);
    outcomes_.emplace(ticket, std::move(outcome));
}

}  // namespace sluice::daemon
