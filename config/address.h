// Addresses as the file writes them: the Redis server and the HTTP listener.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace sluice::config {

struct AddressError {
    std::string message;
    std::string hint;
};

struct RedisAddress {
    std::string host;  // empty with unix_path
    std::uint16_t port = 6379;
    std::string unix_path;
    int database = 0;
};

// redis://host, redis://host:port/database, redis://[::1]:6379, unix:/path. A user or a password in
// the address is refused: they have settings of their own, so that no address is a secret.
std::expected<RedisAddress, AddressError> read_redis_address(std::string_view text);

struct ListenAddress {
    std::string host;  // without brackets
    std::uint16_t port = 0;
};

// host:port, [::1]:port, or :port for every address. Port 0: the system chooses.
std::expected<ListenAddress, AddressError> read_listen_address(std::string_view text);

}  // namespace sluice::config
