"""The `event_fields` of a filter: which properties of an event a client wants.

Spec: client-server-api/#post_matrixclientv3useruseridfilter
"""

from collections.abc import Iterable
from typing import Final, Self

import msgspec

from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.property_path import split_property_path

# No event is of any use below this. It bounds the recursion of `select`.
MAX_PATH_LENGTH: Final = 64
# Names at one level of an event: None takes the whole property, a mapping a part of it.
_Tree = dict[str, "_Tree | None"]
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(JsonObject).decode


class EventFields:
    """A compiled, non-empty list of paths."""

    __slots__ = ("_tree",)

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree

    @classmethod
    def of(cls, paths: Iterable[str]) -> Self:
        """Compile paths such as `content.body`.

        A longer path adds nothing to a shorter one. Raises InvalidJson: one is too deep.
        """
        tree: _Tree = {}
        for path in paths:
            _insert(tree, split_property_path(path))
        return cls(tree)

    def select(self, event: JsonObject) -> JsonObject:
        """Return the wanted part of an event. The event is left alone."""
        return _select(event, self._tree)

    def select_json(self, event: bytes) -> bytes:
        """Return the wanted part of an event, JSON to JSON."""
        return _encode(_select(_decode(event), self._tree))


def _insert(tree: _Tree, names: tuple[str, ...]) -> None:
    if len(names) > MAX_PATH_LENGTH:
        raise InvalidJson(f"a path of event_fields has more than {MAX_PATH_LENGTH} parts")
    for name in names[:-1]:
        branch = tree.setdefault(name, {})
        if branch is None:
            return
        tree = branch
    tree[names[-1]] = None


def _select(value: JsonObject, tree: _Tree) -> JsonObject:
    chosen: JsonObject = {}
    for name, member in value.items():
        if name not in tree:
            continue
        branch = tree[name]
        if branch is None:
            chosen[name] = member
        elif isinstance(member, dict):
            part = _select(member, branch)
            if part:
                chosen[name] = part
    return chosen
