#include "state/io/io_engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "state/io/descriptor.h"
#include "state/io/io_files.h"
#include "state/io/io_queue.h"
#include "state/model/invariant.h"

namespace sluice::state {
namespace {

constexpr unsigned kThreads = 4;

// Opening a pipe that nobody writes to would wait for ever, and what lies where a file should may
// be anything: snapshots come from elsewhere, too.
model::Result<Descriptor> open_to_read(const std::string& path) {
    struct stat about{};
    if (::stat(path.c_str(), &about) != 0) {
        return failed(path, errno);
    }
    if (!S_ISREG(about.st_mode)) {
        return model::corrupt(path + ": is no ordinary file");
    }
    Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!descriptor) {
        return failed(path, errno);
    }
    return descriptor;
}

class IoDisk final : public Disk {
 public:
    IoDisk(std::unique_ptr<Ring> ring, const DiskOptions& options, const model::Clock& clock)
        : options_(options), queue_(std::move(ring), options, clock) {}

    bool registered() const { return queue_.registered(); }

    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path, bool background) {
        Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
        if (!descriptor) {
            return failed(path, errno);
        }
        return std::make_unique<IoWriter>(queue_, path, std::move(descriptor), 0, options_.direct,
                                          background);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path,
                                                           bool background) {
        // Not O_APPEND: it would ignore the positions that we write at.
        Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        struct stat about{};
        if (!descriptor || ::fstat(descriptor.number(), &about) != 0) {
            return failed(path, errno);
        }
        return std::make_unique<IoWriter>(queue_, path, std::move(descriptor),
                                          static_cast<std::uint64_t>(about.st_size),
                                          options_.direct, background);
    }
    model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path, bool background) {
        TRY(descriptor, open_to_read(path));
        return std::make_unique<IoStream>(queue_, path, std::move(descriptor), options_.direct,
                                          background);
    }

    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
        return create(path, false);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
        return append_to(path, false);
    }
    model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path) override {
        return stream(path, false);
    }
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        TRY(descriptor, open_to_read(path));
        return std::make_unique<IoReader>(queue_, path, std::move(descriptor));
    }
    model::Status make_directory(const std::string& path) override {
        if (::mkdir(path.c_str(), 0750) == 0) {
            return {};
        }
        const int error = errno;
        struct stat about{};
        if (error == EEXIST && ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode)) {
            return {};
        }
        return failed(path, error);
    }
    model::Status rename(const std::string& from, const std::string& to) override {
        return ::rename(from.c_str(), to.c_str()) == 0 ? model::Status{}
                                                       : failed(from + " -> " + to, errno);
    }
    model::Status link(const std::string& from, const std::string& to) override {
        return ::link(from.c_str(), to.c_str()) == 0 ? model::Status{}
                                                     : failed(from + " -> " + to, errno);
    }
    model::Status remove(const std::string& path) override {
        return ::remove(path.c_str()) == 0 || errno == ENOENT ? model::Status{}
                                                              : failed(path, errno);
    }
    model::Status truncate(const std::string& path, std::uint64_t size) override {
        const Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!descriptor || ::ftruncate(descriptor.number(), static_cast<off_t>(size)) != 0) {
            return failed(path, errno);
        }
        const int result = queue_.sync(descriptor.number());
        return result == 0 ? model::Status{} : failed(path, -result);
    }
    model::Status sync_file(const std::string& path) override { return sync_files({&path, 1}); }
    model::Status sync_files(std::span<const std::string> paths) override {
        // As many at once as may be in flight: the device puts their flushes together.
        for (std::size_t at = 0; at < paths.size(); at += options_.depth) {
            const auto some =
                paths.subspan(at, std::min<std::size_t>(options_.depth, paths.size() - at));
            std::vector<Descriptor> descriptors;
            std::vector<IoRequest> requests(some.size());
            std::vector<int> results(some.size());
            for (std::size_t i = 0; i < some.size(); ++i) {
                descriptors.emplace_back(::open(some[i].c_str(), O_RDONLY | O_CLOEXEC));
                if (!descriptors.back()) {
                    return failed(some[i], errno);
                }
                requests[i].kind = IoRequest::Kind::data_sync;
                requests[i].descriptor = descriptors.back().number();
            }
            queue_.perform(requests, results);
            for (std::size_t i = 0; i < some.size(); ++i) {
                if (results[i] != 0) {
                    return failed(some[i], -results[i]);
                }
            }
        }
        return {};
    }
    model::Status sync_directory(const std::string& path) override {
        const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!descriptor) {
            return failed(path, errno);
        }
        const int result = queue_.sync(descriptor.number(), IoRequest::Kind::sync);
        return result == 0 ? model::Status{} : failed(path, -result);
    }
    model::Result<std::vector<std::string>> list(const std::string& path) override {
        const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
        if (directory == nullptr) {
            return failed(path, errno);
        }
        std::vector<std::string> names;
        errno = 0;
        while (const dirent* const entry = ::readdir(directory.get())) {
            const std::string name = entry->d_name;
            if (name != "." && name != "..") {
                names.push_back(name);
            }
            errno = 0;
        }
        if (errno != 0) {
            return failed(path, errno);
        }
        std::ranges::sort(names);
        return names;
    }
    model::Result<FileFacts> info(const std::string& path) override {
        struct stat about{};
        if (::lstat(path.c_str(), &about) != 0) {
            return failed(path, errno);
        }
        FileFacts info;
        info.symbolic = S_ISLNK(about.st_mode);
        info.size = static_cast<std::uint64_t>(about.st_size);
        info.directory = S_ISDIR(about.st_mode);
        info.inode = about.st_ino;
        info.device = about.st_dev;
        info.links = static_cast<std::uint32_t>(about.st_nlink);
        return info;
    }
    model::Result<DiskSpace> space(const std::string& path) override {
        struct statvfs about{};
        if (::statvfs(path.c_str(), &about) != 0) {
            return failed(path, errno);
        }
        return DiskSpace{about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize};
    }
    Disk& background() override { return background_; }
    void bound_background(std::uint64_t bytes_per_second) override {
        queue_.bound_background(bytes_per_second);
    }
    DiskStatistics statistics() const override { return queue_.statistics(); }
    std::string_view name() const override { return queue_.name(); }

 private:
    // The disk as background() shows it.
    class Background final : public Disk {
     public:
        explicit Background(IoDisk& disk) : disk_(disk) {}
        model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
            return disk_.create(path, true);
        }
        model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
            return disk_.append_to(path, true);
        }
        model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path) override {
            return disk_.stream(path, true);
        }
        model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
            return disk_.open(path);
        }
        model::Status make_directory(const std::string& path) override {
            return disk_.make_directory(path);
        }
        model::Status rename(const std::string& from, const std::string& to) override {
            return disk_.rename(from, to);
        }
        model::Status link(const std::string& from, const std::string& to) override {
            return disk_.link(from, to);
        }
        model::Status remove(const std::string& path) override { return disk_.remove(path); }
        model::Status truncate(const std::string& path, std::uint64_t size) override {
            return disk_.truncate(path, size);
        }
        model::Status sync_file(const std::string& path) override { return disk_.sync_file(path); }
        model::Status sync_files(std::span<const std::string> paths) override {
            return disk_.sync_files(paths);
        }
        model::Status sync_directory(const std::string& path) override {
            return disk_.sync_directory(path);
        }
        model::Result<std::vector<std::string>> list(const std::string& path) override {
            return disk_.list(path);
        }
        model::Result<FileFacts> info(const std::string& path) override { return disk_.info(path); }
        model::Result<DiskSpace> space(const std::string& path) override {
            return disk_.space(path);
        }
        void bound_background(std::uint64_t bytes_per_second) override {
            disk_.bound_background(bytes_per_second);
        }
        DiskStatistics statistics() const override { return disk_.statistics(); }
        std::string_view name() const override { return disk_.name(); }

     private:
        IoDisk& disk_;
    };

    const DiskOptions options_;
    Background background_{*this};
    IoQueue queue_;
};

}  // namespace

