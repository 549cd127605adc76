// `sluice demo`: an embedded broker, a private redis-server, live traffic, and the daemon as a
// child that is killed three times at random instants. What Redis holds in the end is compared with
// the exact answer, both ways. Needs no port, no privilege and no network; leaves nothing behind.
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/demo_broker.h"
#include "daemon/demo_child.h"
#include "daemon/demo_proof.h"
#include "daemon/demo_screen.h"
#include "daemon/demo_traffic.h"
#include "daemon/exit_code.h"
#include "daemon/status.h"
#include "state/io/io_engine.h"
#include "state/io/journal.h"
#include "state/model/clock.h"

extern "C" char** environ;

namespace sluice::daemon {
namespace {

namespace fs = std::filesystem;

const std::string kName = "demo";
const std::string kTopic = "clicks";
constexpr int kPartitions = 16;
constexpr std::uint32_t kUsers = 5'000;
constexpr std::int64_t kClicksPerSecond = 20'000;
constexpr model::DurationMs kWindowMs = 2'000;
constexpr int kKills = 3;
// A life is ended between these two ages: during its start, its replay, a checkpoint, a write.
constexpr std::int64_t kShortestLifeMs = 100, kLongestLifeMs = 6'000;
constexpr std::int64_t kTrafficMs = 16'000;   // at least
constexpr std::int64_t kLastLifeMs = 3'000;   // at least
constexpr std::int64_t kPatienceMs = 60'000;  // with whatever should come by itself

// ---- Ctrl-C

volatile sig_atomic_t interrupted_by = 0;

// While it exists, INT, TERM and HUP are only noted, so that everything can be cleaned up first.
class Interruptible {
 public:
    Interruptible() {
        ::signal(SIGPIPE,
                 SIG_IGN);  // a reader that went away is no reason to leave children behind
        for (const int number : kSignals) {
            ::signal(number, [](int n) { interrupted_by = n; });
        }
    }
    ~Interruptible() {
        for (const int number : kSignals) {
            ::signal(number, SIG_DFL);
        }
    }
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;

 private:
    static constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGHUP};
};

// ---- the place

// A directory that goes with it unless it is kept.
class Stage {
 public:
    explicit Stage(bool keep) : keep_(keep) {}
    ~Stage() {
        std::error_code ignored;
        if (!path_.empty() && !keep_) {
            fs::remove_all(path_, ignored);
        }
    }
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;

    model::Status open() {
        const char* wanted = std::getenv("TMPDIR");
        std::string base = wanted != nullptr && *wanted != '\0' ? wanted : "/tmp";
        if (base.size() > 60) {  // the name of a Unix socket has 107 characters at most
            base = "/tmp";
        }
        std::string path = base + "/sluice-demo-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) {
            return model::unavailable(path + ": " + std::strerror(errno));
        }
        path_ = path;
        std::error_code error;
        fs::create_directory(path_ + "/run", error);
        return {};
    }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    const std::string& path() const { return path_; }

 private:
    const bool keep_;
    std::string path_;
};

std::optional<std::string> find_program(const std::vector<std::string>& names) {
    const char* path = std::getenv("PATH");
    const std::string folders =
        std::string(path == nullptr ? "" : path) + ":/usr/local/bin:/usr/bin:/usr/sbin";
    for (const std::string& name : names) {
        for (std::size_t at = 0; at < folders.size();) {
            const std::size_t end = std::min(folders.find(':', at), folders.size());
            std::string candidate = folders.substr(at, end - at) + "/" + name;
            if (candidate.front() == '/' && candidate.size() > name.size() + 1 &&
                ::access(candidate.c_str(), X_OK) == 0) {
                return candidate;
            }
            at = end + 1;
        }
    }
    return std::nullopt;
}

// What a daemon of this demo sees: nothing that a surrounding systemd or shell meant for another.
std::vector<std::string> daemon_environment(const std::string& runtime_directory) {
    constexpr std::array<std::string_view, 9> kForeign{
        "NOTIFY_SOCKET=",     "WATCHDOG_USEC=",     "WATCHDOG_PID=",
        "JOURNAL_STREAM=",    "INVOCATION_ID=",     "STATE_DIRECTORY=",
        "RUNTIME_DIRECTORY=", "SLUICE_FAIL_POINT=", "MAINPID="};
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        if (std::ranges::none_of(kForeign, [&](auto name) { return text.starts_with(name); })) {
            result.emplace_back(text);
        }
    }
    result.push_back("RUNTIME_DIRECTORY=" + runtime_directory);
    return result;
}

