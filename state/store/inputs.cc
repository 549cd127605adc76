#include "state/store/inputs.h"

#include "state/model/fail_point.h"
#include "state/store/checksum.h"

namespace sluice::state {
namespace {

constexpr std::uint64_t kMostBytes = 64ull << 20;

}  // namespace

std::string inputs_hash(std::string_view text) { return checksum_hex(text); }

Inputs::Inputs(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}

std::string Inputs::path(const std::string& hash) const { return directory_ + "/" + hash; }

model::Result<std::string> Inputs::keep(std::string_view text) {
    auto hash = inputs_hash(text);
    if (kept_.contains(hash)) {
        return hash;
    }
    if (kept_.empty()) {  // the first of this process: its own name is to last, too
        TRY(disk_.make_directory(directory_));
        TRY(disk_.sync_directory(parent_directory(directory_)));
    }
    if (auto there = read(hash)) {
        // Written by a process that may have died before its name was durable.
        TRY(disk_.sync_directory(directory_));
    } else {
        TRY(disk_.remove(path(hash)));
        TRY(write_file_durably(disk_, path(hash), text));
    }
    SLUICE_FAIL_POINT("inputs.kept");
    kept_.insert(hash);
    return hash;
}

model::Result<std::string> Inputs::read(const std::string& hash) const {
    TRY(text, read_file(disk_, path(hash), kMostBytes));
    if (inputs_hash(text) != hash) {
        return model::corrupt(path(hash) + ": the bytes are not those of its name");
    }
    return text;
}

model::Status Inputs::sweep(const std::set<std::string>& keep) {
    if (!disk_.info(directory_)) {
        return {};
    }
    TRY(names, disk_.list(directory_));
    for (const auto& name : names) {
        if (!keep.contains(name)) {
            kept_.erase(name);
            TRY(disk_.remove(path(name)));
        }
    }
    return {};
}

}  // namespace sluice::state
