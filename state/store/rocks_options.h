// Everything of RocksDB that differs between the releases we build with, and every option we set,
// in one place. Only the store and the offline tools include it.
#pragma once

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#if __has_include(<rocksdb/advanced_cache.h>)
#include <rocksdb/advanced_cache.h>  // from 7.10 on the cache itself is declared here
#endif

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "state/model/result.h"
#include "state/model/time.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/store.h"

namespace sluice::state {

// Levels of the family `short`. A run of a slice that has runs already lands one level above them,
// and only a file above level 0 can be deleted by range: so many runs a slice may have before its
// files need rewriting.
inline constexpr int kBriefLevels = 32;

// Which slices are expired. Thread: any. Frontiers only rise.
class DropFrontiers {
 public:
    // Slices of `reduction` that end at or below it are expired.
    model::EventTime frontier(std::uint32_t reduction) const;
    // False: it stood there or higher.
    bool raise(std::uint32_t reduction, model::EventTime frontier);
    std::map<std::uint32_t, model::EventTime> all() const;

 private:
    mutable std::mutex mutex_;
    std::map<std::uint32_t, model::EventTime> frontiers_;
};

// An open database. Reverse destruction is right: handles, then the database, then what its options
// point to.
struct Rocks {
    rocksdb::DBOptions db_options;
    rocksdb::ColumnFamilyOptions standard_options, brief_options;
    rocksdb::Options writer_standard, writer_brief;  // for SstFileWriter
    std::shared_ptr<rocksdb::Cache> cache;
    std::unique_ptr<rocksdb::DB> db;
    rocksdb::ColumnFamilyHandle* standard = nullptr;  // owned, given back by ~Rocks
    rocksdb::ColumnFamilyHandle* brief = nullptr;

    ~Rocks();
    rocksdb::ColumnFamilyHandle* handle(Family family) const {
        return family == Family::standard ? standard : brief;
    }
};

// Opens the database in `path`, or makes an empty one.
model::Result<std::unique_ptr<Rocks>> open_rocks(const StoreOptions& options,
                                                 const std::string& path,
                                                 std::shared_ptr<DropFrontiers> dropped);

// Opens it to be read, at most `open_files` of its files at a time; it must exist. Nothing is
// written, no thread is started, no lock is taken.
model::Result<std::unique_ptr<Rocks>> open_rocks_to_read(const StoreOptions& options,
                                                         const std::string& path, int open_files);

// By link, without touching the file, without falling back to a copy.
rocksdb::IngestExternalFileOptions ingest_options();
rocksdb::ReadOptions read_options();

// Deletes the files of one family that hold nothing but rows of the ranges [from, to).
rocksdb::Status delete_whole_files(Rocks& rocks, rocksdb::ColumnFamilyHandle* family,
                                   const std::vector<std::pair<std::string, std::string>>& ranges);

// `what` says what we were doing.
model::Error error_of(const rocksdb::Status& status, const std::string& what);

}  // namespace sluice::state
