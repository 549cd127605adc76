#include "state/store/rocks_options.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/sst_partitioner.h>
#include <rocksdb/table.h>
#include <rocksdb/universal_compaction.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "state/io/rocks_env.h"
#include "state/reduce/row.h"
#include "state/store/checksum.h"
#include "state/store/row_key.h"
#include "state/store/slice_view.h"

namespace sluice::state {
namespace {

// Rows merge in any order and any grouping, so RocksDB may do it whenever it likes.
class RowMerge final : public rocksdb::MergeOperator {
 public:
    bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
        if (in.existing_value == nullptr && in.operand_list.size() == 1) {
            out->existing_operand = in.operand_list.front();  // what is alone is already merged
            return true;
        }
        std::vector<std::string_view> rows;
        rows.reserve(in.operand_list.size() + 1);
        if (in.existing_value != nullptr) {
            rows.push_back(view(*in.existing_value));
        }
        for (const auto& operand : in.operand_list) {
            rows.push_back(view(operand));
        }
        return merge_rows(rows, out->new_value).has_value();
    }
    bool PartialMergeMulti(const rocksdb::Slice& /*key*/,
                           const std::deque<rocksdb::Slice>& operands, std::string* new_value,
                           rocksdb::Logger* /*log*/) const override {
        std::vector<std::string_view> rows;
        rows.reserve(operands.size());
        for (const auto& operand : operands) {
            rows.push_back(view(operand));
        }
        return merge_rows(rows, *new_value).has_value();
    }
    const char* Name() const override { return "sluice.RowMerge"; }
};

class ExpiredRows final : public rocksdb::CompactionFilter {
 public:
    explicit ExpiredRows(std::map<std::uint32_t, model::EventTime> frontiers)
        : frontiers_(std::move(frontiers)) {}

    // Asked about merge operands as well as values.
    Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType /*type*/,
                      const rocksdb::Slice& /*value*/, std::string* /*new_value*/,
                      std::string* /*skip_until*/) const override {
        const auto row = parse_row_key(view(key));
        if (!row) {
            return Decision::kKeep;
        }
        const auto it = frontiers_.find(row->reduction);
        return it != frontiers_.end() && row->slice_end <= it->second ? Decision::kRemove
                                                                      : Decision::kKeep;
    }
    const char* Name() const override { return "sluice.ExpiredRows"; }

 private:
    const std::map<std::uint32_t, model::EventTime> frontiers_;
};

class ExpiredRowsFactory final : public rocksdb::CompactionFilterFactory {
 public:
    explicit ExpiredRowsFactory(std::shared_ptr<DropFrontiers> dropped)
        : dropped_(std::move(dropped)) {}
    std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
        const rocksdb::CompactionFilter::Context& /*context*/) override {
        return std::make_unique<ExpiredRows>(dropped_->all());
    }
    const char* Name() const override { return "sluice.ExpiredRowsFactory"; }

 private:
    const std::shared_ptr<DropFrontiers> dropped_;
};

class Xxh3File final : public rocksdb::FileChecksumGenerator {
 public:
    void Update(const char* data, std::size_t bytes) override { checksum_.add({data, bytes}); }
    void Finalize() override { result_ = checksum_.bytes(); }
    std::string GetChecksum() const override { return result_; }
    const char* Name() const override { return "XXH3-128"; }

 private:
    Checksum checksum_;
    std::string result_;
};

class Xxh3FileFactory final : public rocksdb::FileChecksumGenFactory {
 public:
    std::unique_ptr<rocksdb::FileChecksumGenerator> CreateFileChecksumGenerator(
        const rocksdb::FileChecksumGenContext& /*context*/) override {
        return std::make_unique<Xxh3File>();
    }
    const char* Name() const override { return "sluice.Xxh3FileFactory"; }
};

