#include "sinks/redis_sink.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <limits>
#include <mutex>
#include <utility>

#include "sinks/backoff.h"
#include "sinks/control.h"
#include "sinks/fence_claim.h"
#include "sinks/outgoing.h"
#include "sinks/refusal.h"
#include "sinks/resp.h"
#include "sinks/result_queue.h"
#include "sinks/transaction.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::sinks {
namespace {

constexpr std::size_t kReceiveBytes = 64 << 10;
constexpr model::DurationMs kPermissionRetryMs = 10'000;

enum class Stage : std::uint8_t {
    closed,
    connecting,
    claiming,  // AUTH SELECT UNWATCH WATCH GET: whose is the fence?
    taking,    // MULTI SET HGETALL EXEC WATCH GET INFO: it is ours, what has been written?
    ready,     // the fence is watched and ours
    busy,      // a transaction is on its way
    checking,  // GET EXISTS: are fence and control hash still there?
    refusing,  // dead letters wait to be taken
    held,      // the server cannot now; open until `retry_at`
};

enum class HeldFor : std::uint8_t { claim, transaction };

}  // namespace

class RedisSink::Impl {
 public:
    Impl(SinkSettings settings, const TransportFactory& transports, const model::Clock& clock,
         RefusedResult refused_result)
        : settings_(std::move(settings)),
          clock_(clock),
          refused_result_(std::move(refused_result)),
          control_key_(control_key(settings_.pipeline)),
          fence_key_(fence_key(settings_.pipeline)),
          event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
          queue_(settings_.reductions.size(), settings_.queue_rows, settings_.queue_bytes),
          fence_(settings_.owner, settings_.own_epoch) {
        INVARIANT(settings_.connections >= 1, "a sink has a connection");
        for (const auto& output : settings_.reductions) {
            outgoing_.push_back(std::make_unique<Outgoing>(output, settings_.pipeline));
        }
        for (int i = 0; i < settings_.connections; ++i) {
            connections_.push_back(std::make_unique<Connection>(
                i, transports(i), settings_.seed * 31 + static_cast<std::uint64_t>(i)));
        }
        counted_.since = clock_.wall_ms();
        counted_.reason = "connecting";
        statistics_ = counted_;
    }
    ~Impl() {
        if (event_ >= 0) {
            ::close(event_);
        }
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    // ---- The thread `sink`.

    bool step() {
        if (over()) {
            return false;
        }
        bool did = take_inbox();
        for (auto& connection : connections_) {
            did |= step(*connection);
            if (over()) {
                break;
            }
        }
        publish();
        return did;
    }

    void wait(model::DurationMs timeout_ms) {
        std::vector<pollfd> polled;
        polled.push_back({event_, POLLIN, 0});
        const std::int64_t now = clock_.steady_ms();
        std::int64_t until = now + timeout_ms;
        for (const auto& c : connections_) {
            if (const auto timer = next_timer(*c)) {
                until = std::min(until, *timer);
            }
            const int descriptor = c->transport->descriptor();
            if (descriptor < 0) {
                continue;
            }
            const bool write = c->stage == Stage::connecting || c->sent < c->out.size();
            polled.push_back(
                {descriptor, static_cast<short>(write ? POLLIN | POLLOUT : POLLIN), 0});
        }
        const auto left = std::clamp<std::int64_t>(until - now, 0, 60'000);
        ::poll(polled.data(), polled.size(), static_cast<int>(left));
        std::uint64_t count = 0;
        while (::read(event_, &count, sizeof count) > 0) {
        }
    }

    // ---- Any thread.

    void wake() {
        const std::uint64_t one = 1;
        // Full only when a wake-up is pending anyway.
        [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
    }

    SinkPhase phase() const { return phase_.load(std::memory_order_acquire); }

    ControlHash handshake() const {
        const std::scoped_lock lock(mutex_);
        return handshake_;
    }

    void begin(Begin begin) {
        INVARIANT(phase() == SinkPhase::greeted, "begin() follows the handshake, once");
        INVARIANT(begin.acknowledged.size() == outgoing_.size(), "one frontier per reduction");
        queue_.begin(begin.acknowledged);
        begin_ = std::move(begin);
        phase_.store(SinkPhase::beginning, std::memory_order_release);
        wake();
    }

    bool push(std::unique_ptr<model::ResultBatch>&& batch, std::uint64_t generation) {
        const SinkPhase now = phase();
        if (now != SinkPhase::beginning && now != SinkPhase::running) {
            return false;
        }
        if (!queue_.push(std::move(batch), generation)) {
            return false;
        }
        wake();
        return true;
    }

    bool push_end(std::uint32_t reduction, model::EventTime end, std::uint64_t generation) {
        const SinkPhase now = phase();
        if (now != SinkPhase::beginning && now != SinkPhase::running) {
            return false;
        }
        queue_.push_end(reduction, end, generation);
        wake();
        return true;
    }

    ResultQueue& queue() { return queue_; }

    std::uint64_t epoch() const {
        const std::scoped_lock lock(mutex_);
        return statistics_.epoch;
    }

    SinkStatistics statistics() const {
        const std::scoped_lock lock(mutex_);
        SinkStatistics s = statistics_;
        s.pending = queue_.pending();
        return s;
    }

 private:
    struct Connection {
        Connection(int n, std::unique_ptr<Transport> t, std::uint64_t seed)
            : number(n), transport(std::move(t)), backoff(seed) {}

        const int number;
        std::unique_ptr<Transport> transport;
        Backoff backoff;
        ReplyReader reader;
        Stage stage = Stage::closed;
        std::string out;  // the request on its way
        std::size_t sent = 0;
        std::string in;
        std::size_t expected = 0;  // replies of it
        std::size_t received = 0;
        std::int64_t deadline = 0;   // for the next byte
        std::int64_t retry_at = 0;   // when closed or held
        std::int64_t last_used = 0;  // when the last exchange ended
        HeldFor held_for = HeldFor::claim;
        bool greeted = false;     // AUTH and SELECT are done
        bool arrived = false;     // through the handshake of this connection
        std::string trouble;      // why it cannot work; empty when it can
        std::size_t clashes = 0;  // claims in a row that somebody disturbed

        // Of the exchange that is running.
        bool with_auth = false;
        bool established_when_asked = false;
        std::string error;  // the first of a handshake
        bool auth_error = false;
        FenceClaim::Claim claim;  // what it is about to write over the fence
        std::string own_value;    // that it wrote; another one means that it must look again
        std::optional<std::string> fence;  // last GET
        std::string info;
        std::optional<Reply> executed;  // reply to EXEC of a handshake
        std::int64_t exists = 0;

        TransactionReplies replies;

        std::optional<Transaction> current;  // on its way or to be sent again
        std::optional<Transaction> next;     // prepared meanwhile
        Transaction spare;                   // empty, for its memory
        std::size_t next_lane = 0;           // where the search for rows goes on

        std::vector<std::string> dead_letters;  // to be taken, then `after`
        bool execute_again = false;             // after them: send the rest, or be done
    };

    bool over() const {
        const SinkPhase now = phase();
        return now == SinkPhase::fenced || now == SinkPhase::refused;
    }
    void set_phase(SinkPhase phase) { phase_.store(phase, std::memory_order_release); }
    bool running() const { return phase() == SinkPhase::running; }

    bool owns(const Connection& c, std::size_t lane) const {
        return lane % connections_.size() == static_cast<std::size_t>(c.number);
    }

    // ---- Input

    bool take_inbox() {
        if (!running()) {
            return false;
        }
        auto taken = queue_.take();
        for (auto& item : taken) {
            if (item.batch != nullptr) {
                barrier_pushed_ = std::max(barrier_pushed_, item.batch->barrier);
                auto& outgoing = *outgoing_[item.batch->reduction];
                outgoing.add(std::move(item.batch));
            } else {
                outgoing_[item.reduction]->add_end(item.end);
                move_frontier(item.reduction);
            }
        }
        return !taken.empty();
    }

    // ---- One connection

    bool step(Connection& c) {
        const std::int64_t now = clock_.steady_ms();
        switch (c.stage) {
            case Stage::closed:
                if (now < c.retry_at || (c.number > 0 && !running())) {
                    return false;
                }
                c.transport->connect();
                c.reader.reset();
                c.out.clear();
                c.sent = 0;
                c.stage = Stage::connecting;
                c.deadline = now + settings_.reply_timeout_ms;
                return true;
            case Stage::connecting:
                switch (c.transport->state()) {
                    case Transport::State::open:
                        return start_claim(c);
                    case Transport::State::closed:
                        lose(c, c.transport->error());
                        return true;
                    case Transport::State::connecting:
                        break;
                }
                return check_deadline(c, "connecting takes too long");
            case Stage::refusing:
                return hand_over_dead_letters(c);
            case Stage::held:
                if (!check_alive(c)) {
                    return true;
                }
                if (now < c.retry_at) {
                    return prepare(c);
                }
                if (c.held_for == HeldFor::claim) {
                    return start_claim(c);
                }
                send_again(c);
                return true;
            case Stage::ready:
                if (!check_alive(c)) {
                    return true;
                }
                return use(c);
            case Stage::claiming:
            case Stage::taking:
            case Stage::busy:
            case Stage::checking:
                return converse(c);
        }
        return false;
    }

    // A connection that nobody asked anything has nothing to say.
    bool check_alive(Connection& c) {
        c.in.clear();
        if (c.transport->receive(c.in, kReceiveBytes) > 0) {
            lose(c, "a reply that nobody asked for");
            return false;
        }
        if (c.transport->state() != Transport::State::open) {
            lose(c, c.transport->error());
            return false;
        }
        return true;
    }

    bool check_deadline(Connection& c, std::string_view what) {
        if (clock_.steady_ms() < c.deadline) {
            return false;
        }
        lose(c, std::string(what) + " (no answer within " +
                    std::to_string(settings_.reply_timeout_ms) + " ms)");
        return true;
    }

    // Sends, receives and looks at replies, as far as that goes now.
    bool converse(Connection& c) {
        bool did = false;
        if (c.sent < c.out.size()) {
            const std::size_t sent = c.transport->send(std::string_view(c.out).substr(c.sent));
            c.sent += sent;
            did = sent > 0;
        }
        c.in.clear();
        if (c.transport->receive(c.in, kReceiveBytes) > 0) {
            did = true;
            c.deadline = clock_.steady_ms() + settings_.reply_timeout_ms;
            c.reader.feed(c.in);
            while (true) {
                const auto reply = c.reader.next();
                if (!reply) {
                    lose(c, reply.error().text);
                    return true;
                }
                if (*reply == nullptr) {
                    break;
                }
                take_reply(c, **reply);
                if (++c.received == c.expected) {
                    c.last_used = clock_.steady_ms();
                    finish(c);
                    return true;
                }
            }
        }
        if (c.transport->state() != Transport::State::open) {
            lose(c, c.error.empty() ? c.transport->error() : c.error);
            return true;
        }
        if (did && c.sent == c.out.size()) {
            prepare(c);  // while the server works
        }
        return check_deadline(c, "the server does not answer") || did;
    }

    void exchange(Connection& c, Stage stage, std::size_t replies) {
        c.stage = stage;
        c.expected = replies;
        c.received = 0;
        c.sent = c.transport->send(c.out);
        c.deadline = clock_.steady_ms() + settings_.reply_timeout_ms;
    }

    void take_reply(Connection& c, const Reply& reply) {
        const std::size_t i = c.received;
        if (c.stage == Stage::busy) {
            c.replies.take(reply, i);
            return;
        }
        const bool last = i + 1 == c.expected;
        if (c.stage == Stage::taking && last) {
            // Servers may forbid INFO; then a fail-over is noticed by its lost data only.
            c.info = reply.is_error() ? std::string() : std::string(reply.text());
            return;
        }
        if (reply.is_error()) {
            if (c.error.empty()) {
                c.error = trimmed(reply.text());
                c.auth_error = c.stage == Stage::claiming && c.with_auth && i == 0;
            }
            return;
        }
        switch (c.stage) {
            case Stage::claiming:
                if (last) {
                    c.fence = text_of(reply);
                }
                break;
            case Stage::taking:
                if (i == 3) {
                    c.executed = reply;
                } else if (i == 5) {
                    c.fence = text_of(reply);
                }
                break;
            case Stage::checking:
                if (last) {
                    c.exists = reply.kind() == Reply::Kind::integer ? reply.nodes[0].integer : 0;
                } else {
                    c.fence = text_of(reply);
                }
                break;
            default:
                break;
        }
    }

    void finish(Connection& c) {
        switch (c.stage) {
            case Stage::claiming:
                finish_claiming(c);
                break;
            case Stage::taking:
                finish_taking(c);
                break;
            case Stage::checking:
                finish_checking(c);
                break;
            case Stage::busy:
                c.fence = std::exchange(c.replies.get, std::nullopt);
                finish_transaction(c);
                break;
            default:
                break;
        }
    }

    // ---- Handshake

    bool start_claim(Connection& c) {
        c.error.clear();
        c.auth_error = false;
        c.with_auth = false;
        c.fence.reset();
        c.out.clear();
        RequestWriter writer(c.out);
        std::size_t replies = 3;
        if (!c.greeted && settings_.password) {
            const auto password = settings_.password();
            if (!password) {
                deny(c, password.error().text);
                return true;
            }
            if (settings_.username.empty()) {
                writer.command({"AUTH", *password});
            } else {
                writer.command({"AUTH", settings_.username, *password});
            }
            c.with_auth = true;
            ++replies;
        }
        if (!c.greeted && settings_.database != 0) {
            writer.command({"SELECT", std::to_string(settings_.database)});
            ++replies;
        }
        // UNWATCH, because a second WATCH of a watched key keeps what happened to it before.
        writer.command({"UNWATCH"});
        writer.command({"WATCH", fence_key_});
        writer.command({"GET", fence_key_});
        exchange(c, Stage::claiming, replies);
        return true;
    }

    void finish_claiming(Connection& c) {
        if (!c.error.empty()) {
            refuse_handshake(c);
            return;
        }
        c.greeted = true;
        const Fence found = c.fence ? decode_fence(*c.fence) : Fence{};
        auto claim = fence_.over(found);
        if (!claim) {
            fenced(found);
            return;
        }
        c.claim = std::move(*claim);
        c.out.clear();
        RequestWriter writer(c.out);
        writer.command({"MULTI"});
        writer.command({"SET", fence_key_, c.claim.value});
        writer.command({"HGETALL", control_key_});
        writer.command({"EXEC"});
        watch_fence(writer);
        writer.command({"GET", fence_key_});
        writer.command({"INFO", "replication"});
        c.error.clear();
        c.executed.reset();
        c.established_when_asked = established_;
        exchange(c, Stage::taking, 7);
    }

    void finish_taking(Connection& c) {
        if (!c.error.empty()) {
            refuse_handshake(c);
            return;
        }
        const bool aborted = c.executed && c.executed->kind() == Reply::Kind::nil;
        if (aborted || !c.fence || *c.fence != c.claim.value) {
            // Another connection of ours did the same, or somebody else: the next GET says who.
            if (++c.clashes < 10) {
                start_claim(c);
            } else {
                c.clashes = 0;
                hold(c, "the fence changes all the time", HeldFor::claim);
            }
            return;
        }
        c.clashes = 0;
        const Reply& executed = *c.executed;
        if (!executed.is_array() || executed.size() != 2) {
            lose(c, "EXEC: an unexpected reply");
            return;
        }
        const std::size_t hash = executed.next(1);
        if (executed.nodes[hash].kind == Reply::Kind::error) {
            hold(c, control_key_ + ": " + std::string(executed.text(executed.nodes[hash])),
                 HeldFor::claim);
            return;
        }
        auto control = read_control(executed, hash);
        if (!control) {
            hold(c, control.error().text, HeldFor::claim);
            return;
        }
        SLUICE_FAIL_POINT("sink.fence_taken");
        const bool first = fence_.epoch() == 0;
        fence_.taken(c.claim);
        if (first) {
            const std::scoped_lock lock(mutex_);
            statistics_.epoch = fence_.epoch();
        }
        c.own_value = c.claim.value;
        c.stage = Stage::ready;
        c.arrived = true;
        recovered(c);
        arrive(c, std::move(*control), std::string(info_field(c.info, "master_replid")));
    }

    void arrive(Connection& c, ControlHash control, std::string replication) {
        switch (phase()) {
            case SinkPhase::connecting:
            case SinkPhase::greeted:
            case SinkPhase::beginning: {
                found_ = control;
                replication_ = std::move(replication);
                if (phase() == SinkPhase::connecting) {
                    const std::scoped_lock lock(mutex_);
                    handshake_ = std::move(control);
                    set_phase(SinkPhase::greeted);
                }
                break;
            }
            case SinkPhase::running:
                compare(c, control, replication);
                break;
            case SinkPhase::fenced:
            case SinkPhase::refused:
                break;
        }
    }

    // What a connection found when it came back against what we know to have written.
    void compare(Connection& c, const ControlHash& control, const std::string& replication) {
        const bool foreign = control.present && control.lineage != lineage_;
        if (c.established_when_asked && !control.present) {
            rewind(c, control, replication, Loss::everything, "Redis lost the control hash");
            return;
        }
        if (foreign && (c.established_when_asked || c.number == 0)) {
            rewind(c, control, replication, Loss::everything,
                   "Redis came back with the state of another lineage");
            return;
        }
        if (!replication.empty() && !replication_.empty() && replication != replication_) {
            rewind(c, control, replication, Loss::perhaps,
                   "Redis failed over or was restarted: another replication id");
            return;
        }
        for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
            const auto& outgoing = *outgoing_[r];
            for (std::size_t lane = 0; lane < model::kLanes; ++lane) {
                const auto& written = outgoing.lanes[lane].written;
                if (owns(c, lane) && written && found_mark(control, outgoing.id, lane) < written) {
                    rewind(c, control, replication, Loss::some,
                           "Redis lost results of '" + outgoing.id + "'");
                    return;
                }
            }
            if (c.number == 0 && outgoing.frontier_exists &&
                found_frontier(control, outgoing.id) < outgoing.frontier_written) {
                rewind(c, control, replication, Loss::some,
                       "Redis lost the frontier of '" + outgoing.id + "'");
                return;
            }
        }
        if (c.number == 0 && control.present) {
            // The reply to the transaction that wrote it may have been lost.
            established_ = true;
            wipe_ = false;
            barrier_written_ = control.barrier;
        }
        read_lanes(c, control);
    }

    static std::optional<LaneMark> found_mark(const ControlHash& control, const std::string& id,
                                              std::size_t lane) {
        const auto at = control.lanes.find(id);
        return at == control.lanes.end() ? std::nullopt : at->second[lane];
    }
    static model::EventTime found_frontier(const ControlHash& control, const std::string& id) {
        const auto at = control.frontiers.find(id);
        return at == control.frontiers.end() ? model::kBeforeAll : at->second;
    }

    // The lanes of `c` go on from where Redis has them; the control connection does so for what
    // it writes as well.
    void read_lanes(Connection& c, const ControlHash& control) {
        const bool ours = control.present && control.lineage == lineage_;
        for (auto& outgoing : outgoing_) {
            for (std::size_t i = 0; i < model::kLanes; ++i) {
                Lane& lane = outgoing->lanes[i];
                auto found = ours ? found_mark(control, outgoing->id, i) : std::nullopt;
                if (!owns(c, i)) {
                    // What its own connection must find at least when it comes to look.
                    if (!lane.known && !lane.written) {
                        lane.written = std::move(found);
                    }
                    continue;
                }
                lane.written = std::move(found);
                if (!lane.known) {
                    lane.skip = outgoing->skip_found ? lane.written : std::nullopt;
                } else if (!outgoing->idempotent) {
                    // What was on its way when the connection broke may have been executed.
                    lane.skip = lane.written;
                }
                lane.known = true;
            }
            if (c.number == 0) {
                read_frontier(*outgoing, control, ours);
            }
        }
        if (c.current) {
            drop_executed(c);
        }
    }

    static void read_frontier(Outgoing& outgoing, const ControlHash& control, bool ours) {
        outgoing.frontier_exists = ours && control.frontiers.contains(outgoing.id);
        outgoing.frontier_written = ours ? found_frontier(control, outgoing.id) : model::kBeforeAll;
    }

    // What of the transaction whose reply was lost was executed is done.
    void drop_executed(Connection& c) {
        const std::size_t dropped = c.current->drop_executed(outgoing_);
        if (dropped == 0) {
            return;
        }
        queue_.done(dropped);
        counted_.results += dropped;
        dirty_ = true;
        move_frontiers();
        if (c.current->rows.empty()) {
            c.current.reset();
        }
    }

    enum class Loss : std::uint8_t {
        everything,  // nothing of what is in Redis counts
        some,        // what is there is a prefix of what we wrote
        perhaps,     // another server: what is there may be right
    };

    void rewind(Connection& cause, const ControlHash& control, const std::string& replication,
                Loss loss, std::string reason) {
        if (!control.present || control.lineage != lineage_) {
            loss = Loss::everything;  // also where we had not yet written the hash ourselves
        }
        Rewind rewind;
        rewind.reason = std::move(reason);
        if (loss == Loss::perhaps) {
            resent_.resize(outgoing_.size(), model::kBeforeAll);
        } else if (loss == Loss::everything) {
            resent_.clear();
        }
        for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
            auto& outgoing = *outgoing_[r];
            model::EventTime from = model::kBeforeAll;
            if (loss == Loss::some) {
                from = std::min(outgoing.acknowledged, found_frontier(control, outgoing.id));
            }
            if (loss == Loss::perhaps) {
                resent_[r] = std::max(resent_[r], outgoing.acknowledged);
            }
            rewind.from.push_back(from);
            outgoing.acknowledged = from;
            outgoing.clear(from);
            // A server that may have lost single writes cannot be believed about its marks, but
            // sending twice is worse where it counts.
            outgoing.skip_found = loss != Loss::perhaps || !outgoing.idempotent;
            read_frontier(outgoing, control, loss != Loss::everything);
        }
        established_ = loss != Loss::everything;
        wipe_ = !established_;
        barrier_written_ = established_ ? control.barrier : 0;
        if (!replication.empty()) {
            replication_ = replication;
        }
        for (auto& c : connections_) {
            c->current.reset();
            c->next.reset();
            c->dead_letters.clear();
            if (c->number != cause.number && c->stage != Stage::closed) {
                // Whatever it is doing belongs to the past; its lanes are read again.
                c->transport->close();
                c->stage = Stage::closed;
                c->arrived = false;
                c->greeted = false;
                c->retry_at = clock_.steady_ms();
            }
        }
        read_lanes(cause, established_ ? control : ControlHash{});
        queue_.rewind(std::move(rewind), acknowledged());
        ++counted_.rewinds;
        dirty_ = true;
    }

    void finish_checking(Connection& c) {
        if (!c.error.empty()) {
            refuse_handshake(c);
            return;
        }
        if (!fence_is_ours(c) || (c.established_when_asked && c.exists == 0)) {
            start_claim(c);
            return;
        }
        c.stage = Stage::ready;
    }

    // ---- What a ready connection does next

    bool use(Connection& c) {
        if (phase() == SinkPhase::beginning && c.number == 0) {
            start(c);
            return true;
        }
        if (running()) {
            prepare(c);
            if (!c.current && c.next) {
                c.current = std::exchange(c.next, std::nullopt);
            }
            if (c.number == 0 && !c.current && control_due()) {
                c.current.emplace();
            }
            // Results go after the barrier behind them, and after the lineage, which the control
            // connection writes.
            if (c.current &&
                (c.number == 0 || (established_ && c.current->barrier <= barrier_written_))) {
                send(c);
                return true;
            }
        }
        if (clock_.steady_ms() - c.last_used < settings_.idle_check_ms) {
            return false;
        }
        c.out.clear();
        RequestWriter writer(c.out);
        writer.command({"GET", fence_key_});
        writer.command({"EXISTS", control_key_});
        c.error.clear();
        c.auth_error = false;
        c.fence.reset();
        c.established_when_asked = running() && established_;
        exchange(c, Stage::checking, 2);
        return true;
    }

    void start(Connection& c) {
        lineage_ = begin_.lineage;
        for (std::size_t r = 0; r < outgoing_.size(); ++r) {
            outgoing_[r]->acknowledged = begin_.acknowledged[r];
            outgoing_[r]->clear(begin_.acknowledged[r]);
        }
        if (begin_.mode == Begin::Mode::reset && !lost_since_handshake()) {
            c.current.emplace();
            c.current->resets = true;
            send(c);
        } else {
            resume(c);
        }
    }

    // What begin() was told to vouch for rests on the handshake.
    bool lost_since_handshake() {
        const std::scoped_lock lock(mutex_);
        return (handshake_.present && !found_.present) ||
               std::any_of(handshake_.frontiers.begin(), handshake_.frontiers.end(),
                           [this](const auto& frontier) {
                               return found_frontier(found_, frontier.first) < frontier.second;
                           });
    }

    void resume(Connection& c) {
        const ControlHash found = std::exchange(found_, ControlHash{});
        established_ = found.present && found.lineage == lineage_;
        wipe_ = !established_;
        barrier_written_ = established_ ? found.barrier : 0;
        barrier_pushed_ = barrier_written_;
        set_phase(SinkPhase::running);
        const auto behind = std::find_if(
            outgoing_.begin(), outgoing_.end(),
            [&found](const auto& o) { return found_frontier(found, o->id) < o->acknowledged; });
        if (!established_) {
            rewind(c, found, replication_, Loss::everything,
                   "Redis has nothing of this pipeline any more");
        } else if (!found.replication.empty() && !replication_.empty() &&
                   found.replication != replication_) {
            rewind(c, found, replication_, Loss::perhaps,
                   "Redis failed over or was restarted: another replication id");
        } else if (behind != outgoing_.end()) {
            rewind(c, found, replication_, Loss::some,
                   "Redis lost results of '" + (*behind)->id + "'");
        } else {
            read_lanes(c, found);
        }
        dirty_ = true;
    }

    bool frontier_due(const Outgoing& outgoing) const {
        return outgoing.ready() > outgoing.frontier_written;
    }
    bool replication_due() const {
        if (resent_.empty()) {
            return false;
        }
        for (std::size_t r = 0; r < outgoing_.size(); ++r) {
            if (outgoing_[r]->acknowledged < resent_[r]) {
                return false;
            }
        }
        return true;
    }
    bool control_due() const {
        return !established_ || barrier_pushed_ > barrier_written_ || replication_due() ||
               std::any_of(outgoing_.begin(), outgoing_.end(),
                           [this](const auto& o) { return frontier_due(*o); });
    }

    // Fills `next` from the lanes of `c`. True: it did.
    bool prepare(Connection& c) {
        if (c.next || !running() || !c.arrived) {
            return false;
        }
        Transaction t = std::exchange(c.spare, Transaction{});
        const std::size_t lanes = outgoing_.size() * model::kLanes;
        const Transaction::Limits limits{settings_.batch_commands, settings_.batch_bytes};
        std::size_t skipped = 0;
        for (std::size_t i = 0; i < lanes && !t.full; ++i) {
            const std::size_t at = (c.next_lane + i) % lanes;
            const std::size_t lane = at % model::kLanes;
            if (owns(c, lane)) {
                skipped +=
                    t.take(outgoing_, static_cast<std::uint32_t>(at / model::kLanes), lane, limits);
                if (t.full) {
                    c.next_lane = (at + 1) % lanes;
                }
            }
        }
        if (skipped > 0) {
            queue_.done(skipped);
            counted_.skipped += skipped;
            move_frontiers();
            dirty_ = true;
        }
        if (t.rows.empty()) {
            c.spare = std::move(t);
            return skipped > 0;
        }
        c.next = std::move(t);
        return true;
    }

    // ---- Transactions

    void watch_fence(RequestWriter& writer) const {
        if (SLUICE_MUTANT(FENCE_NOT_CHECKED)) {
            writer.command({"UNWATCH"});
        } else {
            writer.command({"WATCH", fence_key_});
        }
    }
    bool fence_is_ours(const Connection& c) const {
        return SLUICE_MUTANT(FENCE_NOT_CHECKED) || (c.fence && *c.fence == c.own_value);
    }

    void send(Connection& c) {
        Transaction& t = *c.current;
        c.out.clear();
        RequestWriter writer(c.out);
        std::vector<std::string> fields;
        collect_fields(c, t, fields);
        t.own_commands = 0;
        const auto write_fields = [&] {
            if (!fields.empty()) {
                writer.begin(2 + fields.size());
                writer.argument("HSET");
                writer.argument(control_key_);
                for (const auto& field : fields) {
                    writer.argument(field);
                }
                ++t.own_commands;
            }
        };
        const bool wipes = t.resets || (c.number == 0 && wipe_);
        t.marks_outside = SLUICE_MUTANT(LANE_MARK_OUTSIDE) && !wipes && !fields.empty();
        if (t.marks_outside) {
            write_fields();
            t.new_fields = std::numeric_limits<std::int64_t>::max();
        }
        writer.command({"MULTI"});
        writer.encoded(t.bytes);
        if (wipes) {
            writer.command({"DEL", control_key_});
            ++t.own_commands;
        }
        if (!t.marks_outside) {
            write_fields();
        }
        writer.command({"EXEC"});
        watch_fence(writer);
        writer.command({"GET", fence_key_});
        c.replies = {};
        c.replies.commands = t.commands + t.own_commands;
        c.replies.outside = t.marks_outside ? 1 : 0;
        c.fence.reset();
        SLUICE_FAIL_POINT("sink.before_transaction");
        exchange(c, Stage::busy, t.commands + t.own_commands + 4);
    }

    void collect_fields(const Connection& c, Transaction& t, std::vector<std::string>& fields) {
        t.frontiers.clear();
        t.barrier_field.reset();
        t.establishes = false;
        t.replication = false;
        t.new_fields = 0;
        const auto add = [&](std::string field, std::string value, bool exists) {
            fields.push_back(std::move(field));
            fields.push_back(std::move(value));
            t.new_fields += exists ? 0 : 1;
        };
        t.mark_lanes(outgoing_);
        if (t.resets) {
            collect_reset(t, add);
            return;
        }
        if (c.number == 0) {
            if (!established_) {
                t.establishes = true;
                add(std::string(kLineageField), lineage_, false);
            }
            if (!established_ || replication_due()) {
                t.replication = true;
                add(std::string(kReplicationField), replication_, established_);
            }
            if (!established_ || barrier_pushed_ > barrier_written_) {
                t.barrier_field = std::max(barrier_pushed_, barrier_written_);
                add(std::string(kBarrierField), std::to_string(*t.barrier_field), established_);
            }
            for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
                if (frontier_due(*outgoing_[r])) {
                    const model::EventTime end = outgoing_[r]->ready();
                    t.frontiers.push_back({r, end});
                    add(frontier_field(outgoing_[r]->id), std::to_string(end),
                        outgoing_[r]->frontier_exists);
                }
            }
        }
        for (const auto& mark : t.marks) {
            const Outgoing& outgoing = *outgoing_[mark.reduction];
            const auto& written = outgoing.lanes[static_cast<std::size_t>(mark.lane)].written;
            add(lane_field(outgoing.id, mark.lane), encode_mark(mark.mark), written.has_value());
        }
    }

