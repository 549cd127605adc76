#include "state/io/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <random>
#include <string>

#include "state/model/fail_point.h"
#include "tests/simulation/simulated_disk.h"

namespace sluice::state {
namespace {

using model::Barrier;
using model::BarrierKind;
using model::BarrierNumber;
using simulation::CrashKind;
using simulation::SimulatedDisk;

constexpr Lineage kFirst{1, 2, 3};
constexpr Lineage kSecond{9, 8, 7};

Barrier barrier(BarrierNumber number, BarrierKind kind = BarrierKind::tick) {
    Barrier b;
    b.number = number;
    b.kind = kind;
    b.time = -5'000 + static_cast<model::EventTime>(number) * 15'000;
    b.clock = 1'700'000'000'000 + static_cast<model::EventTime>(number);
    if (kind == BarrierKind::idle) {
        b.idle = {{"clicks", 3}, {"views", 0}};
    } else if (kind == BarrierKind::reload) {
        b.reload = "{\"inputs\":\"0123\"}";
    }
    b.next_offsets = {{{"clicks", 0}, static_cast<model::Offset>(number * 10)},
                      {{"clicks", 3}, static_cast<model::Offset>(number)},
                      {{"views", 0}, 7}};
    return b;
}

bool same(const Barrier& a, const Barrier& b) {
    return a.number == b.number && a.kind == b.kind && a.time == b.time && a.clock == b.clock &&
           a.idle == b.idle && a.reload == b.reload && a.next_offsets == b.next_offsets;
}

model::Result<Journal::Opened> open(Disk& disk, const std::string& boot = "boot1",
                                    std::uint64_t segment_bytes = 8 << 20) {
    return Journal::open(disk, "/journal", {boot, segment_bytes});
}

std::unique_ptr<Journal> open_or_die(Disk& disk, const std::string& boot = "boot1",
                                     std::uint64_t segment_bytes = 8 << 20) {
    auto opened = open(disk, boot, segment_bytes);
    EXPECT_TRUE(opened) << opened.error().text;
    return opened ? std::move(opened->journal) : nullptr;
}

std::vector<BarrierNumber> numbers(const Journal& journal, BarrierNumber after = 0) {
    std::vector<BarrierNumber> result;
    const auto entries = journal.entries_after(after);
    EXPECT_TRUE(entries) << entries.error().text;
    for (const Barrier& entry : entries.value_or(std::vector<Barrier>{})) {
        result.push_back(entry.number);
    }
    return result;
}

model::Status append(Journal& journal, std::vector<BarrierNumber> which) {
    std::vector<Barrier> barriers;
    for (const BarrierNumber number : which) {
        barriers.push_back(barrier(number));
    }
    return journal.append(barriers);
}

using Numbers = std::vector<BarrierNumber>;

TEST(Journal, GivesBackWhatWasAppended) {
    SimulatedDisk disk(1);
    std::vector<Barrier> written;
    {
        auto journal = open_or_die(disk);
        EXPECT_FALSE(journal->has_lineage());
        ASSERT_TRUE(journal->start_lineage(kFirst, 0));
        BarrierNumber number = 0;
        for (const BarrierKind kind :
             {BarrierKind::cut, BarrierKind::tick, BarrierKind::cap, BarrierKind::idle,
              BarrierKind::emit, BarrierKind::reload, BarrierKind::pause, BarrierKind::close}) {
            number += 3;  // seals between them have numbers, too
            written.push_back(barrier(number, kind));
        }
        written[0].time = model::kBeforeAll;
        written[1].next_offsets.clear();
        ASSERT_TRUE(journal->append(std::span(written).first(2)));
        ASSERT_TRUE(journal->append(std::span(written).subspan(2)));
        EXPECT_EQ(journal->last_number(), 24u);
    }
    auto journal = open_or_die(disk, "boot2");
    EXPECT_EQ(journal->lineage(), kFirst);
    EXPECT_EQ(journal->last_number(), 24u);
    EXPECT_EQ(journal->highest_offsets().at({"clicks", 0}), 240);
    const auto read = journal->entries_after(0);
    ASSERT_TRUE(read) << read.error().text;
    ASSERT_EQ(read->size(), written.size());
    for (std::size_t i = 0; i < written.size(); ++i) {
        EXPECT_TRUE(same((*read)[i], written[i])) << i;
    }
    EXPECT_EQ(numbers(*journal, 12), (Numbers{15, 18, 21, 24}));
    EXPECT_FALSE(journal->has_gap_after(0));
    EXPECT_EQ(disk.list("/journal")->size(), 1u) << "a start carries the newest segment over";
    EXPECT_EQ(disk.list("/journal")->front(), "00000000000000000001-boot2.journal");
}

TEST(Journal, ManyBarriersAreOneWriteAndOneSync) {
    SimulatedDisk disk(1);
    auto journal = open_or_die(disk);
    ASSERT_TRUE(journal->start_lineage(kFirst, 0));
    const std::uint64_t before = disk.operations();
    ASSERT_TRUE(append(*journal, {1, 2, 3, 4, 5}));
    EXPECT_EQ(disk.operations() - before, 2u);
    EXPECT_EQ(numbers(*journal), (Numbers{1, 2, 3, 4, 5}));
}

TEST(Journal, AppendIsDurableWhenItReturns) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        SimulatedDisk disk(seed);
        auto journal = open_or_die(disk);
        ASSERT_TRUE(journal->start_lineage(kFirst, 0));
        ASSERT_TRUE(append(*journal, {1, 2}));
        disk.crash_now();
        auto next = disk.after_crash(seed);
        EXPECT_EQ(numbers(*open_or_die(*next, "boot2")), (Numbers{1, 2})) << seed;
    }
}

