#include "state/model/key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice::model {

std::uint64_t key_hash(std::string_view encoded) {
    return XXH3_64bits(encoded.data(), encoded.size());
}

void append_key_part(std::string& encoded, std::string_view part) {
    std::size_t size = part.size();
    while (size >= 0x80) {
        encoded.push_back(static_cast<char>(0x80 | (size & 0x7f)));
        size >>= 7;
    }
    encoded.push_back(static_cast<char>(size));
    encoded.append(part);
}

std::optional<std::vector<std::string_view>> key_parts(std::string_view encoded) {
    std::vector<std::string_view> parts;
    std::size_t at = 0;
    while (at < encoded.size()) {
        std::uint64_t size = 0;
        int shift = 0;
        while (true) {
            if (at == encoded.size() || shift > 35) {
                return std::nullopt;
            }
            const auto byte = static_cast<unsigned char>(encoded[at++]);
            size |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if ((byte & 0x80) == 0) {
                break;
            }
            shift += 7;
        }
        if (size > encoded.size() - at) {
            return std::nullopt;
        }
        parts.push_back(encoded.substr(at, size));
        at += size;
    }
    return parts;
}

}  // namespace sluice::model
