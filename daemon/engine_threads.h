// The threads of a running engine: each drives one of its objects, until stop().
//
//   worker-N      opens its reader, so that it belongs to this thread, and waits for begin()
//   coordinator, fire, snapshot, savepoint, sink, letters, watch
//
// A thread that has nothing to do sleeps on its bell, or on what its object waits for.
//
// Life:    open_workers(); begin() when they are open and the engine runs; stop(). Destruction
//          stops.
// Thread:  one (main); ring from any. Engine and bells outlive it.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "daemon/bell.h"

namespace sluice::daemon {

class Engine;

class EngineThreads {
 public:
    struct Hooks {
        // What ends the daemon: exit code and text.
        std::function<void(int, std::string)> failed;
        std::function<void()> letters;  // writes the dead letters that wait; blocks
        std::function<void()> watch;    // one look at what is outside; blocks
    };
    EngineThreads(Engine& engine, Bells& bells, Hooks hooks);
    ~EngineThreads();
    EngineThreads(const EngineThreads&) = delete;
    EngineThreads& operator=(const EngineThreads&) = delete;

    // Blocks until every worker has its reader, or has failed() to get it.
    void open_workers();
    void begin();
    void stop();  // Blocks until all are joined. Again: nothing happens.

 private:
    void drive(const std::string& name, std::function<bool()> step, std::function<void()> wait);
    void work(std::size_t number);
    void release_workers();

    Engine& engine_;
    Bells& bells_;
    const Hooks hooks_;
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> released_ = false;  // workers need not wait for begin() any more
    bool running_ = false;
    std::atomic<std::size_t> open_ = 0;
    std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace sluice::daemon
