#include "sinks/delivery.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "sinks/control.h"

namespace sluice::sinks {
namespace {

std::optional<LaneMark> mark_in(const ControlHash& control, const std::string& id,
                                std::size_t lane) {
    const auto at = control.lanes.find(id);
    return at == control.lanes.end() ? std::nullopt : at->second[lane];
}

model::EventTime frontier_in(const ControlHash& control, const std::string& id) {
    const auto at = control.frontiers.find(id);
    return at == control.frontiers.end() ? model::kBeforeAll : at->second;
}

void read_frontier(Outgoing& outgoing, const ControlHash& control, bool ours) {
    outgoing.frontier_exists = ours && control.frontiers.contains(outgoing.id);
    outgoing.frontier_written = ours ? frontier_in(control, outgoing.id) : model::kBeforeAll;
}

// Fields and values in turn, and how many of the fields are not in the hash yet.
class Fields {
 public:
    void add(std::string field, std::string value, bool exists) {
        all.push_back(std::move(field));
        all.push_back(std::move(value));
        fresh += exists ? 0 : 1;
    }
    std::vector<std::string> all;
    std::int64_t fresh = 0;
};

}  // namespace

Delivery::Delivery(const std::vector<ReductionOutput>& reductions, std::string_view pipeline,
                   int connections)
    : connections_(static_cast<std::size_t>(connections)) {
    for (const auto& output : reductions) {
        outgoing_.push_back(std::make_unique<Outgoing>(output, pipeline));
    }
}

// ---- Before results leave

void Delivery::found(ControlHash control, std::string replication) {
    found_ = std::move(control);
    replication_ = std::move(replication);
}

void Delivery::begin(const Begin& begin) {
    begin_ = begin;
    lineage_ = begin.lineage;
    for (std::size_t r = 0; r < outgoing_.size(); ++r) {
        outgoing_[r]->acknowledged = begin.acknowledged[r];
        outgoing_[r]->clear(begin.acknowledged[r]);
    }
}

bool Delivery::lost_since(const ControlHash& handshake) const {
    return (handshake.present && !found_.present) ||
           std::ranges::any_of(handshake.frontiers, [this](const auto& frontier) {
               return frontier_in(found_, frontier.first) < frontier.second;
           });
}

std::optional<Delivery::Loss> Delivery::resume() {
    established_ = ours(found_);
    wipe_ = !established_;
    barrier_written_ = established_ ? found_.barrier : 0;
    barrier_pushed_ = barrier_written_;
    if (!established_) {
        return Loss{Loss::Kind::everything, "Redis has nothing of this pipeline any more"};
    }
    if (!found_.replication.empty() && !replication_.empty() &&
        found_.replication != replication_) {
        return Loss{Loss::Kind::perhaps,
                    "Redis failed over or was restarted: another replication id"};
    }
    for (const auto& outgoing : outgoing_) {
        if (frontier_in(found_, outgoing->id) < outgoing->acknowledged) {
            return Loss{Loss::Kind::some, "Redis lost results of '" + outgoing->id + "'"};
        }
    }
    read_lanes(0, found_);
    return std::nullopt;
}

void Delivery::reset() {
    established_ = true;
    wipe_ = false;
    barrier_written_ = begin_.barrier;
    barrier_pushed_ = begin_.barrier;
    ControlHash written;
    written.present = true;
    written.lineage = lineage_;
    written.lanes = begin_.lanes;
    for (auto& outgoing : outgoing_) {
        outgoing->clear(outgoing->acknowledged);
        if (outgoing->acknowledged != model::kBeforeAll) {
            written.frontiers[outgoing->id] = outgoing->acknowledged;
        }
    }
    read_lanes(0, written);
}

// ---- Results

void Delivery::add(QueuedBatch batch) {
    barrier_pushed_ = std::max(barrier_pushed_, batch->barrier);
    Outgoing& outgoing = *outgoing_[batch->reduction];
    outgoing.add(std::move(batch));
}

bool Delivery::add_end(std::uint32_t reduction, model::EventTime end) {
    outgoing_[reduction]->add_end(end);
    return move_frontier(reduction);
}

bool Delivery::replication_due() const {
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

bool Delivery::control_due() const {
    return barrier_due() || replication_due() ||
           std::ranges::any_of(outgoing_, [this](const auto& o) { return frontier_due(*o); });
}

bool Delivery::may_send(int connection, model::BarrierNumber barrier) const {
    return connection == 0 || (established_ && barrier <= barrier_written_);
}

std::vector<std::string> Delivery::fields(int connection, Transaction& t) const {
    Fields fields;
    t.frontiers.clear();
    t.barrier_field.reset();
    t.establishes = false;
    t.replication = false;
    t.mark_lanes(outgoing_);
    if (t.resets) {
        fields.add(std::string(kLineageField), begin_.lineage, false);
        fields.add(std::string(kReplicationField), replication_, false);
        fields.add(std::string(kBarrierField), std::to_string(begin_.barrier), false);
        for (std::size_t r = 0; r < outgoing_.size(); ++r) {
            if (begin_.acknowledged[r] != model::kBeforeAll) {
                fields.add(frontier_field(outgoing_[r]->id), std::to_string(begin_.acknowledged[r]),
                           false);
            }
        }
        for (const auto& [id, lanes] : begin_.lanes) {
            for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
                if (lanes[lane]) {
                    fields.add(lane_field(id, static_cast<int>(lane)), encode_mark(*lanes[lane]),
                               false);
                }
            }
        }
        t.new_fields = std::numeric_limits<std::int64_t>::max();
        return std::move(fields.all);
    }
    if (connection == 0) {
        if (!established_) {
            t.establishes = true;
            fields.add(std::string(kLineageField), lineage_, false);
        }
        if (!established_ || replication_due()) {
            t.replication = true;
            fields.add(std::string(kReplicationField), replication_, established_);
        }
        if (barrier_due()) {
            t.barrier_field = std::max(barrier_pushed_, barrier_written_);
            fields.add(std::string(kBarrierField), std::to_string(*t.barrier_field), established_);
        }
        for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
            const Outgoing& outgoing = *outgoing_[r];
            if (frontier_due(outgoing)) {
                t.frontiers.push_back({r, outgoing.ready()});
                fields.add(frontier_field(outgoing.id), std::to_string(outgoing.ready()),
                           outgoing.frontier_exists);
            }
        }
    }
    for (const auto& mark : t.marks) {
        const Outgoing& outgoing = *outgoing_[mark.reduction];
        const auto& written = outgoing.lanes[static_cast<std::size_t>(mark.lane)].written;
        fields.add(lane_field(outgoing.id, mark.lane), encode_mark(mark.mark), written.has_value());
    }
    t.new_fields = fields.fresh;
    return std::move(fields.all);
}

