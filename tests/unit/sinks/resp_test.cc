#include "sinks/resp.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::sinks {
namespace {

TEST(Resp, RequestsAreCountedBytes) {
    std::string out;
    RequestWriter writer(out);
    writer.command({"SET", "a\r\nb", ""});
    EXPECT_EQ(out, "*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
    std::string_view rest = out;
    const auto words = take_request(rest);
    ASSERT_TRUE(words);
    EXPECT_EQ((*words)[1], "a\r\nb");
    EXPECT_TRUE(rest.empty());
    for (std::size_t cut = 0; cut < out.size(); ++cut) {
        std::string_view part = std::string_view(out).substr(0, cut);
        EXPECT_FALSE(take_request(part));
        EXPECT_EQ(part.size(), cut);
    }
}

// However the bytes are cut, the same replies come.
TEST(Resp, RepliesInPieces) {
    const std::string bytes =
        "+OK\r\n-ERR no\r\n:-7\r\n$-1\r\n$5\r\na\r\nbc\r\n*-1\r\n*0\r\n"
        "*3\r\n*2\r\n$1\r\nx\r\n:1\r\n-WRONGTYPE w\r\n+QUEUED\r\n"
        "*3\r\n:1\r\n:123456789012345678\r\n:0\r\n*2\r\n:1\r\n-MISCONF "
        "m\r\n:1234567890123456789\r\n";
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        ReplyReader reader;
        std::vector<Reply> replies;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            reader.feed(std::string_view(bytes).substr(at, piece));
            while (true) {
                const auto reply = reader.next();
                ASSERT_TRUE(reply);
                if (*reply == nullptr) {
                    break;
                }
                replies.push_back(**reply);
            }
        }
        ASSERT_EQ(replies.size(), 11u) << piece;
        EXPECT_TRUE(replies[0].is_status("OK"));
        EXPECT_TRUE(replies[1].is_error());
        EXPECT_EQ(replies[1].text(), "ERR no");
        EXPECT_EQ(replies[2].nodes[0].integer, -7);
        EXPECT_EQ(replies[3].kind(), Reply::Kind::nil);
        EXPECT_EQ(replies[4].text(), "a\r\nbc");
        EXPECT_EQ(replies[5].kind(), Reply::Kind::nil);
        EXPECT_TRUE(replies[6].is_array());
        EXPECT_EQ(replies[6].size(), 0u);
        const Reply& nested = replies[7];
        ASSERT_EQ(nested.nodes.size(), 6u);
        EXPECT_EQ(nested.next(0), 6u);
        EXPECT_EQ(nested.next(1), 4u);
        EXPECT_EQ(nested.text(nested.nodes[4]), "WRONGTYPE w");
        EXPECT_EQ(nested.nodes[5].kind, Reply::Kind::status);
        ASSERT_EQ(replies[8].nodes.size(), 4u);
        EXPECT_EQ(replies[8].size(), 3u);
        EXPECT_EQ(replies[8].nodes[2].integer, 123456789012345678);
        EXPECT_EQ(replies[8].next(0), 4u);
        ASSERT_EQ(replies[9].nodes.size(), 3u);
        EXPECT_EQ(replies[9].text(replies[9].nodes[2]), "MISCONF m");
        EXPECT_EQ(replies[10].nodes[0].integer, 1234567890123456789);
    }
}

TEST(Resp, NonsenseAndExcessAreErrors) {
    const auto broken = [](const std::string& bytes, std::size_t limit = 1000) {
        ReplyReader reader(limit);
        reader.feed(bytes);
        while (true) {
            const auto reply = reader.next();
            if (!reply) {
                return true;
            }
            if (*reply == nullptr) {
                return false;
            }
        }
    };
    EXPECT_TRUE(broken("HTTP/1.1 400\r\n"));
    EXPECT_TRUE(broken("$x\r\n"));
    EXPECT_TRUE(broken("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"));
    EXPECT_TRUE(broken("*2000000\r\n"));
    EXPECT_TRUE(broken("+" + std::string(40'000, 'x')));
    EXPECT_TRUE(broken("$100000\r\n" + std::string(40'000, 'x')));
    EXPECT_FALSE(broken("*1\r\n*1\r\n*1\r\n:1\r\n"));
}

TEST(Resp, AResetForgetsHalfAReply) {
    ReplyReader reader;
    reader.feed("$10\r\nabc");
    ASSERT_TRUE(reader.next());
    reader.reset();
    reader.feed("+OK\r\n");
    const auto reply = reader.next();
    ASSERT_TRUE(reply && *reply != nullptr);
    EXPECT_TRUE((*reply)->is_status("OK"));
}

}  // namespace
}  // namespace sluice::sinks
