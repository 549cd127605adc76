#include "ingest/pace.h"

namespace sluice::ingest {

void PartitionPace::took(std::int64_t now_ms, model::EventTime watermark) {
    took_ms_ = now_ms;
    flowing_ = true;
    const std::int64_t time = now_ms - since_ms_;
    if (measured_ && since_ != model::kBeforeAll) {
        if (time < kStrideMs) {
            return;
        }
        stride_ = (watermark - since_) * kStrideMs / time;
    }
    measured_ = true;
    since_ms_ = now_ms;
    since_ = watermark;
}

bool PartitionPace::waits(std::int64_t now_ms, model::EventTime watermark, model::EventTime least) {
    if (!flowing_ || watermark == model::kBeforeAll || least == model::kBeforeAll ||
        least == model::kAfterAll) {
        return false;
    }
    const model::DurationMs may = std::max(kWindows * window_ms_, stride_);
    if (watermark <= model::saturating_add(least, may) || now_ms - took_ms_ >= kPatienceMs) {
        return false;
    }
    measured_ = false;
    return true;
}

}  // namespace sluice::ingest
