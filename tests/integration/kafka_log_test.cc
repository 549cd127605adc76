// The log in Kafka against a real broker: codecs, transactions, restarts, expired offsets, new
// partitions, damaged batches.
#include "ingest/kafka_log.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

// The gate: in the daemon only a finished restore makes a token. This program has no restore.
namespace sluice::state {
class Restore {
 public:
    static model::RestoreToken token() { return {}; }
};
}  // namespace sluice::state

namespace sluice::ingest {
namespace {

namespace fs = std::filesystem;
using model::Offset;
using model::Partition;

constexpr std::int64_t kPatience = 60'000;  // ms; far more than anything here takes

// The private broker.
class Node {
 public:
    Node() {
        std::string pattern = (fs::temp_directory_path() / "kafka-log-test-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        start();
    }
    ~Node() { run("stop --kill --remove"); }
    void start() {
        brokers_ = run("start --port 0");
        while (!brokers_.empty() && brokers_.back() == '\n') {
            brokers_.pop_back();
        }
    }
    void stop() { run("stop"); }
    void topic(const std::string& arguments) { run("topic " + arguments); }
    const std::string& brokers() const { return brokers_; }
    fs::path segment(const std::string& topic, int partition) const {
        return directory_ / "data" / (topic + "-" + std::to_string(partition)) /
               "00000000000000000000.log";
    }

    std::string run(const std::string& arguments) {
        const std::string command = std::string("'") + SLUICE_SOURCE_DIR + "/scripts/kafka' " +
                                    arguments + " --dir '" + directory_.string() + "'";
        FILE* pipe = ::popen(command.c_str(), "r");
        std::string out;
        std::array<char, 256> block{};
        while (std::fgets(block.data(), block.size(), pipe) != nullptr) {
            out += block.data();
        }
        const int status = ::pclose(pipe);
        if (status != 0) {
            throw std::runtime_error(command + " failed");
        }
        return out;
    }

 private:
    fs::path directory_;
    std::string brokers_;
};

struct Sent {
    std::optional<std::string> value = std::nullopt;
    std::optional<std::string> key = std::nullopt;
    std::int64_t timestamp = 0;  // 0: now
    std::vector<std::pair<std::string, std::optional<std::string>>> headers = {};
    std::int32_t partition = 0;
};

class Producer {
 public:
    explicit Producer(const std::string& brokers, const std::string& codec = "none",
                      const std::string& transactional_id = "") {
        rd_kafka_conf_t* conf = rd_kafka_conf_new();
        const auto set = [conf](const char* key, const std::string& value) {
            char text[256];
            if (rd_kafka_conf_set(conf, key, value.c_str(), text, sizeof text) !=
                RD_KAFKA_CONF_OK) {
                throw std::runtime_error(text);
            }
        };
        set("bootstrap.servers", brokers);
        set("compression.codec", codec);
        set("linger.ms", "20");
        if (!transactional_id.empty()) {
            set("transactional.id", transactional_id);
        }
        char text[256];
        client_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
        if (!transactional_id.empty()) {
            check(rd_kafka_init_transactions(client_, kPatience));
        }
    }
    ~Producer() { rd_kafka_destroy(client_); }

    void send(const std::string& topic, const Sent& record) {
        rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
        for (const auto& [name, value] : record.headers) {
            rd_kafka_header_add(headers, name.c_str(), -1, value ? value->data() : nullptr,
                                value ? static_cast<ssize_t>(value->size()) : 0);
        }
        std::array<rd_kafka_vu_t, 7> parts{};
        parts[0].vtype = RD_KAFKA_VTYPE_TOPIC;
        parts[0].u.cstr = topic.c_str();
        parts[1].vtype = RD_KAFKA_VTYPE_PARTITION;
        parts[1].u.i32 = record.partition;
        parts[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
        parts[2].u.i = RD_KAFKA_MSG_F_COPY;
        parts[3].vtype = RD_KAFKA_VTYPE_VALUE;
        parts[3].u.mem = bytes_of(record.value);
        parts[4].vtype = RD_KAFKA_VTYPE_KEY;
        parts[4].u.mem = bytes_of(record.key);
        parts[5].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        parts[5].u.i64 = record.timestamp;
        parts[6].vtype = RD_KAFKA_VTYPE_HEADERS;
        parts[6].u.headers = headers;
        while (rd_kafka_error_t* error = rd_kafka_produceva(client_, parts.data(), parts.size())) {
            if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                throw std::runtime_error(rd_kafka_error_string(error));
            }
            rd_kafka_error_destroy(error);
            rd_kafka_poll(client_, 100);
        }
    }
    void flush() {
        if (rd_kafka_flush(client_, kPatience) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw std::runtime_error("records were not acknowledged");
        }
    }
    void begin() { check(rd_kafka_begin_transaction(client_)); }
    void commit() { check(rd_kafka_commit_transaction(client_, kPatience)); }
    void abort() { check(rd_kafka_abort_transaction(client_, kPatience)); }

