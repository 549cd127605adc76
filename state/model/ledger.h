// Accounts for every record; stored with each checkpoint, balanced or the daemon stops.
#pragma once

#include <cstdint>

namespace sluice::model {

// One per partition. consumed + exploded = reached + filtered + null + undecodable + duplicate +
// skipped.
struct Ledger {
    std::uint64_t consumed = 0;
    std::uint64_t exploded = 0;
    std::uint64_t reached = 0;
    std::uint64_t filtered = 0;
    std::uint64_t null = 0;
    std::uint64_t undecodable = 0;
    std::uint64_t duplicate = 0;
    std::uint64_t skipped = 0;

    bool balanced() const {
        return consumed + exploded == reached + filtered + null + undecodable + duplicate + skipped;
    }
    Ledger& operator+=(const Ledger& o) {
        consumed += o.consumed;
        exploded += o.exploded;
        reached += o.reached;
        filtered += o.filtered;
        null += o.null;
        undecodable += o.undecodable;
        duplicate += o.duplicate;
        skipped += o.skipped;
        return *this;
    }
    bool operator==(const Ledger&) const = default;
};

// One per partition and reduction. reached = folded + filtered + late + refused.
struct ReductionLedger {
    std::uint64_t reached = 0;
    std::uint64_t folded = 0;
    std::uint64_t filtered = 0;
    std::uint64_t late = 0;
    std::uint64_t refused = 0;

    bool balanced() const { return reached == folded + filtered + late + refused; }
    ReductionLedger& operator+=(const ReductionLedger& o) {
        reached += o.reached;
        folded += o.folded;
        filtered += o.filtered;
        late += o.late;
        refused += o.refused;
        return *this;
    }
    bool operator==(const ReductionLedger&) const = default;
};

}  // namespace sluice::model
