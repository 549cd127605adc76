// What the offline commands share: a disk of their own, exit codes, progress, streams.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/model/clock.h"
#include "state/model/result.h"
#include "state/tools/portable_file.h"
#include "state/tools/snapshot.h"

namespace sluice::daemon {

// Life: one command. Thread: the main one.
class SnapshotTool {
 public:
    // `what` begins every message: "savepoint export". Errors: unavailable, exhausted.
    static model::Result<std::unique_ptr<SnapshotTool>> open(std::string what,
                                                             std::optional<std::uint64_t> rate);

    state::Disk& disk() { return writes_by_; }

    // Threads beside the main one that compress, check and write what is gigabytes: one for each
    // core, and no more than memory should be held for.
    static unsigned threads();

    // Says it on stderr and gives the exit code that goes with it.
    int fail(const model::Error& error) const;
    int fail(int exit_code, const std::string& text) const;

    // 0: it is there and may be read. Else it was said why not: 66, 77.
    int readable(const std::string& path) const;
    // 0: nothing is there, and its directory is. Else it was said: 73, 66.
    int creatable(const std::string& path) const;

    // Shows a line that is written over, with the time that is left; null unless stderr is a
    // terminal. `unit` is what is counted.
    state::Progress progress(std::string unit);

    // What there is to read at `path`: a file, "-" for stdin, or something that is read as it comes
    // (a pipe), of which no size is known: 0.
    struct Source {
        std::unique_ptr<state::ByteSource> bytes;
        std::uint64_t size = 0;
    };
    model::Result<Source> source(const std::string& path);

    // From now on no other tool makes something new in the directory of `path`; the claim ends with
    // the process. Waits for one that is at it.
    model::Status claim(const std::string& path);

 private:
    SnapshotTool(std::string what, std::unique_ptr<state::Disk> disk,
                 std::optional<std::uint64_t> rate);

    const std::string what_;
    const std::unique_ptr<state::Disk> disk_;
    state::Disk& writes_by_;  // that, or its background where a rate is to be kept to
    model::SystemClock clock_;
};

// stdout, at most `rate` bytes per second.
class OutputSink final : public state::ByteSink {
 public:
    explicit OutputSink(std::optional<std::uint64_t> rate) : rate_(rate) {}
    model::Status write(std::string_view bytes) override;

 private:
    const std::optional<std::uint64_t> rate_;
    model::SystemClock clock_;
    std::int64_t begun_ns_ = 0;
    std::uint64_t written_ = 0;
};

// As SnapshotTool::readable() sees it: a link to a directory is one.
bool is_directory(const std::string& path);

// Calls `take` for every line of stdin, without its end. Errors: invalid (a line longer than 64
// MiB), unavailable, those of `take`.
model::Status each_input_line(const std::function<model::Status(std::string_view)>& take);

}  // namespace sluice::daemon
