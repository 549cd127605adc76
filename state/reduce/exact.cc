#include "state/reduce/exact.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "state/model/invariant.h"
#include "state/model/wide.h"

namespace sluice::state {

namespace {

using model::int128;
using model::uint128;

constexpr std::uint64_t kScale = static_cast<std::uint64_t>(model::kDecimalOne);
constexpr std::size_t kLimbBits = 64;
constexpr int kDoublePlaces = 1074;  // binary places of the least double

// sum = a + b + carry; carry out.
std::uint64_t add_limb(std::uint64_t& sum, std::uint64_t a, std::uint64_t b, std::uint64_t carry) {
    const uint128 wide = static_cast<uint128>(a) + b + carry;
    sum = static_cast<std::uint64_t>(wide);
    return static_cast<std::uint64_t>(wide >> kLimbBits);
}

// An unsigned integer of up to kLimbs limbs, for one rounding: wide enough for every numerator and
// denominator of rounded() (2,222 bits) with the shifts of its division.
class Natural {
 public:
    static constexpr std::size_t kLimbs = 40;

    Natural() = default;
    explicit Natural(std::uint64_t v) {
        limb_[0] = v;
        size_ = v != 0 ? 1 : 0;
    }
    static Natural of(const std::uint64_t* limbs, std::size_t count) {
        INVARIANT(count <= kLimbs, "a number of a row fits");
        Natural n;
        std::copy_n(limbs, count, n.limb_.begin());
        n.size_ = count;
        n.trim();
        return n;
    }

    bool is_zero() const { return size_ == 0; }
    int bits() const {
        return size_ == 0
                   ? 0
                   : static_cast<int>(size_ * kLimbBits) - std::countl_zero(limb_[size_ - 1]);
    }
    void shift_left(std::size_t by) {
        if (size_ == 0) {
            return;
        }
        const std::size_t limbs = by / kLimbBits;
        const std::size_t rest = by % kLimbBits;
        INVARIANT(size_ + limbs + 1 <= kLimbs, "a number of a row fits");
        for (std::size_t i = size_ + 1; i-- > 0;) {
            const std::uint64_t high = i < size_ ? limb_[i] << rest : 0;
            const std::uint64_t low = rest != 0 && i > 0 ? limb_[i - 1] >> (kLimbBits - rest) : 0;
            limb_[i + limbs] = high | low;
        }
        std::fill_n(limb_.begin(), limbs, 0);
        size_ += limbs + 1;
        trim();
    }
    void shift_right_once() {
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint64_t above = i + 1 < size_ ? limb_[i + 1] << (kLimbBits - 1) : 0;
            limb_[i] = (limb_[i] >> 1) | above;
        }
        trim();
    }
    void multiply(std::uint64_t by) {
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const uint128 product = static_cast<uint128>(limb_[i]) * by + carry;
            limb_[i] = static_cast<std::uint64_t>(product);
            carry = static_cast<std::uint64_t>(product >> kLimbBits);
        }
        if (carry != 0) {
            INVARIANT(size_ < kLimbs, "a number of a row fits");
            limb_[size_++] = carry;
        }
        trim();
    }
    void add(const Natural& o) {
        std::uint64_t carry = 0;
        const std::size_t size = std::max(size_, o.size_);
        for (std::size_t i = 0; i < size; ++i) {
            carry = add_limb(limb_[i], at(i), o.at(i), carry);
        }
        size_ = size;
        if (carry != 0) {
            INVARIANT(size_ < kLimbs, "a number of a row fits");
            limb_[size_++] = carry;
        }
    }
    // o <= *this
    void subtract(const Natural& o) {
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < size_; ++i) {
            const std::uint64_t b = o.at(i);
            const std::uint64_t a = limb_[i];
            limb_[i] = a - b - borrow;
            borrow = a < b || (a == b && borrow != 0) ? 1 : 0;
        }
        trim();
    }
    std::strong_ordering operator<=>(const Natural& o) const {
        if (size_ != o.size_) {
            return size_ <=> o.size_;
        }
        for (std::size_t i = size_; i-- > 0;) {
            if (limb_[i] != o.limb_[i]) {
                return limb_[i] <=> o.limb_[i];
            }
        }
        return std::strong_ordering::equal;
    }

 private:
    std::uint64_t at(std::size_t i) const { return i < size_ ? limb_[i] : 0; }
    void trim() {
        while (size_ > 0 && limb_[size_ - 1] == 0) {
            --size_;
        }
    }

    std::array<std::uint64_t, kLimbs> limb_{};
    std::size_t size_ = 0;
};

