#include "ingest/mapper.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "state/model/invariant.h"
#include "state/model/key.h"
#include "state/model/number.h"

namespace sluice::ingest {

using model::Column;
using model::RowStatus;
using model::Selection;
using model::Type;

namespace {

// A program's values for the selected rows: a column of the batch where the program is one field,
// else computed into `own`.
const Column* values_of(const config::Program& program, model::RecordBatch& records,
                        const Selection& rows, Column& own, config::Program::Scratch& scratch) {
    if (const auto column = program.plain_column()) {
        return &records.columns[*column];
    }
    own.resize(std::max(own.type.size(), records.rows));
    program.evaluate(records.columns, records.rows, rows, own, records.arena, scratch);
    return &own;
}

inline char* put_size(char* at, std::size_t size) {
    while (size >= 0x80) {
        *at++ = static_cast<char>(0x80 | (size & 0x7f));
        size >>= 7;
    }
    *at++ = static_cast<char>(size);
    return at;
}

constexpr std::size_t kSizeMax = 5;  // of an encoded length

}  // namespace

struct Mapper::Work {
    // The columns that one reduction computes, kept for their memory.
    struct Reduction {
        std::vector<Column> keys;
        std::vector<Column> arguments;
        std::vector<Column> wheres;
    };

    const config::Pipeline& pipeline;
    std::vector<MappedReduction> mapped;
    std::vector<Reduction> own;
    std::vector<model::ValueErrors> step_errors;
    std::vector<model::ValueErrors> reduction_errors;
    Selection reached;
    Selection kept;  // rows for which a `where` is true
    std::vector<const Column*> parts;
    std::vector<char> encoded;
    config::Program::Scratch scratch;

    explicit Work(const config::Pipeline& p)
        : pipeline(p),
          mapped(p.reductions.size()),
          own(p.reductions.size()),
          step_errors(p.steps.size()),
          reduction_errors(p.reductions.size()) {
        for (std::size_t r = 0; r < p.reductions.size(); ++r) {
            const auto& reduction = p.reductions[r];
            own[r].keys.resize(reduction.key.size());
            own[r].arguments.resize(reduction.calls.size());
            own[r].wheres.resize(reduction.calls.size());
            mapped[r].arguments.resize(reduction.calls.size());
            mapped[r].wheres.resize(reduction.calls.size());
        }
    }

    void take_errors(model::ValueErrors& into) {
        into += scratch.errors;
        scratch.errors = {};
    }

