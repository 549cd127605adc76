// Rows of any number of reductions and slices in the order of their keys on disk: what passes
// between snapshots, portable streams, lines and the store.
#pragma once

#include <string_view>

#include "state/model/result.h"
#include "state/store/row_key.h"

namespace sluice::state {

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
};

}  // namespace sluice::state
