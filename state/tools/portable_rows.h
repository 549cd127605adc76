// The rows of one block of a portable stream, as rows and as bytes. docs/FORMAT.md describes both
// forms.
//
// Version 1 had one row after the other. Since version 2 bytes of the same place stand together:
// rows of a reduction look alike, so where many of one length are written column by column, most
// columns hold one value or few. A compressor sees long runs then instead of a match every few
// bytes, which is what it spends its time on: it takes a third of the time and leaves less. (Rows
// are sorted by a hash of their keys, so neighbours share no prefix that could be left out.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/store/row_key.h"

namespace sluice::state {

inline constexpr std::uint32_t kRowsInLine = 1;  // version of the stream with row after row
// Keys and rows of so many bytes and more stand as they are behind the columns: there is nothing
// to be won, and a column for each of their bytes would be lost on a few of them.
inline constexpr std::size_t kLongItem = 1024;
// Whoever gives bytes to be taken lets so many behind them be read, whatever they are.
inline constexpr std::size_t kReadBehind = 16;

// A place for the items of each size, and one for all that are long.
using PlacesBySize = std::array<std::uint32_t, kLongItem + 1>;

// Collects the rows of a block and makes its bytes. Thread: one at a time.
// Memory: of a block and what was added last, kept from block to block; 8 bytes a row.
class RowsToStore {
 public:
    // In the order of keys.
    void add(const RowKey& key, std::string_view row);

    std::uint32_t rows() const { return static_cast<std::uint32_t>(sizes_.size()); }
    // Roughly what encode() makes of it.
    std::size_t bytes() const { return bytes_ + 2 * sizes_.size() + sections_.size(); }

    // What encode() needs besides, and keeps from block to block: of one thread.
    struct Room {
        PlacesBySize keys_at, rows_at;
        std::vector<std::uint32_t> keys, rows;  // where they begin, by size
    };
    // The bytes of the block; `to` may be longer. Returns their number.
    std::size_t encode(Room& room, std::string& to) const;
    void clear();

 private:
    struct Sizes {
        std::uint32_t key, row;
    };

    std::string sections_;           // their heads, but for the number of rows of the last one
    std::size_t section_begin_ = 0;  // the first row of the last one
    RowKey section_;
    std::string items_;  // keys and rows in turn; longer than what counts of it
    std::size_t bytes_ = 0;
    std::vector<Sizes> sizes_;
};

// The rows of a block one after another. Thread: one at a time.
class StoredRows {
 public:
    // Takes the bytes of a block in the form of `version`; a copy is kept. Null, or what is wrong
    // with them. Memory: as much as they are, kept from block to block.
    const char* take(std::uint32_t version, std::string_view bytes, std::uint32_t rows);

    bool at_end() const { return rows_ == 0; }
    bool begins_slice() const { return first_; }
    const RowKey& key() const { return key_; }  // the hash: as far as it was noted
    std::string_view row() const { return row_; }

    // Not at the end. Null, or what is wrong.
    const char* next() {
        if (next_hash_ < hashes_.size()) {
            key_.hash = hashes_[next_hash_++];
        }
        return in_line_ ? next_in_line() : next_of_columns();
    }

    // Before the first row again.
    void rewind();

    // Of the row in hand, in the order of rows: after a rewind() key() has it.
    void note_hash(std::uint64_t hash) {
        key_.hash = hash;
        hashes_.push_back(hash);
    }

 private:
    struct Items {
        std::string_view sizes;  // varints
        PlacesBySize at;         // in bytes_: the next one
    };

    const char* take_columns(std::string_view bytes);
    const char* take_sections(std::string_view& rest);
    const char* count_sizes(std::string_view& rest, Items& items, std::uint64_t& bytes) const;
    const char* next_in_line();
    const char* next_of_columns();
    void read_section();
    std::string_view take_item(Items& items) const;

    bool in_line_ = false;
    std::uint32_t all_rows_ = 0;
    std::string bytes_;            // in columns: by rows again; longer than what counts of it
    std::string_view all_, rest_;  // of bytes_: in line, rows; in columns, heads of sections
    Items all_keys_, all_values_, keys_, values_;

    std::vector<std::uint64_t> hashes_;  // of the rows' keys, as they were noted
    std::size_t next_hash_ = 0;
    std::uint32_t rows_ = 0;  // not yet read
    std::uint32_t section_rows_ = 0;
    RowKey key_;
    std::string_view row_;
    bool first_ = false;
    bool any_ = false;
};

}  // namespace sluice::state
