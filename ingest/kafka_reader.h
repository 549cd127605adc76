// Reads the partitions of one worker, by a librdkafka client of its own. What it takes on itself is
// said at kafka_log.h.
//
// A stretch that cannot be read (a batch that does not decompress) comes again for ever. Its end is
// searched for by reading from later offsets, in growing steps and then by halving; all of it is
// one Record with `damage`.
//
// Thread: as LogReader says: the worker's; wake() any.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ingest/kafka_client.h"
#include "ingest/kafka_message.h"
#include "ingest/log.h"

namespace sluice::ingest {

class KafkaReader final : public LogReader, private ClientOwner {
 public:
    static model::Result<std::unique_ptr<KafkaReader>> open(
        std::shared_ptr<ControlClient> shared, const std::vector<model::Partition>& partitions);
    ~KafkaReader() override;

    void assign(std::uint32_t partition, model::Offset next_offset) override;
    void remember(std::uint32_t partition, const Probe& probe) override;
    model::Result<std::size_t> read(std::uint32_t partition, std::size_t limit,
                                    const Take& take) override;
    std::optional<model::Offset> at_end(std::uint32_t partition) const override;
    bool behind_end_is_more(std::uint32_t partition) const override;
    void set_paused(std::uint32_t partition, bool paused) override;
    void wait(std::int64_t timeout_ms) override;
    void wake() override;
    std::vector<std::pair<std::uint32_t, model::Error>> take_errors() override;

 private:
    // The search for the end of a stretch that cannot be read. Reading from `bad` meets it, reading
    // from `good` does not; `at` is being tried. `told` is where the stretch begins by librdkafka's
    // word, which is not always true: it only tells one stretch from the next, and nothing is
    // passed over because of it.
    struct Search {
        model::Offset told = 0;
        model::Offset bad = 0;
        std::optional<model::Offset> good;
        model::Offset at = 0;
        model::Offset step = 1;
        std::string reason;
    };
    struct Open {
        model::Partition partition;
        Topic topic;
        Queue queue;
        model::Offset expected = 0;  // nothing below it is handed out
        bool paused = false;
        bool failed = false;  // its offsets are gone
        bool full = false;    // the queue came near its bound
        std::size_t mean_bytes = 256;
        std::optional<model::Offset> end;
        std::optional<Probe> probe;  // of the last record that counts
        std::optional<Search> search;
        std::optional<model::Offset> seek_to;  // to be done outside the callback
        int repeats = 0;                       // wrong checksums since the last record
    };
    // What a helper's answer is left in; outlives the reader if it must.
    struct Inbox {
        std::mutex mutex;
        std::vector<std::pair<std::uint32_t, model::Error>> errors;
        std::vector<std::uint32_t> again;  // partitions that turned out to be readable
        int fd = -1;
        ~Inbox() {
            if (fd >= 0) {
                ::close(fd);
            }
        }
        void signal() const {
            const std::uint64_t one = 1;
            static_cast<void>(!::write(fd, &one, sizeof one));
        }
    };
    struct Call {
        KafkaReader* reader;
        Open* open;
        std::uint32_t number;
        const Take* take;
        std::size_t limit;
        std::size_t taken = 0;
        std::size_t bytes = 0;
        std::uint64_t duplicates = 0;
        bool stop = false;
    };

    KafkaReader(std::shared_ptr<ControlClient> shared,
                const std::vector<model::Partition>& partitions)
        : shared_(std::move(shared)), partitions_(partitions), inbox_(std::make_shared<Inbox>()) {}

    static void on_message(rd_kafka_message_t* message, void* opaque);
    void hand_out(Call& call, const rd_kafka_message_t* message);
    void partition_event(Call& call, const rd_kafka_message_t* message);
    void damaged(Call& call, model::Offset at, std::string reason);
    void search_on(Call& call);
    void lost(std::uint32_t number, Open& open);
    static void start(Open& open, model::Offset next_offset);
    void add_error(std::uint32_t number, model::Error error);
    void poke();
    static std::uint64_t queued_bytes(const Open& open) {  // roughly
        return static_cast<std::uint64_t>(rd_kafka_queue_length(open.queue.get())) *
               open.mean_bytes;
    }
    void watch_queue(Open& open, std::size_t taken, std::size_t bytes);

    void on_log(int level, std::string_view text) override;
    void on_error(int error, std::string text) override;

    const std::shared_ptr<ControlClient> shared_;
    const std::vector<model::Partition>& partitions_;
    const std::shared_ptr<Inbox> inbox_;
    std::uint64_t queue_bytes_ = 0;  // bound of one partition
    rd_kafka_t* client_ = nullptr;
    Queue main_queue_;
    std::map<std::uint32_t, Open> open_;
    std::vector<std::pair<std::uint32_t, model::Error>> errors_;
    MessageHeaders headers_;
};

}  // namespace sluice::ingest
