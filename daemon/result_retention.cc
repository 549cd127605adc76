#include "daemon/result_retention.h"

#include <algorithm>

namespace sluice::daemon {

ResultRetention::ResultRetention(Limits limits, const std::vector<model::EventTime>& dropped)
    : limits_(limits), reductions_(dropped.size()) {
    for (std::size_t r = 0; r < dropped.size(); ++r) {
        reductions_[r].dropped = dropped[r];
    }
}

bool ResultRetention::note(std::size_t reduction, model::EventTime frontier, model::EventTime now) {
    Reduction& retained = reductions_[reduction];
    if (frontier < retained.noted) {
        while (!retained.history.empty() && retained.history.back().frontier > frontier) {
            retained.history.pop_back();
        }
        retained.noted = frontier;
        return false;
    }
    if (frontier == retained.noted) {
        return false;
    }
    // What was acknowledged before this start counts its retention from now: when it was is not
    // kept.
    retained.history.push_back({frontier, now, 0});
    retained.noted = frontier;
    return true;
}

model::EventTime ResultRetention::past(std::size_t reduction, model::EventTime now) const {
    const Reduction& retained = reductions_[reduction];
    model::EventTime past = retained.dropped;
    for (const Acknowledged& one : retained.history) {
        if (one.since + limits_.duration_ms > now) {
            break;
        }
        past = std::max(past, one.frontier);
    }
    return past;
}

void ResultRetention::expire(std::size_t reduction, model::EventTime up_to) {
    Reduction& retained = reductions_[reduction];
    retained.dropped = std::max(retained.dropped, up_to);
    while (!retained.history.empty() && retained.history.front().frontier <= retained.dropped) {
        retained.history.pop_front();
    }
}

void ResultRetention::give_up_surplus() {
    std::uint64_t bytes = 0;
    for (const Reduction& retained : reductions_) {
        for (const Acknowledged& one : retained.history) {
            bytes += one.bytes;
        }
    }
    while (bytes > limits_.bytes) {
        std::size_t oldest = reductions_.size();
        for (std::size_t r = 0; r < reductions_.size(); ++r) {
            if (!reductions_[r].history.empty() &&
                (oldest == reductions_.size() || reductions_[r].history.front().since <
                                                     reductions_[oldest].history.front().since)) {
                oldest = r;
            }
        }
        if (oldest == reductions_.size()) {
            return;
        }
        const Acknowledged one = reductions_[oldest].history.front();
        bytes -= std::min(bytes, one.bytes);
        ++given_up_;
        expire(oldest, one.frontier);
    }
}

std::vector<ResultRetention::Stretch> ResultRetention::stretches() const {
    std::vector<Stretch> all;
    for (std::size_t r = 0; r < reductions_.size(); ++r) {
        model::EventTime after = reductions_[r].dropped;
        for (const Acknowledged& one : reductions_[r].history) {
            all.push_back({r, after, one.frontier});
            after = one.frontier;
        }
    }
    return all;
}

void ResultRetention::measured(const Stretch& stretch, std::uint64_t bytes) {
    auto& history = reductions_[stretch.reduction].history;
    const auto found = std::find_if(history.begin(), history.end(), [&](const Acknowledged& one) {
        return one.frontier == stretch.up_to;
    });
    if (found != history.end()) {
        found->bytes = bytes;
    }
}

model::DurationMs ResultRetention::reach(model::EventTime now) const {
    model::EventTime oldest = now;
    for (const Reduction& retained : reductions_) {
        if (!retained.history.empty()) {
            oldest = std::min(oldest, retained.history.front().since);
        }
    }
    return now - oldest;
}

}  // namespace sluice::daemon
