"""Events far back in a room's past: jumping to them, and reading on from there both ways."""

import asyncio
from random import Random

import pytest

from client_api.sync.request import SyncContext, SyncRequest
from client_api.sync.timelines import Timelines
from homeserver.errors import NotFound
from homeserver.ports import StateIDs
from homeserver.protocol.filters import CompiledFilter, EventMatcher, Filter, RoomEventFilter
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.receive.jump import sub_between
from homeserver.rooms.timeline import place_of, unbroken
from homeserver.services import distant_history, history_pages
from homeserver.services.closest_event import ClosestEvent
from homeserver.services.room_pages import RoomPages, beyond
from homeserver.services.search_context import ContextRequest, SearchContext
from homeserver.storage.history_stretches import LEAST, Bounds
from tests.receiving.conftest import ALICE, EVE, FRED
from tests.receiving.test_backfill import (
    distant_of,
    ids,
    joined,
    pages_of,
    says,
    scrolls,
)
from tests.receiving.test_new_room import room_elsewhere
from tests.receiving.test_receiving import HELLO, local


async def find(receiving, room_id, ts, forwards=True):
    node = receiving.node
    closest = ClosestEvent(node.base.database, node.rooms.access, distant_of(receiving))
    return await closest.find(ALICE.user_id, room_id, ts, forwards=forwards)


def visibility(dag, last, value):
    content = {"history_visibility": value}
    return dag.make(EVE, "m.room.history_visibility", content, [last], state_key="").event_id


async def page(receiving, room_id, start, limit=20):
    """Read one page forwards."""
    access = await receiving.node.rooms.access.to_read(ALICE.user_id, room_id)
    pages = pages_of(receiving)
    matcher = EventMatcher(RoomEventFilter())
    read = await pages.page(
        access, matcher, pages.budget(), backwards=False, start=start, limit=limit
    )
    return read.records


def ancestors(dag, event_id):
    """Return the IDs of an event and everything before it, sorted."""
    found, pending = set(), [event_id]
    while pending:
        found.add(each := pending.pop())
        pending += set(dag.events[each].prev_events) - found
    return sorted(found)


async def around(receiving, dag, record, limit=40):
    """Read everything from an event on, both ways, in the order of the timeline."""
    older = await scrolls(receiving, dag.room_id, start=beyond(record, backwards=True), limit=limit)
    newer = await scrolls(
        receiving, dag.room_id, start=place_of(record), limit=limit, backwards=False
    )
    return [*reversed(ids(older)), record.event_id, *ids(newer)]


async def test_an_event_far_before_the_join_is_jumped_to(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 600)
    await joined(receiving, dag, sent[-1])
    wanted = dag.events[sent[70]]
    early = await find(receiving, dag.room_id, dag.events[sent[10]].origin_server_ts)
    assert early.event_id == sent[10]
    record = await find(receiving, dag.room_id, wanted.origin_server_ts, forwards=False)
    assert record.event_id == wanted.event_id
    # Nothing of what came between was asked for.
    assert "backfill" not in receiving.peers.asked
    assert await receiving.flags(sent[71]) is None
    # Now it is known here.
    receiving.peers.asked.clear()
    assert await find(receiving, dag.room_id, wanted.origin_server_ts) == record
    assert receiving.peers.asked == []
    assert await around(receiving, dag, record) == list(dag.events)
    # All of it is there, for who comes from the other end as well.
    receiving.peers.asked.clear()
    assert ids(await scrolls(receiving, dag.room_id, limit=100)) == list(reversed(dag.events))
    assert receiving.peers.asked == []


async def test_reading_on_from_a_jump_asks_for_what_comes_next(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 900)
    await joined(receiving, dag, sent[-1])
    record = await find(receiving, dag.room_id, dag.events[sent[100]].origin_server_ts)
    receiving.peers.asked.clear()
    assert ids(await page(receiving, dag.room_id, place_of(record))) == sent[101:121]
    assert receiving.peers.asked.count("backfill") == 1
    assert await receiving.flags(sent[500]) is None


async def test_jumps_are_in_order_whichever_comes_first(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 900)
    await joined(receiving, dag, sent[-1])
    for number in (500, 150, 300):
        record = await find(receiving, dag.room_id, dag.events[sent[number]].origin_server_ts)
        assert record.event_id == sent[number]
    assert "backfill" not in receiving.peers.asked
    async with receiving.node.base.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT event_id FROM events WHERE pos IS NOT NULL AND sub < 0 ORDER BY pos, sub"
        )
    assert [row["event_id"] for row in rows] == [sent[150], sent[300], sent[500]]
    assert await around(receiving, dag, record) == list(dag.events)