std::string last_lines(const std::string& path, std::size_t count) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
        lines.push_back(line);
    }
    std::string text;
    for (std::size_t i = lines.size() - std::min(lines.size(), count); i < lines.size(); ++i) {
        text += "  " + lines[i] + "\n";
    }
    return text;
}

struct CloseRedis {
    void operator()(redisContext* context) const { redisFree(context); }
};
using Redis = std::unique_ptr<redisContext, CloseRedis>;

// ---- the demo

struct Life {
    std::int64_t begun_ms = 0;  // steady
    std::int64_t age_ms = 0;    // when it was killed; 0: it was not
    bool ready = false;
    RestoreStatus restore;
};

class Demo {
 public:
    explicit Demo(const DemoOptions& options)
        : seed_(options.seed.value_or(static_cast<std::uint64_t>(clock_.wall_ms()) % 1'000'000)),
          begun_ms_(clock_.steady_ms()),
          stage_(options.keep),
          screen_(begun_ms_),
          random_(seed_) {}

    // Blocks for about half a minute. Errors: cancelled (a signal), unavailable (it could not be
    // played to its end; says why).
    model::Result<DemoVerdict> play() {
        TRY(stage_.open());
        TRY(set_the_stage());
        TRY(live_and_die());
        TRY(end_in_order());
        return judge();
    }

    std::uint64_t seed() const { return seed_; }
    const Stage& stage() const { return stage_; }
    const std::vector<Life>& lives() const { return lives_; }
    std::int64_t elapsed_ms() const { return clock_.steady_ms() - begun_ms_; }
    std::string daemon_log() const { return stage_ / "sluice.log"; }
    std::uint64_t records_before_ready() const { return records_before_ready_; }

 private:
    void tell(const std::string& text) { screen_.event(clock_.steady_ms(), text); }

    model::Status set_the_stage() {
        // The broker first: its process is a copy of this one, which must not have threads yet.
        TRY(broker, start_demo_broker(kTopic, kPartitions, stage_ / "broker.log"));
        broker_ = std::move(broker);
        TRY(start_redis());
        TRY(write_job());
        TRY(traffic, DemoTraffic::open({.brokers = broker_.address,
                                        .topic = kTopic,
                                        .partitions = kPartitions,
                                        .users = kUsers,
                                        .clicks_per_second = kClicksPerSecond,
                                        .partition_bytes = kDemoPartitionBytes,
                                        .seed = random_()}));
        traffic_ = std::move(traffic);
        tell("a broker with " + std::to_string(kPartitions) +
             " partitions, a private Redis, and the daemon on this job (seed " +
             std::to_string(seed_) + "):");
        std::fputs(job_text(true).c_str(), stderr);
        return {};
    }

    model::Status start_redis() {
        const auto program = find_program({"redis-server", "valkey-server"});
        if (!program) {
            return model::unavailable(
                "there is neither redis-server nor valkey-server: `scripts/packages install demo` "
                "installs it");
        }
        const std::string socket = stage_ / "redis.sock";
        TRY(process, DemoChild::start(*program,
                                      {"redis-server", "--port", "0", "--unixsocket", socket,
                                       "--save", "", "--appendonly", "no", "--dir", stage_.path()},
                                      daemon_environment(stage_ / "run"), stage_ / "redis.log"));
        redis_process_ = std::move(process);
        const std::int64_t deadline = clock_.steady_ms() + kPatienceMs;
        while (clock_.steady_ms() < deadline && redis_process_.alive()) {
            redis_.reset(redisConnectUnixWithTimeout(socket.c_str(), {5, 0}));
            if (redis_ != nullptr && redis_->err == 0) {
                redisSetTimeout(redis_.get(), {10, 0});
                return {};
            }
            TRY(pause());
        }
        return model::unavailable("redis-server did not start:\n" +
                                  last_lines(stage_ / "redis.log", 10));
    }

