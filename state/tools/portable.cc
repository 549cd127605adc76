#include "state/tools/portable.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "state/model/key.h"
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

enum Kind : std::uint8_t { kMeta = 1, kInputs = 2, kRows = 3, kEnd = 4 };

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

void append_size(std::string& to, std::uint64_t size) {
    while (size >= 0x80) {
        to.push_back(static_cast<char>(0x80U | (size & 0x7fU)));
        size >>= 7;
    }
    to.push_back(static_cast<char>(size));
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

}  // namespace

// ---- Writing

struct PortableWriter::Codec {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    Codec() = default;
    ~Codec() { ZSTD_freeCCtx(context); }
    Codec(const Codec&) = delete;
    Codec& operator=(const Codec&) = delete;
};

PortableWriter::PortableWriter(ByteSink& sink, Options options)
    : sink_(sink), options_(options), codec_(std::make_unique<Codec>()) {}
PortableWriter::~PortableWriter() = default;

model::Status PortableWriter::write(std::string_view bytes) {
    whole_.add(bytes);
    counts_.stream_bytes += bytes.size();
    return sink_.write(bytes);
}

model::Status PortableWriter::write_block(std::uint8_t kind, std::uint32_t rows,
                                          std::string_view bytes) {
    if (bytes.size() > kMostBlockBytes) {
        return model::invalid("a part of " + std::to_string(bytes.size()) +
                              " bytes is more than a portable savepoint can hold in one piece");
    }
    auto codec = kind == kEnd ? Compression::none : options_.compression;
    stored_.resize(kBlockHeader);
    if (codec == Compression::zstd) {
        const auto most = ZSTD_compressBound(bytes.size());
        stored_.resize(kBlockHeader + most);
        const auto size = codec_->context == nullptr
                              ? 0
                              : ZSTD_compressCCtx(codec_->context, stored_.data() + kBlockHeader,
                                                  most, bytes.data(), bytes.size(), options_.level);
        if (codec_->context == nullptr || ZSTD_isError(size) != 0) {
            return model::exhausted("no memory for compression");
        }
        // What does not become smaller stays as it is; so no stored size is above the limit.
        if (size < bytes.size()) {
            stored_.resize(kBlockHeader + size);
        } else {
            codec = Compression::none;
            stored_.resize(kBlockHeader);
        }
    }
    if (codec == Compression::none) {
        stored_.append(bytes);
    }
    char* const header = stored_.data();
    put<std::uint8_t>(header + 8, kind);
    put(header + 9, static_cast<std::uint8_t>(codec));
    put<std::uint16_t>(header + 10, 0);
    put<std::uint32_t>(header + 12, rows);
    put<std::uint64_t>(header + 16, stored_.size() - kBlockHeader);
    put<std::uint64_t>(header + 24, bytes.size());
    put<std::uint64_t>(header,
                       XXH3_64bits_withSeed(header + 8, stored_.size() - 8, counts_.stream_bytes));
    ++blocks_;
    return write(stored_);
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
    TRY(write_block(kMeta, 0, meta_row_text(meta)));
    return write_block(kInputs, 0, inputs_text);
}

model::Status PortableWriter::add(const RowKey& key, std::string_view row) {
    if (section_.reduction == 0 || !same_slice(section_, key)) {
        if (section_.reduction != 0) {
            put(block_.data() + section_rows_at_, section_rows_);
        }
        append<std::uint32_t>(block_, key.reduction);
        append(block_, static_cast<std::uint64_t>(key.slice_end));
        append<std::uint32_t>(block_, key.accepted_from);
        section_rows_at_ = block_.size();
        append<std::uint32_t>(block_, 0);
        section_ = key;
        section_rows_ = 0;
    }
    append_size(block_, key.key.size());
    block_.append(key.key);
    append_size(block_, row.size());
    block_.append(row);
    ++section_rows_;
    ++block_rows_;
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + key.key.size() + row.size();
    return block_.size() >= options_.block_bytes ? end_block() : model::Status{};
}

model::Status PortableWriter::end_block() {
    if (block_rows_ == 0) {
        return {};
    }
    put(block_.data() + section_rows_at_, section_rows_);
    TRY(write_block(kRows, block_rows_, block_));
    block_.clear();
    block_rows_ = 0;
    section_.reduction = 0;
    return {};
}

