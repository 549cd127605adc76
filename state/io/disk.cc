#include "state/io/disk.h"

#include <utility>

#include "state/model/fail_point.h"

namespace sluice::state {

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
