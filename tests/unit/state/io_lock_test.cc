#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>

#include "state/io/io_engine.h"
#include "state/io/lock.h"
#include "tests/unit/state/temporary_directory.h"

namespace sluice::state {
namespace {

StateLock::Patience no_patience() {
    StateLock::Patience patience;
    patience.total_ms = 0;
    patience.wait = [](model::DurationMs) { return true; };
    return patience;
}

// Another process that holds the lock until it is told to go.
class Holder {
 public:
    explicit Holder(const std::string& directory) {
        int ready[2];
        int go[2];
        EXPECT_EQ(::pipe(ready), 0);
        EXPECT_EQ(::pipe(go), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(go[1]);
            const auto lock = StateLock::take(directory, no_patience());
            char byte = lock ? '+' : '-';
            [[maybe_unused]] ssize_t done = ::write(ready[1], &byte, 1);
            done = ::read(go[0], &byte, 1);  // until the other end is closed
            ::_exit(0);
        }
        ::close(ready[1]);
        ::close(go[0]);
        char byte = 0;
        EXPECT_EQ(::read(ready[0], &byte, 1), 1);
        EXPECT_EQ(byte, '+');
        ::close(ready[0]);
        go_ = go[1];
    }
    ~Holder() { stop(); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    void stop() {
        if (go_ >= 0) {
            ::close(go_);
            go_ = -1;
            ::waitpid(pid_, nullptr, 0);
        }
    }
    void kill() {
        ::kill(pid_, SIGKILL);
        stop();
    }
    pid_t pid() const { return pid_; }

 private:
    pid_t pid_ = -1;
    int go_ = -1;
};

TEST(StateLock, TheSecondInstanceNamesTheFirst) {
    const TemporaryDirectory directory;
    const Holder holder(directory.path());
    const auto refused = StateLock::take(directory.path(), no_patience());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, model::ErrorKind::fenced);
    EXPECT_NE(refused.error().text.find("process " + std::to_string(holder.pid())),
              std::string::npos)
        << refused.error().text;
    EXPECT_NE(refused.error().text.find(directory.path() + "/LOCK"), std::string::npos);
}

TEST(StateLock, IsFreeWhenItsProcessDies) {
    const TemporaryDirectory directory;
    Holder holder(directory.path());
    EXPECT_FALSE(StateLock::take(directory.path(), no_patience()));
    holder.kill();
    const auto lock = StateLock::take(directory.path(), no_patience());
    ASSERT_TRUE(lock) << lock.error().text;
    std::ifstream file(directory.path() + "/LOCK");
    std::string pid;
    std::getline(file, pid);
    EXPECT_EQ(pid, std::to_string(::getpid()));
}

TEST(StateLock, WaitsInStepsForTheHolderToGo) {
    const TemporaryDirectory directory;
    Holder holder(directory.path());
    StateLock::Patience patience;
    int waits = 0;
    patience.wait = [&](model::DurationMs ms) {
        EXPECT_EQ(ms, 50);
        if (++waits == 7) {
            holder.stop();
        }
        return true;
    };
    EXPECT_TRUE(StateLock::take(directory.path(), patience));
    EXPECT_EQ(waits, 7);
}

model::DurationMs waited_for(const std::string& directory) {
    StateLock::Patience patience;
    model::DurationMs waited = 0;
    patience.wait = [&](model::DurationMs ms) {
        waited += ms;
        return true;
    };
    EXPECT_FALSE(StateLock::take(directory, patience));
    return waited;
}

TEST(StateLock, GivesUpSoonWhereItsOwnerLives) {
    const TemporaryDirectory directory;
    const Holder holder(directory.path());
    EXPECT_EQ(waited_for(directory.path()), 1'000);
}

TEST(StateLock, WaitsTenSecondsForTheLastWritesOfADeadOwner) {
    const TemporaryDirectory directory;
    const Holder holder(directory.path());
    // As if the kernel alone still held it: nobody of that number lives, or another one does.
    for (const pid_t owner : {pid_t{0x7fffffff}, ::getppid()}) {
        std::ofstream(directory.path() + "/LOCK") << owner << "\n";
        EXPECT_EQ(waited_for(directory.path()), 10'000);
    }
}

TEST(StateLock, StopsWaitingWhenWeAreStopping) {
    const TemporaryDirectory directory;
    const Holder holder(directory.path());
    StateLock::Patience patience;
    patience.wait = [](model::DurationMs) { return false; };
    const auto refused = StateLock::take(directory.path(), patience);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, model::ErrorKind::cancelled);
}

TEST(StateLock, AReplacedFileIsNotTheLock) {
    // Somebody removes the file while we wait for it: what we get then is a lock on a file without
    // a name, and the next one would get another.
    const TemporaryDirectory directory;
    const std::string path = directory.path() + "/LOCK";
    Holder holder(directory.path());
    StateLock::Patience patience;
    patience.wait = [&](model::DurationMs) {
        ::unlink(path.c_str());
        holder.stop();
        return true;
    };
    const auto lock = StateLock::take(directory.path(), patience);
    ASSERT_TRUE(lock) << lock.error().text;
    struct stat ours{};
    struct stat named{};
    ASSERT_EQ(::fstat(lock->descriptor(), &ours), 0);
    ASSERT_EQ(::stat(path.c_str(), &named), 0);
    EXPECT_EQ(ours.st_ino, named.st_ino);
}

TEST(StateLock, ADirectoryThatIsNotThereIsInvalid) {
    const auto refused = StateLock::take("/nonexistent/state", no_patience());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, model::ErrorKind::invalid);
}

TEST(StateLock, TheFileStays) {
    const TemporaryDirectory directory;
    {
        ASSERT_TRUE(StateLock::take(directory.path(), no_patience()));
    }
    EXPECT_EQ(::access((directory.path() + "/LOCK").c_str(), F_OK), 0);
    EXPECT_TRUE(StateLock::take(directory.path(), no_patience()));
}

TEST(StateLock, OutlivesItsDescriptorInTheRing) {
    const TemporaryDirectory directory;
    DiskOptions options;
    options.backend = config::IoBackend::io_uring;
    auto lock = StateLock::take(directory.path(), no_patience());
    ASSERT_TRUE(lock);
    options.lock_descriptor = lock->descriptor();
    auto opened = open_disk(options);
    if (!opened) {
        return;  // no ring, so no writes that outlive us; the engine's test says so aloud
    }
    {
        const StateLock gone = std::move(*lock);
    }
    const auto refused = StateLock::take(directory.path(), no_patience());
    ASSERT_FALSE(refused) << "our descriptor is closed, but the ring may still write";
    EXPECT_EQ(refused.error().kind, model::ErrorKind::fenced);
    opened->disk.reset();
    // The kernel takes a ring down in its own time; that is what the patience is for.
    EXPECT_TRUE(StateLock::take(directory.path(), StateLock::sleeping_patience()));
}

}  // namespace
}  // namespace sluice::state
