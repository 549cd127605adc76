#include <cstdio>
#include <filesystem>

#include "config/diagnostic.h"
#include "config/environment.h"
#include "config/load.h"
#include "daemon/application.h"
#include "daemon/check.h"
#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "daemon/logging.h"
#include "daemon/signals.h"
#include "state/model/fail_point.h"
#include "state/store/catalogue.h"

namespace sluice::daemon {

int command_run(const RunOptions& options) {
    if (options.fresh && !options.yes) {
        std::fputs(
            "sluice: --fresh forgets the state and takes the results over: confirm with --yes\n",
            stderr);
        return kExitUsage;
    }
    Signals::hold();
    if (auto sound = model::check_fail_point_environment(); !sound) {
        std::fprintf(stderr, "sluice: %s\n", sound.error().text.c_str());
        return kExitUsage;
    }
    const config::Environment environment = config::process_environment();
    config::Loaded loaded = config::load(options.file, options.set, environment);
    check_kafka_properties(loaded);
    std::fputs(config::to_text(loaded.diagnostics).c_str(), stderr);
    if (loaded.outcome == config::Outcome::missing) {
        return kExitMissing;
    }
    if (loaded.outcome == config::Outcome::unreadable) {
        return kExitPermission;
    }
    if (!loaded.pipeline || config::has_error(loaded.diagnostics)) {
        return kExitConfiguration;
    }
    RunOptions settled = options;
    if (!settled.from.empty()) {
        // As the process sees it now; a link to it is followed here, and nowhere else.
        std::error_code missing;
        settled.from = std::filesystem::canonical(settled.from, missing).string();
        if (missing || !std::filesystem::exists(settled.from + "/" + state::kManifestName)) {
            std::fprintf(stderr, "sluice: --from %s: there is no savepoint (no %s)\n",
                         options.from.c_str(), state::kManifestName);
            return kExitMissing;
        }
    }
    open_log(loaded.pipeline->log.level, options.json ? "json" : loaded.pipeline->log.format,
             loaded.pipeline->name);
    return Application(std::move(*loaded.pipeline), settled).run();
}

}  // namespace sluice::daemon
