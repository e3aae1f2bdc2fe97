"""From the bytes of a request to the typed parameters of its endpoint, or the exact refusal."""

from collections.abc import Mapping
from typing import Final, Generic, TypeVar
from urllib.parse import unquote_plus

import msgspec
from msgspec import structs

from homeserver.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonValue
from homeserver.web.params import AnyQuery, Body, Params, Query, RawBody
from homeserver.web.value_checks import BadValue, Check, identifier_check, nul_check

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

# No operation has more parameters than this; what a `via` list repeats is cut elsewhere.
MAX_QUERY_FIELDS: Final = 200
# What authentication reads of a query string.
_CREDENTIALS: Final = frozenset({"access_token", "user_id", "device_id"})
_ESCAPED_NUL: Final = b"\\u0000"


class _TypedDecoder(Generic[_Struct]):
    """Converts decoded values to a struct type and checks what types cannot say."""

    def __init__(self, struct: type[_Struct], root: str) -> None:
        self._struct = struct
        self._root = root
        self._check_identifiers = identifier_check(struct)
        self._check_nul = nul_check(struct)

    def _checked(self, value: _Struct, *, may_have_nul: bool) -> _Struct:
        self._run(self._check_identifiers, value)
        if may_have_nul:
            self._run(self._check_nul, value)
        return value

    def _run(self, check: Check | None, value: _Struct) -> None:
        if check is None:
            return
        try:
            check(value)
        except BadValue as bad:
            where = (self._root + bad.path).lstrip(".")
            raise InvalidParam(f"{where}: {bad.reason}") from bad


class PathDecoder(_TypedDecoder[Params]):
    """Decodes the segments that stand for the braces of a path."""

    def __init__(self, struct: type[Params]) -> None:
        super().__init__(struct, root="")

    def __call__(self, segments: Mapping[str, str]) -> Params:
        """Raises InvalidParam."""
        try:
            value = msgspec.convert(segments, self._struct, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidParam(f"In the path: {error}") from error
        return self._checked(value, may_have_nul=True)


class QueryDecoder(_TypedDecoder[Query]):
    """Decodes a query string."""

    def __init__(self, struct: type[Query]) -> None:
        super().__init__(struct, root="")
        self._is_list: Final = {
            field.encode_name: _takes_list(field.type) for field in structs.fields(struct)
        }

    def __call__(self, query: str) -> Query:
        """Raises MissingParam, InvalidParam."""
        if self._struct is AnyQuery:
            return self._any(query)
        fields = self._collect(query) if query else {}
        try:
            value = msgspec.convert(fields, self._struct, strict=False)
        except msgspec.ValidationError as error:
            raise _refusal(error, InvalidParam, "In the query: ") from error
        return self._checked(value, may_have_nul="%00" in query)

    def _any(self, query: str) -> AnyQuery:
        fields = dict(reversed(query_fields(query)))
        if any("\0" in text for pair in fields.items() for text in pair):
            raise InvalidParam("NUL is not allowed")
        return AnyQuery(
            fields={name: text for name, text in fields.items() if name not in _CREDENTIALS}
        )

    def _collect(self, query: str) -> dict[str, str | list[str]]:
        fields: dict[str, str | list[str]] = {}
        for name, text in query_fields(query):
            is_list = self._is_list.get(name)
            if is_list:
                values = fields.setdefault(name, [])
                assert isinstance(values, list)
                values.append(text)
            elif is_list is not None:
                fields.setdefault(name, text)
        return fields


class BodyDecoder(_TypedDecoder[Body]):
    """Decodes a JSON body to the struct of an endpoint."""

    def __init__(self, struct: type[Body]) -> None:
        super().__init__(struct, root="$")
        self._json = msgspec.json.Decoder(struct)
        self._may_be_absent = not any(field.required for field in structs.fields(struct))

    def __call__(self, raw: bytes) -> Body:
        """Raises NotJson, BadJson, MissingParam, InvalidParam."""
        if not raw and self._may_be_absent:
            raw = b"{}"
        try:
            value = self._json.decode(raw)
        except msgspec.ValidationError as error:
            raise _refusal(error, BadJson) from error
        except RecursionError as error:
            raise BadJson("The JSON is nested too deeply") from error
        # Bad syntax, or a string that is not UTF-8.
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotJson(f"Content not JSON: {error}") from error
        return self._checked(value, may_have_nul=_ESCAPED_NUL in raw)

    def convert(self, content: JsonValue) -> Body:
        """Convert a body that has been decoded already. Raises like `__call__`."""
        try:
            value = msgspec.convert({} if content is None else content, self._struct)
        except msgspec.ValidationError as error:
            raise _refusal(error, BadJson) from error
        return self._checked(value, may_have_nul=True)


class RawBodyDecoder:
    """Decodes a body that may be any JSON object."""

    def __call__(self, raw: bytes) -> RawBody:
        """Raises NotJson, BadJson."""
        return self.convert(decode_body(raw), raw)

    def convert(self, content: JsonValue, raw: bytes) -> RawBody:
        """Take a body that has been decoded already. Raises BadJson."""
        if not isinstance(content, dict):
            raise BadJson("Content must be a JSON object")
        return RawBody(content, raw)


def decode_body(raw: bytes) -> JsonValue:
    """Decode any JSON strictly. Raises NotJson."""
    try:
        return decode_json(raw)
    except InvalidJson as error:
        raise NotJson(f"Content not JSON: {error}") from error


def query_fields(query: str) -> list[tuple[str, str]]:
    """Split a query string into decoded names and values, in order. Raises InvalidParam."""
    parts = query.split("&", MAX_QUERY_FIELDS)
    if len(parts) > MAX_QUERY_FIELDS:
        raise InvalidParam("Too many query parameters")
    pairs = (part.partition("=") for part in parts if part)
    try:
        return [(_unquote(name), _unquote(text)) for name, _, text in pairs]
    except UnicodeError as error:
        raise InvalidParam("The query is not UTF-8") from error


def _unquote(text: str) -> str:
    if text.isascii() and "%" not in text and "+" not in text:
        return text
    text = unquote_plus(text, errors="strict")
    # Bytes of the request line that are not UTF-8 stand as lone surrogates.
    text.encode()
    return text


def _takes_list(annotation: object) -> bool:
    kind = msgspec.inspect.type_info(annotation)
    alternatives = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    lists = (msgspec.inspect.CollectionType, msgspec.inspect.SetType, msgspec.inspect.VarTupleType)
    return any(isinstance(alternative, lists) for alternative in alternatives)


def _refusal(
    error: msgspec.ValidationError, wrong_type: type[BadJson] | type[InvalidParam], where: str = ""
) -> MatrixError:
    text = str(error)
    if "missing required field" in text:
        return MissingParam(where + text)
    if ", got `" in text:
        return wrong_type(where + text)
    # The type is right, the value is not: an enumeration, a length, a range.
    return InvalidParam(where + text)
