#include "ingest/document_shape.h"

#include <simdjson.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "state/model/ascii.h"

namespace sluice::ingest {

namespace {

inline bool is_of_number(char c) {
    return model::is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

constexpr std::size_t kBlock = 64;  // bytes of a document that are looked at together

// What a look finds besides the places of quotes.
struct Found {
    std::size_t quotes = 0;  // how many
    bool special = false;    // what a text cannot hold as it is: backslashes, control characters
    bool high = false;       // beyond ASCII
};

// Copies `size` bytes and then blanks, up to the end of a block, and lists the quotes. More places
// than there are quotes may be written: kSpare.
using Look = Found (*)(const char* from, std::size_t size, char* to, std::uint32_t* quotes);
constexpr std::size_t kSpare = 16;
constexpr std::size_t kAtOnce = 8;
static_assert(kAtOnce <= kSpare);

// Appends the places of the set bits. Most blocks have up to eight: written without asking how
// many, because that cannot be foretold.
[[gnu::always_inline]] inline void list_bits(std::uint64_t bits, std::size_t base,
                                             std::uint32_t* quotes, std::size_t& count) {
    const auto all = static_cast<std::size_t>(std::popcount(bits));
    std::uint32_t* to = quotes + count;
    std::size_t listed = 0;
    do {
        for (std::size_t i = 0; i < kAtOnce; ++i) {
            to[i] =
                static_cast<std::uint32_t>(base + static_cast<std::size_t>(std::countr_zero(bits)));
            bits &= bits - 1;
        }
        to += kAtOnce;
        listed += kAtOnce;
    } while (listed < all);
    count += all;
}

void copy_with_blanks(const char* from, std::size_t size, char* to) {
    std::memset(to + size / kBlock * kBlock, ' ', kBlock);
    std::memcpy(to, from, size);
}

#ifdef __SSE2__
Found look_by_16(const char* from, std::size_t size, char* to, std::uint32_t* quotes) {
    copy_with_blanks(from, size, to);
    Found found;
    __m128i special = _mm_setzero_si128();
    __m128i all = _mm_setzero_si128();
    for (std::size_t block = 0; block <= size; block += kBlock) {
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < kBlock; i += 16) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(to + block + i));
            const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
            const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            special = _mm_or_si128(special, _mm_or_si128(backslash, control));
            all = _mm_or_si128(all, bytes);
            const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
            bits |= std::uint64_t{static_cast<std::uint32_t>(_mm_movemask_epi8(quote))} << i;
        }
        list_bits(bits, block, quotes, found.quotes);
    }
    found.special = _mm_movemask_epi8(special) != 0;
    found.high = _mm_movemask_epi8(all) != 0;
    return found;
}

__attribute__((target("avx2,bmi,popcnt"))) Found look_by_32(const char* from, std::size_t size,
                                                            char* to, std::uint32_t* quotes) {
    copy_with_blanks(from, size, to);
    Found found;
    __m256i special = _mm256_setzero_si256();
    __m256i all = _mm256_setzero_si256();
    for (std::size_t block = 0; block <= size; block += kBlock) {
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < kBlock; i += 32) {
            const __m256i bytes =
                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(to + block + i));
            const __m256i backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\\'));
            const __m256i control =
                _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
            special = _mm256_or_si256(special, _mm256_or_si256(backslash, control));
            all = _mm256_or_si256(all, bytes);
            const __m256i quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('"'));
            bits |= std::uint64_t{static_cast<std::uint32_t>(_mm256_movemask_epi8(quote))} << i;
        }
        list_bits(bits, block, quotes, found.quotes);
    }
    found.special = _mm256_movemask_epi8(special) != 0;
    found.high = _mm256_movemask_epi8(all) != 0;
    return found;
}

#define SLUICE_BY_64 __attribute__((target("avx512f,avx512bw,avx512vbmi2,bmi,popcnt")))

// The same: the numbers of the set bits move together. (The forms with a mask, because GCC 12 takes
// what the others leave open for a fault.)
SLUICE_BY_64 inline void list_bits_by_64(std::uint64_t bits, std::size_t base,
                                         std::uint32_t* quotes, std::size_t& count) {
    alignas(64) static constexpr std::array<std::uint8_t, kBlock> kNumbers = [] {
        std::array<std::uint8_t, kBlock> numbers{};
        for (std::size_t i = 0; i < kBlock; ++i) {
            numbers[i] = static_cast<std::uint8_t>(i);
        }
        return numbers;
    }();
    const auto all = static_cast<std::size_t>(std::popcount(bits));
    __m512i set = _mm512_maskz_compress_epi8(bits, _mm512_load_si512(kNumbers.data()));
    const __m512i begin = _mm512_set1_epi32(static_cast<int>(base));
    std::uint32_t* to = quotes + count;
    count += all;
    for (std::size_t listed = 0;;) {
        const __m512i places =
            _mm512_maskz_cvtepu8_epi32(0xffff, _mm512_maskz_extracti32x4_epi32(0xf, set, 0));
        _mm512_storeu_si512(to + listed, _mm512_add_epi32(places, begin));
        listed += 16;
        if (listed >= all) [[likely]] {
            return;
        }
        set = _mm512_maskz_alignr_epi64(0xff, set, set, 2);
    }
}

