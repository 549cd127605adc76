#include "config/expression/lexer.h"

#include <algorithm>
#include <array>

#include "state/model/ascii.h"

namespace sluice::config::expression {

namespace {

using namespace std::string_view_literals;

bool starts_name(char c) { return model::is_letter(c) || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::unexpected<ExpressionError> error(std::size_t column, std::size_t length, std::string message,
                                       std::string hint = {}) {
    return std::unexpected(ExpressionError{column, length, std::move(message), std::move(hint)});
}

void append_utf8(std::string& out, std::uint32_t code) {
    const auto add = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        add(code);
    } else if (code < 0x800) {
        add(0xc0 | (code >> 6));
        add(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        add(0xe0 | (code >> 12));
        add(0x80 | ((code >> 6) & 0x3f));
        add(0x80 | (code & 0x3f));
    } else {
        add(0xf0 | (code >> 18));
        add(0x80 | ((code >> 12) & 0x3f));
        add(0x80 | ((code >> 6) & 0x3f));
        add(0x80 | (code & 0x3f));
    }
}

class Lexer {
 public:
    explicit Lexer(std::string_view text) : text_(text) {}

    Compiled<std::vector<Token>> run() {
        std::vector<Token> tokens;
        while (true) {
            while (at_ < text_.size() && is_blank(text_[at_])) {
                ++at_;
            }
            Token token;
            token.column = at_;
            if (at_ == text_.size()) {
                tokens.push_back(std::move(token));
                return tokens;
            }
            const char c = text_[at_];
            if (starts_name(c)) {
                token.kind = TokenKind::name;
                while (at_ < text_.size() &&
                       (starts_name(text_[at_]) || model::is_digit(text_[at_]))) {
                    ++at_;
                }
            } else if (model::is_digit(c)) {
                token.kind = TokenKind::number;
                if (auto problem = number()) {
                    return std::unexpected(*problem);
                }
            } else if (c == '\'') {
                token.kind = TokenKind::text;
                if (auto problem = quoted(token.text)) {
                    return std::unexpected(*problem);
                }
            } else {
                token.kind = TokenKind::symbol;
                if (auto problem = symbol()) {
                    return std::unexpected(*problem);
                }
            }
            token.length = at_ - token.column;
            token.spelled = text_.substr(token.column, token.length);
            tokens.push_back(std::move(token));
        }
    }

 private:
    using Problem = std::optional<ExpressionError>;

    void digits() {
        while (at_ < text_.size() && model::is_digit(text_[at_])) {
            ++at_;
        }
    }
    Problem number() {
        const std::size_t start = at_;
        digits();
        if (at_ + 1 < text_.size() && text_[at_] == '.' && model::is_digit(text_[at_ + 1])) {
            ++at_;
            digits();
        }
        if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
            std::size_t after = at_ + 1;
            if (after < text_.size() && (text_[after] == '+' || text_[after] == '-')) {
                ++after;
            }
            if (after < text_.size() && model::is_digit(text_[after])) {
                at_ = after;
                digits();
            }
        }
        if (at_ < text_.size() && starts_name(text_[at_])) {
            while (at_ < text_.size() && (starts_name(text_[at_]) || model::is_digit(text_[at_]))) {
                ++at_;
            }
            const std::string word(text_.substr(start, at_ - start));
            return ExpressionError{start, at_ - start,
                                   "`" + word + "` is neither a number nor a name",
                                   "a field with such a name is .'" + word + "'"};
        }
        return std::nullopt;
    }

    // The four digits behind \u.
    std::optional<std::uint32_t> code_unit() {
        if (text_.size() - at_ < 4) {
            return std::nullopt;
        }
        std::uint32_t code = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = text_[at_++];
            std::uint32_t digit = 0;
            if (model::is_digit(c)) {
                digit = static_cast<std::uint32_t>(c - '0');
            } else if (c >= 'a' && c <= 'f') {
                digit = static_cast<std::uint32_t>(c - 'a' + 10);
            } else if (c >= 'A' && c <= 'F') {
                digit = static_cast<std::uint32_t>(c - 'A' + 10);
            } else {
                return std::nullopt;
            }
            code = code * 16 + digit;
        }
        return code;
    }

