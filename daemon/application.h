// The daemon process around one engine after the other: start and stop, health, status.
//
// Threads: main drives the start and then supervises; those of the engine (engine_threads.h);
// `admin` serves HTTP, `signals` takes signals. Trouble outside is a condition with a reason: input
// waits, readiness says why, work resumes by itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "config/environment.h"
#include "config/settings.h"
#include "daemon/bell.h"
#include "daemon/cli.h"
#include "daemon/control_requests.h"
#include "daemon/ending.h"
#include "daemon/engine.h"
#include "daemon/engine_threads.h"
#include "daemon/file_system.h"
#include "daemon/http_server.h"
#include "daemon/notify.h"
#include "daemon/reload_requests.h"
#include "daemon/run_log.h"
#include "daemon/signals.h"
#include "daemon/status_board.h"
#include "daemon/watch.h"
#include "ingest/kafka_log.h"
#include "state/io/io_engine.h"
#include "state/io/lock.h"

namespace rocksdb {
class Env;
}

namespace sluice::daemon {

class Application {
 public:
    Application(config::Pipeline pipeline, const RunOptions& options);
    ~Application();

    // Blocks until the daemon has stopped; returns the exit code.
    int run();

    // Thread: any. The first one counts.
    void request_stop(const std::string& why, Ending::Farewell farewell);

 private:
    // What does not change with the engine: a safe directory and its lock, HTTP, the disk.
    bool open();
    bool open_directory();
    bool open_http();
    bool open_disk();
    bool open_engine();  // log, engine: for the current file
    Engine::Options engine_options();

    bool start();  // until the gate is open
    void tell_restore(std::int64_t begun_ms);
    void say_stalled(std::int64_t stalled_ms);
    bool begin();  // everything behind the gate
    void note_settings();
    void supervise();
    bool is_over();
    std::string savepoint_directory() const;
    bool begin_with_room(const std::function<void()>& moved);
    void begin_drain();
    void pass_stop_on();
    void tell_progress();
    void answer_reload();
    // A reload is over: what runs now ends, and the next engine begins.
    bool begin_anew();
    int farewell();
    int leave(int exit_code, const std::string& text);

    void request_stop(StopRequest request);              // Thread: any. Of the admin API.
    void note_failure(int exit_code, std::string text);  // Thread: any. The first one counts.
    std::optional<Engine::Failure> failure() const;
    void refresh_status(bool at_once = false);
    RunState show_engine(Status& status);
    void feed_watchdog();

    config::Pipeline pipeline_;  // the current file; replaced between two engines only
    const RunOptions options_;
    const config::Environment environment_ = config::process_environment();
    model::SystemClock clock_;
    Notify notify_;
    Bells bells_;
    Ending ending_;
    StatusBoard board_{clock_};
    RunLog log_lines_;
    ControlRequests requests_{pipeline_, clock_, ending_, bells_};
    ReloadRequests reloads_{options_, environment_};

    std::optional<state::StateLock> lock_;
    std::optional<Ballast> ballast_;
    std::unique_ptr<state::Disk> disk_;
    std::unique_ptr<rocksdb::Env> rocks_env_;
    std::unique_ptr<ingest::DeadLetterFile> dead_letters_;

    std::unique_ptr<ingest::KafkaLog> log_;
    std::unique_ptr<Engine> engine_;
    std::optional<Watch> watch_;            // behind the gate
    std::optional<EngineThreads> threads_;  // behind the gate; they use all of the above
    bool first_engine_ = true;
    bool running_ = false;                // behind the gate
    std::atomic<bool> reloaded_ = false;  // the next engine that runs is that of other settings

    std::string stop_savepoint_;  // name of the one that the stop waits for
    std::int64_t stop_begun_ms_ = 0;
    std::int64_t fed_watchdog_ms_ = 0;
    std::int64_t say_stalled_at_ms_ = 0;  // thread `stall`
    std::uint64_t shown_percent_ = 0;

    std::mutex stop_waiting_mutex_;
    std::vector<Done> stop_waiting_;  // guarded by stop_waiting_mutex_

    mutable std::mutex failure_mutex_;
    std::optional<Engine::Failure> failure_;  // guarded by failure_mutex_

    // Last: their threads use what is above.
    std::unique_ptr<HttpServer> http_;
    std::unique_ptr<Signals> signals_;
};

}  // namespace sluice::daemon