SLUICE_BY_64 Found look_by_64(const char* from, std::size_t size, char* to, std::uint32_t* quotes) {
    Found found;
    __mmask64 special = 0;
    __mmask64 high = 0;
    for (std::size_t block = 0; block <= size; block += kBlock) {
        const std::size_t left = size - block;
        const __mmask64 there = left >= kBlock ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
        const __m512i bytes = _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, from + block);
        _mm512_storeu_si512(to + block, bytes);
        special |= _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\')) |
                   _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(' '));
        high |= _mm512_movepi8_mask(bytes);
        list_bits_by_64(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')), block, quotes,
                        found.quotes);
    }
    found.special = special != 0;
    found.high = high != 0;
    return found;
}

Look best_look() {
    const bool bits = __builtin_cpu_supports("bmi") != 0 && __builtin_cpu_supports("popcnt") != 0;
    if (bits && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
        __builtin_cpu_supports("avx512vbmi2") != 0) {
        return look_by_64;
    }
    return bits && __builtin_cpu_supports("avx2") != 0 ? look_by_32 : look_by_16;
}
#else
Found look_by_1(const char* from, std::size_t size, char* to, std::uint32_t* quotes) {
    copy_with_blanks(from, size, to);
    Found found;
    for (std::size_t i = 0; i < size; ++i) {
        const auto byte = static_cast<unsigned char>(to[i]);
        if (byte == '"') {
            quotes[found.quotes++] = static_cast<std::uint32_t>(i);
        }
        found.special = found.special || byte == '\\' || byte < 0x20;
        found.high = found.high || byte >= 0x80;
    }
    return found;
}

Look best_look() { return look_by_1; }
#endif

}  // namespace

void ScannedDocument::take(std::string_view document) {
    static const Look look = best_look();
    source_ = document.data();
    size_ = document.size();
    const std::size_t behind = (size_ / kBlock + 1) * kBlock;
    const std::size_t needed = behind + std::max(padding_, kReadable);
    if (copy_.size() < needed) {
        copy_.resize(std::bit_ceil(needed), ' ');
        quotes_.resize(copy_.size() + kSpare);
    }
    const Found found = look(source_, size_, copy_.data(), quotes_.data());
    std::memset(copy_.data() + behind, ' ', padding_);
    quotes_[found.quotes] = static_cast<std::uint32_t>(behind);
    quote_count_ = found.quotes;
    special_ = found.special;
    high_ = found.high;
}

bool is_json_number(std::string_view t) {
    const char* at = t.data();
    const char* const end = at + t.size();
    if (at != end && *at == '-') {
        ++at;
    }
    if (at == end || !model::is_digit(*at)) {
        return false;
    }
    if (*at == '0') {
        ++at;
    } else {
        while (at != end && model::is_digit(*at)) {
            ++at;
        }
    }
    if (at != end && *at == '.') {
        ++at;
        if (at == end || !model::is_digit(*at)) {
            return false;
        }
        while (at != end && model::is_digit(*at)) {
            ++at;
        }
    }
    if (at != end && (*at == 'e' || *at == 'E')) {
        ++at;
        if (at != end && (*at == '+' || *at == '-')) {
            ++at;
        }
        if (at == end || !model::is_digit(*at)) {
            return false;
        }
        while (at != end && model::is_digit(*at)) {
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
    learn_texts(document, values);
}

DocumentShape::Chunk DocumentShape::chunk_of(std::string_view bytes) {
    Chunk chunk{};
    bytes.copy(reinterpret_cast<char*>(chunk.bytes.data()), sizeof chunk.bytes);
    std::memset(chunk.ignored.data(), 0xff, sizeof chunk.ignored);
    std::memset(chunk.ignored.data(), 0, std::min(bytes.size(), sizeof chunk.ignored));
    return chunk;
}

void DocumentShape::add_gap(std::string_view bytes, bool wanted) {
    wanted_ += wanted ? 1 : 0;
    Gap gap{static_cast<std::uint32_t>(chunks_.size()), 0, static_cast<std::uint32_t>(bytes.size()),
            static_cast<std::uint32_t>(std::ranges::count(bytes, '"')), wanted};
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(Chunk::bytes), ++gap.chunks) {
        chunks_.push_back(chunk_of(bytes.substr(at)));
    }
    gaps_.push_back(gap);
}

void DocumentShape::learn_texts(std::string_view document, std::span<const Value> values) {
    const char* at = document.data();
    const auto add = [&](const char* end, bool wanted) {
        const std::string_view bytes(at, end);
        const auto quotes = static_cast<std::uint32_t>(std::ranges::count(bytes, '"'));
        constexpr std::size_t kHalf = sizeof(Chunk::bytes);
        texts_.push_back({{chunk_of(bytes), chunk_of(bytes.substr(std::min(bytes.size(), kHalf)))},
                          static_cast<std::uint32_t>(bytes.size()),
                          quotes,
                          wanted});
        text_quotes_ += quotes;
        return bytes.size() <= 2 * kHalf;
    };
    bool all = true;
    for (const Value& value : values) {
        all = all && value.token.starts_with('"') && add(value.token.data() + 1, value.wanted);
        at = value.token.data() + value.token.size();
    }
    text_quotes_ += values.size();  // the closing ones
    if (!all || !add(document.data() + document.size(), false)) {
        texts_.clear();
    }
}

inline bool DocumentShape::is_at(const Chunk& chunk, const char* at) {
#ifdef __SSE2__
    const __m128i expected = _mm_load_si128(reinterpret_cast<const __m128i*>(&chunk.bytes));
    const __m128i ignored = _mm_load_si128(reinterpret_cast<const __m128i*>(&chunk.ignored));
    const __m128i there = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i equal = _mm_or_si128(_mm_cmpeq_epi8(expected, there), ignored);
    return _mm_movemask_epi8(equal) == 0xffff;
#else
    std::array<std::uint64_t, 2> there;
    std::memcpy(there.data(), at, sizeof there);
    return (((there[0] ^ chunk.bytes[0]) & ~chunk.ignored[0]) |
            ((there[1] ^ chunk.bytes[1]) & ~chunk.ignored[1])) == 0;
#endif
}

inline bool DocumentShape::is_at(const Gap& gap, const ScannedDocument& document,
                                 std::size_t at) const {
    const Chunk* chunk = chunks_.data() + gap.first_chunk;
    for (const Chunk* const end = chunk + gap.chunks; chunk != end; ++chunk) {
        if (!is_at(*chunk, document.bytes(at))) {
            return false;
        }
        at += sizeof(Chunk::bytes);
    }
    return true;
}

inline bool DocumentShape::is_at(const TextGap& gap, const char* at) {
#ifdef __SSE2__
    const auto equal_at = [at](const Chunk& chunk, std::size_t offset) {
        const __m128i expected = _mm_load_si128(reinterpret_cast<const __m128i*>(&chunk.bytes));
        const __m128i ignored = _mm_load_si128(reinterpret_cast<const __m128i*>(&chunk.ignored));
        const __m128i there = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + offset));
        return _mm_or_si128(_mm_cmpeq_epi8(expected, there), ignored);
    };
    const __m128i equal =
        _mm_and_si128(equal_at(gap.chunks[0], 0), equal_at(gap.chunks[1], sizeof(Chunk::bytes)));
    return _mm_movemask_epi8(equal) == 0xffff;
