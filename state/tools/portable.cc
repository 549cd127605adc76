#include "state/tools/portable.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "state/model/key.h"
#include "state/store/in_order.h"
#include "state/tools/row_check.h"

namespace sluice::state {
namespace {

constexpr std::string_view kMagic = "SluiceSp";
constexpr std::size_t kHeaderFixed = 36;
constexpr std::size_t kHeaderChecksum = 8;
constexpr std::size_t kMostNameBytes = 256;
constexpr std::size_t kBlockHeader = 32;
constexpr std::size_t kEndBytes = 40;
constexpr std::size_t kSectionHeader = 20;
constexpr std::size_t kWholeBytes = 16;
constexpr std::size_t kMostSizeBytes = 10;  // of a size before a key or a row

enum BlockKind : std::uint8_t { kMeta = 1, kInputs = 2, kRows = 3, kEnd = 4 };

template <class Unsigned>
void put(char* to, Unsigned value) {
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        to[i] = static_cast<char>((value >> (8 * i)) & 0xff);
    }
}
template <class Unsigned>
void append(std::string& to, Unsigned value) {
    char bytes[sizeof(Unsigned)];
    put(bytes, value);
    to.append(bytes, sizeof bytes);
}
template <class Unsigned>
Unsigned get(const char* from) {
    Unsigned value = 0;
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        value |= static_cast<Unsigned>(static_cast<Unsigned>(static_cast<unsigned char>(from[i]))
                                       << (8 * i));
    }
    return value;
}

char* put_sized(char* to, std::string_view bytes) {
    std::size_t size = bytes.size();
    while (size >= 0x80) {
        *to++ = static_cast<char>(0x80U | (size & 0x7fU));
        size >>= 7;
    }
    *to++ = static_cast<char>(size);
    std::memcpy(to, bytes.data(), bytes.size());
    return to + bytes.size();
}

// Takes a size and so many bytes off the front. False: it is not one, or there are not so many.
bool take_sized(std::string_view& from, std::string_view& bytes) {
    std::uint64_t size = 0;
    std::size_t at = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (at == from.size() || shift > 28) {
            return false;
        }
        const auto byte = static_cast<unsigned char>(from[at++]);
        size |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            if (byte == 0 && shift != 0) {
                return false;  // a needless byte: one meaning has one spelling
            }
            break;
        }
    }
    if (size > from.size() - at) {
        return false;
    }
    bytes = from.substr(at, size);
    from.remove_prefix(at + size);
    return true;
}

bool same_slice(const RowKey& a, const RowKey& b) {
    return a.reduction == b.reduction && a.slice_end == b.slice_end &&
           a.accepted_from == b.accepted_from;
}

bool slice_before(const RowKey& a, const RowKey& b) {
    return std::tie(a.reduction, a.slice_end, a.accepted_from) <
           std::tie(b.reduction, b.slice_end, b.accepted_from);
}
bool row_before(const RowKey& a, const RowKey& b) {
    return std::tie(a.reduction, a.slice_end, a.accepted_from, a.hash, a.key) <
           std::tie(b.reduction, b.slice_end, b.accepted_from, b.hash, b.key);
}

std::unexpected<model::Error> damaged_at(std::uint64_t at, const std::string& what) {
    return model::corrupt("damaged at byte " + std::to_string(at) + ": " + what);
}

// The rows of a block, one after another.
class BlockRows {
 public:
    BlockRows() = default;
    BlockRows(std::string_view bytes, std::uint32_t rows) : rest_(bytes), rows_(rows) {}

    bool at_end() const { return rows_ == 0; }
    bool begins_slice() const { return first_; }
    const RowKey& key() const { return key_; }  // without the hash
    std::string_view row() const { return row_; }

