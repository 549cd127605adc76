// The address of a Unix socket, however long its path is.
//
// The kernel takes at most 107 bytes. A longer path is reached through a descriptor of its folder,
// as /proc/self/fd/N/NAME; the address is valid as long as this object lives.
#pragma once

#include <sys/un.h>

#include <string>
#include <utility>

#include "state/model/result.h"

namespace sluice::daemon {

class SocketPath {
 public:
    // Errors: unavailable (the folder cannot be opened, or the name itself is too long).
    static model::Result<SocketPath> open(const std::string& path);
    SocketPath(SocketPath&& other) noexcept
        : address_(other.address_), folder_(std::exchange(other.folder_, -1)) {}
    SocketPath& operator=(SocketPath&&) = delete;
    ~SocketPath();

    const sockaddr_un& address() const { return address_; }

 private:
    SocketPath() = default;
    sockaddr_un address_{};
    int folder_ = -1;
};

}  // namespace sluice::daemon