 private:
    static decltype(rd_kafka_vu_t::u.mem) bytes_of(const std::optional<std::string>& text) {
        decltype(rd_kafka_vu_t::u.mem) mem{};
        if (text) {
            mem.ptr = const_cast<char*>(text->data());
            mem.size = text->size();
        }
        return mem;
    }
    static void check(rd_kafka_error_t* error) {
        if (error != nullptr) {
            const std::string text = rd_kafka_error_string(error);
            rd_kafka_error_destroy(error);
            throw std::runtime_error(text);
        }
    }
    rd_kafka_t* client_ = nullptr;
};

struct Got {
    Offset offset = 0;
    Offset first_offset = 0;
    std::string damage;
    std::int64_t timestamp = 0;
    bool append_time = false;
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

Got copy(const Record& r) {
    Got g;
    g.offset = r.offset;
    g.first_offset = r.first_offset;
    g.damage = r.damage;
    g.timestamp = r.timestamp;
    g.append_time = r.append_time;
    if (r.has_key) {
        g.key = std::string(r.key);
    }
    if (r.has_value) {
        g.value = std::string(r.value);
    }
    for (const auto& h : r.headers()) {
        g.headers.emplace_back(h.name,
                               h.value ? std::optional<std::string>(*h.value) : std::nullopt);
    }
    return g;
}

class KafkaLogTest : public ::testing::Test {
 protected:
    static void SetUpTestSuite() { node = std::make_unique<Node>(); }
    static void TearDownTestSuite() { node.reset(); }

    static std::unique_ptr<KafkaLog> open(const std::string& topic,
                                          KafkaLogSettings settings = {}) {
        settings.brokers = node->brokers();
        settings.topics = {topic};
        auto log = KafkaLog::open(std::move(settings));
        EXPECT_TRUE(log.has_value()) << log.error().text;
        return std::move(*log);
    }
    std::unique_ptr<LogReader> reader(KafkaLog& log, std::vector<Partition> of) {
        table = std::move(of);
        auto r = log.open_reader(state::Restore::token(), table);
        EXPECT_TRUE(r.has_value()) << r.error().text;
        return std::move(*r);
    }
    // A topic of its own for each test.
    std::string new_topic(int partitions, const std::string& settings = "") {
        const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
        node->topic(name + " " + std::to_string(partitions) + " " + settings);
        return name;
    }
    // Reads `partition` until the broker says that it is at the end.
    std::vector<Got> read_to_end(LogReader& reader, std::uint32_t partition = 0, Offset end = -1) {
        std::vector<Got> all;
        const auto deadline =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
        while (std::chrono::steady_clock::now() < deadline) {
            const auto n = reader.read(partition, 1000, [&](const Record& r) {
                all.push_back(copy(r));
                return true;
            });
            EXPECT_TRUE(n.has_value());
            for (auto& e : reader.take_errors()) {
                errors.push_back(std::move(e));
            }
            const auto at = reader.at_end(partition);
            if (at && (end < 0 || *at >= end)) {
                return all;
            }
            if (*n == 0) {
                reader.wait(1000);
            }
        }
        ADD_FAILURE() << "the end was not reached";
        return all;
    }
    // Waits for an error of a partition.
    std::pair<std::uint32_t, model::Error> next_error(LogReader& reader, std::uint32_t partition) {
        const auto deadline =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
        while (std::chrono::steady_clock::now() < deadline) {
            for (auto& e : reader.take_errors()) {
                return e;
            }
            static_cast<void>(reader.read(partition, 1000, [](const Record&) { return true; }));
            reader.wait(100);
        }
        return {0, {model::ErrorKind::cancelled, "no error came"}};
    }

