// What needs a process of its own: log lines on stderr, signals, notes to the service manager, and
// the commands of the built executable.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "daemon/logging.h"
#include "daemon/notify.h"
#include "daemon/signals.h"

namespace sluice::daemon {
namespace {

struct Outcome {
    int exit_code = -1;
    std::string out;
    std::string err;
};

std::string read_all(int file) {
    std::string text;
    std::array<char, 4096> buffer{};
    ssize_t count = 0;
    while ((count = read(file, buffer.data(), buffer.size())) > 0) {
        text.append(buffer.data(), static_cast<std::size_t>(count));
    }
    close(file);
    return text;
}

// Runs `body` in a child; `meanwhile` gets the child's number once it has written its first byte.
Outcome in_child(const std::function<int()>& body,
                 const std::function<void(pid_t)>& meanwhile = {}) {
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    EXPECT_EQ(pipe(out.data()) + pipe(err.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        for (const int file : {out[0], out[1], err[0], err[1]}) {
            close(file);
        }
        _exit(body());
    }
    close(out[1]);
    close(err[1]);
    Outcome outcome;
    if (meanwhile) {
        char first = 0;
        EXPECT_EQ(read(out[0], &first, 1), 1);
        meanwhile(child);
    }
    outcome.out = read_all(out[0]);
    outcome.err = read_all(err[0]);
    int status = 0;
    waitpid(child, &status, 0);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome;
}

Outcome sluice(const std::vector<std::string>& arguments) {
    return in_child([&] {
        std::vector<std::string> words = arguments;
        words.insert(words.begin(), "sluice");
        std::vector<char*> pointers;
        for (std::string& word : words) {
            pointers.push_back(word.data());
        }
        pointers.push_back(nullptr);
        execv(SLUICE_BINARY, pointers.data());
        return 127;
    });
}

std::string temporary_folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "sluice-process-XXXXXX";
    return mkdtemp(pattern.data());
}

// ---- log ----

TEST(Log, WritesLogfmtToAPipe) {
    const Outcome outcome = in_child([] {
        open_log("info", "auto", "clicks");
        log_debug("not shown");
        log_info("checkpoint done", {{"id", 12}, {"path", "/a b"}, {"full", true}});
        return 0;
    });
    EXPECT_TRUE(outcome.err.starts_with("time=20")) << outcome.err;
    EXPECT_TRUE(outcome.err.ends_with(
        "Z level=info msg=\"checkpoint done\" id=12 path=\"/a b\" full=true\n"))
        << outcome.err;
}

TEST(Log, NothingFromARecordForgesALineOrDrivesATerminal) {
    for (const char* format : {"text", "logfmt", "json"}) {
        const Outcome outcome = in_child([format] {
            open_log("info", format, "clicks");
            log_warning("key a\nlevel=error \x1b[31m\x7f \xc2\x9b \xff größe",
                        {{"key", "x\" y=1\r\n\x1f\t\\"}});
            return 0;
        });
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << format << ": " << outcome.err;
        for (const char c : outcome.err) {
            EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << format;
        }
        EXPECT_EQ(outcome.err.find('\x7f'), std::string::npos);
        EXPECT_EQ(outcome.err.find("\xc2\x9b"), std::string::npos);
        EXPECT_NE(outcome.err.find("größe"), std::string::npos);
        if (std::string_view(format) == "json") {
            const auto line = nlohmann::json::parse(outcome.err);
            EXPECT_EQ(line["level"], "warning");
            EXPECT_EQ(line["key"], "x\" y=1\\r\\n\\x1f\\t\\");
        }
    }
}

TEST(Log, WithoutAJournalNothingIsLost) {
    if (access("/run/systemd/journal/socket", W_OK) == 0) {
        return;  // there is one, which takes what is sent
    }
    const Outcome outcome = in_child([] {
        open_log("info", "journald", "clicks");
        log_info("said");
        return 0;
    });
    EXPECT_TRUE(outcome.err.ends_with("level=info msg=\"said\"\n")) << outcome.err;
}

TEST(Log, TextIsForPeople) {
    const Outcome outcome = in_child([] {
        open_log("warning", "text", "clicks");
        log_info("not shown");
        log_error("disk full", {{"free", 7}});
        return 0;
    });
    EXPECT_EQ(outcome.err.substr(8), " ERROR   disk full  free=7\n");
}

// ---- signals ----

Outcome with_signals(const std::function<void(pid_t)>& meanwhile, bool leave_on_stop) {
    return in_child(
        [leave_on_stop] {
            open_log("info", "logfmt", "clicks");
            std::array<int, 2> stopped{};
            if (pipe(stopped.data()) != 0) {
                return 1;
            }
            const auto stop = [&](const char* said) {
                return [&, said](const std::string& name) {
                    if (leave_on_stop || name == "nothing") {
                        [[maybe_unused]] const auto count = write(stopped[1], "x", 1);
                    }
                    [[maybe_unused]] const auto told = write(STDOUT_FILENO, said, 1);
                };
            };
            const auto signals = Signals::open({
                .stop = stop("s"),
                .stop_with_savepoint = stop("S"),
                .reload =
                    [](const std::string&) {
                        [[maybe_unused]] const auto told = write(STDOUT_FILENO, "h", 1);
                    },
                .savepoint =
                    [](const std::string&) {
                        [[maybe_unused]] const auto told = write(STDOUT_FILENO, "p", 1);
                    },
            });
            [[maybe_unused]] const auto up = write(STDOUT_FILENO, "u", 1);
            char byte = 0;
            return read(stopped[0], &byte, 1) == 1 ? 0 : 1;
        },
        meanwhile);
}

TEST(SignalsTest, TermStopsInOrder) {
    const Outcome outcome = with_signals([](pid_t child) { kill(child, SIGTERM); }, true);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "s");
}

TEST(SignalsTest, ASecondOneGivesUp) {
    const Outcome outcome = with_signals(
        [](pid_t child) {
            kill(child, SIGTERM);
            kill(child, SIGINT);
        },
        false);
    EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
    EXPECT_EQ(outcome.out, "s") << "stop is called once";
}

TEST(SignalsTest, QuitLeavesAtOnce) {
    EXPECT_EQ(with_signals([](pid_t child) { kill(child, SIGQUIT); }, false).exit_code, 75);
}

TEST(SignalsTest, HupReloadsAndUsr1TakesASavepoint) {
    const Outcome outcome = with_signals(
        [](pid_t child) {
            kill(child, SIGHUP);
            kill(child, SIGUSR1);
            kill(child, SIGPIPE);
            kill(child, SIGTERM);
        },
        true);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "hps");
}

