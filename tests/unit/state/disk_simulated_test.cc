#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/simulation/simulated_disk.h"

namespace sluice::simulation {
namespace {

using state::read_file;

std::string content(state::Disk& disk, const std::string& path) {
    auto bytes = read_file(disk, path, 1 << 30);
    return bytes ? *bytes : "error: " + bytes.error().text;
}

// Appends, and syncs if told to; leaves the file closed.
void write(state::Disk& disk, const std::string& path, const std::string& bytes, bool sync) {
    auto file = disk.create(path);
    ASSERT_TRUE(file) << file.error().text;
    ASSERT_TRUE((*file)->append(bytes));
    if (sync) {
        ASSERT_TRUE((*file)->sync());
    }
}

std::map<std::string, std::string> everything(state::Disk& disk, const std::string& path) {
    std::map<std::string, std::string> all;
    const auto names = disk.list(path);
    for (const std::string& name : *names) {
        const std::string below = path + "/" + name;
        if (disk.info(below)->directory) {
            all[below] = "directory";
            all.merge(everything(disk, below));
        } else {
            all[below] = content(disk, below);
        }
    }
    return all;
}

TEST(SimulatedDisk, WhatWasSyncedSurvivesEveryPowerCut) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        SimulatedDisk disk(seed);
        ASSERT_TRUE(disk.make_directory("/d"));
        write(disk, "/d/a", std::string(1300, 'a'), true);
        ASSERT_TRUE(disk.sync_directory("/d"));
        ASSERT_TRUE(disk.sync_directory("/"));
        {
            auto file = disk.append_to("/d/a");
            ASSERT_TRUE((*file)->append(std::string(2000, 'b')));
            disk.crash_now();
        }
        auto next = disk.after_crash(seed);
        EXPECT_EQ(content(*next, "/d/a").substr(0, 1300), std::string(1300, 'a')) << seed;
    }
}

TEST(SimulatedDisk, UnsyncedBytesTearBySectors) {
    std::set<std::string> outcomes;
    bool later_sector_only = false;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        SimulatedDisk disk(seed);
        write(disk, "/a", std::string(100, 's'), true);
        ASSERT_TRUE(disk.sync_directory("/"));
        {
            auto file = disk.append_to("/a");
            ASSERT_TRUE((*file)->append(std::string(1400, 'u')));
            ASSERT_TRUE((*file)->flush());
        }
        disk.crash_now();
        const std::string after = content(*disk.after_crash(0), "/a");
        ASSERT_GE(after.size(), 100u);
        ASSERT_LE(after.size(), 1500u);
        ASSERT_EQ(after.substr(0, 100), std::string(100, 's'));
        for (std::size_t at = 100; at < after.size();) {
            const std::size_t end = std::min((at / 512 + 1) * 512, after.size());
            const std::string sector = after.substr(at, end - at);
            ASSERT_TRUE(sector == std::string(sector.size(), 'u') ||
                        sector == std::string(sector.size(), '\0'))
                << "seed " << seed << " sector at " << at;
            at = end;
        }
        later_sector_only |= after.size() > 600 && after[200] == '\0' && after[600] == 'u';
        outcomes.insert(after);
    }
    EXPECT_GT(outcomes.size(), 10u);
    EXPECT_TRUE(later_sector_only);
}

TEST(SimulatedDisk, NamesNeedTheirDirectorySynced) {
    int present = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SimulatedDisk disk(seed);
        write(disk, "/a", "x", true);
        disk.crash_now();
        present += disk.after_crash(0)->info("/a") ? 1 : 0;
    }
    EXPECT_GT(present, 10);
    EXPECT_LT(present, 90);
}

TEST(SimulatedDisk, ARemovedNameMayComeBackUntilItsDirectoryIsSynced) {
    int back = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SimulatedDisk disk(seed);
        write(disk, "/a", "x", true);
        ASSERT_TRUE(disk.sync_directory("/"));
        ASSERT_TRUE(disk.remove("/a"));
        disk.crash_now();
        auto next = disk.after_crash(0);
        if (next->info("/a")) {
            ++back;
            EXPECT_EQ(content(*next, "/a"), "x");
        }
    }
    EXPECT_GT(back, 10);
    EXPECT_LT(back, 90);
}

