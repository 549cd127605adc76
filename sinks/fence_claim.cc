#include "sinks/fence_claim.h"

#include <algorithm>

namespace sluice::sinks {

std::optional<FenceClaim::Claim> FenceClaim::over(const Fence& found) {
    Claim claim;
    if (epoch_ == 0) {
        claim.epoch = std::max(found.epoch, known_epoch_) + 1;
        claim.turn = 1;
    } else if (const auto turn = turn_of(found)) {
        claim.epoch = epoch_;
        claim.turn = std::max(turn_, *turn);
    } else if (found.epoch >= epoch_) {
        return std::nullopt;
    } else {
        // The fence was lost, or an older instance took it meanwhile. Our other connections must
        // notice, although it will be ours again when they look.
        claim.epoch = epoch_;
        claim.turn = ++claimed_turn_;
    }
    claim.value = encode_fence({claim.epoch, owner_of(claim.turn)});
    return claim;
}

void FenceClaim::taken(const Claim& claim) {
    if (epoch_ == 0) {
        epoch_ = claim.epoch;
    }
    turn_ = std::max(turn_, claim.turn);
}

// The owner in the fence: ours, and behind it from the second turn on which one.
std::string FenceClaim::owner_of(std::uint64_t turn) const {
    return turn == 1 ? owner_ : owner_ + "#" + std::to_string(turn);
}

// Empty: the fence is not ours.
std::optional<std::uint64_t> FenceClaim::turn_of(const Fence& fence) const {
    if (fence.epoch != epoch_) {
        return std::nullopt;
    }
    for (std::uint64_t turn = claimed_turn_; turn >= 1; --turn) {
        if (fence.owner == owner_of(turn)) {
            return turn;
        }
    }
    return std::nullopt;
}

}  // namespace sluice::sinks
