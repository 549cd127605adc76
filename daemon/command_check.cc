#include <algorithm>
#include <cstdio>

#include "daemon/check.h"
#include "daemon/commands.h"
#include "daemon/exit_code.h"

namespace sluice::daemon {
namespace {

int exit_code_of(const config::Loaded& loaded, bool reachable, bool strict) {
    switch (loaded.outcome) {
        case config::Outcome::missing:
            return kExitMissing;
        case config::Outcome::unreadable:
            return kExitPermission;
        case config::Outcome::invalid:
            return kExitConfiguration;
        case config::Outcome::ok:
            break;
    }
    if (!reachable) {
        return kExitUnreachable;
    }
    const bool wrong =
        config::has_error(loaded.diagnostics) || (strict && !loaded.diagnostics.empty());
    return wrong ? kExitConfiguration : kExitOk;
}

}  // namespace

int command_check(const CheckOptions& options) {
    const config::Environment environment = config::process_environment();
    config::Loaded loaded = config::load(options.file, options.set, environment);
    check_kafka_properties(loaded);
    bool reachable = true;
    if (loaded.pipeline) {
        check_secrets(loaded, environment);
        check_machine(loaded, environment);
        if (!options.offline && !config::has_error(loaded.diagnostics)) {
            check_remotes(loaded, environment, reachable);
        }
    }
    if (options.json) {
        std::printf("%s\n", config::to_json(loaded.diagnostics).c_str());
        return exit_code_of(loaded, reachable, options.strict);
    }
    std::fputs(config::to_text(loaded.diagnostics).c_str(), stderr);
    const int exit_code = exit_code_of(loaded, reachable, options.strict);
    if (loaded.pipeline) {
        for (const std::string& line : describe(*loaded.pipeline)) {
            std::printf("%s\n", line.c_str());
        }
    }
    if (exit_code == kExitOk) {
        std::printf("%s: ok%s\n", options.file.c_str(),
                    options.offline ? " (Kafka and Redis were not asked)" : "");
    }
    return exit_code;
}

}  // namespace sluice::daemon
