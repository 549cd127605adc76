// Whose the fence is, and with what value this process claims it.
//
// Epoch.  Taken once, one above everything that was ever seen: a second instance takes a higher
// one,
//   and from then on we are fenced for ever.
// Turn.  Within our epoch the value says how often the fence had to be written anew because it was
//   lost, or an older instance took it meanwhile. A connection that finds another turn than its own
//   must look again at what Redis holds, although the fence is ours.
//
// Thread: one (sink).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sinks/control.h"

namespace sluice::sinks {

class FenceClaim {
 public:
    // `owner`: who we are, of this process alone. `known_epoch`: the highest that our state knows.
    FenceClaim(std::string owner, std::uint64_t known_epoch)
        : owner_(std::move(owner)), known_epoch_(known_epoch) {}

    struct Claim {
        std::uint64_t epoch = 0;
        std::uint64_t turn = 0;
        std::string value;  // to be written
    };
    // What to write over `found`. None: a newer instance owns the pipeline.
    std::optional<Claim> over(const Fence& found);
    // It was written, and read back.
    void taken(const Claim& claim);

    std::uint64_t epoch() const { return epoch_; }  // ours; 0: not taken yet

 private:
    std::string owner_of(std::uint64_t turn) const;
    std::optional<std::uint64_t> turn_of(const Fence& fence) const;

    const std::string owner_;
    const std::uint64_t known_epoch_;
    std::uint64_t epoch_ = 0;
    std::uint64_t turn_ = 1;          // how often the fence had to be written anew, from 1
    std::uint64_t claimed_turn_ = 1;  // the highest that was tried
};

}  // namespace sluice::sinks