// The double nearest to n / d, ties to even; d is not 0. Empty: beyond double.
std::optional<double> nearest(Natural n, Natural d) {
    if (n.is_zero()) {
        return 0.0;
    }
    // floor(log2(n / d)) is the difference of the lengths, or one less.
    int exponent = n.bits() - d.bits();
    {
        Natural a = n;
        Natural b = d;
        if (exponent >= 0) {
            b.shift_left(static_cast<std::size_t>(exponent));
        } else {
            a.shift_left(static_cast<std::size_t>(-exponent));
        }
        if (a < b) {
            --exponent;
        }
    }
    if (exponent >= std::numeric_limits<double>::max_exponent) {
        return std::nullopt;
    }
    if (exponent < -kDoublePlaces - 1) {
        return 0.0;  // below half of the least double
    }
    // The result is a multiple of 2^quantum; one bit more is computed, and whether anything is
    // left.
    const int quantum =
        std::max(exponent - (std::numeric_limits<double>::digits - 1), -kDoublePlaces);
    const int half_quantum = quantum - 1;
    if (half_quantum >= 0) {
        d.shift_left(static_cast<std::size_t>(half_quantum));
    } else {
        n.shift_left(static_cast<std::size_t>(-half_quantum));
    }
    // n / d < 2^54 now.
    std::uint64_t quotient = 0;
    constexpr int kQuotientBits = std::numeric_limits<double>::digits + 1;
    d.shift_left(kQuotientBits - 1);
    for (int bit = kQuotientBits - 1; bit >= 0; --bit) {
        if (n >= d) {
            n.subtract(d);
            quotient |= std::uint64_t{1} << bit;
        }
        d.shift_right_once();
    }
    std::uint64_t mantissa = quotient >> 1;
    if ((quotient & 1) != 0 && (!n.is_zero() || (mantissa & 1) != 0)) {
        ++mantissa;
    }
    const double result = std::ldexp(static_cast<double>(mantissa), quantum);
    if (std::isinf(result)) {
        return std::nullopt;
    }
    return result;
}

// Divides in place, returns the remainder.
std::uint64_t divide(std::array<std::uint64_t, 3>& limbs, std::uint64_t by) {
    std::uint64_t rest = 0;
    for (std::size_t i = limbs.size(); i-- > 0;) {
        const uint128 part = (static_cast<uint128>(rest) << kLimbBits) | limbs[i];
        limbs[i] = static_cast<std::uint64_t>(part / by);
        rest = static_cast<std::uint64_t>(part % by);
    }
    return rest;
}

// How many bytes of a two's complement number say something; `top` is the last one to consider.
template <class ByteAt>
std::size_t significant_bytes(std::size_t size, ByteAt byte_at) {
    while (size > 0) {
        const unsigned top = byte_at(size - 1);
        const bool below_negative = size > 1 && (byte_at(size - 2) & 0x80U) != 0;
        if (top == 0 && !below_negative) {
            --size;
        } else if (top == 0xffU && below_negative) {
            --size;
        } else {
            break;
        }
    }
    return size;
}

unsigned byte_of(std::uint64_t limb, std::size_t i) {
    return static_cast<unsigned>((limb >> (8 * i)) & 0xffU);
}

// Whether a two's complement number is spelled without needless bytes at its top.
bool is_minimal(std::string_view bytes) {
    if (bytes.empty()) {
        return true;
    }
    const auto top = static_cast<unsigned char>(bytes.back());
    const bool below_negative =
        bytes.size() > 1 && (static_cast<unsigned char>(bytes[bytes.size() - 2]) & 0x80U) != 0;
    return below_negative ? top != 0xffU : top != 0;
}

}  // namespace

ExactTotal::ExactTotal(int128 v) {
    const auto bits = static_cast<uint128>(v);
    limb_[0] = static_cast<std::uint64_t>(bits);
    limb_[1] = static_cast<std::uint64_t>(bits >> kLimbBits);
    limb_[2] = v < 0 ? ~std::uint64_t{0} : 0;
}

bool ExactTotal::add(const ExactTotal& other) {
    const bool a = negative();
    const bool b = other.negative();
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < limb_.size(); ++i) {
        carry = add_limb(limb_[i], limb_[i], other.limb_[i], carry);
    }
    return a != b || negative() == a;
}

std::array<std::uint64_t, 3> ExactTotal::magnitude() const {
    return negative() ? negated() : limb_;
}

