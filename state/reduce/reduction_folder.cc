#include "state/reduce/reduction_folder.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <utility>

#include "state/model/invariant.h"

namespace sluice::state {

namespace {

constexpr std::uint32_t kLate = std::numeric_limits<std::uint32_t>::max();

}  // namespace

// Cleared tables of about the size that they had, so that the slices after a seal grow into memory
// that is there. The lock is held for a pointer's move only; clearing is done outside of it, by the
// thread that lets a table go.
class ReductionFolder::Pool {
 public:
    explicit Pool(RowLayout layout) : layout_(std::move(layout)) {}

    std::unique_ptr<SliceTable> take() {
        {
            const std::lock_guard lock(mutex_);
            if (!tables_.empty()) {
                auto table = std::move(tables_.back());
                tables_.pop_back();
                return table;
            }
        }
        return std::make_unique<SliceTable>(layout_);
    }

    void give(std::unique_ptr<SliceTable> table) {
        // A table much too large for what it held last, or one that nobody will ask for soon, is
        // memory for nothing.
        constexpr std::size_t kSlack = 4;
        constexpr std::size_t kFewRows = 1024;
        if (table->reserved_rows() > kSlack * std::max(table->rows(), kFewRows)) {
            return;
        }
        table->clear();
        std::unique_ptr<SliceTable> surplus;  // freed by this thread, one for each that comes back
        const std::lock_guard lock(mutex_);
        if (tables_.size() < wanted_) {
            tables_.push_back(std::move(table));
        } else if (tables_.size() > wanted_) {
            surplus = std::move(tables_.back());
            tables_.pop_back();
        }
    }

    // `tables` go at once and are wanted again. A seal takes all there are, so it may lower what
    // is kept; a close takes a few of them.
    void expect(std::size_t tables, bool all) {
        const std::lock_guard lock(mutex_);
        wanted_ = std::max(tables, all ? 1 : wanted_);
    }

