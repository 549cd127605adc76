// One connection to the server and the one request that is on its way over it: sent as the socket
// takes it, its replies handed out one by one. What they mean is not its business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sinks/resp.h"
#include "sinks/transport.h"
#include "state/model/clock.h"
#include "state/model/result.h"
#include "state/model/time.h"

namespace sluice::sinks {

// Life:    connect(), wait for `open`, then request() … send(), move() and next() until complete();
//          again. close() at any time; connect() begins anew.
// Thread:  one (sink).
class Exchange {
 public:
    // `reply_timeout_ms`: how long the server may be silent. `clock` must outlive the exchange.
    Exchange(std::unique_ptr<Transport> transport, const model::Clock& clock,
             model::DurationMs reply_timeout_ms)
        : transport_(std::move(transport)), clock_(clock), reply_timeout_ms_(reply_timeout_ms) {}

    void connect();
    void close() { transport_->close(); }
    // Carries a pending connect on.
    Transport::State state() { return transport_->state(); }

    // Begins a request; its commands go into the writer, which is good until send().
    RequestWriter request();
    // Sends what was written. The server owes so many replies.
    void send(std::size_t replies);

    // Sends and receives what goes now. True: bytes moved.
    bool move();
    // The next reply that is here, valid until the next call; null: none yet. Error: corrupt.
    model::Result<const Reply*> next();
    // Of the reply that next() gave, from 0.
    std::size_t position() const { return taken_ - 1; }
    bool last() const { return taken_ == expected_; }
    bool all_sent() const { return sent_ == out_.size(); }

    // Why the connection is of no use any more: `what` says what took too long.
    std::optional<std::string> broken(const char* what);
    // The same of a connection that nobody asked anything, so that it has nothing to say.
    std::optional<std::string> broken_while_idle();

    std::int64_t deadline() const { return deadline_; }    // for the next byte
    std::int64_t last_used() const { return last_used_; }  // when the last request was complete

    // To poll, or -1, and whether for writing, too.
    int descriptor() const { return transport_->descriptor(); }
    bool wants_to_write() const { return opening_ || !all_sent(); }

 private:
    void extend_deadline() { deadline_ = clock_.steady_ms() + reply_timeout_ms_; }

    const std::unique_ptr<Transport> transport_;
    const model::Clock& clock_;
    const model::DurationMs reply_timeout_ms_;
    ReplyReader reader_;
    std::string out_;  // the request
    std::size_t sent_ = 0;
    std::string in_;
    std::size_t expected_ = 0;  // replies
    std::size_t taken_ = 0;
    bool opening_ = false;  // nothing was sent since connect()
    std::int64_t deadline_ = 0;
    std::int64_t last_used_ = 0;
};

}  // namespace sluice::sinks
