// From a file to typed settings: load() is the only way a Pipeline comes to be.
//
// Everything is checked that can be known without leaving the process: syntax, names, types, units,
// ranges, expressions, templates, and what does not fit together. Problems are never thrown or
// reported one at a time; they are collected with their places. Kafka's own properties
// ([source.rdkafka]) are only collected here: whoever links librdkafka asks it, and finds the place
// of each in `places`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostic.h"
#include "config/environment.h"
#include "config/settings.h"

namespace sluice::config {

enum class Outcome : std::uint8_t {
    ok,          // `pipeline` is there; diagnostics holds at most warnings
    invalid,     // diagnostics holds at least one error
    missing,     // there is no such file; one diagnostic says so
    unreadable,  // permission or an I/O error; one diagnostic says so
};

struct Loaded {
    Outcome outcome = Outcome::ok;
    std::optional<Pipeline> pipeline;     // exactly when outcome is ok
    std::vector<Diagnostic> diagnostics;  // in file order

    // What librdkafka is asked about, of a file with errors too.
    std::map<std::string, std::string> rdkafka;
    std::string username;  // of [source]

    // Where each key that was written stands: "source.topic", "source.rdkafka.fetch.min.bytes",
    // "reduce.spend.window", "reduce.spend.values.p99"; "step.2" is the second step, and
    // "source.topics" is there for either spelling.
    std::map<std::string, Spot> places;

    // A diagnostic at the place of `key`, or where the key would have been written.
    Diagnostic at(std::string_view key, Severity severity, std::string message,
                  std::string hint) const;

    // What at() needs to show a line: [0] is the file, [n] the n-th override.
    std::vector<std::string> sources;
    std::string file;
};

// Reads and checks `path`. `overrides` are "key=value" (the key dotted, the value TOML or plain
// text) and count as if written in the file. Blocks (reads the file).
Loaded load(const std::string& path, const std::vector<std::string>& overrides,
            const Environment& environment);

// The same for a text that stands for the file at `path`, which is not read. For tests and for
// examples that are built in.
Loaded load_text(std::string_view text, const std::string& path,
                 const std::vector<std::string>& overrides, const Environment& environment);

// What Pipeline::config_hash holds, of the file as it is now; none when it cannot be read. Blocks.
std::optional<std::string> file_hash(const std::string& path);

}  // namespace sluice::config
