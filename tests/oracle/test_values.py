#!/usr/bin/python3
"""Numbers, texts, times and their printed forms."""

import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from oracle import checksum, values  # noqa: E402
from oracle.values import Dec, Errors, SCALE  # noqa: E402


def read(text):
    errors = Errors()
    return values.json_number(text, errors), errors.overflow


class Reading(unittest.TestCase):
    def test_types_follow_the_spelling(self):
        self.assertEqual(read("42"), (42, 0))
        self.assertEqual(read("-0"), (0, 0))
        self.assertEqual(read("1.50"), (Dec(SCALE * 3 // 2), 0))
        self.assertEqual(read("-0.5"), (Dec(-SCALE // 2), 0))
        self.assertIsInstance(read("1e2")[0], float)
        self.assertIsInstance(read("0." + "1" * 19)[0], float)

    def test_bounds(self):
        self.assertEqual(read("9223372036854775807"), (2**63 - 1, 0))
        self.assertEqual(read("9223372036854775808"), (None, 1))
        self.assertEqual(read("-9223372036854775808"), (-(2**63), 0))
        self.assertEqual(read("9" * 20 + "." + "9" * 18), (Dec(10**38 - 1), 0))
        self.assertEqual(read("1" + "0" * 20 + ".5"), (None, 1))
        self.assertEqual(read("1e400"), (None, 1))

    def test_texts_of_people(self):
        self.assertEqual(values.text_number(b"+007", Errors()), 7)
        self.assertEqual(values.text_number(b"1714521600000", Errors()), 1714521600000)
        for text in (b"", b" 1", b"1 ", b"0x10", b"nan", b".5", b"\xff"):
            self.assertIsNone(values.text_number(text, Errors()), text)

    def test_times(self):
        for text, ms in (
            (b"1970-01-01T00:00:00Z", 0),
            (b"1970-01-01 00:00:01.9999", 1999),
            (b"2024-02-29T12:00:00.123+02:00", 1709200800123),
            (b"1969-12-31t23:59:59.999z", -1),
            (b"0001-01-01T00:00:00Z", values.TIME_MIN),
        ):
            self.assertEqual(values.rfc3339(text), ms, text)
        for text in (b"2023-02-29T00:00:00Z", b"2024-01-01", b"2024-01-01T24:00:00Z", b"0000-01-01T00:00:00Z"):
            self.assertIsNone(values.rfc3339(text), text)


class Printing(unittest.TestCase):
    def test_floats_as_ecmascript(self):
        for x, text in (
            (0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.1, "0.1"), (-1.5, "-1.5"), (1e20, "1" + "0" * 20),
            (1e21, "1e+21"), (1.25e22, "1.25e+22"), (1e-6, "0.000001"), (1e-7, "1e-7"),
            (1.5e-9, "1.5e-9"), (5e-324, "5e-324"), (123456789.125, "123456789.125"),
            (1.7976931348623157e308, "1.7976931348623157e+308"), (2.0**53, "9007199254740992"),
        ):
            self.assertEqual(values.print_float(x), text)

    def test_decimals_have_no_trailing_zeros(self):
        for text, shown in (("1.50", "1.5"), ("2.0", "2"), ("-0.0", "0"), ("-0.010", "-0.01")):
            self.assertEqual(values.printed(read(text)[0]).decode(), shown)

    def test_times(self):
        self.assertEqual(values.print_rfc3339(0), "1970-01-01T00:00:00Z")
        self.assertEqual(values.print_rfc3339(1709200800123), "2024-02-29T10:00:00.123Z")
        self.assertEqual(values.print_rfc3339(-1), "1969-12-31T23:59:59.999Z")
        for ms in (values.TIME_MIN, values.TIME_MAX, 951782400000):
            self.assertEqual(values.rfc3339(values.print_rfc3339(ms).encode()), ms)


class Arithmetic(unittest.TestCase):
    def compute(self, operator, a, b):
        errors = Errors()
        a, b = (values.json_number(x, Errors()) if isinstance(x, str) else x for x in (a, b))
        return values.printed(values.arithmetic(operator, a, b, errors)).decode(), errors

    def test_exact_until_it_overflows(self):
        self.assertEqual(self.compute("*", "9.90", "3")[0], "29.7")
        self.assertEqual(self.compute("+", "0.1", "0.2")[0], "0.3")
        self.assertEqual(self.compute("+", "9223372036854775807", "1"), ("", Errors(overflow=1)))
        self.assertEqual(self.compute("*", "10000000000.5", "10000000000.0"), ("", Errors(overflow=1)))

    def test_a_decimal_of_too_many_places_is_a_float(self):
        result = values.arithmetic("*", Dec(1), Dec(SCALE // 2), Errors())
        self.assertEqual(result, 5e-19)

    def test_division_is_exact_and_rounded_once(self):
        self.assertEqual(self.compute("/", "0.1", "0.3")[0], "0.3333333333333333")
        self.assertEqual(self.compute("/", "4", "2")[0], "2")
        self.assertEqual(self.compute("/", "1", "0"), ("", Errors(nan=1)))

    def test_the_remainder_has_the_dividends_sign(self):
        self.assertEqual(self.compute("%", "-7", "3")[0], "-1")
        self.assertEqual(self.compute("%", "7", "-3")[0], "1")
        self.assertEqual(self.compute("%", "7.0", "3"), ("", Errors(wrong_type=1)))

    def test_order_is_by_exact_value(self):
        self.assertEqual(values.order(2**53 + 1, float(2**53), Errors()), 1)
        self.assertEqual(values.order(Dec(SCALE // 10), 0.1, Errors()), -1)
        self.assertEqual(values.order(b"a", b"b", Errors()), -1)
        self.assertIsNone(values.order(b"1", 1, Errors()))

    def test_the_hash_is_xxh3(self):
        self.assertEqual(checksum.xxh3(b""), 0x2D06800538D394C2)


if __name__ == "__main__":
    unittest.main()
