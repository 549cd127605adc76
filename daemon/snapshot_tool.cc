#include "daemon/snapshot_tool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "daemon/exit_code.h"
#include "state/io/io_engine.h"

namespace sluice::daemon {
namespace {

constexpr std::int64_t kProgressNs = 200'000'000;
constexpr std::size_t kMostLineBytes = 64 << 20;
constexpr unsigned kMostThreads = 4;

// Who looks into a snapshot that its owner may remove holds all of its tables open.
void allow_many_files() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));  // else fewer have to do
    }
}

// Read as it comes. The descriptor is closed with the process.
class PipeSource final : public state::ByteSource {
 public:
    PipeSource(std::string name, int file) : name_(std::move(name)), file_(file) {}
    model::Result<std::size_t> read(char* to, std::size_t bytes) override {
        std::size_t done = 0;
        while (done < bytes) {
            const ssize_t got = ::read(file_, to + done, bytes - done);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                return model::unavailable(name_ + ": " + std::strerror(errno));
            }
            if (got == 0) {
                break;
            }
            done += static_cast<std::size_t>(got);
        }
        return done;
    }

 private:
    const std::string name_;
    const int file_;
};

}  // namespace

SnapshotTool::SnapshotTool(std::string what, std::unique_ptr<state::Disk> disk,
                           std::optional<std::uint64_t> rate)
    : what_(std::move(what)),
      disk_(std::move(disk)),
      writes_by_(rate ? disk_->background() : *disk_) {
    disk_->bound_background(rate.value_or(0));
}

model::Result<std::unique_ptr<SnapshotTool>> SnapshotTool::open(std::string what,
                                                                std::optional<std::uint64_t> rate) {
    allow_many_files();
    TRY(opened, state::open_disk({}));
    return std::unique_ptr<SnapshotTool>(
        new SnapshotTool(std::move(what), std::move(opened.disk), rate));
}

unsigned SnapshotTool::threads() {
    return std::min(std::thread::hardware_concurrency(), kMostThreads);
}

int SnapshotTool::fail(int exit_code, const std::string& text) const {
    std::fprintf(stderr, "sluice: %s: %s\n", what_.c_str(), text.c_str());
    return exit_code;
}

int SnapshotTool::fail(const model::Error& error) const {
    switch (error.kind) {
        case model::ErrorKind::corrupt:
        case model::ErrorKind::invalid:
            return fail(kExitDamaged, error.text);
        case model::ErrorKind::exhausted:
            return fail(kExitLocked, error.text);
        case model::ErrorKind::unavailable:
        case model::ErrorKind::fenced:
        case model::ErrorKind::cancelled:
            break;
    }
    return fail(kExitStateBroken, error.text);
}

int SnapshotTool::readable(const std::string& path) const {
    struct stat facts{};
    if (stat(path.c_str(), &facts) != 0) {
        return fail(errno == EACCES ? kExitPermission : kExitMissing,
                    path + ": " + std::strerror(errno));
    }
    const int wanted = S_ISDIR(facts.st_mode) ? R_OK | X_OK : R_OK;
    if (access(path.c_str(), wanted) != 0) {
        return fail(kExitPermission, path + ": " + std::strerror(errno));
    }
    return kExitOk;
}

int SnapshotTool::creatable(const std::string& path) const {
    struct stat facts{};
    if (lstat(path.c_str(), &facts) == 0) {
        return fail(kExitLocked, path + ": is there already, and is not overwritten");
    }
    const std::string folder = state::parent_directory(path);
    if (stat(folder.c_str(), &facts) != 0) {
        return fail(kExitMissing, folder + ": " + std::strerror(errno));
    }
    if (access(folder.c_str(), W_OK | X_OK) != 0) {
        return fail(errno == EROFS ? kExitLocked : kExitPermission,
                    folder + ": " + std::strerror(errno));
    }
    return kExitOk;
}

