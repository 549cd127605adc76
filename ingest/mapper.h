// Decoded rows → what every reduction folds: steps, filters, keys, arguments.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "config/settings.h"
#include "ingest/decoder.h"
#include "state/model/ledger.h"
#include "state/model/record_batch.h"
#include "state/model/value.h"

namespace sluice::ingest {

// What one reduction takes of a range of rows. Views and pointers are valid until the next
// process() or the batch's clear(), whichever comes first.
struct MappedReduction {
    // Parallel: row number in the batch, hash of the key, encoded key.
    model::Selection rows;
    std::vector<std::uint64_t> hash;
    std::vector<std::string_view> key;
    // One per call of the reduction, indexed by batch row; null: no argument, no `where`. Of a
    // `where` column only true keeps a row.
    std::vector<const model::Column*> arguments;
    std::vector<const model::Column*> wheres;
    std::uint64_t reached = 0;
    std::uint64_t filtered = 0;
    std::uint64_t refused = 0;  // a null in the key. reached = rows.size() + filtered + refused.
};

// Life:    process() on ascending ranges of a batch, each row once.
// Thread:  one. `pipeline` must outlive it.
class Mapper {
 public:
    explicit Mapper(const config::Pipeline& pipeline);
    ~Mapper();
    Mapper(const Mapper&) = delete;
    Mapper& operator=(const Mapper&) = delete;

    // Runs steps and reductions over the rows [begin, end). Returns what the rows add to the
    // partition's ledger (consumed, reached, filtered, null, undecodable). Writes the columns of
    // `set` steps into the batch; texts and keys live in its arena.
    model::Ledger process(DecodedBatch& batch, std::size_t begin, std::size_t end);

    // Of the last process(), one per reduction of the pipeline.
    std::span<const MappedReduction> reductions() const;

    // Since construction, one per step and per reduction.
    std::span<const model::ValueErrors> step_errors() const;
    std::span<const model::ValueErrors> reduction_errors() const;

 private:
    struct Work;
    std::unique_ptr<Work> work_;
};

}  // namespace sluice::ingest
