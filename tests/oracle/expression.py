"""Expressions: a recursive-descent parser to nested tuples, and an evaluator that walks them.

parse(text) gives a node; evaluate(node, scope, errors) a value. A scope has `lookup(path)` for field
paths (a tuple of names and indexes), `kafka` (a dict) and, for expressions over results, `reduce(node)`.
"""

import re

from . import values
from .values import Dec, exact, is_number, printed


class Invalid(Exception):
    """The text is no expression."""


REDUCTIONS = {"count", "sum", "min", "max", "mean", "first", "last"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<mark>==|!=|<=|>=|\?\?|[-+*/%<>().,\[\]]))",
    re.S,
)
_WORDS = {"if", "then", "else", "or", "and", "not", "in", "matches", "where", "true", "false", "null"}


def _tokens(text):
    at, found = 0, []
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise Invalid(f"at {at}: {text[at:]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    found.append(("end", ""))
    return found


def _unquote(literal):
    def replace(match):
        escape = match[1]
        if escape[0] == "u":
            return chr(int(escape[1:], 16))
        return {"n": "\n", "t": "\t", "'": "'", "\\": "\\"}[escape]

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", replace, literal[1:-1]).encode()


class _Parser:
    def __init__(self, text, over_results):
        self.tokens = _tokens(text)
        self.at = 0
        self.over_results = over_results

    def peek(self, *wanted):
        return self.tokens[self.at][0] in ("name", "mark") and self.tokens[self.at][1] in wanted

    def take(self, *wanted):
        if self.peek(*wanted):
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def expect(self, wanted):
        if not self.take(wanted):
            raise Invalid(f"expected {wanted}, found {self.tokens[self.at][1]!r}")

    def whole(self):
        node = self.expression()
        if self.tokens[self.at][0] != "end":
            raise Invalid(f"unexpected {self.tokens[self.at][1]!r}")
        return node

    def expression(self):
        if self.take("if"):
            condition = self.expression()
            self.expect("then")
            yes = self.expression()
            self.expect("else")
            return ("if", condition, yes, self.expression())
        return self.disjunction()

    def disjunction(self):
        node = self.conjunction()
        while self.take("or"):
            node = ("or", node, self.conjunction())
        return node

    def conjunction(self):
        node = self.negation()
        while self.take("and"):
            node = ("and", node, self.negation())
        return node

    def negation(self):
        if self.take("not"):
            return ("not", self.negation())
        return self.comparison()

    def comparison(self):
        node = self.fallback()
        operator = self.take("==", "!=", "<", "<=", ">", ">=", "in", "matches")
        if operator == "in":
            self.expect("[")
            members = []
            while not self.take("]"):
                members.append(self.expression())
                if not self.peek("]"):
                    self.expect(",")
            node = ("in", node, members)
        elif operator == "matches":
            node = ("matches", node, self.fallback())
        elif operator:
            node = ("compare", operator, node, self.fallback())
        if self.peek("==", "!=", "<", "<=", ">", ">=", "in", "matches"):
            raise Invalid("comparisons are not chained")
        return node

    def fallback(self):
        node = self.sum()
        while self.take("??"):
            node = ("fallback", node, self.sum())
        return node

    def sum(self):
        node = self.product()
        while operator := self.take("+", "-"):
            node = ("arithmetic", operator, node, self.product())
        return node

    def product(self):
        node = self.sign()
        while operator := self.take("*", "/", "%"):
            node = ("arithmetic", operator, node, self.sign())
        return node

    def sign(self):
        if self.take("-"):
            # The least integer has no positive counterpart.
            if self.tokens[self.at][0] == "number":
                return self.number("-")
            return ("negate", self.sign())
        return self.postfix()

    def number(self, sign=""):
        text = self.tokens[self.at][1]
        self.at += 1
        return ("literal", values.json_number(sign + text, values.Errors()))

    def postfix(self):
        node = self.primary()
        while True:
            if self.take("."):
                kind, text = self.tokens[self.at]
                self.at += 1
                if kind == "name":
                    step = text
                elif kind == "text":
                    step = _unquote(text).decode()
                else:
                    raise Invalid(f"a name is missing before {text!r}")
            elif self.peek("["):
                self.at += 1
                kind, text = self.tokens[self.at]
                self.at += 1
                if kind == "number":
                    step = int(text)
                elif kind == "text":
                    step = _unquote(text).decode()
                else:
                    raise Invalid(f"an index is missing before {text!r}")
                self.expect("]")
            else:
                return node
            node = ("path", *node[1:], step) if node[0] == "path" else ("index", node, step)
            if node[0] == "path" and node[1:] == ("kafka", "header"):
                node = self.call("kafka.header")
            elif node[0] == "path" and node[1] == "kafka" and len(node) == 3:
                node = ("kafka", node[2])

    def primary(self):
        kind, text = self.tokens[self.at]
        if kind == "number":
            return self.number()
        if kind == "text":
            self.at += 1
            return ("literal", _unquote(text))
        if self.take("("):
            node = self.expression()
            self.expect(")")
            return node
        if kind != "name":
            raise Invalid(f"unexpected {text!r}")
        self.at += 1
        if text in ("true", "false", "null"):
            return ("literal", {"true": True, "false": False, "null": None}[text])
        if self.peek("("):
            return self.call(text)
        if text in _WORDS:
            raise Invalid(f"unexpected {text!r}")
        return ("path", text)

    def call(self, name):
        self.expect("(")
        arguments = []
        while not self.take(")"):
            arguments.append(self.expression())
            if not self.peek(")"):
                self.expect(",")
        is_reduction = self.over_results and name in REDUCTIONS
        if is_reduction and not (name in ("min", "max") and len(arguments) > 1):
            # Everything behind `where` belongs to the condition.
            where = self.expression() if self.take("where") else None
            return ("reduce", name, arguments[0] if arguments else None, where)
        return ("call", name, arguments)

def parse(text, over_results=False):
    return _Parser(text, over_results).whole()


def reductions(node):
    """The reductions that an expression over results is made of."""
    found = []

    def walk(part):
        if isinstance(part, tuple) and part and part[0] == "reduce":
            found.append(part)
        elif isinstance(part, (tuple, list)):
            for child in part:
                walk(child)

    walk(node)
    return found


def evaluate(node, scope, errors):
    return _EVALUATORS[node[0]](node, scope, errors)


def _if(node, scope, errors):
    chosen = node[2] if truth(evaluate(node[1], scope, errors), errors) is True else node[3]
    return evaluate(chosen, scope, errors)


def truth(value, errors):
    """A condition: true, false or null."""
    if value is None or isinstance(value, bool):
        return value
    errors.wrong_type += 1
    return None


def _or(node, scope, errors):
    a = truth(evaluate(node[1], scope, errors), errors)
    b = truth(evaluate(node[2], scope, errors), errors)
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


def _and(node, scope, errors):
    a = truth(evaluate(node[1], scope, errors), errors)
    b = truth(evaluate(node[2], scope, errors), errors)
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _not(node, scope, errors):
    value = truth(evaluate(node[1], scope, errors), errors)
    return None if value is None else not value


def _compare(node, scope, errors):
    operator, left, right = node[1:]
    # `== null` asks; everything else about null is null.
    if operator in ("==", "!=") and (left == ("literal", None) or right == ("literal", None)):
        other = left if right == ("literal", None) else right
        return (evaluate(other, scope, errors) is None) == (operator == "==")
    o = values.order(evaluate(left, scope, errors), evaluate(right, scope, errors), errors)
    if o is None:
        return None
    return {"==": o == 0, "!=": o != 0, "<": o < 0, "<=": o <= 0, ">": o > 0, ">=": o >= 0}[operator]


def _in(node, scope, errors):
    value = evaluate(node[1], scope, errors)
    found = [values.order(value, evaluate(member, scope, errors), errors) for member in node[2]]
    if any(o == 0 for o in found):
        return True
    return None if any(o is None for o in found) else False


def _matches(node, scope, errors):
    text = evaluate(node[1], scope, errors)
    pattern = evaluate(node[2], scope, errors)
    if text is None or pattern is None:
        return None
    if not isinstance(text, bytes):
        errors.wrong_type += 1
        return None
    return re.search(pattern.decode(), text.decode(errors="replace")) is not None


def _fallback(node, scope, errors):
    value = evaluate(node[1], scope, errors)
    return evaluate(node[2], scope, errors) if value is None else value


def _negate(node, scope, errors):
    value = evaluate(node[1], scope, errors)
    if value is None:
        return None
    if isinstance(value, float):
        return -value
    return values.arithmetic("-", 0, value, errors)


def _scalar(value, errors):
    if isinstance(value, (list, dict)):
        errors.wrong_type += 1
        return None
    return value


def _index(node, scope, errors):
    value = evaluate_list(node[1], scope, errors)
    if isinstance(value, list) and isinstance(node[2], int):
        return _scalar(value[node[2]], errors) if node[2] < len(value) else None
    return None


def evaluate_list(node, scope, errors):
    if node[0] == "call" and node[1] == "split":
        text, separator = (evaluate(argument, scope, errors) for argument in node[2])
        if text is None or separator is None:
            return None
        if not isinstance(text, bytes) or not isinstance(separator, bytes):
            errors.wrong_type += 1
            return None
        return text.split(separator)
    return evaluate(node, scope, errors)


_EVALUATORS = {
    "literal": lambda node, scope, errors: node[1],
    "path": lambda node, scope, errors: _scalar(scope.lookup(node[1:]), errors),
    "kafka": lambda node, scope, errors: scope.kafka[node[1]],
    "reduce": lambda node, scope, errors: scope.reduce(node),
    "if": _if,
    "or": _or,
    "and": _and,
    "not": _not,
    "compare": _compare,
    "in": _in,
    "matches": _matches,
    "fallback": _fallback,
    "negate": _negate,
    "index": _index,
    "arithmetic": lambda node, scope, errors: values.arithmetic(
        node[1], evaluate(node[2], scope, errors), evaluate(node[3], scope, errors), errors
    ),
    "call": lambda node, scope, errors: _call(node, scope, errors),
}


# ---- Functions


def _call(node, scope, errors):
    name = node[1]
    arguments = [evaluate(argument, scope, errors) for argument in node[2]]
    if name == "coalesce":
        return next((a for a in arguments if a is not None), None)
    if name == "kafka.header":
        return scope.kafka_header(arguments[0])
    if any(argument is None for argument in arguments):
        return None
    wanted = _TYPES.get(name)
    if wanted is not None and not all(wanted(argument) for argument in arguments[:1]):
        errors.wrong_type += 1
        return None
    return _FUNCTIONS[name](errors, *arguments)


def _int(errors, x):
    if isinstance(x, bytes):
        x = values.text_number(x, errors)
        if x is None:
            return None
    if isinstance(x, bool):
        return int(x)
    return values.integer(int(exact(x)), errors)


def _decimal(errors, x):
    if isinstance(x, bytes):
        x = values.text_number(x, errors)
        if x is None:
            return None
    if isinstance(x, bool):
        x = int(x)
    if isinstance(x, float):
        from decimal import Decimal
        from fractions import Fraction

        fraction = Fraction(Decimal(repr(x)))
    else:
        fraction = exact(x)
    return values.decimal(values.round_half_away(fraction, 18), errors)


def _float(errors, x):
    if isinstance(x, bytes):
        x = values.text_number(x, errors)
        if x is None:
            return None
    return values.to_float(int(x) if isinstance(x, bool) else x, errors)


def _bool(errors, x):
    if isinstance(x, bool):
        return x
    if is_number(x):
        return exact(x) != 0
    return {b"true": True, b"false": False}.get(x)


def _time(errors, x):
    if isinstance(x, bytes):
        return values.rfc3339(x)
    return values.integer(int(exact(x) // 1), errors)


def _round(errors, x, places=0):
    if isinstance(x, int):
        return values.integer(int(values.round_half_away(exact(x), places)), errors)
    rounded = values.round_half_away(exact(x), places)
    if isinstance(x, Dec):
        return values.decimal(rounded, errors)
    return values.to_float(rounded, errors)


def _whole(floor):
    def compute(errors, x):
        if isinstance(x, int):
            return x
        result = exact(x) // 1 if floor else -(-exact(x) // 1)
        if isinstance(x, Dec):
            return values.decimal(result * values.Fraction(1), errors)
        return values.to_float(result, errors)

    return compute


def _extreme(sign):
    def compute(errors, first, *others):
        best = first
        for other in others:
            o = values.order(other, best, errors)
            if o is None:
                return None
            if o == sign:
                best = other
        return best

    return compute


def _ascii_case(lower):
    def compute(errors, x):
        return x.lower() if lower else x.upper()  # of bytes: ASCII only

    return compute


def _substring(errors, text, begin, count):
    points = text.decode()
    begin = max(begin, 0)
    return points[begin : begin + max(count, 0)].encode()


def _hash(errors, x):
    from . import checksum

    value = checksum.xxh3(printed(x))
    return value - 2**64 if value >= 2**63 else value


def _is_text(x):
    return isinstance(x, bytes)


_TYPES = {
    **{
        name: _is_text
        for name in ("lower", "upper", "trim", "length", "substring", "replace", "starts_with", "ends_with", "contains")
    },
    **{name: is_number for name in ("abs", "round", "floor", "ceil")},
}
_FUNCTIONS = {
    "int": _int,
    "decimal": _decimal,
    "float": _float,
    "text": lambda errors, x: printed(x),
    "bool": _bool,
    "time": _time,
    "lower": _ascii_case(True),
    "upper": _ascii_case(False),
    "trim": lambda errors, x: x.strip(b" \t\n\r"),
    "length": lambda errors, x: len(x.decode(errors="replace")),
    "substring": _substring,
    "concat": lambda errors, *parts: b"".join(printed(part) for part in parts),
    "replace": lambda errors, text, what, by: text.replace(what, by) if what else text,
    "starts_with": lambda errors, text, what: text.startswith(what),
    "ends_with": lambda errors, text, what: text.endswith(what),
    "contains": lambda errors, text, what: what in text,
    "abs": lambda errors, x: x if exact(x) >= 0 else values.arithmetic("-", 0, x, errors),
    "round": _round,
    "floor": _whole(True),
    "ceil": _whole(False),
    "min": _extreme(-1),
    "max": _extreme(1),
    "hash": _hash,
}
