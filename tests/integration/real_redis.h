// A redis-server of one's own on a Unix socket in a temporary folder, and a plain client for it.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sinks/resp.h"
#include "sinks/socket_transport.h"

namespace sluice::sinks::test {

// Blocking, for tests.
class RedisClient {
 public:
    explicit RedisClient(Address address) : transport_(std::move(address)) {}

    Reply send(const std::string& bytes, std::size_t replies = 1) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        if (transport_.state() == Transport::State::closed) {
            transport_.connect();
            reader_.reset();
        }
        std::size_t sent = 0;
        Reply last;
        while (replies > 0) {
            if (transport_.state() == Transport::State::closed ||
                std::chrono::steady_clock::now() > end) {
                throw std::runtime_error("redis: " + transport_.error());
            }
            sent += transport_.send(std::string_view(bytes).substr(sent));
            std::string in;
            if (transport_.receive(in, 1 << 16) == 0) {
                pollfd ready{transport_.descriptor(),
                             static_cast<short>(sent < bytes.size() ? POLLIN | POLLOUT : POLLIN),
                             0};
                ::poll(&ready, 1, 100);
            }
            reader_.feed(in);
            while (replies > 0) {
                const auto reply = reader_.next();
                if (!reply) {
                    throw std::runtime_error(reply.error().text);
                }
                if (*reply == nullptr) {
                    break;
                }
                last = **reply;
                --replies;
            }
        }
        return last;
    }
    Reply command(std::initializer_list<std::string_view> words) {
        std::string bytes;
        RequestWriter(bytes).command(words);
        return send(bytes);
    }
    std::string text(std::initializer_list<std::string_view> words) {
        return std::string(command(words).text());
    }
    std::int64_t integer(std::initializer_list<std::string_view> words) {
        return command(words).nodes[0].integer;
    }

 private:
    SocketTransport transport_;
    ReplyReader reader_;
};

class RealRedis {
 public:
    explicit RealRedis(std::vector<std::string> options = {}) : options_(std::move(options)) {
        std::string name =
            (std::filesystem::temp_directory_path() / "sluice-redis-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) {
            throw std::runtime_error("mkdtemp");
        }
        folder_ = name;
        start();
    }
    ~RealRedis() {
        stop();
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    RealRedis(const RealRedis&) = delete;
    RealRedis& operator=(const RealRedis&) = delete;

    static bool installed() {
        const char* path = std::getenv("PATH");
        std::string_view rest = path == nullptr ? "" : path;
        while (!rest.empty()) {
            const std::size_t colon = rest.find(':');
            const std::string file = std::string(rest.substr(0, colon)) + "/redis-server";
            if (::access(file.c_str(), X_OK) == 0) {
                return true;
            }
            rest = colon == std::string_view::npos ? "" : rest.substr(colon + 1);
        }
        return false;
    }

    Address address() const { return {"", 0, folder_ + "/redis.sock"}; }
    RedisClient client() const { return RedisClient(address()); }

    void start() {
        std::vector<std::string> words{"redis-server",
                                       "--port",
                                       "0",
                                       "--unixsocket",
                                       folder_ + "/redis.sock",
                                       "--dir",
                                       folder_,
                                       "--save",
                                       "",
                                       "--loglevel",
                                       "warning",
                                       "--daemonize",
                                       "no"};
        words.insert(words.end(), options_.begin(), options_.end());
        std::vector<char*> arguments;
        for (auto& word : words) {
            arguments.push_back(word.data());
        }
        arguments.push_back(nullptr);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that dies leaves no server behind
            const int log = ::open((folder_ + "/log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
            ::dup2(log, 1);
            ::dup2(log, 2);
            ::execvp(arguments[0], arguments.data());
            ::_exit(127);
        }
        for (int attempt = 0; attempt < 1000; ++attempt) {
            try {
                if (!client().command({"PING"}).text().starts_with("LOADING")) {
                    return;
                }
            } catch (const std::runtime_error&) {
            }
            ::poll(nullptr, 0, 10);
        }
        throw std::runtime_error("redis-server does not start");
    }
    // As by kill -9.
    void stop() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
    }

 private:
    const std::vector<std::string> options_;
    std::string folder_;
    pid_t pid_ = -1;
};

}  // namespace sluice::sinks::test
