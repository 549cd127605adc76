#include "daemon/cli.h"

#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

std::expected<Command, Leave> parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "sluice");
    return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

template <class Options>
Options options(std::vector<const char*> arguments) {
    const auto command = parse(std::move(arguments));
    EXPECT_TRUE(command) << command.error().err;
    if (!command || !std::holds_alternative<Options>(*command)) {
        ADD_FAILURE() << "another command";
        return {};
    }
    return std::get<Options>(*command);
}

Leave leave(std::vector<const char*> arguments) {
    const auto command = parse(std::move(arguments));
    EXPECT_FALSE(command);
    return command ? Leave{-1, "", ""} : command.error();
}

TEST(CommandLine, ReadsRun) {
    const auto run = options<RunOptions>({"run", "a.toml", "--set", "sink.ttl=5m", "--until", "end",
                                          "--keep-open", "--set=log.level=debug", "--accept-gap"});
    EXPECT_EQ(run.file, "a.toml");
    EXPECT_EQ(run.set, (std::vector<std::string>{"sink.ttl=5m", "log.level=debug"}));
    EXPECT_TRUE(run.until_end);
    EXPECT_TRUE(run.keep_open);
    EXPECT_TRUE(run.accept_gap);
    EXPECT_FALSE(run.fresh);
    EXPECT_EQ(options<RunOptions>({"run", "--set", "a=b", "x.toml"}).file, "x.toml")
        << "--set takes one word";
    EXPECT_TRUE(options<RunOptions>({"run", "x.toml", "--fresh", "--yes"}).fresh);
}

TEST(CommandLine, ReadsTheOthers) {
    EXPECT_TRUE(options<CheckOptions>({"check", "x", "--offline", "--strict", "--json"}).strict);
    EXPECT_EQ(options<StatusOptions>({"status", "clicks", "--json"}).target, "clicks");
    EXPECT_EQ(options<StopOptions>({"stop", "clicks"}).target, "clicks");
    EXPECT_EQ(options<CheckpointOptions>({"checkpoint", "list", "clicks"}).words,
              (std::vector<std::string>{"list", "clicks"}));
    EXPECT_EQ(options<SnapshotOptions>({"checkpoint", "verify", "/c/12", "--rate", "10MB"}).rate,
              10'000'000U);
    EXPECT_EQ(options<SnapshotOptions>({"savepoint", "export", "/s", "-"}).destination, "-");
    EXPECT_FALSE(
        options<SnapshotOptions>({"savepoint", "export", "/s", "f", "--compression", "none"})
            .compress);
    EXPECT_EQ(options<StateOptions>({"state", "get", "clicks", "de", "42"}).key,
              (std::vector<std::string>{"de", "42"}));
    const auto removed = options<StateOptions>({"state", "delete", "/s", "/d", "--reduction", "r",
                                                "--key", "de", "--key", "42", "--window", "-1"});
    EXPECT_EQ(removed.key, (std::vector<std::string>{"de", "42"}));
    EXPECT_EQ(removed.window_end, "-1");
    EXPECT_EQ(options<InitOptions>({"init"}).example, "clicks");
    EXPECT_EQ(options<InitOptions>({"init", "ysb"}).example, "ysb");
    EXPECT_TRUE(options<VersionOptions>({"version", "--verbose"}).verbose);
    EXPECT_FALSE(options<VersionOptions>({"--version"}).verbose);
    EXPECT_EQ(options<DemoOptions>({"demo", "--seed", "7"}).seed, 7U);
    EXPECT_EQ(options<DemoOptions>({"demo"}).seed, std::nullopt);
}

TEST(CommandLine, WrongUsageIs64WithTheNearestName) {
    const Leave mistyped = leave({"statsu", "clicks"});
    EXPECT_EQ(mistyped.exit_code, 64);
    EXPECT_EQ(mistyped.err, "sluice: unknown command `statsu`; did you mean `status`?\n");
    const Leave option = leave({"run", "a.toml", "--ste", "a=b"});
    EXPECT_EQ(option.exit_code, 64);
    EXPECT_EQ(option.err, "sluice: run: unknown option `--ste`; did you mean `--set`?\n");
    for (const Leave& wrong :
         {leave({"run"}), leave({"check", "a", "b"}), leave({"status"}), leave({"init", "other"}),
          leave({"run", "a.toml", "--until", "tomorrow"}), leave({"run", "a.toml", "--keep-open"}),
          leave({"run", "a.toml", "--fresh"}), leave({"--json"}), leave({})}) {
        EXPECT_EQ(wrong.exit_code, 64) << wrong.err;
        EXPECT_FALSE(wrong.err.empty() && wrong.out.empty());
    }
}