TEST(SimulatedDisk, ARenameNeverLosesBothNames) {
    std::set<std::string> outcomes;
    for (const bool other_directory : {false, true}) {
        for (std::uint64_t seed = 0; seed < 300; ++seed) {
            SimulatedDisk disk(seed);
            ASSERT_TRUE(disk.make_directory("/from"));
            ASSERT_TRUE(disk.make_directory("/to"));
            ASSERT_TRUE(disk.sync_directory("/"));
            const std::string target = other_directory ? "/to/b" : "/from/b";
            write(disk, "/from/a", "new", true);
            write(disk, target, "old", true);
            ASSERT_TRUE(disk.sync_directory("/from"));
            ASSERT_TRUE(disk.sync_directory("/to"));
            ASSERT_TRUE(disk.rename("/from/a", target));
            if (seed % 3 == 1) {
                ASSERT_TRUE(disk.sync_directory("/from"));
            } else if (seed % 3 == 2 && other_directory) {
                ASSERT_TRUE(disk.sync_directory("/to"));
            }
            disk.crash_now();
            auto next = disk.after_crash(0);
            const bool source = next->info("/from/a").has_value();
            const std::string at_target = content(*next, target);
            EXPECT_TRUE(at_target == "new" || at_target == "old") << at_target;
            EXPECT_TRUE(source || at_target == "new") << seed;
            if (!other_directory) {
                EXPECT_NE(source, at_target == "new") << "a rename in one directory is whole";
            }
            if (seed % 3 == 1 || (seed % 3 == 2 && other_directory)) {
                EXPECT_EQ(at_target, "new") << seed;
            }
            outcomes.insert(std::string(other_directory ? "far " : "near ") +
                            (source ? "source " : "") + at_target);
        }
    }
    EXPECT_EQ(outcomes.size(), 5u);  // near: none, all; far: none, all, both names
}

TEST(SimulatedDisk, AProcessCrashLosesOnlyWhatWasNotFlushed) {
    bool lost_some = false;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        SimulatedDisk disk(seed);
        auto file = disk.create("/a");
        ASSERT_TRUE((*file)->append("flushed "));
        ASSERT_TRUE((*file)->flush());
        ASSERT_TRUE((*file)->append("staged"));
        disk.crash_now(CrashKind::process);
        auto next = disk.after_crash(seed);
        const std::string after = content(*next, "/a");
        EXPECT_EQ(after, std::string("flushed staged").substr(0, after.size()));
        EXPECT_GE(after.size(), 8u);
        lost_some |= after.size() < 14;
        // It is seen, but the power can still take it.
        next->crash_now(CrashKind::power);
    }
    EXPECT_TRUE(lost_some);
}

TEST(SimulatedDisk, WhatAProcessCrashLeftIsStillAtRiskUntilSynced) {
    int gone = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        SimulatedDisk disk(seed);
        write(disk, "/a", "x", false);
        disk.crash_now(CrashKind::process);
        auto second = disk.after_crash(seed);
        ASSERT_EQ(content(*second, "/a"), "x");
        if (seed % 2 == 0) {
            auto file = second->append_to("/a");
            ASSERT_TRUE((*file)->sync());
            ASSERT_TRUE(second->sync_directory("/"));
        }
        second->crash_now(CrashKind::power);
        const std::string after = content(*second->after_crash(0), "/a");
        if (seed % 2 == 0) {
            EXPECT_EQ(after, "x");
        } else {
            gone += after != "x" ? 1 : 0;
        }
    }
    EXPECT_GT(gone, 5);
}

