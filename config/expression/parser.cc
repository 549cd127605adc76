// Recursive descent, one function per level of precedence, loosest first.
#include <algorithm>
#include <array>
#include <utility>

#include "config/expression/functions.h"
#include "config/expression/lexer.h"
#include "config/expression/syntax.h"
#include "state/model/number.h"

namespace sluice::config::expression {

namespace {

using namespace std::string_view_literals;

std::unexpected<ExpressionError> error_at(const Token& token, std::string message,
                                          std::string hint = {}) {
    return std::unexpected(ExpressionError{token.column, std::max<std::size_t>(1, token.length),
                                           std::move(message), std::move(hint)});
}

std::string described(const Token& token) {
    return token.kind == TokenKind::end ? "the end of the expression"
                                        : "`" + std::string(token.spelled) + "`";
}

struct KafkaField {
    std::string_view name;
    FieldSource::Kind kind;
};
constexpr std::array kKafkaFields = {
    KafkaField{"topic", FieldSource::Kind::kafka_topic},
    KafkaField{"partition", FieldSource::Kind::kafka_partition},
    KafkaField{"offset", FieldSource::Kind::kafka_offset},
    KafkaField{"timestamp", FieldSource::Kind::kafka_timestamp},
    KafkaField{"key", FieldSource::Kind::kafka_key},
    KafkaField{"header", FieldSource::Kind::kafka_header},
};
constexpr std::array kKafkaNames = {"topic"sv,     "partition"sv, "offset"sv,
                                    "timestamp"sv, "key"sv,       "header"sv};

struct Level {
    std::string_view spelled;
    BinaryOp op;
};
constexpr std::array kComparisons = {
    Level{"==", BinaryOp::equal},  Level{"!=", BinaryOp::not_equal},
    Level{"<", BinaryOp::less},    Level{"<=", BinaryOp::less_equal},
    Level{">", BinaryOp::greater}, Level{">=", BinaryOp::greater_equal},
};
constexpr std::array kSums = {Level{"+", BinaryOp::add}, Level{"-", BinaryOp::subtract}};
constexpr std::array kProducts = {Level{"*", BinaryOp::multiply}, Level{"/", BinaryOp::divide},
                                  Level{"%", BinaryOp::remainder}};
constexpr std::array kCoalesce = {Level{"??", BinaryOp::coalesce}};

class Parser {
 public:
    explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

    Compiled<NodePtr> whole() {
        auto tree = expression();
        if (tree && peek().kind != TokenKind::end) {
            return unexpected_behind(**tree);
        }
        return tree;
    }

    Compiled<FieldSource> whole_path() {
        auto tree = path();
        if (!tree) {
            return std::unexpected(tree.error());
        }
        if (peek().kind != TokenKind::end) {
            return error_at(peek(), "expected the end of the path, found " + described(peek()),
                            "a path is written geo.country, items[0].price or .'odd name'");
        }
        return std::move((*tree)->source);
    }

 private:
    using Parsed = Compiled<NodePtr>;

    const Token& peek(std::size_t ahead = 0) const {
        return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
    }
    const Token& next() {
        const Token& token = peek();
        at_ = std::min(at_ + 1, tokens_.size() - 1);
        return token;
    }
    bool at_symbol(std::string_view spelled, std::size_t ahead = 0) const {
        const Token& token = peek(ahead);
        return token.kind == TokenKind::symbol && token.spelled == spelled;
    }
    bool at_word(std::string_view spelled, std::size_t ahead = 0) const {
        const Token& token = peek(ahead);
        return token.kind == TokenKind::name && token.spelled == spelled;
    }
    std::unexpected<ExpressionError> expected(std::string what, std::string hint = {}) const {
        return error_at(peek(), "expected " + std::move(what) + ", found " + described(peek()),
                        std::move(hint));
    }

    std::unexpected<ExpressionError> unexpected_behind(const Node& before) const {
        const Token& token = peek();
        std::string hint;
        if (at_symbol("(") && before.kind == NodeKind::field) {
            hint = "functions have plain names";
        } else if (at_symbol("[") || at_symbol(".")) {
            hint = "only fields have members";
        } else if (at_word("where")) {
            hint = "`where` belongs right behind a reduction: sum(price) where kind == 'buy'";
        } else if (at_word("not") && at_word("in", 1)) {
            hint = "write not (x in […])";
        } else if (at_word("then") || at_word("else")) {
            hint = "a choice is written if … then … else …";
        } else if (at_word("if")) {
            hint = "put the `if` into parentheses";
        } else if (token.kind == TokenKind::name && !is_keyword(token.spelled)) {
            constexpr std::array kOperators = {"and"sv, "or"sv, "in"sv, "matches"sv};
            if (const std::string near = nearest_name(token.spelled, kOperators); !near.empty()) {
                hint = "did you mean `" + near + "`?";
            }
        }
        return expected("an operator or the end of the expression", std::move(hint));
    }

