#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {

int command_reload(const ReloadOptions& options) {
    const auto target = find_target(options.target, config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    const bool wait = options.wait || options.json;
    const auto answer = ask(*target, "POST", wait ? "/reload" : "/reload?wait=no", 0);
    if (!answer) {
        std::fprintf(stderr, "sluice: %s\n", answer.error().text.c_str());
        return kExitUnreachable;
    }
    if (answer->status != 200 && answer->status != 202) {
        std::fprintf(stderr, "sluice: no reload: %s\n", reason_in(answer->body).c_str());
        return kExitUnreachable;
    }
    if (options.json) {
        std::fputs(answer->body.c_str(), stdout);
    }
    if (!wait) {
        std::printf("reload asked for\n");
        return kExitOk;
    }
    const auto verdict = nlohmann::json::parse(answer->body, nullptr, false);
    if (!verdict.is_object() || !verdict.contains("applied")) {
        std::fprintf(stderr, "sluice: no reload: %s", answer->body.c_str());
        return kExitUnreachable;
    }
    if (!verdict["applied"].get<bool>()) {
        std::fprintf(stderr, "sluice: no reload: %s\n",
                     verdict["reason"].get<std::string>().c_str());
        return verdict["exit_code"].get<int>();
    }
    if (!options.json) {
        std::printf("applied\n");
        for (const auto& key : verdict["restart"]) {
            std::printf("%s needs a restart\n", key.get<std::string>().c_str());
        }
    }
    return kExitOk;
}

}  // namespace sluice::daemon