TEST(Journal, AFailureIsFinal) {
    for (const int operation : {1, 2}) {
        SimulatedDisk disk(1);
        auto journal = open_or_die(disk);
        ASSERT_TRUE(journal->start_lineage(kFirst, 0));
        ASSERT_TRUE(append(*journal, {1}));
        disk.fail_at(disk.operations() + static_cast<std::uint64_t>(operation));
        EXPECT_FALSE(append(*journal, {2}));
        EXPECT_EQ(journal->last_number(), 1u);
        EXPECT_FALSE(append(*journal, {2})) << "the disk would take it by now; we do not";
        EXPECT_FALSE(journal->start_lineage(kSecond, 0));
        EXPECT_FALSE(journal->forget_before(1));
    }
}

TEST(Journal, AFullDiskIsExhausted) {
    SimulatedDisk disk(1);
    auto journal = open_or_die(disk);
    ASSERT_TRUE(journal->start_lineage(kFirst, 0));
    disk.set_budget(disk.used_bytes() + 20);
    const auto full = append(*journal, {1});
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, model::ErrorKind::exhausted);
    disk.set_budget(std::nullopt);
    disk.crash_now(CrashKind::process);
    auto next = disk.after_crash(1);
    EXPECT_EQ(numbers(*open_or_die(*next, "boot2")), Numbers{});
}

// Three segments and, in the last, three frames; nothing in flight. The shape of each file with it.
struct Sample {
    std::unique_ptr<SimulatedDisk> disk = std::make_unique<SimulatedDisk>(1);
    std::vector<std::string> paths;
    std::vector<Numbers> held;                           // per path
    std::vector<std::vector<std::uint64_t>> frame_ends;  // per path
    std::vector<Numbers> frames_of_last;
};

Sample sample() {
    Sample s;
    auto journal = open_or_die(*s.disk, "boot1", 600);
    EXPECT_TRUE(journal->start_lineage(kFirst, 0));
    BarrierNumber number = 0;
    std::string last_path;
    for (int i = 0; i < 40 && s.paths.size() < 4; ++i) {
        const Numbers now = i % 2 == 0 ? Numbers{number + 1, number + 2} : Numbers{number + 1};
        EXPECT_TRUE(append(*journal, now));
        number = now.back();
        const std::string path = "/journal/" + s.disk->list("/journal")->back();
        if (path != last_path) {
            s.paths.push_back(path);
            s.held.emplace_back();
            s.frame_ends.emplace_back();
            s.frames_of_last.clear();
            last_path = path;
        }
        s.held.back().insert(s.held.back().end(), now.begin(), now.end());
        s.frame_ends.back().push_back(s.disk->info(path)->size);
        s.frames_of_last.push_back(now);
    }
    // One segment too many begun: it holds one frame; give it two more.
    for (int i = 0; i < 2; ++i) {
        EXPECT_TRUE(append(*journal, {number + 1}));
        ++number;
        EXPECT_EQ("/journal/" + s.disk->list("/journal")->back(), last_path);
        s.held.back().push_back(number);
        s.frame_ends.back().push_back(s.disk->info(last_path)->size);
        s.frames_of_last.push_back({number});
    }
    s.disk->crash_now();
    return s;
}

