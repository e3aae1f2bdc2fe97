"""What the endpoint kit costs on top of a bare aiohttp server: CPU time per request.

    python -m benchmarks.dispatch [requests]

Budget: at most 40 µs of CPU more than bare aiohttp. The load comes from another process
over keep-alive connections; the figure is the CPU time of the server process alone.
"""

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Annotated

import uvloop
from aiohttp import web
from msgspec import Meta

from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.logs import LoggingSection
from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.protocol.identifiers import EventID, RoomID, UserID
from homeserver.telemetry.clock import SystemClock
from homeserver.telemetry.log import configure_logging
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.shutdown import Shutdown
from homeserver.telemetry.trace import Tracer
from homeserver.web.authentication import Authentication
from homeserver.web.authenticators import Assertion, NoServerSignatures
from homeserver.web.dispatch import Dispatch, DispatchSettings
from homeserver.web.endpoint import Auth, RateLimit, bind, endpoint
from homeserver.web.params import Body, Params, RequestFacts
from homeserver.web.paths import CLIENT_V3
from homeserver.web.rate_limit import RateLimiter
from homeserver.web.requester import Requester
from homeserver.web.server import HttpServer

PATH = "/_matrix/client/v3/rooms/!room:example.org/send/m.room.message/txn1"
BODY = json.dumps({"body": "hello " * 20, "msgtype": "m.text"}).encode()
CONNECTIONS = 8


class SendPath(Params, frozen=True):
    room_id: RoomID
    event_type: str
    txn_id: Annotated[str, Meta(max_length=255)]


class SendBody(Body, frozen=True):
    body: str
    msgtype: str


class SendAnswer(Body, frozen=True):
    event_id: EventID


class SendRoutes:
    @endpoint(
        "PUT",
        CLIENT_V3 / "rooms/{room_id}/send/{event_type}/{txn_id}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.MESSAGE,
        spec="ours/#benchmark",
    )
    async def send(self, requester: Requester, path: SendPath, body: SendBody) -> SendAnswer:
        """Answer an event ID."""
        return SendAnswer(event_id=EventID("$abcdefghijklmnopqrstuvwxyz0123456789"))


class OneToken:
    _requester = Requester(user_id=UserID("@alice:example.org"))

    async def authenticate(
        self, token: str, *, assertion: Assertion, request: RequestFacts
    ) -> Requester:
        return self._requester


async def serve_kit(bound: Connection) -> None:
    configure_logging(LoggingSection(format="json"), open("/dev/null", "w"))  # noqa: SIM115, PTH123
    clock, metrics, shutdown = SystemClock(), Metrics(), Shutdown()
    fast = RateLimitSettings(per_second=1e9, burst=10**9)
    limits = RateLimitsSection(groups=RateLimitGroups(message=fast))
    dispatch = Dispatch(
        bind(SendRoutes()),
        authentication=Authentication(OneToken(), NoServerSignatures()),
        rate_limiter=RateLimiter(clock, metrics, limits),
        clock=clock,
        metrics=metrics,
        tracer=Tracer(),
        settings=DispatchSettings(),
    )
    [address] = await HttpServer(dispatch, [Listener(port=0)], shutdown).start()
    bound.send(int(address.rpartition(":")[2]))
    await asyncio.Event().wait()


async def serve_bare(bound: Connection) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        content = json.loads(await request.read())
        assert content["msgtype"]
        return web.Response(
            body=b'{"event_id":"$abcdefghijklmnopqrstuvwxyz0123456789"}',
            content_type="application/json",
        )

    server = await asyncio.get_running_loop().create_server(
        web.Server(answer, access_log=None), "127.0.0.1", 0
    )
    bound.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def run_server(name: str, bound: Connection) -> None:
    uvloop.run({"kit": serve_kit, "bare": serve_bare}[name](bound))


def load(port: int, requests: int) -> None:
    """Send requests over a few connections, one at a time on each, all in flight together."""
    request = (
        f"PUT {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer abc\r\n"
        f"User-Agent: bench\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for _ in range(requests // CONNECTIONS):
        for each in sockets:
            each.sendall(request)
        for each in sockets:
            answer = spin_until_answered(each)
            assert answer.startswith(b"HTTP/1.1 200"), answer
    for each in sockets:
        each.close()


def spin_until_answered(connection: socket.socket) -> bytes:
    """Receive without sleeping: waking a sleeper would be charged to whoever answers slowly."""
    while True:
        try:
            return connection.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, user mode and kernel."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def measure(name: str, requests: int) -> float:
    """Return the microseconds of CPU that a request costs."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=run_server, args=(name, theirs), daemon=True)
    server.start()
    port = ours.recv()
    load(port, 800)
    assert server.pid is not None
    before, started = cpu_seconds(server.pid), time.perf_counter()
    load(port, requests)
    used, lasted = cpu_seconds(server.pid) - before, time.perf_counter() - started
    server.terminate()
    server.join()
    print(f"{name:5} {used / requests * 1e6:6.1f} µs CPU   {requests / lasted:7.0f} requests/s")
    return used / requests * 1e6


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rounds = [(measure("bare", requests), measure("kit", requests)) for _ in range(3)]
    extra = [kit - bare for bare, kit in rounds]
    print(
        f"kit costs {statistics.median(extra):.1f} µs more (from {min(extra):.1f} to"
        f" {max(extra):.1f}); budget 40 µs"
    )


if __name__ == "__main__":
    main()
