// Runs expressions over a few hand-made records.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression/program.h"
#include "state/model/number.h"

namespace sluice::config {

using Record = std::map<std::string, model::Scalar>;  // by printed path

inline model::Scalar number(std::string_view text) { return model::parse_json_number(text).value; }
inline model::Scalar text(std::string_view text) { return model::Scalar::of(text); }
inline model::Scalar boolean(bool v) { return model::Scalar::of(v); }

// The columns that `fields` wants, filled from records; what a record lacks is null.
inline std::vector<model::Column> columns_of(const Fields& fields,
                                             const std::vector<Record>& records) {
    std::vector<model::Column> columns(fields.size());
    for (std::uint32_t c = 0; c < columns.size(); ++c) {
        columns[c].resize(records.size());
        std::string path;
        for (const auto& segment : fields.source(c).path) {
            const auto* name = std::get_if<std::string>(&segment);
            path += path.empty() ? "" : ".";
            path += name != nullptr ? *name : std::to_string(std::get<std::int64_t>(segment));
        }
        for (std::size_t row = 0; row < records.size(); ++row) {
            const auto found = records[row].find(path);
            if (found != records[row].end()) {
                columns[c].set(row, found->second);
            }
        }
    }
    return columns;
}

// "TYPE:PRINTED" of one value: n b i d r t.
inline std::string shown(const model::Scalar& x) {
    std::string out(1, "nbidrt"[static_cast<int>(x.type)]);
    out += ':';
    model::append_printed(out, x);
    return out;
}

inline std::string shown(const model::ValueErrors& errors) {
    std::string out;
    const auto add = [&out](std::uint64_t n, const char* name) {
        if (n != 0) {
            out += " " + std::to_string(n) + " " + name;
        }
    };
    add(errors.wrong_type, "wrong type");
    add(errors.overflow, "overflow");
    add(errors.nan, "nan");
    return out;
}

// The values of `expression` over the records, joined by a space, then the errors that were
// counted.
inline std::string evaluated(std::string_view expression, const std::vector<Record>& records) {
    Fields fields;
    auto program = compile(expression, fields);
    if (!program) {
        return "error at " + std::to_string(program.error().column) + "+" +
               std::to_string(program.error().length) + ": " + program.error().message;
    }
    const auto columns = columns_of(fields, records);
    model::Selection rows;
    for (std::uint32_t row = 0; row < records.size(); ++row) {
        rows.push_back(row);
    }
    model::Column out;
    out.resize(records.size());
    model::Arena arena;
    Program::Scratch scratch;
    program->evaluate(columns, records.size(), rows, out, arena, scratch);
    std::string result;
    for (const std::uint32_t row : rows) {
        result += (result.empty() ? "" : " ") + shown(out.at(row));
    }
    return result + shown(scratch.errors);
}
inline std::string evaluated(std::string_view expression, const Record& record = {}) {
    return evaluated(expression, std::vector<Record>{record});
}

// "COLUMN+LENGTH: MESSAGE | HINT" of what is wrong with an expression.
inline std::string problem(const ExpressionError& error) {
    return std::to_string(error.column) + "+" + std::to_string(error.length) + ": " +
           error.message + (error.hint.empty() ? "" : " | " + error.hint);
}
inline std::string refused(std::string_view expression) {
    Fields fields;
    const auto program = compile(expression, fields);
    return program ? "compiles" : problem(program.error());
}

}  // namespace sluice::config
