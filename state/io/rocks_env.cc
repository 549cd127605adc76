#include "state/io/rocks_env.h"

#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sluice::state {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

IOStatus status_of(const model::Error& error) {
    switch (error.kind) {
        case model::ErrorKind::exhausted:
            return IOStatus::NoSpace(error.text);
        case model::ErrorKind::invalid:
            return IOStatus::NotFound(error.text);
        case model::ErrorKind::corrupt:
            return IOStatus::Corruption(error.text);
        default:
            return IOStatus::IOError(error.text);
    }
}

template <class T>
IOStatus status_of(const model::Result<T>& result) {
    return result ? IOStatus::OK() : status_of(result.error());
}

// We log; RocksDB does not.
class SilentLogger final : public rocksdb::Logger {
 public:
    SilentLogger() : Logger(rocksdb::InfoLogLevel::FATAL_LEVEL) {}
    using Logger::Logv;
    void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

class DiskSequentialFile final : public rocksdb::FSSequentialFile {
 public:
    explicit DiskSequentialFile(std::unique_ptr<ReadableFile> file) : file_(std::move(file)) {}
    IOStatus Read(std::size_t bytes, const IOOptions&, Slice* result, char* scratch,
                  IODebugContext*) override {
        const auto got = file_->read(position_, bytes, scratch);
        if (!got) {
            *result = Slice();
            return status_of(got);
        }
        position_ += *got;
        *result = Slice(scratch, *got);
        return IOStatus::OK();
    }
    IOStatus Skip(std::uint64_t bytes) override {
        position_ += bytes;
        return IOStatus::OK();
    }

 private:
    std::unique_ptr<ReadableFile> file_;
    std::uint64_t position_ = 0;
};

class DiskRandomFile final : public rocksdb::FSRandomAccessFile {
 public:
    explicit DiskRandomFile(std::unique_ptr<ReadableFile> file) : file_(std::move(file)) {}
    IOStatus Read(std::uint64_t offset, std::size_t bytes, const IOOptions&, Slice* result,
                  char* scratch, IODebugContext*) const override {
        const auto got = file_->read(offset, bytes, scratch);
        *result = Slice(scratch, got ? *got : 0);
        return status_of(got);
    }

 private:
    std::unique_ptr<ReadableFile> file_;
};

class DiskWritableFile final : public rocksdb::FSWritableFile {
 public:
    explicit DiskWritableFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}
    using FSWritableFile::Append;
    IOStatus Append(const Slice& bytes, const IOOptions&, IODebugContext*) override {
        return status_of(file_->append({bytes.data(), bytes.size()}));
    }
    IOStatus Close(const IOOptions&, IODebugContext*) override { return status_of(file_->flush()); }
    // RocksDB flushes after each MiB; waiting there would leave the ring idle half of the time.
    IOStatus Flush(const IOOptions&, IODebugContext*) override {
        return status_of(file_->append({}));
    }
    IOStatus Sync(const IOOptions&, IODebugContext*) override { return status_of(file_->sync()); }
    IOStatus RangeSync(std::uint64_t, std::uint64_t, const IOOptions&, IODebugContext*) override {
        return IOStatus::OK();  // only paces the write-back; ours never piles up
    }
    std::uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return file_->size(); }
    // Preallocation would ask for room that may not be there; nothing to do.
    void PrepareWrite(std::size_t, std::size_t, const IOOptions&, IODebugContext*) override {}

 private:
    std::unique_ptr<WritableFile> file_;
};

class DiskDirectory final : public rocksdb::FSDirectory {
 public:
    DiskDirectory(Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
    IOStatus Fsync(const IOOptions&, IODebugContext*) override {
        return status_of(disk_.sync_directory(path_));
    }
    IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
    Disk& disk_;
    const std::string path_;
};

class DiskFileLock final : public rocksdb::FileLock {
 public:
    explicit DiskFileLock(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

 private:
    const std::string path_;
};

class DiskFileSystem final : public rocksdb::FileSystem {
 public:
    explicit DiskFileSystem(Disk& disk) : disk_(disk) {}
    const char* Name() const override { return "SluiceDisk"; }

