"""Where a real nginx and a real HAProxy lead requests, with our configuration."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from homeserver.run.proxy_config import ProxyProgram, ProxySettings, proxy_config
from tests.support.processes import free_port
from tests.support.programs import program

ROOMS = [f"!room{number}:example.org" for number in range(30)]
SEND = "/_matrix/client/v3/rooms/{}/send/m.room.message/1"
JSON_FAULT = {"errcode", "error"}


class Nodes:
    """Servers that answer with their own name and with what they were sent."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._runners: list[web.ServerRunner] = []

    async def add(self) -> None:
        number = len(self.ports)

        async def answer(request: web.BaseRequest) -> web.Response:
            received = 0
            async for chunk in request.content.iter_any():
                received += len(chunk)
            headers = {name.lower(): value for name, value in request.headers.items()}
            facts = {"node": number, "path": request.raw_path, "bytes": received}
            return web.json_response(facts | {"headers": headers})

        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.ports.append(runner.addresses[0][1])
        self._runners.append(runner)

    async def stop(self, number: int) -> None:
        await self._runners[number].cleanup()

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


class Proxy:
    """The front door, as a client sees it."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._http = http

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        # Percent signs stay as the test writes them.
        url = URL(self.url + path, encoded=True)
        async with self._http.request(
            method, url, data=body and io.BytesIO(body), headers=named
        ) as response:
            return response.status, json.loads(await response.read()), response

    async def announces(self, method: str, path: str, size: int) -> str:
        """Send the head of a request with a large body; return the answer to it."""
        address = URL(self.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 60)
        writer.close()
        return answer.decode()

    async def node_of(self, path: str, **headers: str) -> int:
        status, facts, _ = await self.request("GET", path, **headers)
        assert status == 200
        number: int = facts["node"]
        return number


def command(chosen: ProxyProgram, text: str, folder: Path) -> list[str]:
    if chosen is ProxyProgram.HAPROXY:
        (folder / "haproxy.cfg").write_text(f"global\n    maxconn 500\n\n{text}")
        return [program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]
    text = text.replace("/var/log/nginx/access.log", str(folder / "access.log"))
    folders = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; pid {folder}/pid; events {{}} http {{\n{folders}{text}\n}}\n"
    (folder / "nginx.conf").write_text(main)
    error_log = str(folder / "error.log")
    return [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", error_log]


async def accepts_connections(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "the proxy did not start"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    both = Nodes()
    await both.add()
    await both.add()
    yield both
    await both.close()


@pytest.fixture(params=ProxyProgram, ids=lambda chosen: chosen.value)
async def proxy(
    request: pytest.FixtureRequest, nodes: Nodes, tmp_path: Path
) -> AsyncIterator[Proxy]:
    port = free_port()
    settings = ProxySettings(
        nodes=[f"127.0.0.1:{node}" for node in nodes.ports],
        server_names=["localhost"],
        port=port,
        max_upload_bytes=20_000_000,
    )
    arguments = command(request.param, proxy_config(request.param, settings), tmp_path)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*arguments, stdout=quiet, stderr=quiet)
    try:
        await accepts_connections(port, process)
        async with aiohttp.ClientSession() as http:
            yield Proxy(port, http)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_a_room_stays_on_its_node_whoever_asks_and_however_it_is_written(
    proxy: Proxy,
) -> None:
    chosen = {}
    for room in ROOMS:
        paths = [SEND.format(room), SEND.format(quote(room, safe=""))]
        paths.append(f"/_matrix/client/v1/rooms/{quote(room)}/hierarchy")
        paths.append(f"/_matrix/federation/v1/make_join/{quote(room)}/%40a%3Ab")
        found = {
            await proxy.node_of(path, Authorization=f"Bearer {caller}")
            for caller in ("alice", "bob")
            for path in paths
        }
        assert len(found) == 1
        chosen[room] = found.pop()
    assert set(chosen.values()) == {0, 1}


async def test_a_device_stays_on_its_node_and_devices_are_spread(proxy: Proxy) -> None:
    path = "/_matrix/client/v3/sync"
    chosen = set()
    for device in range(30):
        token = f"Bearer token{device}"
        found = {await proxy.node_of(path, Authorization=token) for _ in range(2)}
        assert len(found) == 1
        chosen |= found
    assert chosen == {0, 1}


async def test_a_server_stays_on_its_node_although_each_signature_differs(proxy: Proxy) -> None:
    chosen = set()
    for number in range(30):
        found = {
            await proxy.node_of(
                f"/_matrix/federation/v1/send/{txn_id}",
                Authorization=f'X-Matrix origin="s{number}.example",key="ed25519:1",sig="{txn_id}"',
            )
            for txn_id in ("one", "two", "three", "four")
        }
        assert len(found) == 1
        chosen |= found
    assert chosen == {0, 1}


async def test_paths_arrive_as_they_were_sent(proxy: Proxy) -> None:
    path = SEND.format("%21a%2Fb%3Aexample.org") + "?user_id=%40a%3Ab"
    _, facts, _ = await proxy.request("GET", path)
    assert facts["path"] == path


async def test_what_a_client_claims_about_itself_is_replaced(proxy: Proxy) -> None:
    claims = {"X_Forwarded_For": "203.0.113.9", "X_Request_ID": "mine"}
    _, facts, _ = await proxy.request("GET", "/_matrix/client/versions", **claims)
    assert facts["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert facts["headers"]["x-forwarded-proto"] == "http"
    assert facts["headers"]["x-request-id"] not in ("", "mine")


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/ready", "/_synapse/admin/v1/register", "/openapi.json", "/", "//metrics"],
)
async def test_what_is_for_operators_is_not_there(proxy: Proxy, path: str) -> None:
    status, body, _ = await proxy.request("GET", path)
    assert status == 404
    assert body["errcode"] == "M_UNRECOGNIZED"


@pytest.mark.parametrize(
    "path", ["/health", "/.well-known/matrix/client", "/_matrix/key/v2/server"]
)
async def test_what_is_for_everybody_is_there(proxy: Proxy, path: str) -> None:
    status, facts, _ = await proxy.request("GET", path)
    assert (status, facts["path"]) == (200, path)


async def test_only_uploads_may_be_large(proxy: Proxy) -> None:
    large = bytes(18_000_000)
    status, facts, _ = await proxy.request("POST", "/_matrix/media/v3/upload", body=large)
    assert (status, facts["bytes"]) == (200, len(large))
    for method, path, size in (
        ("PUT", SEND.format(ROOMS[0]), 18_000_000),
        ("POST", "/_matrix/media/v3/upload", 21_000_000),
    ):
        answer = await proxy.announces(method, path, size)
        assert answer.startswith("HTTP/1.1 413 ")
        assert "access-control-allow-origin: *" in answer.lower()
        assert '"errcode":"M_TOO_LARGE"' in answer


async def test_the_other_node_answers_when_one_is_away(proxy: Proxy, nodes: Nodes) -> None:
    before = {room: await proxy.node_of(SEND.format(room)) for room in ROOMS}
    await nodes.stop(0)
    after = {room: await proxy.node_of(SEND.format(room)) for room in ROOMS}
    assert set(before.values()) == {0, 1}
    assert set(after.values()) == {1}


async def test_a_browser_can_read_that_no_node_is_there(proxy: Proxy, nodes: Nodes) -> None:
    await nodes.stop(0)
    await nodes.stop(1)
    status, body, response = await proxy.request("GET", "/_matrix/client/versions")
    assert status == 503
    assert set(body) == JSON_FAULT
    assert response.headers["Access-Control-Allow-Origin"] == "*"
