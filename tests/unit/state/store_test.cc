#include "state/store/store.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "state/store/rocks_options.h"
#include "state/store/row_key.h"
#include "tests/unit/state/store_support.h"

namespace sluice::state {
namespace {

constexpr auto kBothReductions = {kBrief, kStandard};

TEST(Store, RowsAreSeenFromTheHandOverOnAndOnceAfterTheIngest) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    for (const auto reduction : kBothReductions) {
        p.store->add_tables(1, {table_of(reduction, 1000, {{"a", 2}, {"b", 1}})});
        p.store->add_tables(2, {table_of(reduction, 1000, {{"a", 1}, {"c", 4}})});
    }
    const Counts both{{"a", 3}, {"b", 1}, {"c", 4}};
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), both);
    ASSERT_OK(p.store->ingest(1, meta_of(1)));
    for (const auto reduction : kBothReductions) {
        EXPECT_EQ(scan_all(*p.store, reduction, 1000), both);
    }
    EXPECT_EQ(p.store->table_rows(), 4u) << "tables behind the barrier stay in memory";
    ASSERT_OK(p.store->ingest(2, meta_of(2)));
    EXPECT_EQ(p.store->table_rows(), 0u);
    EXPECT_EQ(p.store->table_bytes(), 0u);
    for (const auto reduction : kBothReductions) {
        EXPECT_EQ(scan_all(*p.store, reduction, 1000), both);
        EXPECT_EQ(scan_all(*p.store, reduction, 2000), Counts{});
        EXPECT_EQ(*p.store->windows_after(reduction, 999), std::vector<model::EventTime>{1000});
        EXPECT_EQ(*p.store->windows_after(reduction, 1000), std::vector<model::EventTime>{});
    }
    const auto row = p.store->meta_row();
    ASSERT_OK(row);
    EXPECT_EQ(*row, meta_of(2));
}

TEST(Store, ACursorKeepsItsViewWhileRowsMove) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 2}, {"b", 1}})});
    auto cursor = p.store->scan(kBrief, 1000);
    ASSERT_OK(cursor);
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 5}})});
    ASSERT_OK(p.store->ingest(1, meta_of(1)));
    EXPECT_EQ(read_all(**cursor), (Counts{{"a", 2}, {"b", 1}}));
    auto second = p.store->scan(kBrief, 1000);
    ASSERT_OK(second);
    ASSERT_OK(p.store->set_dropped(kBrief, 1000));
    EXPECT_EQ(read_all(**second), (Counts{{"a", 7}, {"b", 1}}));
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), Counts{});
}

TEST(Store, ASliceThatIsReadToItsEndIsMergedInMemoryOnce) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 2}, {"b", 1}})});
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 5}})});
    p.store->add_tables(2, {table_of(kBrief, 2000, {{"a", 1}})});
    p.store->add_tables(3, {table_of(kBrief, 2000, {{"a", 1}})});
    const auto pack = [&](model::EventTime end) {
        return read_all(*value_of(p.store->scan_and_pack(kBrief, end)));
    };
    {
        auto given_up = value_of(p.store->scan_and_pack(kBrief, 1000));
        ASSERT_OK(given_up->next());
    }
    EXPECT_EQ(p.store->table_rows(), 5u);
    EXPECT_EQ(pack(1000), (Counts{{"a", 7}, {"b", 1}}));
    EXPECT_EQ(p.store->table_rows(), 4u) << "a key in two tables is one row now";
    EXPECT_EQ(pack(2000), (Counts{{"a", 2}}));
    EXPECT_EQ(p.store->table_rows(), 4u) << "two runs take these, one each";
    EXPECT_EQ(pack(1000), (Counts{{"a", 7}, {"b", 1}}));

    // What comes behind it is another table beside it; a run that began before takes it away.
    p.store->add_tables(2, {table_of(kBrief, 1000, {{"c", 1}})});
    auto run = value_of(p.store->write_run(2, meta_of(2), {}));
    p.store->add_tables(3, {table_of(kBrief, 1000, {{"d", 1}})});
    ASSERT_OK(p.store->apply(std::move(run)));
    EXPECT_EQ(p.store->table_rows(), 2u);
    EXPECT_EQ(pack(1000), (Counts{{"a", 7}, {"b", 1}, {"c", 1}, {"d", 1}}));
    ASSERT_OK(p.store->ingest(3, meta_of(3)));
    EXPECT_EQ(p.store->table_rows(), 0u);
    EXPECT_EQ(p.store->table_bytes(), 0u);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 7}, {"b", 1}, {"c", 1}, {"d", 1}}));
    EXPECT_EQ(scan_all(*p.store, kBrief, 2000), (Counts{{"a", 2}}));
}

