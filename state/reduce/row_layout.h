// Where the accumulators of a reduction lie in a table's row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "config/expression/program.h"

namespace sluice::state {

// A value; immutable after construction. All-zero bytes are the identity of every accumulator.
class RowLayout {
 public:
    explicit RowLayout(std::span<const config::ReductionKind> kinds);
    explicit RowLayout(const std::vector<config::ReductionCall>& calls);

    std::size_t calls() const { return kinds_.size(); }
    config::ReductionKind kind(std::size_t call) const { return kinds_[call]; }
    std::size_t offset(std::size_t call) const { return offsets_[call]; }  // from the row's start
    std::size_t row_bytes() const { return row_bytes_; }                   // a multiple of 8

 private:
    void place();

    std::vector<config::ReductionKind> kinds_;
    std::vector<std::uint32_t> offsets_;
    std::size_t row_bytes_ = 0;
};

}  // namespace sluice::state