    static std::unique_ptr<Node> node;
    std::vector<Partition> table;
    std::vector<std::pair<std::uint32_t, model::Error>> errors;
};
std::unique_ptr<Node> KafkaLogTest::node;

TEST_F(KafkaLogTest, ReadsRecordsOfEveryCodecAsTheyWereProduced) {
    const std::string topic = new_topic(2);
    std::vector<Sent> sent;
    for (const char* codec : {"none", "gzip", "snappy", "lz4", "zstd"}) {
        Producer producer(node->brokers(), codec);
        for (int i = 0; i < 500; ++i) {
            Sent s;
            s.timestamp = 1'700'000'000'000 + static_cast<std::int64_t>(sent.size());
            s.value = std::string(codec) + std::string(static_cast<std::size_t>(i % 300), 'x');
            if (i % 3 == 0) {
                s.key = std::string("k\0\xff", 3) + std::to_string(i);
            }
            if (i % 5 == 0) {
                s.headers = {
                    {"h", "1"}, {"h", std::string("\0", 1)}, {"none", std::nullopt}, {"empty", ""}};
            }
            if (i % 7 == 0) {
                s.value.reset();
            }
            producer.send(topic, s);
            sent.push_back(std::move(s));
        }
        producer.flush();
    }
    auto log = open(topic);
    const auto partitions = log->partitions(kPatience);
    ASSERT_TRUE(partitions) << partitions.error().text;
    EXPECT_EQ(*partitions, (std::vector<Partition>{{topic, 0}, {topic, 1}}));
    auto r = reader(*log, *partitions);
    r->assign(0, 0);
    r->assign(1, 0);
    const auto got = read_to_end(*r);
    ASSERT_EQ(got.size(), sent.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].offset, static_cast<Offset>(i));
        EXPECT_EQ(got[i].value, sent[i].value);
        EXPECT_EQ(got[i].key, sent[i].key);
        EXPECT_EQ(got[i].timestamp, sent[i].timestamp);
        EXPECT_FALSE(got[i].append_time);
        EXPECT_EQ(got[i].headers, sent[i].headers);
    }
    EXPECT_EQ(r->at_end(0), static_cast<Offset>(sent.size()));
    EXPECT_TRUE(read_to_end(*r, 1).empty());
    EXPECT_EQ(r->at_end(1), 0);
    EXPECT_TRUE(errors.empty());
}

TEST_F(KafkaLogTest, ReadsInPiecesAndFromAnyOffset) {
    const std::string topic = new_topic(1);
    Producer producer(node->brokers());
    for (int i = 0; i < 100; ++i) {
        producer.send(topic, {.value = std::to_string(i)});
    }
    producer.flush();
    auto log = open(topic);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 40);
    std::vector<Offset> offsets;
    const auto take = [&](const Record& record) {
        offsets.push_back(record.offset);
        return record.offset != 45;  // stops behind it
    };
    while (offsets.size() < 60) {
        const std::size_t before = offsets.size();
        const auto n = r->read(0, 4, take);
        ASSERT_TRUE(n);
        ASSERT_EQ(*n, offsets.size() - before);
        ASSERT_LE(*n, 4u);
        if (*n > 0 && offsets.back() >= 40 && before <= 5 && offsets.size() > 5) {
            EXPECT_EQ(offsets.size(), 6u) << "take() returned false at 45";
        }
        if (*n == 0) {
            EXPECT_EQ(r->at_end(0), std::nullopt);
            r->wait(1000);
        }
    }
    for (std::size_t i = 0; i < offsets.size(); ++i) {
        EXPECT_EQ(offsets[i], static_cast<Offset>(40 + i));
    }
    r->assign(0, 10);
    EXPECT_EQ(read_to_end(*r).size(), 90u);
    r->assign(0, 100);
    EXPECT_TRUE(read_to_end(*r).empty());
}

TEST_F(KafkaLogTest, AbortedAndControlRecordsNeverReachUs) {
    const std::string topic = new_topic(1);
    {
        Producer producer(node->brokers(), "lz4", topic);
        const auto transaction = [&](int records, const char* value, bool commit) {
            producer.begin();
            for (int i = 0; i < records; ++i) {
                producer.send(topic, {.value = value});
            }
            producer.flush();
            commit ? producer.commit() : producer.abort();
        };
        transaction(10, "a", true);     // 0..9, marker 10
        transaction(20, "no", false);   // 11..30, marker 31
        transaction(5, "b", true);      // 32..36, marker 37
        transaction(300, "no", false);  // 38..337, marker 338
    }
    auto log = open(topic);
    const auto ranges = log->ranges({{topic, 0}}, kPatience);
    ASSERT_TRUE(ranges) << ranges.error().text;
    EXPECT_EQ(ranges->front().begin, 0);
    EXPECT_EQ(ranges->front().end, 339);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    const auto got = read_to_end(*r, 0, 339);
    ASSERT_EQ(got.size(), 15u);
    for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].offset, static_cast<Offset>(i < 10 ? i : i + 22));
        EXPECT_EQ(got[i].value, i < 10 ? "a" : "b");
    }
    EXPECT_EQ(r->at_end(0), 339) << "passed offsets count";
    r->assign(0, 15);
    EXPECT_EQ(read_to_end(*r, 0, 339).size(), 5u);
}

