#include "daemon/reload_requests.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "config/load.h"
#include "tests/unit/daemon/clicks_pipeline.h"

namespace sluice::daemon {
namespace {

class Reloads : public testing::Test {
 protected:
    Reloads()
        : folder_(std::filesystem::temp_directory_path() /
                  ("sluice-reload-" + std::to_string(getpid()))) {
        std::filesystem::create_directories(folder_);
        options_.file = (folder_ / "clicks.toml").string();
        write(test::kClicksFile);
        config::Loaded loaded = config::load(options_.file, {}, environment_);
        EXPECT_TRUE(loaded.pipeline) << config::to_text(loaded.diagnostics);
        pipeline_ = std::move(*loaded.pipeline);
    }
    ~Reloads() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& text) { std::ofstream(options_.file) << text; }
    void write_with(const std::string& from, const std::string& to) {
        std::string text = test::kClicksFile;
        text.replace(text.find(from), from.size(), to);
        write(text);
    }
    void ask() {
        const std::size_t at = answers_.size();
        answers_.emplace_back("");
        requests_.request([this, at](const model::Result<std::string>& verdict) {
            EXPECT_EQ(answers_[at], "") << "answered twice";
            answers_[at] = verdict ? *verdict : "error: " + verdict.error().text;
        });
    }
    std::shared_ptr<config::Pipeline> take_up() { return requests_.take_up(pipeline_, pipeline_); }

    std::filesystem::path folder_;
    RunOptions options_;
    config::Environment environment_ = config::environment_of();
    config::Pipeline pipeline_;
    ReloadRequests requests_{options_, environment_};
    std::vector<std::string> answers_;
};

TEST_F(Reloads, NobodyAsked) {
    write("not a file of settings");
    EXPECT_EQ(take_up(), nullptr);
    EXPECT_FALSE(requests_.under_way());
}

// The verdict is had when the settings are in force, by all that waited.
TEST_F(Reloads, TheVerdictComesWithTheSettings) {
    write_with("count()", "sum(price)");
    ask();
    ask();
    auto settings = take_up();
    ASSERT_NE(settings, nullptr);
    EXPECT_TRUE(requests_.under_way());
    EXPECT_EQ(answers_, (std::vector<std::string>{"", ""}));
    EXPECT_EQ(requests_.take_over(), settings);
    EXPECT_FALSE(requests_.under_way());
    EXPECT_EQ(answers_[0], "");
    requests_.in_force();
    EXPECT_EQ(answers_[0], R"({"applied":true,"restart":[]})");
    EXPECT_EQ(answers_[1], answers_[0]);
}

TEST_F(Reloads, WhatNeedsARestartIsNamedAndStaysAsItIs) {
    write_with("[sink]", "[log]\nlevel = \"debug\"\n[sink]");
    ask();
    const auto settings = take_up();
    ASSERT_NE(settings, nullptr);
    EXPECT_EQ(settings->log.level, pipeline_.log.level);
    requests_.take_over();
    requests_.in_force();
    EXPECT_EQ(answers_[0], R"({"applied":true,"restart":["log.level"]})");
}

TEST_F(Reloads, AFileThatIsWrongChangesNothing) {
    write_with("count()", "cuont()");
    ask();
    EXPECT_EQ(take_up(), nullptr);
    EXPECT_NE(answers_[0].find("\"applied\":false"), std::string::npos) << answers_[0];
    EXPECT_NE(answers_[0].find("\"exit_code\":78"), std::string::npos) << answers_[0];
    EXPECT_NE(answers_[0].find("count"), std::string::npos) << answers_[0];
}

TEST_F(Reloads, WhatBreaksStateIsRefused) {
    write_with("15s", "20s");
    ask();
    EXPECT_EQ(take_up(), nullptr);
    EXPECT_NE(answers_[0].find("\"applied\":false"), std::string::npos) << answers_[0];
    EXPECT_NE(answers_[0].find("window"), std::string::npos) << answers_[0];
}

TEST_F(Reloads, TheNameStays) {
    write_with("\"clicks\"", "\"cliques\"");
    ask();
    EXPECT_EQ(take_up(), nullptr);
    EXPECT_NE(answers_[0].find("`name` cannot be changed"), std::string::npos) << answers_[0];
}

TEST_F(Reloads, WhereNothingIsInForceWhoWaitsIsRefused) {
    ask();
    requests_.refuse();
    EXPECT_EQ(answers_[0], "error: no reload is possible now");
    EXPECT_EQ(take_up(), nullptr) << "answered";
}

// Who asks while one is under way is judged against what it leaves.
TEST_F(Reloads, ALaterRequestWaitsForItsOwnTurn) {
    ask();
    ASSERT_NE(take_up(), nullptr);
    ask();
    requests_.take_over();
    requests_.in_force();
    EXPECT_NE(answers_[0], "");
    EXPECT_EQ(answers_[1], "");
    ASSERT_NE(take_up(), nullptr);
    requests_.take_over();
    requests_.give_up({model::ErrorKind::cancelled, "the daemon stops"});
    EXPECT_EQ(answers_[1], "error: the daemon stops");
}

}  // namespace
}  // namespace sluice::daemon
