// Lines into a new savepoint.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/tools/lines.h"
#include "state/tools/new_snapshot.h"

namespace sluice::state {

// Takes lines one by one, in any order: they are sorted in pieces, and rows of the same reduction,
// window and key are merged, as partial aggregates are.
//
// Life:    begin(), add() for each line, commit(). Thread: one; blocks on the disk.
class LineImport {
 public:
    // `base`: what the rows belong to; without it the first line says so.
    static model::Result<std::unique_ptr<LineImport>> begin(Disk& disk, std::string path,
                                                            std::optional<LinesHeader> base);
    ~LineImport();

    // Errors: invalid, with the number of the line.
    model::Status add(std::string_view line);
    model::Result<CheckpointMeta> commit();
    std::uint64_t rows() const { return rows_; }

 private:
    LineImport(Disk& disk, std::string path);
    model::Status use(LinesHeader header);
    model::Status write_piece();

    Disk& disk_;
    const std::string path_;
    std::optional<LinesHeader> header_;
    std::optional<Shapes> shapes_;
    std::optional<RowCheck> check_;
    std::unique_ptr<NewSnapshot> snapshot_;
    std::vector<LineRow> piece_;
    std::size_t piece_bytes_ = 0;
    std::uint64_t line_ = 0;
    std::uint64_t rows_ = 0;
};

}  // namespace sluice::state
