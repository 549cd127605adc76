#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "state/io/ring.h"
#include "state/io/signals_blocked.h"

namespace sluice::state {
namespace {

// A call per request on one of a few threads. A short write is handed up as it came: what it means
// is decided in one place for both back ends.
class ThreadRing final : public Ring {
 public:
    explicit ThreadRing(unsigned threads) {
        const SignalsBlocked blocked;
        for (unsigned i = 1; i <= threads; ++i) {
            try {
                threads_.emplace_back([this] { work(); });
            } catch (const std::system_error&) {
                if (threads_.empty()) {
                    throw;
                }
                return;  // fewer will do
            }
            pthread_setname_np(threads_.back().native_handle(),
                               ("io-" + std::to_string(i)).c_str());
        }
    }
    ~ThreadRing() override {
        {
            const std::lock_guard guard(mutex_);
            stopping_ = true;
        }
        work_there_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }
    ThreadRing(const ThreadRing&) = delete;
    ThreadRing& operator=(const ThreadRing&) = delete;

    bool register_buffers(std::span<const std::span<char>>) override { return true; }
    int register_file(int) override { return -1; }
    void forget_file(int) override {}

    void submit(std::span<const IoRequest> requests) override {
        {
            const std::lock_guard guard(mutex_);
            work_.insert(work_.end(), requests.begin(), requests.end());
        }
        work_there_.notify_all();
    }

    void wait(std::vector<IoCompletion>& completed,
              std::optional<std::int64_t> timeout_ns) override {
        std::unique_lock guard(mutex_);
        const auto something = [this] { return woken_ || !completed_.empty(); };
        if (timeout_ns) {
            done_.wait_for(guard, std::chrono::nanoseconds(*timeout_ns), something);
        } else {
            done_.wait(guard, something);
        }
        woken_ = false;
        completed.insert(completed.end(), completed_.begin(), completed_.end());
        completed_.clear();
    }

    void wake() override {
        {
            const std::lock_guard guard(mutex_);
            woken_ = true;
        }
        done_.notify_one();
    }

    std::string_view name() const override { return "threads"; }

 private:
    static int carry_out(const IoRequest& request) {
        for (;;) {
            ssize_t result = 0;
            switch (request.kind) {
                case IoRequest::Kind::write:
                    result = ::pwrite(request.descriptor, request.bytes, request.length,
                                      static_cast<off_t>(request.offset));
                    break;
                case IoRequest::Kind::read:
                    result = ::pread(request.descriptor, request.bytes, request.length,
                                     static_cast<off_t>(request.offset));
                    break;
                case IoRequest::Kind::data_sync:
                    result = ::fdatasync(request.descriptor);
                    break;
                case IoRequest::Kind::sync:
                    result = ::fsync(request.descriptor);
                    break;
            }
            if (result >= 0) {
                return static_cast<int>(result);
            }
            if (errno != EINTR) {
                return -errno;
            }
        }
    }

    void work() {
        std::unique_lock guard(mutex_);
        for (;;) {
            work_there_.wait(guard, [this] { return stopping_ || !work_.empty(); });
            if (work_.empty()) {
                return;
            }
            const IoRequest request = work_.front();
            work_.pop_front();
            guard.unlock();
            const int result = carry_out(request);
            guard.lock();
            completed_.push_back({request.token, result});
            done_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable work_there_;
    std::condition_variable done_;
    std::deque<IoRequest> work_;  // guarded by mutex_, like all below
    std::vector<IoCompletion> completed_;
    bool woken_ = false;
    bool stopping_ = false;
    std::vector<std::thread> threads_;  // last: they use what is above
};

}  // namespace

std::unique_ptr<Ring> make_thread_ring(unsigned threads) {
    return std::make_unique<ThreadRing>(threads);
}

}  // namespace sluice::state
