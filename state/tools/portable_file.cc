#include "state/tools/portable_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "state/model/fail_point.h"
#include "state/tools/new_snapshot.h"

namespace sluice::state {
namespace {

constexpr std::size_t kReadBytes = 1 << 20;
constexpr std::uint64_t kProgressRows = 4096;

class FileSink final : public ByteSink {
 public:
    explicit FileSink(WritableFile& file) : file_(file) {}
    model::Status write(std::string_view bytes) override { return file_.append(bytes); }

 private:
    WritableFile& file_;
};

}  // namespace

model::Result<PortableCounts> export_snapshot(Snapshot& snapshot, ByteSink& sink,
                                              PortableWriter::Options options,
                                              const Progress& progress) {
    std::uint64_t total = 0;
    if (progress) {
        TRY(estimate, snapshot.estimated_rows());
        total = estimate;
    }
    PortableWriter writer(sink, options);
    TRY(rows, snapshot.rows());
    TRY(writer.begin(snapshot.meta(), snapshot.inputs_text()));
    SLUICE_FAIL_POINT("export.begun");
    while (true) {
        TRY(rows->next());
        if (!rows->valid()) {
            break;
        }
        TRY(writer.add(rows->key(), rows->row()));
        if (progress && writer.counts().rows % kProgressRows == 0) {
            progress(writer.counts().rows, std::max(total, writer.counts().rows));
        }
    }
    TRY(writer.finish());
    return writer.counts();
}

model::Result<PortableCounts> export_snapshot(Snapshot& snapshot, Disk& disk,
                                              const std::string& file,
                                              PortableWriter::Options options,
                                              const Progress& progress) {
    if (disk.info(file)) {
        return model::invalid(file + ": is there already");
    }
    const auto partial = file + ".partial";
    TRY(disk.remove(partial));
    auto counts = [&]() -> model::Result<PortableCounts> {
        TRY(written, disk.create(partial));
        FileSink sink(*written);
        TRY(done, export_snapshot(snapshot, sink, options, progress));
        SLUICE_FAIL_POINT("export.written");
        TRY(written->sync());
        SLUICE_FAIL_POINT("export.synced");
        return done;
    }();
    if (!counts) {
        static_cast<void>(disk.remove(partial));
        return counts;
    }
    TRY(disk.rename(partial, file));
    SLUICE_FAIL_POINT("export.renamed");
    TRY(disk.sync_directory(parent_directory(file)));
    SLUICE_FAIL_POINT("export.committed");
    return counts;
}

model::Result<CheckpointMeta> import_stream(PortableReader& reader, Disk& disk,
                                            const std::string& path, unsigned threads) {
    auto meta = reader.meta();
    meta.provenance = Provenance::imported;
    TRY(snapshot, NewSnapshot::begin(disk, path, threads));
    TRY(snapshot->add(meta, reader));
    return snapshot->commit(meta, reader.inputs_text());
}

model::Result<std::unique_ptr<FileSource>> FileSource::open(Disk& disk, const std::string& path) {
    TRY(file, disk.open(path));
    return std::unique_ptr<FileSource>(new FileSource(std::move(file)));
}

model::Result<std::size_t> FileSource::read(char* to, std::size_t bytes) {
    std::size_t done = 0;
    while (done < bytes) {
        if (used_ == buffer_.size()) {
            buffer_.resize(kReadBytes);
            used_ = 0;
            auto got = file_->read(at_, kReadBytes, buffer_.data());
            if (!got) {
                buffer_.clear();
                return std::unexpected(std::move(got.error()));
            }
            buffer_.resize(*got);
            at_ += *got;
            if (*got == 0) {
                break;
            }
        }
        const auto part = std::min(bytes - done, buffer_.size() - used_);
        std::memcpy(to + done, buffer_.data() + used_, part);
        used_ += part;
        done += part;
    }
    return done;
}

}  // namespace sluice::state
