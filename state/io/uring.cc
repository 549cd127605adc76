#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "state/io/ring.h"
#include "state/model/invariant.h"

namespace sluice::state {
namespace {

// User data of the standing read on the eventfd; those of requests are token + 1.
constexpr std::uint64_t kWake = 0;
// Places for registered files; the first is the lock's. What is opened beyond them is named by its
// descriptor.
constexpr unsigned kFiles = 128;

std::string why_refused(int error) {
    const std::string words = std::generic_category().message(error);
    switch (error) {
        case ENOSYS:
            return "the kernel has no io_uring (" + words + ")";
        case EPERM:
        case EACCES:
            return "io_uring is forbidden: sysctl kernel.io_uring_disabled or a seccomp filter (" +
                   words + ")";
        case ENOMEM:
            return "the limit of locked memory is too low: ulimit -l, LimitMEMLOCK= (" + words +
                   ")";
        default:
            return "io_uring cannot be set up (" + words + ")";
    }
}

class Uring final : public Ring {
 public:
    Uring() = default;
    ~Uring() override {
        if (ready_) {
            // The standing read writes into a member: let it finish before the member goes.
            if (armed_) {
                wake();
                std::vector<IoCompletion> ignored;
                while (armed_) {
                    wait_once(ignored, std::nullopt);
                }
            }
            io_uring_queue_exit(&ring_);
        }
        if (event_ >= 0) {
            ::close(event_);
        }
    }
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;

    // 0 or an errno.
    int open(unsigned depth, int lock_descriptor) {
        event_ = ::eventfd(0, EFD_CLOEXEC);
        if (event_ < 0) {
            return errno;
        }
        // Room for every request at once and the standing read.
        if (const int error = io_uring_queue_init(depth + 1, &ring_, 0); error != 0) {
            return -error;
        }
        ready_ = true;
        io_uring_probe* const probe = io_uring_get_probe_ring(&ring_);
        if (probe == nullptr) {
            return ENOSYS;
        }
        bool complete = true;
        for (const int operation : {IORING_OP_READ, IORING_OP_READ_FIXED, IORING_OP_WRITE,
                                    IORING_OP_WRITE_FIXED, IORING_OP_FSYNC}) {
            complete = complete && io_uring_opcode_supported(probe, operation) != 0;
        }
        io_uring_free_probe(probe);
        if (!complete) {
            return ENOSYS;
        }
        if (const int error = make_table(lock_descriptor); error != 0) {
            return error;
        }
        // One round trip: a filter may let a ring be made and not be entered.
        wake();
        return arm_and_drain();
    }

    bool register_buffers(std::span<const std::span<char>> buffers) override {
        std::vector<iovec> vectors;
        for (const std::span<char> buffer : buffers) {
            vectors.push_back({buffer.data(), buffer.size()});
        }
        return io_uring_register_buffers(&ring_, vectors.data(),
                                         static_cast<unsigned>(vectors.size())) == 0;
    }

    int register_file(int descriptor) override {
        const std::lock_guard guard(table_mutex_);
        if (free_places_.empty()) {
            return -1;
        }
        const int place = free_places_.back();
        if (io_uring_register_files_update(&ring_, static_cast<unsigned>(place), &descriptor, 1) !=
            1) {
            return -1;
        }
        free_places_.pop_back();
        return place;
    }

    void forget_file(int file) override {
        const std::lock_guard guard(table_mutex_);
        const int none = -1;
        if (io_uring_register_files_update(&ring_, static_cast<unsigned>(file), &none, 1) == 1) {
            free_places_.push_back(file);
        }
    }

    void submit(std::span<const IoRequest> requests) override {
        for (const IoRequest& request : requests) {
            io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
            INVARIANT(entry != nullptr, "the ring has room for every request at once");
            switch (request.kind) {
                case IoRequest::Kind::write:
                    if (request.buffer >= 0) {
                        io_uring_prep_write_fixed(entry, request.descriptor, request.bytes,
                                                  request.length, request.offset, request.buffer);
                    } else {
                        io_uring_prep_write(entry, request.descriptor, request.bytes,
                                            request.length, request.offset);
                    }
                    break;
                case IoRequest::Kind::read:
                    if (request.buffer >= 0) {
                        io_uring_prep_read_fixed(entry, request.descriptor, request.bytes,
                                                 request.length, request.offset, request.buffer);
                    } else {
                        io_uring_prep_read(entry, request.descriptor, request.bytes, request.length,
                                           request.offset);
                    }
                    break;
                case IoRequest::Kind::data_sync:
                    io_uring_prep_fsync(entry, request.descriptor, IORING_FSYNC_DATASYNC);
                    break;
                case IoRequest::Kind::sync:
                    io_uring_prep_fsync(entry, request.descriptor, 0);
                    break;
            }
            if (request.file >= 0) {
                entry->fd = request.file;
                io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
            }
            io_uring_sqe_set_data64(entry, request.token + 1);
        }
        submit_prepared();
    }

