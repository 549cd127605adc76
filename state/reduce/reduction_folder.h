// One reduction on one worker: which slice a record belongs to, whether it is late, and the tables
// of the slices that hold records.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/settings.h"
#include "state/model/time.h"
#include "state/model/value.h"
#include "state/model/window.h"
#include "state/reduce/row_layout.h"
#include "state/reduce/slice_table.h"

namespace sluice::state {

// What of a reduction's settings matters here.
struct FoldSettings {
    std::uint32_t reduction = 0;  // index into config::Pipeline::reductions
    model::DurationMs window_ms = 0;
    model::DurationMs offset_ms = 0;
    model::DurationMs allowed_lateness_ms = 0;
    config::TimeKind time = config::TimeKind::event;
    RowLayout layout;
    // Event time: windows that end at or below are over, whatever their lateness.
    model::EventTime closed = model::kBeforeAll;
};
inline FoldSettings fold_settings(std::uint32_t index, const config::Reduction& reduction) {
    return {index,
            reduction.window_ms,
            reduction.offset_ms,
            reduction.allowed_lateness_ms,
            reduction.time,
            RowLayout(reduction.calls),
            model::kBeforeAll};
}

struct FoldCounts {
    std::uint64_t folded = 0;
    std::uint64_t late = 0;
    FoldCounts& operator+=(const FoldCounts& o) {
        folded += o.folded;
        late += o.late;
        return *this;
    }
};

// A table that its worker has let go of: immutable from here on. Shared, because a fire and the
// snapshot writer read it at the same time; when the last one lets it go, its memory goes back to
// the folder's pool (from that thread).
struct SealedSlice {
    std::uint32_t reduction = 0;
    model::SliceId slice;
    std::shared_ptr<const SliceTable> table;
};

// Life:    any order of calls. Sealed tables may outlive the folder.
// Thread:  the worker's.
class ReductionFolder {
 public:
    explicit ReductionFolder(FoldSettings settings);
    ~ReductionFolder();
    ReductionFolder(const ReductionFolder&) = delete;
    ReductionFolder& operator=(const ReductionFolder&) = delete;

    // Folds rows that passed the reduction's filter and have a key.
    // Event time: each row goes to the window of its timestamp, and is late, counted and not
    // folded, if that window's end + allowed lateness is at or below batch.watermark[row]; it
    // counts in `rev` if the window's end is. `processing_window` must be empty. Processing time:
    // all rows go to `processing_window`; none is late, `rev` stays 0.
    FoldCounts fold(const FoldInput& input, std::optional<model::Window> processing_window,
                    model::ValueErrors& errors);

    // Takes out the slices with window end + allowed lateness <= upto, ascending by slice.
    std::vector<SealedSlice> close(model::EventTime upto);

    // Takes out all slices, ascending: a pointer swap each.
    std::vector<SealedSlice> seal();

    // The greatest end + allowed lateness of a window that any row was folded into since the folder
    // was made; kBeforeAll if there was none. A seal does not lower it: sealed rows are still open.
    model::EventTime greatest_deadline() const { return greatest_deadline_; }

    std::size_t slices() const { return slices_.size(); }
    std::size_t rows() const { return rows_; }    // over all slices held
    std::size_t bytes() const { return bytes_; }  // what the slices take, for the memory budget

    const FoldSettings& settings() const { return settings_; }

    // Ends of the slices held: the least and the greatest; kAfterAll and kBeforeAll if there are
    // none.
    model::EventTime first_end() const {
        return slices_.empty() ? model::kAfterAll : slices_.begin()->first.end;
    }
    model::EventTime last_end() const {
        return slices_.empty() ? model::kBeforeAll : slices_.rbegin()->first.end;
    }

 private:
    class Pool;
    struct Slice {
        std::unique_ptr<SliceTable> table;
        std::uint32_t group = 0;  // of the rows being folded; counts while `call` is calls_
        std::uint64_t call = 0;
    };
    using Slices = std::map<model::SliceId, Slice>;

    void fold_event_time(const FoldInput& input, FoldCounts& counts, model::ValueErrors& errors);
    std::uint32_t group_of(model::EventTime window_end);
    void fold_into(Slice& slice, const FoldInput& input, std::span<const std::uint8_t> rev,
                   model::ValueErrors& errors);
    SealedSlice let_go(Slices::node_type node);

    const FoldSettings settings_;
    const std::shared_ptr<Pool> pool_;  // shared with sealed tables: they may outlive the folder
    Slices slices_;
    std::size_t rows_ = 0;   // of all of them
    std::size_t bytes_ = 0;  // of all of them
    std::uint64_t calls_ = 0;
    model::EventTime greatest_deadline_ = model::kBeforeAll;

    // Of the call under way; kept for their memory.
    struct Group {
        Slice* slice;
        std::size_t rows;
        std::size_t begin;
    };
    std::vector<Group> groups_;
    std::vector<std::uint32_t> group_of_row_;
    std::vector<std::uint8_t> rev_;
    std::vector<std::uint32_t> sorted_rows_;
    std::vector<std::uint64_t> sorted_hash_;
    std::vector<std::string_view> sorted_key_;
    std::vector<std::uint8_t> sorted_rev_;
};

}  // namespace sluice::state
