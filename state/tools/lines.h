// State as JSON lines, for people and for other programs: out of a snapshot and into a new one.
//
//     {"snapshot":{…},"inputs":"…"}
//     {"reduction":"spend","window":{"start":0,"end":15000},"key":["de","42"],"rev":0,
//      "state":[{"count":2},{"sum":{"types":["decimal"],"total":"12.5"}}],
//      "result":{"clicks":2,"spend":12.5}}
//
// The first line says what the rows belong to: what a manifest says but for what is the snapshot's
// own (id, kind, provenance, files). `state` holds everything of a row, exactly, so that lines give
// the same bytes again. `result` is what would be written to Redis. docs/FORMAT.md describes the
// members and what else a reader takes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result.h"
#include "state/reduce/results.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/row_source.h"
#include "state/tools/json_tree.h"
#include "state/tools/shapes.h"

namespace sluice::state {

std::string header_line(const CheckpointMeta& meta, std::string_view inputs_text);

struct LinesHeader {
    CheckpointMeta meta;
    std::string inputs_text;
};
// Empty: it is a line of another kind. Errors: invalid, corrupt.
model::Result<std::optional<LinesHeader>> parse_header_line(std::string_view line);

// The window, the key and the name of the reduction, as they begin a line (without the brace that
// closes it).
void append_place(std::string& out, const Shape& shape, const RowKey& key);

// Rows to lines. Results are computed for many rows at once, so lines come late: after finish() all
// are there.
// Thread: one. `shapes` must outlive it.
class LineWriter {
 public:
    explicit LineWriter(const Shapes& shapes) : shapes_(shapes) {}
    // Appends lines to `out` now and then. Errors: corrupt.
    model::Status add(const RowKey& key, std::string_view row, std::string& out);
    model::Status finish(std::string& out);

 private:
    const Shapes& shapes_;
    const Shape* shape_ = nullptr;  // of the rows in hand
    std::unique_ptr<ResultColumns> results_;
    std::vector<std::string> begun_;  // lines without their result
};

// A value of `result`, as it stands in a line.
void append_value(std::string& out, const model::Scalar& value);

// `state` of one row, as it stands in a line. Errors: corrupt.
model::Status append_state(std::string& out, std::string_view row);

// A row as a line gives it.
struct LineRow {
    std::string key;  // as on disk
    std::string row;
};
// Lines to rows. Errors: invalid, saying what is wrong with the line.
// Thread: one. `shapes` must outlive it.
class LineReader {
 public:
    explicit LineReader(const Shapes& shapes) : shapes_(shapes) {}

    model::Result<LineRow> row(std::string_view line);
    // What a line without state and result names: one row, all rows of a window, or of a reduction.
    struct Place {
        std::uint32_t reduction = 0;
        std::optional<model::EventTime> slice_end;
        std::uint32_t accepted_from = 0;
        std::optional<std::string> key;  // encoded
    };
    model::Result<Place> place(std::string_view line);

 private:
    model::Result<Place> place_of(const JsonTree& line, const Shape*& shape) const;
    model::Status agree(const Shape& shape, const std::string& row, const JsonTree& result) const;

    const Shapes& shapes_;
};

// The encoded key of printed parts.
std::string encoded_key(const std::vector<std::string>& parts);

}  // namespace sluice::state
