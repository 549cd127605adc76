#include "state/tools/edit.h"

#include <algorithm>
#include <utility>

#include "state/model/key.h"
#include "state/reduce/row.h"

namespace sluice::state {

std::string disk_key(const RowKey& key) {
    auto bytes = slice_prefix(key.reduction, key.slice_end, key.accepted_from);
    append_row(bytes, key.hash, key.key);
    return bytes;
}

RowsInMemory::RowsInMemory(std::vector<LineRow> rows) : rows_(std::move(rows)) {
    std::stable_sort(rows_.begin(), rows_.end(),
                     [](const LineRow& a, const LineRow& b) { return a.key < b.key; });
}

model::Status RowsInMemory::next() {
    valid_ = next_ < rows_.size();
    if (!valid_) {
        return {};
    }
    const auto first = next_++;
    while (next_ < rows_.size() && rows_[next_].key == rows_[first].key) {
        ++next_;
    }
    key_ = *parse_row_key(rows_[first].key);
    row_ = rows_[first].row;
    if (next_ - first > 1) {
        std::vector<std::string_view> parts;
        for (auto i = first; i < next_; ++i) {
            parts.push_back(rows_[i].row);
        }
        TRY(merge_rows(parts, merged_));
        row_ = merged_;
    }
    return {};
}

// Both sides ascend, so one pass joins them.
class Edits::Over final : public RowSource {
 public:
    Over(Edits& edits, RowSource& base) : edits_(edits), base_(base), edit_(edits.rows_.begin()) {}

    model::Status next() override {
        valid_ = false;
        while (true) {
            if (!base_read_) {
                TRY(base_.next());
                base_read_ = true;
                if (base_.valid()) {
                    base_key_ = disk_key(base_.key());
                }
            }
            const bool edits_left = edit_ != edits_.rows_.end();
            if (!base_.valid() && !edits_left) {
                return {};
            }
            if (!edits_left || (base_.valid() && base_key_ < edit_->first)) {
                base_read_ = false;
                if (edits_.left_out(base_.key())) {
                    ++edits_.counts_.removed;
                    continue;
                }
                key_ = base_.key();
                row_ = base_.row();
            } else {
                const bool there = base_.valid() && base_key_ == edit_->first;
                base_read_ = base_read_ && !there;
                const auto& [key, row] = *edit_++;
                if (!row) {
                    edits_.counts_.removed += there ? 1 : 0;
                    continue;
                }
                ++(there ? edits_.counts_.changed : edits_.counts_.put);
                key_ = *parse_row_key(key);
                row_ = *row;
            }
            valid_ = true;
            return {};
        }
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    Edits& edits_;
    RowSource& base_;
    std::map<std::string, std::optional<std::string>>::const_iterator edit_;
    bool base_read_ = false;
    std::string base_key_;
    RowKey key_;
    std::string_view row_;
    bool valid_ = false;
};

model::Status Edits::take(std::size_t bytes) {
    bytes_ += bytes;
    return bytes_ <= kMostBytes
               ? model::Status{}
               : model::exhausted(
                     "more than " + std::to_string(kMostBytes >> 20) +
                     " MiB of changes: edit the lines of `state dump` and import them");
}

model::Status Edits::put(LineRow row) {
    TRY(take(row.key.size() + row.row.size()));
    rows_[std::move(row.key)] = std::move(row.row);
    return {};
}

model::Status Edits::remove(const LineReader::Place& place) {
    TRY(take(sizeof place + (place.key ? place.key->size() : 0)));
    if (place.slice_end && place.key) {
        auto key = slice_prefix(place.reduction, *place.slice_end, place.accepted_from);
        append_row(key, model::key_hash(*place.key), *place.key);
        rows_[std::move(key)] = std::nullopt;
    } else {
        places_.push_back(place);
    }
    return {};
}

bool Edits::left_out(const RowKey& key) const {
    return std::any_of(places_.begin(), places_.end(), [&](const LineReader::Place& place) {
        return place.reduction == key.reduction &&
               (!place.slice_end || *place.slice_end == key.slice_end) &&
               (!place.key || *place.key == key.key);
    });
}

std::unique_ptr<RowSource> Edits::over(RowSource& base) {
    return std::make_unique<Over>(*this, base);
}

}  // namespace sluice::state
