// How long to wait before the next attempt: doubling from 50 ms to 5 s, with jitter from a seed.
#pragma once

#include <algorithm>
#include <cstdint>

#include "state/model/time.h"

namespace sluice::sinks {

class Backoff {
 public:
    explicit Backoff(std::uint64_t seed) : state_(seed) {}

    // Between half and the whole of the current delay.
    model::DurationMs next() {
        const model::DurationMs whole = std::min<model::DurationMs>(50LL << attempt_, 5000);
        attempt_ = std::min(attempt_ + 1, 7);
        // SplitMix64 (Steele, Lea, Flood, 2014).
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        z ^= z >> 31;
        const auto half = static_cast<std::uint64_t>(whole) / 2;
        return whole - static_cast<model::DurationMs>(z % (half + 1));
    }
    void reset() { attempt_ = 0; }

 private:
    std::uint64_t state_;
    int attempt_ = 0;
};

}  // namespace sluice::sinks
