#include "state/store/store.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>

#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"
#include "state/reduce/cursor.h"
#include "state/reduce/packed_rows.h"
#include "state/reduce/reduction_folder.h"
#include "state/store/checksum.h"
#include "state/store/in_order.h"
#include "state/store/rocks_options.h"
#include "state/store/row_key.h"
#include "state/store/row_source.h"
#include "state/store/slice_view.h"

namespace sluice::state {
namespace {

// Files of the family `short` end at a slice's end, so that they go whole when it is dropped, and
// lie in a deep level where no other has rows of that slice. A file costs an inode, a sync and a
// link per checkpoint: when a backlog is read, a seal holds thousands of slices, and those smaller
// than this share one; but for the last ones, which more rows may come to.
constexpr std::uint64_t kBriefFileBytes = 1 << 20;
constexpr std::size_t kOwnFiles = 16;
// When so many files of the family `short` lie in level 0, where no range deletion reaches them.
constexpr int kTidyLevel0 = 8;
constexpr int kCrowdedLevel0 = 16;
// Of rows in a table that tools have written: bounds the memory of those that are on their way.
constexpr std::uint64_t kTableRowBytes = 32 << 20;
// Tables of a slice that take no more than this are packed when they have been merged: as long as
// that lasts, both are there. Larger ones are not what a backlog has thousands of.
constexpr std::uint64_t kMostPackedBytes = 1 << 20;

// The rows of one slice in RocksDB.
class RocksCursor final : public RowCursor {
 public:
    RocksCursor(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, std::uint32_t reduction,
                model::EventTime slice_end, const std::optional<RowPosition>& after)
        : begin_(slice_prefix(reduction, slice_end)),
          end_(slice_prefix(reduction, slice_end, 1)),
          upper_(end_) {
        if (after) {
            append_row(begin_, after->hash, after->key);
            begin_.push_back('\0');  // the least key behind it
        }
        auto options = read_options();
        options.iterate_upper_bound = &upper_;
        iterator_.reset(db.NewIterator(options, family));
    }

    model::Status next() override {
        if (!begun_) {
            begun_ = true;
            iterator_->Seek(begin_);
        } else {
            iterator_->Next();
        }
        if (!iterator_->Valid()) {
            row_.reset();
            if (const auto status = iterator_->status(); !status.ok()) {
                return std::unexpected(error_of(status, "reading rows"));
            }
            return {};
        }
        row_ = parse_row_key(view(iterator_->key()));
        if (!row_) {
            return model::corrupt("a row's key in RocksDB is too short");
        }
        return {};
    }
    bool valid() const override { return row_.has_value(); }
    std::uint64_t hash() const override { return row_->hash; }
    std::string_view key() const override { return row_->key; }
    std::string_view row() const override { return view(iterator_->value()); }

 private:
    std::string begin_;
    const std::string end_;
    const rocksdb::Slice upper_;  // into end_
    std::unique_ptr<rocksdb::Iterator> iterator_;
    bool begun_ = false;
    std::optional<RowKey> row_;
};

// Leaves out the rows up to a position.
class CursorBehind final : public RowCursor {
 public:
    CursorBehind(std::unique_ptr<RowCursor> source, const RowPosition& after)
        : source_(std::move(source)), hash_(after.hash), key_(after.key) {}

    model::Status next() override {
        TRY(source_->next());
        while (skipping_ && source_->valid()) {
            if (source_->hash() > hash_ || (source_->hash() == hash_ && source_->key() > key_)) {
                skipping_ = false;
                break;
            }
            TRY(source_->next());
        }
        return {};
    }
    bool valid() const override { return source_->valid(); }
    std::uint64_t hash() const override { return source_->hash(); }
    std::string_view key() const override { return source_->key(); }
    std::string_view row() const override { return source_->row(); }

 private:
    const std::unique_ptr<RowCursor> source_;
    const std::uint64_t hash_;
    const std::string key_;
    bool skipping_ = true;
};

// The files of one family in a run: sorted rows, cut where a file is full.
class RunWriter {
 public:
    RunWriter(const Rocks& rocks, Family family, std::uint64_t target_bytes,
              std::vector<PreparedRun::File>& files)
        : options_(family == Family::standard ? rocks.writer_standard : rocks.writer_brief),
          handle_(rocks.handle(family)),
          target_bytes_(target_bytes),
          files_(files) {}

    // `path` names the file if a new one is begun.
    template <class Path>
    model::Status merge(std::string_view key, std::string_view row, const Path& path) {
        if (writer_ && writer_->FileSize() >= target_bytes_) {
            TRY(cut());
        }
        if (!writer_) {
            TRY(begin(path()));
        }
        return check(writer_->Merge(rocksdb::Slice(key.data(), key.size()),
                                    rocksdb::Slice(row.data(), row.size())));
    }
    // A file of its own for one row that replaces what is there.
    model::Status put(std::string_view key, const std::string& value, const std::string& path) {
        TRY(cut());
        TRY(begin(path));
        TRY(check(writer_->Put(rocksdb::Slice(key.data(), key.size()), value)));
        return cut();
    }
    // Ends the file, durably.
    model::Status cut() {
        if (!writer_) {
            return {};
        }
        rocksdb::ExternalSstFileInfo info;
        TRY(check(writer_->Finish(&info)));
        writer_.reset();
        files_.back().checksum = info.file_checksum;
        bytes_ += info.file_size;
        return {};
    }
    // Of the file that is being written.
    std::uint64_t file_bytes() const { return writer_ ? writer_->FileSize() : 0; }
    std::uint64_t bytes() const { return bytes_; }

