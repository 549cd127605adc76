// What Redis must hold, computed plainly: record by record, from the log and the journal, by the
// rules and by nothing of the daemon's code but its words. Small jobs only: the fields and
// reductions that tests/simulation uses.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "state/model/barrier.h"
#include "tests/simulation/simulated_log.h"

namespace sluice::simulation {

// The job of a simulated run: `{"k": text, "v": integer, "keep": bool}`; count, sum, min, max,
// first and last of v by k.
struct Job {
    struct Reduction {
        std::string id;
        bool event_time = true;
        std::int64_t window_ms = 1000;
        std::int64_t offset_ms = 0;
        std::int64_t lateness_ms = 0;
    };
    std::int64_t out_of_order_ms = 0;
    std::vector<Reduction> reductions;

    std::string toml(const std::string& directory) const;
};

// Every key and its value, as SimulatedRedis::dump() writes them. `barriers` are all that the
// journal ever held, by number.
std::map<std::string, std::string> expected(
    const Job& job, const SimulatedLog& log, const std::vector<model::Partition>& partitions,
    const std::map<model::BarrierNumber, model::Barrier>& barriers);

}  // namespace sluice::simulation
