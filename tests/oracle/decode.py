"""From the bytes of a record to a JSON object, or the reason why not."""

import json

from . import values


class Undecodable(Exception):
    """The reason."""


class _Number(str):
    """A number's text; it becomes a value where an expression asks for it, and only there."""


def _refuse_constant(name):
    raise Undecodable(f"{name} is no JSON")


def depth(text):
    """How deep objects and arrays are nested; the outermost is 1."""
    deepest = level = 0
    inside = escaped = False
    for c in text:
        if inside:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                inside = False
        elif c == '"':
            inside = True
        elif c in "[{":
            level += 1
            deepest = max(deepest, level)
        elif c in "]}":
            level -= 1
    return deepest


def decode(value, max_bytes, max_depth):
    """The top-level object. Of duplicate members the last wins, as dict() does it."""
    if len(value) > max_bytes:
        raise Undecodable("too long")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Undecodable("invalid UTF-8") from None
    if depth(text) > max_depth:
        raise Undecodable("too deep")
    try:
        document = json.loads(
            text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )
    except ValueError as error:
        raise Undecodable(str(error)) from None
    if not isinstance(document, dict):
        raise Undecodable("no object")
    return document


def scalar(member, errors):
    """A member as a value; lists and objects stay what they are."""
    if isinstance(member, _Number):
        return values.json_number(member, errors)
    if isinstance(member, str):
        return member.encode("utf-8", "surrogatepass")
    return member


def look_up(document, path):
    """The member at a path of names and indexes; None: missing, or null."""
    found = document
    for step in path:
        if isinstance(step, int):
            if not isinstance(found, list) or step >= len(found):
                return None
            found = found[step]
        else:
            if not isinstance(found, dict):
                return None
            found = found.get(step)
    return found


def assign(document, path, value):
    """Sets a member, making objects on the way. `document` is changed."""
    for step in path[:-1]:
        child = document.get(step)
        if not isinstance(child, dict):
            child = document[step] = {}
        document = child
    document[path[-1]] = value