 private:
    model::Status begin(const std::string& path) {
        writer_ = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(options_), options_,
                                                           handle_);
        files_.push_back({path, {}});
        return check(writer_->Open(path));
    }
    model::Status check(const rocksdb::Status& status) const {
        if (!status.ok()) {
            return std::unexpected(error_of(status, "writing " + files_.back().path));
        }
        return {};
    }

    const rocksdb::Options& options_;
    rocksdb::ColumnFamilyHandle* const handle_;
    const std::uint64_t target_bytes_;
    std::vector<PreparedRun::File>& files_;
    std::unique_ptr<rocksdb::SstFileWriter> writer_;
    std::uint64_t bytes_ = 0;
};

}  // namespace

// Rows of one table that is to be written: those that were added one by one, as sizes of key and
// row and then their bytes, and behind them pieces.
struct Store::TablePart {
    Family family = Family::standard;
    std::string path;
    std::size_t file = 0;  // of the family's files
    std::string rows;
    std::vector<std::unique_ptr<RowSource>> pieces;
    std::uint64_t piece_bytes = 0;
    std::vector<PreparedRun::File> files;
    std::uint64_t bytes = 0;  // as it was written
    model::Status status;

    void add(std::string_view prefix, const RowKey& key, std::string_view row) {
        char head[8 + kRowHeaderBytes];
        const std::uint32_t sizes[2] = {
            static_cast<std::uint32_t>(kRowHeaderBytes + key.key.size()),
            static_cast<std::uint32_t>(row.size())};
        std::memcpy(head, sizes, sizeof sizes);
        std::memcpy(head + 8, prefix.data(), kSlicePrefixBytes);
        write_big_endian(head + 8 + kSlicePrefixBytes, key.hash);
        rows.append(head, sizeof head);
        rows.append(key.key);
        rows.append(row);
    }
};

// Rows of a slice: a worker's table, or what several became when they were merged.
struct Store::Held {
    std::uint64_t serial;
    model::BarrierNumber tag;
    std::shared_ptr<const SliceTable> table;  // null: packed
    std::shared_ptr<const PackedRows> packed;

    std::size_t rows() const { return table ? table->rows() : packed->rows(); }
    std::size_t bytes() const { return table ? table->bytes() : packed->bytes(); }
    std::unique_ptr<RowCursor> cursor() const {
        return table ? cursor_over(table) : cursor_over(packed);
    }
};

// Passes rows on and packs them; behind the last one they take the place of their tables.
class Store::PackingCursor final : public RowCursor {
 public:
    PackingCursor(Store& store, Slice slice, HeldRows held, std::unique_ptr<RowCursor> source)
        : store_(store), slice_(slice), held_(std::move(held)), source_(std::move(source)) {}

    model::Status next() override {
        TRY(source_->next());
        if (source_->valid()) {
            packed_->add(source_->hash(), source_->key(), source_->row());
        } else if (!held_.empty()) {
            source_ = merge_cursors({});
            store_.replace(slice_, held_, std::move(packed_));
            held_.clear();  // the tables' memory returns to the workers' pools, outside the lock
        }
        return {};
    }
    bool valid() const override { return source_->valid(); }
    std::uint64_t hash() const override { return source_->hash(); }
    std::string_view key() const override { return source_->key(); }
    std::string_view row() const override { return source_->row(); }

 private:
    Store& store_;
    const Slice slice_;
    HeldRows held_;
    std::unique_ptr<RowCursor> source_;
    std::unique_ptr<PackedRows> packed_ = std::make_unique<PackedRows>();
};

Store::Store(const StoreOptions& options)
    : options_(options), dropped_(std::make_shared<DropFrontiers>()) {}

Store::~Store() = default;

model::Result<std::unique_ptr<Store>> Store::open(const StoreOptions& options) {
    INVARIANT(options.disk != nullptr && options.env != nullptr, "a store has a disk");
    std::unique_ptr<Store> store(new Store(options));
    TRY(options.disk->make_directory(options.directory));
    TRY(options.disk->make_directory(options.directory + "/db"));
    TRY(options.disk->make_directory(options.directory + "/runs"));
    TRY(rocks, open_rocks(options, options.directory + "/db", store->dropped_));
    store->rocks_ = std::move(rocks);
    store->note_files();
    return store;
}

void Store::set_reductions(const std::vector<ReductionMeta>& reductions) {
    const std::lock_guard lock(families_mutex_);
    for (const auto& reduction : reductions) {
        INVARIANT(reduction.number != 0, "reductions are numbered from 1");
        const auto [it, made] = families_.try_emplace(reduction.number, reduction.family);
        INVARIANT(made || it->second == reduction.family, "a reduction stays in its family");
        for (const FormerRows& former : reduction.former) {
            families_.try_emplace(former.number, former.family);
        }
        former_[reduction.number] = reduction.former;
    }
}