    void wait(std::vector<IoCompletion>& completed,
              std::optional<std::int64_t> timeout_ns) override {
        if (!early_.empty()) {
            completed.insert(completed.end(), early_.begin(), early_.end());
            early_.clear();
            return;
        }
        wait_once(completed, timeout_ns);
    }

    void wake() override {
        const std::uint64_t one = 1;
        while (::write(event_, &one, sizeof one) < 0 && errno == EINTR) {
        }
    }

    std::string_view name() const override { return "io_uring"; }

 private:
    // 0 or an errno: the lock must be in the table, files in it are a saving.
    int make_table(int lock_descriptor) {
        std::vector<int> places(kFiles, -1);
        places.front() = lock_descriptor;
        if (io_uring_register_files(&ring_, places.data(), kFiles) == 0) {
            for (int place = kFiles - 1; place > 0; --place) {
                free_places_.push_back(place);
            }
            return 0;
        }
        return lock_descriptor < 0 ? 0 : -io_uring_register_files(&ring_, &lock_descriptor, 1);
    }

    void arm() {
        if (!armed_) {
            io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
            INVARIANT(entry != nullptr, "the ring has room for the standing read");
            io_uring_prep_read(entry, event_, &woken_, sizeof woken_, 0);
            io_uring_sqe_set_data64(entry, kWake);
            armed_ = true;
        }
    }

    // All prepared entries are with the kernel afterwards.
    void submit_prepared() {
        while (io_uring_sq_ready(&ring_) > 0) {
            const int taken = io_uring_submit(&ring_);
            if (taken == -EAGAIN || taken == -EBUSY) {
                reap(early_);  // the kernel asks for room among the completions
            } else {
                INVARIANT(taken >= 0 || taken == -EINTR, "io_uring takes what it accepted to take");
            }
        }
    }

    void wait_once(std::vector<IoCompletion>& completed, std::optional<std::int64_t> timeout_ns) {
        arm();
        submit_prepared();
        io_uring_cqe* entry = nullptr;
        if (timeout_ns) {
            __kernel_timespec time{*timeout_ns / 1'000'000'000, *timeout_ns % 1'000'000'000};
            io_uring_wait_cqe_timeout(&ring_, &entry, &time);
        } else {
            io_uring_wait_cqe(&ring_, &entry);
        }
        // However it came back (completion, signal, timeout): what is there counts.
        reap(completed);
    }

    void reap(std::vector<IoCompletion>& completed) {
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_cqe* entry = nullptr;
        io_uring_for_each_cqe(&ring_, head, entry) {
            ++seen;
            if (entry->user_data == kWake) {
                armed_ = false;
            } else if (entry->user_data != LIBURING_UDATA_TIMEOUT) {
                completed.push_back({entry->user_data - 1, entry->res});
            }
        }
        io_uring_cq_advance(&ring_, seen);
    }

    // 0 or an errno. The eventfd is set, so the standing read completes at once.
    int arm_and_drain() {
        arm();
        const int taken = io_uring_submit_and_wait(&ring_, 1);
        if (taken < 0) {
            armed_ = false;
            return -taken;
        }
        io_uring_cqe* entry = nullptr;
        if (const int error = io_uring_wait_cqe(&ring_, &entry); error != 0) {
            return -error;
        }
        const int result = entry->res;
        io_uring_cqe_seen(&ring_, entry);
        armed_ = false;
        return result == static_cast<int>(sizeof woken_) ? 0 : result < 0 ? -result : EIO;
    }

    io_uring ring_{};
    bool ready_ = false;
    int event_ = -1;
    std::uint64_t woken_ = 0;  // belongs to the standing read while armed_
    bool armed_ = false;
    std::vector<IoCompletion> early_;  // reaped while submitting
    std::mutex table_mutex_;
    std::vector<int> free_places_;  // guarded by table_mutex_
};

}  // namespace

model::Result<std::unique_ptr<Ring>> open_uring(unsigned depth, int lock_descriptor) {
    auto ring = std::make_unique<Uring>();
    if (const int error = ring->open(depth, lock_descriptor); error != 0) {
        return model::unavailable(why_refused(error));
    }
    return ring;
}

}  // namespace sluice::state
