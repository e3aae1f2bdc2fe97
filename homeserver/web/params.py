"""What an endpoint receives: typed path, query and body, and the raw forms of them."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from homeserver.protocol.json_types import JsonObject


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Base of a path's fields: one per brace of the path template, percent-decoded.

    A field with a default may be absent from an additional path of the endpoint.
    """


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Base of a query string's fields.

    A list field takes every value of its name, any other field the first one. Names that
    are no field are ignored. A name that Python reserves is given with
    `msgspec.field(name="from")`. Empty values are values: `?limit=` is not an integer.
    """


class AnyQuery(Query, frozen=True):
    """A query string whose names are not known beforehand.

    Of a repeated name the first value counts. The credentials that old clients put there are
    left out.
    """

    fields: dict[str, str] = {}


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Base of a JSON body's fields; members that are no field are ignored.

    When every field has a default, an absent body counts as `{}`.
    """


class RawBody(msgspec.Struct, frozen=True):
    """An arbitrary JSON object, such as event content; nobody changes it."""

    content: JsonObject
    # The bytes that `content` was decoded from.
    raw: bytes


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of the connection and the request, for those who must record them."""

    # Of the client as far as trusted proxies tell it; "" on a Unix socket without a proxy.
    ip: str
    user_agent: str
    request_id: str
    # The name of the listener that took the connection.
    listener: str
    # The `Cookie` header as it came.
    cookie: str = ""
    # The `Accept-Language` header, shortened.
    accept_language: str = ""


class Upload(Protocol):
    """A body of any type and size, read as it comes; the reader sets the limit."""

    @property
    def content_type(self) -> str:
        """The `Content-Type` header, `application/octet-stream` when absent."""
        ...

    @property
    def content_length(self) -> int | None:
        """The announced size in bytes; None when the client does not announce it."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces, once. Raises MatrixError 408 when the client stalls."""
        ...
