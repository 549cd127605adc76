// Savepoints behind their freezing: completed by copies, moved, removed, and cut off by crashes.
#include "state/store/completion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/state/store_support.h"

namespace sluice::state {
namespace {

using simulation::CrashKind;
using simulation::SimulatedDisk;

// Takes a checkpoint and a savepoint that share their tables.
void take_both(Disk& disk, const std::string& name) {
    Process p(disk);
    ASSERT_OK(p.start());
    p.store->add_tables(1, {table_of(kBrief, 100, {{"a", 3}, {"b", 1}})});
    ASSERT_EQ(p.checkpoint(1).outcome, SnapshotResult::Outcome::done);
    p.store->add_tables(2, {table_of(kStandard, 100, {{"c", 2}})});
    SnapshotJob job;
    job.kind = SnapshotJob::Kind::savepoint;
    job.name = name;
    job.number = 2;
    job.meta = meta_of(2);
    ASSERT_EQ(p.run(std::move(job)).outcome, SnapshotResult::Outcome::done);
}

struct Behind {
    explicit Behind(Disk& disk, std::string folder = "", Completion::Options options = {})
        : completion(disk, clock, StatePaths{"/state", std::move(folder)}, options) {}
    // Long enough for everything that can be done, trouble with the disk included.
    void finish() {
        for (int round = 0; round < 4; ++round) {
            while (completion.step()) {
            }
            clock.now_ms += 10'000;
        }
    }
    FakeClock clock;
    Completion completion;
};

std::vector<SavepointSummary> savepoints(Disk& disk, const std::string& folder = "") {
    Catalogue catalogue(disk, StatePaths{"/state", folder});
    auto all = describe_savepoints(disk, catalogue);
    EXPECT_TRUE(all);
    return all ? *all : std::vector<SavepointSummary>{};
}

// Every byte of every savepoint is what its manifest says.
void expect_whole(Disk& disk, const std::string& folder = "") {
    Catalogue catalogue(disk, StatePaths{"/state", folder});
    const auto entries = catalogue.list_savepoints();
    ASSERT_TRUE(entries);
    for (const auto& entry : *entries) {
        ASSERT_EQ(entry.damage, "");
        for (const auto& file : entry.meta->files) {
            const auto whole = catalogue.validate_bytes(entry, file);
            EXPECT_TRUE(whole) << entry.path << ": " << whole.error().text;
        }
    }
}

TEST(CompletionTest, CopiesWhatIsSharedAndNothingElse) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    ASSERT_GT(savepoints(disk).at(0).shared_bytes, 0u);
    Behind behind(disk);
    behind.finish();
    EXPECT_EQ(savepoints(disk).at(0).shared_bytes, 0u);
    EXPECT_TRUE(behind.completion.report().settled);
    expect_whole(disk);
    const auto used = disk.used_bytes();
    Behind again(disk);
    again.finish();
    EXPECT_EQ(disk.used_bytes(), used);
}

TEST(CompletionTest, LinksStayWhereCopiesAreNotWanted) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    Behind behind(disk, "", {.copy = false});
    behind.finish();
    EXPECT_GT(savepoints(disk).at(0).shared_bytes, 0u);
    EXPECT_TRUE(behind.completion.report().settled);
}

TEST(CompletionTest, KeepsToItsRate) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    const auto shared = savepoints(disk).at(0).shared_bytes;
    Behind behind(disk, "", {.bytes_per_second = 1000});
    while (!behind.completion.report().settled) {
        while (behind.completion.step()) {
        }
        ASSERT_LT(behind.clock.now_ms, 3'600'000);
        behind.clock.now_ms += 100;
    }
    // A file is begun when the ones before it are paid for.
    EXPECT_GE(static_cast<std::uint64_t>(behind.clock.now_ms), shared / 2);
}

TEST(CompletionTest, WaitsForRoomAndGoesOnByItself) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    disk.set_budget(disk.used_bytes() + 100);
    Behind behind(disk);
    behind.finish();
    EXPECT_NE(behind.completion.report().problem, "");
    EXPECT_GT(savepoints(disk).at(0).shared_bytes, 0u);
    expect_whole(disk);
    disk.set_budget(std::nullopt);
    behind.finish();
    EXPECT_EQ(behind.completion.report().problem, "");
    EXPECT_EQ(savepoints(disk).at(0).shared_bytes, 0u);
    expect_whole(disk);
}