TEST(CommandLine, AWrongValueIs64AndSaysWhatIsTaken) {
    const auto window = leave({"state", "delete", "/s", "/d", "--reduction", "r", "--window", "x"});
    EXPECT_EQ(window.exit_code, 64);
    EXPECT_NE(window.err.find("ms since the epoch"), std::string::npos) << window.err;
    EXPECT_EQ(
        leave({"state", "delete", "/s", "/d", "--reduction", "r", "--window", "1.5"}).exit_code,
        64);
    const auto name = leave({"savepoint", "clicks", "--name", ""});
    EXPECT_EQ(name.exit_code, 64);
    EXPECT_NE(name.err.find("takes a name"), std::string::npos) << name.err;
}

TEST(CommandLine, WhatAnEditMayDoIsSaidTheSameWayToRunAndPlan) {
    const auto run = options<RunOptions>(
        {"run", "a.toml", "--drop-state", "spend", "--drop-state=all", "--rename", "a=b"});
    EXPECT_EQ(run.drop_state, (std::vector<std::string>{"spend", "all"}));
    EXPECT_EQ(run.renamed, (std::map<std::string, std::string>{{"a", "b"}}));
    const auto plan = options<PlanOptions>({"plan", "a.toml", "--rename=a=b", "--json"});
    EXPECT_EQ(plan.renamed, run.renamed);
    EXPECT_EQ(leave({"run", "a.toml", "--rename", "a"}).exit_code, 64);
    EXPECT_TRUE(options<ReloadOptions>({"reload", "clicks", "--wait"}).wait);
}

TEST(CommandLine, WhatIsNotBuiltYetSaysSo) {
    for (const char* name :
         {"pause", "resume", "offsets", "eval", "tap", "doctor", "schema", "completion"}) {
        const Leave later = leave({name, "x", "--anything"});
        EXPECT_EQ(later.exit_code, 64);
        EXPECT_EQ(later.err,
                  "sluice: `" + std::string(name) + "` is not available in this version\n");
    }
}

TEST(CommandLine, EveryCommandHasJsonAndHelpWithTwoExamples) {
    for (const char* name : {"run",
                             "check",
                             "status",
                             "stop",
                             "plan",
                             "reload",
                             "checkpoint",
                             "init",
                             "version",
                             "demo",
                             "savepoint",
                             "checkpoint verify",
                             "savepoint inspect",
                             "savepoint verify",
                             "savepoint export",
                             "savepoint import",
                             "state dump",
                             "state get",
                             "state diff",
                             "state du",
                             "state put",
                             "state delete",
                             "state import"}) {
        const std::string words = name;
        const auto blank = words.find(' ');
        const std::string first_word = words.substr(0, blank);
        const std::string second_word = blank == std::string::npos ? "" : words.substr(blank + 1);
        const Leave help = second_word.empty()
                               ? leave({name, "--help"})
                               : leave({first_word.c_str(), second_word.c_str(), "--help"});
        EXPECT_EQ(help.exit_code, 0);
        EXPECT_NE(help.out.find("--json"), std::string::npos) << name;
        // Two examples, of which one may begin with what feeds it.
        const std::string example = "sluice " + words;
        const std::size_t first = help.out.find(example, help.out.find("Examples:"));
        ASSERT_NE(first, std::string::npos) << help.out;
        EXPECT_NE(help.out.find(example, first + 1), std::string::npos) << help.out;
        if (second_word.empty()) {
            EXPECT_EQ(leave({"help", name}).out, help.out);
        } else {
            EXPECT_EQ(leave({"help", first_word.c_str(), second_word.c_str()}).out, help.out);
        }
    }
    const Leave overview = leave({"--help"});
    EXPECT_EQ(overview.exit_code, 0);
    EXPECT_NE(overview.out.find("  run "), std::string::npos);
}

}  // namespace
}  // namespace sluice::daemon
