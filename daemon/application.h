// The daemon process around one engine: threads, start and stop, health, status.
//
// Threads: main drives the start and then supervises; `worker-N`, `coordinator`, `fire`,
// `snapshot`, `sink` each drive one object of the engine; `watch` asks Kafka and the disk how they
// are; `admin` serves HTTP, `signals` takes signals. Trouble outside is a condition with a reason:
// input waits, readiness says why, work resumes by itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "config/environment.h"
#include "config/load.h"
#include "daemon/cli.h"
#include "daemon/engine.h"
#include "daemon/file_system.h"
#include "daemon/http_server.h"
#include "daemon/notify.h"
#include "daemon/signals.h"
#include "daemon/status.h"
#include "ingest/kafka_log.h"
#include "state/io/io_engine.h"
#include "state/io/lock.h"

namespace rocksdb {
class Env;
}

namespace sluice::daemon {

// Wakes one sleeping thread. A ring before the wait is not lost. Thread: any.
class Bell {
 public:
    void ring();
    void wait(std::int64_t timeout_ms);

 private:
    std::mutex mutex_;
    std::condition_variable rung_;
    bool pending_ = false;
};

class Application {
 public:
    Application(config::Pipeline pipeline, const RunOptions& options);
    ~Application();

    // Blocks until the daemon has stopped; returns the exit code.
    int run();

    // How a stop ends: with a savepoint, without one, or as [savepoint] on_stop says.
    enum class Farewell : std::uint8_t { policy, savepoint, no_savepoint };
    void request_stop(const std::string& why, Farewell farewell);  // Thread: any. The first counts.

 private:
    bool open();         // lock, disk, HTTP
    bool open_engine();  // log, engine: for the current file
    bool start();        // until the gate is open
    void show_restore(std::int64_t begun_ms);
    void say_stalled(std::int64_t stalled_ms);
    void log_rejections();
    void feed_watchdog();
    // A reload is over: what runs now ends, and the next engine begins.
    bool begin_anew();
    void request_reload(Done done);  // Thread: any.
    void answer_reload();            // main thread: reads the file and judges it
    void finish_reload(model::Result<std::string> verdict);
    void note_settings();
    void begin_threads();
    void supervise();
    void stop_threads();
    int leave(int exit_code, const std::string& text);

    void watch();  // the thread `watch`
    void drive(const std::string& name, std::function<bool()> step, std::function<void()> wait);

    Status make_status();
    RunState fill_running(Status& status);
    void fill_checkpoints(Status& status, const Coordinator::Report& report);
    void release_workers();
    void refresh_status(bool now = false);
    void set_condition(const std::string& name, bool ok, std::string reason);
    void request_checkpoint(Done done);
    void request_savepoint(std::string name, Done done);
    void remove_savepoint(std::string name, Done done);
    std::string new_savepoint_name();
    void settle_savepoint_requests(bool stopping);
    std::string savepoint_directory() const;
    bool begin_with_room(const std::function<void()>& moved);
    void begin_drain();
    void pass_stop_on();
    void tell_progress();
    void fill_savepoints(Status& status, const Coordinator::Report& report);
    void settle_checkpoint_requests(bool stopping);
    void note_failure(int exit_code, std::string text);

    config::Pipeline pipeline_;  // the current file; replaced between two engines only
    const RunOptions options_;
    bool first_engine_ = true;
    std::string reload_verdict_;  // main thread: what is told when the reload under way is over
    std::shared_ptr<config::Pipeline> reload_;  // main thread, shared with the coordinator

    const config::Environment environment_ = config::process_environment();
    model::SystemClock clock_;
    Notify notify_;

    std::optional<state::StateLock> lock_;
    std::unique_ptr<state::Disk> disk_;
    std::string io_description_;
    std::unique_ptr<rocksdb::Env> rocks_env_;
    std::unique_ptr<ingest::DeadLetterFile> dead_letters_;
    std::unique_ptr<ingest::KafkaLog> log_;
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<HttpServer> http_;
    std::unique_ptr<Signals> signals_;

    Bell coordinator_bell_, fire_bell_, snapshot_bell_, savepoint_bell_, watch_bell_, main_bell_;
    std::atomic<bool> stop_requested_ = false;
    std::atomic<Farewell> farewell_ = Farewell::policy;
    std::atomic<bool> drain_requested_ = false;
    std::atomic<bool> draining_ = false;
    std::string stop_savepoint_;  // main thread: name of the one that the stop waits for
    std::int64_t stop_begun_ms_ = 0;
    std::optional<Ballast> ballast_;  // thread `watch` while it runs, else main
    std::atomic<bool> threads_stop_ = false;
    std::atomic<std::size_t> workers_open_ = 0;
    std::atomic<bool> running_flag_ = false;  // the engine runs: workers may step
    std::atomic<bool> begin_ = false;
    std::int64_t looked_for_partitions_ms_ = 0;  // thread `watch`
    bool running_ = false;                       // behind the gate
    bool ready_sent_ = false;

    std::mutex failure_mutex_;
    std::optional<Engine::Failure> failure_;  // guarded by failure_mutex_; the first one counts

    struct Seen {                                       // by the thread `watch`
        std::vector<std::optional<std::int64_t>> ends;  // by partition
        std::string kafka_problem;
        std::string disk_problem;
        std::uint64_t disk_free = 0;
    };
    std::mutex seen_mutex_;
    Seen seen_;                                 // guarded by seen_mutex_
    std::optional<model::Offsets> drain_ends_;  // guarded by seen_mutex_; not yet passed on

    std::mutex status_mutex_;
    Status status_;                      // guarded by status_mutex_
    std::vector<Condition> conditions_;  // main thread
    std::int64_t refreshed_ms_ = 0;
    std::int64_t fed_watchdog_ms_ = 0;
    std::int64_t say_stalled_at_ms_ = 0;  // thread `stall`
    std::uint64_t shown_percent_ = 0;
    std::uint64_t last_records_ = 0, last_results_ = 0;
    std::string logged_checkpoint_problem_, logged_paused_;
    std::uint64_t logged_checkpoints_ = 0;
    std::size_t logged_rejections_ = 0;

    std::mutex requests_mutex_;
    std::vector<std::pair<std::uint64_t, Done>> checkpoint_requests_;  // guarded by requests_mutex_
    struct SavepointRequest {
        std::uint64_t ticket = 0;
        std::string name;
        Done done;
    };
    std::vector<Done> stop_waiting_;     // guarded by requests_mutex_
    std::vector<Done> reload_requests_;  // guarded by requests_mutex_; not yet looked at
    std::vector<Done> reloads_waiting_;  // main thread: for the one under way
    bool reloaded_ = false;  // main thread: the next engine that runs is that of other settings
    std::vector<SavepointRequest> savepoint_requests_;  // guarded by requests_mutex_
    std::string last_savepoint_name_;                   // guarded by requests_mutex_
    std::uint64_t savepoint_names_ = 0;                 // guarded by requests_mutex_
    std::string logged_completion_, logged_completion_problem_;

    std::vector<std::thread> threads_;
};

}  // namespace sluice::daemon
