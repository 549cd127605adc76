#include "daemon/settings_in_force.h"

#include "config/recorded.h"

namespace sluice::daemon {

namespace {

// Settings that somebody else owns and that outlive whoever shares them here.
std::shared_ptr<const config::Pipeline> borrowed(const config::Pipeline& pipeline) {
    return {std::shared_ptr<void>(), &pipeline};
}

}  // namespace

void SettingsInForce::put_file() { in_force_ = borrowed(file_); }

model::Status SettingsInForce::put(const state::CheckpointMeta& meta,
                                   const std::string& directory) {
    if (in_force_ && hash_ == meta.inputs) {
        return {};
    }
    if (meta.inputs == state::inputs_hash(file_.inputs)) {
        in_force_ = borrowed(file_);
    } else {
        constexpr std::uint64_t kMostBytes = 64ull << 20;
        const std::string path = directory + "/INPUTS-" + meta.inputs;
        TRY(text, state::read_file(disk_, path, kMostBytes));
        auto pipeline = config::recorded_pipeline(text, file_);
        if (!pipeline) {
            return model::invalid(path + ": " + pipeline.error().text);
        }
        in_force_ = std::make_shared<const config::Pipeline>(std::move(*pipeline));
    }
    hash_ = meta.inputs;
    return {};
}

model::Result<SettingsInForce::Shared> SettingsInForce::recorded(const std::string& hash) const {
    if (hash == state::inputs_hash(file_.inputs)) {
        return borrowed(file_);
    }
    TRY(text, inputs_.read(hash));
    TRY(pipeline, config::recorded_pipeline(text, file_));
    return std::make_shared<const config::Pipeline>(std::move(pipeline));
}

model::Result<SettingsInForce::Plan> SettingsInForce::plan(
    std::vector<model::Barrier> entries, const config::Decisions& decisions) const {
    Plan plan;
    Shared last = in_force_;
    for (auto at = entries.begin(); at != entries.end(); ++at) {
        if (at->kind != model::BarrierKind::reload) {
            continue;
        }
        TRY(entry, parse_reload(at->reload));
        auto pipeline = recorded(entry.inputs);
        if (!pipeline) {
            return model::corrupt("the settings that the journal names at barrier " +
                                  std::to_string(at->number) +
                                  " cannot be read: " + pipeline.error().text);
        }
        last = *pipeline;
        if (!plan.reload) {
            plan.reload = Reload{*pipeline, entry.decisions};
            plan.replay.assign(entries.begin(), at + 1);
        }
    }
    const config::Edit edit = config::compare(*last, file_, decisions);
    if (edit.breaks()) {
        return model::invalid("the edited file would break state: " + config::refusal(edit));
    }
    if (!plan.reload) {
        plan.replay = std::move(entries);
        if (edit.recorded) {
            plan.reload = Reload{borrowed(file_), decisions};
        }
    }
    return plan;
}

}  // namespace sluice::daemon
