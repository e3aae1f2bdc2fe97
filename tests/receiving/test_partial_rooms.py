"""What clients see of a room that was joined with its members omitted."""

import asyncio
from typing import Any, NamedTuple

import pytest

from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.rooms import read_state
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.read_state import MembersUnknown
from homeserver.services.room_facts import KnownRooms
from homeserver.storage import joined_rooms
from tests.flows.test_user_directory_index import Directory
from tests.receiving.conftest import ALICE, EVE, Receiving
from tests.receiving.test_new_room import SERVER, accept, answer_of, join_of, room_elsewhere
from tests.receiving.test_receiving import HELLO, local
from tests.support.dag import Dag
from tests.support.node import running_node, user

BOB = user("bob")
MEMBERS = [f"@user{number}:faraway.example" for number in range(5)]
LAZY = {"room": {"state": {"lazy_load_members": True}}}


class PartialRoom(NamedTuple):
    """A room whose members are not known, and what is missing."""

    receiving: Receiving
    dag: Dag
    join: Event
    state: list[dict[str, Any]]
    chain: list[dict[str, Any]]

    @property
    def room_id(self) -> str:
        return self.dag.room_id

    async def completes(self) -> None:
        """Have the members come."""
        async with self.receiving.node.base.database.connection() as connection:
            (partial,) = await joined_rooms.partial_joins(connection)
        await self.receiving.layer.new_rooms.complete(partial, self.state, self.chain)

    async def members(self) -> set[str]:
        """Return who is joined, as `/joined_members` says."""
        node = self.receiving.node
        access = await node.rooms.access.to_members_only(ALICE.user_id, self.dag.room_id)
        return set(await node.rooms.read_state.joined_members(access))


@pytest.fixture
async def room(receiving: Receiving) -> PartialRoom:
    dag, last = room_elsewhere(receiving, "11", MEMBERS)
    join = join_of(receiving, dag, last)
    state, chain = answer_of(dag, join)
    told = [pdu for pdu in state if pdu["type"] != "m.room.member" or pdu["state_key"] == EVE]
    await accept(receiving, dag, join, told, chain, servers_in_room=[SERVER], partial=True)
    return PartialRoom(receiving, dag, join, state, chain)


