#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "daemon/snapshot_tool.h"
#include "state/store/catalogue.h"
#include "state/tools/disk_usage.h"
#include "state/tools/portable_file.h"
#include "state/tools/snapshot.h"

namespace sluice::daemon {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using state::CheckpointMeta;

const char* name_of(state::SnapshotKind kind) {
    return kind == state::SnapshotKind::checkpoint ? "checkpoint" : "savepoint";
}

void print_json(const ordered_json& value) {
    std::printf("%s\n", value.dump(1, ' ', true, ordered_json::error_handler_t::replace).c_str());
}

// A portable stream that is a file, a pipe, or stdin.
struct Stream {
    std::unique_ptr<state::ByteSource> source;
    std::unique_ptr<state::PortableReader> reader;  // behind what it reads from
    std::uint64_t bytes = 0;                        // 0: not known
};

model::Result<Stream> open_stream(SnapshotTool& tool, const std::string& path) {
    Stream stream;
    TRY(opened, tool.source(path));
    stream.source = std::move(opened.bytes);
    stream.bytes = opened.size;
    auto reader = state::PortableReader::open(*stream.source, SnapshotTool::threads());
    if (!reader) {
        return model::fail(reader.error().kind, path + ": " + reader.error().text);
    }
    stream.reader = std::move(*reader);
    return stream;
}

// ---- inspect

std::string instant(const std::optional<model::EventTime>& at) {
    return at ? state::rfc3339(*at) : "-";
}
std::string bound(model::EventTime at) {
    return at == model::kBeforeAll || at == model::kAfterAll ? "-" : state::rfc3339(at);
}

void print_text(const CheckpointMeta& meta, const std::string& form, std::uint64_t bytes) {
    static constexpr const char* kProvenances[] = {"taken by a daemon", "edited", "imported"};
    std::printf("pipeline    %s\n", meta.pipeline.c_str());
    std::printf("form        %s, format %u, %llu bytes in %zu files\n", form.c_str(), meta.format,
                static_cast<unsigned long long>(bytes), meta.files.size());
    std::printf("kind        %s %llu, %s\n", name_of(meta.kind),
                static_cast<unsigned long long>(meta.id),
                kProvenances[static_cast<int>(meta.provenance)]);
    std::printf("taken       %s\n", meta.taken.c_str());
    std::printf("lineage     %s, barrier %llu, journal %llu\n", meta.lineage.c_str(),
                static_cast<unsigned long long>(meta.number),
                static_cast<unsigned long long>(meta.journal_number));
    if (!meta.origin_lineage.empty()) {
        std::printf("origin      %s, barrier %llu\n", meta.origin_lineage.c_str(),
                    static_cast<unsigned long long>(meta.origin_number));
    }
    std::printf("inputs      %s\n", meta.inputs.c_str());
    std::printf("times       cut %s, tick %s, cap %s\n", bound(meta.cut_floor).c_str(),
                bound(meta.tick).c_str(), bound(meta.cap).c_str());
    std::printf("\nreduction               rows in      acknowledged up to        dropped up to\n");
    for (const auto& reduction : meta.reductions) {
        std::printf("%-23s %-12s %-25s %s\n", reduction.id.c_str(),
                    reduction.family == state::Family::standard ? "default" : "short",
                    instant(reduction.acknowledged).c_str(), instant(reduction.dropped).c_str());
        std::printf("    %s\n", reduction.schema.c_str());
    }
    model::Ledger sum;
    std::printf("\npartition               next offset  greatest timestamp        consumed\n");
    for (const auto& partition : meta.partitions) {
        sum += partition.ledger;
        std::printf("%-23s %-12lld %-25s %llu%s\n",
                    (partition.partition.topic + "[" + std::to_string(partition.partition.id) + "]")
                        .c_str(),
                    static_cast<long long>(partition.next_offset),
                    instant(partition.max_timestamp).c_str(),
                    static_cast<unsigned long long>(partition.ledger.consumed),
                    partition.idle ? ", idle" : "");
    }
    const auto n = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
    std::printf(
        "\nledger      consumed %llu + exploded %llu = reached %llu + filtered %llu + null %llu + "
        "undecodable %llu + duplicate %llu + skipped %llu%s\n",
        n(sum.consumed), n(sum.exploded), n(sum.reached), n(sum.filtered), n(sum.null),
        n(sum.undecodable), n(sum.duplicate), n(sum.skipped),
        sum.balanced() ? "" : " (does not balance)");
}

void print_meta(const CheckpointMeta& meta, const std::string& path, const std::string& form,
                std::uint64_t bytes, bool as_json) {
    if (!as_json) {
        print_text(meta, form, bytes);
        return;
    }
    ordered_json value = {{"path", path}, {"form", form}, {"bytes", bytes}};
    value.update(ordered_json::parse(state::meta_row_text(meta)));
    value["files"] = ordered_json::array();
    for (const auto& file : meta.files) {
        value["files"].push_back(
            {{"name", file.name}, {"size", file.size}, {"xxh3", file.checksum}});
    }
    print_json(value);
}

int inspect(SnapshotTool& tool, const SnapshotOptions& options) {
    if (is_directory(options.path)) {
        const auto snapshot = state::Snapshot::open(tool.disk(), options.path);
        if (!snapshot) {
            return tool.fail(snapshot.error());
        }
        print_meta((*snapshot)->meta(), options.path, "directory", (*snapshot)->bytes(),
                   options.json);
        return kExitOk;
    }
    const auto stream = open_stream(tool, options.path);
    if (!stream) {
        return tool.fail(stream.error());
    }
    print_meta(stream->reader->meta(), options.path, "portable stream", stream->bytes,
               options.json);
    return kExitOk;
}

// ---- verify

struct Verified {
    std::string path;
    model::Status status;
    std::uint64_t bytes = 0;
    std::size_t files = 1;
};

Verified verify_directory(SnapshotTool& tool, const std::string& path) {
    Verified outcome{path, {}, 0, 1};
    const auto snapshot = state::Snapshot::open(tool.disk(), path);
    outcome.status = snapshot ? (*snapshot)->verify(tool.progress("bytes"))
                              : model::Status(std::unexpected(snapshot.error()));
    if (outcome.status) {
        outcome.bytes = (*snapshot)->bytes();
        outcome.files = (*snapshot)->meta().files.size() + 1;
    }
    return outcome;
}

Verified verify_stream(SnapshotTool& tool, const std::string& path) {
    Verified outcome{path, {}, 0, 1};
    auto stream = open_stream(tool, path);
    if (!stream) {
        outcome.status = std::unexpected(stream.error());
        return outcome;
    }
    const auto progress = tool.progress("bytes");
    auto& reader = *stream->reader;
    do {
        outcome.status = reader.next();
        if (progress && stream->bytes != 0) {
            progress(reader.position(), stream->bytes);
        }
    } while (outcome.status && reader.valid());
    if (!outcome.status) {
        outcome.status =
            model::fail(outcome.status.error().kind, path + ": " + outcome.status.error().text);
    }
    outcome.bytes = reader.position();
    return outcome;
}

ordered_json to_json(const Verified& one) {
    return {{"path", one.path},
            {"ok", one.status.has_value()},
            {"bytes", one.bytes},
            {"error", one.status ? "" : one.status.error().text}};
}

int print_verified(const SnapshotTool& tool, const Verified& one, bool silent) {
    if (!one.status) {
        return tool.fail(one.status.error());
    }
    if (!silent) {
        std::printf("%s: whole, %llu bytes in %zu files\n", one.path.c_str(),
                    static_cast<unsigned long long>(one.bytes), one.files);
    }
    return kExitOk;
}

// All that are in a state directory, or in another folder of snapshots.
int verify_all(SnapshotTool& tool, const std::vector<std::string>& paths, bool as_json) {
    auto list = ordered_json::array();
    int exit_code = kExitOk;
    for (const std::string& path : paths) {
        const Verified one = verify_directory(tool, path);
        if (!one.status && !tool.disk().info(path + "/" + state::kManifestName)) {
            continue;  // removed meanwhile
        }
        list.push_back(to_json(one));
        if (const int its = print_verified(tool, one, as_json); its != kExitOk) {
            exit_code = its;
        }
    }
    if (as_json) {
        print_json(list);
    }
    return exit_code;
}

int verify(SnapshotTool& tool, const SnapshotOptions& options) {
    const bool directory = options.path != "-" && is_directory(options.path);
    if (directory && !tool.disk().info(options.path + "/" + state::kManifestName)) {
        const auto snapshots = state::snapshots_in(tool.disk(), options.path);
        if (!snapshots) {
            return tool.fail(snapshots.error());
        }
        if (!snapshots->empty()) {
            return verify_all(tool, *snapshots, options.json);
        }
    }
    const Verified one =
        directory ? verify_directory(tool, options.path) : verify_stream(tool, options.path);
    if (options.json) {
        print_json(to_json(one));
    }
    return print_verified(tool, one, options.json);
}

// ---- export, import

int export_stream(SnapshotTool& tool, const SnapshotOptions& options) {
    const bool to_stdout = options.destination == "-";
    if (!to_stdout) {
        if (const int wrong = tool.creatable(options.destination); wrong != kExitOk) {
            return wrong;
        }
        if (auto claimed = tool.claim(options.destination); !claimed) {
            return tool.fail(claimed.error());
        }
    }
    const auto snapshot = state::Snapshot::open(tool.disk(), options.path);
    if (!snapshot) {
        return tool.fail(snapshot.error());
    }
    state::PortableWriter::Options writing;
    writing.compression = options.compress ? state::Compression::zstd : state::Compression::none;
    writing.threads = SnapshotTool::threads();
    OutputSink output(options.rate);
    const auto counts =
        to_stdout ? state::export_snapshot(**snapshot, output, writing, tool.progress("rows"))
                  : state::export_snapshot(**snapshot, tool.disk(), options.destination, writing,
                                           tool.progress("rows"));
    if (!counts) {
        return tool.fail(counts.error());
    }
    std::FILE* const talk = to_stdout ? stderr : stdout;
    if (options.json) {
        const json outcome = {{"file", options.destination},
                              {"rows", counts->rows},
                              {"row_bytes", counts->row_bytes},
                              {"bytes", counts->stream_bytes}};
        std::fprintf(talk, "%s\n", outcome.dump(1).c_str());
    } else {
        std::fprintf(talk, "%s: %llu rows, %llu bytes\n", options.destination.c_str(),
                     static_cast<unsigned long long>(counts->rows),
                     static_cast<unsigned long long>(counts->stream_bytes));
    }
    return kExitOk;
}

// Shows how much of the stream has been read.
class Watched final : public state::ByteSource {
 public:
    Watched(state::ByteSource& source, state::Progress progress, std::uint64_t total)
        : source_(source), progress_(std::move(progress)), total_(total) {}
    model::Result<std::size_t> read(char* to, std::size_t bytes) override {
        auto got = source_.read(to, bytes);
        if (got && progress_ && total_ != 0) {
            done_ += *got;
            progress_(done_, total_);
        }
        return got;
    }

