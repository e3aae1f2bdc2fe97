"""History that others have, and users scroll back to."""

import asyncio
import json

import pytest

from homeserver.protocol.filters import EventMatcher, RoomEventFilter
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.redaction import redact
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.services import history_pages
from homeserver.services.backfill_history import BackfillHistory
from homeserver.services.closest_event import ClosestEvent
from homeserver.services.distant_history import DistantHistory
from homeserver.services.history_pages import HistoryPages
from homeserver.services.room_pages import RoomPages
from tests.receiving.conftest import ALICE, EVE, FRED
from tests.receiving.test_new_room import accept, answer_of, join_of, room_elsewhere
from tests.receiving.test_receiving import HELLO, local
from tests.support.node import user

BOB = user("bob")
FARAWAY = ServerName("faraway.example")


def backfill_of(receiving):
    node, layer = receiving.node, receiving.layer
    return BackfillHistory(
        node.base.database,
        node.rooms.heads,
        ServersInRooms(node.base.database),
        layer.fill_gap,
        node.base.clock,
        ServerName("localhost"),
    )


def distant_of(receiving, backfill=None):
    node, layer = receiving.node, receiving.layer
    return DistantHistory(
        node.base.database,
        layer.known,
        backfill or backfill_of(receiving),
        layer.jump,
        receiving.peers,
    )


def pages_of(receiving, backfill=None):
    node = receiving.node
    backfill = backfill or backfill_of(receiving)
    return HistoryPages(
        RoomPages(node.base.database, node.rooms.timeline, node.base.personal_rules),
        backfill,
        distant_of(receiving, backfill),
        node.rooms.visibility,
        node.base.clock,
    )


async def scrolls(
    receiving, room_id, who=ALICE, limit=10, start=None, backfill=None, backwards=True
):
    """Read the timeline to its end, page by page, in the order of reading."""
    node = receiving.node
    pages = pages_of(receiving, backfill)
    found = []
    for _ in range(100):
        access = await node.rooms.access.to_read(who.user_id, room_id)
        page = await pages.page(
            access,
            EventMatcher(RoomEventFilter()),
            pages.budget(),
            backwards=backwards,
            start=start,
            limit=limit,
        )
        found += page.records
        start = page.end
        if start is None:
            return found
    raise AssertionError("the timeline has no end")


def ids(records):
    return [each.event_id for each in records]


def says(dag, last, count, who=EVE, content=HELLO):
    sent = []
    for _ in range(count):
        sent.append(dag.make(who, "m.room.message", content, [last]).event_id)
        last = sent[-1]
    return sent


async def joined(receiving, dag, last):
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    return join


@pytest.mark.parametrize("version", ["1", "2", "3", "6", "10", "11", "12"])
async def test_all_of_a_room_is_there_for_who_scrolls_back(receiving, version):
    dag, last = room_elsewhere(receiving, version, [FRED])
    sent = says(dag, last, 25)
    join = await joined(receiving, dag, sent[-1])
    receiving.peers.page = 7
    records = await scrolls(receiving, dag.room_id)
    assert ids(records) == list(reversed(dag.events))
    assert records[0].event_id == join.event_id
    asked = len(receiving.peers.asked)
    # It is kept, and once all of it is there nobody is asked any more.
    assert ids(await scrolls(receiving, dag.room_id)) == ids(records)
    assert len(receiving.peers.asked) == asked


async def test_who_reads_only_the_newest_events_does_not_have_others_asked(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 5)
    await joined(receiving, dag, sent[-1])
    for _ in range(12):
        await local(receiving, dag.room_id, "m.room.message", HELLO)
    access = await receiving.node.rooms.access.to_read(ALICE.user_id, dag.room_id)
    pages = pages_of(receiving)
    matcher = EventMatcher(RoomEventFilter())
    page = await pages.page(access, matcher, pages.budget(), backwards=True, start=None, limit=10)
    assert len(page.records) == 10
    assert "backfill" not in receiving.peers.asked
    page = await pages.page(
        access, matcher, pages.budget(), backwards=True, start=page.end, limit=10
    )
    assert "backfill" in receiving.peers.asked
    assert len(page.records) == 10


