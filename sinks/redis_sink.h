// Writes results to Redis: in order, fenced, again when Redis lost them, never twice where twice
// would count.
//
// Lanes.  The results of a reduction leave in 16 lanes by the top bits of the key's hash. Within a
//   lane the order is (window end, hash, key); a lane stays on one connection. The transaction that
//   carries a batch also writes, for each of its lanes, the mark of the last result: whoever reads
//   the control hash knows exactly what has been executed.
// Fence.  The key `sluice:NAME:fence` holds "epoch owner". A batch is
//   `MULTI … EXEC WATCH fence GET fence`, sent at once: the tail of one batch is what validates the
//   next one, and nothing is sent before the reply to that GET is our own value. A second instance
//   raises the epoch; from then on every EXEC of ours fails and the GET says why.
// Reconnect.  A connection that comes back rewrites the fence with its own value first, so that an
//   EXEC of its dead predecessor that is still on its way fails; in the same transaction it reads
//   the control hash. Only then it knows what to send.
// Lost data.  A lane's mark or a frontier below what was acknowledged, a missing control hash or
//   another replication id mean that Redis may have lost results. The sink drops
//   what is queued, raises `generation` and asks for everything from there again (take_rewind()).
// Frontier.  `frontier:ID` is written after every lane has acknowledged what ended at or before it,
//   never before results that are sent again.
//
// docs/FORMAT-redis.md describes the two keys byte by byte.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.h"
#include "sinks/transport.h"
#include "state/model/barrier.h"
#include "state/model/clock.h"
#include "state/model/key.h"
#include "state/model/result.h"
#include "state/model/result_batch.h"
#include "state/model/time.h"

namespace sluice::sinks {

// The last result of a lane that Redis has executed.
struct LaneMark {
    model::EventTime end = model::kBeforeAll;
    std::uint64_t hash = 0;
    std::string key;  // encoded (model/key.h)
    auto operator<=>(const LaneMark&) const = default;
};

// The control hash `sluice:NAME`, read or to be written.
struct ControlHash {
    bool present = false;  // false: Redis has none
    std::string lineage;
    model::BarrierNumber barrier = 0;  // behind the last result sent
    std::string replication;           // the server's replication id when it was written
    std::map<std::string, model::EventTime> frontiers;  // by reduction id
    std::map<std::string, std::array<std::optional<LaneMark>, model::kLanes>> lanes;
};

// What the sink needs to know of a reduction.
struct ReductionOutput {
    std::string id;
    std::vector<config::CommandTemplate> write;
    std::optional<model::DurationMs> ttl_ms;  // none: no expiry is touched
    config::TtlFrom ttl_from = config::TtlFrom::write;