    void run_steps(model::RecordBatch& records);
    void run_reduction(std::size_t r, model::RecordBatch& records);
    void make_keys(const config::Reduction& reduction, Reduction& columns, MappedReduction& out,
                   model::RecordBatch& records);
    std::string_view encode(std::size_t row, model::Arena& arena);
    void map_calls(const config::Reduction& reduction, Reduction& columns, MappedReduction& out,
                   model::RecordBatch& records);
};

Mapper::Mapper(const config::Pipeline& pipeline) : work_(std::make_unique<Work>(pipeline)) {}
Mapper::~Mapper() = default;

void Mapper::Work::run_steps(model::RecordBatch& records) {
    for (std::size_t s = 0; s < pipeline.steps.size(); ++s) {
        const config::Step& step = pipeline.steps[s];
        if (step.filter) {
            step.filter->filter(records.columns, records.rows, reached, records.arena, scratch);
        }
        // Each member has a column of its own that no program of the same step reads, so that all
        // of them see the record as it was before the step.
        for (const config::Assignment& assignment : step.set) {
            assignment.program.evaluate(records.columns, records.rows, reached,
                                        records.columns[assignment.column], records.arena, scratch);
        }
        take_errors(step_errors[s]);
    }
}

std::string_view Mapper::Work::encode(std::size_t row, model::Arena& arena) {
    if (parts.size() == 1 && parts[0]->type[row] == Type::text) {
        const std::string_view text = parts[0]->value[row].text.view();
        char* const begin = arena.allocate(text.size() + kSizeMax);
        char* at = put_size(begin, text.size());
        std::memcpy(at, text.data(), text.size());
        return {begin, static_cast<std::size_t>(at - begin) + text.size()};
    }
    std::size_t bound = 0;
    for (const Column* part : parts) {
        bound += kSizeMax +
                 (part->type[row] == Type::text ? part->value[row].text.size : model::kPrintedMax);
    }
    if (encoded.size() < bound) {
        encoded.resize(bound * 2);
    }
    char* at = encoded.data();
    for (const Column* part : parts) {
        if (part->type[row] == Type::text) {
            const std::string_view text = part->value[row].text.view();
            at = put_size(at, text.size());
            if (!text.empty()) {
                std::memcpy(at, text.data(), text.size());
            }
            at += text.size();
        } else {
            char printed[model::kPrintedMax];
            const char* const end = model::print(printed, part->at(row));
            const auto size = static_cast<std::size_t>(end - printed);
            at = put_size(at, size);
            std::memcpy(at, printed, size);
            at += size;
        }
    }
    return arena.copy({encoded.data(), static_cast<std::size_t>(at - encoded.data())});
}

// Prints and encodes the keys of out.rows; rows with a null part leave, unless they are kept.
void Mapper::Work::make_keys(const config::Reduction& reduction, Reduction& columns,
                             MappedReduction& out, model::RecordBatch& records) {
    parts.clear();
    for (std::size_t k = 0; k < reduction.key.size(); ++k) {
        parts.push_back(
            values_of(reduction.key[k].program, records, out.rows, columns.keys[k], scratch));
    }
    const std::size_t before = out.rows.size();
    if (reduction.null_key == config::NullKey::drop) {
        for (const Column* part : parts) {
            std::erase_if(out.rows,
                          [part](std::uint32_t row) { return part->type[row] == Type::null; });
        }
    }
    out.refused = before - out.rows.size();
    out.key.resize(out.rows.size());
    out.hash.resize(out.rows.size());
    for (std::size_t i = 0; i < out.rows.size(); ++i) {
        out.key[i] = encode(out.rows[i], records.arena);
        out.hash[i] = model::key_hash(out.key[i]);
    }
}

void Mapper::Work::map_calls(const config::Reduction& reduction, Reduction& columns,
                             MappedReduction& out, model::RecordBatch& records) {
    for (std::size_t c = 0; c < reduction.calls.size(); ++c) {
        const config::ReductionCall& call = reduction.calls[c];
        const Selection* rows = &out.rows;
        out.wheres[c] = nullptr;
        out.arguments[c] = nullptr;
        if (call.where) {
            const Column* where =
                values_of(*call.where, records, out.rows, columns.wheres[c], scratch);
            out.wheres[c] = where;
            kept.clear();
            for (const std::uint32_t row : out.rows) {
                if (where->type[row] == Type::boolean && where->value[row].boolean) {
                    kept.push_back(row);
                }
            }
            rows = &kept;  // what an argument does to rows that do not count is nobody's error
        }
        if (call.argument) {
            out.arguments[c] =
                values_of(*call.argument, records, *rows, columns.arguments[c], scratch);
        }
    }
}

void Mapper::Work::run_reduction(std::size_t r, model::RecordBatch& records) {
    const config::Reduction& reduction = pipeline.reductions[r];
    MappedReduction& out = mapped[r];
    out.rows.assign(reached.begin(), reached.end());
    out.reached = reached.size();
    if (reduction.filter) {
        reduction.filter->filter(records.columns, records.rows, out.rows, records.arena, scratch);
    }
    out.filtered = out.reached - out.rows.size();
    make_keys(reduction, own[r], out, records);
    map_calls(reduction, own[r], out, records);
    take_errors(reduction_errors[r]);
}

model::Ledger Mapper::process(DecodedBatch& batch, std::size_t begin, std::size_t end) {
    Work& w = *work_;
    model::RecordBatch& records = batch.records;
    INVARIANT(begin <= end && end <= records.rows, "rows of the batch");
    model::Ledger ledger;
    ledger.consumed = end - begin;
    w.reached.clear();
    for (std::size_t row = begin; row < end; ++row) {
        switch (records.status[row]) {
            case RowStatus::ok:
                w.reached.push_back(static_cast<std::uint32_t>(row));
                break;
            case RowStatus::null_value:
                ++ledger.null;
                break;
            case RowStatus::undecodable:
                ++ledger.undecodable;
                break;
        }
    }
    const std::size_t decoded = w.reached.size();
    w.run_steps(records);
    ledger.reached = w.reached.size();
    ledger.filtered = decoded - w.reached.size();
    for (std::size_t r = 0; r < w.pipeline.reductions.size(); ++r) {
        w.run_reduction(r, records);
    }
    return ledger;
}

std::span<const MappedReduction> Mapper::reductions() const { return work_->mapped; }
std::span<const model::ValueErrors> Mapper::step_errors() const { return work_->step_errors; }
std::span<const model::ValueErrors> Mapper::reduction_errors() const {
    return work_->reduction_errors;
}

}  // namespace sluice::ingest
