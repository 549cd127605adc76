// The layout of JSON documents that come from one producer: names, their order, brackets and blanks
// are the same in all of them, only the values differ.
//
// A shape is learned from a document that was decoded in full. Another document fits if every byte
// between its values equals the learned one and every value is a well-formed scalar; then its
// structure is the learned document's, and nothing about it is guessed. That costs a fraction of a
// parser's walk. A document that does not fit is nobody's error: it goes to the parser.
//
// A value may change its type (text, number, boolean, null) and its length, not more. A text with
// an escape in it never fits.
//
// Thread: a value; any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::ingest {

// Whether the text is a number as JSON spells them.
bool is_json_number(std::string_view text);

class DocumentShape {
 public:
    // Bytes that must be readable behind a document.
    static constexpr std::size_t kPadding = 64;

    // A scalar of the document: a text with its quotes, a number, `true`, `false` or `null`.
    struct Value {
        std::string_view token;
        bool wanted;
    };

    // `values`: all scalars that are no names of members, as views into `document`, ascending.
    // `document` is valid JSON without a backslash.
    DocumentShape(std::string_view document, std::span<const Value> values);

    struct Scan {
        std::vector<std::string_view> wanted;
        std::vector<std::uint64_t> quotes;  // a bit per byte of the document
    };
    // True if `document` fits. `scan.wanted` then holds the tokens of the wanted values, in order,
    // as views into `document`; else anything.
    bool fits(std::string_view document, Scan& scan) const;

 private:
    // The bytes before a value, or behind the last one.
    struct Gap {
        std::uint32_t first_chunk;
        std::uint32_t chunks;
        std::uint32_t size;
        bool wanted;  // the value behind it
    };
    struct Chunk {  // of a gap: 16 bytes, and which of them count
        std::array<std::uint64_t, 2> bytes;
        std::array<std::uint64_t, 2> mask;
    };
    void add_gap(std::string_view bytes, bool wanted);
    bool is_at(const Gap& gap, const char* at) const;

    std::vector<Gap> gaps_;
    std::vector<Chunk> chunks_;
};

}  // namespace sluice::ingest