 private:
    const RowLayout layout_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<SliceTable>> tables_;  // guarded by mutex_
    std::size_t wanted_ = 1;                           // guarded by mutex_
};

ReductionFolder::ReductionFolder(FoldSettings settings)
    : settings_(std::move(settings)), pool_(std::make_shared<Pool>(settings_.layout)) {
    INVARIANT(settings_.window_ms > 0, "windows have a size");
}

ReductionFolder::~ReductionFolder() = default;

void ReductionFolder::fold_into(Slice& slice, const FoldInput& input,
                                std::span<const std::uint8_t> rev, model::ValueErrors& errors) {
    if (!slice.table) {
        slice.table = pool_->take();
    }
    SliceTable& table = *slice.table;
    const std::size_t rows = table.rows();
    const std::size_t bytes = table.bytes();
    table.fold(input, rev, errors);
    rows_ += table.rows() - rows;
    bytes_ += table.bytes() - bytes;
}

FoldCounts ReductionFolder::fold(const FoldInput& input,
                                 std::optional<model::Window> processing_window,
                                 model::ValueErrors& errors) {
    INVARIANT(processing_window.has_value() == (settings_.time == config::TimeKind::processing),
              "processing time, and only it, names the window");
    FoldCounts counts;
    if (input.rows.empty()) {
        return counts;
    }
    if (processing_window) {
        const model::EventTime end = processing_window->end;
        fold_into(slices_[{end, end}], input, {}, errors);
        counts.folded = input.rows.size();
        greatest_deadline_ =
            std::max(greatest_deadline_, model::saturating_add(end, settings_.allowed_lateness_ms));
        return counts;
    }
    fold_event_time(input, counts, errors);
    return counts;
}

std::uint32_t ReductionFolder::group_of(model::EventTime window_end) {
    Slice& slice = slices_[{window_end, window_end}];
    if (slice.call != calls_) {
        slice.call = calls_;
        slice.group = static_cast<std::uint32_t>(groups_.size());
        groups_.push_back({&slice, 0, 0});
        greatest_deadline_ = std::max(
            greatest_deadline_, model::saturating_add(window_end, settings_.allowed_lateness_ms));
    }
    return slice.group;
}

void ReductionFolder::fold_event_time(const FoldInput& input, FoldCounts& counts,
                                      model::ValueErrors& errors) {
    const std::size_t rows = input.rows.size();
    ++calls_;
    groups_.clear();
    group_of_row_.resize(rows);
    rev_.resize(rows);
    bool any_rev = false;

    model::Window window{0, 0};
    std::uint32_t group = kLate;  // of `window`, once a row of it was in time
    for (std::size_t i = 0; i < rows; ++i) {
        const std::uint32_t row = input.rows[i];
        const model::EventTime timestamp = input.batch->timestamp[row];
        const model::EventTime watermark = input.batch->watermark[row];
        if (timestamp < window.start || timestamp >= window.end) {
            window = model::tumbling_window(timestamp, settings_.window_ms, settings_.offset_ms);
            group = kLate;
        }
        if (model::late(window.end, settings_.allowed_lateness_ms, watermark) ||
            window.end <= settings_.closed) {
            group_of_row_[i] = kLate;
            ++counts.late;
            continue;
        }
        if (group == kLate) {
            group = group_of(window.end);
        }
        group_of_row_[i] = group;
        ++groups_[group].rows;
        const bool after_end = watermark >= window.end;
        rev_[i] = after_end ? 1 : 0;
        any_rev = any_rev || after_end;
    }
    counts.folded = rows - counts.late;
    if (groups_.empty()) {
        return;
    }
    if (groups_.size() == 1 && counts.late == 0) {
        const auto rev =
            any_rev ? std::span<const std::uint8_t>(rev_) : std::span<const std::uint8_t>();
        fold_into(*groups_[0].slice, input, rev, errors);
        return;
    }

    // Rows of one slice side by side, each slice's in the order of the batch.
    std::size_t begin = 0;
    for (auto& g : groups_) {
        g.begin = begin;
        begin += g.rows;
        g.rows = 0;
    }
    sorted_rows_.resize(begin);
    sorted_hash_.resize(begin);
    sorted_key_.resize(begin);
    sorted_rev_.resize(begin);
    for (std::size_t i = 0; i < rows; ++i) {
        if (group_of_row_[i] == kLate) {
            continue;
        }
        auto& g = groups_[group_of_row_[i]];
        const std::size_t to = g.begin + g.rows++;
        sorted_rows_[to] = input.rows[i];
        sorted_hash_[to] = input.hash[i];
        sorted_key_[to] = input.key[i];
        sorted_rev_[to] = rev_[i];
    }
    FoldInput part = input;
    for (const auto& g : groups_) {
        part.rows = std::span(sorted_rows_).subspan(g.begin, g.rows);
        part.hash = std::span(sorted_hash_).subspan(g.begin, g.rows);
        part.key = std::span(sorted_key_).subspan(g.begin, g.rows);
        std::span<const std::uint8_t> rev;
        if (any_rev) {
            rev = std::span(sorted_rev_).subspan(g.begin, g.rows);
        }
        fold_into(*g.slice, part, rev, errors);
    }
}

SealedSlice ReductionFolder::let_go(Slices::node_type node) {
    rows_ -= node.mapped().table->rows();
    bytes_ -= node.mapped().table->bytes();
    auto back_to_pool = [pool = pool_](const SliceTable* table) {
        // The deleter runs when nobody reads the table any more; it was made non-const.
        pool->give(std::unique_ptr<SliceTable>(const_cast<SliceTable*>(table)));
    };
    return {settings_.reduction, node.key(),
            std::shared_ptr<const SliceTable>(node.mapped().table.release(), back_to_pool)};
}

std::vector<SealedSlice> ReductionFolder::close(model::EventTime upto) {
    std::vector<SealedSlice> closed;
    while (!slices_.empty() && model::saturating_add(slices_.begin()->first.end,
                                                     settings_.allowed_lateness_ms) <= upto) {
        closed.push_back(let_go(slices_.extract(slices_.begin())));
    }
    if (!closed.empty()) {
        pool_->expect(closed.size(), false);
    }
    return closed;
}

std::vector<SealedSlice> ReductionFolder::seal() {
    std::vector<SealedSlice> sealed;
    sealed.reserve(slices_.size());
    while (!slices_.empty()) {
        sealed.push_back(let_go(slices_.extract(slices_.begin())));
    }
    if (!sealed.empty()) {
        pool_->expect(sealed.size(), true);
    }
    return sealed;
}

}  // namespace sluice::state
