"""What PostgreSQL itself keeps of relations: migrations/0009."""

import pytest

from homeserver.protocol.identifiers import EventID
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.event_writes import HAS_CHILDREN
from homeserver.storage.events import Place
from homeserver.storage.relations import ChildrenWanted

ROOM, OTHER_ROOM = 1, 2


class Timeline:
    """Writes events and relations, as whoever takes events into a room does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has(
        self,
        nid: int,
        pos: int | None,
        *,
        sub: int = 0,
        room: int = ROOM,
        ts: int = 0,
        device: str | None = None,
    ) -> None:
        """Write event `$nid` at a place; None: an outlier."""
        await self._execute(
            """
            INSERT INTO events (event_nid, event_id, room_nid, pos, sub, depth, type, sender,
                                origin_server_ts, device_id, auth_nids, core, rest)
            VALUES ($1, $2, $3, $4, $5, 1, 'm.room.message', '@x:hs', $6, $7, '{}', '', '')
            """,
            nid,
            f"${nid}",
            room,
            pos,
            sub,
            ts,
            device,
        )

    async def relates(self, nid: int, parent: int, rel_type: str, *, room: int = ROOM) -> None:
        """Write a relation between two events."""
        await self._execute(
            """
            INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, sender, type)
            VALUES ($1, $2, $3, $4, '@x:hs', 'm.room.message')
            """,
            nid,
            room,
            f"${parent}",
            rel_type,
        )

    async def is_marked(self, nid: int) -> bool:
        """Whether an event is known to have children."""
        async with self._database.connection() as connection:
            flags: int = await connection.fetchval(
                "SELECT flags FROM events WHERE event_nid = $1", nid
            )
        return bool(flags & HAS_CHILDREN)

    async def children(self, parent: int, **changes: object) -> list[int]:
        """Return the children of an event."""
        wanted = ChildrenWanted(
            ROOM,
            EventID(f"${parent}"),
            rel_type=None,
            event_type=None,
            depth=1,
            after=Place(0, 0),
            before=Place(1_000, 0),
            visible=[(0, 1_000)],
            ignored=[],
            newest_first=True,
            limit=100,
        )
        async with self._database.connection() as connection:
            return await relations.children(connection, wanted._replace(**changes))

    async def _execute(self, statement: str, *values: object) -> None:
        async with self._database.connection() as connection:
            await connection.execute(statement, *values)


@pytest.fixture
def timeline(database: Database) -> Timeline:
    return Timeline(database)


async def test_a_relation_has_the_place_and_the_time_of_its_event(timeline, database):
    await timeline.has(1, 10, ts=5)
    await timeline.has(2, 11, sub=-3, ts=7)
    await timeline.relates(2, 1, "m.reference")
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT pos, sub, origin_server_ts FROM relations")
    assert tuple(row) == (11, -3, 7)


async def test_children_are_in_the_order_of_the_timeline(timeline):
    await timeline.has(1, 10)
    for nid, pos, sub in ((2, 12, 0), (3, 12, -1), (4, 12, -2), (5, 11, 0)):
        await timeline.has(nid, pos, sub=sub)
        await timeline.relates(nid, 1, "m.reference")
    assert await timeline.children(1) == [2, 3, 4, 5]
    assert await timeline.children(1, newest_first=False) == [5, 4, 3, 2]
    between = {"after": Place(11, 0), "before": Place(12, 0)}
    assert await timeline.children(1, **between) == [3, 4]
    assert await timeline.children(1, visible=[(1, 11), (13, 99)]) == [5]
    assert await timeline.children(1, visible=[]) == []


async def test_events_outside_the_timeline_relate_to_nothing(timeline):
    await timeline.has(1, 10)
    await timeline.has(2, None)
    await timeline.relates(2, 1, "m.reference")
    assert await timeline.children(1) == []
    assert not await timeline.is_marked(1)


async def test_an_event_with_children_is_marked(timeline):
    await timeline.has(1, 10)
    await timeline.has(2, 11)
    assert not await timeline.is_marked(1)
    await timeline.relates(2, 1, "m.annotation")
    assert await timeline.is_marked(1)
    assert not await timeline.is_marked(2)


async def test_children_of_other_rooms_do_not_mark(timeline):
    await timeline.has(1, 10)
    await timeline.has(2, 11, room=OTHER_ROOM)
    await timeline.relates(2, 1, "m.reference", room=OTHER_ROOM)
    assert not await timeline.is_marked(1)


async def test_an_event_that_comes_after_its_children_is_marked(timeline):
    await timeline.has(2, 11)
    await timeline.relates(2, 1, "m.reference")
    await timeline.has(1, 12)
    assert await timeline.is_marked(1)
    await timeline.relates(1, 3, "m.reference")
    await timeline.has(3, 13, room=OTHER_ROOM)
    assert not await timeline.is_marked(3)


async def test_an_event_that_a_client_sends_has_no_children_yet(timeline):
    """An ID that somebody has foreseen: not worth a look-up for every message."""
    await timeline.has(2, 11)
    await timeline.relates(2, 1, "m.reference")
    await timeline.has(1, 12, device="DEVICE")
    assert not await timeline.is_marked(1)
