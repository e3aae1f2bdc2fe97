"""Reading the log back gives what was written, whatever a user has put into it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.create import NewRoom
from homeserver.storage.log import append_user_change
from homeserver.streams.entries import ROOM_FORGOTTEN, EventEntry, UserEntry
from tests.support.node import Node, running_node, user

ALICE, BOB = user("alice"), user("bob")


@pytest.fixture
async def rooms(database_dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(database_dsn, tmp_path) as node:
        yield node


async def public_room(node: Node) -> RoomID:
    return await node.rooms.create.create(ALICE, NewRoom(preset="public_chat", room_version="12"))


async def read_events(node: Node, after: int = 0) -> list[EventEntry]:
    entries = await node.base.reader.read(after, await node.base.reader.head())
    return [entry for entry in entries if isinstance(entry, EventEntry)]


async def test_a_room_is_read_back_in_order_with_its_state_changes(rooms: Node) -> None:
    room_id = await public_room(rooms)
    entries = await read_events(rooms)
    assert [entry.pos for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.room_id for entry in entries} == {room_id}
    assert [entry.record.type for entry in entries[:3]] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
    ]
    [joined] = entries[1].state_changes
    assert (joined.key, joined.membership) == (("m.room.member", ALICE.user_id), "join")
    assert joined.event_id == entries[1].record.event_id


async def test_changes_of_users_stand_between_the_events(rooms: Node) -> None:
    await public_room(rooms)
    async with rooms.base.database.transaction() as tx:
        position = await append_user_change(tx, BOB.user_id, ROOM_FORGOTTEN, room_nid=1)
    rooms.base.log_writer.announce(position)
    await public_room(rooms)
    entries = await rooms.base.reader.read(0, await rooms.base.reader.head())
    assert [entry.pos for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[position - 1] == UserEntry(position, BOB.user_id, ROOM_FORGOTTEN, 1, None)


async def test_a_stretch_ends_where_it_was_asked_to_end(rooms: Node) -> None:
    await public_room(rooms)
    assert [entry.pos for entry in await rooms.base.reader.read(2, 4)] == [3, 4]
    assert await rooms.base.reader.read(4, 4) == []


async def test_a_redaction_names_its_target_and_the_target_the_redaction(rooms: Node) -> None:
    room_id = await public_room(rooms)
    sent = await rooms.rooms.send.message(ALICE, room_id, "m.room.message", "1", {"body": "x"})
    redaction_id = await rooms.rooms.send.redaction(ALICE, room_id, sent, "2", {})
    *_, target, redaction = await read_events(rooms)
    assert redaction.record.event_id == redaction_id
    assert redaction.redaction is not None
    assert redaction.redaction.event_nid == target.record.event_nid
    assert redaction.redaction.core == target.record.core
    assert target.record.redaction_id == redaction_id
    assert b'"content":{}' in target.client_head


async def test_a_mention_is_read_back_for_whom_it_counts(rooms: Node) -> None:
    room_id = await public_room(rooms)
    await rooms.rooms.memberships.join(BOB, room_id)
    mention = {"body": "bob", "m.mentions": {"user_ids": [BOB.user_id]}}
    await rooms.rooms.send.message(ALICE, room_id, "m.room.message", "1", mention)
    entry = (await read_events(rooms))[-1]
    assert [count.user_id for count in entry.notifications] == [BOB.user_id]


@pytest.mark.parametrize("text", ["a\0b", "\\u0000", "\\\0", '"', "\x7f\u2028"])
async def test_no_text_in_a_member_event_keeps_it_from_being_read(rooms: Node, text: str) -> None:
    room_id = await public_room(rooms)
    before = await rooms.base.reader.head()
    content = {"membership": "join", "displayname": text, text: [text]}
    await rooms.rooms.memberships.set_member_event(ALICE, room_id, ALICE.user_id, content)
    [entry] = await read_events(rooms, before)
    assert [change.membership for change in entry.state_changes] == ["join"]
