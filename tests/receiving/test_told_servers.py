"""Whom this server tells of events while it does not know the members of a room."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from federation.sending.room_servers import RoomServers
from homeserver.protocol.identifiers import ServerName
from homeserver.storage import outbound, room_servers
from homeserver.streams.entries import ROOM_COMPLETED, EventEntry, LogEntry, UserEntry
from tests.receiving.conftest import ALICE, EVE, FRED, Receiving
from tests.receiving.test_new_room import accept, answer_of, join_of, room_elsewhere
from tests.receiving.test_receiving import HELLO, local
from tests.receiving.test_rejoins import LEAVE, accepts, completes
from tests.support.dag import Dag

OWN = ServerName("localhost")
ELSEWHERE, FARAWAY = ServerName("elsewhere.example"), ServerName("faraway.example")
LATER = ServerName("later.example")
LOU = f"@lou:{LATER}"
JOIN = {"membership": "join"}


async def entries_after(receiving: Receiving, position: int) -> list[LogEntry]:
    tail = receiving.node.base.tail
    return list(await tail.between(position, tail.position))


async def told(servers: RoomServers, entries: list[LogEntry]) -> list[frozenset[ServerName]]:
    """Take entries as the router does; return who is told of each event."""
    found = []
    for entry in entries:
        if isinstance(entry, EventEntry):
            found.append(await servers.around(entry))
        elif isinstance(entry, UserEntry) and entry.kind == ROOM_COMPLETED:
            servers.forget(entry.room_nid or 0)
    return found


async def joined_partially(receiving: Receiving, servers: list[ServerName]) -> Dag:
    dag, last = room_elsewhere(receiving, "11", [FRED])
    await accepts(receiving, dag, join_of(receiving, dag, last), servers=servers)
    return dag


async def test_servers_are_known_if_the_room_is_completed_while_one_looks(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = await joined_partially(receiving, [ELSEWHERE, FARAWAY])
    position = receiving.node.base.tail.position
    looks = []

    def completing(look: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def answer(*args: Any) -> Any:
            found = await look(*args)
            looks.append(look)
            if len(looks) == 1:
                await completes(receiving, dag)
            return found

        return answer

    for name in ("servers_told", "remote_members_at"):
        monkeypatch.setattr(room_servers, name, completing(getattr(room_servers, name)))
    servers = RoomServers(receiving.node.base.database, OWN)
    head = await receiving.node.rooms.heads.head(dag.room_id)
    assert head is not None
    assert await servers.of(head.room_nid, position) == {ELSEWHERE, FARAWAY}
    assert len(looks) == 2


async def test_after_an_absence_those_are_told_who_are_in_the_room_now(
    receiving: Receiving,
) -> None:
    servers = RoomServers(receiving.node.base.database, OWN)
    dag, last = room_elsewhere(receiving, "11", [FRED])
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    assert await told(servers, await entries_after(receiving, 0)) == [{ELSEWHERE, FARAWAY}]
    kicked_after = receiving.node.base.tail.position
    kick = dag.make(EVE, "m.room.member", LEAVE, [join.event_id], state_key=ALICE.user_id)
    await receiving.gets(kick)
    assert await told(servers, await entries_after(receiving, kicked_after)) == [
        {ELSEWHERE, FARAWAY}
    ]
    gone = dag.make(FRED, "m.room.member", LEAVE, [kick.event_id], state_key=FRED)
    come = dag.make(LOU, "m.room.member", JOIN, [gone.event_id], state_key=LOU)
    back_after = receiving.node.base.tail.position
    again = join_of(receiving, dag, come.event_id)
    await accepts(receiving, dag, again, servers=[ELSEWHERE, LATER])
    await local(receiving, dag.room_id, "m.room.message", HELLO)
    unknown = await entries_after(receiving, back_after)
    assert await told(servers, unknown) == [{ELSEWHERE, LATER}] * 2
    known_after = receiving.node.base.tail.position
    await completes(receiving, dag)
    await local(receiving, dag.room_id, "m.room.message", HELLO)
    known = await entries_after(receiving, known_after)
    assert await told(servers, known) == [{ELSEWHERE, LATER}]
    # Who comes to these entries only now, with or without what was before, tells the same.
    late = RoomServers(receiving.node.base.database, OWN)
    assert await told(late, await entries_after(receiving, 0)) == [
        {ELSEWHERE, FARAWAY}, {ELSEWHERE, FARAWAY}, *[{ELSEWHERE, LATER}] * 3,
    ]  # fmt: skip
    later = RoomServers(receiving.node.base.database, OWN)
    assert await told(later, [*unknown, *known]) == [{ELSEWHERE, LATER}] * 3


@pytest.mark.parametrize("is_completed", [False, True])
async def test_what_is_said_before_members_are_known_is_there_to_be_caught_up_with(
    receiving: Receiving, is_completed: bool
) -> None:
    before = receiving.node.base.tail.position
    dag = await joined_partially(receiving, [ELSEWHERE, FARAWAY])
    said = await local(receiving, dag.room_id, "m.room.message", HELLO)
    since = receiving.node.base.tail.position
    again = await local(receiving, dag.room_id, "m.room.message", HELLO)
    if is_completed:
        await completes(receiving, dag)
    upto = receiving.node.base.tail.position
    async with receiving.node.base.database.connection() as connection:
        concerned = await outbound.concerned_between(connection, OWN, before, upto)
        assert concerned == {ELSEWHERE, FARAWAY}
        for destination in (ELSEWHERE, FARAWAY):
            for after, expected in ((before, [said, again]), (since, [again])):
                stays = await outbound.stays_of(connection, destination, after, upto)
                events = await outbound.events_for(connection, OWN, destination, stays, 50)
                nids = [each.event_nid for each in events]
                found = await receiving.node.rooms.cache.get(nids)
                assert [found[nid].event_id for nid in nids][-len(expected) :] == expected
                assert len(nids) - len(expected) == (1 if after == before else 0)
        assert await outbound.stays_of(connection, LATER, before, upto) == []


async def test_devices_are_told_to_servers_that_are_said_to_share_a_room(
    receiving: Receiving,
) -> None:
    await joined_partially(receiving, [ELSEWHERE, FARAWAY])
    async with receiving.node.base.database.connection() as connection:
        servers = await room_servers.servers_of_user(connection, OWN, ALICE.user_id)
        assert servers == {ELSEWHERE, FARAWAY}
        await connection.execute(
            """
            INSERT INTO user_changes (pos, user_id, kind, device_id)
            VALUES (1000, $1, 'device_changed', 'ALICE')
            """,
            ALICE.user_id,
        )
        for destination, expected in ((FARAWAY, [ALICE.user_id]), (LATER, [])):
            changes = await outbound.devices_changed_for(connection, OWN, destination, 0, 1000, 9)
            assert [each.user_id for each in changes] == expected
