#include "ingest/document_shape.h"

#include <simdjson.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <bit>
#include <cstring>

#include "state/model/invariant.h"

namespace sluice::ingest {

namespace {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline bool is_of_number(char c) {
    return is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

inline std::uint64_t word_at(const char* at) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
}

// Looks at a document 64 bytes at a time. Keeps what must not be in it: what a text cannot hold as
// it is (backslashes, control characters), and what is beyond ASCII.
#ifdef __SSE2__
class Look {
 public:
    // A bit per byte at `at`: the quotes.
    std::uint64_t quotes(const char* at) {
        return quotes16(at) | quotes16(at + 16) << 16 | quotes16(at + 32) << 32 |
               quotes16(at + 48) << 48;
    }
    bool special() const { return _mm_movemask_epi8(special_) != 0; }
    bool high() const { return _mm_movemask_epi8(all_) != 0; }

 private:
    std::uint64_t quotes16(const char* at) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
        const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
        const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        special_ = _mm_or_si128(special_, _mm_or_si128(backslash, control));
        all_ = _mm_or_si128(all_, bytes);
        const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
        return static_cast<std::uint32_t>(_mm_movemask_epi8(quote));
    }
    __m128i special_ = _mm_setzero_si128();
    __m128i all_ = _mm_setzero_si128();
};
#else
class Look {
 public:
    std::uint64_t quotes(const char* at) {
        std::uint64_t found = 0;
        for (int i = 0; i < 64; ++i) {
            const auto byte = static_cast<unsigned char>(at[i]);
            found |= std::uint64_t{byte == '"'} << i;
            special_ = special_ || byte == '\\' || byte < 0x20;
            high_ = high_ || byte >= 0x80;
        }
        return found;
    }
    bool special() const { return special_; }
    bool high() const { return high_; }

 private:
    bool special_ = false;
    bool high_ = false;
};
#endif

}  // namespace

bool is_json_number(std::string_view t) {
    const char* at = t.data();
    const char* const end = at + t.size();
    if (at != end && *at == '-') {
        ++at;
    }
    if (at == end || !is_digit(*at)) {
        return false;
    }
    if (*at == '0') {
        ++at;
    } else {
        while (at != end && is_digit(*at)) {
            ++at;
        }
    }
    if (at != end && *at == '.') {
        ++at;
        if (at == end || !is_digit(*at)) {
            return false;
        }
        while (at != end && is_digit(*at)) {
            ++at;
        }
    }
    if (at != end && (*at == 'e' || *at == 'E')) {
        ++at;
        if (at != end && (*at == '+' || *at == '-')) {
            ++at;
        }
        if (at == end || !is_digit(*at)) {
            return false;
        }
        while (at != end && is_digit(*at)) {
            ++at;
        }
    }
    return at == end;
}

namespace {

// Behind the number or the literal that begins at `at`; null: there is none.
const char* scalar_end(const char* at, const char* end) {
    const auto word = [&](std::string_view expected) {
        const bool there =
            std::string_view(at, static_cast<std::size_t>(end - at)).starts_with(expected);
        return there ? at + expected.size() : nullptr;
    };
    switch (at == end ? '\0' : *at) {
        case 't':
            return word("true");
        case 'f':
            return word("false");
        case 'n':
            return word("null");
        default:
            break;
    }
    const char* const begin = at;
    while (at != end && is_of_number(*at)) {
        ++at;
    }
    return is_json_number({begin, at}) ? at : nullptr;
}

}  // namespace

DocumentShape::DocumentShape(std::string_view document, std::span<const Value> values) {
    const char* at = document.data();
    for (const Value& value : values) {
        add_gap({at, value.token.data()}, value.wanted);
        at = value.token.data() + value.token.size();
    }
    add_gap({at, document.data() + document.size()}, false);
}

void DocumentShape::add_gap(std::string_view bytes, bool wanted) {
    Gap gap{static_cast<std::uint32_t>(chunks_.size()), 0, static_cast<std::uint32_t>(bytes.size()),
            wanted};
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Chunk::bytes), ++gap.chunks) {
        const std::size_t size = std::min(bytes.size() - at, sizeof(Chunk::bytes));
        Chunk chunk{};
        std::memcpy(chunk.bytes.data(), bytes.data() + at, size);
        std::memset(chunk.mask.data(), 0xff, size);
        chunks_.push_back(chunk);
    }
    gaps_.push_back(gap);
}

inline bool DocumentShape::is_at(const Gap& gap, const char* at) const {
    const Chunk* chunk = chunks_.data() + gap.first_chunk;
    for (const Chunk* const end = chunk + gap.chunks; chunk != end; ++chunk) {
        const std::uint64_t low = (word_at(at) ^ chunk->bytes[0]) & chunk->mask[0];
        const std::uint64_t high = (word_at(at + 8) ^ chunk->bytes[1]) & chunk->mask[1];
        if ((low | high) != 0) {
            return false;
        }
        at += sizeof(Chunk::bytes);
    }
    return true;
}

bool DocumentShape::fits(std::string_view document, Scan& scan) const {
    const char* const begin = document.data();
    const char* const end = begin + document.size();
    const std::size_t blocks = document.size() / 64 + 1;
    scan.quotes.resize(blocks + 1);
    Look look;
    for (std::size_t i = 0; i < blocks; ++i) {
        scan.quotes[i] = look.quotes(begin + 64 * i);
    }
    if (look.special()) {
        return false;
    }
    scan.quotes[blocks] = 1;  // behind the end: whoever looks for one finds one
    const char* const quotes = reinterpret_cast<const char*>(scan.quotes.data());
    // The first quote from `at` on, which is not behind `end`.
    const auto find_quote = [&](const char* at) {
        auto bit = static_cast<std::size_t>(at - begin);
        for (;; bit += 57 - bit % 8) {
            if (const std::uint64_t next = word_at(quotes + bit / 8) >> (bit % 8)) {
                return begin + bit + std::countr_zero(next);
            }
        }
    };

    scan.wanted.clear();
    const char* at = begin;
    for (std::size_t i = 0;; ++i) {
        const Gap& gap = gaps_[i];
        if (end - at < static_cast<std::ptrdiff_t>(gap.size) || !is_at(gap, at)) {
            return false;
        }
        at += gap.size;
        if (i + 1 == gaps_.size()) {
            break;
        }
        const char* const token = at;
        if (*at == '"') {
            at = find_quote(at + 1) + 1;
        } else {
            at = scalar_end(at, end);
            if (at == nullptr) {
                return false;
            }
        }
        if (gap.wanted) {
            scan.wanted.emplace_back(token, at);
        }
    }
    return at == end && (!look.high() || simdjson::validate_utf8(document));
}

}  // namespace sluice::ingest
