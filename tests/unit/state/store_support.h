// A state directory on a simulated disk, and tables with counts in them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "state/io/rocks_env.h"
#include "state/model/clock.h"
#include "state/model/key.h"
#include "state/reduce/cursor.h"
#include "state/reduce/reduction_folder.h"
#include "state/reduce/row.h"
#include "state/store/catalogue.h"
#include "state/store/inputs.h"
#include "state/store/restore.h"
#include "state/store/snapshotter.h"
#include "state/store/store.h"
#include "tests/simulation/simulated_disk.h"

namespace sluice::state {

class FakeClock final : public model::Clock {
 public:
    model::EventTime wall_ms() const override { return 1'700'000'000'000 + now_ms; }
    std::int64_t steady_ns() const override { return now_ms * 1'000'000; }
    // Every look at it costs a thread so much.
    std::int64_t thread_cpu_ns() const override { return cpu_ns += cpu_per_look_ns; }
    std::int64_t now_ms = 0;
    std::int64_t cpu_per_look_ns = 0;
    mutable std::int64_t cpu_ns = 0;
};

// The value itself: a loop over `*call()` would outlive what it loops over.
template <class T>
T value_of(model::Result<T> result) {
    EXPECT_TRUE(result) << (result ? "" : result.error().text);
    return std::move(result).value();
}

using Counts = std::map<std::string, std::uint64_t>;  // printed key → records

inline constexpr std::uint32_t kBrief = 1, kStandard = 2;  // reduction numbers

inline std::string key_of(const std::string& printed) {
    std::string key;
    model::append_key_part(key, printed);
    return key;
}

inline SealedSlice table_of(std::uint32_t reduction, model::EventTime end, const Counts& counts) {
    static const std::vector<config::ReductionKind> kinds{config::ReductionKind::count};
    auto table = std::make_shared<SliceTable>(RowLayout(kinds));
    model::RecordBatch batch;
    std::vector<std::uint32_t> rows;
    std::vector<std::uint64_t> hashes;
    std::vector<std::string> keys;
    std::vector<std::string_view> views;
    for (const auto& [printed, count] : counts) {
        for (std::uint64_t i = 0; i < count; ++i) {
            rows.push_back(static_cast<std::uint32_t>(rows.size()));
            keys.push_back(key_of(printed));
            hashes.push_back(model::key_hash(keys.back()));
        }
    }
    views.assign(keys.begin(), keys.end());
    batch.rows = rows.size();
    batch.offset.assign(rows.size(), 0);
    batch.timestamp.assign(rows.size(), 0);
    batch.status.assign(rows.size(), model::RowStatus::ok);
    const std::vector<const model::Column*> none(1, nullptr);
    FoldInput input;
    input.batch = &batch;
    input.rows = rows;
    input.hash = hashes;
    input.key = views;
    input.arguments = none;
    input.wheres = none;
    input.topic = "t";
    model::ValueErrors errors;
    table->fold(input, {}, errors);
    return {reduction, {end, end}, std::move(table)};
}

// Reads a cursor to its end; checks order.
inline Counts read_all(RowCursor& cursor) {
    Counts counts;
    std::pair<std::uint64_t, std::string> last;
    bool first = true;
    model::Arena arena;
    while (true) {
        const auto status = cursor.next();
        EXPECT_TRUE(status) << (status ? "" : status.error().text);
        if (!status || !cursor.valid()) {
            return counts;
        }
        std::pair<std::uint64_t, std::string> here{cursor.hash(), cursor.key()};
        EXPECT_TRUE(first || last < here) << "rows ascend strictly";
        first = false;
        last = here;
        const auto parts = model::key_parts(cursor.key());
        EXPECT_TRUE(parts && parts->size() == 1);
        RowResults results;
        model::ValueErrors errors;
        EXPECT_TRUE(row_results(cursor.row(), arena, results, errors));
        counts[std::string(parts->front())] =
            static_cast<std::uint64_t>(results.calls.at(0).value.value.integer);
    }
}

inline Counts scan_all(const Store& store, std::uint32_t reduction, model::EventTime end) {
    auto cursor = store.scan(reduction, end);
    EXPECT_TRUE(cursor) << (cursor ? "" : cursor.error().text);
    return cursor ? read_all(**cursor) : Counts{};
}

inline std::vector<ReductionMeta> two_reductions() {
    return {{"brief", kBrief, Family::brief, "count", 1, {}, {}, {}},
            {"long", kStandard, Family::standard, "count", 1, {}, {}, {}}};
}

inline CheckpointMeta meta_of(model::BarrierNumber number) {
    CheckpointMeta meta;
    meta.pipeline = "clicks";
    meta.lineage = "00112233445566778899aabbccddeeff";
    meta.number = number;
    meta.journal_number = number;
    meta.clock = 1'700'000'000'000 + static_cast<model::EventTime>(number);
    meta.reductions = two_reductions();
    PartitionMeta partition;
    partition.partition = {"clicks", 0};
    partition.next_offset = static_cast<model::Offset>(number * 10);
    partition.probe = Probe{partition.next_offset - 1, 0xfedcba9876543210};
    partition.ledger.consumed = partition.ledger.reached = number * 10;
    partition.reductions["brief"].reached = partition.reductions["brief"].folded = number * 10;
    partition.errors["brief"].overflow = 3;
    meta.partitions.push_back(partition);
    return meta;
}

// What lives in a process: made anew over the same disk, it is the next start.
struct Process {
    explicit Process(Disk& d, std::string boot_ = "a") : disk(d), boot(std::move(boot_)) {
        env = make_rocks_env(disk, {&steps, &clock});
    }
    ~Process() {
        snapshotter.reset();
        store.reset();
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    RestoreOptions restore_options() {
        RestoreOptions options;
        options.store.disk = &disk;
        options.store.env = env.get();
        options.store.background_steps = true;
        options.boot = boot;
        options.pipeline = "clicks";
        return options;
    }
    // Runs a restore to its end; the error if it fails.
    model::Status start(RestoreOptions options) {
        restore = std::make_unique<Restore>(std::move(options), catalogue, inputs);
        while (restore->phase() != Restore::Phase::done) {
            TRY(phase, restore->step());
            static_cast<void>(phase);
        }
        auto restored = restore->finish();
        store = std::move(restored.store);
        meta = std::move(restored.meta);
        if (!meta) {
            store->set_reductions(two_reductions());
        }
        snapshotter = std::make_unique<Snapshotter>(SnapshotterOptions{retention, reserve}, disk,
                                                    clock, *store, catalogue, inputs);
        return {};
    }
    model::Status start() { return start(restore_options()); }

    SnapshotResult run(SnapshotJob job) {
        job.inputs_text = "settings";
        snapshotter->submit(std::move(job));
        while (snapshotter->step()) {
            while (background && steps.step()) {
            }
        }
        auto result = snapshotter->take_result();
        EXPECT_TRUE(result);
        return result ? std::move(*result) : SnapshotResult{};
    }
    SnapshotResult checkpoint(CheckpointMeta m) {
        SnapshotJob job;
        job.number = m.number;
        job.meta = std::move(m);
        return run(std::move(job));
    }
    SnapshotResult checkpoint(model::BarrierNumber number) { return checkpoint(meta_of(number)); }

    Disk& disk;
    std::string boot;
    FakeClock clock;
    BackgroundSteps steps;
    std::unique_ptr<rocksdb::Env> env;
    StatePaths paths{"/state"};
    Catalogue catalogue{disk, paths};
    Inputs inputs{disk, paths.inputs()};
    Retention retention;
    std::uint64_t reserve = 0;
    bool background = true;
    std::unique_ptr<Restore> restore;
    std::unique_ptr<Store> store;
    std::optional<CheckpointMeta> meta;
    std::unique_ptr<Snapshotter> snapshotter;
};

inline std::unique_ptr<simulation::SimulatedDisk> new_disk(std::uint64_t seed = 1) {
    auto disk = std::make_unique<simulation::SimulatedDisk>(seed);
    EXPECT_TRUE(disk->make_directory("/state"));
    EXPECT_TRUE(disk->sync_directory("/"));
    return disk;
}

#define ASSERT_OK(expression)                                         \
    do {                                                              \
        const auto& assert_ok = (expression);                         \
        ASSERT_TRUE(assert_ok.has_value()) << assert_ok.error().text; \
    } while (false)

}  // namespace sluice::state
