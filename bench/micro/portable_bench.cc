// The portable stream: what one core exports (bytes of rows: keys and encoded rows as they lie in
// the store), and export to a file and import from it into a new savepoint on the disk of the
// current directory, each beside plain io_uring writes or reads of as many bytes. The argument is
// the number of rows; `wide` rows hold seven accumulators, the others count() and sum(price).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "state/io/io_engine.h"
#include "state/model/key.h"
#include "state/reduce/encoding.h"
#include "state/store/checksum.h"
#include "state/tools/new_snapshot.h"
#include "state/tools/portable_file.h"

namespace sluice::state {
namespace {

constexpr model::EventTime kEnd = 3'600'000;
constexpr std::string_view kInputs = "{}\n";

class Scratch {
 public:
    Scratch() {
        std::string name = "bench-XXXXXX";
        path_ = ::mkdtemp(name.data()) == nullptr ? std::string() : name;
    }
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    const std::string& path() const { return path_; }

 private:
    std::string path_;
};

// Rows of one slice: keys of a country and a user, prices that look like prices.
class MadeRows final : public RowSource {
 public:
    MadeRows(std::uint64_t rows, bool wide) : wide_(wide) {
        for (std::uint64_t i = 0; i < rows; ++i) {
            std::string key;
            model::append_key_part(key, i % 3 == 0 ? "de" : "us");
            model::append_key_part(key, "user-" + std::to_string(i));
            keys_.emplace_back(model::key_hash(key), std::move(key));
        }
        std::sort(keys_.begin(), keys_.end());
        key_.reduction = 1;
        key_.slice_end = kEnd;
    }
    model::Status next() override {
        valid_ = next_ < keys_.size();
        if (!valid_) {
            return {};
        }
        const auto& [hash, key] = keys_[next_++];
        key_.hash = hash;
        key_.key = key;
        row_.clear();
        append_row_header(row_, 0);
        append_count(row_, 1 + hash % 40);
        const ExactTotal price(static_cast<model::int128>(hash % 100'000) *
                               (model::kDecimalOne / 100));
        append_sum(row_, config::ReductionKind::sum, kDecimals, price, nullptr, 0);
        if (wide_) {
            append_sum(row_, config::ReductionKind::mean, kDecimals, price, nullptr, 7);
            append_extreme(row_, config::ReductionKind::min,
                           {ScalarState::value, number(hash, 10)});
            append_extreme(row_, config::ReductionKind::max,
                           {ScalarState::value, number(hash, 1000)});
            OrderedState ordered;
            ordered.present = true;
            ordered.order = {kEnd - static_cast<model::EventTime>(hash % 3'600'000), "clicks",
                             static_cast<std::int32_t>(hash % 16),
                             static_cast<std::int64_t>(hash % 1'000'000'000), 0};
            ordered.value = model::Scalar::of(std::string_view("https://example.org/landing/page"));
            append_ordered(row_, config::ReductionKind::first, ordered);
            append_ordered(row_, config::ReductionKind::last, ordered);
        }
        return {};
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    static model::Scalar number(std::uint64_t hash, std::uint64_t below) {
        return model::Scalar::of(static_cast<std::int64_t>(hash % below));
    }

    const bool wide_;
    std::vector<std::pair<std::uint64_t, std::string>> keys_;
    std::size_t next_ = 0;
    RowKey key_;
    std::string row_;
    bool valid_ = false;
};

// A snapshot, made once for each kind and number of rows.
struct Made {
    Scratch scratch;
    std::unique_ptr<Disk> disk = std::move(open_disk({})->disk);
    std::unique_ptr<Snapshot> snapshot;

    Made(std::uint64_t rows, bool wide) {
        CheckpointMeta meta;
        meta.pipeline = "bench";
        meta.inputs = checksum_hex(kInputs);
        meta.reductions = {{"all", 1, Family::standard, "v1", 0, {}, {}, {}}};
        MadeRows source(rows, wide);
        auto made = NewSnapshot::begin(*disk, scratch.path() + "/from");
        if (made && (*made)->add(meta, source) && (*made)->commit(meta, kInputs)) {
            auto opened = Snapshot::open(*disk, scratch.path() + "/from");
            snapshot = opened ? std::move(*opened) : nullptr;
        }
        if (snapshot == nullptr) {
            std::fprintf(stderr, "portable_bench: cannot make a snapshot here\n");
            std::exit(1);
        }
        ::malloc_trim(
            0);  // what making the rows has left is tidied up now, and not while we measure
    }
};

class Nowhere final : public ByteSink {
 public:
    model::Status write(std::string_view bytes) override {
        bytes_ += bytes.size();
        return {};
    }

 private:
    std::uint64_t bytes_ = 0;
};

void note(benchmark::State& state, const PortableCounts& counts) {
    const auto runs = static_cast<double>(state.iterations());
    state.SetItemsProcessed(static_cast<std::int64_t>(runs * static_cast<double>(counts.rows)));
    state.SetBytesProcessed(
        static_cast<std::int64_t>(runs * static_cast<double>(counts.row_bytes)));
    state.counters["stream/rows"] =
        static_cast<double>(counts.stream_bytes) / static_cast<double>(counts.row_bytes);
}

// What one core can do: no disk behind it.
void export_rows(benchmark::State& state, bool wide, Compression compression) {
    Made made(static_cast<std::uint64_t>(state.range(0)), wide);
    PortableWriter::Options options;
    options.compression = compression;
    PortableCounts counts;
    for (auto _ : state) {
        Nowhere sink;
        const auto done = export_snapshot(*made.snapshot, sink, options, nullptr);
        if (!done) {
            state.SkipWithError(done.error().text.c_str());
            return;
        }
        counts = *done;
    }
    note(state, counts);
}
BENCHMARK_CAPTURE(export_rows, narrow_zstd, false, Compression::zstd)
    ->Arg(2'000'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(export_rows, wide_zstd, true, Compression::zstd)
    ->Arg(2'000'000)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(export_rows, wide_none, true, Compression::none)
    ->Arg(2'000'000)
    ->Unit(benchmark::kMillisecond);

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// As many bytes as the rows have, written and synced or read as one file, with nothing done to
// them: what the disk can do. The bytes do not repeat, and reading begins with a cold cache.
model::Status write_raw(Disk& disk, const std::string& path, std::uint64_t bytes) {
    std::string piece(1 << 20, '\0');
    std::uint64_t state = 1;
    for (char& c : piece) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        c = static_cast<char>(state >> 56);
    }
    TRY(file, disk.create(path));
    for (std::uint64_t at = 0; at < bytes; at += piece.size()) {
        const auto part = std::min<std::uint64_t>(piece.size(), bytes - at);
        TRY(file->append(std::string_view(piece).substr(0, part)));
    }
    return file->sync();
}
model::Status read_raw(Disk& disk, const std::string& path) {
    std::string piece(1 << 20, '\0');
    TRY(file, disk.open(path));
    for (std::uint64_t at = 0; at < file->size();) {
        TRY(got, file->read(at, piece.size(), piece.data()));
        at += got;
    }
    return {};
}

// The kernel's copy of a file or of all files in a directory is let go.
void forget(const std::string& path) {
    const auto forget_file = [](const std::string& name) {
        const int file = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            ::fdatasync(file);
            ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
            ::close(file);
        }
    };
    if (!std::filesystem::is_directory(path)) {
        forget_file(path);
        return;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        forget_file(entry.path());
    }
}

// Sums of seconds over the iterations, the measured thing and the raw one beside it in turn, so
// that both see the same machine.
struct Beside {
    double done = 0, raw = 0;
    void note(benchmark::State& state) const {
        state.counters["raw_s"] = raw / static_cast<double>(state.iterations());
        state.counters["of_raw"] = raw / done;
    }
};

// Wall clock, from a cold cache to a synced file: `of_raw` is the speed of rows beside that of
// plain io_uring writes of as many bytes.
void export_file(benchmark::State& state, bool wide) {
    Made made(static_cast<std::uint64_t>(state.range(0)), wide);
    const auto file = made.scratch.path() + "/stream";
    const auto raw = made.scratch.path() + "/raw";
    PortableWriter::Options options;
    options.threads = std::thread::hardware_concurrency();
    PortableCounts counts;
    Beside beside;
    for (auto _ : state) {
        state.PauseTiming();
        forget(made.scratch.path() + "/from");
        state.ResumeTiming();
        const auto begin = std::chrono::steady_clock::now();
        const auto done = export_snapshot(*made.snapshot, *made.disk, file, options, nullptr);
        beside.done += seconds_since(begin);
        state.PauseTiming();
        if (!done) {
            state.SkipWithError(done.error().text.c_str());
            return;
        }
        counts = *done;
        const auto raw_begin = std::chrono::steady_clock::now();
        if (!write_raw(*made.disk, raw, counts.row_bytes)) {
            state.SkipWithError("raw writes failed");
            return;
        }
        beside.raw += seconds_since(raw_begin);
        static_cast<void>(made.disk->remove(file));
        static_cast<void>(made.disk->remove(raw));
        state.ResumeTiming();
    }
    note(state, counts);
    beside.note(state);
}
BENCHMARK_CAPTURE(export_file, narrow, false)
    ->Arg(4'000'000)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(export_file, wide, true)
    ->Arg(4'000'000)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Wall clock: the disk, RocksDB's threads and ours, from a cold cache to a savepoint that is
// synced; beside plain io_uring reads of as many bytes as the rows have.
void import_file(benchmark::State& state, bool wide) {
    Made made(static_cast<std::uint64_t>(state.range(0)), wide);
    const auto file = made.scratch.path() + "/stream";
    const auto raw = made.scratch.path() + "/raw";
    const auto to = made.scratch.path() + "/to";
    const unsigned threads = std::thread::hardware_concurrency();
    const auto counts =
        export_snapshot(*made.snapshot, *made.disk, file, PortableWriter::Options{}, nullptr);
    if (!counts || !write_raw(*made.disk, raw, counts->row_bytes)) {
        state.SkipWithError("nothing to import");
        return;
    }
    Beside beside;
    for (auto _ : state) {
        state.PauseTiming();
        forget(file);
        forget(raw);
        state.ResumeTiming();
        const auto begin = std::chrono::steady_clock::now();
        const auto done = [&]() -> model::Status {
            TRY(source, FileSource::open(*made.disk, file));
            TRY(reader, PortableReader::open(*source, threads));
            TRY(meta, import_stream(*reader, *made.disk, to, threads));
            return meta.files.empty() ? model::invalid("nothing was made") : model::Status{};
        }();
        beside.done += seconds_since(begin);
        state.PauseTiming();
        const auto raw_begin = std::chrono::steady_clock::now();
        if (!done || !read_raw(*made.disk, raw)) {
            state.SkipWithError(done ? "raw reads failed" : done.error().text.c_str());
            return;
        }
        beside.raw += seconds_since(raw_begin);
        static_cast<void>(remove_tree(*made.disk, to));
        state.ResumeTiming();
    }
    note(state, *counts);
    beside.note(state);
}
BENCHMARK_CAPTURE(import_file, narrow, false)
    ->Arg(4'000'000)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(import_file, wide, true)
    ->Arg(4'000'000)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::state
