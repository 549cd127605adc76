#include "tests/simulation/simulation.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "config/change.h"
#include "config/load.h"
#include "daemon/engine.h"
#include "state/io/journal.h"
#include "state/io/rocks_env.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/completion.h"
#include "tests/simulation/rules.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/simulation/simulated_log.h"
#include "tests/simulation/simulated_redis.h"

namespace sluice::simulation {

namespace {

constexpr char kDirectory[] = "/state";
constexpr std::int64_t kFutureMs = 3'600'000;    // no clock of a run comes near
constexpr std::uint64_t kStepsOfALife = 60'000;  // more than any healthy life needs
constexpr int kLivesWithFailingDisks = 15;       // then it may come to its end

class Random {
 public:
    explicit Random(std::uint64_t seed) : state_(seed * 0xd1342543de82ef95ull) {
        state_ = next() ^ seed;
    }
    std::uint64_t next() {  // splitmix64, Steele et al. 2014
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
    }
    bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
    std::uint64_t state_;
};

class SteppedClock final : public model::Clock {
 public:
    model::EventTime wall_ms() const override { return wall_; }
    std::int64_t steady_ns() const override { return steady_; }
    void advance(std::int64_t ms) {
        wall_ += ms;
        steady_ += ms * 1'000'000;
    }
    void step_wall(std::int64_t ms) { wall_ += ms; }

 private:
    model::EventTime wall_ = 1'700'000'000'000;
    std::int64_t steady_ = 5'000'000'000;
};

// Whose turn it is, by the share of each.
enum class Turn { worker, coordinator, fire, snapshot, sink, background };
constexpr Turn kTurns[] = {Turn::worker,      Turn::worker,    Turn::worker,   Turn::coordinator,
                           Turn::coordinator, Turn::fire,      Turn::snapshot, Turn::sink,
                           Turn::sink,        Turn::background};

// What one process is made of.
struct Life {
    config::Pipeline pipeline;
    daemon::Engine::Options options;
    state::BackgroundSteps background;
    std::unique_ptr<rocksdb::Env> env;
    ingest::DeadLettersInMemory dead_letters;
    std::unique_ptr<daemon::Engine> engine;
    bool running = false;
    // What was asked of it, as the daemon's main thread knows it: see application.h.
    std::shared_ptr<config::Pipeline> reload;  // to take over; null: none was asked for
    enum class End { none, stop, drain } end = End::none;
    bool passed_on = false;  // to the engine that runs now
    std::string stop_savepoint;
    // Some threads get little time, one turn in so many: many an order of events takes slow ones.
    std::map<Turn, std::uint64_t> slow;
};

class Simulation {
 public:
    Simulation(std::uint64_t seed, const Limits& limits)
        : random_(seed),
          narrate_(limits.narrate),
          log_(seed * 3 + 1),
          redis_(seed * 3 + 2, clock_) {
        seed_ = seed;
    }

    Run run();

 private:
    void make_job();
    Job::Reduction make_reduction();
    void give_up(const std::string& id);
    void edit_job(bool live);
    config::Pipeline load_job();
    void produce();
    void begin_life(bool last);
    void begin_engine();
    void end_life(bool by_crash);
    void collect_journal();
    bool step_life();
    void damage();
    bool broken(const std::string& where, const model::Error& error);
    void trouble();
    void disk_trouble();
    void ask_for_reload();
    void ask_for_end();
    void pass_on_end();
    void ended();
    void look_at_savepoints();
    std::string some_savepoint();
    bool as_wanted(const std::string& key, const std::string& found,
                   const std::string& wanted) const;
    void judge();
    std::string state_of_run() const;
    void say(const std::string& line) const {
        if (narrate_) {
            std::fprintf(stderr, "%8llu  %s\n", static_cast<unsigned long long>(run_.steps),
                         line.c_str());
        }
    }
    void fail(const std::string& text) {
        if (run_.failure.empty()) {
            run_.failure = text;
        }
    }
    void note(std::uint64_t what) { run_.trace = (run_.trace ^ what) * 0x100000001b3ull; }