// The disk is full at every size and every operation fails once: the savepoint is whole at every
// time, and complete when there is room.
TEST(CompletionTest, TroubleWithTheDiskLosesNothingAndItGoesOnByItself) {
    for (const std::string folder : {"", "/mine"}) {
        const auto make = [] {
            auto disk = std::make_unique<SimulatedDisk>(1);
            EXPECT_TRUE(disk->make_directory("/state"));
            EXPECT_TRUE(disk->make_directory("/mine"));
            take_both(*disk, "s");
            return disk;
        };
        const auto check = [&](SimulatedDisk& disk, Behind& behind, std::uint64_t at) {
            ASSERT_EQ(savepoints(disk, folder).size(), 1u) << at;
            expect_whole(disk, folder);
            disk.set_budget(std::nullopt);
            behind.finish();
            EXPECT_EQ(behind.completion.report().problem, "") << at;
            const auto all = savepoints(disk, folder);
            ASSERT_EQ(all.size(), 1u) << at;
            EXPECT_EQ(all[0].info.path, folder.empty() ? "/state/savepoints/s" : "/mine/s");
            EXPECT_EQ(all[0].shared_bytes, 0u) << at;
            expect_whole(disk, folder);
        };
        std::uint64_t needed = 0;
        std::uint64_t operations = 0;
        {
            const auto disk = make();
            const auto used = disk->used_bytes();
            const auto before = disk->operations();
            Behind behind(*disk, folder);
            behind.finish();
            needed = disk->used_bytes() - used;
            operations = disk->operations() - before;
        }
        ASSERT_GT(needed, 1000u);
        for (std::uint64_t room = 0; room < needed; room += 1 + needed / 50) {
            const auto disk = make();
            disk->set_budget(disk->used_bytes() + room);
            Behind behind(*disk, folder);
            for (int round = 0; round < 30; ++round) {
                behind.completion.step();
            }
            check(*disk, behind, room);
        }
        for (std::uint64_t at = 1; at <= operations; ++at) {
            const auto disk = make();
            disk->fail_at(disk->operations() + at);
            Behind behind(*disk, folder);
            behind.finish();
            check(*disk, behind, at);
        }
    }
}

TEST(CompletionTest, MovesToTheUsersFolder) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    ASSERT_TRUE(disk.make_directory("/mine"));
    ASSERT_TRUE(disk.make_directory("/mine/photos"));
    take_both(disk, "s");
    Behind behind(disk, "/mine");
    behind.finish();
    const auto all = savepoints(disk, "/mine");
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].info.path, "/mine/s");
    EXPECT_EQ(all[0].shared_bytes, 0u);
    expect_whole(disk, "/mine");
    EXPECT_EQ(*disk.list("/mine"), (std::vector<std::string>{"photos", "s"}));
}

TEST(CompletionTest, NeverOverwritesInTheUsersFolder) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    ASSERT_TRUE(disk.make_directory("/mine"));
    ASSERT_TRUE(disk.make_directory("/mine/s"));
    take_both(disk, "s");
    Behind behind(disk, "/mine");
    behind.finish();
    EXPECT_NE(behind.completion.report().problem.find("never overwritten"), std::string::npos);
    EXPECT_EQ(savepoints(disk, "/mine").at(0).info.path, "/state/savepoints/s");
}

TEST(CompletionTest, ACrashAnywhereLosesNothing) {
    for (const bool elsewhere : {false, true}) {
        const std::string folder = elsewhere ? "/mine" : "";
        SimulatedDisk whole(7);
        ASSERT_TRUE(whole.make_directory("/state"));
        ASSERT_TRUE(whole.make_directory("/mine"));
        ASSERT_TRUE(whole.sync_directory("/"));
        take_both(whole, "s");
        const auto begin = whole.operations();
        {
            Behind behind(whole, folder);
            behind.finish();
        }
        const auto end = whole.operations();
        ASSERT_GT(end, begin + 5);
        for (auto at = begin + 1; at <= end; ++at) {
            for (const auto kind : {CrashKind::power, CrashKind::process}) {
                SimulatedDisk disk(7);
                ASSERT_TRUE(disk.make_directory("/state"));
                ASSERT_TRUE(disk.make_directory("/mine"));
                ASSERT_TRUE(disk.sync_directory("/"));
                take_both(disk, "s");
                disk.crash_at(at, kind);
                {
                    Behind behind(disk, folder);
                    behind.finish();
                }
                ASSERT_TRUE(disk.crashed()) << at;
                const auto next = disk.after_crash(at);
                Catalogue catalogue(*next, StatePaths{"/state", folder});
                ASSERT_TRUE(catalogue.sweep());
                ASSERT_GE(savepoints(*next, folder).size(), 1u)
                    << "a savepoint is never lost: " << at;
                expect_whole(*next, folder);
                Behind behind(*next, folder);
                behind.finish();
                const auto all = savepoints(*next, folder);
                ASSERT_EQ(all.size(), 1u) << at;
                EXPECT_EQ(all[0].info.path, elsewhere ? "/mine/s" : "/state/savepoints/s") << at;
                EXPECT_EQ(all[0].shared_bytes, 0u) << at;
                expect_whole(*next, folder);
            }
        }
    }
}

