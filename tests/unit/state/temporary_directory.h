// A directory of the test's own on the real disk, removed at the end.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace sluice::state {

class TemporaryDirectory {
 public:
    TemporaryDirectory() {
        std::string pattern = testing::TempDir() + "sluice-XXXXXX";
        path_ = ::mkdtemp(pattern.data()) != nullptr ? pattern : "/nonexistent";
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    const std::string& path() const { return path_; }

 private:
    std::string path_;
};

}  // namespace sluice::state
