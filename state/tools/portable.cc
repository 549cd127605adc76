#include "state/tools/portable.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "state/model/key.h"
#include "state/store/in_order.h"
#include "state/tools/little_endian.h"
#include "state/tools/portable_rows.h"
#include "state/tools/row_check.h"

namespace sluice::state {
namespace {

constexpr std::size_t kHeaderFixed = 36;
constexpr std::size_t kHeaderChecksum = 8;
constexpr std::size_t kMostNameBytes = 256;
constexpr std::size_t kBlockHeader = 32;
constexpr std::size_t kEndBytes = 40;
constexpr std::size_t kWholeBytes = 16;

enum BlockKind : std::uint8_t { kMeta = 1, kInputs = 2, kRows = 3, kEnd = 4 };

bool row_before(const RowKey& a, const RowKey& b) {
    return std::tie(a.reduction, a.slice_end, a.accepted_from, a.hash, a.key) <
           std::tie(b.reduction, b.slice_end, b.accepted_from, b.hash, b.key);
}

std::unexpected<model::Error> damaged_at(std::uint64_t at, const std::string& what) {
    return model::corrupt("damaged at byte " + std::to_string(at) + ": " + what);
}

}  // namespace

bool is_portable_stream(Disk& disk, const std::string& path) {
    char magic[kPortableMagic.size()];
    const auto about = disk.info(path);
    const auto file = about && !about->directory
                          ? disk.open(path)
                          : model::Result<std::unique_ptr<ReadableFile>>(model::invalid("none"));
    const auto got = file ? (*file)->read(0, sizeof magic, magic) : 0;
    return got && std::string_view(magic, *got) == kPortableMagic;
}

// ---- Writing

// A block on its way: its rows, and as it is stored, behind room for its header.
struct PortableWriter::Block {
    std::uint8_t kind = 0;
    std::uint8_t codec = 0;
    std::uint64_t size = 0;  // of what is stored before it was compressed
    RowsToStore rows;
    std::string stored;  // with the header
    model::Status status;
};

struct PortableWriter::Parts {
    // What a thread needs to make blocks.
    struct Thread {
        ZSTD_CCtx* context = ZSTD_createCCtx();
        RowsToStore::Room room;
        std::string bytes;
        Thread() = default;
        ~Thread() { ZSTD_freeCCtx(context); }
        Thread(const Thread&) = delete;
        Thread& operator=(const Thread&) = delete;
    };

    explicit Parts(const Options& options_)
        : options(options_),
          threads(std::max(options.threads, 1U)),
          blocks(options.threads, 2 * options.threads + 1, [this](Block& block, unsigned number) {
              Thread& thread = threads[number];
              const auto bytes = block.rows.encode(thread.room, thread.bytes);
              block.status = store(block, {thread.bytes.data(), bytes}, thread.context);
          }) {}

    model::Status store(Block& block, std::string_view bytes, ZSTD_CCtx* context) const;

