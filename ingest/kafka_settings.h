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
    std::string group_id;  // positions are published under it; empty: they are not
    // SASL; empty: none. With it security.protocol is sasl_ssl and sasl.mechanism PLAIN unless
    // `properties` say otherwise.
    std::string username;
    std::string password;                           // resolved; kept in memory only
    std::uint64_t max_bytes = 1 << 20;              // of one decompressed value
    std::uint64_t queue_bytes = 64ull << 20;        // of all readers' queues together
    std::map<std::string, std::string> properties;  // [source.rdkafka], wins where we allow it
    // What librdkafka logs (level as in syslog); called from any thread. Empty: nowhere.
    std::function<void(int level, std::string_view text)> log;
};

// What librdkafka says about properties of [source.rdkafka]: unknown, invalid, not in this build,
// or owned by us (with the reason). `username` is the one of [source]: with it the others must be
// SASL's, and the password is taken as given. Connects to nothing.
struct PropertyError {
    std::string key;  // empty: what only shows when all are together
    std::string error;
    bool doubt = false;  // it is taken, and may not work
};
std::vector<PropertyError> check_properties(const std::map<std::string, std::string>& properties,
                                            const std::string& username = {});

// What a `username` of [source] means where [source.rdkafka] does not say otherwise; none: nothing.
std::map<std::string, std::string> credentials(const std::string& username,
                                               const std::string& password);

// Why a property is not the user's; null: it may be set.
const char* owned_because(std::string_view key);

}  // namespace sluice::ingest
