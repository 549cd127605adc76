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

void append_number(std::string& to, std::int64_t number) {
    char bytes[24];
    const auto end = std::to_chars(bytes, bytes + sizeof bytes, number).ptr;
    to.append(bytes, static_cast<std::size_t>(end - bytes));
}

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

}  // namespace

Renderer::Renderer(const ReductionOutput& output, std::string_view pipeline)
    : relative_ttl_(output.ttl_from == config::TtlFrom::write),
      has_ttl_(output.ttl_ms.has_value()),
      ttl_ms_(output.ttl_ms.value_or(0)) {
    std::vector<config::Word> key_words;  // of each slot: a key that comes again expires once
    const auto literal = [this]() -> std::string& {
        if (parts_.empty() || !std::holds_alternative<std::string>(parts_.back())) {
            parts_.emplace_back(std::string());
        }
        return std::get<std::string>(parts_.back());
    };
    for (const auto& command : output.write) {
        RequestWriter(literal()).begin(command.words.size());
        for (std::size_t i = 0; i < command.words.size(); ++i) {
            const config::Word word = settle(command.words[i], output, pipeline);
            int slot = -1;
            const auto& keys = command.key_words;
            if (has_ttl_ && std::find(keys.begin(), keys.end(), i) != keys.end() &&
                std::find(key_words.begin(), key_words.end(), word) == key_words.end()) {
                slot = static_cast<int>(keys_.size());
                key_words.push_back(word);
                keys_.emplace_back();
            }
            if (word.size() == 1 && std::holds_alternative<std::string>(word[0])) {
                const auto& text = std::get<std::string>(word[0]);
                RequestWriter(literal()).argument(text);
                if (slot >= 0) {
                    keys_[static_cast<std::size_t>(slot)] = text;
                }
            } else {
                parts_.emplace_back(Dynamic{word, slot});
            }
        }
        ++commands_;
    }
    commands_ += keys_.size();
}

void Renderer::bind(const model::ResultBatch& batch) {
    if (batch.window == window_) {
        return;
    }
    window_ = batch.window;
    for (std::size_t i = 0; i < 2; ++i) {
        const model::EventTime time = i == 0 ? window_.start : window_.end;
        bounds_[i][0] = std::to_string(time);
        bounds_[i][1] = model::print_rfc3339(time);
        bounds_[i][2] = std::to_string(model::floor_div(time, 1000));
    }
    expiry_ = std::to_string(relative_ttl_ ? ttl_ms_ : model::saturating_add(window_.end, ttl_ms_));
}

void Renderer::append_piece(const config::Place& place, const model::ResultBatch& batch,
                            std::size_t row, std::string& to) {
    const auto text = [&](std::string_view bytes) {
        if (place.format == PlaceFormat::plain) {
            to.append(bytes);
        } else {
            append_encoded(to, bytes, place.format);
        }
    };
    switch (place.kind) {
        case PlaceKind::key_part:
            text(key_parts_[place.index]);
            break;
        case PlaceKind::value: {
            const model::Scalar value = batch.values[place.index].at(row);
            if (value.type == model::Type::text) {
                text(value.value.text.view());
            } else if (value.type == model::Type::integer) {
                append_number(to, value.value.integer);
            } else if (place.format == PlaceFormat::plain) {
                model::append_printed(to, value);
            } else {
                piece_.clear();
                model::append_printed(piece_, value);
                text(piece_);
            }
            break;
        }
        case PlaceKind::window_start:
        case PlaceKind::window_end: {
            const auto& bounds = bounds_[place.kind == PlaceKind::window_start ? 0 : 1];
            to.append(bounds[place.format == PlaceFormat::rfc3339   ? 1
                             : place.format == PlaceFormat::seconds ? 2
                                                                    : 0]);
            break;
        }
        case PlaceKind::final:
            to += batch.final ? '1' : '0';
            break;
        case PlaceKind::complete:
            to += batch.complete ? '1' : '0';
            break;
        case PlaceKind::rev:
            to += std::to_string(batch.rev[row]);
            break;
        case PlaceKind::pipeline:
        case PlaceKind::reduce:
            break;  // settled in the constructor
        case PlaceKind::share:
            break;  // a literal of the template
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
    RequestWriter writer(to);
    for (const auto& part : parts_) {
        if (const auto* bytes = std::get_if<std::string>(&part)) {
            writer.encoded(*bytes);
            continue;
        }
        const auto& dynamic = std::get<Dynamic>(part);
        scratch_.clear();
        for (const auto& piece : dynamic.word) {
            if (const auto* text = std::get_if<std::string>(&piece)) {
                scratch_.append(*text);
            } else {
                append_piece(std::get<config::Place>(piece), batch, row, scratch_);
            }
        }
        writer.argument(scratch_);
        if (dynamic.key_slot >= 0) {
            keys_[static_cast<std::size_t>(dynamic.key_slot)] = scratch_;
        }
    }
    for (const auto& key : keys_) {
        writer.begin(3);
        writer.argument(relative_ttl_ ? "PEXPIRE" : "PEXPIREAT");
        writer.argument(key);
        writer.argument(expiry_);
    }
}

}  // namespace sluice::sinks
