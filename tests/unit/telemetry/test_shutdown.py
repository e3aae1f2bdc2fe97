"""The signal that the node stops."""

import asyncio

from homeserver.telemetry.shutdown import Shutdown


async def test_those_who_wait_are_woken_and_the_signal_stays() -> None:
    shutdown = Shutdown()
    assert not shutdown.has_begun
    waiting = asyncio.ensure_future(shutdown.wait())
    shutdown.begin()
    await waiting
    await shutdown.wait()
    assert shutdown.has_begun
