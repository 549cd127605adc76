#include "state/tools/portable_rows.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "state/tools/little_endian.h"

namespace sluice::state {
namespace {

constexpr std::size_t kSectionHeader = 20;
constexpr std::size_t kMostSizeBytes = 5;   // of a key or a row: it is in a block of 64 MiB at most
constexpr std::size_t kTile = kReadBehind;  // read and written at once, used or not

bool same_slice(const RowKey& a, const RowKey& b) {
    return a.reduction == b.reduction && a.slice_end == b.slice_end &&
           a.accepted_from == b.accepted_from;
}
bool slice_before(const RowKey& a, const RowKey& b) {
    return std::tie(a.reduction, a.slice_end, a.accepted_from) <
           std::tie(b.reduction, b.slice_end, b.accepted_from);
}

char* put_size(char* to, std::size_t size) {
    while (size >= 0x80) {
        *to++ = static_cast<char>(0x80U | (size & 0x7fU));
        size >>= 7;
    }
    *to++ = static_cast<char>(size);
    return to;
}

// False: it is none, or not spelled as put_size() does.
bool take_size(std::string_view& from, std::uint64_t& size) {
    if (!from.empty() && static_cast<unsigned char>(from.front()) < 0x80) {
        size = static_cast<unsigned char>(from.front());
        from.remove_prefix(1);
        return true;
    }
    size = 0;
    std::size_t at = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (at == from.size() || shift > 28) {
            return false;
        }
        const auto byte = static_cast<unsigned char>(from[at++]);
        size |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if ((byte & 0x80U) == 0) {
            from.remove_prefix(at);
            return byte != 0;  // a needless byte: one meaning has one spelling
        }
    }
}

bool take_sized(std::string_view& from, std::string_view& bytes) {
    std::uint64_t size = 0;
    if (!take_size(from, size) || size > from.size()) {
        return false;
    }
    bytes = from.substr(0, size);
    from.remove_prefix(size);
    return true;
}

// The compiler's vectors: what each processor has for them.
using Bytes16 [[gnu::vector_size(kTile)]] = unsigned char;

// Sixteen rows of sixteen bytes become sixteen columns: each round deals the rows of the lower half
// and those of the upper half out in turn.
void transpose_tile(Bytes16 (&tile)[kTile]) {
    for (int round = 0; round < 4; ++round) {
        Bytes16 dealt[kTile];
        for (std::size_t i = 0; i < kTile / 2; ++i) {
            const Bytes16 low = tile[i], high = tile[i + kTile / 2];
            dealt[2 * i] = __builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                                   21, 6, 22, 7, 23);
            dealt[2 * i + 1] = __builtin_shufflevector(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                                       28, 13, 29, 14, 30, 15, 31);
        }
        std::copy(std::begin(dealt), std::end(dealt), std::begin(tile));
    }
}

// There are more columns than the processor sees streams in, so it is told what comes.
constexpr std::size_t kAhead = 128;

// to[c * items + i] = item(i)[c] for all c < width. Reads and writes up to kTile - 1 bytes behind
// the last ones: what is written there is overwritten in turn, so the tiles go in an order in which
// the right bytes come last.
template <class Item>
void transpose(const Item& item, std::size_t items, std::size_t width, char* to) {
    if (items == 0 || width == 0) {
        return;
    }
    const auto do_tile = [&](std::size_t i, std::size_t c) {
        Bytes16 tile[kTile] = {};
        for (std::size_t k = 0; k < std::min(kTile, items - i); ++k) {
            const char* const from = item(i + k) + c;
            __builtin_prefetch(from + kAhead, 0);
            std::memcpy(&tile[k], from, kTile);
        }
        transpose_tile(tile);
        for (std::size_t k = 0; k < std::min(kTile, width - c); ++k) {
            char* const at = to + (c + k) * items + i;
            __builtin_prefetch(at - kAhead, 1);
            std::memcpy(at, &tile[k], kTile);
        }
    };
    const std::size_t last = (items - 1) / kTile * kTile;
    // The shorter way inside, where it stays in the processor's first cache.
    if (items > width) {
        for (std::size_t i = last + kTile; i != 0;) {
            i -= kTile;
            for (std::size_t c = 0; c < width; c += kTile) {
                do_tile(i, c);
            }
        }
    } else {
        for (std::size_t c = 0; c < width; c += kTile) {
            for (std::size_t i = last + kTile; i != 0;) {
                i -= kTile;
                do_tile(i, c);
            }
        }
    }
}

std::size_t place_of(std::uint64_t size) {
    return static_cast<std::size_t>(std::min<std::uint64_t>(size, kLongItem));
}

}  // namespace

// ---- To bytes

