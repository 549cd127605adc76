// Which settings run. A state goes on with those it was made with, as its snapshot recorded them,
// and with the addresses, memory and so on of the current file. An edited file takes over where the
// journal says so, or where the replay ends.
//
// Thread: one at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/change.h"
#include "config/settings.h"
#include "daemon/reload.h"
#include "state/io/disk.h"
#include "state/model/barrier.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/inputs.h"

namespace sluice::daemon {

class SettingsInForce {
 public:
    // `file` is the current file's; all outlive it, and whoever shares the settings.
    SettingsInForce(const config::Pipeline& file, state::Disk& disk, const state::Inputs& inputs)
        : file_(file), disk_(disk), inputs_(inputs) {}

    // Nothing is recorded yet: those of the file.
    void put_file();
    // Those that the snapshot in `directory` recorded. Errors: invalid, corrupt, unavailable.
    model::Status put(const state::CheckpointMeta& meta, const std::string& directory);
    const config::Pipeline& pipeline() const { return *in_force_; }  // behind one of these

    struct Plan {
        std::vector<model::Barrier> replay;
        std::optional<Reload> reload;  // takes over where `replay` ends
    };
    // What runs until when: up to the first reload entry behind the snapshot; if there is none, all
    // of `entries`, and then the file, should it be another one. What the file would do is judged
    // by the settings that the journal leaves in force, before anything is changed. Errors:
    // corrupt; invalid (the edit would break state).
    model::Result<Plan> plan(std::vector<model::Barrier> entries,
                             const config::Decisions& decisions) const;

 private:
    using Shared = std::shared_ptr<const config::Pipeline>;
    model::Result<Shared> recorded(const std::string& hash) const;

    const config::Pipeline& file_;
    state::Disk& disk_;
    const state::Inputs& inputs_;
    Shared in_force_;  // shared with the coordinator. Null: nothing put yet
    std::string hash_;
};

}  // namespace sluice::daemon
