"""The law of crashes: what was acknowledged is there, once, whoever is killed and whenever."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.telemetry.clock import SystemClock
from tests.support.client import Client, Refusal, clients_of
from tests.support.processes import ServerProcess, server_processes

SENDERS = 6
ROOMS = 3
CRASHES = 4
ALL = {"room": {"timeline": {"limit": 10_000}}}
SETTINGS = {"RATE_LIMITS_ENABLED": "false", "PASSWORDS_BCRYPT_COST": "4"}
# A server that does not recover in this time never will.
PATIENCE_SECONDS = 120
# What a client does about an answer that never came, or an error that is the server's own.
NO_ANSWER = (aiohttp.ClientError, ConnectionError)


class Sender:
    """Sends numbered messages and topics to all rooms, each until it is acknowledged."""

    def __init__(self, client: Client, rooms: list[str], seed: int) -> None:
        self._client = client
        self._rooms = rooms
        self._random = random.Random(seed)
        self.user_id = client.user_id
        self.sent: dict[str, list[tuple[str, str]]] = defaultdict(list)

    async def send_until(self, is_enough: asyncio.Event, acknowledged: asyncio.Semaphore) -> None:
        number = 0
        while not is_enough.is_set():
            room, text = self._random.choice(self._rooms), f"{number}"
            if self._random.random() < 0.1:
                event_id = await persistently(
                    lambda: self._client.sets(room, "m.room.topic", {"topic": text})  # noqa: B023
                )
            else:
                event_id = await persistently(
                    lambda: self._client.sends(room, text, txn_id=text)  # noqa: B023
                )
            self.sent[room].append((event_id, text))
            acknowledged.release()
            number += 1


class Observer:
    """Follows /sync through all crashes with the tokens that it got before them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since: str | None = None
        self.seen: dict[str, list[str]] = defaultdict(list)

    async def follow(self) -> None:
        while True:
            await self.look(timeout_ms=30_000)

    async def look(self, timeout_ms: int = 0) -> None:
        answer = await persistently(
            lambda: self._client.syncs(self._since, filter=ALL, timeout=timeout_ms)
        )
        for room, part in answer.get("rooms", {}).get("join", {}).items():
            assert not part["timeline"].get("limited") or self._since is None
            self.seen[room] += [event["event_id"] for event in part["timeline"]["events"]]
        self._since = answer["next_batch"]


async def persistently(request: Callable[[], Any]) -> Any:
    """Repeat a request until it is answered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(*NO_ANSWER):
                try:
                    return await request()
                except Refusal as refusal:
                    if refusal.status < 500:
                        raise
            await asyncio.sleep(0)


async def crash_server(server: ServerProcess) -> None:
    server.kill()
    await asyncio.to_thread(server.start)


async def crash_postgres(server: ServerProcess) -> None:
    server.kill_postgres()


async def crash_both(server: ServerProcess) -> None:
    server.kill_postgres()
    await crash_server(server)


async def crash_any(server: ServerProcess) -> None:
    await random.choice([crash_server, crash_postgres, crash_both])(server)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with its own PostgreSQL, which waits for the disk."""
    with server_processes() as make:
        made = make(tmp_path / "data", SETTINGS)
        await asyncio.to_thread(made.start)
        yield made


@pytest.mark.parametrize("crash", [crash_server, crash_postgres, crash_both, crash_any])
async def test_every_acknowledged_event_survives_once_and_in_order(
    server: ServerProcess, tmp_path: Path, crash: Callable[[ServerProcess], Any]
) -> None:
    async with AsyncExitStack() as stack:
        maker = await stack.enter_async_context(clients_of(server.url))
        users = [await maker.user(f"user{number}") for number in range(SENDERS)]
        rooms = [await users[0].creates_room(preset="public_chat") for _ in range(ROOMS)]
        for user in users[1:]:
            for room in rooms:
                await user.joins(room)
        for room in rooms:
            levels = await users[0].reads_state(room, "m.room.power_levels")
            await users[0].sets(room, "m.room.power_levels", {**levels, "state_default": 0})
        senders = [Sender(user, rooms, seed) for seed, user in enumerate(users)]
        observer = Observer(users[0])
        await observer.look()
        await send_through_crashes(server, senders, observer, crash)
        await observer.look()
        for room in rooms:
            history = await history_of(users[1], room)
            assert_law(history, senders, room)
            ids = [event["event_id"] for event in history]
            assert observer.seen[room] == ids
            assert await state_ids(users[2], room) == last_state(history)
    assert await contradictions(tmp_path / "data") == []
    assert bugs_in(server.log) == []


async def test_server_whose_sockets_are_elsewhere_survives_its_postgresql(tmp_path: Path) -> None:
    # A socket's path may have 107 bytes, so that of PostgreSQL cannot be in such a folder.
    folder = tmp_path / ("deep" * 30)
    with server_processes() as make:
        server = make(folder / "data", SETTINGS)
        await asyncio.to_thread(server.start)
        async with clients_of(server.url) as maker:
            alice = await maker.user("alice")
            room = await alice.creates_room()
            server.kill_postgres()
            event_id = await persistently(lambda: alice.sends(room, "hello", txn_id="t"))
            assert [event["event_id"] for event in await history_of(alice, room)][-1] == event_id