void Store::set_retired(const std::vector<RetiredRows>& retired) {
    for (const RetiredRows& one : retired) {
        {
            const std::lock_guard lock(families_mutex_);
            families_.try_emplace(one.number, one.family);
        }
        dropped_->raise(one.number, model::kAfterAll);
    }
}

std::vector<FormerRows> Store::former_of(std::uint32_t reduction) const {
    const std::lock_guard lock(families_mutex_);
    const auto found = former_.find(reduction);
    return found == former_.end() ? std::vector<FormerRows>{} : found->second;
}

Family Store::family_of(std::uint32_t reduction) const {
    const std::lock_guard lock(families_mutex_);
    const auto it = families_.find(reduction);
    INVARIANT(it != families_.end(), "a reduction is known before its rows");
    return it->second;
}

void Store::add_tables(model::BarrierNumber tag, std::vector<SealedSlice> tables) {
    const std::lock_guard lock(tables_mutex_);
    for (auto& sealed : tables) {
        INVARIANT(sealed.slice.accepted_from == sealed.slice.end, "windows share no slices yet");
        if (sealed.table->rows() == 0 || sealed.slice.end <= dropped_->frontier(sealed.reduction)) {
            continue;
        }
        table_bytes_ += sealed.table->bytes();
        table_rows_ += sealed.table->rows();
        tables_[{sealed.reduction, sealed.slice.end}].push_back(
            std::make_shared<const Held>(Held{next_serial_++, tag, std::move(sealed.table), {}}));
    }
}

template <class Gone>
Store::Tables Store::take_out(const Gone& gone) {
    Tables out;
    const std::lock_guard lock(tables_mutex_);
    for (auto it = tables_.begin(); it != tables_.end();) {
        auto& held = it->second;
        const auto first = std::stable_partition(
            held.begin(), held.end(), [&](const auto& h) { return !gone(it->first, *h); });
        if (first != held.end()) {
            auto& taken = out[it->first];
            for (auto h = first; h != held.end(); ++h) {
                table_bytes_ -= (*h)->bytes();
                table_rows_ -= (*h)->rows();
                taken.push_back(std::move(*h));
            }
            held.erase(first, held.end());
        }
        it = held.empty() ? tables_.erase(it) : std::next(it);
    }
    return out;
}

// `rows` writes them, in order; the meta row and what makes a run of the files is done here.
template <class Rows>
model::Result<PreparedRun> Store::make_run(model::BarrierNumber number, const CheckpointMeta& meta,
                                           const Rows& rows) {
    PreparedRun run;
    run.number = number;
    RunWriter standard(*rocks_, Family::standard, options_.target_file_bytes, run.standard);
    RunWriter brief(*rocks_, Family::brief, options_.target_file_bytes, run.brief);
    const auto write = [&]() -> model::Status {
        TRY(rows(run, standard, brief));
        TRY(standard.cut());
        TRY(brief.cut());
        TRY(standard.put(kMetaRowKey, meta_row_text(meta), next_run_path()));
        return options_.disk->sync_directory(options_.directory + "/runs");
    };
    if (auto status = write(); !status) {
        remove_files(run);
        return std::unexpected(std::move(status.error()));
    }
    run.bytes += standard.bytes() + brief.bytes();
    SLUICE_FAIL_POINT("run.written");
    return run;
}

model::Result<PreparedRun> Store::write_run(model::BarrierNumber number, const CheckpointMeta& meta,
                                            const Discards& discards) {
    INVARIANT(number >= last_applied_, "runs are written in the order of their barriers");
    Tables tables;
    {
        const std::lock_guard lock(tables_mutex_);
        for (const auto& [slice, held] : tables_) {
            for (const auto& h : held) {
                if (h->tag <= number || SLUICE_MUTANT(SEALS_OUT_OF_ORDER)) {
                    tables[slice].push_back(h);
                }
            }
        }
    }

    return make_run(
        number, meta,
        [&](PreparedRun& run, RunWriter& standard, RunWriter& brief) -> model::Status {
            const auto path = [this] { return next_run_path(); };
            std::string key;
            for (auto at = tables.begin(); at != tables.end(); ++at) {
                const auto& [slice, held] = *at;
                for (const auto& h : held) {
                    run.taken.insert(h->serial);
                }
                const auto [reduction, end] = slice;
                const auto discard = discards.find(reduction);
                if ((discard != discards.end() && end <= discard->second) ||
                    end <= dropped_->frontier(reduction)) {
                    ++run.expired_slices;
                    continue;
                }
                const auto family = family_of(reduction);
                auto& writer = family == Family::standard ? standard : brief;
                std::vector<std::unique_ptr<RowCursor>> sources;
                sources.reserve(held.size());
                for (const auto& h : held) {
                    sources.push_back(h->cursor());
                }
                const auto rows = merge_cursors(std::move(sources));
                const auto prefix = slice_prefix(reduction, end);
                while (true) {
                    TRY(rows->next());
                    if (!rows->valid()) {
                        break;
                    }
                    key = prefix;
                    append_row(key, rows->hash(), rows->key());
                    TRY(writer.merge(key, rows->row(), path));
                    ++run.rows;
                }
                ++run.slices;
                auto ahead = at;
                for (std::size_t i = 0; i < kOwnFiles && ahead != tables.end(); ++i) {
                    ++ahead;
                }
                const bool more = ahead != tables.end() && ahead->first.first == reduction;
                if (family == Family::brief && (!more || writer.file_bytes() >= kBriefFileBytes)) {
                    TRY(writer.cut());
                }
            }
            return {};
        });
}