 private:
    state::ByteSource& source_;
    const state::Progress progress_;
    const std::uint64_t total_;
    std::uint64_t done_ = 0;
};

int import_stream(SnapshotTool& tool, const SnapshotOptions& options) {
    if (const int wrong = tool.creatable(options.destination); wrong != kExitOk) {
        return wrong;
    }
    if (auto claimed = tool.claim(options.destination); !claimed) {
        return tool.fail(claimed.error());
    }
    if (is_directory(options.path)) {
        return tool.fail(kExitUsage, options.path +
                                         ": is a directory; a savepoint's directory is taken as it "
                                         "is, only portable streams are imported");
    }
    const auto source = tool.source(options.path);
    if (!source) {
        return tool.fail(source.error());
    }
    Watched watched(*source->bytes, tool.progress("bytes"), source->size);
    const auto imported = [&]() -> model::Result<CheckpointMeta> {
        TRY(reader, state::PortableReader::open(watched, SnapshotTool::threads()));
        TRY(meta, state::import_stream(*reader, tool.disk(), options.destination,
                                       SnapshotTool::threads()));
        if (options.json) {
            print_json({{"path", options.destination}, {"rows", reader->counts().rows}});
        } else {
            std::printf("%s: %llu rows, savepoint of %s at barrier %llu\n",
                        options.destination.c_str(),
                        static_cast<unsigned long long>(reader->counts().rows),
                        meta.pipeline.c_str(), static_cast<unsigned long long>(meta.number));
        }
        return meta;
    }();
    return imported
               ? kExitOk
               : tool.fail({imported.error().kind, options.path + ": " + imported.error().text});
}

}  // namespace

int command_snapshot(const SnapshotOptions& options) {
    using enum SnapshotOptions::Action;
    static constexpr const char* kNames[] = {"savepoint inspect", "savepoint verify",
                                             "savepoint export", "savepoint import"};
    auto opened = SnapshotTool::open(kNames[static_cast<int>(options.action)], options.rate);
    if (!opened) {
        std::fprintf(stderr, "sluice: %s\n", opened.error().text.c_str());
        return kExitStateBroken;
    }
    SnapshotTool& tool = **opened;
    if (options.path != "-") {
        if (const int wrong = tool.readable(options.path); wrong != kExitOk) {
            return wrong;
        }
    }
    switch (options.action) {
        case inspect:
            return daemon::inspect(tool, options);
        case verify:
            return daemon::verify(tool, options);
        case export_stream:
            return daemon::export_stream(tool, options);
        case import_stream:
            return daemon::import_stream(tool, options);
    }
    return kExitUsage;
}

}  // namespace sluice::daemon
