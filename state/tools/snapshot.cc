#include "state/tools/snapshot.h"

#include <algorithm>
#include <utility>

#include "state/io/rocks_env.h"
#include "state/model/key.h"
#include "state/store/catalogue.h"
#include "state/store/checksum.h"
#include "state/store/rocks_options.h"
#include "state/store/slice_view.h"
#include "state/tools/former_rows.h"
#include "state/tools/portable.h"
#include "state/tools/read_only_disk.h"
#include "state/tools/table_rows.h"

namespace sluice::state {
namespace {

constexpr std::size_t kReadAheadBytes = 1 << 20;

std::string inputs_name(const CheckpointMeta& meta) { return "INPUTS-" + meta.inputs; }

// Of the rows of one reduction: first key, and the first one behind them.
std::string first_key(const ReductionMeta& reduction) {
    std::string key;
    append_big_endian(key, reduction.number);
    if (reduction.dropped) {
        // Slices that end at the dropped frontier are expired, too.
        append_big_endian(key, ordered_time(*reduction.dropped));
        append_big_endian(key, ~std::uint32_t{0});
        append_big_endian(key, ~std::uint64_t{0});
    }
    return key;
}
bool expired(const std::optional<model::EventTime>& dropped, const RowKey& row) {
    return dropped && row.slice_end <= *dropped;
}
std::string end_key(std::uint32_t reduction) {
    std::string key;
    append_big_endian(key, reduction + 1);
    return key;
}

}  // namespace

// Members in an order that reverse destruction needs: the database goes first.
struct Snapshot::Database {
    Database(Disk& disk_, std::string path_, Options options_)
        : disk(disk_), only_read(disk_), path(std::move(path_)), options(options_) {}

    Disk& disk;
    ReadOnlyDisk only_read;
    const std::string path;
    const Options options;
    CheckpointMeta meta;
    std::string inputs;
    std::vector<ReductionMeta> ordered;  // by number, with their former rows
    std::unique_ptr<rocksdb::Env> env;
    std::unique_ptr<Rocks> rocks;

    // The rows of some ranges of keys, which ascend.
    std::unique_ptr<RowSource> rows_in(std::vector<KeyRange> ranges) {
        std::vector<rocksdb::LiveFileMetaData> live;
        rocks->db->GetLiveFilesMetaData(&live);
        std::vector<TableFile> tables;
        tables.reserve(live.size());
        for (auto& file : live) {
            tables.push_back(
                {path + file.name, std::move(file.smallestkey), std::move(file.largestkey)});
        }
        return std::make_unique<TableRows>(only_read, std::move(tables), std::move(ranges));
    }
};

// Goes from slice to slice: to the slice's place of the key, then to the first row of the next one.
class Snapshot::RowsOfKey final : public RowSource {
 public:
    RowsOfKey(Database& database, const ReductionMeta& reduction, std::string key)
        : database_(database),
          dropped_(reduction.dropped),
          key_(std::move(key)),
          hash_(model::key_hash(key_)),
          end_(end_key(reduction.number)),
          upper_(end_),
          position_(first_key(reduction)) {
        auto options = read_options();
        options.iterate_upper_bound = &upper_;
        iterator_.reset(
            database_.rocks->db->NewIterator(options, database_.rocks->handle(reduction.family)));
    }

    model::Status next() override {
        valid_ = false;
        while (true) {
            iterator_->Seek(position_);
            if (!iterator_->Valid()) {
                return done();
            }
            auto row = parse_row_key(view(iterator_->key()));
            if (!row) {
                return model::corrupt(database_.path + ": a row's key is too short");
            }
            const RowKey slice = *row;
            position_ = slice_prefix(slice.reduction, slice.slice_end, slice.accepted_from);
            if (!expired(dropped_, slice)) {
                std::string wanted = position_;
                append_row(wanted, hash_, key_);
                iterator_->Seek(wanted);
                if (iterator_->Valid() && view(iterator_->key()) == wanted) {
                    row_ = *parse_row_key(view(iterator_->key()));
                    valid_ = true;
                }
            }
            // Behind every row of this slice: no hash is greater and no key that long.
            append_big_endian(position_, ~std::uint64_t{0});
            position_.append(kBeyondKeys, '\xff');
            if (valid_) {
                return {};
            }
            if (!iterator_->Valid()) {
                return done();
            }
        }
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return row_; }
    std::string_view row() const override { return view(iterator_->value()); }