TEST(Sweep, TakesLeftoversAndNothingThatSomebodyKeepsBesideSnapshots) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    const auto put = [&](const std::string& path) {
        auto file = disk.create(path);
        ASSERT_TRUE(file);
        ASSERT_TRUE((*file)->append("x"));
        ASSERT_TRUE((*file)->flush());
    };
    // A savepoint that its owner has put away in a folder of their own.
    ASSERT_TRUE(disk.make_directory("/state/savepoints/old"));
    ASSERT_TRUE(disk.rename("/state/savepoints/s", "/state/savepoints/old/s"));
    put("/state/savepoints/notes");
    ASSERT_TRUE(disk.make_directory("/state/checkpoints/7"));
    put("/state/checkpoints/7/000001.sst");
    put("/state/checkpoints/7/MANIFEST.json.partial");
    ASSERT_TRUE(disk.make_directory("/state/checkpoints/8"));
    ASSERT_TRUE(disk.make_directory("/state/checkpoints/9"));
    put("/state/checkpoints/9/000001.sst");
    put("/state/checkpoints/9/why.txt");

    Catalogue catalogue(disk, StatePaths{"/state"});
    const auto swept = catalogue.sweep();
    ASSERT_TRUE(swept);
    std::vector<std::string> removed;
    for (const auto& one : swept->removed) {
        removed.push_back(one.path);
    }
    EXPECT_EQ(removed, (std::vector<std::string>{"/state/checkpoints/7", "/state/checkpoints/8"}));
    EXPECT_EQ(swept->foreign,
              (std::vector<std::string>{"/state/checkpoints/9", "/state/savepoints/notes",
                                        "/state/savepoints/old"}));
    EXPECT_TRUE(disk.info("/state/savepoints/old/s/MANIFEST.json"));
    EXPECT_TRUE(disk.info("/state/checkpoints/9/why.txt"));
    EXPECT_FALSE(disk.info("/state/checkpoints/7"));
}

TEST(CompletionTest, RemovesOneThatIsUnderWay) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    Behind behind(disk, "", {.bytes_per_second = 1});
    while (behind.completion.step()) {
    }
    ASSERT_EQ(behind.completion.report().completing, "s");
    model::Status outcome = model::cancelled("not called");
    behind.completion.remove("s", [&](model::Status removed) { outcome = std::move(removed); });
    behind.finish();
    EXPECT_TRUE(outcome);
    EXPECT_TRUE(savepoints(disk).empty());
    behind.completion.remove("s", [&](model::Status removed) { outcome = std::move(removed); });
    behind.finish();
    EXPECT_FALSE(outcome);
}

TEST(CompletionTest, DamageIsNotCopied) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    Catalogue catalogue(disk, StatePaths{"/state"});
    const auto entries = catalogue.list_savepoints();
    ASSERT_TRUE(entries);
    const auto& file = entries->at(0).meta->files.at(0);
    ASSERT_TRUE(disk.flip(entries->at(0).path + "/" + file.name, 3, 1));
    Behind behind(disk);
    behind.finish();
    EXPECT_NE(behind.completion.report().problem.find(file.name), std::string::npos);
    EXPECT_GT(savepoints(disk).at(0).shared_bytes, 0u);
}

TEST(SavepointName, IsOnePlainPartOfAPath) {
    for (const char* name : {"a", "Before-upgrade_2.1", "20250401T120000250Z", "1"}) {
        EXPECT_TRUE(check_savepoint_name(name)) << name;
    }
    for (const std::string& name :
         {std::string(), std::string("."), std::string(".."), std::string("../x"),
          std::string("a/b"), std::string("-x"), std::string(".x"), std::string("a b"),
          std::string("x.partial"), std::string("x.damaged"), std::string("\0", 1),
          std::string("\xc3\xa4"), std::string(129, 'x')}) {
        EXPECT_FALSE(check_savepoint_name(name)) << name;
    }
}

TEST(FreezeSavepoint, OfARetainedCheckpointStartsAgain) {
    SimulatedDisk disk(1);
    ASSERT_TRUE(disk.make_directory("/state"));
    take_both(disk, "s");
    Catalogue catalogue(disk, StatePaths{"/state"});
    const auto checkpoints = catalogue.list();
    ASSERT_TRUE(checkpoints && checkpoints->size() == 1);
    const auto made = freeze_savepoint(disk, catalogue, checkpoints->front(), "of-1");
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_FALSE(freeze_savepoint(disk, catalogue, checkpoints->front(), "of-1"));
    ASSERT_TRUE(catalogue.remove(checkpoints->front().path));
    ASSERT_TRUE(catalogue.remove("/state/savepoints/s"));
    Process p(disk, "b");
    ASSERT_OK(p.start());
    EXPECT_EQ(scan_all(*p.store, kBrief, 100), (Counts{{"a", 3}, {"b", 1}}));
}

}  // namespace
}  // namespace sluice::state
