#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <csignal>

#include "state/model/fail_point.h"

namespace sluice::model {
namespace {

void pass_one() { SLUICE_FAIL_POINT("test.one"); }
void pass_other() { SLUICE_FAIL_POINT("test.other"); }
void pass_one_elsewhere() { SLUICE_FAIL_POINT("test.one"); }

[[maybe_unused]] void never_called() { SLUICE_FAIL_POINT("test.never_passed"); }

TEST(FailPoint, IsKnownWithoutBeingPassed) {
    const auto names = fail_point_names();
    EXPECT_TRUE(std::ranges::is_sorted(names));
    for (const char* name : {"test.one", "test.other", "test.never_passed"}) {
        EXPECT_EQ(std::ranges::count(names, name), 1) << name;
    }
}

TEST(FailPoint, PassesAreCountedWhileSomebodyCounts) {
    pass_one();
    {
        FailPointCounts counts;
        EXPECT_EQ(counts.passes("test.one"), 0u);
        pass_one();
        pass_one_elsewhere();
        pass_other();
        EXPECT_EQ(counts.passes("test.one"), 2u) << "one name is one point";
        EXPECT_EQ(counts.passes("test.other"), 1u);
        EXPECT_EQ(counts.passes("test.never_passed"), 0u);
        EXPECT_EQ(counts.passes("no such point"), 0u);
    }
    pass_one();
    FailPointCounts counts;
    EXPECT_EQ(counts.passes("test.one"), 0u);
}

TEST(FailPointDeathTest, KillsAtTheOrderedPass) {
    EXPECT_EXIT(
        {
            if (!arm_fail_point("test.one", 3)) {
                _exit(1);
            }
            pass_other();
            pass_one();
            pass_one();
            pass_one();
            _exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
    EXPECT_EXIT(
        {
            if (!arm_fail_point("test.one", 3)) {
                _exit(1);
            }
            pass_one();
            pass_one();
            _exit(0);
        },
        testing::ExitedWithCode(0), "");
}

TEST(FailPointDeathTest, TheEnvironmentOrders) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";  // runs this program anew
    ::setenv("SLUICE_FAIL_POINT", "test.other:2", 1);
    EXPECT_EXIT(
        {
            pass_other();
            pass_one();
            pass_other();
            _exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
    ::setenv("SLUICE_FAIL_POINT", "test.one", 1);
    EXPECT_EXIT(
        {
            pass_one();
            _exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
    ::unsetenv("SLUICE_FAIL_POINT");
}

TEST(FailPoint, AMisspeltOrderIsAnError) {
    EXPECT_TRUE(check_fail_point_environment());
    for (const char* text : {"test.one", "test.one:1", "test.one:77", ""}) {
        ::setenv("SLUICE_FAIL_POINT", text, 1);
        EXPECT_TRUE(check_fail_point_environment()) << text;
    }
    for (const char* text : {"test.on", "test.one:", "test.one:0", "test.one:x", "test.one:3x"}) {
        ::setenv("SLUICE_FAIL_POINT", text, 1);
        const auto checked = check_fail_point_environment();
        ASSERT_FALSE(checked) << text;
        EXPECT_EQ(checked.error().kind, ErrorKind::invalid);
    }
    ::unsetenv("SLUICE_FAIL_POINT");
    EXPECT_FALSE(arm_fail_point("test.on", 1));
    EXPECT_FALSE(arm_fail_point("test.one", 0));
}

}  // namespace
}  // namespace sluice::model