    IOStatus NewSequentialFile(const std::string& path, const FileOptions&,
                               std::unique_ptr<rocksdb::FSSequentialFile>* result,
                               IODebugContext*) override {
        auto file = disk_.open(path);
        if (file) {
            *result = std::make_unique<DiskSequentialFile>(std::move(*file));
        }
        return status_of(file);
    }
    IOStatus NewRandomAccessFile(const std::string& path, const FileOptions&,
                                 std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                 IODebugContext*) override {
        auto file = disk_.open(path);
        if (file) {
            *result = std::make_unique<DiskRandomFile>(std::move(*file));
        }
        return status_of(file);
    }
    IOStatus NewWritableFile(const std::string& path, const FileOptions&,
                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                             IODebugContext*) override {
        // What is there under this name may be linked from a checkpoint: a new file, never a
        // truncated old one.
        if (auto removed = disk_.remove(path); !removed) {
            return status_of(removed);
        }
        auto file = disk_.create(path);
        if (file) {
            *result = std::make_unique<DiskWritableFile>(std::move(*file));
        }
        return status_of(file);
    }
    IOStatus ReopenWritableFile(const std::string& path, const FileOptions&,
                                std::unique_ptr<rocksdb::FSWritableFile>* result,
                                IODebugContext*) override {
        auto file = disk_.append_to(path);
        if (file) {
            *result = std::make_unique<DiskWritableFile>(std::move(*file));
        }
        return status_of(file);
    }
    IOStatus NewDirectory(const std::string& path, const IOOptions&,
                          std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext*) override {
        const auto info = disk_.info(path);
        if (!info) {
            return status_of(info);
        }
        if (!info->directory) {
            return IOStatus::IOError(path + ": is not a directory");
        }
        *result = std::make_unique<DiskDirectory>(disk_, path);
        return IOStatus::OK();
    }
    IOStatus FileExists(const std::string& path, const IOOptions&, IODebugContext*) override {
        return status_of(disk_.info(path));
    }
    IOStatus GetChildren(const std::string& path, const IOOptions&,
                         std::vector<std::string>* result, IODebugContext*) override {
        auto names = disk_.list(path);
        if (names) {
            *result = std::move(*names);
        }
        return status_of(names);
    }
    IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
        return status_of(disk_.remove(path));
    }
    IOStatus Truncate(const std::string& path, std::size_t size, const IOOptions&,
                      IODebugContext*) override {
        return status_of(disk_.truncate(path, size));
    }
    IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
        if (disk_.info(path)) {
            return IOStatus::IOError(path + ": exists already");
        }
        return status_of(disk_.make_directory(path));
    }
    IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&,
                                IODebugContext*) override {
        return status_of(disk_.make_directory(path));
    }
    IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
        return status_of(disk_.remove(path));
    }
    IOStatus GetFileSize(const std::string& path, const IOOptions&, std::uint64_t* size,
                         IODebugContext*) override {
        const auto info = disk_.info(path);
        *size = info ? info->size : 0;
        return status_of(info);
    }
    IOStatus GetFileModificationTime(const std::string&, const IOOptions&, std::uint64_t*,
                                     IODebugContext*) override {
        return IOStatus::NotSupported("file times are nobody's business");
    }
    IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&,
                        IODebugContext*) override {
        return status_of(disk_.rename(from, to));
    }
    IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&,
                      IODebugContext*) override {
        return status_of(disk_.link(from, to));
    }
    IOStatus NumFileLinks(const std::string& path, const IOOptions&, std::uint64_t* count,
                          IODebugContext*) override {
        const auto info = disk_.info(path);
        *count = info ? info->links : 0;
        return status_of(info);
    }
    IOStatus AreFilesSame(const std::string& one, const std::string& other, const IOOptions&,
                          bool* same, IODebugContext*) override {
        const auto first = disk_.info(one);
        const auto second = disk_.info(other);
        *same = first && second && first->inode == second->inode;
        return first ? status_of(second) : status_of(first);
    }
    IOStatus LockFile(const std::string& path, const IOOptions&, rocksdb::FileLock** lock,
                      IODebugContext*) override {
        const std::lock_guard guard(mutex_);
        *lock = nullptr;
        if (!locked_.insert(path).second) {
            return IOStatus::IOError(path + ": in use by this process");
        }
        *lock = new DiskFileLock(path);
        return IOStatus::OK();
    }
    IOStatus UnlockFile(rocksdb::FileLock* lock, const IOOptions&, IODebugContext*) override {
        const std::unique_ptr<DiskFileLock> ours(static_cast<DiskFileLock*>(lock));
        const std::lock_guard guard(mutex_);
        locked_.erase(ours->path());
        return IOStatus::OK();
    }
    IOStatus GetTestDirectory(const IOOptions&, std::string*, IODebugContext*) override {
        return IOStatus::NotSupported("no test directory");
    }
    IOStatus NewLogger(const std::string&, const IOOptions&,
                       std::shared_ptr<rocksdb::Logger>* result, IODebugContext*) override {
        *result = std::make_shared<SilentLogger>();
        return IOStatus::OK();
    }
    IOStatus GetAbsolutePath(const std::string& path, const IOOptions&, std::string* result,
                             IODebugContext*) override {
        *result = path;  // ours are absolute
        return IOStatus::OK();
    }
    // Who knows how much is free is taken out of a full disk by a thread of RocksDB's own, which
    // clears the error while we may be ingesting (7.8 then dies of an assertion). A broken database
    // is left, and restored.
    IOStatus GetFreeSpace(const std::string&, const IOOptions&, std::uint64_t*,
                          IODebugContext*) override {
        return IOStatus::NotSupported("how much is free is not said");
    }
    IOStatus IsDirectory(const std::string& path, const IOOptions&, bool* is,
                         IODebugContext*) override {
        const auto info = disk_.info(path);
        *is = info && info->directory;
        return status_of(info);
    }

 private:
    Disk& disk_;
    std::mutex mutex_;
    std::set<std::string> locked_;  // guarded by mutex_
};

