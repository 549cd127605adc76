#include "daemon/live_snapshot.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "daemon/exit_code.h"
#include "daemon/snapshot_list.h"

namespace sluice::daemon {
namespace {

std::expected<std::string, TargetError> newest_of(const Target& target) {
    const auto listed = list_snapshots(target);
    if (!listed) {
        return std::unexpected(TargetError{kExitUnreachable, listed.error().text});
    }
    const auto newest =
        std::ranges::find_if(*listed, [](const ListedSnapshot& one) { return one.damage.empty(); });
    if (newest == listed->end()) {
        return std::unexpected(TargetError{kExitNoSnapshot, "there is no whole snapshot"});
    }
    return newest->path;
}

std::expected<std::string, TargetError> taken_now(const Target& target) {
    const auto taken = ask(target, "POST", "/checkpoint", 0);
    if (!taken) {
        return std::unexpected(TargetError{kExitUnreachable, taken.error().text});
    }
    if (taken->status != 200) {
        return std::unexpected(
            TargetError{kExitNoSnapshot, "no checkpoint: " + reason_in(taken->body)});
    }
    // Of this answer: the status is made anew only now and then, and may not have it yet.
    const auto answer = nlohmann::json::parse(taken->body, nullptr, false);
    const auto path = answer.is_object() ? answer.find("path") : answer.end();
    if (path == answer.end() || !path->is_string()) {
        return std::unexpected(TargetError{kExitNoSnapshot, "no checkpoint: " + taken->body});
    }
    return path->get<std::string>();
}

}  // namespace

std::expected<std::string, TargetError> checkpoint_now(const std::string& name) {
    const auto target = find_target(name, config::process_environment());
    return target ? taken_now(*target) : std::unexpected(target.error());
}

std::expected<std::string, TargetError> newest_snapshot(const std::string& name) {
    const auto target = find_target(name, config::process_environment());
    if (!target) {
        return std::unexpected(target.error());
    }
    auto taken = taken_now(*target);
    if (taken || taken.error().exit_code != kExitUnreachable || target->states.empty()) {
        return taken;
    }
    return newest_of(*target);
}

}  // namespace sluice::daemon
