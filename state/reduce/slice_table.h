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
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/arena.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"
#include "state/reduce/exact.h"
#include "state/reduce/row_cells.h"
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
    // What the rows take, and the table for having any, for the memory budget; grows with them and
    // is 0 after clear().
    std::size_t bytes() const;
    // Rows that the memory which clear() keeps has room for.
    std::size_t reserved_rows() const;

    // Forgets the rows and keeps the memory.
    void clear();

    const RowLayout& layout() const { return layout_; }

    // For cursors. Every part holds the rows of one range of hashes; the numbers of all parts,
    // ascending by range.
    std::vector<std::uint32_t> parts_in_order() const;
    struct RowRef {
        std::uint64_t hash;
        std::uint32_t row;
    };
    // Replaces `rows` by the rows of part `part`, in no particular order.
    void rows_of_part(std::uint32_t part, std::vector<RowRef>& rows) const;
    std::string_view key(std::uint32_t row) const;  // lives until clear()
    void prefetch(std::uint32_t row) const;
    // Replaces `out` by the encoded row (state/reduce/row.h).
    void encode(std::uint32_t row, std::string& out) const;

 private:
    // A part of the index. Slot: upper 32 bits of the hash, then row number + 1; 0 is free.
    struct Part {
        std::unique_ptr<std::uint64_t[]> slots;
        std::uint32_t rows = 0;
        int slot_bits = 0;  // there are 2^slot_bits slots
        int depth = 0;      // how many top bits of the hash all its rows share
    };
    // What does not fit into a sum's cell.
    struct SumRest {
        ExactTotal total;
        FloatTotal floats;
    };
    static constexpr std::size_t kStep = 64;  // rows that are looked up together
    using Cells = std::array<char*, kStep>;   // rows of a step, then the cells of one call

    char* row_at(std::uint32_t row) const;
    Part& part_of(std::uint64_t hash);
    std::size_t directory_index(std::uint64_t hash) const;
    static std::size_t slot_of(const Part& part, std::uint64_t hash);
    static void insert_slot(Part& part, std::uint64_t hash, std::uint64_t slot);
    std::uint64_t slot_hash(const Part& part, std::uint64_t slot) const;
    void grow(std::uint64_t hash);
    void split(std::uint32_t part, std::uint64_t hash);
    std::uint32_t candidate(std::uint64_t hash);
    char* row_for(std::uint64_t hash, std::string_view key);
    char* new_row(std::uint64_t hash, std::string_view key);
    void locate(const FoldInput& input, std::size_t begin, std::size_t count, Cells& rows);

    void fold_call(const FoldInput& input, std::size_t call, std::size_t begin, std::size_t count,
                   const Cells& rows, model::ValueErrors& errors);
    void add_to_sum(SumCell& cell, const model::Scalar& value);
    void add_extreme(ExtremeCell& cell, bool minimum, const model::Scalar& value);
    void add_ordered(OrderedCell& cell, bool first, const FoldInput& input, std::uint32_t row,
                     const model::Scalar& value);
    SumRest& rest_of(SumCell& cell);
    void keep(ScalarCell& cell, model::Type before, const model::Scalar& value);

    RowLayout layout_;
    std::size_t rows_ = 0;
    std::vector<Part> parts_;
    std::vector<std::uint32_t> directory_;  // 2^depth_ parts, by the top bits of the hash
    int depth_ = 0;
    std::vector<std::unique_ptr<char[]>> blocks_;  // rows, kBlockRows each
    model::Arena arena_;                           // long keys, texts
    std::deque<SumRest> rests_;
    std::vector<std::string> topics_;
    std::uint32_t topic_ = 0;  // of the records being folded
};

}  // namespace sluice::state
