"""Delegation by documents: fetched from where a host's web server is, and remembered."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from federation.transport.connections import Connections, tls_context
from federation.transport.well_known import WellKnown
from homeserver.config.values import PRIVATE_RANGES
from homeserver.telemetry.metrics import Metrics
from homeserver.telemetry.tasks import Tasks
from homeserver.web.outgoing_http import AddressRules
from tests.support.certificates import Authority
from tests.support.clock import FakeClock
from tests.support.federation import LOOPBACK
from tests.support.peer_server import PeerServer, drips, never_ends, peer_server, text

PATH = "/.well-known/matrix/server"
HOST = "a.example"
MINUTE, HOUR = 60, 3600
GOOD = '{"m.server": "m.example:443"}'


class Addresses(AbstractResolver):
    """Leads every name, at whatever port, to the port of a peer on loopback."""

    def __init__(self, peer: PeerServer, address: str = "127.0.0.1") -> None:
        self._port = int(peer.name.rpartition(":")[2])
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self.address, port=self._port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None: ...


@pytest.fixture
async def web(authority: Authority) -> AsyncIterator[PeerServer]:
    """The web server of the host."""
    async with peer_server(authority, host=HOST) as started:
        yield started


@pytest.fixture
def addresses(web: PeerServer) -> Addresses:
    return Addresses(web)


@pytest.fixture
async def connections(authority: Authority, addresses: Addresses) -> AsyncIterator[Connections]:
    made = Connections(
        rules=AddressRules([LOOPBACK], PRIVATE_RANGES),
        tls=tls_context([authority.ca_file]),
        resolver=addresses,
    )
    yield made
    await made.close()


@pytest.fixture
async def well_known(connections: Connections, clock: FakeClock) -> AsyncIterator[WellKnown]:
    tasks = Tasks(clock, Metrics())
    yield WellKnown(connections, clock, tasks)
    await tasks.stop()


async def test_document_delegates(well_known: WellKnown, web: PeerServer) -> None:
    web.answers("GET", PATH, text(GOOD))
    assert await well_known.delegated(HOST) == "m.example:443"
    [received] = web.received
    assert (received.headers["Host"], received.target) == (HOST, PATH)
    assert "Authorization" not in received.headers


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "{}", '{"m.server": 5}', '{"m.server": "not a name"}', '{"m.server": ""}'],
)
async def test_invalid_document_does_not_delegate(
    well_known: WellKnown, web: PeerServer, body: str
) -> None:
    web.answers("GET", PATH, text(body))
    assert await well_known.delegated(HOST) is None


async def test_endless_document_does_not_delegate(well_known: WellKnown, web: PeerServer) -> None:
    web.answers("GET", PATH, never_ends)
    assert await well_known.delegated(HOST) is None


async def test_slow_document_does_not_delegate(
    well_known: WellKnown, web: PeerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federation.transport.well_known._TIMEOUT_SECONDS", 0.2)
    web.answers("GET", PATH, drips)
    assert await well_known.delegated(HOST) is None


@pytest.mark.parametrize(
    ("headers", "fresh_seconds"),
    [
        ({}, 24 * HOUR),
        ({"Cache_Control": "max-age=7200"}, 2 * HOUR),
        ({"Cache_Control": 'public, MAX-AGE="7200"'}, 2 * HOUR),
        ({"Cache_Control": "max-age=99999999999999999999"}, 48 * HOUR),
        ({"Cache_Control": "max-age=0"}, 5 * MINUTE),
        ({"Cache_Control": "no-store"}, 5 * MINUTE),
        ({"Cache_Control": "max-age=x"}, 24 * HOUR),
        ({"Expires": "Wed, 15 Nov 2023 00:13:20 GMT"}, 2 * HOUR),
        ({"Expires": "0"}, 24 * HOUR),
        ({"Expires": "Wed, 15 Nov 2023 00:13:20 GMT", "Cache_Control": "max-age=3600"}, HOUR),
    ],
)
async def test_document_is_remembered_as_its_headers_say(
    well_known: WellKnown,
    web: PeerServer,
    clock: FakeClock,
    headers: dict[str, str],
    fresh_seconds: int,
) -> None:
    web.answers("GET", PATH, text(GOOD, **headers))
    await well_known.delegated(HOST)
    clock.tick(fresh_seconds - 2)
    await well_known.delegated(HOST)
    assert len(web.received) == 1
    clock.tick(4)
    await well_known.delegated(HOST)
    assert len(web.received) == 2


async def test_absence_is_remembered_for_an_hour(
    well_known: WellKnown, web: PeerServer, clock: FakeClock
) -> None:
    assert await well_known.delegated(HOST) is None
    clock.tick(HOUR - 1)
    assert await well_known.delegated(HOST) is None
    assert len(web.received) == 1
    web.answers("GET", PATH, text(GOOD))
    clock.tick(1)
    assert await well_known.delegated(HOST) == "m.example:443"


async def test_broken_web_server_is_left_alone_ever_longer(
    well_known: WellKnown, web: PeerServer, clock: FakeClock
) -> None:
    web.answers("GET", PATH, text("", status=503))
    waits = (1, 2, 4, 8, 16, 32, 60, 60)
    for count, minutes in enumerate(waits, start=1):
        await well_known.delegated(HOST)
        clock.tick(minutes * MINUTE - 1)
        await well_known.delegated(HOST)
        assert len(web.received) == count
        clock.tick(1)


async def test_last_document_serves_while_the_web_server_is_broken(
    well_known: WellKnown, web: PeerServer, clock: FakeClock
) -> None:
    web.answers("GET", PATH, text(GOOD))
    await well_known.delegated(HOST)
    web.answers("GET", PATH, text("", status=503))
    clock.tick(24 * HOUR)
    assert await well_known.delegated(HOST) == "m.example:443"
    clock.tick(24 * HOUR)
    assert await well_known.delegated(HOST) is None


async def test_one_request_serves_all_who_wait(well_known: WellKnown, web: PeerServer) -> None:
    web.answers("GET", PATH, text(GOOD))
    found = await asyncio.gather(*(well_known.delegated(HOST) for _ in range(10)))
    assert set(found) == {"m.example:443"}
    assert len(web.received) == 1


async def test_redirects_are_followed(well_known: WellKnown, web: PeerServer) -> None:
    web.answers("GET", PATH, text("", 302, Location="/one"))
    web.answers("GET", "/one", text("", 308, Location=f"https://{HOST}/two?x=1"))
    web.answers("GET", "/two", text(GOOD))
    assert await well_known.delegated(HOST) == "m.example:443"


@pytest.mark.parametrize(
    "location",
    [PATH, f"http://{HOST}/plain", "https://[", "", "https://b.example/", "https://10.0.0.1/"],
)
async def test_redirects_that_lead_nowhere_are_not(
    well_known: WellKnown, web: PeerServer, location: str
) -> None:
    """In a circle, to plain HTTP, to no URL, to a name that the server has no certificate for."""
    web.answers("GET", "/plain", text(GOOD))
    web.answers("GET", "/", text(GOOD))
    web.answers("GET", PATH, text("", 302, Location=location))
    assert await well_known.delegated(HOST) is None


async def test_number_of_redirects_is_bounded(well_known: WellKnown, web: PeerServer) -> None:
    web.answers("GET", PATH, text("", 302, Location="/0"))
    for number in range(20):
        web.answers("GET", f"/{number}", text("", 302, Location=f"/{number + 1}"))
    assert await well_known.delegated(HOST) is None
    assert len(web.received) == 6


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "::ffff:192.168.0.1"])
async def test_name_that_leads_into_a_private_network_is_not_contacted(
    well_known: WellKnown, addresses: Addresses, web: PeerServer, address: str
) -> None:
    addresses.address = address
    assert await well_known.delegated(HOST) is None
    assert web.received == []
