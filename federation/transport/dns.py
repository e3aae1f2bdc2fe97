"""SRV records, which the system's resolver does not know."""

from typing import Protocol

import aiodns
import msgspec
import pycares


class SrvRecord(msgspec.Struct, frozen=True):
    """One server of a service. Spec: RFC 2782."""

    priority: int
    weight: int
    port: int
    # "." says that the service is decidedly not there.
    target: str


class SrvAnswer(msgspec.Struct, frozen=True):
    """The records of a name, none if it has none; good for `ttl_seconds`."""

    records: tuple[SrvRecord, ...]
    ttl_seconds: int


class Dns(Protocol):
    """Looks up SRV records."""

    async def srv(self, name: str) -> SrvAnswer | None:
        """Return the records of a name; None: nobody could be asked."""
        ...

    async def close(self) -> None:
        """Stop looking."""
        ...


class SystemDns:
    """Asks the name servers that the system is configured with."""

    def __init__(self) -> None:
        self._resolver: aiodns.DNSResolver | None = None

    async def srv(self, name: str) -> SrvAnswer | None:
        """Return the records of a name; None: no name server gave an answer."""
        # Made here, because it belongs to the running loop.
        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(timeout=_SECONDS, tries=_TRIES)
        try:
            answer = (await self._resolver.query_dns(name, "SRV")).answer
        except aiodns.error.DNSError as error:
            return SrvAnswer((), _NOTHING_SECONDS) if error.args[0] in _NOT_THERE else None
        found = [(each.data, each.ttl) for each in answer]
        records = [(data, ttl) for data, ttl in found if isinstance(data, pycares.SRVRecordData)]
        return SrvAnswer(
            tuple(
                SrvRecord(data.priority, data.weight, data.port, _text(data.target))
                for data, _ in records
            ),
            min((ttl for _, ttl in records), default=_NOTHING_SECONDS),
        )

    async def close(self) -> None:
        """Give the name servers up."""
        if self._resolver is not None:
            await self._resolver.close()


_SECONDS = 3.0
_TRIES = 2
# That there is no record is remembered for this long.
_NOTHING_SECONDS = 300
_NOT_THERE = frozenset((aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA))


def _text(target: str | bytes) -> str:
    return target.decode("ascii", "replace") if isinstance(target, bytes) else target
