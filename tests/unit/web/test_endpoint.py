"""Declarations are read and checked when their module is imported."""

from typing import Any

import pytest

from homeserver.protocol.identifiers import EventID, RoomID, ServerName
from homeserver.web.answers import Answer, Empty, JsonBytes, Redirect
from homeserver.web.endpoint import Auth, DeclarationError, RateLimit, bind, endpoint, endpoints_of
from homeserver.web.params import Body, Params, Query, RawBody, RequestFacts, Upload
from homeserver.web.paths import CLIENT_UNSTABLE, CLIENT_V3, FEDERATION_V1, Api, PathSet
from homeserver.web.requester import Requester

SPEC = "client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey"


class StatePath(Params, frozen=True):
    room_id: RoomID
    event_type: str
    state_key: str = ""


class Limits(Query, frozen=True):
    limit: int = 10


class Names(Body, frozen=True):
    name: str


def declare(handler: Any, path: PathSet | str = CLIENT_V3 / "sync", **options: Any) -> Any:
    given = {"auth": Auth.NONE, "rate_limit": None, "spec": SPEC, **options}
    return endpoint("GET", path, **given)(handler)


class StateRoutes:
    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}",
        also=[
            CLIENT_V3 / "rooms/{room_id}/state/{event_type}",
            CLIENT_UNSTABLE / "x/{room_id}/{event_type}",
        ],
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec=SPEC,
        guests=True,
    )
    async def get_state(
        self,
        requester: Requester,
        path: StatePath,
        query: Limits,
        body: Names,
        request: RequestFacts,
    ) -> Answer | Redirect:
        """Return one state event.

        More is written here.
        """
        return Answer(200)

    async def not_an_endpoint(self) -> None: ...


def test_a_declaration_holds_what_decorator_and_signature_say() -> None:
    [(name, declared)] = endpoints_of(StateRoutes)
    assert name == "get_state"
    assert declared.method == "GET"
    assert declared.path.all == (
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}",
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}",
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/unstable/x/{room_id}/{event_type}",
    )
    assert declared.auth is Auth.ACCESS_TOKEN
    assert declared.rate_limit is RateLimit.DEFAULT
    assert declared.operation == "client.get_state"
    assert declared.summary == "Return one state event."
    assert declared.apis == {Api.CLIENT}
    assert declared.path_type is StatePath
    assert declared.query_type is Limits
    assert declared.body_type is Names
    assert declared.guests


def test_binding_joins_a_declaration_with_the_method_of_an_object() -> None:
    routes = StateRoutes()
    [bound] = bind(routes)
    assert bound.call == routes.get_state


async def _empty() -> Empty:
    """Answer nothing."""
    return Empty()


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "client-server-api",
        "client-server-api/#",
        "somewhere/#x",
        "MSC",
        "client-server-api/# x",
    ],
)
def test_a_missing_anchor_is_refused(spec: str) -> None:
    with pytest.raises(DeclarationError, match="anchor"):
        declare(_empty, spec=spec)


@pytest.mark.parametrize("spec", [SPEC, "MSC4186", "ours/#metrics", "server-server-api/#get_x"])
def test_anchors_proposals_and_our_own_pages_are_accepted(spec: str) -> None:
    assert declare(_empty, spec=spec).__endpoint__.spec == spec


def test_a_brace_without_a_field_is_refused() -> None:
    with pytest.raises(DeclarationError, match="no field"):
        declare(_empty, CLIENT_V3 / "rooms/{room_id}")


class RoomPath(Params, frozen=True):
    room_id: RoomID


async def _of_room(path: RoomPath) -> Empty:
    """Answer nothing."""
    return Empty()


async def _of_state(path: StatePath) -> Empty:
    """Answer nothing."""
    return Empty()


def test_a_field_without_a_brace_is_refused() -> None:
    with pytest.raises(DeclarationError, match="room_id"):
        declare(_of_room, CLIENT_V3 / "rooms")


def test_a_field_with_a_default_needs_its_brace_in_the_canonical_path() -> None:
    with pytest.raises(DeclarationError, match="state_key"):
        declare(_of_state, CLIENT_V3 / "rooms/{room_id}/state/{event_type}")


def test_an_additional_path_may_lack_no_field_without_a_default() -> None:
    full = CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}"
    with pytest.raises(DeclarationError, match="event_type"):
        declare(_of_state, full, also=[CLIENT_V3 / "rooms/{room_id}/state"])


@pytest.mark.parametrize(
    "path",
    [
        "no/slash",
        "/_matrix/client/v3/a{room_id}",
        "/_matrix/client/{room_id}/{room_id}",
        "/a b",
        "/{}",
    ],
)
def test_a_malformed_template_is_refused(path: str) -> None:
    with pytest.raises(DeclarationError):
        declare(_of_room, path)