class RocksClock final : public rocksdb::SystemClockWrapper {
 public:
    explicit RocksClock(const model::Clock& clock)
        : SystemClockWrapper(rocksdb::SystemClock::Default()), clock_(clock) {}
    const char* Name() const override { return "SluiceClock"; }
    std::uint64_t NowMicros() override {
        return static_cast<std::uint64_t>(clock_.wall_ms()) * 1000;
    }
    std::uint64_t NowNanos() override { return static_cast<std::uint64_t>(clock_.steady_ns()); }
    std::uint64_t CPUMicros() override { return 0; }
    std::uint64_t CPUNanos() override { return 0; }
    void SleepForMicroseconds(int) override {}  // it only ever slows writers down
    rocksdb::Status GetCurrentTime(std::int64_t* seconds) override {
        *seconds = clock_.wall_ms() / 1000;
        return rocksdb::Status::OK();
    }

 private:
    const model::Clock& clock_;
};

}  // namespace

bool BackgroundSteps::step() {
    Work work{};
    {
        const std::lock_guard guard(mutex_);
        if (work_.empty()) {
            return false;
        }
        work = work_.front();
        work_.pop_front();
    }
    work.function(work.argument);
    return true;
}

std::size_t BackgroundSteps::waiting() const {
    const std::lock_guard guard(mutex_);
    return work_.size();
}

// The wrapped environment knows the file system; the base class must know it too, or databases
// would reach it by way of the old interface.
class DiskEnv final : public rocksdb::EnvWrapper {
 public:
    DiskEnv(const std::shared_ptr<rocksdb::FileSystem>& files, const RocksEnvOptions& options)
        : EnvWrapper(rocksdb::NewCompositeEnv(files)), steps_(options.steps) {
        file_system_ = files;
        system_clock_ = options.clock != nullptr ? std::make_shared<RocksClock>(*options.clock)
                                                 : rocksdb::SystemClock::Default();
    }
    const char* Name() const override { return "SluiceEnv"; }

