"""Who with a pusher is in which room is known on every node, whichever of them follows the room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.rooms.create import NewRoom
from homeserver.rooms.head import RoomHead, with_local_member
from homeserver.services.push.pushed_users import PushedUsers
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import PUSHERS_CHANGED
from tests.support.node import Node, running_node, user

ALICE, BOB = user("alice"), user("bob")
OWN_NAME = ServerName("localhost")


@pytest.fixture
async def node(database_dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(database_dsn, tmp_path) as started:
        yield started


@pytest.fixture
async def other(database_dsn: str, tmp_path: Path, node: Node) -> AsyncIterator[Node]:
    """A second node over the same database."""
    async with running_node(database_dsn, tmp_path) as started:
        yield started


@pytest.fixture
async def users(node: Node) -> PushedUsers:
    """Those of the first node: Bob."""
    known = PushedUsers(node.base.database, node.base.tail, node.rooms.heads)
    await known.load()
    await sets_pusher(node, BOB.user_id)
    return known


async def sets_pusher(node: Node, user_id: str) -> None:
    async with node.base.database.transaction() as tx:
        position = await append_user_change(tx, user_id, PUSHERS_CHANGED)
    await node.base.tail.reach(position)


async def public_room(node: Node) -> RoomID:
    return await node.rooms.create.create(ALICE, NewRoom(preset="public_chat", room_version="12"))


async def number_of(node: Node, room_id: RoomID) -> int:
    head = await node.rooms.heads.head(room_id)
    assert head is not None
    return head.room_nid


async def hears(node: Node, other: Node) -> None:
    await other.base.tail.catch_up()
    await node.base.tail.reach(other.base.tail.position)


async def has_bob(users: PushedUsers, room_id: RoomID) -> bool:
    room = await users.in_room(room_id)
    assert room is not None
    return BOB.user_id in room.users


async def test_a_room_without_pushers_is_passed_over_until_somebody_comes(
    node: Node, users: PushedUsers
) -> None:
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    assert users.may_be_in(room_nid)
    assert not await has_bob(users, room_id)
    assert not users.may_be_in(room_nid)
    await node.rooms.memberships.join(BOB, room_id)
    assert users.may_be_in(room_nid)
    assert await has_bob(users, room_id)


async def test_who_gets_a_pusher_is_in_rooms_that_had_nobody(
    node: Node, users: PushedUsers
) -> None:
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    assert not await has_bob(users, room_id)
    await sets_pusher(node, ALICE.user_id)
    assert users.may_be_in(room_nid)


async def test_who_joins_while_another_node_follows_is_known_when_it_is_handed_back(
    node: Node, other: Node, users: PushedUsers
) -> None:
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    assert not await has_bob(users, room_id)
    await other.rooms.memberships.join(BOB, room_id)
    await hears(node, other)
    # Nobody has asked this node about the join.
    assert users.may_be_in(room_nid)


async def test_who_joins_while_the_room_is_looked_up_is_not_overlooked(
    node: Node, other: Node, users: PushedUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    head_of = node.rooms.heads.head

    async def slowly(room_id: str) -> RoomHead | None:
        head = await head_of(room_id)
        await other.rooms.memberships.join(BOB, RoomID(room_id))
        await hears(node, other)
        return head

    with monkeypatch.context() as patched:
        patched.setattr(node.rooms.heads, "head", slowly)
        assert not await has_bob(users, room_id)
    assert users.may_be_in(room_nid)
    assert await has_bob(users, room_id)


async def test_a_leave_that_is_only_on_its_way_does_not_make_a_room_quiet(
    node: Node, users: PushedUsers
) -> None:
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    await node.rooms.memberships.join(BOB, room_id)
    slot = node.rooms.heads.slot(room_id)
    assert slot.head is not None
    without_bob = with_local_member(slot.head.local_joined, BOB.user_id, "leave", OWN_NAME)
    slot.head = msgspec.structs.replace(slot.head, local_joined=without_bob)
    slot.written = asyncio.get_running_loop().create_future()
    assert not await has_bob(users, room_id)
    # It comes to nothing.
    slot.forget()
    slot.written.set_exception(RuntimeError("lost"))
    slot.written.exception()
    assert users.may_be_in(room_nid)
    assert await has_bob(users, room_id)


async def test_after_a_gap_in_the_log_everybody_is_looked_up_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the gap comes while a room is looked up."""
    users = PushedUsers(node.base.database, node.base.tail, node.rooms.heads)
    room_id = await public_room(node)
    room_nid = await number_of(node, room_id)
    await node.rooms.memberships.join(BOB, room_id)
    await users.load()
    await sets_pusher(node, BOB.user_id)
    assert await has_bob(users, room_id)

    async def stored(_: object) -> list[str]:
        return [BOB.user_id]

    monkeypatch.setattr("homeserver.services.push.pushed_users.pushers.users_with_pushers", stored)
    head_of = node.rooms.heads.head

    async def with_a_gap(room_id: str) -> RoomHead | None:
        monkeypatch.setattr(node.rooms.heads, "head", head_of)
        node.base.tail._restart(node.base.tail.position)
        return await head_of(room_id)

    monkeypatch.setattr(node.rooms.heads, "head", with_a_gap)
    assert await has_bob(users, room_id)
    assert users.may_be_in(room_nid)
