#include "config/loading.h"

#include <algorithm>
#include <array>

#include "state/model/ascii.h"

namespace sluice::config {

std::string recorded(std::string_view expression) {
    return canonical(expression).value_or(std::string(expression));
}

bool is_name(std::string_view name, bool dash) {
    return !name.empty() && name.size() <= 63 &&
           (model::is_lower(name.front()) || name.front() == '_') &&
           std::ranges::all_of(name, [dash](char c) {
               return model::is_letter(c) || model::is_digit(c) || c == '_' || (dash && c == '-');
           });
}

std::optional<Program> Loading::compile_at(const TomlNode& node, const std::string& what,
                                           bool filter) {
    const auto text = text_of(node);
    if (!text) {
        reading.error(node.value, what + " must be an expression in quotes, not " +
                                      std::string(kind_name(node.kind)));
        return std::nullopt;
    }
    auto program =
        filter ? compile_filter(*text, pipeline.fields) : compile(*text, pipeline.fields);
    if (!program) {
        report(node, program.error());
        return std::nullopt;
    }
    return std::move(*program);
}

void Loading::report(const TomlNode& node, const ExpressionError& error) {
    reading.error(reading.spot_in(node, error.column, error.length), error.message, error.hint);
}

Secret Loading::secret(Section& section, std::string_view key) {
    constexpr std::array<std::string_view, 3> kKinds{"credential", "file", "env"};
    Secret secret;
    const TomlNode* node = section.find(key);
    if (node == nullptr) {
        return secret;
    }
    const std::string forms = "{ credential = \"…\" }, { file = \"…\" } or { env = \"…\" }";
    if (node->kind != TomlNode::Kind::table) {
        reading.error(node->value, "a secret is a reference, never written into the file",
                      ticked(key) + " = " + forms);
        // The line itself must not be shown: it holds the secret.
        hidden_lines.insert({node->value.origin, node->value.line});
        return secret;
    }
    if (node->members.size() != 1) {
        reading.error(node->value, ticked(key) + " takes exactly one of " + forms);
        return secret;
    }
    const auto& [kind, value] = node->members.front();
    const auto text = text_of(value);
    const auto found = std::ranges::find(kKinds, kind);
    if (found == kKinds.end()) {
        const std::string near = nearest(kind, std::span<const std::string_view>(kKinds));
        reading.error(value.key, "unknown kind of secret " + ticked(kind),
                      near.empty() ? forms : "did you mean `" + near + "`?");
        return secret;
    }
    if (!text || text->empty()) {
        reading.error(value.value, ticked(kind) + " must be text in quotes");
        return secret;
    }
    secret.name = *text;
    if (*found == "file") {
        secret.kind = Secret::Kind::file;
        secret.name = (folder / *text).lexically_normal().string();
    } else if (*found == "credential") {
        secret.kind = Secret::Kind::credential;
        if (text->find('/') != std::string::npos || *text == "..") {
            reading.error(value.value, "a credential's name holds no '/'",
                          "for a path write { file = \"…\" }");
        }
    } else {
        secret.kind = Secret::Kind::environment;
    }
    return secret;
}

void Loading::check_credentials(Section& section, const std::string& username,
                                const Secret& password, bool both) {
    if (!username.empty() && !section.has("password")) {
        reading.error(section.value_spot("username"), "`username` without `password`",
                      "add password = { credential = \"…\" }");
    }
    if (both && username.empty() && password.kind != Secret::Kind::none) {
        reading.error(section.value_spot("password"), "`password` without `username`");
    }
}

}  // namespace sluice::config