    // Not at the end. Null, or what is wrong.
    const char* next() {
        first_ = false;
        if (section_rows_ == 0) {
            if (rest_.size() < kSectionHeader) {
                return "a section of rows is cut off";
            }
            const auto before = key_;
            key_.reduction = get<std::uint32_t>(rest_.data());
            key_.slice_end = static_cast<model::EventTime>(get<std::uint64_t>(rest_.data() + 4));
            key_.accepted_from = get<std::uint32_t>(rest_.data() + 12);
            section_rows_ = get<std::uint32_t>(rest_.data() + 16);
            if (section_rows_ == 0 || section_rows_ > rows_) {
                return "a section's number of rows cannot be";
            }
            if (any_ && slice_before(key_, before)) {
                return "sections that do not ascend";
            }
            rest_.remove_prefix(kSectionHeader);
            first_ = !any_ || slice_before(before, key_);
            any_ = true;
        }
        if (!take_sized(rest_, key_.key) || !take_sized(rest_, row_)) {
            return "a row is cut off";
        }
        --section_rows_;
        --rows_;
        return rows_ == 0 && !rest_.empty() ? "bytes behind the block's last row" : nullptr;
    }

 private:
    std::string_view rest_;
    std::uint32_t rows_ = 0;  // not yet read
    std::uint32_t section_rows_ = 0;
    RowKey key_;
    std::string_view row_;
    bool first_ = false;
    bool any_ = false;
};

}  // namespace

// A block on its way: what it holds, and as it is stored, behind room for its header.
struct PortableBlock {
    std::uint8_t kind = 0;
    std::uint8_t codec = 0;
    std::uint32_t rows = 0;
    std::uint64_t at = 0;                                   // in the stream
    std::string bytes;                                      // may be longer
    std::size_t size = 0;                                   // of `bytes`, what counts
    std::string stored;                                     // with the header
    std::vector<std::uint64_t> hashes;                      // of the rows' keys
    std::vector<std::pair<std::uint32_t, RowKinds>> kinds;  // of the reductions in it
    model::Status status;

    std::string_view view() const { return {bytes.data(), size}; }
};

// ---- Writing

struct PortableWriter::Parts {
    struct Context {
        ZSTD_CCtx* context = ZSTD_createCCtx();
        Context() = default;
        ~Context() { ZSTD_freeCCtx(context); }
        Context(const Context&) = delete;
        Context& operator=(const Context&) = delete;
    };

    explicit Parts(const Options& options_)
        : options(options_),
          contexts(std::max(options.threads, 1U)),
          blocks(options.threads, 2 * options.threads + 1,
                 [this](PortableBlock& block, unsigned thread) {
                     block.status = store(block, contexts[thread].context);
                 }) {}

    // Makes what is stored of what it holds.
    model::Status store(PortableBlock& block, ZSTD_CCtx* context) const {
        block.codec =
            static_cast<std::uint8_t>(block.kind == kEnd ? Compression::none : options.compression);
        if (block.codec == static_cast<std::uint8_t>(Compression::zstd)) {
            const auto most = ZSTD_compressBound(block.size);
            if (block.stored.size() < kBlockHeader + most) {
                block.stored.resize(kBlockHeader + most);
            }
            const auto size =
                context == nullptr
                    ? 0
                    : ZSTD_compressCCtx(context, block.stored.data() + kBlockHeader, most,
                                        block.bytes.data(), block.size, options.level);
            if (context == nullptr || ZSTD_isError(size) != 0) {
                return model::exhausted("no memory for compression");
            }
            // What does not become smaller stays as it is; so no stored size is above the limit.
            if (size < block.size) {
                block.stored.resize(kBlockHeader + size);
                return {};
            }
            block.codec = static_cast<std::uint8_t>(Compression::none);
        }
        block.stored.resize(kBlockHeader);
        block.stored.append(block.view());
        return {};
    }

    const Options options;
    std::vector<Context> contexts;  // one for each thread
    std::unique_ptr<PortableBlock> filling = std::make_unique<PortableBlock>();
    std::vector<std::unique_ptr<PortableBlock>> spare;
    InOrder<PortableBlock> blocks;  // last: its threads use the rest
};

PortableWriter::PortableWriter(ByteSink& sink, Options options)
    : sink_(sink), options_(options), parts_(std::make_unique<Parts>(options)) {}
PortableWriter::~PortableWriter() = default;

model::Status PortableWriter::write(std::string_view bytes) {
    whole_.add(bytes);
    counts_.stream_bytes += bytes.size();
    return sink_.write(bytes);
}

