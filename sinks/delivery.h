// How far the results of a pipeline have come: what waits in the lanes, what Redis is known to
// hold, what has been acknowledged, and so what the control hash has to say next.
//
// Established.  The control hash has our lineage. Until then the control connection writes it anew,
//   and no other connection sends.
// Lost.  Every control hash that a connection reads is compared with what is known to be written.
//   What is missing makes a loss; lose() falls back to what is left and says from where the results
//   have to be made again.
// Lanes.  Lane l belongs to connection l mod connections, the rest of the hash to connection 0.
//
// Thread: one (sink).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sinks/outgoing.h"
#include "sinks/redis_sink.h"
#include "sinks/transaction.h"
#include "state/model/barrier.h"
#include "state/model/time.h"

namespace sluice::sinks {

class Delivery {
 public:
    struct Loss {
        enum class Kind : std::uint8_t {
            everything,  // nothing of what is in Redis counts
            some,        // what is there is a prefix of what we wrote
            perhaps,     // another server: what is there may be right
        };
        Kind kind;
        std::string reason;
    };

    Delivery(const std::vector<ReductionOutput>& reductions, std::string_view pipeline,
             int connections);

    const Outgoings& outgoings() const { return outgoing_; }
    bool owns(int connection, std::size_t lane) const {
        return lane % connections_ == static_cast<std::size_t>(connection);
    }

    // ---- Before results leave

    // What a connection found, while nothing has been written yet.
    void found(ControlHash control, std::string replication);
    // How to go on from there. May be said again: a reset that broke begins anew.
    void begin(const Begin& begin);
    // Something that was there at the handshake is not there any more.
    bool lost_since(const ControlHash& handshake) const;
    // Goes on with what was found: connection 0 has read it. A loss: see lose().
    std::optional<Loss> resume();
    // The transaction that replaced the control hash was executed.
    void reset();

    // What was found and where: by the last handshake before results leave.
    const ControlHash& last_found() const { return found_; }
    const std::string& replication() const { return replication_; }

    // ---- Results

    void add(QueuedBatch batch);
    // True: a frontier moved.
    bool add_end(std::uint32_t reduction, model::EventTime end);
    // Something waits for the control connection, or may be sent by `connection` at all: results go
    // after the barrier behind them, and after the lineage, which the control connection writes.
    bool control_due() const;
    bool may_send(int connection, model::BarrierNumber barrier) const;

    // The fields and values, in turn, that go into the control hash with `t`; what they say is
    // noted in `t`.
    std::vector<std::string> fields(int connection, Transaction& t) const;
    // The control hash goes before they are written.
    bool wipes(int connection, const Transaction& t) const {
        return t.resets || (connection == 0 && wipe_);
    }
    // `t` was executed, its fields with it.
    void written(const Transaction& t);
    // True: what is acknowledged moved.
    bool move_frontiers();
    std::vector<model::EventTime> acknowledged() const;  // by reduction

    // ---- Looking again

    bool established() const { return established_; }
    // What `connection` read when it came back, and on which server. `established_when_asked`:
    // whether the hash had our lineage when it asked. Without a loss its lanes go on from there.
    std::optional<Loss> look(int connection, const ControlHash& control,
                             const std::string& replication, bool established_when_asked);
    // Forgets what is queued and goes on from what `control` holds, as `connection` read it. By
    // reduction, after which window end results have to be made again. `kind` may turn out to be
    // `everything`, where the hash is not ours.
    std::vector<model::EventTime> lose(Loss::Kind kind, int connection, const ControlHash& control,
                                       const std::string& replication);

 private:
    std::optional<Loss> compare(int connection, const ControlHash& control,
                                const std::string& replication, bool established_when_asked) const;
    bool ours(const ControlHash& control) const {
        return control.present && control.lineage == lineage_;
    }
    void read_lanes(int connection, const ControlHash& control);
    bool frontier_due(const Outgoing& outgoing) const {
        return outgoing.ready() > outgoing.frontier_written;
    }
    bool barrier_due() const { return !established_ || barrier_pushed_ > barrier_written_; }
    bool replication_due() const;
    bool move_frontier(std::uint32_t reduction);

    const std::size_t connections_;
    Outgoings outgoing_;
    Begin begin_;
    std::string lineage_;
    std::string replication_;  // of the server that we talk to
    ControlHash found_;
    bool established_ = false;
    bool wipe_ = false;  // what is in the hash is not ours, and goes first
    model::BarrierNumber barrier_pushed_ = 0;
    model::BarrierNumber barrier_written_ = 0;
    // After a fail-over: what must be acknowledged before the new replication id is written, so
    // that a crash in between begins again.
    std::vector<model::EventTime> resent_;
};

}  // namespace sluice::sinks
