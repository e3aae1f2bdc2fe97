"""Declaring an endpoint: one method with one decorator.

    @endpoint(
        "POST", CLIENT_V3 / "rooms/{room_id}/receipt/{receipt_type}/{event_id}",
        auth=Auth.ACCESS_TOKEN, rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid",
    )
    async def post_receipt(self, requester: Requester, path: ReceiptPath) -> Empty:

The parameters have fixed names, their types are the schema, and mistakes fail at import.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import structs
from typing_extensions import get_type_hints

from homeserver.protocol.identifiers import ServerName
from homeserver.web.params import Body, Params, Query, RawBody, RequestFacts, Upload
from homeserver.web.paths import Api, PathSet, apis_of, names_in
from homeserver.web.requester import Requester

Method: TypeAlias = Literal["GET", "PUT", "POST", "DELETE", "PATCH"]
_Function = TypeVar("_Function", bound=Callable[..., Awaitable[Any]])

_SPEC: Final = re.compile(
    r"(?:client-server-api|server-server-api|application-service-api|push-gateway-api"
    r"|identity-service-api|appendices)/#\S+|MSC\d{3,5}|ours/#\S+"
)
_PARAMETERS: Final = ("requester", "origin", "path", "query", "body", "upload", "request")


class Auth(Enum):
    """How the caller proves who it is."""

    NONE = "none"
    # A token, when there is one, must be valid; `requester` is None without.
    OPTIONAL = "optional"
    ACCESS_TOKEN = "access_token"  # noqa: S105 - a name, no secret
    # An access token that belongs to an application service.
    APPSERVICE_TOKEN = "appservice_token"  # noqa: S105 - a name, no secret
    # Another homeserver signs the request. Spec: server-server-api/#request-authentication
    SERVER_SIGNATURE = "server_signature"


class RateLimit(Enum):
    """The groups of rate limits; configuration gives each a rate and a burst."""

    DEFAULT = "default"
    LOGIN = "login"
    REGISTRATION = "registration"
    MESSAGE = "message"
    JOIN = "join"
    INVITE = "invite"
    MEDIA = "media"
    SEARCH = "search"
    KEYS = "keys"
    MAIL = "mail"
    FEDERATION = "federation"
    UNSIGNED = "unsigned"


class DeclarationError(TypeError):
    """An endpoint is declared wrongly; raised while its module is imported."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told and what it read from the method's signature."""

    method: Method
    path: PathSet
    auth: Auth
    rate_limit: RateLimit | None
    # Where the behavior is specified: `client-server-api/#…`, `MSC4186`, or `ours/#…`.
    spec: str
    # Stable name for metrics, traces and logs: API and method name, `client.post_receipt`.
    operation: str
    summary: str
    apis: frozenset[Api]
    parameters: tuple[str, ...]
    answer_type: Any
    path_type: type[Params] | None = None
    query_type: type[Query] | None = None
    body_type: type[Body] | type[RawBody] | None = None
    guests: bool = False
    # Only administrators of this server.
    admin: bool = False
    # Spec: client-server-api/#account-locking names the two that locked users may call.
    while_locked: bool = False
    # False: refused to suspended users. Spec: client-server-api/#account-suspension
    while_suspended: bool = True
    deprecated: bool = False
    # None: the configured limit for JSON bodies.
    max_body_bytes: int | None = None


class BoundEndpoint(msgspec.Struct, frozen=True):
    """An endpoint and the method of an object that answers it."""

    endpoint: Endpoint
    call: Callable[..., Awaitable[Any]]


def endpoint(
    method: Method,
    path: PathSet | str,
    *,
    auth: Auth,
    rate_limit: RateLimit | None,
    spec: str,
    also: Iterable[PathSet | str] = (),
    guests: bool = False,
    admin: bool = False,
    while_locked: bool = False,
    while_suspended: bool = True,
    deprecated: bool = False,
    max_body_bytes: int | None = None,
) -> Callable[[_Function], _Function]:
    """Declare that a method answers a path. Raises DeclarationError at import.

    `also` lists more paths of the same endpoint, such as unstable names; fields of `path`
    that are absent from one of them need a default. `rate_limit` None is for operations
    that the specification does not limit and that cost little.
    """
    paths = _joined(path, also)

    def declare(function: _Function) -> _Function:
        name = function.__qualname__
        try:
            declared = Endpoint(
                method=method,
                path=paths,
                auth=auth,
                rate_limit=rate_limit,
                guests=guests,
                admin=admin,
                while_locked=while_locked,
                while_suspended=while_suspended,
                deprecated=deprecated,
                max_body_bytes=max_body_bytes,
                spec=_checked_anchor(spec),
                **_read_signature(function, paths, auth),
            )
            _check_combination(declared)
        except (ValueError, TypeError) as error:
            raise DeclarationError(f"{name}: {error}") from error
        function.__endpoint__ = declared  # type: ignore[attr-defined]  # functions take attributes
        return function

    return declare


