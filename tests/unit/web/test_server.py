"""Listeners open, serve what they should, and close without cutting anyone off."""

import asyncio
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from homeserver.config.sections.listeners import Listener
from homeserver.config.values import IpRange
from homeserver.telemetry.shutdown import Shutdown
from homeserver.web.answers import Empty
from homeserver.web.dispatch import DispatchSettings
from homeserver.web.endpoint import Auth, endpoint
from homeserver.web.params import RequestFacts, Upload
from homeserver.web.paths import CLIENT_V3, FEDERATION_V1
from homeserver.web.server import HttpServer
from tests.unit.web.conftest import Serve, Served

CERTIFICATE = Path(__file__).with_name("tls_certificate.pem")
KEY = Path(__file__).with_name("tls_key.pem")
FACTS = "/_matrix/client/v3/facts"
WAIT = "/_matrix/client/v3/wait"


class Routes:
    def __init__(self) -> None:
        self.shutdown: Shutdown | None = None
        self.entered = asyncio.Event()
        self.cancelled = False

    @endpoint("GET", CLIENT_V3 / "facts", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def facts(self, request: RequestFacts) -> RequestFacts:
        """Tell the facts of the request."""
        return request

    @endpoint("GET", CLIENT_V3 / "wait", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def wait(self) -> Empty:
        """Wait for the shutdown, as long polls do, or for ever."""
        self.entered.set()
        try:
            await (self.shutdown or asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return Empty()

    @endpoint("POST", "/_matrix/media/v3/upload", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def upload(self, upload: Upload) -> dict[str, Any]:
        """Count an upload."""
        size = 0
        async for chunk in upload.chunks():
            size += len(chunk)
            self.entered.set()
        return {"size": size}

    @endpoint("GET", FEDERATION_V1 / "version", auth=Auth.NONE, rate_limit=None, spec="ours/#a")
    async def version(self) -> Empty:
        """Answer other servers."""
        return Empty()


@pytest.fixture
def routes() -> Routes:
    return Routes()


async def test_a_free_port_is_taken_and_told(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    [address] = served.server.addresses
    assert address.startswith("http://127.0.0.1:")
    assert served.port > 0
    assert (await served.call("GET", FACTS))[0] == 200


async def test_each_listener_serves_its_own_apis(serve: Serve, routes: Routes) -> None:
    listeners = (
        Listener(port=0, serves=("client",)),
        Listener(port=0, serves=("federation",)),
    )
    served = await serve(routes, listeners=listeners)
    for address, path, status in (
        (0, FACTS, 200),
        (0, "/_matrix/federation/v1/version", 404),
        (1, FACTS, 404),
        (1, "/_matrix/federation/v1/version", 200),
    ):
        url = served.server.addresses[address] + path
        async with served.http.get(url) as response:
            assert response.status == status


async def test_media_may_be_served_apart_from_the_rest_of_the_client_api(
    serve: Serve, routes: Routes
) -> None:
    served = await serve(routes, listeners=(Listener(port=0, serves=("media",)),))
    assert (await served.call("POST", "/_matrix/media/v3/upload", data=b"a"))[0] == 200
    assert (await served.call("GET", FACTS))[0] == 404


async def test_a_unix_socket_has_its_mode_and_is_gone_after_the_stop(
    serve: Serve, routes: Routes, tmp_path: Path
) -> None:
    path = tmp_path / "http.sock"
    listeners = (Listener(port=0), Listener(unix_socket=path, unix_socket_mode="0600"))
    served = await serve(routes, listeners=listeners)
    assert served.server.addresses[1] == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connector = aiohttp.UnixConnector(str(path))
    headers = {"X-Forwarded-For": "198.51.100.1"}
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector) as http,
        http.get(FACTS, headers=headers) as response,
    ):
        facts = await response.json()
    assert (facts["ip"], facts["listener"]) == ("198.51.100.1", "listener1")
    await served.server.drain(0.2)
    assert not path.exists()


async def test_a_socket_left_by_a_killed_server_is_replaced(
    serve: Serve, routes: Routes, tmp_path: Path
) -> None:
    path = tmp_path / "http.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    served = await serve(routes, listeners=(Listener(port=0), Listener(unix_socket=path)))
    assert len(served.server.addresses) == 2


async def test_a_file_in_the_place_of_a_socket_is_not_touched(
    serve: Serve, routes: Routes, tmp_path: Path
) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        await serve(routes, listeners=(Listener(unix_socket=path),))
    assert path.read_text() == "data"


async def test_nothing_stays_open_when_one_listener_cannot_open(routes: Routes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = Served([routes], [Listener(port=0), Listener(port=port)], DispatchSettings())
        with pytest.raises(OSError, match=str(port)):
            await served.server.start()
        assert served.server.addresses == []


async def test_tls_is_served_with_the_certificate(serve: Serve, routes: Routes) -> None:
    listener = Listener(port=0, tls_certificate=CERTIFICATE, tls_key=KEY)
    served = await serve(routes, listeners=(listener,))
    assert served.server.addresses[0].startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    assert (await served.call("GET", FACTS, ssl=trust))[0] == 200


async def test_a_broken_certificate_is_told_at_the_start(
    serve: Serve, routes: Routes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    with pytest.raises(ssl.SSLError):
        await serve(routes, listeners=(Listener(tls_certificate=broken, tls_key=KEY),))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_two_colons_mean_every_address(serve: Serve, routes: Routes) -> None:
    served = await serve(routes, listeners=(Listener(address="::", port=0),))
    async with served.http.get(f"http://127.0.0.1:{served.port}{FACTS}") as response:
        assert (await response.json())["ip"] == "127.0.0.1"


async def test_trusted_proxies_come_from_the_listener(serve: Serve, routes: Routes) -> None:
    proxies = (IpRange("127.0.0.0/8"),)
    served = await serve(routes, listeners=(Listener(port=0, trusted_proxies=proxies),))
    headers = {"X-Forwarded-For": "198.51.100.1"}
    _, facts = await served.call("GET", FACTS, headers=headers)
    assert facts["ip"] == "198.51.100.1"


async def test_several_processes_may_share_a_port(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    first = HttpServer(served.dispatch, [Listener(port=0)], Shutdown(), shares_ports=True)
    [address] = await first.start()
    port = int(address.rpartition(":")[2])
    second = HttpServer(served.dispatch, [Listener(port=port)], Shutdown(), shares_ports=True)
    assert await second.start() == [address]
    await first.drain(0.2)
    await second.drain(0.2)


async def test_long_polls_are_woken_and_answered_at_the_stop(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    routes.shutdown = served.shutdown
    waiting = asyncio.create_task(served.call("GET", WAIT))
    await routes.entered.wait()
    await served.server.drain(5)
    assert await waiting == (200, {})


async def test_an_upload_in_progress_is_finished_at_the_stop(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"
    )
    await routes.entered.wait()
    stopping = asyncio.create_task(served.server.drain(5))
    await served.shutdown.wait()
    writer.write(b"def")
    answer = await reader.read()
    assert answer.endswith(b'{"size":6}')
    assert b"Connection: close" in answer
    await stopping
    writer.close()
    await writer.wait_closed()


async def test_no_new_connections_are_taken_at_the_stop(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    port = served.port
    await served.server.drain(0.2)
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_idle_connections_are_closed_at_the_stop(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    await served.server.drain(0.2)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_requests_that_do_not_end_are_cut_off_at_the_stop(
    serve: Serve, routes: Routes
) -> None:
    served = await serve(routes)
    waiting = asyncio.create_task(served.call("GET", WAIT))
    await routes.entered.wait()
    await served.server.drain(0.05)
    with pytest.raises(aiohttp.ClientError):
        await waiting
    assert routes.cancelled


async def test_a_stop_without_requests_takes_no_time(serve: Serve, routes: Routes) -> None:
    served = await serve(routes)
    async with asyncio.timeout(60):
        await served.server.drain(600)
