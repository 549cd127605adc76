// The seam for time. Durations come from the steady clock only; the wall clock may step.
#pragma once

#include <cstdint>

#include "state/model/time.h"

namespace sluice::model {

// Thread: any.
class Clock {
 public:
    virtual ~Clock() = default;
    virtual EventTime wall_ms() const = 0;
    virtual std::int64_t steady_ns() const = 0;  // from an arbitrary origin, never steps back
    std::int64_t steady_ms() const { return steady_ns() / 1'000'000; }
    // CPU time of the calling thread, from an arbitrary origin. Where one thread is all there is,
    // the time that passes is its own.
    virtual std::int64_t thread_cpu_ns() const { return steady_ns(); }
};

class SystemClock final : public Clock {
 public:
    EventTime wall_ms() const override;
    std::int64_t steady_ns() const override;
    std::int64_t thread_cpu_ns() const override;
};

}  // namespace sluice::model
