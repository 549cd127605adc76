// What librdkafka is told: what the file says of the source, what it may say beyond that in
// [source.rdkafka], and what is ours alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::ingest {

struct KafkaLogSettings {
    std::string brokers;
    std::vector<std::string> topics;
    std::string group_id;               // positions are published under it; empty: they are not
    std::string username;               // SASL; empty: none
    std::string password;               // resolved; kept in memory only
    std::uint64_t max_bytes = 1 << 20;  // of one decompressed value
    std::uint64_t queue_bytes = 64ull << 20;        // of all readers' queues together
    std::map<std::string, std::string> properties;  // [source.rdkafka], wins where we allow it
    // What librdkafka logs (level as in syslog); called from any thread. Empty: nowhere.
    std::function<void(int level, std::string_view text)> log;
};

// What librdkafka says about properties of [source.rdkafka]: unknown, invalid, not in this build,
// or owned by us (with the reason). Connects to nothing.
struct PropertyError {
    std::string key;
    std::string error;
};
std::vector<PropertyError> check_properties(const std::map<std::string, std::string>& properties);

// Why a property is not the user's; null: it may be set.
const char* owned_because(std::string_view key);

}  // namespace sluice::ingest