void Delivery::written(const Transaction& t) {
    for (const auto& frontier : t.frontiers) {
        Outgoing& outgoing = *outgoing_[frontier.reduction];
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
}

bool Delivery::move_frontiers() {
    bool moved = false;
    for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
        moved |= move_frontier(r);
    }
    return moved;
}

bool Delivery::move_frontier(std::uint32_t reduction) {
    Outgoing& outgoing = *outgoing_[reduction];
    const model::EventTime ready = outgoing.advance();
    // Acknowledged is what Redis says so itself; a restore from an older checkpoint finds a
    // frontier that is ahead.
    const model::EventTime to = std::min(ready, outgoing.frontier_written);
    if (to <= outgoing.acknowledged) {
        return false;
    }
    outgoing.acknowledged = to;
    return true;
}

std::vector<model::EventTime> Delivery::acknowledged() const {
    std::vector<model::EventTime> frontiers;
    for (const auto& outgoing : outgoing_) {
        frontiers.push_back(outgoing->acknowledged);
    }
    return frontiers;
}

// ---- Looking again

std::optional<Delivery::Loss> Delivery::look(int connection, const ControlHash& control,
                                             const std::string& replication,
                                             bool established_when_asked) {
    auto loss = compare(connection, control, replication, established_when_asked);
    if (loss) {
        return loss;
    }
    if (connection == 0 && control.present) {
        // The reply to the transaction that wrote it may have been lost.
        established_ = true;
        wipe_ = false;
        barrier_written_ = control.barrier;
    }
    read_lanes(connection, control);
    return std::nullopt;
}