// The tables of a run that rows are written to, cut by size; several writers fill them at once.
//
// Of the family `short` each slice has tables of its own, as far as that pays: small slices share
// one, but for the last ones of a reduction, which more rows may come to.
class Store::RowTables {
 public:
    // Both outlive it.
    RowTables(Store& store, PreparedRun& run)
        : store_(store),
          run_(run),
          most_(std::min<std::uint64_t>(kTableRowBytes, store.options_.target_file_bytes)),
          written_(store.options_.writers, store.options_.writers,
                   [&store](TablePart& part, unsigned) { part.status = store.write_table(part); }) {
    }

    // In the order of keys.
    model::Status add(const RowKey& at, std::string_view row) {
        if (part_ != nullptr && !part_->pieces.empty()) {
            TRY(submit_all());
        }
        TRY(come_to(at));
        take_part();
        part_->add(prefix_, at, row);
        ++run_.rows;
        return part_->rows.size() >= most_ ? submit_all() : model::Status{};
    }

    model::Status add_rows_of(RowSource& rows) {
        while (true) {
            TRY(rows.next());
            if (!rows.valid()) {
                return {};
            }
            TRY(add(rows.key(), rows.row()));
        }
    }
    // Goes into a table as it is, where slices need no tables of their own.
    model::Status add(RowPiece piece) {
        for (const RowKey& slice : piece.slices) {
            if (store_.family_of(slice.reduction) == Family::brief) {
                return add_rows_of(*piece.rows);
            }
        }
        for (const RowKey& slice : piece.slices) {
            TRY(come_to(slice));
        }
        take_part();
        run_.rows += piece.number;
        part_->pieces.push_back(std::move(piece.rows));
        part_->piece_bytes += piece.bytes;
        return part_->rows.size() + part_->piece_bytes >= most_ ? submit_all() : model::Status{};
    }

    model::Status finish() {
        TRY(end_slice());
        TRY(submit_small());
        while (!written_.empty()) {
            TRY(take());
        }
        return {};
    }

 private:
    model::Status come_to(const RowKey& at) {
        return at.reduction != slice_.reduction || at.slice_end != slice_.slice_end ||
                       at.accepted_from != slice_.accepted_from
                   ? begin_slice(at)
                   : model::Status{};
    }
    void take_part() {
        if (part_ == nullptr) {
            part_ = empty_part();
            part_->family = family_;
        }
    }
    model::Status begin_slice(const RowKey& at) {
        const auto family = store_.family_of(at.reduction);
        if (family_ != family || family_ == Family::brief) {
            TRY(end_slice());
        }
        if (at.reduction != slice_.reduction) {
            TRY(submit_small());
        }
        slice_ = at;
        family_ = family;
        prefix_ = slice_prefix(at.reduction, at.slice_end, at.accepted_from);
        ++run_.slices;
        return {};
    }

    // What is in hand is all of its slice, or the rest of it.
    model::Status end_slice() {
        const bool whole = std::exchange(whole_, true);
        if (part_ == nullptr || !whole || part_->family == Family::standard ||
            part_->rows.size() >= kBriefFileBytes) {
            TRY(submit_small());
            return submit(part_);
        }
        last_.push_back(std::move(part_));
        if (last_.size() <= kOwnFiles) {
            return {};
        }
        auto oldest = std::move(last_.front());
        last_.pop_front();
        if (shared_ == nullptr) {
            shared_ = std::move(oldest);
        } else {
            shared_->rows += oldest->rows;
            recycle(std::move(oldest));
        }
        return shared_->rows.size() >= kBriefFileBytes ? submit(shared_) : model::Status{};
    }

    model::Status submit_all() {
        whole_ = false;
        TRY(submit_small());
        return submit(part_);
    }

    model::Status submit_small() {
        TRY(submit(shared_));
        for (auto& one : last_) {
            TRY(submit(one));
        }
        last_.clear();
        return {};
    }

    // Null: nothing to do.
    model::Status submit(std::unique_ptr<TablePart>& part) {
        if (part == nullptr) {
            return {};
        }
        if (written_.full()) {
            TRY(take());
        }
        auto& files = part->family == Family::standard ? run_.standard : run_.brief;
        part->file = files.size();
        part->path = store_.next_run_path();
        files.push_back({part->path, {}});  // so that it is removed if this fails
        written_.submit(std::move(part));
        return {};
    }

    // The oldest that was submitted is written.
    model::Status take() {
        auto done = written_.take();
        TRY(std::move(done->status));
        auto& files = done->family == Family::standard ? run_.standard : run_.brief;
        files[done->file].checksum = done->files.front().checksum;
        run_.bytes += done->bytes;
        recycle(std::move(done));
        return {};
    }

    void recycle(std::unique_ptr<TablePart> part) {
        part->rows.clear();
        part->pieces.clear();
        part->piece_bytes = 0;
        part->files.clear();
        spare_.push_back(std::move(part));
    }
    std::unique_ptr<TablePart> empty_part() {
        if (spare_.empty()) {
            return std::make_unique<TablePart>();
        }
        auto part = std::move(spare_.back());
        spare_.pop_back();
        return part;
    }