async def send_through_crashes(
    server: ServerProcess,
    senders: list[Sender],
    observer: Observer,
    crash: Callable[[ServerProcess], Any],
) -> None:
    is_enough, acknowledged = asyncio.Event(), asyncio.Semaphore(0)
    following = asyncio.create_task(observer.follow())
    sending = [asyncio.create_task(each.send_until(is_enough, acknowledged)) for each in senders]
    for _ in range(CRASHES):
        for _ in range(random.randint(20, 150)):
            await acknowledged.acquire()
        await crash(server)
    for _ in range(20):
        await acknowledged.acquire()
    is_enough.set()
    await asyncio.gather(*sending)
    following.cancel()
    await asyncio.wait([following])


async def history_of(client: Client, room: str) -> list[dict[str, Any]]:
    """Page back to the creation of the room; return its events, oldest first."""
    events: list[dict[str, Any]] = []
    start: str | None = None
    while True:
        page = await client.reads_messages(room, from_=start, limit=100)
        events += page["chunk"]
        start = page.get("end")
        if start is None:
            return events[::-1]


def assert_law(history: list[dict[str, Any]], senders: list[Sender], room: str) -> None:
    ids = [event["event_id"] for event in history]
    assert len(set(ids)) == len(ids)
    for sender in senders:
        own = [event for event in history if event["sender"] == sender.user_id]
        messages = [event for event in own if event["type"] == "m.room.message"]
        bodies = [int(event["content"]["body"]) for event in messages]
        assert bodies == sorted(set(bodies)), "sent again, or out of order"
        acknowledged = [event_id for event_id, _ in sender.sent[room]]
        there = {event["event_id"] for event in own}
        assert [event_id for event_id in acknowledged if event_id not in there] == []
        contents = {event["event_id"]: event["content"] for event in own}
        for event_id, text in sender.sent[room]:
            content = contents[event_id]
            assert content.get("body", content.get("topic")) == text


def bugs_in(log: str) -> list[str]:
    """Return the failures of requests that had another reason than an absent PostgreSQL."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    failures = [entry["exception"] for entry in entries if entry["message"] == "request failed"]
    return [failure for failure in failures if "DatabaseUnavailable" not in failure]


async def state_ids(client: Client, room: str) -> dict[tuple[str, str], str]:
    events = await client.get(f"rooms/{room}/state")
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


def last_state(history: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {
        (event["type"], event["state_key"]): event["event_id"]
        for event in history
        if "state_key" in event
    }


# Facts that are stored twice, for speed, and must agree; each query finds those that do not.
_CONTRADICTIONS = {
    "a position is beyond the log's head": """
        SELECT pos FROM events WHERE pos > (SELECT pos FROM log_head)
        UNION ALL SELECT pos FROM user_changes WHERE pos > (SELECT pos FROM log_head)
    """,
    "a position was given twice": """
        SELECT pos FROM (
            SELECT pos FROM events WHERE sub = 0 AND pos IS NOT NULL
            UNION ALL SELECT pos FROM user_changes
        ) p GROUP BY pos HAVING count(*) > 1
    """,
    "the current state is not the last change": """
        SELECT room_nid, key_nid FROM room_state r
        WHERE event_nid IS DISTINCT FROM (
            SELECT c.event_nid FROM state_changes c
            WHERE c.room_nid = r.room_nid AND c.key_nid = r.key_nid ORDER BY c.pos DESC LIMIT 1
        )
    """,
    "a room's version is not its newest event": """
        SELECT room_nid FROM rooms r WHERE version <> (
            SELECT e.event_nid FROM events e WHERE e.room_nid = r.room_nid
            ORDER BY e.pos DESC LIMIT 1
        )
    """,
    "a membership is not that of the state": """
        SELECT m.user_id, m.room_nid FROM memberships m
        WHERE NOT EXISTS (
            SELECT FROM room_state r
            WHERE r.room_nid = m.room_nid AND r.event_nid = m.event_nid
        )
    """,
}


async def contradictions(data_dir: Path) -> list[tuple[str, list[Any]]]:
    postgres = EmbeddedPostgres(data_dir / "postgres")
    dsn = await asyncio.to_thread(postgres.start)
    try:
        async with Database(dsn, clock=SystemClock()) as database, database.connection() as reader:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                # An acknowledgment is worth nothing without these.
                assert await reader.fetchval(f"SHOW {name}") == "on"
            found = {name: await reader.fetch(query) for name, query in _CONTRADICTIONS.items()}
            return [(name, [tuple(row) for row in rows]) for name, rows in found.items() if rows]
    finally:
        await asyncio.to_thread(postgres.stop)
