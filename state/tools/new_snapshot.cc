#include "state/tools/new_snapshot.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <utility>

#include "state/io/rocks_env.h"
#include "state/model/fail_point.h"
#include "state/model/invariant.h"
#include "state/store/catalogue.h"
#include "state/store/checksum.h"
#include "state/store/inputs.h"
#include "state/store/store.h"

namespace sluice::state {
namespace {

model::Status write_synced(Disk& disk, const std::string& path, std::string_view bytes) {
    TRY(file, disk.create(path));
    TRY(file->append(bytes));
    return file->sync();
}

CheckpointMeta as_savepoint(CheckpointMeta meta) {
    meta.kind = SnapshotKind::savepoint;
    meta.id = 0;
    meta.files.clear();
    return meta;
}

}  // namespace

struct NewSnapshot::Parts {
    Parts(Disk& disk_, std::string path_) : disk(disk_), path(std::move(path_)) {}

    std::string partial() const { return path + ".partial"; }
    std::string live() const { return partial() + "/live"; }

    Disk& disk;
    const std::string path;
    std::unique_ptr<rocksdb::Env> env;
    std::unique_ptr<Store> store;  // behind the environment it uses
    std::uint64_t rows = 0;
    bool any = false;
    bool committed = false;
};

NewSnapshot::NewSnapshot(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

NewSnapshot::~NewSnapshot() {
    parts_->store.reset();
    if (!parts_->committed) {
        // What cannot be removed keeps its name, which is none of a snapshot.
        static_cast<void>(remove_tree(parts_->disk, parts_->partial()));
    }
}

model::Result<std::unique_ptr<NewSnapshot>> NewSnapshot::begin(Disk& disk, std::string path,
                                                               unsigned threads) {
    while (path.size() > 1 && path.ends_with('/')) {
        path.pop_back();
    }
    if (disk.info(path)) {
        return model::invalid(path + ": is there already, and no snapshot is ever overwritten");
    }
    auto parts = std::make_unique<Parts>(disk, std::move(path));
    TRY(remove_tree(disk, parts->partial()));
    TRY(disk.make_directory(parts->partial()));
    SLUICE_FAIL_POINT("import.begun");
    std::unique_ptr<NewSnapshot> snapshot(new NewSnapshot(std::move(parts)));
    Parts& p = *snapshot->parts_;
    p.env = make_rocks_env(disk);
    StoreOptions options;
    options.directory = p.live();
    options.disk = &disk;
    options.env = p.env.get();
    options.writers = threads;
    TRY(store, Store::open(options));
    p.store = std::move(store);
    return snapshot;
}

model::Status NewSnapshot::add(const CheckpointMeta& meta, RowSource& rows) {
    parts_->store->set_reductions(meta.reductions);
    TRY(run, parts_->store->write_rows(meta.number, as_savepoint(meta), rows));
    parts_->rows += run.rows;
    parts_->any = true;
    SLUICE_FAIL_POINT("import.rows_written");
    return parts_->store->apply(std::move(run));
}

std::uint64_t NewSnapshot::rows() const { return parts_->rows; }

model::Result<CheckpointMeta> NewSnapshot::commit(const CheckpointMeta& wanted,
                                                  std::string_view inputs_text) {
    Parts& p = *parts_;
    INVARIANT(p.any, "the meta row comes with the rows");
    auto meta = as_savepoint(wanted);
    if (inputs_hash(inputs_text) != meta.inputs) {
        return model::invalid("the inputs are not those that the snapshot names");
    }
    const auto link_all = [&]() -> model::Status {
        TRY(files, p.store->live_files());
        for (auto& file : files) {
            const auto to = p.partial() + "/" + file.name;
            if (file.link) {
                TRY(p.disk.link(file.path, to));
            } else {
                if (file.contents.empty()) {
                    TRY(opened, p.disk.open(file.path));
                    file.contents.resize(std::min(file.size, kMostCopiedBytes));
                    TRY(got, opened->read(0, file.contents.size(), file.contents.data()));
                    if (got != file.size) {
                        return model::corrupt(file.path + ": is shorter than RocksDB says");
                    }
                }
                TRY(write_synced(p.disk, to, file.contents));
                file.size = file.contents.size();
                file.checksum = checksum_hex(file.contents);
            }
            meta.files.push_back({file.name, file.size, file.checksum});
        }
        return {};
    };
    TRY(p.store->hold_files());
    auto linked = link_all();
    p.store->release_files();
    TRY(std::move(linked));
    const auto inputs_name = "INPUTS-" + meta.inputs;
    TRY(write_synced(p.disk, p.partial() + "/" + inputs_name, inputs_text));
    meta.files.push_back({inputs_name, inputs_text.size(), meta.inputs});
    std::sort(meta.files.begin(), meta.files.end(),
              [](const FileMeta& a, const FileMeta& b) { return a.name < b.name; });
    SLUICE_FAIL_POINT("import.linked");

    p.store.reset();
    TRY(remove_tree(p.disk, p.live()));
    TRY(write_file_durably(p.disk, p.partial() + "/" + kManifestName, manifest_text(meta)));
    SLUICE_FAIL_POINT("import.manifest_written");
    TRY(p.disk.rename(p.partial(), p.path));
    p.committed = true;
    SLUICE_FAIL_POINT("import.renamed");
    TRY(p.disk.sync_directory(parent_directory(p.path)));
    SLUICE_FAIL_POINT("import.committed");
    return meta;
}

}  // namespace sluice::state
