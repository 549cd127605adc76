// The rows of many tables that overlap, as one source: in the order of keys, merged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/row_source.h"
#include "state/tools/table_cursor.h"

namespace sluice::state {

// A table's file, with the first and the last of its keys.
struct TableFile {
    std::string path;
    std::string first, last;
};

// Keys from `from` on, below `to`.
struct KeyRange {
    std::string from, to;
};

// Memory: a TableCursor for each table that has keys on both sides of the row in hand; a table is
// opened when its first key comes, closed behind its last. Thread: one. `disk` must outlive it.
class TableRows final : public RowSource {
 public:
    // Ranges ascend and do not overlap. Tables in any order.
    TableRows(Disk& disk, std::vector<TableFile> tables, std::vector<KeyRange> ranges);

    model::Status next() override;
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override {
        return merged_here_ ? std::string_view(merged_) : taken_.front().cursor->row();
    }

 private:
    // A table in the range in hand; not opened before its first key is the least.
    struct Source {
        const TableFile* table = nullptr;
        std::string_view key;
        std::unique_ptr<TableCursor> cursor;
    };
    static bool later(const Source& a, const Source& b) { return a.key > b.key; }

    void begin_range();
    model::Result<bool> step(Source& source);  // false: it has no more rows in the range
    void wait(Source source);
    model::Status take_least();
    void see_how_far();

    Disk& disk_;
    const std::vector<TableFile> tables_;
    const std::vector<KeyRange> ranges_;
    std::size_t next_range_ = 0;
    std::vector<Source> waiting_;  // a heap, the least key in front
    std::vector<Source> taken_;    // those that stand at the row in hand
    // Of a single one: it goes on alone below this, and everywhere, if no key of it is so great.
    std::string_view bound_;
    bool alone_to_its_end_ = false;
    std::vector<std::string_view> rows_;
    std::string merged_;
    RowKey key_;
    bool merged_here_ = false;  // of several: merged_
    bool valid_ = false;
};

}  // namespace sluice::state
