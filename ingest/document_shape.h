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
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::ingest {

// Whether the text is a number as JSON spells them.
bool is_json_number(std::string_view text);

// A document, a copy of it with blanks behind, and what one look at all of its bytes tells.
//
// Whoever reads soon after the look reads what was there before: bytes that were stored a moment
// ago cannot be loaded at any place and size without waiting for the store.
//
// Life:    take(), then the rest, and again: memory is reused. What take() was given must stay
// until
//          the last call of view() and bytes(); the copy stays until the next take().
// Thread:  one.
class ScannedDocument {
 public:
    static constexpr std::size_t kReadable = 32;  // bytes behind a view

    // `padding`: how many bytes behind the copy must be readable; they are blanks.
    explicit ScannedDocument(std::size_t padding) : padding_(padding) {}

    void take(std::string_view document);

    std::string_view copy() const { return {copy_.data(), size_}; }
    std::size_t readable() const { return copy_.size(); }  // from the copy's beginning on

    // What stands from `at` up to `end`; kReadable bytes behind it are readable.
    std::string_view view(std::size_t at, std::size_t end) const {
        return {(end + kReadable <= size_ ? source_ : copy_.data()) + at, end - at};
    }
    const char* bytes(std::size_t at) const { return view(at, at).data(); }
    std::size_t size() const { return size_; }
    // Holds a backslash or a control character, which no text in it can as it is.
    bool special() const { return special_; }
    bool ascii() const { return !high_; }
    // Where the number-th quote is, from 0; at or behind the end: there are not so many. At most
    // one more may be asked for than there are.
    std::size_t quote(std::size_t number) const { return quotes_[number]; }
    std::size_t quotes() const { return quote_count_; }

 private:
    const std::size_t padding_;
    const char* source_ = nullptr;
    std::size_t size_ = 0;
    std::string copy_;                   // may be longer
    std::vector<std::uint32_t> quotes_;  // where they are, and one behind the end
    std::size_t quote_count_ = 0;
    bool special_ = false;
    bool high_ = false;
};

// Thread: a value; any.
class DocumentShape {
 public:
    // A scalar of the document: a text with its quotes, a number, `true`, `false` or `null`.
    struct Value {
        std::string_view token;
        bool wanted;
    };

    // `values`: all scalars that are no names of members, as views into `document`, ascending.
    // `document` is valid JSON without a backslash.
    DocumentShape(std::string_view document, std::span<const Value> values);

    // True if `document` fits. `wanted` then holds the tokens of the wanted values, in order, as
    // its views; else anything.
    bool fits(const ScannedDocument& document, std::vector<std::string_view>& wanted) const;

 private:
    // The bytes before a value, or behind the last one.
    struct Gap {
        std::uint32_t first_chunk;
        std::uint32_t chunks;
        std::uint32_t size;
        std::uint32_t quotes;
        bool wanted;  // the value behind it
    };
    struct alignas(16) Chunk {  // of a gap: 16 bytes, and all bits set of those that do not count
        std::array<std::uint64_t, 2> bytes;
        std::array<std::uint64_t, 2> ignored;
    };
    // The same where every value is a text and no gap is long, which is usual enough to be asked
    // first. The opening quote of the value behind it belongs to the gap.
    struct TextGap {
        std::array<Chunk, 2> chunks;
        std::uint32_t size;
        std::uint32_t quotes;
        bool wanted;
    };
    static Chunk chunk_of(std::string_view bytes);
    void add_gap(std::string_view bytes, bool wanted);
    static bool is_at(const Chunk& chunk, const char* at);
    static bool is_at(const TextGap& gap, const char* at);
    bool is_at(const Gap& gap, const ScannedDocument& document, std::size_t at) const;
    void learn_texts(std::string_view document, std::span<const Value> values);
    bool fits_texts(const ScannedDocument& document, std::string_view* wanted) const;
    bool fits_any(const ScannedDocument& document, std::string_view* wanted) const;

    std::vector<TextGap> texts_;   // empty: they are not so
    std::size_t text_quotes_ = 0;  // in all of a document
    std::vector<Gap> gaps_;
    std::vector<Chunk> chunks_;
    std::size_t wanted_ = 0;  // values
};

}  // namespace sluice::ingest
