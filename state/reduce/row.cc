#include "state/reduce/row.h"

#include <array>
#include <cstddef>
#include <utility>

#include "state/reduce/encoding.h"
#include "state/reduce/exact.h"

namespace sluice::state {

namespace {

using config::ReductionKind;
using model::corrupt;
using model::Scalar;
using model::Status;

std::unexpected<model::Error> not_a_row() { return corrupt("not an encoded row"); }

bool merge_count(std::span<RowReader> readers, std::string& out) {
    std::uint64_t sum = 0;
    for (auto& reader : readers) {
        std::uint64_t count = 0;
        if (!reader.read_count(count) || __builtin_add_overflow(sum, count, &sum)) {
            return false;
        }
    }
    append_count(out, sum);
    return true;
}

bool merge_sum(ReductionKind kind, std::span<RowReader> readers, std::string& out) {
    SumState sum;
    SumState next;
    for (auto& reader : readers) {
        if (!reader.read_sum(kind, next) || !sum.total.add(next.total) ||
            !sum.floats.add(next.floats) ||
            __builtin_add_overflow(sum.count, next.count, &sum.count)) {
            return false;
        }
        sum.flags |= next.flags;
    }
    append_sum(out, kind, sum.flags, sum.total, &sum.floats, sum.count);
    return true;
}

bool merge_extreme(ReductionKind kind, std::span<RowReader> readers, std::string& out) {
    ExtremeState best;
    ExtremeState next;
    for (auto& reader : readers) {
        if (!reader.read_extreme(next)) {
            return false;
        }
        if (next.state == ScalarState::none || best.state == ScalarState::mixed) {
            continue;
        }
        if (best.state == ScalarState::none || next.state == ScalarState::mixed) {
            best = next;
        } else if (!comparable(best.value.type, next.value.type)) {
            best = {ScalarState::mixed, Scalar::null()};
        } else if (kind == ReductionKind::min ? replaces_minimum(next.value, best.value)
                                              : replaces_maximum(next.value, best.value)) {
            best = next;
        }
    }
    append_extreme(out, kind, best);
    return true;
}

bool merge_ordered(ReductionKind kind, std::span<RowReader> readers, std::string& out) {
    OrderedState best;
    OrderedState next;
    for (auto& reader : readers) {
        if (!reader.read_ordered(next)) {
            return false;
        }
        if (!next.present) {
            continue;
        }
        bool better = !best.present;
        if (best.present) {
            const auto order = next.order <=> best.order;
            // One position has one record; should bytes from elsewhere disagree, the outcome must
            // still not depend on the order of merging.
            better = order == 0                     ? next.value_bytes < best.value_bytes
                     : kind == ReductionKind::first ? order < 0
                                                    : order > 0;
        }
        if (better) {
            best = next;
        }
    }
    append_ordered(out, kind, best);
    return true;
}

// Appends the merge of the accumulators at which the readers stand; with no reader, the identity.
bool merge_accumulators(ReductionKind kind, std::span<RowReader> readers, std::string& out) {
    switch (kind) {
        case ReductionKind::count:
            return merge_count(readers, out);
        case ReductionKind::sum:
        case ReductionKind::mean:
            return merge_sum(kind, readers, out);
        case ReductionKind::min:
        case ReductionKind::max:
            return merge_extreme(kind, readers, out);
        case ReductionKind::first:
        case ReductionKind::last:
            return merge_ordered(kind, readers, out);
    }
    return false;
}

bool merge_all(std::span<RowReader> readers, std::string& out) {
    std::uint64_t rev = 0;
    for (auto& reader : readers) {
        std::uint64_t one = 0;
        if (!reader.read_header(one) || __builtin_add_overflow(rev, one, &rev)) {
            return false;
        }
    }
    out.clear();
    append_row_header(out, rev);
    while (!readers.front().at_end()) {
        ReductionKind kind{};
        for (auto& reader : readers) {
            ReductionKind other{};
            if (!reader.read_kind(other)) {
                return false;
            }
            if (&reader == &readers.front()) {
                kind = other;
            } else if (other != kind) {
                return false;
            }
        }
        if (!merge_accumulators(kind, readers, out)) {
            return false;
        }
    }
    for (const auto& reader : readers) {
        if (!reader.at_end()) {
            return false;
        }
    }
    return true;
}

// Calls visit(kind, reader) for each accumulator; false as soon as something is not canonical.
template <class Visit>
bool walk(std::string_view row, std::uint64_t& rev, Visit visit) {
    RowReader reader(row);
    if (!reader.read_header(rev)) {
        return false;
    }
    while (!reader.at_end()) {
        ReductionKind kind{};
        if (!reader.read_kind(kind) || !visit(kind, reader)) {
            return false;
        }
    }
    return true;
}

// A total without decimals has no digit after the point.
bool plausible(const SumState& sum) { return (sum.flags & kDecimals) != 0 || sum.total.is_whole(); }

void sum_result(const SumState& sum, model::Arena& arena, CallResult& result,
                model::ValueErrors& errors) {
    if (sum.flags == 0) {
        return;
    }
    if ((sum.flags & kFloats) != 0) {
        if (const auto real = rounded(sum.total, &sum.floats, 1)) {
            result.value = Scalar::of(*real);
        } else {
            ++errors.overflow;
        }
        return;
    }
    if ((sum.flags & kDecimals) == 0) {
        if (const auto integer = sum.total.integer()) {
            result.value = Scalar::of(*integer);
            return;
        }
    }
    if (const auto decimal = sum.total.decimal()) {
        result.value = Scalar::of_decimal(*decimal);
        return;
    }
    const std::string digits = sum.total.digits();
    if (digits.empty()) {
        ++errors.overflow;
        return;
    }
    if (const auto real = rounded(sum.total, nullptr, 1)) {  // far below the end of double
        result.value = Scalar::of(*real);
    }
    result.wide = arena.copy(digits);
}

void mean_result(const SumState& sum, CallResult& result, model::ValueErrors& errors) {
    if (sum.count == 0) {
        return;
    }
    const FloatTotal* floats = (sum.flags & kFloats) != 0 ? &sum.floats : nullptr;
    if (const auto real = rounded(sum.total, floats, sum.count)) {
        result.value = Scalar::of(*real);
    } else {
        ++errors.overflow;
    }
}

}  // namespace

Status merge_rows(std::span<const std::string_view> rows, std::string& out) {
    if (rows.empty()) {
        return corrupt("no rows to merge");
    }
    // Nearly always two: the one on disk and the new one.
    constexpr std::size_t kFew = 8;
    std::array<RowReader, kFew> few;
    std::vector<RowReader> many;
    std::span<RowReader> readers;
    if (rows.size() <= kFew) {
        readers = std::span(few).first(rows.size());
    } else {
        many.resize(rows.size());
        readers = many;
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        readers[i] = RowReader(rows[i]);
    }
    if (!merge_all(readers, out)) {
        return corrupt("rows that cannot be merged");
    }
    return {};
}

Status rearrange_row(std::string_view row, std::span<const FormerCall> calls, std::string& out) {
    std::uint64_t rev = 0;
    std::vector<std::pair<ReductionKind, std::string>> found;
    const bool valid = walk(row, rev, [&](ReductionKind kind, RowReader& reader) {
        found.emplace_back(kind, std::string());
        return merge_accumulators(kind, std::span(&reader, 1), found.back().second);
    });
    if (!valid) {
        return not_a_row();
    }
    out.clear();
    append_row_header(out, rev);
    for (const FormerCall& call : calls) {
        if (call.from < 0) {
            merge_accumulators(call.kind, {}, out);
            continue;
        }
        const auto at = static_cast<std::size_t>(call.from);
        if (at >= found.size() || found[at].first != call.kind) {
            return corrupt("a row of another definition than was recorded");
        }
        out += found[at].second;
    }
    return {};
}

Status validate_row(std::string_view row) {
    std::uint64_t rev = 0;
    SumState sum;
    const bool valid = walk(row, rev, [&](ReductionKind kind, RowReader& reader) {
        switch (kind) {
            case ReductionKind::count: {
                std::uint64_t count = 0;
                return reader.read_count(count);
            }
            case ReductionKind::sum:
            case ReductionKind::mean:
                return reader.read_sum(kind, sum) && plausible(sum);
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
    });
    if (!valid) {
        return not_a_row();
    }
    return {};
}

Status row_results(std::string_view row, model::Arena& arena, RowResults& results,
                   model::ValueErrors& errors) {
    results.calls.clear();
    SumState sum;
    const bool valid = walk(row, results.rev, [&](ReductionKind kind, RowReader& reader) {
        CallResult result;
        result.kind = kind;
        switch (kind) {
            case ReductionKind::count: {
                std::uint64_t count = 0;
                if (!reader.read_count(count)) {
                    return false;
                }
                result.value =
                    count <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
                        ? Scalar::of(static_cast<std::int64_t>(count))
                        : Scalar::of_decimal(static_cast<model::int128>(count) *
                                             model::kDecimalOne);
                break;
            }
            case ReductionKind::sum:
            case ReductionKind::mean:
                if (!reader.read_sum(kind, sum) || !plausible(sum)) {
                    return false;
                }
                if (kind == ReductionKind::sum) {
                    sum_result(sum, arena, result, errors);
                } else {
                    mean_result(sum, result, errors);
                }
                break;
            case ReductionKind::min:
            case ReductionKind::max: {
                ExtremeState extreme;
                if (!reader.read_extreme(extreme)) {
                    return false;
                }
                result.value = extreme.value;
                errors.wrong_type += extreme.state == ScalarState::mixed ? 1 : 0;
                break;
            }
            case ReductionKind::first:
            case ReductionKind::last: {
                OrderedState ordered;
                if (!reader.read_ordered(ordered)) {
                    return false;
                }
                result.value = ordered.value;
                break;
            }
        }
        results.calls.push_back(result);
        return true;
    });
    if (!valid) {
        return not_a_row();
    }
    return {};
}

}  // namespace sluice::state
