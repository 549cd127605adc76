#include "sinks/socket_transport.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace sluice::sinks {
namespace {

struct Endpoint {
    int family = AF_UNSPEC;
    sockaddr_storage address{};
    socklen_t size = 0;
};

// Fails with an empty list and the reason in `error`.
std::vector<Endpoint> resolve(const Address& address, std::string& error) {
    std::vector<Endpoint> endpoints;
    if (!address.unix_path.empty()) {
        sockaddr_un path{};
        if (address.unix_path.size() >= sizeof path.sun_path) {
            error = address.unix_path + ": path of a socket is too long";
            return endpoints;
        }
        path.sun_family = AF_UNIX;
        std::memcpy(path.sun_path, address.unix_path.data(), address.unix_path.size());
        Endpoint endpoint{AF_UNIX, {}, sizeof path};
        std::memcpy(&endpoint.address, &path, sizeof path);
        endpoints.push_back(endpoint);
        return endpoints;
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int code =
        ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
    if (code != 0) {
        error = address.host + ": " + ::gai_strerror(code);
        return endpoints;
    }
    for (const auto* at = found; at != nullptr; at = at->ai_next) {
        Endpoint endpoint{at->ai_family, {}, at->ai_addrlen};
        std::memcpy(&endpoint.address, at->ai_addr, at->ai_addrlen);
        endpoints.push_back(endpoint);
    }
    ::freeaddrinfo(found);
    return endpoints;
}

}  // namespace

SocketTransport::SocketTransport(Address address) : address_(std::move(address)) {}

SocketTransport::~SocketTransport() { close(); }

void SocketTransport::fail(const std::string& what, int code) {
    const std::string where = address_.unix_path.empty()
                                  ? address_.host + ":" + std::to_string(address_.port)
                                  : address_.unix_path;
    error_ = where + ": " + what + (code != 0 ? std::string(": ") + std::strerror(code) : "");
    close();
}

void SocketTransport::connect() {
    close();
    error_.clear();
    const auto endpoints = resolve(address_, error_);
    if (endpoints.empty()) {
        return;
    }
    const Endpoint& endpoint = endpoints[attempt_++ % endpoints.size()];
    descriptor_ = ::socket(endpoint.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor_ < 0) {
        fail("socket", errno);
        return;
    }
    if (endpoint.family != AF_UNIX) {
        const int on = 1;
        ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ::setsockopt(descriptor_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&endpoint.address),
                  endpoint.size) == 0) {
        state_ = State::open;
    } else if (errno == EINPROGRESS) {
        state_ = State::connecting;
    } else {  // EAGAIN of a Unix socket (its backlog is full) too: the caller tries again
        fail("connect", errno);
    }
}

Transport::State SocketTransport::state() {
    if (state_ != State::connecting) {
        return state_;
    }
    pollfd ready{descriptor_, POLLOUT, 0};
    if (::poll(&ready, 1, 0) <= 0) {
        return state_;
    }
    int code = 0;
    socklen_t size = sizeof code;
    ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &code, &size);
    if (code != 0) {
        fail("connect", code);
    } else {
        state_ = State::open;
    }
    return state_;
}

std::size_t SocketTransport::send(std::string_view bytes) {
    if (state_ != State::open || bytes.empty()) {
        return 0;
    }
    const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
        return static_cast<std::size_t>(sent);
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        fail("send", errno);
    }
    return 0;
}

std::size_t SocketTransport::receive(std::string& to, std::size_t limit) {
    if (state_ != State::open || std::exchange(emptied_, false)) {
        return 0;
    }
    const std::size_t before = to.size();
    ssize_t got = 0;
    int code = 0;
    to.resize_and_overwrite(before + limit, [&](char* bytes, std::size_t) {
        got = ::recv(descriptor_, bytes + before, limit, 0);
        code = errno;
        return before + (got > 0 ? static_cast<std::size_t>(got) : 0);
    });
    if (got == 0) {
        fail("the server closed the connection", 0);
    } else if (got < 0 && code != EAGAIN && code != EWOULDBLOCK && code != EINTR) {
        fail("receive", code);
    } else {
        emptied_ = got > 0 && static_cast<std::size_t>(got) < limit;
    }
    return to.size() - before;
}

void SocketTransport::close() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
        descriptor_ = -1;
    }
    state_ = State::closed;
    emptied_ = false;
}

TransportFactory socket_transports(Address address) {
    return [address = std::move(address)](int) -> std::unique_ptr<Transport> {
        return std::make_unique<SocketTransport>(address);
    };
}

}  // namespace sluice::sinks
