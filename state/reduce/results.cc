#include "state/reduce/results.h"

#include <numeric>
#include <optional>
#include <utility>

namespace sluice::state {

ResultColumns::ResultColumns(const config::Reduction& reduction)
    : reduction_(reduction), columns_(reduction.calls.size()) {}

model::Status ResultColumns::add(std::uint64_t hash, std::string_view key, std::string_view row) {
    TRY(row_results(row, arena_, row_, errors_));
    if (row_.calls.size() != columns_.size()) {
        return model::corrupt("a row of another reduction than " + reduction_.id);
    }
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (row_.calls[i].kind != reduction_.calls[i].kind) {
            return model::corrupt("a row of another reduction than " + reduction_.id);
        }
    }
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        model::Scalar value = row_.calls[i].value;
        if (value.type == model::Type::text) {
            value = model::Scalar::of(arena_.copy(value.value.text.view()));
        }
        columns_[i].type.push_back(value.type);
        columns_[i].value.push_back(value.value);
        if (!row_.calls[i].wide.empty()) {
            wide_.push_back({static_cast<std::uint32_t>(i),
                             static_cast<std::uint32_t>(hash_.size()), row_.calls[i].wide});
        }
    }
    hash_.push_back(hash);
    key_.push_back(arena_.copy(key));
    rev_.push_back(row_.rev);
    return {};
}

void ResultColumns::finish(model::ResultBatch& batch, model::ValueErrors& errors) {
    const std::size_t rows = hash_.size();
    model::Selection all(rows);
    std::iota(all.begin(), all.end(), 0U);
    batch.values.resize(reduction_.values.size());
    for (std::size_t i = 0; i < reduction_.values.size(); ++i) {
        const config::Program& program = reduction_.values[i].program.result;
        model::Column& out = batch.values[i];
        if (const auto call = program.plain_column()) {
            out = columns_[*call];
            for (const auto& wide : wide_) {
                if (wide.call == *call) {
                    out.set(wide.row, model::Scalar::of(wide.digits));
                }
            }
            continue;
        }
        out.resize(rows);
        program.evaluate(columns_, rows, all, out, arena_, scratch_);
        for (std::size_t row = 0; row < rows; ++row) {
            if (out.type[row] == model::Type::text) {
                // It may be a literal, which lives only as long as the program.
                out.set(row, model::Scalar::of(arena_.copy(out.value[row].text.view())));
            }
        }
    }
    errors += errors_;
    errors += scratch_.errors;
    errors_ = {};
    scratch_.errors = {};

    batch.rows = rows;
    std::swap(batch.hash, hash_);
    std::swap(batch.key, key_);
    std::swap(batch.rev, rev_);
    std::swap(batch.arena, arena_);
    hash_.clear();
    key_.clear();
    rev_.clear();
    arena_.clear();
    wide_.clear();
    for (auto& column : columns_) {
        column.type.clear();
        column.value.clear();
    }
}

}  // namespace sluice::state
