// Transport over TCP and Unix stream sockets.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sinks/transport.h"

namespace sluice::sinks {

// Where the server is: a Unix path, or host and port.
struct Address {
    std::string host;
    std::uint16_t port = 6379;
    std::string unix_path;  // not empty: this and nothing else
};

// Non-blocking socket with TCP_NODELAY and keep-alive. A host with several addresses is tried one
// address per connect().
class SocketTransport final : public Transport {
 public:
    explicit SocketTransport(Address address);
    ~SocketTransport() override;
    SocketTransport(const SocketTransport&) = delete;
    SocketTransport& operator=(const SocketTransport&) = delete;

    void connect() override;
    State state() override;
    std::size_t send(std::string_view bytes) override;
    std::size_t receive(std::string& to, std::size_t limit) override;
    void close() override;
    const std::string& error() const override { return error_; }
    int descriptor() const override { return descriptor_; }

 private:
    void fail(const std::string& what, int code);

    const Address address_;
    std::string error_;
    int descriptor_ = -1;
    State state_ = State::closed;
    // The last receive() took all that was there. The next one says so without asking the kernel;
    // whoever polls in between hears of new bytes.
    bool emptied_ = false;
    std::size_t attempt_ = 0;  // which of the host's addresses comes next
};

TransportFactory socket_transports(Address address);

}  // namespace sluice::sinks
