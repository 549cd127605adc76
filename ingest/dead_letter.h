// Dead letters: records that cannot be processed, kept for a person to look at.
//
// At least once: after a crash the replay may write a letter again; topic, partition and offset
// tell. What a seal covers is durable (sync()) before its manifest.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ingest/decoder.h"
#include "state/model/partition.h"
#include "state/model/result.h"

namespace sluice::ingest {

// One letter as a line of JSON with its newline: topic, partition, offset, timestamp, reason, key,
// value, headers; key, values and header values in base64. A damaged stretch of the log has
// `offset` = its first one and `last_offset`.
std::string dead_letter_line(const model::Partition& partition, model::Offset offset,
                             const SetAside& letter);

// Thread: any.
class DeadLetters {
 public:
    virtual ~DeadLetters() = default;

    // Takes one line, in memory; does not block. Errors: exhausted (no room, and policy is to
    // pause): nothing was taken, come again after flush() or when a person made room.
    virtual model::Status append(std::string line) = 0;

    // Blocks: writes what was taken. Called from time to time; errors are kept for the next sync().
    virtual void flush() = 0;

    // Blocks: makes durable all that was taken before the call. Errors: unavailable (come again),
    // corrupt (a failed sync, for good: what the disk holds is unknown, and only a restart, which
    // writes the letters of the replay again, makes it right).
    virtual model::Status sync() = 0;

    virtual std::uint64_t written() const = 0;  // letters, since opened
    virtual std::uint64_t dropped() const = 0;  // for want of room, by policy
};

struct DeadLetterFileSettings {
    std::string path;
    std::uint64_t max_bytes = 256ull << 20;
    bool drop_when_full = false;
    std::uint64_t buffer_bytes = 4ull << 20;  // taken and not written yet
    // Called when the buffer has become half full, by whoever appends: somebody is to flush() now,
    // or those who append will have to wait. Must not block. None: nobody is told.
    std::function<void()> half_full = {};
};

// An append-only file. A line that a crash tore is cut off when the file is opened. When somebody
// moves or truncates the file, the next flush() begins anew.
class DeadLetterFile final : public DeadLetters {
 public:
    // Blocks. Errors: unavailable (cannot be created or read).
    static model::Result<std::unique_ptr<DeadLetterFile>> open(DeadLetterFileSettings settings);
    ~DeadLetterFile() override;

    model::Status append(std::string line) override;
    void flush() override;
    model::Status sync() override;
    std::uint64_t written() const override;
    std::uint64_t dropped() const override;
    std::uint64_t bytes() const;  // of the file, and of what waits for it

 private:
    explicit DeadLetterFile(DeadLetterFileSettings settings);
    model::Status open_file();
    model::Status write_out();
    model::Status sync_file();

    const DeadLetterFileSettings settings_;

    std::mutex file_mutex_;  // taken before mutex_
    int fd_ = -1;            // guarded by file_mutex_, as the next three
    bool unsynced_ = false;
    bool new_name_ = false;  // the directory must be synced as well
    bool broken_ = false;    // a sync failed

    mutable std::mutex mutex_;  // never held while the disk is busy; guards what follows
    std::string buffer_;
    std::uint64_t file_bytes_ = 0;
    std::uint64_t in_flight_bytes_ = 0;  // taken out of buffer_, being written
    std::uint64_t lines_ = 0;
    std::uint64_t dropped_ = 0;
};

// For tests and simulation. What was not synced is lost by crash().
class DeadLettersInMemory final : public DeadLetters {
 public:
    model::Status append(std::string line) override;
    void flush() override {}
    model::Status sync() override;
    std::uint64_t written() const override;
    std::uint64_t dropped() const override { return 0; }

    void set_full(bool full);
    void crash();
    std::vector<std::string> lines() const;

 private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
    std::size_t synced_ = 0;
    bool full_ = false;
};

}  // namespace sluice::ingest
