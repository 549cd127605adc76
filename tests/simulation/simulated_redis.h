// A Redis server in memory, behind the sink's Transport. The Redis of the simulation.
//
// It speaks RESP for what the sink uses and for the commands that tests write with, executes
// transactions with WATCH as Redis does, and keeps time by a clock that the test owns. Bytes travel
// through a network that delivers them in pieces, later, or not at all.
//
// Faults: a connection cut before or after its commands were executed; bytes of a dead process that
// arrive late; FLUSHALL; a restart that loses everything, or the last writes; LOADING, OOM,
// READONLY and MISCONF for a while; no answer for a while. Some at random by the seed (set_faults),
// all by calls. Same seed and same calls: same outcome.
//
// Thread: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sinks/transport.h"
#include "state/model/clock.h"

namespace sluice::simulation {

// Chances per million steps.
struct RedisFaults {
    std::uint32_t cut = 0;        // of one connection
    std::uint32_t flush = 0;      // FLUSHALL by somebody
    std::uint32_t lose_all = 0;   // restart without persistence
    std::uint32_t lose_some = 0;  // restart, or fail-over, that forgets the last writes
    std::uint32_t refuse = 0;     // LOADING, OOM, READONLY or MISCONF for a while
    std::uint32_t stall = 0;      // no answer for a while
};

enum class RedisCondition : std::uint8_t { fine, loading, oom, readonly, misconf, stalled };

class SimulatedRedis {
 public:
    // `clock` must outlive it; expiry and conditions follow it.
    SimulatedRedis(std::uint64_t seed, const model::Clock& clock);
    ~SimulatedRedis();
    SimulatedRedis(const SimulatedRedis&) = delete;
    SimulatedRedis& operator=(const SimulatedRedis&) = delete;

    // Connections of one process. The transports may outlive neither the server nor be used after
    // crash() to any effect.
    sinks::TransportFactory transports(int process);
    // The process is dead: nothing that it does from now on has an effect. What it had sent is on
    // its way and arrives in part, late, or whole.
    void crash(int process);

    // One thing happens: bytes move or a command is executed. False: nothing to do.
    bool step();
    void set_faults(const RedisFaults& faults) { faults_ = faults; }

    void cut_connections();
    void flush_all();
    void restart_losing_everything();
    void restart_losing_writes(std::size_t transactions);  // the last so many
    void set_condition(RedisCondition condition, std::int64_t for_ms);
    void require_password(std::string password) { password_ = std::move(password); }

    // Executes one command as another client would, and returns the encoded reply.
    std::string execute(const std::vector<std::string>& words);

    // Every key and its value as text, without those that begin with `except`.
    std::map<std::string, std::string> dump(std::string_view except = "sluice:") const;
    std::optional<std::string> hash_field(const std::string& key, const std::string& field) const;

    // Keys whose value changed after it had been visible with the field `final` at 1; absence (lost
    // or expired data) is no change, another value after it is. A new lineage in the control hash
    // begins anew: what was final may be written differently behind it.
    const std::vector<std::string>& changed_finals() const { return changed_finals_; }
    // Keys that were ever visible.
    std::size_t keys_seen() const { return last_final_.size(); }
    std::uint64_t losses() const { return losses_; }  // flushes and restarts that lost data
    std::uint64_t executed() const { return executed_; }

 private:
    struct Connection;
    class Socket;
    using Hash = std::map<std::string, std::string>;
    using List = std::deque<std::string>;
    struct Set {
        std::map<std::string, std::string> scores;  // member -> score; of a plain set empty
        bool sorted = false;
        bool operator==(const Set&) const = default;
    };
    struct Value {
        std::variant<std::string, Hash, List, Set> content;
        std::optional<std::int64_t> expires_at;
        bool operator==(const Value&) const = default;
    };
    struct Undo {
        std::string key;
        std::optional<Value> before;
    };

    std::uint64_t random(std::uint64_t below);
    bool chance(std::uint32_t per_million);
    void random_fault();
    void take_bytes(Connection& c);
    void dispatch(Connection& c, const std::vector<std::string>& words);
    // `written`: the keys that it changed.
    std::string run(const std::vector<std::string>& words);
    std::string write(std::string_view name, const std::vector<std::string>& words);
    std::optional<std::string> refusal(std::string_view name) const;
    Value* find(const std::string& key);
    Value& touch(const std::string& key);  // about to be changed
    void end_unit();                       // what was changed is visible now
    void close_all();
    void purge();
    static std::string text_of(const Value& value);

    const model::Clock& clock_;
    std::uint64_t random_state_;
    RedisFaults faults_;
    std::map<std::string, Value> keys_;
    std::deque<std::vector<Undo>> undo_;  // per execution unit, newest last
    std::vector<Undo> unit_;
    std::vector<std::unique_ptr<Connection>> connections_;
    std::set<int> dead_;
    RedisCondition condition_ = RedisCondition::fine;
    std::int64_t condition_until_ = 0;
    std::string replication_id_;
    std::string password_;
    std::map<std::string, std::string> last_final_;
    std::string lineage_;  // the last one that a control hash named
    std::vector<std::string> changed_finals_;
    std::uint64_t losses_ = 0;
    std::uint64_t executed_ = 0;
};

}  // namespace sluice::simulation
