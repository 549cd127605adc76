#include <gtest/gtest.h>

#include "state/model/fail_point.h"
#include "state/reduce/encoding.h"
#include "state/tools/compare.h"
#include "state/tools/disk_usage.h"
#include "state/tools/edit.h"
#include "state/tools/new_snapshot.h"
#include "state/tools/read_only_disk.h"
#include "tests/unit/state/tools_support.h"

namespace sluice::state {
namespace {

std::string lines_of(const std::string& dump) { return dump.substr(dump.find('\n') + 1); }

TEST(Lines, DumpImportDumpIsIdentical) {
    const auto seed = test_seed();
    SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
    for (std::uint64_t round = 0; round < 8; ++round) {
        const auto disk = new_disk();
        ASSERT_OK(import_text(*disk, "/state/a", some_lines(seed + round, 300)));
        const auto first = dump_text(*disk, "/state/a");
        ASSERT_OK(first);
        ASSERT_GT(first->size(), 1000U);
        ASSERT_OK(import_text(*disk, "/state/b", *first));
        const auto second = dump_text(*disk, "/state/b");
        ASSERT_OK(second);
        ASSERT_EQ(*first, *second);
        // Whatever the order of the lines.
        std::string reversed;
        std::string rest = lines_of(*first);
        while (!rest.empty()) {
            const auto begin = rest.rfind('\n', rest.size() - 2);
            const auto at = begin == std::string::npos ? 0 : begin + 1;
            reversed += rest.substr(at);
            rest.resize(at);
        }
        ASSERT_OK(
            import_text(*disk, "/state/c", first->substr(0, first->find('\n') + 1) + reversed));
        EXPECT_EQ(value_of(dump_text(*disk, "/state/c")), *first);
    }
}

TEST(Lines, ResultsAloneAreEnoughWhereTheySayEverything) {
    const auto disk = new_disk();
    const auto head = header_line(tool_meta(), tool_inputs());
    const std::string plain =
        R"({"reduction":"all","window":{"start":0},"key":["de",42],"result":{"n":3,"total":12.50,)"
        R"("average":{"count":3,"sum":12.5},"least":1,"most":"z",)"
        R"("begin":{"timestamp":5,"value":1},"end":null}})";
    ASSERT_OK(import_text(*disk, "/state/a", head + plain + "\n"));
    EXPECT_EQ(
        lines_of(value_of(dump_text(*disk, "/state/a"))),
        R"({"reduction":"all","window":{"start":0,"end":15000},"key":["de","42"],"rev":0,)"
        R"("state":[{"count":3},{"sum":{"types":["decimal"],"total":"12.5"}},)"
        R"({"mean":{"types":["decimal"],"total":"12.5","count":3}},{"min":1},{"max":"z"},)"
        R"({"first":{"timestamp":5,"topic":"","partition":0,"offset":0,"element":0,"value":1}},)"
        R"({"last":null}],"result":{"n":3,"total":12.5,"average":4.166666666666667,)"
        R"("least":1,"most":"z","begin":1,"end":null}})"
        "\n");
}

TEST(Lines, LinesOfTheSameRowAreMerged) {
    const auto disk = new_disk();
    const auto head = header_line(tool_meta(), tool_inputs());
    const auto line = [](int n) {
        return R"({"reduction":"short","window":{"end":3000},"key":["a"],"state":[{"count":)" +
               std::to_string(n) + R"(},{"sum":)" + std::to_string(n) + "}]}\n";
    };
    ASSERT_OK(import_text(*disk, "/state/a", head + line(1) + line(20)));
    EXPECT_NE(value_of(dump_text(*disk, "/state/a")).find(R"({"count":21})"), std::string::npos);
}

TEST(Lines, WhatIsWrongIsSaidWithTheNumberOfTheLine) {
    const auto head = header_line(tool_meta(), tool_inputs());
    const std::string place = R"({"reduction":"short","window":{"end":3000},"key":["a"])";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"{", "not JSON"},
        {R"({"reduction":"no"})", "no reduction `no`"},
        {place + "}", "`state` or `result` is needed"},
        {place + R"(,"state":[{"count":1}]})", "2 calls"},
        {place + R"(,"state":[{"count":-1},{"sum":1}]})", "no number that fits"},
        {place + R"(,"state":[{"sum":1},{"count":1}]})", "`state` has sum where"},
        {place + R"(,"state":[{"count":1},{"sum":1}],"result":{"n":1,"share":2}})",
         "not what follows from `state`"},
        {place + R"(,"result":{"n":1,"share":2}})", "does not follow from the values"},
        {place + R"(,"state":[{"count":1},{"sum":1}],"resutl":{}})", "means nothing: resutl"},
        {R"({"reduction":"short","window":{"start":1000,"end":3000},"key":["a"]})", "not as long"},
        {R"({"reduction":"short","window":{"end":3000},"key":["a","b"]})", "1 parts"},
        // Seconds for milliseconds, for instance.
        {R"({"reduction":"short","window":{"end":3001},"key":["a"],"state":[{"count":1},{"sum":1}]})",
         "no window of `short` ends at 3001"},
        {R"({"reduction":"short","window":{"end":9223372036854775000},"key":["a"],"state":[]})",
         "no window of `short` ends at"},
        {R"({"reduction":"short","reduction":"all"})", "twice"},
        {std::string(1000, '['), "too deeply"},
    };
    for (const auto& [line, said] : cases) {
        const auto disk = new_disk();
        const auto outcome = import_text(*disk, "/state/a", head + "\n" + line + "\n");
        ASSERT_FALSE(outcome) << line;
        EXPECT_EQ(outcome.error().kind, model::ErrorKind::invalid);
        EXPECT_TRUE(outcome.error().text.starts_with("line 3: ")) << outcome.error().text;
        EXPECT_NE(outcome.error().text.find(said), std::string::npos)
            << line << ": " << outcome.error().text;
        EXPECT_TRUE(value_of(disk->list("/state")).empty()) << "nothing is left behind";
    }
    const auto disk = new_disk();
    const auto headless = import_text(*disk, "/state/a", place + "}\n");
    ASSERT_FALSE(headless);
    EXPECT_NE(headless.error().text.find("--like"), std::string::npos);
}

