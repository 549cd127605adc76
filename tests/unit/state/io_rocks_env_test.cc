#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "state/io/io_engine.h"
#include "state/io/rocks_env.h"
#include "tests/simulation/simulated_disk.h"
#include "tests/unit/state/temporary_directory.h"

namespace sluice::state {
namespace {

using simulation::CrashKind;
using simulation::SimulatedDisk;
using Rows = std::map<std::string, std::string>;

// A database that is only ever fed with files, its environment and where its background work waits.
struct Database {
    explicit Database(Disk& on, bool steps_wanted) : disk(on) {
        RocksEnvOptions env_options;
        env_options.steps = steps_wanted ? &steps : nullptr;
        env = make_rocks_env(disk, env_options);
        options.create_if_missing = true;
        options.compression = rocksdb::kNoCompression;
        options.level0_file_num_compaction_trigger = 3;
        use_rocks_env(*env, options);
        if (steps_wanted) {
            prepare_for_steps(options);
        }
    }
    ~Database() { delete db; }
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    rocksdb::Status open(const std::string& path) { return rocksdb::DB::Open(options, path, &db); }
    rocksdb::Status ingest(const std::string& file, const Rows& rows) {
        rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
        auto status = writer.Open(file);
        for (const auto& [key, value] : rows) {
            status = status.ok() ? writer.Put(key, value) : status;
        }
        status = status.ok() ? writer.Finish() : status;
        rocksdb::IngestExternalFileOptions how;
        how.move_files = true;
        how.failed_move_fall_back_to_copy = false;
        how.write_global_seqno = false;
        how.allow_blocking_flush = false;
        return status.ok() ? db->IngestExternalFile({file}, how) : status;
    }
    // As it is to be done: what RocksDB makes is published by a sync of the directory that holds
    // it.
    bool checkpoint(const std::string& path) {
        rocksdb::Checkpoint* raw = nullptr;
        if (!rocksdb::Checkpoint::Create(db, &raw).ok()) {
            return false;
        }
        const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
        return checkpoint->CreateCheckpoint(path).ok() &&
               disk.sync_directory(parent_directory(path));
    }
    Rows rows() {
        Rows all;
        const std::unique_ptr<rocksdb::Iterator> at(db->NewIterator(rocksdb::ReadOptions()));
        for (at->SeekToFirst(); at->Valid(); at->Next()) {
            all[at->key().ToString()] = at->value().ToString();
        }
        if (!at->status().ok()) {
            all["error"] = at->status().ToString();
        }
        return all;
    }
    std::size_t run_steps() {
        std::size_t done = 0;
        while (steps.step()) {
            ++done;
        }
        return done;
    }

    Disk& disk;
    BackgroundSteps steps;
    std::unique_ptr<rocksdb::Env> env;
    rocksdb::Options options;
    rocksdb::DB* db = nullptr;
};

Rows some_rows(int file, int count) {
    Rows rows;
    for (int i = 0; i < count; ++i) {
        rows["key" + std::to_string(i * 7 + file)] =
            "value " + std::to_string(file) + std::string(200, 'v');
    }
    return rows;
}

std::size_t threads_of_this_process() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                      std::filesystem::directory_iterator()));
}

// Runs, ingestion by link, compaction, checkpoint, reopening; the same on every disk.
void whole_life(Disk& disk, const std::string& root, bool steps) {
    Rows expected;
    Rows at_checkpoint;
    {
        Database database(disk, steps);
        ASSERT_TRUE(disk.make_directory(root + "/runs"));
        const auto opened = database.open(root + "/live");
        ASSERT_TRUE(opened.ok()) << opened.ToString();
        for (int file = 0; file < 6; ++file) {
            const std::string run = root + "/runs/" + std::to_string(file) + ".sst";
            const Rows rows = some_rows(file, 2000);
            const auto ingested = database.ingest(run, rows);
            ASSERT_TRUE(ingested.ok()) << ingested.ToString();
            for (const auto& [key, value] : rows) {
                expected[key] = value;
            }
            EXPECT_FALSE(disk.info(run)) << "moved by link, and its old name removed";
            if (file == 3) {
                at_checkpoint = expected;
                ASSERT_TRUE(database.checkpoint(root + "/checkpoint"));
                const auto info = disk.list(root + "/checkpoint");
                ASSERT_TRUE(info);
                EXPECT_TRUE(std::ranges::any_of(*info, [&](const std::string& name) {
                    return disk.info(root + "/checkpoint/" + name)->links > 1;
                })) << "a checkpoint shares its files with the live database";
            }
            if (steps) {
                database.run_steps();
            }
        }
        EXPECT_EQ(database.rows(), expected);
        if (!steps) {
            ASSERT_TRUE(database.db->CompactRange({}, nullptr, nullptr).ok());
            EXPECT_EQ(database.rows(), expected);
        }
    }
    {
        Database database(disk, steps);
        ASSERT_TRUE(database.open(root + "/live").ok());
        EXPECT_EQ(database.rows(), expected);
    }
    Database database(disk, steps);
    database.options.create_if_missing = false;
    const auto reopened = database.open(root + "/checkpoint");
    ASSERT_TRUE(reopened.ok()) << reopened.ToString();
    EXPECT_EQ(database.rows(), at_checkpoint);
    EXPECT_TRUE(database.db->VerifyChecksum().ok());
    const auto names = disk.list(root + "/live");
    EXPECT_TRUE(std::ranges::none_of(*names, [](const std::string& name) {
        return name.starts_with("LOG");
    })) << "no second log beside ours";
}

