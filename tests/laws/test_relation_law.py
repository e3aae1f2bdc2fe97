"""The law of bundles: whoever looks at every event finds what the server says of the children."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import EventID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.create import NewRoom
from homeserver.services.account_data import AccountData
from homeserver.services.aggregations import Aggregations
from homeserver.services.push_rules import PushRules
from homeserver.services.threads import Threads
from homeserver.web.requester import Requester
from tests.laws.relation_model import Bundle, RelatedRoom
from tests.support.node import Node, running_node, user

ROUNDS = 8
ACTIONS = 9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("node_count", [1, 2])
async def test_bundles_are_what_the_children_come_to(
    database_dsn: str, tmp_path: Path, seed: int, node_count: int
) -> None:
    alice, bob, carol = (user(name) for name in ("alice", "bob", "carol"))
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(database_dsn, tmp_path))
            for _ in range(node_count)
        ]
        room = await _room(nodes, [alice, bob, carol], seed)
        await _ignore(nodes[0], carol, bob)
        for round_ in range(ROUNDS):
            for _ in range(ACTIONS):
                await room.act()
            await _come_and_go(nodes[0], room, bob, round_)
            head = await nodes[0].base.reader.head()
            await asyncio.gather(*(node.base.tail.reach(head) for node in nodes))
            node = nodes[round_ % node_count]
            for reader, ignored in ((alice, []), (bob, []), (carol, [bob.user_id])):
                await _check(node, room, reader, ignored)


async def _room(nodes: list[Node], users: list[Requester], seed: int) -> RelatedRoom:
    new = NewRoom(preset="public_chat", room_version="12")
    room_id = await nodes[0].rooms.create.create(users[0], new)
    for who in users[1:]:
        await nodes[0].rooms.memberships.join(who, room_id)
    await nodes[0].rooms.send.state(
        users[0], room_id, "m.room.history_visibility", "", {"history_visibility": "joined"}
    )
    return RelatedRoom(room_id, nodes, users, seed)


async def _ignore(node: Node, who: Requester, other: Requester) -> None:
    base = node.base
    push_rules = PushRules(base.database, base.log_writer)
    account_data = AccountData(base.database, base.log_writer, push_rules)
    content: JsonObject = {"ignored_users": {other.user_id: {}}}
    await account_data.put(who.user_id, "m.ignored_user_list", content)


async def _come_and_go(node: Node, room: RelatedRoom, who: Requester, round_: int) -> None:
    """Every third round the user misses what is said."""
    if round_ % 3 == 1:
        await node.rooms.memberships.leave(who, room.room_id)
    elif round_ % 3 == 2:
        await node.rooms.memberships.join(who, room.room_id)


async def _check(node: Node, room: RelatedRoom, reader: Requester, ignored: list[UserID]) -> None:
    access = await node.rooms.access.to_read(reader.user_id, room.room_id)
    aggregations = Aggregations(node.base.database, node.base.personal_rules, node.rooms.erasure)
    records = {}
    for event_id in room.sent:
        try:
            records[event_id] = await node.rooms.timeline.visible_event(access, event_id)
        except NotFound:
            continue
    viewer = Viewer(reader.user_id, reader.device_id, 0)
    bundles = await aggregations.of_page(access, viewer, records.values())
    for event_id, record in records.items():
        told = bundles.get(record.event_nid)
        expected = room.bundle(event_id, reader.user_id, records.keys(), ignored)
        assert _ids(json.loads(told) if told else {}) == expected, event_id
    assert await _threads(node, room, reader) == room.threads(records.keys(), ignored)


async def _threads(node: Node, room: RelatedRoom, reader: Requester) -> list[EventID]:
    base, rooms = node.base, node.rooms
    aggregations = Aggregations(base.database, base.personal_rules, rooms.erasure)
    threads = Threads(
        base.database, rooms.access, rooms.timeline, rooms.cache, aggregations, base.clock
    )
    page = await threads.of_room(reader, room.room_id, participated=False, start=None, limit=1_000)
    return [json.loads(event)["event_id"] for event in page.chunk]


def _ids(bundle: dict[str, Any]) -> Bundle:
    """Put the IDs of events in their places."""
    found: Bundle = dict(bundle)
    if "m.replace" in found:
        found["m.replace"] = found["m.replace"]["event_id"]
    if "m.reference" in found:
        found["m.reference"] = [each["event_id"] for each in found["m.reference"]["chunk"]]
    if "m.thread" in found:
        latest = found["m.thread"]["latest_event"]["event_id"]
        found["m.thread"] = {**found["m.thread"], "latest_event": latest}
    return found
