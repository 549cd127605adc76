#include "daemon/snapshot_list.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/units.h"
#include "daemon/status.h"
#include "state/io/io_engine.h"
#include "state/model/number.h"
#include "state/store/completion.h"

namespace sluice::daemon {
namespace {

constexpr std::int64_t kTimeoutMs = 5'000;

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
    one.taken = model::parse_rfc3339(from.taken).value_or(0);
    one.bytes = from.bytes;
    one.own_bytes = from.new_bytes;
    one.shared_bytes = from.bytes - std::min(from.bytes, from.new_bytes);
    one.path = from.path;
    return one;
}

model::Result<std::vector<ListedSnapshot>> read_directory(const std::string& directory,
                                                          const std::string& savepoint_folder) {
    TRY(opened, state::open_disk({.backend = config::IoBackend::threads}));
    state::StatePaths paths{directory, savepoint_folder};
    if (!std::filesystem::exists(paths.checkpoints()) &&
        !std::filesystem::exists(paths.savepoints())) {
        paths = {directory + "/.", directory};  // a folder of savepoints
    }
    state::Catalogue catalogue(*opened.disk, paths);
    std::vector<ListedSnapshot> all;
    TRY(checkpoints, catalogue.describe());
    for (const auto& one : checkpoints) {
        all.push_back(listed(one));
    }
    TRY(savepoints, state::describe_savepoints(*opened.disk, catalogue));
    for (const auto& one : savepoints) {
        all.push_back(listed(one.info));
        all.back().damage = one.damage;
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const auto& a, const auto& b) { return a.taken > b.taken; });
    return all;
}

}  // namespace

model::Result<std::vector<ListedSnapshot>> list_snapshots(const Target& target) {
    const auto answer = ask(target, "GET", "/status", kTimeoutMs);
    if (answer) {
        TRY(status, status_from_json(answer->body));
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

void print_snapshots(const std::vector<ListedSnapshot>& snapshots, bool json) {
    if (json) {
        auto list = nlohmann::ordered_json::array();
        for (const ListedSnapshot& one : snapshots) {
            list.push_back({{"kind", one.kind},
                            {"owner", one.owner},
                            {"name", one.name},
                            {"taken", config::print_time(one.taken)},
                            {"bytes", one.bytes},
                            {"own_bytes", one.own_bytes},
                            {"shared_bytes", one.shared_bytes},
                            {"path", one.path},
                            {"damage", one.damage}});
        }
        std::printf("%s\n",
                    list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
        return;
    }
    std::printf("%-11s %-7s %-26s %-25s %10s %10s %10s  %s\n", "KIND", "OWNER", "NAME", "TAKEN",
                "BYTES", "OWN", "SHARED", "PATH");
    for (const ListedSnapshot& one : snapshots) {
        std::printf("%-11s %-7s %-26s %-25s %10s %10s %10s  %s%s%s\n", one.kind.c_str(),
                    one.owner.c_str(), one.name.c_str(), config::print_time(one.taken).c_str(),
                    config::print_size(one.bytes).c_str(),
                    config::print_size(one.own_bytes).c_str(),
                    config::print_size(one.shared_bytes).c_str(), one.path.c_str(),
                    one.damage.empty() ? "" : "  DAMAGED: ", one.damage.c_str());
    }
}

}  // namespace sluice::daemon
