#include "config/units.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace sluice::config {
namespace {

TEST(Duration, IsReadByUnits) {
    EXPECT_EQ(read_duration("250ms"), 250);
    EXPECT_EQ(read_duration("15s"), 15'000);
    EXPECT_EQ(read_duration("1h30m"), 5'400'000);
    EXPECT_EQ(read_duration("2d"), 172'800'000);
    EXPECT_EQ(read_duration("1m1ms"), 60'001);
    EXPECT_EQ(read_duration("0"), 0);
    EXPECT_EQ(read_duration("0s"), 0);
}

TEST(Duration, RefusesWhatIsNone) {
    for (const char* text : {"", "15", "s", "1s1m", "1s1s", "-1s", "1.5s", " 1s", "1 s", "1y",
                             "99999999999999999999s", "40000d", "none"}) {
        EXPECT_FALSE(read_duration(text)) << text;
    }
}

RC_GTEST_PROP(Duration, ReadsWhatItPrints, ()) {
    const auto ms = *rc::gen::inRange<model::DurationMs>(0, 36500LL * 86'400'000);
    RC_ASSERT(read_duration(print_duration(ms)).value() == ms);
}

TEST(Size, IsReadByUnits) {
    EXPECT_EQ(read_size("512"), 512U);
    EXPECT_EQ(read_size("512B"), 512U);
    EXPECT_EQ(read_size("64KiB"), 65'536U);
    EXPECT_EQ(read_size("1.5GiB"), 1'610'612'736U);
    EXPECT_EQ(read_size("2 GiB"), 2'147'483'648U);
    EXPECT_EQ(read_size("10MB"), 10'000'000U);
}

TEST(Size, RefusesWhatIsNone) {
    for (const char* text :
         {"", "GiB", "1 gig", "-1", "1.", ".5GiB", "1mib", "99999999TiB", "1.1234567GiB"}) {
        EXPECT_FALSE(read_size(text)) << text;
    }
}

TEST(Percentage, IsAboveZeroAndAtMostAHundred) {
    EXPECT_EQ(read_percentage("70%"), 70.0);
    EXPECT_EQ(read_percentage("0.5%"), 0.5);
    for (const char* text : {"70", "0%", "101%", "%", "x%", "-1%", "nan%", "1e1%"}) {
        EXPECT_FALSE(read_percentage(text)) << text;
    }
}

TEST(Time, IsReadWithAndWithoutZone) {
    EXPECT_EQ(read_time("1970-01-01T00:00:00Z"), 0);
    EXPECT_EQ(read_time("1970-01-01 00:00:00"), 0);
    EXPECT_EQ(read_time("2024-05-01T02:00:00+02:00"), 1'714'521'600'000);
    EXPECT_EQ(read_time("2024-05-01T00:00:00.2509Z"), 1'714'521'600'250);
    EXPECT_EQ(read_time("0001-01-01T00:00:00Z"), model::kFirstInstant);
    EXPECT_EQ(read_time("9999-12-31T23:59:59.999Z"), model::kLastInstant);
    EXPECT_EQ(read_time("1969-12-31T23:59:59.999Z"), -1);
}

TEST(Time, RefusesWhatIsNone) {
    for (const char* text :
         {"", "2024-05-01", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2024-05-01T24:00:00Z",
          "2024-05-01T00:00:00.Z", "0000-01-01T00:00:00Z", "2024-05-01T00:00:00ZZ",
          "9999-12-31T23:59:59-01:00", "latest"}) {
        EXPECT_FALSE(read_time(text)) << text;
    }
}

RC_GTEST_PROP(Time, ReadsWhatItPrints, ()) {
    const auto ms = *rc::gen::inRange<model::EventTime>(model::kFirstInstant, model::kLastInstant);
    RC_ASSERT(read_time(print_time(ms)).value() == ms);
}

TEST(SizeForPeople, HasTwoSignificantDigits) {
    EXPECT_EQ(print_size(0), "0 B");
    EXPECT_EQ(print_size(1536), "1.5 KiB");
    EXPECT_EQ(print_size(16ULL << 30), "16 GiB");
}

}  // namespace
}  // namespace sluice::config
