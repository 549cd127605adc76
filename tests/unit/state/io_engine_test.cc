#include "state/io/io_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <functional>
#include <future>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "tests/unit/state/temporary_directory.h"

namespace sluice::state {
namespace {

using config::IoBackend;
using model::ErrorKind;

std::string noise(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::string bytes(size, '\0');
    for (char& byte : bytes) {
        byte = static_cast<char>(random());
    }
    return bytes;
}

// As another program sees it.
std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::uint64_t count(const DiskLatency& latency) {
    return std::accumulate(latency.counts.begin(), latency.counts.end(), std::uint64_t{0});
}

// Where io_uring is refused (a container), the thread pool is what there is to test.
std::vector<IoBackend> back_ends() {
    std::vector<IoBackend> there{IoBackend::threads};
    if (const auto ring = open_uring(4, -1)) {
        there.push_back(IoBackend::io_uring);
    } else {
        fprintf(stderr, "Only the thread pool is tested: %s.\n", ring.error().text.c_str());
    }
    return there;
}

// Both real back ends: same protocol, same results.
class DiskOf : public testing::TestWithParam<IoBackend> {
 protected:
    void SetUp() override { open({}); }
    void open(DiskOptions options) {
        disk_.reset();
        options.backend = GetParam();
        auto opened = open_disk(options);
        ASSERT_TRUE(opened) << opened.error().text;
        disk_ = std::move(opened->disk);
        description_ = opened->description;
    }
    std::string at(const std::string& name) const { return directory_.path() + "/" + name; }

