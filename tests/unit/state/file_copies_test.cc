// Copies of files that are under way together, and a restore from another disk that uses them.
#include "state/store/file_copies.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/unit/state/store_support.h"

namespace sluice::state {
namespace {

using simulation::SimulatedDisk;

// The same disk, but for a folder that is on another one: links do not reach across.
class TwoDisks final : public Disk {
 public:
    TwoDisks(Disk& disk, std::string other) : disk_(disk), other_(std::move(other)) {}
    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
        return disk_.create(path);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
        return disk_.append_to(path);
    }
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        return disk_.open(path);
    }
    model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path) override {
        streamed.insert(path);
        return disk_.stream(path);
    }
    model::Status make_directory(const std::string& path) override {
        return disk_.make_directory(path);
    }
    model::Status rename(const std::string& from, const std::string& to) override {
        return disk_.rename(from, to);
    }
    model::Status link(const std::string& from, const std::string& to) override {
        return device(from) == device(to) ? disk_.link(from, to)
                                          : model::invalid(to + ": is on another disk");
    }
    model::Status remove(const std::string& path) override { return disk_.remove(path); }
    model::Status truncate(const std::string& path, std::uint64_t size) override {
        return disk_.truncate(path, size);
    }
    model::Status sync_file(const std::string& path) override { return disk_.sync_file(path); }
    model::Status sync_directory(const std::string& path) override {
        return disk_.sync_directory(path);
    }
    model::Result<std::vector<std::string>> list(const std::string& path) override {
        return disk_.list(path);
    }
    model::Result<FileFacts> info(const std::string& path) override {
        TRY(facts, disk_.info(path));
        facts.device = device(path);
        return facts;
    }
    model::Result<DiskSpace> space(const std::string& path) override { return disk_.space(path); }
    DiskStatistics statistics() const override { return disk_.statistics(); }
    std::string_view name() const override { return disk_.name(); }

    std::multiset<std::string> streamed;

 private:
    std::uint64_t device(const std::string& path) const { return path.starts_with(other_) ? 2 : 1; }

    Disk& disk_;
    const std::string other_;
};

std::string content_of(Disk& disk, const std::string& path) {
    return read_file(disk, path, 1 << 30).value_or("?");
}

FileMeta put(Disk& disk, const std::string& path, const std::string& bytes) {
    auto file = disk.create(path);
    EXPECT_TRUE(file && (*file)->append(bytes) && (*file)->sync());
    return {path.substr(path.rfind('/') + 1), bytes.size(), checksum_hex(bytes)};
}

