#include "state/reduce/cursor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "state/reduce/row.h"

namespace sluice::state {

namespace {

class TableCursor final : public RowCursor {
 public:
    explicit TableCursor(std::shared_ptr<const SliceTable> table)
        : table_(std::move(table)), parts_(table_->parts_in_order()) {}

    model::Status next() override {
        if (next_row_ == rows_.size()) {
            if (!next_part()) {
                valid_ = false;
                return {};
            }
        }
        valid_ = true;
        constexpr std::size_t kAhead = 8;
        if (next_row_ + kAhead < rows_.size()) {
            table_->prefetch(rows_[next_row_ + kAhead].row);
        }
        current_ = rows_[next_row_++];
        table_->encode(current_.row, encoded_);
        return {};
    }
    bool valid() const override { return valid_; }
    std::uint64_t hash() const override { return current_.hash; }
    std::string_view key() const override { return table_->key(current_.row); }
    std::string_view row() const override { return encoded_; }

 private:
    // Sorts the rows of the next part that has any; false behind the last.
    bool next_part() {
        next_row_ = 0;
        rows_.clear();
        while (rows_.empty()) {
            if (part_ == parts_.size()) {
                return false;
            }
            table_->rows_of_part(parts_[part_++], rows_);
        }
        std::sort(rows_.begin(), rows_.end(), [&](const auto& a, const auto& b) {
            return a.hash != b.hash ? a.hash < b.hash : table_->key(a.row) < table_->key(b.row);
        });
        return true;
    }

    const std::shared_ptr<const SliceTable> table_;  // shared as cursor_over() says
    const std::vector<std::uint32_t> parts_;
    std::size_t part_ = 0;
    std::vector<SliceTable::RowRef> rows_;  // of the current part, sorted
    std::size_t next_row_ = 0;
    SliceTable::RowRef current_{};
    std::string encoded_;
    bool valid_ = false;
};

class RearrangeCursor final : public RowCursor {
 public:
    RearrangeCursor(std::unique_ptr<RowCursor> source, std::vector<FormerCall> calls)
        : source_(std::move(source)), calls_(std::move(calls)) {}

    model::Status next() override {
        TRY(source_->next());
        return source_->valid() ? rearrange_row(source_->row(), calls_, row_) : model::Status{};
    }
    bool valid() const override { return source_->valid(); }
    std::uint64_t hash() const override { return source_->hash(); }
    std::string_view key() const override { return source_->key(); }
    std::string_view row() const override { return row_; }

 private:
    const std::unique_ptr<RowCursor> source_;
    const std::vector<FormerCall> calls_;
    std::string row_;
};

class MergeCursor final : public RowCursor {
 public:
    explicit MergeCursor(std::vector<std::unique_ptr<RowCursor>> sources)
        : sources_(std::move(sources)) {
        for (const auto& source : sources_) {
            current_.push_back({0, source.get()});
        }
    }

    model::Status next() override {
        for (const At& at : current_) {
            TRY(at.source->next());
            if (at.source->valid()) {
                wait({at.source->hash(), at.source});
            }
        }
        current_.clear();
        valid_ = !waiting_.empty();
        if (!valid_) {
            return {};
        }
        do {
            take();
        } while (!waiting_.empty() && waiting_.front().hash == current_.front().hash);
        if (current_.size() > 1) {
            keep_least_key();
        }
        row_ = current_.front().source->row();
        if (current_.size() > 1) {
            rows_.clear();
            for (const At& at : current_) {
                rows_.push_back(at.source->row());
            }
            TRY(merge_rows(rows_, merged_));
            row_ = merged_;
        }
        return {};
    }
    bool valid() const override { return valid_; }
    std::uint64_t hash() const override { return current_.front().hash; }
    std::string_view key() const override { return current_.front().source->key(); }
    std::string_view row() const override { return row_; }

 private:
    struct At {  // where a source stands; the hash at hand, because nearly all is decided by it
        std::uint64_t hash;
        RowCursor* source;
    };
    static bool comes_later(const At& a, const At& b) { return a.hash > b.hash; }
    void wait(const At& at) {
        waiting_.push_back(at);
        std::push_heap(waiting_.begin(), waiting_.end(), comes_later);
    }
    // One of the least hash becomes current.
    void take() {
        std::pop_heap(waiting_.begin(), waiting_.end(), comes_later);
        current_.push_back(waiting_.back());
        waiting_.pop_back();
    }
    // Equal hashes are nearly always equal keys: each is compared once. Others wait again.
    void keep_least_key() {
        std::string_view least = current_.front().source->key();
        std::size_t kept = 1;
        for (std::size_t i = 1; i < current_.size(); ++i) {
            const At at = current_[i];
            const auto order = at.source->key() <=> least;
            if (order > 0) {
                wait(at);
                continue;
            }
            if (order < 0) {
                for (std::size_t k = 0; k < kept; ++k) {
                    wait(current_[k]);
                }
                least = at.source->key();
                kept = 0;
            }
            current_[kept++] = at;
        }
        current_.resize(kept);
    }

    const std::vector<std::unique_ptr<RowCursor>> sources_;
    std::vector<At> current_;  // stand at the current key; at first: before their first row
    std::vector<At> waiting_;  // heap of those at later keys, least hash on top
    std::vector<std::string_view> rows_;
    std::string merged_;
    std::string_view row_;
    bool valid_ = false;
};

}  // namespace

std::unique_ptr<RowCursor> cursor_over(std::shared_ptr<const SliceTable> table) {
    return std::make_unique<TableCursor>(std::move(table));
}

std::unique_ptr<RowCursor> rearrange_cursor(std::unique_ptr<RowCursor> source,
                                            std::vector<FormerCall> calls) {
    return std::make_unique<RearrangeCursor>(std::move(source), std::move(calls));
}

std::unique_ptr<RowCursor> merge_cursors(std::vector<std::unique_ptr<RowCursor>> sources) {
    if (sources.size() == 1) {
        return std::move(sources.front());
    }
    return std::make_unique<MergeCursor>(std::move(sources));
}

}  // namespace sluice::state
