// What is known of a snapshot's reductions beside their rows: window, key, values. It is in the
// recorded inputs, so no configuration file is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.h"
#include "state/store/checkpoint_meta.h"
#include "state/tools/row_check.h"

namespace sluice::state {

struct Shape {
    std::string id;
    std::uint32_t number = 0;
    // What follows is there if the inputs of this snapshot name the reduction in a way that we
    // know.
    std::optional<model::DurationMs> window_ms;
    model::DurationMs offset_ms = 0;  // of the windows against the epoch
    std::size_t key_parts = 0;
    std::optional<config::Reduction> reduction;  // calls and values only
    RowKinds kinds;                              // of its calls

    bool ends_at(model::EventTime end) const;  // a window of it may end then, as far as is known
};

// Thread: one; immutable.
class Shapes {
 public:
    // Reads what it can; a snapshot of another release may have inputs that mean nothing to us.
    Shapes(const CheckpointMeta& meta, std::string_view inputs_text);

    const Shape* by_number(std::uint32_t number) const;  // null: not there
    const Shape* by_id(std::string_view id) const;
    const std::vector<Shape>& all() const { return shapes_; }

 private:
    std::vector<Shape> shapes_;  // by number
};

}  // namespace sluice::state