TEST(SignalsTest, UserSignalsAskForSavepoints) {
    const Outcome outcome = with_signals(
        [](pid_t child) {
            kill(child, SIGUSR1);
            kill(child, SIGUSR2);
        },
        true);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find('p'), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find('S'), std::string::npos) << outcome.out;
}

TEST(SignalsTest, TermBehindUsr2GivesUp) {
    const Outcome outcome = with_signals(
        [](pid_t child) {
            kill(child, SIGUSR2);
            kill(child, SIGTERM);
        },
        false);
    EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
}

TEST(SignalsTest, WhatComesBeforeAnybodyTakesItWaits) {
    const Outcome outcome = in_child([] {
        Signals::hold();
        for (const int signal : {SIGUSR1, SIGHUP, SIGPIPE, SIGTERM}) {
            kill(getpid(), signal);
        }
        std::atomic<int> taken = 0;
        const auto take = [&](const std::string&) {
            ++taken;
            taken.notify_one();
        };
        const auto signals = Signals::open(
            {.stop = take, .stop_with_savepoint = take, .reload = take, .savepoint = take});
        for (int seen = taken; seen < 3; seen = taken) {
            taken.wait(seen);
        }
        return 0;
    });
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

// ---- notes to the service manager ----

TEST(NotifyTest, SendsEachNoteOnce) {
    const std::string folder = temporary_folder();
    const int socket_file = socket(AF_UNIX, SOCK_DGRAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = folder + "/notify";
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(socket_file, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    in_child([&] {
        setenv("NOTIFY_SOCKET", path.c_str(), 1);
        setenv("WATCHDOG_USEC", "30000000", 1);
        Notify notify;
        notify.status("restoring\nREADY=1");
        notify.status("restoring\nREADY=1");
        notify.extend_timeout(30'000);
        notify.ready();
        notify.ready();
        notify.watchdog();
        notify.stopping();
        notify.stopping();
        return notify.watchdog_interval_ms() == 10'000 ? 0 : 1;
    });
    std::vector<std::string> notes;
    std::array<char, 1024> buffer{};
    ssize_t count = 0;
    while ((count = recv(socket_file, buffer.data(), buffer.size(), MSG_DONTWAIT)) > 0) {
        notes.emplace_back(buffer.data(), static_cast<std::size_t>(count));
    }
    EXPECT_EQ(notes,
              (std::vector<std::string>{"STATUS=restoring READY=1", "EXTEND_TIMEOUT_USEC=30000000",
                                        "READY=1", "WATCHDOG=1", "STOPPING=1"}));
    close(socket_file);
    std::filesystem::remove_all(folder);
}

TEST(NotifyTest, IsSilentWithoutAServiceManager) {
    const Outcome outcome = in_child([] {
        unsetenv("NOTIFY_SOCKET");
        Notify notify;
        notify.ready();
        notify.failed("x", 1);
        return static_cast<int>(notify.watchdog_interval_ms());
    });
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.err, "");
}

// ---- the executable ----

TEST(Executable, ExamplesPassTheirCheck) {
    const std::string folder = temporary_folder();
    for (const char* name : {"clicks", "ysb", "minimal"}) {
        const Outcome example = sluice({"init", name});
        EXPECT_EQ(example.exit_code, 0);
        const std::string path = folder + "/" + name + ".toml";
        std::ofstream(path) << example.out;
        const Outcome check = sluice({"check", path, "--offline"});
        EXPECT_EQ(check.exit_code, 0) << check.err;
        EXPECT_TRUE(check.out.ends_with("ok (Kafka and Redis were not asked)\n")) << check.out;
        const Outcome json = sluice({"check", path, "--offline", "--json"});
        EXPECT_TRUE(nlohmann::json::parse(json.out).is_array());
        EXPECT_EQ(json.err, "");
    }
    std::filesystem::remove_all(folder);
}

TEST(Executable, ChecksExitAsTheContractSays) {
    const std::string folder = temporary_folder();
    EXPECT_EQ(sluice({"check", folder + "/none.toml", "--offline"}).exit_code, 66);
    EXPECT_EQ(sluice({"check", folder, "--offline"}).exit_code, 77) << "a folder cannot be read";
    const std::string path = folder + "/a.toml";
    std::ofstream(path) << "name = \"a\"\n";
    const Outcome wrong = sluice({"check", path, "--offline"});
    EXPECT_EQ(wrong.exit_code, 78);
    EXPECT_TRUE(wrong.err.starts_with(path + ":1:1: error: ")) << wrong.err;
    EXPECT_EQ(wrong.out, "");
    const Outcome json = sluice({"check", path, "--offline", "--json"});
    EXPECT_EQ(json.exit_code, 78);
    EXPECT_EQ(json.err, "");
    const auto list = nlohmann::json::parse(json.out);
    ASSERT_FALSE(list.empty());
    EXPECT_EQ(list[0]["severity"], "error");
    std::filesystem::remove_all(folder);
}

TEST(Executable, LibrdkafkaJudgesItsPropertiesAtTheirPlaces) {
    const std::string folder = temporary_folder();
    const std::string path = folder + "/a.toml";
    std::ofstream(path) << sluice({"init", "minimal"}).out
                        << "\n[source.rdkafka]\nfetch.min.byts = 1\nfetch.min.bytes = \"many\"\n";
    const Outcome outcome = sluice({"check", path, "--offline"});
    EXPECT_EQ(outcome.exit_code, 78);
    EXPECT_NE(outcome.err.find("fetch.min.byts = 1\n"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("fetch.min.bytes = \"many\"\n"), std::string::npos) << outcome.err;
    // Whatever else is wrong, all is told at once.
    const Outcome both = sluice({"check", path, "--offline", "--set", "threads.workers=-1"});
    EXPECT_NE(both.err.find("fetch.min.byts = 1\n"), std::string::npos) << both.err;
    EXPECT_NE(both.err.find("threads.workers=-1\n"), std::string::npos) << both.err;
    EXPECT_NE(both.err.find("\n3 errors.\n"), std::string::npos) << both.err;
    std::filesystem::remove_all(folder);
}

TEST(Executable, WarningsAreErrorsWhenStrict) {
    const std::string folder = temporary_folder();
    const std::string path = folder + "/a.toml";
    std::ofstream(path) << sluice({"init", "minimal"}).out;
    const std::string share = "source.partitions=0-3";
    EXPECT_EQ(sluice({"check", path, "--offline", "--set", share}).exit_code, 0);
    EXPECT_EQ(sluice({"check", path, "--offline", "--strict", "--set", share}).exit_code, 78);
    std::filesystem::remove_all(folder);
}

TEST(Executable, WhatIsNotRunningIsNotReachable) {
    EXPECT_EQ(sluice({"status", "no-such-pipeline"}).exit_code, 69);
    EXPECT_EQ(sluice({"stop", "no-such-pipeline"}).exit_code, 69);
    EXPECT_EQ(sluice({"status", "/nowhere.toml"}).exit_code, 66);
    EXPECT_EQ(sluice({"status", "No_Name"}).exit_code, 64);
}

TEST(Executable, WhatCannotBeWrittenIsNoSuccess) {
    const Outcome outcome = in_child([] {
        dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
        execl(SLUICE_BINARY, "sluice", "init", nullptr);
        return 127;
    });
    EXPECT_EQ(outcome.exit_code, 73);
    EXPECT_NE(outcome.err.find("stdout"), std::string::npos) << outcome.err;
}

TEST(Executable, VersionNamesItsParts) {
    const Outcome outcome = sluice({"version", "--verbose", "--json"});
    EXPECT_EQ(outcome.exit_code, 0);
    const auto page = nlohmann::json::parse(outcome.out);
    for (const char* name : {"librdkafka", "rocksdb", "liburing", "hiredis", "boost", "simdjson"}) {
        EXPECT_FALSE(page["libraries"][name]["compiled"].get<std::string>().empty()) << name;
    }
    EXPECT_FALSE(page["io"].get<std::string>().empty());
    EXPECT_TRUE(page["fail_points"].is_array());
    EXPECT_EQ(sluice({"version"}).out.substr(0, 7), "sluice ");
}

}  // namespace
}  // namespace sluice::daemon
