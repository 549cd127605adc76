#include "state/store/verifier.h"

#include <algorithm>
#include <utility>

namespace sluice::state {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

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

// False: the file is in no snapshot any more, so no restart will read it.
model::Result<bool> Verifier::open_next() {
    const auto& wanted = files_[next_];
    const auto open = [&](const std::string& path) {
        auto file = disk_.open(path);
        if (file) {
            file_ = std::move(*file);
            file_path_ = path;
            checksum_ = std::make_unique<Checksum>();
            at_ = 0;
        }
        return file.has_value();
    };
    if (open(path_ + "/" + wanted.name)) {
        return true;
    }
    // Retention has taken the snapshot away; a newer one may still have the file.
    TRY(entries, catalogue_.list());
    for (const auto& entry : entries) {
        if (entry.meta && std::find(entry.meta->files.begin(), entry.meta->files.end(), wanted) !=
                              entry.meta->files.end()) {
            if (open(entry.path + "/" + wanted.name)) {
                path_ = entry.path;
                return true;
            }
        }
    }
    return false;
}

model::Error Verifier::damage(const std::string& reason) {
    std::string text = file_path_ + ": " + reason + "; damaged snapshots:";
    const auto info = disk_.info(file_path_);
    if (const auto paths =
            info ? catalogue_.linking(info->inode) : model::Result<std::vector<std::string>>{}) {
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
        TRY(there, open_next());
        if (!there) {
            bytes_ += files_[next_++].size;
            return true;
        }
    }
    const auto& wanted = files_[next_];
    buffer_.resize(kPieceBytes);
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, wanted.size - at_));
    TRY(got, file_->read(at_, size, buffer_.data()));
    if (got != size) {
        return std::unexpected(damage("it is shorter than it was"));
    }
    checksum_->add({buffer_.data(), got});
    at_ += got;
    bytes_ += got;
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
