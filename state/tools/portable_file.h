// Portable streams in files, through the disk of the io thread.
#pragma once

#include <memory>
#include <string>

#include "state/io/disk.h"
#include "state/model/result.h"
#include "state/tools/portable.h"
#include "state/tools/snapshot.h"

namespace sluice::state {

// The whole of a snapshot into a stream. `progress` gets rows; the total is an estimate.
model::Result<PortableCounts> export_snapshot(Snapshot& snapshot, ByteSink& sink,
                                              PortableWriter::Options options,
                                              const Progress& progress);

// The same into a file: FILE.partial, sync, rename, sync of the directory. What is left of FILE
// after an error or a crash is nothing, or FILE.partial. Errors: invalid: it exists; exhausted.
model::Result<PortableCounts> export_snapshot(Snapshot& snapshot, Disk& disk,
                                              const std::string& file,
                                              PortableWriter::Options options,
                                              const Progress& progress);

// Into a new savepoint at `path`, as NewSnapshot makes it, marked as imported. `threads` write
// tables beside the caller.
model::Result<CheckpointMeta> import_stream(PortableReader& reader, Disk& disk,
                                            const std::string& path, unsigned threads = 0);

// A file's bytes from its beginning. Thread: one.
class FileSource final : public ByteSource {
 public:
    static model::Result<std::unique_ptr<FileSource>> open(Disk& disk, const std::string& path);
    model::Result<std::size_t> read(char* to, std::size_t bytes) override;
    std::uint64_t size() const { return file_->size(); }

 private:
    explicit FileSource(std::unique_ptr<ReadableFile> file) : file_(std::move(file)) {}
    std::unique_ptr<ReadableFile> file_;
    std::string buffer_;
    std::size_t used_ = 0;
    std::uint64_t at_ = 0;
};

}  // namespace sluice::state
