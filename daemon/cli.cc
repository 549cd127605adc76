#include "daemon/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <functional>

#include "config/diagnostic.h"
#include "config/units.h"
#include "daemon/exit_code.h"
#include "daemon/version.h"
#include "state/model/number.h"

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

void set_up_compare(CLI::App& app, Command& command) {
    auto& options = begin<CompareOptions>(command);
    const std::string what = "a pipeline's name, its file, its state directory, or a snapshot";
    app.add_option("NAME", options.a, what)->required();
    app.add_option("OTHER", options.b, "the one to compare it with")->required();
    add_json(app, options.json, "print the summary as JSON lines, too");
}

void set_up_run(CLI::App& app, Command& command) {
    auto& options = begin<RunOptions>(command);
    add_file(app, options.file);
    add_json(app, options.json, "log in JSON");
    add_set(app, options.set);
    app.add_flag("--fresh", options.fresh, "forget all state and begin anew; needs --yes");
    app.add_option("--from", options.from,
                   "begin from this savepoint: a directory, or the name of one of its own; over a "
                   "state that is there with --fresh")
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
    app.add_option("--name", options.name, "the new savepoint's name; else made of the time")
        ->check([](const std::string& name) {
            return std::string(name.empty() ? "takes a name; without --name it is made of the time"
                                            : "");
        });
    app.add_option("--checkpoint", options.checkpoint,
                   "without a daemon: the checkpoint to make it of; else the newest")
        ->type_name("ID");
    add_json(app, options.json, "print the outcome as JSON");
}

void add_snapshot(CLI::App& app, std::string& path) {
    app.add_option("SNAPSHOT", path, "a checkpoint's or savepoint's directory")->required();
}

void add_rate(CLI::App& app, std::optional<std::uint64_t>& rate) {
    app.add_option_function<std::string>(
        "--rate",
        [&rate](const std::string& text) {
            const auto size = config::read_size(text);
            if (!size || *size == 0) {
                throw CLI::ValidationError("--rate", "a size is meant, for instance 100MB");
            }
            rate = *size;
        },
        "bytes per second at most; 100MB, 64MiB");
}

template <SnapshotOptions::Action kAction>
void set_up_snapshot(CLI::App& app, Command& command) {
    using enum SnapshotOptions::Action;
    auto& options = begin<SnapshotOptions>(command);
    options.action = kAction;
    if (kAction == import_stream) {
        app.add_option("FILE", options.path, "the portable stream; - is stdin")->required();
        app.add_option("DIR", options.destination, "the savepoint to make; must not exist")
            ->required();
    } else if (kAction == export_stream) {
        add_snapshot(app, options.path);
        app.add_option("FILE", options.destination, "must not exist; - is stdout")->required();
        app.add_option_function<std::string>(
               "--compression",
               [&options](const std::string& codec) { options.compress = codec != "none"; },
               "zstd or none")
            ->check(CLI::IsMember({"zstd", "none"}))
            ->default_str("zstd");
    } else {
        app.add_option("SNAPSHOT", options.path,
                       "a checkpoint's or savepoint's directory, or a portable stream")
            ->required();
    }
    if (kAction == export_stream || kAction == import_stream || kAction == verify) {
        add_rate(app, options.rate);
    }
    add_json(app, options.json, "print the outcome as JSON");
}

