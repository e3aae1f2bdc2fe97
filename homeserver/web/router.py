"""Which endpoint answers a path: a trie of path segments.

Static segments win over braces, and braces take any one segment, an empty one too (an
empty `state_key` is a state key). aiohttp's own router tries the routes of a prefix one
after the other; a look-up here takes the same few steps however many routes there are.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Generic, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec

from homeserver.errors import InvalidParam
from homeserver.web.endpoint import Endpoint
from homeserver.web.paths import names_in

# What the caller wants to find.
_Target = TypeVar("_Target")


class _Template(msgspec.Struct, frozen=True):
    """A path template, taken apart."""

    segments: tuple[str, ...]
    # The names in braces, and which segments of the path stand for them.
    names: tuple[str, ...]
    places: tuple[int, ...]


@cache
def _parsed(template: str) -> _Template:
    # Templates are constants of the code; each listener has a router.
    segments = tuple(template.split("/"))
    places = tuple(place for place, segment in enumerate(segments) if segment[:1] == "{")
    return _Template(segments, names_in(template), places)


class Route(msgspec.Struct, Generic[_Target], frozen=True):
    """An endpoint under one of its paths."""

    endpoint: Endpoint
    target: _Target
    # The names in braces, and which segments of the path stand for them.
    names: tuple[str, ...]
    places: tuple[int, ...]


class Match(msgspec.Struct, Generic[_Target], frozen=True):
    """A path that was found."""

    route: Route[_Target]
    # Of the request line, escapes and all.
    segments: list[str]

    @property
    def target(self) -> _Target:
        """What answers the path."""
        return self.route.target

    def values(self) -> dict[str, str]:
        """Return the decoded segments by name. Raises InvalidParam: they are not UTF-8."""
        values = {}
        for name, place in zip(self.route.names, self.route.places, strict=True):
            values[name] = segment = self.segments[place]
            if "%" in segment or not segment.isascii():
                try:
                    values[name] = _unescaped(segment)
                except UnicodeError as error:
                    raise InvalidParam(f"{name} is not UTF-8") from error
        return values


class WrongMethod(msgspec.Struct, frozen=True):
    """The path exists; these are its methods."""

    allowed: tuple[str, ...]


class _Node(msgspec.Struct, Generic[_Target]):
    static: dict[str, "_Node[_Target]"] = {}
    parameter: "_Node[_Target] | None" = None
    # By method, where a path may end.
    routes: dict[str, Route[_Target]] = {}


# A route, or the methods of the paths that fit otherwise.
_Found: TypeAlias = Route[_Target] | frozenset[str]
_NOTHING: Final[frozenset[str]] = frozenset()


def _unescaped(text: str) -> str:
    """Resolve percent-escapes. Raises UnicodeError: the result is not UTF-8."""
    text = unquote(text, errors="strict")
    # Bytes of the request line that are not UTF-8 stand as lone surrogates.
    text.encode()
    return text


class Router(Generic[_Target]):
    """Finds endpoints. Raises ValueError when two of them claim one method and path."""

    def __init__(self, endpoints: Iterable[tuple[Endpoint, _Target]]) -> None:
        self._root: Final[_Node[_Target]] = _Node()
        for endpoint, target in endpoints:
            for template in endpoint.path.all:
                self._add(endpoint, target, template)

    def match(self, method: str, path: str) -> Match[_Target] | WrongMethod | None:
        """Look up a path as it stands in the request line, without its query string.

        HEAD is answered like GET.
        """
        segments = path.split("/")
        found = _find(self._root, segments, 1, "GET" if method == "HEAD" else method)
        if isinstance(found, Route):
            return Match(found, segments)
        return WrongMethod(_listed(found)) if found else None

    def _add(self, endpoint: Endpoint, target: _Target, template: str) -> None:
        parsed = _parsed(template)
        node = self._root
        for segment in parsed.segments[1:]:
            node = _child_for(node, segment)
        method = endpoint.method
        if method in node.routes:
            other = node.routes[method].endpoint.operation
            raise ValueError(f"{method} {template}: {endpoint.operation} and {other}")
        node.routes[method] = Route(endpoint, target, parsed.names, parsed.places)


def _child_for(node: _Node[_Target], segment: str) -> _Node[_Target]:
    if segment[:1] == "{":
        node.parameter = node.parameter or _Node()
        return node.parameter
    return node.static.setdefault(segment, _Node())


def _find(
    node: _Node[_Target], segments: Sequence[str], index: int, method: str
) -> _Found[_Target]:
    for place in range(index, len(segments)):
        static, parameter = node.static.get(segments[place]), node.parameter
        if static is not None and parameter is not None:
            found = _find(static, segments, place + 1, method)
            if isinstance(found, Route):
                return found
            other = _find(parameter, segments, place + 1, method)
            return other if isinstance(other, Route) else found | other
        if static is not None:
            node = static
        elif parameter is not None:
            node = parameter
        else:
            return _NOTHING
    return node.routes.get(method) or frozenset(node.routes)


def _listed(methods: frozenset[str]) -> tuple[str, ...]:
    also = {"HEAD", "OPTIONS"} if "GET" in methods else {"OPTIONS"}
    return tuple(sorted(methods | also))