    static NodePtr node(NodeKind kind, const Token& token) {
        auto out = std::make_unique<Node>();
        out->kind = kind;
        out->column = out->operator_column = token.column;
        out->length = out->operator_length = std::max<std::size_t>(1, token.length);
        return out;
    }
    // Makes `child` the last child of `parent`, which then covers it too.
    Compiled<void> adopt(Node& parent, NodePtr child) {
        parent.depth = std::max(parent.depth, child->depth + 1);
        const std::size_t end =
            std::max(parent.column + parent.length, child->column + child->length);
        parent.column = std::min(parent.column, child->column);
        parent.length = end - parent.column;
        const bool deep = parent.depth > kMaxDepth;
        parent.children.push_back(std::move(child));
        if (deep) {
            return std::unexpected(ExpressionError{
                parent.operator_column, parent.operator_length,
                "the expression has more than " + std::to_string(kMaxDepth) + " operators in a row",
                "use `in […]` or several steps"});
        }
        return {};
    }
    void cover_last(Node& parent) const {  // the token just taken belongs to `parent`
        const Token& last = tokens_[at_ == 0 ? 0 : at_ - 1];
        parent.length =
            std::max(parent.column + parent.length, last.column + last.length) - parent.column;
    }

    Parsed expression() {
        if (nesting_ == kMaxNesting) {
            return error_at(peek(), "the expression nests more than " +
                                        std::to_string(kMaxNesting) + " levels deep");
        }
        ++nesting_;
        auto out = at_word("if") ? choice() : disjunction();
        --nesting_;
        return out;
    }

    Parsed choice() {
        auto out = node(NodeKind::if_, next());
        constexpr std::array kWords = {"then"sv, "else"sv, ""sv};
        for (const std::string_view word : kWords) {
            auto part = expression();
            if (!part) {
                return part;
            }
            if (auto ok = adopt(*out, std::move(*part)); !ok) {
                return std::unexpected(ok.error());
            }
            if (!word.empty()) {
                if (!at_word(word)) {
                    return expected("`" + std::string(word) + "`",
                                    "a choice is written if … then … else …");
                }
                next();
            }
        }
        return out;
    }

    template <class Operand>
    Parsed words(std::string_view word, BinaryOp op, Operand operand) {
        auto left = operand();
        while (left && at_word(word)) {
            left = joined(std::move(*left), op, operand);
        }
        return left;
    }

    template <class Operand>
    Parsed joined(NodePtr left, BinaryOp op, Operand operand) {
        auto out = node(NodeKind::binary, next());
        out->op = op;
        if (auto ok = adopt(*out, std::move(left)); !ok) {
            return std::unexpected(ok.error());
        }
        auto right = operand();
        if (!right) {
            return right;
        }
        if (auto ok = adopt(*out, std::move(*right)); !ok) {
            return std::unexpected(ok.error());
        }
        return out;
    }

    Parsed disjunction() {
        return words("or", BinaryOp::or_, [this] { return conjunction(); });
    }
    Parsed conjunction() {
        return words("and", BinaryOp::and_, [this] { return negation(); });
    }
    Parsed negation() {
        if (!at_word("not")) {
            return comparison();
        }
        if (nesting_ == kMaxNesting) {
            return error_at(peek(), "the expression nests too deep");
        }
        auto out = node(NodeKind::not_, next());
        ++nesting_;
        auto operand = negation();
        --nesting_;
        if (!operand) {
            return operand;
        }
        if (auto ok = adopt(*out, std::move(*operand)); !ok) {
            return std::unexpected(ok.error());
        }
        return out;
    }

    const Level* at_level(std::span<const Level> levels) const {
        if (peek().kind != TokenKind::symbol) {
            return nullptr;
        }
        for (const auto& level : levels) {
            if (level.spelled == peek().spelled) {
                return &level;
            }
        }
        return nullptr;
    }
    bool at_comparison() const {
        return at_level(kComparisons) != nullptr || at_word("in") || at_word("matches");
    }