// A daemon that started from one of these would stop with a broken invariant, or never find its
// rows.
TEST(Lines, AHeadThatCannotBeIsNotTaken) {
    const std::vector<std::pair<std::string, std::function<void(CheckpointMeta&)>>> cases = {
        {"does not balance", [](auto& meta) { ++meta.partitions[0].ledger.consumed; }},
        {"does not balance",
         [](auto& meta) { ++meta.partitions[0].reductions.begin()->second.folded; }},
        {"stands twice", [](auto& meta) { meta.partitions.push_back(meta.partitions[0]); }},
        {"negative offset", [](auto& meta) { meta.partitions[0].next_offset = -1; }},
        {"barrier number", [](auto& meta) { meta.number = ~model::BarrierNumber{0}; }},
        {"barrier number", [](auto& meta) { meta.journal_number = meta.number + 1; }},
        {"stands twice", [](auto& meta) { meta.reductions[1].number = meta.reductions[0].number; }},
        {"cannot be", [](auto& meta) { meta.reductions[0].number = 0; }},
        {"cannot be", [](auto& meta) { meta.reductions[0].number = ~std::uint32_t{0}; }},
    };
    for (const auto& [said, spoil] : cases) {
        auto meta = tool_meta();
        if (meta.partitions.empty()) {
            meta.partitions.emplace_back();
            meta.partitions[0].partition = {"t", 0};
        }
        meta.partitions[0].reductions["short"];
        ASSERT_OK(check_meta(meta));
        spoil(meta);
        const auto disk = new_disk();
        const auto outcome = import_text(*disk, "/state/a", header_line(meta, tool_inputs()));
        ASSERT_FALSE(outcome) << said;
        EXPECT_NE(outcome.error().text.find(said), std::string::npos) << outcome.error().text;
    }
}

TEST(Snapshot, ExpiredRowsAreNotThere) {
    const auto disk = new_disk();
    const auto head = header_line(tool_meta(), tool_inputs());  // `short` is dropped up to 1000
    const auto line = [](int end) {
        return R"({"reduction":"short","window":{"end":)" + std::to_string(end) +
               R"(},"key":["a"],"state":[{"count":1},{"sum":1}]})"
               "\n";
    };
    const auto refused = import_text(*disk, "/state/a", head + line(2000) + line(1000));
    ASSERT_FALSE(refused) << "nobody would see it";
    EXPECT_NE(refused.error().text.find("line 3: a row of a window that ended at 1000"),
              std::string::npos);
    const Shapes shapes(tool_meta(), tool_inputs());
    LineReader reader(shapes);
    std::vector<LineRow> rows_there;
    for (const int end : {1000, 2000, -5000}) {
        rows_there.push_back(value_of(reader.row(line(end))));
    }
    RowsInMemory source(std::move(rows_there));
    const auto made = value_of(NewSnapshot::begin(*disk, "/state/a"));
    ASSERT_OK(made->add(tool_meta(), source));
    ASSERT_OK(made->commit(tool_meta(), tool_inputs()));
    const auto dump = value_of(dump_text(*disk, "/state/a"));
    EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 2) << dump;
    EXPECT_NE(dump.find(R"("end":2000)"), std::string::npos);
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    const auto rows = value_of(snapshot->rows_of_key(1, key_of("a")));
    ASSERT_OK(rows->next());
    ASSERT_TRUE(rows->valid());
    EXPECT_EQ(rows->key().slice_end, 2000);
    ASSERT_OK(rows->next());
    EXPECT_FALSE(rows->valid());
}

