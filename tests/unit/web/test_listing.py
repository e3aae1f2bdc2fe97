"""Endpoints describe themselves."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType, field

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.web.answers import Download, Empty, JsonBytes
from homeserver.web.endpoint import Auth, RateLimit, bind, endpoint, endpoints_of
from homeserver.web.listing import ListingRoutes, endpoint_table, openapi
from homeserver.web.params import Body, Params, Query, RawBody, Upload
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester
from tests.unit.web.conftest import Serve

MESSAGES = "/_matrix/client/v3/rooms/{room_id}/messages"


class RoomPath(Params, frozen=True):
    room_id: RoomID


class MessagesQuery(Query, frozen=True):
    dir: Literal["b", "f"]
    from_: str | UnsetType = field(name="from", default=UNSET)
    limit: Annotated[int, Meta(ge=0)] = 10


class Invite(Body, frozen=True):
    user_id: UserID


class Chunk(msgspec.Struct, frozen=True):
    chunk: list[dict[str, Any]]


class Routes:
    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/messages",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.DEFAULT,
        spec="client-server-api/#get_messages",
        guests=True,
        deprecated=True,
    )
    async def messages(
        self, requester: Requester, path: RoomPath, query: MessagesQuery
    ) -> Chunk | JsonBytes:
        """Page through a room."""
        return Chunk([])

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/invite",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="MSC4186",
        admin=True,
    )
    async def invite(self, path: RoomPath, body: Invite) -> Empty:
        """Invite."""
        return Empty()

    @endpoint("PUT", CLIENT_V3 / "raw", auth=Auth.NONE, rate_limit=None, spec="ours/#raw")
    async def raw(self, body: RawBody) -> Chunk:
        """Take anything."""
        return Chunk([])

    @endpoint(
        "POST", "/_matrix/media/v3/upload", auth=Auth.OPTIONAL, rate_limit=None, spec="ours/#a"
    )
    async def upload(self, upload: Upload) -> Download | Empty:
        """Upload."""
        return Empty()


ENDPOINTS = [declared for _, declared in endpoints_of(Routes)]


@pytest.fixture(scope="module")
def document() -> Any:
    return msgspec.json.decode(msgspec.json.encode(openapi(ENDPOINTS)))


def test_parameters_come_from_path_and_query(document: Any) -> None:
    operation = document["paths"][MESSAGES]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert set(parameters) == {"room_id", "dir", "from", "limit"}
    assert parameters["room_id"]["in"] == "path"
    assert parameters["dir"]["required"]
    assert not parameters["from"]["required"]
    assert parameters["limit"]["schema"]["minimum"] == 0
    assert operation["deprecated"]
    assert operation["security"] == [{"accessToken": []}]


def test_bodies_and_answers_are_schemas(document: Any) -> None:
    body = document["paths"]["/_matrix/client/v3/rooms/{room_id}/invite"]["post"]["requestBody"]
    assert body["required"]
    schema = body["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Invite"}
    assert document["components"]["schemas"]["Invite"]["required"] == ["user_id"]
    raw = document["paths"]["/_matrix/client/v3/raw"]["put"]
    assert raw["requestBody"]["content"]["application/json"]["schema"] == {"type": "object"}
    answer = raw["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Chunk"}


def test_uploads_are_of_any_type(document: Any) -> None:
    upload = document["paths"]["/_matrix/media/v3/upload"]["post"]
    assert upload["requestBody"] == {"content": {"*/*": {}}}
    assert {} in upload["security"]


def test_the_table_has_a_line_for_each_endpoint() -> None:
    table = endpoint_table(ENDPOINTS)
    assert len(table.splitlines()) == 2 + len(ENDPOINTS)
    assert f"| GET | `{MESSAGES}` |" in table
    assert "access token, guests too | default | Page through a room." in table
    assert "access token, administrators" in table
    assert "[MSC4186](https://github.com/matrix-org/matrix-spec-proposals/pull/4186)" in table
    assert "our own" in table


async def test_the_listing_lists_itself(serve: Serve) -> None:
    bound = bind(Routes())
    listing = ListingRoutes(bound)
    bound.extend(bind(listing))
    served = await serve(Routes(), listing)
    status, answer = await served.call("GET", "/openapi.json")
    assert status == 200
    assert "/openapi.json" in answer["paths"]
    assert await served.call("GET", "/openapi.json") == (200, answer)
