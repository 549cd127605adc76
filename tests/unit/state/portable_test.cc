#include <gtest/gtest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "state/reduce/encoding.h"
#include "state/tools/little_endian.h"
#include "state/tools/portable_rows.h"
#include "tests/unit/state/tools_support.h"

namespace sluice::state {
namespace {

std::string stream_of(int lines, PortableWriter::Options options) {
    const auto disk = new_disk();
    EXPECT_TRUE(import_text(*disk, "/state/a", some_lines(11, lines)));
    const auto snapshot = value_of(Snapshot::open(*disk, "/state/a"));
    TextSink sink;
    EXPECT_TRUE(export_snapshot(*snapshot, sink, options, nullptr));
    return sink.text;
}

// The dump of what a stream holds, or why it was refused.
model::Result<std::string> read(std::string_view stream, unsigned threads = 0) {
    TextSource source(stream);
    TRY(reader, PortableReader::open(source, threads));
    EXPECT_LE(source.most, kMostBlockBytes);
    return dump_text(reader->meta(), reader->inputs_text(), *reader);
}

PortableWriter::Options small_blocks(Compression compression) {
    PortableWriter::Options options;
    options.compression = compression;
    options.block_bytes = 300;
    return options;
}

TEST(Portable, HoldsEverythingWhateverTheCodecAndTheBlocks) {
    const auto disk = new_disk();
    ASSERT_OK(import_text(*disk, "/state/a", some_lines(11, 500)));
    const auto expected = value_of(dump_text(*disk, "/state/a"));
    for (const auto compression : {Compression::none, Compression::zstd}) {
        for (const std::size_t block_bytes : {1UL, 1000UL, 1UL << 20}) {
            PortableWriter::Options options;
            options.compression = compression;
            options.block_bytes = block_bytes;
            EXPECT_EQ(value_of(read(stream_of(500, options))), expected);
        }
    }
}

TEST(Portable, TheBytesAndWhatIsReadAreThoseOfOneThread) {
    for (const auto compression : {Compression::none, Compression::zstd}) {
        auto options = small_blocks(compression);
        const auto stream = stream_of(100, options);
        const auto expected = value_of(read(stream));
        for (const unsigned threads : {1U, 3U}) {
            options.threads = threads;
            EXPECT_EQ(stream_of(100, options), stream) << threads << " threads";
            EXPECT_EQ(value_of(read(stream, threads)), expected);
            // Damage is found at the same place, whoever finds it.
            for (std::size_t at = 100; at < stream.size(); at += stream.size() / 20) {
                auto damaged = stream;
                damaged[at] = static_cast<char>(damaged[at] ^ 1);
                const auto alone = read(damaged), together = read(damaged, threads);
                ASSERT_FALSE(alone);
                ASSERT_FALSE(together);
                EXPECT_EQ(together.error().text, alone.error().text);
            }
        }
    }
}

TEST(Portable, ARowWithOtherAccumulatorsThanThoseOfABlockBeforeIsRefused) {
    const auto meta = tool_meta();
    std::string one, other;
    append_row_header(one, 0);
    append_count(one, 1);
    other = one;
    append_count(other, 1);
    RowKey key;
    key.reduction = 1;
    key.slice_end = 2000;
    const auto encoded = key_of("a");
    key.key = encoded;
    key.hash = model::key_hash(encoded);
    auto later = key;
    later.slice_end = 3000;
    for (const std::size_t block_bytes : {1UL, 1UL << 20}) {
        TextSink sink;
        PortableWriter::Options options;
        options.block_bytes = block_bytes;
        PortableWriter writer(sink, options);
        ASSERT_OK(writer.begin(meta, tool_inputs()));
        ASSERT_OK(writer.add(key, one));
        ASSERT_OK(writer.add(later, other));
        ASSERT_OK(writer.finish());
        for (const unsigned threads : {0U, 2U}) {
            TextSource source(sink.text);
            const auto reader = value_of(PortableReader::open(source, threads));
            auto outcome = reader->next();
            if (block_bytes == 1) {
                ASSERT_OK(outcome);
                outcome = reader->next();
            }
            ASSERT_FALSE(outcome);
            EXPECT_NE(outcome.error().text.find("other accumulators than"), std::string::npos)
                << outcome.error().text;
        }
    }
}

TEST(Portable, EveryFlippedBitIsDetected) {
    for (const auto compression : {Compression::none, Compression::zstd}) {
        auto stream = stream_of(6, small_blocks(compression));
        ASSERT_OK(read(stream));
        for (std::size_t at = 0; at < stream.size(); ++at) {
            for (int bit = 0; bit < 8; ++bit) {
                stream[at] = static_cast<char>(stream[at] ^ (1 << bit));
                const auto outcome = read(stream);
                ASSERT_FALSE(outcome) << "bit " << bit << " of byte " << at;
                stream[at] = static_cast<char>(stream[at] ^ (1 << bit));
            }
        }
    }
}

TEST(Portable, EveryCutIsDetectedAndSoIsWhatFollows) {
    for (const auto compression : {Compression::none, Compression::zstd}) {
        const auto stream = stream_of(20, small_blocks(compression));
        for (std::size_t size = 0; size < stream.size(); ++size) {
            const auto outcome = read(std::string_view(stream).substr(0, size));
            ASSERT_FALSE(outcome) << "cut at " << size;
            EXPECT_EQ(outcome.error().kind, model::ErrorKind::corrupt);
        }
        EXPECT_FALSE(read(stream + "x"));
        EXPECT_FALSE(read(stream + stream));
    }
}

// Where blocks begin.
std::vector<std::size_t> blocks_of(const std::string& stream) {
    const auto u64 = [&](std::size_t at) {
        std::uint64_t value = 0;
        for (std::size_t i = 8; i-- > 0;) {
            value = (value << 8) | static_cast<unsigned char>(stream[at + i]);
        }
        return value;
    };
    std::vector<std::size_t> begins;
    for (std::size_t at = u64(12) & 0xffffffff; at < stream.size(); at += 32 + u64(at + 16)) {
        begins.push_back(at);
    }
    return begins;
}

TEST(Portable, BlocksLeftOutDoubledOrSwappedAreDetected) {
    const auto stream = stream_of(40, small_blocks(Compression::none));
    auto begins = blocks_of(stream);
    ASSERT_GT(begins.size(), 8U);
    begins.push_back(stream.size());
    const auto block = [&](std::size_t i) {
        return stream.substr(begins[i], begins[i + 1] - begins[i]);
    };
    for (std::size_t i = 0; i + 1 < begins.size(); ++i) {
        EXPECT_FALSE(read(stream.substr(0, begins[i]) + stream.substr(begins[i + 1]))) << i;
        EXPECT_FALSE(read(stream.substr(0, begins[i + 1]) + stream.substr(begins[i]))) << i;
        if (i + 2 < begins.size()) {
            EXPECT_FALSE(read(stream.substr(0, begins[i]) + block(i + 1) + block(i) +
                              stream.substr(begins[i + 2])))
                << i;
        }
    }
}

// A stream whose checksums are right although what they cover is not: from somebody who means it.
std::string forged(std::string stream, std::size_t at, std::string_view bytes) {
    const auto begins = blocks_of(stream);
    stream.replace(at, bytes.size(), bytes);
    for (std::size_t i = 0; i < begins.size(); ++i) {
        const bool last = i + 1 == begins.size();
        const auto end = last ? stream.size() : begins[i + 1];
        if (last) {  // the end block holds the checksum of the whole
            Checksum whole;
            whole.add(std::string_view(stream).substr(0, begins[i]));
            stream.replace(begins[i] + 32 + 24, 16, whole.bytes());
        }
        const auto hash =
            XXH3_64bits_withSeed(stream.data() + begins[i] + 8, end - begins[i] - 8, begins[i]);
        for (std::size_t b = 0; b < 8; ++b) {
            stream[begins[i] + b] = static_cast<char>(hash >> (8 * b));
        }
    }
    return stream;
}

TEST(Portable, SizesAreHeldAgainstTheirLimitsBeforeMemoryIsTaken) {
    const auto stream = stream_of(6, small_blocks(Compression::zstd));
    const auto begin = blocks_of(stream).at(2);
    const std::string huge("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
    const std::string large("\x01\x00\x00\x04\x00\x00\x00\x00", 8);  // a byte above 64 MiB
    for (const auto& size : {huge, large}) {
        for (const std::size_t field : {16U, 24U}) {
            auto wrong = stream;
            wrong.replace(begin + field, 8, size);
            TextSource source(wrong);
            auto reader = PortableReader::open(source);
            ASSERT_OK(reader);
            const auto status = (*reader)->next();
            ASSERT_FALSE(status);
            EXPECT_LT(source.most, 1U << 20) << "nothing of that size was asked for";
        }
    }
    // Sizes inside a block, with checksums that are right.
    const auto plain = stream_of(6, small_blocks(Compression::none));
    const auto rows = blocks_of(plain).at(2) + 32;
    const std::string many("\xff\xff\xff\x7f", 4);
    EXPECT_FALSE(read(forged(plain, rows, many))) << "sections";
    EXPECT_FALSE(read(forged(plain, rows + 4, many))) << "a reduction that is not there";
    EXPECT_FALSE(read(forged(plain, rows + 20, many))) << "rows of a section";
    EXPECT_FALSE(read(forged(plain, rows + 24, many))) << "the length of a key";
    EXPECT_FALSE(read(forged(plain, rows - 32 + 12, many))) << "rows of a block";
}

TEST(Portable, RowsThatWeWouldNotWriteAreRefused) {
    const auto plain = stream_of(6, small_blocks(Compression::none));
    const auto begins = blocks_of(plain);
    std::size_t refused = 0, tried = 0;
    // Any byte of rows, with checksums that are right: nothing may crash, and what is accepted is
    // canonical, so that its dump can be imported again.
    for (std::size_t at = begins.at(2) + 32; at < begins.back(); ++at) {
        for (const char byte : {'\x00', '\x7f', '\xff'}) {
            ++tried;
            const auto outcome = read(forged(plain, at, std::string_view(&byte, 1)));
            if (!outcome) {
                ++refused;
                continue;
            }
            const auto disk = new_disk();
            ASSERT_OK(import_text(*disk, "/state/a", *outcome));
            ASSERT_TRUE(value_of(dump_text(*disk, "/state/a")) == *outcome) << *outcome;
        }
    }
    EXPECT_GT(refused, tried / 4);
    EXPECT_LT(refused, tried) << "some bytes may be anything";
}

TEST(Portable, OfVersion1NoByteCanDoHarmEither) {
    std::ifstream file(SLUICE_SOURCE_DIR "/tests/golden/format-1/none.sluice", std::ios::binary);
    const std::string plain{std::istreambuf_iterator<char>(file), {}};
    const auto begins = blocks_of(plain);
    ASSERT_GT(begins.size(), 4U);
    ASSERT_OK(read(plain));
    std::size_t refused = 0, tried = 0;
    for (std::size_t at = begins.at(2) + 32; at < begins.back(); at += 23, ++tried) {
        refused += read(forged(plain, at, "\xff")) ? 0U : 1U;
    }
    EXPECT_GT(refused, tried / 4);
    EXPECT_LT(refused, tried);
}

// Rows of a block as they are, and the bytes that docs/FORMAT.md says they make.
struct BlockOfRows {
    std::vector<std::pair<RowKey, std::string>> rows;  // keys are views into `keys`
    std::deque<std::string> keys;

    void add(std::uint32_t reduction, std::string key, std::string row) {
        keys.push_back(std::move(key));
        RowKey at;
        at.reduction = reduction;
        at.slice_end = 1000;
        at.key = keys.back();
        rows.emplace_back(at, std::move(row));
    }
    std::string encoded() const {
        RowsToStore to_store;
        for (const auto& [key, row] : rows) {
            to_store.add(key, row);
        }
        RowsToStore::Room room;
        std::string bytes;
        bytes.resize(to_store.encode(room, bytes));
        return bytes;
    }
    std::string by_the_book() const {
        std::map<std::uint32_t, std::uint32_t> sections;
        std::string sizes[2];
        std::map<std::size_t, std::vector<std::string_view>> items[2];
        for (const auto& [key, row] : rows) {
            ++sections[key.reduction];
            for (const std::size_t i : {0U, 1U}) {
                const std::string_view item = i == 0 ? key.key : std::string_view(row);
                append_varint(sizes[i], item.size());
                items[i][std::min<std::size_t>(item.size(), 1024)].push_back(item);
            }
        }
        std::string bytes;
        append(bytes, static_cast<std::uint32_t>(sections.size()));
        for (const auto& [reduction, count] : sections) {
            append(bytes, reduction);
            append(bytes, std::uint64_t{1000});
            append(bytes, std::uint32_t{0});
            append(bytes, count);
        }
        bytes += sizes[0] + sizes[1];
        for (const auto& by_size : items) {
            for (const auto& [size, alike] : by_size) {
                for (std::size_t place = 0; size < 1024 && place < size; ++place) {
                    for (const auto& item : alike) {
                        bytes.push_back(item[place]);
                    }
                }
                for (const auto& item : alike) {
                    bytes += size < 1024 ? std::string_view() : item;
                }
            }
        }
        return bytes;
    }
};

// With what may stand behind them, which is to make no difference.
const char* take(StoredRows& stored, std::string bytes, std::size_t rows) {
    const auto size = bytes.size();
    bytes.append(kReadBehind, '\x5a');
    return stored.take(kPortableVersion, {bytes.data(), size}, static_cast<std::uint32_t>(rows));
}

BlockOfRows rows_of_many_sizes(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto bytes = [&](std::size_t size) {
        std::string text(size, '\0');
        std::generate(text.begin(), text.end(), [&] { return static_cast<char>(random()); });
        return text;
    };
    const std::size_t sizes[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 130, 1023, 1024, 3000};
    const auto some = 1 + random() % std::size(sizes);
    BlockOfRows block;
    for (auto left = 1 + random() % 90; left > 0; --left) {
        block.add(static_cast<std::uint32_t>(1000 - left / 20), bytes(sizes[random() % some]),
                  bytes(sizes[random() % some]));
    }
    return block;
}

TEST(PortableRows, ComeBackWhateverTheirSizesAndStandAsTheFormatSays) {
    StoredRows stored;  // one for all: nothing is left of the block before
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto block = rows_of_many_sizes(seed);
        const auto bytes = block.encoded();
        ASSERT_TRUE(bytes == block.by_the_book());
        ASSERT_EQ(take(stored, bytes, block.rows.size()), nullptr);
        for (int turn = 0; turn < 2; ++turn) {
            std::uint32_t reduction = 0;
            for (const auto& [key, row] : block.rows) {
                ASSERT_FALSE(stored.at_end());
                ASSERT_EQ(stored.next(), nullptr);
                ASSERT_EQ(stored.key().reduction, key.reduction);
                ASSERT_EQ(stored.key().slice_end, key.slice_end);
                ASSERT_EQ(stored.begins_slice(),
                          std::exchange(reduction, key.reduction) != key.reduction);
                ASSERT_TRUE(stored.key().key == key.key && stored.row() == row);
            }
            ASSERT_TRUE(stored.at_end());
            stored.rewind();
        }
    }
}

TEST(PortableRows, WhatIsCutOffOrDoesNotAddUpIsRefused) {
    StoredRows stored;
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const auto block = rows_of_many_sizes(seed);
        const auto bytes = block.encoded();
        const auto rows = block.rows.size();
        for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 16) {
            ASSERT_NE(take(stored, bytes.substr(0, size), rows), nullptr) << size;
        }
        EXPECT_NE(take(stored, bytes.substr(0, bytes.size() - 1), rows), nullptr);
        EXPECT_NE(take(stored, bytes + "x", rows), nullptr);
        EXPECT_NE(take(stored, bytes, rows + 1), nullptr);
        EXPECT_NE(take(stored, bytes, rows - 1), nullptr);
    }
    BlockOfRows block;
    block.add(2, "a", "b");
    block.add(3, "c", "d");
    auto bytes = block.encoded();
    ASSERT_EQ(take(stored, bytes, 2), nullptr);
    bytes[4] = 3;
    EXPECT_STREQ(take(stored, bytes, 2), "sections that do not ascend");
    bytes[4] = 2;
    bytes[20] = 0;
    EXPECT_STREQ(take(stored, bytes, 2), "a section's number of rows cannot be");
    // A size with a needless byte.
    EXPECT_NE(take(stored, block.encoded().replace(44, 1, std::string("\x81\0", 2)), 2), nullptr);
}

TEST(Portable, ANewerVersionIsNamed) {
    auto stream = stream_of(3, small_blocks(Compression::none));
    stream[8] = static_cast<char>(kPortableVersion + 1);
    const auto outcome = read(stream);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, model::ErrorKind::invalid);
    EXPECT_NE(outcome.error().text.find("written by a newer Sluice: format 3"), std::string::npos);
    EXPECT_FALSE(read("")) << "empty";
    EXPECT_FALSE(read(std::string(100, 'x'))) << "something else";
}

}  // namespace
}  // namespace sluice::state
