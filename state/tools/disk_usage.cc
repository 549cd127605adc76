#include "state/tools/disk_usage.h"

#include <algorithm>
#include <map>

#include "state/store/catalogue.h"

namespace sluice::state {
namespace {

struct Names {
    FileFacts facts;
    std::uint32_t here = 0;
};

model::Status collect(Disk& disk, const std::string& path, std::map<std::uint64_t, Names>& files) {
    TRY(names, disk.list(path));
    for (const auto& name : names) {
        TRY(facts, disk.info(path + "/" + name));
        if (facts.directory && !facts.symbolic) {
            TRY(collect(disk, path + "/" + name, files));
        } else if (!facts.symbolic) {
            auto& file = files[facts.inode];
            file.facts = facts;
            ++file.here;
        }
    }
    return {};
}

bool is_snapshot(Disk& disk, const std::string& path) {
    return disk.info(path + "/" + kManifestName).has_value();
}

model::Result<std::vector<std::string>> children(Disk& disk, const std::string& path) {
    std::vector<std::string> found;
    const auto names = disk.list(path);
    if (!names) {
        return found;
    }
    for (const auto& name : *names) {
        if (is_snapshot(disk, path + "/" + name) && !name.ends_with(".partial")) {
            found.push_back(path + "/" + name);
        }
    }
    // Numbers of equal length sort as numbers.
    std::sort(found.begin(), found.end(), [](const std::string& a, const std::string& b) {
        const bool numbers =
            a.find_first_not_of("0123456789", a.rfind('/') + 1) == std::string::npos &&
            b.find_first_not_of("0123456789", b.rfind('/') + 1) == std::string::npos;
        return numbers && a.size() != b.size() ? a.size() < b.size() : a < b;
    });
    return found;
}

}  // namespace

model::Result<std::vector<std::string>> snapshots_in(Disk& disk, const std::string& path) {
    if (is_snapshot(disk, path)) {
        return std::vector<std::string>{path};
    }
    TRY(found, children(disk, path));
    for (const char* below : {"/checkpoints", "/savepoints"}) {
        TRY(more, children(disk, path + below));
        found.insert(found.end(), more.begin(), more.end());
    }
    return found;
}

model::Result<DiskUsages> disk_usage(Disk& disk, const std::vector<std::string>& paths) {
    DiskUsages usages;
    std::map<std::uint64_t, std::uint64_t> all;
    for (const auto& path : paths) {
        TRY(snapshots, snapshots_in(disk, path));
        if (snapshots.empty()) {
            return model::invalid(path + ": there is no snapshot");
        }
        for (const auto& snapshot : snapshots) {
            std::map<std::uint64_t, Names> files;
            TRY(collect(disk, snapshot, files));
            DiskUsage usage;
            usage.path = snapshot;
            for (const auto& [inode, names] : files) {
                usage.bytes += names.facts.size;
                (names.facts.links > names.here ? usage.shared : usage.exclusive) +=
                    names.facts.size;
                all[inode] = names.facts.size;
            }
            usages.snapshots.push_back(usage);
        }
    }
    for (const auto& [inode, size] : all) {
        usages.bytes += size;
    }
    return usages;
}

}  // namespace sluice::state