    const Options options;
    std::vector<Thread> threads;
    std::unique_ptr<Block> filling = std::make_unique<Block>();
    std::vector<std::unique_ptr<Block>> spare;
    InOrder<Block> blocks;  // last: its threads use the rest
};

PortableWriter::PortableWriter(ByteSink& sink, Options options)
    : sink_(sink), options_(options), parts_(std::make_unique<Parts>(options)) {}
PortableWriter::~PortableWriter() = default;

model::Status PortableWriter::Parts::store(Block& block, std::string_view bytes,
                                           ZSTD_CCtx* context) const {
    if (bytes.size() > kMostBlockBytes) {
        return too_large(bytes.size());
    }
    block.size = bytes.size();
    block.codec =
        static_cast<std::uint8_t>(block.kind == kEnd ? Compression::none : options.compression);
    if (block.codec == static_cast<std::uint8_t>(Compression::zstd)) {
        const auto most = ZSTD_compressBound(bytes.size());
        if (block.stored.size() < kBlockHeader + most) {
            block.stored.resize(kBlockHeader + most);
        }
        const auto size = context == nullptr
                              ? 0
                              : ZSTD_compressCCtx(context, block.stored.data() + kBlockHeader, most,
                                                  bytes.data(), bytes.size(), options.level);
        if (context == nullptr || ZSTD_isError(size) != 0) {
            return model::exhausted("no memory for compression");
        }
        // What does not become smaller stays as it is; so no stored size is above the limit.
        if (size < bytes.size()) {
            block.stored.resize(kBlockHeader + size);
            return {};
        }
        block.codec = static_cast<std::uint8_t>(Compression::none);
    }
    block.stored.resize(kBlockHeader);
    block.stored.append(bytes);
    return {};
}

model::Status PortableWriter::write(std::string_view bytes) {
    whole_.add(bytes);
    counts_.stream_bytes += bytes.size();
    return sink_.write(bytes);
}

model::Status PortableWriter::write_stored(Block& block) {
    TRY(std::move(block.status));
    char* const header = block.stored.data();
    put<std::uint8_t>(header + 8, block.kind);
    put(header + 9, block.codec);
    put<std::uint16_t>(header + 10, 0);
    put(header + 12, block.rows.rows());
    put<std::uint64_t>(header + 16, block.stored.size() - kBlockHeader);
    put<std::uint64_t>(header + 24, block.size);
    put<std::uint64_t>(
        header, XXH3_64bits_withSeed(header + 8, block.stored.size() - 8, counts_.stream_bytes));
    ++blocks_;
    return write(block.stored);
}

model::Status PortableWriter::write_alone(std::uint8_t kind, std::string_view bytes) {
    Block block;
    block.kind = kind;
    block.status = parts_->store(block, bytes, parts_->threads.front().context);
    return write_stored(block);
}

std::unexpected<model::Error> PortableWriter::too_large(std::size_t bytes) {
    return model::invalid("a part of " + std::to_string(bytes) +
                          " bytes is more than a portable savepoint can hold in one piece");
}

model::Status PortableWriter::begin(const CheckpointMeta& meta, std::string_view inputs_text) {
    if (meta.pipeline.size() > kMostNameBytes) {
        return model::invalid("the pipeline's name is too long");
    }
    std::string header(kPortableMagic);
    append<std::uint32_t>(header, kPortableVersion);
    append(header,
           static_cast<std::uint32_t>(kHeaderFixed + meta.pipeline.size() + kHeaderChecksum));
    append<std::uint64_t>(header, meta.number);
    append(header, static_cast<std::uint32_t>(meta.reductions.size()));
    append(header, static_cast<std::uint32_t>(meta.partitions.size()));
    append(header, static_cast<std::uint32_t>(meta.pipeline.size()));
    header.append(meta.pipeline);
    append<std::uint64_t>(header, XXH3_64bits(header.data(), header.size()));
    TRY(write(header));
    TRY(write_alone(kMeta, meta_row_text(meta)));
    return write_alone(kInputs, inputs_text);
}

model::Status PortableWriter::add(const RowKey& key, std::string_view row) {
    if (key.key.size() + row.size() > kMostBlockBytes) {
        return too_large(key.key.size() + row.size());
    }
    RowsToStore& rows = parts_->filling->rows;
    rows.add(key, row);
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + key.key.size() + row.size();
    return rows.bytes() >= options_.block_bytes ? end_block() : model::Status{};
}

model::Status PortableWriter::end_block() {
    if (parts_->filling->rows.rows() == 0) {
        return {};
    }
    parts_->filling->kind = kRows;
    parts_->blocks.submit(std::move(parts_->filling));
    if (parts_->blocks.full()) {
        TRY(write_oldest());
    }
    if (parts_->spare.empty()) {
        parts_->filling = std::make_unique<Block>();
    } else {
        parts_->filling = std::move(parts_->spare.back());
        parts_->spare.pop_back();
    }
    return {};
}

model::Status PortableWriter::write_oldest() {
    auto block = parts_->blocks.take();
    TRY(write_stored(*block));
    block->rows.clear();
    parts_->spare.push_back(std::move(block));
    return {};
}

model::Status PortableWriter::finish() {
    TRY(end_block());
    while (!parts_->blocks.empty()) {
        TRY(write_oldest());
    }
    std::string end;
    append<std::uint64_t>(end, counts_.rows);
    append<std::uint64_t>(end, blocks_);
    append<std::uint64_t>(end, counts_.stream_bytes + kBlockHeader + kEndBytes);
    end.append(whole_.bytes());
    return write_alone(kEnd, end);
}

// ---- Reading

// A block on its way: as it is stored, and its rows.
struct PortableReader::Block {
    std::uint8_t kind = 0;
    std::uint8_t codec = 0;
    std::uint32_t number_of_rows = 0;
    std::uint64_t at = 0;    // in the stream
    std::uint64_t size = 0;  // of what is stored before it was compressed
    std::string stored;      // with the header, and kReadBehind bytes behind it
    StoredRows rows;
    std::uint64_t row_bytes = 0;
    RowKey first, last;
    std::vector<RowKey> slices;                             // that it has rows of
    std::vector<std::pair<std::uint32_t, RowKinds>> kinds;  // of the reductions in it
    model::Status status;
};

struct PortableReader::Parts {
    // What a thread needs to take blocks apart.
    struct Thread {
        ZSTD_DCtx* context = ZSTD_createDCtx();
        std::string bytes;
        Thread() = default;
        ~Thread() { ZSTD_freeDCtx(context); }
        Thread(const Thread&) = delete;
        Thread& operator=(const Thread&) = delete;
    };

