// The command line: one table of commands, from which parsing, help and "did you mean" are made.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace sluice::daemon {

// `sluice run FILE`
struct RunOptions {
    std::string file;
    bool json = false;  // log lines as JSON
    bool fresh = false;
    std::string from;  // a savepoint's directory; empty: the newest snapshot of the state
    bool yes = false;  // destructive options were confirmed
    bool until_end = false;
    bool keep_open = false;  // with until_end: leave windows open
    bool accept_gap = false;
    bool accept_compacted = false;
    bool force = false;  // file systems that are not known to be safe
    std::vector<std::string> set;
    std::vector<std::string> drop_state;         // reductions whose state may go
    std::map<std::string, std::string> renamed;  // old id → new id
};

// `sluice plan FILE`
struct PlanOptions {
    std::string file;
    bool json = false;
    std::vector<std::string> set;
    std::vector<std::string> drop_state;
    std::map<std::string, std::string> renamed;
};

// `sluice reload NAME`
struct ReloadOptions {
    std::string target;
    bool json = false;
    bool wait = false;
};

// `sluice compare NAME OTHER`; each a pipeline's name, its file, its state directory, or a
// snapshot.
struct CompareOptions {
    std::string a, b;
    bool json = false;
};

// `sluice check FILE`
struct CheckOptions {
    std::string file;
    bool json = false;
    bool offline = false;
    bool strict = false;
    std::vector<std::string> set;
};

// `sluice status NAME`; the target of this and the following is a pipeline's name or its file.
struct StatusOptions {
    std::string target;
    bool json = false;
    bool watch = false;
};

// `sluice stop NAME`
struct StopOptions {
    std::string target;
    bool json = false;
    bool savepoint = false;  // whatever [savepoint] on_stop says; with neither, as it says
    bool no_savepoint = false;
    bool drain = false;
};

// `sluice checkpoint NAME`, `sluice checkpoint list NAME`
struct CheckpointOptions {
    std::vector<std::string> words;  // as typed: perhaps a verb, then what it is about
    bool json = false;
};

// `sluice savepoint inspect | verify | export | import` and `sluice checkpoint verify`: offline, on
// any snapshot.
struct SnapshotOptions {
    enum class Action { inspect, verify, export_stream, import_stream };
    Action action = Action::inspect;
    std::string path;         // a snapshot; import: the stream
    std::string destination;  // export: the stream; import: the new savepoint
    bool json = false;
    bool compress = true;
    std::optional<std::uint64_t> rate;  // bytes per second
};

// `sluice state …`: rows, offline but for `get NAME`.
struct StateOptions {
    enum class Action { dump, get, diff, du, put, remove, import_lines };
    Action action = Action::dump;
    std::vector<std::string> paths;  // snapshots; get: the snapshot or the pipeline first
    std::string destination;         // put, delete, import: the new savepoint
    std::vector<std::string> key;    // get, delete
    std::string reduction;           // only this one
    std::optional<std::string> window_end;
    std::string like;  // import: what the lines belong to
    bool rows_only = false;
    bool json = false;
};

// `sluice savepoint NAME`, `sluice savepoint list NAME`, `sluice savepoint delete NAME SAVEPOINT`
struct SavepointOptions {
    std::vector<std::string> words;
    bool json = false;
    std::string name;        // of the new one; empty: made up
    std::string checkpoint;  // without a daemon: the id to make it of; empty: the newest
};

// `sluice init [clicks | ysb | minimal]`
struct InitOptions {
    std::string example = "clicks";
    bool json = false;
};

// `sluice version`
struct VersionOptions {
    bool verbose = false;
    bool json = false;
};

// `sluice demo`
struct DemoOptions {
    bool json = false;
    std::optional<std::uint64_t> seed;  // none: from the clock; printed
    bool keep = false;                  // leave the working directory behind
};

using Command =
    std::variant<RunOptions, CheckOptions, PlanOptions, ReloadOptions, CompareOptions,
                 StatusOptions, StopOptions, CheckpointOptions, SavepointOptions, SnapshotOptions,
                 StateOptions, InitOptions, VersionOptions, DemoOptions>;

// There is nothing to run: help was asked for, or the line is wrong.
struct Leave {
    int exit_code = 0;
    std::string out;  // for stdout
    std::string err;  // for stderr
};

std::expected<Command, Leave> parse_command_line(int argc, const char* const* argv);

}  // namespace sluice::daemon
