// A file descriptor, closed at the end; and what errno means to us.
#pragma once

#include <unistd.h>

#include <expected>
#include <string>
#include <utility>

#include "state/model/result.h"

namespace sluice::state {

class Descriptor {
 public:
    Descriptor() = default;
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~Descriptor() {
        if (number_ >= 0) {
            ::close(number_);
        }
    }
    int number() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

 private:
    int number_ = -1;
};

// An error number of a call about `path`, as an error of ours.
model::Error error_of(const std::string& path, int error);
inline std::unexpected<model::Error> failed(const std::string& path, int error) {
    return std::unexpected(error_of(path, error));
}

}  // namespace sluice::state