    Parts(PortableReader& reader, unsigned number_of_threads)
        : threads(std::max(number_of_threads, 1U)),
          blocks(number_of_threads, 2 * number_of_threads + 1,
                 [this, &reader](Block& block, unsigned thread) {
                     block.status = check_rows(block, threads[thread], reader);
                 }) {}

    static model::Result<std::string_view> unpack(const Block& block, Thread& thread);
    static model::Status check_rows(Block& block, Thread& thread, const PortableReader& reader);

    std::unique_ptr<Block> empty_block();
    void recycle(std::unique_ptr<Block> block);

    std::vector<Thread> threads;
    std::unique_ptr<Block> in_hand;
    std::mutex spare_mutex;                     // pieces end wherever they were gone through
    std::vector<std::unique_ptr<Block>> spare;  // guarded by it
    std::unique_ptr<Block> last;                // the end block
    model::Status broken;  // what was found where the stream goes on, behind `blocks`
    std::map<std::uint32_t, RowKinds> kinds;
    InOrder<Block> blocks;  // last: its threads use the rest
};

std::unique_ptr<PortableReader::Block> PortableReader::Parts::empty_block() {
    const std::lock_guard lock(spare_mutex);
    if (spare.empty()) {
        return std::make_unique<Block>();
    }
    auto block = std::move(spare.back());
    spare.pop_back();
    return block;
}

void PortableReader::Parts::recycle(std::unique_ptr<Block> block) {
    const std::lock_guard lock(spare_mutex);
    spare.push_back(std::move(block));
}

// A block that was checked.
class PortableReader::Piece final : public RowSource {
 public:
    Piece(Parts& parts, std::unique_ptr<Block> block) : parts_(parts), block_(std::move(block)) {}
    ~Piece() override { parts_.recycle(std::move(block_)); }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

    model::Status next() override {
        valid_ = !block_->rows.at_end();
        if (valid_) {
            if (const char* wrong = block_->rows.next(); wrong != nullptr) {
                return damaged_at(block_->at, wrong);
            }
        }
        return {};
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return block_->rows.key(); }
    std::string_view row() const override { return block_->rows.row(); }

