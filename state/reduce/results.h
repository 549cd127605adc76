// From encoded rows to the values of a result.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/settings.h"
#include "state/model/arena.h"
#include "state/model/record_batch.h"
#include "state/model/result.h"
#include "state/model/result_batch.h"
#include "state/model/value.h"
#include "state/reduce/row.h"

namespace sluice::state {

// Collects rows, then computes all values at once, column by column.
//
// Life:    add() …, finish(), and again: memory is reused.
// Thread:  the one that uses it; `reduction` must outlive it.
class ResultColumns {
 public:
    explicit ResultColumns(const config::Reduction& reduction);

    // Rows come ascending by (hash, key), already merged. Everything is copied.
    // Errors: corrupt (not a row, or not one of this reduction).
    model::Status add(std::uint64_t hash, std::string_view key, std::string_view row);

    std::size_t rows() const { return hash_.size(); }

    // Replaces rows, hash, key, rev, values and arena of `batch` and forgets the rows; the batch's
    // other members are the caller's. `errors` is added to.
    //
    // A sum of integers and decimals with more than 20 digits before the point (at most 38 in all)
    // fits no number type: a value that is this sum and nothing else is delivered as a text of its
    // exact digits, and an expression over it computes with the nearest float.
    void finish(model::ResultBatch& batch, model::ValueErrors& errors);

 private:
    struct Wide {
        std::uint32_t call;
        std::uint32_t row;
        std::string_view digits;
    };

    const config::Reduction& reduction_;
    std::vector<std::uint64_t> hash_;
    std::vector<std::string_view> key_;
    std::vector<std::uint64_t> rev_;
    std::vector<model::Column> columns_;  // one per call
    std::vector<Wide> wide_;
    model::Arena arena_;  // keys and texts; swapped into the batch
    model::ValueErrors errors_;
    RowResults row_;  // reused
    config::Program::Scratch scratch_;
};

}  // namespace sluice::state
