"""Events that lack others: who is asked for how long, who else goes on, and who tries again."""

import asyncio
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from homeserver.errors import InvalidParam, LimitExceeded
from homeserver.ports import StateIDs
from homeserver.protocol.signing import read_signing_key
from homeserver.rooms.receive import inquiries, questions, staging
from homeserver.rooms.receive.accept import AcceptEvent
from homeserver.rooms.receive.outliers import Room
from homeserver.run.receive_layer import receive_layer
from homeserver.storage import inbound_pdus, received_events
from tests.receiving.conftest import ALICE, ELSEWHERE, EVE, FRED, Receiving, rooms_of
from tests.receiving.test_receiving import HELLO, NOTHING, REJECTED, end_of, local, shown
from tests.support.dag import DagPeers, DagSignatures
from tests.support.node import Node, running_node

FARAWAY = FRED[6:]
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Home(NamedTuple):
    """One node for all tests."""

    node: Node
    dsn: str
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(postgres, template_database, tmp_path_factory):
    name, folder = f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("inquiries")
    dsn = postgres.create(name, template_database)
    async with running_node(dsn, folder) as node:
        yield Home(node, dsn, folder)
    postgres.drop(name)


@pytest_asyncio.fixture(loop_scope="module")
async def receiving(home):
    """What receives, and whom it asks, are new for each test."""
    node, key = home.node, read_signing_key((home.folder / "signing.key").read_text())
    peers, signatures = DagPeers(), DagSignatures({"localhost": key})
    layer = receive_layer(node.base, node.rooms.writing, peers, signatures)
    yield Receiving(node, layer, peers, signatures)
    peers.is_over.set()
    await layer.inbox.drained()
    async with node.base.database.connection() as connection:
        await connection.execute("TRUNCATE inbound_pdus, inbound_rooms")


@pytest.fixture
def make_room(receiving):
    return rooms_of(receiving)


@pytest.fixture
def impatience(monkeypatch):
    """Nobody is waited for longer than 300 ms."""
    monkeypatch.setattr(questions, "BUDGET_SECONDS", 0.3)


async def gap(receiving, dag, sender=EVE):
    """Return an event whose only prev event is missing here."""
    missing = dag.make(sender, "m.room.message", HELLO, [await end_of(receiving, dag)])
    return missing, dag.make(sender, "m.room.message", HELLO, [missing.event_id])


async def begins_to_wait(receiving, event, origin=ELSEWHERE):
    """Have an event sent, for which a slow server is asked."""
    receiving.peers.slow = {origin}
    await receiving.layer.receive.stage(origin, [event.pdu])
    await receiving.peers.is_awaited.wait()


async def sent_by(receiving, event, origin):
    """Have an event sent, and wait until clients see something new."""
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    await receiving.layer.receive.stage(origin, [event.pdu])
    await receiving.node.syncs(ALICE, since, timeout_ms=10_000)


async def staged_rows(receiving, columns):
    async with receiving.node.base.database.connection() as connection:
        rows = await connection.fetch(f"SELECT {columns} FROM inbound_pdus ORDER BY inbound_nid")
    return [tuple(row) for row in rows]


async def count_held(receiving, event):
    rows = await staged_rows(receiving, "event_id, not_before")
    return [event_id for event_id, until_ms in rows if until_ms].count(event.event_id)


async def passes_the_time(receiving, layer=None):
    """Have everything that waits tried again now."""
    async with receiving.node.base.database.connection() as connection:
        await connection.execute("UPDATE inbound_pdus SET not_before = 0")
    await (layer or receiving.layer).inbox.poll()
    await (layer or receiving.layer).inbox.drained()


# Time


async def test_a_slow_server_holds_up_nobody_else_in_its_room(receiving, make_room):
    dag = await make_room()
    end = await end_of(receiving, dag)
    _, event = await gap(receiving, dag)
    await begins_to_wait(receiving, event)
    good = dag.make(FRED, "m.room.message", HELLO, [end])
    await sent_by(receiving, good, FARAWAY)
    assert (await shown(receiving, dag.room_id))[-1] == good.event_id
    # Nor its own events, as far as nothing has to be asked for.
    own = dag.make(EVE, "m.room.message", HELLO, [good.event_id])
    await sent_by(receiving, own, ELSEWHERE)
    assert (await shown(receiving, dag.room_id))[-1] == own.event_id
    assert await receiving.flags(event.event_id) is None


