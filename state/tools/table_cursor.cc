#include "state/tools/table_cursor.h"

#include <lz4.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>
#include <utility>

namespace sluice::state {
namespace {

// Read from the ring, so at least what the ring takes.
constexpr std::size_t kTableReadBytes = 512 << 10;
constexpr std::size_t kMostBlockBytes = 1 << 30;  // of one that may be read at all
constexpr std::size_t kFooterBytes = 53;
constexpr std::size_t kTrailerBytes = 5;   // codec, checksum
constexpr std::size_t kInternalBytes = 8;  // behind each key: type and sequence number
constexpr std::uint64_t kMagic = 0x88e241b785f4cff7;
constexpr std::uint32_t kFormatVersion = 5;
constexpr std::uint8_t kChecksumXxh3 = 4;
constexpr std::uint32_t kLastByteFactor = 0x6b9083d9;

enum Codec : std::uint8_t { kPlain = 0, kLz4 = 4 };
enum Type : std::uint8_t { kValue = 1, kMerge = 2 };

template <class Unsigned>
Unsigned get(const char* from) {
    static_assert(std::endian::native == std::endian::little);
    Unsigned value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline bool take_varint(const char*& at, const char* end, std::uint64_t& value) {
    if (at != end && static_cast<unsigned char>(*at) < 0x80) {
        value = static_cast<unsigned char>(*at++);
        return true;
    }
    value = 0;
    for (unsigned shift = 0; at != end && shift < 64; shift += 7) {
        const auto byte = static_cast<unsigned char>(*at++);
        value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

}  // namespace

TableCursor::TableCursor(std::unique_ptr<ReadableFile> file, std::string path)
    : file_(std::move(file)), path_(std::move(path)), key_(256) {}

std::unexpected<model::Error> TableCursor::damaged(const char* what) const {
    return model::corrupt(path_ + ": " + what);
}

model::Result<std::unique_ptr<TableCursor>> TableCursor::open(Disk& disk, const std::string& path,
                                                              std::string_view from) {
    TRY(file, disk.open(path));
    std::unique_ptr<TableCursor> cursor(new TableCursor(std::move(file), path));
    cursor->from_ = from;
    TRY(cursor->read_index(from));
    return cursor;
}

bool TableCursor::take_handle(std::string_view& from, BlockHandle& handle) const {
    const char* at = from.data();
    const char* const end = at + from.size();
    if (!take_varint(at, end, handle.offset) || !take_varint(at, end, handle.bytes)) {
        return false;
    }
    from.remove_prefix(static_cast<std::size_t>(at - from.data()));
    const std::uint64_t size = file_->size();
    return handle.bytes <= kMostBlockBytes && handle.offset <= size &&
           handle.bytes + kTrailerBytes <= size - handle.offset;
}

model::Status TableCursor::read_index(std::string_view from) {
    const std::uint64_t size = file_->size();
    if (size < kFooterBytes) {
        return damaged("is too short for a table");
    }
    char footer[kFooterBytes];
    TRY(got, file_->read(size - kFooterBytes, kFooterBytes, footer));
    if (got != kFooterBytes || get<std::uint64_t>(footer + kFooterBytes - 8) != kMagic ||
        get<std::uint32_t>(footer + kFooterBytes - 12) != kFormatVersion ||
        get<std::uint8_t>(footer) != kChecksumXxh3) {
        return damaged("is no table of the kind that Sluice writes");
    }
    std::string_view handles(footer + 1, kFooterBytes - 1 - 12);
    BlockHandle meta, index;
    if (!take_handle(handles, meta) || !take_handle(handles, index)) {
        return damaged("the footer is damaged");
    }
    TRY(read_block(index));
    BlockHandle handle;
    while (!entries_.empty()) {
        Entry entry;
        std::string_view value;
        if (!take_entry(entry, false, value) || !apply(entry)) {
            return damaged("the index is damaged");
        }
        // In a run of entries that share a prefix only the first says all of the place.
        if (entry.shared == 0) {
            if (!take_handle(entries_, handle)) {
                return damaged("the index is damaged");
            }
        } else {
            const char* at = entries_.data();
            std::uint64_t zigzag = 0;
            if (!take_varint(at, at + entries_.size(), zigzag)) {
                return damaged("the index is damaged");
            }
            handle.offset += handle.bytes + kTrailerBytes;
            handle.bytes += (zigzag >> 1) ^ (~(zigzag & 1) + 1);
            entries_.remove_prefix(static_cast<std::size_t>(at - entries_.data()));
            if (handle.bytes > kMostBlockBytes || handle.offset > size ||
                handle.bytes + kTrailerBytes > size - handle.offset) {
                return damaged("the index is damaged");
            }
        }
        // The entry's key is at or behind the last one of its block.
        if (std::string_view(key_.data(), stored_key_bytes_) >= from) {
            blocks_.push_back(handle);
        }
    }
    stored_key_bytes_ = 0;
    return {};
}

model::Status TableCursor::read_block(BlockHandle handle) {
    const std::size_t bytes = handle.bytes + kTrailerBytes;
    if (handle.offset < piece_at_ || handle.offset + bytes > piece_at_ + piece_bytes_) {
        const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(
            std::max(bytes, kTableReadBytes), file_->size() - handle.offset));
        if (piece_.size() < want) {
            piece_.resize(want);
        }
        piece_at_ = handle.offset;
        piece_bytes_ = 0;
        TRY(got, file_->read(handle.offset, want, piece_.data()));
        piece_bytes_ = got;
        if (got < bytes) {
            return damaged("is shorter than it was");
        }
        // Ahead of us while this one is gone through.
        if (next_block_ < blocks_.size()) {
            file_->read_soon(handle.offset + want, kTableReadBytes);
        }
    }
    const char* const data = piece_.data() + (handle.offset - piece_at_);
    const auto codec = get<std::uint8_t>(data + handle.bytes);
    const auto checksum =
        static_cast<std::uint32_t>(XXH3_64bits(data, handle.bytes)) ^ (codec * kLastByteFactor);
    if (checksum != get<std::uint32_t>(data + handle.bytes + 1)) {
        return damaged("a block does not match its checksum");
    }
    std::string_view block(data, handle.bytes);
    if (codec == kLz4) {
        const char* at = block.data();
        const char* const end = at + block.size();
        std::uint64_t size = 0;
        if (!take_varint(at, end, size) || size > kMostBlockBytes || end - at > INT_MAX) {
            return damaged("a block's size cannot be");
        }
        if (block_.size() < size) {
            block_.resize(size);
        }
        const int done = LZ4_decompress_safe(at, block_.data(), static_cast<int>(end - at),
                                             static_cast<int>(size));
        if (done < 0 || static_cast<std::uint64_t>(done) != size) {
            return damaged("a block cannot be decompressed");
        }
        block = {block_.data(), size};
    } else if (codec != kPlain) {
        return damaged("a block is compressed in a way that Sluice does not use");
    }
    // At its end: where its runs of shared prefixes begin, for those who search it.
    if (block.size() < 4) {
        return damaged("a block is too short");
    }
    const std::uint64_t runs = get<std::uint32_t>(block.data() + block.size() - 4);
    if (runs > (block.size() - 4) / 4) {
        return damaged("a block is too short");
    }
    entries_ = block.substr(0, block.size() - 4 - runs * 4);
    stored_key_bytes_ = 0;
    return {};
}

bool TableCursor::take_entry(Entry& entry, bool sized_value, std::string_view& value) {
    const char* at = entries_.data();
    const char* const end = at + entries_.size();
    std::uint64_t shared = 0, rest = 0, bytes = 0;
    if (!take_varint(at, end, shared) || !take_varint(at, end, rest) ||
        (sized_value && !take_varint(at, end, bytes))) {
        return false;
    }
    const auto left = static_cast<std::uint64_t>(end - at);
    if (rest > left || bytes > left - rest) {
        return false;
    }
    entry.shared = shared;
    entry.rest = {at, rest};
    value = {at + rest, bytes};
    entries_ = {at + rest + bytes, left - rest - bytes};
    return true;
}

bool TableCursor::apply(const Entry& entry) {
    if (entry.shared > stored_key_bytes_) {
        return false;
    }
    const std::size_t bytes = entry.shared + entry.rest.size();
    if (key_.size() < bytes) {
        key_.resize(bytes * 2);
    }
    std::memcpy(key_.data() + entry.shared, entry.rest.data(), entry.rest.size());
    stored_key_bytes_ = bytes;
    return true;
}

// Behind the key in hand, whose bytes are those in front of what the entry shares with it.
bool TableCursor::ascends(const Entry& entry) const {
    const std::size_t bytes = entry.shared + entry.rest.size() - kInternalBytes;
    if (entry.shared < std::min(key_bytes_, bytes)) {
        // Nearly always the first byte that is not shared says it.
        const auto before = static_cast<unsigned char>(key_[entry.shared]);
        const auto after = static_cast<unsigned char>(entry.rest.front());
        if (before != after) {
            return before < after;
        }
    }
    if (entry.shared > std::min(key_bytes_, bytes)) {
        return bytes > key_bytes_;
    }
    return std::string_view(key_.data() + entry.shared, key_bytes_ - entry.shared) <
           entry.rest.substr(0, bytes - entry.shared);
}

model::Status TableCursor::advance() {
    valid_ = false;
    while (entries_.empty()) {
        if (next_block_ == blocks_.size()) {
            return {};
        }
        TRY(read_block(blocks_[next_block_++]));
    }
    Entry entry;
    if (!take_entry(entry, true, row_) || entry.shared > stored_key_bytes_ ||
        entry.rest.size() < kInternalBytes) {
        return damaged("a block's rows are damaged");
    }
    if (!ascends(entry)) {
        return damaged("keys that do not ascend");
    }
    apply(entry);
    key_bytes_ = stored_key_bytes_ - kInternalBytes;
    const auto type = get<std::uint8_t>(key_.data() + key_bytes_);
    if (type != kValue && type != kMerge) {
        return damaged("holds something that is no row");
    }
    valid_ = true;
    return {};
}

model::Status TableCursor::next() {
    TRY(advance());
    while (!from_.empty()) {  // rows in front of it, in its first block
        if (!valid_ || key() >= from_) {
            from_.clear();
            break;
        }
        TRY(advance());
    }
    return {};
}

}  // namespace sluice::state
