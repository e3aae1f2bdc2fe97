"""Answers of servers that lie, and interruptions: nothing is corrupted, and nothing lost."""

import asyncio

from homeserver.ports import StateIDs
from homeserver.run.receive_layer import receive_layer
from tests.receiving.conftest import ALICE, EVE
from tests.receiving.test_receiving import HELLO, NOTHING, REJECTED, end_of, shown
from tests.support.dag import DagPeers
from tests.support.node import running_node

JUNK = [{}, {"type": 1}, None, 5, "x", {"room_id": "!other:x", "content": []}]


async def gap(receiving, dag):
    """Return an event whose only prev event is missing here."""
    missing = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    return missing, dag.make(EVE, "m.room.message", HELLO, [missing.event_id])


async def test_junk_for_answers_leaves_the_event_waiting(receiving, make_room):
    dag = await make_room()
    before = await receiving.state(dag.room_id)
    _, event = await gap(receiving, dag)
    unknown = ["$nothing", "$nobody"]
    for state_ids in (
        StateIDs([], []),
        StateIDs(unknown, unknown),
        StateIDs(unknown * 100_000, []),
    ):
        receiving.peers.lies = {
            "missing_events": JUNK, "event": {}, "event_auth": JUNK, "state_ids": state_ids,
            "state": (JUNK, JUNK), "backfill": JUNK,
        }  # fmt: skip
        await receiving.gets(event)
        assert await receiving.flags(event.event_id) is None
        assert await receiving.state(dag.room_id) == before


async def test_the_state_of_another_room_is_not_believed(receiving, make_room):
    dag, other = await make_room(), await make_room()
    _, event = await gap(receiving, dag)
    foreign = list((await receiving.state(other.room_id)).values())
    receiving.peers.lies = {**NOTHING, "state_ids": StateIDs(foreign, [])}
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) is None
    assert await receiving.staged() == 1


async def test_a_forged_state_at_a_gap_takes_no_power(receiving, make_room):
    dag = await make_room()
    _, event = await gap(receiving, dag)
    levels = {"users": {EVE: 100}}
    forged = dag.make(
        EVE, "m.room.power_levels", levels, [event.event_id], state_key="", is_added=False
    )
    dag.events[forged.event_id] = forged
    state = dag.before(event.event_id) | {("m.room.power_levels", ""): forged.event_id}
    receiving.peers.lies = {**NOTHING, "state_ids": StateIDs(list(state.values()), [])}
    before = await receiving.state(dag.room_id)
    await receiving.gets(event)
    assert await receiving.flags(forged.event_id) == 1 | REJECTED
    after = await receiving.state(dag.room_id)
    assert after["m.room.power_levels", ""] == before["m.room.power_levels", ""]


async def test_unrelated_answers_about_missing_events_are_left_alone(receiving, make_room):
    dag = await make_room()
    missing, event = await gap(receiving, dag)
    unrelated = dag.make(EVE, "m.room.message", HELLO, [event.event_id])
    receiving.peers.lies = {"missing_events": [unrelated.pdu, missing.pdu, missing.pdu]}
    await receiving.gets(event)
    assert await receiving.flags(missing.event_id) == 0
    assert await receiving.flags(unrelated.event_id) is None


async def test_an_endless_past_is_cut_off(receiving, make_room):
    dag = await make_room()
    events = [dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])]
    for _ in range(300):
        events.append(dag.make(EVE, "m.room.message", HELLO, [events[-1].event_id]))
    await receiving.gets(events[-1])
    assert await receiving.flags(events[-1].event_id) == 0
    assert receiving.peers.asked.count("missing_events") <= 5
    assert await receiving.flags(events[0].event_id) is None


async def test_events_in_a_circle_of_room_version_1_are_left_alone(receiving, make_room):
    dag = await make_room("1")
    state = await receiving.state(dag.room_id)
    # Event IDs of this version are chosen by servers, who can tell them beforehand.
    first_id, second_id = (f"${EVE[5:].replace('.', '_')}_{n}:{EVE[5:]}" for n in (1001, 1002))
    dag.serial = 1000
    first, second = (
        dag.make(EVE, "m.room.message", HELLO, [prev], state=state, depth=9, is_added=False)
        for prev in (second_id, first_id)
    )
    assert (first.event_id, second.event_id) == (first_id, second_id)
    receiving.peers.lies = {"missing_events": [first.pdu, second.pdu]}
    await receiving.gets(first, second)
    await receiving.gets(first)
    assert await receiving.flags(first_id) is None
    assert await receiving.flags(second_id) is None


async def test_what_was_staged_survives_the_death_of_the_node(
    receiving, make_room, database_dsn, tmp_path
):
    dag = await make_room()
    events = [dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])]
    for _ in range(5):
        events.append(dag.make(EVE, "m.room.message", HELLO, [events[-1].event_id]))
    # The node dies right after its answer: nothing of its memory is left.
    receiving.layer.inbox.wake = lambda _rooms: None
    await receiving.gets(*events)
    assert await receiving.staged() == len(events)
    async with running_node(database_dsn, tmp_path) as node:
        other = receive_layer(node.base, node.rooms.writing, DagPeers(), receiving.signatures)
        await other.inbox.poll()
        await other.inbox.drained()
    await receiving.node.base.tail.poll()
    await receiving.node.base.tail.catch_up()
    assert (await shown(receiving, dag.room_id))[-6:] == [each.event_id for each in events]
    assert await receiving.staged() == 0


async def test_a_death_between_the_event_and_the_end_of_its_staging_repeats_nothing(
    receiving, make_room
):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    await receiving.gets(event)
    async with receiving.node.base.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO inbound_pdus (room_id, event_id, origin, received_ts, pdu)
            VALUES ($1, $2, 'elsewhere.example', 0, '{}')
            """,
            dag.room_id,
            event.event_id,
        )
    await receiving.layer.inbox.poll()
    await receiving.layer.inbox.drained()
    assert (await shown(receiving, dag.room_id)).count(event.event_id) == 1
    assert await receiving.staged() == 0


async def test_two_nodes_and_local_senders_do_not_lose_each_others_events(
    receiving, make_room, database_dsn, tmp_path
):
    dag = await make_room()
    start = await end_of(receiving, dag)
    eves = [dag.make(EVE, "m.room.message", HELLO, [start])]
    for _ in range(20):
        eves.append(dag.make(EVE, "m.room.message", HELLO, [eves[-1].event_id]))
    async with running_node(database_dsn, tmp_path) as node:
        other = receive_layer(node.base, node.rooms.writing, receiving.peers, receiving.signatures)

        async def send():
            for number in range(20):
                await node.rooms.send.message(
                    ALICE, dag.room_id, "m.room.message", f"t{number}", HELLO
                )

        async def receive(layer, events):
            for each in events:
                await layer.receive.stage("elsewhere.example", [each.pdu])

        await asyncio.gather(
            send(), receive(receiving.layer, eves[::2]), receive(other, eves[1::2])
        )
        for layer in (other, receiving.layer):
            await layer.inbox.drained()
            await layer.inbox.poll()
            await layer.inbox.drained()
    assert await receiving.staged() == 0
    await receiving.add_all(dag)
    for event in eves:
        assert await receiving.flags(event.event_id) == 0
    ends = await receiving.extremities(dag.room_id)
    assert await receiving.state(dag.room_id) == dag.state_at(sorted(ends))
