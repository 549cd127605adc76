// What a table's row is made of. Every member is a multiple of 8 bytes and aligned to 8 (so no
// 128-bit members, which would want 16); zeroed bytes are the identity.
#pragma once

#include <cstdint>

#include "state/model/value.h"

namespace sluice::state {

struct RowHeader {
    static constexpr std::uint32_t kShortKey = 12;

    std::uint64_t hash;
    std::uint64_t rev;
    std::uint32_t key_bytes;
    // A short key itself; else its first 4 bytes and a pointer to the whole of it.
    char key[kShortKey];
};
static_assert(sizeof(RowHeader) == 32);

struct CountCell {
    std::uint64_t count;
};

struct SumCell {
    std::uint64_t low;  // the total at scale 18, 128 bits, two's complement
    std::uint64_t high;
    std::uint32_t rest;  // 1 + index of what does not fit here; 0: nothing
    std::uint8_t flags;  // as in the encoded row
};
static_assert(sizeof(SumCell) == 24);

struct MeanCell {
    SumCell sum;
    std::uint64_t count;
};
static_assert(sizeof(MeanCell) == 32);

// A scalar. Text: where it is, its size, and the room it has there.
struct ScalarCell {
    union {
        std::uint64_t words[2];  // the payload
        struct {
            char* data;
            std::uint32_t size;
            std::uint32_t room;
        } text;
    };
};
static_assert(sizeof(ScalarCell) == 16);

struct ExtremeCell {
    ScalarCell value;
    std::uint8_t state;  // ScalarState
    model::Type type;
};
static_assert(sizeof(ExtremeCell) == 24);

struct OrderedCell {
    std::int64_t timestamp;
    std::int64_t offset;
    ScalarCell value;
    std::int32_t partition;
    std::uint32_t topic;  // index into the table's topics
    std::uint32_t element;
    bool present;
    model::Type type;
};
static_assert(sizeof(OrderedCell) == 48);

}  // namespace sluice::state
