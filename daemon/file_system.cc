#include "daemon/file_system.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sluice::daemon {
namespace {

// Of linux/magic.h; those that Debian 12's lacks are spelled out.
struct Doubtful {
    unsigned long magic;
    const char* name;
    const char* why;
};
constexpr std::array kDoubtful{
    Doubtful{TMPFS_MAGIC, "tmpfs", "it lives in memory and is gone with the power"},
    Doubtful{RAMFS_MAGIC, "ramfs", "it lives in memory and is gone with the power"},
    Doubtful{OVERLAYFS_SUPER_MAGIC, "overlay",
             "a container's own layer is gone with the container; use a volume"},
    Doubtful{NFS_SUPER_MAGIC, "NFS", "locks and durable writes are the server's word"},
    Doubtful{0xFF534D42, "CIFS", "locks and durable writes are the server's word"},
    Doubtful{0xFE534D42, "SMB", "locks and durable writes are the server's word"},
    Doubtful{0x517B, "SMB", "locks and durable writes are the server's word"},
    Doubtful{0x564C, "NCP", "locks and durable writes are the server's word"},
    Doubtful{0x5346414F, "AFS", "locks and durable writes are the server's word"},
    Doubtful{0x4D44, "FAT", "it has no hard links"},
    Doubtful{0x2011BAB0, "exFAT", "it has no hard links"},
    Doubtful{0x00C36400, "Ceph", "locks and durable writes are the servers' word"},
    Doubtful{V9FS_MAGIC, "9p", "locks and durable writes are the host's word"},
    Doubtful{0x65735546, "FUSE", "what a durable write means is up to its program"},
};

// With every symbolic link resolved, as far as it exists.
std::filesystem::path resolved(const std::string& directory) {
    std::error_code error;
    auto path = std::filesystem::weakly_canonical(directory, error);
    return error ? std::filesystem::path(directory) : path;
}

std::filesystem::path existing(std::filesystem::path path) {
    std::error_code error;
    while (!std::filesystem::exists(path, error) && path != path.parent_path()) {
        path = path.parent_path();
    }
    return path;
}

bool inside(const std::filesystem::path& path, const std::filesystem::path& folder) {
    const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
    return end == folder.end();
}

}  // namespace

std::string doubt_about_type(std::uint64_t type) {
    const auto magic = type & 0xFFFFFFFFUL;
    const auto* found = std::find_if(kDoubtful.begin(), kDoubtful.end(),
                                     [&](const Doubtful& one) { return one.magic == magic; });
    return found == kDoubtful.end()
               ? std::string()
               : "its file system is " + std::string(found->name) + ": " + found->why;
}

std::vector<std::string> doubts_about(const std::string& directory) {
    std::vector<std::string> doubts;
    const auto path = resolved(directory);
    std::vector<std::string> temporary{"/tmp", "/var/tmp", "/dev/shm"};
    if (const char* given = std::getenv("TMPDIR"); given != nullptr && *given == '/') {
        temporary.emplace_back(given);
    }
    for (const std::string& folder : temporary) {
        if (inside(path, resolved(folder))) {
            doubts.push_back("it is below " + folder + ", where others clean up");
            break;
        }
    }
    struct statfs about{};
    if (statfs(existing(path).c_str(), &about) == 0) {
        if (std::string doubt = doubt_about_type(static_cast<std::uint64_t>(about.f_type));
            !doubt.empty()) {
            doubts.push_back(std::move(doubt));
        }
    }
    return doubts;
}

model::Status check_one_file_system(const std::string& state_directory) {
    struct stat root{};
    if (stat(state_directory.c_str(), &root) != 0) {
        return model::invalid(state_directory + ": " + std::strerror(errno));
    }
    for (const char* part : {"checkpoints", "savepoints", "inputs", "journal", "live"}) {
        const std::string path = state_directory + "/" + part;
        struct stat about{};
        if (stat(path.c_str(), &about) == 0 && about.st_dev != root.st_dev) {
            return model::invalid(
                path + " lies on another file system than " + state_directory +
                ": a state is joined by hard links and must lie on one" +
                (part == std::string("savepoints")
                     ? "; [savepoint] directory = \"…\" keeps savepoints elsewhere"
                     : ""));
        }
    }
    return {};
}

Ballast::Ballast(std::string state_directory, std::uint64_t reserve_bytes)
    : path_(std::move(state_directory) + "/BALLAST"), reserve_bytes_(reserve_bytes) {}

std::uint64_t Ballast::size_for(std::uint64_t reserve_bytes) {
    return std::min<std::uint64_t>(reserve_bytes / 2, 64ULL << 20);
}

void Ballast::hold(std::uint64_t free_bytes) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t size = gone_ ? 0 : size_for(reserve_bytes_);
    struct stat about{};
    if (size == 0 ||
        (lstat(path_.c_str(), &about) == 0 && static_cast<std::uint64_t>(about.st_size) == size)) {
        return;
    }
    if (free_bytes < reserve_bytes_ + size) {
        return;
    }
    unlink(path_.c_str());
    const int file =
        open(path_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return;
    }
    // Blocks that are only asked for can be given to somebody else: they are allocated.
    const bool held = posix_fallocate(file, 0, static_cast<off_t>(size)) == 0;
    close(file);
    if (!held) {
        unlink(path_.c_str());
    }
}

void Ballast::let_go() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(gone_, true)) {
        return;
    }
    if (unlink(path_.c_str()) != 0) {
        return;
    }
    // The blocks of a removed file are free once its file system has written that down.
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    const int file = open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (file >= 0) {
        syncfs(file);
        close(file);
    }
}

}  // namespace sluice::daemon
