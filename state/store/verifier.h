// Reads the files of the restored snapshot behind the open gate, at a capped rate, and compares
// them with their checksums. Restoring links files without reading them, so damage in a block that
// no fire has asked for yet would otherwise show only when it is too late for the older snapshots.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "state/model/clock.h"
#include "state/model/result.h"
#include "state/store/catalogue.h"
#include "state/store/checkpoint_meta.h"
#include "state/store/checksum.h"

namespace sluice::state {

// Thread: one, the one that uses the catalogue (the snapshot thread, between jobs).
class Verifier {
 public:
    // All references must outlive it. `bytes_per_second` > 0.
    Verifier(Disk& disk, Catalogue& catalogue, const model::Clock& clock,
             std::uint64_t bytes_per_second);

    // The snapshot in `path`, of which `meta` is the manifest. A checkpoint stays until all is read
    // (Retention::unverified); of a savepoint that its owner takes away the rest is not read.
    void begin(std::string path, const CheckpointMeta& meta);

    // Reads a piece. False: nothing to do now, because all is read or the rate is used up. Error:
    // corrupt: a file is damaged, named together with every snapshot that has it; they are marked,
    // so that the next start takes another one. The daemon leaves with 74. Blocks on the disk.
    model::Result<bool> step();

    bool done() const { return next_ == files_.size(); }
    std::uint64_t bytes() const { return bytes_; }  // read so far
    std::uint64_t total_bytes() const { return total_bytes_; }

 private:
    bool open_next();
    model::Error damage(const std::string& reason);

    Disk& disk_;
    Catalogue& catalogue_;
    const model::Clock& clock_;
    const std::uint64_t bytes_per_second_;
    std::string path_;
    std::vector<FileMeta> files_;
    std::size_t next_ = 0;
    std::unique_ptr<ReadStream> file_;
    std::string file_path_;
    std::unique_ptr<Checksum> checksum_;
    std::uint64_t at_ = 0;
    std::uint64_t bytes_ = 0, total_bytes_ = 0;
    std::int64_t begun_ms_ = 0;
};

}  // namespace sluice::state
