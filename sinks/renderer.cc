#include "sinks/renderer.h"

#include <algorithm>
#include <charconv>

#include "sinks/resp.h"
#include "state/model/invariant.h"
#include "state/model/number.h"
#include "state/model/time.h"

namespace sluice::sinks {
namespace {

using config::PlaceFormat;
using config::PlaceKind;

bool unreserved(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

void append_encoded(std::string& to, std::string_view text, PlaceFormat format) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (const char c : text) {
        const bool kept =
            format == PlaceFormat::percent_encoded ? unreserved(c) : c != ':' && c != '%';
        if (kept) {
            to += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            to += '%';
            to += kDigits[byte >> 4];
            to += kDigits[byte & 15];
        }
    }
}

// Replaces the places that never change and joins neighbouring literals.
config::Word settle(const config::Word& word, const ReductionOutput& output,
                    std::string_view pipeline) {
    config::Word settled;
    const auto literal = [&settled](std::string_view text) {
        if (settled.empty() || !std::holds_alternative<std::string>(settled.back())) {
            settled.emplace_back(std::string());
        }
        std::get<std::string>(settled.back()) += text;
    };
    for (const auto& piece : word) {
        if (const auto* text = std::get_if<std::string>(&piece)) {
            literal(*text);
            continue;
        }
        const auto& place = std::get<config::Place>(piece);
        if (place.kind == PlaceKind::pipeline) {
            literal(pipeline);
        } else if (place.kind == PlaceKind::reduce) {
            literal(output.id);
        } else {
            settled.push_back(place);
        }
    }
    if (settled.empty()) {
        literal("");
    }
    return settled;
}

bool depends_on_row(const config::Place& place) {
    return place.kind == PlaceKind::key_part || place.kind == PlaceKind::value ||
           place.kind == PlaceKind::rev;
}

}  // namespace

Renderer::Renderer(const ReductionOutput& output, std::string_view pipeline)
    : relative_ttl_(output.ttl_from == config::TtlFrom::write), ttl_ms_(output.ttl_ms.value_or(0)) {
    std::vector<config::Word> key_words;  // of each slot: a key that comes again expires once
    for (const auto& command : output.write) {
        std::string begin;
        RequestWriter(begin).begin(command.words.size());
        parts_.emplace_back(std::move(begin));
        for (std::size_t i = 0; i < command.words.size(); ++i) {
            config::Word word = settle(command.words[i], output, pipeline);
            int slot = -1;
            const auto& keys = command.key_words;
            if (output.ttl_ms && std::find(keys.begin(), keys.end(), i) != keys.end() &&
                std::find(key_words.begin(), key_words.end(), word) == key_words.end()) {
                slot = static_cast<int>(key_words.size());
                key_words.push_back(word);
            }
            parts_.emplace_back(Dynamic{std::move(word), slot});
        }
        ++commands_;
    }
    key_slots_ = key_words.size();
    commands_ += key_slots_;
    keys_.resize(key_slots_);
}

// Appends bytes of a request to `settled_`, and to the step before where that is of bytes, too.
template <class Append>
void Renderer::settle_bytes(const Append& append) {
    const std::size_t at = settled_.size();
    append(settled_);
    if (!steps_.empty() && steps_.back().kind == Step::Kind::bytes &&
        steps_.back().span.end() == at) {
        steps_.back().span.size += settled_.size() - at;
    } else {
        steps_.push_back({Step::Kind::bytes, {at, settled_.size() - at}, -1});
    }
}

void Renderer::bind(const model::ResultBatch& batch) {
    if (batch.window == window_ && batch.final == final_ && batch.complete == complete_ &&
        !steps_.empty()) {
        return;
    }
    window_ = batch.window;
    final_ = batch.final;
    complete_ = batch.complete;
    steps_.clear();
    pieces_.clear();
    settled_.clear();
    for (const auto& part : parts_) {
        if (const auto* bytes = std::get_if<std::string>(&part)) {
            settle_bytes([&](std::string& to) { to += *bytes; });
        } else {
            bind_word(std::get<Dynamic>(part), batch);
        }
    }
    for (std::size_t slot = 0; slot < key_slots_; ++slot) {
        settle_bytes([&](std::string& to) {
            RequestWriter writer(to);
            writer.begin(3);
            writer.argument(relative_ttl_ ? "PEXPIRE" : "PEXPIREAT");
        });
        steps_.push_back({Step::Kind::again, {}, static_cast<int>(slot)});
        settle_bytes([&](std::string& to) {
            const auto when = relative_ttl_ ? ttl_ms_ : model::saturating_add(window_.end, ttl_ms_);
            RequestWriter(to).argument(std::to_string(when));
        });
    }
}

// Literals and places of the window are settled now.
void Renderer::bind_word(const Dynamic& dynamic, const model::ResultBatch& batch) {
    const std::size_t first = pieces_.size();
    const std::size_t begin = settled_.size();
    bool whole = true;
    for (const auto& piece : dynamic.word) {
        const auto* place = std::get_if<config::Place>(&piece);
        if (place != nullptr && depends_on_row(*place)) {
            pieces_.push_back({{}, *place});
            whole = false;
            continue;
        }
        const std::size_t at = settled_.size();
        if (place == nullptr) {
            settled_ += std::get<std::string>(piece);
        } else {
            append_fixed(*place, batch);
        }
        const std::size_t size = settled_.size() - at;
        if (pieces_.size() > first && pieces_.back().text.size > 0) {
            pieces_.back().text.size += size;
        } else if (size > 0) {
            pieces_.push_back({{at, size}, {}});
        }
    }
    if (!whole || dynamic.key_slot >= 0) {
        steps_.push_back({Step::Kind::word, {first, pieces_.size() - first}, dynamic.key_slot});
        return;
    }
    word_.assign(settled_, begin);
    pieces_.resize(first);
    settled_.resize(begin);
    settle_bytes([&](std::string& to) { RequestWriter(to).argument(word_); });
}

// Appends what a place of the window is replaced by to `settled_`.
void Renderer::append_fixed(const config::Place& place, const model::ResultBatch& batch) {
    switch (place.kind) {
        case PlaceKind::window_start:
        case PlaceKind::window_end: {
            const model::EventTime time =
                place.kind == PlaceKind::window_start ? window_.start : window_.end;
            if (place.format == PlaceFormat::rfc3339) {
                settled_ += model::print_rfc3339(time);
            } else {
                settled_ += std::to_string(
                    place.format == PlaceFormat::seconds ? model::floor_div(time, 1000) : time);
            }
            break;
        }
        case PlaceKind::final:
            settled_ += batch.final ? '1' : '0';
            break;
        case PlaceKind::complete:
            settled_ += batch.complete ? '1' : '0';
            break;
        default:
            break;  // of a row, settled in the constructor, or a literal of the template
    }
}

// Appends what a place of a row is replaced by to `word_`.
void Renderer::append_piece(const config::Place& place, const model::ResultBatch& batch,
                            std::size_t row) {
    const auto text = [&](std::string_view bytes) {
        if (place.format == PlaceFormat::plain) {
            word_.append(bytes);
        } else {
            append_encoded(word_, bytes, place.format);
        }
    };
    if (place.kind == PlaceKind::key_part) {
        text(key_parts_[place.index]);
        return;
    }
    if (place.kind == PlaceKind::rev) {
        word_ += std::to_string(batch.rev[row]);
        return;
    }
    const model::Column& column = batch.values[place.index];
    if (column.type[row] == model::Type::text) {
        text(column.value[row].text.view());
    } else if (column.type[row] == model::Type::integer) {
        char bytes[24];
        const auto end = std::to_chars(bytes, bytes + sizeof bytes, column.value[row].integer).ptr;
        word_.append(bytes, static_cast<std::size_t>(end - bytes));
    } else {
        printed_.clear();
        model::append_printed(printed_, column.at(row));
        text(printed_);
    }
}

void Renderer::render(const model::ResultBatch& batch, std::size_t row, std::string& to) {
    bind(batch);
    key_parts_.clear();
    std::string_view rest = batch.key[row];
    while (!rest.empty()) {
        std::size_t size = 0;
        int shift = 0;
        while (!rest.empty()) {
            const auto byte = static_cast<unsigned char>(rest.front());
            rest.remove_prefix(1);
            size |= static_cast<std::size_t>(byte & 0x7f) << shift;
            shift += 7;
            if (byte < 0x80) {
                break;
            }
        }
        INVARIANT(size <= rest.size(), "keys of results are encoded parts");
        key_parts_.push_back(rest.substr(0, size));
        rest.remove_prefix(size);
    }
    for (const Step& step : steps_) {
        if (step.kind == Step::Kind::bytes) {
            to.append(settled_, step.span.at, step.span.size);
            continue;
        }
        const auto slot = static_cast<std::size_t>(step.key_slot);
        if (step.kind == Step::Kind::again) {
            to.append(to, keys_[slot].at, keys_[slot].size);
            continue;
        }
        word_.clear();
        for (std::size_t i = step.span.at; i < step.span.end(); ++i) {
            const Piece& piece = pieces_[i];
            if (piece.text.size > 0) {
                word_.append(settled_, piece.text.at, piece.text.size);
            } else {
                append_piece(piece.place, batch, row);
            }
        }
        const std::size_t at = to.size();
        RequestWriter(to).argument(word_);
        if (step.key_slot >= 0) {
            keys_[slot] = {at, to.size() - at};
        }
    }
}

}  // namespace sluice::sinks
