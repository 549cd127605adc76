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

    void bind(const model::ResultBatch& batch);
    void append_fixed(const config::Place& place, const model::ResultBatch& batch,
                      std::string& to) const;
    void append_piece(const config::Place& place, const model::ResultBatch& batch, std::size_t row);

    std::vector<Part> parts_;
    std::size_t commands_ = 0;
    std::size_t key_slots_ = 0;
    bool relative_ttl_ = true;
    std::int64_t ttl_ms_ = 0;

    // The same for the results of one window: what depends on nothing else is settled.
    model::Window window_{1, 0};
    bool final_ = false;
    bool complete_ = false;
    std::vector<Part> bound_;

    // Of one result.
    struct Span {
        std::size_t at;
        std::size_t size;
    };
    std::vector<Span> keys_;  // where in the output the keys' words are, by slot
    std::vector<std::string_view> key_parts_;
    std::string word_;
    std::string printed_;
};

}  // namespace sluice::sinks
