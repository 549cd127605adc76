// What bench/snapshots.py needs besides the daemon. Prints one line of JSON.
//
//   seed FROM TO     a savepoint TO like FROM, with rows of so many bytes instead of its own
//   write FILE       so many bytes to a new file through a bare ring, past the page cache, durable
//   read FILE        all bytes of a file, likewise: what the device can do
//   copy FROM TO     the files of the snapshot FROM into a new folder TO, as the completion of a
//                    savepoint and a restore from another disk do it
//   dirty FOLDER     checkpoints of so many keys dirtied in each interval: bytes that the rows have
//                    and bytes that were written for them, compaction apart
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "state/io/io_engine.h"
#include "state/io/rocks_env.h"
#include "state/model/clock.h"
#include "state/model/key.h"
#include "state/reduce/cursor.h"
#include "state/reduce/encoding.h"
#include "state/reduce/reduction_folder.h"
#include "state/store/checksum.h"
#include "state/store/file_copies.h"
#include "state/store/restore.h"
#include "state/store/snapshotter.h"
#include "state/tools/new_snapshot.h"

namespace sluice::state {
namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr unsigned kDepth = 32;

struct Wanted {
    std::string from, to;
    std::string reduction;
    std::int64_t window_end = 0;
    std::uint64_t bytes = 1 << 30;
    std::uint64_t keys = 1'000'000;
    int rounds = 5;
};

[[noreturn]] void give_up(const std::string& text) {
    std::fprintf(stderr, "state_tool: %s\n", text.c_str());
    std::exit(1);
}

template <class T>
T value_of(model::Result<T> result) {
    if (!result) {
        give_up(result.error().text);
    }
    return std::move(*result);
}

void must(const model::Status& status) {
    if (!status) {
        give_up(status.error().text);
    }
}

double since(std::int64_t begun_ns) {
    return static_cast<double>(model::SystemClock().steady_ns() - begun_ns) / 1e9;
}

void say(std::uint64_t bytes, double seconds, const std::string& more = "") {
    std::printf("{\"bytes\":%llu,\"seconds\":%.4f,\"gib_per_second\":%.3f%s}\n",
                static_cast<unsigned long long>(bytes), seconds,
                static_cast<double>(bytes) / seconds / (1 << 30), more.c_str());
}

// ---- seed

std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

// Rows of count() and sum() with keys of 1000 bytes that nothing compresses, so that ten gigabytes
// are some million rows to make.
class MadeRows final : public RowSource {
 public:
    static constexpr std::size_t kKeyBytes = 1000;

