"""Three servers, each a process of its own, that find each other over TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.between_servers.conftest import NewDatabase
from tests.support.certificates import Authority
from tests.support.federation import process_settings
from tests.support.processes import ServerProcess, free_port, server_processes

QUERY = "/_matrix/key/v2/query"


class FederatedProcess:
    """A process and the name that other servers know it by."""

    def __init__(self, process: ServerProcess, name: str) -> None:
        self.process = process
        self.name = name


@pytest.fixture
async def three_servers(
    authority: Authority, new_database: NewDatabase, tmp_path: Path
) -> AsyncIterator[list[FederatedProcess]]:
    with ExitStack() as stack:
        make = stack.enter_context(server_processes())
        servers = []
        for number in range(3):
            client_port = free_port()
            settings = process_settings(authority, new_database(), client_port)
            process = make(tmp_path / f"data{number}", settings, port=client_port)
            servers.append(FederatedProcess(process, settings["SERVER_NAME"]))
        await asyncio.gather(*(asyncio.to_thread(each.process.start) for each in servers))
        yield servers
        await asyncio.to_thread(stack.close)


async def query(server: FederatedProcess, *names: str) -> dict[str, Any]:
    """Ask a server for the keys of servers; return the documents by name."""
    body = {"server_keys": {name: {} for name in names}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.process.url + QUERY, json=body) as response,
    ):
        assert response.status == 200
        return {each["server_name"]: each for each in (await response.json())["server_keys"]}


async def test_servers_fetch_each_others_keys(three_servers: list[FederatedProcess]) -> None:
    names = {each.name for each in three_servers}
    for server in three_servers:
        documents = await query(server, *names)
        assert documents.keys() == names
        for name, document in documents.items():
            assert document["signatures"].keys() == {name, server.name}
    one, *_, last = three_servers
    await asyncio.to_thread(last.process.kill)
    assert (await query(one, last.name)).keys() == {last.name}
