// Numbers in the bytes of a portable stream: little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::state {

template <class Unsigned>
void put(char* to, Unsigned value) {
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        to[i] = static_cast<char>((value >> (8 * i)) & 0xff);
    }
}
template <class Unsigned>
void append(std::string& to, Unsigned value) {
    char bytes[sizeof(Unsigned)];
    put(bytes, value);
    to.append(bytes, sizeof bytes);
}
template <class Unsigned>
Unsigned get(const char* from) {
    Unsigned value = 0;
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        value |= static_cast<Unsigned>(static_cast<Unsigned>(static_cast<unsigned char>(from[i]))
                                       << (8 * i));
    }
    return value;
}

}  // namespace sluice::state
