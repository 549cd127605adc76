"""`write` templates: words are split first, then places are filled in."""

import dataclasses

from . import values

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_SEPARATORS = frozenset(b":%")


def percent_encoded(data, encode):
    return b"".join(b"%%%02X" % byte if encode(byte) else bytes([byte]) for byte in data)


@dataclasses.dataclass
class Command:
    words: list  # of lists of pieces: bytes, or (name, format)

    def render(self, fill):
        """`fill(name)` gives a place's printed bytes or, of window bounds, its milliseconds."""
        return [b"".join(self._piece(piece, fill) for piece in word) for word in self.words]

    @staticmethod
    def _piece(piece, fill):
        if isinstance(piece, bytes):
            return piece
        name, form = piece
        filled = fill(name)
        if isinstance(filled, int):
            if form == "rfc3339":
                return values.print_rfc3339(filled).encode()
            return str(filled // 1000 if form == "s" else filled).encode()
        if form == "enc":
            return percent_encoded(filled, lambda byte: byte not in _UNRESERVED)
        if form == "separators":
            return percent_encoded(filled, lambda byte: byte in _SEPARATORS)
        return filled


def parse(text):
    words, word, literal = [], None, b""

    def flush():
        nonlocal literal
        if literal:
            word.append(literal)
            literal = b""

    at, quoted = 0, False
    while at < len(text):
        c = text[at]
        if not quoted and c in " \t\n\r":
            if word is not None:
                flush()
                words.append(word)
                word = None
            at += 1
            continue
        if word is None:
            word = []
        if c == "'":
            if quoted and text[at : at + 2] == "''":
                literal += b"'"
                at += 2
                continue
            quoted = not quoted
            at += 1
        elif text[at : at + 2] in ("{{", "}}"):
            literal += c.encode()
            at += 2
        elif c == "{":
            close = text.index("}", at)
            flush()
            name, _, form = text[at + 1 : close].partition(":")
            word.append((name, form))
            at = close + 1
        else:
            literal += c.encode()
            at += 1
    if word is not None:
        flush()
        words.append(word)
    return Command(words)


def default(key_names, value_names):
    key = [("pipeline", ""), b":", ("reduce", ""), b":"]
    for name in key_names:
        key += [(name, "separators" if len(key_names) > 1 else ""), b":"]
    words = [[b"HSET"], [*key, ("window.start", "")]]
    for name in [*value_names, "final", "complete", "rev"]:
        words += [[name.encode()], [(name, "")]]
    return Command(words)
