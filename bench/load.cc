// Fills a topic for the end-to-end measurements and writes down the exact answer.
//
//   load ysb      events of the Yahoo Streaming Benchmark: seven members in a fixed order, every
//   value a
//                 text, one blank behind colons and commas. In place of the ad's id stands its
//                 campaign's: the job needs no table. Event i happened 10 ms after event i - 1.
//                 Answer, a line per campaign and 10 s window: CAMPAIGN WINDOW_START VIEWS
//   load clicks   {"user_id":"u17","price":19.90,"quantity":2}. Answer, a line per user:
//                 USER CLICKS CENTS
//
// Records go round the partitions, so each partition is in the order of event time. The same seed
// makes the same records.
#include <librdkafka/rdkafka.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::int64_t kFirstEventMs = 1'714'521'600'000;
constexpr std::int64_t kEventEveryMs = 10;
constexpr std::int64_t kWindowMs = 10'000;
constexpr std::size_t kCampaigns = 100;

struct Options {
    std::string job;
    std::string brokers;
    std::string topic;
    std::string answer;
    std::uint64_t records = 0;
    std::uint64_t users = 1'000'000;
    int partitions = 8;
    std::uint64_t seed = 1;
    std::uint64_t rate = 0;
    std::uint64_t linger_ms = 50;
};

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "load: %s\n", why.c_str());
    std::exit(1);
}

void append_uuid(std::string& to, std::mt19937_64& random) {
    constexpr std::string_view kHex = "0123456789abcdef";
    std::array<std::uint64_t, 2> bits{random(), random()};
    for (std::size_t i = 0; i < 32; ++i) {
        if (i == 8 || i == 12 || i == 16 || i == 20) {
            to += '-';
        }
        to += kHex[(bits[i / 16] >> (i % 16 * 4)) & 15];
    }
}

// Makes records one by one and keeps the answer.
class Ysb {
 public:
    explicit Ysb(const Options& options) : random_(options.seed) {
        for (std::string& campaign : campaigns_) {
            append_uuid(campaign, random_);
        }
    }
    void next(std::string& value) {
        constexpr std::array<std::string_view, 5> kAdTypes{"banner", "modal", "sponsored-search",
                                                           "mail", "mobile"};
        constexpr std::array<std::string_view, 3> kEventTypes{"view", "click", "purchase"};
        const std::uint64_t choice = random_();
        const std::size_t campaign = choice % kCampaigns;
        const std::size_t type = (choice >> 32) % kEventTypes.size();
        const std::int64_t time = kFirstEventMs + kEventEveryMs * count_++;
        value = R"({"user_id": ")";
        append_uuid(value, random_);
        value += R"(", "page_id": ")";
        append_uuid(value, random_);
        value += R"(", "campaign_id": ")";
        value += campaigns_[campaign];
        value += R"(", "ad_type": ")";
        value += kAdTypes[(choice >> 40) % kAdTypes.size()];
        value += R"(", "event_type": ")";
        value += kEventTypes[type];
        value += R"(", "event_time": ")";
        value += std::to_string(time);
        value += R"(", "ip_address": "1.2.3.4"})";
        if (type == 0) {
            ++views_[{time / kWindowMs * kWindowMs, campaign}];
        }
    }
    void write(std::FILE* to) const {
        for (const auto& [place, views] : views_) {
            std::fprintf(to, "%s %lld %llu\n", campaigns_[place.second].c_str(),
                         static_cast<long long>(place.first),
                         static_cast<unsigned long long>(views));
        }
    }

 private:
    std::mt19937_64 random_;
    std::array<std::string, kCampaigns> campaigns_;
    std::int64_t count_ = 0;
    std::map<std::pair<std::int64_t, std::size_t>, std::uint64_t> views_;
};

