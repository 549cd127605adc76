#include "state/tools/compare.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace sluice::state {
namespace {

using Numbers = std::pair<std::optional<std::uint32_t>, std::optional<std::uint32_t>>;

auto rank(const RowKey& key) {
    return std::tuple(key.slice_end, key.accepted_from, key.hash, key.key);
}

model::Status step(RowSource* rows) { return rows != nullptr ? rows->next() : model::Status{}; }

model::Result<std::unique_ptr<RowSource>> rows_of(Snapshot& snapshot,
                                                  const std::optional<std::uint32_t>& number) {
    return number ? snapshot.rows(*number) : std::unique_ptr<RowSource>();
}

}  // namespace

model::Status compare_rows(Snapshot& a, Snapshot& b,
                           const std::function<model::Status(const Difference&)>& tell) {
    std::map<std::string, Numbers> reductions;
    for (const auto& reduction : a.meta().reductions) {
        reductions[reduction.id].first = reduction.number;
    }
    for (const auto& reduction : b.meta().reductions) {
        reductions[reduction.id].second = reduction.number;
    }
    for (const auto& [id, numbers] : reductions) {
        TRY(left, rows_of(a, numbers.first));
        TRY(right, rows_of(b, numbers.second));
        TRY(step(left.get()));
        TRY(step(right.get()));
        while (true) {
            const bool in_a = left != nullptr && left->valid();
            const bool in_b = right != nullptr && right->valid();
            if (!in_a && !in_b) {
                break;
            }
            const bool from_a = in_a && (!in_b || rank(left->key()) <= rank(right->key()));
            const bool from_b = in_b && (!in_a || rank(right->key()) <= rank(left->key()));
            Difference difference;
            difference.reduction = id;
            difference.key = from_a ? &left->key() : &right->key();
            difference.a = from_a ? left->row() : std::string_view();
            difference.b = from_b ? right->row() : std::string_view();
            if (difference.a != difference.b) {
                TRY(tell(difference));
            }
            if (from_a) {
                TRY(left->next());
            }
            if (from_b) {
                TRY(right->next());
            }
        }
    }
    return {};
}

}  // namespace sluice::state