void RowsToStore::add(const RowKey& key, std::string_view row) {
    if (sizes_.empty() || !same_slice(section_, key)) {
        if (!sizes_.empty()) {
            append(sections_, rows() - static_cast<std::uint32_t>(section_begin_));
        }
        append(sections_, key.reduction);
        append(sections_, static_cast<std::uint64_t>(key.slice_end));
        append(sections_, key.accepted_from);
        section_begin_ = rows();
        section_ = key;
    }
    const std::size_t bytes = bytes_ + key.key.size() + row.size();
    if (items_.size() < bytes + kTile) {
        items_.resize(std::max(bytes + kTile, items_.size() * 2));
    }
    char* const to = items_.data() + bytes_;
    std::memcpy(to, key.key.data(), key.key.size());
    std::memcpy(to + key.key.size(), row.data(), row.size());
    sizes_.push_back(
        {static_cast<std::uint32_t>(key.key.size()), static_cast<std::uint32_t>(row.size())});
    bytes_ = bytes;
}

void RowsToStore::clear() {
    sections_.clear();
    section_begin_ = 0;
    bytes_ = 0;
    sizes_.clear();
}

std::size_t RowsToStore::encode(Room& room, std::string& to) const {
    const std::size_t most = sizeof(std::uint32_t) + sections_.size() + kSectionHeader +
                             sizes_.size() * kMostSizeBytes + bytes_ + kTile;
    if (to.size() < most) {
        to.resize(most);
    }
    char* at = to.data();
    const std::size_t sections = (sections_.size() + sizeof(std::uint32_t)) / kSectionHeader;
    put(at, static_cast<std::uint32_t>(sections));
    at += sizeof(std::uint32_t);
    std::memcpy(at, sections_.data(), sections_.size());
    at += sections_.size();
    put(at, rows() - static_cast<std::uint32_t>(section_begin_));
    at += sizeof(std::uint32_t);

    const auto order = [&](auto size_of, PlacesBySize& places, std::vector<std::uint32_t>& begins) {
        std::uint32_t counts[kLongItem + 1] = {};
        for (const Sizes& sizes : sizes_) {
            at = put_size(at, size_of(sizes));
            ++counts[place_of(size_of(sizes))];
        }
        std::uint32_t before = 0;
        for (std::size_t size = 0; size <= kLongItem; ++size) {
            places[size] = before;
            before += counts[size];
        }
        begins.resize(before);
    };
    order([](const Sizes& sizes) { return sizes.key; }, room.keys_at, room.keys);
    order([](const Sizes& sizes) { return sizes.row; }, room.rows_at, room.rows);
    std::uint32_t begin = 0;
    for (const Sizes& sizes : sizes_) {
        room.keys[room.keys_at[place_of(sizes.key)]++] = begin;
        begin += sizes.key;
        room.rows[room.rows_at[place_of(sizes.row)]++] = begin;
        begin += sizes.row;
    }
    // Now a place says where the items of its size end.
    const auto write = [&](auto size_of, const PlacesBySize& ends,
                           const std::vector<std::uint32_t>& begins) {
        std::size_t first = 0;
        for (std::size_t size = 0; size < kLongItem; ++size) {
            const std::size_t items = ends[size] - first;
            transpose([&](std::size_t i) { return items_.data() + begins[first + i]; }, items, size,
                      at);
            at += items * size;
            first = ends[size];
        }
        // What is long has the last place, in the order of rows.
        auto long_one = begins.begin() + static_cast<std::ptrdiff_t>(first);
        for (auto sizes = sizes_.begin(); long_one != begins.end(); ++sizes) {
            if (size_of(*sizes) >= kLongItem) {
                std::memcpy(at, items_.data() + *long_one++, size_of(*sizes));
                at += size_of(*sizes);
            }
        }
    };
    write([](const Sizes& sizes) { return sizes.key; }, room.keys_at, room.keys);
    write([](const Sizes& sizes) { return sizes.row; }, room.rows_at, room.rows);
    return static_cast<std::size_t>(at - to.data());
}

// ---- From bytes

const char* StoredRows::take(std::uint32_t version, std::string_view bytes, std::uint32_t rows) {
    in_line_ = version == kRowsInLine;
    all_rows_ = rows;
    hashes_.clear();
    if (bytes_.size() < bytes.size() + kTile) {
        bytes_.resize(bytes.size() + kTile);
    }
    if (in_line_) {
        std::memcpy(bytes_.data(), bytes.data(), bytes.size());
        all_ = {bytes_.data(), bytes.size()};
    } else if (const char* wrong = take_columns(bytes); wrong != nullptr) {
        return wrong;
    }
    rewind();
    return nullptr;
}

void StoredRows::rewind() {
    rest_ = all_;
    rows_ = all_rows_;
    section_rows_ = 0;
    next_hash_ = 0;
    first_ = any_ = false;
    if (!in_line_) {
        keys_ = all_keys_;
        values_ = all_values_;
    }
}

