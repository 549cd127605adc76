// The one numbered sequence of barriers, and the proof that nothing runs ahead of the journal.
//
// Whatever every worker is asked for is an undertaking: a barrier, or an order without a number. It
// is over when every worker has answered. Undertakings take effect strictly in the order of issue,
// and one that belongs into the journal only once it is durable there. So nothing that depends on a
// number leaves before that number is written: the queue is the proof.
//
// One exception: a spill of a replay decides nothing and rests on nothing. It need not wait for the
// entries before it, which may wait for the memory that it makes.
//
// Thread: one (coordinator).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/messages.h"
#include "state/io/journal.h"
#include "state/model/barrier.h"
#include "state/model/partition.h"
#include "state/model/result.h"

namespace sluice::daemon {

// Something that every worker was asked for, and what they answered, together.
struct Undertaking {
    Order order;
    std::size_t unanswered = 0;
    model::BarrierNumber tag = 0;  // the greatest of their tables; 0: none
    std::vector<std::pair<std::uint32_t, model::Offset>> next_offsets;
    std::vector<PartitionState> partitions;
    model::EventTime incomplete_before = kNoTime;
    std::int64_t pause_ns = 0;  // of the worker that it held up longest

    // Is to be written to the journal.
    bool makes_entry() const;
    // Its tables, with what belongs to them, are for the snapshotter.
    bool seals() const;
};

class BarrierSequence {
 public:
    struct Parts {
        state::Journal& journal;
        const std::vector<model::Partition>& partitions;  // by number
        std::size_t workers = 0;
        std::function<void(const Order&)> send;  // to every worker
    };

    // `issued`: numbers go on above it. `journaled`: the last number of the journal.
    BarrierSequence(Parts parts, model::BarrierNumber issued, model::BarrierNumber journaled);

    // For an order that carries an entry of its own.
    model::BarrierNumber next_number() { return ++number_; }
    void undertake(Order order);
    // `seal_after`: all tables are handed over right behind it.
    void issue(model::Barrier barrier, bool seal_after = false);

    // `answer` belongs to an undertaking that is under way; its tables are left alone.
    void answered(const Answer& answer);

    // A spill of a replay that every worker has answered, wherever it stands; null: none.
    std::unique_ptr<Undertaking> take_spill();
    // Writes the entries of everything that may take effect now, in one sync. False: there is
    // nothing. Errors: as of Journal::append().
    model::Result<bool> settle();
    // The next of what settle() found, with the offsets of its barrier; null: that was all.
    std::unique_ptr<Undertaking> take_settled();

    bool empty() const { return undertakings_.empty(); }
    model::BarrierNumber number() const { return number_; }  // the last one issued
    // The last journaled one that took effect; everything up to it is durable.
    model::BarrierNumber journaled() const { return journaled_; }

    // Partitions that an idle barrier names which not every worker has applied.
    std::set<model::Partition> told_idle() const;
    // A worker has not come to where its tables are wanted.
    bool seal_unanswered() const;
    std::string waiting() const;  // for what the oldest undertaking waits; empty: there is none

 private:
    const Parts parts_;
    std::deque<std::unique_ptr<Undertaking>> undertakings_;  // in the order of issue
    std::size_t settled_ = 0;  // so many from the front may take effect
    std::uint64_t tickets_ = 0;
    model::BarrierNumber number_;
    model::BarrierNumber journaled_;
};

}  // namespace sluice::daemon
