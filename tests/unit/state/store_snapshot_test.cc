#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "state/model/fail_point.h"
#include "state/store/verifier.h"
#include "tests/unit/state/store_support.h"

namespace sluice::state {
namespace {

using Outcome = SnapshotResult::Outcome;

std::string text_of(Disk& disk, const std::string& path) {
    const auto text = read_file(disk, path, 1 << 30);
    EXPECT_TRUE(text) << (text ? "" : text.error().text);
    return text.value_or("");
}

// Three checkpoints: barriers 1, 2, 3; the slice 1000 has "a" counted 1, 3, 6.
void three_checkpoints(Process& p) {
    for (model::BarrierNumber n = 1; n <= 3; ++n) {
        p.store->add_tables(
            n, {table_of(kBrief, 1000, {{"a", n}}), table_of(kStandard, 5000, {{"b", n}})});
        const auto result = p.checkpoint(n);
        ASSERT_EQ(result.outcome, Outcome::done) << result.error.text;
    }
}

TEST(Snapshot, AFreshDirectoryStartsEmpty) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    EXPECT_FALSE(p.meta);
    EXPECT_EQ(p.restore->from(), "");
    EXPECT_TRUE(p.restore->rejected().empty());
}

TEST(Snapshot, RestoresTheNewestOneWithEverythingItHeld) {
    const auto disk = new_disk();
    CheckpointMeta committed;
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
        p.store->add_tables(4, {table_of(kBrief, 1000, {{"a", 100}})});  // not sealed: lost
        auto meta = meta_of(3);
        const auto infos = p.catalogue.describe();
        ASSERT_OK(infos);
        ASSERT_EQ(infos->size(), 3u);
        EXPECT_EQ(infos->front().id, 3u);
        EXPECT_GT(infos->front().bytes, infos->front().new_bytes);
    }
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    ASSERT_TRUE(p.meta);
    EXPECT_EQ(p.meta->number, 3u);
    EXPECT_EQ(p.meta->id, 3u);
    EXPECT_EQ(p.meta->partitions, meta_of(3).partitions);
    EXPECT_EQ(p.meta->taken, "2023-11-14T22:13:20.003Z");
    EXPECT_EQ(p.restore->from(), "/state/checkpoints/3");
    EXPECT_EQ(p.restore->bytes(), p.restore->total_bytes());
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 6}}));
    EXPECT_EQ(scan_all(*p.store, kStandard, 5000), (Counts{{"b", 6}}));
    // And goes on from there.
    p.store->add_tables(4, {table_of(kBrief, 1000, {{"a", 4}})});
    ASSERT_EQ(p.checkpoint(4).outcome, Outcome::done);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 10}}));
}

TEST(Snapshot, LaterIngestsAndCompactionsNeverTouchItsBytes) {
    const auto disk = new_disk();
    Process p(*disk);
    p.retention.keep = 100;
    ASSERT_OK(p.start());
    three_checkpoints(p);
    std::map<std::string, std::string> before;
    const auto names = disk->list("/state/checkpoints/3");
    ASSERT_OK(names);
    for (const auto& name : value_of(names)) {
        before[name] = text_of(*disk, "/state/checkpoints/3/" + name);
    }
    EXPECT_GT(before.size(), 5u);
    for (model::BarrierNumber n = 4; n < 20; ++n) {
        p.store->add_tables(n, {table_of(kBrief, 1000, {{"a", n}}),
                                table_of(kStandard, 5000, {{"b", n}, {"c", 1}})});
        auto meta = meta_of(n);
        if (n == 12) {
            meta.reductions[0].dropped = 1000;
        }
        ASSERT_EQ(p.checkpoint(meta).outcome, Outcome::done);
    }
    for (const auto& [name, bytes] : before) {
        EXPECT_EQ(text_of(*disk, "/state/checkpoints/3/" + name), bytes) << name;
    }
}

TEST(Snapshot, SpillsAreInTheNextCheckpoint) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 1}})});
        SnapshotJob spill;
        spill.kind = SnapshotJob::Kind::spill;
        spill.number = 1;
        spill.meta.reductions = two_reductions();
        const auto result = p.run(spill);
        EXPECT_EQ(result.outcome, Outcome::done);
        EXPECT_EQ(result.rows, 1u);
        EXPECT_EQ(p.catalogue.list()->size(), 0u);
        p.store->add_tables(2, {table_of(kBrief, 1000, {{"a", 2}})});
        ASSERT_EQ(p.checkpoint(2).outcome, Outcome::done);
    }
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 3}}));
}

TEST(Snapshot, RetentionCountsValidOnesAndKeepsTwoWhateverTheirSize) {
    const auto disk = new_disk();
    Process p(*disk);
    p.retention.keep = 1;
    p.retention.max_bytes = 1;
    ASSERT_OK(p.start());
    three_checkpoints(p);
    const auto entries = p.catalogue.list();
    ASSERT_OK(entries);
    ASSERT_EQ(entries->size(), 2u);
    EXPECT_EQ((*entries)[0].id, 3u);
    EXPECT_EQ((*entries)[1].id, 2u);
    // A damaged one is none of the two.
    ASSERT_OK(p.catalogue.set_damaged(p.catalogue.paths().checkpoint(3), "test", false));
    auto result = p.checkpoint(4);
    EXPECT_EQ(p.catalogue.list()->size(), 3u);
    EXPECT_EQ(result.journal_needed_after, 2u);
    result = p.checkpoint(5);
    EXPECT_EQ(p.catalogue.list()->size(), 2u) << "and goes when newer ones are there";
    EXPECT_EQ(result.journal_needed_after, 4u);
}

