#include "sinks/redis_sink.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <limits>
#include <mutex>
#include <utility>

#include "sinks/backoff.h"
#include "sinks/control.h"
#include "sinks/delivery.h"
#include "sinks/exchange.h"
#include "sinks/fence_claim.h"
#include "sinks/refusal.h"
#include "sinks/resp.h"
#include "sinks/result_queue.h"
#include "sinks/transaction.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/model/mutant.h"

namespace sluice::sinks {
namespace {

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
          delivery_(settings_.reductions, settings_.pipeline, settings_.connections),
          fence_(settings_.owner, settings_.own_epoch) {
        INVARIANT(settings_.connections >= 1, "a sink has a connection");
        for (int i = 0; i < settings_.connections; ++i) {
            connections_.push_back(
                std::make_unique<Connection>(i, transports(i), clock_, settings_));
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
        std::vector<pollfd>& polled = polled_;
        polled.clear();
        polled.push_back({event_, POLLIN, 0});
        const std::int64_t now = clock_.steady_ms();
        std::int64_t until = now + timeout_ms;
        for (const auto& c : connections_) {
            if (const auto timer = next_timer(*c)) {
                until = std::min(until, *timer);
            }
            const int descriptor = c->exchange.descriptor();
            if (descriptor < 0) {
                continue;
            }
            polled.push_back(
                {descriptor,
                 static_cast<short>(c->exchange.wants_to_write() ? POLLIN | POLLOUT : POLLIN), 0});
        }
        const auto left = std::clamp<std::int64_t>(until - now, 0, 60'000);
        ::poll(polled.data(), polled.size(), static_cast<int>(left));
        if ((polled.front().revents & POLLIN) != 0) {
            // In this order: who rings in between wrote nothing, and what it rang for is there.
            std::uint64_t count = 0;
            [[maybe_unused]] const ssize_t taken = ::read(event_, &count, sizeof count);
            rung_.exchange(false);
        }
    }

    // ---- Any thread.

    // Of those that ring before the next wait only the first asks the kernel.
    void wake() {
        if (rung_.exchange(true)) {
            return;
        }
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
    }

    SinkPhase phase() const { return phase_.load(std::memory_order_acquire); }

    ControlHash handshake() const {
        const std::scoped_lock lock(mutex_);
        return handshake_;
    }

    void begin(Begin begin) {
        INVARIANT(phase() == SinkPhase::greeted, "begin() follows the handshake, once");
        INVARIANT(begin.acknowledged.size() == settings_.reductions.size(),
                  "one frontier per reduction");
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
        Connection(int n, std::unique_ptr<Transport> transport, const model::Clock& clock,
                   const SinkSettings& settings)
            : number(n),
              exchange(std::move(transport), clock, settings.reply_timeout_ms),
              backoff(settings.seed * 31 + static_cast<std::uint64_t>(n)) {}

        const int number;
        Exchange exchange;
        Backoff backoff;
        Stage stage = Stage::closed;
        std::int64_t retry_at = 0;  // when closed or held
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

        std::vector<std::string> dead_letters;  // to be taken before it goes on
        bool execute_again = false;             // after them: send the rest, or be done
    };

    bool over() const {
        const SinkPhase now = phase();
        return now == SinkPhase::fenced || now == SinkPhase::refused;
    }
    void set_phase(SinkPhase phase) { phase_.store(phase, std::memory_order_release); }
    bool running() const { return phase() == SinkPhase::running; }

    // ---- Input

    bool take_inbox() {
        if (!running()) {
            return false;
        }
        auto taken = queue_.take();
        for (auto& item : taken) {
            if (item.batch != nullptr) {
                delivery_.add(std::move(item.batch));
            } else {
                dirty_ |= delivery_.add_end(item.reduction, item.end);
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
                c.exchange.connect();
                c.stage = Stage::connecting;
                return true;
            case Stage::connecting:
                if (c.exchange.state() == Transport::State::open) {
                    return start_claim(c);
                }
                return !check(c, c.exchange.broken("connecting takes too long"));
            case Stage::refusing:
                return hand_over_dead_letters(c);
            case Stage::held:
                if (!check(c, c.exchange.broken_while_idle())) {
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
                if (!check(c, c.exchange.broken_while_idle())) {
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

    // True: nothing is wrong with the connection.
    bool check(Connection& c, const std::optional<std::string>& trouble) {
        if (trouble) {
            lose(c, *trouble);
        }
        return !trouble;
    }

    // Sends, receives and looks at replies, as far as that goes now.
    bool converse(Connection& c) {
        const bool moved = c.exchange.move();
        while (true) {
            const auto reply = c.exchange.next();
            if (!reply) {
                lose(c, reply.error().text);
                return true;
            }
            if (*reply == nullptr) {
                break;
            }
            take_reply(c, **reply);
            if (c.exchange.last()) {
                finish(c);
                return true;
            }
        }
        if (auto trouble = c.exchange.broken("the server does not answer")) {
            lose(c, c.error.empty() ? *trouble : c.error);  // what it said before it hung up
            return true;
        }
        if (moved && c.exchange.all_sent()) {
            prepare(c);  // while the server works
        }
        return moved;
    }

    static void send(Connection& c, Stage stage, std::size_t replies) {
        c.stage = stage;
        c.exchange.send(replies);
    }

    void take_reply(Connection& c, const Reply& reply) {
        const std::size_t i = c.exchange.position();
        const bool last = c.exchange.last();
        if (c.stage == Stage::busy) {
            c.replies.take(reply, i);
            return;
        }
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
        RequestWriter writer = c.exchange.request();
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
        send(c, Stage::claiming, replies);
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
        RequestWriter writer = c.exchange.request();
        writer.command({"MULTI"});
        writer.command({"SET", fence_key_, c.claim.value});
        writer.command({"HGETALL", control_key_});
        writer.command({"EXEC"});
        watch_fence(writer);
        writer.command({"GET", fence_key_});
        writer.command({"INFO", "replication"});
        c.error.clear();
        c.executed.reset();
        c.established_when_asked = delivery_.established();
        send(c, Stage::taking, 7);
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
                delivery_.found(control, std::move(replication));
                if (phase() == SinkPhase::connecting) {
                    const std::scoped_lock lock(mutex_);
                    handshake_ = std::move(control);
                    set_phase(SinkPhase::greeted);
                }
                break;
            }
            case SinkPhase::running:
                if (auto loss =
                        delivery_.look(c.number, control, replication, c.established_when_asked)) {
                    rewind(c, control, replication, std::move(*loss));
                } else {
                    drop_executed(c);
                }
                break;
            case SinkPhase::fenced:
            case SinkPhase::refused:
                break;
        }
    }

    // What of the transaction whose reply was lost was executed is done.
    void drop_executed(Connection& c) {
        const std::size_t dropped = c.current ? c.current->drop_executed(delivery_.outgoings()) : 0;
        if (dropped == 0) {
            return;
        }
        queue_.done(dropped);
        counted_.results += dropped;
        dirty_ = true;
        delivery_.move_frontiers();
        if (c.current->rows.empty()) {
            c.current.reset();
        }
    }

    void rewind(Connection& cause, const ControlHash& control, const std::string& replication,
                Delivery::Loss loss) {
        Rewind rewind;
        rewind.reason = std::move(loss.reason);
        rewind.from = delivery_.lose(loss.kind, cause.number, control, replication);
        for (auto& c : connections_) {
            c->current.reset();
            c->next.reset();
            c->dead_letters.clear();
            if (c->number != cause.number && c->stage != Stage::closed) {
                // Whatever it is doing belongs to the past; its lanes are read again.
                c->exchange.close();
                c->stage = Stage::closed;
                c->arrived = false;
                c->greeted = false;
                c->retry_at = clock_.steady_ms();
            }
        }
        queue_.rewind(std::move(rewind), delivery_.acknowledged());
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
            if (c.number == 0 && !c.current && delivery_.control_due()) {
                c.current.emplace();
            }
            if (c.current && delivery_.may_send(c.number, c.current->barrier)) {
                send_transaction(c);
                return true;
            }
        }
        if (clock_.steady_ms() - c.exchange.last_used() < settings_.idle_check_ms) {
            return false;
        }
        RequestWriter writer = c.exchange.request();
        writer.command({"GET", fence_key_});
        writer.command({"EXISTS", control_key_});
        c.error.clear();
        c.auth_error = false;
        c.fence.reset();
        c.established_when_asked = running() && delivery_.established();
        send(c, Stage::checking, 2);
        return true;
    }

    void start(Connection& c) {
        delivery_.begin(begin_);
        // What begin() was told to vouch for rests on the handshake.
        if (begin_.mode == Begin::Mode::reset && !delivery_.lost_since(handshake())) {
            c.current.emplace();
            c.current->resets = true;
            send_transaction(c);
            return;
        }
        auto loss = delivery_.resume();
        set_phase(SinkPhase::running);
        if (loss) {
            rewind(c, delivery_.last_found(), delivery_.replication(), std::move(*loss));
        }
        dirty_ = true;
    }

    // Fills `next` from the lanes of `c`. True: it did.
    bool prepare(Connection& c) {
        if (c.next || !running() || !c.arrived) {
            return false;
        }
        Transaction t = std::exchange(c.spare, Transaction{});
        const std::size_t lanes = settings_.reductions.size() * model::kLanes;
        const Transaction::Limits limits{settings_.batch_commands, settings_.batch_bytes};
        std::size_t skipped = 0;
        for (std::size_t i = 0; i < lanes && !t.full; ++i) {
            const std::size_t at = (c.next_lane + i) % lanes;
            const std::size_t lane = at % model::kLanes;
            if (delivery_.owns(c.number, lane)) {
                skipped += t.take(delivery_.outgoings(),
                                  static_cast<std::uint32_t>(at / model::kLanes), lane, limits);
                if (t.full) {
                    c.next_lane = (at + 1) % lanes;
                }
            }
        }
        if (skipped > 0) {
            queue_.done(skipped);
            counted_.skipped += skipped;
            delivery_.move_frontiers();
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

    void send_transaction(Connection& c) {
        Transaction& t = *c.current;
        RequestWriter writer = c.exchange.request();
        const std::vector<std::string> fields = delivery_.fields(c.number, t);
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
        const bool wipes = delivery_.wipes(c.number, t);
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
        send(c, Stage::busy, t.commands + t.own_commands + 4);
    }

    // What was not executed is sent again, if the tail of the exchange found the fence to be ours.
    void send_again(Connection& c) {
        if (fence_is_ours(c)) {
            count_retry();
            send_transaction(c);
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
        auto letters = c.current->refuse(delivery_.outgoings(), failures, said);
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
            c.current->render(delivery_.outgoings());
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
            finish_reset();
        } else if (t.own_commands > 0 && c.replies.added_fields > t.new_fields) {
            // Fields that we wrote before were new: somebody removed the hash under us.
            rewind(c, ControlHash{}, delivery_.replication(),
                   {Delivery::Loss::Kind::everything, "Redis lost the control hash"});
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
        const std::size_t refused = t.executed(delivery_.outgoings());
        queue_.done(t.rows.size());
        counted_.results += t.rows.size() - refused;
        counted_.commands += t.commands;
        delivery_.written(t);
        SLUICE_FAIL_POINT("sink.acknowledged");
        delivery_.move_frontiers();
        dirty_ = true;
    }

    void finish_reset() {
        SLUICE_FAIL_POINT("sink.reset");
        delivery_.reset();
        set_phase(SinkPhase::running);
        dirty_ = true;
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
        c.exchange.close();
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
            c->exchange.close();
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
                return c.exchange.last_used() + settings_.idle_check_ms;
            case Stage::refusing:
                return clock_.steady_ms() + 50;
            default:
                return c.exchange.deadline();
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
            unwritten = delivery_.control_due();
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
        queue_.publish(unwritten, delivery_.acknowledged());
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
    std::atomic<bool> rung_{false};  // `event_` was written to, or will be in a moment

    ResultQueue queue_;  // before the lanes, which share its batches

    // The thread `sink`.
    Delivery delivery_;
    std::vector<std::unique_ptr<Connection>> connections_;
    FenceClaim fence_;
    SinkStatistics counted_;
    std::string last_error_;
    bool dirty_ = false;
    std::vector<pollfd> polled_;  // of wait(), for its memory

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