 private:
    // A key begins with a length of at most 10 bytes, whose last one is below 0x80.
    static constexpr std::size_t kBeyondKeys = 16;

    model::Status done() const {
        if (const auto status = iterator_->status(); !status.ok()) {
            return std::unexpected(error_of(status, "reading rows of " + database_.path));
        }
        return {};
    }

    Database& database_;
    const std::optional<model::EventTime> dropped_;
    const std::string key_;
    const std::uint64_t hash_;
    const std::string end_;
    const rocksdb::Slice upper_;  // into end_
    std::string position_;
    std::unique_ptr<rocksdb::Iterator> iterator_;
    RowKey row_;
    bool valid_ = false;
};

namespace {

// Damage is what is not there, or not as we write it. What the disk refuses now it may give later.
std::unexpected<model::Error> unreadable(Disk& disk, const std::string& path,
                                         const model::Error& error) {
    const auto about = disk.info(path);
    if (!about && about.error().kind == model::ErrorKind::invalid) {
        return model::corrupt(path + ": is missing");
    }
    return error.kind == model::ErrorKind::unavailable
               ? model::unavailable(path + ": " + error.text)
               : model::corrupt(path + ": " + error.text);
}

}  // namespace

Snapshot::Snapshot() = default;
Snapshot::~Snapshot() = default;

model::Result<std::unique_ptr<Snapshot>> Snapshot::open(Disk& disk, std::string path,
                                                        Options options) {
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    std::unique_ptr<Snapshot> snapshot(new Snapshot());
    snapshot->database_ = std::make_unique<Database>(disk, std::move(path), options);
    Database& database = *snapshot->database_;
    const auto manifest = database.path + "/" + kManifestName;
    auto text = read_file(disk, manifest, kMostManifestBytes);
    if (!text) {
        if (is_portable_stream(disk, database.path)) {
            return model::invalid(database.path +
                                  ": is a portable stream; `sluice savepoint import` makes a "
                                  "savepoint of it, which this takes");
        }
        return unreadable(disk, manifest, text.error());
    }
    auto meta = parse_manifest(*text);
    if (!meta) {
        return model::fail(meta.error().kind, manifest + ": " + meta.error().text);
    }
    database.meta = std::move(*meta);
    const auto recorded = database.path + "/" + inputs_name(database.meta);
    auto inputs = read_file(disk, recorded, kMostInputsBytes);
    if (!inputs) {
        return unreadable(disk, recorded, inputs.error());
    }
    if (checksum_hex(*inputs) != database.meta.inputs) {
        return model::corrupt(recorded + ": the bytes are not those of its name");
    }
    database.inputs = std::move(*inputs);
    database.ordered = database.meta.reductions;
    std::sort(database.ordered.begin(), database.ordered.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
    for (auto& reduction : database.meta.reductions) {
        reduction.former.clear();
    }
    return snapshot;
}

const std::string& Snapshot::path() const { return database_->path; }
const CheckpointMeta& Snapshot::meta() const { return database_->meta; }
const std::string& Snapshot::inputs_text() const { return database_->inputs; }

std::uint64_t Snapshot::bytes() const {
    std::uint64_t sum = 0;
    for (const auto& file : database_->meta.files) {
        sum += file.size;
    }
    return sum;
}

model::Status Snapshot::verify(const Progress& progress) {
    const auto& meta = database_->meta;
    const bool named = std::any_of(meta.files.begin(), meta.files.end(), [&](const auto& file) {
        return file.name == inputs_name(meta) && file.checksum == meta.inputs;
    });
    if (!named) {
        return model::corrupt(database_->path + "/" + kManifestName +
                              ": does not list the recorded inputs " + inputs_name(meta));
    }
    const std::uint64_t total = bytes();
    std::uint64_t done = 0;
    std::vector<char> buffer(kReadAheadBytes);
    for (const auto& file : meta.files) {
        const auto path = database_->path + "/" + file.name;
        const auto info = database_->disk.info(path);
        if (!info) {
            return model::corrupt(path + ": is missing");
        }
        if (info->directory || info->symbolic) {
            return model::corrupt(path + ": is no ordinary file");
        }
        if (info->size != file.size) {
            return model::corrupt(path + ": has " + std::to_string(info->size) +
                                  " bytes instead of " + std::to_string(file.size));
        }
        TRY(opened, database_->disk.open(path));
        Checksum checksum;
        for (std::uint64_t at = 0; at < file.size;) {
            const auto want =
                static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size - at));
            TRY(got, opened->read(at, want, buffer.data()));
            if (got != want) {
                return model::corrupt(path + ": ends after " + std::to_string(at + got) + " bytes");
            }
            checksum.add({buffer.data(), got});
            at += got;
            done += got;
            if (progress) {
                progress(done, total);
            }
        }
        if (checksum.hex() != file.checksum) {
            return model::corrupt(path + ": does not match its checksum");
        }
    }
    return {};
}

