#include "daemon/control_requests.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/engine.h"
#include "daemon/logging.h"

namespace sluice::daemon {

void ControlRequests::serve(Engine& engine) {
    std::lock_guard lock(mutex_);
    engine_ = &engine;
}

bool ControlRequests::serving() const {
    std::lock_guard lock(mutex_);
    return engine_ != nullptr;
}

void ControlRequests::settle() {
    std::lock_guard lock(mutex_);
    settle_locked();
}

void ControlRequests::withdraw() {
    std::lock_guard lock(mutex_);
    settle_locked();
    const model::Error ended =
        model::cancelled("the daemon stops, or goes on with other settings").error();
    for (CheckpointRequest& request : std::exchange(checkpoints_, {})) {
        request.done(std::unexpected(ended));
    }
    for (SavepointRequest& request : std::exchange(savepoints_, {})) {
        request.done(std::unexpected(ended));
    }
    engine_ = nullptr;
}

void ControlRequests::settle_locked() {
    std::erase_if(checkpoints_, [&](const auto& request) { return settled(request); });
    std::erase_if(savepoints_, [&](const auto& request) { return settled(request); });
}

bool ControlRequests::settled(const CheckpointRequest& request) {
    const Coordinator& coordinator = engine_->coordinator();
    if (coordinator.checkpoint_done(request.ticket)) {
        const Checkpoints::Report report = coordinator.report().checkpoints;
        const state::CheckpointSummary& info = report.last->info;
        request.done(nlohmann::ordered_json{{"id", info.id}, {"path", info.path}}.dump());
        return true;
    }
    if (coordinator.checkpoint_skipped(request.ticket)) {
        request.done(model::exhausted(coordinator.report().checkpoints.problem));
        return true;
    }
    return false;
}

bool ControlRequests::settled(const SavepointRequest& request) {
    const auto taken = engine_->coordinator().take_savepoint(request.ticket);
    if (!taken) {
        return false;
    }
    if (!*taken) {
        log_warning("no savepoint", {{"name", request.name}, {"reason", taken->error().text}});
        request.done(std::unexpected(taken->error()));
        return true;
    }
    const state::CheckpointSummary& info = **taken;
    log_info("savepoint", {{"name", request.name},
                           {"id", info.id},
                           {"bytes", info.bytes},
                           {"duration_ms", info.duration_ms},
                           {"path", info.path}});
    bells_.savepoint.ring();
    request.done(nlohmann::ordered_json{
        {"name", request.name}, {"id", info.id}, {"path", info.path}, {"bytes", info.bytes}}
                     .dump());
    return true;
}

void ControlRequests::checkpoint(Done done) {
    std::lock_guard lock(mutex_);
    if (engine_ == nullptr || ending_.requested) {
        done(model::unavailable("no checkpoint can be taken now"));
        return;
    }
    checkpoints_.push_back({engine_->coordinator().request_checkpoint(), std::move(done)});
    bells_.coordinator.ring();
}

void ControlRequests::savepoint(std::string name, Done done) {
    if (!name.empty()) {
        if (auto valid = state::check_savepoint_name(name); !valid) {
            done(std::unexpected(valid.error()));
            return;
        }
    }
    std::lock_guard lock(mutex_);
    if (engine_ == nullptr || ending_.requested || ending_.draining) {
        done(model::unavailable("no savepoint can be taken now"));
        return;
    }
    if (name.empty()) {
        name = make_name();
    }
    const std::uint64_t ticket = engine_->coordinator().request_savepoint(name);
    savepoints_.push_back({ticket, std::move(name), std::move(done)});
    bells_.coordinator.ring();
}

void ControlRequests::remove_savepoint(std::string name, Done done) {
    std::lock_guard lock(mutex_);
    if (engine_ == nullptr) {
        done(model::unavailable("nothing can be removed now"));
        return;
    }
    engine_->completion().remove(name,
                                 [name, done = std::move(done)](const model::Status& removed) {
                                     if (!removed) {
                                         done(std::unexpected(removed.error()));
                                         return;
                                     }
                                     log_info("savepoint removed", {{"name", name}});
                                     done("{\"name\":\"" + name + "\",\"deleted\":true}");
                                 });
    bells_.savepoint.ring();
}

std::string ControlRequests::new_savepoint_name() {
    std::lock_guard lock(mutex_);
    return make_name();
}

// mutex_ is held.
std::string ControlRequests::make_name() {
    std::string stamp = state::rfc3339(clock_.wall_ms());  // 2025-04-01T12:00:00.250Z
    std::erase_if(stamp, [](char c) { return c == '-' || c == ':' || c == '.'; });
    std::string name = stamp;
    const auto taken = [&] {
        return name == last_name_ ||
               std::filesystem::exists(pipeline_.state.directory + "/savepoints/" + name) ||
               (!pipeline_.savepoint.directory.empty() &&
                std::filesystem::exists(pipeline_.savepoint.directory + "/" + name));
    };
    while (taken()) {
        name = stamp + "-" + std::to_string(++names_);
    }
    last_name_ = name;
    return name;
}

}  // namespace sluice::daemon
