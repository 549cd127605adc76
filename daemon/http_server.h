// The admin API: HTTP on a Unix socket (everything) and on a TCP port (read only).
//
//   GET  /status /livez /readyz /metrics /     both
//   POST /stop[?savepoint=yes|no][&drain=yes][&wait=yes]   Unix socket only, as all that follow;
//                                              answers at once, or when the stop is over
//   POST /checkpoint                           answers when it is committed
//   POST /savepoint[?name=NAME]                answers when it is frozen; completed behind that
//   POST /savepoint/delete?name=NAME           answers when it is gone; given up if under way
//   POST /reload[?wait=no]                     answers when the settings are in force, or refused
//
// Up before state is looked for, so that a restore can be watched. Bounded in every direction:
// connections, bytes of a request, and time.
//
// Life:    open() binds and starts the thread `admin`; destruction closes everything and joins.
// Thread:  callbacks are called on `admin`, one at a time, and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "daemon/status.h"
#include "state/model/clock.h"
#include "state/model/result.h"

namespace sluice::daemon {

// The outcome of a request that takes time: the JSON to send, or what went wrong.
using Done = std::function<void(model::Result<std::string>)>;

struct StopRequest {
    std::optional<bool> savepoint;  // none: as [savepoint] on_stop says
    bool drain = false;             // read up to where the log ends now, close every window
    // Gets {"exit_code","savepoint","text"} as the last thing before the process leaves; none:
    // nobody waits.
    Done done = {};
};

struct HttpCallbacks {
    std::function<Status()> status;
    // Asks the daemon to stop; returns at once.
    std::function<void(StopRequest request)> stop;
    // Takes a checkpoint and calls `done` once, from any thread, also when the daemon stops before.
    std::function<void(Done done)> checkpoint;
    // Freezes a savepoint, of this name or, when it is empty, of one that is made up.
    std::function<void(std::string name, Done done)> savepoint;
    std::function<void(std::string name, Done done)> remove_savepoint;
    // Reads the configuration file again and applies it; `done` gets the verdict once that is over:
    // {"applied":true,"restart":[settings that need one]} or
    // {"applied":false,"exit_code","reason"}.
    std::function<void(Done done)> reload = {};
    // Text to append to /metrics; may be empty.
    std::function<std::string()> more_metrics;
};

struct HttpSettings {
    std::string socket_path;                        // always; its folder is made if it is missing
    std::optional<std::string> host = "127.0.0.1";  // TCP; none: off
    std::uint16_t port = 9464;                      // 0: the system chooses, see port()
    std::int64_t timeout_ms = 10'000;  // for one request to arrive, one answer to leave
    int connections = 64;              // at once, per listener
};

class HttpServer {
 public:
    // `clock` must outlive the server. Errors: unavailable (an address is in use or not ours). A
    // socket file that nobody listens on is a leftover and is replaced; mode 0660.
    static model::Result<std::unique_ptr<HttpServer>> open(const HttpSettings& settings,
                                                           HttpCallbacks callbacks,
                                                           const model::Clock& clock);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    std::uint16_t port() const;  // TCP, 0 when off

    // Blocks until every answer that was given has left, at most for `timeout_ms`. Thread: any but
    // `admin`.
    void settle(std::int64_t timeout_ms);

 private:
    class Running;
    explicit HttpServer(std::unique_ptr<Running> running);
    std::unique_ptr<Running> running_;
};

}  // namespace sluice::daemon