TEST(Snapshot, FindsAKeyInEveryWindowAndNoOther) {
    const auto seed = test_seed();
    SCOPED_TRACE("SLUICE_SEED=" + std::to_string(seed));
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(seed, 400)));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    std::map<std::pair<std::uint32_t, std::string>, std::vector<std::string>> expected;
    const auto all = value_of(snapshot->rows());
    while (all->next() && all->valid()) {
        expected[{all->key().reduction, std::string(all->key().key)}].push_back(
            disk_key(all->key()) + std::string(all->row()));
    }
    ASSERT_GT(expected.size(), 20U);
    for (const auto& [key, rows] : expected) {
        const auto found = value_of(snapshot->rows_of_key(key.first, key.second));
        std::vector<std::string> got;
        while (found->next() && found->valid()) {
            got.push_back(disk_key(found->key()) + std::string(found->row()));
        }
        EXPECT_EQ(got, rows);
    }
    const auto none = value_of(snapshot->rows_of_key(1, key_of("not there")));
    ASSERT_OK(none->next());
    EXPECT_FALSE(none->valid());
}

// Runs overlap as those of a daemon do; what is read of them is what RocksDB merges.
TEST(Snapshot, RowsOfManyTablesAreMerged) {
    const auto disk = new_disk();
    const auto meta = tool_meta();
    std::string all = header_line(meta, tool_inputs());
    const auto made = value_of(NewSnapshot::begin(*disk, "/state/a", 2));
    const Shapes shapes(meta, tool_inputs());
    for (int run = 0; run < 6; ++run) {
        std::string text = header_line(meta, tool_inputs());
        for (int i = 0; i < 300; ++i) {
            // Of some keys each run has a row, of others only one.
            const int key = i % 3 == 0 ? i : 1000 * run + i;
            const auto line = R"({"reduction":"short","window":{"end":)" +
                              std::to_string(2000 + 1000 * (i % 4)) + R"(},"key":["k)" +
                              std::to_string(key) + R"("],"state":[{"count":)" +
                              std::to_string(run + 1) + R"(},{"sum":1}]})" + "\n";
            text += line;
            all += line;
        }
        const auto name = "/state/run-" + std::to_string(run);
        ASSERT_OK(import_text(*disk, name, text));
        const auto part = value_of(Snapshot::open(*disk, name));
        const auto rows = value_of(part->rows());
        ASSERT_OK(made->add(meta, *rows));
    }
    ASSERT_OK(made->commit(meta, tool_inputs()));
    ASSERT_OK(import_text(*disk, "/state/b", all));
    const auto merged = value_of(dump_text(*disk, "/state/a"));
    EXPECT_EQ(merged, value_of(dump_text(*disk, "/state/b")));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    const auto rows = value_of(snapshot->rows(1));
    int count = 0;
    ASSERT_OK(rows->next());
    for (; rows->valid(); ++count) {
        const auto found = value_of(snapshot->rows_of_key(1, std::string(rows->key().key)));
        bool same = false;
        ASSERT_OK(found->next());
        while (found->valid()) {
            same = same ||
                   (found->key().slice_end == rows->key().slice_end && found->row() == rows->row());
            ASSERT_OK(found->next());
        }
        EXPECT_TRUE(same);
        ASSERT_OK(rows->next());
    }
    EXPECT_EQ(count, 100 + 6 * 200);
    EXPECT_FALSE(value_of(snapshot->rows(2))->valid());
}

TEST(Snapshot, ADamagedTableIsAnErrorOrNotPartOfTheRows) {
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(3, 10)));
    const auto expected = value_of(dump_text(*disk, "/state/a"));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    const auto dump = [&]() -> model::Result<std::string> {
        TRY(rows, snapshot->rows());
        return dump_text(snapshot->meta(), snapshot->inputs_text(), *rows);
    };
    ASSERT_EQ(value_of(dump()), expected);  // the database is open from here on
    int detected = 0;
    for (const auto& file : snapshot->meta().files) {
        const auto path = "/state/a/" + file.name;
        if (!file.name.ends_with(".sst")) {
            continue;
        }
        for (std::uint64_t at = 0; at < file.size; ++at) {
            ASSERT_OK(disk->flip(path, at, 0x11));
            const auto outcome = dump();
            if (outcome) {
                ASSERT_EQ(*outcome, expected) << file.name << " at " << at;
            } else {
                ++detected;
                ASSERT_EQ(outcome.error().kind, model::ErrorKind::corrupt);
                ASSERT_NE(outcome.error().text.find(file.name), std::string::npos);
            }
            ASSERT_OK(disk->flip(path, at, 0x11));
        }
        ASSERT_EQ(value_of(dump()), expected);
    }
    EXPECT_GT(detected, 1000);
}

TEST(Snapshot, VerifyNamesTheFile) {
    const auto original = new_disk();
    ASSERT_OK(import_text(*original, "/state/a", some_lines(1, 30)));
    const auto meta = value_of(Snapshot::open(*original, "/state/a"))->meta();
    ASSERT_OK(value_of(Snapshot::open(*original, "/state/a"))->verify(nullptr));
    auto names = value_of(original->list("/state/a"));
    ASSERT_GE(names.size(), 6U);
    const auto verify = [](Disk& disk) -> model::Status {
        TRY(snapshot, Snapshot::open(disk, "/state/a"));
        return snapshot->verify(nullptr);
    };
    for (const auto& name : names) {
        const auto path = "/state/a/" + name;
        const auto size = value_of(original->info(path)).size;
        for (std::uint64_t at = 0; at < size; at += std::max<std::uint64_t>(1, size / 97)) {
            ASSERT_OK(original->flip(path, at, 0x10));
            const auto status = verify(*original);
            ASSERT_FALSE(status) << name << " at " << at;
            EXPECT_EQ(status.error().kind, model::ErrorKind::corrupt);
            EXPECT_NE(status.error().text.find(name), std::string::npos) << status.error().text;
            ASSERT_OK(original->flip(path, at, 0x10));
        }
        ASSERT_OK(original->rename(path, "/state/kept"));
        const auto gone = verify(*original);
        ASSERT_FALSE(gone);
        EXPECT_NE(gone.error().text.find(name), std::string::npos) << gone.error().text;
        ASSERT_OK(original->rename("/state/kept", path));
    }
    ASSERT_OK(verify(*original));
}

