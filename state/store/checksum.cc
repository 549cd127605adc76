#include "state/store/checksum.h"

#include <xxhash.h>

#include <algorithm>

#include "state/model/invariant.h"

namespace sluice::state {

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
    TRY(file, disk.stream(path));
    if (file->size() < size) {
        return model::corrupt(path + ": ends after " + std::to_string(file->size()) +
                              " bytes, expected " + std::to_string(size));
    }
    Checksum checksum;
    for (std::uint64_t at = 0; at < size;) {
        TRY(piece, file->next());
        piece = piece.substr(
            0, static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - at)));
        checksum.add(piece);
        at += piece.size();
    }
    return checksum.hex();
}

}  // namespace sluice::state
