// The seam below the Redis sink: one byte stream to the server. Sockets in production, a simulated
// server in tests.
//
// Nothing here blocks but the resolution of a host name, which connect() does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::sinks {

// Life:    connect(), send()/receive() while open, close(); then connect() again, as often as
//          wanted. Bytes of an earlier connection are never seen by a later one.
// Thread:  the sink's.
class Transport {
 public:
    enum class State : std::uint8_t { closed, connecting, open };

    virtual ~Transport() = default;

    // Begins to connect. Only when closed.
    virtual void connect() = 0;
    // Carries a pending connect on and says where things stand. `closed` after connect() means that
    // it failed, or that the other side went away: error() says why.
    virtual State state() = 0;
    // Takes as many of `bytes` as fit now; 0 when none do or the connection is gone.
    virtual std::size_t send(std::string_view bytes) = 0;
    // Appends what has arrived, at most `limit` bytes; 0 when nothing has or the connection is
    // gone.
    virtual std::size_t receive(std::string& to, std::size_t limit) = 0;
    // Drops the connection; what was sent may still arrive and be executed.
    virtual void close() = 0;

    virtual const std::string& error() const = 0;  // of the last failure
    // To poll, or -1 where there is none (simulated, or closed).
    virtual int descriptor() const = 0;
};

// Makes the transport of connection number `connection` (from 0).
using TransportFactory = std::function<std::unique_ptr<Transport>(int connection)>;

}  // namespace sluice::sinks
