// Rows as they come out of a cursor, side by side in memory: what tables become when they have been
// merged once, so that the next who reads them need not merge them again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "state/reduce/cursor.h"

namespace sluice::state {

// Life:    add(), fit(), then it is shared and only read.
// Thread:  one adds; shared (shared_ptr<const PackedRows>) it may be read by several at once.
class PackedRows {
 public:
    // Ascending by (hash, key), as cursors have them. Copies both.
    void add(std::uint64_t hash, std::string_view key, std::string_view row);

    void fit() { bytes_.shrink_to_fit(); }  // behind the last add()

    std::size_t rows() const { return rows_; }
    std::size_t bytes() const { return bytes_.capacity(); }  // of memory

    struct Row {
        std::uint64_t hash;
        std::string_view key, row;
        std::size_t next;  // where the row behind it is; size(): nowhere
    };
    Row at(std::size_t place) const;  // `place`: 0 or a row's `next`
    std::size_t size() const { return bytes_.size(); }

 private:
    std::string bytes_;  // of each: hash, sizes of key and row, key, row
    std::size_t rows_ = 0;
};

std::unique_ptr<RowCursor> cursor_over(std::shared_ptr<const PackedRows> rows);

}  // namespace sluice::state
