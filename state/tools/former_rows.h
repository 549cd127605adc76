// The rows of a reduction whose definition was edited: those of each definition stand under a
// number of their own, and who reads them wants one sequence, as the present definition has it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "state/reduce/row.h"
#include "state/store/row_source.h"

namespace sluice::state {

struct Definition {
    std::unique_ptr<RowSource> rows;  // all of one reduction number
    std::vector<FormerCall> calls;    // where the present ones are found; present: empty
};

// Rows with the number `reduction`; where several definitions have one, it is merged. Errors: those
// of the sources, corrupt.
std::unique_ptr<RowSource> merge_definitions(std::uint32_t reduction,
                                             std::vector<Definition> definitions);

// One source after the other.
std::unique_ptr<RowSource> concatenate(std::vector<std::unique_ptr<RowSource>> sources);

}  // namespace sluice::state
