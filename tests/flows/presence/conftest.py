"""A server that keeps presence, and whose time stands still; and a room of Alice and Bob."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.run.compose import RunningServer
from tests.support.client import Client
from tests.support.clock import FakeClock
from tests.support.presence import presence_server


@pytest.fixture
async def server(
    database_dsn: str, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[RunningServer]:
    async with presence_server(database_dsn, tmp_path, clock) as running:
        yield running


@pytest.fixture
async def room(alice: Client, bob: Client) -> str:
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id
