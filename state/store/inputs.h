// The recorded inputs: the canonical text of everything that can change a result, apart from the
// log. Content-addressed: STATE/inputs/<hash>, the XXH3-128 of the text as 32 hex digits. A file is
// durable before a manifest names it, linked into every snapshot that names it, and removed
// when no snapshot does.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/model/result.h"

namespace sluice::state {

std::string inputs_hash(std::string_view text);

// Thread: one at a time. Calls block.
class Inputs {
 public:
    // `disk` must outlive it.
    Inputs(Disk& disk, std::string directory);

    // Writes the text durably unless it is there, and returns its hash.
    model::Result<std::string> keep(std::string_view text);
    // Errors: invalid (not there), corrupt (the bytes are not those of the name).
    model::Result<std::string> read(const std::string& hash) const;
    std::string path(const std::string& hash) const;
    // Removes all but `keep`, and leftovers.
    model::Status sweep(const std::set<std::string>& keep);

 private:
    Disk& disk_;
    const std::string directory_;
    std::set<std::string> kept_;  // durable, as this process knows
};

}  // namespace sluice::state
