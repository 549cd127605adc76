#include "state/store/file_copy.h"

#include <algorithm>
#include <utility>

namespace sluice::state {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

FileCopy::FileCopy(Disk& disk, std::string from, std::string to, FileMeta file)
    : disk_(disk), from_(std::move(from)), to_(std::move(to)), file_(std::move(file)) {}

model::Result<bool> FileCopy::step() {
    if (!source_) {
        TRY(source, disk_.open(from_));
        if (source->size() != file_.size) {
            return model::corrupt(from_ + " has " + std::to_string(source->size()) +
                                  " bytes instead of " + std::to_string(file_.size));
        }
        TRY(target, disk_.create(to_));
        source_ = std::move(source);
        target_ = std::move(target);
        buffer_.resize(kPieceBytes);
    }
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, file_.size - at_));
    if (size > 0) {
        TRY(got, source_->read(at_, size, buffer_.data()));
        if (got != size) {
            return model::corrupt(from_ + " is shorter than it was");
        }
        const std::string_view piece(buffer_.data(), got);
        checksum_.add(piece);
        TRY(target_->append(piece));
        at_ += got;
    }
    if (at_ < file_.size) {
        return false;
    }
    if (checksum_.hex() != file_.checksum) {
        return model::corrupt(from_ + " does not match its checksum");
    }
    TRY(target_->sync());
    target_.reset();
    return true;
}

}  // namespace sluice::state
