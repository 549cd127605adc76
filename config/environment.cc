#include "config/environment.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace sluice::config {
namespace {

std::optional<std::uint64_t> read_limit(const std::string& path) {
    std::ifstream file(path);
    std::string text;
    if (!(file >> text) || text == "max") {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} ? std::optional(value) : std::nullopt;
}

// A limit of any group above us holds as well, so all are asked: memory.max (version 2) and
// memory.limit_in_bytes (version 1).
std::uint64_t cgroup_limit() {
    std::uint64_t least = UINT64_MAX;
    std::ifstream groups("/proc/self/cgroup");
    std::string line;
    while (std::getline(groups, line)) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        std::string group = line.substr(second + 1);
        std::string root;
        std::string file;
        if (controllers.empty()) {
            root = "/sys/fs/cgroup";
            file = "/memory.max";
        } else if (controllers.find("memory") != std::string::npos) {
            root = "/sys/fs/cgroup/memory";
            file = "/memory.limit_in_bytes";
        } else {
            continue;
        }
        while (true) {
            if (const auto limit = read_limit(root + (group == "/" ? "" : group) + file)) {
                least = std::min(least, *limit);
            }
            if (group.size() <= 1) {
                break;
            }
            group.resize(group.rfind('/'));
        }
    }
    return least;
}

}  // namespace

Environment process_environment() {
    Environment environment;
    environment.variable = [](std::string_view name) -> std::optional<std::string> {
        const char* value = std::getenv(std::string(name).c_str());
        return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    };
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    const std::uint64_t machine =
        static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
    environment.memory_limit_bytes = std::min(machine, cgroup_limit());
    return environment;
}

}  // namespace sluice::config