TEST(Store, DiscardedSlicesNeverReachTheDisk) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    p.store->add_tables(1,
                        {table_of(kBrief, 1000, {{"a", 2}}), table_of(kBrief, 2000, {{"a", 1}})});
    const auto run = p.store->ingest(1, meta_of(1), {{kBrief, 1000}});
    ASSERT_OK(run);
    EXPECT_EQ(run->expired_slices, 1u);
    EXPECT_EQ(run->rows, 1u);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), Counts{});
    EXPECT_EQ(scan_all(*p.store, kBrief, 2000), (Counts{{"a", 1}}));
    EXPECT_EQ(p.store->table_rows(), 0u);
}

TEST(Store, ManyRunsOfOneSliceGoAsWholeFiles) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    ASSERT_OK(p.store->ingest(1, meta_of(1)));
    const auto empty = p.store->live_bytes();
    for (model::BarrierNumber n = 2; n <= 22; ++n) {
        p.store->add_tables(
            n, {table_of(kBrief, 1000, {{"a", n}}), table_of(kBrief, 2000, {{"b", 1}})});
        ASSERT_OK(p.store->ingest(n, meta_of(n)));
        while (p.steps.step()) {
        }
    }
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 252}}));
    EXPECT_LE(p.store->level0_files(), 4);
    ASSERT_OK(p.store->set_dropped(kBrief, 1000));
    EXPECT_EQ(scan_all(*p.store, kBrief, 2000), (Counts{{"b", 21}}));
    EXPECT_EQ(*p.store->windows_after(kBrief, model::kBeforeAll),
              std::vector<model::EventTime>{2000});
    ASSERT_OK(p.store->set_dropped(kBrief, 2000));
    while (p.steps.step()) {
    }
    // Nothing is left but the meta row, in one file or a few of the same size.
    EXPECT_LE(p.store->live_bytes(), empty * 5);
    auto files = p.store->live_files();
    ASSERT_OK(files);
    std::size_t tables = 0;
    for (const auto& file : *files) {
        tables += file.link ? 1u : 0u;
    }
    EXPECT_LE(tables, 5u);
}

TEST(Store, SmallSlicesOfABacklogShareFilesAndGoWhole) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    const auto tables = [&p] {
        std::size_t number = 0;
        for (const auto& file : value_of(p.store->live_files())) {
            number += file.link ? 1u : 0u;
        }
        return number;
    };
    for (model::EventTime end = 1; end <= 200; ++end) {
        p.store->add_tables(1, {table_of(kBrief, end, {{"a", 1}})});
    }
    ASSERT_OK(p.store->ingest(1, meta_of(1)));
    // The last sixteen, to which more rows may come, have files of their own.
    EXPECT_GE(tables(), 17u);
    EXPECT_LE(tables(), 19u);
    EXPECT_EQ(scan_all(*p.store, kBrief, 100), (Counts{{"a", 1}}));
    ASSERT_OK(p.store->set_dropped(kBrief, 150));
    EXPECT_EQ(scan_all(*p.store, kBrief, 150), Counts{});
    EXPECT_EQ(scan_all(*p.store, kBrief, 151), (Counts{{"a", 1}}));
    ASSERT_OK(p.store->set_dropped(kBrief, 200));
    while (p.steps.step()) {
    }
    EXPECT_LE(tables(), 2u);
}

