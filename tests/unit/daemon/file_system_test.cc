#include "daemon/file_system.h"

#include <gtest/gtest.h>
#include <linux/magic.h>

namespace sluice::daemon {
namespace {

TEST(FileSystem, TypesThatDoNotKeepAStateAreNamed) {
    for (const auto& [type, name] : {std::pair<std::uint64_t, const char*>{NFS_SUPER_MAGIC, "NFS"},
                                     {TMPFS_MAGIC, "tmpfs"},
                                     {OVERLAYFS_SUPER_MAGIC, "overlay"},
                                     {FUSE_SUPER_MAGIC, "FUSE"},
                                     {CIFS_SUPER_MAGIC, "CIFS"},
                                     {MSDOS_SUPER_MAGIC, "FAT"},
                                     {AFS_SUPER_MAGIC, "AFS"}}) {
        EXPECT_NE(doubt_about_type(type).find(name), std::string::npos) << name;
    }
    for (const std::uint64_t type : std::initializer_list<std::uint64_t>{
             EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC}) {
        EXPECT_EQ(doubt_about_type(type), "") << type;
    }
    // f_type is signed on some machines.
    EXPECT_NE(doubt_about_type(static_cast<std::uint64_t>(static_cast<std::int32_t>(0xFF534D42))),
              "");
}

TEST(FileSystem, APlaceThatOthersCleanUpIsDoubtfulAlsoBeforeItIsThere) {
    EXPECT_FALSE(doubts_about("/tmp/not/there/yet").empty());
    EXPECT_FALSE(doubts_about("/var/tmp/x").empty());
}

}  // namespace
}  // namespace sluice::daemon