    Parsed comparison() {
        auto left = alternative();
        if (!left || !at_comparison()) {
            return left;
        }
        Parsed out;
        if (const Level* level = at_level(kComparisons)) {
            out = joined(std::move(*left), level->op, [this] { return alternative(); });
        } else if (at_word("in")) {
            out = membership(std::move(*left));
        } else {
            out = pattern(std::move(*left));
        }
        if (out && at_comparison()) {
            return error_at(peek(), "comparisons cannot be chained",
                            "write a < b and b < c, or put one of them into parentheses");
        }
        return out;
    }

    Parsed membership(NodePtr left) {
        auto out = node(NodeKind::in, next());
        if (auto ok = adopt(*out, std::move(left)); !ok) {
            return std::unexpected(ok.error());
        }
        if (!at_symbol("[")) {
            return expected("a list behind `in`", "write x in ['a', 'b']");
        }
        next();
        if (auto ok = list(*out, "]"); !ok) {
            return std::unexpected(ok.error());
        }
        return out;
    }

    Parsed pattern(NodePtr left) {
        auto out = node(NodeKind::matches, next());
        if (auto ok = adopt(*out, std::move(left)); !ok) {
            return std::unexpected(ok.error());
        }
        if (peek().kind != TokenKind::text) {
            return expected("a pattern in quotes behind `matches`",
                            "patterns are fixed texts: name matches '^a.*z$'");
        }
        out->operator_column = peek().column;
        out->operator_length = peek().length;
        out->text = next().text;
        cover_last(*out);
        return out;
    }

    // Members up to `end`, which is taken too.
    Compiled<void> list(Node& parent, std::string_view end) {
        if (!at_symbol(end)) {
            while (true) {
                auto member = expression();
                if (!member) {
                    return std::unexpected(member.error());
                }
                if (auto ok = adopt(parent, std::move(*member)); !ok) {
                    return ok;
                }
                if (at_symbol(end)) {
                    break;
                }
                if (!at_symbol(",")) {
                    const auto wrong = unexpected_behind(*parent.children.back());
                    return expected("`,` or `" + std::string(end) + "`", wrong.error().hint);
                }
                next();
            }
        }
        next();
        cover_last(parent);
        return {};
    }

    template <class Operand>
    Parsed left_joined(std::span<const Level> levels, Operand operand) {
        auto left = operand();
        while (left) {
            const Level* level = at_level(levels);
            if (level == nullptr) {
                break;
            }
            left = joined(std::move(*left), level->op, operand);
        }
        return left;
    }
    Parsed alternative() {
        return left_joined(kCoalesce, [this] { return sum(); });
    }
    Parsed sum() {
        return left_joined(kSums, [this] { return product(); });
    }
    Parsed product() {
        return left_joined(kProducts, [this] { return unary(); });
    }

    Parsed unary() {
        if (!at_symbol("-")) {
            return primary();
        }
        if (nesting_ == kMaxNesting) {
            return error_at(peek(), "the expression nests too deep");
        }
        const Token& sign = next();
        if (peek().kind == TokenKind::number) {
            auto out = number("-");  // so that the least integer can be written
            if (out) {
                (*out)->length += (*out)->column - sign.column;
                (*out)->column = sign.column;
            }
            return out;
        }
        auto out = node(NodeKind::negate, sign);
        ++nesting_;
        auto operand = unary();
        --nesting_;
        if (!operand) {
            return operand;
        }
        if (auto ok = adopt(*out, std::move(*operand)); !ok) {
            return std::unexpected(ok.error());
        }
        return out;
    }

    Parsed number(std::string_view sign) {
        const Token& token = next();
        auto out = node(NodeKind::literal, token);
        const std::string text = std::string(sign) + std::string(token.spelled);
        const model::Computed read = model::parse_json_number(text);
        if (read.fault == model::Fault::overflow) {
            return error_at(token, "this number is too great",
                            "integers have 64 bits, decimals 20 digits before the point");
        }
        if (read.fault != model::Fault::none) {
            return error_at(token, "numbers have no leading zeros");
        }
        out->literal = read.value;
        return out;
    }

    Parsed primary() {
        const Token& token = peek();
        switch (token.kind) {
            case TokenKind::number:
                return number("");
            case TokenKind::text: {
                auto out = node(NodeKind::literal, next());
                out->text = token.text;
                out->literal = model::Scalar::of(std::string_view(out->text));
                return out;
            }
            case TokenKind::symbol:
                if (token.spelled == "(") {
                    return grouped();
                }
                if (token.spelled == "." || token.spelled == "[") {
                    return path();
                }
                break;
            case TokenKind::name:
                return word();
            case TokenKind::end:
                break;
        }
        return expected("a value", token.spelled == "+" ? "there is no sign `+`" : "");
    }

