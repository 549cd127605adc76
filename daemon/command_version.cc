#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "daemon/version.h"
#include "state/io/io_engine.h"
#include "state/model/fail_point.h"

namespace sluice::daemon {
namespace {

// Which back end would be chosen here and now, and why.
std::string probe_io() {
    state::DiskOptions options;
    options.depth = 4;
    options.buffers = 2;
    const auto disk = state::open_disk(options);
    return disk ? disk->description : disk.error().text;
}

}  // namespace

int command_version(const VersionOptions& options) {
    nlohmann::ordered_json page = {{"name", "sluice"}, {"version", version()}};
    std::string text = "sluice " + version() + "\n";
    if (options.verbose) {
        page["libraries"] = nlohmann::ordered_json::object();
        for (const LibraryVersion& library : library_versions()) {
            page["libraries"][library.name] = {{"compiled", library.compiled},
                                               {"running", library.running}};
            text += library.name + std::string(16 - library.name.size(), ' ');
            text += library.compiled;
            if (!library.running.empty() && library.running != library.compiled) {
                text += (library.compiled.empty() ? "" : ", running ") + library.running;
            }
            text += "\n";
        }
        const std::string io = probe_io();
        page["io"] = io;
        text += "io              " + io + "\n";
        page["fail_points"] = model::fail_point_names();
        text += "fail points    ";
        for (const std::string& name : model::fail_point_names()) {
            text += " " + name;
        }
        text += "\n";
    }
    std::printf("%s", options.json ? (page.dump() + "\n").c_str() : text.c_str());
    return kExitOk;
}

}  // namespace sluice::daemon
