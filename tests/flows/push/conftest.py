"""A server that may push to loopback, and a push gateway."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.run.compose import RunningServer
from tests.support.certificates import Authority
from tests.support.push_gateway import OUTGOING, PushGateway, push_gateway
from tests.support.server import server_of


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[PushGateway]:
    async with push_gateway(Authority(tmp_path)) as running:
        yield running


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server_of(database_dsn, tmp_path, outgoing_http=OUTGOING) as running:
        yield running


@pytest.fixture
async def room(alice, bob):
    """A room of two, whose messages make a sound."""
    room = await alice.creates_room(preset="public_chat", name="Mission Control")
    await bob.joins(room)
    return room
