// RocksDB's slice as the standard's view.
#pragma once

#include <rocksdb/slice.h>

#include <string_view>

namespace sluice::state {

inline std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace sluice::state