std::array<std::uint64_t, 3> ExactTotal::negated() const {
    std::array<std::uint64_t, 3> m{};
    std::uint64_t carry = 1;
    for (std::size_t i = 0; i < limb_.size(); ++i) {
        carry = add_limb(m[i], ~limb_[i], 0, carry);
    }
    return m;
}

bool ExactTotal::is_whole() const {
    auto m = magnitude();
    return divide(m, kScale) == 0;
}

std::optional<int128> ExactTotal::decimal() const {
    const std::uint64_t sign = (limb_[1] >> 63) != 0 ? ~std::uint64_t{0} : 0;
    if (limb_[2] != sign) {
        return std::nullopt;
    }
    const auto v = static_cast<int128>((static_cast<uint128>(limb_[1]) << kLimbBits) | limb_[0]);
    if (v > model::kDecimalMax || v < -model::kDecimalMax) {
        return std::nullopt;
    }
    return v;
}

std::optional<std::int64_t> ExactTotal::integer() const {
    const auto v = decimal();  // 64 bits at scale 18 are well within
    if (!v || *v % model::kDecimalOne != 0) {
        return std::nullopt;
    }
    const int128 whole = *v / model::kDecimalOne;
    if (whole > std::numeric_limits<std::int64_t>::max() ||
        whole < std::numeric_limits<std::int64_t>::min()) {
        return std::nullopt;
    }
    return static_cast<std::int64_t>(whole);
}

std::string ExactTotal::digits() const {
    constexpr std::size_t kMaxDigits = 38;
    std::string text = all_digits();
    // A zero before the point is no digit of a fraction.
    const std::string_view plain = std::string_view(text).substr(negative() ? 1 : 0);
    const bool fraction = plain.find('.') != std::string_view::npos;
    const std::size_t digits =
        plain.size() - (fraction ? 1 : 0) - (plain.starts_with("0.") ? 1 : 0);
    return digits > kMaxDigits ? std::string() : text;
}

std::string ExactTotal::all_digits() const {
    constexpr std::size_t kPlaces = model::kDecimalScale;
    std::string reversed;
    auto m = magnitude();
    while ((m[0] | m[1] | m[2]) != 0) {
        std::uint64_t part = divide(m, kScale);
        const bool last = (m[0] | m[1] | m[2]) == 0;
        for (std::size_t i = 0; last ? part != 0 : i < kPlaces; ++i) {
            reversed.push_back(static_cast<char>('0' + part % 10));
            part /= 10;
        }
    }
    if (reversed.size() < kPlaces + 1) {
        reversed.resize(kPlaces + 1, '0');  // one digit before the point
    }
    std::size_t places = kPlaces;
    while (places > 0 && reversed[kPlaces - places] == '0') {
        --places;
    }
    const std::size_t whole = reversed.size() - kPlaces;
    std::string text = negative() ? "-" : "";
    text.append(reversed.rbegin(), reversed.rbegin() + static_cast<std::ptrdiff_t>(whole));
    if (places > 0) {
        text.push_back('.');
        const auto fraction = reversed.rbegin() + static_cast<std::ptrdiff_t>(whole);
        text.append(fraction, fraction + static_cast<std::ptrdiff_t>(places));
    }
    return text;
}

std::optional<ExactTotal> ExactTotal::from_digits(std::string_view text) {
    const bool negative = text.starts_with('-');
    text.remove_prefix(negative ? 1 : 0);
    const std::size_t point = text.find('.');
    const auto whole = text.substr(0, point);
    const auto fraction = point == std::string_view::npos ? "" : text.substr(point + 1);
    if (whole.empty() || fraction.size() > model::kDecimalScale ||
        (point != std::string_view::npos && fraction.empty())) {
        return std::nullopt;
    }
    std::string digits(whole);
    digits.append(fraction).append(model::kDecimalScale - fraction.size(), '0');
    std::array<std::uint64_t, 3> m{};
    for (const char digit : digits) {
        if (digit < '0' || digit > '9') {
            return std::nullopt;
        }
        auto carry = static_cast<uint128>(digit - '0');
        for (auto& limb : m) {
            carry += static_cast<uint128>(limb) * 10;
            limb = static_cast<std::uint64_t>(carry);
            carry >>= kLimbBits;
        }
        if (carry != 0 || (m[2] >> 63) != 0) {
            return std::nullopt;
        }
    }
    ExactTotal total;
    total.limb_ = m;
    if (negative) {
        total.limb_ = total.negated();
    }
    return total;
}