async def test_slow_servers_of_many_rooms_hold_up_no_other_room(receiving, make_room, monkeypatch):
    monkeypatch.setattr("homeserver.rooms.receive.inbox.ROOMS_AT_ONCE", 2)
    layer = receive_layer(
        receiving.node.base, receiving.node.rooms.writing, receiving.peers, receiving.signatures
    )
    dags = [await make_room() for _ in range(4)]
    for dag in dags[:3]:
        _, event = await gap(receiving, dag)
        receiving.peers.slow = {ELSEWHERE}
        await layer.receive.stage(ELSEWHERE, [event.pdu])
    good = dags[3].make(FRED, "m.room.message", HELLO, [await end_of(receiving, dags[3])])
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    await layer.receive.stage(FARAWAY, [good.pdu])
    await receiving.node.syncs(ALICE, since, timeout_ms=10_000)
    assert await receiving.flags(good.event_id) == 0
    receiving.peers.is_over.set()
    await layer.inbox.drained()


async def test_who_takes_too_long_is_not_asked_for_a_while(receiving, make_room, impatience):
    dag = await make_room()
    receiving.peers.slow, receiving.peers.silent = {ELSEWHERE}, {FARAWAY}
    _, event = await gap(receiving, dag)
    _, second = await gap(receiving, dag)
    await receiving.gets(event)
    assert await staged_rows(receiving, "event_id, attempts") == [(event.event_id, 1)]
    asked = len(receiving.peers.asked)
    await receiving.gets(second)
    assert len(receiving.peers.asked) == asked
    # It has not been tried in vain: the event waits as long as its server does.
    assert (second.event_id, 0) in await staged_rows(receiving, "event_id, attempts")


async def test_the_time_for_an_origin_is_for_all_of_its_events(receiving, make_room, impatience):
    dag = await make_room()
    receiving.peers.slow = {ELSEWHERE}
    events = [(await gap(receiving, dag))[1] for _ in range(10)]
    async with asyncio.timeout(60):
        await receiving.gets(*events)
    assert receiving.peers.asked == ["missing_events"]
    assert {attempts for (attempts,) in await staged_rows(receiving, "attempts")} == {1}


async def test_who_answers_each_question_just_in_time_has_used_up_its_time(
    receiving, make_room, monkeypatch
):
    class Hours:
        """Every answer takes 50 s."""

        seconds = 0.0

        def monotonic(self):
            return self.seconds

    clock, asked = Hours(), []

    async def answers():
        asked.append(len(asked))
        clock.seconds += 50

    async def others():
        return [FARAWAY]

    told = questions.Questions(clock, ELSEWHERE, others)
    for server in (ELSEWHERE, ELSEWHERE, FARAWAY):
        await told.ask(server, answers)
    assert told.is_over
    with pytest.raises(questions.Unjudged):
        await told.ask(FARAWAY, answers)
    assert len(asked) == 3


async def test_what_nobody_can_complete_is_given_up(receiving, make_room):
    dag = await make_room()
    receiving.peers.is_silent = True
    _, event = await gap(receiving, dag)
    await receiving.gets(event)
    for _ in range(staging.MAX_ATTEMPTS - 1):
        assert await receiving.staged() == 1
        await passes_the_time(receiving)
    assert await receiving.staged() == 0
    receiving.peers.is_silent = False
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == 0


# Who else is asked


async def test_others_in_the_room_are_asked_when_the_origin_does_not_answer(receiving, make_room):
    dag = await make_room()
    receiving.peers.silent = {ELSEWHERE}
    missing, event = await gap(receiving, dag)
    await receiving.gets(event)
    assert (await shown(receiving, dag.room_id))[-2:] == [missing.event_id, event.event_id]
    # Who has just failed is asked nothing more.
    assert receiving.peers.asked_of == [ELSEWHERE, FARAWAY]


async def test_others_are_asked_when_the_origin_gives_nothing(receiving, make_room):
    dag = await make_room()
    receiving.peers.lies["missing_events"] = []
    missing, event = await gap(receiving, dag)
    await receiving.gets(event)
    assert await receiving.flags(missing.event_id) == 0
    assert await receiving.flags(event.event_id) == 0


