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
    struct Again {
        std::size_t key_slot;
    };
    using Part = std::variant<std::string, Dynamic, Again>;

    // What the results of one window share is settled once for a few of them: the lanes bring
    // results of one window a handful at a time. So it is all offsets into memory that is reused.
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
    };

    void bind(const model::ResultBatch& batch);
    void bind_word(const Dynamic& dynamic, const model::ResultBatch& batch);
    template <class Append>
    void settle_bytes(const Append& append);
    void append_fixed(const config::Place& place, const model::ResultBatch& batch);
    void append_piece(const config::Place& place, const model::ResultBatch& batch, std::size_t row);

    std::vector<Part> parts_;
    std::size_t commands_ = 0;
    std::size_t key_slots_ = 0;
    bool relative_ttl_ = true;
    std::int64_t ttl_ms_ = 0;

    // For the results of one window.
    model::Window window_{1, 0};
    bool final_ = false;
    bool complete_ = false;
    std::vector<Step> steps_;
    std::vector<Piece> pieces_;
    std::string settled_;

    // Of one result.
    std::vector<Span> keys_;  // where in the output the keys' words are, by slot
    std::vector<std::string_view> key_parts_;
    std::string word_;
    std::string printed_;
};

}  // namespace sluice::sinks
