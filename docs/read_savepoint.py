#!/usr/bin/python3
"""Dumps a portable savepoint as JSON lines, as `sluice state dump FILE` does. Plain Python, written from
docs/FORMAT.md alone: an example of a reader, and a proof that the page is enough.

    docs/read_savepoint.py FILE > lines.jsonl

Streams compressed with zstd need Python 3.14 or the program `zstd`; `--compression none` needs neither. The
checksums are compared where the module `xxhash` is installed; `sluice savepoint verify FILE` always does.
Results of expressions over several calls (`sum(a) / count()`) are left out: that takes an evaluator.
"""

import base64
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction

try:
    import xxhash
except ImportError:
    xxhash = None

LIMIT = 64 << 20
KINDS = {1: "count", 2: "sum", 3: "min", 4: "max", 5: "mean", 6: "first", 7: "last"}
SCALE = 10**18


class Number(str):
    """A number's digits, to be printed as they are."""


class Damaged(Exception):
    pass


class Bytes:
    """Takes things off the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size < 0 or size > len(self.data) - self.at:
            raise Damaged("something is cut off")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while (byte := self.byte()) >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def signed(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def sized(self):
        return self.take(self.varint())

    def numbers(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def end(self):
        return self.at == len(self.data)


def text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def print_decimal(unscaled):
    whole, places = divmod(abs(unscaled), SCALE)
    return f"{'-' if unscaled < 0 else ''}{whole}.{places:018d}".rstrip("0").rstrip(".")


def print_float(value):
    """As ECMAScript prints numbers: shortest digits, plain from 1e-6 to below 1e21."""
    _, digits, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    point, digits = len(digits) + exponent, "".join(map(str, digits))  # 0.DIGITS * 10**point
    if len(digits) <= point <= 21:
        shown = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        shown = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        shown = "0." + "0" * -point + digits
    else:
        shown = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return ("-" if value < 0 else "") + shown


def rounded(exact):
    try:
        return Number(print_float(float(exact)))  # Python rounds a fraction once, to the nearest
    except OverflowError:
        return None


def total_of(size, data):
    return int.from_bytes(data.take(size), "little", signed=True)


def scalar(kind, data):
    if kind in (1, 2, 5):
        value = bool(data.byte()) if kind == 1 else data.signed() if kind == 2 else text(data.sized())
        return value, value
    if kind == 3:
        digits = Number(print_decimal(total_of(data.byte(), data)))
        return {"decimal": str(digits)}, digits
    if kind != 4:
        raise Damaged(f"a scalar of the unknown type {kind}")
    digits = Number(print_float(data.numbers("d")[0]))
    return {"float": digits}, digits


def float_text(unit):
    """An exact number of units of 2**-1074, as an odd mantissa times a power of two."""
    if unit == 0:
        return "0"
    zeros = (unit & -unit).bit_length() - 1
    return f"{'-' if unit < 0 else ''}0x{abs(unit) >> zeros:x}*2^{zeros - 1074}"


def total(data, mean):
    flags = data.byte()
    exact = total_of(data.byte(), data)
    types = [name for bit, name in enumerate(("integer", "decimal", "float")) if flags >> bit & 1]
    state = {"types": types, "total": print_decimal(exact)}
    floats = 0
    if flags & 4:
        size = data.varint()
        place = data.varint() if size else 0
        floats = total_of(size, data) << (8 * place)
        state["floats"] = float_text(floats)
    if mean:
        state["count"] = data.varint()
    if flags == 0:
        return state, None
    if mean or flags & 4:
        return state, rounded((Fraction(exact, SCALE) + Fraction(floats, 2**1074)) / state.get("count", 1))
    digits = print_decimal(exact)
    fits = len(re.sub("[-.]", "", digits)) <= 38
    return state, Number(digits) if abs(exact) < 10**38 else digits if fits else None


def accumulator(kind, data):
    """Gives (state, result)."""
    name = KINDS[kind]
    if name == "count":
        state = result = data.varint()
    elif name in ("sum", "mean"):
        state, result = total(data, name == "mean")
    elif name in ("min", "max"):
        kind = data.byte()
        state, result = (None, None) if kind == 0 else ({"mixed": True}, None) if kind == 0x7F else scalar(kind, data)
    else:
        state = result = None
        if data.byte():
            state = {"timestamp": data.signed(), "topic": text(data.sized()), "partition": data.signed()}
            state |= {"offset": data.signed(), "element": data.varint()}
            state["value"], result = scalar(data.byte(), data)
    return {name: state}, result


def decompress(data, size):
    try:
        from compression import zstd

        return zstd.decompress(data)
    except ImportError:
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout[: size + 1]


def blocks(stream):
    """Yields (kind, rows, payload) of every block, and checks the whole at its end."""
    rows_seen = count = 0
    while True:
        begin = stream.at
        checksum, kind, codec, _, rows, stored, size = stream.numbers("QBBHIQQ")
        if stored > LIMIT or size > LIMIT:
            raise Damaged(f"the block at byte {begin} is too large")
        payload = stream.take(stored)
        if xxhash and checksum != xxhash.xxh3_64_intdigest(stream.data[begin + 8 : stream.at], seed=begin):
            raise Damaged(f"the block at byte {begin} does not match its checksum")
        if kind == 4:
            whole = xxhash.xxh3_128_digest(stream.data[:begin]) if xxhash else payload[24:]
            if payload != struct.pack("<QQQ", rows_seen, count, len(stream.data)) + whole or not stream.end():
                raise Damaged("the whole does not match its end")
            return
        payload = decompress(payload, size) if codec == 1 else payload
        if len(payload) != size:
            raise Damaged(f"the block at byte {begin} does not decompress")
        rows_seen, count = rows_seen + rows, count + 1
        yield kind, rows, payload


def rows_in_line(data, _):
    """Of a block of version 1: ((reduction, end, accepted_from), key, row) of each."""
    while not data.end():
        *head, count = data.numbers("IqII")
        for _ in range(count):
            yield head, data.sized(), data.sized()


def items(data, sizes):
    """Bytes that were stored by columns, in the order of their sizes."""
    matrices = {}
    for size, count in sorted(Counter(size for size in sizes if size < 1024).items()):
        matrix = data.take(size * count)
        matrices[size] = iter([matrix[i::count] for i in range(count)])
    return [next(matrices[size]) if size in matrices else data.take(size) for size in sizes]


def rows_by_columns(data, rows):  # the same of version 2
    heads = [data.numbers("IqII") for _ in range(*data.numbers("I"))]
    sizes = [[data.varint() for _ in range(rows)] for _ in "kr"]
    slices = (head for *head, count in heads for _ in range(count))
    return zip(slices, items(data, sizes[0]), items(data, sizes[1]))


def calls_of(schema):
    """`v1;count();sum(a)`: the calls of a reduction, in the order of its accumulators."""
    return re.findall(r"(?:[^;']|'(?:[^'\\]|\\.)*')+", schema)[1:]


class Reduction:
    def __init__(self, meta, inputs):
        self.id = meta["id"]
        known = inputs["reductions"][self.id]
        self.window = known["window"]["tumbling_ms"]
        places = {call: place for place, call in enumerate(calls_of(meta["schema"]))}
        self.values = [(name, places[call]) for name, call in known["values"] if call in places]

    def line(self, end, accepted_from, key, row):
        window = {"start": end - self.window, "end": end} | ({"accepted_from": accepted_from} if accepted_from else {})
        parts, data = [], Bytes(key)
        while not data.end():
            parts.append(text(data.sized()))
        data = Bytes(row)
        if data.byte() != 1:
            raise Damaged("a row of an unknown schema")
        line = {"reduction": self.id, "window": window, "key": parts, "rev": data.varint()}
        made = []
        while not data.end():
            made.append(accumulator(data.byte(), data))
        line["state"] = [state for state, _ in made]
        line["result"] = {name: made[place][1] for name, place in self.values}
        return line


def to_json(value):  # compact, ASCII; numbers as they are spelled
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{to_json(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value)


def dump(data, out):
    stream = Bytes(data)
    magic, version, size = stream.numbers("8sII")
    if magic != b"SluiceSp" or version > 2:
        raise Damaged("not a portable savepoint, or written by a newer Sluice")
    stream.take(size - stream.at)
    if xxhash and struct.unpack("<Q", data[size - 8 : size])[0] != xxhash.xxh3_64_intdigest(data[: size - 8]):
        raise Damaged("the header does not match its checksum")
    meta, reductions, rows_of = {}, {}, {1: rows_in_line, 2: rows_by_columns}
    for kind, rows, payload in blocks(stream):
        if kind == 1:
            meta = json.loads(payload)
        elif kind == 2:
            head = {name: value for name, value in meta.items() if name not in ("id", "kind", "provenance")}
            out.write(to_json({"snapshot": head, "inputs": text(payload)}) + "\n")
            inputs = json.loads(payload)
            reductions = {r["number"]: Reduction(r, inputs) for r in meta["reductions"]}
        elif kind == 3:
            for (number, *window), key, row in rows_of[version](Bytes(payload), rows):
                out.write(to_json(reductions[number].line(*window, key, row)) + "\n")


if __name__ == "__main__":
    sys.argv[1:] or sys.exit(__doc__)
    try:
        with open(sys.argv[1], "rb") as file:
            dump(file.read(), sys.stdout)
    except (Damaged, KeyError, OSError, ValueError, struct.error, subprocess.CalledProcessError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