// Opens nothing of that name.
class Refusing final : public ReadOnlyDisk {
 public:
    Refusing(Disk& disk, std::string path) : ReadOnlyDisk(disk), path_(std::move(path)) {}
    model::Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
        return path == path_ ? model::unavailable("the disk says no") : ReadOnlyDisk::open(path);
    }

 private:
    const std::string path_;
};

TEST(Snapshot, WhatTheDiskRefusesIsNoDamageAndWhatIsMissingIs) {
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(1, 10)));
    for (const auto& name : value_of(disk->list("/state/a"))) {
        if (name != kManifestName && !name.starts_with("INPUTS-")) {
            continue;
        }
        Refusing refusing(*disk, "/state/a/" + name);
        const auto refused = Snapshot::open(refusing, "/state/a");
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, model::ErrorKind::unavailable) << refused.error().text;
        const auto aside = "/state/" + name;
        ASSERT_OK(disk->rename("/state/a/" + name, aside));
        const auto missing = Snapshot::open(*disk, "/state/a");
        ASSERT_FALSE(missing);
        EXPECT_EQ(missing.error().kind, model::ErrorKind::corrupt);
        EXPECT_NE(missing.error().text.find("is missing"), std::string::npos);
        ASSERT_OK(disk->rename(aside, "/state/a/" + name));
    }
}

TEST(Edits, PutChangeAndRemoveInOnePass) {
    const auto disk = new_disk();
    const auto head = header_line(tool_meta(), tool_inputs());
    const auto line = [](const std::string& key, int end, int n) {
        return R"({"reduction":"short","window":{"end":)" + std::to_string(end) + R"(},"key":[")" +
               key + R"("],"state":[{"count":)" + std::to_string(n) + R"(},{"sum":1}]})";
    };
    std::string text = head;
    for (int end : {2000, 3000}) {
        for (const char* key : {"a", "b", "c", "d"}) {
            text += line(key, end, 1) + "\n";
        }
    }
    ASSERT_OK(import_text(*disk, "/state/a", text));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    const Shapes shapes(snapshot->meta(), snapshot->inputs_text());
    LineReader reader(shapes);
    Edits edits;
    ASSERT_OK(edits.put(value_of(reader.row(line("a", 2000, 9)))));      // changed
    ASSERT_OK(edits.put(value_of(reader.row(line("new", 2000, 9)))));    // put
    ASSERT_OK(edits.put(value_of(reader.row(line("later", 9000, 9)))));  // put, behind all
    ASSERT_OK(edits.remove(value_of(reader.place(line("b", 2000, 1)))));
    ASSERT_OK(edits.remove(
        value_of(reader.place(R"({"reduction":"short","window":{"end":3000},"key":["nobody"]})"))));
    ASSERT_OK(edits.remove(value_of(reader.place(R"({"reduction":"short","key":["c"]})"))));
    const auto rows = value_of(snapshot->rows());
    const auto changed = edits.over(*rows);
    std::map<std::string, int> left;
    while (changed->next() && changed->valid()) {
        ++left[std::string(model::key_parts(changed->key().key)->front())];
    }
    EXPECT_EQ(left,
              (std::map<std::string, int>{{"a", 2}, {"b", 1}, {"d", 2}, {"new", 1}, {"later", 1}}));
    EXPECT_EQ(edits.counts().put, 2U);
    EXPECT_EQ(edits.counts().changed, 1U);
    EXPECT_EQ(edits.counts().removed, 3U);
}

TEST(Compare, TellsEveryRowThatDiffersAndNoOther) {
    const auto disk = new_disk();
    const auto head = header_line(tool_meta(), tool_inputs());
    auto other = tool_meta();
    other.reductions[0].number = 9;  // numbers are a pipeline's own
    const auto line = [](const std::string& key, int n) {
        return R"({"reduction":"short","window":{"end":3000},"key":[")" + key +
               R"("],"state":[{"count":)" + std::to_string(n) + R"(},{"sum":1}]})" + "\n";
    };
    ASSERT_OK(import_text(*disk, "/state/a", head + line("same", 1) + line("x", 1) + line("l", 1)));
    ASSERT_OK(import_text(
        *disk, "/state/b",
        header_line(other, tool_inputs()) + line("same", 1) + line("x", 2) + line("r", 1)));
    const auto a = value_of(Snapshot::open(*disk, "/state/a"));
    const auto b = value_of(Snapshot::open(*disk, "/state/b"));
    std::map<std::string, std::pair<bool, bool>> told;
    ASSERT_OK(compare_rows(*a, *b, [&](const Difference& d) -> model::Status {
        told[std::string(model::key_parts(d.key->key)->front())] = {!d.a.empty(), !d.b.empty()};
        return {};
    }));
    EXPECT_EQ(told, (std::map<std::string, std::pair<bool, bool>>{
                        {"x", {true, true}}, {"l", {true, false}}, {"r", {false, true}}}));
}