    template <class Add>
    void collect_reset(Transaction& t, const Add& add) {
        add(std::string(kLineageField), begin_.lineage, false);
        add(std::string(kReplicationField), replication_, false);
        add(std::string(kBarrierField), std::to_string(begin_.barrier), false);
        for (std::size_t r = 0; r < outgoing_.size(); ++r) {
            if (begin_.acknowledged[r] != model::kBeforeAll) {
                add(frontier_field(outgoing_[r]->id), std::to_string(begin_.acknowledged[r]),
                    false);
            }
        }
        for (const auto& [id, lanes] : begin_.lanes) {
            for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
                if (lanes[lane]) {
                    add(lane_field(id, static_cast<int>(lane)), encode_mark(*lanes[lane]), false);
                }
            }
        }
        t.new_fields = std::numeric_limits<std::int64_t>::max();
    }

    // What was not executed is sent again, if the tail of the exchange found the fence to be ours.
    void send_again(Connection& c) {
        if (fence_is_ours(c)) {
            count_retry();
            send(c);
        } else {
            start_claim(c);
        }
    }

    void finish_transaction(Connection& c) {
        Transaction& t = *c.current;
        SLUICE_FAIL_POINT("sink.after_transaction");
        if (!c.replies.queue_failures.empty() || !c.replies.exec_error.empty()) {
            finish_aborted(c);
            return;
        }
        if (c.replies.aborted) {
            // Somebody touched the fence. The GET decides who, not the nil.
            send_again(c);
            return;
        }
        const std::size_t commands = t.commands;
        for (const auto& failure : c.replies.run_failures) {
            if (failure.command >= commands) {
                lose(c, control_key_ + ": " + failure.text);
                return;
            }
        }
        if (refuse_rows(c, c.replies.run_failures)) {
            c.execute_again = false;
            c.stage = Stage::refusing;
            return;
        }
        succeed(c);
    }

    // Nothing was executed: some command could not even be queued, or EXEC said no.
    void finish_aborted(Connection& c) {
        const std::size_t commands = c.current->commands;
        bool all_refused = !c.replies.queue_failures.empty();
        for (const auto& failure : c.replies.queue_failures) {
            const ErrorClass kind = classify(failure.text);
            if (kind != ErrorClass::refused) {
                suffer(c, kind, failure.text, HeldFor::transaction);
                return;
            }
            all_refused = all_refused && failure.command < commands;
        }
        if (all_refused && c.replies.exec_error.starts_with("EXECABORT")) {
            refuse_rows(c, c.replies.queue_failures);
            c.execute_again = true;
            c.stage = Stage::refusing;
            return;
        }
        const std::string text = c.replies.exec_error.empty()
                                     ? c.replies.queue_failures.front().text
                                     : c.replies.exec_error;
        const ErrorClass kind = classify(text);
        suffer(c, kind == ErrorClass::refused ? ErrorClass::reconnect : kind, text,
               HeldFor::transaction);
    }

    // Makes dead letters of the rows that these commands belong to. False: there are none.
    bool refuse_rows(Connection& c, const std::vector<Transaction::Failure>& failures) {
        std::string said;
        auto letters = c.current->refuse(outgoing_, failures, said);
        if (letters.empty()) {
            return false;
        }
        std::ranges::move(letters, std::back_inserter(c.dead_letters));
        remember(std::move(said));
        return true;
    }

    bool hand_over_dead_letters(Connection& c) {
        std::size_t taken = 0;
        while (taken < c.dead_letters.size() && refused_result_(c.dead_letters[taken])) {
            ++taken;
            ++counted_.refused;
            dirty_ = true;
        }
        c.dead_letters.erase(c.dead_letters.begin(),
                             c.dead_letters.begin() + static_cast<std::ptrdiff_t>(taken));
        if (!c.dead_letters.empty()) {
            if (c.trouble.empty()) {
                c.trouble = "dead letters are full";
                dirty_ = true;
            }
            return taken > 0;
        }
        if (c.execute_again) {
            c.current->render(outgoing_);
            send_again(c);
        } else {
            succeed(c);
        }
        return true;
    }

    // The transaction was executed.
    void succeed(Connection& c) {
        recovered(c);
        Transaction t = std::move(*c.current);
        c.current.reset();
        c.stage = Stage::ready;
        if (t.resets) {
            finish_reset(c);
        } else if (t.own_commands > 0 && c.replies.added_fields > t.new_fields) {
            // Fields that we wrote before were new: somebody removed the hash under us.
            rewind(c, ControlHash{}, replication_, Loss::everything, "Redis lost the control hash");
        } else {
            acknowledge(t);
        }
        t.clear();
        c.spare = std::move(t);
        if (c.stage == Stage::ready && !fence_is_ours(c)) {
            start_claim(c);
        }
    }

    void acknowledge(Transaction& t) {
        const std::size_t refused = t.executed(outgoing_);
        queue_.done(t.rows.size());
        counted_.results += t.rows.size() - refused;
        counted_.commands += t.commands;
        for (const auto& frontier : t.frontiers) {
            auto& outgoing = *outgoing_[frontier.reduction];
            outgoing.frontier_written = frontier.end;
            outgoing.frontier_exists = true;
        }
        if (t.establishes) {
            established_ = true;
            wipe_ = false;
        }
        if (t.replication) {
            resent_.clear();
        }
        if (t.barrier_field) {
            barrier_written_ = *t.barrier_field;
        }
        SLUICE_FAIL_POINT("sink.acknowledged");
        move_frontiers();
        dirty_ = true;
    }

    void finish_reset(Connection& c) {
        established_ = true;
        wipe_ = false;
        barrier_written_ = begin_.barrier;
        barrier_pushed_ = begin_.barrier;
        ControlHash written;
        written.present = true;
        written.lineage = lineage_;
        written.lanes = begin_.lanes;
        for (std::size_t r = 0; r < outgoing_.size(); ++r) {
            auto& outgoing = *outgoing_[r];
            outgoing.clear(outgoing.acknowledged);
            if (outgoing.acknowledged != model::kBeforeAll) {
                written.frontiers[outgoing.id] = outgoing.acknowledged;
            }
        }
        SLUICE_FAIL_POINT("sink.reset");
        read_lanes(c, written);
        set_phase(SinkPhase::running);
        dirty_ = true;
    }

    void move_frontiers() {
        for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
            move_frontier(r);
        }
    }
    void move_frontier(std::uint32_t r) {
        auto& outgoing = *outgoing_[r];
        const model::EventTime ready = outgoing.advance();
        // Acknowledged is what Redis says so itself; a restore from an older checkpoint finds a
        // frontier that is ahead.
        const model::EventTime to = std::min(ready, outgoing.frontier_written);
        if (to > outgoing.acknowledged) {
            outgoing.acknowledged = to;
            dirty_ = true;
        }
    }

    // ---- Trouble

    void refuse_handshake(Connection& c) {
        const ErrorClass kind = c.auth_error ? ErrorClass::permission : classify(c.error);
        suffer(c, kind == ErrorClass::refused ? ErrorClass::wait : kind, c.error, HeldFor::claim);
    }

    void suffer(Connection& c, ErrorClass kind, const std::string& text, HeldFor held_for) {
        switch (kind) {
            case ErrorClass::permission:
                deny(c, text);
                break;
            case ErrorClass::reconnect:
                lose(c, text);
                break;
            case ErrorClass::wait:
            case ErrorClass::refused:
                hold(c, text, held_for);
                break;
        }
    }

    void hold(Connection& c, const std::string& text, HeldFor held_for) {
        c.stage = Stage::held;
        c.held_for = held_for;
        c.retry_at = clock_.steady_ms() + c.backoff.next();
        note(c, text);
    }

    void lose(Connection& c, const std::string& text) {
        close(c);
        c.retry_at = clock_.steady_ms() + c.backoff.next();
        note(c, text);
    }

    void deny(Connection& c, const std::string& text) {
        close(c);
        c.retry_at = clock_.steady_ms() + kPermissionRetryMs;
        note(c, text);
        if (!running()) {
            set_phase(SinkPhase::refused);
        }
    }

    void close(Connection& c) {
        c.transport->close();
        if (c.arrived) {
            ++counted_.reconnects;
        }
        if (c.stage == Stage::busy) {
            count_retry();
        }
        if (c.current && c.current->resets) {
            c.current.reset();  // begun again after the next handshake
        }
        c.arrived = false;
        c.greeted = false;
        c.stage = Stage::closed;
    }

    void fenced(const Fence& by) {
        for (auto& c : connections_) {
            c->transport->close();
            c->stage = Stage::closed;
            c->trouble = "fenced by " + by.owner + ", epoch " + std::to_string(by.epoch) +
                         " (ours is " + std::to_string(fence_.epoch()) + ")";
        }
        remember(connections_.front()->trouble);
        set_phase(SinkPhase::fenced);
    }

    void note(Connection& c, const std::string& text) {
        c.trouble = "connection " + std::to_string(c.number) + ": " + text;
        remember(text);
    }
    void remember(std::string text) {
        last_error_ = std::move(text);
        dirty_ = true;
    }
    void recovered(Connection& c) {
        c.backoff.reset();
        if (!c.trouble.empty()) {
            c.trouble.clear();
            dirty_ = true;
        }
    }
    void count_retry() {
        ++counted_.retries;
        dirty_ = true;
    }

    std::optional<std::int64_t> next_timer(const Connection& c) const {
        switch (c.stage) {
            case Stage::closed:
                return c.number > 0 && !running() ? std::nullopt : std::optional(c.retry_at);
            case Stage::held:
                return c.retry_at;
            case Stage::ready:
                return c.last_used + settings_.idle_check_ms;
            case Stage::refusing:
                return clock_.steady_ms() + 50;
            default:
                return c.deadline;
        }
    }

    // Makes the sink thread's view the others' view.
    void publish() {
        bool connected = phase() != SinkPhase::connecting && !over();
        const std::string* reason = nullptr;
        for (const auto& c : connections_) {
            if (!c->trouble.empty()) {
                reason = reason == nullptr ? &c->trouble : reason;
                connected = false;
            } else if (!c->arrived && !rewound_connection(*c)) {
                connected = false;
            }
        }
        bool unwritten = false;
        if (running()) {
            unwritten = control_due();
            for (const auto& c : connections_) {
                unwritten = unwritten || c->current || c->next;
            }
        }
        if (!dirty_ && connected == counted_.connected) {
            queue_.publish(unwritten);
            return;
        }
        dirty_ = false;
        counted_.since = connected == counted_.connected ? counted_.since : clock_.wall_ms();
        counted_.epoch = fence_.epoch();
        counted_.last_error = last_error_;
        counted_.connected = connected;
        counted_.reason = connected ? "" : reason != nullptr ? *reason : "connecting";
        {
            const std::scoped_lock lock(mutex_);
            statistics_ = counted_;
        }
        queue_.publish(unwritten, acknowledged());
    }

    std::vector<model::EventTime> acknowledged() const {
        std::vector<model::EventTime> frontiers;
        for (const auto& outgoing : outgoing_) {
            frontiers.push_back(outgoing->acknowledged);
        }
        return frontiers;
    }

    // Before the sink runs only the control connection is needed.
    bool rewound_connection(const Connection& c) const { return c.number > 0 && !running(); }

    std::atomic<SinkPhase> phase_{SinkPhase::connecting};  // any thread

    // Constant after construction.
    const SinkSettings settings_;
    const model::Clock& clock_;
    const RefusedResult refused_result_;
    const std::string control_key_;
    const std::string fence_key_;
    const int event_;

    ResultQueue queue_;  // before the lanes, which share its batches

    // The thread `sink`.
    std::vector<std::unique_ptr<Outgoing>> outgoing_;
    std::vector<std::unique_ptr<Connection>> connections_;
    FenceClaim fence_;
    std::string lineage_;
    std::string replication_;   // of the server that we talk to
    ControlHash found_;         // by the last handshake before we run
    bool established_ = false;  // the control hash has our lineage
    bool wipe_ = false;         // and what is there goes first
    model::BarrierNumber barrier_pushed_ = 0;
    model::BarrierNumber barrier_written_ = 0;
    // After a fail-over: what must be acknowledged before the new replication id is written, so
    // that a crash in between begins again.
    std::vector<model::EventTime> resent_;
    SinkStatistics counted_;
    std::string last_error_;
    bool dirty_ = false;

    Begin begin_;  // written by begin(), handed over by the phase

    // Guarded by mutex_.
    mutable std::mutex mutex_;
    ControlHash handshake_;
    SinkStatistics statistics_;
};