    // The file; `essence`: without what only the demo needs.
    std::string job_text(bool essence) const {
        std::string text;
        if (!essence) {
            text =
                "name = \"" + kName + "\"\n\n[source]\nbrokers = \"" + broker_.address +
                "\"\ntopic   = \"" + kTopic +
                "\"\nstart   = \"earliest\"\n"
                "[source.rdkafka]\n"
                "fetch.wait.max.ms = 10          # the embedded broker lets an empty fetch wait to "
                "its end\n\n";
        }
        text +=
            "[reduce.spend]\n"
            "key    = [\"user_id\"]\n"
            "window = { tumbling = \"2s\" }\n"
            "time   = \"processing\"\n"
            "values = { clicks = \"count()\", spend = \"sum(price * quantity)\" }\n"
            "write  = \"HSET spend:{user_id}:{window.start} clicks {clicks} spend {spend}\"\n"
            "ttl    = \"1h\"\n";
        if (!essence) {
            // Every checkpoint is kept and so is all of the journal: the proof reads it.
            text += "\n[sink]\nredis = \"unix:" + (stage_ / "redis.sock") +
                    "\"\n\n[state]\ndirectory  = \"" + (stage_ / "state") +
                    "\"\ncheckpoint = { every = \"1s\", keep = 1000 }\n"
                    "memory     = \"512MiB\"\n"
                    "reserve    = \"64MiB\"\n\n[http]\nlisten = \"off\"\n\n[log]\nformat = "
                    "\"logfmt\"\n";
            return text;
        }
        std::string indented;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = text.find('\n', at);
            indented += "             " + text.substr(at, end + 1 - at);
            at = end + 1;
        }
        return indented;
    }

    model::Status write_job() {
        std::ofstream file(stage_ / "demo.toml");
        file << job_text(false);
        file.close();
        return file ? model::Status()
                    : model::unavailable((stage_ / "demo.toml") + ": " + std::strerror(errno));
    }

    model::Status start_daemon(std::vector<std::string> more = {}) {
        // What the demo keeps is meant to be gone with its folder, so a temp directory will do.
        std::vector<std::string> arguments{"sluice", "run", stage_ / "demo.toml", "--force"};
        std::ranges::copy(more, std::back_inserter(arguments));
        TRY(process, DemoChild::start("/proc/self/exe", std::move(arguments),
                                      daemon_environment(stage_ / "run"), daemon_log()));
        daemon_ = std::move(process);
        lives_.emplace_back().begun_ms = clock_.steady_ms();
        return {};
    }

    model::Status live_and_die() {
        TRY(start_daemon());
        for (int kill = 1; kill <= kKills; ++kill) {
            const auto span = static_cast<std::uint64_t>(kLongestLifeMs - kShortestLifeMs);
            TRY(run_until(lives_.back().begun_ms + kShortestLifeMs +
                          static_cast<std::int64_t>(random_() % span)));
            daemon_.kill();
            Life& life = lives_.back();
            life.age_ms = clock_.steady_ms() - life.begun_ms;
            tell("kill -9, the " +
                 std::string(kill == 1   ? "first"
                             : kill == 2 ? "second"
                                         : "third") +
                 (life.ready ? "" : ", before it was ready"));
            TRY(start_daemon());
        }
        const std::int64_t until =
            std::max(traffic_begun_ms_ + kTrafficMs, lives_.back().begun_ms + kLastLifeMs);
        TRY(run_until(until));
        TRY(traffic_->finish(kPatienceMs));
        tell("no more traffic: " + grouped(traffic_->delivered()) + " records");
        return wait_until_read();
    }

    // Traffic flows, the daemon lives.
    model::Status run_until(std::int64_t until_ms) {
        while (clock_.steady_ms() < until_ms) {
            traffic_begun_ms_ = traffic_begun_ms_ < 0 ? clock_.steady_ms() : traffic_begun_ms_;
            TRY(traffic_->pump(clock_.steady_ms()));
            TRY(watch());
        }
        return {};
    }

    model::Status wait_until_read() {
        const std::int64_t deadline = clock_.steady_ms() + kPatienceMs;
        for (; clock_.steady_ms() < deadline;) {
            TRY(watch());
            if (lives_.back().ready && records_read() == traffic_->delivered()) {
                return {};
            }
            TRY(pause());
        }
        return model::unavailable("the daemon does not catch up:\n" + last_lines(daemon_log(), 10));
    }

    // Stops it in order, then lets `--until end` write what is still open.
    model::Status end_in_order() {
        const auto go_on = [] { return interrupted_by == 0; };
        for (const bool last : {false, true}) {
            if (last) {
                TRY(start_daemon({"--until", "end"}));
            }
            const int code = daemon_.end(!last, kPatienceMs, go_on);
            if (interrupted_by != 0) {
                return model::cancelled("interrupted");
            }
            if (code != kExitOk) {
                return model::unavailable(
                    std::string(last ? "the last run" : "the daemon, asked to stop,") +
                    (code < 0 ? " does not end" : " ended with " + std::to_string(code)) + ":\n" +
                    last_lines(daemon_log(), 10));
            }
        }
        tell("stopped in order; a last run wrote what was open");
        return {};
    }

    model::Result<DemoVerdict> judge() {
        TRY(disk, state::open_disk({.backend = config::IoBackend::threads}));
        TRY(opened, state::Journal::open(*disk.disk, stage_ / "state/journal", {.boot = "demo"}));
        if (opened.journal->has_gap_after(0)) {
            return model::corrupt("the journal is not whole");
        }
        TRY(barriers, opened.journal->entries_after(0));
        TRY(answer, exact_answer(traffic_->clicks(), kTopic, barriers, kWindowMs));
        TRY(database, read_demo_database(redis_.get(), kName));
        return compare_demo(traffic_->clicks(), answer, database);
    }

    // Looks at the daemon, now and then, and shows what it sees.
    model::Status watch() {
        if (interrupted_by != 0) {
            return model::cancelled("interrupted");
        }
        if (!daemon_.alive()) {
            return model::unavailable("the daemon ended by itself with " +
                                      std::to_string(daemon_.end(false, 0, [] { return true; })) +
                                      ":\n" + last_lines(daemon_log(), 10));
        }
        const std::int64_t now = clock_.steady_ms();
        if (now - watched_ms_ < 100) {
            return {};
        }
        watched_ms_ = now;
        ask_daemon();
        const Life& life = lives_.back();
        // Short enough for 80 columns.
        const std::string state = life.ready ? std::string(name_of(status_.state)) : "starting";
        screen_.live(now, "life " + std::to_string(lives_.size()) + " " + state + ": produced " +
                              grouped(traffic_->delivered()) + ", read " +
                              (life.ready ? grouped(records_read()) : "-") + ", in Redis " +
                              grouped(keys_in_redis()));
        return {};
    }

    void ask_daemon() {
        const auto answer =
            ask({.name = kName, .sockets = {stage_ / "run/control.sock"}}, "GET", "/status", 200);
        const auto status = answer ? status_from_json(answer->body)
                                   : model::Result<Status>(std::unexpected(answer.error()));
        // A predecessor cannot answer any more, but its socket may be there.
        if (!status || status->pid != daemon_.pid()) {
            return;
        }
        status_ = *status;
        records_before_ready_ += status_.records_before_ready;
        Life& life = lives_.back();
        if (status_.ready && !life.ready) {
            life.ready = true;
            life.restore = status_.restore;
            const auto age = std::to_string(clock_.steady_ms() - life.begun_ms) + " ms";
            tell(life.restore.from.empty() ? "ready after " + age + ": a fresh start"
                                           : "ready again after " + age + ": restored checkpoint " +
                                                 fs::path(life.restore.from).filename().string());
        }
    }

    std::uint64_t records_read() const {
        std::uint64_t read = 0;
        for (const PartitionStatus& partition : status_.partitions) {
            read += static_cast<std::uint64_t>(partition.next_offset);
        }
        return read;
    }

    std::uint64_t keys_in_redis() {
        redisReply* reply = static_cast<redisReply*>(redisCommand(redis_.get(), "DBSIZE"));
        const auto keys = reply == nullptr ? 0 : reply->integer;
        freeReplyObject(reply);
        return keys > 2 ? static_cast<std::uint64_t>(keys) - 2 : 0;  // without the control keys
    }

    static model::Status pause() {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return interrupted_by != 0 ? model::Status(model::cancelled("interrupted"))
                                   : model::Status();
    }

    const model::SystemClock clock_;
    const std::uint64_t seed_;
    const std::int64_t begun_ms_;
    Stage stage_;  // goes last: everything lives in it
    DemoScreen screen_;
    std::mt19937_64 random_;

    DemoBroker broker_;
    DemoChild redis_process_;
    Redis redis_;
    std::unique_ptr<DemoTraffic> traffic_;
    DemoChild daemon_;

    std::int64_t traffic_begun_ms_ = -1;
    std::int64_t watched_ms_ = 0;
    std::vector<Life> lives_;
    Status status_;  // the newest that was seen
    std::uint64_t records_before_ready_ = 0;
};