template <StateOptions::Action kAction>
void set_up_state(CLI::App& app, Command& command) {
    using enum StateOptions::Action;
    auto& options = begin<StateOptions>(command);
    options.action = kAction;
    options.paths.resize(1);
    CLI::Option* reduction = nullptr;
    switch (kAction) {
        case dump:
            app.add_option("SNAPSHOT", options.paths[0],
                           "a checkpoint's or savepoint's directory, or a portable stream")
                ->required();
            app.add_flag("--rows", options.rows_only,
                         "leave out the first line, which says what the rows belong to");
            break;
        case get:
            app.add_option("SNAPSHOT", options.paths[0],
                           "a snapshot's directory, or a portable stream; or a pipeline's name or "
                           "file: the state as of now, by a checkpoint that is taken for it")
                ->required();
            app.add_option("KEY", options.key, "the key's parts, as they are printed");
            break;
        case diff:
            options.paths.resize(2);
            app.add_option("A", options.paths[0], "a snapshot's directory")->required();
            app.add_option("B", options.paths[1], "another one")->required();
            break;
        case du:
            options.paths.clear();
            app.add_option("DIR", options.paths,
                           "snapshots, directories of snapshots, state directories")
                ->required();
            break;
        case put:
            add_snapshot(app, options.paths[0]);
            app.add_option("DIR", options.destination, "the savepoint to make; must not exist")
                ->required();
            break;
        case remove:
            add_snapshot(app, options.paths[0]);
            app.add_option("DIR", options.destination, "the savepoint to make; must not exist")
                ->required();
            reduction =
                app.add_option("--reduction", options.reduction,
                               "delete rows of this one; without it lines on stdin name the rows");
            app.add_option("--window", options.window_end,
                           "only the window with this end (ms since the epoch); with --reduction")
                ->type_name("END")
                ->check([](const std::string& end) {
                    return std::string(model::parse_number(end).value.type == model::Type::integer
                                           ? ""
                                           : "takes the window's end in ms since the epoch");
                })
                ->needs(reduction);
            app.add_option("--key", options.key,
                           "only this key: once for each of its parts; with --reduction")
                ->allow_extra_args(false)
                ->needs(reduction);
            break;
        case import_lines:
            options.paths.clear();
            app.add_option("DIR", options.destination, "the savepoint to make; must not exist")
                ->required();
            app.add_option("--like", options.like,
                           "a snapshot whose offsets, reductions and inputs the lines belong to; "
                           "without it the first line says so");
            break;
    }
    if (kAction == dump || kAction == get) {
        app.add_option("--reduction", options.reduction, "only this one");
    }
    add_json(app, options.json,
             kAction == dump || kAction == get || kAction == diff ? "the output is JSON anyway"
                                                                  : "print the outcome as JSON");
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
         {}},
        {"checkpoint verify",
         "read every byte of a checkpoint",
         false,
         {"sluice checkpoint verify /var/lib/sluice/clicks/checkpoints/12",
          "sluice checkpoint verify checkpoints/12 --rate 100MB"},
         set_up_snapshot<SnapshotOptions::Action::verify>,
         {}},
        {"savepoint",
         "take, list and delete savepoints",
         false,
         {"sluice savepoint clicks --name before-upgrade",
          "sluice savepoint delete clicks before-upgrade"},
         set_up_savepoint,
         {}},
        {"savepoint inspect",
         "what a snapshot holds: offsets, watermarks, reductions, ledger",
         false,
         {"sluice savepoint inspect /backup/before-upgrade",
          "sluice savepoint inspect before-upgrade.sluice --json"},
         set_up_snapshot<SnapshotOptions::Action::inspect>,
         {}},
        {"savepoint verify",
         "read every byte of a savepoint or a portable stream",
         false,
         {"sluice savepoint verify /backup/before-upgrade",
          "sluice savepoint verify before-upgrade.sluice"},
         set_up_snapshot<SnapshotOptions::Action::verify>,
         {}},
        {"savepoint export",
         "write a snapshot as one portable stream",
         false,
         {"sluice savepoint export /backup/before-upgrade before-upgrade.sluice",
          "sluice savepoint export checkpoints/12 - | ssh other sluice savepoint import - clicks"},
         set_up_snapshot<SnapshotOptions::Action::export_stream>,
         {}},
        {"savepoint import",
         "make a savepoint of a portable stream",
         false,
         {"sluice savepoint import before-upgrade.sluice /backup/copy",
          "ssh other cat before-upgrade.sluice | sluice savepoint import - /backup/copy"},
         set_up_snapshot<SnapshotOptions::Action::import_stream>,
         {}},
        {"state dump",
         "the rows of a snapshot as JSON lines",
         false,
         {"sluice state dump checkpoints/12 > state.jsonl",
          "sluice state dump before-upgrade.sluice --rows --reduction spend | jq .result"},
         set_up_state<StateOptions::Action::dump>,
         {}},
        {"state get",
         "the rows of one key, in a snapshot or live",
         false,
         {"sluice state get checkpoints/12 de 42", "sluice state get clicks de 42"},
         set_up_state<StateOptions::Action::get>,
         {}},
        {"state diff",
         "which rows of two snapshots differ; exits with 1 if some do",
         false,
         {"sluice state diff checkpoints/11 checkpoints/12",
          "sluice state diff /backup/before /backup/after | wc -l"},
         set_up_state<StateOptions::Action::diff>,
         {}},
        {"state du",
         "what snapshots take of the disk: shared, and freed by removing",
         false,
         {"sluice state du /var/lib/sluice/clicks",
          "sluice state du checkpoints/12 /backup/before"},
         set_up_state<StateOptions::Action::du>,
         {}},
        {"state put",
         "a new savepoint: a snapshot with rows put into it",
         false,
         {"sluice state put /backup/before /backup/fixed < rows.jsonl",
          "echo "
          "'{\"reduction\":\"spend\",\"window\":{\"end\":1700000015000},\"key\":[\"de\",\"42\"],"
          "\"result\":{\"clicks\":2,\"spend\":12.5}}' | sluice state put checkpoints/12 "
          "/backup/fixed"},
         set_up_state<StateOptions::Action::put>,
         {}},
        {"state delete",
         "a new savepoint: a snapshot without some rows",
         false,
         {"sluice state delete /backup/before /backup/fixed --reduction spend --key de --key 42",
          "sluice state dump --rows /backup/before | grep '\"bot\"' | sluice state delete "
          "/backup/before /backup/fixed"},
         set_up_state<StateOptions::Action::remove>,
         {}},
        {"state import",
         "a new savepoint made of JSON lines",
         false,
         {"sluice state import /backup/again < state.jsonl",
          "sluice state import /backup/history --like checkpoints/12 < history.jsonl"},
         set_up_state<StateOptions::Action::import_lines>,
         {}},
        {"version",
         "what this binary is and what it runs on",
         false,
         {"sluice version", "sluice version --verbose --json"},
         set_up_version,
         {}},
        {"pause", "hold the input", false, {}, {}, {}},
        {"resume", "let the input go on", false, {}, {}, {}},
        {"compare",
         "which results of two instances differ; exits with 1 if some do",
         false,
         {"sluice compare clicks clicks-green",
          "sluice compare /var/lib/sluice/clicks /backup/before | jq .key"},
         set_up_compare,
         {}},
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
                    "  " + row.name + std::string(19 - row.name.size(), ' ') + row.summary + "\n";
            }
        }
    }
    return text + "\nsluice COMMAND --help shows options and examples.\n";
}

