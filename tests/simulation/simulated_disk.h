// A disk in memory that loses what was not synced. The `Disk` of the simulation.
//
// Two states: what the process sees, and what is certain to be there after a power cut. Between
// them lies what was not synced; a crash decides for each piece, by the seed:
//   - bytes appended since the last sync(): any subset of 512-byte sectors survives, the file may
//     or may not have grown, lost sectors inside its size read as zeros;
//   - names (create, link, rename, remove) since the last sync of their directory: nothing, all,
//     the first few, or any subset; a rename within a directory is whole or not at all; a rename
//     never loses both names.
// A reader sees what the writer has flushed, no more. After a failed sync the bytes it was for
// count as unsynced for ever, though a later sync (of another handle) claims success: that is what
// kernels do. Faults: crash at an operation, failing n-th operation (I/O error, as a write or as a
// sync), a full disk at a byte budget. Same seed and same calls: same outcome.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "state/io/disk.h"

namespace sluice::simulation {

enum class CrashKind : std::uint8_t {
    power,  // everything not synced is decided on
    // kill -9: the kernel lives on, only bytes not yet flushed are at risk (a tail of them). What
    // was flushed and not synced is seen by the next life and still at risk in its power cuts.
    process,
};

// Thread: any, though a run is repeatable only from one.
class SimulatedDisk final : public state::Disk {
 public:
    explicit SimulatedDisk(std::uint64_t seed);
    ~SimulatedDisk() override;

    // Operations are calls that change something: create, append, sync, flush, rename, link,
    // remove, truncate, make_directory, sync_directory. Numbered from 1 in the order they begin.
    std::uint64_t operations() const;

    // The crash comes at that operation: it may have happened or not, or, for an append, in part.
    // From there on every call still succeeds, on a ghost without effect. 0: never.
    void crash_at(std::uint64_t operation, CrashKind kind = CrashKind::power);
    void crash_now(CrashKind kind = CrashKind::power);
    bool crashed() const;
    // What the next life finds. Only after a crash; may be called again, each disk is a copy of its
    // own. `seed` decides the new disk's own crashes.
    std::unique_ptr<SimulatedDisk> after_crash(std::uint64_t seed) const;

    // Operation number `operation` fails (unavailable) without effect; a file it concerns is dead.
    // May be called for several.
    void fail_at(std::uint64_t operation);
    // Appends beyond it fail (exhausted), in part written; the file is dead. None: endless (space()
    // then says 1 TiB).
    void set_budget(std::optional<std::uint64_t> bytes);
    std::uint64_t used_bytes() const;

    // Damages a byte of a file, in what the process sees and for good. For corruption tests.
    model::Status flip(const std::string& path, std::uint64_t offset, std::uint8_t bits);

    model::Result<std::unique_ptr<state::WritableFile>> create(const std::string& path) override;
    model::Result<std::unique_ptr<state::WritableFile>> append_to(const std::string& path) override;
    model::Result<std::unique_ptr<state::ReadableFile>> open(const std::string& path) override;
    model::Status make_directory(const std::string& path) override;
    model::Status rename(const std::string& from, const std::string& to) override;
    model::Status link(const std::string& from, const std::string& to) override;
    model::Status remove(const std::string& path) override;
    model::Status truncate(const std::string& path, std::uint64_t size) override;
    model::Status sync_file(const std::string& path) override;
    model::Status sync_directory(const std::string& path) override;
    model::Result<std::vector<std::string>> list(const std::string& path) override;
    model::Result<state::FileFacts> info(const std::string& path) override;
    model::Result<state::DiskSpace> space(const std::string& path) override;
    state::DiskStatistics statistics() const override;
    std::string_view name() const override { return "simulated"; }

    struct World;  // of simulated_disk.cc

    explicit SimulatedDisk(std::shared_ptr<World> world);  // for after_crash()

 private:
    std::shared_ptr<World> world_;  // shared with open files, which may outlive the disk
};

}  // namespace sluice::simulation
