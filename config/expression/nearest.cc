#include "config/expression/nearest.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace sluice::config {

namespace {

char small(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::size_t distance(std::string_view a, std::string_view b) {
    // Three rows of the usual table: two back, one back, this one.
    std::vector<std::size_t> before(b.size() + 1);
    std::vector<std::size_t> previous(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        previous[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const bool same = small(a[i - 1]) == small(b[j - 1]);
            row[j] = std::min({previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (same ? 0 : 1)});
            if (i > 1 && j > 1 && small(a[i - 1]) == small(b[j - 2]) &&
                small(a[i - 2]) == small(b[j - 1])) {
                row[j] = std::min(row[j], before[j - 2] + 1);
            }
        }
        std::swap(before, previous);
        std::swap(previous, row);
    }
    return previous[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view name, std::span<const std::string_view> candidates) {
    constexpr std::size_t kLongest = 100;  // nobody mistypes such a name
    std::string_view best;
    std::size_t least = 0;
    if (name.empty() || name.size() > kLongest) {
        return best;
    }
    for (const std::string_view candidate : candidates) {
        if (candidate.size() > kLongest) {
            continue;
        }
        const std::size_t limit =
            std::max<std::size_t>(1, std::max(name.size(), candidate.size()) / 3);
        const std::size_t d = distance(name, candidate);
        if (d <= limit && d < name.size() && (best.empty() || d < least)) {
            best = candidate;
            least = d;
        }
    }
    return best;
}

}  // namespace sluice::config
