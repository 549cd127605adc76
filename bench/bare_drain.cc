// Reads a topic to its end with librdkafka and does nothing with it: what a daemon cannot be
// cheaper than. As in the daemon, each thread owns its partitions and a client of its own, and
// shares one core with that client's threads.
//
// Prints {"records": …, "bytes": …, "seconds": …}; whoever started it takes its CPU time.
#include <librdkafka/rdkafka.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

struct Options {
    std::string brokers;
    std::string topic;
    std::string api = "callback";
    int threads = 0;
    int partitions = 8;
};

struct Seen {
    std::uint64_t records = 0;
    std::uint64_t bytes = 0;
    int open = 0;  // partitions that are not at their end
};

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "bare_drain: %s\n", why.c_str());
    std::exit(1);
}

void note(const rd_kafka_message_t& message, Seen& seen) {
    if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ++seen.records;
        seen.bytes += message.len;
    } else if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        --seen.open;
    } else {
        give_up(rd_kafka_message_errstr(&message));
    }
}

// On the number-th core that this process may use; the threads that it creates inherit it.
void pin(int number) {
    cpu_set_t allowed, one;
    CPU_ZERO(&allowed);
    CPU_ZERO(&one);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return;
    }
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
            CPU_SET(cpu, &one);
            ::sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

rd_kafka_t* connect(const Options& options) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    std::array<char, 512> problem{};
    // What the daemon sets.
    const std::vector<std::pair<const char*, std::string>> properties{
        {"bootstrap.servers", options.brokers},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"enable.partition.eof", "true"},
        {"isolation.level", "read_committed"},
        {"check.crcs", "true"},
        {"fetch.wait.max.ms", "25"},
        {"queued.min.messages", "10000000"},
        {"queued.max.messages.kbytes", "2048"},
        {"max.partition.fetch.bytes", "262144"},
    };
    for (const auto& [name, value] : properties) {
        if (rd_kafka_conf_set(conf, name, value.c_str(), problem.data(), problem.size()) !=
            RD_KAFKA_CONF_OK) {
            give_up(problem.data());
        }
    }
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, problem.data(), problem.size());
    if (client == nullptr) {
        give_up(problem.data());
    }
    return client;
}

void drain(const Options& options, int number, Seen& seen) {
    pin(number);
    rd_kafka_t* client = connect(options);
    rd_kafka_topic_t* topic = rd_kafka_topic_new(client, options.topic.c_str(), nullptr);
    rd_kafka_queue_t* queue = rd_kafka_queue_new(client);
    for (int p = number; p < options.partitions; p += options.threads) {
        if (rd_kafka_consume_start_queue(topic, p, 0, queue) != 0) {
            give_up(rd_kafka_err2str(rd_kafka_last_error()));
        }
        ++seen.open;
    }
    std::vector<rd_kafka_message_t*> batch(4096);
    while (seen.open > 0) {
        if (options.api == "callback") {
            rd_kafka_consume_callback_queue(
                queue, 1000,
                [](rd_kafka_message_t* message, void* to) {
                    note(*message, *static_cast<Seen*>(to));
                },
                &seen);
            continue;
        }
        const auto count = rd_kafka_consume_batch_queue(queue, 1000, batch.data(), batch.size());
        for (std::size_t i = 0; count > 0 && i < static_cast<std::size_t>(count); ++i) {
            note(*batch[i], seen);
            rd_kafka_message_destroy(batch[i]);
        }
    }
    for (int p = number; p < options.partitions; p += options.threads) {
        rd_kafka_consume_stop(topic, p);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("reads a topic to its end and does nothing with it");
    Options options;
    app.add_option("--brokers", options.brokers)->required();
    app.add_option("--topic", options.topic)->required();
    app.add_option("--partitions", options.partitions)->check(CLI::PositiveNumber);
    app.add_option("--threads", options.threads, "0: one per core")->check(CLI::NonNegativeNumber);
    app.add_option("--api", options.api)->check(CLI::IsMember({"callback", "batch"}));
    CLI11_PARSE(app, argc, argv);
    if (options.threads == 0) {
        options.threads =
            std::min(options.partitions, static_cast<int>(std::thread::hardware_concurrency()));
    }
    const auto begun = std::chrono::steady_clock::now();
    std::vector<Seen> seen(static_cast<std::size_t>(options.threads));
    std::vector<std::thread> threads;
    for (int number = 0; number < options.threads; ++number) {
        threads.emplace_back(drain, std::cref(options), number,
                             std::ref(seen[static_cast<std::size_t>(number)]));
    }
    Seen all;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i].join();
        all.records += seen[i].records;
        all.bytes += seen[i].bytes;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    std::printf("{\"records\": %llu, \"bytes\": %llu, \"seconds\": %.3f}\n",
                static_cast<unsigned long long>(all.records),
                static_cast<unsigned long long>(all.bytes), took.count());
}
