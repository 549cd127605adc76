#include "config/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "state/model/ascii.h"

namespace sluice::config {
namespace {

constexpr model::DurationMs kGreatestDuration = 36500LL * 86'400'000;  // a century

constexpr std::array<std::pair<std::string_view, model::DurationMs>, 5> kDurationUnits{{
    {"d", 86'400'000},
    {"h", 3'600'000},
    {"m", 60'000},
    {"s", 1'000},
    {"ms", 1},
}};

template <class Predicate>
std::string_view take_while(std::string_view& text, Predicate predicate) {
    std::size_t n = 0;
    while (n < text.size() && predicate(text[n])) {
        ++n;
    }
    const std::string_view taken = text.substr(0, n);
    text.remove_prefix(n);
    return taken;
}

// Exactly `digits` digits at the front.
bool take_number(std::string_view& text, std::size_t digits, int& number) {
    if (text.size() < digits) {
        return false;
    }
    number = 0;
    for (std::size_t i = 0; i < digits; ++i) {
        if (!model::is_digit(text[i])) {
            return false;
        }
        number = number * 10 + (text[i] - '0');
    }
    text.remove_prefix(digits);
    return true;
}

bool take_char(std::string_view& text, char c) {
    if (text.empty() || text.front() != c) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
std::int64_t days_from_date(std::int64_t year, int month, int day) {
    year -= month <= 2 ? 1 : 0;
    const std::int64_t era = model::floor_div(year, 400);
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const std::int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + day_of_era - 719'468;
}

struct Date {
    std::int64_t year;
    int month;
    int day;
};

// The inverse, civil_from_days of the same paper.
Date date_from_days(std::int64_t days) {
    days += 719'468;
    const std::int64_t era = model::floor_div(days, 146'097);
    const std::int64_t day_of_era = days - era * 146'097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const std::int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
    const int day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    const int month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

int days_in_month(int year, int month) {
    constexpr std::array<int, 12> kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : kDays[static_cast<std::size_t>(month - 1)];
}

}  // namespace

Read<model::DurationMs> read_duration(std::string_view text) {
    const std::string expected = "a duration such as \"15s\", \"250ms\" or \"1h30m\" was expected";
    if (text == "0") {
        return 0;
    }
    if (text.empty()) {
        return std::unexpected(expected);
    }
    model::DurationMs total = 0;
    std::size_t next_unit = 0;
    while (!text.empty()) {
        const std::string_view digits = take_while(text, model::is_digit);
        const std::string_view letters = take_while(text, model::is_letter);
        std::int64_t count = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), count);
        if (digits.empty() || (error != std::errc{} && error != std::errc::result_out_of_range)) {
            return std::unexpected(expected);
        }
        if (letters.empty()) {
            return std::unexpected("a unit is missing: one of ms, s, m, h, d");
        }
        std::size_t unit = 0;
        while (unit < kDurationUnits.size() && kDurationUnits[unit].first != letters) {
            ++unit;
        }
        if (unit == kDurationUnits.size()) {
            return std::unexpected("unknown unit `" + std::string(letters) +
                                   "`: the units are ms, s, m, h, d");
        }
        if (unit < next_unit) {
            return std::unexpected("units must stand from the greatest to the least, each once");
        }
        next_unit = unit + 1;
        model::DurationMs part = 0;
        if (error != std::errc{} ||
            __builtin_mul_overflow(count, kDurationUnits[unit].second, &part) ||
            __builtin_add_overflow(total, part, &total) || total > kGreatestDuration) {
            return std::unexpected("longer than a century");
        }
    }
    return total;
}

Read<std::uint64_t> read_size(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 10> kUnits{{
        {"", 1},
        {"B", 1},
        {"KiB", 1ULL << 10},
        {"MiB", 1ULL << 20},
        {"GiB", 1ULL << 30},
        {"TiB", 1ULL << 40},
        {"kB", 1'000},
        {"MB", 1'000'000},
        {"GB", 1'000'000'000},
        {"TB", 1'000'000'000'000},
    }};
    const std::string expected = "a size such as \"64MiB\" or \"2GiB\" was expected";
    const std::string_view whole_digits = take_while(text, model::is_digit);
    std::string_view fraction_digits;
    if (!text.empty() && text.front() == '.') {
        text.remove_prefix(1);
        fraction_digits = take_while(text, model::is_digit);
        if (fraction_digits.empty()) {
            return std::unexpected(expected);
        }
    }
    take_while(text, [](char c) { return c == ' '; });
    if (whole_digits.empty()) {
        return std::unexpected(expected);
    }
    for (const auto& [name, factor] : kUnits) {
        if (name != text) {
            continue;
        }
        std::uint64_t total = 0;
        const auto [end, error] =
            std::from_chars(whole_digits.data(), whole_digits.data() + whole_digits.size(), total);
        if (error != std::errc{} || __builtin_mul_overflow(total, factor, &total) ||
            total > static_cast<std::uint64_t>(INT64_MAX)) {
            return std::unexpected("too large");
        }
        std::uint64_t numerator = 0;
        std::uint64_t denominator = 1;
        for (const char digit : fraction_digits.substr(0, 6)) {
            numerator = numerator * 10 + static_cast<std::uint64_t>(digit - '0');
            denominator *= 10;
        }
        if (fraction_digits.size() > 6) {
            return std::unexpected("at most 6 digits after the point");
        }
        // factor is at most 2^40 and numerator below 10^6, so this does not overflow.
        return total + factor * numerator / denominator;
    }
    return std::unexpected("unknown unit `" + std::string(text) +
                           "`: the units are KiB, MiB, GiB, TiB and kB, MB, GB, TB");
}

Read<double> read_percentage(std::string_view text) {
    const std::string expected = "a percentage such as \"70%\" was expected";
    if (!text.ends_with('%')) {
        return std::unexpected(expected);
    }
    text.remove_suffix(1);
    double value = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::unexpected(expected);
    }
    if (!(value > 0 && value <= 100)) {
        return std::unexpected("a percentage is above 0 and at most 100");
    }
    return value;
}

Read<model::EventTime> read_time(std::string_view text) {
    const std::string expected = "a time such as \"2024-05-01T00:00:00Z\" was expected";
    int year = 0;
    int month = 0;
    int day = 0;
    int hour = 0;
    int minute = 0;
    int second = 0;
    if (!take_number(text, 4, year) || !take_char(text, '-') || !take_number(text, 2, month) ||
        !take_char(text, '-') || !take_number(text, 2, day)) {
        return std::unexpected(expected);
    }
    if (!take_char(text, 'T') && !take_char(text, 't') && !take_char(text, ' ')) {
        return std::unexpected(expected);
    }
    if (!take_number(text, 2, hour) || !take_char(text, ':') || !take_number(text, 2, minute) ||
        !take_char(text, ':') || !take_number(text, 2, second)) {
        return std::unexpected(expected);
    }
    std::int64_t fraction_ms = 0;
    if (take_char(text, '.')) {
        const std::string_view digits = take_while(text, model::is_digit);
        if (digits.empty()) {
            return std::unexpected(expected);
        }
        std::int64_t unit = 100;
        for (const char digit : digits.substr(0, 3)) {
            fraction_ms += (digit - '0') * unit;
            unit /= 10;
        }
    }
    std::int64_t zone_minutes = 0;
    if (!text.empty() && !take_char(text, 'Z') && !take_char(text, 'z')) {
        const std::int64_t sign = text.front() == '-' ? -1 : 1;
        int zone_hour = 0;
        int zone_minute = 0;
        if ((!take_char(text, '+') && !take_char(text, '-')) || !take_number(text, 2, zone_hour) ||
            !take_char(text, ':') || !take_number(text, 2, zone_minute) || zone_hour > 23 ||
            zone_minute > 59) {
            return std::unexpected(expected);
        }
        zone_minutes = sign * (zone_hour * 60 + zone_minute);
    }
    if (!text.empty()) {
        return std::unexpected(expected);
    }
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) ||
        hour > 23 || minute > 59 || second > 59) {
        return std::unexpected("there is no such date or time of day");
    }
    const std::int64_t seconds = days_from_date(year, month, day) * 86'400 + hour * 3'600 +
                                 minute * 60 + second - zone_minutes * 60;
    const model::EventTime time = seconds * 1'000 + fraction_ms;
    if (time < model::kFirstInstant || time > model::kLastInstant) {
        return std::unexpected("outside the years 0001 to 9999");
    }
    return time;
}

std::string print_duration(model::DurationMs duration) {
    if (duration == 0) {
        return "0s";
    }
    std::string text;
    for (const auto& [name, unit] : kDurationUnits) {
        if (const model::DurationMs count = duration / unit; count > 0) {
            text += std::to_string(count);
            text += name;
            duration -= count * unit;
        }
    }
    return text;
}

std::string print_size(std::uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) {
        return std::to_string(bytes) + " B";
    }
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 48> buffer{};
    const int length = std::snprintf(buffer.data(), buffer.size(),
                                     value < 10 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
    return {buffer.data(), static_cast<std::size_t>(length)};
}

std::string print_time(model::EventTime time) {
    const std::int64_t days = model::floor_div(time, 86'400'000);
    const std::int64_t ms = time - days * 86'400'000;
    const Date date = date_from_days(days);
    std::array<char, 64> buffer{};
    const int length =
        std::snprintf(buffer.data(), buffer.size(), "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ",
                      static_cast<long long>(date.year), date.month, date.day,
                      static_cast<int>(ms / 3'600'000), static_cast<int>(ms / 60'000 % 60),
                      static_cast<int>(ms / 1'000 % 60), static_cast<int>(ms % 1'000));
    return {buffer.data(), static_cast<std::size_t>(length)};
}

}  // namespace sluice::config