// The commands whose names begin with this word; empty: there is none.
std::string commands_below(const std::string& word) {
    std::string text;
    for (const Row& row : table()) {
        if (row.name.starts_with(word + " ")) {
            text += "  sluice " + row.name + std::string(19 - row.name.size(), ' ') + row.summary +
                    "\n";
        }
    }
    return text;
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
        arguments.erase(arguments.begin());
        arguments.resize(std::min<std::size_t>(arguments.size(), 1));
        arguments.emplace_back("--help");
    }
    if (name == "--help" || name == "-h" || name == "help") {
        return std::unexpected(Leave{kExitOk, overview(), ""});
    }
    if (name == "--version") {
        name = "version";
    }
    // The longer name first: a pipeline called `list` gives way to `checkpoint list`.
    auto row = arguments.empty()
                   ? table().end()
                   : std::ranges::find(table(), name + " " + arguments.front(), &Row::name);
    if (row != table().end()) {
        arguments.erase(arguments.begin());
    } else {
        row = std::ranges::find(table(), name, &Row::name);
    }
    if (row == table().end() || !row->setup) {
        if (const std::string below = commands_below(name); !below.empty()) {
            const bool help =
                !arguments.empty() && (arguments.front() == "--help" || arguments.front() == "-h");
            return std::unexpected(
                help ? Leave{kExitOk, below, ""}
                     : usage(name + ": " +
                             (arguments.empty() ? "a command is missing"
                                                : "unknown command `" + arguments.front() + "`") +
                             "\n\n" + below));
        }
    }
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
