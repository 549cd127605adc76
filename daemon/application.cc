#include "daemon/application.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "config/change.h"
#include "config/diagnostic.h"
#include "config/secret.h"
#include "config/units.h"
#include "daemon/check.h"
#include "daemon/control.h"
#include "daemon/exit_code.h"
#include "daemon/logging.h"
#include "daemon/stall_watch.h"
#include "sinks/socket_transport.h"
#include "state/io/rocks_env.h"
#include "state/model/mutant.h"
#include "state/model/number.h"

namespace sluice::daemon {

namespace {

constexpr std::int64_t kRefreshMs = 200;
constexpr std::int64_t kNotReadyAfterMs = 5000;
constexpr std::int64_t kGateMsUntilEnd = 60'000;
constexpr std::int64_t kLookForPartitionsMs = 30'000;
constexpr std::int64_t kExtendMs = 30'000;
constexpr std::int64_t kStallMs = 10'000;
constexpr std::int64_t kAgainMs = 2000;
constexpr std::int64_t kLastWordsMs = 1000;

// What a start is about, as the status names it.
std::string_view restore_phase(const Engine& engine) {
    switch (engine.stage()) {
        case Engine::Stage::journal:
            return "locate";
        case Engine::Stage::restore:
            switch (engine.restore()->phase()) {
                case state::Restore::Phase::locate:
                    return "locate";
                case state::Restore::Phase::verify:
                    return "verify";
                case state::Restore::Phase::restore:
                    return "restore";
                case state::Restore::Phase::warm:
                case state::Restore::Phase::done:
                case state::Restore::Phase::failed:
                    break;
            }
            return "warm";
        case Engine::Stage::first:
        case Engine::Stage::sink:
            return "sink_check";
        case Engine::Stage::open:
            return "open";
        case Engine::Stage::running:
            break;
        case Engine::Stage::failed:
            return "failed";
    }
    return "done";
}

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

void name_thread(const std::string& name) {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

CheckpointStatus checkpoint_status(const state::CheckpointSummary& info, std::int64_t pause_us) {
    CheckpointStatus status;
    status.id = info.id;
    status.kind = info.kind == state::SnapshotKind::checkpoint ? "checkpoint" : "savepoint";
    status.taken = model::parse_rfc3339(info.taken).value_or(0);
    status.bytes = info.bytes;
    status.new_bytes = info.new_bytes;
    status.pause_us = static_cast<std::uint64_t>(pause_us);
    status.duration_ms = info.duration_ms;
    status.path = info.path;
    return status;
}

}  // namespace

void Bell::ring() {
    {
        std::lock_guard lock(mutex_);
        pending_ = true;
    }
    rung_.notify_one();
}

void Bell::wait(std::int64_t timeout_ms) {
    std::unique_lock lock(mutex_);
    rung_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return pending_; });
    pending_ = false;
}

Application::Application(config::Pipeline pipeline, const RunOptions& options)
    : pipeline_(std::move(pipeline)), options_(options) {
    for (const char* name : {"restore", "tables", "kafka", "sink", "disk", "state", "paused"}) {
        conditions_.push_back({name, false, clock_.wall_ms(), "starting"});
    }
    set_condition("tables", true, "");
    set_condition("paused", true, "");
    status_.name = pipeline_.name;
    status_.started = status_.since = clock_.wall_ms();
    status_.pid = getpid();
    status_.config_hash = pipeline_.config_hash;
    status_.state_directory = pipeline_.state.directory;
    status_.savepoint_directory = savepoint_directory();
}

std::string Application::savepoint_directory() const {
    return pipeline_.savepoint.directory.empty() ? pipeline_.state.directory + "/savepoints"
                                                 : pipeline_.savepoint.directory;
}

Application::~Application() {
    stop_threads();
    // Their threads ring the bells and copy the status, which go before them.
    http_.reset();
    signals_.reset();
}

void Application::request_stop(const std::string& why, Farewell farewell) {
    if (!stop_requested_) {
        farewell_ = farewell;
    }
    if (!stop_requested_.exchange(true)) {
        log_info("stopping", {{"cause", why}});
    }
    main_bell_.ring();
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
        std::lock_guard lock(requests_mutex_);
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
    main_bell_.ring();
}

