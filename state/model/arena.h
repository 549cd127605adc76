// Bytes that live as long as the batch they belong to.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace sluice::model {

// Bump allocator. Addresses stay valid until clear(). Thread: its owner's.
class Arena {
 public:
    static constexpr std::size_t kPadding = 16;

    explicit Arena(std::size_t block_bytes = 64 * 1024) : block_bytes_(block_bytes) {}

    char* allocate(std::size_t bytes) {
        used_ += bytes;
        if (bytes > left_) [[unlikely]] {
            if (bytes > block_bytes_) {
                return large_block(bytes);
            }
            next_block();
        }
        char* at = next_;
        next_ += bytes;
        left_ -= bytes;
        return at;
    }
    std::string_view copy(std::string_view text) {
        char* at = allocate(text.size());
        if (!text.empty()) {
            std::memcpy(at, text.data(), text.size());
        }
        return {at, text.size()};
    }
    // The same, if kPadding bytes behind `text` are readable: without a call for a few bytes.
    std::string_view copy_padded(std::string_view text) {
        char* at = allocate(text.size());
        for (std::size_t i = 0; i < text.size(); i += kPadding) {
            std::memcpy(at + i, text.data() + i, kPadding);
        }
        return {at, text.size()};
    }
    // Forgets everything; keeps the blocks of ordinary size for reuse.
    void clear() {
        current_ = 0;
        used_ = 0;
        large_.clear();
        next_ = blocks_.empty() ? nullptr : blocks_[0].get();
        left_ = blocks_.empty() ? 0 : block_bytes_;
    }
    std::size_t used_bytes() const { return used_; }
    std::size_t reserved_bytes() const { return blocks_.size() * block_bytes_ + large_bytes(); }

 private:
    struct Large {
        std::unique_ptr<char[]> bytes;
        std::size_t size;
    };
    // copy_padded() writes up to kPadding bytes more than it takes.
    static std::unique_ptr<char[]> block(std::size_t bytes) {
        return std::make_unique_for_overwrite<char[]>(bytes + kPadding);
    }
    // Of its own; the current one goes on.
    [[gnu::noinline]] char* large_block(std::size_t bytes) {
        large_.push_back({block(bytes), bytes});
        return large_.back().bytes.get();
    }
    [[gnu::noinline]] void next_block() {
        if (!blocks_.empty() && current_ + 1 < blocks_.size()) {
            ++current_;
        } else {
            blocks_.push_back(block(block_bytes_));
            current_ = blocks_.size() - 1;
        }
        next_ = blocks_[current_].get();
        left_ = block_bytes_;
    }
    std::size_t large_bytes() const {
        std::size_t sum = 0;
        for (const auto& l : large_) {
            sum += l.size;
        }
        return sum;
    }

    std::size_t block_bytes_;
    std::vector<std::unique_ptr<char[]>> blocks_;
    std::vector<Large> large_;
    std::size_t current_ = 0;
    std::size_t used_ = 0;
    std::size_t left_ = 0;
    char* next_ = nullptr;
};

}  // namespace sluice::model