#else
    return is_at(gap.chunks[0], at) && is_at(gap.chunks[1], at + sizeof(Chunk::bytes));
#endif
}

// Where a document has as many quotes as the learned one, the number of the quote that closes a
// value is known. Up to there the quotes are those of the gaps that were compared and of the values
// between them, so it is the first one behind the value's beginning.
bool DocumentShape::fits_texts(const ScannedDocument& document, std::string_view* wanted) const {
    if (document.quotes() != text_quotes_) {
        return false;
    }
    std::size_t at = 0;
    std::size_t quotes = 0;  // before `at`
    const TextGap* gap = texts_.data();
    for (const TextGap* const last = gap + texts_.size() - 1; gap != last; ++gap) {
        if (!is_at(*gap, document.bytes(at))) {
            return false;
        }
        const std::size_t token = at + gap->size - 1;
        quotes += gap->quotes;
        at = document.quote(quotes++) + 1;
        if (gap->wanted) {
            *wanted++ = document.view(token, at);
        }
    }
    return at + gap->size == document.size() && is_at(*gap, document.bytes(at));
}

bool DocumentShape::fits_any(const ScannedDocument& document, std::string_view* wanted) const {
    const std::size_t end = document.size();
    std::size_t at = 0;
    std::size_t quotes = 0;  // before `at`
    for (const Gap* gap = gaps_.data();; ++gap) {
        if (end - at < gap->size || !is_at(*gap, document, at)) {
            return false;
        }
        at += gap->size;
        if (gap == &gaps_.back()) {
            break;
        }
        quotes += gap->quotes;
        const std::size_t token = at;
        if (*document.bytes(at) == '"') {
            // By number: where it is does not depend on where those before it were, so that several
            // values are on their way at the same time.
            at = document.quote(quotes + 1) + 1;
            quotes += 2;
            if (at > end) {
                return false;
            }
        } else {
            const std::string_view rest = document.copy().substr(at);
            const char* const behind = scalar_end(rest.data(), rest.data() + rest.size());
            if (behind == nullptr) {
                return false;
            }
            at += static_cast<std::size_t>(behind - rest.data());
        }
        if (gap->wanted) {
            *wanted++ = document.view(token, at);
        }
    }
    return at == end;
}

bool DocumentShape::fits(const ScannedDocument& document,
                         std::vector<std::string_view>& wanted) const {
    if (document.special()) {
        return false;
    }
    wanted.resize(wanted_);
    const bool fit = (!texts_.empty() && fits_texts(document, wanted.data())) ||
                     fits_any(document, wanted.data());
    return fit && (document.ascii() || simdjson::validate_utf8(document.copy()));
}

}  // namespace sluice::ingest
