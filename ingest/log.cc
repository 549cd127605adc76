#include "ingest/log.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>

namespace sluice::ingest {

std::uint64_t probe_hash(const Record& record) {
    // Every record is hashed, so by one-shot calls: a streaming state alone costs as much as these.
    std::array<unsigned char, 40> bytes{};  // little-endian on every machine
    std::size_t at = 0;
    const auto number = [&](std::uint64_t v) {
        for (std::size_t i = 0; i < 8; ++i) {
            bytes[at++] = static_cast<unsigned char>(v >> (8 * i));
        }
    };
    const auto text = [&](bool there, std::string_view of) {
        number(there ? of.size() : ~std::uint64_t{0});
        number(there ? XXH3_64bits(of.data(), of.size()) : 0);
    };
    text(record.has_key, record.key);
    text(record.has_value, record.value);
    number(static_cast<std::uint64_t>(record.timestamp));
    return XXH3_64bits(bytes.data(), bytes.size());
}

namespace {

constexpr std::string_view kGone = " are gone, log starts at ";

}  // namespace

std::string missing_range(const model::Partition& partition, model::Offset next_offset,
                          const LogRange& range) {
    if (next_offset < range.begin) {
        return to_string(partition) + ": offsets " + std::to_string(next_offset) + ".." +
               std::to_string(range.begin - 1) + std::string(kGone) + std::to_string(range.begin);
    }
    if (next_offset > range.end) {
        return to_string(partition) + ": next offset is " + std::to_string(next_offset) +
               ", but the log ends at " + std::to_string(range.end);
    }
    return {};
}

bool tells_of_a_gap(std::string_view missing) { return missing.contains(kGone); }

}  // namespace sluice::ingest
