// What an edit of the configuration does to a state: one pure function from two configurations to a
// list of changes. `sluice plan` prints it, a start and a reload obey it, so a plan cannot lie.
//
// State belongs to a reduction's id, and within it to each call (`sum(price * quantity) where …`):
// a value whose calls are all there already starts with what they hold, a call that is new starts
// empty, one that no value names any more is dropped. Key, window and time say what a row is at
// all: where they change, the rows cannot be kept. Neither can those of a reduction that is gone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.h"

namespace sluice::config {

enum class Verdict : std::uint8_t {
    live,          // a reload applies it; so does a restart
    restart,       // read when the process starts
    starts_empty,  // new: begins without state, and says so (`complete = 0`) until it is whole
    migrates,      // the state is kept, but for what `lost` names
    breaks,        // the state cannot be kept: refused, unless `command` says to give it up
};
std::string_view name_of(Verdict verdict);  // "live", "restart", "new, starts empty", …

struct Change {
    std::string key;     // as in Loaded::places: "reduce.spend.values.p99"
    std::string before;  // empty: it was not there
    std::string after;   // empty: it is gone
    Verdict verdict = Verdict::live;
    std::string kept;     // what state stays, in words
    std::string lost;     // what goes; empty: nothing
    std::string command;  // what applies it
    bool operator==(const Change&) const = default;
};

// What the user said on the command line. Both count only where the edit calls for them, so that a
// command line that is used again, by a supervisor for instance, does nothing twice.
struct Decisions {
    std::set<std::string> drop_state;            // reductions whose state may go
    std::map<std::string, std::string> renamed;  // old id → new id
};

// What becomes of one reduction of the new configuration.
struct ReductionEdit {
    std::string id;
    std::string from;           // whose state it takes; empty: it starts empty
    std::vector<int> calls;     // for each of its calls, which of `from`'s it was; −1: new
    bool same_rows = false;     // rows are as before: as many calls, in the same order
    bool same_results = false;  // a window that was written would be written again as it was
    bool grows = false;         // a call is new: incomplete until the first whole window
    bool dropped = false;       // starts empty although there was a state: the user said so
    bool operator==(const ReductionEdit&) const = default;
};

struct Edit {
    std::vector<Change> changes;
    std::vector<ReductionEdit> reductions;  // by position in the new configuration
    bool recorded = false;  // something changed that can change a result: it takes a barrier

    bool breaks() const;
    bool needs_restart() const;
};

// The settings of `pipeline` that are in force, as text, by key.
std::map<std::string, std::string> effective_settings(const Pipeline& pipeline);

// `before` holds the effective settings that can change no result (addresses, threads, memory, …),
// where they are known; empty: only what is recorded is compared.
Edit compare(const Pipeline& from, const Pipeline& to, const Decisions& decisions,
             const std::map<std::string, std::string>& before = {});

// The rule for a key of the table of settings ("source", "brokers"); none: nobody has thought of
// it. The verdict is that of a change; what is new or gone in a reduction is judged by compare().
std::optional<Verdict> verdict_of(std::string_view section, std::string_view key);

// All changes that break state, as one text for an error: what, why, and the way out.
std::string refusal(const Edit& edit);

}  // namespace sluice::config
