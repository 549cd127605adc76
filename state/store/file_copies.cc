#include "state/store/file_copies.h"

#include <algorithm>
#include <utility>

#include "state/model/invariant.h"

namespace sluice::state {
namespace {

// Each holds what it reads ahead: 1 MiB on a real disk.
constexpr std::size_t kUnderWay = 4;

}  // namespace

model::Status FileCopies::begin(const std::string& from, std::string to, const FileMeta& meta) {
    INVARIANT(!full(), "so many files are under way at most");
    auto file = std::make_unique<File>();
    TRY(source, disk_.stream(from));
    if (source->size() != meta.size) {
        return model::corrupt(from + " has " + std::to_string(source->size()) +
                              " bytes instead of " + std::to_string(meta.size));
    }
    TRY(target, disk_.create(to));
    file->from = from;
    file->to = std::move(to);
    file->meta = meta;
    file->source = std::move(source);
    file->target = std::move(target);
    files_.push_back(std::move(file));
    return {};
}

bool FileCopies::full() const { return files_.size() == kUnderWay; }
bool FileCopies::empty() const { return files_.empty(); }

model::Result<bool> FileCopies::step() {
    const auto unread =
        std::ranges::find_if(files_, [](const auto& file) { return file->source != nullptr; });
    if (unread != files_.end()) {
        TRY(copy_piece(**unread));
        return false;
    }
    INVARIANT(!files_.empty(), "there is something to do");
    TRY(files_.front()->target->sync());
    files_.pop_front();
    return true;
}

model::Status FileCopies::copy_piece(File& file) {
    TRY(piece, file.source->next());
    file.checksum.add(piece);
    TRY(file.target->append(piece));
    file.bytes += piece.size();
    if (file.bytes < file.meta.size) {
        return {};
    }
    if (file.checksum.hex() != file.meta.checksum) {
        return model::corrupt(file.from + " does not match its checksum");
    }
    file.source.reset();
    file.target->begin_sync();
    return {};
}

std::uint64_t FileCopies::bytes() const {
    std::uint64_t bytes = 0;
    for (const auto& file : files_) {
        bytes += file->bytes;
    }
    return bytes;
}

void FileCopies::clear() { files_.clear(); }

}  // namespace sluice::state