// ---- the table

std::string time_of_day(model::EventTime time) {
    const std::time_t seconds = time / 1000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 16> text{};
    std::strftime(text.data(), text.size(), "%H:%M:%S", &parts);
    return text.data();
}

void print_row(const std::string& name, std::uint64_t users, const DemoTotal& exact,
               const DemoTotal& redis, const std::string& verdict) {
    std::printf("%-12s %7s %9s %9s %13s %13s  %s\n", name.c_str(), grouped(users).c_str(),
                grouped(exact.clicks).c_str(), grouped(redis.clicks).c_str(),
                money(exact.cents).c_str(), money(redis.cents).c_str(), verdict.c_str());
}

void print_table(const Demo& demo, const DemoVerdict& verdict) {
    std::printf("\n%-12s %7s %9s %9s %13s %13s\n", "window (UTC)", "users", "clicks", "Redis",
                "spend", "in Redis");
    for (const DemoWindow& window : verdict.windows) {
        print_row(time_of_day(window.start), window.users, window.exact, window.redis,
                  window.differences == 0 ? "same" : grouped(window.differences) + " differ");
    }
    print_row("all", verdict.expected, verdict.exact, verdict.redis, "");
    std::printf(
        "\n%s (user, window) results expected, %s in Redis: %s missing, %s surplus, %s different\n",
        grouped(verdict.expected).c_str(), grouped(verdict.found).c_str(),
        grouped(verdict.missing).c_str(), grouped(verdict.surplus).c_str(),
        grouped(verdict.different).c_str());
    std::printf("%s records produced, %s counted over all windows; users with a wrong sum: %s\n",
                grouped(verdict.produced.clicks).c_str(), grouped(verdict.redis.clicks).c_str(),
                grouped(verdict.wrong_users).c_str());
    for (const std::string& example : verdict.examples) {
        std::printf("  %s\n", example.c_str());
    }
    std::printf("%s after %d kill -9, %.0f s\n", verdict.holds() ? "Exact" : "NOT EXACT", kKills,
                static_cast<double>(demo.elapsed_ms()) / 1000);
}

