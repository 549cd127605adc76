// XXH3-128, the checksum of everything a snapshot holds: canonical (big-endian) and as hex digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/model/result.h"

struct XXH3_state_s;

namespace sluice::state {

// Thread: one at a time.
class Checksum {
 public:
    Checksum();
    ~Checksum();
    Checksum(const Checksum&) = delete;
    Checksum& operator=(const Checksum&) = delete;
    void add(std::string_view bytes);
    std::string bytes() const;  // 16, big-endian
    std::string hex() const;    // 32 digits

 private:
    XXH3_state_s* state_;
};

std::string checksum_hex(std::string_view bytes);
std::string to_hex(std::string_view bytes);

// Of the first `size` bytes of a file. Errors: corrupt (shorter), unavailable. Blocks.
model::Result<std::string> file_checksum(Disk& disk, const std::string& path, std::uint64_t size);

}  // namespace sluice::state
