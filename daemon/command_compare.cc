#include <cstdint>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "daemon/live_snapshot.h"
#include "daemon/snapshot_tool.h"
#include "state/store/catalogue.h"
#include "state/tools/compare.h"
#include "state/tools/lines.h"

namespace sluice::daemon {
namespace {

using nlohmann::ordered_json;

// The daemon may remove a checkpoint while we read it.
constexpr state::Snapshot::Options kHeld{.hold_tables = true};

std::string object(const std::vector<std::string>& names, const std::vector<std::string>& values) {
    std::string text = "{";
    for (std::size_t i = 0; i < names.size(); ++i) {
        text += (i == 0 ? "" : ",") + ordered_json(names[i]).dump() + ":" + values[i];
    }
    return text + "}";
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

class Comparison {
 public:
    Comparison(SnapshotTool& tool, const CompareOptions& options)
        : tool_(tool), options_(options) {}

    model::Result<bool> run(const std::string& path_a, const std::string& path_b) {
        TRY(a, state::Snapshot::open(tool_.disk(), path_a, kHeld));
        TRY(b, state::Snapshot::open(tool_.disk(), path_b, kHeld));
        a_ = &a->meta();
        b_ = &b->meta();
        TRY(compared, state::compare_results(
                          *a, *b, [&](const auto& difference) { return print(difference); }));
        bool differ = false;
        for (const state::ComparedReduction& one : compared) {
            differ |= one.different != 0;
            if (options_.json) {
                print_summary_json(one);
            } else {
                print_summary(one);
            }
        }
        return differ;
    }

 private:
    // An edit added something to the reduction when the window had begun.
    static bool incomplete(const state::CheckpointMeta& meta,
                           const state::ResultDifference& difference) {
        const auto* known = meta.reduction(difference.reduction);
        const auto& window_ms = difference.shape->window_ms;
        return known != nullptr && known->incomplete_before && window_ms &&
               difference.key->slice_end - *window_ms < *known->incomplete_before;
    }

    model::Status print(const state::ResultDifference& difference) {
        std::string line;
        state::append_place(line, *difference.shape, *difference.key);
        const char* const change = difference.a == nullptr   ? "added"
                                   : difference.b == nullptr ? "removed"
                                                             : "changed";
        line.append(",\"change\":\"").append(change).append("\"");
        line.append(",\"a\":").append(
            difference.a == nullptr ? "null" : object(*difference.names, *difference.a));
        line.append(",\"b\":").append(
            difference.b == nullptr ? "null" : object(*difference.names, *difference.b));
        std::string sides;
        for (const auto& [meta, side] : {std::pair(a_, "\"a\""), std::pair(b_, "\"b\"")}) {
            if (incomplete(*meta, difference)) {
                sides += (sides.empty() ? "" : ",") + std::string(side);
            }
        }
        if (!sides.empty()) {
            ++incomplete_[std::string(difference.reduction)];
            line.append(",\"incomplete\":[").append(sides).append("]");
        }
        std::printf("%s}\n", line.c_str());
        return {};
    }

    std::uint64_t incomplete_of(const std::string& reduction) const {
        const auto found = incomplete_.find(reduction);
        return found == incomplete_.end() ? 0 : found->second;
    }

    void print_summary_json(const state::ComparedReduction& one) const {
        ordered_json value = {{"reduction", one.id}};
        value["in_a"] = one.in_a;
        value["in_b"] = one.in_b;
        value["only_a"] = one.only_a;
        value["only_b"] = one.only_b;
        value["windows_after"] = nullptr;
        value["windows_until"] = nullptr;
        if (one.until) {
            if (*one.after != model::kBeforeAll) {
                value["windows_after"] = *one.after;
            }
            value["windows_until"] = *one.until;
        }
        value["compared"] = one.results;
        value["different"] = one.different;
        value["incomplete"] = incomplete_of(one.id);  // of the different ones
        value["problem"] = one.problem;
        std::printf("%s\n", ordered_json{{"summary", value}}.dump().c_str());
    }

    // For people: what was not compared matters as much as what was.
    void print_summary(const state::ComparedReduction& one) const {
        const auto say = [&](const std::string& text) {
            std::fprintf(stderr, "%s: %s\n", one.id.c_str(), text.c_str());
        };
        if (!one.in_a || !one.in_b) {
            say("only in " + (one.in_a ? options_.a : options_.b));
            return;
        }
        if (!one.problem.empty()) {
            say("not compared: " + one.problem);
            return;
        }
        for (const auto& [names, who] :
             {std::pair(&one.only_a, &options_.a), std::pair(&one.only_b, &options_.b)}) {
            if (!names->empty()) {
                say("only in " + *who + ", not compared: " + joined(*names));
            }
        }
        if (!one.until || *one.until <= *one.after) {
            say("no window yet that both have written and still hold");
            return;
        }
        const std::uint64_t incomplete = incomplete_of(one.id);
        say(std::to_string(one.different) + " of " + std::to_string(one.results) +
            " results differ" +
            (incomplete == 0 ? ""
                             : ", " + std::to_string(incomplete) +
                                   " of them in windows that an edit left incomplete") +
            ", windows that end " +
            (*one.after == model::kBeforeAll ? "" : "after " + state::rfc3339(*one.after) + ", ") +
            "at " + state::rfc3339(*one.until) + " or before");
    }

    SnapshotTool& tool_;
    const CompareOptions& options_;
    const state::CheckpointMeta* a_ = nullptr;
    const state::CheckpointMeta* b_ = nullptr;
    std::map<std::string, std::uint64_t> incomplete_;  // differences so far, by reduction
};

}  // namespace

int command_compare(const CompareOptions& options) {
    auto opened = SnapshotTool::open("compare", std::nullopt);
    if (!opened) {
        std::fprintf(stderr, "sluice: %s\n", opened.error().text.c_str());
        return kExitStateBroken;
    }
    SnapshotTool& tool = **opened;
    std::vector<std::string> paths;
    for (const std::string& side : {options.a, options.b}) {
        if (tool.disk().info(side + "/" + state::kManifestName)) {
            paths.push_back(side);  // a snapshot
            continue;
        }
        const auto newest = newest_snapshot(side);
        if (!newest) {
            return tool.fail(newest.error().exit_code, side + ": " + newest.error().text);
        }
        if (const int wrong = tool.readable(*newest); wrong != kExitOk) {
            return wrong;
        }
        paths.push_back(*newest);
    }
    const auto differ = Comparison(tool, options).run(paths[0], paths[1]);
    return !differ ? tool.fail(differ.error()) : *differ ? kExitFalse : kExitOk;
}

}  // namespace sluice::daemon