    MadeRows(std::uint32_t reduction, model::EventTime end, std::uint64_t bytes) {
        key_.reduction = reduction;
        key_.slice_end = end;
        for (std::uint64_t i = 0; i < bytes / kKeyBytes; ++i) {
            order_.emplace_back(model::key_hash(key_of(i)), i);
        }
        std::sort(order_.begin(), order_.end());
    }
    model::Status next() override {
        valid_ = next_ < order_.size();
        if (valid_) {
            const auto& [hash, number] = order_[next_++];
            bytes_ = key_of(number);
            key_.hash = hash;
            key_.key = bytes_;
            row_.clear();
            append_row_header(row_, 0);
            append_count(row_, 1 + hash % 40);
            append_sum(
                row_, config::ReductionKind::sum, kDecimals,
                ExactTotal(static_cast<model::int128>(hash % 100'000) * (model::kDecimalOne / 100)),
                nullptr, 0);
        }
        return {};
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    static std::string key_of(std::uint64_t number) {
        std::string text;
        for (std::uint64_t i = 0; text.size() < kKeyBytes; ++i) {
            std::uint64_t bits = mixed(number * 1'000 + i);
            for (int digit = 0; digit < 10; ++digit, bits >>= 6) {
                text.push_back(static_cast<char>('0' + (bits & 63)));
            }
        }
        std::string key;
        model::append_key_part(key, text);
        return key;
    }

    std::vector<std::pair<std::uint64_t, std::uint64_t>> order_;  // (hash, number)
    std::size_t next_ = 0;
    RowKey key_;
    std::string bytes_;
    std::string row_;
    bool valid_ = false;
};

void seed(const Wanted& wanted) {
    const auto disk = std::move(value_of(open_disk({})).disk);
    auto meta = value_of(
        parse_manifest(value_of(read_file(*disk, wanted.from + "/MANIFEST.json", 64 << 20))));
    const std::string inputs =
        value_of(read_file(*disk, wanted.from + "/INPUTS-" + meta.inputs, 64 << 20));
    const ReductionMeta* reduction = meta.reduction(wanted.reduction);
    if (reduction == nullptr) {
        give_up(wanted.from + " has no reduction " + wanted.reduction);
    }
    meta.provenance = Provenance::edited;
    MadeRows rows(reduction->number, wanted.window_end, wanted.bytes);
    const auto begun = model::SystemClock().steady_ns();
    const auto snapshot = value_of(NewSnapshot::begin(*disk, wanted.to));
    must(snapshot->add(meta, rows));
    const auto made = value_of(snapshot->commit(meta, inputs));
    std::uint64_t bytes = 0;
    for (const auto& file : made.files) {
        bytes += file.size;
    }
    say(bytes, since(begun), ",\"files\":" + std::to_string(made.files.size()));
}

// ---- a bare ring

void bare(const std::string& path, bool write, std::uint64_t bytes) {
    const int file =
        ::open(path.c_str(), (write ? O_WRONLY | O_CREAT | O_EXCL : O_RDONLY) | O_DIRECT, 0600);
    struct stat about{};
    if (file < 0 || ::fstat(file, &about) != 0) {
        give_up(path + ": cannot be opened past the page cache");
    }
    bytes = write ? bytes / kBlock * kBlock : static_cast<std::uint64_t>(about.st_size);
    io_uring ring{};
    if (io_uring_queue_init(kDepth, &ring, 0) != 0) {
        give_up("there is no io_uring");
    }
    char* const memory = static_cast<char*>(std::aligned_alloc(4096, kBlock * kDepth));
    for (std::size_t i = 0; i < kBlock * kDepth / 8; ++i) {
        const std::uint64_t word = mixed(i);
        std::memcpy(memory + i * 8, &word, sizeof word);
    }
    std::vector<iovec> buffers;
    for (unsigned i = 0; i < kDepth; ++i) {
        buffers.push_back({memory + i * kBlock, kBlock});
    }
    if (io_uring_register_buffers(&ring, buffers.data(), kDepth) != 0) {
        give_up("the limit of locked memory is too low");
    }
    const auto begun = model::SystemClock().steady_ns();
    std::uint64_t asked = 0;
    std::uint64_t done = 0;
    std::vector<unsigned> free;
    for (unsigned i = 0; i < kDepth; ++i) {
        free.push_back(i);
    }
    while (done < bytes) {
        while (asked < bytes && !free.empty()) {
            const unsigned slot = free.back();
            free.pop_back();
            io_uring_sqe* const entry = io_uring_get_sqe(&ring);
            char* const block = memory + slot * kBlock;
            if (write) {
                io_uring_prep_write_fixed(entry, file, block, kBlock, asked,
                                          static_cast<int>(slot));
            } else {
                io_uring_prep_read_fixed(entry, file, block, kBlock, asked, static_cast<int>(slot));
            }
            io_uring_sqe_set_data64(entry, slot);
            asked += kBlock;
        }
        io_uring_submit_and_wait(&ring, 1);
        io_uring_cqe* entry = nullptr;
        while (io_uring_peek_cqe(&ring, &entry) == 0) {
            if (entry->res <= 0) {
                give_up(path + ": an operation failed");
            }
            done += static_cast<std::uint64_t>(entry->res);
            free.push_back(static_cast<unsigned>(io_uring_cqe_get_data64(entry)));
            io_uring_cqe_seen(&ring, entry);
        }
    }
    if (write && ::fdatasync(file) != 0) {
        give_up(path + ": fdatasync failed");
    }
    say(bytes, since(begun));
    io_uring_queue_exit(&ring);
    ::close(file);
    std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc): from aligned_alloc
}

// ---- copy

void copy(const Wanted& wanted) {
    const auto disk = std::move(value_of(open_disk({})).disk);
    const auto meta = value_of(
        parse_manifest(value_of(read_file(*disk, wanted.from + "/MANIFEST.json", 64 << 20))));
    must(disk->make_directory(wanted.to));
    const auto begun = model::SystemClock().steady_ns();
    FileCopies copies(*disk);
    std::size_t next = 0;
    std::uint64_t bytes = 0;
    while (next < meta.files.size() || !copies.empty()) {
        if (next < meta.files.size() && !copies.full()) {
            const auto& file = meta.files[next++];
            must(copies.begin(wanted.from + "/" + file.name, wanted.to + "/" + file.name, file));
            bytes += file.size;
        } else {
            value_of(copies.step());
        }
    }
    must(disk->sync_directory(wanted.to));
    say(bytes, since(begun));
}

// ---- dirty

constexpr config::ReductionKind kKinds[] = {config::ReductionKind::count,
                                            config::ReductionKind::sum};
constexpr model::DurationMs kWindowMs = 86'400'000;

void fold_keys(ReductionFolder& folder, std::uint64_t keys) {
    constexpr std::uint64_t kBatchRows = 4096;
    for (std::uint64_t begin = 0; begin < keys; begin += kBatchRows) {
        const std::uint64_t end = std::min(keys, begin + kBatchRows);
        model::RecordBatch records;
        model::Column price;
        std::vector<std::uint32_t> rows;
        std::vector<std::uint64_t> hash;
        std::vector<std::string_view> views;
        for (std::uint64_t number = begin; number < end; ++number) {
            std::string key;
            model::append_key_part(key, "user" + std::to_string(number));
            rows.push_back(static_cast<std::uint32_t>(number - begin));
            hash.push_back(model::key_hash(key));
            views.push_back(records.arena.copy(key));
            records.offset.push_back(static_cast<model::Offset>(number));
            records.timestamp.push_back(0);
            const auto value = model::Scalar::of_decimal(
                static_cast<model::int128>(number % 10'000) * (model::kDecimalOne / 100));
            price.type.push_back(value.type);
            price.value.push_back(value.value);
        }
        const std::vector<const model::Column*> arguments{nullptr, &price};
        const std::vector<const model::Column*> wheres{nullptr, nullptr};
        model::ValueErrors errors;
        folder.fold({&records, rows, hash, views, arguments, wheres, "topic", 0},
                    model::Window{0, kWindowMs}, errors);
    }
}

std::uint64_t bytes_of(const Store& store, std::uint32_t reduction) {
    std::uint64_t bytes = 0;
    const auto rows = value_of(store.scan(reduction, kWindowMs));
    for (must(rows->next()); rows->valid(); must(rows->next())) {
        bytes += kRowHeaderBytes + rows->key().size() + rows->row().size();
    }
    return bytes;
}

void dirty(const Wanted& wanted) {
    const model::SystemClock clock;
    const auto disk = std::move(value_of(open_disk({})).disk);
    must(disk->make_directory(wanted.to));
    const auto env = make_rocks_env(*disk);
    const StatePaths paths{wanted.to};
    Catalogue catalogue(*disk, paths);
    Inputs inputs(*disk, paths.inputs());
    std::string lines;
    for (const Family family : {Family::standard, Family::brief}) {
        RestoreOptions options;
        options.store.disk = disk.get();
        options.store.env = env.get();
        options.boot = family == Family::standard ? "standard" : "brief";
        options.pipeline = "bench";
        options.fresh = true;
        Restore restore(std::move(options), catalogue, inputs);
        while (restore.phase() != Restore::Phase::done) {
            value_of(restore.step());
        }
        auto restored = restore.finish();
        Store& store = *restored.store;
        CheckpointMeta meta;
        meta.pipeline = "bench";
        meta.lineage = std::string(32, '0');
        meta.reductions = {{"spend", 1, family, "count sum", 1, {}, {}, {}}};
        store.set_reductions(meta.reductions);
        Snapshotter snapshotter({}, *disk, clock, store, catalogue, inputs);
        ReductionFolder folder(
            {1, kWindowMs, 0, 0, config::TimeKind::processing, RowLayout(kKinds)});
        std::uint64_t written = 0;
        std::uint64_t dirtied = 0;
        const auto all_before = disk->statistics().written_bytes;
        for (int round = 1; round <= wanted.rounds; ++round) {
            fold_keys(folder, wanted.keys);
            const auto number = static_cast<model::BarrierNumber>(round);
            store.add_tables(number, folder.seal());
            if (dirtied == 0) {
                dirtied = bytes_of(store, 1);  // the same keys in every round
            }
            SnapshotJob job;
            job.number = number;
            job.meta = meta;
            job.meta.number = job.meta.journal_number = number;
            job.inputs_text = "{}";
            snapshotter.submit(std::move(job));
            while (snapshotter.step()) {
            }
            const auto result = snapshotter.take_result();
            if (!result || result->outcome != SnapshotResult::Outcome::done) {
                give_up(result ? result->error.text : "no checkpoint");
            }
            written += result->checkpoint.new_bytes;
        }
        const auto all = disk->statistics().written_bytes - all_before;
        std::ostringstream line;
        line << (lines.empty() ? "" : ",") << "\""
             << (family == Family::standard ? "long" : "brief")
             << "\":{\"dirtied\":" << dirtied * static_cast<std::uint64_t>(wanted.rounds)
             << ",\"written\":" << written << ",\"written_and_compacted\":" << all << "}";
        lines += line.str();
    }
    std::printf("{\"keys\":%llu,\"rounds\":%d,%s}\n", static_cast<unsigned long long>(wanted.keys),
                wanted.rounds, lines.c_str());
}

}  // namespace
}  // namespace sluice::state

int main(int argc, char** argv) {
    using namespace sluice::state;  // NOLINT(google-build-using-namespace): a program of its own
    Wanted wanted;
    CLI::App app("What bench/snapshots.py needs besides the daemon.");
    app.require_subcommand(1);
    auto* seeds = app.add_subcommand("seed");
    seeds->add_option("from", wanted.from)->required();
    seeds->add_option("to", wanted.to)->required();
    seeds->add_option("--reduction", wanted.reduction)->required();
    seeds->add_option("--window-end", wanted.window_end, "milliseconds since the epoch")
        ->required();
    seeds->add_option("--bytes", wanted.bytes);
    auto* writes = app.add_subcommand("write");
    writes->add_option("file", wanted.to)->required();
    writes->add_option("--bytes", wanted.bytes);
    auto* reads = app.add_subcommand("read");
    reads->add_option("file", wanted.from)->required();
    auto* copies = app.add_subcommand("copy");
    copies->add_option("from", wanted.from)->required();
    copies->add_option("to", wanted.to)->required();
    auto* dirties = app.add_subcommand("dirty");
    dirties->add_option("folder", wanted.to)->required();
    dirties->add_option("--keys", wanted.keys);
    dirties->add_option("--rounds", wanted.rounds);
    CLI11_PARSE(app, argc, argv);
    if (*seeds) {
        seed(wanted);
    } else if (*writes) {
        bare(wanted.to, true, wanted.bytes);
    } else if (*reads) {
        bare(wanted.from, false, 0);
    } else if (*copies) {
        copy(wanted);
    } else {
        dirty(wanted);
    }
    return 0;
}