std::unique_ptr<Disk> make_disk(std::unique_ptr<Ring> ring, const DiskOptions& options,
                                const model::Clock& clock) {
    INVARIANT(options.depth >= 1 && options.depth <= 1024, "1..1024 operations are in flight");
    INVARIANT(options.buffers >= 2 && options.buffers <= 1024, "2..1024 buffers");
    return std::make_unique<IoDisk>(std::move(ring), options, clock);
}

model::Result<OpenedDisk> open_disk(const DiskOptions& options) {
    INVARIANT(options.depth >= 1 && options.depth <= 1024, "1..1024 operations are in flight");
    INVARIANT(options.buffers >= 2 && options.buffers <= 1024, "2..1024 buffers");
    static const model::SystemClock clock;
    try {
        std::string refusal = "as configured";
        if (options.backend != config::IoBackend::threads) {
            auto ring = open_uring(options.depth, options.lock_descriptor);
            if (ring) {
                auto disk = std::make_unique<IoDisk>(std::move(*ring), options, clock);
                std::string description = "disk: io_uring, " + std::to_string(options.depth) +
                                          " deep, " + std::to_string(options.buffers) +
                                          " buffers of 256 KiB";
                description += disk->registered()
                                   ? ", registered"
                                   : ", not registered: the limit of locked memory is too low";
                return OpenedDisk{std::move(disk), std::move(description)};
            }
            if (options.backend == config::IoBackend::io_uring) {
                return model::invalid("io = \"io_uring\": " + ring.error().text);
            }
            refusal = ring.error().text;
        }
        return OpenedDisk{
            std::make_unique<IoDisk>(make_thread_ring(kThreads), options, clock),
            "disk: " + std::to_string(kThreads) + " threads instead of io_uring: " + refusal};
    } catch (const std::system_error& error) {
        return model::exhausted(std::string("disk: no thread to be had: ") + error.what());
    } catch (const std::bad_alloc&) {
        return model::exhausted("disk: no memory for its buffers");
    }
}

}  // namespace sluice::state