TEST(Snapshot, RetentionByBytesCountsASharedFileOnce) {
    const auto disk = new_disk();
    Process p(*disk);
    p.retention.keep = 10;
    ASSERT_OK(p.start());
    three_checkpoints(p);
    ASSERT_OK(p.catalogue.retain({10, std::nullopt}));
    EXPECT_EQ(p.catalogue.list()->size(), 3u);
    std::uint64_t all = 0, distinct = 0;
    for (const auto& info : value_of(p.catalogue.describe())) {
        all += info.bytes;
        distinct += info.new_bytes;
    }
    ASSERT_LT(distinct, all);
    ASSERT_OK(p.catalogue.retain({10, distinct}));
    EXPECT_EQ(p.catalogue.list()->size(), 3u);
    ASSERT_OK(p.catalogue.retain({10, distinct / 2}));
    EXPECT_EQ(p.catalogue.list()->size(), 2u);
}

TEST(Snapshot, SaysWhatItCostTheThread) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    p.clock.cpu_per_look_ns = 1000;
    const auto first = p.checkpoint(1);
    EXPECT_EQ(first.checkpoint.cpu_ns, 6'000u) << "six phases, a look before and behind each";
    const auto second = p.checkpoint(2);
    EXPECT_EQ(second.checkpoint.cpu_ns, 6'000u) << "of this job alone";
}

TEST(Snapshot, BelowTheReserveItIsSkippedAndTheNextOneHasEverything) {
    const auto disk = new_disk();
    Process p(*disk);
    p.reserve = std::uint64_t{1} << 50;
    ASSERT_OK(p.start());
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 1}})});
    const auto result = p.checkpoint(1);
    EXPECT_EQ(result.outcome, Outcome::skipped);
    EXPECT_EQ(result.error.kind, model::ErrorKind::exhausted);
    EXPECT_TRUE(p.snapshotter->short_of_space());
    p.snapshotter = std::make_unique<Snapshotter>(SnapshotterOptions{}, *disk, p.clock, *p.store,
                                                  p.catalogue, p.inputs);
    ASSERT_EQ(p.checkpoint(2).outcome, Outcome::done);
    EXPECT_FALSE(p.snapshotter->short_of_space());
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 1}}));
}

TEST(Snapshot, AHookThatFailsSkipsIt) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    SnapshotJob job;
    job.number = 1;
    job.meta = meta_of(1);
    job.before_commit = [](CheckpointMeta&) {
        return model::Status(model::unavailable("dead letters"));
    };
    const auto result = p.run(job);
    EXPECT_EQ(result.outcome, Outcome::skipped);
    EXPECT_EQ(result.error.text, "dead letters");
    EXPECT_TRUE(p.catalogue.list()->empty());
    EXPECT_TRUE(disk->list("/state/checkpoints")->empty());
    ASSERT_EQ(p.checkpoint(2).outcome, Outcome::done);
}

TEST(Snapshot, AnyChangedByteOfTheManifestIsNoticed) {
    const auto text = manifest_text([] {
        auto meta = meta_of(7);
        meta.files = {{"000001.sst", 5, std::string(32, '0')}};
        return meta;
    }());
    ASSERT_OK(parse_manifest(text));
    for (std::size_t i = 0; i < text.size(); ++i) {
        auto damaged = text;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x04);
        EXPECT_FALSE(parse_manifest(damaged)) << i;
        EXPECT_FALSE(parse_manifest(text.substr(0, i))) << i;
    }
    EXPECT_FALSE(parse_manifest(text + " "));
}

TEST(Snapshot, ANewerFormatIsRefusedByName) {
    auto meta = meta_of(7);
    meta.format = kSnapshotFormatVersion + 1;
    const auto parsed = parse_manifest(manifest_text(meta));
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().text.find("written by a newer Sluice: format"), std::string::npos);
}

TEST(Snapshot, EveryMemberSurvivesTheManifest) {
    auto meta = meta_of(7);
    meta.id = 12;
    meta.kind = SnapshotKind::savepoint;
    meta.reset_sink = true;
    meta.taken = rfc3339(meta.clock);
    meta.cut_floor = -5;
    meta.closed = 17;
    meta.tick = 15'000;
    meta.cap = 99;
    meta.event_completeness = {{100, model::kAfterAll}, {200, 150}, {300, model::kBeforeAll}};
    meta.processing_completeness = {{-1, 7}};
    meta.inputs = inputs_hash("x");
    meta.files = {{"000001.sst", 5, std::string(32, 'a')}};
    meta.reductions[0].acknowledged = 10;
    meta.reductions[0].dropped = -10;
    meta.reductions[0].fired = 20;
    meta.reductions[0].schema_hash = ~std::uint64_t{0};
    auto& partition = meta.partitions[0];
    partition.max_timestamp = 5;
    partition.watermark_floor = 4;
    partition.idle = partition.read_from_zero = partition.empty_at_first_sight = true;
    partition.incomplete_before = 3;
    partition.ledger = {8, 1, 2, 3, 1, 1, 1, 1};
    const auto parsed = parse_manifest(manifest_text(meta));
    ASSERT_OK(parsed);
    EXPECT_EQ(*parsed, meta);
}

