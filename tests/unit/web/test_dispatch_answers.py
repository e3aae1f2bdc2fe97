"""From what an endpoint answers to what goes over the wire."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from homeserver.errors import (
    Forbidden,
    IncompatibleRoomVersion,
    LimitExceeded,
    RemoteError,
    UiaRequired,
)
from homeserver.protocol.errors import AuthRefusal, InvalidEvent
from homeserver.web.answers import Answer, Download, Empty, JsonBytes, Page, Redirect
from homeserver.web.cors import Cors
from homeserver.web.dispatch import DispatchSettings
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params
from homeserver.web.paths import CLIENT_V3
from tests.unit.web.conftest import Serve, Served

TEST = "/_matrix/client/v3/test"
LARGE = b'{"a":"' + b"x" * 5000 + b'"}'
HUGE = b'{"a":"' + b"x" * 500_000 + b'"}'
CHALLENGE = {"flows": [{"stages": ["m.login.dummy"]}], "params": {}, "session": "s"}


class Versions(msgspec.Struct, frozen=True, omit_defaults=True):
    versions: list[str]
    note: str | None = None


class Kind(Params, frozen=True):
    kind: str


ERRORS: dict[str, Exception] = {
    "forbidden": Forbidden("No"),
    "version": IncompatibleRoomVersion("9"),
    "limit": LimitExceeded(1500),
    "uia": UiaRequired(CHALLENGE),
    "auth": AuthRefusal("member.join.banned", "You are banned"),
    "event": InvalidEvent("depth is no integer"),
    "remote": RemoteError("other.test", "connection refused by 10.1.2.3"),
    "bug": KeyError("secret detail"),
    "timeout": TimeoutError(),
    "connection": ConnectionResetError("database"),
}


class Source:
    """Pieces of a body; remembers whether it was closed."""

    def __init__(self, pieces: list[bytes | Exception], wait: asyncio.Event | None = None) -> None:
        self.pieces = pieces
        self.wait = wait
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            if self.wait is not None:
                while True:
                    yield b"x" * 100_000
        finally:
            self.closed.set()


class Routes:
    def __init__(self) -> None:
        self.source = Source([b"abc", b"def"])
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    @endpoint("GET", CLIENT_V3 / "test/struct", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def struct(self) -> Versions:
        """Answer a struct."""
        return Versions(["v1.1"])

    @endpoint("GET", CLIENT_V3 / "test/list", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def array(self) -> list[Versions]:
        """Answer an array."""
        return [Versions(["v1.1"], "x")]

    @endpoint("PUT", CLIENT_V3 / "test/empty", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def empty(self) -> Empty:
        """Answer nothing."""
        return Empty()

    @endpoint("GET", CLIENT_V3 / "test/bytes", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def bytes(self) -> JsonBytes:
        """Answer encoded JSON."""
        return JsonBytes(b'{ "as": "it is" }', status=202)

    @endpoint("GET", CLIENT_V3 / "test/answer", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def answer(self) -> Answer:
        """Answer anything."""
        return Answer(418, {"Content-Type": "text/x-tea", "X-Pot": "short"}, b"tea")

    @endpoint("GET", CLIENT_V3 / "test/page", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def page(self) -> Page:
        """Answer a page."""
        return Page("<p>ä</p>")

    @endpoint("GET", CLIENT_V3 / "test/redirect", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def redirect(self) -> Redirect:
        """Send elsewhere."""
        return Redirect("https://elsewhere.test/?a=b", headers={"Set-Cookie": "s=1"})

    @endpoint("GET", CLIENT_V3 / "test/download", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def download(self) -> Download:
        """Send pieces of known length."""
        headers = {"Content-Disposition": "inline"}
        return Download("image/png", aiter(self.source), length=6, headers=headers)

    @endpoint("GET", CLIENT_V3 / "test/stream", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def stream(self) -> Download:
        """Send pieces of unknown length."""
        return Download("image/png", aiter(self.source))

    @endpoint("GET", CLIENT_V3 / "test/large", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def large(self) -> JsonBytes:
        """Answer what is worth compressing."""
        return JsonBytes(LARGE)

    @endpoint("GET", CLIENT_V3 / "test/huge", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def huge(self) -> JsonBytes:
        """Answer what is worth a thread."""
        return JsonBytes(HUGE)

    @endpoint("GET", CLIENT_V3 / "test/image", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def image(self) -> Answer:
        """Answer what does not compress."""
        return Answer(200, {"Content-Type": "image/png"}, LARGE)

    @endpoint(
        "GET", CLIENT_V3 / "test/error/{kind}", auth=Auth.NONE, rate_limit=None, spec="ours/#a"
    )
    async def error(self, path: Kind) -> Empty:
        """Raise."""
        raise ERRORS[path.kind]

    @endpoint("GET", CLIENT_V3 / "test/wait", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def wait(self) -> Empty:
        """Wait for ever."""
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return Empty()


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
async def served(serve: Serve, routes: Routes) -> Served:
    return await serve(routes, settings=DispatchSettings(compress_over_bytes=1000))


async def fetch(
    served: Served, path: str, method: str = "GET", **options: Any
) -> tuple[aiohttp.ClientResponse, bytes]:
    async with served.request(method, f"{TEST}/{path}", **options) as response:
        return response, await response.read()


async def test_a_struct_becomes_json(served: Served) -> None:
    response, body = await fetch(served, "struct")
    assert (response.status, body) == (200, b'{"versions":["v1.1"]}')
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Length"] == str(len(body))


async def test_an_array_becomes_json(served: Served) -> None:
    _, body = await fetch(served, "list")
    assert body == b'[{"versions":["v1.1"],"note":"x"}]'


async def test_nothing_is_an_empty_object(served: Served) -> None:
    response, body = await fetch(served, "empty", "PUT")
    assert (response.status, body) == (200, b"{}")


async def test_encoded_json_goes_out_as_it_is(served: Served) -> None:
    response, body = await fetch(served, "bytes")
    assert (response.status, body) == (202, b'{ "as": "it is" }')
    assert response.headers["Content-Type"] == "application/json"


async def test_an_answer_of_its_own_keeps_status_headers_and_body(served: Served) -> None:
    response, body = await fetch(served, "answer")
    assert (response.status, body) == (418, b"tea")
    assert (response.headers["Content-Type"], response.headers["X-Pot"]) == ("text/x-tea", "short")


async def test_a_page_is_protected(served: Served) -> None:
    response, body = await fetch(served, "page")
    assert body.decode() == "<p>ä</p>"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Frame-Options"] == "DENY"


async def test_a_redirect_names_the_location(served: Served) -> None:
    response, body = await fetch(served, "redirect", allow_redirects=False)
    assert (response.status, body) == (302, b"")
    assert response.headers["Location"] == "https://elsewhere.test/?a=b"
    assert response.headers["Set-Cookie"] == "s=1"


async def test_a_download_of_known_length_announces_it(served: Served, routes: Routes) -> None:
    response, body = await fetch(served, "download")
    assert body == b"abcdef"
    assert response.headers["Content-Length"] == "6"
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == "inline"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert routes.source.closed.is_set()


async def test_a_download_of_unknown_length_is_chunked(served: Served) -> None:
    response, body = await fetch(served, "stream")
    assert body == b"abcdef"
    assert response.headers["Transfer-Encoding"] == "chunked"


async def test_head_of_a_download_sends_no_body_and_keeps_the_connection(served: Served) -> None:
    response, body = await fetch(served, "download", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == "6"
    assert (await fetch(served, "struct"))[0].status == 200


async def test_head_of_json_has_the_length_of_get(served: Served) -> None:
    response, body = await fetch(served, "struct", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == "21"


async def test_a_source_that_fails_first_is_an_ordinary_error(
    served: Served, routes: Routes
) -> None:
    routes.source.pieces = [Forbidden("Quarantined")]
    response, body = await fetch(served, "download")
    assert (response.status, msgspec.json.decode(body)["error"]) == (403, "Quarantined")
    assert routes.source.closed.is_set()


async def test_a_source_that_fails_midway_breaks_the_connection_off(
    served: Served, routes: Routes
) -> None:
    routes.source.pieces = [b"abc", KeyError("gone")]
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
        await fetch(served, "download")
    assert routes.source.closed.is_set()


async def test_the_source_is_closed_when_the_client_leaves(served: Served, routes: Routes) -> None:
    routes.source.wait = asyncio.Event()
    async with served.request("GET", f"{TEST}/stream") as response:
        await response.content.readexactly(100)
        response.close()
    async with asyncio.timeout(60):
        await routes.source.closed.wait()


async def test_a_client_that_leaves_ends_the_work_for_it(served: Served, routes: Routes) -> None:
    request = asyncio.create_task(fetch(served, "wait"))
    await routes.entered.wait()
    request.cancel()
    async with asyncio.timeout(60):
        await routes.left.wait()


@pytest.mark.parametrize(
    ("kind", "status", "answer"),
    [
        ("forbidden", 403, {"errcode": "M_FORBIDDEN", "error": "No"}),
        (
            "version",
            400,
            {
                "errcode": "M_INCOMPATIBLE_ROOM_VERSION",
                "error": "The room has version 9",
                "room_version": "9",
            },
        ),
        ("uia", 401, CHALLENGE),
        ("auth", 403, {"errcode": "M_FORBIDDEN", "error": "You are banned"}),
        ("event", 400, {"errcode": "M_BAD_JSON", "error": "depth is no integer"}),
    ],
)
async def test_a_refusal_is_a_standard_error(
    served: Served, kind: str, status: int, answer: Any
) -> None:
    response, body = await fetch(served, f"error/{kind}")
    assert (response.status, msgspec.json.decode(body)) == (status, answer)
    assert response.headers["Content-Type"] == "application/json"


async def test_a_limit_tells_when_to_come_back(served: Served) -> None:
    response, body = await fetch(served, "error/limit")
    assert response.status == 429
    assert response.headers["Retry-After"] == "2"
    assert msgspec.json.decode(body)["retry_after_ms"] == 1500


async def test_the_fault_of_another_server_is_no_fault_of_ours(served: Served) -> None:
    response, body = await fetch(served, "error/remote")
    assert response.status == 502
    assert b"other.test" in body
    assert b"10.1.2.3" not in body


@pytest.mark.parametrize("kind", ["bug", "timeout", "connection"])
async def test_a_bug_tells_nothing_but_where_to_look(served: Served, kind: str) -> None:
    response, body = await fetch(served, f"error/{kind}")
    answer = msgspec.json.decode(body)
    assert (response.status, answer["errcode"]) == (500, "M_UNKNOWN")
    assert response.headers["X-Request-ID"] in answer["error"]
    assert b"secret" not in body
    assert b"database" not in body


async def test_an_unknown_path_is_404(served: Served) -> None:
    response, body = await fetch(served, "nowhere")
    assert (response.status, msgspec.json.decode(body)["errcode"]) == (404, "M_UNRECOGNIZED")


async def test_a_wrong_method_is_405_and_tells_the_right_ones(served: Served) -> None:
    response, body = await fetch(served, "struct", "DELETE")
    assert (response.status, msgspec.json.decode(body)["errcode"]) == (405, "M_UNRECOGNIZED")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["struct", "nowhere", "error/bug", "error/forbidden"])
async def test_every_answer_may_be_read_by_browsers_and_has_a_request_id(
    served: Served, path: str
) -> None:
    response, _ = await fetch(served, path)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["X-Request-ID"].startswith("r-")


@pytest.mark.parametrize("path", ["struct", "wait", "nowhere"])
async def test_a_preflight_is_answered_without_the_endpoint(
    served: Served, routes: Routes, path: str
) -> None:
    response, body = await fetch(served, path, "OPTIONS", headers={"Origin": "https://app.test"})
    assert (response.status, body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        assert method in response.headers["Access-Control-Allow-Methods"]
    for header in ("X-Requested-With", "Content-Type", "Authorization"):
        assert header in response.headers["Access-Control-Allow-Headers"]
    assert not routes.entered.is_set()


async def test_listed_origins_are_answered_one_by_one(serve: Serve, routes: Routes) -> None:
    cors = Cors(allowed_origins=("https://app.test",))
    served = await serve(routes, settings=DispatchSettings(cors=cors))
    for path in ("struct", "error/forbidden"):
        allowed, _ = await fetch(served, path, headers={"Origin": "https://app.test"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.test"
        assert allowed.headers["Vary"] == "Origin"
        refused, _ = await fetch(served, path, headers={"Origin": "https://evil.test"})
        assert "Access-Control-Allow-Origin" not in refused.headers
        assert refused.headers["Vary"] == "Origin"
    preflight, _ = await fetch(served, "struct", "OPTIONS", headers={"Origin": "https://evil.test"})
    assert "Access-Control-Allow-Origin" not in preflight.headers


@pytest.mark.parametrize(("path", "expected"), [("large", LARGE), ("huge", HUGE)])
async def test_a_large_body_is_compressed_for_those_who_can(
    served: Served, path: str, expected: bytes
) -> None:
    response, body = await fetch(served, path, headers={"Accept-Encoding": "br, GZip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert len(body) < len(expected)
    assert gzip.decompress(body) == expected


@pytest.mark.parametrize(
    ("path", "accepts", "expected"),
    [
        ("large", "identity", LARGE),
        ("image", "gzip", LARGE),
        ("struct", "gzip", b'{"versions":["v1.1"]}'),
    ],
)
async def test_other_bodies_are_not_compressed(
    served: Served, path: str, accepts: str, expected: bytes
) -> None:
    response, body = await fetch(served, path, headers={"Accept-Encoding": accepts})
    assert "Content-Encoding" not in response.headers
    assert body == expected


async def test_compression_can_be_off(serve: Serve, routes: Routes) -> None:
    served = await serve(routes, settings=DispatchSettings(compress_over_bytes=None))
    _, body = await fetch(served, "huge", headers={"Accept-Encoding": "gzip"})
    assert body == HUGE


async def test_answers_are_measured_by_operation_and_status(served: Served) -> None:
    await fetch(served, "struct")
    await fetch(served, "struct", "HEAD")
    await fetch(served, "error/forbidden")

    def count(operation: str, status: str) -> float | None:
        labels = {"operation": operation, "status": status}
        name = "homeserver_request_duration_seconds_count"
        return served.metrics.registry.get_sample_value(name, labels)

    assert count("client.struct", "200") == 2
    assert count("client.error", "403") == 1


async def test_requests_in_flight_are_counted(served: Served, routes: Routes) -> None:
    def in_flight() -> float | None:
        return served.metrics.registry.get_sample_value("homeserver_requests_in_flight")

    assert in_flight() == 0
    request = asyncio.create_task(fetch(served, "wait"))
    await routes.entered.wait()
    assert in_flight() == 1
    request.cancel()
