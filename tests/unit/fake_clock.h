// A clock that stands until the test moves it: both of its times, together. Thread: any.
#pragma once

#include <atomic>
#include <cstdint>

#include "state/model/clock.h"

namespace sluice::test {

class FakeClock final : public model::Clock {
 public:
    static constexpr model::EventTime kOrigin = 1'700'000'000'000;  // wall clock at the beginning

    model::EventTime wall_ms() const override { return kOrigin + now_ms_; }
    std::int64_t steady_ns() const override { return now_ms_ * 1'000'000; }

    void advance(std::int64_t ms) { now_ms_ += ms; }

 private:
    std::atomic<std::int64_t> now_ms_ = 1'000;
};

}  // namespace sluice::test