// Damage of each kind in the newest snapshot: the one before it is used, and the reason is said.
TEST(Restore, TakesTheNextOlderOneAndSaysWhy) {
    struct Case {
        const char* reason;
        std::function<void(simulation::SimulatedDisk&, const std::string&)> damage;
        bool full = false;
    };
    const auto table = [](Disk& disk, const std::string& path) {
        for (const auto& name : value_of(disk.list(path))) {
            if (name.ends_with(".sst")) {
                return path + "/" + name;
            }
        }
        return std::string("no table");
    };
    const auto newest_table = [](Disk& disk, const std::string& path) {
        std::string found;
        for (const auto& name : value_of(disk.list(path))) {
            if (name.ends_with(".sst")) {
                found = path + "/" + name;
            }
        }
        return found;
    };
    const std::vector<Case> cases{
        {"does not match its checksum",
         [](auto& disk, const auto& path) {
             ASSERT_OK(disk.flip(path + "/MANIFEST.json", 40, 1));
         }},
        {"not complete",
         [](auto& disk, const auto& path) {
             ASSERT_OK(disk.truncate(path + "/MANIFEST.json", 100));
         }},
        {"is missing",
         [&](auto& disk, const auto& path) { ASSERT_OK(disk.remove(table(disk, path))); }},
        {"bytes instead of",
         [&](auto& disk, const auto& path) {
             ASSERT_OK(disk.truncate(newest_table(disk, path), 10));
         }},
        {"does not end like a table",
         [&](auto& disk, const auto& path) {
             const auto name = newest_table(disk, path);
             ASSERT_OK(disk.flip(name, disk.info(name)->size - 1, 1));
         }},
        {"CURRENT does not match its checksum",
         [](auto& disk, const auto& path) { ASSERT_OK(disk.flip(path + "/CURRENT", 3, 1)); }},
        {"does not match its checksum",
         [&](auto& disk, const auto& path) {
             ASSERT_OK(disk.flip(newest_table(disk, path), 5, 1));
         },
         true},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.reason);
        const auto disk = new_disk();
        {
            Process p(*disk);
            ASSERT_OK(p.start());
            three_checkpoints(p);
        }
        c.damage(*disk, "/state/checkpoints/3");
        Process p(*disk, "b");
        auto options = p.restore_options();
        options.verify_full = c.full;
        ASSERT_OK(p.start(std::move(options)));
        ASSERT_TRUE(p.meta);
        EXPECT_EQ(p.meta->number, 2u);
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 3}}));
        ASSERT_EQ(p.restore->rejected().size(), 1u);
        EXPECT_EQ(p.restore->rejected()[0].path, "/state/checkpoints/3");
        EXPECT_NE(p.restore->rejected()[0].reason.find(c.reason), std::string::npos)
            << p.restore->rejected()[0].reason;
        // The next checkpoint takes a new id and is the one that the next start finds.
        const auto result = p.checkpoint(3);
        ASSERT_EQ(result.outcome, Outcome::done) << result.error.text;
        EXPECT_EQ(result.checkpoint.id, 4u);
        EXPECT_EQ(result.note, "");
    }
}

TEST(Restore, EveryByteAndEveryLengthOfADataFileCounts) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        Counts counts;
        for (int i = 0; i < 1200; ++i) {
            counts["a key that is somewhat long " + std::to_string(i)] = 1;
        }
        p.store->add_tables(1, {table_of(kBrief, 1000, counts)});
        ASSERT_EQ(p.checkpoint(1).outcome, Outcome::done);
    }
    Process p(*disk, "b");
    const auto entry = value_of(p.catalogue.look_at("/state/checkpoints/1"));
    ASSERT_TRUE(entry.meta);
    const auto& files = entry.meta->files;
    const auto& file = *std::max_element(
        files.begin(), files.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
    const auto path = entry.path + "/" + file.name;
    ASSERT_TRUE(file.name.ends_with(".sst"));
    ASSERT_GE(file.size, 64U << 10);
    ASSERT_OK(p.catalogue.validate(entry));
    ASSERT_OK(p.catalogue.validate_bytes(entry, file));
    for (std::uint64_t at = 0; at < file.size; ++at) {
        ASSERT_OK(disk->flip(path, at, static_cast<std::uint8_t>(1U << (at % 8))));
        const auto status = p.catalogue.validate_bytes(entry, file);
        ASSERT_FALSE(status) << "byte " << at;
        ASSERT_EQ(status.error().kind, model::ErrorKind::corrupt);
        ASSERT_OK(disk->flip(path, at, static_cast<std::uint8_t>(1U << (at % 8))));
    }
    ASSERT_OK(p.catalogue.validate_bytes(entry, file));
    for (std::uint64_t size = file.size; size-- > 0;) {
        ASSERT_OK(disk->truncate(path, size));
        const auto status = p.catalogue.validate(entry);
        ASSERT_FALSE(status) << size << " bytes";
        ASSERT_EQ(status.error().kind, model::ErrorKind::corrupt);
    }
}

TEST(Restore, FilesSwappedOrGoneAreNoticedAndTheOlderOneIsTaken) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    const std::string folder = "/state/checkpoints/3/";
    const auto names = value_of(disk->list("/state/checkpoints/3"));
    ASSERT_GE(names.size(), 7U);
    int starts = 0;
    const auto takes_the_older = [&](const std::string& what, bool full) {
        SCOPED_TRACE(what + (full ? ", every byte read" : ""));
        Process p(*disk, "s" + std::to_string(++starts));
        auto options = p.restore_options();
        options.verify_full = full;
        ASSERT_OK(p.start(std::move(options)));
        ASSERT_TRUE(p.meta);
        EXPECT_EQ(p.meta->number, 2U);
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 3}}));
        EXPECT_EQ(scan_all(*p.store, kStandard, 5000), (Counts{{"b", 3}}));
        ASSERT_EQ(p.restore->rejected().size(), what == "no manifest" ? 0U : 1U);
        // What a start remembers of the damage, so that the next one finds it by itself.
        ASSERT_OK(disk->remove("/state/checkpoints/3.damaged"));
        ASSERT_OK(disk->remove("/state/VERIFY"));
    };
    const auto swap = [&](const std::string& one, const std::string& other) {
        ASSERT_OK(disk->rename(folder + one, "/state/aside"));
        ASSERT_OK(disk->rename(folder + other, folder + one));
        ASSERT_OK(disk->rename("/state/aside", folder + other));
    };
    for (std::size_t i = 0; i < names.size(); ++i) {
        for (std::size_t k = i + 1; k < names.size(); ++k) {
            if (text_of(*disk, folder + names[i]) == text_of(*disk, folder + names[k])) {
                continue;  // the same bytes under two names say the same
            }
            swap(names[i], names[k]);
            for (const bool full : {false, true}) {
                takes_the_older(names[i] + " and " + names[k] + " swapped", full);
            }
            swap(names[i], names[k]);
        }
    }
    for (const auto& name : names) {
        if (name != kManifestName) {
            ASSERT_OK(disk->rename(folder + name, "/state/aside"));
            takes_the_older(name + " gone", false);
            ASSERT_OK(disk->rename("/state/aside", folder + name));
        }
    }
    {
        Process p(*disk, "whole");
        ASSERT_OK(p.start());
        ASSERT_TRUE(p.restore->rejected().empty()) << p.restore->rejected()[0].reason;
        EXPECT_EQ(p.meta->number, 3U) << "nothing of it was touched meanwhile";
    }
    ASSERT_OK(disk->remove(folder + std::string(kManifestName)));
    takes_the_older("no manifest", false);
}

