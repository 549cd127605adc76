"""Values and their arithmetic.

A value is None (null), bool, int, Dec, float, bytes (text), list or dict (JSON arrays and objects).
Integers have 64 bits; a Dec has 20 digits before the point and 18 after it. Whatever cannot be computed
is None, and the reason is counted in an Errors.
"""

import calendar
import dataclasses
import math
import re
from fractions import Fraction

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
SCALE = 10**18
DECIMAL_BOUND = 10**38  # of the unscaled number, exclusive
TIME_MIN, TIME_MAX = -62135596800000, 253402300799999  # the years 0001 to 9999, in ms


@dataclasses.dataclass
class Errors:
    wrong_type: int = 0
    overflow: int = 0
    nan: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Dec:
    """A decimal: `unscaled` / 10**18."""

    unscaled: int

    def fraction(self):
        return Fraction(self.unscaled, SCALE)


def is_number(x):
    return isinstance(x, (int, Dec, float)) and not isinstance(x, bool)


def exact(x):
    """A number as a fraction."""
    return x.fraction() if isinstance(x, Dec) else Fraction(x)


def to_float(x, errors):
    """The nearest double; beyond it null, counted."""
    try:
        result = float(exact(x))
    except OverflowError:
        result = math.inf
    if math.isinf(result):
        errors.overflow += 1
        return None
    return result


def integer(x, errors):
    if INT_MIN <= x <= INT_MAX:
        return x
    errors.overflow += 1
    return None


def decimal(fraction, errors):
    """An exact result as a decimal: a float if it has too many places, overflow if it is too large."""
    unscaled = fraction * SCALE
    if unscaled.denominator != 1:
        return to_float(fraction, errors)
    if abs(unscaled.numerator) >= DECIMAL_BOUND:
        errors.overflow += 1
        return None
    return Dec(unscaled.numerator)


# ---- Reading

_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")


def json_number(text, errors):
    """`text` is a number by JSON's grammar."""
    sign, whole, places, exponent = _NUMBER.match(text).groups()
    if places is None and exponent is None:
        return integer(int(text), errors)
    if exponent is not None or len(places) - 1 > 18:
        result = float(text)
        if math.isinf(result):
            errors.overflow += 1
            return None
        return result
    if len(whole) > 20:
        errors.overflow += 1
        return None
    unscaled = int(whole + places[1:].ljust(18, "0"))
    return Dec(-unscaled if sign else unscaled)


def text_number(text, errors):
    """A number in a text that people write: also a plus sign and leading zeros. None: no number."""
    try:
        text = text.decode("ascii")
    except UnicodeDecodeError:
        return None
    match = re.fullmatch(r"([+-]?)0*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)", text)
    if not match:
        return None
    return json_number(("-" if match[1] == "-" else "") + match[2], errors)


_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?\Z"
)


def rfc3339(text):
    """Milliseconds since the epoch, floored, or None."""
    try:
        match = _RFC3339.match(text.decode("ascii"))
    except UnicodeDecodeError:
        return None
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if not (1 <= month <= 12 and hour <= 23 and minute <= 59 and second <= 60 and year >= 1):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    milliseconds = int((match[7] or "0").ljust(3, "0")[:3])
    offset = 0
    if match[9]:
        if int(match[10]) > 23 or int(match[11]) > 59:
            return None
        offset = (int(match[10]) * 60 + int(match[11])) * 60 * (-1 if match[9] == "-" else 1)
    result = (seconds - offset) * 1000 + milliseconds
    return result if TIME_MIN <= result <= TIME_MAX else None


def print_rfc3339(ms):
    days, rest = divmod(ms, 86400000)
    # The civil calendar from day numbers, which datetime cannot do before the year 1.
    days += 719468
    era, of_era = divmod(days, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    seconds, milliseconds = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    fraction = f".{milliseconds:03d}" if milliseconds else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{fraction}Z"


# ---- Printing


def print_float(x):
    """As ECMAScript's Number::toString."""
    if x == 0:
        return "0"
    mantissa, _, exponent = f"{float(x)!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, places = mantissa.lstrip("-").partition(".")
    places = "" if places == "0" else places
    digits = (whole + places).lstrip("0")
    # The value is 0.DIGITS * 10**point.
    point = len(whole) + int(exponent or 0) - (len(whole + places) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    shown = digits if count == 1 else digits[0] + "." + digits[1:]
    return f"{sign}{shown}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def print_decimal(unscaled):
    whole, places = divmod(abs(unscaled), SCALE)
    text = str(whole)
    if places:
        text += "." + f"{places:018d}".rstrip("0")
    return ("-" if unscaled < 0 else "") + text


def digits(unscaled):
    """How many digits a decimal is printed with; a zero before the point is none."""
    text = print_decimal(abs(unscaled))
    return len(text.removeprefix("0.").replace(".", ""))


def printed(x):
    """A scalar as bytes."""
    if x is None:
        return b""
    if isinstance(x, bool):
        return b"true" if x else b"false"
    if isinstance(x, int):
        return str(x).encode()
    if isinstance(x, Dec):
        return print_decimal(x.unscaled).encode()
    if isinstance(x, float):
        return print_float(x).encode()
    return x


# ---- Arithmetic and comparison


def arithmetic(operator, a, b, errors):
    if a is None or b is None:
        return None
    if not is_number(a) or not is_number(b):
        errors.wrong_type += 1
        return None
    if operator == "%":
        if isinstance(a, int) and isinstance(b, int):
            if b == 0:
                errors.nan += 1
                return None
            return int(math.copysign(1, a)) * (abs(a) % abs(b))
        errors.wrong_type += 1
        return None
    if operator == "/":
        if exact(b) == 0:
            errors.nan += 1
            return None
        if isinstance(a, float) or isinstance(b, float):
            return _float_operation(operator, a, b, errors)
        return to_float(exact(a) / exact(b), errors)
    if isinstance(a, float) or isinstance(b, float):
        return _float_operation(operator, a, b, errors)
    x, y = exact(a), exact(b)
    result = x + y if operator == "+" else x - y if operator == "-" else x * y
    if isinstance(a, int) and isinstance(b, int):
        return integer(int(result), errors)
    return decimal(result, errors)


def _float_operation(operator, a, b, errors):
    a, b = float(exact(a)), float(exact(b))
    try:
        result = a + b if operator == "+" else a - b if operator == "-" else a * b if operator == "*" else a / b
    except OverflowError:
        result = math.inf
    if math.isinf(result) or math.isnan(result):
        errors.overflow += 1
        return None
    return result


def kind(x):
    """Values of one kind can be compared."""
    if isinstance(x, bool):
        return "boolean"
    if is_number(x):
        return "number"
    if isinstance(x, bytes):
        return "text"
    return "other"


def order(a, b, errors):
    """-1, 0, 1, or None: one is null, or they cannot be compared."""
    if a is None or b is None:
        return None
    if kind(a) != kind(b) or kind(a) == "other":
        errors.wrong_type += 1
        return None
    if kind(a) == "number":
        a, b = exact(a), exact(b)
    return (a > b) - (a < b)


def round_half_away(x, places):
    """A fraction rounded at `places` after the point."""
    shifted = x * Fraction(10) ** places
    magnitude = math.floor(abs(shifted) + Fraction(1, 2))
    return (magnitude if shifted >= 0 else -magnitude) / Fraction(10) ** places
