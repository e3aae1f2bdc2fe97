"""Paths to properties of an event. Spec: appendices/#dot-separated-property-paths"""

import re
from typing import Final

from homeserver.protocol.json_types import JsonValue

# What a path is made of: an escaped dot or backslash, a separating dot, anything else. A lone
# backslash before another character stands for itself.
_PIECE: Final = re.compile(r"\\([.\\])|(\.)|([^.\\]+|\\)")


def split_property_path(path: str) -> tuple[str, ...]:
    r"""Split `content.m\.relates_to.rel_type` into the names of the nested properties."""
    names = [""]
    for escaped, separator, literal in _PIECE.findall(path):
        if separator:
            names.append("")
        else:
            names[-1] += escaped or literal
    return tuple(names)


class Absent:
    """The type of `ABSENT`."""


ABSENT: Final = Absent()  # `null` is a value of its own


def property_at(value: JsonValue, names: tuple[str, ...]) -> JsonValue | Absent:
    """Follow a path down a decoded object. `ABSENT` when it leads nowhere."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return ABSENT
        value = value[name]
    return value
