// The syntax tree of an expression: what the parser makes and the compiler reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/expression/program.h"
#include "state/model/value.h"

namespace sluice::config::expression {

enum class NodeKind : std::uint8_t {
    literal,  // `literal`; a text's bytes are in `text`
    field,    // `source`
    call,     // `text` is the function's name
    where,    // a reduction call and its condition
    negate,   // -x
    not_,     // not x
    if_,      // condition, then, else
    in,       // x and the members of the list
    matches,  // x; `text` is the pattern, pattern_* its place
    binary,   // `op`
};

enum class BinaryOp : std::uint8_t {
    or_,
    and_,
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    coalesce,
    add,
    subtract,
    multiply,
    divide,
    remainder,
};

std::string_view symbol(BinaryOp op);

struct Node {
    NodeKind kind = NodeKind::literal;
    BinaryOp op = BinaryOp::or_;
    std::size_t column = 0;  // of the whole part, in bytes of the expression
    std::size_t length = 1;
    std::size_t operator_column = 0;  // where an error of this node itself points
    std::size_t operator_length = 1;
    std::size_t depth = 1;  // of the tree from here down
    model::Scalar literal;
    std::string text;
    FieldSource source;
    std::vector<std::unique_ptr<Node>> children;
};
using NodePtr = std::unique_ptr<Node>;

// How deep a tree may be (every walk over it is a recursion), and how deep parentheses may nest
// (one level is a dozen calls of the parser).
inline constexpr std::size_t kMaxDepth = 500;
inline constexpr std::size_t kMaxNesting = 64;

Compiled<NodePtr> parse(std::string_view text);
Compiled<FieldSource> parse_field(std::string_view text);  // a path and nothing else

// Canonical text: one space around words and signs, no parentheses that precedence makes
// superfluous, numbers and texts in one form.
std::string print(const Node& node);

std::string print_path(const FieldSource& source);

}  // namespace sluice::config::expression
