#include <cstdio>
#include <nlohmann/json.hpp>

#include "daemon/commands.h"
#include "daemon/exit_code.h"
#include "daemon/live_snapshot.h"
#include "daemon/snapshot_tool.h"
#include "state/model/number.h"
#include "state/store/catalogue.h"
#include "state/tools/compare.h"
#include "state/tools/disk_usage.h"
#include "state/tools/edit.h"
#include "state/tools/import_lines.h"
#include "state/tools/lines.h"
#include "state/tools/new_snapshot.h"
#include "state/tools/portable.h"
#include "state/tools/shapes.h"
#include "state/tools/snapshot.h"

namespace sluice::daemon {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kOutputBytes = 256 << 10;

unsigned long long number(std::uint64_t v) { return v; }

model::Status print(std::string& text) {
    OutputSink sink(std::nullopt);
    auto status = sink.write(text);
    text.clear();
    return status;
}

// Of rows of one reduction or of all, to stdout.
model::Status dump_rows(state::RowSource& rows, const state::Shapes& shapes,
                        std::optional<std::uint32_t> only, std::string& out) {
    state::LineWriter lines(shapes);
    while (true) {
        TRY(rows.next());
        if (!rows.valid()) {
            break;
        }
        if (only && rows.key().reduction != *only) {
            continue;
        }
        TRY(lines.add(rows.key(), rows.row(), out));
        if (out.size() >= kOutputBytes) {
            TRY(print(out));
        }
    }
    TRY(lines.finish(out));
    return print(out);
}

model::Result<std::optional<std::uint32_t>> number_of(const state::Shapes& shapes,
                                                      const std::string& id) {
    if (id.empty()) {
        return std::optional<std::uint32_t>();
    }
    const auto* shape = shapes.by_id(id);
    if (shape == nullptr) {
        return model::invalid("the snapshot has no reduction `" + id + "`");
    }
    return std::optional(shape->number);
}

model::Status dump(SnapshotTool& tool, const StateOptions& options) {
    std::string out;
    const auto begin = [&](const state::CheckpointMeta& meta, const std::string& inputs) {
        if (!options.rows_only) {
            out = state::header_line(meta, inputs);
        }
    };
    const auto& path = options.paths[0];
    if (is_directory(path)) {
        TRY(snapshot, state::Snapshot::open(tool.disk(), path));
        begin(snapshot->meta(), snapshot->inputs_text());
        const state::Shapes shapes(snapshot->meta(), snapshot->inputs_text());
        TRY(only, number_of(shapes, options.reduction));
        TRY(rows, snapshot->rows(only));
        return dump_rows(*rows, shapes, only, out);
    }
    TRY(source, tool.source(path));
    const auto stream = [&]() -> model::Status {
        TRY(reader, state::PortableReader::open(*source.bytes));
        begin(reader->meta(), reader->inputs_text());
        const state::Shapes shapes(reader->meta(), reader->inputs_text());
        TRY(only, number_of(shapes, options.reduction));
        return dump_rows(*reader, shapes, only, out);
    }();
    return stream ? stream : model::fail(stream.error().kind, path + ": " + stream.error().text);
}

// ---- get

model::Result<bool> get_from(SnapshotTool& tool, const std::string& path,
                             const StateOptions& options) {
    // The daemon may remove a checkpoint while we read it.
    TRY(snapshot, state::Snapshot::open(tool.disk(), path, {.hold_tables = true}));
    const state::Shapes shapes(snapshot->meta(), snapshot->inputs_text());
    TRY(only, number_of(shapes, options.reduction));
    const auto key = state::encoded_key(options.key);
    bool found = false;
    std::string out;
    for (const auto& shape : shapes.all()) {
        if (only && shape.number != *only) {
            continue;
        }
        TRY(rows, snapshot->rows_of_key(shape.number, key));
        state::LineWriter lines(shapes);
        while (true) {
            TRY(rows->next());
            if (!rows->valid()) {
                break;
            }
            found = true;
            TRY(lines.add(rows->key(), rows->row(), out));
        }
        TRY(lines.finish(out));
    }
    TRY(print(out));
    return found;
}

// All of it is read: a stream has no place where a key is looked up.
model::Result<bool> get_from_stream(SnapshotTool& tool, const std::string& path,
                                    const StateOptions& options) {
    TRY(source, tool.source(path));
    bool found = false;
    const auto got = [&]() -> model::Status {
        TRY(reader, state::PortableReader::open(*source.bytes, SnapshotTool::threads()));
        const state::Shapes shapes(reader->meta(), reader->inputs_text());
        TRY(only, number_of(shapes, options.reduction));
        const auto key = state::encoded_key(options.key);
        state::LineWriter lines(shapes);
        std::string out;
        while (true) {
            TRY(reader->next());
            if (!reader->valid()) {
                break;
            }
            const state::RowKey& at = reader->key();
            if (at.key == key && (!only || at.reduction == *only)) {
                found = true;
                TRY(lines.add(at, reader->row(), out));
            }
        }
        TRY(lines.finish(out));
        return print(out);
    }();
    return got ? model::Result<bool>(found)
               : model::fail(got.error().kind, path + ": " + got.error().text);
}

int get(SnapshotTool& tool, const StateOptions& options) {
    auto path = options.paths[0];
    if (state::is_portable_stream(tool.disk(), path)) {
        const auto found = get_from_stream(tool, path, options);
        return !found ? tool.fail(found.error()) : *found ? kExitOk : kExitFalse;
    }
    if (path.find('/') != std::string::npos) {  // no name of a pipeline
        if (const int wrong = tool.readable(path); wrong != kExitOk) {
            return wrong;
        }
    }
    const bool live = !is_directory(path) || !tool.disk().info(path + "/" + state::kManifestName);
    if (live) {
        if (is_directory(path)) {
            return tool.fail(kExitDamaged,
                             path + ": is no snapshot, it has no " + state::kManifestName);
        }
        const auto newest = checkpoint_now(path);
        if (!newest) {
            return tool.fail(newest.error().exit_code, newest.error().text);
        }
        path = *newest;
        if (const int wrong = tool.readable(path); wrong != kExitOk) {
            return wrong;
        }
    }
    const auto found = get_from(tool, path, options);
    if (!found) {
        return tool.fail(found.error());
    }
    return *found ? kExitOk : kExitFalse;
}

// ---- diff

model::Result<bool> diff(SnapshotTool& tool, const StateOptions& options) {
    TRY(a, state::Snapshot::open(tool.disk(), options.paths[0]));
    TRY(b, state::Snapshot::open(tool.disk(), options.paths[1]));
    const state::Shapes left(a->meta(), a->inputs_text());
    const state::Shapes right(b->meta(), b->inputs_text());
    std::uint64_t added = 0, removed = 0, changed = 0;
    std::string out;
    TRY(state::compare_rows(*a, *b, [&](const state::Difference& difference) -> model::Status {
        const auto* shape = left.by_id(difference.reduction);
        if (shape == nullptr || difference.a.empty()) {
            shape = right.by_id(difference.reduction);
        }
        state::append_place(out, *shape, *difference.key);
        const char* const change = difference.a.empty()   ? "added"
                                   : difference.b.empty() ? "removed"
                                                          : "changed";
        ++(difference.a.empty() ? added : difference.b.empty() ? removed : changed);
        out.append(",\"change\":\"").append(change).append("\",\"a\":");
        for (const auto* side : {&difference.a, &difference.b}) {
            if (side == &difference.b) {
                out.append(",\"b\":");
            }
            if (side->empty()) {
                out.append("null");
            } else {
                TRY(state::append_state(out, *side));
            }
        }
        out.append("}\n");
        return out.size() >= kOutputBytes ? print(out) : model::Status{};
    }));
    TRY(print(out));
    std::fprintf(stderr, "%llu added, %llu removed, %llu changed\n", number(added), number(removed),
                 number(changed));
    return added + removed + changed != 0;
}

// ---- du

model::Status du(SnapshotTool& tool, const StateOptions& options) {
    TRY(usages, state::disk_usage(tool.disk(), options.paths));
    if (options.json) {
        ordered_json value = {{"snapshots", ordered_json::array()}, {"bytes", usages.bytes}};
        for (const auto& usage : usages.snapshots) {
            value["snapshots"].push_back({{"path", usage.path},
                                          {"bytes", usage.bytes},
                                          {"exclusive", usage.exclusive},
                                          {"shared", usage.shared}});
        }
        std::printf("%s\n", value.dump(1).c_str());
        return {};
    }
    std::printf("%15s %15s %15s  snapshot\n", "bytes", "exclusive", "shared");
    for (const auto& usage : usages.snapshots) {
        std::printf("%15llu %15llu %15llu  %s\n", number(usage.bytes), number(usage.exclusive),
                    number(usage.shared), usage.path.c_str());
    }
    std::printf("%15llu %15s %15s  together\n", number(usages.bytes), "", "");
    return {};
}

// ---- put, delete, import

model::Status change_line(const StateOptions& options, state::LineReader& reader,
                          std::string_view line, state::Edits& edits) {
    if (options.action == StateOptions::Action::put) {
        TRY(row, reader.row(line));
        return edits.put(std::move(row));
    }
    TRY(place, reader.place(line));
    return edits.remove(place);
}

model::Status collect_edits(const StateOptions& options, const state::Shapes& shapes,
                            state::Edits& edits) {
    state::LineReader reader(shapes);
    if (options.action == StateOptions::Action::remove && !options.reduction.empty()) {
        TRY(known, number_of(shapes, options.reduction));
        state::LineReader::Place place;
        place.reduction = *known;
        if (options.window_end) {
            // The command line takes nothing but an integer.
            place.slice_end = model::parse_number(*options.window_end).value.value.integer;
        }
        if (!options.key.empty()) {
            place.key = state::encoded_key(options.key);
        }
        return edits.remove(place);
    }
    std::uint64_t line_number = 0;
    return each_input_line([&](std::string_view line) -> model::Status {
        ++line_number;
        if (line.find_first_not_of(" \t\r") == std::string_view::npos ||
            line.starts_with("{\"snapshot\":")) {
            return {};  // a whole dump may be given, too
        }
        auto taken = change_line(options, reader, line, edits);
        return taken ? taken
                     : model::fail(taken.error().kind, "line " + std::to_string(line_number) +
                                                           ": " + taken.error().text);
    });
}

model::Result<bool> change(SnapshotTool& tool, const StateOptions& options) {
    TRY(snapshot, state::Snapshot::open(tool.disk(), options.paths[0]));
    const state::Shapes shapes(snapshot->meta(), snapshot->inputs_text());
    state::Edits edits;
    TRY(collect_edits(options, shapes, edits));
    auto meta = snapshot->meta();
    meta.provenance = state::Provenance::edited;
    TRY(made, state::NewSnapshot::begin(tool.disk(), options.destination));
    TRY(rows, snapshot->rows());
    const auto changed = edits.over(*rows);
    TRY(made->add(meta, *changed));
    const auto& counts = edits.counts();
    if (counts.put + counts.changed + counts.removed == 0) {
        std::fputs("nothing to change: no savepoint was made\n", stderr);
        return false;
    }
    TRY(committed, made->commit(meta, snapshot->inputs_text()));
    if (options.json) {
        const ordered_json value = {{"path", options.destination},
                                    {"put", counts.put},
                                    {"changed", counts.changed},
                                    {"removed", counts.removed},
                                    {"rows", made->rows()}};
        std::printf("%s\n", value.dump(1).c_str());
    } else {
        std::printf("%s: %llu rows put, %llu changed, %llu removed; %llu in all\n",
                    options.destination.c_str(), number(counts.put), number(counts.changed),
                    number(counts.removed), number(made->rows()));
    }
    return committed.provenance == state::Provenance::edited;
}

model::Status import_lines(SnapshotTool& tool, const StateOptions& options) {
    std::optional<state::LinesHeader> base;
    if (!options.like.empty()) {
        TRY(snapshot, state::Snapshot::open(tool.disk(), options.like));
        base = state::LinesHeader{snapshot->meta(), snapshot->inputs_text()};
    }
    TRY(lines, state::LineImport::begin(tool.disk(), options.destination, std::move(base)));
    TRY(each_input_line([&](std::string_view line) { return lines->add(line); }));
    TRY(meta, lines->commit());
    if (options.json) {
        const ordered_json value = {{"path", options.destination}, {"lines", lines->rows()}};
        std::printf("%s\n", value.dump(1).c_str());
    } else {
        std::printf("%s: %llu lines, savepoint of %s at barrier %llu\n",
                    options.destination.c_str(), number(lines->rows()), meta.pipeline.c_str(),
                    number(meta.number));
    }
    return {};
}

int exit_code_of(const SnapshotTool& tool, const model::Status& status) {
    return status ? kExitOk : tool.fail(status.error());
}

}  // namespace

