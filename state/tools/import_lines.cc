#include "state/tools/import_lines.h"

#include <utility>

#include "state/store/checksum.h"
#include "state/tools/edit.h"
#include "state/tools/row_check.h"

namespace sluice::state {
namespace {

constexpr std::size_t kPieceBytes = 64 << 20;

}  // namespace

LineImport::LineImport(Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
LineImport::~LineImport() = default;

model::Result<std::unique_ptr<LineImport>> LineImport::begin(Disk& disk, std::string path,
                                                             std::optional<LinesHeader> base) {
    std::unique_ptr<LineImport> lines(new LineImport(disk, std::move(path)));
    if (base) {
        TRY(lines->use(std::move(*base)));
    }
    TRY(snapshot, NewSnapshot::begin(disk, lines->path_));
    lines->snapshot_ = std::move(snapshot);
    return lines;
}

model::Status LineImport::use(LinesHeader header) {
    if (checksum_hex(header.inputs_text) != header.meta.inputs) {
        return model::invalid("`inputs` are not those that `snapshot` names by their hash");
    }
    header.meta.provenance = Provenance::imported;
    header_ = std::move(header);
    shapes_.emplace(header_->meta, header_->inputs_text);
    check_.emplace(header_->meta);
    for (const auto& shape : shapes_->all()) {
        if (shape.reduction) {
            check_->expect(shape.number, shape.kinds);
        }
    }
    return {};
}

model::Status LineImport::add(std::string_view line) {
    ++line_;
    if (line.find_first_not_of(" \t\r\n") == std::string_view::npos) {
        return {};
    }
    const auto take = [&]() -> model::Status {
        if (line_ == 1 || !header_) {
            TRY(header, parse_header_line(line));
            if (header) {
                // Beside a base of the caller's choice a dump's own first line does not count.
                return header_ ? model::Status{} : use(std::move(*header));
            }
            if (!header_) {
                return model::invalid(
                    "the first line does not say what the rows belong to; it is the first line "
                    "of a `state dump`, or --like SNAPSHOT stands in for it");
            }
        }
        LineReader reader(*shapes_);
        TRY(row, reader.row(line));
        TRY(check_->check(*parse_row_key(row.key), row.row));
        piece_bytes_ += row.key.size() + row.row.size() + sizeof row;
        piece_.push_back(std::move(row));
        ++rows_;
        return piece_bytes_ >= kPieceBytes ? write_piece() : model::Status{};
    };
    if (auto taken = take(); !taken) {
        const bool of_the_line = taken.error().kind == model::ErrorKind::invalid ||
                                 taken.error().kind == model::ErrorKind::corrupt;
        return of_the_line
                   ? model::invalid("line " + std::to_string(line_) + ": " + taken.error().text)
                   : taken;
    }
    return {};
}

model::Status LineImport::write_piece() {
    RowsInMemory rows(std::exchange(piece_, {}));
    piece_bytes_ = 0;
    return snapshot_->add(header_->meta, rows);
}

model::Result<CheckpointMeta> LineImport::commit() {
    if (!header_) {
        return model::invalid("there is no line that says what the rows belong to");
    }
    TRY(write_piece());
    return snapshot_->commit(header_->meta, header_->inputs_text);
}

}  // namespace sluice::state
