#include "daemon/barrier_sequence.h"

#include <algorithm>

#include "state/model/invariant.h"

namespace sluice::daemon {

bool Undertaking::makes_entry() const {
    return (order.kind == Order::Kind::barrier && model::journaled(order.barrier.kind)) ||
           (order.kind == Order::Kind::close && order.barrier.number != 0);
}

bool Undertaking::seals() const {
    return order.seal_after || order.kind == Order::Kind::spill ||
           (order.kind == Order::Kind::barrier && !model::journaled(order.barrier.kind));
}

BarrierSequence::BarrierSequence(Parts parts, model::BarrierNumber issued,
                                 model::BarrierNumber journaled)
    : parts_(std::move(parts)), number_(issued), journaled_(journaled) {}

void BarrierSequence::undertake(Order order) {
    order.ticket = ++tickets_;
    auto undertaking = std::make_unique<Undertaking>();
    undertaking->order = std::move(order);
    undertaking->unanswered = parts_.workers;
    undertakings_.push_back(std::move(undertaking));
    parts_.send(undertakings_.back()->order);
}

void BarrierSequence::issue(model::Barrier barrier, bool seal_after) {
    Order order;
    order.kind = Order::Kind::barrier;
    order.barrier = std::move(barrier);
    order.barrier.number = next_number();
    order.seal_after = seal_after;
    undertake(std::move(order));
}

void BarrierSequence::answered(const Answer& answer) {
    const auto found =
        std::find_if(undertakings_.begin(), undertakings_.end(),
                     [&](const auto& one) { return one->order.ticket == answer.ticket; });
    INVARIANT(found != undertakings_.end() && (*found)->unanswered > 0,
              "an answer belongs to one undertaking");
    Undertaking& undertaking = **found;
    --undertaking.unanswered;
    if (!answer.tables.empty()) {
        undertaking.tag = std::max(undertaking.tag, answer.tag);
    }
    undertaking.next_offsets.insert(undertaking.next_offsets.end(), answer.next_offsets.begin(),
                                    answer.next_offsets.end());
    undertaking.partitions.insert(undertaking.partitions.end(), answer.partitions.begin(),
                                  answer.partitions.end());
    undertaking.incomplete_before =
        std::max(undertaking.incomplete_before, answer.incomplete_before);
    undertaking.pause_ns = std::max(undertaking.pause_ns, answer.pause_ns);
}

std::unique_ptr<Undertaking> BarrierSequence::take_spill() {
    INVARIANT(settled_ == 0, "what was settled takes effect first");
    const auto found = std::ranges::find_if(undertakings_, [](const auto& one) {
        return one->order.kind == Order::Kind::spill && one->unanswered == 0;
    });
    if (found == undertakings_.end()) {
        return nullptr;
    }
    std::unique_ptr<Undertaking> spill = std::move(*found);
    undertakings_.erase(found);
    return spill;
}

model::Result<bool> BarrierSequence::settle() {
    std::vector<model::Barrier> entries;
    while (settled_ < undertakings_.size() && undertakings_[settled_]->unanswered == 0) {
        Undertaking& undertaking = *undertakings_[settled_];
        if (undertaking.order.kind == Order::Kind::barrier) {
            for (const auto& [partition, offset] : undertaking.next_offsets) {
                undertaking.order.barrier.next_offsets[parts_.partitions[partition]] = offset;
            }
        }
        if (undertaking.makes_entry()) {
            entries.push_back(undertaking.order.barrier);
        }
        ++settled_;
    }
    if (!entries.empty()) {
        TRY(parts_.journal.append(entries));
    }
    return settled_ > 0;
}

std::unique_ptr<Undertaking> BarrierSequence::take_settled() {
    if (settled_ == 0) {
        return nullptr;
    }
    --settled_;
    std::unique_ptr<Undertaking> undertaking = std::move(undertakings_.front());
    undertakings_.pop_front();
    const Order& order = undertaking->order;
    INVARIANT(order.kind != Order::Kind::spill, "a spill of a replay does not wait for its turn");
    if (undertaking->makes_entry() || order.kind == Order::Kind::replayed) {
        journaled_ = std::max(journaled_, order.barrier.number);
    }
    return undertaking;
}

std::set<model::Partition> BarrierSequence::told_idle() const {
    std::set<model::Partition> told;
    for (const auto& undertaking : undertakings_) {
        if (undertaking->order.kind == Order::Kind::barrier) {
            const auto& idle = undertaking->order.barrier.idle;
            told.insert(idle.begin(), idle.end());
        }
    }
    return told;
}

bool BarrierSequence::seal_unanswered() const {
    return std::ranges::any_of(
        undertakings_, [](const auto& one) { return one->seals() && one->unanswered != 0; });
}

std::string BarrierSequence::waiting() const {
    if (undertakings_.empty()) {
        return "";
    }
    const Undertaking& oldest = *undertakings_.front();
    return std::to_string(oldest.unanswered) + " workers with order " +
           std::to_string(static_cast<int>(oldest.order.kind)) + ", barrier " +
           std::to_string(oldest.order.barrier.number);
}

}  // namespace sluice::daemon
