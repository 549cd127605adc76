"""What Redis holds: the expected content from commands, the actual one by reading it, and the difference."""

import dataclasses
import time


@dataclasses.dataclass
class Item:
    kind: str  # as Redis' TYPE says
    content: object  # dict, bytes, set, or list
    ttl: tuple = ("none",)  # ("within", ms), ("at", unix ms), ("none",)


class Expected(dict):
    """{key: Item}, made by the commands of results in the order in which they leave."""

    def apply(self, command, ttl):
        name, words = command[0].upper().decode(), command[1:]
        if name in ("HSET", "HMSET"):
            content = self._item(words[0], "hash", {}).content
            content.update(zip(words[1::2], words[2::2]))
        elif name == "SET":
            self[words[0]] = Item("string", words[1])
        elif name == "SADD":
            self._item(words[0], "set", set()).content.update(words[1:])
        elif name == "ZADD":
            content = self._item(words[0], "zset", {}).content
            content.update(zip(words[2::2], map(float, words[1::2])))
        elif name in ("INCRBY", "DECRBY"):
            item = self._item(words[0], "string", b"0")
            item.content = b"%d" % (int(item.content) + int(words[1]) * (1 if name == "INCRBY" else -1))
        elif name == "HINCRBY":
            content = self._item(words[0], "hash", {}).content
            content[words[1]] = b"%d" % (int(content.get(words[1], 0)) + int(words[2]))
        elif name in ("RPUSH", "LPUSH"):
            content = self._item(words[0], "list", []).content
            for word in words[1:]:
                content.insert(len(content) if name == "RPUSH" else 0, word)
        elif name == "PUBLISH":
            return
        else:
            raise ValueError(f"the oracle does not know {name}")
        self[words[0]].ttl = ttl

    def _item(self, key, kind, empty):
        item = self.setdefault(key, Item(kind, empty))
        if item.kind != kind:
            raise ValueError(f"{key!r} is a {item.kind}, not a {kind}")
        return item

    def drop_expired(self, now_ms):
        for key in [k for k, item in self.items() if item.ttl[0] == "at" and item.ttl[1] <= now_ms]:
            del self[key]


_READERS = {
    "hash": (("HGETALL",), lambda reply: dict(zip(reply[::2], reply[1::2]))),
    "string": (("GET",), lambda reply: reply),
    "set": (("SMEMBERS",), set),
    "zset": (
        ("ZRANGE", b"0", b"-1", b"WITHSCORES"),
        lambda reply: {m: float(s) for m, s in zip(reply[::2], reply[1::2])},
    ),
    "list": (("LRANGE", b"0", b"-1"), list),
}


def read(client):
    """{key: (kind, content, remaining ms or -1)} of everything in the database. `client.pipeline(commands)`
    gives the replies to a list of commands."""
    keys, cursor = set(), b"0"
    while True:
        cursor, found = client.pipeline([("SCAN", cursor, "COUNT", "1000")])[0]
        keys.update(found)
        if cursor == b"0":
            break
    keys = sorted(keys)
    kinds = [kind.decode() for kind in client.pipeline([("TYPE", key) for key in keys])]
    commands = [(_READERS[kind][0][0], key, *_READERS[kind][0][1:]) for key, kind in zip(keys, kinds)
                if kind in _READERS]
    present = [(key, kind) for key, kind in zip(keys, kinds) if kind in _READERS]
    replies = client.pipeline(commands)
    ttls = client.pipeline([("PTTL", key) for key, _ in present])
    return {
        key: (kind, _READERS[kind][1](reply), ttl)
        for (key, kind), reply, ttl in zip(present, replies, ttls)
        if ttl != -2
    }


def control_key(name):
    return f"sluice:{name}".encode()


def differences(expected, actual, name, now_ms=None):
    """Sentences; empty: the database is what it should be. `actual` is as of read(). The control keys are
    not compared here."""
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    control = {control_key(name), control_key(name) + b":fence"}
    found = []
    for key in sorted(set(expected) | set(actual)):
        if key in control:
            continue
        if key not in actual:
            found.append(f"missing: {key!r} {expected[key].content!r}")
        elif key not in expected:
            found.append(f"surplus: {key!r} {actual[key][1]!r}")
        else:
            kind, content, ttl = actual[key]
            item = expected[key]
            if (kind, content) != (item.kind, item.content):
                found.append(f"different: {key!r} is {content!r}, should be {item.content!r}")
            elif not _ttl_is(item.ttl, ttl, now_ms):
                found.append(f"different: {key!r} lives for {ttl} ms, should be {item.ttl}")
    return found


def _ttl_is(wanted, remaining, now_ms):
    if wanted[0] == "none":
        return remaining == -1
    if wanted[0] == "within":
        return 0 <= remaining <= wanted[1]
    # An instant: the same to the reading's own delay.
    return abs(now_ms + remaining - wanted[1]) < 5000
