#include "config/secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::config {
namespace {

constexpr std::size_t kMostBytes = 64 * 1024;

model::Result<std::string> read_secret_file(const std::string& path, const std::string& what,
                                            bool check_mode) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return model::invalid(what + ": cannot open " + path + ": " + std::strerror(errno));
    }
    struct stat facts{};
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        close(file);
        return model::invalid(what + ": " + path + " is not a regular file");
    }
    if (check_mode && (facts.st_mode & (S_IROTH | S_IWOTH)) != 0) {
        close(file);
        return model::invalid(what + ": " + path +
                              " can be read or written by everyone; chmod 0600 it");
    }
    std::string text;
    std::array<char, 4096> buffer{};
    while (text.size() <= kMostBytes) {
        const ssize_t count = read(file, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            const int error = errno;
            close(file);
            return model::invalid(what + ": cannot read " + path + ": " + std::strerror(error));
        }
        if (count == 0) {
            break;
        }
        text.append(buffer.data(), static_cast<std::size_t>(count));
    }
    close(file);
    if (text.size() > kMostBytes) {
        return model::invalid(what + ": " + path + " is longer than 64 KiB");
    }
    if (text.ends_with('\n')) {
        text.pop_back();
    }
    if (text.ends_with('\r')) {
        text.pop_back();
    }
    return text;
}

}  // namespace

model::Result<std::string> resolve(const Secret& secret, const Environment& environment) {
    const std::string what = describe(secret);
    switch (secret.kind) {
        case Secret::Kind::none:
            return std::string();
        case Secret::Kind::credential: {
            const auto folder = environment.variable("CREDENTIALS_DIRECTORY");
            if (!folder) {
                return model::invalid(
                    what +
                    ": $CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with "
                    "LoadCredential=" +
                    secret.name + ":/path");
            }
            // The service manager made the file for us alone; its mode is its business.
            return read_secret_file(*folder + "/" + secret.name, what, false);
        }
        case Secret::Kind::file:
            return read_secret_file(secret.name, what, true);
        case Secret::Kind::environment: {
            auto value = environment.variable(secret.name);
            if (!value) {
                return model::invalid(what + ": the variable is not set");
            }
            return std::move(*value);
        }
    }
    return std::string();
}

std::string describe(const Secret& secret) {
    switch (secret.kind) {
        case Secret::Kind::none:
            return "none";
        case Secret::Kind::credential:
            return "{ credential = \"" + secret.name + "\" }";
        case Secret::Kind::file:
            return "{ file = \"" + secret.name + "\" }";
        case Secret::Kind::environment:
            return "{ env = \"" + secret.name + "\" }";
    }
    return "none";
}

}  // namespace sluice::config
