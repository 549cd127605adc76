#include "daemon/socket_path.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sluice::daemon {

model::Result<SocketPath> SocketPath::open(const std::string& path) {
    SocketPath result;
    std::string reachable = path;
    if (path.size() >= sizeof(result.address_.sun_path)) {
        const std::size_t slash = path.rfind('/');
        const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
        result.folder_ = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (result.folder_ < 0) {
            return model::unavailable(folder + ": " + std::strerror(errno));
        }
        reachable = "/proc/self/fd/" + std::to_string(result.folder_) + "/" +
                    path.substr(slash == std::string::npos ? 0 : slash + 1);
        if (reachable.size() >= sizeof(result.address_.sun_path)) {
            return model::unavailable(path + ": the name is too long for a socket");
        }
    }
    result.address_.sun_family = AF_UNIX;
    std::memcpy(result.address_.sun_path, reachable.c_str(), reachable.size() + 1);
    return result;
}

SocketPath::~SocketPath() {
    if (folder_ >= 0) {
        ::close(folder_);
    }
}

}  // namespace sluice::daemon
