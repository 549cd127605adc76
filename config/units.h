// Durations, sizes, shares and instants as a person writes them, and back.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "state/model/time.h"

namespace sluice::config {

// The error text says what was expected; it does not repeat the input.
template <class T>
using Read = std::expected<T, std::string>;

// "250ms" "15s" "1h30m" "2d": whole numbers with ms, s, m, h, d, each unit at most once, greatest
// first. A bare "0" is zero; any other number needs a unit. Never negative.
Read<model::DurationMs> read_duration(std::string_view text);

// "512" "64KiB" "64MiB" "2GiB" "1TiB" (powers of 1024) and "kB" "MB" "GB" "TB" (powers of 1000); a
// fraction ("1.5GiB") is rounded down to whole bytes.
Read<std::uint64_t> read_size(std::string_view text);

// "70%": more than 0, at most 100. The number of per cent.
Read<double> read_percentage(std::string_view text);

// RFC 3339 with 'T' or a blank; without a zone it is UTC; years 0001 to 9999. Finer than
// milliseconds is floored.
Read<model::EventTime> read_time(std::string_view text);

std::string print_duration(model::DurationMs duration);  // "1h30m"; reads back to the same value
std::string print_size(std::uint64_t bytes);             // "1.5 GiB", for people
std::string print_time(model::EventTime time);           // "2024-05-01T00:00:00.250Z"

}  // namespace sluice::config
