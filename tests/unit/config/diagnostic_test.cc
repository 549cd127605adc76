#include "config/diagnostic.h"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

namespace sluice::config {
namespace {

TEST(Nearest, FindsWhatWasMeant) {
    const std::array<std::string_view, 5> valid{"topic", "topics", "start", "brokers", "every"};
    const auto near = [&](std::string_view name) {
        return nearest(name, std::span<const std::string_view>(valid));
    };
    EXPECT_EQ(near("topik"), "topic");
    EXPECT_EQ(near("evry"), "every");
    EXPECT_EQ(near("strat"), "start") << "a transposition is one mistake";
    EXPECT_EQ(near("broker"), "brokers");
    EXPECT_EQ(near("windows"), "");
    EXPECT_EQ(near("x"), "");
    EXPECT_EQ(near(""), "");
}

TEST(Nearest, DoesNotTurnAShortNameIntoAnother) {
    const std::array<std::string_view, 2> valid{"s", "ms"};
    EXPECT_EQ(nearest("x", std::span<const std::string_view>(valid)), "");
}

TEST(DiagnosticText, PutsTheCaretBelowTheCharacter) {
    const Diagnostic diagnostic{.file = "a.toml",
                                .line = 12,
                                .column = 5,
                                .length = 3,
                                .message = "no",
                                .hint = "yes",
                                .source_line = "ä = xyz"};
    EXPECT_EQ(to_text(diagnostic),
              "a.toml:12:5: error: no\n   12 | ä = xyz\n      |     ^^^ yes\n");
}

TEST(DiagnosticText, ShowsControlCharactersInsteadOfObeyingThem) {
    const Diagnostic diagnostic{
        .file = "a\x1b[2J.toml", .message = "bell \a", .hint = "\r", .source_line = "\tx\x1b"};
    const std::string text = to_text(diagnostic);
    for (const char c : text) {
        EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << int{c};
    }
}

TEST(DiagnosticText, NeverDrawsBeyondTheLine) {
    const Diagnostic diagnostic{
        .file = "a", .column = 90, .length = 50, .message = "m", .source_line = "short"};
    EXPECT_EQ(to_text(diagnostic), "a:1:90: error: m\n    1 | short\n      |      ^\n");
}

TEST(DiagnosticJson, HasExactlyTheContractsMembers) {
    const std::array<Diagnostic, 1> list{Diagnostic{.file = "a.toml",
                                                    .line = 2,
                                                    .column = 3,
                                                    .severity = Severity::warning,
                                                    .message = "m \xff",
                                                    .hint = "h"}};
    EXPECT_EQ(
        to_json(list),
        "[{\"file\":\"a.toml\",\"line\":2,\"column\":3,\"severity\":\"warning\",\"message\":\"m "
        "\xEF\xBF\xBD\",\"hint\":\"h\"}]");
    EXPECT_EQ(to_json({}), "[]");
}

TEST(DiagnosticTotals, AreCounted) {
    const std::array<Diagnostic, 3> list{
        Diagnostic{.file = "a", .message = "x"}, Diagnostic{.file = "a", .message = "y"},
        Diagnostic{.file = "a", .severity = Severity::warning, .message = "z"}};
    EXPECT_TRUE(to_text(list).ends_with("2 errors, 1 warning.\n"));
    EXPECT_EQ(to_text(std::span<const Diagnostic>()), "");
}

}  // namespace
}  // namespace sluice::config
