"""From a request to the parameters of its endpoint, seen from outside."""

import asyncio
import io
import zlib
from typing import Literal

import msgspec
import pytest
from msgspec import UNSET, UnsetType
from yarl import URL

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.web import request_body
from homeserver.web.answers import Empty
from homeserver.web.dispatch import DispatchSettings
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Body, Params, Query, RawBody, RequestFacts, Upload
from homeserver.web.paths import CLIENT_V3, PathRoot
from tests.unit.web.conftest import Serve, Served

ROOM_ID = PathRoot("/_matrix/client/v3/rooms/{room_id}")
ROOM = "/_matrix/client/v3/rooms/!a:b"


class StatePath(Params, frozen=True):
    room_id: RoomID
    event_type: str
    state_key: str = ""


class MembersQuery(Query, frozen=True):
    membership: Literal["join", "leave"] | UnsetType = UNSET


class InviteBody(Body, frozen=True):
    user_id: UserID
    reason: str = ""


class ForgetBody(Body, frozen=True):
    quietly: bool = False


class RoomPath(Params, frozen=True):
    room_id: RoomID


class Seen(msgspec.Struct, frozen=True):
    """What an endpoint was given."""

    values: list[str]


class Routes:
    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/state/{event_type}/{state_key}",
        also=[CLIENT_V3 / "rooms/{room_id}/state/{event_type}"],
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#a",
    )
    async def put_state(self, path: StatePath, body: RawBody) -> Seen:
        """Tell path and body."""
        return Seen([path.room_id, path.event_type, path.state_key, body.raw.decode()])

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/members",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#a",
    )
    async def members(self, path: RoomPath, query: MembersQuery) -> Seen:
        """Tell the query."""
        return Seen([str(query.membership)])

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/invite",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#a",
    )
    async def invite(self, path: RoomPath, body: InviteBody) -> Seen:
        """Tell the body."""
        return Seen([body.user_id, body.reason])

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/forget",
        auth=Auth.NONE,
        rate_limit=None,
        spec="ours/#a",
        max_body_bytes=500_000,
    )
    async def forget(self, path: RoomPath, body: ForgetBody) -> Seen:
        """Tell the body."""
        return Seen([str(body.quietly)])

    @endpoint("POST", CLIENT_V3 / "logout", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def logout(self) -> Empty:
        """Read no body."""
        return Empty()

    @endpoint("POST", "/_matrix/media/v3/upload", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def upload(self, upload: Upload) -> Seen:
        """Tell what was uploaded."""
        size = sum([len(chunk) async for chunk in upload.chunks()])
        return Seen([upload.content_type, str(upload.content_length), str(size)])

    @endpoint("GET", CLIENT_V3 / "facts", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def facts(self, request: RequestFacts) -> RequestFacts:
        """Tell the facts of the request."""
        return request


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve(Routes(), settings=DispatchSettings(max_body_bytes=1000))


async def raw_exchange(served: Served, request: bytes) -> bytes:
    """Send bytes as they are and return everything that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_escaped_slash_stays_inside_its_segment(served: Served) -> None:
    url = URL(f"{served.server.addresses[0]}{ROOM}/state/m.x/a%2Fb", encoded=True)
    async with served.http.put(url, data=b"{}") as response:
        assert await response.json() == {"values": ["!a:b", "m.x", "a/b", "{}"]}


@pytest.mark.parametrize("ending", ["/state/m.x/", "/state/m.x"])
async def test_an_empty_state_key_needs_no_segment(served: Served, ending: str) -> None:
    status, answer = await served.call("PUT", ROOM + ending, data=b'{"a":1}')
    assert status == 200
    assert answer == {"values": ["!a:b", "m.x", "", '{"a":1}']}


async def test_a_wrong_identifier_in_the_path_is_an_invalid_param(served: Served) -> None:
    status, answer = await served.call("GET", "/_matrix/client/v3/rooms/nonsense/members")
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")


async def test_a_wrong_query_is_an_invalid_param(served: Served) -> None:
    status, answer = await served.call("GET", f"{ROOM}/members?membership=perhaps")
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")


async def test_the_content_type_of_json_does_not_matter(served: Served) -> None:
    status, answer = await served.call(
        "POST", f"{ROOM}/invite", data=b'{"user_id":"@a:b"}', headers={"Content-Type": "text/plain"}
    )
    assert (status, answer) == (200, {"values": ["@a:b", ""]})


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b"{}", "M_MISSING_PARAM"),
        (b'{"user_id":1}', "M_BAD_JSON"),
        (b'{"user_id":"bob"}', "M_INVALID_PARAM"),
    ],
)
async def test_each_fault_of_a_body_has_its_code(served: Served, body: bytes, errcode: str) -> None:
    status, answer = await served.call("POST", f"{ROOM}/invite", data=body)
    assert (status, answer["errcode"]) == (400, errcode)


async def test_an_absent_body_counts_as_empty_where_nothing_is_required(served: Served) -> None:
    assert await served.call("POST", f"{ROOM}/forget") == (200, {"values": ["False"]})


async def test_a_body_over_the_limit_is_too_large(served: Served) -> None:
    body = b'{"user_id":"@a:b","reason":"' + b"x" * 1000 + b'"}'
    status, answer = await served.call("POST", f"{ROOM}/invite", data=body)
    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")


async def test_a_body_of_unannounced_length_is_limited_as_well(served: Served) -> None:
    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b" " * 100

    status, answer = await served.call("POST", f"{ROOM}/invite", data=pieces())
    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")


async def test_a_small_body_that_unpacks_to_a_large_one_is_too_large(served: Served) -> None:
    bomb = zlib.compress(b" " * 10_000_000)
    assert len(bomb) < 20_000
    status, answer = await served.call(
        "POST", f"{ROOM}/forget", data=bomb, headers={"Content-Encoding": "deflate"}
    )
    assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")


async def test_a_packed_body_is_unpacked(served: Served) -> None:
    packed = zlib.compress(b'{"user_id":"@a:b"}')
    headers = {"Content-Encoding": "deflate"}
    assert (await served.call("POST", f"{ROOM}/invite", data=packed, headers=headers))[0] == 200


async def test_a_body_that_does_not_unpack_is_not_json(served: Served) -> None:
    headers = {"Content-Encoding": "gzip"}
    status, answer = await served.call("POST", f"{ROOM}/invite", data=b"xx", headers=headers)
    assert (status, answer["errcode"]) == (400, "M_NOT_JSON")


async def test_an_endpoint_may_take_more_than_the_usual(served: Served) -> None:
    body = b'{"quietly":true,"x":"' + b"x" * 400_000 + b'"}'
    assert await served.call("POST", f"{ROOM}/forget", data=body) == (200, {"values": ["True"]})


async def test_a_body_that_nobody_wants_is_ignored(served: Served) -> None:
    assert await served.call("POST", "/_matrix/client/v3/logout", data=b"nonsense") == (200, {})


async def test_an_upload_comes_as_it_is(served: Served) -> None:
    data = io.BytesIO(bytes(3_000_000))
    headers = {"Content-Type": "image/png"}
    status, answer = await served.call(
        "POST", "/_matrix/media/v3/upload", data=data, headers=headers
    )
    assert (status, answer) == (200, {"values": ["image/png", "3000000", "3000000"]})


async def test_an_upload_without_length_and_type_is_taken(served: Served) -> None:
    request = (
        b"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    answer = await raw_exchange(served, request)
    assert answer.endswith(b'{"values":["application/octet-stream","None","3"]}')


async def test_a_client_that_asks_before_a_large_body_is_told_to_go_on(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"abc")
    assert b'"3","3"' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_the_absolute_form_of_a_target_is_understood(served: Served) -> None:
    request = (
        f"GET http://proxy.example{ROOM}/members?membership=join HTTP/1.1\r\n"
        "Host: a\r\nConnection: close\r\n\r\n"
    )
    answer = await raw_exchange(served, request.encode())
    assert answer.endswith(b'{"values":["join"]}')


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/_matrix/client/v3/rooms/\xff/members", b" 400 "),
        (b"/_matrix/client/v3/rooms/%ff/members", b" 400 "),
        (b"/_matrix/client/v3/rooms/!a:b/members?x=%ff", b" 400 "),
        (b"//", b" 404 "),
    ],
)
async def test_odd_bytes_in_the_request_line_are_refused(
    served: Served, target: bytes, status: bytes
) -> None:
    request = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await raw_exchange(served, request)
    assert status in answer.partition(b"\r\n")[0]


async def test_facts_of_the_request_are_given_to_those_who_ask(served: Served) -> None:
    status, answer = await served.call(
        "GET", "/_matrix/client/v3/facts", headers={"User-Agent": "test", "Cookie": "a=b"}
    )
    assert status == 200
    assert answer == {
        "ip": "127.0.0.1",
        "user_agent": "test",
        "accept_language": "",
        "request_id": "r-1",
        "listener": "listener0",
        "cookie": "a=b",
    }


@pytest.mark.parametrize(
    ("path", "limit"),
    [(f"{ROOM}/invite", "BODY_SECONDS"), ("/_matrix/media/v3/upload", "CHUNK_SECONDS")],
)
async def test_a_client_that_stalls_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str, limit: str
) -> None:
    monkeypatch.setattr(request_body, limit, 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc".encode())
    assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()
    await writer.wait_closed()
