// What an earlier release has written must be readable for ever: tests/golden/format-N holds a
// snapshot of every format version, as a directory and as a stream, and the dump of both;
// tests/golden/stream-N the streams of their later versions, which count by themselves.
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

void write_streams(Disk& disk, const std::filesystem::path& savepoint,
                   const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    const auto snapshot = value_of(Snapshot::open(disk, savepoint));
    PortableWriter::Options options;
    options.block_bytes = 8000;
    ASSERT_OK(export_snapshot(*snapshot, disk, folder / "zstd.sluice", options, nullptr));
    options.compression = Compression::none;
    ASSERT_OK(export_snapshot(*snapshot, disk, folder / "none.sluice", options, nullptr));
}

void write_this_version(const std::filesystem::path& folder) {
    const auto disk = real_disk();
    std::filesystem::create_directories(folder);
    ASSERT_OK(import_text(*disk, folder / "savepoint", some_lines(1, 60)));
    write_streams(*disk, folder / "savepoint", folder);
    std::ofstream(folder / "dump.jsonl", std::ios::binary)
        << value_of(dump_text(*disk, folder / "savepoint"));
}

void expect_streams(Disk& disk, const std::filesystem::path& folder, const std::string& dump) {
    for (const char* stream : {"zstd.sluice", "none.sluice"}) {
        const auto file = value_of(FileSource::open(disk, folder / stream));
        const auto reader = PortableReader::open(*file);
        ASSERT_OK(reader);
        EXPECT_TRUE(value_of(dump_text((*reader)->meta(), (*reader)->inputs_text(), **reader)) ==
                    dump);
    }
}

// They hold the savepoint of format 1.
TEST(Golden, StreamsOfEveryVersionAreReadable) {
    const auto newest = kGolden / ("stream-" + std::to_string(kPortableVersion));
    const auto savepoint = kGolden / "format-1" / "savepoint";
    const auto disk = real_disk();
    if (std::getenv("SLUICE_WRITE_GOLDEN") != nullptr && !std::filesystem::exists(newest)) {
        write_streams(*disk, savepoint, newest);
    }
    ASSERT_TRUE(std::filesystem::exists(newest)) << "this version has no golden stream";
    const auto expected = text_of(kGolden / "format-1" / "dump.jsonl");
    for (const auto& folder : std::filesystem::directory_iterator(kGolden)) {
        if (folder.path().filename().string().starts_with("stream-")) {
            SCOPED_TRACE(folder.path().string());
            expect_streams(*disk, folder.path(), expected);
        }
    }
    // What is written today is what was written then.
    TextSink sink;
    PortableWriter::Options options;
    options.block_bytes = 8000;
    options.compression = Compression::none;
    ASSERT_OK(export_snapshot(*value_of(Snapshot::open(*disk, savepoint)), sink, options, nullptr));
    EXPECT_TRUE(sink.text == text_of(newest / "none.sluice"));
}

TEST(Golden, EveryFormatVersionIsReadable) {
    const auto newest = kGolden / ("format-" + std::to_string(kSnapshotFormatVersion));
    if (std::getenv("SLUICE_WRITE_GOLDEN") != nullptr && !std::filesystem::exists(newest)) {
        write_this_version(newest);
    }
    const auto disk = real_disk();
    ASSERT_TRUE(std::filesystem::exists(newest)) << "this version has no golden snapshot";
    for (const auto& folder : std::filesystem::directory_iterator(kGolden)) {
        if (!folder.path().filename().string().starts_with("format-")) {
            continue;
        }
        SCOPED_TRACE(folder.path().string());
        const auto expected = text_of(folder.path() / "dump.jsonl");
        ASSERT_GT(expected.size(), 10'000U);
        const auto snapshot = Snapshot::open(*disk, folder.path() / "savepoint");
        ASSERT_OK(snapshot);
        ASSERT_OK((*snapshot)->verify(nullptr));
        EXPECT_TRUE(value_of(dump_text(*disk, folder.path() / "savepoint")) == expected);
        expect_streams(*disk, folder.path(), expected);
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
