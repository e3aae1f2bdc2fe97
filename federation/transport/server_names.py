"""From a server name to where and how to connect.

Spec: server-server-api/#resolving-server-names
"""

import secrets
from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from federation.transport.connections import Route, is_ip_literal
from federation.transport.dns import Dns, SrvRecord
from homeserver.protocol.identifiers import ServerName, split_server_name
from homeserver.telemetry.clock import Clock

DEFAULT_PORT: Final = 8448
# "[Deprecated]" the second: it was never registered by IANA.
_SERVICES: Final = ("_matrix-fed._tcp", "_matrix._tcp")
_MAX_PORT: Final = 65_535
# More records than this are no redundancy but a list of victims.
_MAX_ROUTES: Final = 8
_MIN_SRV_SECONDS: Final = 60
_MAX_SRV_SECONDS: Final = 24 * 60 * 60
_MAX_REMEMBERED: Final = 20_000


class Delegations(Protocol):
    """Knows to which server a host delegates: `WellKnown`."""

    async def delegated(self, host: str) -> ServerName | None:
        """Return the server that a host names; None: it names none."""
        ...


class _SrvRoutes(msgspec.Struct, frozen=True):
    """What SRV records say of a host."""

    records: tuple[SrvRecord, ...]
    expires_at: float


class ServerNames:
    """Resolves server names."""

    def __init__(self, delegations: Delegations, dns: Dns, clock: Clock) -> None:
        self._delegations = delegations
        self._dns = dns
        self._clock = clock
        self._random = secrets.SystemRandom()
        self._srv: OrderedDict[str, _SrvRoutes] = OrderedDict()

    async def routes(self, server: ServerName) -> list[Route]:
        """Return the ways to a server, to be tried in order.

        Empty: its name has no usable port, or it says that no Matrix is served there.
        """
        # 1. "If the hostname is an IP literal", and 2. "the server name includes an explicit
        # port".
        routes = _direct(server)
        if routes is not None:
            return routes
        # 3. "a regular HTTPS request is made to https://<hostname>/.well-known/matrix/server"
        delegated = await self._delegations.delegated(server)
        if delegated is None:
            # 4. to 6. "If the /.well-known request resulted in an error response"
            return await self._by_srv(server)
        # 3.1. and 3.2. are like 1. and 2., for the delegated name.
        routes = _direct(delegated)
        # 3.3. to 3.5. are like 4. to 6.
        return await self._by_srv(delegated) if routes is None else routes

    async def _by_srv(self, host: str) -> list[Route]:
        """Find a host without a port: by SRV records, or at port 8448.

        Host header and certificate are the host's, whatever DNS says.
        """
        records = await self._records(host)
        if not records:
            return [Route(host, DEFAULT_PORT, host, host)]
        return [
            Route(record.target.rstrip("."), record.port, host, host)
            for record in self._ordered(records)
            # RFC 2782: "." means that the service is decidedly not available.
            if record.target.rstrip(".") and 0 < record.port <= _MAX_PORT
        ]

    async def _records(self, host: str) -> tuple[SrvRecord, ...]:
        remembered = self._srv.get(host)
        if remembered is not None and remembered.expires_at > self._clock.monotonic():
            return remembered.records
        lifetime_seconds = _MAX_SRV_SECONDS
        records: tuple[SrvRecord, ...] = ()
        for service in _SERVICES:
            answer = await self._dns.srv(f"{service}.{host}")
            if answer is None:
                # Nothing is remembered of name servers that are out of reach.
                return ()
            lifetime_seconds = min(lifetime_seconds, answer.ttl_seconds)
            records = answer.records
            if records:
                break
        self._remember(host, records, max(lifetime_seconds, _MIN_SRV_SECONDS))
        return records

    def _remember(self, host: str, records: tuple[SrvRecord, ...], seconds: int) -> None:
        self._srv[host] = _SrvRoutes(records, self._clock.monotonic() + seconds)
        self._srv.move_to_end(host)
        if len(self._srv) > _MAX_REMEMBERED:
            self._srv.popitem(last=False)

    def _ordered(self, records: tuple[SrvRecord, ...]) -> list[SrvRecord]:
        """Order by priority, and by chance in proportion to the weight where that is the same."""

        def place(record: SrvRecord) -> tuple[int, float]:
            # RFC 2782: records of weight 0 have a very small chance of being first.
            weight = record.weight or 0.001
            return record.priority, -(self._random.random() ** (1 / weight))

        return sorted(records, key=place)[:_MAX_ROUTES]


def _direct(server: ServerName) -> list[Route] | None:
    """Return the way to an IP literal or a name with a port; None for any other name."""
    host, port = split_server_name(server)
    bare = host.removeprefix("[").removesuffix("]")
    is_literal = is_ip_literal(bare)
    if port is None and not is_literal:
        return None
    chosen = DEFAULT_PORT if port is None else port
    # The certificate is for the address or the name, without the port.
    return [Route(bare, chosen, server, bare)] if 0 < chosen <= _MAX_PORT else []
