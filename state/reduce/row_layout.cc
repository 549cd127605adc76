#include "state/reduce/row_layout.h"

#include "state/reduce/row_cells.h"

namespace sluice::state {

namespace {

using config::ReductionKind;

std::size_t cell_bytes(ReductionKind kind) {
    switch (kind) {
        case ReductionKind::count:
            return sizeof(CountCell);
        case ReductionKind::sum:
            return sizeof(SumCell);
        case ReductionKind::mean:
            return sizeof(MeanCell);
        case ReductionKind::min:
        case ReductionKind::max:
            return sizeof(ExtremeCell);
        case ReductionKind::first:
        case ReductionKind::last:
            return sizeof(OrderedCell);
    }
    return 0;
}

}  // namespace

RowLayout::RowLayout(std::span<const ReductionKind> kinds) : kinds_(kinds.begin(), kinds.end()) {
    place();
}

RowLayout::RowLayout(const std::vector<config::ReductionCall>& calls) {
    kinds_.reserve(calls.size());
    for (const auto& call : calls) {
        kinds_.push_back(call.kind);
    }
    place();
}

void RowLayout::place() {
    row_bytes_ = sizeof(RowHeader);
    for (const auto kind : kinds_) {
        offsets_.push_back(static_cast<std::uint32_t>(row_bytes_));
        row_bytes_ += cell_bytes(kind);
    }
}

}  // namespace sluice::state
