// A disk that refuses everything that writes: for those who look into what is not theirs.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "state/io/disk.h"

namespace sluice::state {

// `disk` must outlive it. Thread: as the disk below.
class ReadOnlyDisk : public Disk {
 public:
    explicit ReadOnlyDisk(Disk& disk) : disk_(disk) {}

    // Opens the file now: open() goes on giving it when its owner has removed it. Before anybody
    // else uses this disk.
    model::Status hold(const std::string& path) {
        TRY(file, disk_.open(path));
        held_[path] = std::move(file);
        return {};
    }

    model::Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
        return refuse(path);
    }
    model::Result<std::unique_ptr<WritableFile>> append_to(const std::string& path) override {
        return refuse(path);
    }
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        if (const auto held = held_.find(path); held != held_.end()) {
            return std::make_unique<Held>(held->second);
        }
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
    struct Held final : ReadableFile {
        explicit Held(std::shared_ptr<const ReadableFile> of) : file(std::move(of)) {}
        model::Result<std::size_t> read(std::uint64_t offset, std::size_t bytes,
                                        char* to) const override {
            return file->read(offset, bytes, to);
        }
        void read_soon(std::uint64_t offset, std::size_t bytes) const override {
            file->read_soon(offset, bytes);
        }
        std::uint64_t size() const override { return file->size(); }

        const std::shared_ptr<const ReadableFile> file;
    };

    static std::unexpected<model::Error> refuse(const std::string& path) {
        return model::unavailable(path + ": is only read");
    }

    Disk& disk_;
    std::map<std::string, std::shared_ptr<const ReadableFile>> held_;
};

}  // namespace sluice::state
