#include "state/io/disk.h"

#include <algorithm>
#include <utility>

#include "state/model/fail_point.h"

namespace sluice::state {
namespace {

constexpr std::size_t kStreamBytes = 256 * 1024;

// Nothing is read ahead.
class PlainStream final : public ReadStream {
 public:
    explicit PlainStream(std::unique_ptr<ReadableFile> file)
        : file_(std::move(file)), size_(file_->size()), buffer_(kStreamBytes) {}
    model::Result<std::string_view> next() override {
        const auto bytes =
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), size_ - at_));
        TRY(got, file_->read(at_, bytes, buffer_.data()));
        at_ += got;
        return std::string_view(buffer_.data(), got);
    }
    std::uint64_t size() const override { return size_; }

 private:
    const std::unique_ptr<ReadableFile> file_;
    const std::uint64_t size_;
    std::uint64_t at_ = 0;
    std::vector<char> buffer_;
};

}  // namespace

model::Result<std::unique_ptr<ReadStream>> Disk::stream(const std::string& path) {
    TRY(file, open(path));
    return std::make_unique<PlainStream>(std::move(file));
}

model::Status Disk::sync_files(std::span<const std::string> paths) {
    for (const std::string& path : paths) {
        TRY(sync_file(path));
    }
    return {};
}

std::string parent_directory(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

model::Result<std::string> read_file(Disk& disk, const std::string& path,
                                     std::uint64_t limit_bytes) {
    TRY(file, disk.open(path));
    if (file->size() > limit_bytes) {
        return model::corrupt(path + ": has " + std::to_string(file->size()) +
                              " bytes, more than any we write (" + std::to_string(limit_bytes) +
                              ")");
    }
    std::string bytes(static_cast<std::size_t>(file->size()), '\0');
    TRY(got, file->read(0, bytes.size(), bytes.data()));
    bytes.resize(got);
    return bytes;
}

model::Status remove_tree(Disk& disk, const std::string& path) {
    const auto info = disk.info(path);
    if (!info) {
        return info.error().kind == model::ErrorKind::invalid
                   ? model::Status{}
                   : model::Status(std::unexpected(info.error()));
    }
    if (info->directory) {
        TRY(names, disk.list(path));
        for (const std::string& name : names) {
            TRY(remove_tree(disk, path + "/" + name));
        }
    }
    return disk.remove(path);
}

model::Status write_file_durably(Disk& disk, const std::string& path, std::string_view bytes) {
    const std::string partial = path + ".partial";
    // Left behind by a process that died here; the lock says that nobody writes it any more.
    TRY(disk.remove(partial));
    {
        TRY(file, disk.create(partial));
        TRY(file->append(bytes));
        TRY(file->sync());
    }
    SLUICE_FAIL_POINT("disk.before_rename");
    TRY(disk.rename(partial, path));
    SLUICE_FAIL_POINT("disk.renamed");
    return disk.sync_directory(parent_directory(path));
}

}  // namespace sluice::state