std::size_t ExactTotal::byte_count() const {
    const std::uint64_t sign = negative() ? ~std::uint64_t{0} : 0;
    for (std::size_t i = limb_.size(); i-- > 0;) {
        const std::uint64_t digits = limb_[i] ^ sign;
        if (digits != 0) {
            const auto bits = kLimbBits * i + static_cast<std::size_t>(std::bit_width(digits));
            return bits / 8 + 1;  // with room for the sign
        }
    }
    return negative() ? 1 : 0;
}

void ExactTotal::append_bytes(std::string& out) const {
    std::array<char, kMaxBytes> bytes;
    for (std::size_t i = 0; i < kMaxBytes; ++i) {
        bytes[i] = static_cast<char>(byte_of(limb_[i / 8], i % 8));
    }
    out.append(bytes.data(), byte_count());
}

bool ExactTotal::set_bytes(std::string_view bytes) {
    if (bytes.size() > kMaxBytes || !is_minimal(bytes)) {
        return false;
    }
    const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0;
    const std::uint64_t above = negative ? ~std::uint64_t{0} : 0;
    // Bytes one by one: mostly there are three or four, and a copy of so few costs more.
    std::size_t i = 0;
    for (std::uint64_t& limb : limb_) {
        limb = above;
        const std::size_t here = std::min<std::size_t>(bytes.size() - i, 8);
        if (here != 0) {
            limb = here == 8 ? 0 : above << (8 * here);
            for (std::size_t k = 0; k < here; ++k) {
                const auto byte = static_cast<unsigned char>(bytes[i + k]);
                limb |= static_cast<std::uint64_t>(byte) << (8 * k);
            }
            i += here;
        }
    }
    return true;
}

void FloatTotal::cover(std::size_t from, std::size_t to) {
    if (limbs_.empty()) {
        low_ = from;
        limbs_.resize(to - from, 0);
        return;
    }
    if (from < low_) {
        limbs_.insert(limbs_.begin(), low_ - from, 0);
        low_ = from;
    }
    if (to > low_ + limbs_.size()) {
        limbs_.resize(to - low_, negative() ? ~std::uint64_t{0} : 0);
    }
}

void FloatTotal::add(double v) {
    constexpr int kMantissaBits = 52;
    const auto bits = std::bit_cast<std::uint64_t>(v);
    const auto biased = static_cast<std::size_t>((bits >> kMantissaBits) & 0x7ff);
    std::uint64_t mantissa = bits & ((std::uint64_t{1} << kMantissaBits) - 1);
    if (biased != 0) {
        mantissa |= std::uint64_t{1} << kMantissaBits;
    }
    if (mantissa == 0) {
        return;
    }
    const std::size_t place = biased != 0 ? biased - 1 : 0;  // in units of 2^-1074
    const std::size_t limb = place / kLimbBits;
    const std::size_t shift = place % kLimbBits;
    const std::uint64_t low = mantissa << shift;
    // Below 2^52: as a signed limb it is positive, so the sum below overflows only by its sign.
    const std::uint64_t high = shift != 0 ? mantissa >> (kLimbBits - shift) : 0;

    cover(limb, limb + 2);
    const bool was_negative = negative();
    std::size_t i = limb - low_;
    if ((bits >> 63) == 0) {
        std::uint64_t carry = add_limb(limbs_[i], limbs_[i], low, 0);
        ++i;
        carry = add_limb(limbs_[i], limbs_[i], high, carry);
        for (++i; carry != 0 && i < limbs_.size(); ++i) {
            carry = add_limb(limbs_[i], limbs_[i], 0, carry);
        }
        if (!was_negative && negative()) {
            limbs_.push_back(0);
        }
    } else {
        const auto subtract = [&](std::uint64_t b, std::uint64_t borrow) {
            const std::uint64_t a = limbs_[i];
            limbs_[i] = a - b - borrow;
            ++i;
            return static_cast<std::uint64_t>(a < b || (a == b && borrow != 0));
        };
        std::uint64_t borrow = subtract(low, 0);
        borrow = subtract(high, borrow);
        while (borrow != 0 && i < limbs_.size()) {
            borrow = subtract(0, borrow);
        }
        if (was_negative && !negative()) {
            limbs_.push_back(~std::uint64_t{0});
        }
    }
}

