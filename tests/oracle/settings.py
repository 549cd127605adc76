"""The configuration file as the oracle needs it, without judging it: a file that the program accepts."""

import dataclasses
import re
import tomllib

from . import expression, template

_UNITS = {"ms": 1, "s": 1000, "m": 60000, "h": 3600000, "d": 86400000}
_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def duration(text):
    """Milliseconds."""
    parts = re.findall(r"([0-9]+)(ms|s|m|h|d)", text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError(f"no duration: {text!r}")
    return sum(int(count) * _UNITS[unit] for count, unit in parts)


def size(value):
    if isinstance(value, int):
        return value
    count, unit = re.fullmatch(r"([0-9]+)([A-Za-z]+)", value).groups()
    return int(count) * _SIZES[unit]



@dataclasses.dataclass
class Step:
    filter: tuple | None
    assign: list  # of (path, expression)


@dataclasses.dataclass
class Reduction:
    id: str
    filter: tuple | None
    key: list  # of (name, expression)
    size: int
    offset: int
    event_time: bool
    lateness: int
    values: list  # of (name, expression over results)
    commands: list  # of template.Command
    ttl: int | None
    ttl_from_window: bool
    keep_null_key: bool
    suppress_incomplete: bool

    def window(self, time):
        """[start, end) of the window that holds `time`."""
        start = (time - self.offset) // self.size * self.size + self.offset
        return start, start + self.size


@dataclasses.dataclass
class Pipeline:
    name: str
    topics: list
    timestamp: tuple | None  # None: Kafka's
    timestamp_unit: str
    out_of_order: int
    max_future_skew: int | None
    on_error: str
    on_null: str
    max_bytes: int
    max_depth: int
    steps: list
    reductions: list


def _path(text):
    node = expression.parse(text)
    if node[0] != "path":
        raise ValueError(f"no path: {text!r}")
    return node[1:]


def _key(part):
    if isinstance(part, str):
        return (part, ("path", part))
    [(name, text)] = part.items()
    return (name, expression.parse(text))


def _reduction(pipeline, identity, table):
    keys = [_key(part) for part in table["key"]]
    value_list = [
        (name, expression.parse(text, over_results=True)) for name, text in table["values"].items()
    ]
    key_names = [name for name, _ in keys]
    value_names = [name for name, _ in value_list]
    write = table.get("write")
    if write is None:
        commands = [template.default(key_names, value_names)]
    else:
        commands = [template.parse(text) for text in ([write] if isinstance(write, str) else write)]
    window = table["window"]
    if set(window) - {"tumbling", "offset"}:
        raise ValueError(f"not a tumbling window: {window}")
    return Reduction(
        id=identity,
        filter=expression.parse(table["filter"]) if "filter" in table else None,
        key=keys,
        size=duration(window["tumbling"]),
        offset=duration(window.get("offset", "0s")),
        event_time=table.get("time", "event") == "event",
        lateness=duration(table.get("allowed_lateness", "0s")),
        values=value_list,
        commands=commands,
        ttl=None if table["ttl"] == "none" else duration(table["ttl"]),
        ttl_from_window=table.get("ttl_from", "write") == "window",
        keep_null_key=table.get("null_key", "drop") == "keep",
        suppress_incomplete=table.get("suppress_incomplete", False),
    )


def parse(text):
    document = tomllib.loads(text)
    source = document["source"]
    steps = []
    for step in document.get("step", []):
        [(kind, content)] = step.items()
        if kind == "filter":
            steps.append(Step(expression.parse(content), []))
        elif kind == "set":
            assign = [(_path(path), expression.parse(value)) for path, value in content.items()]
            steps.append(Step(None, assign))
        else:
            raise ValueError(f"no such step: {kind}")
    timestamp = source.get("timestamp", "kafka")
    skew = source.get("max_future_skew", "5m")
    return Pipeline(
        name=document["name"],
        topics=source.get("topics") or [source["topic"]],
        timestamp=None if timestamp == "kafka" else expression.parse(timestamp),
        timestamp_unit=source.get("timestamp_unit", "ms"),
        out_of_order=duration(source.get("out_of_order", "5s")),
        max_future_skew=None if skew == "none" else duration(skew),
        on_error=source.get("on_error", "dead_letter"),
        on_null=source.get("on_null", "drop"),
        max_bytes=size(source.get("max_bytes", "1MiB")),
        max_depth=source.get("max_depth", 64),
        steps=steps,
        reductions=[
            _reduction(document["name"], identity, table)
            for identity, table in document["reduce"].items()
        ],
    )


def load(path):
    with open(path, encoding="utf-8") as file:
        return parse(file.read())
