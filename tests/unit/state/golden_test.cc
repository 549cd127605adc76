// What an earlier release has written must be readable for ever: tests/golden/format-N holds a
// snapshot of every format version, as a directory and as a stream, and the dump of both.
//
// A new version gets a folder of its own: SLUICE_WRITE_GOLDEN=1 writes the one of this version if
// it is not there. What is there is never written again.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "state/io/io_engine.h"
#include "tests/unit/state/tools_support.h"

namespace sluice::state {
namespace {

const std::filesystem::path kGolden = SLUICE_SOURCE_DIR "/tests/golden";

std::unique_ptr<Disk> real_disk() {
    auto opened = open_disk({});
    EXPECT_TRUE(opened);
    return std::move(opened->disk);
}

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_this_version(const std::filesystem::path& folder) {
    const auto disk = real_disk();
    std::filesystem::create_directories(folder);
    ASSERT_OK(import_text(*disk, folder / "savepoint", some_lines(1, 60)));
    const auto snapshot = value_of(Snapshot::open(*disk, folder / "savepoint"));
    PortableWriter::Options options;
    options.block_bytes = 8000;
    ASSERT_OK(export_snapshot(*snapshot, *disk, folder / "zstd.sluice", options, nullptr));
    options.compression = Compression::none;
    ASSERT_OK(export_snapshot(*snapshot, *disk, folder / "none.sluice", options, nullptr));
    std::ofstream(folder / "dump.jsonl", std::ios::binary)
        << value_of(dump_text(*disk, folder / "savepoint"));
}

TEST(Golden, EveryFormatVersionIsReadable) {
    const auto newest = kGolden / ("format-" + std::to_string(kSnapshotFormatVersion));
    if (std::getenv("SLUICE_WRITE_GOLDEN") != nullptr && !std::filesystem::exists(newest)) {
        write_this_version(newest);
    }
    const auto disk = real_disk();
    ASSERT_TRUE(std::filesystem::exists(newest)) << "this version has no golden snapshot";
    for (const auto& folder : std::filesystem::directory_iterator(kGolden)) {
        SCOPED_TRACE(folder.path().string());
        const auto expected = text_of(folder.path() / "dump.jsonl");
        ASSERT_GT(expected.size(), 10'000U);
        const auto snapshot = Snapshot::open(*disk, folder.path() / "savepoint");
        ASSERT_OK(snapshot);
        ASSERT_OK((*snapshot)->verify(nullptr));
        EXPECT_TRUE(value_of(dump_text(*disk, folder.path() / "savepoint")) == expected);
        for (const char* stream : {"zstd.sluice", "none.sluice"}) {
            const auto file = value_of(FileSource::open(*disk, folder.path() / stream));
            const auto reader = PortableReader::open(*file);
            ASSERT_OK(reader);
            EXPECT_TRUE(value_of(dump_text((*reader)->meta(), (*reader)->inputs_text(),
                                           **reader)) == expected);
        }
    }
}

TEST(Golden, ANewerVersionIsNamed) {
    const auto disk = new_disk();
    auto meta = tool_meta();
    meta.format = kSnapshotFormatVersion + 1;
    ASSERT_OK(disk->make_directory("/state/a"));
    ASSERT_OK(write_file_durably(*disk, "/state/a/MANIFEST.json", manifest_text(meta)));
    const auto outcome = Snapshot::open(*disk, "/state/a");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, model::ErrorKind::invalid);
    EXPECT_NE(outcome.error().text.find("written by a newer Sluice: format 2"), std::string::npos)
        << outcome.error().text;
}

}  // namespace
}  // namespace sluice::state
