// What the tests of the sink share: a clock that they own, templates by text, batches by rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/write_template.h"
#include "sinks/redis_sink.h"
#include "state/model/key.h"
#include "state/model/result_batch.h"
#include "tests/unit/fake_clock.h"

namespace sluice::sinks::test {

using sluice::test::FakeClock;

inline ReductionOutput reduction(std::string id, const std::vector<std::string>& commands,
                                 const std::vector<std::string>& key = {"user"},
                                 const std::vector<std::string>& values = {"clicks"}) {
    ReductionOutput output;
    output.id = std::move(id);
    const config::TemplateNames names{key, values, true};
    for (const auto& text : commands) {
        auto command = config::parse_command(text, names);
        if (!command) {
            throw std::invalid_argument(text + ": " + command.error().message);
        }
        output.write.push_back(std::move(*command));
    }
    if (commands.empty()) {
        output.write.push_back(config::default_command(names));
    }
    return output;
}

// A result: the parts of its key and one integer.
struct Row {
    std::vector<std::string> key;
    std::int64_t value = 0;
};

// Sorts the rows as results are.
inline std::unique_ptr<model::ResultBatch> batch_of(std::uint32_t reduction, model::Window window,
                                                    const std::vector<Row>& rows,
                                                    model::BarrierNumber barrier = 1) {
    std::vector<std::pair<std::pair<std::uint64_t, std::string>, std::int64_t>> sorted;
    for (const auto& row : rows) {
        std::string key;
        for (const auto& part : row.key) {
            model::append_key_part(key, part);
        }
        sorted.push_back({{model::key_hash(key), key}, row.value});
    }
    std::sort(sorted.begin(), sorted.end());
    auto batch = std::make_unique<model::ResultBatch>();
    batch->reduction = reduction;
    batch->window = window;
    batch->barrier = barrier;
    batch->values.resize(1);
    batch->values[0].resize(rows.size());
    for (const auto& [place, value] : sorted) {
        batch->hash.push_back(place.first);
        batch->key.push_back(batch->arena.copy(place.second));
        batch->rev.push_back(0);
        batch->values[0].set(batch->rows++, model::Scalar::of(value));
    }
    return batch;
}

}  // namespace sluice::sinks::test