async def test_history_before_the_visibility_allows_it_is_hidden(receiving):
    dag, last = room_elsewhere(receiving, "11")
    old = says(dag, last, 3)
    closed = dag.make(
        EVE, "m.room.history_visibility", {"history_visibility": "joined"}, [old[-1]], state_key=""
    ).event_id
    secret = says(dag, closed, 3)
    opened = dag.make(
        EVE, "m.room.history_visibility", {"history_visibility": "shared"}, [secret[-1]],
        state_key="",
    ).event_id  # fmt: skip
    shown = says(dag, opened, 3)
    await joined(receiving, dag, shown[-1])
    # With pages that small, what was before the first change is not known at first: then it is
    # hidden as if it were the strictest.
    receiving.peers.page = 2
    seen = set(ids(await scrolls(receiving, dag.room_id)))
    assert seen >= {*shown, opened}
    assert not seen & set(secret)
    seen = set(ids(await scrolls(receiving, dag.room_id)))
    assert seen >= {*shown, *old, opened, closed}
    assert not seen & set(secret)
    # Nor do other servers of the room get it whole, but they get that it is there.
    served = await receiving.layer.history.before(FARAWAY, dag.room_id, [shown[0]], 100)
    contents = {each.event_id: json.loads(each.pdu)["content"] for each in served}
    assert contents[shown[0]] == HELLO
    assert contents[secret[0]] == {}
    assert contents[old[0]] == HELLO


async def test_nobody_is_asked_for_history_that_the_reader_may_not_see(receiving):
    dag, last = room_elsewhere(receiving, "11")
    closed = dag.make(
        EVE, "m.room.history_visibility", {"history_visibility": "joined"}, [last], state_key=""
    ).event_id
    join = await joined(receiving, dag, says(dag, closed, 3)[-1])
    assert ids(await scrolls(receiving, dag.room_id)) == [join.event_id]
    assert "backfill" not in receiving.peers.asked


async def test_a_hole_in_the_middle_is_filled(receiving, make_room):
    dag = await make_room()
    (last,) = await receiving.extremities(dag.room_id)
    missed = says(dag, last, 6)
    after = dag.make(EVE, "m.room.message", HELLO, [missed[-1]])
    receiving.peers.lies["missing_events"] = []
    await receiving.gets(after)
    assert await receiving.flags(after.event_id) == 0
    live = await local(receiving, dag.room_id, "m.room.message", HELLO)
    records = await scrolls(receiving, dag.room_id, limit=3)
    wanted = [live, after.event_id, *reversed(missed), last]
    assert ids(records)[: len(wanted)] == wanted
    assert len(records) == len(dag.events) + 1


async def test_redacted_history_stays_redacted(receiving):
    dag, last = room_elsewhere(receiving, "11")
    (target,) = says(dag, last, 1)
    between = says(dag, target, 3)
    redaction = dag.make(
        EVE, "m.room.redaction", {"redacts": target}, [between[-1]], redacts=target
    ).event_id
    await joined(receiving, dag, redaction)
    # Each is in a page of its own.
    receiving.peers.page = 2
    records = {each.event_id: each for each in await scrolls(receiving, dag.room_id)}
    assert json.loads(records[target].core)["content"] == {}
    assert records[target].redaction_id == redaction
    assert json.loads(records[between[0]].core)["content"] == HELLO


