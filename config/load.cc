#include "config/load.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "config/document.h"
#include "config/inputs.h"
#include "config/loading.h"
#include "config/reader.h"
#include "state/model/ascii.h"

namespace sluice::config {
namespace {

// [a-z0-9][a-z0-9-]{0,62}
bool is_pipeline_name(std::string_view name) {
    return !name.empty() && name.size() <= 63 && name.front() != '-' &&
           std::ranges::all_of(
               name, [](char c) { return model::is_lower(c) || model::is_digit(c) || c == '-'; });
}

std::string hash_of(std::string_view bytes) {
    std::array<char, 17> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%016llx",
                  static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
    return std::string(buffer.data(), 16);
}

void load_name(Loading& loading, Section& top) {
    const auto name = top.text("name");
    if (name && !is_pipeline_name(*name)) {
        loading.reading.error(
            top.value_spot("name"),
            "`name` may hold a-z, 0-9 and '-', at most 63, and begins with a letter "
            "or a digit");
    }
    loading.pipeline.name = name.value_or("");
}

Loading load_all(Reading& reading, const std::string& path, const Environment& environment,
                 const TomlNode& root) {
    std::error_code error;
    Loading loading{reading, environment, std::filesystem::absolute(path, error).parent_path()};
    Section top(reading, &root, "", "", Spot{});
    Pipeline& pipeline = loading.pipeline;
    pipeline.path = path;
    load_name(loading, top);
    load_source(loading, top);
    load_steps(loading, top);
    load_reductions(loading, top);
    load_places(loading, top);
    pipeline.workers = static_cast<int>(top.table("threads").integer("workers"));
    Section log = top.table("log");
    pipeline.log.level = log.choice("level");
    pipeline.log.format = log.choice("format");
    return loading;
}

Diagnostic to_diagnostic(const Loaded& loaded, const Problem& problem, bool show_line) {
    Diagnostic diagnostic;
    const Spot& spot = problem.spot;
    diagnostic.file = spot.origin == 0 ? loaded.file : "--set";
    // There are as many lines as overrides, so to speak: the n-th is line n.
    diagnostic.line = spot.origin == 0 ? spot.line : spot.origin;
    diagnostic.column = spot.column;
    diagnostic.length = spot.length;
    diagnostic.severity = problem.severity;
    diagnostic.message = problem.message;
    diagnostic.hint = problem.hint;
    if (show_line && spot.origin < loaded.sources.size()) {
        diagnostic.source_line = std::string(line_of(loaded.sources[spot.origin], spot.line));
    }
    return diagnostic;
}

}  // namespace

Diagnostic Loaded::at(std::string_view key, Severity severity, std::string message,
                      std::string hint) const {
    Problem problem{Spot{}, severity, std::move(message), std::move(hint)};
    std::string name(key);
    while (true) {
        if (const auto found = places.find(name); found != places.end()) {
            problem.spot = found->second;
            break;
        }
        const std::size_t dot = name.rfind('.');
        if (dot == std::string::npos) {
            break;
        }
        name.resize(dot);
    }
    return to_diagnostic(*this, problem, true);
}

Loaded load_text(std::string_view text, const std::string& path,
                 const std::vector<std::string>& overrides, const Environment& environment) {
    Loaded loaded;
    loaded.file = path;
    Reading reading;
    reading.sources.emplace_back(text);
    Document document = parse_document(text, 0);
    std::uint32_t origin = 0;
    for (const std::string& override_text : overrides) {
        ++origin;
        reading.sources.push_back(override_text);
        Document over = parse_override(override_text, origin);
        apply_override(document.root, over.root);
        std::ranges::move(over.errors, std::back_inserter(document.errors));
    }
    for (SyntaxError& error : document.errors) {
        reading.error(error.spot, std::move(error.message), std::move(error.hint));
    }
    reading.lost_keys = std::move(document.lost_keys);
    reading.lost_header = document.lost_header;

    Loading loading = load_all(reading, path, environment, document.root);
    Pipeline& pipeline = loading.pipeline;
    pipeline.config_hash = hash_of(text);

    std::ranges::stable_sort(reading.problems, {}, [](const Problem& problem) {
        return std::tuple(problem.spot.origin, problem.spot.line, problem.spot.column);
    });
    loaded.sources = std::move(reading.sources);
    loaded.places = std::move(reading.places);
    loaded.rdkafka = pipeline.source.rdkafka;
    loaded.username = pipeline.source.username;
    for (const Problem& problem : reading.problems) {
        const bool hidden = loading.hidden_lines.contains({problem.spot.origin, problem.spot.line});
        loaded.diagnostics.push_back(to_diagnostic(loaded, problem, !hidden));
    }
    if (has_error(loaded.diagnostics)) {
        loaded.outcome = Outcome::invalid;
    } else {
        pipeline.inputs = canonical_inputs(pipeline, loading.texts);
        loaded.pipeline = std::move(pipeline);
    }
    return loaded;
}

namespace {

// The bytes of a regular file, or errno.
std::expected<std::string, int> read_file(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return std::unexpected(errno);
    }
    std::string text;
    std::array<char, 16384> buffer{};
    while (true) {
        const ssize_t count = read(file, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            const int error = errno;
            close(file);
            return std::unexpected(error);
        }
        if (count == 0) {
            break;
        }
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > 16U << 20) {
            close(file);
            return std::unexpected(EFBIG);
        }
    }
    close(file);
    return text;
}

}  // namespace

Loaded load(const std::string& path, const std::vector<std::string>& overrides,
            const Environment& environment) {
    const auto text = read_file(path);
    if (text) {
        return load_text(*text, path, overrides, environment);
    }
    Loaded loaded;
    loaded.file = path;
    const bool missing = text.error() == ENOENT || text.error() == ENOTDIR;
    loaded.outcome = missing ? Outcome::missing : Outcome::unreadable;
    loaded.diagnostics.push_back(
        to_diagnostic(loaded,
                      {Spot{}, Severity::error,
                       missing ? "there is no such file"
                               : std::string("cannot be read: ") + std::strerror(text.error()),
                       missing ? "`sluice init > " + path + "` writes an example" : ""},
                      false));
    return loaded;
}

std::optional<std::string> file_hash(const std::string& path) {
    const auto text = read_file(path);
    return text ? std::optional(hash_of(*text)) : std::nullopt;
}

}  // namespace sluice::config
