// Keys of RocksDB rows: they sort by reduction, then time, then hash.
//
//     reduction number  u32, big-endian; 0 is ours (the meta row), reductions count from 1
//     slice end         i64, sign bit flipped, big-endian
//     accepted-from     u32, big-endian: how many windows later than the first one a record of this
//                       slice is accepted; 0 for records in time
//     hash              u64, big-endian: XXH3-64 of the key
//     key               encoded (model/key.h)
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "state/model/time.h"

namespace sluice::state {

inline constexpr std::size_t kTimePrefixBytes = 12;  // reduction and slice end
inline constexpr std::size_t kSlicePrefixBytes = 16;
inline constexpr std::size_t kRowHeaderBytes = 24;
inline constexpr std::string_view kMetaRowKey{"\0\0\0\0meta", 8};

template <class Unsigned>
void append_big_endian(std::string& to, Unsigned value) {
    for (int shift = static_cast<int>(sizeof(Unsigned)) * 8 - 8; shift >= 0; shift -= 8) {
        to.push_back(static_cast<char>((value >> shift) & 0xff));
    }
}

template <class Unsigned>
void write_big_endian(char* to, Unsigned value) {
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        to[i] = static_cast<char>((value >> (8 * (sizeof(Unsigned) - 1 - i))) & 0xff);
    }
}

template <class Unsigned>
Unsigned read_big_endian(const char* from) {
    Unsigned value = 0;
    std::memcpy(&value, from, sizeof value);
    return std::endian::native == std::endian::little ? std::byteswap(value) : value;
}

constexpr std::uint64_t ordered_time(model::EventTime t) {
    return static_cast<std::uint64_t>(t) ^ (1ull << 63);
}
constexpr model::EventTime time_from_ordered(std::uint64_t ordered) {
    return static_cast<model::EventTime>(ordered ^ (1ull << 63));
}

// The rows of one slice; kSlicePrefixBytes long.
inline std::string slice_prefix(std::uint32_t reduction, model::EventTime slice_end,
                                std::uint32_t accepted_from = 0) {
    std::string prefix;
    prefix.reserve(kSlicePrefixBytes);
    append_big_endian(prefix, reduction);
    append_big_endian(prefix, ordered_time(slice_end));
    append_big_endian(prefix, accepted_from);
    return prefix;
}

// Before the first row of any slice of `reduction` that ends at or after `slice_end`.
inline std::string time_prefix(std::uint32_t reduction, model::EventTime slice_end) {
    std::string prefix;
    append_big_endian(prefix, reduction);
    append_big_endian(prefix, ordered_time(slice_end));
    return prefix;
}

inline void append_row(std::string& to, std::uint64_t hash, std::string_view key) {
    append_big_endian(to, hash);
    to.append(key);
}

struct RowKey {
    std::uint32_t reduction = 0;
    model::EventTime slice_end = 0;
    std::uint32_t accepted_from = 0;
    std::uint64_t hash = 0;
    std::string_view key;  // into what was parsed
};

// False: not a row's key (the meta row's is none). Where every row comes by: a key made elsewhere
// and moved at once would keep the processor waiting for its parts.
[[nodiscard]] inline bool parse_row_key(std::string_view bytes, RowKey& row) {
    if (bytes.size() < kRowHeaderBytes) {
        return false;
    }
    row.reduction = read_big_endian<std::uint32_t>(bytes.data());
    row.slice_end = time_from_ordered(read_big_endian<std::uint64_t>(bytes.data() + 4));
    row.accepted_from = read_big_endian<std::uint32_t>(bytes.data() + 12);
    row.hash = read_big_endian<std::uint64_t>(bytes.data() + 16);
    row.key = bytes.substr(kRowHeaderBytes);
    return row.reduction != 0;
}
inline std::optional<RowKey> parse_row_key(std::string_view bytes) {
    RowKey row;
    return parse_row_key(bytes, row) ? std::optional(row) : std::nullopt;
}

}  // namespace sluice::state