// Rows of an earlier definition stand under another number, with their accumulators in another
// order and one of them missing.
TEST(Snapshot, RowsOfAFormerDefinitionAreReadAsThePresentOne) {
    constexpr std::uint32_t kFormer = 7;
    const auto disk = new_disk();
    auto meta = tool_meta();
    meta.reductions[0].former = {
        {kFormer,
         Family::standard,
         {{-1, config::ReductionKind::count}, {0, config::ReductionKind::sum}}}};
    const Shapes shapes(meta, tool_inputs());
    LineReader reader(shapes);
    const auto row = [&](const std::string& key, int end, int n, int sum) {
        return value_of(reader.row(R"({"reduction":"short","window":{"end":)" +
                                   std::to_string(end) + R"(},"key":[")" + key +
                                   R"("],"state":[{"count":)" + std::to_string(n) + R"(},{"sum":)" +
                                   std::to_string(sum) + "}]}"));
    };
    const auto former = [&](LineRow line) {
        auto key = *parse_row_key(line.key);
        key.reduction = kFormer;
        LineRow as_it_was{disk_key(key), {}};
        const std::vector<FormerCall> only_sum = {{1, config::ReductionKind::sum}};
        EXPECT_TRUE(rearrange_row(line.row, only_sum, as_it_was.row));
        return as_it_was;
    };
    std::vector<LineRow> present = {row("a", 3000, 1, 2), row("c", 2000, 3, 4)};
    std::vector<LineRow> past = {former(row("a", 3000, 10, 20)), former(row("b", 2000, 5, 6)),
                                 former(row("b", 4000, 7, 8))};
    const auto made = value_of(NewSnapshot::begin(*disk, "/state/a"));
    RowsInMemory new_rows(std::move(present));
    RowsInMemory old_rows(std::move(past));
    ASSERT_OK(made->add(meta, new_rows));
    ASSERT_OK(made->add(meta, old_rows));
    ASSERT_OK(made->commit(meta, tool_inputs()));

    const auto dump = value_of(dump_text(*disk, "/state/a"));
    EXPECT_EQ(dump.find("former"), std::string::npos);
    std::map<std::string, std::string> states;
    for (const char* const key : {"a", "b", "c"}) {
        const auto at = dump.find(R"("key":[")" + std::string(key));
        ASSERT_NE(at, std::string::npos) << dump;
        states[key] = dump.substr(at, dump.find(",\"result", at) - at);
    }
    EXPECT_NE(
        states["a"].find(R"("state":[{"count":1},{"sum":{"types":["integer"],"total":"22"}}])"),
        std::string::npos)
        << states["a"];
    EXPECT_NE(
        states["b"].find(R"("state":[{"count":0},{"sum":{"types":["integer"],"total":"6"}}])"),
        std::string::npos)
        << states["b"];
    EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 5) << dump;
    ASSERT_OK(import_text(*disk, "/state/b", dump));
    EXPECT_EQ(value_of(dump_text(*disk, "/state/b")), dump);

    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    const auto of_b = value_of(snapshot->rows_of_key(1, key_of("b")));
    std::vector<model::EventTime> ends;
    ASSERT_OK(of_b->next());
    while (of_b->valid()) {
        EXPECT_EQ(of_b->key().reduction, 1u);
        ends.push_back(of_b->key().slice_end);
        ASSERT_OK(of_b->next());
    }
    EXPECT_EQ(ends, (std::vector<model::EventTime>{2000, 4000}));
}

TEST(Snapshot, HeldTablesOutliveTheirNames) {
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(3, 200)));
    for (const bool hold : {true, false}) {
        const auto snapshot =
            value_of(Snapshot::open(*disk, "/state/a", {.open_files = 1, .hold_tables = hold}));
        ASSERT_OK(snapshot->rows());  // the database is open
        for (const auto& name : value_of(disk->list("/state/a"))) {
            if (name.ends_with(".sst")) {
                ASSERT_OK(disk->rename("/state/a/" + name, "/state/" + name));
            }
        }
        const auto rows = value_of(snapshot->rows());
        const auto first = rows->next();
        EXPECT_EQ(first.has_value(), hold);
        for (const auto& name : value_of(disk->list("/state"))) {
            if (name.ends_with(".sst")) {
                ASSERT_OK(disk->rename("/state/" + name, "/state/a/" + name));
            }
        }
    }
}