    TemporaryDirectory directory_;
    std::unique_ptr<Disk> disk_;
    std::string description_;
};

INSTANTIATE_TEST_SUITE_P(BackEnds, DiskOf, testing::ValuesIn(back_ends()), [](const auto& backend) {
    return backend.param == IoBackend::io_uring ? "io_uring" : "threads";
});

TEST_P(DiskOf, SaysWhatItIs) {
    const bool uring = GetParam() == IoBackend::io_uring;
    EXPECT_EQ(disk_->name(), uring ? "io_uring" : "threads");
    EXPECT_NE(description_.find(uring ? "io_uring, 32 deep" : "4 threads instead of io_uring"),
              std::string::npos)
        << description_;
}

TEST_P(DiskOf, OnlyTheNamedThreadsAreThere) {
    const std::string name = at("f");
    auto file = disk_->create(name);
    ASSERT_TRUE((*file)->append(noise(3 << 20, 1)));
    ASSERT_TRUE((*file)->sync());
    std::multiset<std::string> names;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string comm = content(task.path().string() + "/comm");
        if (comm.starts_with("io")) {  // the kernel's own helpers are iou-wrk-*
            names.insert(comm.substr(0, comm.size() - 1));
        }
    }
    std::erase_if(names, [](const std::string& n) { return n.starts_with("iou-wrk"); });
    const std::multiset<std::string> expected =
        GetParam() == IoBackend::io_uring
            ? std::multiset<std::string>{"io"}
            : std::multiset<std::string>{"io", "io-1", "io-2", "io-3", "io-4"};
    EXPECT_EQ(names, expected);
}

TEST_P(DiskOf, BytesComeBackWhateverTheSizesAndFlushes) {
    for (const bool direct : {true, false}) {
        DiskOptions options;
        options.direct = direct;
        options.buffers = 3;
        open(options);
        for (std::uint64_t seed = 0; seed < 14; ++seed) {
            std::mt19937_64 random(seed);
            const std::string name = at(std::to_string(direct) + std::to_string(seed));
            const std::string bytes = noise(random() % (seed < 9 ? 300'000 : 2'000'000), seed);
            std::size_t done = 0;
            auto file = disk_->create(name);
            ASSERT_TRUE(file) << file.error().text;
            while (done < bytes.size()) {
                const std::size_t most = std::size_t{1} << (random() % 21);
                const std::size_t take =
                    std::min<std::size_t>(1 + random() % most, bytes.size() - done);
                ASSERT_TRUE((*file)->append(std::string_view(bytes).substr(done, take)));
                done += take;
                EXPECT_EQ((*file)->size(), done);
                switch (random() % 24) {
                    case 0:
                        ASSERT_TRUE((*file)->flush());
                        ASSERT_TRUE(content(name) == bytes.substr(0, done)) << "seed " << seed;
                        break;
                    case 1:
                        ASSERT_TRUE((*file)->sync());
                        break;
                    case 2:
                        file->reset();
                        file = disk_->append_to(name);
                        ASSERT_TRUE(file);
                        EXPECT_EQ((*file)->size(), done);
                        break;
                    default:
                        break;
                }
            }
            ASSERT_TRUE((*file)->sync());
            ASSERT_TRUE(content(name) == bytes) << "seed " << seed;
            auto read = read_file(*disk_, name, 1 << 30);
            ASSERT_TRUE(read);
            ASSERT_TRUE(*read == bytes) << "seed " << seed;
        }
    }
}

TEST_P(DiskOf, ReadsAnywhere) {
    const std::string bytes = noise(1'000'003, 5);
    {
        auto file = disk_->create(at("f"));
        ASSERT_TRUE((*file)->append(bytes));
    }  // closed, not synced: the bytes are with the kernel
    auto file = disk_->open(at("f"));
    ASSERT_TRUE(file);
    EXPECT_EQ((*file)->size(), bytes.size());
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) {
        const std::size_t offset = random() % (bytes.size() + 1000);
        const std::size_t length = random() % (i % 2 == 0 ? 5'000 : 900'000);
        std::string got(length, '\0');
        auto read = (*file)->read(offset, length, got.data());
        ASSERT_TRUE(read);
        got.resize(*read);
        EXPECT_TRUE(got == (offset < bytes.size() ? bytes.substr(offset, length) : ""));
    }
}

std::string read_stream(Disk& disk, const std::string& path) {
    std::string bytes;
    auto stream = disk.stream(path);
    EXPECT_TRUE(stream) << stream.error().text;
    while (stream) {
        const auto piece = (*stream)->next();
        EXPECT_TRUE(piece) << piece.error().text;
        if (!piece || piece->empty()) {
            break;
        }
        bytes += *piece;
    }
    return bytes;
}

TEST_P(DiskOf, TheBackgroundWritesAndReadsTheSameBytes) {
    const std::string bytes = noise(3'000'001, 7);
    disk_->bound_background(1ull << 40);
    {
        auto file = disk_->background().create(at("copy"));
        ASSERT_TRUE(file) << file.error().text;
        ASSERT_TRUE((*file)->append(bytes));
        ASSERT_TRUE((*file)->sync());
    }
    EXPECT_TRUE(read_stream(disk_->background(), at("copy")) == bytes);
    EXPECT_TRUE(read_stream(*disk_, at("copy")) == bytes);
}

TEST_P(DiskOf, StreamsWhateverTheSize) {
    for (const bool direct : {true, false}) {
        DiskOptions options;
        options.direct = direct;
        options.read_buffers = 2;  // the rest comes from the heap
        open(options);
        for (const std::size_t size : {0u, 1u, 4095u, 4096u, 131072u, 262143u, 262144u, 262145u,
                                       1048576u, 1048577u, 3000001u}) {
            const std::string name = at(std::to_string(direct) + "-" + std::to_string(size));
            const std::string bytes = noise(size, size);
            {
                auto file = disk_->create(name);
                ASSERT_TRUE((*file)->append(bytes));
                ASSERT_TRUE((*file)->sync());
            }
            ASSERT_TRUE(read_stream(*disk_, name) == bytes) << size;
        }
        EXPECT_EQ(disk_->statistics().errors, 0u);
        EXPECT_EQ(disk_->statistics().in_flight, 0u);
    }
    EXPECT_EQ(disk_->stream(at("no")).error().kind, ErrorKind::invalid);
}

TEST_P(DiskOf, AStreamMayBeLeftAtAnyTime) {
    {
        auto file = disk_->create(at("f"));
        ASSERT_TRUE((*file)->append(noise(3'000'000, 1)));
    }
    for (int pieces = 0; pieces < 6; ++pieces) {
        auto stream = disk_->stream(at("f"));
        for (int i = 0; i < pieces; ++i) {
            ASSERT_TRUE((*stream)->next());
        }
    }
    EXPECT_EQ(disk_->statistics().in_flight, 0u);
}

// The ring's table has 128 places, and a big file takes two.
TEST_P(DiskOf, MoreFilesThanTheRingHasPlacesFor) {
    constexpr int kFiles = 150;
    std::vector<std::unique_ptr<WritableFile>> files;
    for (int i = 0; i < kFiles; ++i) {
        auto file = disk_->create(at(std::to_string(i)));
        ASSERT_TRUE(file) << file.error().text;
        ASSERT_TRUE((*file)->append(noise(i % 10 == 0 ? 400'000 : 1000, 7)));
        ASSERT_TRUE((*file)->flush());
        files.push_back(std::move(*file));
    }
    for (int round = 0; round < 3; ++round) {  // places come back
        for (int i = 0; i < kFiles; ++i) {
            ASSERT_TRUE(files[static_cast<std::size_t>(i)]->append("more"));
            files[static_cast<std::size_t>(i)]->begin_sync();
        }
        for (int i = 0; i < kFiles; ++i) {
            ASSERT_TRUE(files[static_cast<std::size_t>(i)]->sync());
            if (i % 3 == round) {
                files[static_cast<std::size_t>(i)].reset();
                auto again = disk_->append_to(at(std::to_string(i)));
                ASSERT_TRUE(again);
                files[static_cast<std::size_t>(i)] = std::move(*again);
            }
        }
    }
    files.clear();
    for (int i = 0; i < kFiles; ++i) {
        ASSERT_TRUE(content(at(std::to_string(i))) ==
                    noise(i % 10 == 0 ? 400'000 : 1000, 7) + "moremoremore");
    }
}

TEST_P(DiskOf, ManyFilesBecomeDurableAtOnce) {
    std::vector<std::string> paths;
    for (int i = 0; i < 100; ++i) {
        paths.push_back(at(std::to_string(i)));
        auto file = disk_->create(paths.back());
        ASSERT_TRUE((*file)->append("bytes"));
    }
    const auto before = disk_->statistics().syncs;
    EXPECT_TRUE(disk_->sync_files(paths));
    EXPECT_TRUE(disk_->sync_directory(directory_.path()));
    EXPECT_EQ(disk_->statistics().syncs, before + 101);
    paths.push_back(at("no"));
    const auto missing = disk_->sync_files(paths);
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().text.find(at("no")), std::string::npos);
}

TEST(DiskLatency, CountsByBounds) {
    DiskLatency latency;
    EXPECT_EQ(latency.quantile_us(0.5), 0u);
    for (const std::uint64_t us : {0u, 50u, 51u, 100u, 10'000'000u, 10'000'001u}) {
        latency.add(us);
    }
    EXPECT_EQ(latency.counts.front(), 2u);
    EXPECT_EQ(latency.counts[1], 2u);
    EXPECT_EQ(latency.counts[15], 1u);
    EXPECT_EQ(latency.counts.back(), 1u);
    EXPECT_EQ(latency.sum_us, 20'000'202u);
    EXPECT_EQ(latency.quantile_us(0.1), 50u);
    EXPECT_EQ(latency.quantile_us(0.5), 100u);
    EXPECT_EQ(latency.quantile_us(1), 10'000'000u);
}

TEST_P(DiskOf, MoreFilesThanBuffersDoNotWaitForEachOther) {
    DiskOptions options;
    options.buffers = 2;
    open(options);
    std::vector<std::unique_ptr<WritableFile>> files;
    const std::string half = noise(100'000, 1);
    for (int i = 0; i < 8; ++i) {
        auto file = disk_->create(at(std::to_string(i)));
        ASSERT_TRUE((*file)->append(half));  // too big for a stage of its own: holds a buffer
        files.push_back(std::move(*file));
    }
    for (auto& file : files) {
        ASSERT_TRUE(file->append(half));
        ASSERT_TRUE(file->sync());
    }
    for (int i = 0; i < 8; ++i) {
        EXPECT_TRUE(content(at(std::to_string(i))) == half + half);
    }
}

TEST_P(DiskOf, ManyThreadsAtOnce) {
    DiskOptions options;
    options.buffers = 4;
    options.depth = 3;
    open(options);
    std::atomic<int> good{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&, t] {
                for (int i = 0; i < 6; ++i) {
                    const std::string name = at(std::to_string(t) + "-" + std::to_string(i));
                    const std::string bytes =
                        noise(700'000, static_cast<std::uint64_t>(t * 10 + i));
                    auto file = disk_->create(name);
                    if (file && (*file)->append(bytes) && (*file)->sync() &&
                        read_file(*disk_, name, 1 << 30).value_or("") == bytes) {
                        ++good;
                    }
                }
            });
        }
    }
    EXPECT_EQ(good, 24);
    const DiskStatistics statistics = disk_->statistics();
    EXPECT_EQ(statistics.errors, 0u);
    EXPECT_EQ(statistics.in_flight, 0u);
    EXPECT_EQ(statistics.submitted, statistics.completed);
    EXPECT_EQ(statistics.written_bytes, 24u * 700'000);
    EXPECT_EQ(statistics.syncs, 24u);
    EXPECT_EQ(count(statistics.write) + count(statistics.read) + count(statistics.sync),
              statistics.completed);
    EXPECT_EQ(count(statistics.sync), 24u);
    EXPECT_GE(count(statistics.write), 24u);
    EXPECT_GT(statistics.sync.sum_us, 0u);
}

TEST_P(DiskOf, AFullDeviceIsExhausted) {
    for (const std::size_t size : {std::size_t{10}, std::size_t{400'000}}) {
        auto file = disk_->append_to("/dev/full");
        ASSERT_TRUE(file) << file.error().text;
        const bool appended = (*file)->append(noise(size, 1)).has_value();
        const auto flushed = (*file)->flush();
        ASSERT_FALSE(flushed) << appended;
        EXPECT_EQ(flushed.error().kind, ErrorKind::exhausted);
        EXPECT_FALSE((*file)->append("x"));
        EXPECT_FALSE((*file)->sync());
    }
    EXPECT_GE(disk_->statistics().errors, 2u);
}

// The limit on file sizes cuts a write short, as a full tmpfs does.
TEST_P(DiskOf, AShortWriteIsExhaustedAndKillsTheFile) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    for (const bool direct : {true, false}) {
        DiskOptions options;
        options.direct = direct;
        open(options);
        rlimit limit = before;
        limit.rlim_cur = 307'200;
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
        const std::string name = at(direct ? "direct" : "cached");
        auto file = disk_->create(name);
        static_cast<void>((*file)->append(noise(1 << 20, 1)));
        const auto synced = (*file)->sync();
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
        ASSERT_FALSE(synced);
        EXPECT_EQ(synced.error().kind, ErrorKind::exhausted) << synced.error().text;
        EXPECT_FALSE((*file)->sync()) << "there is room now; the file is dead all the same";
        EXPECT_FALSE((*file)->append("x"));
        auto other = disk_->create(name + "2");
        ASSERT_TRUE((*other)->append(noise(1 << 20, 1)));
        EXPECT_TRUE((*other)->sync()) << "another file lives";
    }
}

TEST_P(DiskOf, NamesAndDirectories) {
    EXPECT_TRUE(disk_->make_directory(at("d")));
    EXPECT_TRUE(disk_->make_directory(at("d"))) << "exists already: success";
    {
        auto file = disk_->create(at("d/b"));
        ASSERT_TRUE((*file)->append("bytes"));
        ASSERT_TRUE((*file)->sync());
    }
    EXPECT_EQ(disk_->create(at("d/b")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->make_directory(at("d/b")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->create(at("no/b")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->open(at("no")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->append_to(at("no")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->info(at("no")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->list(at("no")).error().kind, ErrorKind::invalid);
    EXPECT_EQ(disk_->rename(at("no"), at("x")).error().kind, ErrorKind::invalid);
    EXPECT_FALSE(disk_->sync_directory(at("no")));
    EXPECT_FALSE(disk_->space(at("no")));
    ASSERT_TRUE(disk_->link(at("d/b"), at("d/a")));
    EXPECT_EQ(disk_->link(at("d/b"), at("d/a")).error().kind, ErrorKind::invalid);
    EXPECT_TRUE(disk_->sync_directory(at("d")));
    EXPECT_EQ(*disk_->list(at("d")), (std::vector<std::string>{"a", "b"}));
    const auto info = disk_->info(at("d/a"));
    ASSERT_TRUE(info);
    EXPECT_EQ(info->size, 5u);
    EXPECT_EQ(info->links, 2u);
    EXPECT_EQ(info->inode, disk_->info(at("d/b"))->inode);
    EXPECT_FALSE(info->directory);
    EXPECT_TRUE(disk_->info(at("d"))->directory);
    ASSERT_TRUE(disk_->rename(at("d/a"), at("d/c")));
    EXPECT_FALSE(disk_->info(at("d/a")));
    ASSERT_TRUE(disk_->truncate(at("d/c"), 2));
    EXPECT_EQ(content(at("d/b")), "by");
    EXPECT_FALSE(disk_->remove(at("d"))) << "not empty";
    EXPECT_TRUE(disk_->remove(at("d/no"))) << "gone already";
    EXPECT_TRUE(remove_tree(*disk_, at("d")));
    EXPECT_TRUE(remove_tree(*disk_, at("d")));
    EXPECT_TRUE(disk_->list(directory_.path())->empty());
    const auto space = disk_->space(directory_.path());
    ASSERT_TRUE(space);
    EXPECT_GT(space->free_bytes, 0u);
    EXPECT_GE(space->total_bytes, space->free_bytes);
}

TEST_P(DiskOf, OnlyOrdinaryFilesAreRead) {
    ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
    ASSERT_TRUE(disk_->make_directory(at("folder")));
    for (const char* name : {"pipe", "folder"}) {
        const auto opened = disk_->open(at(name));
        ASSERT_FALSE(opened) << name;
        EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
        EXPECT_EQ(opened.error().text, at(name) + ": is no ordinary file");
        const auto stream = disk_->stream(at(name));
        ASSERT_FALSE(stream) << name;
        EXPECT_EQ(stream.error().kind, ErrorKind::corrupt);
    }
}

TEST_P(DiskOf, WritesAFileDurably) {
    ASSERT_TRUE(write_file_durably(*disk_, at("f"), "one"));
    {
        ASSERT_TRUE(disk_->create(at("f.partial")));
    }  // a process died here once
    ASSERT_TRUE(write_file_durably(*disk_, at("f"), "two"));
    EXPECT_EQ(content(at("f")), "two");
    EXPECT_EQ(disk_->list(directory_.path())->size(), 1u);
    EXPECT_EQ(read_file(*disk_, at("f"), 2).error().kind, ErrorKind::corrupt) << "larger than any";
}

TEST(OpenDisk, AutomaticNamesItsChoice) {
    auto opened = open_disk({});
    ASSERT_TRUE(opened) << opened.error().text;
    EXPECT_NE(opened->description.find("io_uring"), std::string::npos);
}

// As a container's seccomp profile or an old kernel does. For the rest of this process.
void refuse_system_call(unsigned number, int error) {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{std::size(code), code};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(9);
    }
}

void open_refused(unsigned number, int error) {
    refuse_system_call(number, error);
    DiskOptions forced;
    forced.backend = IoBackend::io_uring;
    const auto refused = open_disk(forced);
    const auto opened = open_disk({});
    const bool right = !refused && refused.error().kind == ErrorKind::invalid && opened &&
                       opened->disk->name() == "threads" &&
                       write_file_durably(*opened->disk, testing::TempDir() + "refused", "x");
    fprintf(stderr, "%s\n", opened ? opened->description.c_str() : "none");
    _exit(right ? 0 : 1);
}

TEST(OpenDiskDeathTest, RefusedIoUringIsTheThreadPoolAndSaysWhy) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    EXPECT_EXIT(open_refused(__NR_io_uring_setup, EPERM), testing::ExitedWithCode(0),
                "4 threads instead of io_uring: io_uring is forbidden");
    EXPECT_EXIT(open_refused(__NR_io_uring_setup, ENOSYS), testing::ExitedWithCode(0),
                "instead of io_uring: the kernel has no io_uring");
    EXPECT_EXIT(open_refused(__NR_io_uring_setup, ENOMEM), testing::ExitedWithCode(0),
                "instead of io_uring: the limit of locked memory");
    EXPECT_EXIT(open_refused(__NR_io_uring_enter, EPERM), testing::ExitedWithCode(0),
                "instead of io_uring: io_uring is forbidden");
    EXPECT_EXIT(open_refused(__NR_io_uring_register, EPERM), testing::ExitedWithCode(0),
                "instead of io_uring");
}

// ---- the protocol over a ring that does as it is told ----

class FakeClock final : public model::Clock {
 public:
    model::EventTime wall_ms() const override { return 0; }
    std::int64_t steady_ns() const override { return now_ns; }
    std::atomic<std::int64_t> now_ns{0};
};

constexpr int kAsAsked = 1 << 30;  // answer: whatever the real call says
constexpr int kLater = 1 << 29;    // answer: completes when released

struct Script {
    std::function<int(const IoRequest&)> answer = [](const IoRequest&) { return kAsAsked; };
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<IoRequest> seen;
    std::vector<IoRequest> held;
    std::vector<IoCompletion> done;
    std::vector<std::int64_t> timeouts;
    bool woken = false;
    std::size_t in_flight = 0;
    std::size_t most_in_flight_ = 0;

    std::size_t most_in_flight() {
        const std::lock_guard guard(mutex);
        return most_in_flight_;
    }

    static int perform(const IoRequest& request) {
        ssize_t result = 0;
        if (request.kind == IoRequest::Kind::write) {
            result = ::pwrite(request.descriptor, request.bytes, request.length,
                              static_cast<off_t>(request.offset));
        } else if (request.kind == IoRequest::Kind::read) {
            result = ::pread(request.descriptor, request.bytes, request.length,
                             static_cast<off_t>(request.offset));
        }
        return result < 0 ? -errno : static_cast<int>(result);
    }
    // Completes everything held back, in reverse.
    void release() {
        const std::lock_guard guard(mutex);
        for (auto request = held.rbegin(); request != held.rend(); ++request) {
            done.push_back({request->token, perform(*request)});
        }
        held.clear();
        changed.notify_all();
    }
    void wait_for_held(std::size_t count) {
        std::unique_lock guard(mutex);
        changed.wait(guard, [&] { return held.size() >= count; });
    }
    std::size_t count(IoRequest::Kind kind) {
        const std::lock_guard guard(mutex);
        return static_cast<std::size_t>(std::ranges::count(seen, kind, &IoRequest::kind));
    }
};

class ScriptedRing final : public Ring {
 public:
    explicit ScriptedRing(Script& script) : script_(script) {}
    bool register_buffers(std::span<const std::span<char>>) override { return true; }
    int register_file(int) override { return -1; }
    void forget_file(int) override {}
    void submit(std::span<const IoRequest> requests) override {
        const std::lock_guard guard(script_.mutex);
        for (const IoRequest& request : requests) {
            script_.seen.push_back(request);
            script_.most_in_flight_ = std::max(script_.most_in_flight_, ++script_.in_flight);
            const int answer = script_.answer(request);
            if (answer == kLater) {
                script_.held.push_back(request);
            } else {
                script_.done.push_back(
                    {request.token, answer == kAsAsked ? Script::perform(request) : answer});
            }
        }
        script_.changed.notify_all();
    }
    void wait(std::vector<IoCompletion>& completed, std::optional<std::int64_t> timeout) override {
        std::unique_lock guard(script_.mutex);
        if (timeout) {
            script_.timeouts.push_back(*timeout);
            script_.changed.notify_all();
        }
        script_.changed.wait(guard, [&] { return script_.woken || !script_.done.empty(); });
        script_.woken = false;
        script_.in_flight -= script_.done.size();
        completed.insert(completed.end(), script_.done.begin(), script_.done.end());
        script_.done.clear();
    }
    void wake() override {
        const std::lock_guard guard(script_.mutex);
        script_.woken = true;
        script_.changed.notify_all();
    }
    std::string_view name() const override { return "scripted"; }

 private:
    Script& script_;
};

class Protocol : public testing::Test {
 protected:
    void open(DiskOptions options = {}) {
        disk_.reset();  // first: both would share the script
        disk_ = make_disk(std::make_unique<ScriptedRing>(script_), options, clock_);
    }
    std::unique_ptr<WritableFile> create(const std::string& name) {
        auto file = disk_->create(at(name));
        EXPECT_TRUE(file) << file.error().text;
        return std::move(*file);
    }
    std::string at(const std::string& name) const { return directory_.path() + "/" + name; }

    TemporaryDirectory directory_;
    FakeClock clock_;
    Script script_;
    std::unique_ptr<Disk> disk_;
};

TEST_F(Protocol, OnlyTheFullLengthCounts) {
    struct Case {
        int result;
        ErrorKind kind;
    };
    for (const std::size_t size : {std::size_t{5000}, std::size_t{600'000}}) {
        for (const Case c :
             {Case{-EIO, ErrorKind::unavailable}, Case{-ENOSPC, ErrorKind::exhausted},
              Case{-EDQUOT, ErrorKind::exhausted}, Case{0, ErrorKind::exhausted},
              Case{1, ErrorKind::exhausted}, Case{4096, ErrorKind::exhausted}}) {
            disk_.reset();
            bool first = true;
            script_.answer = [&](const IoRequest& request) {
                return request.kind == IoRequest::Kind::write && std::exchange(first, false)
                           ? c.result
                           : kAsAsked;
            };
            open();
            const std::string name = std::to_string(size) + "_" + std::to_string(c.result);
            auto file = create(name);
            static_cast<void>(file->append(noise(size, 1)));
            const auto flushed = file->flush();
            ASSERT_FALSE(flushed) << name;
            EXPECT_EQ(flushed.error().kind, c.kind) << flushed.error().text;
            EXPECT_NE(flushed.error().text.find(name), std::string::npos);
            const std::size_t syncs = script_.count(IoRequest::Kind::data_sync);
            const std::size_t writes = script_.count(IoRequest::Kind::write);
            EXPECT_EQ(file->sync().error().kind, c.kind);
            EXPECT_EQ(file->append("more").error().kind, c.kind);
            EXPECT_EQ(file->flush().error().kind, c.kind);
            file.reset();
            EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), syncs) << "a dead file is synced";
            EXPECT_EQ(script_.count(IoRequest::Kind::write), writes) << "a dead file is written";
            EXPECT_EQ(disk_->statistics().errors, 1u);
            auto other = create(name + "other");
            ASSERT_TRUE(other->append("fine"));
            EXPECT_TRUE(other->sync());
        }
    }
}

TEST_F(Protocol, AFailedSyncIsFinal) {
    bool fail = true;
    script_.answer = [&](const IoRequest& request) {
        return request.kind == IoRequest::Kind::data_sync && fail ? -EIO : kAsAsked;
    };
    open();
    auto file = create("f");
    ASSERT_TRUE(file->append("bytes"));
    const auto synced = file->sync();
    ASSERT_FALSE(synced);
    EXPECT_EQ(synced.error().kind, ErrorKind::unavailable);
    fail = false;
    EXPECT_FALSE(file->sync()) << "the second fsync lies";
    EXPECT_FALSE(file->append("x"));
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 1u);
}

TEST_F(Protocol, NothingDoneIsDoneAgain) {
    for (const int result : {-EINTR, -EAGAIN}) {
        int left = 3;
        script_.answer = [&](const IoRequest&) { return left-- > 0 ? result : kAsAsked; };
        open();
        const std::string name = std::to_string(-result);
        auto file = create(name);
        ASSERT_TRUE(file->append("small"));
        ASSERT_TRUE(file->flush());
        EXPECT_EQ(content(at(name)), "small");
        left = 1;
        ASSERT_TRUE(file->sync());
        left = 2;
        ASSERT_TRUE(file->append(noise(500'000, 1)));
        ASSERT_TRUE(file->sync());
        EXPECT_TRUE(content(at(name)) == "small" + noise(500'000, 1));
    }
}

TEST_F(Protocol, ADeviceThatRefusesDirectWritesGetsThemThroughTheCache) {
    std::set<int> refused;
    script_.answer = [&](const IoRequest& request) {
        // Aligned, big, from a registered buffer: the ones that go past the cache.
        if (request.kind == IoRequest::Kind::write && request.length == 256 * 1024 &&
            (refused.empty() || refused.contains(request.descriptor))) {
            refused.insert(request.descriptor);
            return -EINVAL;
        }
        return kAsAsked;
    };
    open();
    auto file = create("f");
    const std::string bytes = noise(1'500'000, 1);
    ASSERT_TRUE(file->append(bytes));
    const auto synced = file->sync();
    if (!synced) {
        // A file system without O_DIRECT: the refusal met the only descriptor, and is an error.
        EXPECT_EQ(synced.error().kind, ErrorKind::unavailable);
    } else {
        EXPECT_TRUE(content(at("f")) == bytes);
    }
}

TEST_F(Protocol, WholeBlocksOfBigFilesGoPastTheCache) {
    std::size_t direct = 0;
    bool aligned = true;
    script_.answer = [&](const IoRequest& request) {
        if (request.kind == IoRequest::Kind::write &&
            (::fcntl(request.descriptor, F_GETFL) & O_DIRECT) != 0) {
            ++direct;
            aligned = aligned && request.offset % 4096 == 0 && request.length % 4096 == 0 &&
                      std::bit_cast<std::uintptr_t>(request.bytes) % 4096 == 0;
        }
        return kAsAsked;
    };
    open();
    const int probe = ::open(at("probe").c_str(), O_WRONLY | O_CREAT | O_DIRECT, 0600);
    struct statfs about{};
    const bool taken =
        probe >= 0 && ::fstatfs(probe, &about) == 0 && about.f_type == EXT4_SUPER_MAGIC;
    ::close(probe);
    auto small = create("small");
    ASSERT_TRUE(small->append(noise(50'000, 1)));
    ASSERT_TRUE(small->sync());
    EXPECT_EQ(direct, 0u);
    auto big = create("big");
    ASSERT_TRUE(big->append("odd start"));
    ASSERT_TRUE(big->flush());
    ASSERT_TRUE(big->append(noise(1'500'000, 1)));
    ASSERT_TRUE(big->sync());
    EXPECT_EQ(direct, taken ? 4u : 0u) << "the first and the last block are not whole";
    EXPECT_TRUE(aligned);
    EXPECT_TRUE(content(at("big")) == "odd start" + noise(1'500'000, 1));
}

TEST_F(Protocol, SyncWaitsForEveryWriteAndTheirOrderDoesNotMatter) {
    bool early = false;
    script_.answer = [&](const IoRequest& request) {
        early |= request.kind == IoRequest::Kind::data_sync && !script_.held.empty();
        return request.kind == IoRequest::Kind::write ? kLater : kAsAsked;
    };
    open();
    auto file = create("f");
    const std::string bytes = noise(1'000'000, 1);  // four blocks
    ASSERT_TRUE(file->append(bytes));
    auto synced = std::async(std::launch::async, [&] { return file->sync(); });
    script_.wait_for_held(4);
    for (int i = 0; i < 1000; ++i) {
        std::this_thread::yield();  // every chance to do it wrong
    }
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 0u);
    script_.release();
    EXPECT_TRUE(synced.get());
    EXPECT_FALSE(early);
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 1u);
    EXPECT_TRUE(content(at("f")) == bytes);
}

TEST_F(Protocol, BuffersBoundWhatIsOnItsWay) {
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::write ? kLater : kAsAsked;
    };
    DiskOptions options;
    options.buffers = 3;
    open(options);
    auto file = create("f");
    const std::string bytes = noise(8 * 256 * 1024, 1);
    auto appended = std::async(std::launch::async, [&] { return file->append(bytes); });
    script_.wait_for_held(3);  // the appending thread waits for a buffer now, or is about to
    EXPECT_EQ(disk_->statistics().in_flight, 3u);
    while (appended.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        EXPECT_LE(script_.count(IoRequest::Kind::write), 8u);
        script_.release();
        std::this_thread::yield();
    }
    EXPECT_TRUE(appended.get());
    EXPECT_LE(script_.most_in_flight(), 3u);
    auto synced = std::async(std::launch::async, [&] { return file->sync(); });
    while (synced.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        script_.release();
        std::this_thread::yield();
    }
    EXPECT_TRUE(synced.get());
    EXPECT_TRUE(content(at("f")) == bytes);
}

TEST_F(Protocol, DepthBoundsWhatIsInFlight) {
    DiskOptions options;
    options.depth = 2;
    open(options);
    auto file = create("f");
    const std::string bytes = noise(5'000'000, 1);
    ASSERT_TRUE(file->append(bytes));
    ASSERT_TRUE(file->sync());
    EXPECT_TRUE(read_file(*disk_, at("f"), 1 << 30).value() == bytes);
    EXPECT_LE(script_.most_in_flight(), 2u);
}

TEST_F(Protocol, ClosingWaitsForWhatIsInFlightOfADeadFile) {
    int writes = 0;
    script_.answer = [&](const IoRequest& request) {
        return request.kind != IoRequest::Kind::write ? kAsAsked : ++writes == 1 ? -EIO : kLater;
    };
    DiskOptions options;
    options.direct = false;
    open(options);
    auto file = create("f");
    // Two blocks; the engine may or may not have seen the failure of the first when the second
    // comes, so the second is either held or dropped. Either way the file can be closed.
    static_cast<void>(file->append(noise(2 * 256 * 1024, 1)));
    auto closed = std::async(std::launch::async, [&] { file.reset(); });
    while (closed.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        script_.release();
        std::this_thread::yield();
    }
}

TEST_F(Protocol, TheBoundHoldsTheBackgroundBackAndLetsTheJournalAndRunsPass) {
    open();
    disk_->bound_background(10 << 20);  // a block every 25 ms; the bucket holds a tenth: 1 MiB
    clock_.now_ns = 1'000'000'000;
    auto copy = *disk_->background().create(at("copy"));
    auto synced = std::async(std::launch::async, [&] {
        const auto appended = copy->append(noise(12 * 256 * 1024, 1));
        return appended ? copy->sync() : appended;
    });
    {
        std::unique_lock guard(script_.mutex);
        script_.changed.wait(guard, [&] { return !script_.timeouts.empty(); });
        EXPECT_GT(script_.timeouts.back(), 0);
        EXPECT_LE(script_.timeouts.back(), 26'000'000);
    }
    const std::size_t before = script_.count(IoRequest::Kind::write);
    EXPECT_LE(before, 5u);
    auto journal = create("journal");
    ASSERT_TRUE(journal->append("entry"));
    EXPECT_TRUE(journal->sync()) << "no time has passed";
    EXPECT_EQ(script_.count(IoRequest::Kind::write), before + 1);
    auto run = create("run");
    ASSERT_TRUE(run->append(noise(20 * 256 * 1024, 2))) << "the copy leaves it blocks";
    EXPECT_TRUE(run->sync()) << "no time has passed";
    EXPECT_EQ(script_.count(IoRequest::Kind::write), before + 21);
    while (synced.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        clock_.now_ns += 1'000'000;
        const std::lock_guard guard(script_.mutex);
        script_.woken = true;  // as the timeout would
        script_.changed.notify_all();
    }
    EXPECT_TRUE(synced.get());
    // Twelve blocks less the bucket's at 25 ms each, whatever the scheduler did in between.
    EXPECT_GE(clock_.now_ns - 1'000'000'000, 150'000'000);
}

TEST_F(Protocol, TheBackgroundHasAQuarterOfTheDepthAndGivesWay) {
    DiskOptions options;
    options.depth = 8;
    options.buffers = 64;  // nobody waits for one
    open(options);
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::write ? kLater : kAsAsked;
    };
    auto copy = *disk_->background().create(at("copy"));
    ASSERT_TRUE(copy->append(noise(12 * 256 * 1024, 1)));
    script_.wait_for_held(2);
    auto run = create("run");
    ASSERT_TRUE(run->append(noise(4 * 256 * 1024, 2)));
    script_.wait_for_held(6);  // beside those two
    auto synced = std::async(std::launch::async, [&] { return copy->sync(); });
    while (synced.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        script_.release();
        std::this_thread::yield();
    }
    EXPECT_TRUE(synced.get());
    EXPECT_EQ(script_.most_in_flight(), 6u);
}

TEST_F(Protocol, WhatIsGivenUpInTheBackgroundWaitsForNoBound) {
    open();
    disk_->bound_background(1);
    clock_.now_ns = 1'000'000'000;
    auto copy = *disk_->background().create(at("copy"));
    ASSERT_TRUE(copy->append(noise(3 * 256 * 1024 + 100, 1)));
    copy.reset();  // no time passes
    disk_->bound_background(0);
    copy = *disk_->background().create(at("another"));
    ASSERT_TRUE(copy->append(noise(3 * 256 * 1024 + 100, 1)));
    EXPECT_TRUE(copy->sync());
}

TEST_F(Protocol, AStreamReadsAheadAndTheOrderOfCompletionsDoesNotMatter) {
    const std::string bytes = noise(2'500'000, 1);
    open();
    {
        auto file = create("f");
        ASSERT_TRUE(file->append(bytes));
    }
    script_.most_in_flight_ = 0;  // the writer's
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::read ? kLater : kAsAsked;
    };
    auto all = std::async(std::launch::async, [&] { return read_stream(*disk_, at("f")); });
    script_.wait_for_held(4);  // before anything was asked for
    EXPECT_EQ(disk_->statistics().in_flight, 4u);
    while (all.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        script_.release();
        std::this_thread::yield();
    }
    EXPECT_TRUE(all.get() == bytes);
    EXPECT_LE(script_.most_in_flight(), 4u);
}

TEST_F(Protocol, AStreamThatComesBackEarlyGoesOnAndAnErrorIsOne) {
    const std::string bytes = noise(1'500'000, 1);
    open();
    {
        auto file = create("f");
        ASSERT_TRUE(file->append(bytes));
    }
    for (const int answer : {0, -EINVAL, -EAGAIN}) {
        int reads = 0;
        script_.answer = [&](const IoRequest& request) {
            IoRequest part = request;
            part.length = 4096;
            return request.kind != IoRequest::Kind::read || ++reads != 2 ? kAsAsked
                   : answer == 0                                         ? Script::perform(part)
                                                                         : answer;
        };
        struct statfs about{};
        ASSERT_EQ(::statfs(directory_.path().c_str(), &about), 0);
        if (answer == -EINVAL && about.f_type != EXT4_SUPER_MAGIC) {
            continue;  // there are no direct reads here that could be refused
        }
        EXPECT_TRUE(read_stream(*disk_, at("f")) == bytes) << answer;
    }
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::read ? -EIO : kAsAsked;
    };
    auto stream = disk_->stream(at("f"));
    ASSERT_TRUE(stream);
    const auto piece = (*stream)->next();
    ASSERT_FALSE(piece);
    EXPECT_EQ(piece.error().kind, ErrorKind::unavailable);
    EXPECT_NE(piece.error().text.find(at("f")), std::string::npos);
}

TEST_F(Protocol, SyncsThatWereBegunRunAtOnceBehindTheirWrites) {
    bool early = false;
    script_.answer = [&](const IoRequest& request) {
        early |= request.kind == IoRequest::Kind::data_sync &&
                 std::ranges::count(script_.held, IoRequest::Kind::write, &IoRequest::kind) > 0;
        return kLater;
    };
    open();
    std::vector<std::unique_ptr<WritableFile>> files;
    for (const char* name : {"a", "b", "c"}) {
        files.push_back(create(name));
        ASSERT_TRUE(files.back()->append("bytes"));
        files.back()->begin_sync();
    }
    script_.wait_for_held(3);
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 0u);
    script_.release();
    script_.wait_for_held(3);
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 3u) << "nobody has waited for one yet";
    script_.release();
    for (const auto& file : files) {
        EXPECT_TRUE(file->sync());
    }
    EXPECT_FALSE(early);
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 3u) << "all that was begun is enough";
    script_.answer = [](const IoRequest&) { return kAsAsked; };
    ASSERT_TRUE(files[0]->append("more"));
    ASSERT_TRUE(files[0]->sync());
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 4u);
}

TEST_F(Protocol, ASyncThatWasBegunAndFailsIsFinal) {
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::data_sync ? -EIO : kAsAsked;
    };
    open();
    auto file = create("f");
    ASSERT_TRUE(file->append("bytes"));
    file->begin_sync();
    EXPECT_EQ(file->sync().error().kind, ErrorKind::unavailable);
    EXPECT_FALSE(file->append("x"));
    EXPECT_FALSE(file->sync());
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 1u);
    EXPECT_EQ(disk_->statistics().errors, 1u);
}

TEST_F(Protocol, SyncsOfDirectoriesAndOfOthersFilesGoThroughTheRing) {
    open();
    {
        auto file = create("f");
        ASSERT_TRUE(file->append("bytes"));
    }
    EXPECT_TRUE(disk_->sync_file(at("f")));
    EXPECT_TRUE(disk_->sync_directory(directory_.path()));
    EXPECT_EQ(script_.count(IoRequest::Kind::data_sync), 1u);
    EXPECT_EQ(script_.count(IoRequest::Kind::sync), 1u);
    script_.answer = [](const IoRequest&) { return -EIO; };
    EXPECT_EQ(disk_->sync_file(at("f")).error().kind, ErrorKind::unavailable);
    EXPECT_EQ(disk_->sync_directory(directory_.path()).error().kind, ErrorKind::unavailable);
}

TEST_F(Protocol, SaysHowLongTheOldestOneIsUnderWay) {
    script_.answer = [](const IoRequest&) { return kLater; };
    clock_.now_ns = 1'000'000;
    open();
    EXPECT_EQ(disk_->statistics().oldest_us, 0u);
    auto file = create("f");
    ASSERT_TRUE(file->append("bytes"));
    file->begin_sync();
    script_.wait_for_held(1);
    clock_.now_ns = 5'000'000'000;
    EXPECT_EQ(disk_->statistics().oldest_us, 4'999'000u);
    script_.answer = [](const IoRequest&) { return kAsAsked; };
    script_.release();
    EXPECT_TRUE(file->sync());
    EXPECT_EQ(disk_->statistics().oldest_us, 0u);
    EXPECT_EQ(disk_->statistics().write.sum_us, 4'999'000u);
}

TEST_F(Protocol, AReadThatComesBackEarlyGoesOn) {
    int reads = 0;
    script_.answer = [&](const IoRequest& request) {
        IoRequest part = request;
        part.length = 1000;
        return request.kind == IoRequest::Kind::read && ++reads == 2 ? Script::perform(part)
                                                                     : kAsAsked;
    };
    open();
    const std::string bytes = noise(900'000, 1);
    {
        auto file = create("f");
        ASSERT_TRUE(file->append(bytes));
    }
    EXPECT_TRUE(read_file(*disk_, at("f"), 1 << 30).value() == bytes);
    EXPECT_GE(reads, 2);
    script_.answer = [](const IoRequest& request) {
        return request.kind == IoRequest::Kind::read ? -EIO : kAsAsked;
    };
    EXPECT_EQ(read_file(*disk_, at("f"), 1 << 30).error().kind, ErrorKind::unavailable);
}

}  // namespace
}  // namespace sluice::state
