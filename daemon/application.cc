#include "daemon/application.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>

#include "config/change.h"
#include "config/load.h"
#include "config/secret.h"
#include "config/units.h"
#include "daemon/control.h"
#include "daemon/engine_status.h"
#include "daemon/exit_code.h"
#include "daemon/logging.h"
#include "daemon/stall_watch.h"
#include "sinks/socket_transport.h"
#include "state/io/rocks_env.h"
#include "state/model/mutant.h"

namespace sluice::daemon {

namespace {

constexpr std::int64_t kGateMsUntilEnd = 60'000;
constexpr std::int64_t kExtendMs = 30'000;
constexpr std::int64_t kStallMs = 10'000;
constexpr std::int64_t kAgainMs = 2000;
constexpr std::int64_t kLastWordsMs = 1000;

std::string boot_id() {
    std::random_device random;
    static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    std::string id;
    for (int i = 0; i < 10; ++i) {
        id += kDigits[random() % 36];
    }
    return id;
}

state::Lineage new_lineage() {
    std::random_device random;
    state::Lineage lineage;
    for (std::uint8_t& byte : lineage) {
        byte = static_cast<std::uint8_t>(random());
    }
    return lineage;
}

}  // namespace

Application::Application(config::Pipeline pipeline, const RunOptions& options)
    : pipeline_(std::move(pipeline)), options_(options) {
    board_.change([&](Status& status) {
        status.name = pipeline_.name;
        status.pid = getpid();
        status.config_hash = pipeline_.config_hash;
        status.state_directory = pipeline_.state.directory;
        status.savepoint_directory = savepoint_directory();
    });
}

std::string Application::savepoint_directory() const {
    return pipeline_.savepoint.directory.empty() ? pipeline_.state.directory + "/savepoints"
                                                 : pipeline_.savepoint.directory;
}

Application::~Application() {
    threads_.reset();
    // Their threads ring the bells and copy the status, which go before them.
    http_.reset();
    signals_.reset();
}

void Application::request_stop(const std::string& why, Ending::Farewell farewell) {
    if (!ending_.requested) {
        ending_.farewell = farewell;
    }
    if (!ending_.requested.exchange(true)) {
        log_info("stopping", {{"cause", why}});
    }
    bells_.main.ring();
}

void Application::request_stop(StopRequest request) {
    using Farewell = Ending::Farewell;
    if (request.done) {
        std::lock_guard guard(stop_waiting_mutex_);
        stop_waiting_.push_back(std::move(request.done));
    }
    const Farewell farewell = !request.savepoint   ? Farewell::policy
                              : *request.savepoint ? Farewell::savepoint
                                                   : Farewell::no_savepoint;
    if (request.drain && (requests_.serving() || reloaded_)) {  // or an engine is about to be
        ending_.farewell = farewell;
        ending_.drain_requested = true;
        log_info("draining: what the log holds now is read, every window closes");
        bells_.watch.ring();
        return;
    }
    request_stop("stop command", farewell);
}

int Application::leave(int exit_code, const std::string& text) {
    if (exit_code == kExitOk) {
        log_info(text);
    } else {
        log_error(text, {{"exit_code", exit_code}});
        notify_.failed(text, exit_code);
    }
    std::vector<Done> waiting;
    {
        std::lock_guard lock(stop_waiting_mutex_);
        waiting.swap(stop_waiting_);
    }
    if (!waiting.empty()) {
        const std::string verdict = nlohmann::ordered_json{
            {"exit_code", exit_code},
            {"savepoint", stop_savepoint_},
            {"text", text}}.dump();
        for (Done& done : waiting) {
            done(verdict);
        }
        http_->settle(kLastWordsMs);
    }
    return exit_code;
}

void Application::note_failure(int exit_code, std::string text) {
    {
        std::lock_guard lock(failure_mutex_);
        if (!failure_) {
            failure_ = Engine::Failure{exit_code, std::move(text)};
        }
    }
    bells_.main.ring();
}

std::optional<Engine::Failure> Application::failure() const {
    std::lock_guard lock(failure_mutex_);
    return failure_;
}

int Application::run() {
    using Farewell = Ending::Farewell;
    auto signals = Signals::open({
        .stop = [this](const std::string& name) { request_stop(name, Farewell::policy); },
        .stop_with_savepoint =
            [this](const std::string& name) { request_stop(name, Farewell::savepoint); },
        .reload =
            [this](const std::string&) {
                reloads_.request([](const auto&) {});
                bells_.main.ring();
            },
        .savepoint =
            [this](const std::string&) {
                requests_.savepoint("", [](const model::Result<std::string>& taken) {
                    if (!taken) {
                        log_warning("no savepoint", {{"reason", taken.error().text}});
                    }
                });
            },
    });
    if (!signals) {
        return leave(kExitInvariant, signals.error().text);
    }
    signals_ = std::move(*signals);
    bool go_on = open() && open_engine();
    while (go_on && start() && begin()) {
        supervise();
        go_on = begin_anew();
    }
    threads_.reset();
    requests_.withdraw();
    reloads_.refuse();
    reloads_.give_up({model::ErrorKind::cancelled, "the daemon stops"});
    return farewell();
}

int Application::farewell() {
    if (const auto failed = failure()) {
        return leave(failed->exit_code, failed->text);
    }
    if (!running_) {
        return stop_savepoint_.empty()
                   ? leave(kExitOk, "stopped")
                   : leave(kExitNoSnapshot,
                           "stopped without the wanted savepoint: a reload had just ended; its "
                           "checkpoint is kept");
    }
    const Checkpoints::Report report = engine_->coordinator().report().checkpoints;
    if (!engine_->coordinator().last_checkpoint_ok()) {
        return leave(kExitNoSnapshot,
                     stop_savepoint_.empty()
                         ? "stopped without a last checkpoint: " + report.problem
                         : "stopped without the wanted savepoint, the last complete snapshot is "
                           "kept: " +
                               report.savepoint_problem);
    }
    if (!stop_savepoint_.empty()) {
        log_info("savepoint",
                 {{"name", stop_savepoint_},
                  {"path", pipeline_.state.directory + "/savepoints/" + stop_savepoint_},
                  {"completed", "after the next start"}});
    }
    log_->publish(report.committed_offsets);
    return leave(kExitOk, "stopped");
}

// ---- what does not change with the engine
// ---------------------------------------------------------------------------

bool Application::open() {
    if (!open_directory() || !open_http() || !open_disk()) {
        return false;
    }
    ingest::DeadLetterFileSettings letters;
    letters.path = pipeline_.dead_letter.file.starts_with('/')
                       ? pipeline_.dead_letter.file
                       : pipeline_.state.directory + "/" + pipeline_.dead_letter.file;
    letters.max_bytes = pipeline_.dead_letter.max_bytes;
    letters.drop_when_full = pipeline_.dead_letter.drop_when_full;
    letters.half_full = [this] { bells_.letters.ring(); };
    auto dead_letters = ingest::DeadLetterFile::open(std::move(letters));
    if (!dead_letters) {
        note_failure(kExitLocked, dead_letters.error().text);
        return false;
    }
    dead_letters_ = std::move(*dead_letters);
    return true;
}

bool Application::open_directory() {
    const std::string& directory = pipeline_.state.directory;
    if (const auto doubts = doubts_about(directory); !doubts.empty()) {
        std::string text = directory + " is not known to be a safe place for a state";
        for (const std::string& doubt : doubts) {
            text += "; " + doubt;
        }
        if (!options_.force) {
            note_failure(kExitLocked,
                         text + "; choose another [state] directory, or confirm with --force");
            return false;
        }
        log_warning(text + "; used because of --force");
    }
    std::error_code unmade;
    std::filesystem::create_directories(directory, unmade);
    if (unmade) {
        note_failure(kExitLocked, directory + ": " + unmade.message());
        return false;
    }
    auto patience = state::StateLock::sleeping_patience();
    patience.wait = [this, sleep = patience.wait](model::DurationMs ms) {
        return !ending_.requested && sleep(ms);
    };
    auto lock = state::StateLock::take(directory, patience);
    if (!lock) {
        note_failure(kExitLocked, lock.error().text);
        return false;
    }
    lock_ = std::move(*lock);
    if (auto one = check_one_file_system(directory); !one) {
        note_failure(kExitLocked, one.error().text);
        return false;
    }
    if (!pipeline_.savepoint.directory.empty()) {
        std::filesystem::create_directories(pipeline_.savepoint.directory, unmade);
        if (unmade) {
            log_warning(
                "savepoints cannot be kept where they should be; they stay in the state "
                "directory until they can",
                {{"directory", pipeline_.savepoint.directory}, {"reason", unmade.message()}});
        }
    }
    ballast_.emplace(directory, pipeline_.state.reserve_bytes);
    return true;
}

bool Application::open_http() {
    HttpSettings http;
    http.socket_path = control_socket_path(pipeline_.name, pipeline_.state.directory, environment_);
    std::error_code unmade;  // the server says what it misses
    std::filesystem::create_directories(std::filesystem::path(http.socket_path).parent_path(),
                                        unmade);
    http.host = pipeline_.http.host;
    http.port = pipeline_.http.port;
    HttpCallbacks callbacks;
    callbacks.status = [this] { return board_.current(); };
    callbacks.stop = [this](StopRequest request) { request_stop(std::move(request)); };
    callbacks.savepoint = [this](std::string name, Done done) {
        requests_.savepoint(std::move(name), std::move(done));
    };
    callbacks.remove_savepoint = [this](std::string name, Done done) {
        requests_.remove_savepoint(std::move(name), std::move(done));
    };
    callbacks.checkpoint = [this](Done done) { requests_.checkpoint(std::move(done)); };
    callbacks.reload = [this](Done done) {
        reloads_.request(std::move(done));
        bells_.main.ring();
    };
    auto server = HttpServer::open(http, std::move(callbacks), clock_);
    if (!server) {
        note_failure(kExitUnreachable, server.error().text);
        return false;
    }
    http_ = std::move(*server);
    return true;
}

bool Application::open_disk() {
    state::DiskOptions disk;
    disk.backend = pipeline_.state.io;
    disk.lock_descriptor = lock_->descriptor();
    auto opened = state::open_disk(disk);
    if (!opened) {
        note_failure(kExitStateBroken, opened.error().text);
        return false;
    }
    disk_ = std::move(opened->disk);
    log_info(opened->description);
    rocks_env_ = state::make_rocks_env(*disk_);
    return true;
}

// ---- an engine
// ------------------------------------------------------------------------------------------------

bool Application::open_engine() {
    ingest::KafkaLogSettings kafka;
    kafka.brokers = pipeline_.source.brokers;
    kafka.topics = pipeline_.source.topics;
    kafka.group_id = "sluice-" + pipeline_.name;
    kafka.username = pipeline_.source.username;
    if (pipeline_.source.password.kind != config::Secret::Kind::none) {
        auto password = config::resolve(pipeline_.source.password, environment_);
        if (!password) {
            note_failure(kExitPermission, password.error().text);
            return false;
        }
        kafka.password = std::move(*password);
    }
    kafka.max_bytes = pipeline_.source.max_bytes;
    kafka.queue_bytes =
        std::clamp<std::uint64_t>(pipeline_.state.memory_bytes / 16, 8u << 20, 64u << 20);
    kafka.properties = pipeline_.source.rdkafka;
    if (kafka.properties.contains("debug")) {  // asked for; what matters otherwise is in the status
        kafka.log = [](int, std::string_view text) { log_info("librdkafka", {{"text", text}}); };
    }
    auto kafka_log = ingest::KafkaLog::open(std::move(kafka));
    if (!kafka_log) {
        note_failure(kExitConfiguration, kafka_log.error().text);
        return false;
    }
    log_ = std::move(*kafka_log);

    Engine::Seams seams{
        .log = *log_,
        .disk = *disk_,
        .rocks_env = *rocks_env_,
        .redis = sinks::socket_transports(
            {pipeline_.sink.host, pipeline_.sink.port, pipeline_.sink.unix_path}),
        .clock = clock_,
        .dead_letters = *dead_letters_,
    };
    engine_ = std::make_unique<Engine>(pipeline_, std::move(seams), engine_options());
    return true;
}

Engine::Options Application::engine_options() {
    Engine::Options options;
    options.fresh = options_.fresh && first_engine_;
    options.from = first_engine_ ? options_.from : "";
    options.decisions = {{options_.drop_state.begin(), options_.drop_state.end()},
                         options_.renamed};
    options.until_end = options_.until_end;
    options.keep_open = options_.keep_open;
    options.accept_gap = options_.accept_gap;
    options.accept_compacted = options_.accept_compacted;
    const std::string boot = boot_id();
    options.boot = boot;
    options.lineage = new_lineage();
    options.owner = pipeline_.name + "-" + std::to_string(getpid()) + "-" + boot;
    options.seed = std::random_device{}();
    options.workers = pipeline_.workers > 0 ? pipeline_.workers
                                            : static_cast<int>(std::thread::hardware_concurrency());
    if (pipeline_.sink.password.kind != config::Secret::Kind::none) {
        options.redis_password = [this] {
            return config::resolve(pipeline_.sink.password, environment_);
        };
    }
    options.wake_coordinator = [this] { bells_.coordinator.ring(); };
    options.say = [](const std::string& line) { log_info(line); };
    return options;
}

bool Application::begin_anew() {
    if (engine_->coordinator().outcome() != Coordinator::Outcome::reloaded) {
        return false;
    }
    threads_.reset();
    reloaded_ = true;
    requests_.withdraw();
    log_->publish(engine_->coordinator().report().checkpoints.committed_offsets);
    running_ = false;
    const bool ends_known = ending_.take_drain_ends().has_value();
    if (ending_.draining.exchange(false) || ends_known) {
        ending_.drain_requested = true;  // whoever had begun it is gone: it begins again
    }
    watch_.reset();
    engine_.reset();
    log_.reset();
    log_lines_.next_engine();
    if (const auto settings = reloads_.take_over()) {
        pipeline_ = std::move(*settings);
    }
    board_.change([&](Status& status) {
        status.config_hash = pipeline_.config_hash;
        status.savepoint_directory = savepoint_directory();
        status.partitions.clear();
    });
    return open_engine();
}

// ---- start
// ----------------------------------------------------------------------------------------------------

bool Application::start() {
    const std::int64_t begun = clock_.steady_ms();
    if (SLUICE_MUTANT(READY_BEFORE_RESTORE)) {
        notify_.ready();
    }
    StallWatch stall(clock_, kStallMs,
                     [this](std::int64_t stalled_ms) { say_stalled(stalled_ms); });
    while (engine_->stage() != Engine::Stage::open) {
        if (ending_.requested) {
            return false;  // nothing was taken: the last checkpoint says it all
        }
        const bool moved = engine_->start_step();
        stall.moved();
        if (engine_->restore() != nullptr) {
            log_lines_.restore(*engine_->restore());
        }
        if (engine_->stage() == Engine::Stage::failed) {
            if (engine_->failure().no_room &&
                !(options_.until_end && clock_.steady_ms() - begun > kGateMsUntilEnd)) {
                if (!begin_with_room([&] { stall.moved(); })) {
                    return false;
                }
                continue;
            }
            note_failure(engine_->failure().exit_code, engine_->failure().text);
            return false;
        }
        const std::string& waiting = engine_->waiting_for();
        log_lines_.waiting(waiting);
        const auto colon = waiting.find(": ");
        for (const char* name : {"kafka", "sink", "disk"}) {
            const bool this_one = waiting.substr(0, colon) == name;
            board_.set_condition(name, !this_one, this_one ? waiting.substr(colon + 2) : "");
        }
        const bool restored = engine_->stage() >= Engine::Stage::first;
        board_.set_condition("restore", restored, restored ? "" : "restoring");
        refresh_status();
        // One piece of the start was done, or somebody outside is waited for with patience; a step
        // that never comes back is what the watchdog is there for.
        feed_watchdog();
        if (moved) {
            notify_.extend_timeout(kExtendMs);
            tell_restore(begun);
            continue;
        }
        notify_.status("Waiting for " + waiting);
        if (options_.until_end && clock_.steady_ms() - begun > kGateMsUntilEnd) {
            note_failure(kExitUnreachable, "the gate could not open within 60 s: " + waiting);
            return false;
        }
        if (engine_->stage() == Engine::Stage::sink) {
            engine_->sink().wait(100);
        } else {
            bells_.main.wait(500);
        }
    }
    refresh_status(true);  // that the restore is over is to be seen before anybody reads
    return true;
}

// A start that met a full disk is given up, as a crash would, and begun again until there is room.
// False: it is not to be: we stop, or it failed for another reason.
bool Application::begin_with_room(const std::function<void()>& moved) {
    const std::string reason = engine_->failure().text;
    log_warning("waiting", {{"for", "disk: " + reason}});
    engine_.reset();
    log_.reset();
    log_lines_.next_engine();
    board_.set_condition("disk", false, reason);
    board_.set_condition("restore", false, "waiting for room on the disk");
    notify_.status("Waiting for disk: " + reason);
    const std::int64_t begun = clock_.steady_ms();
    while (!ending_.requested && clock_.steady_ms() - begun < kAgainMs) {
        moved();  // nobody is stuck
        refresh_status();
        feed_watchdog();
        notify_.extend_timeout(kExtendMs);
        bells_.main.wait(200);
    }
    return !ending_.requested && open_engine();
}

// "Restoring: verify 41 %, 61.0MiB of 150.0MiB, 38s to go", with each percent.
void Application::tell_restore(std::int64_t begun_ms) {
    const state::Restore* restore = engine_->restore();
    if (restore == nullptr || restore->total_bytes() == 0) {
        return;
    }
    const std::uint64_t total = restore->total_bytes();
    const std::uint64_t done = std::min(restore->bytes(), total);
    const std::uint64_t percent = done / (total / 100 + 1) + 1;
    if (percent == std::exchange(shown_percent_, percent)) {
        return;
    }
    const auto elapsed_ms = static_cast<double>(clock_.steady_ms() - begun_ms);
    const auto left_ms =
        done == 0 ? 0.0
                  : elapsed_ms * static_cast<double>(total - done) / static_cast<double>(done);
    notify_.status("Restoring: " + std::string(restore_phase(*engine_)) + " " +
                   std::to_string(done * 100 / total) + " %, " + config::print_size(done) + " of " +
                   config::print_size(total) + ", " +
                   config::print_duration(static_cast<std::int64_t>(left_ms / 1000) * 1000) +
                   " to go");
}

// Thread `stall`.
void Application::say_stalled(std::int64_t stalled_ms) {
    const std::string length = config::print_duration(stalled_ms / 1000 * 1000);
    const std::string phase = board_.stalled(stalled_ms, "no progress for " + length);
    if (stalled_ms == 0) {
        say_stalled_at_ms_ = 0;
        log_info("the start moves again");
    } else if (stalled_ms >= say_stalled_at_ms_) {
        say_stalled_at_ms_ = 2 * stalled_ms;  // a long one is not a flood of lines
        log_error("the start is stalled: one read or write of the disk does not come back",
                  {{"phase", phase},
                   {"for", length},
                   {"oldest_io", config::print_duration(static_cast<std::int64_t>(
                                     disk_->statistics().oldest_us / 1'000'000 * 1000))}});
    }
}

void Application::feed_watchdog() {
    const std::int64_t interval = notify_.watchdog_interval_ms();
    const std::int64_t now = clock_.steady_ms();
    if (interval > 0 && (fed_watchdog_ms_ == 0 || now - fed_watchdog_ms_ >= interval)) {
        fed_watchdog_ms_ = now;
        notify_.watchdog();
    }
}

bool Application::begin() {
    threads_.emplace(
        *engine_, bells_,
        EngineThreads::Hooks{
            .failed = [this](int exit_code,
                             std::string text) { note_failure(exit_code, std::move(text)); },
            .letters = [this] { dead_letters_->flush(); },
            .watch = [this] { watch_->step(); },
        });
    threads_->open_workers();
    if (failure()) {
        return false;
    }
    engine_->run();
    first_engine_ = false;
    note_settings();
    watch_.emplace(Watch::Parts{
        .pipeline = pipeline_,
        .engine = *engine_,
        .log = *log_,
        .disk = *disk_,
        .ballast = *ballast_,
        .clock = clock_,
        .ending = ending_,
        .bells = bells_,
        .look_for_partitions = !options_.until_end,
    });
    threads_->begin();
    running_ = true;
    requests_.serve(*engine_);
    if (reloaded_.exchange(false)) {
        log_info("the edited settings are in force");
        reloads_.in_force();
    }
    refresh_status(true);  // nobody is to see the gate open and the daemon not ready
    return true;
}

// What `sluice plan` compares a file with where no snapshot says it: settings that change no
// result.
void Application::note_settings() {
    const nlohmann::json settings = config::effective_settings(pipeline_);
    const std::string path = pipeline_.state.directory + "/settings.json";
    const auto written = state::write_file_durably(*disk_, path, settings.dump(1) + "\n");
    if (!written) {
        log_warning("cannot note the settings in force",
                    {{"path", path}, {"reason", written.error().text}});
    }
}

// ---- while it runs
// --------------------------------------------------------------------------------------------

void Application::supervise() {
    bool stop_passed_on = false;
    while (!is_over()) {
        answer_reload();
        begin_drain();
        const bool draining = ending_.draining;
        if ((ending_.requested || draining) && !stop_passed_on) {
            stop_passed_on = ending_.requested;
            pass_stop_on();
        }
        if (stop_passed_on || draining) {
            notify_.extend_timeout(kExtendMs);
        }
        if (stop_passed_on && !stop_savepoint_.empty() &&
            clock_.steady_ms() - stop_begun_ms_ > pipeline_.savepoint.timeout_ms) {
            // As a second TERM: what is unfinished is given up, whatever it waits for.
            std::_Exit(leave(kExitNoSnapshot, "no savepoint within " +
                                                  std::to_string(pipeline_.savepoint.timeout_ms) +
                                                  " ms; the last complete snapshot is kept"));
        }
        refresh_status();
        tell_progress();
        requests_.settle();
        feed_watchdog();
        bells_.main.wait(100);
    }
}

bool Application::is_over() {
    if (failure()) {
        return true;
    }
    Coordinator& coordinator = engine_->coordinator();
    if (coordinator.outcome() == Coordinator::Outcome::failed) {
        note_failure(kExitStateBroken, coordinator.failure().text);
        return true;
    }
    if (engine_->sink().phase() == sinks::SinkPhase::fenced) {
        note_failure(kExitFenced, engine_->sink().statistics().reason);
        return true;
    }
    return coordinator.outcome() != Coordinator::Outcome::running;
}

// While other settings are about to take over, the request waits: it is judged by those.
void Application::answer_reload() {
    if (ending_.requested) {
        reloads_.refuse();
        return;
    }
    if (reloads_.under_way() || engine_->reload_planned()) {
        return;
    }
    if (auto settings = reloads_.take_up(pipeline_, engine_->pipeline())) {
        engine_->coordinator().request_reload({std::move(settings), {}});
        bells_.coordinator.ring();
    }
}

// It may be over at once: what it ends with is said first.
void Application::begin_drain() {
    if (auto ends = ending_.take_drain_ends()) {
        ending_.draining = true;
        pass_stop_on();
        engine_->coordinator().request_drain(std::move(*ends));
        bells_.coordinator.ring();
    }
}

// Before the first time that the daemon was ready there is nothing that a savepoint would say and
// the last snapshot does not.
void Application::pass_stop_on() {
    const bool wanted =
        ending_.farewell == Ending::Farewell::savepoint ||
        (ending_.farewell == Ending::Farewell::policy && pipeline_.savepoint.on_stop);
    notify_.stopping();
    if (stop_begun_ms_ == 0) {
        stop_begun_ms_ = clock_.steady_ms();
        ballast_->let_go();
        if (wanted && board_.was_ready()) {
            stop_savepoint_ = requests_.new_savepoint_name();
        }
    }
    if (ending_.requested) {
        engine_->coordinator().request_stop(stop_savepoint_);
    } else {
        engine_->coordinator().name_stop_savepoint(stop_savepoint_);
    }
    bells_.coordinator.ring();
}

void Application::tell_progress() {
    const state::Completion::Report completion = engine_->completion().report();
    if (ending_.requested || ending_.draining) {
        notify_.status(stop_savepoint_.empty() ? "Stopping"
                                               : "Stopping with savepoint " + stop_savepoint_);
    } else if (!completion.completing.empty()) {
        notify_.status("Completing savepoint " + completion.completing + ": " +
                       std::to_string(completion.done_bytes >> 20) + " of " +
                       std::to_string(completion.total_bytes >> 20) + " MiB");
    } else if (board_.was_ready()) {
        notify_.status("Running");
    }
    log_lines_.completion(completion);
}

// ---- status
// ---------------------------------------------------------------------------------------------------

void Application::refresh_status(bool at_once) {
    if (!at_once && !board_.due()) {
        return;
    }
    Status status = board_.current();
    status.config_stale = config::file_hash(pipeline_.path) != pipeline_.config_hash;
    status.warnings.clear();
    const state::DiskStatistics io = disk_->statistics();
    status.io = {std::string(disk_->name()),
                 io.submitted,
                 io.completed,
                 io.errors,
                 io.in_flight,
                 io.written_bytes,
                 io.read_bytes,
                 io.syncs,
                 io.oldest_us,
                 io.write,
                 io.read,
                 io.sync};
    status.state = RunState::starting;
    if (engine_ != nullptr && engine_->restore() != nullptr) {
        status.state = RunState::restoring;
        daemon::show_restore(status, *engine_);
        if (!running_) {
            const model::EventTime passed = clock_.wall_ms() - status.started;
            status.restore.duration_ms = static_cast<std::uint64_t>(passed);
            show_restored(status, *engine_);
        }
    }
    if (running_) {
        status.state = show_engine(status);
    }
    if (ending_.requested || ending_.draining) {
        status.state = RunState::stopping;
    }
    const std::string from = status.restore.from;
    // While other settings take over the reader is away for a moment, as it is in other trouble.
    if (board_.publish(std::move(status), running_ || board_.was_ready())) {
        notify_.ready();
        log_info("ready", {{"restored_from", from.empty() ? "nothing" : from}});
    }
    if (running_) {  // before, the start says what it waits for
        log_lines_.conditions(board_.current().conditions);
    }
}

RunState Application::show_engine(Status& status) {
    const Coordinator::Report report = engine_->coordinator().report();
    const sinks::SinkStatistics sink = engine_->sink().statistics();
    const Watch::Seen seen = watch_->seen();
    const Found found = show_running(status, *engine_, report, seen);
    status.dead_letters.written = dead_letters_->written();
    status.dead_letters.dropped = dead_letters_->dropped();
    status.dead_letters.bytes = dead_letters_->bytes();
    status.room.memory_limit_bytes = pipeline_.state.memory_bytes;
    status.room.disk_reserve_bytes = pipeline_.state.reserve_bytes;
    status.rates = board_.rates(found.records, sink.results);

    std::string kafka = !found.gone.empty() ? found.gone : seen.kafka_problem;
    if (!kafka.empty() && found.gone.empty() && !kafka.contains(found.trouble)) {
        kafka += " (" + found.trouble + ")";
    }
    board_.set_condition("restore", true, "");
    board_.set_condition("kafka", kafka.empty(), kafka);
    board_.set_condition("sink", sink.connected, sink.reason);
    board_.set_condition("disk", seen.disk_problem.empty(), seen.disk_problem);
    board_.set_condition("state", report.checkpoints.problem.empty(), report.checkpoints.problem);
    board_.set_condition("paused", found.stopped.empty(), found.stopped);
    if (log_lines_.progress(report, ending_.requested)) {
        log_->publish(report.checkpoints.committed_offsets);
    }
    return found.stopped.empty() ? RunState::running : RunState::paused;
}

}  // namespace sluice::daemon