    Store& store_;
    PreparedRun& run_;
    const std::size_t most_;
    InOrder<TablePart> written_;
    std::vector<std::unique_ptr<TablePart>> spare_;  // their memory is there already

    RowKey slice_;  // of the row before; reduction 0: none
    Family family_ = Family::standard;
    std::string prefix_;
    std::unique_ptr<TablePart> part_;  // in hand
    bool whole_ = true;                // all of its slice
    // In front of what is in hand: small slices that share a file, and behind them those that may
    // turn out to be the last ones of their reduction.
    std::unique_ptr<TablePart> shared_;
    std::deque<std::unique_ptr<TablePart>> last_;
};

model::Result<PreparedRun> Store::write_rows(model::BarrierNumber number,
                                             const CheckpointMeta& meta, RowSource& rows) {
    return make_run(number, meta,
                    [&](PreparedRun& run, RunWriter& /*standard*/, RunWriter&) -> model::Status {
                        RowTables tables(*this, run);
                        while (true) {
                            TRY(piece, rows.take_piece());
                            if (piece.rows == nullptr) {
                                break;
                            }
                            TRY(tables.add(std::move(piece)));
                        }
                        TRY(tables.add_rows_of(rows));
                        return tables.finish();
                    });
}

model::Status Store::write_table(TablePart& part) const {
    RunWriter writer(*rocks_, part.family, std::numeric_limits<std::uint64_t>::max(), part.files);
    const auto path = [&part] { return part.path; };
    const char* at = part.rows.data();
    const char* const end = at + part.rows.size();
    while (at != end) {
        std::uint32_t sizes[2];
        std::memcpy(sizes, at, sizeof sizes);
        at += sizeof sizes;
        TRY(writer.merge({at, sizes[0]}, {at + sizes[0], sizes[1]}, path));
        at += sizes[0] + sizes[1];
    }
    std::string key(kRowHeaderBytes, '\0');
    for (auto& piece : part.pieces) {
        while (true) {
            TRY(piece->next());
            if (!piece->valid()) {
                break;
            }
            const RowKey& row = piece->key();
            write_big_endian(key.data(), row.reduction);
            write_big_endian(key.data() + 4, ordered_time(row.slice_end));
            write_big_endian(key.data() + 12, row.accepted_from);
            write_big_endian(key.data() + kSlicePrefixBytes, row.hash);
            key.resize(kRowHeaderBytes);
            key.append(row.key);
            TRY(writer.merge(key, piece->row(), path));
        }
        piece.reset();  // its memory is for the next one
    }
    TRY(writer.cut());
    part.bytes = writer.bytes();
    return {};
}

std::string Store::next_run_path() {
    return options_.directory + "/runs/" + std::to_string(next_run_file_++) + ".sst";
}

void Store::remove_files(const PreparedRun& run) {
    for (const auto* files : {&run.standard, &run.brief}) {
        for (const auto& file : *files) {
            // What cannot be removed goes with the live directory at the next start.
            static_cast<void>(options_.disk->remove(file.path));
        }
    }
}

model::Status Store::unusable(model::Error error) {
    usable_.store(false, std::memory_order_relaxed);
    return std::unexpected(std::move(error));
}

model::Status Store::apply(PreparedRun run) {
    INVARIANT(run.number >= last_applied_, "runs are applied in the order of their barriers");
    std::vector<rocksdb::IngestExternalFileArg> arguments;
    for (const auto family : {Family::standard, Family::brief}) {
        const auto& files = family == Family::standard ? run.standard : run.brief;
        if (files.empty()) {
            continue;
        }
        rocksdb::IngestExternalFileArg argument;
        argument.column_family = rocks_->handle(family);
        argument.options = ingest_options();
        for (const auto& file : files) {
            argument.external_files.push_back(file.path);
            argument.files_checksums.push_back(file.checksum);
            argument.files_checksum_func_names.emplace_back("XXH3-128");
        }
        arguments.push_back(std::move(argument));
    }
    Tables gone;  // let go outside the locks: their memory returns to the workers' pools
    {
        const std::lock_guard swap(swap_mutex_);
        const auto status = rocks_->db->IngestExternalFiles(arguments);
        if (!status.ok()) {
            return unusable(
                error_of(status, "ingesting the run of barrier " + std::to_string(run.number)));
        }
        note_files();
        gone = take_out(
            [&](const Slice&, const Held& held) { return run.taken.contains(held.serial); });
    }
    last_applied_ = run.number;
    SLUICE_FAIL_POINT("run.ingested");
    if (level0_files() > kCrowdedLevel0) {  // long before intake is slowed
        if (auto status = tidy_level0(); !status) {
            return unusable(std::move(status.error()));
        }
    }
    return {};
}

model::Result<PreparedRun> Store::ingest(model::BarrierNumber number, const CheckpointMeta& meta,
                                         const Discards& discards) {
    TRY(run, write_run(number, meta, discards));
    TRY(apply(run));
    return run;
}

