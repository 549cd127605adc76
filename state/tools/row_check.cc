#include "state/tools/row_check.h"

#include <string>
#include <utility>

#include "state/reduce/encoding.h"

namespace sluice::state {
namespace {

using config::ReductionKind;

// A total without decimals has no digit after the point.
bool plausible(const SumState& sum) { return (sum.flags & kDecimals) != 0 || sum.total.is_whole(); }

bool read_accumulator(RowReader& reader, ReductionKind kind) {
    switch (kind) {
        case ReductionKind::count: {
            std::uint64_t count = 0;
            return reader.read_count(count);
        }
        case ReductionKind::sum:
        case ReductionKind::mean: {
            SumState sum;
            return reader.read_sum(kind, sum) && plausible(sum);
        }
        case ReductionKind::min:
        case ReductionKind::max: {
            ExtremeState extreme;
            return reader.read_extreme(extreme);
        }
        case ReductionKind::first:
        case ReductionKind::last: {
            OrderedState ordered;
            return reader.read_ordered(ordered);
        }
    }
    return false;
}

}  // namespace

bool canonical_key(std::string_view encoded) {
    while (!encoded.empty()) {
        std::uint64_t size = 0;
        std::size_t at = 0;
        for (unsigned shift = 0;; shift += 7) {
            if (at == encoded.size() || shift > 28) {
                return false;
            }
            const auto byte = static_cast<unsigned char>(encoded[at++]);
            size |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
            if ((byte & 0x80U) == 0) {
                if (byte == 0 && shift != 0) {
                    return false;
                }
                break;
            }
        }
        if (size > encoded.size() - at) {
            return false;
        }
        encoded.remove_prefix(at + size);
    }
    return true;
}

RowCheck::RowCheck(const CheckpointMeta& meta) {
    for (const auto& reduction : meta.reductions) {
        known_[reduction.number].dropped = reduction.dropped;
    }
}

void RowCheck::expect(std::uint32_t reduction, RowKinds kinds) {
    known_[reduction].kinds = std::move(kinds);
}

const RowKinds* RowCheck::kinds(std::uint32_t reduction) const {
    const auto known = known_.find(reduction);
    return known == known_.end() ? nullptr : &known->second.kinds;
}

model::Status RowCheck::check(const RowKey& key, std::string_view row) {
    if (expected_ == nullptr || key.reduction != last_) {
        const auto known = known_.find(key.reduction);
        if (known == known_.end()) {
            return model::corrupt("a row of reduction number " + std::to_string(key.reduction) +
                                  ", which the snapshot does not name");
        }
        last_ = key.reduction;
        expected_ = &known->second;
    }
    if (expected_->dropped && key.slice_end <= *expected_->dropped) {
        return model::corrupt("a row of a window that ended at " + std::to_string(key.slice_end) +
                              " and is dropped");
    }
    if (!canonical_key(key.key)) {
        return model::corrupt("a key that is not canonical");
    }
    RowReader reader(row);
    std::uint64_t rev = 0;
    if (!reader.read_header(rev)) {
        return model::corrupt("a row of an unknown kind");
    }
    RowKinds& kinds = expected_->kinds;
    const bool learn = kinds.empty();
    std::size_t count = 0;
    for (; !reader.at_end(); ++count) {
        ReductionKind kind{};
        if (!reader.read_kind(kind) || !read_accumulator(reader, kind)) {
            return model::corrupt("a row that is not canonical");
        }
        if (learn) {
            kinds.push_back(kind);
        } else if (count == kinds.size() || kinds[count] != kind) {
            return model::corrupt("a row with other accumulators than its reduction has");
        }
    }
    return count == kinds.size()
               ? model::Status{}
               : model::corrupt("a row with fewer accumulators than its reduction has");
}

}  // namespace sluice::state
