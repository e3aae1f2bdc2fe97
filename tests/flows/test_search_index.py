"""How the index of texts follows the log, and how it is read part by part."""

import itertools
import json

import pytest

from homeserver.protocol.filters import RoomEventFilter
from homeserver.rooms.create import NewRoom
from homeserver.run.search_routes import search_of
from homeserver.services import search_candidates
from homeserver.services.search_index import FOLLOWER_NAME, SearchIndex
from homeserver.services.search_request import SearchRequest
from homeserver.streams.follower import Stretch
from homeserver.streams.leases import Leases
from tests.support.node import Node, running_node, user

ALICE = user("alice")


class Index:
    """The index of a server, which learns when the test says so."""

    def __init__(self, node: Node, part_size: int) -> None:
        self.node = node
        self.database = node.base.database
        self.index = SearchIndex(self.database, node.base.clock, part_size=part_size)
        self.search = search_of(node.base, node.rooms)
        self.leases = Leases(self.database, node.base.clock, "node")
        self.position = 0
        self.numbers = itertools.count()

    async def learns(self, *, at_most=1_000_000):
        """Take what the log has told since the last time, in stretches."""
        await self.leases.add(FOLLOWER_NAME, at_head=False)
        await self.leases.renew({FOLLOWER_NAME: self.position})
        tail = self.node.base.tail
        while self.position < tail.position:
            upto = min(tail.position, self.position + at_most)
            between = await tail.between(self.position, upto)
            entries = [entry for entry in between if self.index.concerns(entry)]
            stretch = Stretch(entries, self.leases, FOLLOWER_NAME, self.position, upto)
            if entries:
                await self.index.handle(stretch)
            else:
                async with stretch.done():
                    pass
            self.position = upto

    async def makes_room(self):
        room = NewRoom(preset="private_chat", room_version="12")
        return await self.node.rooms.create.create(ALICE, room)

    async def sends(self, room_id, body, **content):
        content = {"msgtype": "m.text", "body": body, **content}
        txn_id = f"t{next(self.numbers)}"
        return await self.node.rooms.send.message(ALICE, room_id, "m.room.message", txn_id, content)

    async def edits(self, room_id, event_id, body):
        relation = {"rel_type": "m.replace", "event_id": event_id}
        new = {"msgtype": "m.text", "body": body}
        content = {"m.new_content": new, "m.relates_to": relation}
        return await self.sends(room_id, body, **content)

    async def redacts(self, room_id, event_id):
        txn_id = f"t{next(self.numbers)}"
        await self.node.rooms.send.redaction(ALICE, room_id, event_id, txn_id, {})

    async def page(self, term, **wanted):
        return await self.search.search(ALICE, SearchRequest(term=term, **wanted))

    async def total(self, term):
        return (await self.page(term)).total

    async def changes(self, statement, *values):
        async with self.database.transaction() as tx:
            return await tx.fetchval(statement, *values)


