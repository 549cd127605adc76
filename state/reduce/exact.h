// Sums that do not depend on the order of their addends: exact totals of integers, decimals and
// floats, and the one rounding at the end.
//
// Values; no thread of their own.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/model/value.h"

namespace sluice::state {

// The total of integers and decimals, at scale 18: a signed integer of 192 bits. 2^63 addends of 38
// digits stay below 2^190.
class ExactTotal {
 public:
    static constexpr std::size_t kMaxBytes = 24;

    ExactTotal() = default;
    explicit ExactTotal(model::int128 v);

    // False: beyond 192 bits, which addends cannot reach but damaged bytes can.
    [[nodiscard]] bool add(const ExactTotal& other);

    bool is_zero() const { return (limb_[0] | limb_[1] | limb_[2]) == 0; }
    bool negative() const { return (limb_[2] >> 63) != 0; }
    bool is_whole() const;  // no digit after the point
    std::array<std::uint64_t, 3> magnitude() const;

    // Set if the total is within what a decimal can hold.
    std::optional<model::int128> decimal() const;
    // Set if the total is whole and within 64 bits.
    std::optional<std::int64_t> integer() const;
    // The printed form: no trailing zeros after the point. Empty if it has more than 38 digits.
    std::string digits() const;
    // The same, however many there are.
    std::string all_digits() const;
    // What all_digits() gives, and other spellings of decimals (`-1.50`, `007`), with at most 18
    // digits after the point. Empty: not a decimal, or beyond 192 bits.
    static std::optional<ExactTotal> from_digits(std::string_view text);

    // Two's complement, little endian, without needless bytes; zero is empty.
    void append_bytes(std::string& out) const;
    std::size_t byte_count() const;
    // At most kMaxBytes bytes; false: not what append_bytes() writes.
    [[nodiscard]] bool set_bytes(std::string_view bytes);
    static std::optional<ExactTotal> from_bytes(std::string_view bytes) {
        ExactTotal total;
        return total.set_bytes(bytes) ? std::optional(total) : std::nullopt;
    }

    bool operator==(const ExactTotal&) const = default;

 private:
    std::array<std::uint64_t, 3> negated() const;

    std::array<std::uint64_t, 3> limb_{};  // two's complement, least first
};

// The total of floats: a fixed-point number in units of 2^-1074, the least double (after Kulisch's
// long accumulator; Neal, "Fast exact summation using small and large superaccumulators", 2015).
// Only the limbs between the lowest and the highest bit seen are kept: sums of values of like size
// take three or four.
class FloatTotal {
 public:
    // 2^-1074 … 2^1024 and 64 bits of carry.
    static constexpr std::size_t kMaxBytes = 272;

    void add(double v);  // finite
    // False: beyond kMaxBytes, which addends cannot reach but damaged bytes can.
    [[nodiscard]] bool add(const FloatTotal& other);

    bool is_zero() const;
    bool negative() const { return !limbs_.empty() && (limbs_.back() >> 63) != 0; }
    std::size_t heap_bytes() const { return limbs_.capacity() * sizeof(std::uint64_t); }

    // Sum of limbs()[i] * 2^(64 * (low_limb() + i) - 1074), the last one signed.
    const std::vector<std::uint64_t>& limbs() const { return limbs_; }
    std::size_t low_limb() const { return low_; }

    // Canonical bytes: two's complement, little endian, lowest byte not 0, none needless at the
    // top; `place` is how many bytes lie below. Zero: no bytes, place 0.
    struct Bytes {
        std::size_t place = 0;
        std::string bytes;
    };
    Bytes bytes() const;
    // Empty optional: not what bytes() gives.
    static std::optional<FloatTotal> from_bytes(std::size_t place, std::string_view bytes);

 private:
    void cover(std::size_t from, std::size_t to);  // limbs [from, to) exist afterwards

    std::size_t low_ = 0;
    std::vector<std::uint64_t> limbs_;  // two's complement, least first
};

// (total / 10^18 + floats) / count, an exact rational, rounded once to the nearest double, ties to
// even. `floats` may be null; count > 0. Empty: beyond double.
std::optional<double> rounded(const ExactTotal& total, const FloatTotal* floats,
                              std::uint64_t count);

}  // namespace sluice::state