TEST(RocksEnv, LivesOnIoUring) {
    const TemporaryDirectory directory;
    auto opened = open_disk({});  // the thread pool again where io_uring is refused
    ASSERT_TRUE(opened) << opened.error().text;
    whole_life(*opened->disk, directory.path(), false);
    whole_life(
        *opened->disk,
        [&] {
            const std::string stepped = directory.path() + "/stepped";
            EXPECT_TRUE(opened->disk->make_directory(stepped));
            return stepped;
        }(),
        true);
    EXPECT_EQ(opened->disk->statistics().errors, 0u);
}

TEST(RocksEnv, LivesOnThreads) {
    const TemporaryDirectory directory;
    DiskOptions options;
    options.backend = config::IoBackend::threads;
    auto opened = open_disk(options);
    ASSERT_TRUE(opened) << opened.error().text;
    whole_life(*opened->disk, directory.path(), false);
}

TEST(RocksEnv, LivesOnTheSimulatedDiskInSteps) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    whole_life(disk, "/state", true);
}

TEST(RocksEnv, CompactsOnlyWhenStepped) {
    SimulatedDisk disk(1);
    Database database(disk, true);
    ASSERT_TRUE(database.open("/live").ok());
    const std::size_t threads = threads_of_this_process();
    for (int file = 0; file < 10; ++file) {
        ASSERT_TRUE(database.ingest("/" + std::to_string(file) + ".sst", some_rows(0, 100)).ok());
    }
    EXPECT_GT(database.steps.waiting(), 0u);
    std::string files;
    ASSERT_TRUE(database.db->GetProperty("rocksdb.num-files-at-level0", &files));
    // Up to six go to a level each, as far as RocksDB's release does that; the rest lie above.
    EXPECT_GE(std::stoi(files), 4);
    EXPECT_GT(database.run_steps(), 0u);
    ASSERT_TRUE(database.db->GetProperty("rocksdb.num-files-at-level0", &files));
    EXPECT_EQ(files, "0");
    EXPECT_EQ(database.rows(), some_rows(0, 100));
    EXPECT_EQ(threads_of_this_process(), threads);
}

TEST(RocksEnv, ClosesWithWorkStillWaiting) {
    SimulatedDisk disk(1);
    Database database(disk, true);
    ASSERT_TRUE(database.open("/live").ok());
    for (int file = 0; file < 10; ++file) {
        ASSERT_TRUE(database.ingest("/" + std::to_string(file) + ".sst", some_rows(0, 100)).ok());
    }
    ASSERT_GT(database.steps.waiting(), 0u);
    delete std::exchange(database.db, nullptr);  // takes it back instead of waiting for it
    EXPECT_EQ(database.steps.waiting(), 0u);
}

