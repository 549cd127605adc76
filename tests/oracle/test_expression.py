#!/usr/bin/python3
"""Expressions: precedence, nulls, functions."""

import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from oracle import decode, expression, values  # noqa: E402


class Scope:
    kafka = {"offset": 7}

    def __init__(self, text):
        self.document = decode.decode(text.encode(), 2**20, 64)

    def lookup(self, path):
        return decode.scalar(decode.look_up(self.document, path), values.Errors())

    def kafka_header(self, name):
        return b"h:" + name


RECORD = """{"a": 3, "b": 2.50, "t": "Grün", "n": null, "yes": true, "geo": {"country": "de"},
             "items": [{"price": 1}, {"price": 2.0}], "odd name": 1, "e": 1e3, "list": "x,y"}"""


def evaluate(text):
    errors = values.Errors()
    return expression.evaluate(expression.parse(text), Scope(RECORD), errors), errors


class Expressions(unittest.TestCase):
    def check(self, text, printed):
        value, _ = evaluate(text)
        self.assertEqual("null" if value is None else values.printed(value).decode(), printed, text)

    def test_results(self):
        for text, printed in (
            ("1 + 2 * 3", "7"), ("(1 + 2) * 3", "9"), ("-a + 1", "-2"), ("a - -1", "4"), ("7 % 4 * 2", "6"),
            ("n ?? a + 1", "4"), ("a == 3 and not b > 3", "true"), ("n and false", "false"), ("n or true", "true"),
            ("n and true", "null"), ("n == null", "true"), ("a != null", "true"), ("n == a", "null"),
            ("a in [1, 2, 3]", "true"), ("a in [1, null]", "null"), ("a in [null, 3]", "true"),
            ("geo.country", "de"), ("items[1].price", "2"), ("items[5].price", "null"), ("geo", "null"),
            ("if n then 1 else 2", "2"),
            ("if yes then 'y' else 'n'", "y"), ("'it\\'s \\u00e9'", "it's é"), ("upper(t)", "GRüN"),
            ("length(t)", "4"), ("substring(t, 1, 2)", "rü"), ("concat(t, n)", "null"), ("concat(a, '-', b)", "3-2.5"),
            ("split(list, ',')[1]", "y"), ("split(list, ',')[2]", "null"), ("round(2.5)", "3"), ("round(-2.5)", "-3"),
            ("round(2.345, 2)", "2.35"), ("int(2.7)", "2"), ("int('12')", "12"), ("int('x')", "null"),
            ("decimal('1.10')", "1.1"), ("float(a) / 2", "1.5"), ("min(a, b)", "2.5"), ("max(a, b, 10)", "10"),
            ("a < b", "false"), ("e == 1000", "true"), ("e + a", "1003"), ("t matches '^G'", "true"),
            ("kafka.offset + 1", "8"), ("kafka.header('x')", "h:x"), ("coalesce(n, t)", "Grün"), ("a + t", "null"),
            ("abs(-a)", "3"), ("floor(-b)", "-3"), ("ceil(b)", "3"), ("time('1970-01-01T00:00:01Z')", "1000"),
            ("starts_with(t, 'Gr') and ends_with(list, 'y') and contains(list, ',')", "true"), ("1 / 0", "null"),
            ("replace(list, ',', '')", "xy"), ("trim('  x ')", "x"), ("text(b)", "2.5"), ("bool('true')", "true"),
        ):
            self.check(text, printed)

    def test_what_is_counted(self):
        self.assertEqual(evaluate("a + t")[1].wrong_type, 1)
        self.assertEqual(evaluate("9223372036854775807 + a")[1].overflow, 1)
        self.assertEqual(evaluate("n + 1")[1], values.Errors())

    def test_refused(self):
        for text in ("a < b < 3", "1 +", "a ==", "(a", "if a then b", "a b"):
            with self.assertRaises(expression.Invalid, msg=text):
                expression.parse(text)

    def test_reductions_are_told_apart_by_arity(self):
        node = expression.parse("sum(a) / count() + min(min(a, b))", over_results=True)
        self.assertEqual([found[1] for found in expression.reductions(node)], ["sum", "count", "min"])
        node = expression.parse("count() where a > 1 and b < 3", over_results=True)
        self.assertEqual(node[0], "reduce")


class Decoding(unittest.TestCase):
    def reason(self, value, max_bytes=2**20):
        with self.assertRaises(decode.Undecodable, msg=value):
            decode.decode(value, max_bytes, 64)

    def test_what_is_undecodable(self):
        for value in (b"", b"{", b'{"a":1} x', b"\xef\xbb\xbf{}", b"[1]", b"1", b'{"a":"\xff"}', b'{"a":NaN}',
                      b'{"a":01}', b'{"a":"\x01"}', b"{'a':1}", b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"):
            self.reason(value)
        self.reason(b'{"a":"%s"}' % (b"x" * 20), max_bytes=20)

    def test_what_is_not(self):
        decode.decode(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}", 2**20, 64)
        self.assertEqual(decode.decode(b' {"a":1,"a":2} ', 99, 64), {"a": "2"})
        self.assertEqual(decode.decode(b'{"a":"}{[\\""}', 99, 1), {"a": '}{["'})


if __name__ == "__main__":
    unittest.main()