def joined(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer.get("rooms", {}).get("join", {})
    return found


def member_ids(block: dict[str, Any]) -> set[str]:
    events = [*block["state"]["events"], *block["timeline"]["events"]]
    return {each["state_key"] for each in events if each["type"] == "m.room.member"}


async def test_who_wants_all_members_sees_the_room_when_they_are_known(room: PartialRoom) -> None:
    node = room.receiving.node
    first = await node.syncs(ALICE)
    assert joined(first) == {}
    await local(room.receiving, room.room_id, "m.room.message", HELLO)
    second = await node.syncs(ALICE, first["next_batch"])
    assert joined(second) == {}
    waiting = asyncio.create_task(node.syncs(ALICE, second["next_batch"], timeout_ms=30_000))
    await asyncio.sleep(0)
    await room.completes()
    third = await waiting
    assert member_ids(joined(third)[room.room_id]) == {ALICE.user_id, EVE, *MEMBERS}
    assert joined(third)[room.room_id]["summary"]["m.joined_member_count"] == len(MEMBERS) + 2
    assert joined(await node.syncs(ALICE, third["next_batch"])) == {}
    # An older token says the same again.
    again = await node.syncs(ALICE, second["next_batch"])
    assert member_ids(joined(again)[room.room_id]) == {ALICE.user_id, EVE, *MEMBERS}
    whole = joined(await node.syncs(ALICE))[room.room_id]
    assert member_ids(whole) == {ALICE.user_id, EVE, *MEMBERS}


async def test_who_loads_members_lazily_sees_the_room_at_once(room: PartialRoom) -> None:
    node = room.receiving.node
    first = await node.syncs(ALICE, chosen=LAZY)
    assert ALICE.user_id in member_ids(joined(first)[room.room_id])
    message = room.dag.make(MEMBERS[3], "m.room.message", HELLO, [room.join.event_id])
    await room.receiving.gets(message)
    for since in (first["next_batch"], None):
        told = joined(await node.syncs(ALICE, since, chosen=LAZY))[room.room_id]
        assert [e["event_id"] for e in told["timeline"]["events"]][-1] == message.event_id
        # What the event itself says of its sender.
        assert MEMBERS[3] in member_ids(told)
    since = (await node.syncs(ALICE, chosen=LAZY))["next_batch"]
    await room.completes()
    told = joined(await node.syncs(ALICE, since, chosen=LAZY))[room.room_id]
    assert told["summary"]["m.joined_member_count"] == len(MEMBERS) + 2
    assert told["timeline"]["events"] == []


async def test_who_asks_for_members_waits_for_them(room: PartialRoom) -> None:
    waiting = asyncio.create_task(room.members())
    await asyncio.sleep(0)
    await room.completes()
    assert await waiting == {ALICE.user_id, EVE, *MEMBERS}


async def test_nobody_waits_for_members_forever(
    room: PartialRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_state, "PATIENCE_SECONDS", 0.0)
    node = room.receiving.node
    with pytest.raises(MembersUnknown):
        await room.members()
    access = await node.rooms.access.to_read(ALICE.user_id, room.dag.room_id)
    viewer, reading = Viewer(ALICE.user_id, None, 0), node.rooms.read_state
    with pytest.raises(MembersUnknown):
        await reading.all(access, viewer)
    with pytest.raises(MembersUnknown):
        await reading.one(access, "m.room.member", MEMBERS[0], viewer)
    content, _ = await reading.one(access, "m.room.member", EVE, viewer)
    assert content["membership"] == "join"


async def test_another_node_learns_that_the_members_are_known(
    room: PartialRoom, database_dsn: str, tmp_path: Any
) -> None:
    async with running_node(database_dsn, tmp_path) as other:
        since = (await other.syncs(ALICE))["next_batch"]
        head = await other.rooms.heads.head(room.room_id)
        assert head is not None
        assert head.is_partial_state
        waiting = asyncio.create_task(other.syncs(ALICE, since, timeout_ms=30_000))
        await asyncio.sleep(0)
        await room.completes()
        assert room.room_id in joined(await waiting)
        head = await other.rooms.heads.head(room.room_id)
        assert head is not None
        assert (head.is_partial_state, head.joined) == (False, 7)


async def test_a_node_that_starts_later_knows_when_the_room_was_completed(
    room: PartialRoom, database_dsn: str, tmp_path: Any
) -> None:
    since = (await room.receiving.node.syncs(ALICE))["next_batch"]
    await room.completes()
    async with running_node(database_dsn, tmp_path) as other:
        answer = await other.syncs(ALICE, since)
        assert member_ids(joined(answer)[room.room_id]) == {ALICE.user_id, EVE, *MEMBERS}


async def test_a_local_user_who_joins_meanwhile_is_told_too(room: PartialRoom) -> None:
    node = room.receiving.node
    await node.rooms.memberships.join(BOB, room.dag.room_id)
    since = (await node.syncs(BOB))["next_batch"]
    assert joined(await node.syncs(BOB)) == {}
    await room.completes()
    answer = joined(await node.syncs(BOB, since))
    assert member_ids(answer[room.room_id]) == {ALICE.user_id, BOB.user_id, EVE, *MEMBERS}


async def test_keys_of_the_members_are_news_when_they_are_known(room: PartialRoom) -> None:
    node = room.receiving.node
    since = (await node.syncs(ALICE, chosen=LAZY))["next_batch"]
    await room.completes()
    answer = await node.syncs(ALICE, since, chosen=LAZY)
    assert {*MEMBERS} <= set(answer["device_lists"]["changed"])


async def test_a_room_that_was_left_incomplete_is_joined_whole(room: PartialRoom) -> None:
    receiving = room.receiving
    leave = room.dag.make(
        EVE, "m.room.member", {"membership": "leave"}, [room.join.event_id],
        state_key=ALICE.user_id,
    )  # fmt: skip
    await receiving.gets(leave)
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    again = join_of(receiving, room.dag, leave.event_id)
    await accept(receiving, room.dag, again, *answer_of(room.dag, again))
    answer = await receiving.node.syncs(ALICE, since)
    assert member_ids(joined(answer)[room.room_id]) == {ALICE.user_id, EVE, *MEMBERS}
    assert await room.members() == {ALICE.user_id, EVE, *MEMBERS}


async def test_members_are_in_the_user_directory_when_they_are_known(room: PartialRoom) -> None:
    directory = Directory(room.receiving.node, "localhost")
    await room.receiving.node.rooms.memberships.join(BOB, RoomID(room.room_id))
    assert MEMBERS[0][1:7] not in await directory.finds(BOB, "user0")
    await room.completes()
    assert "@user0" in await directory.finds(BOB, "user0")


async def test_members_are_counted_when_they_are_known(room: PartialRoom) -> None:
    base = room.receiving.node.base
    known = KnownRooms(base.database, base.tail, ServerName("localhost"))
    room_id = RoomID(room.room_id)
    assert (await known.facts([room_id]))[room_id].joined == 2
    await room.completes()
    assert (await known.facts([room_id]))[room_id].joined == len(MEMBERS) + 2