TEST(Store, RunsBeyondTheLevelsAreRewrittenAndDoNotStay) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    model::BarrierNumber n = 1;
    int greatest = 0;
    for (; n <= 50; ++n) {
        p.store->add_tables(n, {table_of(kBrief, 1000, {{"a", 1}})});
        if (n == 1) {
            p.store->add_tables(n, {table_of(kBrief, 500, {{"x", 1}})});
        }
        ASSERT_OK(p.store->ingest(n, meta_of(n)));
        while (p.steps.step()) {
        }
        greatest = std::max(greatest, p.store->level0_files());
        EXPECT_FALSE(p.store->under_pressure())
            << "nothing is ever dropped here, and input goes on";
    }
    EXPECT_GT(greatest, 8);
    ASSERT_OK(p.store->set_dropped(kBrief, 500));
    while (p.steps.step()) {
    }
    EXPECT_LE(p.store->level0_files(), 4);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 50}}));
    ASSERT_OK(p.store->set_dropped(kBrief, 1000));
    while (p.steps.step()) {
    }
    auto files = p.store->live_files();
    ASSERT_OK(files);
    std::size_t tables = 0;
    for (const auto& file : *files) {
        tables += file.link ? 1u : 0u;
    }
    EXPECT_LE(tables, 5u);
}

TEST(Store, CompactsAndStaysTheSame) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    for (model::BarrierNumber n = 1; n <= 30; ++n) {
        p.store->add_tables(n, {table_of(kStandard, 1000, {{"a", 1}, {"b", 2}}),
                                table_of(kStandard, 2000, {{"a", 1}})});
        ASSERT_OK(p.store->ingest(n, meta_of(n)));
        if (n == 20) {
            ASSERT_OK(p.store->set_dropped(kStandard, 1000));
        }
        while (p.steps.step()) {
        }
    }
    EXPECT_LT(p.store->level0_files(), 8) << "it compacts";
    EXPECT_EQ(scan_all(*p.store, kStandard, 1000), Counts{});
    EXPECT_EQ(scan_all(*p.store, kStandard, 2000), (Counts{{"a", 30}}));
}

// On RocksDB itself, because readers of the store skip expired rows whether they are there or not.
TEST(Store, CompactionMergesRowsLeavesOutExpiredOnesAndCutsFilesAtSlices) {
    const auto disk = new_disk();
    Process p(*disk);
    StoreOptions options;
    options.disk = disk.get();
    options.env = p.env.get();
    options.background_steps = true;
    const auto dropped = std::make_shared<DropFrontiers>();
    auto opened = open_rocks(options, "/state/db", dropped);
    ASSERT_OK(opened);
    auto& rocks = **opened;
    for (int run = 0; run < 3; ++run) {
        rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), rocks.writer_standard, rocks.standard);
        const auto path = "/state/run" + std::to_string(run);
        ASSERT_TRUE(writer.Open(path).ok());
        for (const model::EventTime end : {1000, 2000, 3000}) {
            const auto table = table_of(kStandard, end, {{"a", 2}, {"b", 1}});
            const auto rows = cursor_over(table.table);
            while (true) {
                ASSERT_OK(rows->next());
                if (!rows->valid()) {
                    break;
                }
                auto key = slice_prefix(kStandard, end);
                append_row(key, rows->hash(), rows->key());
                ASSERT_TRUE(writer.Merge(key, std::string(rows->row())).ok());
            }
        }
        rocksdb::ExternalSstFileInfo info;
        ASSERT_TRUE(writer.Finish(&info).ok());
        rocksdb::IngestExternalFileArg argument;
        argument.column_family = rocks.standard;
        argument.external_files = {path};
        argument.files_checksums = {info.file_checksum};
        argument.files_checksum_func_names = {"XXH3-128"};
        argument.options = ingest_options();
        ASSERT_TRUE(rocks.db->IngestExternalFiles({argument}).ok());
    }
    const auto files = [&] {
        std::vector<rocksdb::LiveFileMetaData> all;
        rocks.db->GetLiveFilesMetaData(&all);
        return all;
    };
    ASSERT_EQ(files().size(), 3u);
    dropped->raise(kStandard, 1000);
    // RocksDB shows merge operands with sequence number 0 (the first run of a slice) to no filter:
    // the first compaction leaves one value for such a row, which the next one takes out.
    for (int round = 0; round < 2; ++round) {
        std::vector<std::string> names;
        for (const auto& file : files()) {
            names.push_back(file.name);
        }
        const auto status = rocks.db->CompactFiles({}, rocks.standard, names, 6);
        ASSERT_TRUE(status.ok()) << status.ToString();
        std::string row;
        auto key = slice_prefix(kStandard, 1000);
        append_row(key, model::key_hash(key_of("a")), key_of("a"));
        const auto got = rocks.db->Get(read_options(), rocks.standard, key, &row);
        if (round == 0) {
            std::string first;
            table_of(kStandard, 1000, {{"a", 2}}).table->encode(0, first);
            ASSERT_TRUE(got.ok()) << got.ToString();
            EXPECT_EQ(row, first) << "what later runs added is gone at once";
        } else {
            EXPECT_TRUE(got.IsNotFound());
        }
    }
    EXPECT_EQ(files().size(), 2u) << "one for each slice";
    std::unique_ptr<rocksdb::Iterator> it(rocks.db->NewIterator(read_options(), rocks.standard));
    std::multiset<model::EventTime> ends;
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
        ends.insert(parse_row_key({it->key().data(), it->key().size()})->slice_end);
    }
    EXPECT_EQ(ends, (std::multiset<model::EventTime>{2000, 2000, 3000, 3000}));
}

