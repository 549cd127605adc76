#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "config/units.h"
#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"
#include "daemon/snapshot_list.h"
#include "daemon/status.h"
#include "state/io/io_engine.h"
#include "state/io/lock.h"
#include "state/store/completion.h"

namespace sluice::daemon {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);
constexpr auto kPace = std::chrono::milliseconds(10);
// The status is made anew now and then: what it does not name for so long is not there any more.
constexpr auto kGoneAfter = std::chrono::seconds(3);

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The kernel may hold the lock of a daemon that has just ended for some 100 ms.
state::StateLock::Patience short_patience() {
    auto patience = state::StateLock::sleeping_patience();
    patience.total_ms = 2000;
    return patience;
}

int say(int exit_code, const std::string& text) {
    std::fprintf(stderr, "sluice: %s\n", text.c_str());
    return exit_code;
}

// There is something to work on without a daemon. Where a pipeline never ran there is nothing.
bool has_state(const Target& target) {
    return !target.states.empty() && ::access(target.states.front().c_str(), F_OK) == 0;
}

// A line that overwrites itself, at a terminal only.
class Progress {
 public:
    void show(const std::string& name, std::uint64_t done, std::uint64_t total,
              std::uint64_t per_second) {
        if (!terminal_ || total == 0) {
            return;
        }
        std::string line =
            name + ": " + config::print_size(done) + " of " + config::print_size(total) + " copied";
        if (per_second > 0) {
            line += ", " + config::print_size(per_second) + "/s, " +
                    config::print_duration(
                        static_cast<std::int64_t>((total - std::min(done, total)) / per_second) *
                        1000) +
                    " to go";
        }
        std::fprintf(stderr, "\r\033[K%s", line.c_str());
        shown_ = true;
    }
    void clear() {
        if (std::exchange(shown_, false)) {
            std::fputs("\r\033[K", stderr);
        }
    }
    ~Progress() { clear(); }

 private:
    const bool terminal_ = isatty(STDERR_FILENO) == 1;
    bool shown_ = false;
};

void print_savepoint(const std::string& name, const state::CheckpointSummary& info,
                     std::uint64_t shared_bytes, bool as_json) {
    if (as_json) {
        std::printf("%s\n", nlohmann::ordered_json{{"name", name},
                                                   {"id", info.id},
                                                   {"path", info.path},
                                                   {"bytes", info.bytes},
                                                   {"shared_bytes", shared_bytes}}
                                .dump()
                                .c_str());
        return;
    }
    std::printf("savepoint %s in %s, %s", name.c_str(), info.path.c_str(),
                config::print_size(info.bytes).c_str());
    std::printf(shared_bytes > 0 ? ", %s of it shared with others\n" : "\n",
                config::print_size(shared_bytes).c_str());
}

// Frozen: waits until the daemon has made it stand alone.
int wait_for_completion(const Target& target, const std::string& name, bool as_json) {
    Progress progress;
    auto named = std::chrono::steady_clock::now();
    auto at_work = named;
    while (true) {
        const auto now = std::chrono::steady_clock::now();
        const auto answer = ask(target, "GET", "/status", kAnswerTimeoutMs);
        const auto status =
            answer ? status_from_json(answer->body) : std::unexpected(answer.error());
        if (!status) {
            progress.clear();
            return say(kExitUnreachable, "the savepoint " + name +
                                             " is taken; the daemon is gone before it was "
                                             "complete, and goes on with it at the next start: " +
                                             status.error().text);
        }
        if (status->completion.name == name) {
            at_work = now;
        }
        // Another one's problem is ours if it keeps ours from its turn.
        const std::string& problem = status->completion.problem;
        const bool stuck =
            problem.starts_with(name + ": ") || (!problem.empty() && now - at_work > kGoneAfter);
        for (const CheckpointStatus& one : status->checkpoints) {
            if (one.kind != "savepoint" || base_name(one.path) != name) {
                continue;
            }
            named = now;
            if (status->completion.settled || stuck) {
                progress.clear();
                if (stuck) {
                    static_cast<void>(say(kExitOk, "not complete: " + problem));
                }
                state::CheckpointSummary info;
                info.id = one.id;
                info.path = one.path;
                info.bytes = one.bytes;
                print_savepoint(name, info, one.shared_bytes, as_json);
                return kExitOk;
            }
        }
        if (now - named > kGoneAfter) {
            progress.clear();
            return say(kExitNoSnapshot,
                       "the savepoint " + name + " was given up or removed before it was complete");
        }
        if (status->completion.name == name) {
            progress.show(name, status->completion.bytes, status->completion.total_bytes,
                          status->completion.bytes_per_second);
        }
        std::this_thread::sleep_for(kLookEvery);
    }
}