TEST_F(KafkaLogTest, TheEndIsTheLastStableOffset) {
    const std::string topic = new_topic(1);
    Producer producer(node->brokers());
    producer.send(topic, {.value = "a"});
    producer.flush();
    Producer open_one(node->brokers(), "none", topic);
    open_one.begin();
    open_one.send(topic, {.value = "pending"});
    open_one.flush();
    producer.send(topic, {.value = "behind it"});
    producer.flush();
    auto log = open(topic);
    EXPECT_EQ(log->ranges({{topic, 0}}, kPatience)->front().end, 1);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    EXPECT_EQ(read_to_end(*r).size(), 1u);
    EXPECT_EQ(r->at_end(0), 1);
    EXPECT_TRUE(r->behind_end_is_more(0));
    open_one.commit();
    EXPECT_EQ(read_to_end(*r, 0, 4).size(), 2u);
    EXPECT_FALSE(r->behind_end_is_more(0));
    EXPECT_EQ(log->ranges({{topic, 0}}, kPatience)->front().end, 4);
}

TEST_F(KafkaLogTest, AppendTimeIsTold) {
    const std::string topic = new_topic(1, "message.timestamp.type=LogAppendTime");
    Producer producer(node->brokers());
    producer.send(topic, {.value = "a", .timestamp = 5});
    producer.flush();
    auto log = open(topic);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    const auto got = read_to_end(*r);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_TRUE(got[0].append_time);
    EXPECT_GT(got[0].timestamp, 1'000'000'000'000);
}

TEST_F(KafkaLogTest, MissingOffsetsAreNamedExactly) {
    const std::string topic = new_topic(2);
    Producer producer(node->brokers());
    for (int i = 0; i < 300; ++i) {
        producer.send(topic, {.value = "x", .partition = 1});
    }
    producer.flush();
    node->topic(topic + " --trim 1 200");
    auto log = open(topic);
    EXPECT_EQ(log->ranges({{topic, 1}}, kPatience)->front().begin, 200);
    auto r = reader(*log, {{topic, 0}, {topic, 1}});
    r->assign(1, 100);
    auto [number, error] = next_error(*r, 1);
    EXPECT_EQ(number, 1u);
    EXPECT_EQ(error.kind, model::ErrorKind::invalid);
    EXPECT_EQ(error.text, topic + "[1]: offsets 100..199 are gone, log starts at 200");
    EXPECT_EQ(r->at_end(1), std::nullopt);

    r->assign(1, 500);
    std::tie(number, error) = next_error(*r, 1);
    EXPECT_EQ(error.kind, model::ErrorKind::invalid);
    EXPECT_EQ(error.text, topic + "[1]: next offset is 500, but the log ends at 300");

    r->assign(1, 200);
    EXPECT_EQ(read_to_end(*r, 1).size(), 100u) << "assigned anew it goes on";
}

