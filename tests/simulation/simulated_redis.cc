#include "tests/simulation/simulated_redis.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "sinks/resp.h"

namespace sluice::simulation {
namespace {

constexpr std::size_t kUndoUnits = 10'000;

const std::string kOk = "+OK\r\n";
const std::string kNil = "$-1\r\n";
const std::string kWrongType =
    "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

std::string integer(std::int64_t value) { return ":" + std::to_string(value) + "\r\n"; }
std::string bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}
std::string error(std::string_view text) { return "-" + std::string(text) + "\r\n"; }

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

std::string upper(std::string text) {
    for (char& c : text) {
        c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return text;
}

bool writes(std::string_view name) {
    constexpr std::array<std::string_view, 13> kNames{
        "SET",  "HSET",  "DEL",  "PEXPIRE", "PEXPIREAT", "INCRBY", "HINCRBY",
        "SADD", "LPUSH", "ZADD", "RPUSH",   "FLUSHALL",  "PERSIST"};
    return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool needs_memory(std::string_view name) {
    return writes(name) && name != "DEL" && name != "PEXPIRE" && name != "PEXPIREAT" &&
           name != "FLUSHALL" && name != "PERSIST";
}

}  // namespace

struct SimulatedRedis::Connection {
    int process = 0;
    bool open = false;         // as the server sees it
    bool client_open = false;  // as the client sees it
    bool orphan = false;       // the client is gone, its bytes are not
    std::string to_server;
    std::string input;  // at the server
    std::string to_client;
    std::string received;  // at the client
    bool authenticated = false;
    bool multi = false;
    bool aborted = false;
    std::vector<std::vector<std::string>> queued;
    std::map<std::string, bool> watched;  // key -> touched since
};

// A client's socket. Each connect() is a connection of its own at the server.
class SimulatedRedis::Socket final : public sinks::Transport {
 public:
    Socket(SimulatedRedis& server, int process) : server_(server), process_(process) {}
    ~Socket() override { Socket::close(); }

    void connect() override {
        close();
        error_.clear();
        if (server_.dead_.contains(process_)) {
            error_ = "simulated: the process is dead";
            return;
        }
        server_.connections_.push_back(std::make_unique<Connection>());
        connection_ = server_.connections_.back().get();
        connection_->process = process_;
        connection_->open = true;
        connection_->client_open = true;
    }
    State state() override {
        if (connection_ == nullptr) {
            return State::closed;
        }
        if (!connection_->client_open || server_.dead_.contains(process_)) {
            error_ = "simulated: connection cut";
            close();
            return State::closed;
        }
        return State::open;
    }
    std::size_t send(std::string_view bytes) override {
        if (state() != State::open) {
            return 0;
        }
        const std::size_t room = std::min<std::size_t>(
            bytes.size(), 1 + static_cast<std::size_t>(server_.random(1 << 16)));
        connection_->to_server.append(bytes.substr(0, room));
        return room;
    }
    std::size_t receive(std::string& to, std::size_t limit) override {
        if (state() != State::open) {
            return 0;
        }
        const std::size_t size = std::min(limit, connection_->received.size());
        to.append(connection_->received, 0, size);
        connection_->received.erase(0, size);
        return size;
    }
    void close() override {
        if (connection_ != nullptr) {
            connection_->client_open = false;
            connection_->orphan = true;
            connection_ = nullptr;
        }
    }
    const std::string& error() const override { return error_; }
    int descriptor() const override { return -1; }

 private:
    SimulatedRedis& server_;
    const int process_;
    Connection* connection_ = nullptr;
    std::string error_;
};

SimulatedRedis::SimulatedRedis(std::uint64_t seed, const model::Clock& clock)
    : clock_(clock),
      random_state_(seed),
      replication_id_("id-" + std::to_string(random(1 << 30))) {}
SimulatedRedis::~SimulatedRedis() = default;

sinks::TransportFactory SimulatedRedis::transports(int process) {
    return [this, process](int) { return std::make_unique<Socket>(*this, process); };
}

void SimulatedRedis::crash(int process) {
    dead_.insert(process);
    for (auto& c : connections_) {
        if (c->process == process && !c->orphan && random(2) == 0) {
            c->to_server.resize(random(c->to_server.size() + 1));
        }
    }
}

std::uint64_t SimulatedRedis::random(std::uint64_t below) {
    // SplitMix64 (Steele, Lea, Flood, 2014).
    std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

bool SimulatedRedis::chance(std::uint32_t per_million) {
    return per_million > 0 && random(1'000'000) < per_million;
}

bool SimulatedRedis::step() {
    random_fault();
    purge();
    if (condition_ != RedisCondition::fine && clock_.wall_ms() >= condition_until_) {
        condition_ = RedisCondition::fine;
    }
    std::vector<Connection*> busy;
    for (auto& c : connections_) {
        const bool stalled = condition_ == RedisCondition::stalled;
        if (c->open && ((!c->to_server.empty()) || (!c->input.empty() && !stalled) ||
                        (!c->to_client.empty() && c->client_open))) {
            busy.push_back(c.get());
        }
    }
    if (busy.empty()) {
        return false;
    }
    Connection& c = *busy[random(busy.size())];
    switch (random(3)) {
        case 0: {
            // Whole more often than in pieces.
            const std::size_t size =
                random(4) == 0 ? random(c.to_server.size() + 1) : c.to_server.size();
            c.input.append(c.to_server, 0, size);
            c.to_server.erase(0, size);
            break;
        }
        case 1:
            if (condition_ != RedisCondition::stalled) {
                take_bytes(c);
            }
            break;
        default: {
            const std::size_t size =
                random(4) == 0 ? random(c.to_client.size() + 1) : c.to_client.size();
            c.received.append(c.to_client, 0, size);
            c.to_client.erase(0, size);
            break;
        }
    }
    return true;
}

void SimulatedRedis::purge() {
    std::erase_if(connections_, [](const auto& c) {
        return c->orphan && (!c->open || (c->to_server.empty() && c->input.empty()));
    });
}

void SimulatedRedis::random_fault() {
    if (chance(faults_.cut) && !connections_.empty()) {
        Connection& c = *connections_[random(connections_.size())];
        if (random(2) == 0) {
            c.to_server.clear();  // before the server saw it
        }
        c.client_open = false;
    }
    if (chance(faults_.flush)) {
        flush_all();
    }
    if (chance(faults_.lose_all)) {
        restart_losing_everything();
    }
    if (chance(faults_.lose_some)) {
        restart_losing_writes(random(30));
    }
    if (chance(faults_.refuse)) {
        constexpr std::array kConditions{RedisCondition::loading, RedisCondition::oom,
                                         RedisCondition::readonly, RedisCondition::misconf};
        set_condition(kConditions[random(kConditions.size())],
                      static_cast<std::int64_t>(random(3000)));
    }
    if (chance(faults_.stall)) {
        set_condition(RedisCondition::stalled, static_cast<std::int64_t>(random(8000)));
    }
}

// One or some whole commands.
void SimulatedRedis::take_bytes(Connection& c) {
    std::uint64_t budget = 1 + random(700);
    std::string_view rest = c.input;
    while (budget-- > 0) {
        const auto words = sinks::take_request(rest);
        if (!words) {
            break;
        }
        dispatch(c, std::vector<std::string>(words->begin(), words->end()));
        if (!c.open) {
            return;
        }
    }
    c.input.erase(0, c.input.size() - rest.size());
}

void SimulatedRedis::dispatch(Connection& c, const std::vector<std::string>& words) {
    const std::string name = upper(words[0]);
    const auto reply = [&c](const std::string& bytes) { c.to_client += bytes; };
    ++executed_;
    if (!password_.empty() && !c.authenticated && name != "AUTH") {
        reply(error("NOAUTH Authentication required."));
        return;
    }
    if (name == "AUTH") {
        c.authenticated = words.back() == password_;
        reply(c.authenticated ? kOk : error("WRONGPASS invalid username-password pair"));
        return;
    }
    if (name == "EXEC") {
        const bool touched =
            std::any_of(c.watched.begin(), c.watched.end(), [](const auto& w) { return w.second; });
        if (!c.multi) {
            reply(error("ERR EXEC without MULTI"));
        } else if (c.aborted) {
            reply(error("EXECABORT Transaction discarded because of previous errors."));
        } else if (touched) {
            reply("*-1\r\n");
        } else {
            std::string replies = "*" + std::to_string(c.queued.size()) + "\r\n";
            for (const auto& command : c.queued) {
                replies += run(command);
            }
            end_unit();
            reply(replies);
        }
        c.multi = false;
        c.aborted = false;
        c.queued.clear();
        c.watched.clear();
        return;
    }
    const auto refused = refusal(name);
    if (refused) {
        c.aborted = c.aborted || c.multi;
        reply(*refused);
    } else if (name == "MULTI") {
        c.multi = true;
        reply(kOk);
    } else if (name == "WATCH") {
        for (std::size_t i = 1; i < words.size(); ++i) {
            c.watched.try_emplace(words[i], false);
        }
        reply(kOk);
    } else if (name == "UNWATCH") {
        c.watched.clear();
        reply(kOk);
    } else if (name == "SELECT" || name == "PING") {
        reply(kOk);
    } else if (c.multi) {
        if (name == "BOGUS") {
            c.aborted = true;
            reply(error("ERR unknown command 'BOGUS'"));
        } else {
            c.queued.push_back(words);
            reply("+QUEUED\r\n");
        }
    } else {
        reply(run(words));
        end_unit();
    }
}

std::string SimulatedRedis::execute(const std::vector<std::string>& words) {
    const std::string reply = run(words);
    end_unit();
    return reply;
}

// What the server's condition says to this command.
std::optional<std::string> SimulatedRedis::refusal(std::string_view name) const {
    const bool control = name == "MULTI" || name == "WATCH" || name == "UNWATCH" ||
                         name == "INFO" || name == "SELECT";
    switch (condition_) {
        case RedisCondition::loading:
            if (!control) {
                return error("LOADING Redis is loading the dataset in memory");
            }
            break;
        case RedisCondition::oom:
            if (needs_memory(name)) {
                return error("OOM command not allowed when used memory > 'maxmemory'.");
            }
            break;
        case RedisCondition::readonly:
            if (writes(name)) {
                return error("READONLY You can't write against a read only replica.");
            }
            break;
        case RedisCondition::misconf:
            if (writes(name)) {
                return error("MISCONF Redis is configured to save RDB snapshots, but cannot");
            }
            break;
        case RedisCondition::fine:
        case RedisCondition::stalled:
            break;
    }
    return std::nullopt;
}

SimulatedRedis::Value* SimulatedRedis::find(const std::string& key) {
    const auto at = keys_.find(key);
    if (at == keys_.end()) {
        return nullptr;
    }
    if (at->second.expires_at && *at->second.expires_at <= clock_.wall_ms()) {
        touch(key);
        keys_.erase(key);
        return nullptr;
    }
    return &at->second;
}

SimulatedRedis::Value& SimulatedRedis::touch(const std::string& key) {
    const auto at = keys_.find(key);
    unit_.push_back({key, at == keys_.end() ? std::nullopt : std::optional(at->second)});
    for (auto& c : connections_) {
        if (const auto watch = c->watched.find(key); watch != c->watched.end()) {
            watch->second = true;
        }
    }
    return keys_[key];
}

std::string SimulatedRedis::run(const std::vector<std::string>& words) {
    const std::string name = upper(words[0]);
    if (name == "GET") {
        const Value* value = find(words[1]);
        if (value == nullptr) {
            return kNil;
        }
        const auto* text = std::get_if<std::string>(&value->content);
        return text == nullptr ? kWrongType : bulk(*text);
    }
    if (name == "EXISTS") {
        return integer(find(words[1]) != nullptr ? 1 : 0);
    }
    if (name == "HGETALL") {
        const Value* value = find(words[1]);
        if (value == nullptr) {
            return "*0\r\n";
        }
        const auto* hash = std::get_if<Hash>(&value->content);
        if (hash == nullptr) {
            return kWrongType;
        }
        std::string out = "*" + std::to_string(2 * hash->size()) + "\r\n";
        for (const auto& [field, text] : *hash) {
            out += bulk(field) + bulk(text);
        }
        return out;
    }
    if (name == "INFO") {
        return bulk("# Replication\r\nrole:master\r\nmaster_replid:" + replication_id_ + "\r\n");
    }
    if (name == "FLUSHALL") {
        flush_all();
        return kOk;
    }
    if (name == "PUBLISH") {
        return integer(0);
    }
    return write(name, words);
}

std::string SimulatedRedis::write(std::string_view name, const std::vector<std::string>& words) {
    if (words.size() < 2) {
        return error("ERR wrong number of arguments");
    }
    const std::string& key = words[1];
    Value* found = find(key);
    if (name == "DEL") {
        if (found != nullptr) {
            touch(key);
            keys_.erase(key);
        }
        return integer(found != nullptr ? 1 : 0);
    }
    if (name == "SET") {
        touch(key) = Value{words.at(2), std::nullopt};
        return kOk;
    }
    if (name == "PEXPIRE" || name == "PEXPIREAT") {
        const auto time = number(words.at(2));
        if (!time) {
            return error("ERR value is not an integer or out of range");
        }
        if (found == nullptr) {
            return integer(0);
        }
        touch(key).expires_at = name == "PEXPIRE" ? clock_.wall_ms() + *time : *time;
        find(key);
        return integer(1);
    }
    if (name == "INCRBY") {
        const auto by = number(words.at(2));
        if (found != nullptr && !std::holds_alternative<std::string>(found->content)) {
            return kWrongType;
        }
        const auto old = found == nullptr ? std::optional<std::int64_t>(0)
                                          : number(std::get<std::string>(found->content));
        if (!by || !old) {
            return error("ERR value is not an integer or out of range");
        }
        touch(key).content = std::to_string(*old + *by);
        return integer(*old + *by);
    }
    if (name == "HSET" || name == "HINCRBY") {
        if (found != nullptr && !std::holds_alternative<Hash>(found->content)) {
            return kWrongType;
        }
        Value& value = touch(key);
        if (found == nullptr) {
            value.content = Hash{};
        }
        auto& hash = std::get<Hash>(value.content);
        if (name == "HINCRBY") {
            const std::int64_t sum =
                number(hash[words.at(2)]).value_or(0) + number(words.at(3)).value_or(0);
            hash[words[2]] = std::to_string(sum);
            return integer(sum);
        }
        std::int64_t added = 0;
        for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
            added += hash.contains(words[i]) ? 0 : 1;
            hash[words[i]] = words[i + 1];
        }
        return integer(added);
    }
    if (name == "RPUSH" || name == "LPUSH") {
        if (found != nullptr && !std::holds_alternative<List>(found->content)) {
            return kWrongType;
        }
        Value& value = touch(key);
        if (found == nullptr) {
            value.content = List{};
        }
        auto& list = std::get<List>(value.content);
        for (std::size_t i = 2; i < words.size(); ++i) {
            if (name == "RPUSH") {
                list.push_back(words[i]);
            } else {
                list.push_front(words[i]);
            }
        }
        return integer(static_cast<std::int64_t>(list.size()));
    }
    if (name == "SADD" || name == "ZADD") {
        if (found != nullptr && !std::holds_alternative<Set>(found->content)) {
            return kWrongType;
        }
        Value& value = touch(key);
        if (found == nullptr) {
            value.content = Set{};
        }
        auto& set = std::get<Set>(value.content);
        set.sorted = name == "ZADD";
        const std::size_t before = set.scores.size();
        for (std::size_t i = 2; i < words.size(); i += set.sorted ? 2 : 1) {
            set.scores[words.at(set.sorted ? i + 1 : i)] = set.sorted ? words[i] : "";
        }
        return integer(static_cast<std::int64_t>(set.scores.size() - before));
    }
    return error("ERR unknown command '" + std::string(name) + "'");
}

// Keeps what is needed to undo the unit, and looks at what has become visible.
void SimulatedRedis::end_unit() {
    bool anew = false;
    for (const auto& undo : unit_) {
        // A new lineage writes its results anew on purpose.
        const auto lineage =
            undo.key.starts_with("sluice:") ? hash_field(undo.key, "lineage") : std::nullopt;
        if (lineage && *lineage != lineage_) {
            lineage_ = *lineage;
            last_final_.clear();
            anew = true;
        }
    }
    for (const auto& undo : unit_) {
        const auto at = keys_.find(undo.key);
        if (at == keys_.end()) {
            continue;
        }
        const auto* hash = std::get_if<Hash>(&at->second.content);
        if (undo.key.starts_with("sluice:")) {
            continue;
        }
        const std::string text = text_of(at->second);
        const auto last = last_final_.find(undo.key);
        if (last != last_final_.end() && last->second != text) {
            changed_finals_.push_back(undo.key + ": " + last->second + " became " + text);
        }
        if (hash != nullptr && hash->contains("final") && hash->at("final") == "1") {
            last_final_[undo.key] = text;
        }
    }
    if (!unit_.empty()) {
        undo_.push_back(std::move(unit_));
        unit_.clear();
        if (undo_.size() > kUndoUnits) {
            undo_.pop_front();
        }
    }
    if (anew) {
        undo_.clear();  // a Redis that went back to the old lineage is somebody else's
    }
}

void SimulatedRedis::close_all() {
    for (auto& c : connections_) {
        c->open = false;
        c->client_open = false;
    }
}

void SimulatedRedis::cut_connections() {
    for (auto& c : connections_) {
        c->client_open = false;
    }
}

void SimulatedRedis::flush_all() {
    for (auto& c : connections_) {
        for (auto& [key, touched] : c->watched) {
            touched = touched || keys_.contains(key);
        }
    }
    keys_.clear();
    undo_.clear();
    unit_.clear();
    ++losses_;
}

void SimulatedRedis::restart_losing_everything() {
    close_all();
    flush_all();
    replication_id_ = "id-" + std::to_string(random(1 << 30));
}

void SimulatedRedis::restart_losing_writes(std::size_t transactions) {
    close_all();
    for (; transactions > 0 && !undo_.empty(); --transactions) {
        auto& unit = undo_.back();
        for (auto undo = unit.rbegin(); undo != unit.rend(); ++undo) {
            if (undo->before) {
                keys_[undo->key] = *undo->before;
            } else {
                keys_.erase(undo->key);
            }
        }
        undo_.pop_back();
    }
    replication_id_ = "id-" + std::to_string(random(1 << 30));
    ++losses_;
}

void SimulatedRedis::set_condition(RedisCondition condition, std::int64_t for_ms) {
    condition_ = condition;
    condition_until_ = clock_.wall_ms() + for_ms;
}

std::string SimulatedRedis::text_of(const Value& value) {
    std::string out;
    if (const auto* text = std::get_if<std::string>(&value.content)) {
        out = "string " + *text;
    } else if (const auto* hash = std::get_if<Hash>(&value.content)) {
        out = "hash";
        for (const auto& [field, content] : *hash) {
            out += " " + field + "=" + content;
        }
    } else if (const auto* list = std::get_if<List>(&value.content)) {
        out = "list";
        for (const auto& element : *list) {
            out += " " + element;
        }
    } else {
        const auto& set = std::get<Set>(value.content);
        out = set.sorted ? "zset" : "set";
        for (const auto& [member, score] : set.scores) {
            out += " " + member + (set.sorted ? "=" + score : "");
        }
    }
    return out;
}

std::map<std::string, std::string> SimulatedRedis::dump(std::string_view except) const {
    std::map<std::string, std::string> out;
    for (const auto& [key, value] : keys_) {
        const bool expired = value.expires_at && *value.expires_at <= clock_.wall_ms();
        if (!expired && (except.empty() || !key.starts_with(except))) {
            out[key] = text_of(value);
        }
    }
    return out;
}

std::optional<std::string> SimulatedRedis::hash_field(const std::string& key,
                                                      const std::string& field) const {
    const auto at = keys_.find(key);
    if (at == keys_.end() || !std::holds_alternative<Hash>(at->second.content)) {
        return std::nullopt;
    }
    const auto& hash = std::get<Hash>(at->second.content);
    const auto found = hash.find(field);
    return found == hash.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace sluice::simulation