async def test_the_auth_chain_and_the_state_are_had_from_others_too(receiving, make_room):
    dag = await make_room()
    last = await end_of(receiving, dag)
    gone = dag.make(EVE, "m.room.member", {"membership": "leave"}, [last], state_key=EVE)
    back = dag.make(EVE, "m.room.member", {"membership": "join"}, [gone.event_id], state_key=EVE)
    event = dag.make(EVE, "m.room.message", HELLO, [back.event_id])
    receiving.peers.silent, receiving.peers.lies = {ELSEWHERE}, {**NOTHING}
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == 0
    assert (await receiving.state(dag.room_id))["m.room.member", EVE] == back.event_id


async def test_a_slow_origin_leaves_time_for_others(receiving, make_room, monkeypatch):
    monkeypatch.setattr(questions, "SERVER_SECONDS", 0.2)
    dag = await make_room()
    receiving.peers.slow = {ELSEWHERE}
    missing, event = await gap(receiving, dag)
    await receiving.gets(event)
    assert await receiving.flags(missing.event_id) == 0
    assert await receiving.flags(event.event_id) == 0


async def test_no_more_than_four_servers_are_asked(receiving, make_room):
    dag = await make_room()
    for number in range(6):
        who, join = f"@gina:far{number}.example", {"membership": "join"}
        last = await end_of(receiving, dag)
        await receiving.gets(dag.make(who, "m.room.member", join, [last], state_key=who))
    receiving.peers.is_silent = True
    _, event = await gap(receiving, dag)
    receiving.peers.asked_of.clear()
    await receiving.gets(event)
    assert len(receiving.peers.asked_of) == len(set(receiving.peers.asked_of)) == 4
    assert receiving.peers.asked_of[0] == ELSEWHERE


async def test_denied_servers_are_not_asked(receiving, make_room):
    dag = await make_room()
    acl = {"allow": ["*"], "deny": [FARAWAY]}
    await local(receiving, dag.room_id, "m.room.server_acl", acl, state_key="")
    await receiving.add_all(dag)
    receiving.peers.is_silent = True
    _, event = await gap(receiving, dag)
    await receiving.gets(event)
    assert set(receiving.peers.asked_of) == {ELSEWHERE}


async def test_strangers_do_not_make_us_ask_others(receiving, make_room):
    dag = await make_room()
    stranger = "@mallory:strange.example"
    end = await end_of(receiving, dag)
    missing = dag.make(stranger, "m.room.message", HELLO, [end], is_added=False)
    dag.events[missing.event_id] = missing
    event = dag.make(
        stranger, "m.room.message", HELLO, [missing.event_id], state={}, is_added=False
    )
    receiving.peers.is_silent = True
    await receiving.gets(event, origin="strange.example")
    assert set(receiving.peers.asked_of) == {"strange.example"}


# Trying again


async def test_what_waits_is_taken_as_soon_as_what_it_lacks_has_come(receiving, make_room):
    dag = await make_room()
    receiving.peers.is_silent = True
    missing, event = await gap(receiving, dag)
    child = dag.make(EVE, "m.room.message", HELLO, [event.event_id])
    await receiving.gets(child)
    await receiving.gets(event)
    assert await receiving.staged() == 2
    await receiving.gets(missing, origin=FARAWAY)
    expected = [missing.event_id, event.event_id, child.event_id]
    assert (await shown(receiving, dag.room_id))[-3:] == expected
    assert await receiving.staged() == 0


async def test_what_waits_is_taken_when_what_it_lacks_has_come_to_another_node(
    receiving, make_room, home
):
    dag = await make_room()
    receiving.peers.is_silent = True
    missing, event = await gap(receiving, dag)
    await receiving.gets(event)
    async with running_node(home.dsn, home.folder) as node:
        other = receive_layer(node.base, node.rooms.writing, receiving.peers, receiving.signatures)
        await other.receive.stage(FARAWAY, [missing.pdu])
        await other.inbox.drained()
    assert await receiving.flags(event.event_id) == 0
    assert await receiving.staged() == 0