TEST(Restore, AsksOutsideAndPassesItsReasonOn) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    Process p(*disk, "b");
    auto options = p.restore_options();
    int down = 2;
    options.journal_covers = [](const CheckpointMeta& meta) {
        return meta.number == 3 ? model::Status(model::corrupt("a gap")) : model::Status{};
    };
    options.source_has = [&](const CheckpointMeta& meta) {
        if (down-- > 0) {
            return model::Status(model::unavailable("broker"));
        }
        return meta.number == 2 ? model::Status(model::invalid("offsets are gone"))
                                : model::Status{};
    };
    Restore restore(std::move(options), p.catalogue, p.inputs);
    int refused = 0;
    for (int i = 0; i < 100 && restore.phase() != Restore::Phase::done; ++i) {
        const auto phase = restore.step();
        if (!phase) {
            EXPECT_EQ(phase.error().text, "broker");
            EXPECT_EQ(restore.phase(), Restore::Phase::verify);
            ++refused;
        }
    }
    EXPECT_EQ(refused, 2);
    ASSERT_EQ(restore.phase(), Restore::Phase::done);
    auto restored = restore.finish();
    EXPECT_EQ(restored.meta->number, 1u);
    ASSERT_EQ(restore.rejected().size(), 2u);
    EXPECT_EQ(restore.rejected()[0].reason, "a gap");
    EXPECT_EQ(restore.rejected()[1].reason, "offsets are gone");
}

TEST(Restore, ADirectoryThatHadStateIsNeverAFreshStart) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    for (const auto* id : {"1", "2", "3"}) {
        ASSERT_OK(disk->flip(std::string("/state/checkpoints/") + id + "/MANIFEST.json", 3, 1));
    }
    {
        Process p(*disk, "b");
        const auto started = p.start();
        ASSERT_FALSE(started);
        EXPECT_EQ(started.error().kind, model::ErrorKind::corrupt);
        EXPECT_EQ(p.restore->rejected().size(), 3u);
        for (const auto* id : {"1", "2", "3"}) {
            EXPECT_NE(started.error().text.find(std::string("checkpoints/") + id + ": "),
                      std::string::npos);
        }
    }
    ASSERT_OK(remove_tree(*disk, "/state/checkpoints"));
    {
        Process p(*disk, "c");
        const auto started = p.start();
        ASSERT_FALSE(started) << "the marker remembers";
        EXPECT_EQ(started.error().kind, model::ErrorKind::corrupt);
    }
    {
        Process p(*disk, "d");
        auto options = p.restore_options();
        options.fresh = true;
        ASSERT_OK(p.start(std::move(options)));
        EXPECT_FALSE(p.meta);
    }
    ASSERT_OK(disk->remove("/state/INITIALIZED"));
    Process p(*disk, "e");
    auto options = p.restore_options();
    options.journal_has_entries = true;
    ASSERT_FALSE(p.start(std::move(options)));
}

TEST(Restore, InputsThatCannotBeRunRejectASnapshot) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
        EXPECT_EQ(*p.inputs.read(inputs_hash("settings")), "settings");
        EXPECT_EQ(disk->list("/state/inputs")->size(), 1u);
    }
    Process p(*disk, "b");
    auto options = p.restore_options();
    options.source_has = [&](const CheckpointMeta& meta) -> model::Status {
        EXPECT_TRUE(disk->info(p.restore->from() + "/INPUTS-" + meta.inputs).has_value());
        return model::invalid("inputs of another release");
    };
    ASSERT_FALSE(p.start(std::move(options)));
    ASSERT_EQ(p.restore->rejected().size(), 3u);
    EXPECT_EQ(p.restore->rejected()[0].reason, "inputs of another release");
}

// What was kept is there after a power cut, also where the folder itself had been lost in one.
TEST(Restore, KeptInputsLastWithTheFolderThatHoldsThem) {
    const auto disk = new_disk();
    Inputs inputs(*disk, "/state/inputs");
    const auto hash = inputs.keep("edited");
    ASSERT_OK(hash);
    disk->crash_now(simulation::CrashKind::power);
    const auto after = disk->after_crash(1);
    EXPECT_EQ(value_of(Inputs(*after, "/state/inputs").read(*hash)), "edited");
}

