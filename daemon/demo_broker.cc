#include "daemon/demo_broker.h"

#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::daemon {
namespace {

// In the new process, for the rest of its life.
int serve(const std::string& topic, int partitions, int report) {
    ::prctl(PR_SET_NAME, "sluice-broker");
    std::array<char, 512> problem{};
    rd_kafka_t* handle = rd_kafka_new(RD_KAFKA_PRODUCER, nullptr, problem.data(), problem.size());
    if (handle == nullptr) {
        return 1;
    }
    rd_kafka_mock_cluster_t* cluster = rd_kafka_mock_cluster_new(handle, 1);
    if (cluster == nullptr || rd_kafka_mock_topic_create(cluster, topic.c_str(), partitions, 1) !=
                                  RD_KAFKA_RESP_ERR_NO_ERROR) {
        return 1;
    }
    const std::string address = rd_kafka_mock_cluster_bootstraps(cluster);
    if (::write(report, address.data(), address.size()) < 0) {
        return 1;
    }
    ::close(report);
    for (;;) {
        ::pause();
    }
}

}  // namespace

model::Result<DemoBroker> start_demo_broker(const std::string& topic, int partitions,
                                            const std::string& output_path) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        return model::unavailable(std::string("pipe: ") + std::strerror(errno));
    }
    auto process = DemoChild::fork(
        [&] {
            ::close(ends[0]);
            return serve(topic, partitions, ends[1]);
        },
        output_path);
    ::close(ends[1]);
    DemoBroker broker;
    std::array<char, 256> text{};
    for (ssize_t got = 0; process && (got = ::read(ends[0], text.data(), text.size())) != 0;) {
        if (got < 0 && errno != EINTR) {
            break;
        }
        broker.address.append(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    }
    ::close(ends[0]);
    if (!process) {
        return std::unexpected(process.error());
    }
    if (broker.address.empty()) {
        return model::unavailable("the embedded broker did not start");
    }
    broker.process = std::move(*process);
    return broker;
}

}  // namespace sluice::daemon
