"""A server and its users."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.run.compose import RunningServer
from tests.support.client import Client, ClientMaker, clients_of
from tests.support.server import server_of


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A running server with an empty database."""
    async with server_of(database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
async def clients(server: RunningServer) -> AsyncIterator[ClientMaker]:
    """Makes more users than those that have a fixture."""
    async with clients_of(server.url) as maker:
        yield maker


@pytest.fixture
async def alice(clients: ClientMaker) -> Client:
    return await clients.user("alice")


@pytest.fixture
async def bob(clients: ClientMaker) -> Client:
    return await clients.user("bob")


@pytest.fixture
async def carol(clients: ClientMaker) -> Client:
    return await clients.user("carol")


@pytest.fixture
async def guest(clients: ClientMaker) -> Client:
    return await clients.guest()
