#include "state/io/io_files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace sluice::state {

namespace {

constexpr std::size_t kSmall = 64 * 1024;
constexpr std::size_t kBulkRead = 128 * 1024;
constexpr long kXfsMagic = 0x58465342;  // linux/magic.h of Debian 12 lacks it

bool takes_direct(int descriptor) {
    struct statfs about{};
    return ::fstatfs(descriptor, &about) == 0 &&
           (about.f_type == EXT4_SUPER_MAGIC || about.f_type == kXfsMagic);
}

// By descriptor, not by name: the name may be another file's by now.
Descriptor open_direct_as(int descriptor, int flags) {
    const std::string same = "/proc/self/fd/" + std::to_string(descriptor);
    return Descriptor(::open(same.c_str(), flags | O_DIRECT | O_CLOEXEC));
}

// On the caller's thread. Fewer bytes only at the end of the file.
model::Result<std::size_t> read_here(int descriptor, const std::string& path, std::uint64_t offset,
                                     std::size_t bytes, char* to) {
    std::size_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            ::pread(descriptor, to + done, bytes - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return failed(path, errno);
        }
        if (got == 0) {
            break;
        }
        done += static_cast<std::size_t>(got);
    }
    return done;
}

}  // namespace

IoWriter::IoWriter(IoQueue& queue, std::string path, Descriptor descriptor, std::uint64_t size,
                   bool direct, bool background)
    : queue_(queue), direct_wanted_(direct), position_(size) {
    file_.path = std::move(path);
    file_.background = background;
    file_.cached.descriptor = std::move(descriptor);
}

IoWriter::~IoWriter() {
    if (file_.background) {
        queue_.abandon(file_);  // nobody waits for a bound of bandwidth because of what is given up
    } else {
        // Not durable, but not forgotten either: as close() leaves a file.
        static_cast<void>(IoWriter::flush());
    }
    // A dead file, too, waits for what is in flight: it points to us.
    static_cast<void>(queue_.drain(file_));
    queue_.leave(file_.cached);
    queue_.leave(file_.direct);
    if (block_.bytes != nullptr) {
        queue_.give_back(block_);
    }
}

model::Status IoWriter::append(std::string_view bytes) {
    TRY(queue_.status(file_));
    if (block_.bytes == nullptr && small_.size() + bytes.size() <= kSmall) {
        small_ += bytes;
        return {};
    }
    std::string before = std::move(small_);
    small_.clear();
    fill(before);
    fill(bytes);
    return {};
}

model::Status IoWriter::flush() {
    TRY(queue_.status(file_));
    send();
    return queue_.drain(file_);
}

void IoWriter::begin_sync() {
    if (queue_.status(file_)) {
        send();
        queue_.begin_sync(file_);
    }
}

model::Status IoWriter::sync() {
    TRY(queue_.status(file_));
    send();
    return queue_.sync(file_);
}

void IoWriter::fill(std::string_view bytes) {
    while (!bytes.empty()) {
        if (block_.bytes == nullptr) {
            open_direct();
            block_ = queue_.take_block(file_.background);
        }
        // Blocks end at multiples of their size, so after an odd start the next one is aligned.
        const std::size_t limit = kBlock - static_cast<std::size_t>(position_ % kBlock);
        const std::size_t take = std::min(bytes.size(), limit - used_);
        std::memcpy(block_.bytes + used_, bytes.data(), take);
        used_ += take;
        bytes.remove_prefix(take);
        if (used_ == limit) {
            send();
        }
    }
}

void IoWriter::send() {
    if (!small_.empty() || used_ > 0) {
        queue_.enter(file_.cached);
    }
    if (!small_.empty()) {
        const std::uint64_t length = small_.size();
        queue_.write(file_, std::move(small_), position_);
        small_.clear();
        position_ += length;
    } else if (used_ > 0) {
        queue_.write(file_, std::exchange(block_, {}), used_, position_);
        position_ += std::exchange(used_, 0);
    }
}

void IoWriter::open_direct() {
    const int cached = file_.cached.descriptor.number();
    if (std::exchange(direct_wanted_, false) && takes_direct(cached)) {
        file_.direct.descriptor = open_direct_as(cached, O_WRONLY);
        queue_.enter(file_.direct);
    }
}