TEST(Compare, TellsTheResultsThatDifferInWindowsThatBothHaveWritten) {
    const auto disk = new_disk();
    const auto import = [&](const std::string& path, CheckpointMeta meta, const std::string& inputs,
                            const std::vector<std::tuple<std::string, int, int>>& rows) {
        meta.inputs = checksum_hex(inputs);
        std::string text = header_line(meta, inputs);
        for (const auto& [key, end, n] : rows) {
            text += R"({"reduction":"short","window":{"end":)" + std::to_string(end) +
                    R"(},"key":[")" + key + R"("],"state":[{"count":)" + std::to_string(n) +
                    R"(},{"sum":12}]})" + "\n";
        }
        ASSERT_OK(import_text(*disk, path, text));
    };
    auto left = tool_meta();  // `short` is dropped up to 1000
    left.reductions[0].fired = 5000;
    auto right = tool_meta();
    right.reductions[0].number = 9;
    right.reductions[0].dropped = 2000;
    right.reductions[0].fired = 4000;
    auto inputs = tool_inputs();  // another value, and another expression for the old one
    inputs.replace(inputs.find("sum(price) / count()"), 20, "sum(price) / 2");
    inputs.insert(inputs.find(R"json(["n", "count()"], ["share")json"),
                  R"json(["more", "count()"], )json");
    right.reductions[0].schema = "v1;count();sum(price)";
    import(
        "/state/a", left, tool_inputs(),
        {{"gone", 2000, 1}, {"same", 3000, 2}, {"x", 3000, 3}, {"l", 4000, 2}, {"open", 5000, 2}});
    import("/state/b", right, inputs,
           {{"same", 3000, 2}, {"x", 3000, 2}, {"r", 4000, 2}, {"open", 5000, 9}});
    const auto a = value_of(Snapshot::open(*disk, "/state/a"));
    const auto b = value_of(Snapshot::open(*disk, "/state/b"));
    std::map<std::string, std::string> told;
    const auto compared = value_of(compare_results(*a, *b, [&](const ResultDifference& d) {
        EXPECT_EQ(*d.names, (std::vector<std::string>{"n", "share"}));
        const auto text = [](const std::vector<std::string>* values) {
            return values == nullptr ? "-" : (*values)[0] + "/" + (*values)[1];
        };
        told[std::string(model::key_parts(d.key->key)->front())] = text(d.a) + " " + text(d.b);
        return model::Status{};
    }));
    EXPECT_EQ(told, (std::map<std::string, std::string>{
                        {"x", "3/4 2/6"}, {"l", "2/6 -"}, {"r", "- 2/6"}}));
    ASSERT_EQ(compared.size(), 2u);
    EXPECT_EQ(compared[0].id, "all");
    EXPECT_EQ(compared[0].until, std::nullopt) << "nothing of it was written";
    EXPECT_EQ(compared[1].after, 2000);
    EXPECT_EQ(compared[1].until, 4000);
    EXPECT_EQ(compared[1].results, 4u);
    EXPECT_EQ(compared[1].different, 3u);
    EXPECT_EQ(compared[1].only_b, (std::vector<std::string>{"more"}));
    EXPECT_TRUE(compared[1].only_a.empty());
}

TEST(DiskUsage, CountsByInode) {
    const auto disk = new_disk();
    ASSERT_OK(disk->make_directory("/state/checkpoints"));
    for (const char* name : {"9", "10"}) {
        const auto path = std::string("/state/checkpoints/") + name;
        ASSERT_OK(disk->make_directory(path));
        ASSERT_OK(write_file_durably(*disk, path + "/MANIFEST.json", "{}"));
        ASSERT_OK(write_file_durably(*disk, path + "/own.sst",
                                     std::string(name[0] == '9' ? 10 : 20, 'x')));
    }
    ASSERT_OK(write_file_durably(*disk, "/state/checkpoints/9/both.sst", std::string(100, 'x')));
    ASSERT_OK(disk->link("/state/checkpoints/9/both.sst", "/state/checkpoints/10/both.sst"));
    const auto usages = value_of(disk_usage(*disk, {"/state"}));
    ASSERT_EQ(usages.snapshots.size(), 2U);
    EXPECT_EQ(usages.snapshots[0].path, "/state/checkpoints/9");
    EXPECT_EQ(usages.snapshots[0].exclusive, 12U);
    EXPECT_EQ(usages.snapshots[0].shared, 100U);
    EXPECT_EQ(usages.snapshots[1].exclusive, 22U);
    EXPECT_EQ(usages.bytes, 134U);
    EXPECT_FALSE(disk_usage(*disk, {"/state/checkpoints/9/own.sst"}));
}

// ---- Nothing half is ever there under a final name

TEST(NewSnapshot, ACrashAtAnyOperationLeavesAllOrNothing) {
    const auto text = some_lines(3, 20);
    std::uint64_t last = 0;
    std::string expected;
    {
        const auto disk = new_disk();
        const auto before = disk->operations();
        ASSERT_OK(import_text(*disk, "/state/a", text));
        last = disk->operations() - before;
        expected = value_of(dump_text(*disk, "/state/a"));
    }
    int whole = 0;
    for (const auto kind : {simulation::CrashKind::power, simulation::CrashKind::process}) {
        for (std::uint64_t at = 1; at <= last; ++at) {
            SCOPED_TRACE("crash at operation " + std::to_string(at));
            const auto disk = new_disk(at);
            disk->crash_at(disk->operations() + at, kind);
            static_cast<void>(import_text(*disk, "/state/a", text));
            if (!disk->crashed()) {
                continue;  // RocksDB's own operations vary by a few
            }
            const auto next = disk->after_crash(at);
            if (next->info("/state/a")) {
                ++whole;
                const auto snapshot = Snapshot::open(*next, "/state/a");
                ASSERT_OK(snapshot);
                ASSERT_OK((*snapshot)->verify(nullptr));
                EXPECT_EQ(value_of(dump_text(*next, "/state/a")), expected);
            } else {
                ASSERT_OK(import_text(*next, "/state/a", text));
                EXPECT_EQ(value_of(dump_text(*next, "/state/a")), expected);
            }
            EXPECT_EQ(value_of(next->list("/state")), std::vector<std::string>{"a"});
        }
    }
    EXPECT_GT(whole, 0);
}

