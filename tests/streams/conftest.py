"""Nodes that are nothing but a log."""

from collections.abc import AsyncIterator

import pytest

from tests.streams.nodes import StreamNode, stream_node
from tests.support.clock import FakeClock


@pytest.fixture
async def node(database_dsn: str, clock: FakeClock) -> AsyncIterator[StreamNode]:
    # A follower "diary" belongs to this one, whenever it is alive.
    async with stream_node(database_dsn, clock, "alpha") as started:
        yield started


@pytest.fixture
async def other(database_dsn: str, clock: FakeClock) -> AsyncIterator[StreamNode]:
    """A second node over the same database."""
    async with stream_node(database_dsn, clock, "beta") as started:
        yield started
