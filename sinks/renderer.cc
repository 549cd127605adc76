#include "sinks/renderer.h"

#include <algorithm>
#include <charconv>
#include <cstring>

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

constexpr std::size_t kEncodedMost = 3;  // bytes that one may become

char* write_encoded(char* at, std::string_view text, PlaceFormat format) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (const char c : text) {
        const bool kept =
            format == PlaceFormat::percent_encoded ? unreserved(c) : c != ':' && c != '%';
        if (kept) {
            *at++ = c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            *at++ = '%';
            *at++ = kDigits[byte >> 4];
            *at++ = kDigits[byte & 15];
        }
    }
    return at;
}

inline char* write_bytes(char* at, const char* from, std::size_t size) {
    if (size > 0) {  // else `from` may be null
        std::memcpy(at, from, size);
    }
    return at + size;
}

inline char* write_text(char* at, std::string_view text, PlaceFormat format) {
    return format == PlaceFormat::plain ? write_bytes(at, text.data(), text.size())
                                        : write_encoded(at, text, format);
}

constexpr std::size_t kHeaderMost = 24;  // of an argument, with the line's end behind it

std::size_t digits_of(std::size_t number) {
    std::size_t digits = 1;
    for (; number >= 10; number /= 10) {
        ++digits;
    }
    return digits;
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
    for (const auto& part : parts_) {
        if (const auto* dynamic = std::get_if<Dynamic>(&part)) {
            count_room(*dynamic);
        }
    }
}

void Renderer::count_room(const Dynamic& dynamic) {
    const std::size_t times = dynamic.key_slot >= 0 ? 2 : 1;  // once more for its expiry
    room_ += times * kHeaderMost;
    for (const auto& piece : dynamic.word) {
        const auto* place = std::get_if<config::Place>(&piece);
        if (place == nullptr || !depends_on_row(*place)) {
            continue;  // of what is settled
        }
        const std::size_t growth = times * (place->format == PlaceFormat::plain ? 1 : kEncodedMost);
        if (place->kind == PlaceKind::key_part) {
            key_room_ += growth;
            continue;
        }
        room_ += growth * model::kPrintedMax;
        if (place->kind == PlaceKind::value) {
            values_.push_back({place->index, growth});
        }
    }
}

