"""Requests to addresses that the configuration or a user names, kept out of private networks.

Every resolved address is checked when the connection is made, so that a name cannot change its
address between the check and the use.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import ClientSession  # noqa: TID251 - this is the client that is handed in
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.values import IpRange
from homeserver.errors import RemoteError
from homeserver.protocol.canonical_json import decode_json
from homeserver.protocol.errors import InvalidJson
from homeserver.protocol.json_types import JsonValue

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10, connect=5)
# Answers to forms are verdicts of a few hundred bytes.
_MAX_ANSWER_BYTES: Final = 64 * 1024
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRules:
    """Which addresses may be contacted: what is allowed wins over what is blocked."""

    def __init__(self, allowed: Sequence[IpRange], blocked: Sequence[IpRange]) -> None:
        self._allowed = [each.network for each in allowed]
        self._blocked = [each.network for each in blocked]

    def allows(self, address: str) -> bool:
        """Whether an IP address in text form may be contacted; IPv4 inside IPv6 counts as IPv4."""
        try:
            parsed = ipaddress.ip_address(address.split("%", 1)[0])
        except ValueError:
            return False
        candidates: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [parsed]
        if isinstance(parsed, ipaddress.IPv6Address):
            candidates += _inner_addresses(parsed)
        if any(each in network for each in candidates for network in self._allowed):
            return True
        return not any(each in network for each in candidates for network in self._blocked)


def _inner_addresses(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses to which packets for an IPv6 address may be led on."""
    inner = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    inner += address.teredo or ()
    low = int(address) & 0xFFFF_FFFF
    # IPv4-compatible addresses, those of NAT64 gateways (RFC 6052), and ISATAP's (RFC 5214).
    is_isatap = (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE
    if int(address) >> 32 == 0 or address in _NAT64 or is_isatap:
        inner.append(ipaddress.IPv4Address(low))
    return inner


class GuardedResolver(AbstractResolver):
    """Resolves names and leaves out the addresses that may not be contacted."""

    def __init__(self, rules: AddressRules, resolver: AbstractResolver | None = None) -> None:
        """`resolver` finds the addresses; None asks the system, in threads."""
        self._rules = rules
        self._resolver = resolver or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses. Raises OSError: there is none."""
        found = await self._resolver.resolve(host, port, family)
        permitted = [each for each in found if self._rules.allows(each["host"])]
        if not permitted:
            raise OSError(None, f"{host} has no address that may be contacted")
        return permitted

    async def close(self) -> None:
        """Close the resolver."""
        await self._resolver.close()


def guarded_connector(
    rules: AddressRules,
    *,
    verify_tls: bool,
    resolver: AbstractResolver | None = None,
    limit_per_host: int = 0,
) -> aiohttp.TCPConnector:
    """Return what opens connections to permitted addresses only, however they were found.

    `resolver` finds the addresses of names; None asks the system. `limit_per_host` 0 is none.
    """

    def open_socket(
        address: tuple[Any, ...],  # family, kind, protocol, canonical name, address
    ) -> socket.socket:
        # The last moment: also for addresses that stand in the URL and are not resolved.
        family, kind, protocol, _, target = address
        if not rules.allows(target[0]):
            raise OSError(None, "the address may not be contacted")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        resolver=GuardedResolver(rules, resolver),
        ssl=verify_tls,
        socket_factory=open_socket,
        limit_per_host=limit_per_host,
    )


class JsonAnswer(msgspec.Struct, frozen=True):
    """An answer of any status; `content` is None when the body is no JSON."""

    status: int
    content: JsonValue


class OutgoingHttp:
    """A client for everything but other homeservers."""

    def __init__(self, settings: OutgoingHttpSection) -> None:
        self._rules = AddressRules(settings.allowed_ip_ranges, settings.blocked_ip_ranges)
        self._verify_tls = settings.verify_tls
        self._session: ClientSession | None = None

    async def post_form(self, url: str, fields: Mapping[str, str]) -> JsonValue:
        """Send a form and return the decoded JSON of the answer. Raises RemoteError."""
        host = URL(url).host or ""
        try:
            # An address in the URL is not resolved, so the resolver does not see it.
            if _is_address(host) and not self._rules.allows(host):
                raise RemoteError(host, "the address may not be contacted")
            async with self._client().post(url, data=fields, allow_redirects=False) as response:
                if response.status != 200:
                    raise RemoteError(host, "unexpected status", status=response.status)
                return decode_json(await _read_all(response, host))
        except (aiohttp.ClientError, OSError, TimeoutError, InvalidJson) as error:
            raise RemoteError(host, str(error) or type(error).__name__) from error

    async def request_json(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> JsonAnswer:
        """Send a request with a body, of JSON or else, or with none; return the decoded answer.

        `url` is sent as it is, percent-encoded already. Raises RemoteError: no answer in time,
        or one over 64 KiB.
        """
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = content_type
        status, raw = await self._exchange(method, url, body, sent)
        try:
            return JsonAnswer(status, decode_json(raw))
        except InvalidJson:
            return JsonAnswer(status, None)

    async def get_bytes(self, url: str) -> bytes:
        """Return what is at an address. Raises RemoteError: any status but 200, too."""
        status, raw = await self._exchange("GET", url, None, {})
        if status != 200:
            raise RemoteError(URL(url, encoded=True).host or "", "unexpected status", status=status)
        return raw

    async def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            target = URL(url, encoded=True)
        except ValueError as error:
            raise RemoteError("", "the address is no URL") from error
        host = target.host or ""
        try:
            if _is_address(host) and not self._rules.allows(host):
                raise RemoteError(host, "the address may not be contacted")
            async with self._client().request(
                method, target, data=body, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await _read_all(response, host)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise RemoteError(host, str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> ClientSession:
        if self._session is None:
            connector = guarded_connector(self._rules, verify_tls=self._verify_tls)
            self._session = ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=False)
        return self._session


async def _read_all(response: aiohttp.ClientResponse, host: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise RemoteError(host, "the answer is too large")
    return bytes(body)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
