// A snapshot's directory as a reader sees it, whoever wrote it and wherever it lies: a checkpoint
// or a savepoint, with or without a daemon beside it.
//
// Nothing in it is ever changed and no lock is taken: the disk that RocksDB is given here refuses
// everything that writes. A checkpoint that its daemon removes meanwhile stays readable as far as
// its files are open; what is not gives an error.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/row_source.h"

namespace sluice::state {

// Called now and then by what takes long, with what is done and an estimate of all of it.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

inline constexpr std::uint64_t kMostInputsBytes = 64ull << 20;

// Thread: the one that uses it. Calls block on the disk. Sources must not outlive it.
class Snapshot {
 public:
    struct Options {
        std::uint64_t cache_bytes = 32ull << 20;
        int open_files = 512;
        // Opens every table before the first row is read: of a checkpoint whose daemon runs, and
        // may remove it meanwhile.
        bool hold_tables = false;
    };

    // Reads the manifest and the recorded inputs. Errors: corrupt, invalid (written by a newer
    // Sluice), naming the file. `disk` must outlive it.
    static model::Result<std::unique_ptr<Snapshot>> open(Disk& disk, std::string path,
                                                         Options options);
    static model::Result<std::unique_ptr<Snapshot>> open(Disk& disk, std::string path) {
        return open(disk, std::move(path), Options{});
    }
    ~Snapshot();
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;

    const std::string& path() const;
    // As the manifest says, but for the former rows of its reductions: whoever reads rows here sees
    // them as the present definition has them.
    const CheckpointMeta& meta() const;
    const std::string& inputs_text() const;
    std::uint64_t bytes() const;  // of all files, as the manifest says

    // Reads every byte of every file and compares it with the manifest. Errors: corrupt, naming the
    // file.
    model::Status verify(const Progress& progress);

    // The rows of all reductions that the manifest names, or of one of them, merged; without
    // expired ones.
    model::Result<std::unique_ptr<RowSource>> rows(
        std::optional<std::uint32_t> reduction = std::nullopt);
    // Those of one encoded key. Reads little more than them.
    model::Result<std::unique_ptr<RowSource>> rows_of_key(std::uint32_t reduction,
                                                          std::string encoded_key);
    // RocksDB's estimate of all rows, for a display of progress.
    model::Result<std::uint64_t> estimated_rows();

 private:
    struct Database;
    class RowsOfKey;

    Snapshot();
    model::Status open_database();
    static std::unique_ptr<RowSource> of_all_definitions(
        const ReductionMeta& reduction,
        const std::function<std::unique_ptr<RowSource>(const ReductionMeta&)>& open);

    std::unique_ptr<Database> database_;
};

}  // namespace sluice::state
