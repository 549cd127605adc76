// Where the rows of two snapshots differ.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "state/model/result.h"
#include "state/tools/snapshot.h"

namespace sluice::state {

struct Difference {
    std::string_view reduction;  // id
    const RowKey* key = nullptr;
    std::string_view a, b;  // encoded rows; empty: not there
};

// Calls `tell` for every row that is in one of them only or differs, reduction by reduction (by
// id), in the order of keys; a reduction that one of them does not know has no rows there. Numbers
// of reductions and bytes of files do not count. Errors: those of reading, or of `tell`.
model::Status compare_rows(Snapshot& a, Snapshot& b,
                           const std::function<model::Status(const Difference&)>& tell);

}  // namespace sluice::state