async def test_what_is_being_asked_for_is_taken_when_it_comes_by_another_way(receiving, make_room):
    dag = await make_room()
    missing, event = await gap(receiving, dag)
    await begins_to_wait(receiving, event)
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    await receiving.layer.receive.stage(FARAWAY, [missing.pdu])
    timeline: list[str] = []
    async with asyncio.timeout(60):
        while event.event_id not in timeline:
            answer = await receiving.node.syncs(ALICE, since, timeout_ms=10_000)
            since = answer["next_batch"]
            for room in answer.get("rooms", {}).get("join", {}).values():
                timeline += [each["event_id"] for each in room["timeline"]["events"]]
    assert timeline == [missing.event_id, event.event_id]


async def test_what_lacks_more_than_has_come_goes_on_waiting(receiving, make_room):
    dag = await make_room()
    receiving.peers.is_silent = True
    end = await end_of(receiving, dag)
    parts = [dag.make(who, "m.room.message", HELLO, [end]) for who in (EVE, FRED)]
    event = dag.make(EVE, "m.room.message", HELLO, [each.event_id for each in parts])
    await receiving.gets(event)
    await receiving.gets(parts[0])
    assert await staged_rows(receiving, "attempts") == [(1,)]
    await receiving.gets(parts[1], origin=FARAWAY)
    assert await receiving.flags(event.event_id) == 0


async def test_what_comes_while_it_is_asked_for_in_vain_is_not_waited_for(
    receiving, make_room, monkeypatch
):
    dag = await make_room()
    missing, event = await gap(receiving, dag)
    is_asked, is_over = asyncio.Event(), asyncio.Event()

    async def in_vain(_room_id, incoming, _questions):
        is_asked.set()
        await is_over.wait()
        return [each.event.event_id for each in incoming]

    async def too_early(*_):
        """Look for who waits before anybody does, as another node may."""
        return False

    monkeypatch.setattr(receiving.layer.take_events, "take_asking", in_vain)
    monkeypatch.setattr(staging.Staging, "recall", too_early)
    await receiving.layer.receive.stage(ELSEWHERE, [event.pdu])
    await is_asked.wait()
    await sent_by(receiving, missing, FARAWAY)
    is_over.set()
    await receiving.layer.inbox.drained()
    assert await receiving.flags(event.event_id) == 0


async def test_what_lacks_nothing_but_cannot_be_judged_waits(receiving, make_room, monkeypatch):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    taken = []

    async def cannot(room_id, incoming, *_):
        taken.append(incoming)
        return [each.event.event_id for each in incoming]

    for name in ("take_complete", "take_asking"):
        monkeypatch.setattr(receiving.layer.take_events, name, cannot)
    await receiving.gets(event)
    assert await staged_rows(receiving, "attempts, not_before > 0") == [(1, True)]
    assert len(taken) == 2


# Nodes


async def test_nodes_that_work_on_a_room_at_the_same_time_do_no_harm(
    receiving, make_room, home, monkeypatch
):
    """As after a claim that has run out: both take the same events."""
    dag = await make_room()
    start = await end_of(receiving, dag)
    events = [dag.make(EVE, "m.room.message", HELLO, [start])]
    for number in range(12):
        prevs = [events[-1].event_id] if number % 3 else [events[-1].event_id, start]
        key = {"state_key": EVE} if number % 4 == 1 else {}
        kind = "org.example.note" if key else "m.room.message"
        events.append(dag.make(EVE, kind, HELLO, prevs, **key))

    async def claims(*_):
        return True

    monkeypatch.setattr(inbound_pdus, "claim_room", claims)
    async with running_node(home.dsn, home.folder) as node:
        other = receive_layer(node.base, node.rooms.writing, receiving.peers, receiving.signatures)
        for layer in (other, receiving.layer):
            monkeypatch.setattr(layer.inbox, "wake", lambda _rooms: None)
        await receiving.layer.receive.stage(ELSEWHERE, [each.pdu for each in events])
        monkeypatch.undo()
        monkeypatch.setattr(inbound_pdus, "claim_room", claims)
        for layer in (other, receiving.layer):
            layer.inbox.wake([dag.room_id])
        await asyncio.gather(other.inbox.drained(), receiving.layer.inbox.drained())
        await passes_the_time(receiving, other)
    await receiving.node.base.tail.poll()
    await receiving.node.base.tail.catch_up()
    accepted = [each.event_id for each in events if each.event_id not in dag.rejected]
    timeline = await shown(receiving, dag.room_id)
    assert sorted(each for each in timeline if each in accepted) == sorted(accepted)
    assert await receiving.staged() == 0
    assert await receiving.state(dag.room_id) == dag.state_at(
        sorted(await receiving.extremities(dag.room_id))
    )


