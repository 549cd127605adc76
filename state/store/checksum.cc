#include "state/store/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "state/model/invariant.h"

namespace sluice::state {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;

}  // namespace

Checksum::Checksum() : state_(XXH3_createState()) {
    INVARIANT(state_ != nullptr, "memory for a checksum");
    XXH3_128bits_reset(state_);
}

Checksum::~Checksum() { XXH3_freeState(state_); }

void Checksum::add(std::string_view bytes) {
    if (!bytes.empty()) {
        XXH3_128bits_update(state_, bytes.data(), bytes.size());
    }
}

std::string Checksum::bytes() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_));
    std::string text(sizeof canonical.digest, '\0');
    std::copy(std::begin(canonical.digest), std::end(canonical.digest), text.begin());
    return text;
}

std::string Checksum::hex() const { return to_hex(bytes()); }

std::string to_hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text.push_back(kDigits[byte >> 4]);
        text.push_back(kDigits[byte & 15]);
    }
    return text;
}

std::string checksum_hex(std::string_view bytes) {
    Checksum checksum;
    checksum.add(bytes);
    return checksum.hex();
}

model::Result<std::string> file_checksum(Disk& disk, const std::string& path, std::uint64_t size) {
    TRY(file, disk.open(path));
    std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, size)));
    Checksum checksum;
    for (std::uint64_t at = 0; at < size;) {
        const auto want =
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - at));
        TRY(got, file->read(at, want, buffer.data()));
        if (got != want) {
            return model::corrupt(path + ": ends after " + std::to_string(at + got) +
                                  " bytes, expected " + std::to_string(size));
        }
        checksum.add({buffer.data(), got});
        at += got;
    }
    return checksum.hex();
}

}  // namespace sluice::state