    static ReductionOutput of(const config::Reduction& reduction) {
        return {reduction.id, reduction.write, reduction.ttl_ms, reduction.ttl_from};
    }
};

struct SinkSettings {
    std::string pipeline;                     // its name
    std::vector<ReductionOutput> reductions;  // by position in config::Pipeline::reductions
    std::string owner;                        // who we are, of this process alone; no blanks
    std::uint64_t own_epoch = 0;              // the highest that our state knows of
    int connections = 2;                      // >= 1
    int database = 0;
    std::string username;
    // Read at every connect, so that a changed secret is found. Empty function: no AUTH.
    std::function<model::Result<std::string>()> password;
    std::size_t queue_rows = 1 << 16;           // results queued and in flight, roughly
    std::size_t queue_bytes = 64 << 20;         // of their keys and texts
    std::size_t batch_commands = 512;           // per transaction; a result is never split
    std::size_t batch_bytes = 1 << 20;          // a target, passed by at most one result
    model::DurationMs reply_timeout_ms = 5000;  // then the connection is closed
    model::DurationMs idle_check_ms = 1000;     // fence and control hash are looked at so often
    std::uint64_t seed = 0;                     // of the jitter
};

// How to begin, decided by the daemon from what the handshake found.
struct Begin {
    enum class Mode : std::uint8_t {
        resume,  // the hash is ours (or gone, then everything retained is asked for again)
        reset,   // a new lineage: the hash is replaced by what is given here, in one transaction
    };
    Mode mode = Mode::resume;
    std::string lineage;
    model::BarrierNumber barrier = 0;  // reset only
    // Per reduction the frontier of the checkpoint that was restored; kBeforeAll: none.
    std::vector<model::EventTime> acknowledged;
    // reset only: the lanes of the savepoint, by reduction id.
    std::map<std::string, std::array<std::optional<LaneMark>, model::kLanes>> lanes;
};

// Redis lost results: pushes of older generations are ignored; fire again, for each reduction, in
// order, every retained window that ended after `from` and then go on.
struct Rewind {
    std::uint64_t generation = 0;
    std::vector<model::EventTime> from;  // by reduction; kBeforeAll: everything retained
    std::string reason;
};

enum class SinkPhase : std::uint8_t {
    connecting,  // start handshake; goes on for ever while Redis is down
    greeted,     // handshake() is there; begin() is waited for
    beginning,   // begin() was called and is not yet acknowledged
    running,
    fenced,   // a newer instance owns the pipeline: exit 76. For ever.
    refused,  // no permission at start: exit 77. For ever.
};

struct SinkStatistics {
    std::uint64_t results = 0;     // acknowledged by Redis
    std::uint64_t skipped = 0;     // at or below a lane's mark: there already
    std::uint64_t commands = 0;    // acknowledged, without the sink's own
    std::uint64_t pending = 0;     // results queued or in flight
    std::uint64_t retries = 0;     // batches sent again
    std::uint64_t reconnects = 0;  // connections that were lost
    std::uint64_t refused = 0;     // results that became dead letters
    std::uint64_t rewinds = 0;
    std::uint64_t epoch = 0;
    std::string last_error;
    bool connected = false;      // all connections are through their handshake and not held back
    std::string reason;          // why not, for the condition `sink`
    model::EventTime since = 0;  // of the last change of `connected`, wall clock
};

// Life:    construct, step() until phase() is `greeted`, begin(), then push while stepping. Nothing
//          but the fence is written before begin(). Destruction drops what is not acknowledged.
// Thread:  step() and wait() belong to the thread `sink`; everything else may be called from any
//          thread.
// Errors:  what concerns the connection or the server is a state with a reason, retried for ever; a
//          result that Redis refuses for good goes to `refused_result`.
class RedisSink {
 public:
    // Takes one line of JSON (fields reduce, key, window, commands, reply; no line feed). False:
    // no room now, the same line comes again later and its lane waits. Called from step().
    using RefusedResult = std::function<bool(const std::string& json_line)>;

    // `clock` must outlive the sink.
    RedisSink(SinkSettings settings, const TransportFactory& transports, const model::Clock& clock,
              RefusedResult refused_result);
    ~RedisSink();
    RedisSink(const RedisSink&) = delete;
    RedisSink& operator=(const RedisSink&) = delete;

    // Does what can be done on all connections without blocking. True: something was done, call
    // again at once.
    bool step();
    // Blocks until a socket is ready, wake() was called, or the time is over. A timer of the sink's
    // own (back-off, reply time) ends it as well. Production only: simulated transports have no
    // descriptor.
    void wait(model::DurationMs timeout_ms);
    void wake();

    SinkPhase phase() const;
    // What the start found. From `greeted` on.
    ControlHash handshake() const;
    // Once, in phase `greeted`. From then on the sink writes.
    void begin(Begin begin);

    // Hands one window's results (or a part of them) over; per reduction and generation ascending
    // by (window end, hash, key). False: the queue is full, `batch` is untouched, try again. A
    // batch of an older generation is taken and forgotten. Before begin(): false.
    bool push(std::unique_ptr<model::ResultBatch>&& batch, std::uint64_t generation);
    // An empty batch, with the memory of one that is done with, if there is any.
    std::unique_ptr<model::ResultBatch> spare();
    // Says that all results of all windows of `reduction` with end <= `window_end` have been
    // pushed. Takes no room.
    bool push_end(std::uint32_t reduction, model::EventTime window_end, std::uint64_t generation);

    // Everything of `reduction` that ended at or before this is acknowledged by Redis, and so is
    // the frontier that says so. Begins with Begin::acknowledged, never falls but by a rewind.
    model::EventTime acknowledged(std::uint32_t reduction) const;

    // The newest rewind, once.
    std::optional<Rewind> take_rewind();
    std::uint64_t generation() const;

    std::uint64_t epoch() const;  // ours; from `greeted` on, to be stored with the state
    std::size_t pending() const;  // results queued or in flight; 0 and every frontier written:
    bool settled() const;         // true when nothing at all is left to do
    SinkStatistics statistics() const;

 private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::sinks