async def test_what_is_asked_for_survives_the_death_of_the_node(receiving, make_room):
    dag = await make_room()
    missing, event = await gap(receiving, dag)
    await begins_to_wait(receiving, event)
    peers = DagPeers()
    peers.rooms[dag.room_id] = dag
    other = receive_layer(
        receiving.node.base, receiving.node.rooms.writing, peers, receiving.signatures
    )
    await passes_the_time(receiving, other)
    assert await receiving.flags(missing.event_id) == 0
    assert await receiving.flags(event.event_id) == 0
    assert await receiving.staged() == 0


async def test_what_is_worked_on_is_kept_for_longer(receiving, make_room):
    dag = await make_room()
    end = await end_of(receiving, dag)
    _, event = await gap(receiving, dag)
    await begins_to_wait(receiving, event)
    database = receiving.node.base.database
    async with receiving.node.rooms.heads.slot(dag.room_id).lock:
        good = dag.make(FRED, "m.room.message", HELLO, [end])
        await receiving.layer.receive.stage(FARAWAY, [good.pdu])
        async with asyncio.timeout(60), database.connection() as connection:
            while not await connection.fetchval("SELECT count(*) FROM inbound_rooms"):
                pass
            await connection.execute("UPDATE inbound_rooms SET until_ms = 1")
            await connection.execute("UPDATE inbound_pdus SET not_before = 1")
        await receiving.layer.inbox.keep_claims()
        now = receiving.node.base.clock.now_ms()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT until_ms FROM inbound_rooms") > now
        ((held, until_ms), *_) = await staged_rows(receiving, "event_id, not_before")
        assert (held, until_ms > now) == (event.event_id, True)


async def test_outliers_that_two_store_at_the_same_time_cite_what_is_stored(
    receiving, make_room, monkeypatch
):
    dag = await make_room()
    last = await end_of(receiving, dag)
    shared = dag.make(EVE, "m.room.member", {"membership": "join"}, [last], state_key=EVE)
    chains = [
        [shared, dag.make(EVE, "m.room.message", {"body": body}, [shared.event_id])]
        for body in ("one", "other")
    ]
    head = await receiving.node.rooms.heads.head(dag.room_id)
    room = Room(dag.room_id, head.room_nid, dag.rules)
    insert, both = received_events.insert_outliers, asyncio.Barrier(2)
    first = True

    async def inserts(tx, rows):
        nonlocal first
        if first or both.n_waiting:
            await both.wait()
            first = False
        return await insert(tx, rows)

    monkeypatch.setattr(received_events, "insert_outliers", inserts)
    await asyncio.gather(*(receiving.layer.outliers.store(room, each) for each in chains))
    async with receiving.node.base.database.connection() as connection:
        lost = await connection.fetchval(
            """
            SELECT count(*) FROM events e, unnest(e.auth_nids) AS a(nid)
            WHERE NOT EXISTS (SELECT FROM events c WHERE c.event_nid = a.nid)
            """
        )
    assert lost == 0
    for _, event in chains:
        assert await receiving.flags(event.event_id) == 1


async def test_an_event_that_becomes_an_outlier_while_it_is_taken_is_taken_all_the_same(
    receiving, make_room, monkeypatch
):
    """As when the state that another server tells has it, at the moment at which it comes."""
    dag = await make_room()
    end = await end_of(receiving, dag)
    name = {"membership": "join", "displayname": "E"}
    event = dag.make(EVE, "m.room.member", name, [end], state_key=EVE)
    await receiving.gets(dag.make(EVE, "m.room.message", HELLO, [end]))
    head = await receiving.node.rooms.heads.head(dag.room_id)
    room = Room(dag.room_id, head.room_nid, dag.rules)
    numbers = receiving.node.rooms.writing.row_numbers
    number = numbers.event

    async def overtaken():
        await receiving.layer.outliers.store(room, [event])
        return await number()

    monkeypatch.setattr(numbers, "event", overtaken)
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == 0
    assert await receiving.staged() == 0
    assert (await receiving.state(dag.room_id))["m.room.member", EVE] == event.event_id