    Parsed grouped() {
        const Token& open = next();
        auto inside = expression();
        if (!inside) {
            return inside;
        }
        if (!at_symbol(")")) {
            const auto wrong = unexpected_behind(**inside);
            return expected("`)`", wrong.error().hint);
        }
        next();
        (*inside)->length = std::max((*inside)->column + (*inside)->length, open.column + 1);
        (*inside)->column = open.column;
        (*inside)->length -= open.column;
        cover_last(**inside);
        return inside;
    }

    Parsed word() {
        const Token& token = peek();
        if (token.spelled == "true" || token.spelled == "false") {
            auto out = node(NodeKind::literal, next());
            out->literal = model::Scalar::of(token.spelled == "true");
            return out;
        }
        if (token.spelled == "null") {
            return node(NodeKind::literal, next());
        }
        if (token.spelled == "if" || token.spelled == "not") {
            return expected("a value",
                            "put the `" + std::string(token.spelled) + " …` into parentheses");
        }
        if (is_keyword(token.spelled)) {
            return expected("a value", "a field with this name is written .'" +
                                           std::string(token.spelled) + "'");
        }
        return at_symbol("(", 1) ? call() : path();
    }

    Parsed call() {
        auto out = node(NodeKind::call, next());
        out->text = std::string(tokens_[at_ - 1].spelled);
        next();
        if (at_symbol("*") && at_symbol(")", 1)) {
            return error_at(peek(), "expected a value, found `*`", "write count()");
        }
        if (auto ok = list(*out, ")"); !ok) {
            return std::unexpected(ok.error());
        }
        if (out->text == "split") {
            if (!at_symbol("[")) {
                return std::unexpected(
                    ExpressionError{out->operator_column, out->operator_length,
                                    "`split` gives a list, and lists are no values",
                                    "take one of its parts: split(x, ',')[0]"});
            }
            next();
            auto index = expression();
            if (!index) {
                return index;
            }
            if (!at_symbol("]")) {
                return expected("`]`");
            }
            if (auto ok = adopt(*out, std::move(*index)); !ok) {
                return std::unexpected(ok.error());
            }
            next();
            cover_last(*out);
        }
        if (!at_word("where")) {
            return out;
        }
        auto filtered = node(NodeKind::where, next());
        if (auto ok = adopt(*filtered, std::move(out)); !ok) {
            return std::unexpected(ok.error());
        }
        if (nesting_ == kMaxNesting) {
            return error_at(peek(), "the expression nests too deep");
        }
        ++nesting_;
        auto condition = disjunction();
        --nesting_;
        if (!condition) {
            return condition;
        }
        if (auto ok = adopt(*filtered, std::move(*condition)); !ok) {
            return std::unexpected(ok.error());
        }
        return filtered;
    }

    Parsed path() {
        auto out = node(NodeKind::field, peek());
        auto& segments = out->source.path;
        if (peek().kind == TokenKind::name && !is_keyword(peek().spelled)) {
            if (at_word("kafka")) {
                return kafka_field(std::move(out));
            }
            segments.emplace_back(std::string(next().spelled));
        } else if (!at_symbol(".") && !at_symbol("[")) {
            return expected("a field path", "geo.country, items[0].price or .'odd name'");
        }
        while (at_symbol(".") || at_symbol("[")) {
            const bool dot = at_symbol(".");
            next();
            if (peek().kind == TokenKind::text) {
                segments.emplace_back(next().text);
            } else if (dot && peek().kind == TokenKind::name) {
                segments.emplace_back(std::string(next().spelled));
            } else if (!dot && peek().kind == TokenKind::number && !segments.empty()) {
                const model::Computed index = model::parse_json_number(peek().spelled);
                if (index.value.type != model::Type::integer) {
                    return error_at(peek(), "an index is an integer from 0");
                }
                next();
                segments.emplace_back(index.value.value.integer);
            } else if (dot) {
                return expected("a member's name", "odd names are written .'odd name'");
            } else {
                return expected(
                    segments.empty() ? "a name in quotes" : "an index from 0 or a name in quotes",
                    "a list of values stands only behind `in`");
            }
            if (!dot) {
                if (!at_symbol("]")) {
                    return expected("`]`");
                }
                next();
            }
            constexpr std::size_t kMostSegments = 64;  // JSON is not read deeper
            if (segments.size() > kMostSegments) {
                return std::unexpected(
                    ExpressionError{out->column, out->length, "a path has at most 64 members", ""});
            }
        }
        cover_last(*out);
        out->operator_length = out->length;
        return out;
    }