// Without a daemon: of a retained checkpoint. Holds the state's lock meanwhile.
int take_offline(const Target& target, const SavepointOptions& options) {
    const std::string& directory = target.states.front();
    auto lock = state::StateLock::take(directory, short_patience());
    if (!lock) {
        return say(kExitLocked, lock.error().text);
    }
    auto opened = state::open_disk({.lock_descriptor = lock->descriptor()});
    if (!opened) {
        return say(kExitStateBroken, opened.error().text);
    }
    state::Disk& disk = *opened->disk;
    const state::StatePaths paths{directory, target.savepoint_folder};
    state::Catalogue catalogue(disk, paths);
    const auto checkpoints = catalogue.list();
    if (!checkpoints) {
        return say(kExitStateBroken, checkpoints.error().text);
    }
    const auto wanted = std::ranges::find_if(*checkpoints, [&](const state::CatalogueEntry& one) {
        return options.checkpoint.empty() ? one.damage.empty()
                                          : std::to_string(one.id) == options.checkpoint;
    });
    if (wanted == checkpoints->end()) {
        return say(kExitDamaged,
                   directory + ": there is no " +
                       (options.checkpoint.empty() ? "usable checkpoint"
                                                   : "checkpoint " + options.checkpoint));
    }
    std::string name = options.name;
    if (name.empty()) {
        name = "checkpoint-" + std::to_string(wanted->id);
    }
    const auto frozen = state::freeze_savepoint(disk, catalogue, *wanted, name);
    if (!frozen) {
        return say(frozen.error().kind == model::ErrorKind::invalid   ? kExitUsage
                   : frozen.error().kind == model::ErrorKind::corrupt ? kExitDamaged
                                                                      : kExitNoSnapshot,
                   frozen.error().text);
    }
    std::fprintf(stderr, "no daemon runs: made of checkpoint %llu, taken %s\n",
                 static_cast<unsigned long long>(wanted->id), wanted->meta->taken.c_str());
    const model::SystemClock clock;
    state::Completion completion(
        disk, clock, paths,
        {target.savepoint_copy, target.savepoint_rate.value_or(0), target.reserve_bytes});
    Progress progress;
    while (true) {
        while (completion.step()) {
            const auto at = completion.report();
            progress.show(name, at.done_bytes, at.total_bytes, at.bytes_per_second);
        }
        const auto report = completion.report();
        if (report.problem.empty() && !report.settled) {
            std::this_thread::sleep_for(kPace);  // the rate is used up
            continue;
        }
        progress.clear();
        if (!report.problem.empty()) {
            static_cast<void>(say(kExitOk, "not complete: " + report.problem));
        }
        for (const auto& one : report.savepoints) {
            if (one.name == name) {
                print_savepoint(name, one.info, one.shared_bytes, options.json);
            }
        }
        return kExitOk;
    }
}

