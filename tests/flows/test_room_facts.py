"""What is kept in memory of rooms is what is stored."""

import pytest

from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.create import NewRoom
from homeserver.services.room_facts import KnownRooms
from tests.support.node import running_node, user

ALICE = user("alice")


@pytest.fixture
async def node(database_dsn, tmp_path):
    async with running_node(database_dsn, tmp_path) as running:
        yield running


def known_rooms(node, **options):
    return KnownRooms(node.base.database, node.base.tail, ServerName("localhost"), **options)


async def makes_room(node, name):
    new = NewRoom(preset="public_chat", room_version="11", name=name)
    return await node.rooms.create.create(ALICE, new)


async def names(node, room_id, name):
    await node.rooms.send.state(ALICE, room_id, "m.room.name", "", {"name": name})


async def test_changes_by_another_node_are_seen(node, database_dsn, tmp_path):
    known = known_rooms(node)
    room_id = await makes_room(node, "old")
    assert (await known.facts([room_id]))[room_id].name == "old"
    async with running_node(database_dsn, tmp_path) as other:
        await names(other, room_id, "new")
        await node.base.tail.reach(other.base.tail.position)
    assert (await known.facts([room_id]))[room_id].name == "new"


async def test_what_has_changed_during_the_reading_is_read_again(node, monkeypatch):
    known = known_rooms(node)
    room_id = await makes_room(node, "old")
    since = node.base.tail.since

    async def slowly(position):
        monkeypatch.undo()
        await names(node, room_id, "new")
        return await since(position)

    monkeypatch.setattr(node.base.tail, "since", slowly)
    assert (await known.facts([room_id]))[room_id].name == "old"
    assert (await known.facts([room_id]))[room_id].name == "new"


async def test_memory_is_bounded(node):
    known = known_rooms(node, max_rooms=2)
    rooms = [await makes_room(node, str(number)) for number in range(5)]
    facts = await known.facts(rooms)
    assert [facts[room_id].name for room_id in rooms] == ["0", "1", "2", "3", "4"]
    assert len(known._facts) == 2
