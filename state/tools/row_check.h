// Whether a row from elsewhere is one that we could have written ourselves.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "config/expression/program.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/row_key.h"

namespace sluice::state {

// Accumulators of a reduction, in the order of its rows.
using RowKinds = std::vector<config::ReductionKind>;

// Thread: one.
class RowCheck {
 public:
    // `meta` names the reductions that there may be.
    explicit RowCheck(const CheckpointMeta& meta);

    // What rows of a reduction hold, where it is known; otherwise the first row says.
    void expect(std::uint32_t reduction, RowKinds kinds);

    // Errors: corrupt: a reduction that nobody knows, a window that is dropped already (the row
    // would not count), a key or a row that is not canonical, other accumulators than the other
    // rows of its reduction have (they could not be merged).
    model::Status check(const RowKey& key, std::string_view row);

    // What rows of a reduction hold, as far as is known. Null: none that there may be.
    const RowKinds* kinds(std::uint32_t reduction) const;

 private:
    struct Known {
        RowKinds kinds;  // empty: no row seen yet
        std::optional<model::EventTime> dropped;
    };
    std::map<std::uint32_t, Known> known_;
    std::uint32_t last_ = 0;     // the reduction of the row before
    Known* expected_ = nullptr;  // of `last_`
};

// Spelled as append_key_part() does.
bool canonical_key(std::string_view encoded);

}  // namespace sluice::state
