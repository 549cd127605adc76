#include "sinks/exchange.h"

#include <string_view>

namespace sluice::sinks {
namespace {

constexpr std::size_t kReceiveBytes = 64 << 10;

}  // namespace

void Exchange::connect() {
    transport_->connect();
    reader_.reset();
    out_.clear();
    sent_ = 0;
    opening_ = true;
    extend_deadline();
}

RequestWriter Exchange::request() {
    out_.clear();
    return RequestWriter(out_);
}

void Exchange::send(std::size_t replies) {
    opening_ = false;
    expected_ = replies;
    taken_ = 0;
    sent_ = transport_->send(out_);
    extend_deadline();
}

bool Exchange::move() {
    bool moved = false;
    if (!all_sent()) {
        const std::size_t sent = transport_->send(std::string_view(out_).substr(sent_));
        sent_ += sent;
        moved = sent > 0;
    }
    in_.clear();
    if (transport_->receive(in_, kReceiveBytes) > 0) {
        moved = true;
        extend_deadline();
        reader_.feed(in_);
    }
    return moved;
}

model::Result<const Reply*> Exchange::next() {
    auto reply = reader_.next();
    if (reply && *reply != nullptr && ++taken_ == expected_) {
        last_used_ = clock_.steady_ms();
    }
    return reply;
}

std::optional<std::string> Exchange::broken(const char* what) {
    if (transport_->state() == Transport::State::closed) {
        return transport_->error();
    }
    if (clock_.steady_ms() >= deadline_) {
        return std::string(what) + " (no answer within " + std::to_string(reply_timeout_ms_) +
               " ms)";
    }
    return std::nullopt;
}

std::optional<std::string> Exchange::broken_while_idle() {
    in_.clear();
    if (transport_->receive(in_, kReceiveBytes) > 0) {
        return "a reply that nobody asked for";
    }
    if (transport_->state() != Transport::State::open) {
        return transport_->error();
    }
    return std::nullopt;
}

}  // namespace sluice::sinks
