"""A big room, made through the room server itself and not through HTTP."""

import asyncio
from pathlib import Path

from homeserver.protocol.identifiers import DeviceID, RoomID, UserID
from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION
from homeserver.rooms.create import NewRoom
from homeserver.run.room_layer import RoomLayer
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.web.requester import Requester
from tests.support.node import running_node

# Joins that wait for one commit together.
_AT_ONCE = 100


def make_room(data_dir: Path, members: int) -> RoomID:
    """Make a room of local members user0, user1, …; the server must not be running."""
    postgres = EmbeddedPostgres(data_dir / "postgres")
    try:
        return asyncio.run(_make_room(postgres.start(), data_dir, members))
    finally:
        postgres.stop()


async def _make_room(dsn: str, data_dir: Path, members: int) -> RoomID:
    async with running_node(dsn, data_dir) as node:
        return await fill_room(node.rooms, "localhost", members)


async def fill_room(
    rooms: RoomLayer, server_name: str, members: int, prefix: str = "user"
) -> RoomID:
    """Make a public room of local members `{prefix}0`, … on a running node."""

    def member(number: int) -> Requester:
        localpart = f"{prefix}{number}"
        return Requester(
            user_id=UserID(f"@{localpart}:{server_name}"), device_id=DeviceID(localpart.upper())
        )

    room = NewRoom(preset="public_chat", room_version=DEFAULT_ROOM_VERSION)
    room_id = await rooms.create.create(member(0), room)
    for first in range(1, members, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, members))
        await asyncio.gather(*(rooms.memberships.join(member(n), room_id) for n in numbers))
    return room_id