    Parsed kafka_field(NodePtr out) {
        constexpr const char* kHint = "a field with the name kafka is written .'kafka'";
        next();
        if (!at_symbol(".")) {
            return expected("`.` behind `kafka`", kHint);
        }
        next();
        const Token& name = peek();
        const auto* known = std::find_if(kKafkaFields.begin(), kKafkaFields.end(),
                                         [&](const auto& f) { return f.name == name.spelled; });
        if (name.kind != TokenKind::name || known == kKafkaFields.end()) {
            const std::string near = nearest_name(name.spelled, kKafkaNames);
            return error_at(name, "kafka has no " + described(name),
                            near.empty()
                                ? "there are topic partition offset timestamp key header('name')"
                                : "did you mean `" + near + "`?");
        }
        next();
        out->source.kind = known->kind;
        if (known->kind == FieldSource::Kind::kafka_header) {
            if (!at_symbol("(") || peek(1).kind != TokenKind::text || !at_symbol(")", 2)) {
                return error_at(name, "`kafka.header` needs a header's name in quotes",
                                "kafka.header('trace-id')");
            }
            next();
            out->source.path.emplace_back(next().text);
            next();
        }
        cover_last(*out);
        out->operator_length = out->length;
        return out;
    }

    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    std::size_t nesting_ = 0;
};

// ---- Printing

enum Binding : int {
    kChoice,
    kOr,
    kAnd,
    kNot,
    kComparison,
    kAlternative,
    kSum,
    kProduct,
    kUnary,
    kPrimary
};

int binding(BinaryOp op) {
    switch (op) {
        case BinaryOp::or_:
            return kOr;
        case BinaryOp::and_:
            return kAnd;
        case BinaryOp::equal:
        case BinaryOp::not_equal:
        case BinaryOp::less:
        case BinaryOp::less_equal:
        case BinaryOp::greater:
        case BinaryOp::greater_equal:
            return kComparison;
        case BinaryOp::coalesce:
            return kAlternative;
        case BinaryOp::add:
        case BinaryOp::subtract:
            return kSum;
        case BinaryOp::multiply:
        case BinaryOp::divide:
        case BinaryOp::remainder:
            return kProduct;
    }
    return kPrimary;
}

int binding(const Node& node) {
    switch (node.kind) {
        case NodeKind::if_:
        case NodeKind::where:  // it takes everything behind it
            return kChoice;
        case NodeKind::not_:
            return kNot;
        case NodeKind::in:
        case NodeKind::matches:
            return kComparison;
        case NodeKind::negate:
            return kUnary;
        case NodeKind::binary:
            return binding(node.op);
        default:
            return kPrimary;
    }
}

void append_quoted(std::string& out, std::string_view text) {
    constexpr std::string_view kHex = "0123456789abcdef";
    out += '\'';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\'' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (byte < 0x20) {
            out += "\\u00";
            out += kHex[byte >> 4];
            out += kHex[byte & 15];
        } else {
            out += c;
        }
    }
    out += '\'';
}

// A literal that is read back with the same type.
void append_literal(std::string& out, const model::Scalar& literal) {
    if (literal.is_null()) {
        out += "null";
    } else if (literal.type == model::Type::text) {
        append_quoted(out, literal.value.text.view());
    } else {
        std::string printed;
        model::append_printed(printed, literal);
        if (literal.type == model::Type::decimal && printed.find('.') == std::string::npos) {
            printed += ".0";
        }
        if (literal.type == model::Type::real && printed.find('e') == std::string::npos) {
            printed += "e0";
        }
        out += printed;
    }
}

void append(std::string& out, const Node& node);

void append_bound(std::string& out, const Node& node, int least) {
    if (binding(node) < least) {
        out += '(';
        append(out, node);
        out += ')';
    } else {
        append(out, node);
    }
}

void append_list(std::string& out, const Node& node, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
        out += i > from ? ", " : "";
        append(out, *node.children[i]);
    }
}