    std::uint64_t seed_ = 0;
    Random random_;
    const bool narrate_;
    SteppedClock clock_;
    SimulatedLog log_;
    SimulatedRedis redis_;
    std::unique_ptr<SimulatedDisk> disk_;
    Job job_;  // as the file says by now
    Jobs jobs_;
    config::Decisions decisions_;
    int reductions_made_ = 0;
    bool future_ = false;  // some records have timestamps that the future guard holds off
    bool edits_ = false;
    std::uint64_t memory_bytes_ = 0;  // 0: as the file says
    std::uint64_t reserve_bytes_ = 0;
    std::vector<model::Partition> partitions_;
    std::int64_t produced_ = 0;
    std::int64_t to_produce_ = 0;
    std::int64_t event_time_ = 1'700'000'000'000;
    std::unique_ptr<Life> life_;
    int lives_ = 0;
    bool last_ = false;
    bool rots_ = false;        // checkpoints are damaged on purpose, and no savepoints taken
    bool damaged_ = false;     // one was
    bool broken_ = false;      // this life ended because of it
    bool disk_fails_ = false;  // it is full now and then, and an operation fails now and then
    bool disk_full_ = false;
    bool disk_failed_ = false;  // in this life
    // Of this lineage.
    using Barriers = std::map<model::BarrierNumber, model::Barrier>;
    Barriers barriers_;
    // A start that gives up what is there: the lineage that this life makes, and what of the
    // journal holds then: nothing, or what lies before the savepoint that it begins from.
    struct Rollback {
        state::Lineage lineage;
        Barriers barriers;
        bool fresh;
        std::string first;  // fresh: the inputs that it begins with
    };
    std::optional<Rollback> rollback_;
    std::string lineage_;                       // of the journal, when a life begins
    std::map<std::string, Barriers> lineages_;  // what the journal held of each, last
    std::set<std::string> older_;               // keys that Redis had when a rollback was seen
    std::uint64_t savepoint_names_ = 0;
    std::set<std::string> complete_;  // savepoints that were seen standing alone
    Run run_;
};

Job::Reduction Simulation::make_reduction() {
    Job::Reduction reduction;
    reduction.id = "r" + std::to_string(reductions_made_++);
    reduction.event_time = random_.below(3) != 0;
    reduction.window_ms = random_.between(1, 8) * 250;
    reduction.offset_ms = random_.one_in(3) ? 100 : 0;
    reduction.lateness_ms =
        reduction.event_time && random_.one_in(2) ? random_.between(1, 6) * 100 : 0;
    return reduction;
}

// What the file says, loaded; its job is known by its inputs from then on.
config::Pipeline Simulation::load_job() {
    config::Environment environment;
    environment.variable = [](std::string_view) { return std::nullopt; };
    environment.memory_limit_bytes = 1ull << 30;
    config::Loaded loaded = config::load_text(job_.toml(kDirectory), "/sim.toml", {}, environment);
    if (!loaded.pipeline) {
        fail("the job does not load: " +
             (loaded.diagnostics.empty() ? "" : loaded.diagnostics[0].message));
        return {};
    }
    if (memory_bytes_ != 0) {
        loaded.pipeline->state.memory_bytes = memory_bytes_;
    }
    loaded.pipeline->state.reserve_bytes = reserve_bytes_;
    jobs_.by_inputs[state::inputs_hash(loaded.pipeline->inputs)] = job_;
    return std::move(*loaded.pipeline);
}

void Simulation::make_job() {
    edits_ = random_.one_in(2);
    job_.out_of_order_ms = random_.between(0, 3) * 100;
    const int reductions = static_cast<int>(random_.between(1, 3));
    for (int r = 0; r < reductions; ++r) {
        job_.reductions.push_back(make_reduction());
    }
    if (random_.one_in(3)) {
        memory_bytes_ = 4096;  // spills all the time
    }
    const auto count = static_cast<std::int32_t>(random_.between(1, 4));
    log_.add_topic("t", count);
    for (std::int32_t i = 0; i < count; ++i) {
        partitions_.push_back({"t", i});
    }
    to_produce_ = random_.between(50, 700);
}

// By every name that the state may know it by.
void Simulation::give_up(const std::string& id) {
    decisions_.drop_state.insert(id);
    for (const auto& [old, now] : decisions_.renamed) {
        if (now == id) {
            decisions_.drop_state.insert(old);
        }
    }
}

// Somebody edits the file, between two lives or, for a reload, in one. A reload is refused where it
// would break state; the decisions that it would need are the next start's.
void Simulation::edit_job(bool live) {
    static const std::vector<std::string> kValues = {"n", "s", "lo", "hi", "a", "z"};
    static constexpr std::uint64_t kKeepState[] = {0, 1, 4, 5, 6, 7};
    // What was decided stays on the command line: it counts only where an edit calls for it.
    for (std::uint64_t edits = 1 + random_.below(3); edits > 0; --edits) {
        Job::Reduction& reduction = job_.reductions[random_.below(job_.reductions.size())];
        const std::uint64_t edit = random_.below(9);
        switch (live && !random_.one_in(8) ? kKeepState[edit % std::size(kKeepState)] : edit) {
            case 0: {  // a value goes, or comes (anywhere in the list)
                const std::string& value = kValues[random_.below(kValues.size())];
                const auto at = std::ranges::find(reduction.values, value);
                if (at == reduction.values.end()) {
                    reduction.values.insert(
                        reduction.values.begin() +
                            static_cast<std::ptrdiff_t>(random_.below(reduction.values.size() + 1)),
                        value);
                } else if (reduction.values.size() > 1) {
                    reduction.values.erase(at);
                }
                break;
            }
            case 1:
                if (job_.reductions.size() < 4) {
                    job_.reductions.push_back(make_reduction());
                }
                break;
            case 2:
                if (job_.reductions.size() > 1) {
                    give_up(reduction.id);
                    job_.reductions.erase(job_.reductions.begin() +
                                          (&reduction - job_.reductions.data()));
                }
                break;
            case 3: {
                const std::string id = "r" + std::to_string(reductions_made_++);
                if (random_.one_in(2)) {
                    // Also what it was called in a file that no life came to run.
                    for (auto& [old, now] : decisions_.renamed) {
                        now = now == reduction.id ? id : now;
                    }
                    decisions_.renamed[reduction.id] = id;
                } else {
                    give_up(reduction.id);
                }
                reduction.id = id;
                break;
            }
            case 4:
                reduction.above =
                    random_.one_in(2) ? std::nullopt : std::optional<std::int64_t>(100);
                break;
            case 5:
                job_.keep_all = !job_.keep_all;
                break;
            case 6:
                job_.out_of_order_ms = random_.between(0, 3) * 100;
                break;
            case 7:
                if (reduction.event_time) {
                    reduction.lateness_ms = random_.between(0, 6) * 100;
                }
                break;
            case 8:
                // Windows that begin where an old one did would have its key in Redis.
                reduction.window_ms = random_.between(1, 8) * 250;
                reduction.offset_ms = (reduction.offset_ms + 7) % 250;
                give_up(reduction.id);
                break;
        }
    }
    say(live ? "the file is edited" : "the file was edited");
}

void Simulation::produce() {
    if (produced_ >= to_produce_) {
        return;
    }
    const model::Partition& partition = partitions_[random_.below(partitions_.size())];
    if (random_.one_in(40)) {
        log_.append_gap(partition, random_.between(1, 3));
        return;
    }
    event_time_ += random_.between(0, 60);
    SimulatedRecord record;
    record.timestamp = event_time_ - random_.between(0, random_.one_in(12) ? 2500 : 150);
    if (future_ && random_.one_in(50)) {
        record.timestamp += kFutureMs + random_.between(0, 3000);
    }
    if (random_.one_in(30)) {
        record.value = "not json";
    } else if (!random_.one_in(40)) {
        record.value = "{\"k\":\"k" + std::to_string(random_.below(12)) +
                       "\",\"v\":" + std::to_string(random_.between(-50, 1000)) +
                       ",\"keep\":" + (random_.one_in(6) ? "false" : "true") + "}";
    }
    log_.append(partition, std::move(record));
    ++produced_;
    if (random_.one_in(400) && partitions_.size() < 6) {
        log_.add_partition("t");
        partitions_.push_back({"t", static_cast<std::int32_t>(partitions_.size())});
        say("partition added");
    }
}

// What the journal holds, before anything of it is forgotten. Entries that a crash took were never
// acted on.
void Simulation::collect_journal() {
    disk_->set_budget(std::nullopt);  // who reads here repairs a torn tail, and is not on trial
    auto opened = state::Journal::open(*disk_, std::string(kDirectory) + "/journal",
                                       {.boot = "reader" + std::to_string(lives_)});
    if (disk_full_) {
        disk_->set_budget(disk_->used_bytes() + random_.below(4000));
    }
    if (!opened) {
        fail("journal: " + opened.error().text);
        return;
    }
    auto entries = opened->journal->entries_after(0);
    if (!entries) {
        fail("journal: " + entries.error().text);
        return;
    }
    if (rollback_ && opened->journal->lineage() == rollback_->lineage) {
        barriers_ = rollback_->barriers;
        for (const auto& [key, value] : redis_.dump()) {
            older_.insert(
                key);  // results that were taken back stay, where no newer one has their key
        }
        if (rollback_->fresh) {
            jobs_.first = rollback_->first;
        }
        ++(rollback_->fresh ? run_.fresh_starts : run_.rollbacks);
        rollback_.reset();
    }
    lineage_ = state::to_string(opened->journal->lineage());
    if (entries->empty()) {
        lineages_[lineage_] = barriers_;
        return;
    }
    // An entry that was torn off may have been numbered again by the next life.
    barriers_.erase(barriers_.upper_bound(opened->journal->last_number()), barriers_.end());
    for (model::Barrier& barrier : *entries) {
        if (narrate_) {
            std::string at;
            for (const auto& [partition, offset] : barrier.next_offsets) {
                at += " " + std::to_string(partition.id) + "@" + std::to_string(offset);
            }
            say("  journal: " + std::to_string(barrier.number) + " kind " +
                std::to_string(static_cast<int>(barrier.kind)) + " time " +
                std::to_string(barrier.time) + at);
        }
        barriers_[barrier.number] = std::move(barrier);
    }
    lineages_[lineage_] = barriers_;
}

void Simulation::begin_life(bool last) {
    if (++lives_ == 1) {
        rots_ = random_.one_in(3);
    }
    last_ = last;
    if (lives_ > 1) {
        collect_journal();
    }
    if (lives_ > 1 && edits_ && random_.one_in(2)) {
        edit_job(false);
    }
    life_ = std::make_unique<Life>();
    life_->pipeline = load_job();
    life_->env = state::make_rocks_env(*disk_, {.steps = &life_->background, .clock = &clock_});
    for (const Turn turn : kTurns) {
        if (random_.one_in(8)) {
            life_->slow[turn] = 8u << random_.below(5);
        }
    }
    daemon::Engine::Options& options = life_->options;
    options.until_end = last;
    options.decisions = decisions_;
    options.boot = "life" + std::to_string(lives_);
    options.lineage[0] = static_cast<std::uint8_t>(lives_);
    options.lineage[1] = 1;
    if (rollback_) {
        // The one before died before its lineage was durable; it is begun again, or forgotten.
        rollback_.reset();
    }
    // One that was interrupted begins again by itself.
    std::string from =
        state::read_file(*disk_, std::string(kDirectory) + "/BEGIN", 4096).value_or("");
    // What a rolled back edit wrote into a hash stays there beside what is written again: a run has
    // edits or starts from savepoints.
    if (lives_ > 1 && random_.one_in(12)) {
        options.fresh = true;
        from = "fresh";
    } else if (lives_ > 1 && !edits_ && random_.one_in(8)) {
        if (const std::string chosen = some_savepoint(); !chosen.empty()) {
            from = options.from = chosen;
            options.fresh = true;
        }
    }
    if (from == "fresh") {
        rollback_ = Rollback{options.lineage, {}, true, state::inputs_hash(life_->pipeline.inputs)};
        say("fresh");
    } else if (!from.empty()) {
        const auto text = state::read_file(*disk_, from + "/" + state::kManifestName, 1 << 20);
        const auto meta = text
                              ? state::parse_manifest(*text)
                              : model::Result<state::CheckpointMeta>(std::unexpected(text.error()));
        if (!meta) {
            fail(from + ": " + meta.error().text);
        } else {
            // Decisions behind the savepoint are taken back with it.
            Barriers held = lineages_[meta->lineage];
            held.erase(held.upper_bound(meta->journal_number), held.end());
            rollback_ = Rollback{options.lineage, std::move(held), false, {}};
            say("from " + from + ", barrier " + std::to_string(meta->number));
        }
    }
    options.owner = "life" + std::to_string(lives_);
    options.seed = random_.next();
    options.workers = static_cast<int>(random_.between(1, 3));
    options.closed_bytes = random_.below(3) == 0 ? 4096 : 64 << 20;
    options.say = [this](const std::string& line) { say("  says: " + line); };
    begin_engine();
    if (!last && !random_.one_in(6)) {
        // Some thousand operations are a whole life; most crashes come early, in the middle of
        // something.
        const std::uint64_t within = random_.one_in(2) ? 200 : 2500;
        disk_->crash_at(disk_->operations() + 1 + random_.below(within),
                        random_.one_in(3) ? CrashKind::process : CrashKind::power);
    }
    say("life " + std::to_string(lives_) + (last ? " (last)" : ""));
}

// A life has one engine after the other: each reload begins a new one.
void Simulation::begin_engine() {
    life_->running = false;
    daemon::Engine::Seams seams{
        .log = log_,
        .disk = *disk_,
        .rocks_env = *life_->env,
        .redis = redis_.transports(lives_),
        .clock = clock_,
        .dead_letters = life_->dead_letters,
    };
    life_->engine =
        std::make_unique<daemon::Engine>(life_->pipeline, std::move(seams), life_->options);
}

void Simulation::end_life(bool by_crash) {
    if (!disk_->crashed()) {
        disk_->crash_now(random_.one_in(2) ? CrashKind::process : CrashKind::power);
    }
    redis_.crash(lives_);
    life_.reset();
    if (by_crash) {
        ++run_.crashes;
        say("crash");
    }
    disk_ = disk_->after_crash(random_.next());
    look_at_savepoints();
}

// A byte of a table that the newest checkpoint has and no older one changes on the disk.
// Not in runs that take savepoints: they share files, and each savepoint is looked at whole.
void Simulation::damage() {
    if (!rots_) {
        return;
    }
    const std::string checkpoints = std::string(kDirectory) + "/checkpoints";
    const auto listed = disk_->list(checkpoints);
    if (!listed) {
        return;
    }
    std::map<std::uint64_t, std::vector<std::string>> tables;  // by checkpoint
    for (const std::string& id : *listed) {
        const std::string path = checkpoints + "/" + id;
        const auto names = disk_->list(path);
        const auto manifest = state::read_file(*disk_, path + "/MANIFEST.json", 1 << 20);
        if (!names || !manifest) {
            continue;
        }
        const auto meta = state::parse_manifest(*manifest);
        if (!meta || meta->lineage != lineage_) {
            continue;
        }
        for (const std::string& name : *names) {
            if (name.ends_with(".sst")) {
                tables[std::stoull(id)].push_back(path + "/" + name);
            }
        }
    }
    if (tables.size() < 2) {
        return;
    }
    std::set<std::uint64_t> shared;
    for (auto one = tables.begin(); one != std::prev(tables.end()); ++one) {
        for (const std::string& path : one->second) {
            shared.insert(disk_->info(path)->inode);
        }
    }
    for (const std::string& path : tables.rbegin()->second) {
        const auto info = disk_->info(path);
        if (!shared.contains(info->inode)) {
            // Not the footer: what the gate looks at is another test's matter.
            static_cast<void>(disk_->flip(path, random_.below(info->size - 64),
                                          static_cast<std::uint8_t>(1u << random_.below(8))));
            damaged_ = true;
            ++run_.damages;
            say("damaged: " + path);
            return;
        }
    }
}

// The process found that its state is damaged, and leaves: the next one takes an older checkpoint.
bool Simulation::broken(const std::string& where, const model::Error& error) {
    say(where + error.text);
    if (disk_failed_ && error.kind != model::ErrorKind::corrupt) {
        broken_ = true;  // the live state is a cache: the next life has everything
        ++run_.disk_deaths;
        return false;
    }
    if (!damaged_ || error.kind != model::ErrorKind::corrupt) {
        fail(where + error.text);
    }
    if (where.starts_with("emitter") && !disk_->info(std::string(kDirectory) + "/VERIFY")) {
        fail("a damaged block was met and is not remembered: " + error.text);
    }
    broken_ = true;
    return false;
}

// One thing happens inside the process. False: the life is over.
bool Simulation::step_life() {
    daemon::Engine& engine = *life_->engine;
    if (!life_->running) {
        if (engine.stage() == daemon::Engine::Stage::open) {
            for (std::size_t number = 0; number < engine.worker_count(); ++number) {
                if (auto opened = engine.open_worker(number); !opened) {
                    fail("open_worker: " + opened.error().text);
                    return false;
                }
            }
            engine.run();
            life_->running = true;
            if (jobs_.first.empty()) {
                jobs_.first = state::inputs_hash(engine.pipeline().inputs);
            }
            if (narrate_) {
                const auto hash = engine.sink().handshake();
                std::string text = hash.present
                                       ? "control hash, barrier " + std::to_string(hash.barrier)
                                       : "no control hash";
                for (const auto& [id, frontier] : hash.frontiers) {
                    text += ", frontier " + id + " " + std::to_string(frontier);
                }
                for (const auto& [id, lanes] : hash.lanes) {
                    text +=
                        ", " +
                        std::to_string(std::count_if(lanes.begin(), lanes.end(),
                                                     [](const auto& l) { return l.has_value(); })) +
                        " lanes up to";
                    model::EventTime end = 0;
                    for (const auto& mark : lanes) {
                        end = std::max(end, mark ? mark->end : 0);
                    }
                    text += " " + std::to_string(end);
                }
                for (const auto& reduction : engine.restored().reductions) {
                    text += ", checkpoint acknowledged " +
                            std::to_string(reduction.acknowledged.value_or(0)) + " dropped " +
                            std::to_string(reduction.dropped.value_or(0)) + " windows " +
                            std::to_string(engine.store()
                                               .windows_after(reduction.number, model::kBeforeAll)
                                               ->size());
                }
                say("runs from barrier " + std::to_string(engine.restored().number) + ": " + text);
            }
            run_.replays += engine.coordinator().report().live ? 0u : 1u;
            return true;
        }
        const std::uint64_t before = log_.records_handed_out();
        engine.start_step();
        if (log_.records_handed_out() != before) {
            fail("a record was handed out before the gate opened");
        }
        if (engine.stage() == daemon::Engine::Stage::failed && !disk_->crashed()) {
            return broken("the start failed: ",
                          {engine.failure().exit_code == daemon::kExitStateBroken && !disk_failed_
                               ? model::ErrorKind::corrupt
                               : model::ErrorKind::invalid,
                           engine.failure().text});
        }
        return true;
    }
    const Turn turn = kTurns[random_.below(std::size(kTurns))];
    const std::size_t worker = turn == Turn::worker ? random_.below(engine.worker_count()) : 0;
    const auto slow = life_->slow.find(turn);
    if (slow != life_->slow.end() && worker == 0 && !random_.one_in(slow->second)) {
        return true;
    }
    switch (turn) {
        case Turn::worker:
            engine.worker(worker).step();
            break;
        case Turn::coordinator:
            engine.coordinator().step();
            break;
        case Turn::fire: {
            auto stepped = engine.fire_step();
            if (!stepped && !disk_->crashed()) {
                return broken("emitter: ", stepped.error());
            }
            break;
        }
        case Turn::snapshot:
            engine.snapshotter().step();
            if (random_.one_in(2)) {
                engine.completion().step();
            }
            break;
        case Turn::sink:
            engine.sink().step();
            break;
        case Turn::background:
            life_->background.step();
            if (random_.one_in(50) && !last_ && life_->end != Life::End::drain) {
                static_cast<void>(engine.look_for_partitions(0));
            }
            break;
    }
    if (disk_->crashed()) {
        return true;
    }
    if (engine.sink().phase() == sinks::SinkPhase::fenced) {
        fail("fenced by nobody");
        return false;
    }
    if (engine.coordinator().outcome() == daemon::Coordinator::Outcome::failed) {
        return broken("coordinator: ", engine.coordinator().failure());
    }
    if (engine.coordinator().outcome() == daemon::Coordinator::Outcome::reloaded) {
        say("reloaded");
        ++run_.reloads;
        if (life_->end == Life::End::stop) {
            return false;  // its checkpoint says it all
        }
        life_->engine.reset();
        life_->passed_on = false;
        if (life_->reload) {
            ++run_.live_reloads;
            life_->pipeline = std::move(*life_->reload);
            life_->reload.reset();
        }
        life_->options.boot += "r";
        life_->options.from.clear();
        life_->options.fresh = false;
        begin_engine();
        return true;
    }
    return engine.coordinator().outcome() == daemon::Coordinator::Outcome::running;
}

// Every savepoint is whole or not there, and one that was complete stays as it is.
void Simulation::look_at_savepoints() {
    state::Catalogue catalogue(*disk_, state::StatePaths{kDirectory});
    const auto all = state::describe_savepoints(*disk_, catalogue);
    if (!all) {
        return;  // before the first one
    }
    const auto entries = catalogue.list_savepoints();
    for (const auto& entry : *entries) {
        if (!entry.damage.empty()) {
            fail(entry.path + ": " + entry.damage);
            continue;
        }
        for (const auto& file : entry.meta->files) {
            if (auto whole = catalogue.validate_bytes(entry, file); !whole) {
                fail(entry.path + ": " + whole.error().text);
            }
        }
    }
    for (const auto& one : *all) {
        if (one.shared_bytes == 0 && complete_.insert(one.name).second) {
            ++run_.completions;
        }
    }
}

std::string Simulation::some_savepoint() {
    state::Catalogue catalogue(*disk_, state::StatePaths{kDirectory});
    const auto entries = catalogue.list_savepoints();
    return entries && !entries->empty() ? (*entries)[random_.below(entries->size())].path : "";
}

// The disk fills up, at whatever is being written then, and has room again; an operation fails, as
// a write or as a sync. The last life has a full disk, too, and goes on in it or in one more.
void Simulation::disk_trouble() {
    if (disk_full_) {
        if (random_.one_in(300)) {
            disk_full_ = false;
            disk_->set_budget(std::nullopt);
            say("disk: room again");
        }
    } else if (lives_ < kLivesWithFailingDisks && random_.one_in(2500)) {
        disk_full_ = disk_failed_ = true;
        disk_->set_budget(disk_->used_bytes() + random_.below(random_.one_in(2) ? 2000 : 60'000));
        ++run_.full_disks;
        say("disk: full soon");
    }
    if (!last_ && random_.one_in(6000)) {
        disk_failed_ = true;
        disk_->fail_at(disk_->operations() + 1 + random_.below(30));
        say("disk: an operation is to fail");
    }
}

// As the daemon does with HUP: one after the other, and judged by what runs.
void Simulation::ask_for_reload() {
    if (life_->reload || life_->engine->reload_planned()) {
        return;
    }
    edit_job(true);
    auto edited = std::make_shared<config::Pipeline>(load_job());
    if (config::compare(life_->engine->pipeline(), *edited, {}).breaks()) {
        say("  a reload is refused");
        return;
    }
    life_->reload = std::move(edited);
    life_->engine->coordinator().request_reload({life_->reload, {}});
    say("reload asked for");
}

// TERM, with a savepoint or without, or a drain.
void Simulation::ask_for_end() {
    life_->end = random_.one_in(3) ? Life::End::drain : Life::End::stop;
    if (!rots_ && random_.one_in(2)) {
        life_->stop_savepoint = "e" + std::to_string(++savepoint_names_);
    }
    log_.set_available(true);
    say(std::string(life_->end == Life::End::drain ? "drain" : "stop") + " asked for " +
        life_->stop_savepoint);
}

void Simulation::pass_on_end() {
    life_->passed_on = true;
    daemon::Coordinator& coordinator = life_->engine->coordinator();
    if (life_->end == Life::End::stop) {
        coordinator.request_stop(life_->stop_savepoint);
        return;
    }
    coordinator.name_stop_savepoint(life_->stop_savepoint);
    model::Offsets ends;
    for (const model::Partition& partition : life_->engine->partitions()) {
        ends[partition] = log_.end(partition);
    }
    coordinator.request_drain(std::move(ends));
}

// A life that was asked to end has done so: whatever it says of its last snapshot is true.
void Simulation::ended() {
    const daemon::Coordinator& coordinator = life_->engine->coordinator();
    if (coordinator.outcome() == daemon::Coordinator::Outcome::reloaded) {
        return;
    }
    const auto report = coordinator.report();
    const bool there = [&] {
        state::Catalogue catalogue(*disk_, state::StatePaths{kDirectory});
        const auto entries = catalogue.list_savepoints();
        return entries && std::ranges::any_of(*entries, [&](const auto& entry) {
                   return entry.path.ends_with("/" + life_->stop_savepoint) && entry.meta &&
                          entry.damage.empty();
               });
    }();
    ++run_.ends;
    if (coordinator.last_checkpoint_ok() && !life_->stop_savepoint.empty() && !there) {
        fail("a stop says that savepoint " + life_->stop_savepoint + " was taken, and it was not");
    }
    if (!coordinator.last_checkpoint_ok() && !disk_failed_ &&
        report.checkpoints.savepoint_problem != "a reload is under way") {
        fail("the last snapshot of a stop failed: " + report.checkpoints.problem +
             report.checkpoints.savepoint_problem);
    }
}

void Simulation::trouble() {
    if (disk_fails_) {
        disk_trouble();
    }
    if (life_->running && life_->end != Life::End::none && !life_->passed_on) {
        pass_on_end();
    }
    if (life_->running && edits_ && life_->end == Life::End::none && random_.one_in(6000)) {
        ask_for_reload();
    }
    if (last_ || life_->end != Life::End::none) {
        return;
    }
    if (life_->running && random_.one_in(20000)) {
        ask_for_end();
    }
    if (life_->running && !rots_ && random_.one_in(1500)) {
        const std::string name = "s" + std::to_string(++savepoint_names_);
        static_cast<void>(life_->engine->coordinator().request_savepoint(name));
        say("savepoint " + name + " asked for");
    }
    if (life_->running && random_.one_in(9000)) {
        if (const std::string path = some_savepoint(); !path.empty()) {
            const std::string name = path.substr(path.rfind('/') + 1);
            complete_.erase(name);
            life_->engine->completion().remove(name, [](const model::Status&) {});
            say("savepoint " + name + " is to go");
        }
    }
    // Results of an edited reduction are not kept to be sent again: a run has edits, or a Redis
    // that forgets.
    const bool forgets = !edits_;
    if (random_.one_in(4000)) {
        redis_.cut_connections();
        say("redis: connections cut");
    }
    if (random_.one_in(25000) && forgets) {
        redis_.flush_all();
        say("redis: FLUSHALL");
    }
    if (random_.one_in(25000) && forgets) {
        redis_.restart_losing_writes(random_.below(20));
        say("redis: lost its last writes");
    }
    if (random_.one_in(15000)) {
        redis_.set_condition(RedisCondition::oom, 300);
        say("redis: OOM");
    }
    if (random_.one_in(15000)) {
        log_.set_available(false);
        say("log: away");
    }
    if (!log_.available() && random_.one_in(500)) {
        log_.set_available(true);
    }
    if (random_.one_in(30000)) {
        clock_.step_wall(random_.between(-3000, 3000));
        say("clock stepped");
    }
}

Run Simulation::run() {
    make_job();
    if (!run_.failure.empty()) {
        return run_;
    }
    disk_ = std::make_unique<SimulatedDisk>(seed_ ^ 3);
    static_cast<void>(disk_->make_directory(kDirectory));
    static_cast<void>(disk_->sync_directory("/"));
    disk_fails_ = seed_ % 3 == 0;
    future_ = seed_ % 4 == 0;
    if (disk_fails_) {
        reserve_bytes_ = random_.one_in(2) ? 0 : 20'000;
    }
    auto lives = static_cast<int>(random_.between(2, 6));
    const bool damages = random_.one_in(4);
    for (int life = 1; life <= lives && run_.failure.empty(); ++life) {
        const bool last = life == lives;
        if (last) {
            while (produced_ < to_produce_) {
                produce();
            }
            log_.set_available(true);
        }
        if (damages && !damaged_) {
            damage();
        }
        broken_ = false;
        disk_failed_ = disk_full_;
        begin_life(last);
        const std::uint64_t most =
            last ? 40 * kStepsOfALife : static_cast<std::uint64_t>(random_.between(500, 12'000));
        std::uint64_t steps = 0;
        bool alive = true;
        while (alive && run_.failure.empty()) {
            ++run_.steps;
            const bool must_end = last || life_->end != Life::End::none;
            if (++steps > (must_end ? 40 * kStepsOfALife : most)) {
                if (must_end) {
                    const auto& engine = *life_->engine;
                    fail("a life does not come to its end: stage " +
                         std::to_string(static_cast<int>(engine.stage())) + " waiting for '" +
                         engine.waiting_for() + "'" + (life_->running ? state_of_run() : ""));
                }
                break;
            }
            switch (random_.below(8)) {
                case 0:
                    produce();
                    break;
                case 1:
                    clock_.advance(random_.between(0, 12));
                    break;
                case 2:
                    log_.step();
                    break;
                case 3:
                    redis_.step();
                    break;
                default:
                    alive = step_life();
                    break;
            }
            trouble();
            if (disk_->crashed()) {
                alive = false;
            }
        }
        if (life_->running) {
            const auto sink = life_->engine->sink().statistics();
            say("sink: " + std::to_string(sink.results) + " results, " +
                std::to_string(sink.skipped) + " skipped, " + std::to_string(sink.pending) +
                " pending, " + std::to_string(sink.rewinds) + " rewinds, " + sink.reason);
            const auto report = life_->engine->coordinator().report();
            run_.checkpoints += report.checkpoints.completed;
            run_.savepoints += report.checkpoints.savepoints_taken;
            note(report.number);
        }
        note(redis_.executed());
        if (!last && !broken_ && !disk_->crashed() && life_->end != Life::End::none &&
            run_.failure.empty()) {
            ended();
        }
        if (last && broken_) {
            ++lives;
        } else if (last && run_.failure.empty()) {
            // Everything is delivered and acknowledged; the process ends in order.
            const bool saved = life_->engine->coordinator().last_checkpoint_ok();
            if (!saved && disk_failed_) {
                broken_ = true;
                ++lives;
            } else if (!saved) {
                fail("the last checkpoint failed: " +
                     life_->engine->coordinator().report().checkpoints.problem);
            }
        }
        end_life(!last || broken_);
    }
    if (run_.failure.empty()) {
        ++lives_;
        collect_journal();
        judge();
    }
    run_.records = log_.records_handed_out();
    run_.keys = redis_.keys_seen();
    run_.losses = redis_.losses();
    run_.barriers = barriers_.size();
    return run_;
}

std::string Simulation::state_of_run() const {
    daemon::Engine& engine = *life_->engine;
    const auto report = engine.coordinator().report();
    std::string text = std::string(report.live ? ", live" : ", replaying") + ", barrier " +
                       std::to_string(report.number) + ", waiting: " + report.waiting +
                       ", paused: " + report.input_paused_reason + ", emitter " +
                       (engine.emitter().quiet() ? "quiet" : "busy") + ", sink " +
                       (engine.sink().settled() ? "settled" : "busy") + " " +
                       engine.sink().statistics().reason;
    for (std::size_t w = 0; w < engine.worker_count(); ++w) {
        const auto progress = engine.worker(w).progress();
        text += ", worker" + std::string(progress.wants_cap ? " wants a cap" : "") +
                (progress.until_end_reached ? " done" : "") + " " +
                std::to_string(progress.table_bytes) + " bytes";
        for (const auto& partition : progress.partitions) {
            text += " [" + std::to_string(partition.partition) + " at " +
                    std::to_string(partition.next_offset) + " watermark " +
                    std::to_string(partition.watermark) + "]";
        }
    }
    return text;
}

// A hash that an earlier lineage wrote keeps the fields that the file has no longer.
bool Simulation::as_wanted(const std::string& key, const std::string& found,
                           const std::string& wanted) const {
    const auto fields = [](const std::string& text) {
        std::set<std::string> all;
        std::istringstream stream(text);
        for (std::string field; stream >> field;) {
            all.insert(field);
        }
        return all;
    };
    return found == wanted ||
           (older_.contains(key) && std::ranges::includes(fields(found), fields(wanted)));
}

void Simulation::judge() {
    const auto wanted = expected(jobs_, log_, partitions_, barriers_);
    const auto found = redis_.dump();
    for (const auto& [key, value] : found) {
        note(std::hash<std::string>{}(key + value));
    }
    for (const auto& [key, value] : wanted) {
        const auto at = found.find(key);
        if (at == found.end()) {
            say("missing " + key);
            fail("missing: " + key + " should be " + value);
        } else if (!as_wanted(key, at->second, value)) {
            say("different " + key);
            fail("different: " + key + " is " + at->second + ", should be " + value);
        }
    }
    for (const auto& [key, value] : found) {
        if (!wanted.contains(key) && !older_.contains(key)) {
            fail("surplus: " + key + " " + value);
        }
    }
    if (run_.rollbacks > 0) {
        return;  // a rollback on purpose may write final results again
    }
    for (const std::string& change : redis_.changed_finals()) {
        fail("a final value changed: " + change);
    }
}

}  // namespace

Run simulate(std::uint64_t seed, const Limits& limits) { return Simulation(seed, limits).run(); }

}  // namespace sluice::simulation
