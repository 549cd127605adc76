// Rows of any number of reductions and slices in the order of their keys on disk: what passes
// between snapshots, portable streams, lines and the store.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "state/model/result.h"
#include "state/store/row_key.h"

namespace sluice::state {

struct RowPiece;

// Thread: the one that uses it. A new source stands before its first row: call next() first.
class RowSource {
 public:
    virtual ~RowSource() = default;

    // Moves to the next row; valid() is false behind the last one. After an error the source is of
    // no use. Blocks on whatever is behind it.
    virtual model::Status next() = 0;
    virtual bool valid() const = 0;

    // Only while valid(); views live until next(). Keys ascend strictly: by reduction, slice end,
    // accepted_from, hash, encoded key.
    virtual const RowKey& key() const = 0;
    virtual std::string_view row() const = 0;  // encoded, state/reduce/row.h

    // For those who go through rows in several threads: what follows, taken out as a whole, where
    // the source has rows that need nothing of what is around them. Without rows: there is none
    // such, or the source is at its end; next() goes on.
    virtual model::Result<RowPiece> take_piece();
};

// Rows in the order of keys that any one thread may go through while their source goes on; it
// outlives them.
struct RowPiece {
    std::unique_ptr<RowSource> rows;  // null: none
    std::uint64_t number = 0;
    std::uint64_t bytes = 0;     // of keys as they are stored, and rows
    std::vector<RowKey> slices;  // what they are of, in turn; key and hash do not count
};

inline model::Result<RowPiece> RowSource::take_piece() { return RowPiece{}; }

}  // namespace sluice::state