bool FloatTotal::add(const FloatTotal& other) {
    if (other.limbs_.empty()) {
        return true;
    }
    // One limb more than both: then the sum of two signed numbers fits.
    const std::size_t end = other.low_ + other.limbs_.size();
    cover(other.low_, std::max(end, low_ + limbs_.size()) + 1);
    const std::uint64_t sign = other.negative() ? ~std::uint64_t{0} : 0;
    std::uint64_t carry = 0;
    for (std::size_t i = other.low_ - low_; i < limbs_.size(); ++i) {
        const std::size_t j = i + low_ - other.low_;
        carry =
            add_limb(limbs_[i], limbs_[i], j < other.limbs_.size() ? other.limbs_[j] : sign, carry);
    }
    while (limbs_.size() > 1) {
        const std::uint64_t top = limbs_.back();
        const bool below = (limbs_[limbs_.size() - 2] >> 63) != 0;
        if ((top == 0 && !below) || (top == ~std::uint64_t{0} && below)) {
            limbs_.pop_back();
        } else {
            break;
        }
    }
    return 8 * (low_ + limbs_.size()) <= kMaxBytes;
}

bool FloatTotal::is_zero() const {
    return std::all_of(limbs_.begin(), limbs_.end(), [](std::uint64_t l) { return l == 0; });
}

FloatTotal::Bytes FloatTotal::bytes() const {
    Bytes result;
    const auto byte_at = [&](std::size_t i) { return byte_of(limbs_[i / 8], i % 8); };
    const std::size_t end = significant_bytes(8 * limbs_.size(), byte_at);
    std::size_t begin = 0;
    while (begin < end && byte_at(begin) == 0) {
        ++begin;
    }
    if (begin == end) {
        return result;
    }
    result.place = 8 * low_ + begin;
    for (std::size_t i = begin; i < end; ++i) {
        result.bytes.push_back(static_cast<char>(byte_at(i)));
    }
    return result;
}

std::optional<FloatTotal> FloatTotal::from_bytes(std::size_t place, std::string_view bytes) {
    FloatTotal total;
    if (bytes.empty()) {
        return place == 0 ? std::optional(total) : std::nullopt;
    }
    if (place > kMaxBytes || bytes.size() > kMaxBytes - place || bytes.front() == 0 ||
        !is_minimal(bytes)) {
        return std::nullopt;
    }
    const bool negative = (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0;
    const std::size_t end = place + bytes.size();
    total.low_ = place / 8;
    total.limbs_.resize((end + 7) / 8 - total.low_, 0);
    for (std::size_t i = place; i < 8 * (total.low_ + total.limbs_.size()); ++i) {
        const unsigned byte = i < end    ? static_cast<unsigned char>(bytes[i - place])
                              : negative ? 0xffU
                                         : 0U;
        total.limbs_[i / 8 - total.low_] |= static_cast<std::uint64_t>(byte) << (8 * (i % 8));
    }
    return total;
}

std::optional<double> rounded(const ExactTotal& total, const FloatTotal* floats,
                              std::uint64_t count) {
    const auto limbs = total.magnitude();
    if (floats == nullptr || floats->is_zero()) {
        const model::uint256 n{(static_cast<uint128>(limbs[1]) << kLimbBits) | limbs[0], limbs[2]};
        const double result = model::nearest_quotient(n, static_cast<uint128>(kScale) * count);
        return total.negative() ? -result : result;
    }
    Natural exact = Natural::of(limbs.data(), limbs.size());
    Natural denominator(count);
    denominator.multiply(kScale);

    // total / 10^18 + floats = (total * 2^k + floats' integer * 10^18) / (10^18 * 2^k), where the
    // lowest limb of `floats` counts 2^-k; a limb above the point is shifted instead.
    std::vector<std::uint64_t> magnitude = floats->limbs();
    if (floats->negative()) {
        std::uint64_t carry = 1;
        for (auto& limb : magnitude) {
            carry = add_limb(limb, ~limb, 0, carry);
        }
    }
    std::size_t zeros = 0;
    while (magnitude[zeros] == 0) {
        ++zeros;
    }
    Natural binary = Natural::of(magnitude.data() + zeros, magnitude.size() - zeros);
    binary.multiply(kScale);
    const std::size_t place = kLimbBits * (floats->low_limb() + zeros);
    if (place >= kDoublePlaces) {
        binary.shift_left(place - kDoublePlaces);
    } else {
        exact.shift_left(kDoublePlaces - place);
        denominator.shift_left(kDoublePlaces - place);
    }
    bool negative = total.negative();
    if (total.negative() == floats->negative()) {
        exact.add(binary);
    } else if (exact >= binary) {
        exact.subtract(binary);
    } else {
        binary.subtract(exact);
        exact = binary;
        negative = floats->negative();
    }
    auto result = nearest(exact, denominator);
    if (result && negative) {
        *result = -*result;
    }
    return result;
}

}  // namespace sluice::state