    void Schedule(void (*function)(void*), void* argument, Priority priority, void* tag,
                  void (*unscheduled)(void*)) override {
        if (steps_ == nullptr) {
            return EnvWrapper::Schedule(function, argument, priority, tag, unscheduled);
        }
        const std::lock_guard guard(steps_->mutex_);
        steps_->work_.push_back({function, argument, tag, unscheduled, priority});
    }
    int UnSchedule(void* tag, Priority priority) override {
        if (steps_ == nullptr) {
            return EnvWrapper::UnSchedule(tag, priority);
        }
        std::vector<BackgroundSteps::Work> taken_back;
        {
            const std::lock_guard guard(steps_->mutex_);
            const auto stay = std::ranges::stable_partition(
                steps_->work_, [&](const BackgroundSteps::Work& work) {
                    return work.tag != tag || work.priority != priority;
                });
            taken_back.assign(stay.begin(), stay.end());
            steps_->work_.erase(stay.begin(), stay.end());
        }
        for (const BackgroundSteps::Work& work : taken_back) {
            if (work.unscheduled != nullptr) {
                work.unscheduled(work.argument);
            }
        }
        return static_cast<int>(taken_back.size());
    }
    void StartThread(void (*function)(void*), void* argument) override {
        if (steps_ == nullptr) {
            return EnvWrapper::StartThread(function, argument);
        }
        Schedule(function, argument, Priority::LOW, nullptr, nullptr);
    }
    void WaitForJoin() override {
        if (steps_ == nullptr) {
            return EnvWrapper::WaitForJoin();
        }
        while (steps_->step()) {
        }
    }
    unsigned int GetThreadPoolQueueLen(Priority priority) const override {
        if (steps_ == nullptr) {
            return EnvWrapper::GetThreadPoolQueueLen(priority);
        }
        const std::lock_guard guard(steps_->mutex_);
        return static_cast<unsigned>(
            std::ranges::count(steps_->work_, priority, &BackgroundSteps::Work::priority));
    }
    void SetBackgroundThreads(int number, Priority priority) override {
        if (steps_ == nullptr) {
            EnvWrapper::SetBackgroundThreads(number, priority);
        }
    }
    // None for the lowest priority: RocksDB then keeps bottommost compactions with the others.
    int GetBackgroundThreads(Priority priority) override {
        return steps_ == nullptr              ? EnvWrapper::GetBackgroundThreads(priority)
               : priority == Priority::BOTTOM ? 0
                                              : 1;
    }
    void IncBackgroundThreadsIfNeeded(int number, Priority priority) override {
        if (steps_ == nullptr) {
            EnvWrapper::IncBackgroundThreadsIfNeeded(number, priority);
        }
    }
    int ReserveThreads(int threads, Priority priority) override {
        return steps_ == nullptr ? EnvWrapper::ReserveThreads(threads, priority) : 0;
    }
    int ReleaseThreads(int threads, Priority priority) override {
        return steps_ == nullptr ? EnvWrapper::ReleaseThreads(threads, priority) : 0;
    }
    std::uint64_t NowMicros() override { return system_clock_->NowMicros(); }
    std::uint64_t NowNanos() override { return system_clock_->NowNanos(); }
    void SleepForMicroseconds(int micros) override { system_clock_->SleepForMicroseconds(micros); }
    rocksdb::Status GetCurrentTime(std::int64_t* seconds) override {
        return system_clock_->GetCurrentTime(seconds);
    }

 private:
    BackgroundSteps* const steps_;
};

std::unique_ptr<rocksdb::Env> make_rocks_env(Disk& disk, const RocksEnvOptions& options) {
    return std::make_unique<DiskEnv>(std::make_shared<DiskFileSystem>(disk), options);
}

void use_rocks_env(rocksdb::Env& env, rocksdb::DBOptions& options) {
    options.env = &env;
    options.info_log = std::make_shared<SilentLogger>();
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    // No mapping and no direct I/O of its own: what bytes do is decided in the Disk.
    options.allow_mmap_reads = false;
    options.allow_mmap_writes = false;
    options.use_direct_reads = false;
    options.use_direct_io_for_flush_and_compaction = false;
}

void prepare_for_steps(rocksdb::DBOptions& options) {
    options.max_file_opening_threads = 1;  // more: files are opened in threads
    options.max_subcompactions = 1;        // more: compactions split into threads
    options.max_bgerror_resume_count = 0;  // more: a thread tries to recover from errors
    options.skip_stats_update_on_db_open = true;
    options.avoid_unnecessary_blocking_io = false;  // true: deletions are put off to the background
    options.enable_thread_tracking = false;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
}

}  // namespace sluice::state
