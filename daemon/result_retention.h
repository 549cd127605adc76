// How long rows are kept whose results Redis has acknowledged: if Redis loses them, what is
// retained can be sent again.
//
// A frontier is a time up to which every result of a reduction is acknowledged. Of each frontier it
// is known since when it stands. Rows below one are past their retention when it has stood for
// `result_retention`, or earlier where all that is retained takes more bytes than it may: then the
// oldest goes first, whichever reduction it is of.
//
// Nothing is dropped here: the checkpoints ask what is past, and say what they dropped.
//
// Thread: one (coordinator). Reductions are named by their position in the pipeline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "state/model/time.h"

namespace sluice::daemon {

class ResultRetention {
 public:
    struct Limits {
        model::DurationMs duration_ms = 0;
        std::uint64_t bytes = 0;
    };
    // Rows between two frontiers of a reduction: of slices above `after`, up to `up_to`.
    struct Stretch {
        std::size_t reduction = 0;
        model::EventTime after = model::kBeforeAll, up_to = model::kBeforeAll;
    };

    // `dropped`: by reduction, up to where rows went in earlier runs; model::kBeforeAll: nowhere.
    ResultRetention(Limits limits, const std::vector<model::EventTime>& dropped);

    // The frontier of a reduction as of `now` (wall clock). Returns whether it rose. One that fell
    // means that Redis lost results: what is sent again begins its retention anew.
    bool note(std::size_t reduction, model::EventTime frontier, model::EventTime now);

    // Up to where rows of the reduction are past their retention; model::kBeforeAll: nowhere.
    model::EventTime past(std::size_t reduction, model::EventTime now) const;
    // Rows up to there are dropped: they are retained no longer.
    void expire(std::size_t reduction, model::EventTime up_to);
    // Gives up what is retained beyond its bytes, as far as they are known.
    void give_up_surplus();

    // What is retained, and how many bytes each stretch of it was found to hold. The rest of the
    // history came since.
    std::vector<Stretch> stretches() const;
    void measured(const Stretch& stretch, std::uint64_t bytes);

    // How far back what Redis has acknowledged can be sent again.
    model::DurationMs reach(model::EventTime now) const;
    std::uint64_t given_up() const { return given_up_; }  // frontiers, because of their bytes

 private:
    struct Acknowledged {
        model::EventTime frontier;
        model::EventTime since;
        std::uint64_t bytes = 0;  // of what it covers beyond the one before, as last measured
    };
    struct Reduction {
        std::deque<Acknowledged> history;  // ascending
        model::EventTime noted = model::kBeforeAll;
        model::EventTime dropped = model::kBeforeAll;
    };

    const Limits limits_;
    std::vector<Reduction> reductions_;
    std::uint64_t given_up_ = 0;
};

}  // namespace sluice::daemon
