// What the sections of one load share: the file as it is read, the pipeline as it grows, and how
// expressions and secrets are read in any of them.
//
// Internal to config: load() is what others use. Thread: one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "config/environment.h"
#include "config/inputs.h"
#include "config/reader.h"
#include "config/settings.h"

namespace sluice::config {

struct Loading {
    Reading& reading;
    const Environment& environment;
    std::filesystem::path folder;  // of the file; what it names is relative to it
    Pipeline pipeline{};
    InputTexts texts{};                                                // beside its expressions
    std::set<std::pair<std::uint32_t, std::uint32_t>> hidden_lines{};  // they may hold a secret

    // Compiles the expression that `node` holds over the fields so far; reports at the character
    // that is wrong.
    std::optional<Program> compile_at(const TomlNode& node, const std::string& what,
                                      bool filter = false);
    void report(const TomlNode& node, const ExpressionError& error);
    Secret secret(Section& section, std::string_view key);
    // `both`: a password needs a name, too.
    void check_credentials(Section& section, const std::string& username, const Secret& password,
                           bool both);
};

// In this order, for later sections look at earlier ones. What is wrong is reported.
void load_source(Loading& loading, Section& top);
void load_steps(Loading& loading, Section& top);
void load_reductions(Loading& loading, Section& top);
void load_places(Loading& loading, Section& top);  // sink, state, savepoint, dead letters, http

// What is recorded of an expression; of a wrong one, what was written.
std::string recorded(std::string_view expression);
// [a-z_][A-Za-z0-9_]{0,62}; with `dash` also '-'.
bool is_name(std::string_view name, bool dash);

}  // namespace sluice::config
