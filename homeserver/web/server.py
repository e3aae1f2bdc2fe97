"""Listeners: sockets that answer HTTP, opened at the start and drained at the end."""

import asyncio
import logging
import socket
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from aiohttp.web_protocol import PayloadAccessError, RequestPayloadError

from homeserver.config.sections.listeners import Listener
from homeserver.telemetry.log import get_logger
from homeserver.telemetry.shutdown import Shutdown
from homeserver.web.connection import UNIX_PEERS
from homeserver.web.dispatch import Dispatch
from homeserver.web.paths import Api

log = get_logger(__name__)

# Longer than the usual reverse proxy keeps an idle connection, so that the proxy closes it.
_KEEPALIVE_SECONDS: Final = 75.0
# Request lines with identifiers of 255 bytes, escaped to three times that, and filters.
_MAX_LINE_BYTES: Final = 32_768
# Connections that wait to be accepted while the loop is busy.
_BACKLOG: Final = 1024
# How long clients whose request was refused early may go on sending before they are cut off.
_LINGER_SECONDS: Final = 5.0
# How long requests may take to finish once the node stops, of the 10 s that it has in all.
DRAIN_SECONDS: Final = 7.0
# aiohttp waits this long for the answer in progress and again for its cancellation.
_CLOSE_SECONDS: Final = 0.5


class _OwnErrors(logging.Filter):
    """Drops what aiohttp calls errors: requests that are no HTTP, and clients that leave.

    What fails in an endpoint is logged by the dispatch.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether somebody has to act on the record."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, _FAULTS_OF_CLIENTS)


_FAULTS_OF_CLIENTS: Final = (
    HttpProcessingError,
    PayloadAccessError,
    RequestPayloadError,
    ConnectionError,
)
# One for all listeners: a logger takes the same filter once.
_OWN_ERRORS: Final = _OwnErrors()


class _OpenListener(msgspec.Struct, frozen=True):
    """A listener that accepts connections."""

    server: web.Server
    sockets: asyncio.Server
    address: str
    unix_socket: Path | None = None


class HttpServer:
    """Opens the listeners of a node and closes them without cutting off answers."""

    def __init__(
        self,
        dispatch: Dispatch,
        listeners: Sequence[Listener],
        shutdown: Shutdown,
        *,
        shares_ports: bool = False,
    ) -> None:
        """`shares_ports`: several processes of this machine listen on the same addresses."""
        self._dispatch = dispatch
        self._listeners = listeners
        self._shutdown = shutdown
        self._shares_ports = shares_ports
        self._open: list[_OpenListener] = []

    @property
    def addresses(self) -> list[str]:
        """The addresses that are open: `http://127.0.0.1:8008`, `unix:/run/homeserver.sock`."""
        return [listener.address for listener in self._open]

    async def start(self) -> list[str]:
        """Open every listener, or none; returns the addresses with the ports they really got.

        Raises OSError, ssl.SSLError: an address or a certificate cannot be used.
        """
        try:
            for number, listener in enumerate(self._listeners):
                self._open.append(await self._start_one(f"listener{number}", listener))
        except BaseException:
            await self.drain(0)
            raise
        log.info("listening", addresses=self.addresses)
        return self.addresses

    async def drain(self, timeout_seconds: float = DRAIN_SECONDS) -> None:
        """Accept no more, wake long polls, let answers finish, then close what is left."""
        for listener in self._open:
            listener.sockets.close()
            if listener.unix_socket is not None:
                listener.unix_socket.unlink(missing_ok=True)
        self._shutdown.begin()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._dispatch.drain()
        except TimeoutError:
            log.warning("requests cut off by the stop", requests=self._dispatch.in_flight)
        # Idle connections close now, the others after the answer that is being written.
        for listener in self._open:
            listener.server.pre_shutdown()
        await asyncio.gather(*(listener.server.shutdown(_CLOSE_SECONDS) for listener in self._open))
        self._open.clear()

    async def _start_one(self, name: str, listener: Listener) -> _OpenListener:
        apis = frozenset(Api(api) for api in listener.serves)
        proxies = [str(proxy) for proxy in listener.trusted_proxies]
        server_logger.addFilter(_OWN_ERRORS)
        if listener.unix_socket is not None:
            proxies.append(UNIX_PEERS)
        server = web.Server(
            self._dispatch.responder(name, apis, proxies),
            # A client that leaves ends the work for it.
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_MAX_LINE_BYTES,
            access_log=None,
        )
        return await self._open_sockets(server, listener)

    async def _open_sockets(self, server: web.Server, listener: Listener) -> _OpenListener:
        loop = asyncio.get_running_loop()
        tls = _tls_of(listener)
        if listener.unix_socket is not None:
            bound = _bind_unix(listener.unix_socket, int(listener.unix_socket_mode, 8))
            sockets = await loop.create_unix_server(server, sock=bound, ssl=tls, backlog=_BACKLOG)
            address = f"unix:{listener.unix_socket}"
            return _OpenListener(server, sockets, address, listener.unix_socket)
        sockets = await loop.create_server(
            server,
            **_where(listener),
            ssl=tls,
            backlog=_BACKLOG,
            reuse_port=self._shares_ports or None,
        )
        return _OpenListener(server, sockets, _address(listener, sockets))


def _tls_of(listener: Listener) -> ssl.SSLContext | None:
    if listener.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listener.tls_certificate, listener.tls_key)
    return context


def _bind_unix(path: Path, mode: int) -> socket.socket:
    # What a killed server left behind is in the way; anything but a socket is not ours.
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        # Nobody can connect before the socket listens, so no one slips in before this.
        path.chmod(mode)
    except OSError:
        bound.close()
        raise
    return bound


def _where(listener: Listener) -> dict[str, Any]:
    if listener.address != "::" or not socket.has_dualstack_ipv6():
        return {"host": listener.address, "port": listener.port}
    # asyncio would take IPv6 alone; who listens on "::" means every address.
    bound = socket.create_server(
        ("::", listener.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
    )
    return {"sock": bound}


def _address(listener: Listener, sockets: asyncio.Server) -> str:
    scheme = "http" if listener.tls_certificate is None else "https"
    host = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"{scheme}://{host}:{sockets.sockets[0].getsockname()[1]}"
