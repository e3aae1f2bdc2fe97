"""Two nodes that write to the same room at the same time."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest

from homeserver.storage.database import Database
from homeserver.telemetry.clock import SystemClock
from tests.nodes.conftest import StartNodes
from tests.support.client import Client, clients_of, quoted
from tests.support.redis import RedisServer

EVENTS_PER_NODE = 200
SENDERS_PER_NODE = 8
ALL = {"room": {"timeline": {"limit": 1000}}}


class TwoNodes(NamedTuple):
    """The same user at two nodes, with one device: two connections of one client."""

    here: Client
    there: Client


async def at_both(stack: AsyncExitStack, urls: Iterable[str], name: str) -> TwoNodes:
    here, there = [(await stack.enter_async_context(clients_of(url))).nobody() for url in urls]
    await here.registers(name)
    there.user_id, there.device_id = here.user_id, here.device_id
    there.access_token = here.access_token
    return TwoNodes(here, there)


@pytest.fixture
async def alice(start_nodes: StartNodes, redis_server: RedisServer) -> AsyncIterator[TwoNodes]:
    nodes = await start_nodes(redis_server.url)
    async with AsyncExitStack() as stack:
        yield await at_both(stack, [node.url for node in nodes], "alice")


async def timeline(client: Client, room: str, since: str | None = None) -> list[dict[str, Any]]:
    answer = await client.syncs(since, filter=ALL)
    events: list[dict[str, Any]] = answer["rooms"]["join"][room]["timeline"]["events"]
    return events


async def sends_all(client: Client, room: str, prefix: str, count: int) -> dict[str, str]:
    """Send messages over several connections at once; return event IDs by body."""
    bodies = iter([f"{prefix} {number}" for number in range(count)])
    sent: dict[str, str] = {}

    async def send_some() -> None:
        for body in bodies:
            sent[body] = await client.sends(room, body, txn_id=body)

    await asyncio.gather(*(send_some() for _ in range(SENDERS_PER_NODE)))
    return sent


async def test_what_is_asked_of_two_nodes_at_once_is_done_once(alice: TwoNodes) -> None:
    room = await alice.here.creates_room()
    for number in range(100):
        first, second = await asyncio.gather(
            alice.here.sends(room, f"message {number}", txn_id=f"t{number}"),
            alice.there.sends(room, f"message {number}", txn_id=f"t{number}"),
        )
        assert first == second
    bodies = [
        event["content"]["body"]
        for event in await timeline(alice.here, room)
        if event["type"] == "m.room.message"
    ]
    assert bodies == [f"message {number}" for number in range(100)]
    path, body = f"rooms/{quoted(room)}/upgrade", {"new_version": "12"}
    one, other = await asyncio.gather(alice.here.post(path, body), alice.there.post(path, body))
    assert one == other


async def test_many_transactions_at_two_nodes_at_once_are_one_event_each(alice: TwoNodes) -> None:
    room = await alice.here.creates_room()
    first, second = await asyncio.gather(
        sends_all(alice.here, room, "message", EVENTS_PER_NODE),
        sends_all(alice.there, room, "message", EVENTS_PER_NODE),
    )
    assert first == second
    ids = [
        event["event_id"]
        for event in await timeline(alice.there, room)
        if event["type"] == "m.room.message"
    ]
    assert sorted(ids) == sorted(first.values())


async def test_what_two_nodes_write_to_one_room_is_there_once_and_in_one_order(
    alice: TwoNodes, database_dsn: str
) -> None:
    room = await alice.here.creates_room()
    sent_here, sent_there = await asyncio.gather(
        sends_all(alice.here, room, "here", EVENTS_PER_NODE),
        sends_all(alice.there, room, "there", EVENTS_PER_NODE),
    )
    events = await timeline(alice.here, room)
    messages = [event["event_id"] for event in events if event["type"] == "m.room.message"]
    assert sorted(messages) == sorted([*sent_here.values(), *sent_there.values()])
    order = [event["event_id"] for event in events]
    assert [event["event_id"] for event in await timeline(alice.there, room)] == order
    assert await prev_events_of(database_dsn, order) == [[], *([each] for each in order[:-1])]


async def prev_events_of(dsn: str, event_ids: list[str]) -> list[list[str]]:
    """Return the prev events of stored events: what other servers would be told."""
    async with Database(dsn, clock=SystemClock()) as database, database.connection() as connection:
        rows = await connection.fetch(
            "SELECT event_id, rest FROM events WHERE event_id = ANY ($1)", event_ids
        )
    prev_events = {row["event_id"]: json.loads(row["rest"])["prev_events"] for row in rows}
    return [prev_events[event_id] for event_id in event_ids]
