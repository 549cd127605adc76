#include "daemon/reload_requests.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "config/change.h"
#include "config/diagnostic.h"
#include "config/load.h"
#include "daemon/check.h"
#include "daemon/exit_code.h"
#include "daemon/logging.h"

namespace sluice::daemon {

namespace {

void answer_all(const std::vector<Done>& requests, const model::Result<std::string>& verdict) {
    for (const Done& done : requests) {
        done(verdict);
    }
}

void refuse_all(const std::vector<Done>& requests, int exit_code, const std::string& reason) {
    log_warning("no reload", {{"reason", reason}});
    const nlohmann::json verdict = {
        {"applied", false}, {"exit_code", exit_code}, {"reason", reason}};
    answer_all(requests, verdict.dump());
}

}  // namespace

void ReloadRequests::request(Done done) {
    std::lock_guard lock(mutex_);
    requests_.push_back(std::move(done));
}

std::vector<Done> ReloadRequests::take_requests() {
    std::lock_guard lock(mutex_);
    return std::exchange(requests_, {});
}

void ReloadRequests::refuse() {
    answer_all(take_requests(), model::unavailable("no reload is possible now"));
}

std::shared_ptr<config::Pipeline> ReloadRequests::take_up(const config::Pipeline& current,
                                                          const config::Pipeline& in_force) {
    std::vector<Done> requests = take_requests();
    if (requests.empty()) {
        return nullptr;
    }
    config::Loaded loaded = config::load(options_.file, options_.set, environment_);
    check_kafka_properties(loaded);
    if (!loaded.pipeline || config::has_error(loaded.diagnostics)) {
        refuse_all(requests, kExitConfiguration, config::to_text(loaded.diagnostics));
        return nullptr;
    }
    if (loaded.pipeline->name != current.name) {
        refuse_all(requests, kExitFalse, "`name` cannot be changed by a reload");
        return nullptr;
    }
    const config::Edit edit =
        config::compare(in_force, *loaded.pipeline, {}, config::effective_settings(in_force));
    if (edit.breaks()) {
        refuse_all(requests, kExitFalse, "it would break state: " + config::refusal(edit));
        return nullptr;
    }
    nlohmann::json verdict = {{"applied", true}, {"restart", nlohmann::json::array()}};
    for (const config::Change& change : edit.changes) {
        if (change.verdict == config::Verdict::restart) {
            verdict["restart"].push_back(change.key);
        }
    }
    loaded.pipeline->state.directory = current.state.directory;
    loaded.pipeline->state.io = current.state.io;
    loaded.pipeline->dead_letter = current.dead_letter;
    loaded.pipeline->http = current.http;
    loaded.pipeline->log = current.log;
    verdict_ = verdict.dump();
    settings_ = std::make_shared<config::Pipeline>(std::move(*loaded.pipeline));
    waiting_ = std::move(requests);
    log_info("reload", {{"changes", edit.changes.size()}});
    return settings_;
}

std::shared_ptr<config::Pipeline> ReloadRequests::take_over() {
    return std::exchange(settings_, nullptr);
}

void ReloadRequests::answer(const model::Result<std::string>& verdict) {
    answer_all(std::exchange(waiting_, {}), verdict);
}

}  // namespace sluice::daemon