// After an edit a reduction goes on under a new number; rows of the old one are read with its own.
TEST(Restore, RowsOfAFormerDefinitionBelongToTheirReduction) {
    const auto disk = new_disk();
    constexpr std::uint32_t kNew = 77;
    auto meta = meta_of(20);
    meta.reductions[1].number = kNew;
    meta.reductions[1].former = {
        {kStandard, Family::standard, {{0, config::ReductionKind::count}}}};
    meta.reductions[1].incomplete_before = 150;
    meta.reductions[1].closed = 90;
    meta.retired = {{kBrief, Family::brief}};
    meta.reductions[0].number = 78;
    Counts many = {{"a", 1}, {"b", 2}};  // more than a block of a file, so that it has a size
    for (int i = 0; i < 5000; ++i) {
        many["k" + std::to_string(i)] = 1;
    }
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        p.store->add_tables(10,
                            {table_of(kStandard, 100, many), table_of(kStandard, 200, {{"a", 4}}),
                             table_of(kBrief, 100, {{"x", 1}})});
        ASSERT_EQ(p.checkpoint(10).outcome, SnapshotResult::Outcome::done);
        p.store->set_reductions(meta.reductions);
        p.store->add_tables(20, {table_of(kNew, 200, {{"a", 8}, {"c", 16}})});
        EXPECT_EQ(scan_all(*p.store, kNew, 200), (Counts{{"a", 12}, {"c", 16}}));
        ASSERT_EQ(p.checkpoint(meta).outcome, SnapshotResult::Outcome::done);
        EXPECT_TRUE(scan_all(*p.store, kBrief, 100).empty()) << "retired";
    }
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    EXPECT_EQ(p.meta->reductions, meta.reductions);
    EXPECT_EQ(p.meta->retired, meta.retired);
    EXPECT_EQ(scan_all(*p.store, kNew, 100), many);
    EXPECT_EQ(scan_all(*p.store, kNew, 200), (Counts{{"a", 12}, {"c", 16}}));
    EXPECT_EQ(*p.store->windows_after(kNew, 0), (std::vector<model::EventTime>{100, 200}));
    EXPECT_GT(p.store->bytes_between(kNew, 0, 100), 0u) << "retained results have a budget";
    EXPECT_TRUE(scan_all(*p.store, kBrief, 100).empty());
    // They expire together.
    ASSERT_OK(p.store->set_dropped(kNew, 100));
    EXPECT_EQ(*p.store->windows_after(kNew, 0), (std::vector<model::EventTime>{200}));
    EXPECT_TRUE(scan_all(*p.store, kStandard, 100).empty());
}

TEST(Restore, AnotherPipelinesSnapshotIsRejected) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    Process p(*disk, "b");
    auto options = p.restore_options();
    options.pipeline = "orders";
    ASSERT_FALSE(p.start(std::move(options)));
    EXPECT_EQ(p.restore->rejected().size(), 3u);
}

TEST(Restore, AManifestThatIsNotOfTheseRowsIsRejected) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    const std::string path = "/state/checkpoints/3/MANIFEST.json";
    auto manifest = parse_manifest(text_of(*disk, path));
    ASSERT_OK(manifest);
    manifest->partitions[0].next_offset += 1;
    ASSERT_OK(write_file_durably(*disk, path, manifest_text(*manifest)));
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    EXPECT_EQ(p.meta->number, 2u);
    ASSERT_EQ(p.restore->rejected().size(), 1u);
    EXPECT_NE(p.restore->rejected()[0].reason.find("different barriers"), std::string::npos);
}

TEST(Restore, KeepsTheDropRule) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        p.store->add_tables(
            1, {table_of(kStandard, 1000, {{"a", 1}}), table_of(kStandard, 2000, {{"a", 2}})});
        auto meta = meta_of(1);
        meta.reductions[1].acknowledged = 1000;
        meta.reductions[1].dropped = 1000;
        ASSERT_EQ(p.checkpoint(meta).outcome, Outcome::done);
        EXPECT_EQ(scan_all(*p.store, kStandard, 1000), Counts{});
    }
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    EXPECT_EQ(scan_all(*p.store, kStandard, 1000), Counts{});
    EXPECT_EQ(*p.store->windows_after(kStandard, model::kBeforeAll),
              std::vector<model::EventTime>{2000});
    p.store->add_tables(2, {table_of(kStandard, 1000, {{"a", 9}})});
    EXPECT_EQ(p.store->table_rows(), 0u);
}

TEST(Verifier, FindsDamageBehindTheGateAndTheNextStartTakesAnother) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    std::string newest;
    for (const auto& name : value_of(disk->list("/state/checkpoints/3"))) {
        if (name.ends_with(".sst")) {
            newest = name;
        }
    }
    ASSERT_OK(disk->flip("/state/checkpoints/3/" + newest, 5, 1));
    {
        Process p(*disk, "b");
        ASSERT_OK(p.start());
        ASSERT_EQ(p.meta->number, 3u) << "footers and sizes are right";
        Verifier verifier(*disk, p.catalogue, p.clock, 1000);
        verifier.begin(p.restore->from(), *p.meta);
        model::Result<bool> step = true;
        int waited = 0;
        while (step && !verifier.done()) {
            step = verifier.step();
            if (step && !*step) {
                p.clock.now_ms += 1000;
                ++waited;
            }
        }
        ASSERT_FALSE(step);
        EXPECT_GT(waited, 1) << "it keeps to its rate";
        EXPECT_EQ(step.error().kind, model::ErrorKind::corrupt);
        EXPECT_NE(step.error().text.find("damaged snapshots: /state/checkpoints/3"),
                  std::string::npos)
            << step.error().text;
    }
    Process p(*disk, "c");
    ASSERT_OK(p.start());
    EXPECT_EQ(p.meta->number, 2u);
    EXPECT_EQ(p.restore->rejected().size(), 1u);
    Verifier verifier(*disk, p.catalogue, p.clock, 1 << 30);
    verifier.begin(p.restore->from(), *p.meta);
    while (!verifier.done()) {
        const auto step = verifier.step();
        ASSERT_OK(step);
        p.clock.now_ms += 1;
    }
}