# Floods


async def test_no_more_than_some_events_of_a_server_wait_in_a_room(
    receiving, make_room, monkeypatch
):
    monkeypatch.setattr(staging, "MAX_HELD", 3)
    dag = await make_room()
    receiving.peers.is_silent = True
    for _ in range(5):
        await receiving.gets((await gap(receiving, dag))[1])
    assert await receiving.staged() == 3
    await receiving.gets((await gap(receiving, dag, FRED))[1], origin=FARAWAY)
    assert await receiving.staged() == 4


async def test_who_sends_faster_than_events_are_taken_has_to_wait(
    receiving, make_room, monkeypatch
):
    monkeypatch.setattr(staging, "MAX_STAGED", 2)
    dag, other = await make_room(), await make_room()
    end = await end_of(receiving, dag)
    events = [dag.make(EVE, "m.room.message", {"body": str(n)}, [end]) for n in range(3)]
    async with receiving.node.rooms.heads.slot(dag.room_id).lock:
        await receiving.layer.receive.stage(ELSEWHERE, [each.pdu for each in events[:2]])
        with pytest.raises(LimitExceeded):
            await receiving.layer.receive.stage(ELSEWHERE, [events[2].pdu])
        elsewhere = other.make(EVE, "m.room.message", HELLO, [await end_of(receiving, other)])
        await receiving.layer.receive.stage(ELSEWHERE, [elsewhere.pdu])
    await receiving.layer.inbox.drained()
    await receiving.gets(events[2])
    for each in (*events, elsewhere):
        assert await receiving.flags(each.event_id) == 0


async def test_an_origin_of_many_rooms_is_asked_about_a_few_at_a_time(
    receiving, make_room, monkeypatch
):
    monkeypatch.setattr(inquiries, "_OF_ONE_ORIGIN", 1)
    monkeypatch.setattr(inquiries, "_QUEUED_OF_ONE", 2)
    monkeypatch.setattr(inquiries, "_QUEUE_AGAIN_MS", 10**12)
    events = [(await gap(receiving, await make_room()))[1] for _ in range(4)]
    receiving.peers.slow = {ELSEWHERE}
    async with asyncio.timeout(60):
        for event in events:
            await receiving.layer.receive.stage(ELSEWHERE, [event.pdu])
            while not await count_held(receiving, event):
                pass
    await receiving.peers.is_awaited.wait()
    assert receiving.peers.asked == ["missing_events"]
    # The last two wait where they cost no memory.
    late = receiving.node.base.clock.now_ms() + 10**11
    held = await staged_rows(receiving, "event_id, not_before")
    assert [event_id for event_id, until_ms in held if until_ms > late] == [
        event.event_id for event in events[2:]
    ]


async def test_made_up_rooms_drive_no_room_out_of_memory(receiving, make_room):
    dag = await make_room()
    heads = receiving.node.rooms.heads
    assert await heads.head(dag.room_id) is not None
    flood = [{"room_id": f"!{number}:strange.example"} for number in range(5_100)]
    assert await receiving.layer.receive.stage("strange.example", flood) == {}
    assert heads.is_loaded(dag.room_id)


async def test_what_is_rejected_of_strangers_is_not_kept(receiving, make_room):
    dag = await make_room()
    end, stranger = await end_of(receiving, dag), "@mallory:strange.example"
    for event in (
        dag.make(stranger, "m.room.message", HELLO, [end], is_added=False),
        dag.make(stranger, "m.room.name", {"name": "x"}, [end], state_key="", is_added=False),
    ):
        told = await receiving.gets(event, origin="strange.example")
        assert told == {event.event_id: {}}
        assert await receiving.flags(event.event_id) is None
    join = {"membership": "join"}
    joins = dag.make(stranger, "m.room.member", join, [end], state_key=stranger)
    await receiving.gets(joins, origin="strange.example")
    assert await receiving.flags(joins.event_id) == 0