TEST(SimulatedDisk, AfterAFailedSyncALaterOneOnlyClaimsSuccess) {
    int lost = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        SimulatedDisk disk(seed);
        auto file = disk.create("/a");
        ASSERT_TRUE(disk.sync_directory("/"));
        ASSERT_TRUE((*file)->append("bytes"));
        disk.fail_at(disk.operations() + 1);
        EXPECT_FALSE((*file)->sync());
        EXPECT_FALSE((*file)->sync()) << "a failed sync is final for the handle";
        EXPECT_FALSE((*file)->append("x"));
        file->reset();
        auto again = disk.append_to("/a");
        EXPECT_TRUE((*again)->sync());
        disk.crash_now();
        lost += content(*disk.after_crash(0), "/a") != "bytes" ? 1 : 0;
    }
    EXPECT_GT(lost, 5);
}

TEST(SimulatedDisk, ReadersSeeWhatWasFlushed) {
    SimulatedDisk disk(1);
    auto file = disk.create("/a");
    ASSERT_TRUE((*file)->append("abc"));
    EXPECT_EQ(content(disk, "/a"), "");
    EXPECT_EQ(disk.info("/a")->size, 0u);
    ASSERT_TRUE((*file)->flush());
    EXPECT_EQ(content(disk, "/a"), "abc");
    EXPECT_EQ((*file)->size(), 3u);
}

TEST(SimulatedDisk, ADiskAtItsBudgetTakesAPartAndThenNothing) {
    SimulatedDisk disk(1);
    disk.set_budget(1000);
    auto file = disk.create("/a");
    ASSERT_TRUE((*file)->append(std::string(900, 'a')));
    const auto full = (*file)->append(std::string(200, 'b'));
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, model::ErrorKind::exhausted);
    EXPECT_FALSE((*file)->sync());
    EXPECT_EQ(disk.space("/")->free_bytes, 0u);
    file->reset();
    ASSERT_TRUE(disk.link("/a", "/b"));
    ASSERT_TRUE(disk.remove("/a"));
    EXPECT_EQ(disk.used_bytes(), 1000u) << "a second name keeps the bytes";
    ASSERT_TRUE(disk.remove("/b"));
    disk.crash_now();
    EXPECT_GE(disk.after_crash(0)->space("/")->free_bytes, 0u);
}

TEST(SimulatedDisk, RemovedBytesAreFreeOnceTheDirectoryIsSynced) {
    SimulatedDisk disk(1);
    disk.set_budget(1000);
    write(disk, "/a", std::string(1000, 'a'), true);
    ASSERT_TRUE(disk.remove("/a"));
    ASSERT_TRUE(disk.sync_directory("/"));
    EXPECT_EQ(disk.used_bytes(), 0u);
}

TEST(SimulatedDisk, HardLinksShareTheirBytes) {
    SimulatedDisk disk(1);
    write(disk, "/a", "one", true);
    ASSERT_TRUE(disk.link("/a", "/b"));
    EXPECT_EQ(disk.info("/a")->links, 2u);
    EXPECT_EQ(disk.info("/a")->inode, disk.info("/b")->inode);
    ASSERT_TRUE(disk.sync_directory("/"));
    {
        auto file = disk.append_to("/b");
        ASSERT_TRUE((*file)->append(" two"));
        ASSERT_TRUE((*file)->sync());
    }
    EXPECT_EQ(content(disk, "/a"), "one two");
    disk.crash_now();
    auto next = disk.after_crash(0);
    EXPECT_EQ(content(*next, "/a"), "one two");
    EXPECT_EQ(next->info("/a")->links, 2u);
    EXPECT_EQ(next->used_bytes(), 7u);
}

TEST(SimulatedDisk, AGhostHasNoEffect) {
    SimulatedDisk disk(7);
    write(disk, "/a", std::string(70000, 'a'), true);
    ASSERT_TRUE(disk.sync_directory("/"));
    disk.crash_now();
    {
        auto file = disk.append_to("/a");
        ASSERT_TRUE((*file)->append("ghost"));
        ASSERT_TRUE((*file)->sync());
        ASSERT_TRUE(disk.rename("/a", "/b"));
        ASSERT_TRUE(disk.sync_directory("/"));
    }
    EXPECT_EQ(content(disk, "/b").size(), 70005u) << "the ghost sees its own doings";
    auto next = disk.after_crash(0);
    EXPECT_EQ(content(*next, "/a"), std::string(70000, 'a'));
    {
        auto file = next->append_to("/a");
        ASSERT_TRUE((*file)->append("next life"));
        ASSERT_TRUE((*file)->sync());
    }
    EXPECT_EQ(content(*disk.after_crash(0), "/a").size(), 70000u) << "each next life is its own";
}