TEST(FileCopies, SeveralAreUnderWayAndTheyEndInTheirOrder) {
    const auto disk = new_disk();
    std::vector<FileMeta> files;
    std::vector<std::string> bytes;
    for (std::size_t i = 0; i < 11; ++i) {
        bytes.emplace_back(i % 4 == 0 ? 600'000 : i * 7, static_cast<char>('a' + i));
        files.push_back(put(*disk, "/state/" + std::to_string(i), bytes.back()));
    }
    FileCopies copies(*disk);
    std::size_t begun = 0;
    std::size_t done = 0;
    std::size_t most = 0;
    while (done < files.size()) {
        if (begun < files.size() && !copies.full()) {
            ASSERT_OK(copies.begin("/state/" + files[begun].name, "/state/to-" + files[begun].name,
                                   files[begun]));
            ++begun;
            continue;
        }
        most = std::max(most, copies.size());
        const std::string first = copies.to(0);
        const auto complete = copies.step();
        ASSERT_OK(complete);
        if (*complete) {
            EXPECT_EQ(first, "/state/to-" + files[done].name);
            ++done;
        }
    }
    EXPECT_TRUE(copies.empty());
    EXPECT_EQ(most, 4u);
    ASSERT_TRUE(disk->sync_directory("/state"));
    disk->crash_now(simulation::CrashKind::power);
    const auto after = disk->after_crash(1);
    for (std::size_t i = 0; i < files.size(); ++i) {
        EXPECT_TRUE(content_of(*after, "/state/to-" + files[i].name) == bytes[i]) << i;
    }
}

TEST(FileCopies, NamesWhatIsNotWhatTheManifestSays) {
    const auto disk = new_disk();
    const auto good = put(*disk, "/state/good", std::string(300'000, 'x'));
    auto bad = put(*disk, "/state/bad", std::string(300'000, 'y'));
    FileCopies copies(*disk);
    bad.size = 299'999;
    EXPECT_EQ(copies.begin("/state/bad", "/state/a", bad).error().kind, model::ErrorKind::corrupt);
    EXPECT_FALSE(disk->info("/state/a"));
    bad.size = 300'000;
    ASSERT_TRUE(disk->flip("/state/bad", 299'999, 1));
    ASSERT_OK(copies.begin("/state/good", "/state/b", good));
    ASSERT_OK(copies.begin("/state/bad", "/state/a", bad));
    model::Result<bool> step = false;
    while (step && !*step) {
        step = copies.step();
    }
    ASSERT_FALSE(step);
    EXPECT_EQ(step.error().kind, model::ErrorKind::corrupt);
    EXPECT_NE(step.error().text.find("/state/bad"), std::string::npos);
    copies.clear();
    EXPECT_TRUE(copies.empty());
}

// Three checkpoints' worth of tables as a savepoint that was moved to another disk.
void make_far_savepoint(Disk& disk) {
    Process p(disk);
    ASSERT_OK(p.start());
    for (model::BarrierNumber n = 1; n <= 6; ++n) {
        p.store->add_tables(n, {table_of(n % 2 == 0 ? kBrief : kStandard, 1000, {{"a", n}})});
        ASSERT_EQ(p.checkpoint(n).outcome, SnapshotResult::Outcome::done);
    }
    SnapshotJob job;
    job.kind = SnapshotJob::Kind::savepoint;
    job.name = "s";
    job.number = 7;
    job.meta = meta_of(7);
    ASSERT_EQ(p.run(std::move(job)).outcome, SnapshotResult::Outcome::done);
    ASSERT_TRUE(disk.make_directory("/far"));
    ASSERT_TRUE(disk.rename("/state/savepoints/s", "/far/s"));
    p.snapshotter.reset();
    p.store.reset();
    ASSERT_TRUE(remove_tree(disk, "/state"));
    ASSERT_TRUE(disk.make_directory("/state"));
    ASSERT_TRUE(disk.sync_directory("/"));
}

std::vector<std::string> tables_in(Disk& disk, const std::string& folder) {
    auto names = disk.list(folder).value_or(std::vector<std::string>{});
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".sst"); });
    return names;
}

TEST(RestoreFromAnotherDisk, CopiesEveryTableOnceAndComparesIt) {
    const auto disk = new_disk();
    make_far_savepoint(*disk);
    TwoDisks two(*disk, "/far");
    Process p(two);
    auto options = p.restore_options();
    options.from = "/far/s";
    p.restore = std::make_unique<Restore>(std::move(options), p.catalogue, p.inputs);
    std::uint64_t before = 0;
    while (p.restore->phase() != Restore::Phase::done) {
        ASSERT_OK(p.restore->step());
        EXPECT_LE(p.restore->bytes(), p.restore->total_bytes());
        if (p.restore->phase() == Restore::Phase::restore) {
            EXPECT_GE(p.restore->bytes(), before) << "progress does not step back";
            before = p.restore->bytes();
        }
    }
    EXPECT_EQ(p.restore->bytes(), p.restore->total_bytes());
    EXPECT_TRUE(p.restore->every_byte());
    auto restored = p.restore->finish();
    p.store = std::move(restored.store);
    EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 2 + 4 + 6}}));
    EXPECT_EQ(scan_all(*p.store, kStandard, 1000), (Counts{{"a", 1 + 3 + 5}}));
    const auto tables = tables_in(two, "/far/s");
    ASSERT_GT(tables.size(), 4u) << "more than are under way at once";
    for (const auto& name : tables) {
        EXPECT_EQ(two.streamed.count("/far/s/" + name), 1u) << name << " is read once";
    }
}

