#include "ingest/dead_letter.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace sluice::ingest {
namespace {

namespace fs = std::filesystem;

class DeadLetterFileTest : public ::testing::Test {
 protected:
    DeadLetterFileTest() {
        std::string pattern = (fs::temp_directory_path() / "dead-letters-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        settings.path = directory_ / "dead.jsonl";
    }
    ~DeadLetterFileTest() override { fs::remove_all(directory_); }

    std::unique_ptr<DeadLetterFile> open() {
        auto file = DeadLetterFile::open(settings);
        EXPECT_TRUE(file.has_value()) << file.error().text;
        return std::move(*file);
    }
    std::string content() const {
        std::ifstream in(settings.path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void put(const std::string& text) const { std::ofstream(settings.path) << text; }

    DeadLetterFileSettings settings;
    fs::path directory_;
};

SetAside letter() {
    SetAside s;
    s.reason = "not JSON";
    s.first_offset = 7;
    s.timestamp = 1700000000000;
    s.key = "k";
    s.value = std::string("\x00\xff{", 3);
    s.headers = {{"h\"\n", "v"}, {"\xff", ""}, {"none", std::nullopt}};
    return s;
}

TEST(DeadLetterLine, IsOneLineOfJson) {
    const std::string line = dead_letter_line({"clicks", 3}, 7, letter());
    ASSERT_TRUE(line.ends_with('\n'));
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
    const auto json = nlohmann::json::parse(line);
    EXPECT_EQ(json["topic"], "clicks");
    EXPECT_EQ(json["partition"], 3);
    EXPECT_EQ(json["offset"], 7);
    EXPECT_FALSE(json.contains("last_offset"));
    EXPECT_EQ(json["timestamp"], 1700000000000);
    EXPECT_EQ(json["reason"], "not JSON");
    EXPECT_EQ(json["key"], "aw==");
    EXPECT_EQ(json["value"], "AP97");
    EXPECT_EQ(json["headers"][0][0], "h\"\n");
    EXPECT_EQ(json["headers"][0][1], "dg==");
    EXPECT_EQ(json["headers"][1][1], "");
    EXPECT_TRUE(json["headers"][2][1].is_null());
}

TEST(DeadLetterLine, KnowsNullsAndStretches) {
    SetAside s;
    s.reason = "broken";
    s.first_offset = 10;
    const auto json = nlohmann::json::parse(dead_letter_line({"t", 0}, 14, s));
    EXPECT_EQ(json["offset"], 10);
    EXPECT_EQ(json["last_offset"], 14);
    EXPECT_TRUE(json["timestamp"].is_null());
    EXPECT_TRUE(json["key"].is_null());
    EXPECT_TRUE(json["value"].is_null());
    EXPECT_TRUE(json["headers"].empty());
}

TEST(DeadLetterLine, Base64OfEveryLength) {
    const std::pair<std::string, std::string> cases[] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xfe\xfd", "//79"},
    };
    for (const auto& [bytes, text] : cases) {
        SetAside s;
        s.value = bytes;
        EXPECT_EQ(nlohmann::json::parse(dead_letter_line({"t", 0}, 0, s))["value"], text);
    }
}

TEST_F(DeadLetterFileTest, WritesWhatItTook) {
    auto file = open();
    ASSERT_TRUE(file->append("one\n"));
    ASSERT_TRUE(file->append("two\n"));
    EXPECT_EQ(content(), "") << "append only takes";
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(), "one\ntwo\n");
    EXPECT_EQ(file->written(), 2u);
    ASSERT_TRUE(file->append("three\n"));
    file->flush();
    EXPECT_EQ(content(), "one\ntwo\nthree\n");
}

TEST_F(DeadLetterFileTest, GoesOnWhereItStopped) {
    put("old\n");
    auto file = open();
    ASSERT_TRUE(file->append("new\n"));
    file.reset();
    EXPECT_EQ(content(), "old\nnew\n");
}

TEST_F(DeadLetterFileTest, CutsOffATornLine) {
    put("whole\n" + std::string(10'000, 'x'));
    auto file = open();
    EXPECT_EQ(content(), "whole\n");
    file.reset();
    put(std::string(10'000, 'x'));
    file = open();
    EXPECT_EQ(content(), "");
}

TEST_F(DeadLetterFileTest, PausesWhenFullUntilSomebodyMakesRoom) {
    settings.max_bytes = 10;
    auto file = open();
    ASSERT_TRUE(file->append("12345\n"));
    auto status = file->append("12345\n");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, model::ErrorKind::exhausted);
    ASSERT_TRUE(file->sync());
    EXPECT_FALSE(file->append("12345\n"));
    EXPECT_EQ(file->dropped(), 0u);

    fs::rename(settings.path, settings.path + ".1");
    file->flush();
    ASSERT_TRUE(file->append("67890\n"));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(), "67890\n");

    fs::resize_file(settings.path, 0);
    file->flush();
    ASSERT_TRUE(file->append("abc\n"));
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(), "abc\n");
}

TEST_F(DeadLetterFileTest, DropsAndCountsWhenFullIfToldSo) {
    settings.max_bytes = 10;
    settings.drop_when_full = true;
    auto file = open();
    ASSERT_TRUE(file->append("12345\n"));
    ASSERT_TRUE(file->append("12345\n"));
    EXPECT_EQ(file->dropped(), 1u);
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(), "12345\n");
}

TEST_F(DeadLetterFileTest, TheBufferIsBoundedButALongLinePasses) {
    settings.buffer_bytes = 10;
    auto file = open();
    const std::string longer(100, 'x');
    ASSERT_TRUE(file->append(longer + "\n"));
    EXPECT_EQ(file->append("a\n").error().kind, model::ErrorKind::exhausted);
    file->flush();
    ASSERT_TRUE(file->append("a\n"));
}

TEST_F(DeadLetterFileTest, SaysOnceThatTheBufferIsHalfFull) {
    int said = 0;
    settings.buffer_bytes = 20;
    settings.half_full = [&] { ++said; };
    auto file = open();
    for (const int expected : {1, 2}) {
        ASSERT_TRUE(file->append("12345\n"));
        EXPECT_EQ(said, expected - 1);
        ASSERT_TRUE(file->append("12345\n"));
        EXPECT_EQ(said, expected);
        ASSERT_TRUE(file->append("12345\n"));
        EXPECT_FALSE(file->append("12345\n"));
        EXPECT_EQ(said, expected);  // whoever was told is at it, or the disk is
        file->flush();
    }
}

TEST_F(DeadLetterFileTest, AFolderThatDoesNotExistIsSaid) {
    settings.path = directory_ / "no" / "dead.jsonl";
    const auto file = DeadLetterFile::open(settings);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().kind, model::ErrorKind::unavailable);
    EXPECT_NE(file.error().text.find("no/dead.jsonl"), std::string::npos);
}

TEST_F(DeadLetterFileTest, AFileThatCannotBeWrittenLosesNothing) {
    auto file = open();
    ASSERT_TRUE(file->append("one\n"));
    ASSERT_TRUE(file->sync());
    fs::rename(directory_, directory_.string() + ".away");
    ASSERT_TRUE(file->append("two\n"));
    EXPECT_FALSE(file->sync());
    fs::rename(directory_.string() + ".away", directory_);
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content(), "one\ntwo\n");
}

TEST_F(DeadLetterFileTest, TakesFromManyThreads) {
    auto file = open();
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&file] {
                for (int i = 0; i < 500; ++i) {
                    ASSERT_TRUE(file->append("0123456789\n"));
                }
            });
        }
        for (int i = 0; i < 20; ++i) {
            file->flush();
        }
    }
    ASSERT_TRUE(file->sync());
    EXPECT_EQ(content().size(), 4u * 500 * 11);
}

TEST(DeadLettersInMemory, LosesWhatWasNotSynced) {
    DeadLettersInMemory letters;
    ASSERT_TRUE(letters.append("a"));
    ASSERT_TRUE(letters.sync());
    ASSERT_TRUE(letters.append("b"));
    letters.crash();
    EXPECT_EQ(letters.lines(), std::vector<std::string>{"a"});
    letters.set_full(true);
    EXPECT_FALSE(letters.append("c"));
}

}  // namespace
}  // namespace sluice::ingest
