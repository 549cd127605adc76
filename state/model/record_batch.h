// Records in columns: what the hot path works on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "state/model/arena.h"
#include "state/model/partition.h"
#include "state/model/time.h"
#include "state/model/value.h"

namespace sluice::model {

// One value per row. `type[i]` says which member of `value[i]` counts; at null none does.
struct Column {
    std::vector<Type> type;
    std::vector<Payload> value;

    void resize(std::size_t rows) {
        type.resize(rows);
        value.resize(rows);
    }
    Scalar at(std::size_t row) const { return {type[row], value[row]}; }
    void set(std::size_t row, const Scalar& scalar) {
        type[row] = scalar.type;
        value[row] = scalar.value;
    }
};

// Row numbers, ascending.
using Selection = std::vector<std::uint32_t>;

enum class RowStatus : std::uint8_t { ok, null_value, undecodable };

// Some thousand consecutive records of one partition, ascending by offset. Every record read has a
// row, also the ones that could not be decoded: their offsets belong to the ledger; only rows with
// status `ok` have columns. Text in columns points into `arena` or into what the arena copied; it
// lives until clear().
struct RecordBatch {
    std::uint32_t partition = 0;  // index into the pipeline's partition table
    std::size_t rows = 0;
    std::vector<Offset> offset;
    std::vector<EventTime> timestamp;  // event time; undefined where status is not ok
    std::vector<RowStatus> status;
    std::vector<EventTime>
        watermark;  // of this partition, before the record; set when the row is processed
    // By column number of config::Fields. They may be longer than `rows`: what a batch left behind
    // is not cleared for the next one.
    std::vector<Column> columns;
    Arena arena;

    void clear() {
        rows = 0;
        offset.clear();
        timestamp.clear();
        status.clear();
        watermark.clear();
        arena.clear();
    }
};

}  // namespace sluice::model
