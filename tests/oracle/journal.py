"""The journal, read by docs/FORMAT.md, section "Journal".

The program keeps it only as far back as its oldest checkpoint needs, the oracle needs all of it: a
Collection gathers the entries of every reading, checks that none is missing in between, and that none
ever changes.
"""

import dataclasses
import pathlib
import struct

from .checksum import xxh3

CUT, TICK, CAP, IDLE, RELOAD = 1, 2, 3, 4, 6
KINDS = {"cuts": CUT, "ticks": TICK, "caps": CAP, "idle": IDLE, "reloads": RELOAD}
_HEADER = 64
_FRAME_MAGIC = 0x464A4C53


class Damaged(Exception):
    """What is wrong, with file and position."""


@dataclasses.dataclass(frozen=True)
class Entry:
    number: int
    previous: int  # the number of the journaled entry before it
    kind: int
    time: int
    clock: int
    idle: tuple  # of (topic, partition)
    next_offsets: tuple  # of ((topic, partition), offset)
    reload: str = ""  # what takes over

    def offset(self, partition):
        return dict(self.next_offsets).get(partition, 0)


def read_segment(data, name="journal"):
    """(lineage, entries) of one segment; a torn end is left out."""
    if len(data) < _HEADER:
        raise Damaged(f"{name}: shorter than its header")
    magic, version, header, lineage, _, previous, _, checksum = struct.unpack_from("<8sII16sQQQQ", data)
    if magic != b"SluiceJn" or version != 1 or header != _HEADER or checksum != xxh3(data[:56]):
        raise Damaged(f"{name}: the header is damaged")
    entries, at = [], _HEADER
    while True:
        body = _frame(data, at)
        if body is None:
            return lineage.hex(), entries
        entries += _entries(body, previous, f"{name}, byte {at}")
        previous = entries[-1].number
        at += 16 + len(body)


def _frame(data, at):
    if len(data) - at < 16:
        return None
    checksum, magic, length = struct.unpack_from("<QII", data, at)
    if magic != _FRAME_MAGIC or len(data) - at - 16 < length:
        return None
    if xxh3(data[at + 8 : at + 16 + length], at) != checksum:
        return None
    return data[at + 16 : at + 16 + length]


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found[0] if len(found) == 1 else found

    def bytes(self, length):
        self.at += length
        return self.data[self.at - length : self.at]


def _entries(body, expected_previous, where):
    reader = _Reader(body)
    previous = reader.take("Q")
    if previous != expected_previous:
        raise Damaged(f"{where}: follows number {previous}, but {expected_previous} is before it")
    topics = [reader.bytes(reader.take("H")).decode() for _ in range(reader.take("H"))]

    def partition():
        topic, number = reader.take("Hi")
        return topics[topic], number

    entries = []
    for _ in range(reader.take("I")):
        number, kind, time, clock = reader.take("QBqq")
        idle = tuple(partition() for _ in range(reader.take("I")))
        offsets = tuple((partition(), reader.take("q")) for _ in range(reader.take("I")))
        text = reader.bytes(reader.take("I")).decode() if kind == RELOAD else ""
        if number <= previous:
            raise Damaged(f"{where}: number {number} follows {previous}")
        entries.append(Entry(number, previous, kind, time, clock, idle, offsets, text))
        previous = number
    return entries


class Collection:
    """All entries of the newest lineage that any reading of the directory has shown."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.lineages = {}  # by name: {number: Entry}
        self.newest = None

    def read(self):
        """Takes in what is in the directory now. The program may be writing and removing files."""
        newest = (-1, None)
        for path in sorted(self.directory.glob("*.journal")):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            lineage, entries = read_segment(data, path.name)
            newest = max(newest, (struct.unpack_from("<Q", data, 32)[0], lineage))
            known = self.lineages.setdefault(lineage, {})
            for entry in entries:
                if known.setdefault(entry.number, entry) != entry:
                    raise Damaged(f"{path.name}: entry {entry.number} is not what it was")
        if newest[1] is not None:
            self.newest = newest[1]
        return self

    def entries(self):
        """In order, without a gap from the first one of the lineage."""
        found = sorted(self.lineages.get(self.newest, {}).values(), key=lambda entry: entry.number)
        for before, entry in zip(found, found[1:]):
            if entry.previous != before.number:
                raise Damaged(f"the entries between {before.number} and {entry.number} were never seen")
        return found