async def test_the_beginning_of_a_room_is_where_reading_forwards_begins(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 350)
    await joined(receiving, dag, sent[-1])
    first = await find(receiving, dag.room_id, 0)
    assert first.event_id == next(iter(dag.events))
    with pytest.raises(NotFound):
        await find(receiving, dag.room_id, 0, forwards=False)
    records = await scrolls(receiving, dag.room_id, limit=100, backwards=False)
    assert ids(records) == list(dag.events)


async def test_a_hole_between_live_events_is_filled_from_its_older_side(receiving, make_room):
    dag = await make_room()
    (last,) = await receiving.extremities(dag.room_id)
    start = (await scrolls(receiving, dag.room_id, limit=1))[0]
    missed = says(dag, last, 400)
    after = dag.make(EVE, "m.room.message", HELLO, [missed[-1]])
    receiving.peers.lies["missing_events"] = []
    await receiving.gets(after)
    await local(receiving, dag.room_id, "m.room.message", HELLO)
    del receiving.peers.lies["missing_events"]
    assert start.event_id == last
    newer = await scrolls(receiving, dag.room_id, start=place_of(start), limit=50, backwards=False)
    assert ids(newer)[: len(missed) + 1] == [*missed, after.event_id]


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_lost_whatever_is_jumped_to_and_read(receiving, seed):
    """In a room with short forks; each gap is filled in whichever order it is come across."""
    random = Random(seed)
    dag, last = room_elsewhere(receiving, "11")
    ends = [last]
    for _ in range(400):
        fork = [random.choice(ends)] if random.random() < 0.1 else ends
        event = dag.make(EVE, "m.room.message", HELLO, fork)
        ends = [event.event_id] if fork is ends or len(ends) > 2 else [*ends, event.event_id]
    join = await joined(receiving, dag, ends[0])
    wanted_ids = ancestors(dag, join.event_id)
    for _ in range(random.randrange(1, 8)):
        wanted = dag.events[random.choice(wanted_ids)]
        record = await find(receiving, dag.room_id, wanted.origin_server_ts, random.random() < 0.5)
        assert record.event_id == wanted.event_id
        if random.random() < 0.5:
            await page(receiving, dag.room_id, place_of(record), limit=random.choice([5, 40]))
    for backwards in random.sample([True, False], 2):
        records = await scrolls(receiving, dag.room_id, limit=50, backwards=backwards)
        assert sorted(ids(records)) == wanted_ids


# What the reader may see


async def test_a_jump_to_what_the_reader_may_not_see_shows_nothing(receiving):
    """The visibility has changed since, so that the state there has to be asked for."""
    dag, last = room_elsewhere(receiving, "11")
    old = says(dag, last, 150)
    secret = says(dag, visibility(dag, old[-1], "joined"), 150)
    shown = says(dag, visibility(dag, secret[-1], "shared"), 150)
    await joined(receiving, dag, shown[-1])
    record = await find(receiving, dag.room_id, dag.events[secret[20]].origin_server_ts)
    assert record.event_id not in secret
    assert "state_ids" in receiving.peers.asked
    record = await find(receiving, dag.room_id, dag.events[old[20]].origin_server_ts)
    assert record.event_id == old[20]
    seen = await around(receiving, dag, record)
    assert not set(secret) & set(seen)
    assert seen == [each for each in dag.events if each not in secret]


async def test_a_jump_before_changes_of_which_nobody_tells_goes_all_the_way(receiving):
    """Without the state there, an event has to come with all that is after it."""
    dag, last = room_elsewhere(receiving, "11")
    old = says(dag, last, 150)
    changed = visibility(dag, visibility(dag, old[-1], "joined"), "shared")
    await joined(receiving, dag, says(dag, changed, 5)[-1])
    receiving.peers.lies["state_ids"] = StateIDs([], [])
    record = await find(receiving, dag.room_id, dag.events[old[20]].origin_server_ts)
    assert receiving.peers.asked.count("backfill") == 2
    assert record.event_id == old[20]


async def test_where_history_is_for_members_nobody_is_asked(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, visibility(dag, last, "joined"), 150)
    join = await joined(receiving, dag, sent[-1])
    record = await find(receiving, dag.room_id, dag.events[sent[20]].origin_server_ts)
    assert record.event_id == join.event_id
    assert "timestamp_to_event" not in receiving.peers.asked


async def test_sync_tells_nothing_of_what_stands_apart(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 300)
    join = await joined(receiving, dag, sent[-1])
    await find(receiving, dag.room_id, dag.events[sent[20]].origin_server_ts)
    node = receiving.node
    head = await node.rooms.heads.head(dag.room_id)
    timelines = Timelines(node.base.database, node.base.tail)
    request = SyncRequest(requester=ALICE, filter=CompiledFilter(Filter()), since=None)
    now = node.base.tail.position
    context = SyncContext(request, Viewer(ALICE.user_id, None, 0), now, {})
    one = await timelines.of_room(context, head.room_nid, None, now)
    many = await timelines.of_rooms(context, [head.room_nid], 0, now)
    for told in (one, many[head.room_nid]):
        assert (ids(told.records), told.is_limited) == ([join.event_id], True)


