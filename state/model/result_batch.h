// Results of one window of one reduction, ascending by (key hash, key).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "state/model/arena.h"
#include "state/model/barrier.h"
#include "state/model/record_batch.h"
#include "state/model/window.h"

namespace sluice::model {

struct ResultBatch {
    std::uint32_t reduction = 0;  // index into config::Pipeline::reductions
    Window window;
    BarrierNumber barrier =
        0;  // the number behind these results; durable in the journal before they are handed on
    bool final = true;
    bool complete = true;
    std::size_t rows = 0;
    std::vector<std::uint64_t> hash;
    std::vector<std::string_view> key;  // encoded (model/key.h), in `arena`
    std::vector<std::uint64_t> rev;
    std::vector<Column> values;  // by position in config::Reduction::values; text in `arena`
    Arena arena;

    void clear() {
        rows = 0;
        hash.clear();
        key.clear();
        rev.clear();
        arena.clear();
    }
};

}  // namespace sluice::model
