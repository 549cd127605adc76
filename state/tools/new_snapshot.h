// Writes a savepoint into a directory of its own, all of it or nothing: what tools make from other
// snapshots, streams and lines.
//
// Everything is built in DIR.partial; the rename to DIR is the last step but one, the sync of its
// name the last. So DIR is there only when it is whole and durable in all but its name, and what a
// crash leaves is DIR.partial, which the next attempt removes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/row_source.h"

namespace sluice::state {

// Life:    begin(), add() any number of times, commit(). Without a commit the destructor removes
//          what was made.
// Thread:  one; calls block on the disk. RocksDB's threads and `threads` writers run beside it.
// Memory:  that of Store::write_rows(), whatever the size of the state.
class NewSnapshot {
 public:
    // `path` must not exist: invalid. `disk` must outlive it. Nobody else may be at work on the
    // same path. `threads` write tables beside the caller.
    static model::Result<std::unique_ptr<NewSnapshot>> begin(Disk& disk, std::string path,
                                                             unsigned threads = 0);
    ~NewSnapshot();
    NewSnapshot(const NewSnapshot&) = delete;
    NewSnapshot& operator=(const NewSnapshot&) = delete;

    // Adds rows of reductions that `meta` names. Rows that were added before under the same key are
    // merged with them. `meta` is the same in every call, `inputs_text` is what it names; id, kind
    // and files of it do not count: a tool's snapshot is a savepoint with id 0.
    model::Status add(const CheckpointMeta& meta, RowSource& rows);

    // Durable when it returns. Returns what the manifest says.
    model::Result<CheckpointMeta> commit(const CheckpointMeta& meta, std::string_view inputs_text);

    std::uint64_t rows() const;

 private:
    struct Parts;
    explicit NewSnapshot(std::unique_ptr<Parts> parts);

    std::unique_ptr<Parts> parts_;
};

}  // namespace sluice::state
