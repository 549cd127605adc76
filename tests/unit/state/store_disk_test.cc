// The store on a real disk, with the writers and the threads of production.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "state/io/io_engine.h"
#include "tests/unit/state/store_support.h"

namespace sluice::state {
namespace {

class OnDisk : public testing::TestWithParam<config::IoBackend> {
 protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "sluice-store-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root = name;
        DiskOptions options;
        options.backend = GetParam();
        auto opened = open_disk(options);
        if (!opened && GetParam() == config::IoBackend::io_uring) {
            if (std::getenv("CI") != nullptr) {
                FAIL() << opened.error().text;  // what CI lacks is an error
            }
            GTEST_SKIP() << opened.error().text;
        }
        ASSERT_OK(opened);
        disk = std::move(opened->disk);
    }
    void TearDown() override {
        disk.reset();
        std::filesystem::remove_all(root);
    }
    std::string root;
    std::unique_ptr<Disk> disk;
};

TEST_P(OnDisk, CheckpointsAndRestores) {
    const StatePaths paths{root};
    Catalogue catalogue(*disk, paths);
    Inputs inputs(*disk, paths.inputs());
    FakeClock clock;
    const auto env = make_rocks_env(*disk);
    const auto start = [&](const std::string& boot) {
        RestoreOptions options;
        options.store.disk = disk.get();
        options.store.env = env.get();
        options.boot = boot;
        options.pipeline = "clicks";
        options.verify_full = true;
        Restore restore(std::move(options), catalogue, inputs);
        while (restore.phase() != Restore::Phase::done) {
            const auto phase = restore.step();
            EXPECT_TRUE(phase) << phase.error().text;
        }
        return restore.finish();
    };
    Counts expected;
    for (int life = 0; life < 3; ++life) {
        auto restored = start("b" + std::to_string(life));
        ASSERT_EQ(restored.meta.has_value(), life > 0);
        restored.store->set_reductions(two_reductions());
        Snapshotter snapshotter({}, *disk, clock, *restored.store, catalogue, inputs);
        for (model::BarrierNumber n = 1; n <= 5; ++n) {
            const auto number = static_cast<std::uint64_t>(life) * 10 + n;
            for (const auto reduction : {kBrief, kStandard}) {
                restored.store->add_tables(number,
                                           {table_of(reduction, 1000, {{"a", n}, {"b", 1}})});
            }
            expected["a"] += n;
            expected["b"] += 1;
            SnapshotJob job;
            job.number = number;
            job.meta = meta_of(number);
            job.inputs_text = "settings";
            snapshotter.submit(std::move(job));
            while (snapshotter.step()) {
            }
            const auto result = snapshotter.take_result();
            ASSERT_TRUE(result);
            ASSERT_EQ(result->outcome, SnapshotResult::Outcome::done) << result->error.text;
            ASSERT_EQ(result->note, "");
        }
        for (const auto reduction : {kBrief, kStandard}) {
            EXPECT_EQ(scan_all(*restored.store, reduction, 1000), expected);
        }
    }
    EXPECT_EQ(value_of(catalogue.list()).size(), 3u);
}

// While runs are ingested and compacted, a reader sees every row that was handed over, none twice.
TEST_P(OnDisk, AReaderNeverSeesARowTwiceOrNotAtAll) {
    constexpr std::uint64_t kRounds = 60;
    const auto env = make_rocks_env(*disk);
    StoreOptions options;
    options.directory = root + "/live";
    options.disk = disk.get();
    options.env = env.get();
    auto opened = Store::open(options);
    ASSERT_OK(opened);
    Store& store = **opened;
    store.set_reductions(two_reductions());

    std::atomic<std::uint64_t> handed_over{0};  // counted before the hand-over is begun
    std::atomic<std::uint64_t> visible{0};      // and after it is done
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> scans{0};
    std::thread reader([&] {
        while (!stop) {
            for (const auto reduction : {kBrief, kStandard}) {
                const auto at_least = visible.load();
                const auto counts = scan_all(store, reduction, 1000);
                const auto at_most = handed_over.load();
                const auto it = counts.find("a");
                const auto seen = it == counts.end() ? 0 : it->second;
                if (seen < at_least || seen > at_most) {
                    ++wrong;
                }
                ++scans;
            }
        }
    });
    std::thread coordinator([&] {
        for (std::uint64_t n = 1; n <= kRounds * 4; ++n) {
            handed_over = n;
            store.add_tables(n / 4, {table_of(kBrief, 1000, {{"a", 1}, {"b", 2}}),
                                     table_of(kStandard, 1000, {{"a", 1}, {"b", 2}})});
            visible = n;
        }
    });
    for (model::BarrierNumber n = 1; n <= kRounds; ++n) {
        const auto run = store.ingest(n, meta_of(n));
        ASSERT_OK(run);
    }
    coordinator.join();
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(scans, 0u);
    ASSERT_OK(store.ingest(kRounds + 1, meta_of(kRounds + 1)));
    for (const auto reduction : {kBrief, kStandard}) {
        EXPECT_EQ(scan_all(store, reduction, 1000),
                  (Counts{{"a", kRounds * 4}, {"b", kRounds * 8}}));
    }
}

INSTANTIATE_TEST_SUITE_P(Backends, OnDisk,
                         testing::Values(config::IoBackend::io_uring, config::IoBackend::threads),
                         [](const auto& backend) {
                             return backend.param == config::IoBackend::threads ? "Threads"
                                                                                : "Uring";
                         });

}  // namespace
}  // namespace sluice::state
