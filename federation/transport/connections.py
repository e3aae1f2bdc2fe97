"""Connections to other servers: pooled, over TLS, and only to addresses that are allowed.

An address is checked when it is resolved for a connection, and that connection uses it: a name
cannot change its address between the check and the use.
"""

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp import ClientSession  # noqa: TID251 - this is the client that is handed in
from aiohttp.abc import AbstractResolver
from yarl import URL

from homeserver.config.version import version
from homeserver.web.outgoing_http import AddressRules, GuardedResolver

# A name resolves, a connection is made and its certificate checked within this time.
CONNECT_SECONDS: Final = 10.0
# The longest silence while an answer is read.
SILENCE_SECONDS: Final = 30.0
# Shorter than servers and proxies keep an idle connection (75 s and more), so that requests do
# not run into connections that are being closed.
_KEEPALIVE_SECONDS: Final = 45.0
# To one server at a time: transactions go one after the other, the rest is queries.
_MAX_TO_ONE_SERVER: Final = 16
_MAX_CONNECTIONS: Final = 1000
_DNS_CACHE_SECONDS: Final = 60
# Servers behind proxies name themselves and their cache at length, but not more than this.
_MAX_HEADER_BYTES: Final = 8190
_MAX_HEADERS: Final = 100


class Route(msgspec.Struct, frozen=True):
    """Where and how to connect. Spec: server-server-api/#resolving-server-names"""

    # A DNS name, or an IP address without brackets.
    host: str
    port: int
    host_header: str
    # A DNS name, or an IP address without brackets: the certificate must be for it.
    certificate_name: str


class Connections:
    """The connections of a node to all other servers."""

    def __init__(
        self,
        *,
        rules: AddressRules,
        tls: ssl.SSLContext,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`resolver` finds addresses; None asks the name servers of the system."""
        self._rules = rules
        self._tls = tls
        self._resolver = resolver
        self._session: ClientSession | None = None
        self._is_closed = False

    def request(
        self,
        method: str,
        route: Route,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_ms: int,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Open a request; redirects are not followed. `target` is path and query, escaped.

        The block may read the body within the same time. Raises aiohttp.ClientError, OSError,
        TimeoutError.
        """
        if self._is_closed:
            raise OSError(None, "this node stops")
        # The client connects to an address without asking the resolver.
        if is_ip_literal(route.host) and not self._rules.allows(route.host):
            raise OSError(None, "the address may not be contacted")
        host = f"[{route.host}]" if ":" in route.host else route.host
        return self._client().request(
            method,
            URL(f"https://{host}:{route.port}{target}", encoded=True),
            headers={"Host": route.host_header, **(headers or {})},
            data=body,
            allow_redirects=False,
            server_hostname=route.certificate_name,
            timeout=aiohttp.ClientTimeout(
                total=timeout_ms / 1000,
                sock_connect=CONNECT_SECONDS,
                sock_read=SILENCE_SECONDS,
            ),
        )

    async def close(self) -> None:
        """Close all connections and make no more."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _client(self) -> ClientSession:
        if self._session is None:
            resolver = self._resolver or aiohttp.AsyncResolver()
            self._session = ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self._rules, resolver),
                    ssl=self._tls,
                    limit=_MAX_CONNECTIONS,
                    limit_per_host=_MAX_TO_ONE_SERVER,
                    keepalive_timeout=_KEEPALIVE_SECONDS,
                    ttl_dns_cache=_DNS_CACHE_SECONDS,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"matrix-homeserver/{version()}"},
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                max_headers=_MAX_HEADERS,
                trust_env=False,
            )
        return self._session


def tls_context(ca_files: Sequence[Path]) -> ssl.SSLContext:
    """Trust the authorities of the system and those in the files. Reads files: use a thread.

    Raises OSError, ssl.SSLError: a file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in ca_files:
        context.load_verify_locations(cafile=path)
    return context


def is_ip_literal(host: str) -> bool:
    """Whether a host, without brackets, is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
