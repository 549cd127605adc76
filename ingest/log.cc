#include "ingest/log.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>

namespace sluice::ingest {

std::uint64_t probe_hash(const Record& record) {
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    const auto number = [&state](std::int64_t v) {
        std::array<unsigned char, 8> bytes{};  // little-endian on every machine
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(v) >> (8 * i));
        }
        XXH3_64bits_update(&state, bytes.data(), bytes.size());
    };
    const auto text = [&](bool there, std::string_view bytes) {
        number(there ? static_cast<std::int64_t>(bytes.size()) : -1);
        XXH3_64bits_update(&state, bytes.data(), bytes.size());
    };
    text(record.has_key, record.key);
    text(record.has_value, record.value);
    number(record.timestamp);
    return XXH3_64bits_digest(&state);
}

std::string missing_range(const model::Partition& partition, model::Offset next_offset,
                          const LogRange& range) {
    if (next_offset < range.begin) {
        return to_string(partition) + ": offsets " + std::to_string(next_offset) + ".." +
               std::to_string(range.begin - 1) + " are gone, log starts at " +
               std::to_string(range.begin);
    }
    if (next_offset > range.end) {
        return to_string(partition) + ": next offset is " + std::to_string(next_offset) +
               ", but the log ends at " + std::to_string(range.end);
    }
    return {};
}

}  // namespace sluice::ingest