int take(const Target& target, const SavepointOptions& options) {
    if (!options.name.empty()) {
        if (const auto valid = state::check_savepoint_name(options.name); !valid) {
            return say(kExitUsage, valid.error().text);
        }
    }
    const auto answer = ask(
        target, "POST", options.name.empty() ? "/savepoint" : "/savepoint?name=" + options.name, 0);
    if (!answer) {
        return target.by_name || !has_state(target) ? say(kExitUnreachable, answer.error().text)
                                                    : take_offline(target, options);
    }
    const auto taken = nlohmann::json::parse(answer->body, nullptr, false);
    if (answer->status != 200 || !taken.is_object()) {
        return say(answer->status == 409 ? kExitUsage : kExitNoSnapshot,
                   "no savepoint: " + reason_in(answer->body));
    }
    return wait_for_completion(target, taken.value("name", ""), options.json);
}

int remove_offline(const Target& target, const std::string& name) {
    const std::string& directory = target.states.front();
    auto lock = state::StateLock::take(directory, short_patience());
    if (!lock) {
        return say(kExitLocked, lock.error().text);
    }
    auto opened = state::open_disk({.backend = config::IoBackend::threads});
    if (!opened) {
        return say(kExitStateBroken, opened.error().text);
    }
    const model::SystemClock clock;
    state::Completion completion(*opened->disk, clock, {directory, target.savepoint_folder},
                                 {.copy = false});
    model::Status outcome;
    completion.remove(name, [&](model::Status removed) { outcome = std::move(removed); });
    completion.step();
    return outcome ? kExitOk
                   : say(outcome.error().kind == model::ErrorKind::invalid ? kExitMissing
                                                                           : kExitStateBroken,
                         outcome.error().text);
}

int remove(const Target& target, const std::string& name, bool only_unfinished, bool as_json) {
    if (const auto valid = state::check_savepoint_name(name); !valid) {
        return say(kExitUsage, valid.error().text);
    }
    if (only_unfinished) {
        const auto answer = ask(target, "GET", "/status", kAnswerTimeoutMs);
        const auto status =
            answer ? status_from_json(answer->body) : std::unexpected(answer.error());
        if (!status) {
            return say(kExitUnreachable, status.error().text);
        }
        if (status->completion.name != name) {
            return say(kExitFalse, "the savepoint " + name + " is not being completed");
        }
    }
    const auto answer = ask(target, "POST", "/savepoint/delete?name=" + name, 0);
    if (!answer) {
        if (!has_state(target)) {
            return say(kExitUnreachable, answer.error().text);
        }
        if (const int exit_code = remove_offline(target, name); exit_code != kExitOk) {
            return exit_code;
        }
    } else if (answer->status != 200) {
        return say(answer->status == 409 ? kExitMissing : kExitStateBroken,
                   reason_in(answer->body));
    }
    if (as_json) {
        std::printf("{\"name\":\"%s\",\"deleted\":true}\n", name.c_str());
    } else {
        std::printf("savepoint %s deleted\n", name.c_str());
    }
    return kExitOk;
}

}  // namespace

int command_savepoint(const SavepointOptions& options) {
    const auto& words = options.words;
    const bool list = words.front() == "list" && words.size() == 2;
    const bool cancel = words.front() == "cancel" && words.size() == 3;
    const bool removes = cancel || (words.front() == "delete" && words.size() == 3);
    if (!list && !removes && words.size() != 1) {
        return say(kExitUsage,
                   "savepoint: `savepoint NAME`, `savepoint list NAME`, `savepoint delete NAME "
                   "SAVEPOINT` or `savepoint cancel NAME SAVEPOINT`");
    }
    const auto target =
        find_target(words[words.size() == 1 ? 0 : 1], config::process_environment());
    if (!target) {
        std::fputs(target.error().text.c_str(), stderr);
        return target.error().exit_code;
    }
    if (removes) {
        return remove(*target, words[2], cancel, options.json);
    }
    if (!list) {
        return take(*target, options);
    }
    auto snapshots = list_snapshots(*target);
    if (!snapshots) {
        return say(kExitUnreachable, snapshots.error().text);
    }
    std::erase_if(*snapshots, [](const auto& one) { return one.kind != "savepoint"; });
    print_snapshots(*snapshots, options.json);
    return kExitOk;
}

}  // namespace sluice::daemon
