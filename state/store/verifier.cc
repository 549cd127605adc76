#include "state/store/verifier.h"

#include <algorithm>
#include <utility>

namespace sluice::state {

Verifier::Verifier(Disk& disk, Catalogue& catalogue, const model::Clock& clock,
                   std::uint64_t bytes_per_second)
    : disk_(disk), catalogue_(catalogue), clock_(clock), bytes_per_second_(bytes_per_second) {}

void Verifier::begin(std::string path, const CheckpointMeta& meta) {
    path_ = std::move(path);
    files_ = meta.files;
    next_ = 0;
    file_.reset();
    bytes_ = total_bytes_ = 0;
    for (const auto& file : files_) {
        total_bytes_ += file.size;
    }
    begun_ms_ = clock_.steady_ms();
}

// False: the file is gone, and with it the snapshot: no restart will read it.
bool Verifier::open_next() {
    file_path_ = path_ + "/" + files_[next_].name;
    auto file = disk_.background().stream(file_path_);
    if (!file) {
        return false;
    }
    file_ = std::move(*file);
    checksum_ = std::make_unique<Checksum>();
    at_ = 0;
    return true;
}

model::Error Verifier::damage(const std::string& reason) {
    std::string text = file_path_ + ": " + reason + "; damaged snapshots:";
    const auto info = disk_.info(file_path_);
    if (const auto paths = info ? catalogue_.linking(info->inode)
                                : model::Result<std::vector<std::string>>({path_})) {
        for (const auto& path : *paths) {
            text += " " + path;
            if (auto marked = catalogue_.set_damaged(path, file_path_ + ": " + reason, true);
                !marked) {
                text += " (not marked: " + marked.error().text + ")";
            }
        }
    }
    return {model::ErrorKind::corrupt, std::move(text)};
}

model::Result<bool> Verifier::step() {
    if (done()) {
        return false;
    }
    const auto elapsed_ms = static_cast<std::uint64_t>(clock_.steady_ms() - begun_ms_);
    if (bytes_ / bytes_per_second_ * 1000 + bytes_ % bytes_per_second_ * 1000 / bytes_per_second_ >
        elapsed_ms) {
        return false;
    }
    if (!file_) {
        if (!open_next()) {
            // A savepoint is its owner's: what goes loses its manifest first.
            if (disk_.info(path_ + "/" + kManifestName)) {
                return std::unexpected(damage("it cannot be opened"));
            }
            bytes_ += files_[next_++].size;
            return true;
        }
    }
    const auto& wanted = files_[next_];
    if (file_->size() != wanted.size) {
        return std::unexpected(damage("it has " + std::to_string(file_->size()) +
                                      " bytes instead of " + std::to_string(wanted.size)));
    }
    TRY(piece, file_->next());
    checksum_->add(piece);
    at_ += piece.size();
    bytes_ += piece.size();
    if (at_ == wanted.size) {
        if (checksum_->hex() != wanted.checksum) {
            return std::unexpected(damage("it does not match its checksum"));
        }
        file_.reset();
        ++next_;
    }
    return true;
}

}  // namespace sluice::state