Numbers all_of(const Sample& s) {
    Numbers all;
    for (const Numbers& held : s.held) {
        all.insert(all.end(), held.begin(), held.end());
    }
    return all;
}

TEST(Journal, EveryFlippedByteIsDetectedOrATornTail) {
    const Sample s = sample();
    ASSERT_EQ(s.paths.size(), 4u);
    std::mt19937 random(1);
    std::uint64_t torn = 0;
    std::uint64_t detected = 0;
    for (std::size_t file = 0; file < s.paths.size(); ++file) {
        const bool newest = file + 1 == s.paths.size();
        for (std::uint64_t at = 0; at < s.frame_ends[file].back(); ++at) {
            auto disk = s.disk->after_crash(0);
            ASSERT_TRUE(
                disk->flip(s.paths[file], at, static_cast<std::uint8_t>(1 + random() % 255)));
            auto opened = open(*disk, "boot2");
            const auto& ends = s.frame_ends[file];
            if (newest && at >= ends[ends.size() - 2]) {
                // The last frame: as if it had been torn. Everything before it is there.
                ASSERT_TRUE(opened) << s.paths[file] << " byte " << at << opened.error().text;
                Numbers rest = all_of(s);
                rest.resize(rest.size() - s.frames_of_last.back().size());
                ASSERT_EQ(numbers(*opened->journal), rest) << at;
                ASSERT_EQ(opened->repairs.size(), 1u);
                ++torn;
            } else {
                ASSERT_FALSE(opened) << s.paths[file] << " byte " << at << " was not noticed";
                ASSERT_EQ(opened.error().kind, model::ErrorKind::corrupt);
                ASSERT_NE(opened.error().text.find(s.paths[file]), std::string::npos)
                    << opened.error().text;
                ++detected;
            }
        }
    }
    EXPECT_GT(torn, 50u);
    EXPECT_GT(detected, 500u);
}

TEST(Journal, EveryTruncationIsDetectedOrATornTail) {
    const Sample s = sample();
    const Numbers all = all_of(s);
    for (std::size_t file = 0; file < s.paths.size(); ++file) {
        const bool newest = file + 1 == s.paths.size();
        const auto& ends = s.frame_ends[file];
        for (std::uint64_t length = 0; length < ends.back(); ++length) {
            auto disk = s.disk->after_crash(0);
            ASSERT_TRUE(disk->truncate(s.paths[file], length));
            auto opened = open(*disk, "boot2");
            const bool at_an_end =
                length == 64 || std::find(ends.begin(), ends.end(), length) != ends.end();
            if (length < 64 || (!newest && !at_an_end)) {
                ASSERT_FALSE(opened) << s.paths[file] << " cut to " << length;
                ASSERT_EQ(opened.error().kind, model::ErrorKind::corrupt);
            } else if (!newest) {
                // Whole frames are gone from the middle: a gap for whoever needs them.
                ASSERT_TRUE(opened) << opened.error().text;
                ASSERT_TRUE(opened->journal->has_gap_after(0));
                ASSERT_TRUE(opened->journal->has_gap_after(s.held[file].back() - 1));
                ASSERT_FALSE(opened->journal->has_gap_after(s.held[file].back()));
            } else {
                ASSERT_TRUE(opened) << opened.error().text;
                const Numbers left = numbers(*opened->journal);
                ASSERT_EQ(left, Numbers(all.begin(),
                                        all.begin() + static_cast<std::ptrdiff_t>(left.size())));
                std::size_t whole = 0;
                for (const std::uint64_t end : ends) {
                    whole += end <= length ? 1 : 0;
                }
                std::size_t expected = all.size() - s.held[file].size();
                for (std::size_t i = 0; i < whole; ++i) {
                    expected += s.frames_of_last[i].size();
                }
                ASSERT_EQ(left.size(), expected) << length;
                ASSERT_EQ(opened->repairs.size(), at_an_end ? 0u : 1u);
            }
        }
    }
}