model::Status Snapshot::open_database() {
    Database& database = *database_;
    if (database.rocks == nullptr) {
        for (const FileMeta& file : database.meta.files) {
            if (database.options.hold_tables && file.name.ends_with(".sst")) {
                TRY(database.only_read.hold(database.path + "/" + file.name));
            }
        }
        database.env = make_rocks_env(database.only_read);
        StoreOptions options;
        options.directory = database.path;
        options.disk = &database.only_read;
        options.env = database.env.get();
        options.block_cache_bytes = database.options.cache_bytes;
        TRY(rocks, open_rocks_to_read(options, database.path, database.options.open_files));
        database.rocks = std::move(rocks);
    }
    return {};
}

// `open` gives the rows of one number.
std::unique_ptr<RowSource> Snapshot::of_all_definitions(
    const ReductionMeta& reduction,
    const std::function<std::unique_ptr<RowSource>(const ReductionMeta&)>& open) {
    if (reduction.former.empty()) {
        return open(reduction);
    }
    std::vector<Definition> definitions;
    definitions.push_back({open(reduction), {}});
    for (const FormerRows& former : reduction.former) {
        ReductionMeta as_it_was = reduction;
        as_it_was.number = former.number;
        as_it_was.family = former.family;
        definitions.push_back({open(as_it_was), former.calls});
    }
    return merge_definitions(reduction.number, std::move(definitions));
}

model::Result<std::unique_ptr<RowSource>> Snapshot::rows(std::optional<std::uint32_t> reduction) {
    TRY(open_database());
    std::vector<std::unique_ptr<RowSource>> sources;
    for (const auto& known : database_->ordered) {
        if (!reduction || *reduction == known.number) {
            sources.push_back(of_all_definitions(known, [&](const ReductionMeta& one) {
                return database_->rows_in({{first_key(one), end_key(one.number)}});
            }));
        }
    }
    return concatenate(std::move(sources));
}

model::Result<std::unique_ptr<RowSource>> Snapshot::rows_of_key(std::uint32_t reduction,
                                                                std::string encoded_key) {
    TRY(open_database());
    for (const auto& known : database_->ordered) {
        if (known.number == reduction) {
            return of_all_definitions(known, [&](const ReductionMeta& one) {
                return std::make_unique<RowsOfKey>(*database_, one, encoded_key);
            });
        }
    }
    return concatenate({});
}

model::Result<std::uint64_t> Snapshot::estimated_rows() {
    TRY(open_database());
    std::uint64_t sum = 0;
    for (auto* handle : {database_->rocks->standard, database_->rocks->brief}) {
        std::uint64_t rows = 0;
        if (database_->rocks->db->GetIntProperty(handle, rocksdb::DB::Properties::kEstimateNumKeys,
                                                 &rows)) {
            sum += rows;
        }
    }
    return sum;
}

}  // namespace sluice::state