TEST(RestoreFromAnotherDisk, DamageIsFoundWhereverItIs) {
    const auto whole = new_disk();
    make_far_savepoint(*whole);
    for (const auto& name : tables_in(*whole, "/far/s")) {
        const auto disk = new_disk();
        make_far_savepoint(*disk);
        ASSERT_TRUE(disk->flip("/far/s/" + name, 20, 4));
        TwoDisks two(*disk, "/far");
        Process p(two);
        auto options = p.restore_options();
        options.from = "/far/s";
        const auto started = p.start(std::move(options));
        ASSERT_FALSE(started);
        EXPECT_EQ(started.error().kind, model::ErrorKind::corrupt);
        EXPECT_NE(started.error().text.find(name), std::string::npos) << started.error().text;
        EXPECT_EQ(disk->list("/far")->size(), 1u) << "nothing is written beside somebody's files";
    }
}

// Every operation fails once, and the disk is full at every size: the restore says so, and the next
// one does it.
TEST(RestoreFromAnotherDisk, TroubleAtAnyOperationIsSaidAndTheNextStartDoesIt) {
    for (std::uint64_t offset = 1;; ++offset) {
        const auto disk = new_disk();
        make_far_savepoint(*disk);
        TwoDisks two(*disk, "/far");
        const auto at = disk->operations() + offset;
        disk->fail_at(at);
        bool reached = false;
        {
            Process p(two);
            auto options = p.restore_options();
            options.from = "/far/s";
            static_cast<void>(p.start(std::move(options)));
            reached = disk->operations() >= at;
        }
        Process p(two, "b");
        auto options = p.restore_options();
        options.from = "/far/s";
        ASSERT_OK(p.start(std::move(options)));
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 12}}));
        if (!reached) {
            EXPECT_GT(offset, 20u);
            break;
        }
    }
}

TEST(RestoreFromAnotherDisk, AFullDiskIsSaidAndTheNextStartDoesIt) {
    const auto whole = new_disk();
    make_far_savepoint(*whole);
    const auto used = whole->used_bytes();
    std::uint64_t needed = 0;
    std::uint64_t tables = 0;
    for (const auto& name : tables_in(*whole, "/far/s")) {
        tables += whole->info("/far/s/" + name)->size;
    }
    {
        TwoDisks two(*whole, "/far");
        Process p(two);
        auto options = p.restore_options();
        options.from = "/far/s";
        ASSERT_OK(p.start(std::move(options)));
        needed = whole->used_bytes() - used;
    }
    ASSERT_GT(needed, 1000u);
    for (std::uint64_t room = 0; room < needed; room += 1 + needed / 60) {
        const auto disk = new_disk();
        make_far_savepoint(*disk);
        TwoDisks two(*disk, "/far");
        disk->set_budget(disk->used_bytes() + room);
        {
            Process p(two);
            auto options = p.restore_options();
            options.from = "/far/s";
            const auto started = p.start(std::move(options));
            if (started) {
                EXPECT_GE(room, tables) << "RocksDB can do without its OPTIONS file";
            } else {
                EXPECT_EQ(started.error().kind, model::ErrorKind::exhausted)
                    << room << ": " << started.error().text;
            }
        }
        disk->set_budget(std::nullopt);
        Process p(two, "b");
        auto options = p.restore_options();
        options.from = "/far/s";
        ASSERT_OK(p.start(std::move(options)));
        EXPECT_EQ(scan_all(*p.store, kBrief, 1000), (Counts{{"a", 12}}));
    }
}

}  // namespace
}  // namespace sluice::state