// A file that the newest snapshot has and no other.
std::string own_table(Disk& disk) {
    std::set<std::uint64_t> shared;
    for (const auto* id : {"1", "2"}) {
        const auto path = std::string("/state/checkpoints/") + id;
        for (const auto& name : value_of(disk.list(path))) {
            shared.insert(disk.info(path + "/" + name)->inode);
        }
    }
    const std::string path = "/state/checkpoints/3";
    for (const auto& name : value_of(disk.list(path))) {
        if (name.ends_with(".sst") && !shared.contains(disk.info(path + "/" + name)->inode)) {
            return path + "/" + name;
        }
    }
    return "none";
}

TEST(Snapshot, DamageOfWhatWasRestoredEndsTheRunBeforeAnotherCheckpoint) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    const std::string damaged = own_table(*disk);
    ASSERT_OK(disk->flip(damaged, 5, 1));
    {
        Process p(*disk, "b");
        ASSERT_OK(p.start());
        ASSERT_EQ(p.meta->number, 3u);
        p.snapshotter->verify(p.restore->from(), *p.meta);
        // Jobs come first. They link the damaged file, and retention leaves what does not.
        p.background = false;
        for (model::BarrierNumber n = 4; n <= 7; ++n) {
            SnapshotJob job;
            job.number = n;
            job.meta = meta_of(n);
            job.inputs_text = "settings";
            p.snapshotter->submit(std::move(job));
        }
        std::optional<SnapshotResult> result;
        int done = 0;
        while (p.snapshotter->step()) {
            if (auto next = p.snapshotter->take_result()) {
                done += next->outcome == Outcome::done ? 1 : 0;
                result = std::move(next);
            }
        }
        ASSERT_TRUE(result);
        EXPECT_EQ(done, 4);
        EXPECT_EQ(result->outcome, Outcome::unusable);
        EXPECT_EQ(result->error.kind, model::ErrorKind::corrupt);
        EXPECT_NE(result->error.text.find(damaged.substr(damaged.rfind('/'))), std::string::npos)
            << result->error.text;
        EXPECT_GT(p.snapshotter->verified().total_bytes, 0u);
        // Nothing is committed behind it.
        SnapshotJob job;
        job.number = 8;
        job.meta = meta_of(8);
        job.inputs_text = "settings";
        p.snapshotter->submit(std::move(job));
        EXPECT_FALSE(p.snapshotter->step());
    }
    Process p(*disk, "c");
    ASSERT_OK(p.start());
    EXPECT_EQ(p.meta->number, 2u);
    EXPECT_EQ(p.restore->rejected().size(), 4u);  // 7, 6, 5 and 3 have the file; 4 is gone
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 3}}));
    // All is read, nothing found: older ones go as usual.
    p.snapshotter->verify(p.restore->from(), *p.meta);
    while (p.snapshotter->verified().bytes < p.snapshotter->verified().total_bytes) {
        p.clock.now_ms += 1;
        ASSERT_TRUE(p.snapshotter->step());
        ASSERT_FALSE(p.snapshotter->take_result());
    }
    for (model::BarrierNumber n = 3; n <= 6; ++n) {
        ASSERT_EQ(p.checkpoint(n).outcome, Outcome::done);
    }
    EXPECT_EQ(p.catalogue.list()->size(), 3u);
}

TEST(Verifier, WhatItsOwnerTakesAwayIsNoDamageAndWhatIsMissingIs) {
    for (const bool whole : {true, false}) {
        const auto disk = new_disk();
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
        const auto table = own_table(*disk);
        const auto path = table.substr(0, table.rfind('/'));
        Verifier verifier(*disk, p.catalogue, p.clock, 1 << 30);
        verifier.begin(path, p.catalogue.list()->front().meta.value());
        ASSERT_OK(whole ? p.catalogue.remove(path) : disk->remove(table));
        model::Status status;
        for (int step = 0; step < 1000 && status && !verifier.done(); ++step) {
            p.clock.now_ms += 1000;
            if (auto moved = verifier.step(); !moved) {
                status = std::unexpected(moved.error());
            }
        }
        if (whole) {
            EXPECT_TRUE(status) << status.error().text;
            EXPECT_TRUE(verifier.done());
        } else {
            ASSERT_FALSE(status);
            EXPECT_EQ(status.error().kind, model::ErrorKind::corrupt);
            EXPECT_NE(status.error().text.find(table), std::string::npos) << status.error().text;
        }
    }
}

TEST(Restore, ReadsEveryByteAfterDamageWasFoundInUse) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    std::string newest;
    for (const auto& name : value_of(disk->list("/state/checkpoints/3"))) {
        if (name.ends_with(".sst")) {
            newest = name;
        }
    }
    ASSERT_OK(disk->flip("/state/checkpoints/3/" + newest, 5, 1));
    {
        Process p(*disk, "b");
        ASSERT_OK(p.start());
        ASSERT_EQ(p.meta->number, 3u);
        ASSERT_OK(p.catalogue.distrust("a fire read a damaged block"));
    }
    for (const auto* boot : {"c", "d"}) {  // the second time it is marked
        Process p(*disk, boot);
        ASSERT_OK(p.start());
        EXPECT_EQ(p.meta->number, 2u);
        EXPECT_FALSE(p.catalogue.distrusted());
    }
}

