// A savepoint as one stream of bytes: for another machine, another disk, another store. It is the
// only form that is accepted from elsewhere: the files of a database from unknown hands are not
// safe to open, sorted rows that are checked one by one are. docs/FORMAT.md describes the bytes.
//
// Design: a header, then blocks (meta, inputs, rows …, end), each with its sizes, its codec and an
// XXH3 that has the block's position as seed. So a flipped byte, a block left out, doubled or moved
// shows at that block; the end block holds the counts, the length of the whole and the checksum of
// the whole, so a cut at any byte shows as well. Rows stand by columns (portable_rows.h); their
// hash is not stored: it follows from the key. A reader takes no memory before it has held a size
// against its limit.
//
// What is deliberately missing: the database's files, and whatever only makes sense beside them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/checksum.h"
#include "state/store/row_source.h"
#include "state/tools/shapes.h"

namespace sluice::state {

inline constexpr std::string_view kPortableMagic = "SluiceSp";  // what a stream begins with
inline constexpr std::uint32_t kPortableVersion = 2;
inline constexpr std::uint64_t kMostBlockBytes = 64ull << 20;

enum class Compression : std::uint8_t { none = 0, zstd = 1 };

// Where a stream goes: a file, a pipe. Thread: one.
class ByteSink {
 public:
    virtual ~ByteSink() = default;
    virtual model::Status write(std::string_view bytes) = 0;
};

// Where a stream comes from. Thread: one.
class ByteSource {
 public:
    virtual ~ByteSource() = default;
    // Reads `bytes` bytes, fewer only where the stream ends.
    virtual model::Result<std::size_t> read(char* to, std::size_t bytes) = 0;
};

// Whether an ordinary file is there that begins as a stream does.
bool is_portable_stream(Disk& disk, const std::string& path);

struct PortableCounts {
    std::uint64_t rows = 0;
    std::uint64_t row_bytes = 0;     // keys and rows as they lie in the store
    std::uint64_t stream_bytes = 0;  // of the whole stream
};

// Life:    begin(), add() in the order of keys, finish(). After an error it is of no use.
// Thread:  one; those that compress are its own. `sink` must outlive it.
// Memory:  whatever the size of the state, 2 · threads + 2 blocks, each as it is and as it is
//          stored, and one more for each thread; a block has block_bytes and what its last row is
//          longer.
//
// The same rows give the same bytes, whatever the number of threads and however the snapshot's
// tables are cut.
class PortableWriter {
 public:
    struct Options {
        Compression compression = Compression::zstd;
        int level = -3;  // zstd's; below 1 for speed: columns have little left to look for
        std::size_t block_bytes = 1 << 20;
        unsigned threads = 0;  // that compress, beside the caller; 0: it does it itself
    };
    PortableWriter(ByteSink& sink, Options options);
    ~PortableWriter();
    PortableWriter(const PortableWriter&) = delete;
    PortableWriter& operator=(const PortableWriter&) = delete;

    model::Status begin(const CheckpointMeta& meta, std::string_view inputs_text);
    // Errors: invalid (a row that is too large for a block), or the sink's.
    model::Status add(const RowKey& key, std::string_view row);
    model::Status finish();
    const PortableCounts& counts() const { return counts_; }

 private:
    struct Block;
    struct Parts;
    model::Status write(std::string_view bytes);
    model::Status write_stored(Block& block);
    model::Status write_alone(std::uint8_t kind, std::string_view bytes);
    model::Status write_oldest();
    model::Status end_block();
    static std::unexpected<model::Error> too_large(std::size_t bytes);

    ByteSink& sink_;
    const Options options_;
    Checksum whole_;
    std::uint64_t blocks_ = 0;
    PortableCounts counts_;
    const std::unique_ptr<Parts> parts_;
};

// Reads a stream from its beginning; as a RowSource its rows. Behind the last row everything has
// been checked: next() has read the end block and nothing follows it. Until then rows are the
// stream's as far as every block up to them is.
//
// Rows are canonical, of reductions that the meta names, their keys ascend. Errors: corrupt, with
// the position in the stream; invalid: written by a newer Sluice; the source's.
//
// Thread: one; those that decompress and check blocks are its own. `source` must outlive it.
// Memory: 2 · threads + 2 blocks, each as it is and as it is stored, one more for each thread, and
// 8 bytes a row. Each piece that is taken out is a block besides, while it lives.
class PortableReader final : public RowSource {
 public:
    static model::Result<std::unique_ptr<PortableReader>> open(ByteSource& source,
                                                               unsigned threads = 0);
    ~PortableReader() override;

    const CheckpointMeta& meta() const { return meta_; }
    const std::string& inputs_text() const { return inputs_; }
    std::uint64_t position() const { return position_; }  // bytes read
    const PortableCounts& counts() const { return counts_; }

    model::Status next() override;
    bool valid() const override { return valid_; }
    const RowKey& key() const override;
    std::string_view row() const override;
    // A block, whole. counts() has it at once.
    model::Result<RowPiece> take_piece() override;

 private:
    struct Block;
    struct Parts;
    class Piece;
    PortableReader(ByteSource& source, unsigned threads);
    model::Status read(char* to, std::size_t bytes, const char* what);
    model::Status read_header();
    model::Status read_block(Block& block);
    void read_ahead();
    model::Status next_block();
    model::Status read_end();

    ByteSource& source_;
    Checksum whole_;
    std::uint64_t position_ = 0;
    std::uint64_t blocks_ = 0;
    std::uint32_t version_ = 0, reductions_ = 0, partitions_ = 0;  // as the header says
    model::BarrierNumber number_ = 0;
    std::string pipeline_;
    CheckpointMeta meta_;
    std::string inputs_;
    std::optional<Shapes> shapes_;  // by these
    PortableCounts counts_;

    RowKey last_;           // of all blocks up to the one in hand
    std::string last_key_;  // its key
    bool any_ = false;
    bool valid_ = false;
    bool done_ = false;
    const std::unique_ptr<Parts> parts_;  // last: its threads look at the meta
};

}  // namespace sluice::state
