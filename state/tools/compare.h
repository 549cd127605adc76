// Where two snapshots differ: row by row, or result by result.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result.h"
#include "state/tools/shapes.h"
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

// Results of the windows that both have written and both still hold: everything between the later
// of the two dropped frontiers and the earlier of the two fired ones. What was open or is gone in
// one of them says nothing about the other.
struct ResultDifference {
    std::string_view reduction;  // id
    const Shape* shape = nullptr;
    const RowKey* key = nullptr;
    const std::vector<std::string>* names = nullptr;  // of values that both define
    // By name, as state/tools/lines.h writes them; null: the key is not there in this window.
    const std::vector<std::string>* a = nullptr;
    const std::vector<std::string>* b = nullptr;
};

// What was compared of one reduction.
struct ComparedReduction {
    std::string id;
    bool in_a = false, in_b = false;          // else the other one does not define it
    std::vector<std::string> only_a, only_b;  // values that one of them defines
    // Window ends that were compared: above `after`, up to `until`. Not set: no window was written
    // by both, or it cannot be said what the results are (`problem`).
    std::optional<model::EventTime> after, until;
    std::string problem;
    std::uint64_t results = 0;    // (key, window) looked at
    std::uint64_t different = 0;  // told
};

// Two instances that count the same input may be configured differently: reductions are matched by
// id, values by name. Whether a result is complete, and how often late records changed it, is not
// compared. Errors: those of reading, or of `tell`.
model::Result<std::vector<ComparedReduction>> compare_results(
    Snapshot& a, Snapshot& b, const std::function<model::Status(const ResultDifference&)>& tell);

}  // namespace sluice::state
