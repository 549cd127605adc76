// Work on items in threads of its own, handed back in the order in which they came: what comes out
// is the same however many threads there are.
//
// Memory: of the items that were submitted and not taken at most `depth`, which is at least 1 and
// the number of threads.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "state/io/signals_blocked.h"

namespace sluice::state {

// Life:    submit() unless full(), take() unless empty().
// Thread:  one uses it. Its threads start in the constructor, take no signals and end with it; what
//          is left then is not worked on. Without threads submit() does the work.
template <class Item>
class InOrder {
 public:
    // `thread` counts from 0: each may have what only it uses. Does not throw.
    using Work = std::function<void(Item& item, unsigned thread)>;

    InOrder(unsigned threads, std::size_t depth, Work work)
        : work_(std::move(work)), depth_(std::max<std::size_t>({threads, depth, 1})) {
        const SignalsBlocked blocked;
        for (unsigned i = 0; i < threads; ++i) {
            threads_.emplace_back([this, i] { run(i); });
        }
    }
    ~InOrder() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        submitted_.notify_all();
    }
    InOrder(const InOrder&) = delete;
    InOrder& operator=(const InOrder&) = delete;

    bool empty() const { return order_.empty(); }
    bool full() const { return order_.size() >= depth_; }

    void submit(std::unique_ptr<Item> item) {
        auto entry = std::make_shared<Entry>();
        entry->item = std::move(item);
        order_.push_back(entry);
        if (threads_.empty()) {
            work_(*entry->item, 0);
            entry->done = true;
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            waiting_.push_back(std::move(entry));
        }
        submitted_.notify_one();
    }

    // The oldest one; waits for it.
    std::unique_ptr<Item> take() {
        const auto entry = std::move(order_.front());
        order_.pop_front();
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return entry->done; });
        return std::move(entry->item);
    }

 private:
    struct Entry {
        std::unique_ptr<Item> item;
        bool done = false;  // guarded by mutex_
    };

    void run(unsigned thread) {
        std::unique_lock lock(mutex_);
        while (true) {
            submitted_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
            if (ending_) {
                return;
            }
            const auto entry = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            work_(*entry->item, thread);
            lock.lock();
            entry->done = true;
            done_.notify_one();
        }
    }

    const Work work_;
    const std::size_t depth_;
    std::deque<std::shared_ptr<Entry>> order_;
    std::mutex mutex_;
    std::condition_variable submitted_, done_;
    std::deque<std::shared_ptr<Entry>> waiting_;  // guarded by mutex_
    bool ending_ = false;                         // guarded by mutex_
    std::vector<std::jthread> threads_;           // last: ends before the rest of it
};

}  // namespace sluice::state