def test_a_path_of_no_known_api_is_refused() -> None:
    with pytest.raises(DeclarationError, match="API"):
        declare(_empty, "/somewhere/else")


async def _unknown_parameter(event_id: EventID) -> Empty:
    """Answer nothing."""
    return Empty()


async def _wrong_path(path: Names) -> Empty:
    """Answer nothing."""
    return Empty()


async def _wrong_query(query: Names) -> Empty:
    """Answer nothing."""
    return Empty()


async def _wrong_body(body: dict[str, str]) -> Empty:
    """Answer nothing."""
    return Empty()


async def _wrong_origin(origin: str) -> Empty:
    """Answer nothing."""
    return Empty()


async def _no_answer_type(query: Limits):  # type: ignore[no-untyped-def]
    """Answer nothing."""


async def _wrong_answer() -> str:
    """Answer text."""
    return ""


async def _undocumented() -> Empty:
    return Empty()


async def _body_and_upload(body: RawBody, upload: Upload) -> Empty:
    """Answer nothing."""
    return Empty()


@pytest.mark.parametrize(
    "handler",
    [
        _unknown_parameter,
        _wrong_path,
        _wrong_query,
        _wrong_body,
        _wrong_origin,
        _no_answer_type,
        _wrong_answer,
        _undocumented,
        _body_and_upload,
    ],
)
def test_a_signature_that_is_no_endpoint_is_refused(handler: Any) -> None:
    with pytest.raises(DeclarationError):
        declare(handler)


async def _for_requester(requester: Requester) -> Empty:
    """Answer nothing."""
    return Empty()


async def _for_anyone(requester: Requester | None) -> Empty:
    """Answer nothing."""
    return Empty()


async def _for_server(origin: ServerName) -> Empty:
    """Answer nothing."""
    return Empty()


@pytest.mark.parametrize(
    ("handler", "auth"),
    [
        (_for_requester, Auth.NONE),
        (_for_requester, Auth.OPTIONAL),
        (_for_requester, Auth.SERVER_SIGNATURE),
        (_for_anyone, Auth.ACCESS_TOKEN),
        (_for_server, Auth.ACCESS_TOKEN),
        (_for_server, Auth.NONE),
    ],
)
def test_a_caller_that_the_authentication_does_not_give_is_refused(
    handler: Any, auth: Auth
) -> None:
    with pytest.raises(DeclarationError):
        declare(handler, auth=auth)


@pytest.mark.parametrize(
    ("handler", "auth"),
    [
        (_for_requester, Auth.ACCESS_TOKEN),
        (_for_requester, Auth.APPSERVICE_TOKEN),
        (_for_anyone, Auth.OPTIONAL),
        (_for_server, Auth.SERVER_SIGNATURE),
    ],
)
def test_a_caller_that_the_authentication_gives_is_accepted(handler: Any, auth: Auth) -> None:
    assert declare(handler, auth=auth).__endpoint__.auth is auth


@pytest.mark.parametrize("option", ["guests", "admin"])
@pytest.mark.parametrize("auth", [Auth.NONE, Auth.SERVER_SIGNATURE])
def test_guests_and_administrators_need_a_token(option: str, auth: Auth) -> None:
    with pytest.raises(DeclarationError):
        declare(_empty, auth=auth, **{option: True})


async def _list() -> list[Names]:
    """Answer an array."""
    return []


async def _mapping() -> dict[str, Any]:
    """Answer an object."""
    return {}


async def _either() -> Names | JsonBytes:
    """Answer a struct or bytes."""
    return JsonBytes(b"{}")


@pytest.mark.parametrize("handler", [_list, _mapping, _either])
def test_arrays_objects_and_unions_are_answers(handler: Any) -> None:
    assert declare(handler).__endpoint__.operation == f"client.{handler.__name__}"


@pytest.mark.parametrize(
    ("path", "apis"),
    [
        (CLIENT_V3 / "sync", {Api.CLIENT}),
        ("/_matrix/media/v3/upload", {Api.CLIENT, Api.MEDIA}),
        ("/_matrix/client/v1/media/config", {Api.CLIENT, Api.MEDIA}),
        (FEDERATION_V1 / "version", {Api.FEDERATION}),
        ("/_matrix/key/v2/server", {Api.FEDERATION}),
        ("/.well-known/matrix/client", {Api.CLIENT}),
        ("/_synapse/admin/v1/register", {Api.ADMIN}),
        ("/metrics", {Api.METRICS}),
        ("/health", {Api.HEALTH}),
    ],
)
def test_the_path_decides_which_listeners_serve_an_endpoint(path: Any, apis: set[Api]) -> None:
    assert declare(_empty, path).__endpoint__.apis == apis


def test_a_root_takes_relative_paths_only() -> None:
    with pytest.raises(ValueError, match="relative"):
        CLIENT_V3 / "/sync"
