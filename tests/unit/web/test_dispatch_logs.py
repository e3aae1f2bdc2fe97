"""What is logged and traced of a request."""

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from homeserver.errors import Forbidden, RemoteError
from homeserver.protocol.identifiers import RoomID
from homeserver.telemetry.context import bound_facts
from homeserver.telemetry.trace import Tracer
from homeserver.web.answers import Empty
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import Params
from homeserver.web.paths import CLIENT_V3
from tests.unit.web.conftest import Serve, Served

PATH = "/_matrix/client/v3/rooms/!a:b/facts"


class RoomPath(Params, frozen=True):
    room_id: RoomID


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
        async with asyncio.timeout(5):
            await served.dispatch.drain()
    assert [line["status"] for line in lines] == [499]


async def test_a_request_is_a_span_with_its_operation(serve: Serve, routes: Routes) -> None:
    exporter = InMemorySpanExporter()
    served = await serve(routes)
    served.dispatch._tracer = tracer = Tracer(exporter)
    await served.call("GET", PATH, "alice")
    tracer.stop()
    [span] = exporter.get_finished_spans()
    assert span.name == "client.facts"
    assert dict(span.attributes or {}) == {"request_id": "r-1"}
