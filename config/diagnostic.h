// What is wrong with a configuration, where, and what to write instead.
//
// All problems of a file are collected and reported together. Lines and columns count from 1,
// columns in characters (Unicode code points), as editors do.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::config {

// A stretch of one line of a source. Origin 0 is the file, n > 0 the n-th `--set` of the command
// line.
struct Spot {
    std::uint32_t origin = 0;
    std::uint32_t line = 1;
    std::uint32_t column = 1;
    std::uint32_t length = 1;  // characters under which the caret is drawn; at least 1
    bool operator==(const Spot&) const = default;
};

enum class Severity : std::uint8_t { error, warning };

struct Diagnostic {
    std::string file{};  // as named on the command line, or "--set"
    std::uint32_t line = 1;
    std::uint32_t column = 1;
    std::uint32_t length = 1;
    Severity severity = Severity::error;
    std::string message{};
    std::string hint{};         // the fix, or empty
    std::string source_line{};  // without line end; empty: nothing to show
    bool operator==(const Diagnostic&) const = default;
};

bool has_error(std::span<const Diagnostic> diagnostics);

// `FILE:LINE:COLUMN: error: MESSAGE`, then the line with a caret and the hint below it. Control
// characters of the source are replaced, so a hostile file cannot drive a terminal. Ends in a
// newline.
std::string to_text(const Diagnostic& diagnostic);

// All of them in order, then one line of totals.
std::string to_text(std::span<const Diagnostic> diagnostics);

// `[{"file","line","column","severity","message","hint"}]` in one line, without a newline.
std::string to_json(std::span<const Diagnostic> diagnostics);

// `name`, between the ticks.
inline std::string ticked(std::string_view name) { return "`" + std::string(name) + "`"; }

// The valid name that `name` was probably meant to be: Damerau-Levenshtein distance (adjacent
// transpositions count once) at most a third of the longer length, at least 1; empty when nothing
// is near. Of equals the first.
std::string nearest(std::string_view name, std::span<const std::string_view> valid);
std::string nearest(std::string_view name, std::span<const std::string> valid);

}  // namespace sluice::config
