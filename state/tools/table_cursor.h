// The rows of one RocksDB table in order, read block by block: what whole snapshots go through.
//
// RocksDB's own iterators take half a microsecond and more for each of our rows, because a row is
// a merge operand: longer than everything else that an export does with it. Rows merge in any
// order, so nothing of what that time is spent on (sequence numbers, what shadows what) means
// anything here. docs/FORMAT.md names the form of the tables: block-based, version 5, blocks plain
// or LZ4, with XXH3 checksums, which are checked. It is RocksDB's, and every release of it since
// has read and written it.
//
// What is deliberately missing: everything else that a table could be; Sluice writes none such.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"

namespace sluice::state {

// Life:    open() stands before the first row; next() until it is no longer valid().
// Thread:  one. `disk` must outlive it.
// Memory:  the table's list of blocks (16 bytes for each of 16 KiB), one block, a piece of the file
//          of kTableReadBytes or one block.
class TableCursor {
 public:
    // Rows from the key `from` on. Errors: corrupt, naming the file; the disk's.
    static model::Result<std::unique_ptr<TableCursor>> open(Disk& disk, const std::string& path,
                                                            std::string_view from);
    TableCursor(const TableCursor&) = delete;
    TableCursor& operator=(const TableCursor&) = delete;

    // Keys ascend strictly: a run's writer asks for that, and compactions merge.
    model::Status next();
    bool valid() const { return valid_; }
    // Only while valid(); views live until next().
    std::string_view key() const { return {key_.data(), key_bytes_}; }
    std::string_view row() const { return row_; }

 private:
    struct BlockHandle {
        std::uint64_t offset = 0;
        std::uint64_t bytes = 0;  // without what follows it: codec and checksum
    };
    // What a table's blocks have in common: a prefix shared with the key before, the rest, a value.
    struct Entry {
        std::size_t shared = 0;
        std::string_view rest;
    };

    TableCursor(std::unique_ptr<ReadableFile> file, std::string path);
    std::unexpected<model::Error> damaged(const char* what) const;
    model::Status read_index(std::string_view from);
    // Leaves the block's entries in entries_.
    model::Status read_block(BlockHandle handle);
    bool take_entry(Entry& entry, bool sized_value, std::string_view& value);
    bool take_handle(std::string_view& from, BlockHandle& handle) const;
    bool apply(const Entry& entry);
    bool ascends(const Entry& entry) const;
    model::Status advance();

    const std::unique_ptr<ReadableFile> file_;
    const std::string path_;
    std::vector<BlockHandle> blocks_;
    std::size_t next_block_ = 0;

    std::vector<char> piece_;  // of the file
    std::uint64_t piece_at_ = 0;
    std::size_t piece_bytes_ = 0;
    std::vector<char> block_;   // of one that was compressed
    std::string_view entries_;  // not yet read, into block_ or piece_

    std::string from_;
    std::vector<char> key_;  // with RocksDB's 8 bytes behind it
    std::size_t key_bytes_ = 0;
    std::size_t stored_key_bytes_ = 0;
    std::string_view row_;
    bool valid_ = false;
};

}  // namespace sluice::state