async def test_a_room_of_slow_servers_leaves_places_to_other_rooms(
    receiving, make_room, monkeypatch
):
    monkeypatch.setattr(inquiries, "_OF_ONE_ROOM", 1)
    monkeypatch.setattr(inquiries, "INQUIRIES_AT_ONCE", 2)
    dag, other = await make_room(), await make_room()
    slow = [(await gap(receiving, dag, who))[1] for who in (EVE, FRED)]
    missing, event = await gap(receiving, other, FRED)
    await begins_to_wait(receiving, slow[0])
    await receiving.layer.receive.stage(FARAWAY, [slow[1].pdu])
    await sent_by(receiving, event, FARAWAY)
    assert await receiving.flags(missing.event_id) == 0


async def test_nobody_is_left_alone_because_others_are_slow(receiving, make_room, impatience):
    dag = await make_room()
    receiving.peers.silent, receiving.peers.slow = {ELSEWHERE}, {FARAWAY}
    await receiving.gets((await gap(receiving, dag))[1])
    assert receiving.peers.asked_of == [ELSEWHERE, FARAWAY]
    receiving.peers.silent, receiving.peers.slow = set(), set()
    _, event = await gap(receiving, dag)
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == 0


async def test_a_failure_puts_off_the_events_at_work_and_no_others(
    receiving, make_room, monkeypatch
):
    dag = await make_room()
    _, event = await gap(receiving, dag)
    take = receiving.layer.take_events.take_asking

    async def fails(room_id, incoming, told):
        if [each.event.event_id for each in incoming] == [event.event_id]:
            raise RuntimeError
        return await take(room_id, incoming, told)

    monkeypatch.setattr(receiving.layer.take_events, "take_asking", fails)
    await receiving.gets(event)
    assert await staged_rows(receiving, "attempts, not_before > 0") == [(1, True)]
    monkeypatch.undo()
    await passes_the_time(receiving)
    assert await receiving.flags(event.event_id) == 0


# What was refused


async def test_a_rejected_outlier_stays_rejected_when_it_is_sent(receiving, make_room):
    dag = await make_room()
    end = await end_of(receiving, dag)
    forged = dag.make(EVE, "m.room.power_levels", {"users": {EVE: 100}}, [end], state_key="")
    head = await receiving.node.rooms.heads.head(dag.room_id)
    room = Room(dag.room_id, head.room_nid, dag.rules)
    await receiving.layer.outliers.store(room, [forged])
    assert await receiving.flags(forged.event_id) == 1 | REJECTED
    before = await receiving.state(dag.room_id)
    for origin in (ELSEWHERE, FARAWAY):
        await receiving.gets(forged, origin=origin)
        assert await receiving.flags(forged.event_id) == REJECTED
    assert await receiving.state(dag.room_id) == before


async def test_an_event_that_follows_filled_in_history_is_no_answer_to_a_template(
    receiving, make_room
):
    dag = await make_room()
    old = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    head = await receiving.node.rooms.heads.head(dag.room_id)
    await receiving.layer.outliers.store(Room(dag.room_id, head.room_nid, dag.rules), [old])
    async with receiving.node.base.database.connection() as connection:
        await connection.execute(
            "UPDATE events SET flags = 0, pos = 1, sub = -1 WHERE event_id = $1", old.event_id
        )
    stranger = "@mallory:strange.example"
    join = dag.make(
        stranger, "m.room.member", {"membership": "join"}, [old.event_id], state_key=stranger
    )
    layer = receiving.layer
    accept = AcceptEvent(receiving.node.rooms.heads, layer.known, layer.take_events)
    receiving.peers.lies["state_ids"] = StateIDs([], [])
    with pytest.raises(InvalidParam):
        await accept.accept(join, "strange.example")
    assert not receiving.peers.asked


async def test_what_waits_of_a_server_that_is_denied_meanwhile_is_not_taken(receiving, make_room):
    dag = await make_room()
    receiving.peers.is_silent = True
    missing, event = await gap(receiving, dag)
    await receiving.gets(event)
    acl = {"allow": ["*"], "deny": [ELSEWHERE]}
    await local(receiving, dag.room_id, "m.room.server_acl", acl, state_key="")
    await receiving.gets(missing, origin=FARAWAY)
    assert await receiving.flags(missing.event_id) == 0
    assert await receiving.flags(event.event_id) is None
    assert await receiving.staged() == 0
