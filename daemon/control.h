// The control socket, from both sides: where it is, and how a command asks the daemon behind it.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "config/environment.h"
#include "state/model/result.h"

namespace sluice::daemon {

// $RUNTIME_DIRECTORY/control.sock, else /run/sluice/NAME/control.sock (root), else
// STATE/control.sock. Where the daemon `name` with state directory `state_directory` listens.
std::string control_socket_path(const std::string& name, const std::string& state_directory,
                                const config::Environment& environment);

// A pipeline that a command names.
struct Target {
    std::string name;
    std::vector<std::string> sockets;  // where its control socket may be, likeliest first
    // Where its state may be, likeliest first; of a file and of a state directory, the one.
    std::vector<std::string> states{};
    // Of a file only.
    std::string savepoint_folder{};  // as StatePaths has it
    bool savepoint_copy = true;
    std::optional<std::uint64_t> savepoint_rate{};  // bytes per second of copies; none: no limit
    std::uint64_t reserve_bytes = 0;                // free disk that copies leave alone
    bool by_name = false;                           // nothing but the name is known
};

// `text` is a pipeline's name, its state directory, or its configuration file (it has a '/' or ends
// in ".toml", or is a file and no name). A file is loaded for its name and state directory; one
// that does not load is an error, kinds as exit codes below.
struct TargetError {
    int exit_code;  // kExitMissing, kExitConfiguration, kExitUsage, kExitPermission
    std::string text;
};
std::expected<Target, TargetError> find_target(const std::string& text,
                                               const config::Environment& environment);

struct ControlAnswer {
    int status = 0;  // HTTP
    std::string body;
    std::int64_t pid = 0;  // of the daemon, by the socket's peer credentials
};

// The text of {"error": "…"}, or the whole, without the newline at its end.
std::string reason_in(const std::string& body);

// For a question that the daemon answers at once.
inline constexpr std::int64_t kAnswerTimeoutMs = 5'000;

// One request over the first socket of `target` that accepts. Blocks, at most `timeout_ms` (0: for
// ever) without a byte of answer. Errors: unavailable, naming the sockets tried.
model::Result<ControlAnswer> ask(const Target& target, const std::string& method,
                                 const std::string& path, std::int64_t timeout_ms);

}  // namespace sluice::daemon
