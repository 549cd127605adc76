// Encoded rows: the accumulators of one key in one slice as bytes. They are the universal currency
// of state: table cursors hand them out, RocksDB stores and merges them, fires and tools read them.
//
// A row describes itself, so it can be merged and checked without a configuration:
//
//     row         = schema (1 byte, 1) · rev (varint) · accumulator …
//     accumulator = kind (1 byte, config::ReductionKind) · payload
//
//     count       = varint
//     sum         = flags (1 byte: 1 integers, 2 decimals, 4 floats were folded) · total ·
//                   floats, only if the flag says so
//     mean        = sum · varint, the number of values
//     min, max    = scalar, where type 0 is "nothing yet" and 0x7f "values that do not compare"
//     first, last = 0, or 1 · timestamp · topic · partition · offset · element (varint) · scalar
//
//     varint      = LEB128, unsigned, without needless bytes; at most 10 bytes
//     signed      = zigzag as a varint (timestamp, partition, offset, integers)
//     text        = varint length · bytes (topic too)
//     total       = length (1 byte, 0..24) · that many bytes: integers and decimals at scale 18,
//                   two's complement, little endian, without needless bytes; zero has length 0
//     floats      = length (varint) · if not 0: lowest byte's place (varint) · bytes: the exact sum
//                   in units of 2^-1074, two's complement, little endian, lowest byte not 0,
//                   without needless bytes at the top; the place counts bytes
//     scalar      = type (1 byte, model::Type) · boolean: 1 byte; integer: signed; decimal: as
//                   total, at most 16 bytes; real: 8 bytes, little endian, finite, never -0.0; text
//
// Canonical: equal state has equal bytes, whatever the order of folding and merging, and a reader
// refuses every other spelling. What is deliberately missing is a checksum: files and blocks have
// theirs.
//
// Thread: free functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression/program.h"
#include "state/model/arena.h"
#include "state/model/result.h"
#include "state/model/value.h"

namespace sluice::state {

inline constexpr std::uint8_t kRowSchema = 1;

// Replaces `out` by the merge of `rows`, at least one. Commutative and associative: neither the
// order nor the grouping of the arguments matters. `out` must not be what a row points into.
// Errors: corrupt (a row is not one of ours, the rows differ in their accumulators, or a counter
// passes 64 bits); `out` is unspecified then.
model::Status merge_rows(std::span<const std::string_view> rows, std::string& out);

// Where an accumulator of the present definition of a reduction is found in rows that were written
// under a former one.
struct FormerCall {
    int from = -1;  // its place in those rows; −1: it is new, and starts empty
    config::ReductionKind kind = config::ReductionKind::count;
    bool operator==(const FormerCall&) const = default;
};

// Replaces `out` by `row` as the present definition has it: accumulators in another order, without
// those that nobody asks for, with empty ones that are new. `out` must not be what `row` points
// into. Errors: corrupt (not a canonical row, or not one of that definition).
model::Status rearrange_row(std::string_view row, std::span<const FormerCall> calls,
                            std::string& out);

// Errors: corrupt (not a canonical row).
model::Status validate_row(std::string_view row);

// What one accumulator says.
struct CallResult {
    config::ReductionKind kind = config::ReductionKind::count;
    // The result, null where there is none. Text points into the row. A sum beyond what integer and
    // decimal can hold is here as the nearest float; then `wide` holds its digits.
    model::Scalar value;
    // The printed form of a sum of integers and decimals that fits neither type but has at most 38
    // digits; empty otherwise. Lives in the arena given to row_results().
    std::string_view wide;
};

struct RowResults {
    std::uint64_t rev = 0;  // records that came after their window's end, by their watermark
    std::vector<CallResult> calls;  // in the order of the reduction's calls
};

// Replaces `results` by the results of every accumulator of `row`: SEMANTICS of sums, means and
// mixed types are applied here, once, and what has no result is null and counted in `errors`
// (overflow: beyond 38 digits or beyond double; wrong_type: min or max over values that do not
// compare). Errors: corrupt.
model::Status row_results(std::string_view row, model::Arena& arena, RowResults& results,
                          model::ValueErrors& errors);

}  // namespace sluice::state