model::Result<std::size_t> IoReader::read(std::uint64_t offset, std::size_t bytes, char* to) const {
    if (bytes < kBulkRead) {
        return read_here(descriptor_.number(), path_, offset, bytes, to);
    }
    // Readers ahead ask for far more than there is.
    const std::uint64_t end = size();
    bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes, end > offset ? end - offset : 0));
    std::vector<IoRequest> requests;
    for (std::size_t at = 0; at < bytes; at += kBlock) {
        IoRequest request;
        request.kind = IoRequest::Kind::read;
        request.descriptor = descriptor_.number();
        request.bytes = to + at;
        request.length = static_cast<std::uint32_t>(std::min(kBlock, bytes - at));
        request.offset = offset + at;
        requests.push_back(request);
    }
    std::vector<int> results(requests.size());
    queue_.perform(requests, results);
    std::size_t done = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (results[i] < 0) {
            return failed(path_, -results[i]);
        }
        done += static_cast<std::size_t>(results[i]);
        if (static_cast<std::uint32_t>(results[i]) < requests[i].length) {
            // The end of the file, or a read that came back early: ask again from there.
            TRY(rest,
                read_here(descriptor_.number(), path_, offset + done, bytes - done, to + done));
            return done + rest;
        }
    }
    return done;
}

// The kernel's cache is where reads come from, so that is where they are to be.
void IoReader::read_soon(std::uint64_t offset, std::size_t bytes) const {
    static_cast<void>(::posix_fadvise(descriptor_.number(), static_cast<off_t>(offset),
                                      static_cast<off_t>(bytes), POSIX_FADV_WILLNEED));
}

std::uint64_t IoReader::size() const {
    struct stat about{};
    return ::fstat(descriptor_.number(), &about) == 0 ? static_cast<std::uint64_t>(about.st_size)
                                                      : 0;
}

IoStream::IoStream(IoQueue& queue, std::string path, Descriptor descriptor, bool direct,
                   bool background)
    : queue_(queue), path_(std::move(path)), background_(background) {
    struct stat about{};
    if (::fstat(descriptor.number(), &about) == 0) {
        size_ = static_cast<std::uint64_t>(about.st_size);
    }
    if (direct && size_ >= kBulkRead && takes_direct(descriptor.number())) {
        direct_.descriptor = open_direct_as(descriptor.number(), O_RDONLY);
        queue_.enter(direct_);
    }
    cached_.descriptor = std::move(descriptor);
    if (!direct_.descriptor) {
        queue_.enter(cached_);
    }
    for (std::size_t i = 0; i < kAhead && asked_ < size_; ++i) {
        pieces_[i].block = queue_.take_read_block();
        ask(pieces_[i]);
    }
}

IoStream::~IoStream() {
    for (Piece& piece : pieces_) {
        if (piece.block.bytes != nullptr) {
            queue_.await(piece.waiting);
            queue_.give_back_read(piece.block);
        }
    }
    queue_.leave(direct_);
    queue_.leave(cached_);
}

model::Result<std::string_view> IoStream::next() {
    if (given_ != nullptr) {
        ask(*std::exchange(given_, nullptr));
    }
    if (at_ == size_) {
        return std::string_view();
    }
    Piece& piece = pieces_[static_cast<std::size_t>(at_ / kBlock) % kAhead];
    queue_.await(piece.waiting);
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, size_ - at_));
    // Past the page cache whole pages are asked for, and more than there is may come.
    auto got = std::min(wanted, static_cast<std::size_t>(std::max(piece.result, 0)));
    if (piece.result == -EINVAL && direct_.descriptor) {
        direct_works_ = false;  // the device wants a larger alignment than we have
    } else if (piece.result < 0) {
        return failed(path_, -piece.result);
    }
    if (got < wanted) {
        TRY(rest, read_here(cached_.descriptor.number(), path_, at_ + got, wanted - got,
                            piece.block.bytes + got));
        got += rest;
    }
    if (got < wanted) {
        return model::unavailable(path_ + ": became shorter while it was read");
    }
    at_ += got;
    given_ = &piece;
    return std::string_view(piece.block.bytes, got);
}

void IoStream::ask(Piece& piece) {
    if (asked_ >= size_) {
        return;
    }
    IoRequest request;
    request.kind = IoRequest::Kind::read;
    IoQueue::aim(request, direct_.descriptor && direct_works_ ? direct_ : cached_);
    request.buffer = piece.block.index;
    request.bytes = piece.block.bytes;
    request.length = kBlock;
    request.offset = asked_;
    queue_.begin_read(request, piece.waiting, piece.result, background_);
    asked_ += kBlock;
}

}  // namespace sluice::state