state::Progress SnapshotTool::progress(std::string unit) {
    if (isatty(STDERR_FILENO) == 0) {
        return nullptr;
    }
    const std::int64_t begun = clock_.steady_ns();
    return [this, unit = std::move(unit), begun, last = begun](std::uint64_t done,
                                                               std::uint64_t total) mutable {
        const std::int64_t now = clock_.steady_ns();
        const bool complete = done >= total;
        if (now - last < kProgressNs && !(complete && last != begun)) {
            return;
        }
        last = now;
        const double part = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
        const double left =
            part == 0 ? 0 : static_cast<double>(now - begun) / 1e9 * (1 - part) / part;
        std::fprintf(stderr, "\r%s: %3.0f %%, %llu %s, %.0f s left   ", what_.c_str(), part * 100,
                     static_cast<unsigned long long>(done), unit.c_str(), left);
        if (complete) {
            std::fputs("\n", stderr);
        }
    };
}

model::Status SnapshotTool::claim(const std::string& path) {
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.ends_with('/')) {
        trimmed.pop_back();
    }
    const std::string folder = state::parent_directory(trimmed);
    // The lock lies on the directory itself, so it leaves nothing behind; the descriptor is held
    // until the process ends.
    const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) {
        return model::unavailable(folder + ": " + std::strerror(errno));
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        std::fprintf(stderr, "sluice: %s: waiting for another tool that writes in %s\n",
                     what_.c_str(), folder.c_str());
        if (flock(file, LOCK_EX) != 0) {
            return model::unavailable(folder + ": " + std::strerror(errno));
        }
    }
    return {};
}

model::Status OutputSink::write(std::string_view bytes) {
    if (begun_ns_ == 0) {
        begun_ns_ = clock_.steady_ns();
    }
    while (!bytes.empty()) {
        const ssize_t put = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return errno == ENOSPC
                       ? model::exhausted("stdout: no space left")
                       : model::unavailable(std::string("stdout: ") + std::strerror(errno));
        }
        written_ += static_cast<std::uint64_t>(put);
        bytes.remove_prefix(static_cast<std::size_t>(put));
        if (rate_) {
            const double due = static_cast<double>(written_) / static_cast<double>(*rate_) * 1e9;
            const auto wait = begun_ns_ + static_cast<std::int64_t>(due) - clock_.steady_ns();
            std::this_thread::sleep_for(std::chrono::nanoseconds(std::max<std::int64_t>(wait, 0)));
        }
    }
    return {};
}

bool is_directory(const std::string& path) {
    struct stat facts{};
    return stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

model::Result<SnapshotTool::Source> SnapshotTool::source(const std::string& path) {
    struct stat facts{};
    if (path == "-") {
        return Source{std::make_unique<PipeSource>("stdin", STDIN_FILENO), 0};
    }
    if (stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode)) {
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            return model::unavailable(path + ": " + std::strerror(errno));
        }
        return Source{std::make_unique<PipeSource>(path, file), 0};
    }
    TRY(file, state::FileSource::open(*disk_, path));
    const std::uint64_t size = file->size();
    return Source{std::move(file), size};
}

model::Status each_input_line(const std::function<model::Status(std::string_view)>& take) {
    std::string rest;
    std::array<char, 1 << 16> buffer{};
    while (true) {
        const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return model::unavailable(std::string("stdin: ") + std::strerror(errno));
        }
        if (got == 0) {
            return rest.empty() ? model::Status{} : take(rest);
        }
        std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
        while (!bytes.empty()) {
            const auto end = bytes.find('\n');
            rest.append(bytes.substr(0, end));
            if (rest.size() > kMostLineBytes) {
                return model::invalid("a line has more than " +
                                      std::to_string(kMostLineBytes >> 20) + " MiB");
            }
            if (end == std::string_view::npos) {
                break;
            }
            TRY(take(rest));
            rest.clear();
            bytes.remove_prefix(end + 1);
        }
    }
}

}  // namespace sluice::daemon
