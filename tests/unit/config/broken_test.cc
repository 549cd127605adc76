// Every file in broken/ against the diagnostics that stand beside it. To write them anew after a
// change that was meant: SLUICE_WRITE_GOLDEN=1.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "config/load.h"
#include "tests/unit/config/environment.h"

namespace sluice::config {
namespace {

const std::filesystem::path kFolder = SLUICE_BROKEN_CONFIGS;

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
        if (entry.path().extension() == ".toml") {
            found.push_back(entry.path().stem().string());
        }
    }
    std::ranges::sort(found);
    return found;
}

class Broken : public testing::TestWithParam<std::string> {};

TEST_P(Broken, GetsExactlyTheseDiagnostics) {
    const std::string name = GetParam() + ".toml";
    const Loaded loaded = load_text(read(kFolder / name), name, {}, environment_of());
    const std::string text = to_text(loaded.diagnostics);
    const std::filesystem::path golden = kFolder / (GetParam() + ".txt");
    if (std::getenv("SLUICE_WRITE_GOLDEN") != nullptr) {
        std::ofstream(golden, std::ios::binary) << text;
    }
    EXPECT_EQ(text, read(golden));
    EXPECT_EQ(loaded.pipeline.has_value(), loaded.outcome == Outcome::ok);
    EXPECT_EQ(has_error(loaded.diagnostics), loaded.outcome == Outcome::invalid);
}

TEST_P(Broken, NoDiagnosticIsSaidTwice) {
    const std::string name = GetParam() + ".toml";
    const Loaded loaded = load_text(read(kFolder / name), name, {}, environment_of());
    std::set<std::string> seen;
    for (const Diagnostic& diagnostic : loaded.diagnostics) {
        EXPECT_TRUE(seen.insert(to_text(diagnostic)).second) << to_text(diagnostic);
    }
}

// The first byte that is cut off may be anywhere: whatever is left is judged, never a crash.
TEST_P(Broken, AnyPrefixIsJudged) {
    const std::string text = read(kFolder / (GetParam() + ".toml"));
    for (std::size_t length = 0; length < text.size(); length += 13) {
        const Loaded loaded = load_text(text.substr(0, length), "cut.toml", {}, environment_of());
        EXPECT_EQ(loaded.pipeline.has_value(), !has_error(loaded.diagnostics));
    }
}

INSTANTIATE_TEST_SUITE_P(Files, Broken, testing::ValuesIn(names()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace sluice::config
