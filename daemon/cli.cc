#include "daemon/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>

#include "config/diagnostic.h"
#include "daemon/exit_code.h"
#include "daemon/version.h"

namespace sluice::daemon {
namespace {

using Setup = std::function<void(CLI::App&, Command&)>;

struct Row {
    std::string name;
    std::string summary;
    bool everyday = false;  // shown first in the overview
    std::array<std::string, 2> examples;
    Setup setup;                     // none: not in this version
    std::vector<std::string> later;  // options and sub-commands of later versions
};

template <class Options>
Options& begin(Command& command) {
    return command.emplace<Options>();
}

void add_file(CLI::App& app, std::string& file) {
    app.add_option("FILE", file, "the configuration file")->required();
}

void add_target(CLI::App& app, std::string& target) {
    app.add_option("NAME", target, "a pipeline's name, or its configuration file")->required();
}

void add_json(CLI::App& app, bool& json, const std::string& meaning) {
    app.add_flag("--json", json, meaning);
}

void add_set(CLI::App& app, std::vector<std::string>& set) {
    app.add_option("--set", set, "key=value, as if written in the file; may be given several times")
        ->allow_extra_args(false);
}

// How an edit of the file may deal with the state.
template <class Options>
void add_decisions(CLI::App& app, Options& options) {
    app.add_option("--drop-state", options.drop_state,
                   "the state of this reduction may go, if the edit cannot keep it; may be given "
                   "several times")
        ->type_name("ID")
        ->allow_extra_args(false);
    app.add_option_function<std::vector<std::string>>(
           "--rename",
           [&options](const std::vector<std::string>& pairs) {
               for (const std::string& pair : pairs) {
                   const std::size_t at = pair.find('=');
                   if (at == std::string::npos || at == 0 || at + 1 == pair.size()) {
                       throw CLI::ValidationError("--rename", "takes old=new");
                   }
                   options.renamed[pair.substr(0, at)] = pair.substr(at + 1);
               }
           },
           "the reduction `old` is called `new` by now, and keeps its state")
        ->type_name("OLD=NEW")
        ->allow_extra_args(false);
}

void set_up_plan(CLI::App& app, Command& command) {
    auto& options = begin<PlanOptions>(command);
    add_file(app, options.file);
    add_json(app, options.json, "print the changes as JSON");
    add_set(app, options.set);
    add_decisions(app, options);
}

void set_up_reload(CLI::App& app, Command& command) {
    auto& options = begin<ReloadOptions>(command);
    add_target(app, options.target);
    add_json(app, options.json, "print the verdict as JSON; waits for it");
    app.add_flag("--wait", options.wait,
                 "wait for the verdict: 0 applied, 78 invalid, 1 valid but refused");
}

void set_up_run(CLI::App& app, Command& command) {
    auto& options = begin<RunOptions>(command);
    add_file(app, options.file);
    add_json(app, options.json, "log in JSON");
    add_set(app, options.set);
    app.add_flag("--fresh", options.fresh, "forget all state and begin anew; needs --yes");
    app.add_option("--from", options.from,
                   "begin from this savepoint's directory; over a state of its own with --fresh")
        ->type_name("SAVEPOINT");
    app.add_flag("--yes", options.yes, "confirms what cannot be undone");
    app.add_option_function<std::string>(
           "--until", [&options](const std::string&) { options.until_end = true; },
           "`end`: stop when the end offsets seen at the start are reached and everything is in "
           "Redis")
        ->check(CLI::IsMember({"end"}));
    app.add_flag("--keep-open", options.keep_open, "with --until end: leave windows open")
        ->needs("--until");
    app.add_flag("--accept-gap", options.accept_gap,
                 "go on although offsets are gone from Kafka; this start only");
    app.add_flag("--accept-compacted", options.accept_compacted,
                 "read a compacted topic although records may be missing");
    app.add_flag("--force", options.force, "use a file system that is not known to be safe");
    add_decisions(app, options);
}

void set_up_check(CLI::App& app, Command& command) {
    auto& options = begin<CheckOptions>(command);
    add_file(app, options.file);
    add_json(app, options.json, "print the diagnostics as JSON");
    app.add_flag("--offline", options.offline, "skip Kafka and Redis");
    app.add_flag("--strict", options.strict, "warnings are errors");
    add_set(app, options.set);
}

void set_up_status(CLI::App& app, Command& command) {
    auto& options = begin<StatusOptions>(command);
    add_target(app, options.target);
    add_json(app, options.json, "print the status as JSON");
    app.add_flag("--watch", options.watch, "print it again every two seconds");
}

void set_up_stop(CLI::App& app, Command& command) {
    auto& options = begin<StopOptions>(command);
    add_target(app, options.target);
    add_json(app, options.json, "print the outcome as JSON");
    auto* savepoint = app.add_flag("--savepoint", options.savepoint,
                                   "with a savepoint, whatever [savepoint] on_stop says");
    app.add_flag("--no-savepoint", options.no_savepoint, "without one; a checkpoint is taken")
        ->excludes(savepoint);
    app.add_flag("--drain", options.drain,
                 "read what the log holds now, close every window, write everything, then stop");
}

void add_words(CLI::App& app, std::vector<std::string>& words, const std::string& meaning) {
    app.add_option("WORDS", words, meaning)->required()->type_name("");
}

void set_up_checkpoint(CLI::App& app, Command& command) {
    auto& options = begin<CheckpointOptions>(command);
    add_words(app, options.words,
              "NAME: take one of that pipeline; list NAME: all snapshots that are there");
    add_json(app, options.json, "print the outcome as JSON");
}

void set_up_savepoint(CLI::App& app, Command& command) {
    auto& options = begin<SavepointOptions>(command);
    add_words(app, options.words,
              "NAME: take one and wait; list NAME; delete NAME SAVEPOINT; cancel NAME SAVEPOINT. "
              "NAME is a pipeline's name, its file, or a state directory");
    app.add_option("--name", options.name, "the new savepoint's name; else made of the time");
    app.add_option("--checkpoint", options.checkpoint,
                   "without a daemon: the checkpoint to make it of; else the newest")
        ->type_name("ID");
    add_json(app, options.json, "print the outcome as JSON");
}

void set_up_init(CLI::App& app, Command& command) {
    auto& options = begin<InitOptions>(command);
    app.add_option("EXAMPLE", options.example, "clicks (all settings), ysb, or minimal")
        ->check(CLI::IsMember({"clicks", "ysb", "minimal"}));
    add_json(app, options.json, "print {\"name\", \"text\"}");
}

void set_up_version(CLI::App& app, Command& command) {
    auto& options = begin<VersionOptions>(command);
    app.add_flag("--verbose", options.verbose, "libraries, io_uring and fail points as well");
    add_json(app, options.json, "print it as JSON");
}

void set_up_demo(CLI::App& app, Command& command) {
    auto& options = begin<DemoOptions>(command);
    add_json(app, options.json, "print the outcome as JSON");
    app.add_option_function<std::uint64_t>(
        "--seed", [&options](const std::uint64_t& seed) { options.seed = seed; },
        "repeats the random choices of an earlier run");
    app.add_flag("--keep", options.keep, "leave the working directory behind");
}

const std::vector<Row>& table() {
    static const std::vector<Row> kTable{
        {"run",
         "run a pipeline in the foreground",
         true,
         {"sluice run clicks.toml",
          "sluice run clicks.toml --until end --set sink.redis=unix:/run/redis.sock"},
         set_up_run,
         {}},
        {"plan",
         "what an edit of the file would do to the state, line by line",
         true,
         {"sluice plan clicks.toml", "sluice plan clicks.toml --rename spend=revenue --json"},
         set_up_plan,
         {}},
        {"reload",
         "apply an edited file, as HUP",
         true,
         {"sluice reload clicks", "sluice reload clicks --wait"},
         set_up_reload,
         {}},
        {"check",
         "say everything that can be known about a file without starting it",
         true,
         {"sluice check clicks.toml", "sluice check clicks.toml --offline --strict --json"},
         set_up_check,
         {}},
        {"status",
         "state, rates, lag, ledger, checkpoints, warnings",
         true,
         {"sluice status clicks", "sluice status clicks.toml --json"},
         set_up_status,
         {}},
        {"stop",
         "stop in order: as TERM, and wait until it is gone",
         true,
         {"sluice stop clicks", "sluice stop clicks.toml --savepoint --json"},
         set_up_stop,
         {}},
        {"init",
         "print a commented example configuration",
         true,
         {"sluice init > clicks.toml", "sluice init minimal > first.toml"},
         set_up_init,
         {}},
        {"demo",
         "an embedded broker, three kill -9, and the proof that Redis is exact",
         true,
         {"sluice demo", "sluice demo --seed 7"},
         set_up_demo,
         {}},
        {"checkpoint",
         "take a checkpoint now, and wait for it; list them",
         false,
         {"sluice checkpoint clicks", "sluice checkpoint list clicks.toml --json"},
         set_up_checkpoint,
         {"verify"}},
        {"savepoint",
         "take, list and delete savepoints",
         false,
         {"sluice savepoint clicks --name before-upgrade",
          "sluice savepoint delete clicks before-upgrade"},
         set_up_savepoint,
         {"inspect", "verify", "export", "import"}},
        {"version",
         "what this binary is and what it runs on",
         false,
         {"sluice version", "sluice version --verbose --json"},
         set_up_version,
         {}},
        {"pause", "hold the input", false, {}, {}, {}},
        {"resume", "let the input go on", false, {}, {}, {}},
        {"state", "look into snapshots and change them", false, {}, {}, {}},
        {"compare", "what differs between two instances", false, {}, {}, {}},
        {"offsets", "positions and lag per partition", false, {}, {}, {}},
        {"eval", "try expressions and files on sample records", false, {}, {}, {}},
        {"tap", "sampled records and results", false, {}, {}, {}},
        {"doctor", "check the host", false, {}, {}, {}},
        {"schema", "print a JSON schema of the file", false, {}, {}, {}},
        {"completion", "print shell completion", false, {}, {}, {}},
    };
    return kTable;
}

std::string overview() {
    std::string text =
        "sluice " + version() +
        ": reads Kafka, reduces records in windows, writes to Redis, exact across crashes.\n\n"
        "usage: sluice COMMAND [FILE or NAME] [options]\n\n";
    for (const bool everyday : {true, false}) {
        for (const Row& row : table()) {
            if (row.everyday == everyday && row.setup) {
                text +=
                    "  " + row.name + std::string(12 - row.name.size(), ' ') + row.summary + "\n";
            }
        }
    }
    return text + "\nsluice COMMAND --help shows options and examples.\n";
}

Leave usage(std::string message) {
    return {kExitUsage, "", "sluice: " + std::move(message) + "\n"};
}

Leave unknown_command(const std::string& name) {
    std::vector<std::string> names;
    for (const Row& row : table()) {
        names.push_back(row.name);
    }
    const std::string near = config::nearest(name, std::span<const std::string>(names));
    return usage(
        "unknown command `" + name + "`" +
        (near.empty() ? "; `sluice --help` lists them" : "; did you mean `" + near + "`?"));
}

// "sluice: … " in our words where the library's would not help.
Leave wrong_line(const CLI::App& app, const Row& row, const CLI::ParseError& error,
                 const std::vector<std::string>& arguments) {
    const std::string more = "; `sluice " + row.name + " --help` shows examples";
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
        std::vector<std::string> options;
        for (const CLI::Option* option : app.get_options()) {
            for (const std::string& name : option->get_lnames()) {
                options.push_back("--" + name);
            }
        }
        for (const std::string& argument : arguments) {
            const std::string name = argument.substr(0, argument.find('='));
            if (name.starts_with('-') && std::ranges::find(options, name) == options.end() &&
                name != "-h") {
                const std::string near =
                    config::nearest(name, std::span<const std::string>(options));
                return usage(row.name + ": unknown option `" + name + "`" +
                             (near.empty() ? more : "; did you mean `" + near + "`?"));
            }
        }
        return usage(row.name + ": too many arguments" + more);
    }
    return usage(row.name + ": " + error.what() + more);
}

std::expected<Command, Leave> parse_command(const Row& row, std::vector<std::string> arguments) {
    for (const std::string& argument : arguments) {
        const std::string name = argument.substr(0, argument.find('='));
        if (std::ranges::find(row.later, name) != row.later.end()) {
            return std::unexpected(
                usage("`" + row.name + " " + name + "` is not available in this version"));
        }
    }
    CLI::App app(row.summary, "sluice " + row.name);
    app.footer("Examples:\n  " + row.examples[0] + "\n  " + row.examples[1]);
    app.get_formatter()->column_width(24);
    Command command;
    row.setup(app, command);
    try {
        std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
        app.parse(reversed);
    } catch (const CLI::CallForHelp&) {
        return std::unexpected(Leave{kExitOk, app.help(), ""});
    } catch (const CLI::ParseError& error) {
        return std::unexpected(wrong_line(app, row, error, arguments));
    }
    if (const auto* run = std::get_if<RunOptions>(&command);
        run != nullptr && run->fresh && !run->yes) {
        return std::unexpected(
            usage("run: --fresh forgets all state of this pipeline; add --yes if you mean it"));
    }
    return command;
}

}  // namespace

std::expected<Command, Leave> parse_command_line(int argc, const char* const* argv) {
    std::vector<std::string> arguments(argv + std::min(1, argc), argv + argc);
    if (arguments.empty()) {
        return std::unexpected(Leave{kExitUsage, "", overview()});
    }
    std::string name = arguments.front();
    arguments.erase(arguments.begin());
    if (name == "help" && !arguments.empty()) {
        name = arguments.front();
        arguments = {"--help"};
    }
    if (name == "--help" || name == "-h" || name == "help") {
        return std::unexpected(Leave{kExitOk, overview(), ""});
    }
    if (name == "--version") {
        name = "version";
    }
    const auto row = std::ranges::find(table(), name, &Row::name);
    if (row == table().end()) {
        return std::unexpected(name.starts_with('-') ? usage("a command is missing before `" +
                                                             name + "`; `sluice --help` lists them")
                                                     : unknown_command(name));
    }
    if (!row->setup) {
        return std::unexpected(usage("`" + name + "` is not available in this version"));
    }
    return parse_command(*row, std::move(arguments));
}

}  // namespace sluice::daemon
