#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "sinks/resp.h"
#include "sinks/transaction.h"

namespace sluice::sinks {
namespace {

// What Redis says to MULTI, `commands` commands, EXEC, WATCH and GET.
TransactionReplies replies_of(std::string_view bytes, std::size_t commands,
                              std::size_t outside = 0) {
    TransactionReplies replies;
    replies.commands = commands;
    replies.outside = outside;
    ReplyReader reader;
    reader.feed(bytes);
    for (std::size_t position = 0; position < commands + 4; ++position) {
        const auto reply = reader.next();
        EXPECT_TRUE(reply && *reply != nullptr) << position;
        replies.take(**reply, position);
    }
    return replies;
}

TEST(TransactionReplies, AllOfItIsExecuted) {
    const auto replies =
        replies_of("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:3\r\n+OK\r\n$7\r\nfence-1\r\n", 2);
    EXPECT_TRUE(replies.queue_failures.empty());
    EXPECT_TRUE(replies.run_failures.empty());
    EXPECT_EQ(replies.exec_error, "");
    EXPECT_FALSE(replies.aborted);
    EXPECT_EQ(replies.added_fields, 3);
    EXPECT_EQ(replies.get, "fence-1");
}

// The fence was touched between WATCH and EXEC: nothing was executed.
TEST(TransactionReplies, ATouchedFenceAborts) {
    const auto replies = replies_of("+OK\r\n+QUEUED\r\n*-1\r\n+OK\r\n$7\r\nfence-2\r\n", 1);
    EXPECT_TRUE(replies.aborted);
    EXPECT_EQ(replies.get, "fence-2");
}

TEST(TransactionReplies, ACommandThatIsNotQueuedIsNamed) {
    const auto replies = replies_of(
        "+OK\r\n+QUEUED\r\n-ERR unknown command\r\n-EXECABORT discarded\r\n+OK\r\n$-1\r\n", 2);
    ASSERT_EQ(replies.queue_failures.size(), 1u);
    EXPECT_EQ(replies.queue_failures[0].command, 1u);
    EXPECT_EQ(replies.queue_failures[0].text, "ERR unknown command");
    EXPECT_EQ(replies.exec_error, "EXECABORT discarded");
    EXPECT_FALSE(replies.get) << "there is no fence";
}

// One command failed as it ran; the others, also arrays with arrays in them, were executed.
TEST(TransactionReplies, ACommandThatFailsAsItRunsIsNamed) {
    const auto replies = replies_of(
        "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
        "*3\r\n*2\r\n:1\r\n*1\r\n-not one of ours\r\n-WRONGTYPE it is a list\r\n:1\r\n"
        "+OK\r\n$1\r\nf\r\n",
        3);
    EXPECT_TRUE(replies.queue_failures.empty());
    ASSERT_EQ(replies.run_failures.size(), 1u);
    EXPECT_EQ(replies.run_failures[0].command, 1u);
    EXPECT_EQ(replies.run_failures[0].text, "WRONGTYPE it is a list");
    EXPECT_EQ(replies.added_fields, 1);
}

TEST(TransactionReplies, FewerAnswersThanCommandsAreNoExecution) {
    const auto replies =
        replies_of("+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n$1\r\nf\r\n", 2);
    EXPECT_EQ(replies.exec_error, "EXEC: an unexpected reply");
}

TEST(TransactionReplies, WhatSurroundsTheCommandsCanFailToo) {
    const auto multi = replies_of("-OOM used memory\r\n:1\r\n-ERR no\r\n+OK\r\n$1\r\nf\r\n", 1);
    ASSERT_FALSE(multi.queue_failures.empty());
    EXPECT_EQ(multi.queue_failures[0].command, 1u) << "behind all commands: none of them";
    EXPECT_EQ(multi.queue_failures[0].text, "OOM used memory");
    const auto get = replies_of("+OK\r\n+QUEUED\r\n*1\r\n:0\r\n+OK\r\n-LOADING\r\n", 1);
    ASSERT_EQ(get.queue_failures.size(), 1u);
    EXPECT_EQ(get.queue_failures[0].text, "LOADING");
    EXPECT_FALSE(get.get);
}

}  // namespace
}  // namespace sluice::sinks
