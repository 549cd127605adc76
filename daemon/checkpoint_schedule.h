// When a checkpoint is due: by the clock, because somebody asked for one, or because the last one
// was skipped.
//
// Thread: request(), done() and skipped(ticket) any; everything else one (coordinator). Instants on
// the steady clock, in ms.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::daemon {

// How far apart checkpoints begin: as asked for, or four times the CPU time that the last one took,
// at most ten times what was asked for.
std::int64_t effective_interval_ms(std::int64_t every_ms, std::uint64_t cpu_ns);

class CheckpointSchedule {
 public:
    CheckpointSchedule(std::int64_t every_ms, std::int64_t now_ms)
        : every_ms_(every_ms), interval_ms_(every_ms), begun_ms_(now_ms) {}

    // Thread: any. A ticket for done(): over with the first checkpoint that begins behind it and is
    // committed.
    std::uint64_t request() { return requested_.fetch_add(1) + 1; }
    bool done(std::uint64_t ticket) const { return done_.load() >= ticket; }
    // It began and was skipped; it is tried again by itself. Thread: any.
    bool skipped(std::uint64_t ticket) const { return skipped_.load() >= ticket; }

    // Looks at the clock and the requests.
    void look(std::int64_t now_ms);
    // One is due, as of the last look.
    bool wanted() const { return wanted_; }
    // One that was skipped is not tried again at once.
    bool may_begin(std::int64_t now_ms) const { return now_ms >= earliest_ms_; }

    // One begins: it answers every request so far.
    void begin(std::int64_t now_ms);
    // It is committed, and took this CPU time. The next one comes later the more that was.
    void committed(std::uint64_t cpu_ns);
    // It was skipped: one stays wanted.
    void note_skipped(std::int64_t now_ms);
    // None begins for a second.
    void put_off(std::int64_t now_ms);

    std::int64_t interval_ms() const { return interval_ms_; }  // effective

 private:
    const std::int64_t every_ms_;
    std::int64_t interval_ms_;
    std::int64_t begun_ms_;
    std::int64_t earliest_ms_ = 0;
    bool wanted_ = false;
    std::uint64_t answers_ = 0;  // requests that the newest one answers
    std::atomic<std::uint64_t> requested_ = 0;
    std::atomic<std::uint64_t> done_ = 0;
    std::atomic<std::uint64_t> skipped_ = 0;
};

}  // namespace sluice::daemon