// All that next_of_columns() rests on is held against what is there.
const char* StoredRows::take_columns(std::string_view bytes) {
    std::string_view rest = bytes;
    if (const char* wrong = take_sections(rest); wrong != nullptr) {
        return wrong;
    }
    std::uint64_t key_bytes = 0, value_bytes = 0;
    const char* wrong = count_sizes(rest, all_keys_, key_bytes);
    if (wrong == nullptr) {
        wrong = count_sizes(rest, all_values_, value_bytes);
    }
    if (wrong != nullptr) {
        return wrong;
    }
    if (key_bytes + value_bytes != rest.size()) {
        return "the sizes of its rows are not what there is";
    }
    char* const begin = bytes_.data();
    const std::size_t heads = bytes.size() - rest.size();
    std::memcpy(begin, bytes.data(), heads);
    const auto moved = [&](std::string_view part) {
        return std::string_view(begin + (part.data() - bytes.data()), part.size());
    };
    all_ = moved(all_);
    std::size_t at = heads;
    for (Items* items : {&all_keys_, &all_values_}) {
        items->sizes = moved(items->sizes);
        for (std::size_t size = 0; size <= kLongItem; ++size) {
            const std::size_t count = items->at[size];  // of bytes, for what is long
            const std::size_t area = size == kLongItem ? count : count * size;
            items->at[size] = static_cast<std::uint32_t>(at);
            if (size == kLongItem) {
                std::memcpy(begin + at, bytes.data() + at, area);
            } else {
                transpose([&](std::size_t c) { return bytes.data() + at + c * count; }, size, count,
                          begin + at);
            }
            at += area;
        }
    }
    return nullptr;
}

const char* StoredRows::take_sections(std::string_view& rest) {
    if (rest.size() < sizeof(std::uint32_t)) {
        return "its sections are cut off";
    }
    const std::size_t sections = get<std::uint32_t>(rest.data());
    rest.remove_prefix(sizeof(std::uint32_t));
    if (sections > rest.size() / kSectionHeader) {
        return "its sections are cut off";
    }
    all_ = rest.substr(0, sections * kSectionHeader);
    rest.remove_prefix(all_.size());
    std::uint64_t rows = 0;
    RowKey before;
    rest_ = all_;
    for (std::size_t i = 0; i < sections; ++i) {
        before = key_;
        read_section();
        if (section_rows_ == 0) {
            return "a section's number of rows cannot be";
        }
        if (i > 0 && !slice_before(before, key_)) {
            return "sections that do not ascend";
        }
        rows += section_rows_;
    }
    return rows == all_rows_ ? nullptr : "a section's number of rows cannot be";
}

// Leaves in items.at how many there are of each size, and how many bytes of long ones.
const char* StoredRows::count_sizes(std::string_view& rest, Items& items,
                                    std::uint64_t& bytes) const {
    items.at.fill(0);
    items.sizes = rest;
    for (std::uint32_t i = 0; i < all_rows_; ++i) {
        std::uint64_t size = 0;
        if (!take_size(rest, size)) {
            return "the size of a row cannot be";
        }
        bytes += size;
        if (bytes > rest.size()) {
            return "the sizes of its rows are not what there is";
        }
        items.at[place_of(size)] += size < kLongItem ? 1 : static_cast<std::uint32_t>(size);
    }
    items.sizes.remove_suffix(rest.size());
    return nullptr;
}

void StoredRows::read_section() {
    key_.reduction = get<std::uint32_t>(rest_.data());
    key_.slice_end = static_cast<model::EventTime>(get<std::uint64_t>(rest_.data() + 4));
    key_.accepted_from = get<std::uint32_t>(rest_.data() + 12);
    section_rows_ = get<std::uint32_t>(rest_.data() + 16);
    rest_.remove_prefix(kSectionHeader);
}

std::string_view StoredRows::take_item(Items& items) const {
    std::uint64_t size = 0;
    take_size(items.sizes, size);
    std::uint32_t& at = items.at[place_of(size)];
    const std::string_view item(bytes_.data() + at, size);
    at += static_cast<std::uint32_t>(size);
    return item;
}

const char* StoredRows::next_of_columns() {
    first_ = section_rows_ == 0;
    if (first_) {
        read_section();
    }
    key_.key = take_item(keys_);
    row_ = take_item(values_);
    --section_rows_;
    --rows_;
    return nullptr;
}

const char* StoredRows::next_in_line() {
    first_ = false;
    if (section_rows_ == 0) {
        if (rest_.size() < kSectionHeader) {
            return "a section of rows is cut off";
        }
        const auto before = key_;
        read_section();
        if (section_rows_ == 0 || section_rows_ > rows_) {
            return "a section's number of rows cannot be";
        }
        if (any_ && slice_before(key_, before)) {
            return "sections that do not ascend";
        }
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

}  // namespace sluice::state
