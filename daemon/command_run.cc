#include <cstdio>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "config/environment.h"
#include "config/load.h"
#include "daemon/application.h"
#include "daemon/check.h"
#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"
#include "daemon/logging.h"
#include "state/model/fail_point.h"
#include "state/store/catalogue.h"

namespace sluice::daemon {
namespace {

namespace fs = std::filesystem;

// A directory, or the name of a savepoint of this instance. As the process sees it now: a link to
// it is followed here, and nowhere else.
std::expected<std::string, TargetError> savepoint_path(const std::string& text,
                                                       const config::Pipeline& pipeline) {
    std::vector<fs::path> places{text};
    if (state::check_savepoint_name(text)) {
        const state::StatePaths paths{pipeline.state.directory, pipeline.savepoint.directory};
        if (!paths.savepoint_folder.empty()) {
            places.push_back(fs::path(paths.savepoint_folder) / text);
        }
        places.emplace_back(paths.savepoint(text));
    }
    std::error_code error;
    std::string looked;
    bool any = false;
    for (const fs::path& place : places) {
        const fs::path found = fs::canonical(place, error);
        if (!error && fs::exists(found / state::kManifestName, error)) {
            return found.string();
        }
        if (fs::is_regular_file(found, error)) {
            return std::unexpected(
                TargetError{kExitDamaged,
                            "is a file; `sluice savepoint import` makes a savepoint of a "
                            "portable stream"});
        }
        any |= fs::exists(place, error);
        looked += (looked.empty() ? "" : ", ") + place.string();
    }
    return std::unexpected(TargetError{
        any ? kExitDamaged : kExitMissing,
        std::string("there is no savepoint (no ") + state::kManifestName + ") in " + looked});
}

}  // namespace

int command_run(const RunOptions& options) {
    if (options.fresh && !options.yes) {
        std::fputs(
            "sluice: --fresh forgets the state and takes the results over: confirm with --yes\n",
            stderr);
        return kExitUsage;
    }
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
        auto from = savepoint_path(settled.from, *loaded.pipeline);
        if (!from) {
            std::fprintf(stderr, "sluice: --from %s: %s\n", options.from.c_str(),
                         from.error().text.c_str());
            return from.error().exit_code;
        }
        settled.from = std::move(*from);
    }
    open_log(loaded.pipeline->log.level, options.json ? "json" : loaded.pipeline->log.format,
             loaded.pipeline->name);
    return Application(std::move(*loaded.pipeline), settled).run();
}

}  // namespace sluice::daemon
