// Encoded rows in the order (hash, key), from tables, from RocksDB, merged.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "state/model/result.h"
#include "state/reduce/row.h"
#include "state/reduce/slice_table.h"

namespace sluice::state {

// Thread: the one that uses it. A new cursor stands before its first row: call next() first.
//
//     while (true) {
//         TRY(cursor.next());
//         if (!cursor.valid()) break;
//         … cursor.hash(), cursor.key(), cursor.row() …
//     }
class RowCursor {
 public:
    virtual ~RowCursor() = default;

    // Moves to the next row; valid() is false behind the last one. Errors are the source's
    // (corrupt, unavailable); the cursor is of no use after one.
    virtual model::Status next() = 0;
    virtual bool valid() const = 0;

    // Only while valid(); views live until next(). Rows ascend strictly by (hash, key bytes).
    virtual std::uint64_t hash() const = 0;
    virtual std::string_view key() const = 0;  // encoded, model/key.h
    virtual std::string_view row() const = 0;  // encoded, state/reduce/row.h
};

// Over a sealed table; shared, because fires and the snapshot writer read it at the same time and
// the last of them lets it go. Sorts part by part as it goes and writes nothing to the table.
std::unique_ptr<RowCursor> cursor_over(std::shared_ptr<const SliceTable> table);

// The rows of `source` as the present definition of their reduction has them (row.h,
// rearrange_row).
std::unique_ptr<RowCursor> rearrange_cursor(std::unique_ptr<RowCursor> source,
                                            std::vector<FormerCall> calls);

// All rows of `sources`, which must ascend; rows of equal keys are merged. With no source: empty.
std::unique_ptr<RowCursor> merge_cursors(std::vector<std::unique_ptr<RowCursor>> sources);

}  // namespace sluice::state