void Store::note_files() {
    for (const auto family : {Family::standard, Family::brief}) {
        rocksdb::ColumnFamilyMetaData meta;
        rocks_->db->GetColumnFamilyMetaData(rocks_->handle(family), &meta);
        std::vector<KeyRange> files;
        for (const auto& level : meta.levels) {
            for (const auto& file : level.files) {
                files.push_back({file.smallestkey, file.largestkey});
            }
        }
        std::ranges::sort(files, {}, &KeyRange::first);
        auto& joined = stored_[family];
        joined.clear();
        for (auto& file : files) {
            if (!joined.empty() && file.first <= joined.back().last) {
                joined.back().last = std::max(joined.back().last, std::move(file.last));
            } else {
                joined.push_back(std::move(file));
            }
        }
    }
}

// Whether a file may have a key in [begin, end).
bool Store::may_hold(Family family, std::string_view begin, std::string_view end) const {
    const auto& ranges = stored_.at(family);
    const auto it = std::ranges::lower_bound(ranges, begin, {}, &KeyRange::last);
    return it != ranges.end() && it->first < end;
}

// Puts packed rows in the place of the tables that they were merged from, if all are still there.
// Those tables have one tag, so a run takes all of them or none: the serial of the first stands for
// all of them, also towards a run that is being written.
void Store::replace(const Slice& slice, const HeldRows& merged,
                    std::unique_ptr<PackedRows> packed) {
    packed->fit();
    const std::lock_guard lock(tables_mutex_);
    const auto it = tables_.find(slice);
    if (it == tables_.end()) {
        return;
    }
    HeldRows& held = it->second;
    const auto is_merged = [&](const auto& h) {
        return std::ranges::find(merged, h) != merged.end();
    };
    if (std::ranges::count_if(held, is_merged) != std::ssize(merged)) {
        return;
    }
    for (const auto& h : merged) {
        table_bytes_ -= h->bytes();
        table_rows_ -= h->rows();
    }
    table_bytes_ += packed->bytes();
    table_rows_ += packed->rows();
    auto one = std::make_shared<const Held>(
        Held{merged.front()->serial, merged.front()->tag, {}, std::move(packed)});
    std::erase_if(held, is_merged);
    held.push_back(std::move(one));
}

std::unique_ptr<RowCursor> Store::packing_cursor(const Slice& slice) {
    HeldRows held;
    {
        const std::lock_guard lock(tables_mutex_);
        const auto it = tables_.find(slice);
        if (it == tables_.end()) {
            return nullptr;
        }
        held = it->second;
    }
    std::size_t bytes = 0;
    bool one_tag = true;
    for (const auto& h : held) {
        bytes += h->bytes();
        one_tag = one_tag && h->tag == held.front()->tag;
    }
    if (!one_tag || bytes > kMostPackedBytes || (held.size() == 1 && !held.front()->table)) {
        return nullptr;
    }
    std::vector<std::unique_ptr<RowCursor>> sources;
    for (const auto& h : held) {
        sources.push_back(h->cursor());
    }
    return std::make_unique<PackingCursor>(*this, slice, std::move(held),
                                           merge_cursors(std::move(sources)));
}

void Store::add_tables_of(std::uint32_t number, model::EventTime slice_end,
                          const std::optional<RowPosition>& after,
                          std::vector<std::unique_ptr<RowCursor>>& sources) const {
    const std::lock_guard lock(tables_mutex_);
    const auto it = tables_.find({number, slice_end});
    if (it == tables_.end()) {
        return;
    }
    for (const auto& held : it->second) {
        auto rows = held->cursor();
        if (after) {
            rows = std::make_unique<CursorBehind>(std::move(rows), *after);
        }
        sources.push_back(std::move(rows));
    }
}

void Store::add_stored(std::uint32_t number, model::EventTime slice_end,
                       const std::optional<RowPosition>& after,
                       std::vector<std::unique_ptr<RowCursor>>& sources) const {
    const Family family = family_of(number);
    if (may_hold(family, slice_prefix(number, slice_end), slice_prefix(number, slice_end, 1))) {
        sources.push_back(std::make_unique<RocksCursor>(*rocks_->db, rocks_->handle(family), number,
                                                        slice_end, after));
    }
}

void Store::add_former(std::uint32_t reduction, model::EventTime slice_end,
                       const std::optional<RowPosition>& after,
                       std::vector<std::unique_ptr<RowCursor>>& sources) const {
    for (FormerRows& former : former_of(reduction)) {
        std::vector<std::unique_ptr<RowCursor>> rows;
        add_tables_of(former.number, slice_end, after, rows);
        add_stored(former.number, slice_end, after, rows);
        sources.push_back(
            rearrange_cursor(merge_cursors(std::move(rows)), std::move(former.calls)));
    }
}

model::Result<std::unique_ptr<RowCursor>> Store::scan(std::uint32_t reduction,
                                                      model::EventTime slice_end,
                                                      std::optional<RowPosition> after) const {
    std::vector<std::unique_ptr<RowCursor>> sources;
    if (slice_end > dropped_->frontier(reduction)) {
        const std::lock_guard swap(swap_mutex_);
        add_tables_of(reduction, slice_end, after, sources);
        add_stored(reduction, slice_end, after, sources);
        add_former(reduction, slice_end, after, sources);
    }
    return merge_cursors(std::move(sources));
}

