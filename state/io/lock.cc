#include "state/io/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

namespace sluice::state {
namespace {

std::string words(int error) { return std::generic_category().message(error); }

// The pid that the holder wrote, or nothing if it has not come to that yet.
std::string owner_of(int descriptor) {
    std::array<char, 32> text{};
    const ssize_t got = ::pread(descriptor, text.data(), text.size() - 1, 0);
    std::string owner(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    owner.resize(std::min(owner.find_first_not_of("0123456789"), owner.size()));
    return owner;
}

// Whether the process that the file names lives and has this file open: then nothing is about to
// end that would give the lock up. False also where we are not allowed to know.
bool owner_lives(int descriptor) {
    const std::string owner = owner_of(descriptor);
    struct stat ours{};
    if (owner.empty() || owner == std::to_string(::getpid()) || ::fstat(descriptor, &ours) != 0) {
        return false;
    }
    std::error_code unseen;
    std::filesystem::directory_iterator files("/proc/" + owner + "/fd", unseen);
    for (; !unseen && files != std::filesystem::directory_iterator(); files.increment(unseen)) {
        struct stat its{};
        if (::stat(files->path().c_str(), &its) == 0 && its.st_ino == ours.st_ino &&
            its.st_dev == ours.st_dev) {
            return true;
        }
    }
    return false;
}

// False if somebody replaced the file between our open() and our flock(): we would then hold a lock
// that nobody else sees.
bool still_the_file(int descriptor, const std::string& path) {
    struct stat ours{};
    struct stat named{};
    return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
           ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

model::Status write_owner(int descriptor, const std::string& path) {
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(descriptor, 0) != 0 ||
        ::pwrite(descriptor, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
        // A full disk must not keep us from starting: the lock holds without the pid.
        if (errno != ENOSPC && errno != EDQUOT) {
            return model::invalid(path + ": cannot be written: " + words(errno));
        }
    }
    return {};
}

}  // namespace

StateLock::Patience StateLock::sleeping_patience() {
    Patience patience;
    patience.wait = [](model::DurationMs ms) {
        timespec left{ms / 1000, (ms % 1000) * 1'000'000};
        while (::nanosleep(&left, &left) != 0 && errno == EINTR) {
        }
        return true;
    };
    return patience;
}

model::Result<StateLock> StateLock::take(const std::string& state_directory,
                                         const Patience& patience) {
    const std::string path = state_directory + "/LOCK";
    model::DurationMs waited_ms = 0;
    std::optional<StateLock> lock;  // the open file, ours once it is locked
    for (;;) {
        if (!lock) {
            const int descriptor =
                ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
            if (descriptor < 0) {
                return model::invalid(path + ": cannot be opened for writing: " + words(errno));
            }
            lock = StateLock(descriptor, path);
        }
        if (::flock(lock->descriptor(), LOCK_EX | LOCK_NB) == 0) {
            if (!still_the_file(lock->descriptor(), path)) {
                lock.reset();
                continue;
            }
            TRY(write_owner(lock->descriptor(), path));
            return std::move(*lock);
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            return model::invalid(path + ": cannot be locked: " + words(errno));
        }
        if (waited_ms >= patience.total_ms ||
            (waited_ms >= patience.living_ms && owner_lives(lock->descriptor()))) {
            const std::string owner = owner_of(lock->descriptor());
            return model::fenced(path + ": held by " +
                                 (owner.empty() ? "another process" : "process " + owner) +
                                 "; one state directory serves one instance");
        }
        if (!patience.wait(patience.step_ms)) {
            return model::cancelled(path + ": stopped while waiting for it");
        }
        waited_ms += patience.step_ms;
    }
}

StateLock::StateLock(StateLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

StateLock& StateLock::operator=(StateLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
}

StateLock::~StateLock() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

}  // namespace sluice::state