model::Status PortableWriter::write_stored(PortableBlock& block) {
    TRY(std::move(block.status));
    char* const header = block.stored.data();
    put<std::uint8_t>(header + 8, block.kind);
    put(header + 9, block.codec);
    put<std::uint16_t>(header + 10, 0);
    put<std::uint32_t>(header + 12, block.rows);
    put<std::uint64_t>(header + 16, block.stored.size() - kBlockHeader);
    put<std::uint64_t>(header + 24, block.size);
    put<std::uint64_t>(
        header, XXH3_64bits_withSeed(header + 8, block.stored.size() - 8, counts_.stream_bytes));
    ++blocks_;
    return write(block.stored);
}

model::Status PortableWriter::write_alone(std::uint8_t kind, std::string_view bytes) {
    if (bytes.size() > kMostBlockBytes) {
        return too_large(bytes.size());
    }
    PortableBlock block;
    block.kind = kind;
    block.bytes = bytes;
    block.size = bytes.size();
    block.status = parts_->store(block, parts_->contexts.front().context);
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
    std::string header(kMagic);
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
    PortableBlock& block = *parts_->filling;
    const std::size_t most =
        block.size + kSectionHeader + 2 * kMostSizeBytes + key.key.size() + row.size();
    if (block.bytes.size() < most) {
        block.bytes.resize(std::max(most, options_.block_bytes + options_.block_bytes / 8));
    }
    char* const bytes = block.bytes.data();
    char* to = bytes + block.size;
    if (section_rows_ == 0 || !same_slice(section_, key)) {
        end_section();
        put<std::uint32_t>(to, key.reduction);
        put(to + 4, static_cast<std::uint64_t>(key.slice_end));
        put<std::uint32_t>(to + 12, key.accepted_from);
        section_rows_at_ = block.size + 16;
        to += kSectionHeader;
        section_ = key;
    }
    to = put_sized(to, key.key);
    to = put_sized(to, row);
    block.size = static_cast<std::size_t>(to - bytes);
    ++section_rows_;
    ++block.rows;
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + key.key.size() + row.size();
    return block.size >= options_.block_bytes ? end_block() : model::Status{};
}

void PortableWriter::end_section() {
    if (section_rows_ != 0) {
        put(parts_->filling->bytes.data() + section_rows_at_, section_rows_);
    }
    section_rows_ = 0;
}

model::Status PortableWriter::end_block() {
    if (parts_->filling->rows == 0) {
        return {};
    }
    if (parts_->filling->size > kMostBlockBytes) {
        return too_large(parts_->filling->size);
    }
    end_section();
    parts_->filling->kind = kRows;
    parts_->blocks.submit(std::move(parts_->filling));
    if (parts_->blocks.full()) {
        TRY(write_oldest());
    }
    if (parts_->spare.empty()) {
        parts_->filling = std::make_unique<PortableBlock>();
    } else {
        parts_->filling = std::move(parts_->spare.back());
        parts_->spare.pop_back();
    }
    return {};
}

