"""What other servers are told of a room's history, and what only redacted."""

import json

from homeserver.protocol.identifiers import ServerName
from tests.receiving.conftest import EVE, FRED
from tests.receiving.test_receiving import HELLO, end_of, local

ELSEWHERE, FARAWAY = ServerName("elsewhere.example"), ServerName("faraway.example")


def ids(events):
    return [each.event_id for each in events]


async def chain_of(receiving, dag, count):
    events = [dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])]
    for _ in range(count - 1):
        events.append(dag.make(EVE, "m.room.message", HELLO, [events[-1].event_id]))
    await receiving.gets(*events)
    return events


async def test_missing_events_are_those_between(receiving, make_room):
    dag = await make_room()
    events = await chain_of(receiving, dag, 8)
    history = receiving.layer.history

    async def between(latest, earliest, limit=10, min_depth=0):
        found = await history.between(
            FARAWAY, dag.room_id, latest=latest, earliest=earliest, limit=limit,
            min_depth=min_depth,
        )  # fmt: skip
        return ids(found)

    last, first = events[-1].event_id, events[0].event_id
    assert await between([last], [first]) == ids(events[1:-1])
    assert await between([last], [first], limit=3) == ids(events[-4:-1])
    assert await between([last], [first], min_depth=events[4].depth) == ids(events[4:-1])
    assert await between([last], [], limit=1000) != []
    assert len(await between([last], [], limit=1000)) <= 20
    assert await between(["$unknown"], []) == []
    other = await make_room()
    assert await between([await end_of(receiving, other)], []) == []


async def test_backfill_goes_back_from_the_given_events(receiving, make_room):
    dag = await make_room()
    events = await chain_of(receiving, dag, 6)
    found = await receiving.layer.history.before(FARAWAY, dag.room_id, [events[4].event_id], 3)
    assert ids(found) == [events[4].event_id, events[3].event_id, events[2].event_id]
    assert json.loads(found[0].pdu) == events[4].pdu
    everything = await receiving.layer.history.before(
        FARAWAY, dag.room_id, [events[-1].event_id], 100
    )
    assert len(everything) == len(dag.events)


async def test_what_a_server_may_not_see_it_gets_redacted(receiving, make_room):
    dag = await make_room()
    joined = {"history_visibility": "joined"}
    await local(receiving, dag.room_id, "m.room.history_visibility", joined, state_key="")
    leave = {"membership": "leave"}
    await receiving.add_all(dag)
    gone = dag.make(FRED, "m.room.member", leave, [await end_of(receiving, dag)], state_key=FRED)
    secret = dag.make(EVE, "m.room.message", HELLO, [gone.event_id])
    back = dag.make(
        FRED, "m.room.member", {"membership": "join"}, [secret.event_id], state_key=FRED
    )
    seen = dag.make(EVE, "m.room.message", HELLO, [back.event_id])
    await receiving.gets(gone, secret, back, seen)

    async def content(server, event):
        served = await receiving.layer.history.event(server, event.event_id)
        return json.loads(served.pdu)["content"]

    assert await content(FARAWAY, secret) == {}
    assert await content(ELSEWHERE, secret) == HELLO
    assert await content(FARAWAY, seen) == HELLO
    assert await content(FARAWAY, back) == {"membership": "join"}
    page = await receiving.layer.history.before(FARAWAY, dag.room_id, [seen.event_id], 3)
    assert [json.loads(each.pdu)["content"] for each in page[1:]] == [{"membership": "join"}, {}]


async def test_state_and_auth_chains_are_those_of_the_model(receiving, make_room):
    dag = await make_room()
    events = await chain_of(receiving, dag, 2)
    event_id = events[-1].event_id
    before = dag.before(event_id)
    state, chain = await receiving.layer.state_before.ids(dag.room_id, event_id)
    assert sorted(state) == sorted(before.values())
    assert set(chain) == {each.event_id for each in dag.auth_chain(before.values())}
    pdus = await receiving.layer.state_before.pdus(dag.room_id, event_id)
    assert sorted(ids(pdus.pdus)) == sorted(state)
    assert {each.event_id: json.loads(each.pdu) for each in pdus.auth_chain} == {
        each: dag.events[each].pdu for each in chain
    }
    own_chain = await receiving.layer.auth_chains.of([event_id])
    assert set(ids(own_chain)) == {each.event_id for each in dag.auth_chain([event_id])}
    assert await receiving.layer.auth_chains.of(["$unknown"]) == []
    other = await make_room()
    assert await receiving.layer.state_before.ids(other.room_id, event_id) is None
    assert await receiving.layer.state_before.ids(dag.room_id, "$unknown") is None


async def test_rejected_and_unknown_events_are_not_given_away(receiving, make_room):
    dag = await make_room()
    rejected = dag.make(
        EVE, "m.room.name", {"name": "no"}, [await end_of(receiving, dag)], state_key=""
    )
    child = dag.make(EVE, "m.room.message", HELLO, [rejected.event_id])
    await receiving.gets(rejected, child)
    assert await receiving.layer.history.event(FARAWAY, rejected.event_id) is None
    assert await receiving.layer.history.event(FARAWAY, "$unknown") is None
    page = await receiving.layer.history.before(FARAWAY, dag.room_id, [child.event_id], 100)
    assert rejected.event_id not in ids(page)
    assert len(page) == len(dag.events) - 1
