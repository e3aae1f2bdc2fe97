"""What is logged and traced of a request."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.identifiers import RoomID
from homeserver.telemetry.context import bound_facts
from homeserver.telemetry.trace import Tracer
from homeserver.web.answers import Download, Empty
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params
from homeserver.web.paths import CLIENT_V3
from tests.unit.web.conftest import Serve, Served

PATH = "/_matrix/client/v3/rooms/!a:b/facts"


class RoomPath(Params, frozen=True):
    room_id: RoomID


class Length(Params, frozen=True):
    length: int


class Routes:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.entered = asyncio.Event()

    @endpoint(
        "GET",
        CLIENT_V3 / "rooms/{room_id}/facts",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=None,
        spec="ours/#a",
    )
    async def facts(self, path: RoomPath) -> dict[str, Any]:
        """Tell what logs and traces would say."""
        if self.error is not None:
            raise self.error
        return dict(bound_facts())

    @endpoint("GET", CLIENT_V3 / "wait", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def wait(self) -> Empty:
        """Wait for ever."""
        self.entered.set()
        await asyncio.Event().wait()
        return Empty()

    @endpoint(
        "GET", CLIENT_V3 / "download/{length}", auth=Auth.NONE, rate_limit=None, spec="ours/#a"
    )
    async def download(self, path: Length) -> Download:
        """Break off in the middle."""
        return Download("image/png", self._pieces(), length=path.length or None)

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"abc"
        raise RemoteError("other.test", "it broke off")


@pytest.fixture(autouse=True)
def server_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let aiohttp speak, whatever other tests have made of logging."""
    logger = logging.getLogger("aiohttp.server")
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logger, "propagate", True)


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
async def served(serve: Serve, routes: Routes) -> Served:
    return await serve(routes)


async def test_facts_of_a_request_are_bound_while_it_is_answered(served: Served) -> None:
    _, answer = await served.call("GET", PATH, "alice")
    assert answer == {
        "request_id": "r-1",
        "operation": "client.facts",
        "user_id": "@alice:test",
        "room_id": "!a:b",
    }


async def test_a_request_is_one_line_without_its_query(served: Served) -> None:
    with capture_logs() as lines:
        await served.call("GET", PATH + "?access_token=alice")
    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "module": "homeserver.web.dispatch",
            "method": "GET",
            "path": PATH,
            "status": 200,
            "duration_ms": 0.0,
            "ip": "127.0.0.1",
        }
    ]


async def test_a_refusal_is_no_error_of_the_log(served: Served, routes: Routes) -> None:
    routes.error = Forbidden("No")
    with capture_logs() as lines:
        await served.call("GET", PATH, "alice")
    assert [(line["event"], line["log_level"]) for line in lines] == [("request", "info")]


async def test_a_bug_is_logged_with_its_traceback(served: Served, routes: Routes) -> None:
    routes.error = KeyError("x")
    with capture_logs() as lines:
        await served.call("GET", PATH, "alice")
    [bug, request] = lines
    assert (bug["event"], bug["log_level"]) == ("request failed", "error")
    assert bug["exc_info"] is routes.error
    assert request["status"] == 500


async def test_the_fault_of_another_server_is_logged_with_its_reason(
    served: Served, routes: Routes
) -> None:
    routes.error = RemoteError("other.test", "bad signature")
    with capture_logs() as lines:
        await served.call("GET", PATH, "alice")
    assert (lines[0]["log_level"], lines[0]["server"]) == ("warning", "other.test")
    assert lines[0]["reason"] == "bad signature"


async def test_a_client_that_left_is_logged_as_such(served: Served, routes: Routes) -> None:
    with capture_logs() as lines:
        request = asyncio.create_task(served.call("GET", "/_matrix/client/v3/wait"))
        await routes.entered.wait()
        request.cancel()
        async with asyncio.timeout(60):
            await served.dispatch.drain()
    assert [line["status"] for line in lines] == [499]


@pytest.mark.parametrize("length", [0, 6])
async def test_an_answer_that_breaks_off_is_a_warning_and_looks_broken_off(
    served: Served, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    with capture_logs() as lines, pytest.raises(aiohttp.ClientPayloadError):
        async with served.request("GET", f"/_matrix/client/v3/download/{length}") as response:
            await response.read()
    [warning, request] = lines
    assert (warning["event"], warning["log_level"]) == ("answer broke off", "warning")
    assert warning["reason"] == "RemoteError"
    assert request["status"] == 499
    # Nor does the library below log anything, or answer a second time.
    assert caplog.records == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost b\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET nonsense\r\n\r\n",
        b"PUT /nowhere HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_a_malformed_request_is_refused_and_no_error_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(request_bytes)
        async with asyncio.timeout(60):
            # The connection ends after such a request.
            assert b" 40" in await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    assert caplog.records == []


async def test_a_bug_outside_of_endpoints_is_logged(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.dispatch, "_respond", lambda *_: 1 / 0)
    async with served.request("GET", PATH) as response:
        assert response.status == 500
    [record] = caplog.records
    assert (record.name, record.levelno) == ("aiohttp.server", logging.ERROR)


async def test_a_request_is_a_span_with_its_operation(serve: Serve, routes: Routes) -> None:
    exporter = InMemorySpanExporter()
    served = await serve(routes)
    served.dispatch._tracer = tracer = Tracer(exporter)
    await served.call("GET", PATH, "alice")
    tracer.stop()
    [span] = exporter.get_finished_spans()
    assert span.name == "client.facts"
    assert dict(span.attributes or {}) == {"request_id": "r-1"}