void append(std::string& out, const Node& node) {
    switch (node.kind) {
        case NodeKind::literal:
            append_literal(out, node.literal);
            return;
        case NodeKind::field:
            out += print_path(node.source);
            return;
        case NodeKind::call: {
            const bool split = node.text == "split";
            out += node.text;
            out += '(';
            append_list(out, node, 0, node.children.size() - (split ? 1 : 0));
            out += ')';
            if (split) {
                out += '[';
                append(out, *node.children.back());
                out += ']';
            }
            return;
        }
        case NodeKind::where:
            append(out, *node.children[0]);
            out += " where ";
            append_bound(out, *node.children[1], kOr);
            return;
        case NodeKind::negate: {
            const Node& operand = *node.children[0];
            // Without parentheses a sign before a number would become part of it.
            const bool number = operand.kind == NodeKind::literal && operand.literal.is_number();
            out += '-';
            append_bound(out, operand, number ? kPrimary + 1 : kUnary);
            return;
        }
        case NodeKind::not_:
            out += "not ";
            append_bound(out, *node.children[0], kNot);
            return;
        case NodeKind::if_:
            out += "if ";
            append(out, *node.children[0]);
            out += " then ";
            append(out, *node.children[1]);
            out += " else ";
            append(out, *node.children[2]);
            return;
        case NodeKind::in:
            append_bound(out, *node.children[0], kComparison + 1);
            out += " in [";
            append_list(out, node, 1, node.children.size());
            out += ']';
            return;
        case NodeKind::matches:
            append_bound(out, *node.children[0], kComparison + 1);
            out += " matches ";
            append_quoted(out, node.text);
            return;
        case NodeKind::binary: {
            const int level = binding(node.op);
            const bool chain = level != kComparison;  // left-associative
            append_bound(out, *node.children[0], chain ? level : level + 1);
            out += ' ';
            out += symbol(node.op);
            out += ' ';
            append_bound(out, *node.children[1], level + 1);
            return;
        }
    }
}

}  // namespace

std::string_view symbol(BinaryOp op) {
    constexpr std::array kSymbols = {"or"sv, "and"sv, "=="sv, "!="sv, "<"sv, "<="sv, ">"sv,
                                     ">="sv, "??"sv,  "+"sv,  "-"sv,  "*"sv, "/"sv,  "%"sv};
    return kSymbols[static_cast<std::size_t>(op)];
}

Compiled<NodePtr> parse(std::string_view text) {
    auto tokens = tokenise(text);
    if (!tokens) {
        return std::unexpected(std::move(tokens.error()));
    }
    return Parser(std::move(*tokens)).whole();
}

std::string print(const Node& node) {
    std::string out;
    append(out, node);
    return out;
}

std::string print_path(const FieldSource& source) {
    for (const auto& field : kKafkaFields) {
        if (field.kind == source.kind) {
            std::string out = "kafka." + std::string(field.name);
            if (source.kind == FieldSource::Kind::kafka_header) {
                out += '(';
                append_quoted(out, std::get<std::string>(source.path.at(0)));
                out += ')';
            }
            return out;
        }
    }
    std::string out;
    for (const auto& segment : source.path) {
        if (const auto* index = std::get_if<std::int64_t>(&segment)) {
            out += '[' + std::to_string(*index) + ']';
            continue;
        }
        const auto& name = std::get<std::string>(segment);
        const bool first = out.empty();
        if (is_plain_name(name) && !(first && (is_keyword(name) || name == "kafka"))) {
            out += first ? "" : ".";
            out += name;
        } else {
            out += '.';
            append_quoted(out, name);
        }
    }
    return out;
}

Compiled<FieldSource> parse_field(std::string_view text) {
    auto tokens = tokenise(text);
    if (!tokens) {
        return std::unexpected(std::move(tokens.error()));
    }
    return Parser(std::move(*tokens)).whole_path();
}

}  // namespace sluice::config::expression

namespace sluice::config {

Compiled<std::vector<FieldSource::Segment>> parse_path(std::string_view text) {
    auto source = expression::parse_field(text);
    if (!source) {
        return std::unexpected(std::move(source.error()));
    }
    if (source->kind != FieldSource::Kind::json) {
        return std::unexpected(ExpressionError{0, text.size(), "kafka's own fields cannot be set",
                                               "a field with the name kafka is written .'kafka'"});
    }
    return std::move(source->path);
}

Compiled<std::string> canonical(std::string_view text) {
    auto tree = expression::parse(text);
    if (!tree) {
        return std::unexpected(std::move(tree.error()));
    }
    return expression::print(**tree);
}

}  // namespace sluice::config