// A power cut at every operation of the very first checkpoint: where the state says that it has had
// one, it has it. The names of its folders are as new as the checkpoint.
TEST(Snapshotter, TheFirstCheckpointIsThereWhereTheStateSaysSo) {
    for (std::uint64_t operation = 1, marked = 0;; ++operation) {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            const auto disk = new_disk(seed);
            std::uint64_t last = 0;
            {
                Process p(*disk);
                ASSERT_OK(p.start());
                disk->crash_at(disk->operations() + operation, simulation::CrashKind::power);
                SnapshotJob job;
                job.number = 1;
                job.meta = meta_of(1);
                job.inputs_text = "settings";
                p.snapshotter->submit(std::move(job));
                while (p.snapshotter->step() && !disk->crashed()) {
                }
                last = disk->crashed() ? 0 : operation;
            }
            if (last != 0) {
                ASSERT_GT(marked, 0u) << "no cut came between the mark and the end";
                return;
            }
            const auto after = disk->after_crash(1);
            if (after->info("/state/INITIALIZED")) {
                ++marked;
                Catalogue catalogue(*after, StatePaths{"/state"});
                const auto entries = catalogue.list();
                ASSERT_TRUE(entries && entries->size() == 1 && entries->front().meta)
                    << "operation " << operation << " seed " << seed;
            }
        }
    }
}

// A power cut or a kill at every operation of the third checkpoint: the next start finds a whole
// snapshot, the second or the third, never less and nothing in between, and cleans up.
class SnapshotCrash : public testing::TestWithParam<simulation::CrashKind> {};

TEST_P(SnapshotCrash, AtEveryOperationLeavesAWholeSnapshot) {
    const auto base = new_disk();
    {
        Process p(*base);
        ASSERT_OK(p.start());
        for (model::BarrierNumber n = 1; n <= 2; ++n) {
            p.store->add_tables(
                n, {table_of(kBrief, 1000, {{"a", n}}), table_of(kStandard, 5000, {{"b", n}})});
            ASSERT_EQ(p.checkpoint(n).outcome, Outcome::done);
        }
    }
    base->crash_now(simulation::CrashKind::process);
    const auto begin = [](Process& p) {
        p.retention.keep = 2;
        ASSERT_OK(p.start());
        p.store->add_tables(
            3, {table_of(kBrief, 1000, {{"a", 3}}), table_of(kStandard, 5000, {{"b", 3}})});
    };
    std::uint64_t first = 0, synced = 0, committed = 0, last = 0;
    {
        const auto disk = base->after_crash(1);
        Process p(*disk, "z");
        begin(p);
        first = disk->operations() + 1;
        SnapshotJob job;
        job.number = 3;
        job.meta = meta_of(3);
        job.inputs_text = "settings";
        p.snapshotter->submit(std::move(job));
        for (int phase = 0; phase < 4; ++phase) {  // write, ingest, link, sync
            ASSERT_TRUE(p.snapshotter->step());
        }
        synced = disk->operations();
        ASSERT_TRUE(p.snapshotter->step());
        committed = disk->operations();
        while (p.snapshotter->step()) {
        }
        ASSERT_EQ(p.snapshotter->take_result()->outcome, Outcome::done);
        last = disk->operations();
    }
    ASSERT_GT(synced, first + 10);
    ASSERT_GT(committed, synced + 3);
    ASSERT_GT(last, committed + 10);
    std::set<model::BarrierNumber> found;
    // One fate of what was not synced for each operation, many around the commit.
    std::vector<std::uint64_t> operations;
    for (auto at = first; at <= last; ++at) {
        operations.insert(operations.end(), at > synced && at <= committed + 1 ? 20 : 1, at);
    }
    for (std::uint64_t round = 0; round < operations.size(); ++round) {
        const auto at = operations[round];
        SCOPED_TRACE("operation " + std::to_string(at) + " of " + std::to_string(first) + ".." +
                     std::to_string(last) + ", seed " + std::to_string(round));
        const auto disk = base->after_crash(round + 1);
        {
            Process p(*disk, "z");
            p.background = false;  // the same operations each time
            begin(p);
            disk->crash_at(at, GetParam());
            static_cast<void>(p.checkpoint(3));
        }
        ASSERT_TRUE(disk->crashed());
        const auto after = disk->after_crash(at + 1);
        Process p(*after, "b");
        auto options = p.restore_options();
        options.verify_full = true;
        ASSERT_OK(p.start(std::move(options)));
        ASSERT_TRUE(p.meta);
        found.insert(p.meta->number);
        EXPECT_TRUE(p.restore->rejected().empty())
            << p.restore->rejected()[0].path << ": " << p.restore->rejected()[0].reason;
        ASSERT_TRUE(p.meta->number == 3 || (p.meta->number == 2 && at <= committed));
        for (const auto& entry : value_of(p.catalogue.list())) {
            ASSERT_OK(p.catalogue.validate(entry));
        }
        const std::uint64_t sum = p.meta->number == 2 ? 3 : 6;
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", sum}}));
        EXPECT_EQ(scan_all(*p.store, kStandard, 5000), (Counts{{"b", sum}}));
        for (const auto& name : value_of(after->list("/state/checkpoints"))) {
            EXPECT_TRUE(after->info("/state/checkpoints/" + name + "/MANIFEST.json")) << name;
        }
        // And it goes on.
        ASSERT_EQ(p.checkpoint(4).outcome, Outcome::done);
    }
    EXPECT_EQ(found, (std::set<model::BarrierNumber>{2, 3}));
}

TEST_P(SnapshotCrash, AtEveryOperationOfARestoreLeavesItRepeatable) {
    const auto disk = new_disk();
    {
        Process p(*disk);
        ASSERT_OK(p.start());
        three_checkpoints(p);
        disk->crash_now(simulation::CrashKind::process);
    }
    std::uint64_t operations = 0;
    for (std::uint64_t at = 1;; ++at) {
        const auto again = disk->after_crash(at);
        {
            again->crash_at(again->operations() + at, GetParam());
            Process p(*again, "b");
            const auto started = p.start();
            operations = at;
            if (!again->crashed()) {
                ASSERT_OK(started);
                break;
            }
        }
        const auto after = again->after_crash(at + 1);
        Process p(*after, "c");
        ASSERT_OK(p.start());
        ASSERT_EQ(p.meta->number, 3u);
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 6}}));
    }
    EXPECT_GT(operations, 10u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SnapshotCrash,
                         testing::Values(simulation::CrashKind::power,
                                         simulation::CrashKind::process),
                         [](const auto& kind) {
                             return kind.param == simulation::CrashKind::power ? "Power" : "Kill";
                         });

