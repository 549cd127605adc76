#include "state/tools/table_rows.h"

#include <algorithm>
#include <utility>

#include "state/reduce/row.h"

namespace sluice::state {

TableRows::TableRows(Disk& disk, std::vector<TableFile> tables, std::vector<KeyRange> ranges)
    : disk_(disk), tables_(std::move(tables)), ranges_(std::move(ranges)) {}

void TableRows::begin_range() {
    const KeyRange& range = ranges_[next_range_++];
    for (const auto& table : tables_) {
        if (table.last >= range.from && table.first < range.to) {
            waiting_.push_back({&table, std::max(table.first, range.from), nullptr});
        }
    }
    std::make_heap(waiting_.begin(), waiting_.end(), later);
}

model::Result<bool> TableRows::step(Source& source) {
    TRY(source.cursor->next());
    if (!source.cursor->valid() || source.cursor->key() >= ranges_[next_range_ - 1].to) {
        return false;
    }
    source.key = source.cursor->key();
    return true;
}

void TableRows::see_how_far() {
    bound_ = ranges_[next_range_ - 1].to;
    if (!waiting_.empty()) {
        bound_ = std::min(bound_, waiting_.front().key);
    }
    alone_to_its_end_ = taken_.front().table->last < bound_;
}

void TableRows::wait(Source source) {
    waiting_.push_back(std::move(source));
    std::push_heap(waiting_.begin(), waiting_.end(), later);
}

// Of all that wait those with the least key; none: there are no more rows.
model::Status TableRows::take_least() {
    while (true) {
        if (waiting_.empty()) {
            if (!taken_.empty() || next_range_ == ranges_.size()) {
                return {};
            }
            begin_range();
            continue;
        }
        if (!taken_.empty() && waiting_.front().key != taken_.front().key) {
            return {};
        }
        std::pop_heap(waiting_.begin(), waiting_.end(), later);
        Source source = std::move(waiting_.back());
        waiting_.pop_back();
        if (source.cursor != nullptr) {
            taken_.push_back(std::move(source));
            continue;
        }
        TRY(cursor, TableCursor::open(disk_, source.table->path, ranges_[next_range_ - 1].from));
        source.cursor = std::move(cursor);
        TRY(more, step(source));
        if (more) {
            wait(std::move(source));
        }
    }
}

model::Status TableRows::next() {
    valid_ = false;
    if (taken_.size() == 1) {
        // Mostly: a table goes on until another one's key comes in between.
        Source& source = taken_.front();
        TRY(source.cursor->next());
        if (!source.cursor->valid()) {
            taken_.clear();
        } else {
            source.key = source.cursor->key();
            if (!alone_to_its_end_ && source.key >= bound_) {
                if (source.key < ranges_[next_range_ - 1].to) {
                    wait(std::move(source));
                }
                taken_.clear();
            }
        }
    } else {
        for (auto& source : taken_) {
            TRY(more, step(source));
            if (more) {
                wait(std::move(source));
            }
        }
        taken_.clear();
    }
    if (taken_.empty()) {
        TRY(take_least());
        if (taken_.empty()) {
            return {};
        }
        see_how_far();
    }
    if (!parse_row_key(taken_.front().key, key_)) {
        return model::corrupt(taken_.front().table->path + ": a row's key is too short");
    }
    merged_here_ = taken_.size() > 1;
    if (merged_here_) {
        rows_.clear();
        for (const auto& source : taken_) {
            rows_.push_back(source.cursor->row());
        }
        merged_.clear();
        TRY(merge_rows(rows_, merged_));
    }
    valid_ = true;
    return {};
}

}  // namespace sluice::state
