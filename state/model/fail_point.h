// Named places where a test can make the process die, as by kill -9: one at each durable step.
//
//     SLUICE_FAIL_POINT("journal.after_sync");
//
// Inert in production: one relaxed load of a zero. The environment variable
// SLUICE_FAIL_POINT="name:N" makes the process kill itself with SIGKILL at the N-th pass (":N" may
// be left out: the first). Every point of the program is registered before main, whether it is ever
// passed or not, so `sluice version --verbose` can list them and a crash test cannot forget one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/result.h"

namespace sluice::model {

// Thread: pass() from any. Lives as long as the program.
class FailPoint {
 public:
    explicit FailPoint(const char* name);
    FailPoint(const FailPoint&) = delete;
    FailPoint& operator=(const FailPoint&) = delete;

    void pass() {
        if (watched_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
            count_pass();
        }
    }

 private:
    friend struct FailPointRegistry;
    void count_pass();

    std::atomic<std::uint32_t> watched_{0};
    std::atomic<std::uint64_t> passes_{0};
    std::atomic<std::uint64_t> dies_at_{0};  // 0: never
    const char* name_;
    FailPoint* next_ = nullptr;
};

// A string literal as a template argument: one name is one FailPoint, however often it is written.
template <std::size_t kLength>
struct FailPointName {
    char text[kLength]{};
    // NOLINTNEXTLINE(google-explicit-constructor): a literal is meant to become one
    consteval FailPointName(const char (&literal)[kLength]) { std::copy_n(literal, kLength, text); }
};

template <FailPointName kName>
inline constexpr FailPointName kFailPointText = kName;

template <FailPointName kName>
inline FailPoint fail_point{kFailPointText<kName>.text};

// Names of all points in this program, sorted.
std::vector<std::string> fail_point_names();

// Error (invalid, saying what is wrong) if the environment variable is set and names no point
// of this program or has no sensible number. Without this check a misspelt name tests nothing.
Status check_fail_point_environment();

// For tests. Arms a point as the environment variable does; invalid: no such point.
Status arm_fail_point(std::string_view name, std::uint64_t nth_pass);
// Counts the passes of every point while it lives, from zero. One at a time.
class FailPointCounts {
 public:
    FailPointCounts();
    ~FailPointCounts();
    FailPointCounts(const FailPointCounts&) = delete;
    FailPointCounts& operator=(const FailPointCounts&) = delete;
    std::uint64_t passes(std::string_view name) const;  // 0 for a name that does not exist
};

}  // namespace sluice::model

#define SLUICE_FAIL_POINT(name) (::sluice::model::fail_point<name>.pass())