// A little of everything, as one string of outcomes.
std::string script(std::uint64_t seed, std::uint64_t crash_operation, std::uint64_t failure) {
    SimulatedDisk disk(seed);
    disk.crash_at(crash_operation);
    if (failure != 0) {
        disk.fail_at(failure);
    }
    std::string log;
    const auto note = [&](bool ok) { log += ok ? '+' : '-'; };
    note(disk.make_directory("/d").has_value());
    note(disk.sync_directory("/").has_value());
    for (int i = 0; i < 5; ++i) {
        const std::string name = "/d/" + std::to_string(i);
        auto file = disk.create(name);
        note(file.has_value());
        if (file) {
            note((*file)
                     ->append(std::string(300 * static_cast<std::size_t>(i + 1), 'x'))
                     .has_value());
            note(i % 2 == 0 || (*file)->sync());
        }
        note(disk.link(name, name + "-linked").has_value());
        note(disk.rename(name, name + "-renamed").has_value());
        note(i % 3 == 0 || disk.sync_directory("/d"));
    }
    note(disk.remove("/d/0-linked").has_value());
    log += ' ' + std::to_string(disk.operations());
    if (disk.crashed()) {
        for (const auto& [path, bytes] : everything(*disk.after_crash(0), "")) {
            log += ' ' + path + '=' + bytes;
        }
    }
    return log;
}

TEST(SimulatedDisk, SameSeedSameOutcome) {
    std::set<std::string> outcomes;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        for (std::uint64_t crash = 1; crash < 34; ++crash) {
            const std::string once = script(seed, crash, crash % 7);
            EXPECT_EQ(once, script(seed, crash, crash % 7)) << seed << " " << crash;
            outcomes.insert(once);
        }
    }
    EXPECT_GT(outcomes.size(), 100u);
}

TEST(SimulatedDisk, DirectoriesMoveWithWhatTheyHold) {
    SimulatedDisk disk(3);
    ASSERT_TRUE(disk.make_directory("/a"));
    write(disk, "/a/file", "x", true);
    ASSERT_TRUE(disk.sync_directory("/a"));
    ASSERT_TRUE(disk.rename("/a", "/b"));
    ASSERT_TRUE(disk.sync_directory("/"));
    EXPECT_FALSE(disk.remove("/b")) << "not empty";
    disk.crash_now();
    auto next = disk.after_crash(0);
    EXPECT_EQ(content(*next, "/b/file"), "x");
    EXPECT_FALSE(next->info("/a"));
    ASSERT_TRUE(state::remove_tree(*next, "/b"));
    EXPECT_TRUE(next->list("/")->empty());
}

TEST(SimulatedDisk, AFileIsReplacedWholeOrNotAtAll) {
    // state::write_file_durably against a crash at each of its operations.
    std::set<std::string> outcomes;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        for (std::uint64_t at = 1;; ++at) {
            SimulatedDisk disk(seed);
            ASSERT_TRUE(state::write_file_durably(disk, "/f", std::string(1500, 'o')));
            const std::uint64_t before = disk.operations();
            disk.crash_at(before + at);
            ASSERT_TRUE(state::write_file_durably(disk, "/f", std::string(1500, 'n')));
            if (!disk.crashed()) {
                break;
            }
            const std::string after = content(*disk.after_crash(0), "/f");
            ASSERT_TRUE(after == std::string(1500, 'o') || after == std::string(1500, 'n'))
                << "seed " << seed << " operation " << at;
            outcomes.insert(after);
        }
    }
    EXPECT_EQ(outcomes.size(), 2u);
}

}  // namespace
}  // namespace sluice::simulation