@cache
def endpoints_of(routes: type) -> Sequence[tuple[str, Endpoint]]:
    """Return the declared endpoints of a class of routes with their attribute names."""
    found = ((name, getattr(getattr(routes, name), "__endpoint__", None)) for name in dir(routes))
    return tuple((name, declared) for name, declared in found if isinstance(declared, Endpoint))


def bind(routes: object) -> list[BoundEndpoint]:
    """Return the endpoints that an object of a class of routes answers."""
    routes_class: type = type(routes)
    return [
        BoundEndpoint(declared, getattr(routes, name))
        for name, declared in endpoints_of(routes_class)
    ]


def _joined(path: PathSet | str, also: Iterable[PathSet | str]) -> PathSet:
    sets = [PathSet(each) if isinstance(each, str) else each for each in (path, *also)]
    templates = [template for each in sets for template in each.all]
    return PathSet(templates[0], tuple(dict.fromkeys(templates[1:])))


def _checked_anchor(spec: str) -> str:
    if not _SPEC.fullmatch(spec):
        raise ValueError(f"no anchor of the specification: {spec!r}")
    return spec


def _read_signature(function: Callable[..., Any], paths: PathSet, auth: Auth) -> dict[str, Any]:
    hints = get_type_hints(function, include_extras=True)
    answer_type = hints.pop("return", None)
    for name in hints:
        if name not in _PARAMETERS:
            raise TypeError(f"an endpoint takes {', '.join(_PARAMETERS)}, not {name!r}")
    _check_answer(answer_type)
    _check_types(hints, auth)
    _check_braces(hints.get("path"), paths)
    apis = apis_of(paths.canonical)
    summary = (function.__doc__ or "").strip().split("\n", 1)[0]
    if not summary:
        raise TypeError("a docstring says what the endpoint is for")
    return {
        "operation": f"{_api_name(paths.canonical)}.{function.__name__}",
        "summary": summary,
        "apis": apis,
        "parameters": tuple(hints),
        "answer_type": answer_type,
        "path_type": hints.get("path"),
        "query_type": hints.get("query"),
        "body_type": hints.get("body"),
    }


def _api_name(template: str) -> str:
    # "/_matrix/client/v3/…" is client; media under client/ is client too; "/health" is health.
    segments = [segment for segment in template.split("/") if segment]
    return segments[1] if segments[0].startswith("_") else segments[0].lstrip(".")


def _check_types(hints: dict[str, Any], auth: Auth) -> None:
    bases = {"path": (Params,), "query": (Query,), "body": (Body, RawBody)}
    for name, allowed in bases.items():
        given = hints.get(name)
        if given is not None and not (isinstance(given, type) and issubclass(given, allowed)):
            raise TypeError(f"{name} must be a {' or '.join(base.__name__ for base in allowed)}")
    exact = {
        "requester": Requester | None if auth is Auth.OPTIONAL else Requester,
        "origin": ServerName,
        "upload": Upload,
        "request": RequestFacts,
    }
    for name, annotation in exact.items():
        if name in hints and hints[name] != annotation:
            raise TypeError(f"{name} must be annotated as {annotation}")
    if "body" in hints and "upload" in hints:
        raise TypeError("an endpoint takes a body or an upload")


def _check_braces(path_type: type[Params] | None, paths: PathSet) -> None:
    fields = structs.fields(path_type) if path_type is not None else ()
    names = {field.encode_name for field in fields}
    required = {field.encode_name for field in fields if field.required}
    for template in paths.all:
        braces = set(names_in(template))
        if braces - names:
            raise TypeError(f"{template} has braces that are no field of path: {braces - names}")
        wanted = names if template == paths.canonical else required
        if wanted - braces:
            raise TypeError(f"{template} lacks braces for the fields {wanted - braces}")


def _check_answer(answer_type: object) -> None:
    is_union = get_origin(answer_type) in (Union, UnionType)
    for member in get_args(answer_type) if is_union else (answer_type,):
        # Besides structs: arrays, and objects with members that are not known beforehand.
        kind = get_origin(member) or member
        if not isinstance(kind, type) or not issubclass(kind, (msgspec.Struct, list, dict)):
            raise TypeError(f"no type of answer: {member!r}")


def _check_combination(declared: Endpoint) -> None:
    takes = set(declared.parameters)
    if "origin" in takes and declared.auth is not Auth.SERVER_SIGNATURE:
        raise TypeError("only a server signature gives an origin")
    if "requester" in takes and declared.auth in (Auth.NONE, Auth.SERVER_SIGNATURE):
        raise TypeError(f"{declared.auth} gives no requester")
    if declared.auth in (Auth.NONE, Auth.SERVER_SIGNATURE) and (declared.guests or declared.admin):
        raise TypeError(f"{declared.auth} knows no guests and no administrators")
