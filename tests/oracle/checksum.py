"""XXH3-64 by the distribution's library: the checksum of every durable byte, and the hash of keys."""

import ctypes

_library = ctypes.CDLL("libxxhash.so.0")
_library.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_library.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def xxh3(data, seed=0):
    return _library.XXH3_64bits_withSeed(data, len(data), seed)
