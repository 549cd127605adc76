#include "sinks/control.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::sinks {
namespace {

Reply reply_of(const std::vector<std::string>& fields) {
    std::string bytes = "*" + std::to_string(fields.size()) + "\r\n";
    RequestWriter writer(bytes);
    for (const auto& field : fields) {
        writer.argument(field);
    }
    ReplyReader reader;
    reader.feed(bytes);
    return **reader.next();
}

TEST(Control, NamesOfTheKeys) {
    EXPECT_EQ(control_key("clicks"), "sluice:clicks");
    EXPECT_EQ(fence_key("clicks"), "sluice:clicks:fence");
}

TEST(Control, MarksKeepEveryByte) {
    const LaneMark mark{-5, 0xfedcba9876543210u, std::string("\x03 a\0b\r\n", 7)};
    EXPECT_EQ(encode_mark(mark).substr(0, 20), "-5 fedcba9876543210 ");
    EXPECT_EQ(decode_mark(encode_mark(mark)), mark);
    for (const auto* text :
         {"", "1", "1 12", "x 0123456789abcdef k", "1 0123456789abcdeg k", "1 0123456789abcdef"}) {
        EXPECT_FALSE(decode_mark(text)) << text;
    }
}

TEST(Control, MarksOrderByEndHashKey) {
    const LaneMark a{1, 9, "z"};
    const LaneMark b{2, 1, "a"};
    EXPECT_LT(a, b);
    EXPECT_LT((LaneMark{2, 1, "a"}), (LaneMark{2, 2, "a"}));
    EXPECT_LT((LaneMark{2, 1, "a"}), (LaneMark{2, 1, "b"}));
}

TEST(Control, HashIsRead) {
    const LaneMark mark{1000, 77, "k"};
    const auto control = read_control(
        reply_of({"lineage", "L", "barrier", "12", "frontier:spend", "-3", "lane:spend:15",
                  encode_mark(mark), "replication", "r", "of somebody", "else"}),
        0);
    ASSERT_TRUE(control);
    EXPECT_TRUE(control->present);
    EXPECT_EQ(control->lineage, "L");
    EXPECT_EQ(control->barrier, 12u);
    EXPECT_EQ(control->replication, "r");
    EXPECT_EQ(control->frontiers.at("spend"), -3);
    EXPECT_EQ(control->lanes.at("spend")[15], mark);
    EXPECT_FALSE(control->lanes.at("spend")[0]);
}

TEST(Control, WithoutLineageItIsNotThere) {
    EXPECT_FALSE(read_control(reply_of({}), 0)->present);
    EXPECT_FALSE(read_control(reply_of({"barrier", "1"}), 0)->present);
}

TEST(Control, WhatCannotBeReadIsNamed) {
    for (const auto& fields :
         std::vector<std::vector<std::string>>{{"barrier", "x"},
                                               {"frontier:a", ""},
                                               {"lane:a:16", "1 0123456789abcdef k"},
                                               {"lane:a:x", "1 0123456789abcdef k"},
                                               {"lane:1", "1 0123456789abcdef k"},
                                               {"lane:a:1", "k"}}) {
        const auto control = read_control(reply_of(fields), 0);
        ASSERT_FALSE(control) << fields[0];
        EXPECT_NE(control.error().text.find(fields[0]), std::string::npos);
    }
}

TEST(Control, Fence) {
    EXPECT_EQ(encode_fence({7, "host:12"}), "7 host:12");
    EXPECT_EQ(decode_fence("7 host:12"), (Fence{7, "host:12"}));
    EXPECT_EQ(decode_fence("nonsense").epoch, 0u);
    EXPECT_EQ(decode_fence("-1 x").epoch, 0u);
}

TEST(Control, InfoField) {
    const std::string_view info = "# Replication\r\nrole:master\r\nmaster_replid:ab\r\nx:1\r\n";
    EXPECT_EQ(info_field(info, "master_replid"), "ab");
    EXPECT_EQ(info_field(info, "master"), "");
    EXPECT_EQ(info_field("", "x"), "");
}

}  // namespace
}  // namespace sluice::sinks