// Every operation of a checkpoint fails once: it is skipped or the store is unusable, but nothing
// that was committed is lost.
TEST(Snapshot, AnErrorAtAnyOperationLosesNothing) {
    for (std::uint64_t offset = 1;; ++offset) {
        const auto disk = new_disk(offset);
        bool reached = false;
        Outcome outcome = Outcome::done;
        {
            Process p(*disk);
            ASSERT_OK(p.start());
            for (model::BarrierNumber n = 1; n <= 2; ++n) {
                p.store->add_tables(n, {table_of(kBrief, 1000, {{"a", n}})});
                ASSERT_EQ(p.checkpoint(n).outcome, Outcome::done);
            }
            p.store->add_tables(3, {table_of(kBrief, 1000, {{"a", 3}})});
            const auto at = disk->operations() + offset;
            disk->fail_at(at);
            const auto result = p.checkpoint(3);
            reached = disk->operations() >= at;
            outcome = result.outcome;
            if (outcome == Outcome::skipped) {
                EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 6}}));
                ASSERT_EQ(p.checkpoint(4).outcome, Outcome::done);
            }
            disk->crash_now(simulation::CrashKind::power);
        }
        const auto after = disk->after_crash(offset);
        Process p(*after, "b");
        ASSERT_OK(p.start());
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", p.meta->number == 2 ? 3u : 6u}}));
        EXPECT_TRUE(outcome != Outcome::done || p.meta->number == 3);
        EXPECT_TRUE(outcome != Outcome::skipped || p.meta->number == 4);
        if (!reached) {
            break;
        }
    }
}

// The disk is full at every size: in the run, in its ingestion, in each file of the snapshot, in
// the manifest. There is never half a snapshot; with room again the next one has everything, or the
// next start does.
TEST(Snapshot, AFullDiskAtAnySizeLosesNothing) {
    std::uint64_t skipped = 0;
    std::uint64_t unusable = 0;
    for (std::uint64_t room = 0;; room += 97) {
        const auto disk = new_disk(room);
        Outcome outcome = Outcome::done;
        {
            Process p(*disk);
            ASSERT_OK(p.start());
            for (model::BarrierNumber n = 1; n <= 2; ++n) {
                p.store->add_tables(n, {table_of(kBrief, 1000, {{"a", n}})});
                ASSERT_EQ(p.checkpoint(n).outcome, Outcome::done);
            }
            p.store->add_tables(
                3, {table_of(kBrief, 1000, {{"a", 3}}), table_of(kStandard, 1000, {{"b", 1}})});
            disk->set_budget(disk->used_bytes() + room);
            p.background = false;  // a compaction without room is tried again for ever, with pauses
            outcome = p.checkpoint(3).outcome;
            EXPECT_EQ(value_of(p.catalogue.list()).front().damage, "") << room;
            disk->set_budget(std::nullopt);
            if (outcome == Outcome::skipped) {
                ++skipped;
                EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 6}}));
                ASSERT_EQ(p.checkpoint(4).outcome, Outcome::done);
            }
            unusable += outcome == Outcome::unusable ? 1 : 0;
            disk->crash_now(simulation::CrashKind::power);
        }
        const auto after = disk->after_crash(room);
        Process p(*after, "b");
        ASSERT_OK(p.start());
        EXPECT_TRUE(p.restore->rejected().empty()) << room;
        EXPECT_EQ(p.meta->number, outcome == Outcome::done      ? 3u
                                  : outcome == Outcome::skipped ? 4u
                                                                : 2u);
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", p.meta->number == 2 ? 3u : 6u}}));
        if (outcome == Outcome::done) {
            break;
        }
    }
    EXPECT_GT(skipped, 10u);
    EXPECT_GT(unusable, 0u);
}

TEST(Snapshot, AbortedOnesLeaveNoBytesBehind) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    ASSERT_EQ(p.checkpoint(1).outcome, Outcome::done);
    const auto abort = [&](model::BarrierNumber n) {
        SnapshotJob job;
        job.number = n;
        job.meta = meta_of(n);
        job.before_commit = [](CheckpointMeta&) { return model::Status(model::unavailable("no")); };
        EXPECT_EQ(p.run(job).outcome, Outcome::skipped);
    };
    for (model::BarrierNumber n = 2; n < 12; ++n) {
        abort(n);
    }
    EXPECT_EQ(disk->list("/state/checkpoints")->size(), 1u);
    EXPECT_TRUE(disk->list(p.paths.live() + "/a-1/runs")->empty());
    p.snapshotter.reset();
    p.store.reset();
    ASSERT_OK(p.start());  // wipes what the first one left
    EXPECT_EQ(disk->list(p.paths.live())->size(), 1u);
}

TEST(Snapshot, EveryDurableStepHasItsFailPoint) {
    const model::FailPointCounts counts;
    const auto disk = new_disk();
    {
        Process p(*disk);
        p.retention.keep = 2;
        ASSERT_OK(p.start());
        three_checkpoints(p);
    }
    Process p(*disk, "b");
    ASSERT_OK(p.start());
    for (const auto* name :
         {"run.written", "run.ingested", "inputs.kept", "snapshot.directory_made",
          "snapshot.linked", "snapshot.synced", "snapshot.manifest_written",
          "snapshot.manifest_renamed", "snapshot.committed", "snapshot.dropped",
          "snapshot.manifest_removed", "snapshot.removed", "snapshot.retained", "restore.linked",
          "restore.opened"}) {
        EXPECT_GE(counts.passes(name), 1u) << name;
    }
}

}  // namespace
}  // namespace sluice::state