model::Status PortableWriter::write_oldest() {
    auto block = parts_->blocks.take();
    TRY(write_stored(*block));
    block->rows = 0;
    block->size = 0;
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

struct PortableReader::Parts {
    struct Context {
        ZSTD_DCtx* context = ZSTD_createDCtx();
        Context() = default;
        ~Context() { ZSTD_freeDCtx(context); }
        Context(const Context&) = delete;
        Context& operator=(const Context&) = delete;
    };

    Parts(PortableReader& reader, unsigned threads)
        : contexts(std::max(threads, 1U)),
          blocks(threads, 2 * threads + 1, [this, &reader](PortableBlock& block, unsigned thread) {
              block.status = unpack(block, contexts[thread].context);
              if (block.status) {
                  block.status = check_rows(block, RowCheck(reader.meta_), *reader.shapes_);
              }
          }) {}

    static model::Status unpack(PortableBlock& block, ZSTD_DCtx* context);
    static model::Status check_rows(PortableBlock& block, RowCheck check, const Shapes& shapes);

    std::vector<Context> contexts;  // one for each thread
    std::unique_ptr<PortableBlock> in_hand;
    BlockRows rows;  // of it
    std::size_t next_row = 0;
    std::vector<std::unique_ptr<PortableBlock>> spare;
    std::unique_ptr<PortableBlock> last;  // the end block
    model::Status broken;  // what was found where the stream goes on, behind `blocks`
    std::map<std::uint32_t, RowKinds> kinds;
    InOrder<PortableBlock> blocks;  // last: its threads use the rest
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
    PortableBlock block;
    const auto read_alone = [&](std::uint8_t kind, const char* what) -> model::Status {
        TRY(reader->read_block(block));
        TRY(Parts::unpack(block, reader->parts_->contexts.front().context));
        return block.kind == kind ? model::Status{} : damaged_at(block.at, what);
    };
    TRY(read_alone(kMeta, "a block of another kind where the meta should be"));
    auto meta = parse_meta_row(block.view());
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
    TRY(read_alone(kInputs, "a block of another kind where the inputs should be"));
    reader->inputs_ = block.view();
    if (checksum_hex(reader->inputs_) != m.inputs) {
        return damaged_at(block.at, "the inputs are not those that the meta names");
    }
    reader->shapes_.emplace(m, reader->inputs_);
    return reader;
}

model::Status PortableReader::read_header() {
    std::string header(kHeaderFixed, '\0');
    TRY(read(header.data(), header.size(), "the header"));
    if (!header.starts_with(kMagic)) {
        return model::corrupt("not a portable savepoint");
    }
    const auto version = get<std::uint32_t>(header.data() + 8);
    const auto size = get<std::uint32_t>(header.data() + 12);
    const auto name = get<std::uint32_t>(header.data() + 32);
    // A newer release may lay out the rest in another way; only magic and version are for ever.
    if (version > kPortableVersion) {
        return model::invalid("written by a newer Sluice: format " + std::to_string(version) +
                              ", this one reads up to " + std::to_string(kPortableVersion));
    }
    if (version == 0 || name > kMostNameBytes || size != kHeaderFixed + name + kHeaderChecksum) {
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

model::Status PortableReader::read_block(PortableBlock& block) {
    block.at = position_;
    std::array<char, kBlockHeader> header{};
    TRY(read(header.data(), header.size(), "a block's header"));
    block.kind = get<std::uint8_t>(header.data() + 8);
    block.codec = get<std::uint8_t>(header.data() + 9);
    block.rows = get<std::uint32_t>(header.data() + 12);
    const auto stored = get<std::uint64_t>(header.data() + 16);
    const auto size = get<std::uint64_t>(header.data() + 24);
    // Before any memory is taken, and before anything of it is believed.
    if (stored > kMostBlockBytes || size > kMostBlockBytes ||
        block.codec > static_cast<std::uint8_t>(Compression::zstd) ||
        (block.codec == 0 && stored != size) || block.kind < kMeta || block.kind > kEnd ||
        get<std::uint16_t>(header.data() + 10) != 0 || (block.kind != kRows && block.rows != 0) ||
        (block.kind == kEnd && (block.codec != 0 || size != kEndBytes)) || block.rows > size / 2) {
        return damaged_at(block.at, "the block's header cannot be");
    }
    block.size = size;
    block.stored.resize(kBlockHeader + stored);
    std::memcpy(block.stored.data(), header.data(), kBlockHeader);
    TRY(read(block.stored.data() + kBlockHeader, stored, "a block"));
    if (get<std::uint64_t>(header.data()) !=
        XXH3_64bits_withSeed(block.stored.data() + 8, block.stored.size() - 8, block.at)) {
        return damaged_at(block.at, "the block does not match its checksum");
    }
    if (block.kind != kEnd) {
        whole_.add(block.stored);
        ++blocks_;
    }
    return {};
}

model::Status PortableReader::Parts::unpack(PortableBlock& block, ZSTD_DCtx* context) {
    const auto stored = std::string_view(block.stored).substr(kBlockHeader);
    if (block.codec == 0) {
        block.bytes = stored;
        return {};
    }
    if (context == nullptr) {
        return model::exhausted("no memory for decompression");
    }
    if (block.bytes.size() < block.size) {
        block.bytes.resize(block.size);
    }
    const auto got =
        ZSTD_decompressDCtx(context, block.bytes.data(), block.size, stored.data(), stored.size());
    if (ZSTD_isError(got) != 0 || got != block.size) {
        return damaged_at(block.at, "the block does not decompress");
    }
    return {};
}

// All that can be said of a block's rows without the blocks before it.
model::Status PortableReader::Parts::check_rows(PortableBlock& block, RowCheck check,
                                                const Shapes& shapes) {
    block.hashes.clear();
    block.kinds.clear();
    std::string_view before;
    for (BlockRows rows(block.view(), block.rows); !rows.at_end();) {
        if (const char* wrong = rows.next(); wrong != nullptr) {
            return damaged_at(block.at, wrong);
        }
        auto key = rows.key();
        key.hash = model::key_hash(key.key);
        if (!rows.begins_slice() && (key.hash < block.hashes.back() ||
                                     (key.hash == block.hashes.back() && key.key <= before))) {
            return damaged_at(block.at, "keys that do not ascend");
        }
        before = key.key;
        block.hashes.push_back(key.hash);
        if (auto checked = check.check(key, rows.row()); !checked) {
            return damaged_at(block.at, checked.error().text);
        }
        const Shape* shape = rows.begins_slice() ? shapes.by_number(key.reduction) : nullptr;
        if (shape != nullptr && !shape->ends_at(key.slice_end)) {
            return damaged_at(block.at, "a window that ends where none of its reduction does");
        }
        if (rows.begins_slice() &&
            (block.kinds.empty() || block.kinds.back().first != key.reduction)) {
            block.kinds.emplace_back(key.reduction, *check.kinds(key.reduction));
        }
    }
    return {};
}

model::Status PortableReader::read_end() {
    const PortableBlock& block = *parts_->last;
    counts_.stream_bytes = position_;
    const char* const end = block.bytes.data();
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
        auto block = std::make_unique<PortableBlock>();
        if (!p.spare.empty()) {
            block = std::move(p.spare.back());
            p.spare.pop_back();
        }
        p.broken = read_block(*block);
        if (!p.broken) {
            return;
        }
        if (block->kind == kEnd) {
            p.broken = Parts::unpack(*block, nullptr);
            p.last = std::move(block);
        } else if (block->kind != kRows || block->rows == 0) {
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
        last_key_.assign(key_.key);
        key_.key = last_key_;
        p.spare.push_back(std::move(p.in_hand));
    }
    read_ahead();
    if (p.blocks.empty()) {
        TRY(std::move(p.broken));
        return read_end();
    }
    p.in_hand = p.blocks.take();
    TRY(std::move(p.in_hand->status));
    for (auto& [reduction, kinds] : p.in_hand->kinds) {
        const auto [known, made] = p.kinds.try_emplace(reduction, std::move(kinds));
        if (!made && known->second != kinds) {
            return damaged_at(p.in_hand->at,
                              "a row with other accumulators than its reduction has");
        }
    }
    p.rows = BlockRows(p.in_hand->view(), p.in_hand->rows);
    p.next_row = 0;
    return {};
}

model::Status PortableReader::next() {
    valid_ = false;
    if (done_) {
        return {};
    }
    Parts& p = *parts_;
    if (p.rows.at_end()) {
        TRY(next_block());
        if (done_) {
            return {};
        }
    }
    if (const char* wrong = p.rows.next(); wrong != nullptr) {
        return damaged_at(p.in_hand->at, wrong);
    }
    auto key = p.rows.key();
    key.hash = p.in_hand->hashes[p.next_row];
    if (p.next_row == 0 && any_ && !row_before(key_, key)) {
        return damaged_at(p.in_hand->at, "keys that do not ascend");
    }
    ++p.next_row;
    any_ = true;
    key_ = key;
    row_ = p.rows.row();
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + key.key.size() + row_.size();
    valid_ = true;
    return {};
}

}  // namespace sluice::state
