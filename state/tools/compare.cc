#include "state/tools/compare.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "state/reduce/results.h"
#include "state/tools/edit.h"
#include "state/tools/lines.h"

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

constexpr std::size_t kKeysAtOnce = 1024;

// The results of one reduction in a range of windows, in the order of rows.
class Results {
 public:
    // `columns`: which of the reduction's values are wanted, in their order. `shape` and `rows`
    // must outlive it.
    Results(const Shape& shape, std::vector<std::size_t> columns, RowSource& rows,
            model::EventTime after, model::EventTime until)
        : columns_(std::move(columns)),
          rows_(rows),
          after_(after),
          until_(until),
          computed_(*shape.reduction) {}

    model::Status next() {
        if (++at_ >= keys_.size()) {
            TRY(read());
        }
        if (!valid()) {
            return {};
        }
        key_ = *parse_row_key(keys_[at_]);
        values_.clear();
        for (const std::size_t column : columns_) {
            values_.emplace_back();
            append_value(values_.back(), batch_.values[column].at(at_));
        }
        return {};
    }
    bool valid() const { return at_ < keys_.size(); }
    const RowKey& key() const { return key_; }
    const std::vector<std::string>& values() const { return values_; }

 private:
    model::Status read() {
        keys_.clear();
        at_ = 0;
        while (!ended_ && keys_.size() < kKeysAtOnce) {
            TRY(rows_.next());
            ended_ = !rows_.valid() || rows_.key().slice_end > until_;
            if (ended_ || rows_.key().slice_end <= after_) {
                continue;
            }
            keys_.push_back(disk_key(rows_.key()));
            TRY(computed_.add(rows_.key().hash, rows_.key().key, rows_.row()));
        }
        model::ValueErrors errors;
        computed_.finish(batch_, errors);
        return {};
    }

    const std::vector<std::size_t> columns_;
    RowSource& rows_;
    const model::EventTime after_, until_;
    ResultColumns computed_;
    model::ResultBatch batch_;
    std::vector<std::string> keys_;  // on disk, of the rows in batch_
    std::size_t at_ = 0;
    bool ended_ = false;
    RowKey key_;
    std::vector<std::string> values_;
};

const ReductionMeta& meta_of(const Snapshot& snapshot, std::string_view id) {
    return *std::ranges::find(snapshot.meta().reductions, id, &ReductionMeta::id);
}

std::vector<std::size_t> places(const Shape& shape, const std::vector<std::string>& names) {
    std::vector<std::size_t> places;
    for (const auto& name : names) {
        const auto& values = shape.reduction->values;
        const auto found = std::ranges::find(values, name, &config::ResultValue::name);
        places.push_back(static_cast<std::size_t>(found - values.begin()));
    }
    return places;
}

// Which windows and which values: fills `compared`, gives the names that both define.
std::vector<std::string> common_ground(const Snapshot& a, const Snapshot& b, const Shape& left,
                                       const Shape& right, ComparedReduction& compared) {
    std::vector<std::string> names;
    if (!left.reduction || !right.reduction) {
        compared.problem = "its recorded definition cannot be read";
        return names;
    }
    const auto defines = [](const Shape& shape, const std::string& name) {
        return std::ranges::any_of(shape.reduction->values,
                                   [&](const auto& value) { return value.name == name; });
    };
    for (const auto& value : left.reduction->values) {
        (defines(right, value.name) ? names : compared.only_a).push_back(value.name);
    }
    for (const auto& value : right.reduction->values) {
        if (!defines(left, value.name)) {
            compared.only_b.push_back(value.name);
        }
    }
    if (left.window_ms != right.window_ms || left.key_parts != right.key_parts) {
        compared.problem = "its windows or keys are others";
        return names;
    }
    const auto& of_a = meta_of(a, left.id);
    const auto& of_b = meta_of(b, right.id);
    if (of_a.fired && of_b.fired) {
        compared.after = std::max(of_a.dropped.value_or(model::kBeforeAll),
                                  of_b.dropped.value_or(model::kBeforeAll));
        compared.until = std::min(*of_a.fired, *of_b.fired);
    }
    return names;
}

}  // namespace

model::Result<std::vector<ComparedReduction>> compare_results(
    Snapshot& a, Snapshot& b, const std::function<model::Status(const ResultDifference&)>& tell) {
    const Shapes of_a(a.meta(), a.inputs_text());
    const Shapes of_b(b.meta(), b.inputs_text());
    std::map<std::string, ComparedReduction> all;
    for (const Shape& shape : of_a.all()) {
        all[shape.id].in_a = true;
    }
    for (const Shape& shape : of_b.all()) {
        all[shape.id].in_b = true;
    }
    std::vector<ComparedReduction> compared;
    for (auto& [id, one] : all) {
        one.id = id;
        if (!one.in_a || !one.in_b) {
            compared.push_back(std::move(one));
            continue;
        }
        const Shape& left = *of_a.by_id(id);
        const Shape& right = *of_b.by_id(id);
        const auto names = common_ground(a, b, left, right, one);
        if (one.until) {
            TRY(rows_a, a.rows(left.number));
            TRY(rows_b, b.rows(right.number));
            Results results_a(left, places(left, names), *rows_a, *one.after, *one.until);
            Results results_b(right, places(right, names), *rows_b, *one.after, *one.until);
            TRY(results_a.next());
            TRY(results_b.next());
            while (results_a.valid() || results_b.valid()) {
                const bool from_a =
                    results_a.valid() &&
                    (!results_b.valid() || rank(results_a.key()) <= rank(results_b.key()));
                const bool from_b =
                    results_b.valid() &&
                    (!results_a.valid() || rank(results_b.key()) <= rank(results_a.key()));
                ++one.results;
                if (!from_a || !from_b || results_a.values() != results_b.values()) {
                    ++one.different;
                    TRY(tell({id, &left, from_a ? &results_a.key() : &results_b.key(), &names,
                              from_a ? &results_a.values() : nullptr,
                              from_b ? &results_b.values() : nullptr}));
                }
                if (from_a) {
                    TRY(results_a.next());
                }
                if (from_b) {
                    TRY(results_b.next());
                }
            }
        }
        compared.push_back(std::move(one));
    }
    return compared;
}

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
