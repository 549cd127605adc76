// The journal: every decision that depends on a clock, written down before anything that depends on
// it leaves. docs/FORMAT.md, section "Journal", describes the bytes.
//
// Design: a directory of segments, each a header and frames. One append is one frame, one write and
// one fdatasync, under one checksum, so a crash leaves a frame whole or torn, and never two frames
// torn: the next frame is written only after the sync of the one before. Hence the rule of
// recovery: invalid bytes behind which no valid frame follows are a torn tail and are cut off;
// invalid bytes with a valid frame behind them are damage, and nobody guesses. Each entry carries
// the number of the journaled entry before it, so a missing segment shows as a gap. Segments begin
// at each start and when one has grown past `segment_bytes`, which makes forgetting the past a
// matter of removing files.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/io/disk.h"
#include "state/model/barrier.h"
#include "state/model/result.h"

namespace sluice::state {

using Lineage = std::array<std::uint8_t, 16>;   // random; all zero: none yet
std::string to_string(const Lineage& lineage);  // 32 hex digits
model::Result<Lineage> lineage_from(std::string_view hex);

// Life:    open(); start_lineage() if there is none; then append(). After an error of append() or
//          start_lineage() the journal is dead: every later call that writes fails (the daemon
//          exits with 74; the next start recovers).
// Thread:  one at a time (the coordinator).
// `disk` must outlive it.
class Journal {
 public:
    struct Options {
        // Part of the names of the segments that this process begins; unique to this start, of
        // [a-z0-9], so that no file name is ever used twice.
        std::string boot;
        std::uint64_t segment_bytes = 8ull << 20;
    };
    struct Opened {
        std::unique_ptr<Journal> journal;
        std::vector<std::string> repairs;  // what was cut off, in words, for the log
    };

    // Reads and checks every segment in `directory` (made, durably, if it is not there) and carries
    // the newest over, without a torn tail. Errors: corrupt (damage, with file and position),
    // invalid (written by another release), unavailable, exhausted.
    static model::Result<Opened> open(Disk& disk, std::string directory, Options options);

    // Durable when it returns. Numbers must rise and be journaled kinds; `barriers` not empty.
    model::Status append(std::span<const model::Barrier> barriers);

    // Begins a new lineage: numbers go on above `previous` (0 for a fresh one). What was there
    // before belongs to older lineages from now on. Durable when it returns.
    model::Status start_lineage(const Lineage& lineage, model::BarrierNumber previous);

    const Lineage& lineage() const { return lineage_; }
    bool has_lineage() const { return lineage_ != Lineage{}; }
    // Of this lineage; the `previous` of start_lineage() if it has no entry yet.
    model::BarrierNumber last_number() const { return last_number_; }
    // The greatest position of each partition that any kept entry of this lineage names.
    const model::Offsets& highest_offsets() const { return highest_; }
    // What the reload entries say, of all that is kept, in order.
    const std::vector<std::string>& reloads() const { return reloads_; }

    // Entries of this lineage above `number`, in order; read again from the disk.
    model::Result<std::vector<model::Barrier>> entries_after(model::BarrierNumber number) const;
    // True if an entry of this lineage above `number` is missing: a replay from there would not be
    // the same. (A lost tail shows only against a number kept elsewhere: compare last_number().)
    bool has_gap_after(model::BarrierNumber number) const;

    // Removes whole segments that hold no entry above `number`; never the newest.
    model::Status forget_before(model::BarrierNumber number);
    // Segments of older lineages: no start uses them. Removed by forget_older_lineages().
    std::vector<std::string> older_segments() const;
    model::Status forget_older_lineages();

    std::uint64_t stored_bytes() const;  // of all segments
    std::uint64_t segments() const;

 private:
    struct Segment {
        std::string path;
        Lineage lineage{};
        std::uint64_t ordinal = 0;          // rises over all lineages
        std::uint64_t replaces = 0;         // ordinal of the one that it carries over; 0: none
        model::BarrierNumber previous = 0;  // journaled before its first entry
        model::BarrierNumber last = 0;      // == previous: no entry
        std::uint64_t bytes = 0;
    };

    Journal(Disk& disk, std::string directory, Options options);
    // Durable when it returns; the newest from then on, with `carried_over` as its first frames.
    model::Status begin_segment(Segment segment, std::string_view carried_over);
    model::Status begin_segment(const Lineage& lineage, model::BarrierNumber previous);
    void note_offsets(std::span<const model::Barrier> barriers);
    model::Status die(model::Error error);

    Disk& disk_;
    const std::string directory_;
    const Options options_;
    std::vector<Segment> segments_;  // by ordinal
    Lineage lineage_{};
    model::BarrierNumber last_number_ = 0;
    model::Offsets highest_;
    std::vector<std::string> reloads_;
    std::unique_ptr<WritableFile> file_;  // the newest segment, once this process has begun it
    std::string dead_;                    // why; empty: alive
};

}  // namespace sluice::state
