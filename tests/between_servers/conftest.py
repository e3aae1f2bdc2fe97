"""Servers that talk with each other over TLS, and peers that behave badly."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from homeserver.run.compose import RunningServer
from tests.support.certificates import Authority
from tests.support.federation import NamedServer, named_server
from tests.support.peer_server import PeerServer, peer_server
from tests.support.postgres import TestCluster

NewDatabase: TypeAlias = Callable[[], str]
RunServers: TypeAlias = Callable[..., AbstractAsyncContextManager[list[NamedServer]]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of all servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def new_database(postgres: TestCluster, template_database: str) -> Iterator[NewDatabase]:
    """Makes databases: every server has its own."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid.uuid4().hex}")
        return postgres.create(made[-1], template_database)

    yield make
    for name in made:
        postgres.drop(name)


@pytest.fixture
def running_servers(authority: Authority, new_database: NewDatabase, tmp_path: Path) -> RunServers:
    """Runs so many servers in this process: `async with running_servers(2) as [one, other]:`."""

    @contextlib.asynccontextmanager
    async def run(count: int, **sections: Any) -> AsyncIterator[list[NamedServer]]:
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(
                    named_server(
                        authority, new_database(), tmp_path / f"server{number}", **sections
                    )
                )
                for number in range(count)
            ]

    return run


@pytest.fixture
async def server(running_servers: RunServers) -> AsyncIterator[NamedServer]:
    async with running_servers(1) as [only]:
        yield only


@pytest.fixture
def running(server: NamedServer) -> RunningServer:
    """The parts of the server."""
    return server.running


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[PeerServer]:
    async with peer_server(authority) as started:
        yield started


@pytest.fixture
async def other_peer(authority: Authority) -> AsyncIterator[PeerServer]:
    async with peer_server(authority) as started:
        yield started