async def test_neighbors_of_what_was_found_do_not_stand_apart_from_it(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 300)
    await joined(receiving, dag, sent[-1])
    newest = await find(receiving, dag.room_id, 2**53, forwards=False)
    record = await find(receiving, dag.room_id, dag.events[sent[20]].origin_server_ts)
    node = receiving.node
    pages = RoomPages(node.base.database, node.rooms.timeline, node.base.personal_rules)
    context = SearchContext(pages, node.rooms.read_state)
    access = await node.rooms.access.to_read(ALICE.user_id, dag.room_id)
    for each in (newest, record):
        found = await context.around(access, each, ContextRequest())
        assert (found.before, found.after) == ([], [])
    assert found.end == place_of(record)
    assert unbroken([newest, record]) == [newest]


# Servers that answer wrongly


async def test_an_event_that_is_not_what_it_should_be_is_not_taken(receiving):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    bad = dag.make(FRED, "m.room.name", {"name": "no"}, [last], state_key="")
    sent = says(dag, bad.event_id, 300)
    join = await joined(receiving, dag, sent[-1])
    wanted = dag.events[sent[20]]
    elsewhere, _ = room_elsewhere(receiving, "11")
    stranger = next(iter(elsewhere.events.values()))
    early = dag.events[sent[10]]
    for named, given in (
        # Of another room, of another time, another event, and one that its room rejects.
        (stranger, stranger),
        (early, early),
        (wanted, dag.events[sent[21]]),
        (bad, bad),
    ):
        receiving.peers.lies["timestamp_to_event"] = (named.event_id, wanted.origin_server_ts)
        receiving.peers.lies["event"] = given.pdu
        found = await find(receiving, dag.room_id, wanted.origin_server_ts)
        assert found.event_id == join.event_id
    receiving.peers.lies.clear()
    found = await find(receiving, dag.room_id, wanted.origin_server_ts)
    assert found.event_id == wanted.event_id


async def test_a_server_that_never_answers_keeps_nobody_waiting_for_long(receiving, monkeypatch):
    monkeypatch.setattr(distant_history, "PATIENCE_SECONDS", 0.01)
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 300)
    join = await joined(receiving, dag, sent[-1])

    async def hangs(*_args, **_kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(receiving.peers, "timestamp_to_event", hangs)
    record = await find(receiving, dag.room_id, dag.events[sent[20]].origin_server_ts)
    assert record.event_id == join.event_id


async def test_one_answer_waits_for_others_once_however_many_gaps_there_are(receiving, monkeypatch):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 600)
    await joined(receiving, dag, sent[-1])
    record = await find(receiving, dag.room_id, dag.events[sent[300]].origin_server_ts)
    monkeypatch.setattr(history_pages, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(history_pages, "_LEAST_SECONDS", 0.01)

    async def hangs(*_args, **_kwargs):
        await asyncio.Event().wait()

    monkeypatch.setattr(receiving.peers, "timestamp_to_event", hangs)
    monkeypatch.setattr(receiving.peers, "backfill", hangs)
    # What is beyond is shown, for nobody can be waited for.
    assert len(await page(receiving, dag.room_id, place_of(record))) == 1


async def test_a_reader_goes_on_where_others_give_little_at_a_time(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 250)
    await joined(receiving, dag, sent[-1])
    receiving.peers.page = 3
    record = await find(receiving, dag.room_id, dag.events[sent[100]].origin_server_ts)
    newer = await scrolls(receiving, dag.room_id, start=place_of(record), limit=50, backwards=False)
    assert ids(newer)[:-1] == sent[101:]


# Where a jump goes


@pytest.mark.parametrize(
    ("within", "newer", "older", "depth", "expected"),
    [
        (Bounds(0, LEAST, 0), 1000, 0, 500, LEAST // 2),
        (Bounds(0, -1_000_000, 0), 1000, 500, 600, -800_000),
        # Never closer to either side than so many events.
        (Bounds(0, -1_000_000, 0), 1000, 500, 1000, -(2**16)),
        (Bounds(0, -1_000_000, 0), 1000, 500, 500, -1_000_000 + 2**16),
        # Depths that lie.
        (Bounds(0, -1_000_000, 0), 1000, 500, 1, -1_000_000 + 2**16),
        (Bounds(0, -1_000_000, 0), 1000, 500, 2**53, -(2**16)),
        (Bounds(0, -1_000_000, 0), 2**53, 2**53, 2**53, -(2**16)),
        (Bounds(0, -100_000, 0), 1000, 500, 600, None),
    ],
)
def test_jumps_go_where_their_depth_is(within, newer, older, depth, expected):
    assert sub_between(within, newer, older, depth) == expected