void print_json(const Demo& demo, const DemoVerdict& verdict) {
    nlohmann::ordered_json json;
    json["exact"] = verdict.holds();
    json["seed"] = demo.seed();
    json["duration_ms"] = demo.elapsed_ms();
    json["produced"] = verdict.produced.clicks;
    json["counted"] = verdict.redis.clicks;
    json["expected"] = verdict.expected;
    json["found"] = verdict.found;
    json["missing"] = verdict.missing;
    json["surplus"] = verdict.surplus;
    json["different"] = verdict.different;
    json["wrong_users"] = verdict.wrong_users;
    json["examples"] = verdict.examples;
    json["records_before_ready"] = demo.records_before_ready();
    json["kills"] = nlohmann::json::array();
    for (const Life& life : demo.lives()) {
        if (life.age_ms > 0) {
            json["kills"].push_back({{"age_ms", life.age_ms}, {"ready", life.ready}});
        }
    }
    json["windows"] = nlohmann::json::array();
    for (const DemoWindow& window : verdict.windows) {
        json["windows"].push_back({{"start", window.start},
                                   {"users", window.users},
                                   {"clicks", window.exact.clicks},
                                   {"spend", money(window.exact.cents)},
                                   {"redis_clicks", window.redis.clicks},
                                   {"redis_spend", money(window.redis.cents)},
                                   {"differences", window.differences}});
    }
    std::printf("%s\n", json.dump().c_str());
}

int play(const DemoOptions& options) {
    const Interruptible interruptible;
    Demo demo(options);
    const auto verdict = demo.play();
    if (options.keep && !demo.stage().path().empty()) {
        std::fprintf(stderr, "sluice: kept: %s\n", demo.stage().path().c_str());
    }
    if (!verdict) {
        if (verdict.error().kind != model::ErrorKind::cancelled) {
            std::fprintf(stderr, "sluice: demo: %s\n", verdict.error().text.c_str());
        }
        return kExitFalse;
    }
    if (options.json) {
        print_json(demo, *verdict);
    } else {
        print_table(demo, *verdict);
    }
    if (demo.records_before_ready() != 0) {
        std::fputs("sluice: demo: records were read before the daemon was ready\n", stderr);
        return kExitFalse;
    }
    return verdict->holds() ? kExitOk : kExitFalse;
}

}  // namespace

int command_demo(const DemoOptions& options) {
    const int code = play(options);
    if (interrupted_by != 0) {  // everything is gone: end as one expects of Ctrl-C
        ::raise(interrupted_by);
    }
    return code;
}

}  // namespace sluice::daemon
