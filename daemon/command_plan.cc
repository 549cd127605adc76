#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "config/change.h"
#include "config/load.h"
#include "config/recorded.h"
#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "state/store/checkpoint_meta.h"

namespace sluice::daemon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::optional<std::string> contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return std::nullopt;
    }
    return std::string(std::istreambuf_iterator<char>(file), {});
}

// What a state directory says of the settings in force. The daemon may be running: files come and
// go while we look.
struct InForce {
    std::string snapshot;  // path; empty: there is none
    std::string pipeline;  // whose it is
    std::string inputs;
    std::map<std::string, std::string> settings;  // those that no snapshot holds
    std::string problem;
};

InForce settings_in_force(const fs::path& state) {
    InForce found;
    state::CheckpointMeta newest;
    std::error_code error;
    for (const char* folder : {"checkpoints", "savepoints"}) {
        for (const auto& entry : fs::directory_iterator(state / folder, error)) {
            const auto text = contents(entry.path() / "MANIFEST.json");
            const auto meta = text ? state::parse_manifest(*text) : model::invalid("");
            // What was made by tools, or is another pipeline's, was never in force here.
            if (!meta || meta->provenance != state::Provenance::taken ||
                (!found.snapshot.empty() && meta->pipeline != newest.pipeline)) {
                continue;
            }
            if (found.snapshot.empty() || meta->number > newest.number) {
                newest = *meta;
                found.snapshot = entry.path();
            }
        }
    }
    if (found.snapshot.empty()) {
        return found;
    }
    found.pipeline = newest.pipeline;
    if (const auto inputs = contents(fs::path(found.snapshot) / ("INPUTS-" + newest.inputs))) {
        found.inputs = *inputs;
    } else {
        found.problem = found.snapshot + ": its recorded settings cannot be read";
    }
    if (const auto text = contents(state / "settings.json")) {
        const json settings = json::parse(*text, nullptr, false);
        if (settings.is_object()) {
            found.settings = settings.get<std::map<std::string, std::string>>();
        }
    }
    return found;
}

json to_json(const config::Change& change, const config::Diagnostic& place) {
    return {{"file", place.file},       {"line", place.line},
            {"key", change.key},        {"verdict", config::name_of(change.verdict)},
            {"before", change.before},  {"after", change.after},
            {"kept", change.kept},      {"lost", change.lost},
            {"command", change.command}};
}

void print(const config::Change& change, const config::Diagnostic& place) {
    std::printf("%s:%u: %s: %s\n", place.file.c_str(), place.line, change.key.c_str(),
                std::string(config::name_of(change.verdict)).c_str());
    const auto line = [](const char* what, const std::string& text) {
        if (!text.empty()) {
            std::printf("    %-7s %s\n", what, text.c_str());
        }
    };
    line("before", change.before);
    line("after", change.after);
    line("kept", change.kept);
    line("lost", change.lost);
    line("do", change.command);
}

}  // namespace

int command_plan(const PlanOptions& options) {
    config::Loaded loaded = config::load(options.file, options.set, config::process_environment());
    if (!loaded.pipeline) {
        std::fputs(config::to_text(loaded.diagnostics).c_str(), stderr);
        return loaded.outcome == config::Outcome::missing      ? kExitMissing
               : loaded.outcome == config::Outcome::unreadable ? kExitPermission
                                                               : kExitConfiguration;
    }
    const config::Pipeline& to = *loaded.pipeline;
    const InForce in_force = settings_in_force(to.state.directory);
    if (!in_force.problem.empty()) {
        std::fprintf(stderr, "sluice: %s\n", in_force.problem.c_str());
        return kExitDamaged;
    }
    if (in_force.snapshot.empty()) {
        if (options.json) {
            std::printf("[]\n");
        } else {
            std::printf("%s: there is no state in %s: everything starts empty\n",
                        options.file.c_str(), to.state.directory.c_str());
        }
        return kExitOk;
    }
    auto from = config::recorded_pipeline(in_force.inputs, to);
    if (!from) {
        std::fprintf(stderr, "sluice: %s: %s\n", in_force.snapshot.c_str(),
                     from.error().text.c_str());
        return kExitDamaged;
    }
    from->name = in_force.pipeline;
    const config::Decisions decisions{{options.drop_state.begin(), options.drop_state.end()},
                                      options.renamed};
    config::Edit edit = config::compare(*from, to, decisions, in_force.settings);
    std::vector<std::pair<config::Diagnostic, const config::Change*>> lines;
    for (const config::Change& change : edit.changes) {
        lines.emplace_back(loaded.at(change.key, config::Severity::warning, "", ""), &change);
    }
    std::ranges::stable_sort(lines, {}, [](const auto& line) { return line.first.line; });
    json list = json::array();
    for (const auto& [place, change] : lines) {
        if (options.json) {
            list.push_back(to_json(*change, place));
        } else {
            print(*change, place);
        }
    }
    if (options.json) {
        std::printf("%s\n", list.dump(1).c_str());
    } else if (lines.empty()) {
        std::printf("%s: nothing changes\n", options.file.c_str());
    }
    return edit.breaks() ? kExitFalse : kExitOk;
}

}  // namespace sluice::daemon