// One row each in so many slices, and a slice that is large among them.
class RowsOfManySlices final : public RowSource {
 public:
    RowsOfManySlices(int slices, int large) : slices_(slices), large_(large) {
        append_row_header(row_, 0);
        append_count(row_, 1);
        append_sum(row_, config::ReductionKind::sum, 0, ExactTotal(), nullptr, 0);
        key_.reduction = 1;
        for (int i = 0; i < (large > 0 ? kLarge : 1); ++i) {
            const auto key = key_of("user-" + std::to_string(i) + std::string(60, 'x'));
            keys_.emplace(model::key_hash(key), key);
        }
    }
    model::Status next() override {
        valid_ = left_ > 0 || slice_ < slices_;
        if (!valid_) {
            return {};
        }
        if (left_ == 0) {
            key_.slice_end = ++slice_ * 1000;
            left_ = slice_ == large_ ? kLarge : 1;
            next_ = keys_.begin();
        }
        --left_;
        key_.hash = next_->first;
        key_.key = next_->second;
        ++next_;
        return {};
    }
    bool valid() const override { return valid_; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    static constexpr int kLarge = 20'000;

    const int slices_, large_;
    int slice_ = 0, left_ = 0;
    std::map<std::uint64_t, std::string> keys_;
    std::map<std::uint64_t, std::string>::iterator next_;
    RowKey key_;
    std::string row_;
    bool valid_ = false;
};

TEST(NewSnapshot, SmallSlicesShareFilesButForTheLastOnes) {
    for (const unsigned threads : {0U, 2U}) {
        for (const int large : {0, 500, 995, 1000}) {
            SCOPED_TRACE(std::to_string(threads) + " threads, large is " + std::to_string(large));
            const auto disk = new_disk();
            auto meta = tool_meta();
            meta.reductions[0].dropped.reset();
            const auto made = value_of(NewSnapshot::begin(*disk, "/state/a", threads));
            RowsOfManySlices rows(1000, large);
            ASSERT_OK(made->add(meta, rows));
            EXPECT_EQ(made->rows(), large == 0 ? 1000U : 20'999U);
            const auto files = value_of(made->commit(meta, tool_inputs())).files;
            const auto tables = std::count_if(files.begin(), files.end(), [](const auto& file) {
                return file.name.ends_with(".sst");
            });
            // The last 16, the shared one, the meta row; a large one ends what is shared.
            EXPECT_GE(tables, 18);
            EXPECT_LE(tables, large == 0 ? 18 : 18 + 18);
            const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
            const auto source = value_of(snapshot->rows());
            RowsOfManySlices again(1000, large);
            while (true) {
                ASSERT_OK(source->next());
                ASSERT_OK(again.next());
                ASSERT_EQ(source->valid(), again.valid());
                if (!again.valid()) {
                    break;
                }
                ASSERT_EQ(source->key().slice_end, again.key().slice_end);
                ASSERT_TRUE(source->key().key == again.key().key);
            }
        }
    }
}

// So many rows of each of three reductions, in slices of 150.
class RowsOfThree final : public RowSource {
 public:
    explicit RowsOfThree(int rows) {
        std::vector<std::pair<std::uint64_t, std::string>> keys;
        for (int i = 0; i < 150; ++i) {
            std::string key;
            model::append_key_part(key, std::to_string(i));
            keys.emplace_back(model::key_hash(key), key);
        }
        std::ranges::sort(keys);
        for (std::uint32_t number = 1; number <= 3; ++number) {
            for (int i = 0; i < rows; ++i) {
                const auto& [hash, key] = keys[static_cast<std::size_t>(i % 150)];
                rows_.push_back({number, 15000 + i / 150 * 15000, 0, hash, key});
            }
        }
        append_row_header(row_, 0);
        append_count(row_, 1);
    }
    model::Status next() override {
        key_ = at_ < rows_.size() ? rows_[at_].as_key() : RowKey{};
        ++at_;
        return {};
    }
    bool valid() const override { return key_.reduction != 0; }
    const RowKey& key() const override { return key_; }
    std::string_view row() const override { return row_; }

 private:
    struct Row {
        std::uint32_t number;
        model::EventTime end;
        std::uint32_t accepted_from;
        std::uint64_t hash;
        std::string key;
        RowKey as_key() const { return {number, end, accepted_from, hash, key}; }
    };
    std::vector<Row> rows_;
    std::size_t at_ = 0;
    RowKey key_;
    std::string row_;
};

TEST(NewSnapshot, BlocksOfAStreamComeInTheirOrderWhateverTheirFamily) {
    constexpr Family kFamilies[] = {Family::standard, Family::brief};
    for (unsigned which = 0; which < 8; ++which) {
        for (const unsigned threads : {0U, 2U}) {
            SCOPED_TRACE(std::to_string(which) + ", " + std::to_string(threads) + " threads");
            auto meta = tool_meta();
            meta.reductions[0].dropped.reset();
            meta.reductions.push_back(meta.reductions[1]);
            meta.reductions[2].id = "more";
            for (std::uint32_t i = 0; i < 3; ++i) {
                meta.reductions[i].number = i + 1;
                meta.reductions[i].family = kFamilies[(which >> i) & 1U];
            }
            TextSink sink;
            PortableWriter::Options options;
            options.block_bytes = 5000;  // ends nowhere near a slice or a reduction
            PortableWriter writer(sink, options);
            ASSERT_OK(writer.begin(meta, tool_inputs()));
            RowsOfThree rows(1000);
            while (rows.next() && rows.valid()) {
                ASSERT_OK(writer.add(rows.key(), rows.row()));
            }
            ASSERT_OK(writer.finish());
            const auto disk = new_disk();
            TextSource source(sink.text);
            const auto reader = value_of(PortableReader::open(source, threads));
            ASSERT_OK(import_stream(*reader, *disk, "/state/a", threads));
            EXPECT_EQ(reader->counts().rows, 3000U);
            EXPECT_EQ(reader->counts().row_bytes, writer.counts().row_bytes);
            const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
            const auto there = value_of(snapshot->rows());
            RowsOfThree again(1000);
            while (true) {
                ASSERT_OK(there->next());
                ASSERT_OK(again.next());
                ASSERT_EQ(there->valid(), again.valid());
                if (!again.valid()) {
                    break;
                }
                ASSERT_EQ(there->key().reduction, again.key().reduction);
                ASSERT_EQ(there->key().slice_end, again.key().slice_end);
                ASSERT_TRUE(there->key().key == again.key().key);
                ASSERT_TRUE(there->row() == again.row());
            }
        }
    }
}

TEST(NewSnapshot, AFullDiskLeavesNothing) {
    const auto text = some_lines(4, 200);
    const auto measure = new_disk();
    ASSERT_OK(import_text(*measure, "/state/a", text));
    const auto needed = measure->used_bytes();
    int refused = 0;
    for (std::uint64_t budget = 0; budget < needed; budget += needed / 40 + 1) {
        const auto disk = new_disk();
        disk->set_budget(budget);
        const auto outcome = import_text(*disk, "/state/a", text);
        if (!outcome) {
            ++refused;
            EXPECT_EQ(outcome.error().kind, model::ErrorKind::exhausted) << outcome.error().text;
            EXPECT_TRUE(value_of(disk->list("/state")).empty()) << "with " << budget << " bytes";
        }
    }
    EXPECT_GT(refused, 30);
}

TEST(Export, AFullDiskAFailingOperationOrACrashLeavesNoFile) {
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(5, 2000)));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    PortableWriter::Options options;
    options.block_bytes = 4096;
    const auto run = [&](Disk& target) {
        return export_snapshot(*snapshot, target, "/state/x", options, nullptr);
    };
    const auto measure = new_disk();
    const auto before = measure->operations();
    ASSERT_OK(run(*measure));
    const auto operations = measure->operations() - before;
    const auto needed = measure->used_bytes();
    ASSERT_GT(needed, 10'000U);
    for (std::uint64_t budget = 0; budget < needed; budget += needed / 30) {
        const auto full = new_disk();
        full->set_budget(budget);
        const auto outcome = run(*full);
        ASSERT_FALSE(outcome);
        EXPECT_EQ(outcome.error().kind, model::ErrorKind::exhausted);
        EXPECT_TRUE(value_of(full->list("/state")).empty());
    }
    for (std::uint64_t at = 1; at <= operations; ++at) {
        const auto failing = new_disk();
        failing->fail_at(failing->operations() + at);
        const auto outcome = run(*failing);
        const bool there = failing->info("/state/x").has_value();
        EXPECT_TRUE(!outcome || there);
        // Only the sync of the name may fail with the file in place: it is whole then.
        EXPECT_TRUE(!there || at == operations || outcome) << at;
        for (const auto kind : {simulation::CrashKind::power, simulation::CrashKind::process}) {
            const auto crashing = new_disk(at);
            crashing->crash_at(crashing->operations() + at, kind);
            static_cast<void>(run(*crashing));
            const auto next = crashing->after_crash(at);
            if (next->info("/state/x")) {
                const auto file = value_of(FileSource::open(*next, "/state/x"));
                const auto reader = PortableReader::open(*file);
                ASSERT_OK(reader);
                do {
                    ASSERT_OK((*reader)->next());
                } while ((*reader)->valid());
            } else {
                ASSERT_OK(run(*next));
            }
        }
    }
}

}  // namespace
}  // namespace sluice::state