RedisSink::RedisSink(SinkSettings settings, const TransportFactory& transports,
                     const model::Clock& clock, RefusedResult refused_result)
    : impl_(std::make_unique<Impl>(std::move(settings), transports, clock,
                                   std::move(refused_result))) {}
RedisSink::~RedisSink() = default;

bool RedisSink::step() { return impl_->step(); }
void RedisSink::wait(model::DurationMs timeout_ms) { impl_->wait(timeout_ms); }
void RedisSink::wake() { impl_->wake(); }
SinkPhase RedisSink::phase() const { return impl_->phase(); }
ControlHash RedisSink::handshake() const { return impl_->handshake(); }
void RedisSink::begin(Begin begin) { impl_->begin(std::move(begin)); }
bool RedisSink::push(std::unique_ptr<model::ResultBatch>&& batch, std::uint64_t generation) {
    return impl_->push(std::move(batch), generation);
}
std::unique_ptr<model::ResultBatch> RedisSink::spare() { return impl_->queue().spare(); }
bool RedisSink::push_end(std::uint32_t reduction, model::EventTime window_end,
                         std::uint64_t generation) {
    return impl_->push_end(reduction, window_end, generation);
}
model::EventTime RedisSink::acknowledged(std::uint32_t reduction) const {
    return impl_->queue().acknowledged(reduction);
}
std::optional<Rewind> RedisSink::take_rewind() { return impl_->queue().take_rewind(); }
std::uint64_t RedisSink::generation() const { return impl_->queue().generation(); }
std::uint64_t RedisSink::epoch() const { return impl_->epoch(); }
std::size_t RedisSink::pending() const { return impl_->queue().pending(); }
bool RedisSink::settled() const { return impl_->queue().settled(); }
SinkStatistics RedisSink::statistics() const { return impl_->statistics(); }

}  // namespace sluice::sinks