    Problem unicode(std::size_t start, std::string& out) {
        auto code = code_unit();
        if (code && *code >= 0xd800 && *code < 0xdc00) {
            std::optional<std::uint32_t> low;
            if (text_.substr(at_, 2) == "\\u") {
                at_ += 2;
                low = code_unit();
            }
            if (low && *low >= 0xdc00 && *low < 0xe000) {
                code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
            } else {
                code.reset();
            }
        } else if (code && *code >= 0xdc00 && *code < 0xe000) {
            code.reset();
        }
        if (!code) {
            return ExpressionError{start, std::min(at_, text_.size()) - start,
                                   "`\\u` needs four hexadecimal digits of a character",
                                   "characters beyond U+FFFF are two such pairs"};
        }
        append_utf8(out, *code);
        return std::nullopt;
    }

    Problem quoted(std::string& out) {
        const std::size_t start = at_++;
        while (at_ < text_.size()) {
            const std::size_t column = at_;
            const char c = text_[at_++];
            if (c == '\'') {
                return std::nullopt;
            }
            if (c != '\\') {
                out.push_back(c);
                continue;
            }
            if (at_ == text_.size()) {
                break;
            }
            const char escaped = text_[at_++];
            switch (escaped) {
                case '\'':
                case '\\':
                    out.push_back(escaped);
                    break;
                case 'n':
                    out.push_back('\n');
                    break;
                case 't':
                    out.push_back('\t');
                    break;
                case 'u':
                    if (auto problem = unicode(column, out)) {
                        return problem;
                    }
                    break;
                default:
                    return ExpressionError{column, 2, "unknown escape in a text",
                                           R"(there are \' \\ \n \t and \uXXXX)"};
            }
        }
        return ExpressionError{start, text_.size() - start, "this text does not end",
                               "texts are written '…'; a quote inside is \\'"};
    }

    Problem symbol() {
        constexpr std::array kTwo = {"=="sv, "!="sv, "<="sv, ">="sv, "??"sv};
        struct Foreign {
            std::string_view spelled;
            const char* hint;
        };
        constexpr std::array kForeign = {
            Foreign{"&&", "write `and`"},
            Foreign{"||", "write `or`"},
            Foreign{"<>", "write `!=`"},
            Foreign{"=~", "write `matches`"},
            Foreign{"**", "there is no power"},
            Foreign{"=", "write `==` to compare"},
            Foreign{"!", "write `not`"},
            Foreign{"\"", "texts are written '…'"},
            Foreign{"`", "texts are written '…'"},
            Foreign{"?", "write `??` or `if … then … else …`"},
        };
        const std::string_view rest = text_.substr(at_);
        for (const auto two : kTwo) {
            if (rest.starts_with(two)) {
                at_ += 2;
                return std::nullopt;
            }
        }
        for (const auto& foreign : kForeign) {
            if (rest.starts_with(foreign.spelled)) {
                return ExpressionError{at_, foreign.spelled.size(),
                                       "`" + std::string(foreign.spelled) + "` is not known here",
                                       foreign.hint};
            }
        }
        if ("+-*/%<>()[],."sv.find(rest[0]) != std::string_view::npos) {
            ++at_;
            return std::nullopt;
        }
        // One whole character, so that the message is valid UTF-8 if the expression is.
        std::size_t size = 1;
        while (size < rest.size() && (static_cast<unsigned char>(rest[size]) & 0xc0) == 0x80) {
            ++size;
        }
        return ExpressionError{at_, size, "this character is not known here",
                               "a field with an odd name is written .'odd name'"};
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

constexpr std::array kKeywords = {"and"sv, "else"sv, "false"sv, "if"sv,   "in"sv,   "matches"sv,
                                  "not"sv, "null"sv, "or"sv,    "then"sv, "true"sv, "where"sv};

}  // namespace

Compiled<std::vector<Token>> tokenise(std::string_view text) {
    constexpr std::size_t kLongest = 64 * 1024;
    if (text.size() > kLongest) {
        return error(0, 1, "the expression is longer than 64 KiB");
    }
    return Lexer(text).run();
}

bool is_keyword(std::string_view name) {
    return std::find(kKeywords.begin(), kKeywords.end(), name) != kKeywords.end();
}

bool is_plain_name(std::string_view name) {
    return !name.empty() && starts_name(name[0]) &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return starts_name(c) || model::is_digit(c); });
}

}  // namespace sluice::config::expression
