"""Every step of resolving a server name. Spec: server-server-api/#resolving-server-names"""

import pytest

from federation.transport.connections import Route
from federation.transport.dns import SrvAnswer, SrvRecord
from federation.transport.server_names import ServerNames
from homeserver.protocol.identifiers import ServerName
from tests.support.clock import FakeClock


class Delegations:
    """The well-known documents by host; what is not there does not delegate."""

    def __init__(self, **documents: str) -> None:
        self._documents = {name.replace("_", "."): each for name, each in documents.items()}
        self.asked: list[str] = []

    async def delegated(self, host: str) -> ServerName | None:
        self.asked.append(host)
        named = self._documents.get(host)
        return None if named is None else ServerName(named)


class FakeDns:
    """SRV records by name."""

    def __init__(self, records: dict[str, list[SrvRecord]] | None = None) -> None:
        self.records = records or {}
        self.asked: list[str] = []
        self.is_out_of_reach = False

    async def srv(self, name: str) -> SrvAnswer | None:
        self.asked.append(name)
        if self.is_out_of_reach:
            return None
        return SrvAnswer(tuple(self.records.get(name, ())), 300)

    async def close(self) -> None: ...


def fed(host: str) -> str:
    return f"_matrix-fed._tcp.{host}"


def old(host: str) -> str:
    return f"_matrix._tcp.{host}"


async def routes(
    name: str, dns: FakeDns | None = None, delegations: Delegations | None = None
) -> list[Route]:
    names = ServerNames(delegations or Delegations(), dns or FakeDns(), FakeClock())
    return await names.routes(ServerName(name))


@pytest.mark.parametrize(
    ("name", "route"),
    [
        # 1. IP literals
        ("192.0.2.1", Route("192.0.2.1", 8448, "192.0.2.1", "192.0.2.1")),
        ("192.0.2.1:443", Route("192.0.2.1", 443, "192.0.2.1:443", "192.0.2.1")),
        ("[2001:db8::1]", Route("2001:db8::1", 8448, "[2001:db8::1]", "2001:db8::1")),
        ("[2001:db8::1]:1", Route("2001:db8::1", 1, "[2001:db8::1]:1", "2001:db8::1")),
        # 2. an explicit port
        ("a.example:99", Route("a.example", 99, "a.example:99", "a.example")),
    ],
)
async def test_literals_and_ports_need_no_discovery(name: str, route: Route) -> None:
    dns, delegations = FakeDns(), Delegations(a_example="b.example:1")
    assert await routes(name, dns, delegations) == [route]
    assert dns.asked == delegations.asked == []


@pytest.mark.parametrize(
    ("document", "route"),
    [
        # 3.1.
        ("192.0.2.1", Route("192.0.2.1", 8448, "192.0.2.1", "192.0.2.1")),
        ("[2001:db8::1]:9", Route("2001:db8::1", 9, "[2001:db8::1]:9", "2001:db8::1")),
        # 3.2.
        ("m.example:443", Route("m.example", 443, "m.example:443", "m.example")),
        # 3.5.
        ("m.example", Route("m.example", 8448, "m.example", "m.example")),
    ],
)
async def test_delegation_is_followed(document: str, route: Route) -> None:
    dns = FakeDns({fed("a.example"): [SrvRecord(1, 1, 1, "wrong.example")]})
    assert await routes("a.example", dns, Delegations(a_example=document)) == [route]


async def test_records_of_the_delegated_name_lead_on_under_its_name() -> None:
    """3.3."""
    dns = FakeDns(
        {
            fed("m.example"): [SrvRecord(1, 1, 99, "host.example.")],
            old("m.example"): [SrvRecord(1, 1, 1, "wrong.example")],
        }
    )
    found = await routes("a.example", dns, Delegations(a_example="m.example"))
    assert found == [Route("host.example", 99, "m.example", "m.example")]
    assert dns.asked == [fed("m.example")]


async def test_old_records_of_the_delegated_name_count_without_new_ones() -> None:
    """3.4."""
    dns = FakeDns({old("m.example"): [SrvRecord(1, 1, 99, "host.example")]})
    found = await routes("a.example", dns, Delegations(a_example="m.example"))
    assert found == [Route("host.example", 99, "m.example", "m.example")]


@pytest.mark.parametrize("service", [fed, old])
async def test_records_count_without_delegation(service: object) -> None:
    """4. and 5."""
    assert callable(service)
    dns = FakeDns({service("a.example"): [SrvRecord(1, 1, 99, "host.example")]})
    assert await routes("a.example", dns) == [Route("host.example", 99, "a.example", "a.example")]


async def test_name_without_anything_is_at_the_standard_port() -> None:
    """6."""
    dns = FakeDns()
    assert await routes("a.example", dns) == [Route("a.example", 8448, "a.example", "a.example")]
    assert dns.asked == [fed("a.example"), old("a.example")]


async def test_records_are_tried_in_the_order_of_their_priorities() -> None:
    records = [SrvRecord(priority, 0, 1, f"p{priority}.example") for priority in (3, 1, 2)]
    found = await routes("a.example", FakeDns({fed("a.example"): records}))
    assert [route.host for route in found] == ["p1.example", "p2.example", "p3.example"]


async def test_weight_decides_among_equal_priorities() -> None:
    records = [SrvRecord(1, 0, 1, "light.example"), SrvRecord(1, 65535, 1, "heavy.example")]
    dns = FakeDns({fed("a.example"): records})
    first = [(await routes("a.example", dns))[0].host for _ in range(20)]
    assert first.count("heavy.example") >= 18


@pytest.mark.parametrize("record", [SrvRecord(1, 1, 99, "."), SrvRecord(1, 1, 0, "h.example")])
async def test_service_that_is_declared_absent_is_not_looked_for_elsewhere(
    record: SrvRecord,
) -> None:
    assert await routes("a.example", FakeDns({fed("a.example"): [record]})) == []


@pytest.mark.parametrize("name", ["a.example:0", "a.example:65536", "192.0.2.1:99999"])
async def test_impossible_port_leads_nowhere(name: str) -> None:
    assert await routes(name) == []


async def test_number_of_routes_is_bounded() -> None:
    records = [SrvRecord(1, 1, 1, f"h{number}.example") for number in range(100)]
    assert len(await routes("a.example", FakeDns({fed("a.example"): records}))) == 8


async def test_records_are_remembered_for_as_long_as_they_last() -> None:
    dns, clock = FakeDns({fed("a.example"): [SrvRecord(1, 1, 1, "one.example")]}), FakeClock()
    names = ServerNames(Delegations(), dns, clock)
    await names.routes(ServerName("a.example"))
    dns.records[fed("a.example")] = [SrvRecord(1, 1, 1, "two.example")]
    [route] = await names.routes(ServerName("a.example"))
    assert route.host == "one.example"
    clock.tick(301)
    [route] = await names.routes(ServerName("a.example"))
    assert route.host == "two.example"


async def test_silent_name_servers_are_asked_again() -> None:
    dns = FakeDns({fed("a.example"): [SrvRecord(1, 1, 1, "one.example")]})
    names = ServerNames(Delegations(), dns, FakeClock())
    dns.is_out_of_reach = True
    [route] = await names.routes(ServerName("a.example"))
    assert (route.host, route.port) == ("a.example", 8448)
    dns.is_out_of_reach = False
    [route] = await names.routes(ServerName("a.example"))
    assert route.host == "one.example"