std::optional<Delivery::Loss> Delivery::compare(int connection, const ControlHash& control,
                                                const std::string& replication,
                                                bool established_when_asked) const {
    if (established_when_asked && !control.present) {
        return Loss{Loss::Kind::everything, "Redis lost the control hash"};
    }
    const bool foreign = control.present && control.lineage != lineage_;
    if (foreign && (established_when_asked || connection == 0)) {
        return Loss{Loss::Kind::everything, "Redis came back with the state of another lineage"};
    }
    if (!replication.empty() && !replication_.empty() && replication != replication_) {
        return Loss{Loss::Kind::perhaps,
                    "Redis failed over or was restarted: another replication id"};
    }
    for (const auto& outgoing : outgoing_) {
        for (std::size_t lane = 0; lane < model::kLanes; ++lane) {
            const auto& written = outgoing->lanes[lane].written;
            if (owns(connection, lane) && written &&
                mark_in(control, outgoing->id, lane) < written) {
                return Loss{Loss::Kind::some, "Redis lost results of '" + outgoing->id + "'"};
            }
        }
        if (connection == 0 && outgoing->frontier_exists &&
            frontier_in(control, outgoing->id) < outgoing->frontier_written) {
            return Loss{Loss::Kind::some, "Redis lost the frontier of '" + outgoing->id + "'"};
        }
    }
    return std::nullopt;
}

// The lanes of `connection` go on from where Redis has them; the control connection does so for
// what it writes as well.
void Delivery::read_lanes(int connection, const ControlHash& control) {
    const bool is_ours = ours(control);
    for (auto& outgoing : outgoing_) {
        for (std::size_t i = 0; i < model::kLanes; ++i) {
            Lane& lane = outgoing->lanes[i];
            auto found = is_ours ? mark_in(control, outgoing->id, i) : std::nullopt;
            if (!owns(connection, i)) {
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
        if (connection == 0) {
            read_frontier(*outgoing, control, is_ours);
        }
    }
}

std::vector<model::EventTime> Delivery::lose(Loss::Kind kind, int connection,
                                             const ControlHash& control,
                                             const std::string& replication) {
    if (!ours(control)) {
        kind = Loss::Kind::everything;  // also where we had not yet written the hash ourselves
    }
    if (kind == Loss::Kind::perhaps) {
        resent_.resize(outgoing_.size(), model::kBeforeAll);
    } else if (kind == Loss::Kind::everything) {
        resent_.clear();
    }
    established_ = kind != Loss::Kind::everything;
    wipe_ = !established_;
    barrier_written_ = established_ ? control.barrier : 0;
    std::vector<model::EventTime> again;
    for (std::uint32_t r = 0; r < outgoing_.size(); ++r) {
        Outgoing& outgoing = *outgoing_[r];
        model::EventTime from = model::kBeforeAll;
        if (kind == Loss::Kind::some) {
            from = std::min(outgoing.acknowledged, frontier_in(control, outgoing.id));
        }
        if (kind == Loss::Kind::perhaps) {
            resent_[r] = std::max(resent_[r], outgoing.acknowledged);
        }
        again.push_back(from);
        outgoing.acknowledged = from;
        outgoing.clear(from);
        // A server that may have lost single writes cannot be believed about its marks, but
        // sending twice is worse where it counts.
        outgoing.skip_found = kind != Loss::Kind::perhaps || !outgoing.idempotent;
        read_frontier(outgoing, control, established_);
    }
    if (!replication.empty()) {
        replication_ = replication;
    }
    read_lanes(connection, established_ ? control : ControlHash{});
    return again;
}

}  // namespace sluice::sinks
