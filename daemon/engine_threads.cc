#include "daemon/engine_threads.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "daemon/engine.h"
#include "ingest/kafka_log.h"

namespace sluice::daemon {

namespace {

void name_thread(const std::string& name) {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

// Copies can wait: a worker that wants this thread's core gets it. Failing is no harm.
void give_way() { static_cast<void>(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19)); }

}  // namespace

EngineThreads::EngineThreads(Engine& engine, Bells& bells, Hooks hooks)
    : engine_(engine), bells_(bells), hooks_(std::move(hooks)) {}

EngineThreads::~EngineThreads() { stop(); }

void EngineThreads::open_workers() {
    for (std::size_t number = 0; number < engine_.worker_count(); ++number) {
        threads_.emplace_back([this, number] { work(number); });
    }
    while (open_.load() < engine_.worker_count()) {
        bells_.main.wait(100);
    }
}

void EngineThreads::work(std::size_t number) {
    name_thread("worker-" + std::to_string(number));
    if (engine_.worker_count() <= std::thread::hardware_concurrency()) {
        static_cast<void>(ingest::pin_this_thread(static_cast<int>(number)));
    }
    if (auto opened = engine_.open_worker(number); !opened) {
        hooks_.failed(kExitUnreachable, opened.error().text);
    }
    open_.fetch_add(1);
    bells_.main.ring();
    released_.wait(false);
    while (!stopping_.load(std::memory_order_acquire)) {
        Worker& worker = engine_.worker(number);
        if (!worker.step()) {
            worker.wait(100);
        }
    }
}

void EngineThreads::drive(const std::string& name, std::function<bool()> step,
                          std::function<void()> wait) {
    threads_.emplace_back([this, name, step = std::move(step), wait = std::move(wait)] {
        name_thread(name);
        while (!stopping_.load(std::memory_order_acquire)) {
            if (!step()) {
                wait();
            }
        }
    });
}

void EngineThreads::begin() {
    running_ = true;
    release_workers();
    drive(
        "coordinator",
        [this] {
            const bool busy = engine_.coordinator().step();
            if (busy) {
                bells_.fire.ring();
                bells_.snapshot.ring();
            }
            if (engine_.coordinator().outcome() != Coordinator::Outcome::running) {
                bells_.main.ring();
            }
            return busy;
        },
        [this] { bells_.coordinator.wait(5); });
    drive(
        "fire",
        [this] {
            auto busy = engine_.fire_step();
            if (!busy) {
                hooks_.failed(kExitStateBroken, busy.error().text);
                bells_.fire.wait(1000);
                return false;
            }
            if (*busy) {
                engine_.sink().wake();
            }
            return *busy;
        },
        [this] { bells_.fire.wait(engine_.emitter().blocked() ? 2 : 50); });
    drive(
        "snapshot",
        [this] {
            const bool busy = engine_.snapshotter().step();
            if (!busy) {
                bells_.coordinator.ring();
            }
            return busy;
        },
        [this] { bells_.snapshot.wait(100); });
    drive(
        "savepoint",
        [this, gave_way = false]() mutable {
            if (!std::exchange(gave_way, true)) {
                give_way();
            }
            return engine_.completion().step();
        },
        [this] { bells_.savepoint.wait(100); });
    drive("sink", [this] { return engine_.sink().step(); }, [this] { engine_.sink().wait(50); });
    // Of its own: Kafka may keep the watch waiting for seconds, and meanwhile bad records come on.
    drive(
        "letters",
        [this] {
            hooks_.letters();
            return false;
        },
        [this] { bells_.letters.wait(1000); });
    drive(
        "watch",
        [this] {
            hooks_.watch();
            return false;
        },
        [this] { bells_.watch.wait(2000); });
}

void EngineThreads::release_workers() {
    released_.store(true);
    released_.notify_all();
}

void EngineThreads::stop() {
    stopping_.store(true, std::memory_order_release);
    release_workers();
    for (Bell* bell : {&bells_.coordinator, &bells_.fire, &bells_.snapshot, &bells_.savepoint,
                       &bells_.letters, &bells_.watch}) {
        bell->ring();
    }
    if (running_) {
        engine_.sink().wake();
        for (std::size_t i = 0; i < engine_.worker_count(); ++i) {
            engine_.worker(i).wake();
        }
    }
    for (std::thread& thread : threads_) {
        thread.join();
    }
    threads_.clear();
}

}  // namespace sluice::daemon