class Clicks {
 public:
    explicit Clicks(const Options& options) : random_(options.seed), users_(options.users) {}
    void next(std::string& value) {
        const std::uint64_t user = random_() % users_.size();
        const auto cents = static_cast<unsigned>(1 + random_() % 9'999);
        const auto quantity = static_cast<unsigned>(1 + random_() % 5);
        std::array<char, 96> text{};
        const int length = std::snprintf(
            text.data(), text.size(), R"({"user_id":"u%llu","price":%u.%02u,"quantity":%u})",
            static_cast<unsigned long long>(user), cents / 100, cents % 100, quantity);
        value.assign(text.data(), static_cast<std::size_t>(length));
        ++users_[user].first;
        users_[user].second += std::uint64_t{cents} * quantity;
    }
    void write(std::FILE* to) const {
        for (std::size_t user = 0; user < users_.size(); ++user) {
            if (users_[user].first != 0) {
                std::fprintf(to, "u%zu %llu %llu\n", user,
                             static_cast<unsigned long long>(users_[user].first),
                             static_cast<unsigned long long>(users_[user].second));
            }
        }
    }

 private:
    std::mt19937_64 random_;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> users_;  // clicks, cents
};

volatile std::sig_atomic_t stopped = 0;
void on_signal(int /*signal*/) { stopped = 1; }

void on_delivery(rd_kafka_t* /*producer*/, const rd_kafka_message_t* message, void* /*opaque*/) {
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        give_up(std::string("a record was not taken: ") + rd_kafka_err2str(message->err));
    }
}

rd_kafka_t* connect(const Options& options) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    std::array<char, 512> problem{};
    const std::vector<std::pair<const char*, std::string>> properties{
        {"bootstrap.servers", options.brokers},
        {"enable.idempotence", "true"},  // every record once, or the answer is wrong
        {"compression.codec", "none"},
        {"linger.ms", std::to_string(options.linger_ms)},
        {"batch.num.messages", "10000"},
        {"queue.buffering.max.messages", "1000000"},
    };
    for (const auto& [name, value] : properties) {
        if (rd_kafka_conf_set(conf, name, value.c_str(), problem.data(), problem.size()) !=
            RD_KAFKA_CONF_OK) {
            give_up(problem.data());
        }
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t* producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem.data(), problem.size());
    if (producer == nullptr) {
        give_up(problem.data());
    }
    return producer;
}

template <class Job>
void load(const Options& options) {
    Job job(options);
    rd_kafka_t* producer = connect(options);
    rd_kafka_topic_t* topic = rd_kafka_topic_new(producer, options.topic.c_str(), nullptr);
    std::string value;
    std::uint64_t bytes = 0;
    const auto begun = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < options.records && stopped == 0; ++i) {
        job.next(value);
        bytes += value.size();
        const auto partition =
            static_cast<std::int32_t>(i % static_cast<std::uint64_t>(options.partitions));
        while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value.data(), value.size(),
                                nullptr, 0, nullptr) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                give_up(rd_kafka_err2str(rd_kafka_last_error()));
            }
            rd_kafka_poll(producer, 10);
        }
        if (i % 1024 == 0) {
            rd_kafka_poll(producer, 0);
        }
        if (options.rate != 0 && i % (options.rate / 1000 + 1) == 0) {  // a thousand steps a second
            std::this_thread::sleep_until(
                begun + std::chrono::nanoseconds(i * 1'000'000'000 / options.rate));
        }
    }
    if (rd_kafka_flush(producer, 120'000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        give_up("the broker does not take the rest");
    }
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    std::FILE* answer = std::fopen(options.answer.c_str(), "w");
    if (answer == nullptr) {
        give_up(options.answer + " cannot be written");
    }
    job.write(answer);
    if (std::fclose(answer) != 0) {
        give_up(options.answer + " cannot be written");
    }
    std::printf("%llu\n", static_cast<unsigned long long>(bytes));
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("fills a topic and writes down the exact answer; prints the bytes of all values");
    Options options;
    app.add_option("JOB", options.job)->required()->check(CLI::IsMember({"ysb", "clicks"}));
    app.add_option("--brokers", options.brokers)->required();
    app.add_option("--topic", options.topic)->required();
    app.add_option("--answer", options.answer, "file to write")->required();
    app.add_option("--records", options.records)->required();
    app.add_option("--users", options.users)->check(CLI::PositiveNumber);
    app.add_option("--partitions", options.partitions)->check(CLI::PositiveNumber);
    app.add_option("--seed", options.seed);
    app.add_option("--rate", options.rate, "records per second; 0: as many as the broker takes");
    app.add_option("--linger-ms", options.linger_ms, "how long a batch waits to fill up");
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGTERM, on_signal);  // ends in order, with the answer of what was sent
    if (options.job == "ysb") {
        load<Ysb>(options);
    } else {
        load<Clicks>(options);
    }
}
