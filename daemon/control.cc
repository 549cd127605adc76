#include "daemon/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "daemon/exit_code.h"
#include "daemon/socket_path.h"

namespace sluice::daemon {
namespace {

constexpr std::size_t kMostAnswerBytes = 64U << 20;

class Descriptor {
 public:
    explicit Descriptor(int file) : file_(file) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (file_ >= 0) {
            close(file_);
        }
    }
    int get() const { return file_; }

 private:
    int file_;
};

std::string socket_in_runtime(const config::Environment& environment) {
    const auto runtime = environment.variable("RUNTIME_DIRECTORY");
    if (!runtime || runtime->empty()) {
        return "";
    }
    return runtime->substr(0, runtime->find(':')) + "/control.sock";
}

bool looks_like_file(const std::string& text) {
    if (text.find('/') != std::string::npos || text.ends_with(".toml")) {
        return true;
    }
    struct stat facts{};
    return stat(text.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

void add_unique(std::vector<std::string>& list, std::string path) {
    if (!path.empty() && std::ranges::find(list, path) == list.end()) {
        list.push_back(std::move(path));
    }
}

model::Result<ControlAnswer> ask_one(const std::string& socket_file, const std::string& request,
                                     std::int64_t timeout_ms) {
    TRY(path, SocketPath::open(socket_file));
    const Descriptor connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&path.address()),
                sizeof(sockaddr_un)) != 0) {
        return model::unavailable(socket_file + ": " + std::strerror(errno));
    }
    ControlAnswer answer;
    ucred peer{};
    socklen_t length = sizeof(peer);
    if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
        answer.pid = peer.pid;
    }
    // A request fits into the socket's buffer, so this does not block on a daemon that hangs.
    if (send(connection.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
        return model::unavailable(socket_file + ": the request could not be sent");
    }
    std::string bytes;
    std::array<char, 16384> buffer{};
    while (bytes.size() < kMostAnswerBytes) {
        pollfd ready{connection.get(), POLLIN, 0};
        const int polled = poll(&ready, 1, timeout_ms == 0 ? -1 : static_cast<int>(timeout_ms));
        if (polled < 0 && errno == EINTR) {
            continue;
        }
        if (polled == 0) {
            return model::unavailable(socket_file + ": no answer within " +
                                      std::to_string(timeout_ms) + "ms");
        }
        const ssize_t count = recv(connection.get(), buffer.data(), buffer.size(), 0);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            break;
        }
        bytes.append(buffer.data(), static_cast<std::size_t>(count));
    }
    const std::size_t end = bytes.find("\r\n\r\n");
    const std::size_t blank = bytes.find(' ');
    if (end == std::string::npos || blank == std::string::npos ||
        std::from_chars(bytes.data() + blank + 1, bytes.data() + bytes.size(), answer.status).ec !=
            std::errc{}) {
        return model::unavailable(socket_file + ": the answer was cut off");
    }
    answer.body = bytes.substr(end + 4);
    return answer;
}

}  // namespace

std::string control_socket_path(const std::string& name, const std::string& state_directory,
                                const config::Environment& environment) {
    if (std::string path = socket_in_runtime(environment); !path.empty()) {
        return path;
    }
    if (geteuid() == 0) {
        return "/run/sluice/" + name + "/control.sock";
    }
    return state_directory + "/control.sock";
}

std::expected<Target, TargetError> find_target(const std::string& text,
                                               const config::Environment& environment) {
    Target target;
    std::string state;
    struct stat facts{};
    if (text.find('/') != std::string::npos && stat(text.c_str(), &facts) == 0 &&
        S_ISDIR(facts.st_mode)) {
        target.name = text;
        target.states = {text};
        target.sockets = {text + "/control.sock"};
        return target;
    }
    if (looks_like_file(text)) {
        const config::Loaded loaded = config::load(text, {}, environment);
        if (!loaded.pipeline) {
            const int exit_code = loaded.outcome == config::Outcome::missing ? kExitMissing
                                  : loaded.outcome == config::Outcome::unreadable
                                      ? kExitPermission
                                      : kExitConfiguration;
            return std::unexpected(TargetError{exit_code, config::to_text(loaded.diagnostics)});
        }
        target.name = loaded.pipeline->name;
        state = loaded.pipeline->state.directory;
        target.savepoint_folder = loaded.pipeline->savepoint.directory;
        target.savepoint_copy = loaded.pipeline->savepoint.copy;
        target.savepoint_rate = loaded.pipeline->savepoint.bytes_per_second;
        target.reserve_bytes = loaded.pipeline->state.reserve_bytes;
        target.states = {state};
    } else {
        target.by_name = true;
        target.name = text;
        const bool valid = !text.empty() && std::ranges::all_of(text, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        });
        if (!valid) {
            return std::unexpected(TargetError{
                kExitUsage, "`" + text + "` is neither a pipeline's name nor a file\n"});
        }
    }
    add_unique(target.sockets, socket_in_runtime(environment));
    // The daemon may run as another user than we do: all places are tried.
    add_unique(target.sockets, "/run/sluice/" + target.name + "/control.sock");
    if (!state.empty()) {
        add_unique(target.sockets, state + "/control.sock");
    }
    if (const auto given = environment.variable("STATE_DIRECTORY"); given && !given->empty()) {
        add_unique(target.sockets, given->substr(0, given->find(':')) + "/control.sock");
    }
    if (const auto home = environment.variable("HOME"); home && !home->empty()) {
        add_unique(target.sockets, *home + "/.local/state/sluice/" + target.name + "/control.sock");
    }
    add_unique(target.sockets, "/var/lib/sluice/" + target.name + "/control.sock");
    if (target.states.empty()) {
        for (const std::string& socket_file : target.sockets) {
            const std::string folder = socket_file.substr(0, socket_file.rfind('/'));
            if (stat((folder + "/checkpoints").c_str(), &facts) == 0) {
                add_unique(target.states, folder);
            }
        }
    }
    return target;
}

std::string reason_in(const std::string& body) {
    const auto answer = nlohmann::json::parse(body, nullptr, false);
    if (answer.is_object() && answer.contains("error") && answer["error"].is_string()) {
        return answer["error"].get<std::string>();
    }
    return body.substr(0, body.find_last_not_of('\n') + 1);
}

model::Result<ControlAnswer> ask(const Target& target, const std::string& method,
                                 const std::string& path, std::int64_t timeout_ms) {
    const std::string request =
        method + " " + path + " HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    std::string tried;
    for (const std::string& socket_file : target.sockets) {
        struct stat facts{};
        if (stat(socket_file.c_str(), &facts) != 0 && errno == ENOENT) {
            continue;
        }
        auto answer = ask_one(socket_file, request, timeout_ms);
        if (answer) {
            return answer;
        }
        tried += (tried.empty() ? "" : "; ") + answer.error().text;
    }
    if (tried.empty()) {
        tried = "there is no control socket:";
        for (const std::string& socket_file : target.sockets) {
            tried += " " + socket_file;
        }
    }
    return model::unavailable("`" + target.name + "` is not reachable: " + tried);
}

}  // namespace sluice::daemon