int Application::run() {
    auto signals = Signals::open({
        .stop = [this](const std::string& name) { request_stop(name, Farewell::policy); },
        .stop_with_savepoint =
            [this](const std::string& name) { request_stop(name, Farewell::savepoint); },
        .reload = [this](const std::string&) { request_reload([](const auto&) {}); },
        .savepoint =
            [this](const std::string&) {
                request_savepoint("", [](const model::Result<std::string>& taken) {
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
    while (go_on && start()) {
        begin_threads();
        supervise();
        go_on = begin_anew();
    }
    const bool was_running = running_;
    if (running_) {
        stop_threads();
    }
    settle_checkpoint_requests(true);
    settle_savepoint_requests(true);
    running_ = false;
    answer_reload();
    finish_reload(model::cancelled("the daemon stops"));
    std::optional<Engine::Failure> failure;
    {
        std::lock_guard lock(failure_mutex_);
        failure = failure_;
    }
    if (failure) {
        return leave(failure->exit_code, failure->text);
    }
    if (was_running && !engine_->coordinator().last_checkpoint_ok()) {
        const Coordinator::Report report = engine_->coordinator().report();
        return leave(kExitNoSnapshot,
                     stop_savepoint_.empty()
                         ? "stopped without a last checkpoint: " + report.checkpoint_problem
                         : "stopped without the wanted savepoint, the last complete snapshot is "
                           "kept: " +
                               report.savepoint_problem);
    }
    if (!was_running && !stop_savepoint_.empty()) {
        return leave(kExitNoSnapshot,
                     "stopped without the wanted savepoint: a reload had just ended; its "
                     "checkpoint is kept");
    }
    if (was_running && !stop_savepoint_.empty()) {
        log_info("savepoint",
                 {{"name", stop_savepoint_},
                  {"path", pipeline_.state.directory + "/savepoints/" + stop_savepoint_},
                  {"completed", "after the next start"}});
    }
    if (was_running) {
        log_->publish(engine_->coordinator().report().committed_offsets);
    }
    return leave(kExitOk, "stopped");
}

// ---- start
// ----------------------------------------------------------------------------------------------------

bool Application::open() {
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
        return !stop_requested_ && sleep(ms);
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

    HttpSettings http;
    http.socket_path = control_socket_path(pipeline_.name, directory, environment_);
    std::filesystem::create_directories(std::filesystem::path(http.socket_path).parent_path(),
                                        unmade);
    http.host = pipeline_.http.host;
    http.port = pipeline_.http.port;
    HttpCallbacks callbacks;
    callbacks.status = [this] {
        std::lock_guard guard(status_mutex_);
        return status_;
    };
    callbacks.stop = [this](StopRequest request) {
        if (request.done) {
            std::lock_guard guard(requests_mutex_);
            stop_waiting_.push_back(std::move(request.done));
        }
        const Farewell farewell = !request.savepoint   ? Farewell::policy
                                  : *request.savepoint ? Farewell::savepoint
                                                       : Farewell::no_savepoint;
        if (request.drain && running_flag_.load(std::memory_order_acquire)) {
            farewell_ = farewell;
            drain_requested_ = true;
            log_info("draining: what the log holds now is read, every window closes");
            watch_bell_.ring();
            return;
        }
        request_stop("stop command", farewell);
    };
    callbacks.savepoint = [this](std::string name, Done done) {
        request_savepoint(std::move(name), std::move(done));
    };
    callbacks.remove_savepoint = [this](std::string name, Done done) {
        remove_savepoint(std::move(name), std::move(done));
    };
    callbacks.checkpoint = [this](Done done) { request_checkpoint(std::move(done)); };
    callbacks.reload = [this](Done done) { request_reload(std::move(done)); };
    auto server = HttpServer::open(http, std::move(callbacks), clock_);
    if (!server) {
        note_failure(kExitUnreachable, server.error().text);
        return false;
    }
    http_ = std::move(*server);

    state::DiskOptions disk;
    disk.backend = pipeline_.state.io;
    disk.lock_descriptor = lock_->descriptor();
    auto opened = state::open_disk(disk);
    if (!opened) {
        note_failure(kExitStateBroken, opened.error().text);
        return false;
    }
    disk_ = std::move(opened->disk);
    io_description_ = opened->description;
    log_info(io_description_);
    rocks_env_ = state::make_rocks_env(*disk_);

    ingest::DeadLetterFileSettings letters;
    letters.path = pipeline_.dead_letter.file.starts_with('/')
                       ? pipeline_.dead_letter.file
                       : directory + "/" + pipeline_.dead_letter.file;
    letters.max_bytes = pipeline_.dead_letter.max_bytes;
    letters.drop_when_full = pipeline_.dead_letter.drop_when_full;
    auto dead_letters = ingest::DeadLetterFile::open(std::move(letters));
    if (!dead_letters) {
        note_failure(kExitLocked, dead_letters.error().text);
        return false;
    }
    dead_letters_ = std::move(*dead_letters);
    return true;
}

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
    options.wake_coordinator = [this] { coordinator_bell_.ring(); };
    options.say = [](const std::string& line) { log_info(line); };
    engine_ = std::make_unique<Engine>(pipeline_, std::move(seams), std::move(options));
    return true;
}

bool Application::begin_anew() {
    if (!running_ || engine_->stage() != Engine::Stage::running ||
        engine_->coordinator().outcome() != Coordinator::Outcome::reloaded) {
        return false;
    }
    stop_threads();
    settle_checkpoint_requests(true);
    settle_savepoint_requests(true);
    {
        std::lock_guard lock(requests_mutex_);  // nobody asks the old engine for anything any more
        running_flag_.store(false);
    }
    log_->publish(engine_->coordinator().report().committed_offsets);
    bool drain = draining_.exchange(false);
    {
        std::lock_guard lock(seen_mutex_);
        seen_ = {};
        drain |= std::exchange(drain_ends_, std::nullopt).has_value();
    }
    running_ = false;
    reloaded_ = true;
    if (drain) {
        drain_requested_ = true;  // whoever had begun it is gone: it begins again
    }
    begin_.store(false);
    threads_stop_.store(false);
    workers_open_.store(0);
    logged_checkpoints_ = 0;
    engine_.reset();
    log_.reset();
    if (reload_) {
        pipeline_ = std::move(*reload_);  // nobody else has it any more
        reload_.reset();
    }
    {
        std::lock_guard lock(status_mutex_);
        status_.config_hash = pipeline_.config_hash;
        status_.savepoint_directory = savepoint_directory();
        status_.partitions.clear();
    }
    return open_engine();
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

// ---- reload
// ----------------------------------------------------------------------------------------------------

void Application::request_reload(Done done) {
    {
        std::lock_guard lock(requests_mutex_);
        reload_requests_.push_back(std::move(done));
    }
    main_bell_.ring();
}

void Application::finish_reload(model::Result<std::string> verdict) {
    for (Done& done : std::exchange(reloads_waiting_, {})) {
        done(verdict);
    }
}

// All or nothing: the file is read and judged before anything is asked of the engine. It is judged
// by the settings that it replaces: while others are about to take over, the request waits.
void Application::answer_reload() {
    if (running_ && !stop_requested_ && (reload_ || engine_->reload_planned())) {
        return;
    }
    std::vector<Done> requests;
    {
        std::lock_guard lock(requests_mutex_);
        requests.swap(reload_requests_);
    }
    if (requests.empty()) {
        return;
    }
    const auto answer = [&](const model::Result<std::string>& verdict) {
        for (Done& done : requests) {
            done(verdict);
        }
    };
    const auto refuse = [&](int exit_code, const std::string& reason) {
        log_warning("no reload", {{"reason", reason}});
        answer(nlohmann::json{{"applied", false}, {"exit_code", exit_code}, {"reason", reason}}
                   .dump());
    };
    if (!running_ || stop_requested_) {
        answer(model::unavailable("no reload is possible now"));
        return;
    }
    config::Loaded loaded = config::load(options_.file, options_.set, environment_);
    check_kafka_properties(loaded);
    if (!loaded.pipeline || config::has_error(loaded.diagnostics)) {
        refuse(kExitConfiguration, config::to_text(loaded.diagnostics));
        return;
    }
    if (loaded.pipeline->name != pipeline_.name) {
        refuse(kExitFalse, "`name` cannot be changed by a reload");
        return;
    }
    const config::Edit edit = config::compare(engine_->pipeline(), *loaded.pipeline, {},
                                              config::effective_settings(engine_->pipeline()));
    if (edit.breaks()) {
        refuse(kExitFalse, "it would break state: " + config::refusal(edit));
        return;
    }
    nlohmann::json verdict = {{"applied", true}, {"restart", nlohmann::json::array()}};
    for (const config::Change& change : edit.changes) {
        if (change.verdict == config::Verdict::restart) {
            verdict["restart"].push_back(change.key);
        }
    }
    // What is read when the process starts stays as it is until then.
    loaded.pipeline->state.directory = pipeline_.state.directory;
    loaded.pipeline->state.io = pipeline_.state.io;
    loaded.pipeline->dead_letter = pipeline_.dead_letter;
    loaded.pipeline->http = pipeline_.http;
    loaded.pipeline->log = pipeline_.log;
    reload_verdict_ = verdict.dump();
    reload_ = std::make_shared<config::Pipeline>(std::move(*loaded.pipeline));
    reloads_waiting_ = std::move(requests);
    log_info("reload", {{"changes", edit.changes.size()}});
    engine_->coordinator().request_reload({reload_, {}});
    coordinator_bell_.ring();
}

bool Application::start() {
    const std::int64_t begun = clock_.steady_ms();
    if (SLUICE_MUTANT(READY_BEFORE_RESTORE)) {
        notify_.ready();
    }
    StallWatch stall(clock_, kStallMs,
                     [this](std::int64_t stalled_ms) { say_stalled(stalled_ms); });
    std::string said;
    while (engine_->stage() != Engine::Stage::open) {
        if (stop_requested_) {
            return false;  // nothing was taken: the last checkpoint says it all
        }
        const bool moved = engine_->start_step();
        stall.moved();
        if (engine_->stage() == Engine::Stage::failed) {
            log_rejections();
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
        if (!waiting.empty() && waiting != said) {
            log_warning("waiting", {{"for", waiting}});
        }
        said = waiting;
        const auto colon = waiting.find(": ");
        for (const char* name : {"kafka", "sink", "disk"}) {
            const bool this_one = waiting.substr(0, colon) == name;
            set_condition(name, !this_one, this_one ? waiting.substr(colon + 2) : "");
        }
        log_rejections();
        const bool restored = engine_->stage() >= Engine::Stage::first;
        set_condition("restore", restored, restored ? "" : "restoring");
        refresh_status();
        // One piece of the start was done, or somebody outside is waited for with patience; a step
        // that never comes back is what the watchdog is there for.
        feed_watchdog();
        if (moved) {
            notify_.extend_timeout(kExtendMs);
            show_restore(begun);
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
            main_bell_.wait(500);
        }
    }
    return true;
}

// A start that met a full disk is given up, as a crash would, and begun again until there is room.
// False: it is not to be: we stop, or it failed for another reason.
bool Application::begin_with_room(const std::function<void()>& moved) {
    const std::string reason = engine_->failure().text;
    log_warning("waiting", {{"for", "disk: " + reason}});
    engine_.reset();
    log_.reset();
    set_condition("disk", false, reason);
    set_condition("restore", false, "waiting for room on the disk");
    notify_.status("Waiting for disk: " + reason);
    const std::int64_t begun = clock_.steady_ms();
    while (!stop_requested_ && clock_.steady_ms() - begun < kAgainMs) {
        moved();  // nobody is stuck
        refresh_status();
        feed_watchdog();
        notify_.extend_timeout(kExtendMs);
        main_bell_.wait(200);
    }
    return !stop_requested_ && open_engine();
}

// "Restoring: verify 41 %, 61.0MiB of 150.0MiB, 38s to go", with each percent.
void Application::show_restore(std::int64_t begun_ms) {
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
    const std::string what = "no progress for " + config::print_duration(stalled_ms / 1000 * 1000);
    std::string phase;
    {
        std::lock_guard lock(status_mutex_);
        phase = status_.restore.phase;
        status_.restore.stalled_ms = stalled_ms;
        for (Condition& condition : status_.conditions) {
            if (condition.name == "restore" && !condition.ok) {
                condition.reason = stalled_ms > 0 ? "restoring: " + what : "restoring";
            }
        }
    }
    if (stalled_ms == 0) {
        say_stalled_at_ms_ = 0;
        log_info("the start moves again");
    } else if (stalled_ms >= say_stalled_at_ms_) {
        say_stalled_at_ms_ = 2 * stalled_ms;  // a long one is not a flood of lines
        log_error("the start is stalled: one read or write of the disk does not come back",
                  {{"phase", phase},
                   {"for", config::print_duration(stalled_ms / 1000 * 1000)},
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

void Application::log_rejections() {
    const state::Restore* restore = engine_->restore();
    while (restore != nullptr && logged_rejections_ < restore->rejected().size()) {
        const state::Rejection& rejection = restore->rejected()[logged_rejections_++];
        log_warning("a checkpoint is not used",
                    {{"path", rejection.path}, {"reason", rejection.reason}});
    }
}

void Application::drive(const std::string& name, std::function<bool()> step,
                        std::function<void()> wait) {
    threads_.emplace_back([this, name, step = std::move(step), wait = std::move(wait)] {
        name_thread(name);
        while (!threads_stop_.load(std::memory_order_acquire)) {
            if (!step()) {
                wait();
            }
        }
    });
}

void Application::begin_threads() {
    for (std::size_t number = 0; number < engine_->worker_count(); ++number) {
        threads_.emplace_back([this, number] {
            name_thread("worker-" + std::to_string(number));
            if (engine_->worker_count() <= std::thread::hardware_concurrency()) {
                static_cast<void>(ingest::pin_this_thread(static_cast<int>(number)));
            }
            if (auto opened = engine_->open_worker(number); !opened) {
                note_failure(kExitUnreachable, opened.error().text);
            }
            workers_open_.fetch_add(1);
            main_bell_.ring();
            while (!threads_stop_.load(std::memory_order_acquire)) {
                if (running_flag_.load(std::memory_order_acquire)) {
                    Worker& worker = engine_->worker(number);
                    if (!worker.step()) {
                        worker.wait(100);
                    }
                } else {
                    begin_.wait(false);
                }
            }
        });
    }
    while (workers_open_.load() < engine_->worker_count()) {
        main_bell_.wait(100);
    }
    running_ = true;
    {
        std::lock_guard lock(failure_mutex_);
        if (failure_) {
            release_workers();
            running_ = false;
            stop_threads();
            return;
        }
    }
    engine_->run();
    first_engine_ = false;
    note_settings();
    release_workers();
    if (std::exchange(reloaded_, false)) {
        log_info("the edited settings are in force");
        finish_reload(reload_verdict_);
    }
    drive(
        "coordinator",
        [this] {
            const bool busy = engine_->coordinator().step();
            if (busy) {
                fire_bell_.ring();
                snapshot_bell_.ring();
            }
            if (engine_->coordinator().outcome() != Coordinator::Outcome::running) {
                main_bell_.ring();
            }
            return busy;
        },
        [this] { coordinator_bell_.wait(5); });
    drive(
        "fire",
        [this] {
            auto busy = engine_->fire_step();
            if (!busy) {
                note_failure(kExitStateBroken, busy.error().text);
                fire_bell_.wait(1000);
                return false;
            }
            if (*busy) {
                engine_->sink().wake();
            }
            return *busy;
        },
        [this] { fire_bell_.wait(engine_->emitter().blocked() ? 2 : 50); });
    drive(
        "snapshot",
        [this] {
            const bool busy = engine_->snapshotter().step();
            if (!busy) {
                coordinator_bell_.ring();
            }
            return busy;
        },
        [this] { snapshot_bell_.wait(100); });
    drive(
        "savepoint", [this] { return engine_->completion().step(); },
        [this] { savepoint_bell_.wait(100); });
    drive("sink", [this] { return engine_->sink().step(); }, [this] { engine_->sink().wait(50); });
    drive(
        "watch",
        [this] {
            watch();
            return false;
        },
        [this] { watch_bell_.wait(2000); });
    refresh_status(true);  // nobody is to see the gate open and the daemon not ready
}

void Application::release_workers() {
    running_flag_.store(true, std::memory_order_release);
    begin_.store(true);
    begin_.notify_all();
}

void Application::stop_threads() {
    threads_stop_.store(true, std::memory_order_release);
    release_workers();
    for (Bell* bell :
         {&coordinator_bell_, &fire_bell_, &snapshot_bell_, &savepoint_bell_, &watch_bell_}) {
        bell->ring();
    }
    if (engine_ != nullptr && engine_->stage() == Engine::Stage::running) {
        engine_->sink().wake();
        for (std::size_t i = 0; i < engine_->worker_count(); ++i) {
            engine_->worker(i).wake();
        }
    }
    for (std::thread& thread : threads_) {
        thread.join();
    }
    threads_.clear();
}

// ---- while it runs
// --------------------------------------------------------------------------------------------

void Application::watch() {
    const auto& partitions = engine_->partitions();
    const std::vector<model::Partition> asked(partitions.begin(), partitions.end());
    const auto ranges = log_->ranges(asked, 5000);
    const auto space = disk_->space(pipeline_.state.directory);
    std::string disk_problem;
    if (!space) {
        disk_problem = space.error().text;
    } else if (space->free_bytes < pipeline_.state.reserve_bytes) {
        disk_problem = std::to_string(space->free_bytes >> 20) + " MiB are free, the reserve is " +
                       std::to_string(pipeline_.state.reserve_bytes >> 20) + " MiB";
    }
    engine_->coordinator().set_hold(disk_problem.empty() ? "" : "disk: " + disk_problem);
    if (stop_requested_) {
        ballast_->let_go();
    } else if (space) {
        ballast_->hold(space->free_bytes);
    }
    if (ranges && drain_requested_.exchange(false)) {
        model::Offsets ends;
        for (std::size_t i = 0; i < asked.size(); ++i) {
            ends[asked[i]] = (*ranges)[i].end;
        }
        {
            std::lock_guard lock(seen_mutex_);
            drain_ends_ = std::move(ends);
        }
        main_bell_.ring();
    }
    dead_letters_->flush();
    if (ranges && clock_.steady_ms() - looked_for_partitions_ms_ >= kLookForPartitionsMs &&
        !options_.until_end && !draining_) {
        looked_for_partitions_ms_ = clock_.steady_ms();
        if (auto looked = engine_->look_for_partitions(5000); !looked) {
            log_warning("cannot look for new partitions", {{"reason", looked.error().text}});
        }
    }
    std::lock_guard lock(seen_mutex_);
    seen_.kafka_problem = ranges ? "" : ranges.error().text;
    seen_.disk_problem = std::move(disk_problem);
    seen_.disk_free = space ? space->free_bytes : 0;
    if (ranges) {
        seen_.ends.resize(asked.size());
        for (std::size_t i = 0; i < asked.size(); ++i) {
            seen_.ends[i] = (*ranges)[i].end;
        }
    }
}

void Application::supervise() {
    bool stop_passed_on = false;
    while (true) {
        {
            std::lock_guard lock(failure_mutex_);
            if (failure_) {
                return;
            }
        }
        Coordinator& coordinator = engine_->coordinator();
        if (coordinator.outcome() == Coordinator::Outcome::failed) {
            note_failure(kExitStateBroken, coordinator.failure().text);
            return;
        }
        if (engine_->sink().phase() == sinks::SinkPhase::fenced) {
            note_failure(kExitFenced, engine_->sink().statistics().reason);
            return;
        }
        if (coordinator.outcome() == Coordinator::Outcome::finished ||
            coordinator.outcome() == Coordinator::Outcome::reloaded) {
            return;
        }
        answer_reload();
        begin_drain();
        if ((stop_requested_ || draining_) && !stop_passed_on) {
            stop_passed_on = stop_requested_;
            pass_stop_on();
        }
        if (stop_passed_on || draining_) {
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
        settle_checkpoint_requests(false);
        settle_savepoint_requests(false);
        feed_watchdog();
        main_bell_.wait(100);
    }
}

// It may be over at once: what it ends with is said first.
void Application::begin_drain() {
    std::optional<model::Offsets> ends;
    {
        std::lock_guard lock(seen_mutex_);
        ends.swap(drain_ends_);
    }
    if (ends) {
        draining_ = true;
        pass_stop_on();
        engine_->coordinator().request_drain(std::move(*ends));
        coordinator_bell_.ring();
    }
}

// Before the first time that the daemon was ready there is nothing that a savepoint would say and
// the last snapshot does not.
void Application::pass_stop_on() {
    const bool wanted = farewell_ == Farewell::savepoint ||
                        (farewell_ == Farewell::policy && pipeline_.savepoint.on_stop);
    notify_.stopping();
    if (stop_begun_ms_ == 0) {
        stop_begun_ms_ = clock_.steady_ms();
        ballast_->let_go();
        if (wanted && ready_sent_) {
            std::lock_guard lock(requests_mutex_);
            stop_savepoint_ = new_savepoint_name();
        }
    }
    if (stop_requested_) {
        engine_->coordinator().request_stop(stop_savepoint_);
    } else {
        engine_->coordinator().name_stop_savepoint(stop_savepoint_);
    }
    coordinator_bell_.ring();
}

void Application::tell_progress() {
    const state::Completion::Report completion = engine_->completion().report();
    if (stop_requested_ || draining_) {
        notify_.status(stop_savepoint_.empty() ? "Stopping"
                                               : "Stopping with savepoint " + stop_savepoint_);
    } else if (!completion.completing.empty()) {
        notify_.status("Completing savepoint " + completion.completing + ": " +
                       std::to_string(completion.done_bytes >> 20) + " of " +
                       std::to_string(completion.total_bytes >> 20) + " MiB");
    } else if (ready_sent_) {
        notify_.status("Running");
    }
    if (completion.completing != logged_completion_) {
        if (!logged_completion_.empty() && completion.problem.empty()) {
            log_info("savepoint completed", {{"name", logged_completion_}});
        }
        logged_completion_ = completion.completing;
    }
    if (completion.problem != logged_completion_problem_) {
        if (!completion.problem.empty()) {
            log_warning("a savepoint is not complete; it is valid, and shares files until it is",
                        {{"reason", completion.problem}});
        }
        logged_completion_problem_ = completion.problem;
    }
}

// requests_mutex_ is held. By the clock, so that names sort by age; unique in this run, and looked
// up where the clock may have been set back.
std::string Application::new_savepoint_name() {
    std::string stamp = state::rfc3339(clock_.wall_ms());  // 2025-04-01T12:00:00.250Z
    std::erase_if(stamp, [](char c) { return c == '-' || c == ':' || c == '.'; });
    std::string name = stamp;
    const auto taken = [&] {
        return name == last_savepoint_name_ ||
               std::filesystem::exists(pipeline_.state.directory + "/savepoints/" + name) ||
               (!pipeline_.savepoint.directory.empty() &&
                std::filesystem::exists(pipeline_.savepoint.directory + "/" + name));
    };
    while (taken()) {
        name = stamp + "-" + std::to_string(++savepoint_names_);
    }
    last_savepoint_name_ = name;
    return name;
}

void Application::request_savepoint(std::string name, Done done) {
    if (!name.empty()) {
        if (auto valid = state::check_savepoint_name(name); !valid) {
            done(std::unexpected(valid.error()));
            return;
        }
    }
    std::lock_guard lock(requests_mutex_);  // with it held, the engine stays
    if (!running_flag_.load(std::memory_order_acquire) || stop_requested_ || draining_) {
        done(model::unavailable("no savepoint can be taken now"));
        return;
    }
    if (name.empty()) {
        name = new_savepoint_name();
    }
    savepoint_requests_.push_back(
        {engine_->coordinator().request_savepoint(name), name, std::move(done)});
    coordinator_bell_.ring();
}

void Application::settle_savepoint_requests(bool stopping) {
    std::lock_guard lock(requests_mutex_);
    std::erase_if(savepoint_requests_, [&](SavepointRequest& request) {
        if (const auto taken = engine_->coordinator().take_savepoint(request.ticket)) {
            if (!*taken) {
                log_warning("no savepoint",
                            {{"name", request.name}, {"reason", taken->error().text}});
                request.done(std::unexpected(taken->error()));
                return true;
            }
            const state::CheckpointSummary& info = **taken;
            log_info("savepoint", {{"name", request.name},
                                   {"id", info.id},
                                   {"bytes", info.bytes},
                                   {"duration_ms", info.duration_ms},
                                   {"path", info.path}});
            savepoint_bell_.ring();
            request.done(nlohmann::ordered_json{
                {"name", request.name}, {"id", info.id}, {"path", info.path}, {"bytes", info.bytes}}
                             .dump());
            return true;
        }
        if (stopping) {
            request.done(model::cancelled("the daemon stops, or goes on with other settings"));
        }
        return stopping;
    });
}

void Application::remove_savepoint(std::string name, Done done) {
    std::lock_guard lock(requests_mutex_);  // with it held, the engine stays
    if (!running_flag_.load(std::memory_order_acquire)) {
        done(model::unavailable("nothing can be removed now"));
        return;
    }
    engine_->completion().remove(name,
                                 [name, done = std::move(done)](const model::Status& removed) {
                                     if (!removed) {
                                         done(std::unexpected(removed.error()));
                                         return;
                                     }
                                     log_info("savepoint removed", {{"name", name}});
                                     done("{\"name\":\"" + name + "\",\"deleted\":true}");
                                 });
    savepoint_bell_.ring();
}

void Application::request_checkpoint(Done done) {
    std::lock_guard lock(requests_mutex_);  // with it held, the engine stays
    if (!running_flag_.load(std::memory_order_acquire) || stop_requested_) {
        done(model::unavailable("no checkpoint can be taken now"));
        return;
    }
    checkpoint_requests_.emplace_back(engine_->coordinator().request_checkpoint(), std::move(done));
    coordinator_bell_.ring();
}

void Application::settle_checkpoint_requests(bool stopping) {
    std::lock_guard lock(requests_mutex_);
    std::erase_if(checkpoint_requests_, [&](auto& request) {
        if (engine_->coordinator().checkpoint_done(request.first)) {
            const auto report = engine_->coordinator().report();
            request.second(nlohmann::ordered_json{{"id", report.last_checkpoint->info.id},
                                                  {"path", report.last_checkpoint->info.path}}
                               .dump());
            return true;
        }
        if (engine_->coordinator().checkpoint_skipped(request.first)) {
            request.second(model::exhausted(engine_->coordinator().report().checkpoint_problem));
            return true;
        }
        if (stopping) {
            request.second(model::cancelled("the daemon stops, or goes on with other settings"));
        }
        return stopping;
    });
}

// ---- status
// ---------------------------------------------------------------------------------------------------

void Application::set_condition(const std::string& name, bool ok, std::string reason) {
    for (Condition& condition : conditions_) {
        if (condition.name == name) {
            if (condition.ok != ok) {
                condition.since = clock_.wall_ms();
                condition.ok = ok;
            }
            condition.reason = ok ? "" : std::move(reason);
        }
    }
}

void Application::refresh_status(bool at_once) {
    const std::int64_t now = clock_.steady_ms();
    if (!at_once && refreshed_ms_ != 0 && now - refreshed_ms_ < kRefreshMs) {
        return;
    }
    Status status = make_status();
    refreshed_ms_ = now;
    if (status.ready && !ready_sent_) {
        ready_sent_ = true;
        notify_.ready();
        log_info("ready", {{"restored_from",
                            status.restore.from.empty() ? "nothing" : status.restore.from}});
    }
    std::lock_guard lock(status_mutex_);
    status_ = std::move(status);
}

Status Application::make_status() {
    Status status;
    {
        std::lock_guard lock(status_mutex_);
        status = status_;
    }
    const model::EventTime now = clock_.wall_ms();
    status.config_stale = config::file_hash(pipeline_.path) != pipeline_.config_hash;
    status.warnings.clear();
    if (disk_) {
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
    }
    RunState state = RunState::starting;
    if (const state::Restore* restore = engine_ ? engine_->restore() : nullptr) {
        state = RunState::restoring;
        status.restore.from = restore->from();
        status.restore.bytes = restore->bytes();
        status.restore.total_bytes = restore->total_bytes();
        status.restore.phase = restore_phase(*engine_);
        status.restore.stalled_ms = 0;
        status.restore.rejected.clear();
        for (const state::Rejection& rejection : restore->rejected()) {
            status.restore.rejected.push_back({rejection.path, rejection.reason});
        }
        if (!running_) {
            status.restore.duration_ms = static_cast<std::uint64_t>(now - status.started);
            status.checkpoints.clear();
            for (const state::CheckpointSummary& kept : engine_->kept()) {
                status.checkpoints.push_back(checkpoint_status(kept, 0));
            }
            for (std::size_t i = 0; i < engine_->restored().partitions.size() &&
                                    engine_->stage() > Engine::Stage::restore;
                 ++i) {
                const state::PartitionMeta& meta = engine_->restored().partitions[i];
                status.partitions.resize(std::max(status.partitions.size(), i + 1));
                PartitionStatus& partition = status.partitions[i];
                partition.topic = meta.partition.topic;
                partition.partition = meta.partition.id;
                partition.next_offset = partition.checkpointed_offset = meta.next_offset;
                partition.ledger = meta.ledger;
            }
        }
    }
    if (running_) {
        state = fill_running(status);
    }
    if (stop_requested_ || draining_) {
        state = RunState::stopping;
    }
    // While other settings take over the reader is away for a moment, as it is in other trouble.
    status.ready = running_ || ready_sent_;
    for (const Condition& condition : conditions_) {
        // A short trouble does not flip readiness; before the first time there is nothing to be
        // ready with.
        if (!condition.ok && (!ready_sent_ || now - condition.since >= kNotReadyAfterMs)) {
            status.ready = false;
        }
        if (!condition.ok && running_ && condition.name != "paused" && state == RunState::running) {
            state = RunState::degraded;
        }
    }
    status.conditions = conditions_;
    if (status.state != state) {
        status.state = state;
        status.since = now;
    }
    return status;
}

RunState Application::fill_running(Status& status) {
    const Coordinator::Report report = engine_->coordinator().report();
    const sinks::SinkStatistics sink = engine_->sink().statistics();
    Seen seen;
    {
        std::lock_guard lock(seen_mutex_);
        seen = seen_;
    }
    const std::size_t reductions = engine_->pipeline().reductions.size();
    status.epoch = sink.epoch;
    status.barrier = report.number;
    status.watermark = report.watermark == kNoTime ? std::nullopt : std::optional(report.watermark);
    status.ledger = {};
    status.reductions.assign(reductions, {});
    status.steps.clear();
    status.workers.clear();
    std::string trouble, stopped, gone;
    std::uint64_t table_bytes = engine_->store().table_bytes();
    std::uint64_t records = 0;
    for (std::size_t r = 0; r < reductions; ++r) {
        ReductionStatus& reduction = status.reductions[r];
        reduction.id = engine_->pipeline().reductions[r].id;
        reduction.open_windows = report.open_windows[r];
        const Emitter::FiredCounts fired = engine_->emitter().counts(r);
        reduction.fired = fired.results;
        reduction.errors = fired.errors;
        if (report.acknowledged[r] != kNoTime) {
            reduction.frontier = report.acknowledged[r];
        }
    }
    for (const config::Step& step : engine_->pipeline().steps) {
        status.steps.push_back({step.text, {}});
    }
    status.restore.replayed_records = 0;
    for (std::size_t w = 0; w < engine_->worker_count(); ++w) {
        const WorkerProgress progress = engine_->worker(w).progress();
        table_bytes += progress.table_bytes;
        records += progress.records;
        status.restore.replayed_records += progress.replayed_records;
        status.workers.push_back({static_cast<std::uint64_t>(progress.busy_ns), 0});
        if (!progress.stopped.empty()) {
            stopped = progress.stopped;
        }
        if (!progress.trouble.empty()) {
            trouble = progress.trouble;
        }
        for (std::size_t s = 0; s < status.steps.size(); ++s) {
            status.steps[s].errors += progress.step_errors[s];
        }
        for (std::size_t r = 0; r < reductions; ++r) {
            status.reductions[r].ledger += progress.reductions[r];
            status.reductions[r].keys += progress.keys[r];
            status.reductions[r].errors += progress.reduction_errors[r];
        }
        for (const PartitionProgress& one : progress.partitions) {
            status.partitions.resize(
                std::max<std::size_t>(status.partitions.size(), one.partition + 1));
            PartitionStatus& partition = status.partitions[one.partition];
            partition.topic = engine_->partitions()[one.partition].topic;
            partition.partition = engine_->partitions()[one.partition].id;
            partition.next_offset = one.next_offset;
            partition.idle = one.idle;
            partition.watermark =
                one.watermark == kNoTime ? std::nullopt : std::optional(one.watermark);
            partition.ledger = one.ledger;
            if (one.partition < seen.ends.size() && seen.ends[one.partition]) {
                partition.end_offset = std::max(*seen.ends[one.partition], one.next_offset);
            }
            if (const auto found =
                    report.committed_offsets.find(engine_->partitions()[one.partition]);
                found != report.committed_offsets.end()) {
                partition.checkpointed_offset = found->second;
            }
            status.ledger += one.ledger;
            if (!one.gone.empty()) {
                gone += (gone.empty() ? "" : "; ") + one.gone;
            }
        }
    }
    fill_checkpoints(status, report);
    const state::Snapshotter::Verified verified = engine_->snapshotter().verified();
    status.restore.verified_bytes = verified.bytes;
    status.restore.verify_bytes = verified.total_bytes;
    fill_savepoints(status, report);

    status.sink.results = sink.results;
    status.sink.commands = sink.commands;
    status.sink.pending = sink.pending;
    status.sink.retries = sink.retries;
    status.sink.reconnects = sink.reconnects;
    status.sink.refused = sink.refused;
    status.sink.retention_ms = report.retention_ms;
    status.sink.given_up = report.retention_given_up;
    status.sink.last_error = sink.last_error;
    status.dead_letters.written = dead_letters_->written();
    status.dead_letters.dropped = dead_letters_->dropped();
    status.room.memory_bytes = table_bytes + engine_->store().memory_bytes();
    status.room.memory_limit_bytes = pipeline_.state.memory_bytes;
    status.room.disk_free_bytes = seen.disk_free;
    status.room.disk_reserve_bytes = pipeline_.state.reserve_bytes;

    const std::int64_t passed = clock_.steady_ms() - refreshed_ms_;
    if (passed > 0) {
        const auto rate = [&](std::uint64_t now, std::uint64_t before, double old) {
            const double current = static_cast<double>(now - std::min(now, before)) * 1000.0 /
                                   static_cast<double>(passed);
            return 0.8 * old + 0.2 * current;
        };
        status.rates.records_per_second =
            rate(records, last_records_, status.rates.records_per_second);
        status.rates.results_per_second =
            rate(sink.results, last_results_, status.rates.results_per_second);
        last_records_ = records;
        last_results_ = sink.results;
    }

    set_condition("restore", true, "");
    std::string kafka = !gone.empty()                 ? gone
                        : !seen.kafka_problem.empty() ? seen.kafka_problem
                                                      : "";
    if (!kafka.empty() && gone.empty() && !trouble.empty()) {
        kafka += " (" + trouble + ")";
    }
    set_condition("kafka", kafka.empty(), kafka);
    set_condition("sink", sink.connected, sink.reason);
    set_condition("disk", seen.disk_problem.empty(), seen.disk_problem);
    set_condition("state", report.checkpoint_problem.empty(), report.checkpoint_problem);
    set_condition("paused", stopped.empty(), stopped);
    if (report.input_paused_reason != logged_paused_ && !stop_requested_) {
        if (report.input_paused_reason.empty()) {
            log_info("input flows again");
        } else {
            log_warning("input waits", {{"reason", report.input_paused_reason}});
        }
        logged_paused_ = report.input_paused_reason;
    }
    return stopped.empty() ? RunState::running : RunState::paused;
}

// Savepoints beside the checkpoints, newest first.
void Application::fill_savepoints(Status& status, const Coordinator::Report& report) {
    status.savepoints_taken = report.savepoints_taken;
    status.savepoints_failed = report.savepoints_failed;
    const state::Completion::Report kept = engine_->completion().report();
    status.completion = {kept.completing,       kept.done_bytes, kept.total_bytes,
                         kept.bytes_per_second, kept.problem,    kept.settled};
    std::erase_if(status.checkpoints, [](const auto& one) { return one.kind == "savepoint"; });
    for (const state::SavepointSummary& savepoint : kept.savepoints) {
        CheckpointStatus one;
        one.id = savepoint.info.id;
        one.kind = "savepoint";
        one.taken = model::parse_rfc3339(savepoint.info.taken).value_or(0);
        one.bytes = savepoint.info.bytes;
        one.new_bytes = savepoint.info.new_bytes;
        one.shared_bytes = savepoint.shared_bytes;
        one.path = savepoint.info.path;
        status.checkpoints.push_back(std::move(one));
    }
    std::stable_sort(status.checkpoints.begin(), status.checkpoints.end(),
                     [](const auto& a, const auto& b) { return a.id > b.id; });
}

void Application::fill_checkpoints(Status& status, const Coordinator::Report& report) {
    status.checkpoints_completed = report.checkpoints_completed;
    status.checkpoints_failed = report.checkpoints_failed;
    status.checkpoint_interval_ms = report.checkpoint_interval_ms;
    if (report.checkpoint_problem != logged_checkpoint_problem_) {
        if (!report.checkpoint_problem.empty()) {
            log_warning("a checkpoint was skipped", {{"reason", report.checkpoint_problem}});
        }
        logged_checkpoint_problem_ = report.checkpoint_problem;
    }
    status.checkpoints.clear();
    for (const Coordinator::Taken& kept : report.kept) {
        status.checkpoints.push_back(checkpoint_status(kept.info, kept.pause_us));
    }
    if (!report.last_checkpoint || report.checkpoints_completed == logged_checkpoints_) {
        return;
    }
    logged_checkpoints_ = report.checkpoints_completed;
    const CheckpointStatus one =
        checkpoint_status(report.last_checkpoint->info, report.last_checkpoint->pause_us);
    log_info("checkpoint", {{"id", one.id},
                            {"bytes", one.bytes},
                            {"new_bytes", one.new_bytes},
                            {"duration_ms", one.duration_ms},
                            {"pause_us", one.pause_us}});
    log_->publish(report.committed_offsets);
}

}  // namespace sluice::daemon
