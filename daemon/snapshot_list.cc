#include "daemon/snapshot_list.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "config/units.h"
#include "daemon/status.h"
#include "state/io/io_engine.h"
#include "state/model/number.h"
#include "state/store/completion.h"

namespace sluice::daemon {
namespace {

using nlohmann::json;

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

ListedSnapshot listed(const CheckpointStatus& from) {
    ListedSnapshot one;
    one.kind = from.kind;
    one.owner = from.kind == "savepoint" ? "user" : "sluice";
    one.name = base_name(from.path);
    one.taken = from.taken;
    one.bytes = from.bytes;
    one.own_bytes = from.kind == "savepoint" ? from.bytes - from.shared_bytes : from.new_bytes;
    one.shared_bytes = from.bytes - std::min(from.bytes, one.own_bytes);
    one.path = from.path;
    return one;
}

ListedSnapshot listed(const state::CheckpointSummary& from) {
    ListedSnapshot one;
    const bool savepoint = from.kind == state::SnapshotKind::savepoint;
    one.kind = savepoint ? "savepoint" : "checkpoint";
    one.owner = savepoint ? "user" : "sluice";
    one.name = base_name(from.path);
    one.taken = model::parse_rfc3339(from.taken);
    one.bytes = from.bytes;
    one.own_bytes = from.new_bytes;
    one.shared_bytes = from.bytes - std::min(from.bytes, from.new_bytes);
    one.path = from.path;
    return one;
}

// What a look at names, sizes and the ends of files shows. Not there any more: removed meanwhile.
std::optional<std::string> damage_of(state::Disk& disk, state::Catalogue& catalogue,
                                     const state::CatalogueEntry& entry) {
    const auto valid = catalogue.validate(entry);
    if (!valid && !disk.info(entry.path + "/" + state::kManifestName)) {
        return std::nullopt;
    }
    return valid ? "" : valid.error().text;
}

// Where a folder of snapshots is that of a state, the state.
state::StatePaths paths_of(const std::string& directory, const std::string& savepoint_folder) {
    std::error_code error;
    const auto whole = std::filesystem::canonical(directory, error);
    const auto parent = whole.parent_path();
    if (!error && ((whole.filename() == "checkpoints") ||
                   (whole.filename() == "savepoints" &&
                    std::filesystem::exists(parent / "checkpoints", error)))) {
        return {parent, savepoint_folder};
    }
    const state::StatePaths paths{directory, savepoint_folder};
    if (std::filesystem::exists(paths.checkpoints(), error) ||
        std::filesystem::exists(paths.savepoints(), error)) {
        return paths;
    }
    return {directory + "/.", directory};  // a folder of savepoints
}

model::Result<std::vector<ListedSnapshot>> read_directory(const std::string& directory,
                                                          const std::string& savepoint_folder) {
    TRY(opened, state::open_disk({.backend = config::IoBackend::threads}));
    state::Disk& disk = *opened.disk;
    state::Catalogue catalogue(disk, paths_of(directory, savepoint_folder));
    std::vector<ListedSnapshot> all;
    TRY(checkpoints, catalogue.list());
    for (const auto& one : catalogue.describe(checkpoints)) {
        all.push_back(listed(one));
    }
    TRY(savepoints, state::describe_savepoints(disk, catalogue));
    for (const auto& one : savepoints) {
        all.push_back(listed(one.info));
    }
    TRY(entries, catalogue.list_savepoints());
    std::move(checkpoints.begin(), checkpoints.end(), std::back_inserter(entries));
    for (const auto& entry : entries) {
        const auto damage = damage_of(disk, catalogue, entry);
        auto known = std::ranges::find(all, entry.path, &ListedSnapshot::path);
        if (!damage) {
            if (known != all.end()) {
                all.erase(known);
            }
            continue;
        }
        if (known == all.end()) {  // a checkpoint that nobody can use
            state::CheckpointSummary summary;
            summary.path = entry.path;
            summary.taken = entry.meta ? entry.meta->taken : "";
            summary.bytes = summary.new_bytes = entry.manifest_bytes;
            all.push_back(listed(summary));
            known = std::prev(all.end());
        }
        known->damage = *damage;
    }
    // What nobody knows the time of comes first: it wants to be seen.
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.taken.value_or(model::kAfterAll) > b.taken.value_or(model::kAfterAll);
    });
    return all;
}

}  // namespace

model::Result<std::vector<ListedSnapshot>> list_snapshots(const Target& target) {
    const auto answer = ask(target, "GET", "/status", kAnswerTimeoutMs);
    if (answer) {
        TRY(status, status_from_json(answer->body));
        // The disk says more than the daemon's last look at it, if it can be read.
        if (access((status.state_directory + "/checkpoints").c_str(), R_OK | X_OK) == 0) {
            const std::string own = status.state_directory + "/savepoints";
            return read_directory(status.state_directory, status.savepoint_directory == own
                                                              ? ""
                                                              : status.savepoint_directory);
        }
        std::vector<ListedSnapshot> all;
        for (const CheckpointStatus& one : status.checkpoints) {
            all.push_back(listed(one));
        }
        return all;
    }
    if (target.states.empty()) {
        return std::unexpected(answer.error());
    }
    return read_directory(target.states.front(), target.savepoint_folder);
}

void print_snapshots(const std::vector<ListedSnapshot>& snapshots, bool as_json) {
    if (as_json) {
        auto list = nlohmann::ordered_json::array();
        for (const ListedSnapshot& one : snapshots) {
            list.push_back({{"kind", one.kind},
                            {"owner", one.owner},
                            {"name", one.name},
                            {"taken", one.taken ? json(config::print_time(*one.taken)) : json()},
                            {"bytes", one.bytes},
                            {"own_bytes", one.own_bytes},
                            {"shared_bytes", one.shared_bytes},
                            {"path", one.path},
                            {"damage", one.damage}});
        }
        std::printf("%s\n", list.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
        return;
    }
    std::printf("%-11s %-7s %-26s %-25s %10s %10s %10s  %s\n", "KIND", "OWNER", "NAME", "TAKEN",
                "BYTES", "OWN", "SHARED", "PATH");
    for (const ListedSnapshot& one : snapshots) {
        std::printf(
            "%-11s %-7s %-26s %-25s %10s %10s %10s  %s%s%s\n", one.kind.c_str(), one.owner.c_str(),
            one.name.c_str(), one.taken ? config::print_time(*one.taken).c_str() : "-",
            config::print_size(one.bytes).c_str(), config::print_size(one.own_bytes).c_str(),
            config::print_size(one.shared_bytes).c_str(), one.path.c_str(),
            one.damage.empty() ? "" : "  DAMAGED: ", one.damage.c_str());
    }
}

}  // namespace sluice::daemon