rocksdb::ColumnFamilyOptions family_options(const StoreOptions& options, Family family,
                                            const std::shared_ptr<rocksdb::Cache>& cache,
                                            const std::shared_ptr<DropFrontiers>& dropped) {
    rocksdb::ColumnFamilyOptions o;
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.checksum = rocksdb::kXXH3;
    table.format_version = 5;
    table.block_size = 16 * 1024;
    table.cache_index_and_filter_blocks = true;  // the cache's budget is then the whole budget
    o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    o.merge_operator = std::make_shared<RowMerge>();
    o.compaction_filter_factory = std::make_shared<ExpiredRowsFactory>(dropped);
    o.write_buffer_size = 64 * 1024;  // nothing is ever put into it
    o.target_file_size_base = options.target_file_bytes;
    o.level_compaction_dynamic_level_bytes = false;  // would keep ingested files from deep levels
    o.periodic_compaction_seconds = 0;
    o.ttl = 0;
    // Nothing is written but by ingestion, and intake is slowed by our own rule.
    o.level0_slowdown_writes_trigger = 1 << 20;
    o.level0_stop_writes_trigger = 1 << 20;
    o.soft_pending_compaction_bytes_limit = 0;
    o.hard_pending_compaction_bytes_limit = 0;
    if (family == Family::standard) {
        o.compaction_style = rocksdb::kCompactionStyleUniversal;
        o.num_levels = 7;
        // Compaction writes a file for each slice, so that expired ones go as a whole.
        o.sst_partitioner_factory = rocksdb::NewSstPartitionerFixedPrefixFactory(kTimePrefixBytes);
        o.compaction_options_universal.max_size_amplification_percent = 100;
        o.level0_file_num_compaction_trigger = 4;
        o.compression = rocksdb::kLZ4Compression;
    } else {
        o.compaction_style = rocksdb::kCompactionStyleLevel;
        o.num_levels = kBriefLevels;
        o.disable_auto_compactions = true;
        o.compression = rocksdb::kNoCompression;
    }
    return o;
}

rocksdb::DBOptions database_options(const StoreOptions& options) {
    rocksdb::DBOptions o;
    use_rocks_env(*options.env, o);
    o.create_if_missing = true;
    o.create_missing_column_families = true;
    o.paranoid_checks = true;
    o.max_open_files = -1;
    o.max_file_opening_threads = 1;
    o.max_background_jobs = 2;
    o.max_subcompactions = 1;
    o.avoid_flush_during_shutdown = true;
    o.avoid_flush_during_recovery = true;
    o.stats_dump_period_sec = 0;
    o.stats_persist_period_sec = 0;
    o.skip_stats_update_on_db_open = true;
    // It is copied into every snapshot, and for an idle daemon it is nearly all that is written. A
    // state of more than some thousand files writes it anew with each change instead.
    o.max_manifest_file_size = 512 << 10;
    o.file_checksum_gen_factory = std::make_shared<Xxh3FileFactory>();
    o.max_bgerror_resume_count = 0;  // a broken database is left and restored, never resumed
    o.allow_mmap_reads = false;
    o.allow_mmap_writes = false;
    if (options.background_steps) {
        prepare_for_steps(o);
    }
    return o;
}

}  // namespace

model::EventTime DropFrontiers::frontier(std::uint32_t reduction) const {
    const std::lock_guard lock(mutex_);
    const auto it = frontiers_.find(reduction);
    return it == frontiers_.end() ? model::kBeforeAll : it->second;
}

bool DropFrontiers::raise(std::uint32_t reduction, model::EventTime frontier) {
    const std::lock_guard lock(mutex_);
    auto [it, made] = frontiers_.try_emplace(reduction, model::kBeforeAll);
    if (frontier <= it->second) {
        return false;
    }
    it->second = frontier;
    return true;
}

std::map<std::uint32_t, model::EventTime> DropFrontiers::all() const {
    const std::lock_guard lock(mutex_);
    return frontiers_;
}

Rocks::~Rocks() {
    if (db) {
        // Close() waits for what runs in the background and takes back what has not begun. Waiting
        // here would wait for both: for ever, where BackgroundSteps are to run it.
        rocksdb::CancelAllBackgroundWork(db.get(), false);
        for (auto* handle : {standard, brief}) {
            if (handle != nullptr) {
                db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
            }
        }
        db->Close().PermitUncheckedError();
    }
}