TEST_F(KafkaLogTest, OffsetsByTime) {
    const std::string topic = new_topic(2);
    Producer producer(node->brokers());
    for (int i = 0; i < 10; ++i) {
        producer.send(topic, {.value = "x", .timestamp = 1000 * (i + 1)});
    }
    producer.flush();
    auto log = open(topic);
    const std::vector<Partition> both = {{topic, 0}, {topic, 1}};
    EXPECT_EQ(*log->offsets_at(both, 3500, kPatience), (std::vector<Offset>{3, 0}));
    EXPECT_EQ(*log->offsets_at(both, 1000, kPatience), (std::vector<Offset>{0, 0}));
    EXPECT_EQ(*log->offsets_at(both, -1, kPatience), (std::vector<Offset>{0, 0}));
    EXPECT_EQ(*log->offsets_at(both, 99'999, kPatience), (std::vector<Offset>{10, 0}));
}

TEST_F(KafkaLogTest, ProbesOneRecord) {
    const std::string topic = new_topic(1);
    {
        Producer producer(node->brokers(), "none", topic);
        producer.begin();
        producer.send(topic, {.value = "v", .key = "k", .timestamp = 1234});
        producer.send(topic, {.value = "w", .timestamp = 1234});
        producer.commit();
    }
    auto log = open(topic);
    // A commit is told before its marker is in the log, and until then there is nothing to read.
    while (log->ranges({{topic, 0}}, kPatience).value().front().end < 3) {
    }
    Record record;
    record.timestamp = 1234;
    record.has_key = record.has_value = true;
    record.key = "k";
    record.value = "v";
    const auto probe = [&](Offset o) {
        return log->probe({{{topic, 0}, o}}, kPatience).value().front();
    };
    EXPECT_EQ(probe(0), probe_hash(record));
    EXPECT_NE(probe(1), probe_hash(record));
    EXPECT_TRUE(probe(1).has_value());
    EXPECT_EQ(probe(2), std::nullopt) << "a control record";
    EXPECT_EQ(probe(3), std::nullopt) << "the end";
    EXPECT_EQ(probe(30), std::nullopt) << "behind the end";
    EXPECT_EQ(probe(0), probe_hash(record)) << "again";
}

TEST_F(KafkaLogTest, FindsAddedPartitions) {
    const std::string topic = new_topic(1);
    auto log = open(topic);
    EXPECT_EQ(log->partitions(kPatience)->size(), 1u);
    node->topic(topic + " --grow 3");
    Producer producer(node->brokers());
    producer.send(topic, {.value = "x", .partition = 2});
    producer.flush();
    EXPECT_EQ(log->partitions(kPatience)->size(), 3u);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    EXPECT_TRUE(read_to_end(*r).empty());
    table.push_back({topic, 2});
    r->assign(1, 0);
    EXPECT_EQ(read_to_end(*r, 1).size(), 1u);
}

TEST_F(KafkaLogTest, AnUnknownTopicIsSaid) {
    auto log = open("nobody-made-it");
    const auto partitions = log->partitions(10'000);
    ASSERT_FALSE(partitions);
    EXPECT_EQ(partitions.error().kind, model::ErrorKind::invalid);
    EXPECT_NE(partitions.error().text.find("nobody-made-it"), std::string::npos);
}

TEST_F(KafkaLogTest, PublishesPositions) {
    const std::string topic = new_topic(1);
    Producer producer(node->brokers());
    producer.send(topic, {.value = "x"});
    producer.flush();
    KafkaLogSettings settings;
    settings.group_id = topic;
    auto log = open(topic, settings);
    EXPECT_TRUE(log->ranges({{topic, 0}}, kPatience));

    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_conf_set(conf, "bootstrap.servers", node->brokers().c_str(), text, sizeof text);
    rd_kafka_conf_set(conf, "group.id", topic.c_str(), text, sizeof text);
    rd_kafka_t* other = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic.c_str(), 0);
    Offset committed = -1;
    for (int i = 0; i < 600 && committed != 1; ++i) {
        log->publish({{{topic, 0}, 1}});
        if (rd_kafka_committed(other, list, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            committed = list->elems[0].offset;
        }
    }
    EXPECT_EQ(committed, 1);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(other);
}

TEST_F(KafkaLogTest, WakeEndsAWaitAtOnce) {
    const std::string topic = new_topic(1);
    auto log = open(topic);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    EXPECT_TRUE(read_to_end(*r).empty());
    const auto begin = std::chrono::steady_clock::now();
    std::jthread other([&] { r->wake(); });
    r->wait(kPatience);
    // Also a wake() that came first counts.
    other.join();
    r->wake();
    r->wait(kPatience);
    // Also a record does.
    Producer producer(node->brokers());
    producer.send(topic, {.value = "x"});
    producer.flush();
    std::size_t taken = 0;
    while (taken == 0) {
        r->wait(kPatience);
        taken = *r->read(0, 10, [](const Record&) { return true; });
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(kPatience));
}

TEST_F(KafkaLogTest, PausedPartitionsKeepWhatIsQueued) {
    const std::string topic = new_topic(2);
    Producer producer(node->brokers());
    for (int i = 0; i < 1000; ++i) {
        producer.send(topic, {.value = std::string(1000, 'x'), .partition = i % 2});
    }
    producer.flush();
    auto log = open(topic);
    auto r = reader(*log, {{topic, 0}, {topic, 1}});
    r->assign(0, 0);
    r->assign(1, 0);
    r->set_paused(1, true);
    EXPECT_EQ(read_to_end(*r, 0).size(), 500u) << "one is read while the other is held";
    r->set_paused(1, false);
    EXPECT_EQ(read_to_end(*r, 1).size(), 500u);
    EXPECT_EQ(log->counts().duplicates_dropped, 0u);
}

TEST_F(KafkaLogTest, ASmallQueueStallsNothing) {
    const std::string topic = new_topic(4);
    constexpr int kRecords = 40'000;
    {
        Producer producer(node->brokers(), "lz4");
        for (int i = 0; i < kRecords; ++i) {
            producer.send(topic, {.value = std::string(500, static_cast<char>('a' + i % 26)),
                                  .partition = i % 4});
        }
        producer.flush();
    }
    KafkaLogSettings settings;
    settings.queue_bytes = 1;  // the least: 256 KiB for each partition
    auto log = open(topic, settings);
    auto r = reader(*log, *log->partitions(kPatience));
    for (std::uint32_t p = 0; p < 4; ++p) {
        r->assign(p, 0);
    }
    std::array<Offset, 4> next{};
    int taken = 0;
    while (taken < kRecords) {
        std::size_t round = 0;
        for (std::uint32_t p = 0; p < 4; ++p) {
            round += *r->read(p, 4096, [&](const Record& record) {
                EXPECT_EQ(record.offset, next[p]);
                next[p] = record.offset + 1;
                return true;
            });
        }
        taken += static_cast<int>(round);
        if (round == 0) {
            r->wait(1000);
        }
        ASSERT_TRUE(r->take_errors().empty());
    }
    EXPECT_EQ(taken, kRecords);
}

TEST_F(KafkaLogTest, GoesOnAfterABrokerRestart) {
    const std::string topic = new_topic(1);
    {
        Producer producer(node->brokers());
        for (int i = 0; i < 100; ++i) {
            producer.send(topic, {.value = std::to_string(i)});
        }
        producer.flush();
    }
    auto log = open(topic);
    auto r = reader(*log, {{topic, 0}});
    r->assign(0, 0);
    EXPECT_EQ(read_to_end(*r).size(), 100u);

    node->stop();
    const auto [number, error] = next_error(*r, 0);
    EXPECT_EQ(number, kWholeLog);
    EXPECT_EQ(error.kind, model::ErrorKind::unavailable);
    const auto begin = std::chrono::steady_clock::now();
    const auto ranges = log->ranges({{topic, 0}}, 500);
    ASSERT_FALSE(ranges);
    EXPECT_EQ(ranges.error().kind, model::ErrorKind::unavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20))
        << "our deadline counts, whatever librdkafka does";

    node->start();
    {
        Producer producer(node->brokers());
        for (int i = 100; i < 200; ++i) {
            producer.send(topic, {.value = std::to_string(i)});
        }
        producer.flush();
    }
    const auto got = read_to_end(*r, 0, 200);
    ASSERT_EQ(got.size(), 100u);
    EXPECT_EQ(got.front().offset, 100);
    EXPECT_EQ(got.front().value, "100");
    bool answered = false;
    for (int i = 0; i < 60 && !answered; ++i) {
        answered = log->ranges({{topic, 0}}, 1000).has_value();
    }
    EXPECT_TRUE(answered);
}

// ---- Batches that nobody can read

std::uint32_t crc32c(const unsigned char* at, std::size_t size) {
    std::uint32_t crc = ~0u;
    for (std::size_t i = 0; i < size; ++i) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

std::uint64_t big_endian(const std::string& bytes, std::size_t at, std::size_t size) {
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < size; ++i) {
        v = v << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return v;
}

// Overwrites the compressed records of every batch of a segment that `broken` picks by its base
// offset, and makes its checksum right again if `checksum`. Returns the [first, last] of each.
std::vector<std::pair<Offset, Offset>> damage_segment(const fs::path& path,
                                                      const std::function<bool(int)>& broken,
                                                      bool checksum) {
    std::ifstream in(path, std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    in.close();
    std::vector<std::pair<Offset, Offset>> stretches;
    int number = 0;
    for (std::size_t at = 0; at + 61 < bytes.size(); ++number) {
        const std::size_t end = at + 12 + big_endian(bytes, at + 8, 4);
        if (broken(number)) {
            const auto first = static_cast<Offset>(big_endian(bytes, at, 8));
            stretches.emplace_back(first,
                                   first + static_cast<Offset>(big_endian(bytes, at + 23, 4)));
            for (std::size_t i = at + 61; i < end; ++i) {
                bytes[i] = '\x5a';
            }
            if (checksum) {
                const std::uint32_t crc = crc32c(
                    reinterpret_cast<const unsigned char*>(bytes.data()) + at + 21, end - at - 21);
                for (std::size_t i = 0; i < 4; ++i) {
                    bytes[at + 17 + i] = static_cast<char>(crc >> (24 - 8 * i));
                }
            }
        }
        at = end;
    }
    std::ofstream(path, std::ios::binary) << bytes;
    return stretches;
}

struct Damaged {
    const char* codec;
    bool checksum;  // right, so that only decompressing fails
    std::string topic;
    int records = 0;
    std::vector<std::pair<Offset, Offset>> stretches = {};
};

TEST_F(KafkaLogTest, DamagedBatchesAreOneRecordEachAndTheRestGoesOn) {
    std::vector<Damaged> cases = {{"gzip", true, "damaged-gzip"},
                                  {"snappy", true, "damaged-snappy"},
                                  {"lz4", true, "damaged-lz4"},
                                  {"zstd", true, "damaged-zstd"},
                                  {"zstd", false, "damaged-checksum"}};
    for (auto& c : cases) {
        node->topic(c.topic + " 1");
        for (const int size : {10, 37, 1, 200, 5, 64}) {
            Producer producer(node->brokers(), c.codec);
            for (int i = 0; i < size; ++i) {
                producer.send(c.topic,
                              {.value = std::string(200, 'x') + std::to_string(c.records++)});
            }
            producer.flush();
        }
    }
    node->stop();
    for (auto& c : cases) {
        c.stretches = damage_segment(
            node->segment(c.topic, 0),
            [](int batch) { return batch == 1 || batch == 3 || batch >= 5; }, c.checksum);
        ASSERT_GE(c.stretches.size(), 3u);
    }
    node->start();

    for (const auto& c : cases) {
        std::string told = c.topic + ":";
        for (const auto& [first, last] : c.stretches) {
            told += " " + std::to_string(first) + ".." + std::to_string(last);
        }
        SCOPED_TRACE(told);
        KafkaLogSettings settings;
        settings.properties = {{"fetch.error.backoff.ms", "10"}};
        auto log = open(c.topic, settings);
        auto r = reader(*log, {{c.topic, 0}});
        // From the start, and from within a batch that is broken.
        const auto longer =
            std::ranges::find_if(c.stretches, [](const auto& s) { return s.second > s.first; });
        ASSERT_NE(longer, c.stretches.end());
        std::ptrdiff_t all_damaged = 0;
        for (const Offset from : {Offset{0}, longer->first + 1}) {
            r->assign(0, from);
            Offset next = from;
            std::ptrdiff_t damaged = 0;
            for (const auto& g : read_to_end(*r, 0, c.records)) {
                EXPECT_EQ(g.first_offset, next) << "no offset is passed over or told twice";
                next = g.offset + 1;
                if (!g.damage.empty()) {
                    ++damaged;
                    EXPECT_TRUE(std::ranges::any_of(c.stretches,
                                                    [&](const auto& s) {
                                                        return std::max(s.first, from) ==
                                                                   g.first_offset &&
                                                               s.second == g.offset;
                                                    }))
                        << g.first_offset << ".." << g.offset;
                }
            }
            EXPECT_EQ(next, c.records);
            EXPECT_EQ(damaged, std::ranges::count_if(c.stretches, [from](const auto& s) {
                          return s.second >= from;
                      }));
            all_damaged += damaged;
        }
        EXPECT_EQ(static_cast<std::ptrdiff_t>(log->counts().damaged_stretches), all_damaged);
    }
}

}  // namespace
}  // namespace sluice::ingest