TEST(Journal, AMissingSegmentIsAGap) {
    const Sample s = sample();
    for (std::size_t file = 0; file + 1 < s.paths.size(); ++file) {
        auto disk = s.disk->after_crash(0);
        ASSERT_TRUE(disk->remove(s.paths[file]));
        auto journal = open_or_die(*disk, "boot2");
        EXPECT_TRUE(journal->has_gap_after(s.held[file].front() - 1));
        EXPECT_TRUE(journal->has_gap_after(s.held[file].back() - 1));
        EXPECT_FALSE(journal->has_gap_after(s.held[file].back()));
    }
}

TEST(Journal, SegmentsAreForgottenWholeAndInOrder) {
    const Sample s = sample();
    auto disk = s.disk->after_crash(0);
    auto journal = open_or_die(*disk, "boot2", 600);
    ASSERT_TRUE(journal->forget_before(s.held[1].back() - 1));
    EXPECT_EQ(journal->segments(), 3u) << "the second still holds an entry that is needed";
    ASSERT_TRUE(journal->forget_before(s.held[1].back()));
    EXPECT_EQ(journal->segments(), 2u);
    EXPECT_EQ(numbers(*journal).front(), s.held[2].front());
    EXPECT_FALSE(journal->has_gap_after(s.held[1].back()));
    EXPECT_TRUE(journal->has_gap_after(s.held[1].back() - 1));
    ASSERT_TRUE(journal->forget_before(1'000'000));
    EXPECT_EQ(journal->segments(), 1u) << "the newest stays: it says where we are";
    EXPECT_EQ(journal->last_number(), s.held[3].back());
    disk->crash_now();
    auto next = disk->after_crash(0);
    auto again = open_or_die(*next, "boot3");
    EXPECT_EQ(again->last_number(), s.held[3].back());
    EXPECT_EQ(again->segments(), 1u);
}

TEST(JournalDeathTest, DyingBeforeASegmentIsForgotten) {
    const Sample s = sample();
    EXPECT_EXIT(
        {
            auto disk = s.disk->after_crash(0);
            auto journal = open_or_die(*disk, "boot2", 600);
            if (!model::arm_fail_point("journal.before_forget", 1) ||
                !journal->forget_before(s.held[1].back())) {
                _exit(1);
            }
            _exit(0);
        },
        testing::KilledBySignal(SIGKILL), "");
}

TEST(Journal, ANewLineageStartsAnew) {
    SimulatedDisk disk(1);
    {
        auto journal = open_or_die(disk);
        ASSERT_TRUE(journal->start_lineage(kFirst, 0));
        ASSERT_TRUE(append(*journal, {4, 9}));
        ASSERT_TRUE(journal->start_lineage(kSecond, 0));
        EXPECT_EQ(journal->last_number(), 0u);
        EXPECT_TRUE(journal->highest_offsets().empty());
        ASSERT_TRUE(append(*journal, {2}));
    }
    auto journal = open_or_die(disk, "boot2");
    EXPECT_EQ(journal->lineage(), kSecond);
    EXPECT_EQ(numbers(*journal), (Numbers{2}));
    EXPECT_FALSE(journal->has_gap_after(0));
    EXPECT_EQ(journal->highest_offsets().at({"clicks", 0}), 20);
    ASSERT_EQ(journal->older_segments().size(), 1u);
    ASSERT_TRUE(journal->forget_older_lineages());
    EXPECT_TRUE(journal->older_segments().empty());
    EXPECT_EQ(disk.list("/journal")->size(), 1u);
    ASSERT_TRUE(append(*journal, {3}));

    ASSERT_TRUE(journal->start_lineage(kFirst, 100));  // from a savepoint
    EXPECT_EQ(journal->last_number(), 100u);
    ASSERT_TRUE(append(*journal, {103}));
    EXPECT_FALSE(journal->has_gap_after(100));
    EXPECT_TRUE(journal->has_gap_after(99)) << "the savepoint was at 100; nobody was before it";
}

