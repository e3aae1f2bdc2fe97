"""A big room, made through the room server itself and not through HTTP."""

import asyncio
from pathlib import Path

from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.room_versions import DEFAULT_ROOM_VERSION
from homeserver.rooms.create import NewRoom
from homeserver.storage.embedded import EmbeddedPostgres
from tests.support.node import running_node, user

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
        room = NewRoom(preset="public_chat", room_version=DEFAULT_ROOM_VERSION)
        room_id = await node.rooms.create.create(user("user0"), room)
        for first in range(1, members, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, members))
            joins = (node.rooms.memberships.join(user(f"user{n}"), room_id) for n in numbers)
            await asyncio.gather(*joins)
        return room_id