TEST(RocksEnv, AFullDiskIsNoSpace) {
    SimulatedDisk disk(1);
    Database database(disk, true);
    ASSERT_TRUE(database.open("/live").ok());
    disk.set_budget(disk.used_bytes() + 10'000);
    const auto full = database.ingest("/1.sst", some_rows(0, 1000));
    EXPECT_TRUE(full.IsNoSpace()) << full.ToString();
}

// Who can be asked how much is free is resumed behind a full disk, by a thread that nobody sees.
TEST(RocksEnv, AFullDiskIsNotResumedBehindOurBack) {
    SimulatedDisk disk(1);
    Database database(disk, true);
    std::uint64_t bytes = 0;
    EXPECT_TRUE(database.env->GetFreeSpace("/live", &bytes).IsNotSupported());
}

TEST(RocksEnv, AMissingFileIsNotFound) {
    SimulatedDisk disk(1);
    const auto env = make_rocks_env(disk);
    EXPECT_TRUE(env->FileExists("/no").IsNotFound());
    std::unique_ptr<rocksdb::SequentialFile> file;
    EXPECT_TRUE(env->NewSequentialFile("/no", &file, rocksdb::EnvOptions()).IsNotFound());
    std::vector<std::string> names;
    EXPECT_TRUE(env->GetChildren("/no", &names).IsNotFound());
}

TEST(RocksEnv, OneDatabasePerDirectory) {
    SimulatedDisk disk(1);
    Database database(disk, true);
    ASSERT_TRUE(database.open("/live").ok());
    rocksdb::DB* second = nullptr;
    EXPECT_FALSE(rocksdb::DB::Open(database.options, "/live", &second).ok());
}

TEST(RocksEnv, TellsTheTimeItIsGiven) {
    class Noon final : public model::Clock {
     public:
        model::EventTime wall_ms() const override { return 43'200'000; }
        std::int64_t steady_ns() const override { return 7; }
    };
    const Noon noon;
    SimulatedDisk disk(1);
    RocksEnvOptions options;
    options.clock = &noon;
    const auto env = make_rocks_env(disk, options);
    std::int64_t seconds = 0;
    ASSERT_TRUE(env->GetCurrentTime(&seconds).ok());
    EXPECT_EQ(seconds, 43'200);
    EXPECT_EQ(env->NowNanos(), 7u);
}

// The law of the snapshot, at each operation and for both kinds of crash: a checkpoint whose
// directory was synced opens and holds what it held; failures on the way never publish a bad one.
TEST(RocksEnv, AnAcknowledgedCheckpointSurvivesACrashAnywhere) {
    int survived = 0;
    std::uint64_t at = 1;
    for (bool crashed = true; crashed; at += 3) {
        SimulatedDisk disk(at);
        disk.crash_at(at, at % 2 == 0 ? CrashKind::power : CrashKind::process);
        Rows first;
        Rows second;
        bool acknowledged_first = false;
        bool acknowledged_second = false;
        {
            Database database(disk, true);
            ASSERT_TRUE(database.open("/live").ok());
            ASSERT_TRUE(disk.make_directory("/snapshots"));
            ASSERT_TRUE(disk.sync_directory("/"));
            first = some_rows(0, 20);
            ASSERT_TRUE(database.ingest("/0.sst", first).ok());
            acknowledged_first = database.checkpoint("/snapshots/1") && !disk.crashed();
            second = some_rows(1, 20);
            ASSERT_TRUE(database.ingest("/1.sst", second).ok());
            second.insert(first.begin(), first.end());
            acknowledged_second = database.checkpoint("/snapshots/2") && !disk.crashed();
        }
        crashed = disk.crashed();
        if (!crashed) {
            disk.crash_now();
        }
        auto next = disk.after_crash(at);
        const auto check = [&](const std::string& path, const Rows& rows) {
            Database database(*next, true);
            database.options.create_if_missing = false;
            const auto opened = database.open(path);
            ASSERT_TRUE(opened.ok()) << "operation " << at << ": " << opened.ToString();
            EXPECT_EQ(database.rows(), rows) << "operation " << at;
            ++survived;
        };
        if (acknowledged_first) {
            check("/snapshots/1", first);
        }
        if (acknowledged_second) {
            check("/snapshots/2", second);
        }
    }
    EXPECT_GT(survived, 5);
}

TEST(RocksEnv, AFailureAnywhereIsReportedAndNothingBadIsPublished) {
    const Rows rows = some_rows(0, 20);
    int failures = 0;
    for (std::uint64_t at = 1;; at += 2) {
        SimulatedDisk disk(at);
        disk.fail_at(at);
        bool acknowledged = false;
        bool done = false;
        {
            Database database(disk, true);
            done = database.open("/live").ok() && database.ingest("/0.sst", rows).ok();
            if (done) {
                acknowledged = database.checkpoint("/snapshot");
            }
        }
        if (disk.operations() < at) {
            break;
        }
        failures += !done || !acknowledged ? 1 : 0;
        disk.crash_now();
        if (acknowledged) {
            auto next = disk.after_crash(at);
            Database database(*next, true);
            database.options.create_if_missing = false;
            const auto opened = database.open("/snapshot");
            ASSERT_TRUE(opened.ok()) << "operation " << at << ": " << opened.ToString();
            EXPECT_EQ(database.rows(), rows) << "operation " << at;
        }
    }
    EXPECT_GT(failures, 10);
}

}  // namespace
}  // namespace sluice::state