std::size_t Renderer::room(const model::ResultBatch& batch, std::size_t row) const {
    // What is settled stands once in a result, but for keys, twice.
    std::size_t room = room_ + 2 * settled_.size() + key_room_ * batch.key[row].size();
    for (const ValuePlace& value : values_) {
        const model::Column& column = batch.values[value.index];
        if (column.type[row] == model::Type::text) {
            room += value.growth * column.value[row].text.size;
        }
    }
    return room;
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

// A time of the window goes to the end of `to`, which is `settled_` or will be put behind it.
void Renderer::settle_time(Time::Kind kind, PlaceFormat format, std::string& to) {
    Time time{{to.size(), 0}, kind, format};
    to += print(time);
    time.text.size = to.size() - time.text.at;
    times_.push_back(time);
}

// Good until the next call.
std::string_view Renderer::print(const Time& time) {
    std::int64_t value = time.kind == Time::Kind::start ? window_.start : window_.end;
    if (time.kind == Time::Kind::expiry) {
        value = relative_ttl_ ? ttl_ms_ : model::saturating_add(value, ttl_ms_);
    } else if (time.format == PlaceFormat::rfc3339) {
        printed_ = model::print_rfc3339(value);
        return printed_;
    } else if (time.format == PlaceFormat::seconds) {
        value = model::floor_div(value, 1000);
    }
    printed_.resize(model::kPrintedMax);
    const char* const end =
        std::to_chars(printed_.data(), printed_.data() + printed_.size(), value).ptr;
    return std::string_view(printed_).substr(0, static_cast<std::size_t>(end - printed_.data()));
}

// Writes the window's times over those of the one before. False: some are longer or shorter.
bool Renderer::next_window() {
    for (const Time& time : times_) {
        const std::string_view text = print(time);
        if (text.size() != time.text.size) {
            return false;
        }
        std::memcpy(settled_.data() + time.text.at, text.data(), text.size());
    }
    return true;
}

void Renderer::bind(const model::ResultBatch& batch) {
    const bool same_kind = batch.final == final_ && batch.complete == complete_ && !steps_.empty();
    if (same_kind && batch.window == window_) [[likely]] {
        return;
    }
    window_ = batch.window;
    final_ = batch.final;
    complete_ = batch.complete;
    if (same_kind && next_window()) {
        return;
    }
    steps_.clear();
    pieces_.clear();
    times_.clear();
    settled_.clear();
    for (const auto& part : parts_) {
        if (const auto* bytes = std::get_if<std::string>(&part)) {
            settle_bytes([&](std::string& to) { to += *bytes; });
        } else {
            bind_word(std::get<Dynamic>(part));
        }
    }
    for (std::size_t slot = 0; slot < key_slots_; ++slot) {
        settle_bytes([&](std::string& to) {
            RequestWriter writer(to);
            writer.begin(3);
            writer.argument(relative_ttl_ ? "PEXPIRE" : "PEXPIREAT");
        });
        steps_.push_back({Step::Kind::again, {}, static_cast<int>(slot)});
        word_.clear();
        const std::size_t first_time = times_.size();
        settle_time(Time::Kind::expiry, PlaceFormat::plain, word_);
        settle_argument(first_time);
    }
}

// `word_` becomes an argument; the times in it are those from `first_time` on.
void Renderer::settle_argument(std::size_t first_time) {
    settle_bytes([&](std::string& to) { RequestWriter(to).argument(word_); });
    const std::size_t begin = settled_.size() - 2 - word_.size();
    for (std::size_t i = first_time; i < times_.size(); ++i) {
        times_[i].text.at += begin;
    }
}

// Literals and places of the window are settled now.
void Renderer::bind_word(const Dynamic& dynamic) {
    const std::size_t first = pieces_.size();
    const std::size_t first_time = times_.size();
    bool whole = dynamic.key_slot < 0;
    word_.clear();
    for (const auto& piece : dynamic.word) {
        const auto* place = std::get_if<config::Place>(&piece);
        if (place != nullptr && depends_on_row(*place)) {
            pieces_.push_back({{}, *place});
            whole = false;
            continue;
        }
        const std::size_t at = word_.size();
        if (place == nullptr) {
            word_ += std::get<std::string>(piece);
        } else {
            settle_place(*place);
        }
        const std::size_t size = word_.size() - at;
        if (pieces_.size() > first && pieces_.back().text.size > 0) {
            pieces_.back().text.size += size;
        } else if (size > 0) {
            pieces_.push_back({{settled_.size() + at, size}, {}});
        }
    }
    if (whole) {
        pieces_.resize(first);
        settle_argument(first_time);
        return;
    }
    steps_.push_back({Step::Kind::word, {first, pieces_.size() - first}, dynamic.key_slot});
    for (std::size_t i = first_time; i < times_.size(); ++i) {
        times_[i].text.at += settled_.size();
    }
    settled_ += word_;
}

// Appends what a place of the window is replaced by to `word_`.
void Renderer::settle_place(const config::Place& place) {
    switch (place.kind) {
        case PlaceKind::window_start:
            settle_time(Time::Kind::start, place.format, word_);
            break;
        case PlaceKind::window_end:
            settle_time(Time::Kind::end, place.format, word_);
            break;
        case PlaceKind::final:
            word_ += final_ ? '1' : '0';
            break;
        case PlaceKind::complete:
            word_ += complete_ ? '1' : '0';
            break;
        default:
            break;  // of a row, settled in the constructor, or a literal of the template
    }
}

void Renderer::split_key(std::string_view key) {
    key_parts_.clear();
    while (!key.empty()) {
        std::size_t size = 0;
        int shift = 0;
        while (!key.empty()) {
            const auto byte = static_cast<unsigned char>(key.front());
            key.remove_prefix(1);
            size |= static_cast<std::size_t>(byte & 0x7f) << shift;
            shift += 7;
            if (byte < 0x80) {
                break;
            }
        }
        INVARIANT(size <= key.size(), "keys of results are encoded parts");
        key_parts_.push_back(key.substr(0, size));
        key.remove_prefix(size);
    }
}

// What a place of a row is replaced by.
char* Renderer::write_piece(char* at, const config::Place& place, const model::ResultBatch& batch,
                            std::size_t row) const {
    if (place.kind == PlaceKind::key_part) {
        return write_text(at, key_parts_[place.index], place.format);
    }
    if (place.kind == PlaceKind::rev) {
        return std::to_chars(at, at + model::kPrintedMax, batch.rev[row]).ptr;
    }
    const model::Column& column = batch.values[place.index];
    switch (column.type[row]) {
        case model::Type::text:
            return write_text(at, column.value[row].text.view(), place.format);
        case model::Type::integer:
            return std::to_chars(at, at + model::kPrintedMax, column.value[row].integer).ptr;
        default: {
            char printed[model::kPrintedMax];
            const char* const end = model::print(printed, column.at(row));
            return write_text(at, {printed, static_cast<std::size_t>(end - printed)}, place.format);
        }
    }
}

// The length stands before the word: it is written where it ends if it has as many digits as the
// last time.
char* Renderer::write_word(char* at, Step& step, const model::ResultBatch& batch, std::size_t row) {
    const auto header = [](std::size_t digits) { return digits + 3; };
    char* word = at + header(step.digits);
    char* end = word;
    for (std::size_t i = step.span.at; i < step.span.end(); ++i) {
        const Piece& piece = pieces_[i];
        end = piece.text.size > 0
                  ? write_bytes(end, settled_.data() + piece.text.at, piece.text.size)
                  : write_piece(end, piece.place, batch, row);
    }
    auto size = static_cast<std::size_t>(end - word);
    if (const std::size_t digits = digits_of(size); digits != step.digits) [[unlikely]] {
        step.digits = digits;
        std::memmove(at + header(digits), word, size);
        end = at + header(digits) + size;
    }
    at[0] = '$';
    for (std::size_t i = step.digits; i > 0; --i, size /= 10) {
        at[i] = static_cast<char>('0' + size % 10);
    }
    write_bytes(at + step.digits + 1, "\r\n", 2);
    return write_bytes(end, "\r\n", 2);
}

char* Renderer::write(char* at, const model::ResultBatch& batch, std::size_t row) {
    for (Step& step : steps_) {
        const auto slot = static_cast<std::size_t>(step.key_slot);
        switch (step.kind) {
            case Step::Kind::bytes:
                at = write_bytes(at, settled_.data() + step.span.at, step.span.size);
                break;
            case Step::Kind::again:
                at = write_bytes(at, keys_[slot].at, keys_[slot].size);
                break;
            case Step::Kind::word: {
                char* const begin = at;
                at = write_word(at, step, batch, row);
                if (step.key_slot >= 0) {
                    keys_[slot] = {begin, static_cast<std::size_t>(at - begin)};
                }
                break;
            }
        }
    }
    return at;
}

void Renderer::render(const model::ResultBatch& batch, std::size_t row, std::string& to) {
    bind(batch);
    split_key(batch.key[row]);
    const std::size_t before = to.size();
    to.resize_and_overwrite(before + room(batch, row), [&](char* bytes, std::size_t) {
        return static_cast<std::size_t>(write(bytes + before, batch, row) - bytes);
    });
}

}  // namespace sluice::sinks