model::Result<std::unique_ptr<RowCursor>> Store::scan_and_pack(std::uint32_t reduction,
                                                               model::EventTime slice_end) {
    std::vector<std::unique_ptr<RowCursor>> sources;
    if (slice_end > dropped_->frontier(reduction)) {
        const std::lock_guard swap(swap_mutex_);
        if (auto packing = packing_cursor({reduction, slice_end})) {
            sources.push_back(std::move(packing));
        } else {
            add_tables_of(reduction, slice_end, std::nullopt, sources);
        }
        add_stored(reduction, slice_end, std::nullopt, sources);
        add_former(reduction, slice_end, std::nullopt, sources);
    }
    return merge_cursors(std::move(sources));
}

model::Status Store::add_windows(std::uint32_t number, model::EventTime after,
                                 model::EventTime up_to, std::set<model::EventTime>& ends) const {
    // Behind the greatest end there can be: the first byte string that is no longer of this number.
    std::string end;
    if (up_to == model::kAfterAll) {
        append_big_endian(end, number + 1);
    } else {
        end = time_prefix(number, up_to + 1);
    }
    {
        const std::lock_guard lock(tables_mutex_);
        for (auto it = tables_.upper_bound({number, after});
             it != tables_.end() && it->first <= std::pair(number, up_to); ++it) {
            ends.insert(it->first.second);
        }
    }
    if (!may_hold(family_of(number), time_prefix(number, after + 1), end)) {
        return {};
    }
    const rocksdb::Slice upper(end);
    auto options = read_options();
    options.fill_cache = true;
    options.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> iterator(
        rocks_->db->NewIterator(options, rocks_->handle(family_of(number))));
    for (iterator->Seek(time_prefix(number, after + 1)); iterator->Valid();) {
        const auto row = parse_row_key(view(iterator->key()));
        if (!row) {
            return model::corrupt("a row's key in RocksDB is too short");
        }
        ends.insert(row->slice_end);
        if (row->slice_end == up_to) {
            break;
        }
        iterator->Seek(time_prefix(number, row->slice_end + 1));
    }
    if (const auto status = iterator->status(); !status.ok()) {
        return std::unexpected(error_of(status, "looking for windows"));
    }
    return {};
}

model::Result<std::vector<model::EventTime>> Store::windows_after(std::uint32_t reduction,
                                                                  model::EventTime after,
                                                                  model::EventTime up_to) const {
    after = std::max(after, dropped_->frontier(reduction));
    if (after >= up_to) {
        return std::vector<model::EventTime>{};
    }
    std::set<model::EventTime> ends;
    const std::lock_guard swap(swap_mutex_);
    TRY(add_windows(reduction, after, up_to, ends));
    for (const FormerRows& former : former_of(reduction)) {
        TRY(add_windows(former.number, after, up_to, ends));
    }
    return std::vector<model::EventTime>(ends.begin(), ends.end());
}

void Store::restore_dropped(std::uint32_t reduction, model::EventTime frontier) {
    dropped_->raise(reduction, frontier);
    for (const FormerRows& former : former_of(reduction)) {
        dropped_->raise(former.number, frontier);
    }
}

model::Status Store::set_dropped(std::uint32_t reduction, model::EventTime frontier) {
    std::vector<std::uint32_t> numbers{reduction};
    for (const FormerRows& former : former_of(reduction)) {
        numbers.push_back(former.number);
    }
    for (const std::uint32_t number : numbers) {
        if (!dropped_->raise(number, frontier)) {
            continue;
        }
        {
            const auto gone = take_out([&](const Slice& slice, const Held&) {
                return slice.first == number && slice.second <= frontier;
            });
        }
        if (auto status = drop_files(number, frontier); !status) {
            return unusable(std::move(status.error()));
        }
    }
    return {};
}

model::Status Store::drop_retired(const std::vector<RetiredRows>& retired) {
    set_retired(retired);
    for (const RetiredRows& one : retired) {
        if (!retired_.insert(one.number).second) {
            continue;
        }
        {
            const auto gone = take_out(
                [&](const Slice& slice, const Held&) { return slice.first == one.number; });
        }
        if (auto status = drop_files(one.number, model::kAfterAll); !status) {
            return unusable(std::move(status.error()));
        }
    }
    return {};
}

model::Status Store::drop_files(std::uint32_t reduction, model::EventTime frontier) {
    const auto family = family_of(reduction);
    std::string end;
    if (frontier == model::kAfterAll) {
        append_big_endian(end, reduction + 1);
    } else {
        end = time_prefix(reduction, frontier + 1);
    }
    const auto status = delete_whole_files(*rocks_, rocks_->handle(family),
                                           {{time_prefix(reduction, model::kBeforeAll), end}});
    if (!status.ok()) {
        return std::unexpected(error_of(status, "deleting files of expired slices"));
    }
    return family == Family::brief ? tidy_level0() : model::Status{};
}

