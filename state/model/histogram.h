// Durations, counted by how long they were: what a Prometheus histogram is made of.
//
// A plain value: whoever owns it adds, others have copies of it. `kBounds` are microseconds,
// ascending; a duration belongs to the first bound that it does not exceed, and one bucket more is
// for those above all.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::model {

template <const auto& kBounds>
struct Histogram {
    static constexpr const auto& kBoundsUs = kBounds;
    std::array<std::uint64_t, kBounds.size() + 1> counts{};
    std::uint64_t sum_us = 0;

    void add(std::uint64_t us) {
        const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), us);
        ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
        sum_us += us;
    }

    Histogram& operator+=(const Histogram& other) {
        for (std::size_t i = 0; i < counts.size(); ++i) {
            counts[i] += other.counts[i];
        }
        sum_us += other.sum_us;
        return *this;
    }

    // The bound of the bucket that holds the given part (0..1) of the durations; 0: there were
    // none. What is above all bounds counts as the last one.
    std::uint64_t quantile_us(double part) const {
        std::uint64_t all = 0;
        for (const std::uint64_t count : counts) {
            all += count;
        }
        const auto wanted = static_cast<std::uint64_t>(static_cast<double>(all) * part);
        std::uint64_t below = 0;
        for (std::size_t i = 0; all > 0 && i < counts.size(); ++i) {
            below += counts[i];
            if (below >= wanted && below > 0) {
                return kBounds[std::min(i, kBounds.size() - 1)];
            }
        }
        return 0;
    }

    bool operator==(const Histogram&) const = default;
};

}  // namespace sluice::model
