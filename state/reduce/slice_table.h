// The rows of one slice of one reduction, as one worker has folded them since the last seal.
//
// Design: an index of 8-byte slots (32 bits of the hash, 32 bits of row number) over rows of fixed
// layout. The slot comes from the top bits of the hash, linear probing. Above 64 Ki rows a part of
// the index splits in two by the next hash bit (extendible hashing: Fagin, Nievergelt, Pippenger,
// Strong, TODS 1979), so no growth step touches more than that; rows never move. Short keys lie in
// the row, long ones and texts in an arena, the parts of a sum that hardly any row needs (floats,
// totals beyond 128 bits) out of line.
//
// Life:    fold() until it is sealed, then only read, then clear() and again.
// Thread:  one worker folds; a sealed table (shared_ptr<const SliceTable>) may be read by several
//          threads at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/arena.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"
#include "state/reduce/row_layout.h"

namespace sluice::state {

// The rows to fold. All of it must stay unchanged until the call returns; nothing of it is kept.
struct FoldInput {
    const model::RecordBatch* batch = nullptr;  // timestamps and offsets
    // Parallel: the i-th selected row's number in the batch, its key's hash, and its encoded key.
    std::span<const std::uint32_t> rows;
    std::span<const std::uint64_t> hash;
    std::span<const std::string_view> key;
    // One per call of the reduction, indexed by batch row; null pointer: no argument, no `where`.
    // Of a `where` column only true keeps a row.
    std::span<const model::Column* const> arguments;
    std::span<const model::Column* const> wheres;
    // Where the records come from, for the order of first and last.
    std::string_view topic;
    std::int32_t partition = 0;
};

class SliceTable {
 public:
    explicit SliceTable(RowLayout layout);
    ~SliceTable();
    SliceTable(const SliceTable&) = delete;
    SliceTable& operator=(const SliceTable&) = delete;

    // Folds the rows. `counts_as_rev` is empty or parallel to `input.rows`: 1 for a record that
    // came after its window's end. Texts and such that a sum or a mean cannot take are ignored like
    // null and counted in `errors`.
    void fold(const FoldInput& input, std::span<const std::uint8_t> counts_as_rev,
              model::ValueErrors& errors);

    std::size_t rows() const { return rows_; }
    // What the rows take, for the memory budget; grows with them and is 0 after clear().
    std::size_t bytes() const;
    // Rows that the memory which clear() keeps has room for.
    std::size_t reserved_rows() const;

    // Forgets the rows and keeps the memory.
    void clear();

    const RowLayout& layout() const { return layout_; }

    // For cursors. A part holds the rows of one range of hashes; parts ascend.
    std::size_t parts() const { return directory_order_.size(); }
    // Replaces `rows` by the numbers of the rows in part `part`, in no particular order.
    void rows_of_part(std::size_t part, std::vector<std::uint32_t>& rows) const;
    std::uint64_t hash(std::uint32_t row) const;
    std::string_view key(std::uint32_t row) const;  // lives until clear()
    void prefetch(std::uint32_t row) const;
    // Replaces `out` by the encoded row (state/reduce/row.h).
    void encode(std::uint32_t row, std::string& out) const;

 private:
    RowLayout layout_;
    std::size_t rows_ = 0;
    std::vector<std::uint32_t> directory_order_;
};

}  // namespace sluice::state
