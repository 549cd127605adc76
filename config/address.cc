#include "config/address.h"

#include <charconv>

namespace sluice::config {
namespace {

bool take_port(std::string_view text, std::uint16_t& port) {
    if (text.empty()) {
        return false;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return error == std::errc{} && end == text.data() + text.size();
}

// "host", "host:port", "[v6]", "[v6]:port". `port` stays as it is where none is written.
bool take_host_and_port(std::string_view text, std::string& host, std::uint16_t& port) {
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos || close == 1) {
            return false;
        }
        host = std::string(text.substr(1, close - 1));
        text.remove_prefix(close + 1);
        return text.empty() || (text.starts_with(':') && take_port(text.substr(1), port));
    }
    const std::size_t colon = text.find(':');
    host = std::string(text.substr(0, colon));
    if (host.find_first_of(" \t/\\'\"") != std::string::npos) {
        return false;
    }
    return colon == std::string_view::npos || take_port(text.substr(colon + 1), port);
}

}  // namespace

std::expected<RedisAddress, AddressError> read_redis_address(std::string_view text) {
    RedisAddress address;
    if (text.starts_with("unix:")) {
        text.remove_prefix(5);
        if (text.starts_with("//")) {
            text.remove_prefix(2);
        }
        if (!text.starts_with('/')) {
            return std::unexpected(AddressError{"the path of a socket must be absolute",
                                                "for instance unix:/run/redis.sock"});
        }
        address.unix_path = std::string(text);
        return address;
    }
    for (const std::string_view later :
         {"rediss:", "redis+sentinel:", "redis+cluster:", "rediss+sentinel:", "rediss+cluster:"}) {
        if (text.starts_with(later)) {
            return std::unexpected(
                AddressError{std::string(later) + "// is not available in this version",
                             "this version has redis:// and unix:"});
        }
    }
    constexpr std::string_view kScheme = "redis://";
    if (!text.starts_with(kScheme)) {
        return std::unexpected(
            AddressError{"an address such as \"redis://localhost:6379/0\" was expected",
                         "or unix:/path for a socket"});
    }
    text.remove_prefix(kScheme.size());
    if (text.find('@') != std::string_view::npos) {
        return std::unexpected(
            AddressError{"the address must not hold a user or a password",
                         "write username = \"…\" and password = { file = \"…\" }"});
    }
    if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
        const std::string_view database = text.substr(slash + 1);
        text = text.substr(0, slash);
        if (!database.empty()) {
            const auto [end, error] = std::from_chars(
                database.data(), database.data() + database.size(), address.database);
            if (error != std::errc{} || end != database.data() + database.size() ||
                address.database < 0) {
                return std::unexpected(AddressError{"the database after the slash must be a number",
                                                    "redis://localhost:6379/0"});
            }
        }
    }
    if (!take_host_and_port(text, address.host, address.port) || address.host.empty() ||
        address.port == 0) {
        return std::unexpected(
            AddressError{"host and port cannot be read", "for instance redis://localhost:6379/0"});
    }
    return address;
}

std::expected<ListenAddress, AddressError> read_listen_address(std::string_view text) {
    ListenAddress address;
    const std::size_t colon = text.rfind(':');
    const bool has_port = colon != std::string_view::npos && !text.ends_with(']');
    if (!has_port || !take_host_and_port(text, address.host, address.port)) {
        return std::unexpected(
            AddressError{"an address such as \"127.0.0.1:9464\" was expected", "or \"off\""});
    }
    if (address.host.empty()) {
        address.host = "0.0.0.0";
    }
    return address;
}

}  // namespace sluice::config
