#include "ingest/kafka_settings.h"

#include "ingest/kafka_client.h"

namespace sluice::ingest {

namespace {

struct Owned {
    const char* key;
    const char* reason;
};
constexpr Owned kOwned[] = {
    {"bootstrap.servers", "write it as `brokers` of [source]"},
    {"metadata.broker.list", "write it as `brokers` of [source]"},
    {"group.id", "it is the pipeline's name; positions are published under it"},
    {"group.instance.id", "partitions are assigned without a group"},
    {"enable.auto.commit", "positions are published after checkpoints"},
    {"auto.commit.enable", "positions are published after checkpoints"},
    {"auto.commit.interval.ms", "positions are published after checkpoints"},
    {"enable.auto.offset.store", "positions are part of the snapshots"},
    {"offset.store.method", "positions are part of the snapshots"},
    {"offset.store.path", "positions are part of the snapshots"},
    {"offset.store.sync.interval.ms", "positions are part of the snapshots"},
    {"auto.offset.reset", "a missing range must be noticed, never jumped over"},
    {"enable.partition.eof", "idleness depends on it"},
    {"isolation.level", "it is read_committed: end offsets and results depend on it"},
    {"check.crcs", "it is always on"},
    {"queued.min.messages", "queues are bounded by `memory` of [state]"},
    {"queued.max.messages.kbytes", "queues are bounded by `memory` of [state]"},
    {"receive.message.max.bytes", "it follows from `max_bytes` of [source]"},
    {"statistics.interval.ms", "the daemon has metrics of its own"},
    {"plugin.library.paths", "foreign code is not loaded"},
};

// Until then it repeats its own nonce in its last message of SCRAM, which brokers had put up with
// before 3.9.
constexpr int kVersionWithSoundScram = 0x02060100;

// Of a property whose values are short.
std::string value_of(const rd_kafka_conf_t* conf, const char* key) {
    char value[64];
    std::size_t size = sizeof value;
    return rd_kafka_conf_get(conf, key, value, &size) == RD_KAFKA_CONF_OK ? value : "";
}

}  // namespace

std::map<std::string, std::string> credentials(const std::string& username,
                                               const std::string& password) {
    if (username.empty()) {
        return {};
    }
    return {{"security.protocol", "sasl_ssl"},
            {"sasl.mechanism", "PLAIN"},
            {"sasl.username", username},
            {"sasl.password", password}};
}

const char* owned_because(std::string_view key) {
    for (const auto& owned : kOwned) {
        if (key == owned.key) {
            return owned.reason;
        }
    }
    return nullptr;
}

std::vector<PropertyError> check_properties(const std::map<std::string, std::string>& properties,
                                            const std::string& username) {
    std::vector<PropertyError> errors;
    Conf conf(rd_kafka_conf_new());
    for (const auto& [key, value] : credentials(username, "taken as given")) {
        static_cast<void>(set_property(conf.get(), key, value));
    }
    for (const auto& [key, value] : properties) {
        if (const char* reason = owned_because(key)) {
            errors.push_back({key, std::string("set by Sluice: ") + reason});
        } else if (!username.empty() && (key == "sasl.username" || key == "sasl.password")) {
            errors.push_back({key, "[source] has a `username` and a `password` already"});
        } else if (const auto status = set_property(conf.get(), key, value); !status) {
            errors.push_back({key, status.error().text});
        } else if (!username.empty() && key == "security.protocol" &&
                   !value_of(conf.get(), "security.protocol").starts_with("sasl_")) {
            errors.push_back({key,
                              "the `username` of [source] would not be used: sasl_plaintext "
                              "or sasl_ssl"});
        }
    }
    if (!errors.empty()) {
        return errors;
    }
    if (rd_kafka_version() < kVersionWithSoundScram &&
        value_of(conf.get(), "sasl.mechanism").starts_with("SCRAM")) {
        errors.push_back(
            {properties.contains("sasl.mechanisms") ? "sasl.mechanisms" : "sasl.mechanism",
             std::string("librdkafka ") + rd_kafka_version_str() +
                 " is refused by brokers from 3.9 on, as if the password were wrong; "
                 "2.6.1 and newer are not",
             true});
    }
    // What only shows when all are together, and files that are named.
    rd_kafka_conf_set_log_cb(conf.get(), [](const rd_kafka_t*, int, const char*, const char*) {});
    char text[512];
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    if (client == nullptr) {
        errors.push_back({"", text});
    } else {
        static_cast<void>(conf.release());
        rd_kafka_destroy(client);
    }
    return errors;
}

}  // namespace sluice::ingest
