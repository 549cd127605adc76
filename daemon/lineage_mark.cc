#include "daemon/lineage_mark.h"

#include "state/model/fail_point.h"

namespace sluice::daemon {

namespace {

// In the note: nothing of what is here counts. Otherwise it names a savepoint.
constexpr const char* kFresh = "fresh";

}  // namespace

std::optional<LineageMark::Beginning> LineageMark::interrupted() const {
    const auto noted = state::read_file(disk_, paths_.beginning(), 1 << 16);
    if (!noted) {
        return std::nullopt;
    }
    Beginning beginning;
    beginning.fresh = *noted == kFresh;
    beginning.from = beginning.fresh ? "" : *noted;
    return beginning;
}

model::Status LineageMark::note(const Beginning& beginning) {
    if (!beginning.gives_up()) {
        return {};
    }
    TRY(state::write_file_durably(disk_, paths_.beginning(),
                                  beginning.from.empty() ? kFresh : beginning.from));
    SLUICE_FAIL_POINT("begin.noted");
    return {};
}

model::Status LineageMark::clear() {
    SLUICE_FAIL_POINT("begin.first_checkpoint");
    if (disk_.info(paths_.beginning())) {
        TRY(disk_.remove(paths_.beginning()));
        TRY(disk_.sync_directory(paths_.root));
    }
    return {};
}

}  // namespace sluice::daemon
