#include "ingest/kafka_reader.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ingest/kafka_queries.h"
#include "state/model/invariant.h"

namespace sluice::ingest {

using model::Offset;
using model::Partition;

namespace {

// Empty: it can be read on from `expected`, and the record that was read last is still there.
std::string why_not_on(rd_kafka_t* client, const Partition& partition, Offset expected,
                       const std::optional<Probe>& probe) {
    const auto ranges = query_ranges(client, {partition}, 10'000);
    const std::string name = to_string(partition);
    if (!ranges) {
        return name + ": offset " + std::to_string(expected) +
               " cannot be read, and the log's range is not known: " + ranges.error().text;
    }
    std::string missing = missing_range(partition, expected, ranges->front());
    if (!missing.empty() || !probe || probe->offset < ranges->front().begin) {
        return missing;
    }
    const auto found = query_probes(client, {{partition, probe->offset}}, 10'000);
    const std::string record = name + ": the record at offset " + std::to_string(probe->offset);
    if (!found) {
        return name + ": offset " + std::to_string(expected) + " was not there, and " +
               found.error().text;
    }
    if (!found->front()) {
        return record + " is gone: the topic was made anew, or is compacted";
    }
    return *found->front() == probe->hash
               ? std::string()
               : record + " is another one than the one that was read: the topic was made anew";
}

}  // namespace

model::Result<std::unique_ptr<KafkaReader>> KafkaReader::open(
    std::shared_ptr<ControlClient> shared, const std::vector<Partition>& partitions) {
    std::unique_ptr<KafkaReader> reader(new KafkaReader(std::move(shared), partitions));
    reader->inbox_->fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (reader->inbox_->fd < 0) {
        return model::exhausted(std::string("eventfd: ") + std::strerror(errno));
    }
    TRY(conf, make_conf(reader->shared_->settings, partitions.size()));
    char value[64];
    std::size_t size = sizeof value;
    rd_kafka_conf_get(conf.get(), "queued.max.messages.kbytes", value, &size);
    reader->queue_bytes_ = std::stoull(value) << 10;
    rd_kafka_conf_set_opaque(conf.get(), static_cast<ClientOwner*>(reader.get()));
    char text[512];
    reader->client_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    if (reader->client_ == nullptr) {
        return model::invalid(text);
    }
    static_cast<void>(conf.release());
    reader->main_queue_.reset(rd_kafka_queue_get_main(reader->client_));
    const std::uint64_t one = 1;
    rd_kafka_queue_io_event_enable(reader->main_queue_.get(), reader->inbox_->fd, &one, sizeof one);
    return reader;
}

KafkaReader::~KafkaReader() {
    if (client_ == nullptr) {
        return;
    }
    rd_kafka_queue_io_event_enable(main_queue_.get(), -1, nullptr, 0);
    for (auto& [number, open] : open_) {
        rd_kafka_queue_io_event_enable(open.queue.get(), -1, nullptr, 0);
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
    }
    open_.clear();
    main_queue_.reset();
    rd_kafka_destroy(client_);
}

void KafkaReader::assign(std::uint32_t partition, Offset next_offset) {
    INVARIANT(next_offset >= 0, "offsets are resolved to numbers before anything is read");
    Open& open = open_[partition];
    if (!open.topic) {
        open.partition = partitions_.at(partition);
        open.topic.reset(rd_kafka_topic_new(client_, open.partition.topic.c_str(), nullptr));
        open.queue.reset(rd_kafka_queue_new(client_));
        const std::uint64_t one = 1;
        rd_kafka_queue_io_event_enable(open.queue.get(), inbox_->fd, &one, sizeof one);
    } else {
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
    }
    open.expected = next_offset;
    open.failed = false;
    open.full = false;
    open.end.reset();
    open.search.reset();
    open.seek_to.reset();
    open.repeats = 0;
    start(open, next_offset);
}

void KafkaReader::remember(std::uint32_t partition, const Probe& probe) {
    open_.at(partition).probe = probe;
}

void KafkaReader::start(Open& open, Offset next_offset) {
    INVARIANT(rd_kafka_consume_start_queue(open.topic.get(), open.partition.id, next_offset,
                                           open.queue.get()) == 0,
              "librdkafka starts a stopped partition at an offset that is not negative");
}

model::Result<std::size_t> KafkaReader::read(std::uint32_t partition, std::size_t limit,
                                             const Take& take) {
    const auto it = open_.find(partition);
    INVARIANT(it != open_.end(), "only assigned partitions are read");
    Open& open = it->second;
    if (open.failed || limit == 0) {
        return std::size_t{0};
    }
    Call call{.reader = this, .open = &open, .number = partition, .take = &take, .limit = limit};
    rd_kafka_consume_callback_queue(open.queue.get(), 0, &KafkaReader::on_message, &call);
    if (open.seek_to) {
        // Stop and start, not a seek: behind the log's end the fetcher is off, and then librdkafka
        // ignores a seek without a word. What is queued is out of date from here on.
        rd_kafka_consume_stop(open.topic.get(), open.partition.id);
        start(open, *open.seek_to);
        open.seek_to.reset();
    }
    if (call.duplicates > 0) {
        const std::lock_guard lock(shared_->mutex);
        shared_->counts.duplicates_dropped += call.duplicates;
    }
    watch_queue(open, call.taken, call.bytes);
    return call.taken;
}

// Wakes the fetcher when a queue that had come near its bound is down to less than the half.
void KafkaReader::watch_queue(Open& open, std::size_t taken, std::size_t bytes) {
    if (taken == 0) {
        return;
    }
    open.mean_bytes = std::max<std::size_t>(1, (open.mean_bytes * 3 + bytes / taken) / 4);
    const std::uint64_t left = queued_bytes(open);
    if (left + bytes >= queue_bytes_ / 4 * 3) {
        open.full = true;
    }
    if (open.full && left < queue_bytes_ / 2) {
        open.full = false;
        poke();
    }
}

// Makes the broker threads look at once whether there is something to fetch. From 2.2 on a setting
// sees to that; before, setting the credentials (to what they are) is the one public call that
// wakes them and does nothing else.
void KafkaReader::poke() {
    if (rd_kafka_version() < kVersionWithBackoffSetting) {
        if (rd_kafka_error_t* error = rd_kafka_sasl_set_credentials(
                client_, shared_->sasl_username.c_str(), shared_->sasl_password.c_str())) {
            rd_kafka_error_destroy(error);
        }
    }
}

void KafkaReader::on_message(rd_kafka_message_t* message, void* opaque) {
    Call& call = *static_cast<Call*>(opaque);
    KafkaReader& reader = *call.reader;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        reader.partition_event(call, message);
    } else {
        reader.hand_out(call, message);
    }
    if (call.stop || call.taken == call.limit || call.open->seek_to || call.open->failed) {
        rd_kafka_yield(reader.client_);
    }
}

void KafkaReader::hand_out(Call& call, const rd_kafka_message_t* message) {
    Open& open = *call.open;
    if (open.search) {
        if (message->offset >= open.search->at) {
            open.search->good = open.search->at;
            search_on(call);
        }
        return;
    }
    if (message->offset < open.expected) {
        ++call.duplicates;
        return;
    }
    Record record;
    fill_record(message, record, headers_);
    open.expected = record.offset + 1;
    open.end.reset();
    open.repeats = 0;
    ++call.taken;
    call.bytes += record.key.size() + record.value.size();
    call.stop = !(*call.take)(record);
}

void KafkaReader::partition_event(Call& call, const rd_kafka_message_t* message) {
    Open& open = *call.open;
    const auto told = [&] {
        return to_string(open.partition) + ": " + rd_kafka_message_errstr(message);
    };
    switch (message->err) {
        case RD_KAFKA_RESP_ERR__PARTITION_EOF:
            if (open.search) {
                open.search->good = open.search->at;
                search_on(call);
                return;
            }
            open.expected = std::max(open.expected, message->offset);
            open.end = message->offset;
            return;
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
            if (open.search) {
                // Behind a wrong checksum librdkafka may fetch from an offset that it made up. Its
                // error outlives a restart and is not the answer to what is being tried.
                if (message->offset == open.search->at) {
                    open.search->good = open.search->at;  // behind the log's end
                    search_on(call);
                } else {
                    open.seek_to = open.search->at;
                }
                return;
            }
            lost(call.number, open);
            return;
        case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
            damaged(call, message->offset, rd_kafka_message_errstr(message));
            return;
        case RD_KAFKA_RESP_ERR__BAD_MSG:
            // A wrong checksum. librdkafka goes on somewhere behind it, which would be a gap that
            // nobody sees: fetch again. It may have come from the network; three times is the disk.
            if (open.search || ++open.repeats >= 3) {
                damaged(call, message->offset, rd_kafka_message_errstr(message));
            } else {
                add_error(call.number, {model::ErrorKind::unavailable, told()});
                open.seek_to = open.expected;
            }
            return;
        default:
            add_error(call.number, {model::ErrorKind::unavailable, told()});
    }
}

void KafkaReader::damaged(Call& call, Offset at, std::string reason) {
    Open& open = *call.open;
    if (!open.search) {
        Search search;
        search.told = at;
        search.bad = open.expected;
        search.at = open.expected;
        search.reason = std::move(reason);
        open.search = std::move(search);
    } else if (Search& s = *open.search; at != s.told && at > s.bad && at <= s.at) {
        s.good = at;  // the next stretch that is damaged
    } else {
        s.bad = s.at;
    }
    search_on(call);
}

// Chooses the next offset to try: by doubled steps until one is readable, then by halves.
void KafkaReader::search_on(Call& call) {
    Open& open = *call.open;
    Search& s = *open.search;
    if (s.good && *s.good == s.bad + 1) {
        Record record;
        record.first_offset = std::clamp(s.told, open.expected, s.bad);
        record.offset = s.bad;
        record.damage = s.reason;
        open.expected = *s.good;
        open.seek_to = *s.good;
        open.repeats = 0;
        {
            const std::lock_guard lock(shared_->mutex);
            ++shared_->counts.damaged_stretches;
        }
        ++call.taken;
        call.stop = !(*call.take)(record);
        open.search.reset();
        return;
    }
    if (s.good) {
        s.at = s.bad + (*s.good - s.bad) / 2;
    } else {
        s.at = s.bad + s.step;
        s.step *= 2;
    }
    open.seek_to = s.at;
}

// The brokers do not know our position. What is missing comes from the helper, or whether it is
// still the log that was read; until then nothing is read.
void KafkaReader::lost(std::uint32_t number, Open& open) {
    open.failed = true;
    open.end.reset();
    shared_->post([inbox = inbox_, number, partition = open.partition, expected = open.expected,
                   probe = open.probe](rd_kafka_t* client) {
        const auto verdict = why_not_on(client, partition, expected, probe);
        const std::lock_guard lock(inbox->mutex);
        if (verdict.empty()) {
            inbox->again.push_back(number);
        } else {
            inbox->errors.emplace_back(number, model::Error{model::ErrorKind::invalid, verdict});
        }
        inbox->signal();
    });
}

std::optional<Offset> KafkaReader::at_end(std::uint32_t partition) const {
    const auto it = open_.find(partition);
    if (it == open_.end() || !it->second.end || it->second.search || it->second.failed ||
        rd_kafka_queue_length(it->second.queue.get()) > 0) {
        return std::nullopt;
    }
    return it->second.end;
}

// The fetcher asks again and again at the end, and every answer says how far the log goes beyond
// what may be read yet.
bool KafkaReader::behind_end_is_more(std::uint32_t partition) const {
    const auto it = open_.find(partition);
    if (it == open_.end() || !it->second.end) {
        return false;
    }
    const Open& open = it->second;
    std::int64_t low = 0;
    std::int64_t high = 0;
    return rd_kafka_get_watermark_offsets(client_, open.partition.topic.c_str(), open.partition.id,
                                          &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           high > *open.end;
}

void KafkaReader::set_paused(std::uint32_t partition, bool paused) {
    const auto it = open_.find(partition);
    INVARIANT(it != open_.end(), "only assigned partitions are paused");
    Open& open = it->second;
    const bool resumed = open.paused && !paused;
    open.paused = paused;
    if (resumed && queued_bytes(open) >= queue_bytes_ / 4 * 3) {
        open.full = true;  // it may have stood at its bound
    }
}

void KafkaReader::wait(std::int64_t timeout_ms) {
    for (const auto& [number, open] : open_) {
        if (!open.paused && !open.failed && rd_kafka_queue_length(open.queue.get()) > 0) {
            return;
        }
    }
    pollfd fd{inbox_->fd, POLLIN, 0};
    if (::poll(&fd, 1, clamp_ms(timeout_ms)) > 0) {
        std::uint64_t count = 0;
        static_cast<void>(!::read(inbox_->fd, &count, sizeof count));
    }
    rd_kafka_poll(client_, 0);
}

void KafkaReader::wake() { inbox_->signal(); }

void KafkaReader::add_error(std::uint32_t number, model::Error error) {
    constexpr std::size_t kKept = 64;
    for (auto& [n, e] : errors_) {
        if (n == number && e.text == error.text) {
            return;
        }
    }
    if (errors_.size() < kKept) {
        errors_.emplace_back(number, std::move(error));
    }
}

std::vector<std::pair<std::uint32_t, model::Error>> KafkaReader::take_errors() {
    rd_kafka_poll(client_, 0);
    std::vector<std::uint32_t> again;
    {
        const std::lock_guard lock(inbox_->mutex);
        for (auto& [number, error] : inbox_->errors) {
            add_error(number, std::move(error));
        }
        inbox_->errors.clear();
        again.swap(inbox_->again);
    }
    for (const std::uint32_t number : again) {
        Open& open = open_.at(number);
        if (open.failed) {
            add_error(number, {model::ErrorKind::unavailable,
                               to_string(open.partition) + ": reading starts again at offset " +
                                   std::to_string(open.expected)});
            assign(number, open.expected);
        }
    }
    auto errors = std::exchange(errors_, {});
    std::ranges::stable_sort(errors, [](const auto& a, const auto& b) {
        return a.second.kind == model::ErrorKind::invalid &&
               b.second.kind != model::ErrorKind::invalid;
    });
    return errors;
}

void KafkaReader::on_log(int level, std::string_view text) {
    if (shared_->settings.log) {
        shared_->settings.log(level, text);
    }
}

// Called from rd_kafka_poll(), so on the worker's thread.
void KafkaReader::on_error(int error, std::string text) {
    shared_->note_error(error, text);
    add_error(kWholeLog, {model::ErrorKind::unavailable, std::move(text)});
}

}  // namespace sluice::ingest