// A slice that had more runs than there are levels has files in level 0, which no range deletion
// reaches. Rewriting them merges their rows and leaves out the expired ones.
model::Status Store::tidy_level0() {
    rocksdb::ColumnFamilyMetaData family;
    rocks_->db->GetColumnFamilyMetaData(rocks_->brief, &family);
    if (family.levels.empty() ||
        family.levels.front().files.size() < static_cast<std::size_t>(kTidyLevel0)) {
        return {};
    }
    std::vector<std::string> names;
    for (const auto& file : family.levels.front().files) {
        names.push_back(file.name);
    }
    rocksdb::CompactionOptions options;
    options.compression = rocksdb::kNoCompression;
    options.output_file_size_limit = options_.target_file_bytes;
    const auto status = rocks_->db->CompactFiles(options, rocks_->brief, names, 1);
    if (!status.ok() && !status.IsAborted()) {
        return std::unexpected(error_of(status, "rewriting level 0"));
    }
    return {};
}

model::Status Store::hold_files() {
    const auto status = rocks_->db->DisableFileDeletions();
    if (!status.ok()) {
        return std::unexpected(error_of(status, "holding the files"));
    }
    return {};
}

void Store::release_files() { rocks_->db->EnableFileDeletions().PermitUncheckedError(); }

model::Result<std::vector<LiveFile>> Store::live_files() const {
    rocksdb::LiveFilesStorageInfoOptions options;
    options.include_checksum_info = true;
    options.wal_size_for_flush = std::numeric_limits<std::uint64_t>::max();  // no flush
    std::vector<rocksdb::LiveFileStorageInfo> infos;
    const auto status = rocks_->db->GetLiveFilesStorageInfo(options, &infos);
    if (!status.ok()) {
        return std::unexpected(error_of(status, "listing the files of the database"));
    }
    std::vector<LiveFile> files;
    for (const auto& info : infos) {
        if (info.file_type == rocksdb::kWalFile) {
            continue;  // empty: the write-ahead log is off
        }
        LiveFile file;
        file.name = info.relative_filename;
        file.path = info.directory + "/" + info.relative_filename;
        file.size = info.size;
        file.contents = info.replacement_contents;
        file.link = info.file_type == rocksdb::kTableFile;
        if (file.link) {
            if (info.file_checksum_func_name != "XXH3-128" || info.file_checksum.size() != 16) {
                return model::corrupt(file.path + ": RocksDB has no checksum of it");
            }
            file.checksum = to_hex(info.file_checksum);
        }
        files.push_back(std::move(file));
    }
    std::sort(files.begin(), files.end(),
              [](const LiveFile& a, const LiveFile& b) { return a.name < b.name; });
    return files;
}

model::Result<CheckpointMeta> Store::meta_row() const {
    std::string text;
    const auto status =
        rocks_->db->Get(read_options(), rocks_->standard,
                        rocksdb::Slice(kMetaRowKey.data(), kMetaRowKey.size()), &text);
    if (status.IsNotFound()) {
        return model::invalid("the database has no meta row");
    }
    if (!status.ok()) {
        return std::unexpected(error_of(status, "reading the meta row"));
    }
    return parse_meta_row(text);
}

std::uint64_t Store::table_bytes() const {
    const std::lock_guard lock(tables_mutex_);
    return table_bytes_;
}

std::uint64_t Store::table_rows() const {
    const std::lock_guard lock(tables_mutex_);
    return table_rows_;
}

std::uint64_t Store::live_bytes() const {
    std::uint64_t sum = 0;
    for (auto* handle : {rocks_->standard, rocks_->brief}) {
        std::uint64_t bytes = 0;
        if (rocks_->db->GetIntProperty(handle, rocksdb::DB::Properties::kLiveSstFilesSize,
                                       &bytes)) {
            sum += bytes;
        }
    }
    return sum;
}

std::uint64_t Store::bytes_between(std::uint32_t reduction, model::EventTime after,
                                   model::EventTime up_to) const {
    if (after >= up_to) {
        return 0;
    }
    std::uint64_t sum = bytes_under(reduction, after, up_to);
    for (const FormerRows& former : former_of(reduction)) {
        sum += bytes_under(former.number, after, up_to);
    }
    return sum;
}

std::uint64_t Store::bytes_under(std::uint32_t number, model::EventTime after,
                                 model::EventTime up_to) const {
    std::string end;
    if (up_to == model::kAfterAll) {
        append_big_endian(end, number + 1);
    } else {
        end = time_prefix(number, up_to + 1);
    }
    const std::string begin = time_prefix(number, after + 1);
    const rocksdb::Range range(begin, end);
    rocksdb::SizeApproximationOptions options;
    options.include_files = true;
    std::uint64_t bytes = 0;
    const auto status = rocks_->db->GetApproximateSizes(options, rocks_->handle(family_of(number)),
                                                        &range, 1, &bytes);
    return status.ok() ? bytes : 0;
}

std::uint64_t Store::memory_bytes() const {
    std::uint64_t sum = rocks_->cache->GetUsage();
    for (auto* handle : {rocks_->standard, rocks_->brief}) {
        std::uint64_t bytes = 0;
        if (rocks_->db->GetIntProperty(handle, rocksdb::DB::Properties::kEstimateTableReadersMem,
                                       &bytes)) {
            sum += bytes;
        }
    }
    return sum;
}

int Store::level0_files() const {
    int most = 0;
    for (auto* handle : {rocks_->standard, rocks_->brief}) {
        std::string count;
        if (rocks_->db->GetProperty(handle, rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0",
                                    &count)) {
            most = std::max(most, std::stoi(count));
        }
    }
    return most;
}

}  // namespace sluice::state
