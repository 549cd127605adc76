// The command line: one table of commands, from which parsing, help and "did you mean" are made.
#pragma once

#include <expected>
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
    bool yes = false;  // destructive options were confirmed
    bool until_end = false;
    bool keep_open = false;  // with until_end: leave windows open
    bool accept_gap = false;
    bool accept_compacted = false;
    bool force = false;  // file systems that are not known to be safe
    std::vector<std::string> set;
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
};

// `sluice checkpoint NAME`
struct CheckpointOptions {
    std::string target;
    bool json = false;
};

// `sluice savepoint inspect | verify | export | import` and `sluice checkpoint list | verify`:
// offline, on any snapshot.
struct SnapshotOptions {
    enum class Action { inspect, verify, export_stream, import_stream, list };
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
    std::variant<RunOptions, CheckOptions, StatusOptions, StopOptions, CheckpointOptions,
                 SnapshotOptions, StateOptions, InitOptions, VersionOptions, DemoOptions>;

// There is nothing to run: help was asked for, or the line is wrong.
struct Leave {
    int exit_code = 0;
    std::string out;  // for stdout
    std::string err;  // for stderr
};

std::expected<Command, Leave> parse_command_line(int argc, const char* const* argv);

}  // namespace sluice::daemon
