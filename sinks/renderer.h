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
    // Bytes of a request, or a word that has places.
    struct Dynamic {
        config::Word word;
        int key_slot = -1;  // where its text is kept for the expiry
    };
    using Part = std::variant<std::string, Dynamic>;

    void bind(const model::ResultBatch& batch);
    void append_piece(const config::Place& place, const model::ResultBatch& batch, std::size_t row,
                      std::string& to);

    std::vector<Part> parts_;
    std::size_t commands_ = 0;
    std::vector<std::string> keys_;  // literal ones once, the others of the current result
    bool relative_ttl_ = true;
    bool has_ttl_ = false;
    std::int64_t ttl_ms_ = 0;

    // Texts of the window that the last result belonged to.
    model::Window window_{1, 0};
    std::array<std::array<std::string, 3>, 2> bounds_;  // start, end; plain, rfc3339, seconds
    std::string expiry_;                                // last argument of PEXPIRE / PEXPIREAT
    std::vector<std::string_view> key_parts_;
    std::string scratch_;
    std::string piece_;
};

}  // namespace sluice::sinks