async def test_relations_and_threads_of_history(receiving):
    dag, last = room_elsewhere(receiving, "11")
    (root,) = says(dag, last, 1)
    reply = {**HELLO, "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    replies = says(dag, root, 3, content=reply)
    await joined(receiving, dag, replies[-1])
    receiving.peers.page = 2
    records = {each.event_id: each for each in await scrolls(receiving, dag.room_id)}
    root_nid = records[root].event_nid
    assert {records[each].thread_nid for each in replies} == {root_nid}
    async with receiving.node.base.database.connection() as connection:
        thread = await connection.fetchrow(
            "SELECT replies, latest_nid FROM threads WHERE thread_nid = $1", root_nid
        )
    assert (thread["replies"], thread["latest_nid"]) == (3, records[replies[-1]].event_nid)


async def test_events_that_are_not_what_they_should_be_are_left_out(receiving):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    good = says(dag, last, 2)
    forged = dag.make(FRED, "m.room.message", HELLO, [good[-1]]).event_id
    receiving.peers.shown[forged] = {**dag.events[forged].pdu, "depth": 3}
    await joined(receiving, dag, forged)
    seen = ids(await scrolls(receiving, dag.room_id))
    assert forged not in seen
    other, _ = room_elsewhere(receiving, "11")
    receiving.peers.lies["backfill"] = [each.pdu for each in other.events.values()]
    assert not set(other.events) & set(ids(await scrolls(receiving, dag.room_id)))
    assert await receiving.flags(next(iter(other.events))) is None


async def test_unauthorized_history_is_not_shown_and_what_is_before_it_is(receiving):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    good = says(dag, last, 2)
    name = dag.make(FRED, "m.room.name", {"name": "no"}, [good[-1]], state_key="").event_id
    assert name in dag.rejected
    (after,) = says(dag, name, 1)
    await joined(receiving, dag, after)
    seen = ids(await scrolls(receiving, dag.room_id))
    assert name not in seen
    assert {after, *good} <= set(seen)


async def test_redacted_copies_are_taken_for_what_they_are(receiving):
    dag, last = room_elsewhere(receiving, "11")
    (secret,) = says(dag, last, 1)
    receiving.peers.shown[secret] = redact(dag.events[secret].pdu, dag.rules)
    await joined(receiving, dag, secret)
    records = {each.event_id: each for each in await scrolls(receiving, dag.room_id)}
    assert json.loads(records[secret].core)["content"] == {}


async def test_a_server_that_cannot_help_is_left_alone_for_a_while(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 3)
    join = await joined(receiving, dag, sent[-1])
    backfill = backfill_of(receiving)
    for nothing in ([], [dag.events[last].pdu]):
        receiving.peers.lies["backfill"] = nothing
        assert ids(await scrolls(receiving, dag.room_id, backfill=backfill)) == [join.event_id]
    assert receiving.peers.asked.count("backfill") == 1


async def test_an_answerless_server_does_not_keep_the_rest_from_being_shown(receiving):
    dag, last = room_elsewhere(receiving, "11")
    join = await joined(receiving, dag, says(dag, last, 3)[-1])
    receiving.peers.is_silent = True
    assert ids(await scrolls(receiving, dag.room_id)) == [join.event_id]
    assert receiving.peers.asked.count("backfill") == 1


async def test_a_server_that_never_answers_leaves_time_for_another(receiving, monkeypatch):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    await joined(receiving, dag, says(dag, last, 3)[-1])
    asked = []
    backfill = receiving.peers.backfill

    async def hangs_first(server, *question):
        asked.append(server)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return await backfill(server, *question)

    monkeypatch.setattr(receiving.peers, "backfill", hangs_first)
    monkeypatch.setattr(history_pages, "PATIENCE_SECONDS", 3.0)
    assert ids(await scrolls(receiving, dag.room_id)) == list(reversed(dag.events))
    assert len(set(asked)) == 2


async def test_history_is_nothing_new_for_sync_and_counts(receiving):
    dag, last = room_elsewhere(receiving, "11")
    await joined(receiving, dag, says(dag, last, 5)[-1])
    head = await receiving.node.rooms.heads.head(dag.room_id)
    position = receiving.node.base.tail.position
    await scrolls(receiving, dag.room_id)
    assert receiving.node.base.tail.position == position
    async with receiving.node.base.database.connection() as connection:
        counts = await connection.fetch("SELECT DISTINCT notify_seq FROM events WHERE sub < 0")
        row = await connection.fetchrow(
            "SELECT version, notify_seq FROM rooms WHERE room_id = $1", dag.room_id
        )
    assert [each["notify_seq"] for each in counts] == [0]
    assert (row["version"], row["notify_seq"]) == (head.version, head.notify_seq)


async def test_an_event_at_a_time_that_only_others_know(receiving):
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 8)
    await joined(receiving, dag, sent[-1])
    receiving.peers.page = 3
    node = receiving.node
    closest = ClosestEvent(node.base.database, node.rooms.access, distant_of(receiving))
    ts = dag.events[sent[2]].origin_server_ts
    for forwards in (False, True):
        record = await closest.find(ALICE.user_id, dag.room_id, ts, forwards=forwards)
        assert record.event_id == sent[2]
    assert await receiving.flags(sent[2]) == 0


async def test_what_lies_after_history_still_takes_its_events(receiving):
    """An event on top of one that was filled in is judged by the state that others tell."""
    dag, last = room_elsewhere(receiving, "11")
    sent = says(dag, last, 3)
    await joined(receiving, dag, sent[-1])
    await scrolls(receiving, dag.room_id)
    late = dag.make(EVE, "m.room.message", HELLO, [sent[0]])
    await receiving.gets(late)
    assert await receiving.flags(late.event_id) == 0
