"""What users do and are told about presence, on a server whose time a test moves."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from homeserver.config.sections.presence import PresenceSection
from homeserver.run.compose import RunningServer, running_server
from tests.support.client import Client, quoted
from tests.support.clock import FakeClock
from tests.support.server import server_config


@contextlib.asynccontextmanager
async def presence_server(
    dsn: str, folder: Path, clock: FakeClock, **sections: Any
) -> AsyncIterator[RunningServer]:
    """Start a server that keeps presence."""
    config = server_config(dsn, folder, **({"presence": PresenceSection()} | sections))
    async with running_server(config, clock=clock) as server:
        yield server


async def settles(server: RunningServer) -> None:
    """Wait until what the server has seen so far is told to whoever asks."""
    await server.presence.writer.flush()
    await server.base.tail.poll()
    await server.base.tail.catch_up()


async def passes(server: RunningServer, clock: FakeClock, seconds: float) -> None:
    """Let time pass, and the server look at it."""
    clock.tick(seconds)
    await server.presence.writer.beat()
    await settles(server)


async def sets_presence(client: Client, presence: str, **body: Any) -> None:
    path = f"presence/{quoted(client.user_id)}/status"
    assert await client.put(path, {"presence": presence, **body}) == {}


async def reads_presence(client: Client, other: Client | str) -> Any:
    user_id = other if isinstance(other, str) else other.user_id
    return await client.get(f"presence/{quoted(user_id)}/status")


def presence_in(answer: Any) -> dict[str, Any]:
    """Return the contents of the presence events in an answer of /sync, by user ID."""
    told = {}
    for event in answer.get("presence", {}).get("events", ()):
        assert set(event) == {"type", "sender", "content"}
        assert event["type"] == "m.presence"
        assert event["sender"] not in told, "one event for each user"
        told[event["sender"]] = event["content"]
    return told


def states_in(answer: Any) -> dict[str, str]:
    """Return who is what, by user ID."""
    return {user_id: content["presence"] for user_id, content in presence_in(answer).items()}