model::Status PortableWriter::finish() {
    TRY(end_block());
    std::string end;
    append<std::uint64_t>(end, counts_.rows);
    append<std::uint64_t>(end, blocks_);
    append<std::uint64_t>(end, counts_.stream_bytes + kBlockHeader + kEndBytes);
    end.append(whole_.bytes());
    return write_block(kEnd, 0, end);
}

// ---- Reading

struct PortableReader::Codec {
    ZSTD_DCtx* context = ZSTD_createDCtx();
    RowCheck check;
    explicit Codec(const CheckpointMeta& meta) : check(meta) {}
    ~Codec() { ZSTD_freeDCtx(context); }
    Codec(const Codec&) = delete;
    Codec& operator=(const Codec&) = delete;
};

PortableReader::PortableReader(ByteSource& source) : source_(source) {}
PortableReader::~PortableReader() = default;

std::unexpected<model::Error> PortableReader::damaged(const std::string& what) const {
    return model::corrupt("damaged at byte " + std::to_string(block_at_) + ": " + what);
}

model::Status PortableReader::read(char* to, std::size_t bytes, const char* what) {
    TRY(got, source_.read(to, bytes));
    position_ += got;
    if (got != bytes) {
        return model::corrupt("cut off at byte " + std::to_string(position_) + ", within " + what);
    }
    return {};
}

model::Result<std::unique_ptr<PortableReader>> PortableReader::open(ByteSource& source) {
    std::unique_ptr<PortableReader> reader(new PortableReader(source));
    TRY(reader->read_header());
    reader->codec_ = std::make_unique<Codec>(CheckpointMeta{});
    TRY(reader->read_block());
    if (reader->kind_ != kMeta) {
        return reader->damaged("a block of another kind where the meta should be");
    }
    auto meta = parse_meta_row(reader->block_);
    if (!meta) {
        return model::fail(meta.error().kind, "portable savepoint: " + meta.error().text);
    }
    reader->meta_ = std::move(*meta);
    const auto& m = reader->meta_;
    if (m.pipeline != reader->pipeline_ || m.number != reader->number_ ||
        m.reductions.size() != reader->reductions_ || m.partitions.size() != reader->partitions_) {
        return reader->damaged("the header and the meta are of different savepoints");
    }
    TRY(reader->read_block());
    if (reader->kind_ != kInputs) {
        return reader->damaged("a block of another kind where the inputs should be");
    }
    reader->inputs_ = reader->block_;
    if (checksum_hex(reader->inputs_) != m.inputs) {
        return reader->damaged("the inputs are not those that the meta names");
    }
    ZSTD_DCtx* const context = std::exchange(reader->codec_->context, nullptr);
    reader->codec_ = std::make_unique<Codec>(m);
    ZSTD_freeDCtx(context);
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
        return damaged("the header's sizes cannot be");
    }
    header.resize(size);
    TRY(read(header.data() + kHeaderFixed, size - kHeaderFixed, "the header"));
    const auto covered = size - kHeaderChecksum;
    if (get<std::uint64_t>(header.data() + covered) != XXH3_64bits(header.data(), covered)) {
        return damaged("the header does not match its checksum");
    }
    number_ = get<std::uint64_t>(header.data() + 16);
    reductions_ = get<std::uint32_t>(header.data() + 24);
    partitions_ = get<std::uint32_t>(header.data() + 28);
    pipeline_ = header.substr(kHeaderFixed, name);
    whole_.add(header);
    return {};
}

