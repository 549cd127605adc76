// A disk that refuses everything that writes: for those who look into what is not theirs.
#pragma once

#include "state/io/disk.h"

namespace sluice::state {

// `disk` must outlive it. Thread: as the disk below.
class ReadOnlyDisk final : public Disk {
 public:
    explicit ReadOnlyDisk(Disk& disk) : disk_(disk) {}

    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
        return refuse(path);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
        return refuse(path);
    }
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        return disk_.open(path);
    }
    model::Result<std::unique_ptr<ReadStream>> stream(const std::string& path) override {
        return disk_.stream(path);
    }
    model::Status make_directory(const std::string& path) override {
        // Asked for what is there, it has nothing to do.
        const auto info = disk_.info(path);
        return info && info->directory ? model::Status{} : refuse(path);
    }
    model::Status rename(const std::string& from, const std::string& /*to*/) override {
        return refuse(from);
    }
    model::Status link(const std::string& /*from*/, const std::string& to) override {
        return refuse(to);
    }
    model::Status remove(const std::string& path) override { return refuse(path); }
    model::Status truncate(const std::string& path, std::uint64_t /*size*/) override {
        return refuse(path);
    }
    model::Status sync_file(const std::string& path) override { return refuse(path); }
    model::Status sync_directory(const std::string& path) override { return refuse(path); }
    model::Result<std::vector<std::string>> list(const std::string& path) override {
        return disk_.list(path);
    }
    model::Result<FileFacts> info(const std::string& path) override { return disk_.info(path); }
    model::Result<DiskSpace> space(const std::string& path) override { return disk_.space(path); }
    DiskStatistics statistics() const override { return disk_.statistics(); }
    std::string_view name() const override { return disk_.name(); }

 private:
    static std::unexpected<model::Error> refuse(const std::string& path) {
        return model::unavailable(path + ": is only read");
    }

    Disk& disk_;
};

}  // namespace sluice::state
