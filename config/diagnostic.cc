#include "config/diagnostic.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::config {
namespace {

// Bytes of the character that starts at `text[i]`; a byte that starts none counts as one.
std::size_t character_bytes(std::string_view text, std::size_t i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t length = 1;
    if (lead >= 0xF0) {
        length = 4;
    } else if (lead >= 0xE0) {
        length = 3;
    } else if (lead >= 0xC0) {
        length = 2;
    }
    return std::min(length, text.size() - i);
}

// Whether text[i..i+length) is one well-formed character beyond ASCII that no terminal obeys.
bool is_harmless(std::string_view text, std::size_t i, std::size_t length) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (length < 2 || lead == 0xC0 || lead == 0xC1 || lead > 0xF4) {
        return false;
    }
    for (std::size_t j = i + 1; j < i + length; ++j) {
        if ((static_cast<unsigned char>(text[j]) & 0xC0) != 0x80) {
            return false;
        }
    }
    // U+0080 to U+009F are control characters, too.
    return lead != 0xC2 || static_cast<unsigned char>(text[i + 1]) >= 0xA0;
}

// A terminal must show what is there, not obey it. A tab becomes one blank, so that carets stay
// below their characters.
std::string printable(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        std::size_t length = 1;
        if (byte >= 0x80) {
            length = character_bytes(text, i);
            if (is_harmless(text, i, length)) {
                out += text.substr(i, length);
            } else {
                out += '?';
                length = 1;
            }
        } else if (byte == '\t') {
            out += ' ';
        } else {
            out += byte < 0x20 || byte == 0x7F ? '?' : text[i];
        }
        i += length;
    }
    return out;
}

template <class Name>
std::string nearest_of(std::string_view name, std::span<const Name> valid) {
    std::size_t best_distance = SIZE_MAX;
    std::string_view best;
    std::vector<std::size_t> before_previous;
    std::vector<std::size_t> previous;
    std::vector<std::size_t> current;
    for (const std::string_view candidate : valid) {
        // Optimal string alignment: the restricted Damerau-Levenshtein distance.
        const std::size_t columns = candidate.size() + 1;
        before_previous.assign(columns, 0);
        previous.resize(columns);
        current.assign(columns, 0);
        for (std::size_t j = 0; j < columns; ++j) {
            previous[j] = j;
        }
        for (std::size_t i = 1; i <= name.size(); ++i) {
            current[0] = i;
            for (std::size_t j = 1; j < columns; ++j) {
                const std::size_t cost = name[i - 1] == candidate[j - 1] ? 0 : 1;
                current[j] =
                    std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost});
                if (i > 1 && j > 1 && name[i - 1] == candidate[j - 2] &&
                    name[i - 2] == candidate[j - 1]) {
                    current[j] = std::min(current[j], before_previous[j - 2] + 1);
                }
            }
            std::swap(before_previous, previous);
            std::swap(previous, current);
        }
        const std::size_t distance = previous[candidate.size()];
        const std::size_t limit =
            std::max<std::size_t>(1, std::max(name.size(), candidate.size()) / 3);
        if (distance <= limit && distance < best_distance && distance < candidate.size()) {
            best_distance = distance;
            best = candidate;
        }
    }
    return std::string(best);
}

}  // namespace

bool has_error(std::span<const Diagnostic> diagnostics) {
    return std::ranges::any_of(diagnostics,
                               [](const Diagnostic& d) { return d.severity == Severity::error; });
}

std::string to_text(const Diagnostic& diagnostic) {
    std::string text = printable(diagnostic.file) + ":" + std::to_string(diagnostic.line) + ":" +
                       std::to_string(diagnostic.column) + ": " +
                       (diagnostic.severity == Severity::error ? "error: " : "warning: ") +
                       printable(diagnostic.message) + "\n";
    if (diagnostic.source_line.empty()) {
        if (!diagnostic.hint.empty()) {
            text += "      = " + printable(diagnostic.hint) + "\n";
        }
        return text;
    }
    const std::string number = std::to_string(diagnostic.line);
    const std::string margin(std::max<std::size_t>(5, number.size() + 1), ' ');
    text += std::string(margin.size() - number.size(), ' ') + number + " | " +
            printable(diagnostic.source_line) + "\n";
    std::size_t characters = 0;
    for (std::size_t i = 0; i < diagnostic.source_line.size();
         i += character_bytes(diagnostic.source_line, i)) {
        ++characters;
    }
    const std::size_t before = std::min<std::size_t>(diagnostic.column - 1, characters);
    const std::size_t room = std::max<std::size_t>(1, characters - before);
    text += margin + " | " + std::string(before, ' ') +
            std::string(std::clamp<std::size_t>(diagnostic.length, 1, room), '^');
    if (!diagnostic.hint.empty()) {
        text += " " + printable(diagnostic.hint);
    }
    return text + "\n";
}

std::string to_text(std::span<const Diagnostic> diagnostics) {
    std::string text;
    std::size_t errors = 0;
    for (const Diagnostic& diagnostic : diagnostics) {
        text += to_text(diagnostic);
        errors += diagnostic.severity == Severity::error ? 1 : 0;
    }
    if (diagnostics.empty()) {
        return text;
    }
    const std::size_t warnings = diagnostics.size() - errors;
    const auto count = [](std::size_t n, const std::string& what) {
        return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
    };
    if (errors > 0) {
        text += count(errors, "error");
    }
    if (warnings > 0) {
        text += (errors > 0 ? ", " : "") + count(warnings, "warning");
    }
    return text + ".\n";
}

std::string to_json(std::span<const Diagnostic> diagnostics) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Diagnostic& diagnostic : diagnostics) {
        list.push_back({{"file", diagnostic.file},
                        {"line", diagnostic.line},
                        {"column", diagnostic.column},
                        {"severity", diagnostic.severity == Severity::error ? "error" : "warning"},
                        {"message", diagnostic.message},
                        {"hint", diagnostic.hint}});
    }
    return list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string nearest(std::string_view name, std::span<const std::string_view> valid) {
    return nearest_of(name, valid);
}
std::string nearest(std::string_view name, std::span<const std::string> valid) {
    return nearest_of(name, valid);
}

}  // namespace sluice::config