 private:
    Parts& parts_;
    std::unique_ptr<Block> block_;
    bool valid_ = false;
};

PortableReader::PortableReader(ByteSource& source, unsigned threads)
    : source_(source), parts_(std::make_unique<Parts>(*this, threads)) {}
PortableReader::~PortableReader() = default;

model::Status PortableReader::read(char* to, std::size_t bytes, const char* what) {
    TRY(got, source_.read(to, bytes));
    position_ += got;
    if (got != bytes) {
        return model::corrupt("cut off at byte " + std::to_string(position_) + ", within " + what);
    }
    return {};
}

model::Result<std::unique_ptr<PortableReader>> PortableReader::open(ByteSource& source,
                                                                    unsigned threads) {
    std::unique_ptr<PortableReader> reader(new PortableReader(source, threads));
    TRY(reader->read_header());
    Block block;
    const auto read_alone = [&](std::uint8_t kind,
                                const char* what) -> model::Result<std::string_view> {
        TRY(reader->read_block(block));
        TRY(bytes, Parts::unpack(block, reader->parts_->threads.front()));
        if (block.kind != kind) {
            return damaged_at(block.at, what);
        }
        return bytes;
    };
    TRY(meta_text, read_alone(kMeta, "a block of another kind where the meta should be"));
    auto meta = parse_meta_row(meta_text);
    if (!meta) {
        return model::fail(meta.error().kind, "portable savepoint: " + meta.error().text);
    }
    reader->meta_ = std::move(*meta);
    const auto& m = reader->meta_;
    TRY(check_meta(m));
    if (m.pipeline != reader->pipeline_ || m.number != reader->number_ ||
        m.reductions.size() != reader->reductions_ || m.partitions.size() != reader->partitions_) {
        return damaged_at(block.at, "the header and the meta are of different savepoints");
    }
    TRY(inputs, read_alone(kInputs, "a block of another kind where the inputs should be"));
    reader->inputs_ = inputs;
    if (checksum_hex(reader->inputs_) != m.inputs) {
        return damaged_at(block.at, "the inputs are not those that the meta names");
    }
    reader->shapes_.emplace(m, reader->inputs_);
    return reader;
}

model::Status PortableReader::read_header() {
    std::string header(kHeaderFixed, '\0');
    TRY(read(header.data(), header.size(), "the header"));
    if (!header.starts_with(kPortableMagic)) {
        return model::corrupt("not a portable savepoint");
    }
    version_ = get<std::uint32_t>(header.data() + 8);
    const auto size = get<std::uint32_t>(header.data() + 12);
    const auto name = get<std::uint32_t>(header.data() + 32);
    // A newer release may lay out the rest in another way; only magic and version are for ever.
    if (version_ > kPortableVersion) {
        return model::invalid("written by a newer Sluice: format " + std::to_string(version_) +
                              ", this one reads up to " + std::to_string(kPortableVersion));
    }
    if (version_ == 0 || name > kMostNameBytes || size != kHeaderFixed + name + kHeaderChecksum) {
        return damaged_at(0, "the header's sizes cannot be");
    }
    header.resize(size);
    TRY(read(header.data() + kHeaderFixed, size - kHeaderFixed, "the header"));
    const auto covered = size - kHeaderChecksum;
    if (get<std::uint64_t>(header.data() + covered) != XXH3_64bits(header.data(), covered)) {
        return damaged_at(0, "the header does not match its checksum");
    }
    number_ = get<std::uint64_t>(header.data() + 16);
    reductions_ = get<std::uint32_t>(header.data() + 24);
    partitions_ = get<std::uint32_t>(header.data() + 28);
    pipeline_ = header.substr(kHeaderFixed, name);
    whole_.add(header);
    return {};
}

model::Status PortableReader::read_block(Block& block) {
    block.at = position_;
    std::array<char, kBlockHeader> header{};
    TRY(read(header.data(), header.size(), "a block's header"));
    block.kind = get<std::uint8_t>(header.data() + 8);
    block.codec = get<std::uint8_t>(header.data() + 9);
    block.number_of_rows = get<std::uint32_t>(header.data() + 12);
    const auto stored = get<std::uint64_t>(header.data() + 16);
    const auto size = get<std::uint64_t>(header.data() + 24);
    // Before any memory is taken, and before anything of it is believed.
    if (stored > kMostBlockBytes || size > kMostBlockBytes ||
        block.codec > static_cast<std::uint8_t>(Compression::zstd) ||
        (block.codec == 0 && stored != size) || block.kind < kMeta || block.kind > kEnd ||
        get<std::uint16_t>(header.data() + 10) != 0 ||
        (block.kind != kRows && block.number_of_rows != 0) ||
        (block.kind == kEnd && (block.codec != 0 || size != kEndBytes)) ||
        block.number_of_rows > size / 2) {
        return damaged_at(block.at, "the block's header cannot be");
    }
    block.size = size;
    const std::size_t bytes = kBlockHeader + stored;
    block.stored.resize(bytes + kReadBehind);
    std::memcpy(block.stored.data(), header.data(), kBlockHeader);
    TRY(read(block.stored.data() + kBlockHeader, stored, "a block"));
    if (get<std::uint64_t>(header.data()) !=
        XXH3_64bits_withSeed(block.stored.data() + 8, bytes - 8, block.at)) {
        return damaged_at(block.at, "the block does not match its checksum");
    }
    if (block.kind != kEnd) {
        whole_.add({block.stored.data(), bytes});
        ++blocks_;
    }
    return {};
}

// What the block holds, with kReadBehind bytes behind it.
model::Result<std::string_view> PortableReader::Parts::unpack(const Block& block, Thread& thread) {
    const std::string_view stored(block.stored.data() + kBlockHeader,
                                  block.stored.size() - kBlockHeader - kReadBehind);
    if (block.codec == 0) {
        return stored;
    }
    if (thread.context == nullptr) {
        return model::exhausted("no memory for decompression");
    }
    if (thread.bytes.size() < block.size + kReadBehind) {
        thread.bytes.resize(block.size + kReadBehind);
    }
    const auto got = ZSTD_decompressDCtx(thread.context, thread.bytes.data(), block.size,
                                         stored.data(), stored.size());
    if (ZSTD_isError(got) != 0 || got != block.size) {
        return damaged_at(block.at, "the block does not decompress");
    }
    return std::string_view(thread.bytes.data(), block.size);
}

// All that can be said of a block's rows without the blocks before it.
model::Status PortableReader::Parts::check_rows(Block& block, Thread& thread,
                                                const PortableReader& reader) {
    RowCheck check(reader.meta_);
    block.row_bytes = 0;
    block.slices.clear();
    block.kinds.clear();
    TRY(bytes, unpack(block, thread));
    StoredRows& rows = block.rows;
    if (const char* wrong = rows.take(reader.version_, bytes, block.number_of_rows);
        wrong != nullptr) {
        return damaged_at(block.at, wrong);
    }
    std::string_view before;
    std::uint64_t hash_before = 0;
    while (!rows.at_end()) {
        if (const char* wrong = rows.next(); wrong != nullptr) {
            return damaged_at(block.at, wrong);
        }
        const RowKey& key = rows.key();
        const std::uint64_t hash = model::key_hash(key.key);
        if (!rows.begins_slice() &&
            (hash < hash_before || (hash == hash_before && key.key <= before))) {
            return damaged_at(block.at, "keys that do not ascend");
        }
        before = key.key;
        hash_before = hash;
        rows.note_hash(hash);
        block.row_bytes += kRowHeaderBytes + key.key.size() + rows.row().size();
        if (auto checked = check.check(key, rows.row()); !checked) {
            return damaged_at(block.at, checked.error().text);
        }
        if (!rows.begins_slice()) {
            continue;
        }
        if (block.slices.empty()) {
            block.first = key;
        }
        block.slices.push_back(key);
        const Shape* shape = reader.shapes_->by_number(key.reduction);
        if (shape != nullptr && !shape->ends_at(key.slice_end)) {
            return damaged_at(block.at, "a window that ends where none of its reduction does");
        }
        if (block.kinds.empty() || block.kinds.back().first != key.reduction) {
            block.kinds.emplace_back(key.reduction, *check.kinds(key.reduction));
        }
    }
    block.last = rows.key();
    rows.rewind();
    return {};
}

model::Status PortableReader::read_end() {
    const Block& block = *parts_->last;
    counts_.stream_bytes = position_;
    const char* const end = block.stored.data() + kBlockHeader;  // never compressed
    if (get<std::uint64_t>(end) != counts_.rows || get<std::uint64_t>(end + 8) != blocks_ ||
        get<std::uint64_t>(end + 16) != position_ ||
        std::string_view(end + 24, kWholeBytes) != whole_.bytes()) {
        return damaged_at(block.at, "the whole does not match its end");
    }
    char more = 0;
    TRY(got, source_.read(&more, 1));
    if (got != 0) {
        return model::corrupt("something follows the end at byte " + std::to_string(position_));
    }
    done_ = true;
    return {};
}

// Reads on as far as there is room for blocks; what is wrong there waits until its turn.
void PortableReader::read_ahead() {
    Parts& p = *parts_;
    while (p.broken && p.last == nullptr && !p.blocks.full()) {
        auto block = p.empty_block();
        p.broken = read_block(*block);
        if (!p.broken) {
            return;
        }
        if (block->kind == kEnd) {
            p.last = std::move(block);
        } else if (block->kind != kRows || block->number_of_rows == 0) {
            p.broken = damaged_at(block->at, "a block of another kind among the rows");
        } else {
            p.blocks.submit(std::move(block));
        }
    }
}

// Takes the next block of rows in hand. None: behind the last one.
model::Status PortableReader::next_block() {
    Parts& p = *parts_;
    if (p.in_hand != nullptr) {
        p.recycle(std::move(p.in_hand));
    }
    read_ahead();
    if (p.blocks.empty()) {
        TRY(std::move(p.broken));
        return read_end();
    }
    auto block = p.blocks.take();
    TRY(std::move(block->status));
    for (auto& [reduction, kinds] : block->kinds) {
        const auto [known, made] = p.kinds.try_emplace(reduction, std::move(kinds));
        if (!made && known->second != kinds) {
            return damaged_at(block->at, "a row with other accumulators than its reduction has");
        }
    }
    if (any_ && !row_before(last_, block->first)) {
        return damaged_at(block->at, "keys that do not ascend");
    }
    any_ = true;
    last_key_.assign(block->last.key);
    last_ = block->last;
    last_.key = last_key_;
    p.in_hand = std::move(block);
    return {};
}

model::Status PortableReader::next() {
    valid_ = false;
    if (done_) {
        return {};
    }
    Parts& p = *parts_;
    if (p.in_hand == nullptr || p.in_hand->rows.at_end()) {
        TRY(next_block());
        if (done_) {
            return {};
        }
    }
    StoredRows& rows = p.in_hand->rows;
    if (const char* wrong = rows.next(); wrong != nullptr) {
        return damaged_at(p.in_hand->at, wrong);
    }
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + rows.key().key.size() + rows.row().size();
    valid_ = true;
    return {};
}

const RowKey& PortableReader::key() const { return parts_->in_hand->rows.key(); }
std::string_view PortableReader::row() const { return parts_->in_hand->rows.row(); }

model::Result<RowPiece> PortableReader::take_piece() {
    valid_ = false;
    Parts& p = *parts_;
    RowPiece piece;
    if (p.in_hand != nullptr && !p.in_hand->rows.at_end()) {
        return piece;  // a row of it is taken already: the rest goes the same way
    }
    if (!done_) {
        TRY(next_block());
    }
    if (done_) {
        return piece;
    }
    Block& block = *p.in_hand;
    counts_.rows += block.number_of_rows;
    counts_.row_bytes += block.row_bytes;
    piece.number = block.number_of_rows;
    piece.bytes = block.row_bytes;
    piece.slices = block.slices;
    piece.rows = std::make_unique<Piece>(p, std::move(p.in_hand));
    return piece;
}

}  // namespace sluice::state
