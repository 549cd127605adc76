#include "daemon/check.h"

#include <gtest/gtest.h>
#include <linux/magic.h>

namespace sluice::daemon {
namespace {

TEST(FileSystem, ThoseThatAreNotKnownToKeepTheirWordAreNamed) {
    EXPECT_NE(file_system_problem_of(NFS_SUPER_MAGIC).find("NFS"), std::string::npos);
    EXPECT_NE(file_system_problem_of(FUSE_SUPER_MAGIC).find("FUSE"), std::string::npos);
    EXPECT_NE(file_system_problem_of(CIFS_SUPER_MAGIC).find("CIFS"), std::string::npos);
    for (const std::uint64_t local :
         std::initializer_list<std::uint64_t>{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                              OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC}) {
        EXPECT_EQ(file_system_problem_of(local), "") << local;
    }
}

}  // namespace
}  // namespace sluice::daemon
