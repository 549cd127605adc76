// The disk over devices that are full or fail for real: file systems of its own on loop devices.
// Needs root and loop devices; where there are none, it says so and is skipped.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "state/io/io_engine.h"
#include "tests/unit/state/temporary_directory.h"

namespace sluice::state {
namespace {

using model::ErrorKind;

bool run(const std::string& command) { return std::system(command.c_str()) == 0; }

std::string noise(std::size_t size) {
    std::mt19937_64 random(size);
    std::string bytes(size, '\0');
    for (char& byte : bytes) {
        byte = static_cast<char>(random());
    }
    return bytes;
}

class Device : public testing::TestWithParam<config::IoBackend> {
 protected:
    // An ext4 in a sparse image of `megabytes`; in a tmpfs that holds only `really` of them when
    // that is not 0, so that the device fails where the file system still has room.
    void make(unsigned megabytes, unsigned really) {
        const std::string quiet = " >/dev/null 2>&1";
        const std::string images = folder_.path() + "/images";
        mount_ = folder_.path() + "/mount";
        const std::string image = images + "/disk";
        ASSERT_TRUE(run("mkdir " + images + " " + mount_));
        if (::geteuid() != 0) {
            return missing("needs root, to mount a file system of its own");
        }
        if (really > 0) {
            if (!run("mount -t tmpfs -o size=" + std::to_string(really) + "m tmpfs " + images +
                     quiet)) {
                return missing("this machine does not let us mount a tmpfs");
            }
            memory_ = images;
        }
        ASSERT_TRUE(run("truncate -s " + std::to_string(megabytes) + "M " + image));
        // Without a journal, so that the first thing to fail is what we write.
        ASSERT_TRUE(run("mkfs.ext4 -q -F -m 0 -O ^has_journal -E nodiscard " + image + quiet));
        mounted_ = run("mount -o loop " + image + " " + mount_ + quiet);
        if (!mounted_) {
            return missing("this machine has no loop device to mount");
        }
        DiskOptions options;
        options.backend = GetParam();
        auto opened = open_disk(options);
        if (!opened && GetParam() == config::IoBackend::io_uring) {
            return missing(opened.error().text);
        }
        ASSERT_TRUE(opened) << opened.error().text;
        disk_ = std::move(opened->disk);
    }
    // What CI lacks is an error; elsewhere the test says that it was skipped, and why.
    static void missing(const std::string& what) {
        if (std::getenv("CI") != nullptr) {
            FAIL() << what;
        }
        GTEST_SKIP() << what;
    }
    bool made() const { return !IsSkipped() && !HasFatalFailure(); }
    void TearDown() override {
        disk_.reset();
        if (mounted_) {
            run("umount -l " + mount_);
        }
        if (!memory_.empty()) {
            run("umount -l " + memory_);
        }
    }
    std::string at(const std::string& name) const { return mount_ + "/" + name; }

    TemporaryDirectory folder_;
    std::string mount_;
    std::string memory_;
    bool mounted_ = false;
    std::unique_ptr<Disk> disk_;
};

INSTANTIATE_TEST_SUITE_P(BackEnds, Device,
                         testing::Values(config::IoBackend::io_uring, config::IoBackend::threads),
                         [](const auto& backend) {
                             return backend.param == config::IoBackend::io_uring ? "io_uring"
                                                                                 : "threads";
                         });

TEST_P(Device, AFullFileSystemIsExhaustedAndRoomIsRoomAgain) {
    make(16, 0);
    if (!made()) {
        return;
    }
    const std::string half = noise(8 << 20);
    auto first = disk_->create(at("first"));
    ASSERT_TRUE((*first)->append(half));
    ASSERT_TRUE((*first)->sync());
    auto second = disk_->create(at("second"));
    static_cast<void>((*second)->append(half));
    const auto synced = (*second)->sync();
    ASSERT_FALSE(synced) << "16 MiB do not hold twice 8 and a file system";
    EXPECT_EQ(synced.error().kind, ErrorKind::exhausted) << synced.error().text;
    EXPECT_FALSE((*second)->append("x"));
    EXPECT_GE(disk_->statistics().errors, 1u);
    second->reset();
    ASSERT_TRUE(disk_->remove(at("second")));
    auto third = disk_->create(at("third"));
    const std::string less = noise(4 << 20);
    ASSERT_TRUE((*third)->append(less));
    ASSERT_TRUE((*third)->sync());
    EXPECT_TRUE(read_file(*disk_, at("third"), 64 << 20).value_or("") == less);
    EXPECT_TRUE(read_file(*disk_, at("first"), 64 << 20).value_or("") == half);
}

TEST_P(Device, ADeviceThatFailsIsAnErrorAndKillsTheFile) {
    make(64, 10);
    if (!made()) {
        return;
    }
    // The file system has room for them; the device loses what goes beyond 10 MiB.
    bool failed = false;
    for (int i = 0; i < 6 && !failed; ++i) {
        auto file = disk_->create(at(std::to_string(i)));
        if (!file) {
            break;
        }
        static_cast<void>((*file)->append(noise(4 << 20)));
        if (const auto synced = (*file)->sync(); !synced) {
            failed = true;
            EXPECT_FALSE((*file)->sync()) << "the second sync of the kernel lies";
            EXPECT_FALSE((*file)->append("x"));
        }
    }
    EXPECT_TRUE(failed);
    EXPECT_GE(disk_->statistics().errors, 1u);
}

TEST_P(Device, AReadThatFailsIsAnError) {
    make(64, 40);
    if (!made()) {
        return;
    }
    {
        auto file = disk_->create(at("f"));
        ASSERT_TRUE((*file)->append(noise(16 << 20)));
        ASSERT_TRUE((*file)->sync());
    }
    ASSERT_TRUE(run("truncate -s 2M " + memory_ + "/disk"));
    auto stream = disk_->stream(at("f"));
    ASSERT_TRUE(stream) << stream.error().text;
    model::Result<std::string_view> piece = std::string_view();
    do {
        piece = (*stream)->next();
    } while (piece && !piece->empty());
    ASSERT_FALSE(piece);
    EXPECT_EQ(piece.error().kind, ErrorKind::unavailable) << piece.error().text;
}

TEST_P(Device, AFileSystemThatTurnsReadOnlyIsAnError) {
    make(16, 0);
    if (!made()) {
        return;
    }
    auto file = disk_->create(at("f"));
    ASSERT_TRUE((*file)->append("kept"));
    ASSERT_TRUE((*file)->sync());
    file->reset();
    ASSERT_EQ(::mount(nullptr, mount_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    EXPECT_FALSE(disk_->create(at("g")));
    EXPECT_FALSE(disk_->append_to(at("f")));
    EXPECT_EQ(read_file(*disk_, at("f"), 100).value_or(""), "kept");
    ASSERT_EQ(::mount(nullptr, mount_.c_str(), nullptr, MS_REMOUNT, nullptr), 0);
    EXPECT_TRUE(write_file_durably(*disk_, at("g"), "again"));
}

}  // namespace
}  // namespace sluice::state
