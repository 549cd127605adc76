// Changes to rows, laid over the rows of a snapshot: what `put` and `delete` are.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result.h"
#include "state/store/row_source.h"
#include "state/tools/lines.h"

namespace sluice::state {

// Rows that lie in memory, ascending by key. Keys are as on disk.
class RowsInMemory final : public RowSource {
 public:
    // Sorts; rows of equal keys are merged. Errors of next(): corrupt (rows that do not merge).
    explicit RowsInMemory(std::vector<LineRow> rows);
    model::Status next() override;
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    std::vector<LineRow> rows_;
    std::size_t next_ = 0;
    RowKey key_;
    std::string_view row_;
    std::string merged_;
    bool valid_ = false;
};

// Rows to put in the place of others, and rows to leave out. They are kept in memory.
// Thread: one.
class Edits {
 public:
    // What all changes together may take; more are made by dump, an editor and import.
    static constexpr std::size_t kMostBytes = 256 << 20;

    // Errors: exhausted. The later change of a row counts.
    model::Status put(LineRow row);
    model::Status remove(const LineReader::Place& place);

    struct Counts {
        std::uint64_t put = 0;      // rows that were not there
        std::uint64_t changed = 0;  // rows that were there
        std::uint64_t removed = 0;
    };
    // The rows of `base` with the changes; `base` and the edits must outlive it. Counts are
    // complete when its last row has been read.
    std::unique_ptr<RowSource> over(RowSource& base);
    const Counts& counts() const { return counts_; }

 private:
    class Over;
    bool left_out(const RowKey& key) const;
    model::Status take(std::size_t bytes);

    std::map<std::string, std::optional<std::string>> rows_;  // by key; empty: left out
    std::vector<LineReader::Place> places_;                   // of more than one row
    std::size_t bytes_ = 0;
    Counts counts_;
};

// The key as it lies on disk.
std::string disk_key(const RowKey& key);

}  // namespace sluice::state