model::Status PortableReader::read_block() {
    block_at_ = position_;
    std::array<char, kBlockHeader> header{};
    TRY(read(header.data(), header.size(), "a block's header"));
    kind_ = get<std::uint8_t>(header.data() + 8);
    const auto codec = get<std::uint8_t>(header.data() + 9);
    block_rows_ = get<std::uint32_t>(header.data() + 12);
    const auto stored = get<std::uint64_t>(header.data() + 16);
    const auto size = get<std::uint64_t>(header.data() + 24);
    // Before any memory is taken, and before anything of it is believed.
    if (stored > kMostBlockBytes || size > kMostBlockBytes ||
        codec > static_cast<std::uint8_t>(Compression::zstd) || (codec == 0 && stored != size) ||
        kind_ < kMeta || kind_ > kEnd || get<std::uint16_t>(header.data() + 10) != 0 ||
        (kind_ != kRows && block_rows_ != 0) ||
        (kind_ == kEnd && (codec != 0 || size != kEndBytes)) || block_rows_ > size / 2) {
        return damaged("the block's header cannot be");
    }
    stored_.resize(kBlockHeader + stored);
    std::memcpy(stored_.data(), header.data(), kBlockHeader);
    TRY(read(stored_.data() + kBlockHeader, stored, "a block"));
    if (get<std::uint64_t>(header.data()) !=
        XXH3_64bits_withSeed(stored_.data() + 8, stored_.size() - 8, block_at_)) {
        return damaged("the block does not match its checksum");
    }
    if (kind_ != kEnd) {
        whole_.add(stored_);
        ++blocks_;
    }
    if (codec == 0) {
        block_.assign(stored_, kBlockHeader);
    } else {
        if (codec_->context == nullptr) {
            return model::exhausted("no memory for decompression");
        }
        block_.resize(size);
        const auto got = ZSTD_decompressDCtx(codec_->context, block_.data(), size,
                                             stored_.data() + kBlockHeader, stored);
        if (ZSTD_isError(got) != 0 || got != size) {
            return damaged("the block does not decompress");
        }
    }
    rest_ = block_;
    section_rows_ = 0;
    return {};
}

model::Status PortableReader::read_end() {
    counts_.stream_bytes = position_;
    const char* const end = block_.data();
    if (get<std::uint64_t>(end) != counts_.rows || get<std::uint64_t>(end + 8) != blocks_ ||
        get<std::uint64_t>(end + 16) != position_ ||
        std::string_view(end + 24, kWholeBytes) != whole_.bytes()) {
        return damaged("the whole does not match its end");
    }
    char more = 0;
    TRY(got, source_.read(&more, 1));
    if (got != 0) {
        return model::corrupt("something follows the end at byte " + std::to_string(position_));
    }
    done_ = true;
    return {};
}

model::Status PortableReader::begin_section() {
    if (rest_.size() < kSectionHeader) {
        return damaged("a section of rows is cut off");
    }
    RowKey next;
    next.reduction = get<std::uint32_t>(rest_.data());
    next.slice_end = static_cast<model::EventTime>(get<std::uint64_t>(rest_.data() + 4));
    next.accepted_from = get<std::uint32_t>(rest_.data() + 12);
    section_rows_ = get<std::uint32_t>(rest_.data() + 16);
    if (section_rows_ == 0 || section_rows_ > block_rows_) {
        return damaged("a section's number of rows cannot be");
    }
    const auto rank = [](const RowKey& k) {
        return std::tuple(k.reduction, k.slice_end, k.accepted_from);
    };
    if (any_ && rank(next) < rank(key_)) {
        return damaged("sections that do not ascend");
    }
    if (any_ && rank(next) != rank(key_)) {
        any_ = false;  // keys begin anew
    }
    key_.reduction = next.reduction;
    key_.slice_end = next.slice_end;
    key_.accepted_from = next.accepted_from;
    rest_.remove_prefix(kSectionHeader);
    return {};
}

model::Status PortableReader::next() {
    valid_ = false;
    if (done_) {
        return {};
    }
    while (section_rows_ == 0) {
        if (block_rows_ == 0) {
            if (!rest_.empty() && kind_ == kRows) {
                return damaged("bytes behind the block's last row");
            }
            last_key_.assign(key_.key);
            key_.key = last_key_;
            TRY(read_block());
            if (kind_ == kEnd) {
                return read_end();
            }
            if (kind_ != kRows || block_rows_ == 0) {
                return damaged("a block of another kind among the rows");
            }
        }
        TRY(begin_section());
    }
    std::string_view key;
    if (!take_sized(rest_, key) || !take_sized(rest_, row_)) {
        return damaged("a row is cut off");
    }
    const auto hash = model::key_hash(key);
    if (any_ && (hash < key_.hash || (hash == key_.hash && key <= key_.key))) {
        return damaged("keys that do not ascend");
    }
    any_ = true;
    key_.hash = hash;
    key_.key = key;
    if (auto checked = codec_->check.check(key_, row_); !checked) {
        return damaged(checked.error().text);
    }
    --section_rows_;
    --block_rows_;
    ++counts_.rows;
    counts_.row_bytes += kRowHeaderBytes + key.size() + row_.size();
    valid_ = true;
    return {};
}

}  // namespace sluice::state
