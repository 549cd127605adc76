// The note that a lineage begins which gives up what is here (--fresh, --from). The journal may be
// of the new lineage already while no snapshot is: then only the same start leads out of it, and
// the note says which. It is there from before the journal changes until the first snapshot is.
//
// Thread: one at a time. Calls block on the disk.
#pragma once

#include <optional>
#include <string>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/catalogue.h"

namespace sluice::daemon {

class LineageMark {
 public:
    // From a savepoint, or empty, whatever is there.
    struct Beginning {
        bool fresh = false;
        std::string from;  // absolute; empty: no savepoint
        bool gives_up() const { return fresh || !from.empty(); }
    };

    // Both outlive it.
    LineageMark(state::Disk& disk, const state::StatePaths& paths) : disk_(disk), paths_(paths) {}

    std::optional<Beginning> interrupted() const;  // one that was noted and not cleared
    model::Status note(const Beginning& beginning);
    model::Status clear();

 private:
    state::Disk& disk_;
    const state::StatePaths& paths_;
};

}  // namespace sluice::daemon
