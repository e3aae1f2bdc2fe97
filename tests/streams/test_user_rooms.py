"""The memberships of users in memory are those in PostgreSQL, at the tail's position."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.rooms.create import NewRoom
from homeserver.services.forget_room import ForgetRoom
from homeserver.storage import memberships
from homeserver.storage.database import Connection
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.user_rooms import UserRooms
from tests.laws.random_history import History
from tests.support.node import Node, running_node, user

ALICE, BOB = user("alice"), user("bob")


@pytest.fixture
async def rooms(database_dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(database_dsn, tmp_path) as node:
        yield node


async def public_room(node: Node) -> RoomID:
    return await node.rooms.create.create(ALICE, NewRoom(preset="public_chat", room_version="12"))


async def stored(node: Node, user_id: UserID) -> dict[int, MembershipRow]:
    async with node.base.database.connection() as connection:
        return {row.room_nid: row for row in await memberships.memberships_of(connection, user_id)}


async def known(node: Node, user_id: UserID = BOB.user_id) -> dict[RoomID, str]:
    rows = await node.base.user_rooms.of_user(user_id)
    return {row.room_id: row.membership for row in rows.values()}


async def test_somebody_who_was_never_anywhere_has_no_rooms(rooms: Node) -> None:
    assert await known(rooms) == {}


async def test_a_change_is_known_at_once(rooms: Node) -> None:
    room_id = await public_room(rooms)
    assert await known(rooms) == {}
    await rooms.rooms.memberships.invite(ALICE, room_id, BOB.user_id)
    assert await known(rooms) == {room_id: "invite"}
    await rooms.rooms.memberships.join(BOB, room_id)
    assert await known(rooms) == {room_id: "join"}
    await rooms.rooms.memberships.ban(ALICE, room_id, BOB.user_id)
    assert await known(rooms) == {room_id: "ban"}
    assert await rooms.base.user_rooms.of_user(BOB.user_id) == await stored(rooms, BOB.user_id)


async def test_who_holds_the_rooms_goes_on_with_them_as_they_were(rooms: Node) -> None:
    await public_room(rooms)
    held = await rooms.base.user_rooms.of_user(ALICE.user_id)
    before = dict(held)
    await public_room(rooms)
    assert held == before
    assert len(await rooms.base.user_rooms.of_user(ALICE.user_id)) == 2


async def test_a_forgotten_room_is_marked_until_the_user_comes_back(rooms: Node) -> None:
    room_id = await public_room(rooms)
    await rooms.rooms.memberships.join(BOB, room_id)
    await known(rooms)
    await rooms.rooms.memberships.leave(BOB, room_id)
    forgetting = ForgetRoom(rooms.base.database, rooms.base.log_writer)
    await forgetting.forget(BOB.user_id, room_id)
    [row] = (await rooms.base.user_rooms.of_user(BOB.user_id)).values()
    assert (row.membership, row.is_forgotten) == ("leave", True)
    await rooms.rooms.memberships.join(BOB, room_id)
    [row] = (await rooms.base.user_rooms.of_user(BOB.user_id)).values()
    assert (row.membership, row.is_forgotten) == ("join", False)


async def test_what_changes_while_the_rooms_are_read_is_in_what_was_read(
    rooms: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await public_room(rooms)
    read = memberships.memberships_of

    async def read_slowly(connection: Connection, user_id: str) -> list[MembershipRow]:
        found = await read(connection, user_id)
        await rooms.rooms.memberships.join(BOB, room_id)
        return found

    monkeypatch.setattr(memberships, "memberships_of", read_slowly)
    assert await known(rooms) == {room_id: "join"}


async def test_of_two_who_read_at_once_the_slower_does_not_bring_back_the_past(
    rooms: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await public_room(rooms)
    read, may_end, has_read = memberships.memberships_of, asyncio.Event(), asyncio.Event()

    async def read_slowly(connection: Connection, user_id: str) -> list[MembershipRow]:
        found = await read(connection, user_id)
        if not has_read.is_set():
            has_read.set()
            await may_end.wait()
        return found

    monkeypatch.setattr(memberships, "memberships_of", read_slowly)
    slow = asyncio.ensure_future(known(rooms))
    await has_read.wait()
    assert await known(rooms) == {}
    await rooms.rooms.memberships.join(BOB, room_id)
    may_end.set()
    assert await slow == {room_id: "join"}
    assert await known(rooms) == {room_id: "join"}


async def test_what_another_node_has_done_is_known_when_the_tail_is_there(
    rooms: Node, database_dsn: str, tmp_path: Path
) -> None:
    async with running_node(database_dsn, tmp_path) as other:
        room_id = await public_room(other)
        await other.rooms.memberships.join(BOB, room_id)
        # Read for the first time, the rooms are ahead of the tail, which follows.
        assert await known(rooms) == {room_id: "join"}
        await other.rooms.memberships.leave(BOB, room_id)
        await rooms.base.tail.poll()
        await rooms.base.tail.reach(other.base.tail.position)
        assert await known(rooms) == {room_id: "leave"}


async def test_after_a_gap_the_rooms_are_read_again(
    rooms: Node, database_dsn: str, tmp_path: Path
) -> None:
    async with running_node(database_dsn, tmp_path) as other:
        assert await known(rooms) == {}
        rooms.base.tail._max_gap = 2
        room_id = await public_room(other)
        await other.rooms.memberships.join(BOB, room_id)
        await rooms.base.tail.reach(other.base.tail.position)
        assert rooms.base.tail.floor == rooms.base.tail.position
        assert await known(rooms) == {room_id: "join"}


async def test_only_so_many_users_are_kept(rooms: Node) -> None:
    few = UserRooms(rooms.base.database, rooms.base.tail, max_users=2)
    room_id = await public_room(rooms)
    for name in ("alice", "bob", "carol"):
        await few.of_user(user(name).user_id)
    assert list(few._users) == [BOB.user_id, user("carol").user_id]
    await few.of_user(BOB.user_id)
    await few.of_user(ALICE.user_id)
    assert list(few._users) == [BOB.user_id, ALICE.user_id]
    await rooms.rooms.memberships.join(BOB, room_id)
    assert await few.of_user(BOB.user_id) == await stored(rooms, BOB.user_id)


@pytest.mark.parametrize("seed", range(3))
async def test_after_a_random_history_on_two_nodes_memory_is_the_database(
    database_dsn: str, tmp_path: Path, seed: int
) -> None:
    users = [user(name) for name in ("alice", "bob", "carol")]
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path)) for _ in range(2)
        ]
        history = History(nodes, users, seed)
        for round_ in range(60):
            await history.act()
            node = nodes[round_ % 2]
            await node.base.tail.reach(await node.base.reader.head())
            for each in users:
                cached = await node.base.user_rooms.of_user(each.user_id)
                assert cached == await stored(node, each.user_id)