namespace {

using Open = rocksdb::Status (*)(const rocksdb::DBOptions&, const std::string&,
                                 const std::vector<rocksdb::ColumnFamilyDescriptor>&,
                                 std::vector<rocksdb::ColumnFamilyHandle*>*, rocksdb::DB**);

model::Result<std::unique_ptr<Rocks>> open_with(const StoreOptions& options,
                                                const std::string& path,
                                                const std::shared_ptr<DropFrontiers>& dropped,
                                                rocksdb::DBOptions db_options, Open open) {
    auto rocks = std::make_unique<Rocks>();
    rocks->cache = rocksdb::NewLRUCache(options.block_cache_bytes);
    rocks->db_options = std::move(db_options);
    rocks->standard_options = family_options(options, Family::standard, rocks->cache, dropped);
    rocks->brief_options = family_options(options, Family::brief, rocks->cache, dropped);
    rocks->writer_standard = rocksdb::Options(rocks->db_options, rocks->standard_options);
    rocks->writer_brief = rocksdb::Options(rocks->db_options, rocks->brief_options);

    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    families.emplace_back(rocksdb::kDefaultColumnFamilyName, rocks->standard_options);
    families.emplace_back("short", rocks->brief_options);
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    const auto status = open(rocks->db_options, path, families, &handles, &db);
    if (!status.ok()) {
        return std::unexpected(error_of(status, "opening RocksDB in " + path));
    }
    rocks->db.reset(db);
    rocks->standard = handles[0];
    rocks->brief = handles[1];
    return rocks;
}

}  // namespace

model::Result<std::unique_ptr<Rocks>> open_rocks(const StoreOptions& options,
                                                 const std::string& path,
                                                 std::shared_ptr<DropFrontiers> dropped) {
    return open_with(
        options, path, dropped, database_options(options),
        [](const auto& db_options, const auto& name, const auto& families, auto* handles,
           auto* db) { return rocksdb::DB::Open(db_options, name, families, handles, db); });
}

model::Result<std::unique_ptr<Rocks>> open_rocks_to_read(const StoreOptions& options,
                                                         const std::string& path, int open_files) {
    auto db_options = database_options(options);
    db_options.create_if_missing = false;
    db_options.create_missing_column_families = false;
    db_options.max_open_files = open_files;
    return open_with(
        options, path, std::make_shared<DropFrontiers>(), std::move(db_options),
        [](const auto& options_, const auto& name, const auto& families, auto* handles, auto* db) {
            return rocksdb::DB::OpenForReadOnly(options_, name, families, handles, db);
        });
}

rocksdb::IngestExternalFileOptions ingest_options() {
    rocksdb::IngestExternalFileOptions o;
    o.move_files = true;
    o.failed_move_fall_back_to_copy = false;
    o.snapshot_consistency = false;  // nobody holds RocksDB snapshots: the view takes iterators
    o.allow_global_seqno = true;
    o.allow_blocking_flush = false;  // the memtable is empty
    o.write_global_seqno = false;    // would write into a file that snapshots share
    o.verify_checksums_before_ingest = false;
    o.verify_file_checksum = false;  // we hand over the one made while writing
    return o;
}

rocksdb::ReadOptions read_options() {
    rocksdb::ReadOptions o;
    o.verify_checksums = true;
    o.fill_cache = false;  // a fire reads a slice once
    return o;
}

rocksdb::Status delete_whole_files(Rocks& rocks, rocksdb::ColumnFamilyHandle* family,
                                   const std::vector<std::pair<std::string, std::string>>& ranges) {
    std::vector<rocksdb::Slice> bounds;
    bounds.reserve(ranges.size() * 2);
    for (const auto& [from, to] : ranges) {
        bounds.emplace_back(from);
        bounds.emplace_back(to);
    }
    std::vector<rocksdb::RangePtr> pointers;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        pointers.emplace_back(&bounds[2 * i], &bounds[2 * i + 1]);
    }
    return rocksdb::DeleteFilesInRanges(rocks.db.get(), family, pointers.data(), pointers.size(),
                                        /*include_end=*/false);
}

model::Error error_of(const rocksdb::Status& status, const std::string& what) {
    auto kind = model::ErrorKind::unavailable;
    // RocksDB 9 makes another status of that of its OPTIONS file, with the text alone.
    if (status.IsNoSpace() || status.ToString().find("No space left") != std::string::npos) {
        kind = model::ErrorKind::exhausted;
    } else if (status.IsCorruption() || status.IsInvalidArgument() || status.IsNotFound() ||
               status.IsPathNotFound()) {
        kind = model::ErrorKind::corrupt;
    }
    return {kind, what + ": " + status.ToString()};
}

}  // namespace sluice::state
