"""Facts of a connection: where a request comes from, trusted proxies considered."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import count
from typing import Final

from aiohttp import web

from homeserver.web.params import RequestFacts

# What a proxy may hand on as a request ID; anything else is not worth a log entry.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_USER_AGENT: Final = 512
_MAX_ACCEPT_LANGUAGE: Final = 200
# Stands among trusted proxies for whoever connects to a Unix socket.
UNIX_PEERS: Final = "unix"
_MAPPED_IPV4: Final = "::ffff:"


class RequestIds:
    """Numbers the requests of a node; `prefix` tells nodes and their restarts apart."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._count = count(1)

    def next(self) -> str:
        """Return a request ID that was not given before."""
        return f"{self._prefix}-{next(self._count):x}"


class ConnectionFacts:
    """Reads the facts of requests that one listener takes.

    `X-Forwarded-For` and `X-Request-ID` count only when the peer is in `trusted_proxies`
    (networks, or UNIX_PEERS): anybody can send them.
    """

    def __init__(
        self, listener: str, trusted_proxies: Sequence[str], request_ids: RequestIds
    ) -> None:
        """Raises ValueError: a trusted proxy is no network."""
        self._listener = listener
        self._ids = request_ids
        self._trusts_unix = UNIX_PEERS in trusted_proxies
        self._networks: Final[list[IPv4Network | IPv6Network]] = [
            ip_network(proxy) for proxy in trusted_proxies if proxy != UNIX_PEERS
        ]

    def of(self, request: web.BaseRequest) -> RequestFacts:
        """Collect the facts of a request."""
        headers = request.headers
        peer = _peer(request)
        request_id = None
        if self._is_trusted(peer):
            peer = self._forwarded_for(",".join(headers.getall("X-Forwarded-For", ())), peer)
            request_id = _acceptable(headers.get("X-Request-ID"))
        return RequestFacts(
            ip=peer,
            user_agent=header_text(headers.get("User-Agent", "")[:_MAX_USER_AGENT]),
            request_id=request_id or self._ids.next(),
            listener=self._listener,
            cookie=header_text(headers.get("Cookie", "")),
            accept_language=header_text(headers.get("Accept-Language", "")[:_MAX_ACCEPT_LANGUAGE]),
        )

    def _is_trusted(self, address: str) -> bool:
        if not address:
            return self._trusts_unix
        if not self._networks:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _forwarded_for(self, header: str, peer: str) -> str:
        """Walk back from the nearest proxy to the first address that is not trusted."""
        for text in reversed(header.split(",")):
            address = _address(text.strip())
            if address is None:
                # What stands further left was written by whoever wrote this.
                return peer
            peer = address
            if not self._is_trusted(peer):
                return peer
        return peer


def header_text(value: str) -> str:
    """Return a header as text that can be encoded: bytes that are not UTF-8 are replaced."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def rate_limit_key(ip: str) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 that a customer gets."""
    if ":" not in ip:
        return ip
    try:
        return str(ip_network((int(ip_address(ip)) >> 64 << 64, 64)).network_address)
    except ValueError:
        return ip


def _peer(request: web.BaseRequest) -> str:
    name = request.protocol.peername
    # A Unix socket has a string or bytes for a name.
    if not isinstance(name, (tuple, list)):
        return ""
    address = str(name[0])
    return address.removeprefix(_MAPPED_IPV4) if "." in address else address


def _address(text: str) -> str | None:
    # Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # IPv4 users behind a proxy that writes mapped addresses are not all one IPv6 customer.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _acceptable(request_id: str | None) -> str | None:
    return request_id if request_id and _REQUEST_ID.fullmatch(request_id) else None
