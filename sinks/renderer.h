// Turns results into the bytes of their Redis commands.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sinks/redis_sink.h"
#include "state/model/result_batch.h"

namespace sluice::sinks {

// The templates of one reduction, with all that does not depend on the result already encoded.
// Thread: the sink's.
class Renderer {
 public:
    // Copies what it needs.
    Renderer(const ReductionOutput& output, std::string_view pipeline);

    // Commands per result, expiry included.
    std::size_t commands() const { return commands_; }
    // Appends the commands of one result to `to`. The bytes depend on the result and on the
    // templates only.
    void render(const model::ResultBatch& batch, std::size_t row, std::string& to);

 private:
    // Bytes of a request, a word that has places, or a key's word once more, for its expiry.
    struct Dynamic {
        config::Word word;
        int key_slot = -1;  // of the keys that expire
    };
    using Part = std::variant<std::string, Dynamic>;

    // What the results of one window share is settled once for a few of them: the lanes bring
    // results of one window a handful at a time. So it is all offsets into memory that is reused,
    // and the next window writes its times over those of the one before.
    struct Span {
        std::size_t at = 0;
        std::size_t size = 0;
        std::size_t end() const { return at + size; }
    };
    struct Piece {  // of a word
        Span text;  // settled, in `settled_`; empty: a place
        config::Place place;
    };
    struct Step {
        enum class Kind : std::uint8_t { bytes, word, again };
        Kind kind = Kind::bytes;
        Span span;          // bytes: of a request, in `settled_`; word: its pieces, in `pieces_`
        int key_slot = -1;  // again: whose; word: which it fills
        std::size_t digits = 2;  // word: how many its length had the last time
    };
    // A time of the window, in `settled_`.
    struct Time {
        enum class Kind : std::uint8_t { start, end, expiry };
        Span text;
        Kind kind = Kind::start;
        config::PlaceFormat format = config::PlaceFormat::plain;
    };
    // A value of the row, and how many bytes one of its own may become.
    struct ValuePlace {
        std::size_t index = 0;
        std::size_t growth = 1;
    };

    void count_room(const Dynamic& dynamic);
    std::size_t room(const model::ResultBatch& batch, std::size_t row) const;
    void bind(const model::ResultBatch& batch);
    bool next_window();
    void bind_word(const Dynamic& dynamic);
    template <class Append>
    void settle_bytes(const Append& append);
    void settle_time(Time::Kind kind, config::PlaceFormat format, std::string& to);
    void settle_argument(std::size_t first_time);
    void settle_place(const config::Place& place);
    std::string_view print(const Time& time);
    void split_key(std::string_view key);
    char* write(char* at, const model::ResultBatch& batch, std::size_t row);
    char* write_word(char* at, Step& step, const model::ResultBatch& batch, std::size_t row);
    char* write_piece(char* at, const config::Place& place, const model::ResultBatch& batch,
                      std::size_t row) const;

    std::vector<Part> parts_;
    std::size_t commands_ = 0;
    std::size_t key_slots_ = 0;
    bool relative_ttl_ = true;
    std::int64_t ttl_ms_ = 0;
    // Bounds of a result's length: of what does not depend on texts of the row, and how often each
    // byte of the key may stand in it.
    std::size_t room_ = 0;
    std::size_t key_room_ = 0;
    std::vector<ValuePlace> values_;

    // For the results of one window.
    model::Window window_{1, 0};
    bool final_ = false;
    bool complete_ = false;
    std::vector<Step> steps_;
    std::vector<Piece> pieces_;
    std::vector<Time> times_;
    std::string settled_;

    // Of one result.
    struct Written {
        const char* at = nullptr;
        std::size_t size = 0;
    };
    std::vector<Written> keys_;  // the keys' words in the output, by slot
    std::vector<std::string_view> key_parts_;
    std::string word_;
    std::string printed_;
};

}  // namespace sluice::sinks
