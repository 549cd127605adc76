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

}  // namespace

const char* owned_because(std::string_view key) {
    for (const auto& owned : kOwned) {
        if (key == owned.key) {
            return owned.reason;
        }
    }
    return nullptr;
}

std::vector<PropertyError> check_properties(const std::map<std::string, std::string>& properties) {
    std::vector<PropertyError> errors;
    Conf conf(rd_kafka_conf_new());
    for (const auto& [key, value] : properties) {
        if (const char* reason = owned_because(key)) {
            errors.push_back({key, std::string("set by Sluice: ") + reason});
        } else if (const auto status = set_property(conf.get(), key, value); !status) {
            errors.push_back({key, status.error().text});
        }
    }
    if (!errors.empty()) {
        return errors;
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
