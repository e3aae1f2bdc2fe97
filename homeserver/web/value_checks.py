"""Checks that decoding by type cannot make: identifiers are what their type says, no NUL.

A `NewType` of `str` decodes as any string. The annotations of a struct are read once, when
its endpoint is declared, and become closures that visit only the fields worth a visit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, NewType, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import structs
from typing_extensions import get_type_hints

from homeserver.protocol.content_uri import MediaID, parse_media_id
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    DeviceID,
    EventID,
    KeyID,
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    parse_device_id,
    parse_event_id,
    parse_key_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)

# Raises BadValue.
Check: TypeAlias = Callable[[Any], None]
# Gives the check of a string annotation, `str` or a NewType of it; None: nothing to check.
_StringCheck: TypeAlias = Callable[[object], Check | None]

_PARSERS: Final[Mapping[object, Callable[[str], object]]] = {
    UserID: parse_user_id,
    RoomID: parse_room_id,
    EventID: parse_event_id,
    RoomAlias: parse_room_alias,
    ServerName: parse_server_name,
    DeviceID: parse_device_id,
    KeyID: parse_key_id,
    MediaID: parse_media_id,
}


class BadValue(Exception):
    """A value is not acceptable; `path` leads to it, such as `.users[0]`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = ""


def identifier_check(annotation: object) -> Check | None:
    """Compile the check that every identifier inside a value is well-formed."""
    return _Compiler(_check_of_identifier).check_of(annotation)


def nul_check(annotation: object) -> Check | None:
    """Compile the check that no string of a typed field contains NUL.

    PostgreSQL stores no NUL in text. Free JSON objects are not visited: they are kept as
    JSON, where NUL is an escape.
    """
    return _Compiler(lambda _annotation: _refuse_nul).check_of(annotation)


def _check_of_identifier(annotation: object) -> Check | None:
    parse = _PARSERS.get(annotation)
    if parse is None:
        return None

    def check(value: str) -> None:
        try:
            parse(value)
        except InvalidIdentifier as error:
            raise BadValue(str(error)) from error

    return check


def _refuse_nul(value: str) -> None:
    if "\0" in value:
        raise BadValue("NUL is not allowed")


class _Compiler:
    """Turns annotations into checks, with what to do about strings given."""

    def __init__(self, string_check: _StringCheck) -> None:
        self._string_check = string_check
        # Structs whose fields are being read, or were: structs may contain themselves.
        self._structs: dict[type, list[tuple[str, str, Check]]] = {}

    def check_of(self, annotation: object) -> Check | None:
        """Return the check of a value of the annotation; None when there is nothing to check."""
        annotation = _without_metadata(annotation)
        if annotation is str or isinstance(annotation, NewType):
            return self._string_check(annotation) if _kind(annotation) is str else None
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, UnionType):
            return self._check_of_union(arguments)
        kind = _kind(annotation)
        if kind is not None and issubclass(kind, msgspec.Struct):
            return self._check_of_struct(kind)
        if kind is not None and issubclass(kind, Mapping):
            return self._check_of_mapping(arguments)
        if kind is not None and issubclass(kind, Iterable):
            return self._check_of_items(arguments)
        return None

    def _check_of_union(self, members: Sequence[object]) -> Check | None:
        by_kind: dict[type, list[Check | None]] = {}
        for member in members:
            kind = _kind(member)
            if kind is not None:
                by_kind.setdefault(kind, []).append(self.check_of(member))
        alternatives = {
            kind: [check for check in checks if check is not None]
            for kind, checks in by_kind.items()
            # A member without a check, such as plain `str`, accepts every value of its kind.
            if None not in checks
        }
        if not alternatives:
            return None

        def check(value: object) -> None:
            for kind, checks in alternatives.items():
                if isinstance(value, kind):
                    _pass_one(value, checks)

        return check

    def _check_of_struct(self, struct: type) -> Check | None:
        if struct not in self._structs:
            fields = self._structs[struct] = []
            hints = get_type_hints(struct, include_extras=True)
            for field in structs.fields(struct):
                check = self.check_of(hints[field.name])
                if check is not None:
                    fields.append((field.name, field.encode_name, check))
            if not fields:
                return None
        return _check_of_fields(self._structs[struct])

    def _check_of_mapping(self, arguments: Sequence[object]) -> Check | None:
        if len(arguments) != 2 or tuple(arguments) == (str, Any):
            return None
        key_check, value_check = (self.check_of(argument) for argument in arguments)
        if key_check is None and value_check is None:
            return None

        def check(mapping: Mapping[str, object]) -> None:
            for key, value in mapping.items():
                with_path(key_check, key, f".{key}")
                with_path(value_check, value, f".{key}")

        return check

    def _check_of_items(self, arguments: Sequence[object]) -> Check | None:
        # Lists, sets and `tuple[T, ...]`; tuples of mixed members do not occur in requests.
        item_check = self.check_of(arguments[0]) if arguments else None
        if item_check is None:
            return None

        def check(items: Iterable[object]) -> None:
            for index, item in enumerate(items):
                with_path(item_check, item, f"[{index}]")

        return check


def _check_of_fields(fields: Sequence[tuple[str, str, Check]]) -> Check:
    def check(value: object) -> None:
        for name, encode_name, check_field in fields:
            with_path(check_field, getattr(value, name), f".{encode_name}")

    return check


def with_path(check: Check | None, value: object, step: str) -> None:
    """Run a check and, when it fails, put the step in front of the path to the fault."""
    if check is None:
        return
    try:
        check(value)
    except BadValue as bad:
        bad.path = step + bad.path
        raise


def _pass_one(value: object, checks: Sequence[Check]) -> None:
    """Raise the last fault when the value passes none of the checks."""
    fault: BadValue | None = None
    for check in checks:
        try:
            return check(value)
        except BadValue as bad:
            fault = bad
    if fault is not None:
        raise fault
    return None


def _without_metadata(annotation: object) -> object:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _kind(annotation: object) -> type | None:
    """Return the class that values of the annotation have; None when it is not one class."""
    annotation = _without_metadata(annotation)
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    annotation = get_origin(annotation) or annotation
    return annotation if isinstance(annotation, type) else None