@pytest.fixture
async def node(database_dsn, tmp_path):
    async with running_node(database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
def index(node):
    return Index(node, part_size=3)


@pytest.mark.parametrize("at_most", [1, 2, 1_000])
async def test_the_index_is_the_same_whatever_the_stretches(index, at_most):
    room = await index.makes_room()
    await index.sends(room, "kept")
    redacted = await index.sends(room, "redacted")
    edited = await index.sends(room, "before")
    edit = await index.edits(room, edited, "between")
    await index.redacts(room, redacted)
    await index.redacts(room, edit)
    await index.edits(room, edited, "after")
    await index.learns(at_most=at_most)
    totals = {
        word: await index.total(word) for word in ("kept", "redacted", "before", "between", "after")
    }
    assert totals == {"kept": 1, "redacted": 0, "before": 0, "between": 0, "after": 1}


async def test_who_comes_late_reads_the_log_from_its_beginning(index, node):
    room = await index.makes_room()
    await index.sends(room, "early")
    assert await index.total("early") == 0
    await index.learns()
    assert await index.total("early") == 1


@pytest.fixture
async def backfilled(index):
    """The number of an event that has come into the timeline behind the back of the log."""
    room = await index.makes_room()
    event_id = await index.sends(room, "earlier")
    await index.changes("UPDATE events SET pos = NULL WHERE event_id = $1", event_id)
    await index.sends(room, "later")
    await index.learns()
    return await index.changes(
        """
        UPDATE events SET pos = (SELECT max(pos) FROM events), sub = -1
        WHERE event_id = $1 RETURNING event_nid
        """,
        event_id,
    )


async def test_history_is_found_when_the_log_goes_on(index, backfilled):
    assert await index.total("earlier") == 0
    await index.sends(await index.makes_room(), "anything")
    await index.learns()
    assert await index.total("earlier") == 1
    assert await index.changes("SELECT count(*) FROM search_backlog") == 0


async def test_history_can_be_added_at_once(index, backfilled):
    for _ in range(2):
        await index.index.add_history([backfilled])
        assert await index.total("earlier") == 1


async def test_events_that_are_deleted_leave_the_index(index):
    room = await index.makes_room()
    event_id = await index.sends(room, "purged")
    await index.learns()
    await index.changes("DELETE FROM events WHERE event_id = $1", event_id)
    assert await index.changes("SELECT count(*) FROM search_texts WHERE kind = 1") == 0


async def test_nobody_stays_on_top_by_a_date_in_the_future(index):
    room = await index.makes_room()
    event_id = await index.sends(room, "word of tomorrow")
    nid = await index.changes(
        "UPDATE events SET origin_server_ts = $2 WHERE event_id = $1 RETURNING event_nid",
        event_id,
        2**53 - 1,
    )
    await index.index.add_history([nid])
    newest_ts = await index.changes("SELECT max(newest_ts) FROM search_parts")
    assert newest_ts <= index.node.base.clock.now_ms()


@pytest.fixture
async def many(index, monkeypatch):
    """Twelve messages in parts of three, in two rooms by turns; parts are read one by one."""
    monkeypatch.setattr(search_candidates, "_FIRST_TEXTS", 1)
    rooms = [await index.makes_room(), await index.makes_room()]
    first = await index.changes("SELECT max(origin_server_ts) FROM events")
    for number in range(12):
        event_id = await index.sends(rooms[number % 2], f"number {number}")
        await index.changes(
            "UPDATE events SET origin_server_ts = $2 WHERE event_id = $1",
            event_id,
            first - 12 + number,
        )
        await index.learns()
    return index


def told(page):
    bodies = [json.loads(result.event)["content"]["body"] for result in page.results]
    return [int(body.split()[1]) for body in bodies]


async def test_the_newest_come_first_from_whichever_part(many, monkeypatch):
    for limit, spare in itertools.product((1, 2, 5, 20), (0, 3, 100)):
        monkeypatch.setattr("homeserver.services.search._SPARE", spare)
        numbers, start = [], None
        for _ in range(14):
            chosen = RoomEventFilter(limit=limit)
            page = await many.page("number", order="recent", filter=chosen, start=start)
            assert page.total >= len(page.results)
            numbers += told(page)
            start = page.next_batch
            if start is None:
                break
        assert numbers == list(range(12))[::-1], (limit, spare)


async def test_by_rank_only_so_many_of_the_newest_are_compared(many, monkeypatch):
    monkeypatch.setattr(search_candidates, "MAX_RANKED", 4)
    page = await many.page("number")
    assert len(page.results) < 10
    assert set(told(page)) >= {8, 9, 10, 11}
    assert page.next_batch is None
    assert page.total > len(page.results)


async def test_parts_are_bounded(many):
    sizes = await many.changes("SELECT array_agg(texts) FROM search_parts")
    assert max(sizes) == 3
    assert sum(sizes) == 12