TEST(Store, AFullDiskWhileWritingChangesNothing) {
    const auto disk = new_disk();
    Process p(*disk);
    ASSERT_OK(p.start());
    p.store->add_tables(1, {table_of(kBrief, 1000, {{"a", 2}})});
    disk->set_budget(disk->used_bytes() + 100);
    const auto run = p.store->write_run(1, meta_of(1), {});
    ASSERT_FALSE(run);
    EXPECT_EQ(run.error().kind, model::ErrorKind::exhausted) << run.error().text;
    EXPECT_TRUE(p.store->usable());
    disk->set_budget(std::nullopt);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 2}}));
    ASSERT_OK(p.store->ingest(1, meta_of(1)));
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 2}}));
}

// Any order of hand-overs, ingests, drops, compactions and restarts holds the same rows as a map.
RC_GTEST_PROP(StoreProperty, IsAMapOfCounts, ()) {
    auto disk = new_disk(*rc::gen::arbitrary<std::uint64_t>());
    auto p = std::make_unique<Process>(*disk);
    RC_ASSERT(p->start().has_value());
    std::map<std::pair<std::uint32_t, model::EventTime>, Counts> expected;
    std::map<std::uint32_t, model::EventTime> dropped;
    model::BarrierNumber number = 1;
    const auto steps = *rc::gen::inRange(1, 40);
    const auto small = [](int limit) { return *rc::gen::inRange(0, limit); };
    for (int step = 0; step < steps; ++step) {
        const std::uint32_t reduction = small(2) == 0 ? kBrief : kStandard;
        // A run may be under way while slices are packed, and before or behind it.
        const auto pack_some = [&] {
            for (const auto& [slice, counts] : expected) {
                if (small(2) == 0 ||
                    (dropped.contains(slice.first) && slice.second <= dropped[slice.first])) {
                    continue;
                }
                auto cursor = p->store->scan_and_pack(slice.first, slice.second);
                RC_ASSERT(cursor.has_value());
                if (small(4) == 0) {  // given up on its way
                    RC_ASSERT((*cursor)->next().has_value());
                } else {
                    RC_ASSERT(read_all(**cursor) == counts);
                }
            }
        };
        switch (small(10)) {
            case 8:
                pack_some();
                break;
            case 9: {
                auto run = p->store->write_run(number, meta_of(number), {});
                RC_ASSERT(run.has_value());
                pack_some();
                RC_ASSERT(p->store->apply(std::move(*run)).has_value());
                ++number;
                break;
            }
            case 0:
            case 1:
            case 2: {
                const model::EventTime end = (small(8) - 3) * 1000;
                Counts counts;
                for (int i = small(6); i >= 0; --i) {
                    counts["k" + std::to_string(small(20))] += 1;
                }
                p->store->add_tables(number + static_cast<std::uint64_t>(small(2)),
                                     {table_of(reduction, end, counts)});
                if (!dropped.contains(reduction) || end > dropped[reduction]) {
                    for (const auto& [key, count] : counts) {
                        expected[{reduction, end}][key] += count;
                    }
                }
                break;
            }
            case 3:
            case 4:
                RC_ASSERT(p->store->ingest(number, meta_of(number)).has_value());
                ++number;
                break;
            case 5: {
                const model::EventTime end = (small(8) - 4) * 1000;
                RC_ASSERT(p->store->set_dropped(reduction, end).has_value());
                auto& frontier = dropped.try_emplace(reduction, end).first->second;
                frontier = std::max(frontier, end);
                break;
            }
            case 6:
                while (p->steps.step()) {
                }
                break;
            case 7: {
                // All of it into a snapshot, and a new start from there.
                auto meta = meta_of(number + 1);
                for (auto& r : meta.reductions) {
                    if (dropped.contains(r.number)) {
                        r.dropped = dropped[r.number];
                    }
                }
                const auto result = p->checkpoint(meta);
                RC_ASSERT(result.outcome == SnapshotResult::Outcome::done);
                number += 2;
                p.reset();
                p = std::make_unique<Process>(*disk, "b" + std::to_string(step));
                RC_ASSERT(p->start().has_value());
                RC_ASSERT(p->meta->number + 1 == number);
                break;
            }
            default:
                break;
        }
        for (const auto r : kBothReductions) {
            std::vector<model::EventTime> ends;
            for (const auto& [slice, counts] : expected) {
                if (slice.first != r || (dropped.contains(r) && slice.second <= dropped[r])) {
                    continue;
                }
                ends.push_back(slice.second);
                RC_ASSERT(scan_all(*p->store, r, slice.second) == counts);
            }
            RC_ASSERT(*p->store->windows_after(r, model::kBeforeAll) == ends);
            for (std::size_t upper = 0; upper < ends.size(); ++upper) {
                for (std::size_t lower = 0; lower <= upper; ++lower) {
                    const std::vector<model::EventTime> between(
                        ends.begin() + static_cast<std::ptrdiff_t>(lower) + 1,
                        ends.begin() + static_cast<std::ptrdiff_t>(upper) + 1);
                    RC_ASSERT(*p->store->windows_after(r, ends[lower], ends[upper]) == between);
                    RC_ASSERT(*p->store->windows_after(r, ends[lower] - 1, ends[upper] - 1) ==
                              std::vector<model::EventTime>(
                                  ends.begin() + static_cast<std::ptrdiff_t>(lower),
                                  ends.begin() + static_cast<std::ptrdiff_t>(upper)));
                }
            }
        }
    }
    // Resumed scans see what is behind their position.
    for (const auto& [slice, counts] : expected) {
        if (dropped.contains(slice.first) && slice.second <= dropped[slice.first]) {
            continue;
        }
        std::vector<std::pair<std::uint64_t, std::string>> order;
        for (const auto& [key, count] : counts) {
            order.emplace_back(model::key_hash(key_of(key)), key_of(key));
        }
        std::sort(order.begin(), order.end());
        for (std::size_t i = 0; i < order.size(); ++i) {
            auto cursor = p->store->scan(slice.first, slice.second,
                                         RowPosition{order[i].first, order[i].second});
            RC_ASSERT(cursor.has_value());
            RC_ASSERT(read_all(**cursor).size() == order.size() - i - 1);
        }
    }
}

}  // namespace
}  // namespace sluice::state
