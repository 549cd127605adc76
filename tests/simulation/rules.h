// What Redis must hold, computed plainly: record by record, from the log and the journal, by the
// rules and by nothing of the daemon's code but its words. Small jobs only: the fields and
// reductions that tests/simulation uses.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "state/model/barrier.h"
#include "tests/simulation/simulated_log.h"

namespace sluice::simulation {

// The job of a simulated run: `{"k": text, "v": integer, "keep": bool}`; count, sum, min, max,
// first and last of v by k, or some of them.
struct Job {
    struct Reduction {
        std::string id;
        bool event_time = true;
        std::int64_t window_ms = 1000;
        std::int64_t offset_ms = 0;
        std::int64_t lateness_ms = 0;
        std::optional<std::int64_t> above;  // filter: v > above
        std::vector<std::string> values = {"n", "s", "lo", "hi", "a", "z"};
    };
    std::int64_t out_of_order_ms = 0;
    bool keep_all = false;  // else: a step keeps the records with `keep`
    std::vector<Reduction> reductions;

    std::string toml(const std::string& directory) const;
};

// All jobs that a run may come to by edits, by the hash of their recorded inputs, and the one that
// its state began with.
struct Jobs {
    std::map<std::string, Job> by_inputs;
    std::string first;
};

// Every key and its value, as SimulatedRedis::dump() writes them. `barriers` are all that the
// journal ever held, by number; where one is a reload, the job that it names takes over.
std::map<std::string, std::string> expected(
    const Jobs& jobs, const SimulatedLog& log, const std::vector<model::Partition>& partitions,
    const std::map<model::BarrierNumber, model::Barrier>& barriers);

}  // namespace sluice::simulation