int command_state(const StateOptions& options) {
    using enum StateOptions::Action;
    static constexpr const char* kNames[] = {"state dump",  "state get", "state diff",
                                             "state du",    "state put", "state delete",
                                             "state import"};
    auto opened = SnapshotTool::open(kNames[static_cast<int>(options.action)], std::nullopt);
    if (!opened) {
        std::fprintf(stderr, "sluice: %s\n", opened.error().text.c_str());
        return kExitStateBroken;
    }
    SnapshotTool& tool = **opened;
    auto read = options.paths;
    if (!options.like.empty()) {
        read.push_back(options.like);
    }
    for (const auto& path : read) {
        if (options.action != get && path != "-") {
            if (const int wrong = tool.readable(path); wrong != kExitOk) {
                return wrong;
            }
        }
    }
    if (!options.destination.empty()) {
        if (const int wrong = tool.creatable(options.destination); wrong != kExitOk) {
            return wrong;
        }
        if (auto claimed = tool.claim(options.destination); !claimed) {
            return tool.fail(claimed.error());
        }
    }
    switch (options.action) {
        case dump:
            return exit_code_of(tool, daemon::dump(tool, options));
        case get:
            return daemon::get(tool, options);
        case diff: {
            const auto differ = daemon::diff(tool, options);
            return !differ ? tool.fail(differ.error()) : *differ ? kExitFalse : kExitOk;
        }
        case du:
            return exit_code_of(tool, daemon::du(tool, options));
        case put:
        case remove: {
            const auto changed = change(tool, options);
            return !changed ? tool.fail(changed.error()) : *changed ? kExitOk : kExitFalse;
        }
        case import_lines:
            return exit_code_of(tool, daemon::import_lines(tool, options));
    }
    return kExitUsage;
}

}  // namespace sluice::daemon