TEST(Journal, ALineageBeginsWholeOrNotAtAll) {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        for (std::uint64_t at = 1;; ++at) {
            SimulatedDisk disk(seed);
            auto journal = open_or_die(disk);
            ASSERT_TRUE(journal->start_lineage(kFirst, 0));
            ASSERT_TRUE(append(*journal, {1}));
            disk.crash_at(disk.operations() + at);
            ASSERT_TRUE(journal->start_lineage(kSecond, 0));
            if (!disk.crashed()) {
                break;
            }
            auto next = disk.after_crash(seed);
            auto again = open_or_die(*next, "boot2");
            ASSERT_NE(again, nullptr) << seed << " " << at;
            if (again->lineage() == kFirst) {
                EXPECT_EQ(numbers(*again), Numbers{1});
            } else {
                EXPECT_EQ(again->lineage(), kSecond);
                EXPECT_EQ(numbers(*again), Numbers{});
            }
        }
    }
}

TEST(Journal, SaysWhichFileAndWhere) {
    const Sample s = sample();
    auto disk = s.disk->after_crash(0);
    ASSERT_TRUE(disk->flip(s.paths[3], s.frame_ends[3][0] + 20, 1));
    const auto opened = open(*disk, "boot2");
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().text.find(s.paths[3] + ", byte " + std::to_string(s.frame_ends[3][0])),
              std::string::npos)
        << opened.error().text;
    EXPECT_TRUE(disk->info(s.paths[3])) << "damage is left as it is found";
}

TEST(Journal, LineagesAsText) {
    EXPECT_EQ(to_string(kFirst), "01020300000000000000000000000000");
    EXPECT_EQ(lineage_from(to_string(kSecond)).value(), kSecond);
    EXPECT_FALSE(lineage_from("01"));
    EXPECT_FALSE(lineage_from(std::string(31, '0') + "g"));
}

// Lives that end at random operations, by power or by kill -9, with failing writes and syncs in
// between and tiny or large frames. The law: what append() acknowledged, and what a life was shown
// by open(), is there in every later life, in order, with nothing between; beyond it at most the
// one frame that was in flight.
TEST(Journal, WhatWasBelievedStays) {
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        std::mt19937_64 random(seed);
        auto disk = std::make_unique<SimulatedDisk>(seed);
        Numbers believed;
        Numbers in_flight;
        bool lineage = false;
        for (int life = 0; life < 6; ++life) {
            const std::string boot = "boot" + std::to_string(life);
            disk->crash_at(1 + random() % 40,
                           random() % 2 == 0 ? CrashKind::power : CrashKind::process);
            if (random() % 3 == 0) {
                disk->fail_at(1 + random() % 40);
            }
            auto opened = open(*disk, boot, 700);
            ASSERT_TRUE(opened || opened.error().kind == model::ErrorKind::unavailable)
                << "seed " << seed << " life " << life << ": " << opened.error().text;
            if (opened && !disk->crashed()) {
                Journal& journal = *opened->journal;
                const Numbers seen = numbers(journal);
                Numbers more = believed;
                more.insert(more.end(), in_flight.begin(), in_flight.end());
                ASSERT_TRUE(seen == believed || seen == more)
                    << "seed " << seed << " life " << life << ": " << seen.size() << " of "
                    << believed.size();
                ASSERT_FALSE(journal.has_gap_after(0)) << "seed " << seed;
                ASSERT_EQ(journal.has_lineage() || !lineage, true) << "seed " << seed;
                believed = seen;
                in_flight.clear();
                if (!journal.has_lineage()) {
                    if (!journal.start_lineage(kFirst, 0)) {
                        disk->crash_now(CrashKind::process);
                    }
                }
                lineage = lineage || !disk->crashed();
                while (!disk->crashed()) {
                    Numbers next;
                    BarrierNumber number = believed.empty() ? 0 : believed.back();
                    for (std::uint64_t n = 1 + random() % 12; n > 0; --n) {
                        number += 1 + random() % 2;
                        next.push_back(number);
                    }
                    const auto done = append(journal, next);
                    if (disk->crashed() || !done) {
                        in_flight = next;
                        break;
                    }
                    believed.insert(believed.end(), next.begin(), next.end());
                }
            }
            disk->crash_now(CrashKind::process);
            disk = disk->after_crash(random());
        }
    }
}

}  // namespace
}  // namespace sluice::state
