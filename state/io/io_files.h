// The files of the production disk: written, read and streamed through its queue. See io_engine.h.
//
// Thread: each by one at a time. The queue outlives them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/io/io_queue.h"

namespace sluice::state {

// Stages what is appended: a small file in memory of its own, a big one in blocks of the pool. Its
// end waits for what is in flight; what was appended is in the file then, as after close(), and not
// durable. In the background, what was not flushed is given up.
class IoWriter final : public WritableFile {
 public:
    IoWriter(IoQueue& queue, std::string path, Descriptor descriptor, std::uint64_t size,
             bool direct, bool background);
    ~IoWriter() override;
    IoWriter(const IoWriter&) = delete;
    IoWriter& operator=(const IoWriter&) = delete;

    model::Status append(std::string_view bytes) override;
    model::Status flush() override;
    void begin_sync() override;
    model::Status sync() override;
    std::uint64_t size() const override { return position_ + used_ + small_.size(); }

 private:
    void fill(std::string_view bytes);
    void send();  // what is staged goes to the queue
    void open_direct();

    IoQueue& queue_;
    OpenFile file_;
    bool direct_wanted_;
    std::uint64_t position_;  // of what is staged: in `block_` if it has one, else in `small_`
    Block block_;
    std::size_t used_ = 0;
    std::string small_;
};

// Small reads on the caller's thread, big ones through the queue, all of their blocks at once.
class IoReader final : public ReadableFile {
 public:
    IoReader(IoQueue& queue, std::string path, Descriptor descriptor)
        : queue_(queue), path_(std::move(path)), descriptor_(std::move(descriptor)) {}

    model::Result<std::size_t> read(std::uint64_t offset, std::size_t bytes,
                                    char* to) const override;
    void read_soon(std::uint64_t offset, std::size_t bytes) const override;
    std::uint64_t size() const override;

 private:
    IoQueue& queue_;
    const std::string path_;
    const Descriptor descriptor_;
};

// Four blocks on their way ahead of the reader. A file that becomes shorter meanwhile is an error.
class IoStream final : public ReadStream {
 public:
    IoStream(IoQueue& queue, std::string path, Descriptor descriptor, bool direct, bool background);
    ~IoStream() override;
    IoStream(const IoStream&) = delete;
    IoStream& operator=(const IoStream&) = delete;

    model::Result<std::string_view> next() override;
    std::uint64_t size() const override { return size_; }

 private:
    static constexpr std::size_t kAhead = 4;
    struct Piece {
        Block block;
        Waiting waiting;
        int result = 0;
    };

    void ask(Piece& piece);

    IoQueue& queue_;
    const std::string path_;
    const bool background_;
    RingFile cached_;
    RingFile direct_;
    bool direct_works_ = true;
    std::uint64_t size_ = 0;
    std::uint64_t asked_ = 0;  // up to here, in whole blocks
    std::uint64_t at_ = 0;     // up to here it was given
    Piece* given_ = nullptr;   // what the caller looks at
    std::array<Piece, kAhead> pieces_;
};

}  // namespace sluice::state
