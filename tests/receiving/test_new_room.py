"""Rooms that come here by a join through another server."""

import time

import pytest
from structlog.testing import capture_logs

from homeserver.protocol.errors import AuthRefusal, InvalidEvent
from homeserver.protocol.event_builder import EventDraft, build_event
from homeserver.protocol.identifiers import RoomID, ServerName, room_id_of_create_event
from homeserver.protocol.room_versions import ROOM_VERSIONS, rules_of
from homeserver.storage import joined_rooms
from tests.receiving.conftest import ALICE, EVE, FRED
from tests.receiving.test_receiving import HELLO, local, shown
from tests.support.dag import Dag, key_of

SERVER = ServerName("elsewhere.example")
JOIN = {"membership": "join"}


def room_elsewhere(receiving, version, members=(), rule="public"):
    """Make a room of Eve's, in which nobody of this server is."""
    rules = rules_of(version)
    content = {"room_version": version}
    if not rules.implicit_creator:
        content["creator"] = EVE
    opaque = f"!{version}_{len(receiving.peers.rooms)}:elsewhere.example"
    room_id = None if rules.room_id_is_create_hash else RoomID(opaque)
    create = build_event(
        EventDraft(
            type="m.room.create", sender=EVE, content=content, room_id=room_id, state_key=""
        ),
        rules=rules,
        prev_events=[],
        auth_events=[],
        depth=1,
        origin_server_ts=1,
        server_name=SERVER,
        signing_key=key_of(SERVER),
        opaque_id="create",
    )
    dag = Dag(room_id or room_id_of_create_event(create.event_id), rules)
    dag.add(create)
    last = create.event_id
    levels = {} if rules.privileged_creators else {"users": {EVE: 100}}
    for event_type, state_key, value in (
        ("m.room.member", EVE, JOIN),
        ("m.room.power_levels", "", levels),
        ("m.room.join_rules", "", {"join_rule": rule}),
    ):
        last = dag.make(EVE, event_type, value, [last], state_key=state_key).event_id
    for member in members:
        last = dag.make(member, "m.room.member", JOIN, [last], state_key=member).event_id
    receiving.peers.rooms[dag.room_id] = dag
    return dag, last


def join_of(receiving, dag, last, who=ALICE.user_id):
    """Make the join of a local user, as the other server answers it."""
    receiving_key = receiving.signatures.known["localhost"]
    receiving.signatures.known.setdefault("signed by the model", receiving_key)
    receiving.signatures.known["localhost"] = key_of("localhost")
    return dag.make(who, "m.room.member", JOIN, [last], state_key=who)


def answer_of(dag, join):
    state = [dag.events[each] for each in dag.before(join.event_id).values()]
    chain = dag.auth_chain([join.event_id, *(each.event_id for each in state)])
    return [each.pdu for each in state], [each.pdu for each in chain]


async def accept(receiving, dag, join, state, chain, **more):
    await receiving.layer.new_rooms.accept(dag.rules, join, state, chain, server=SERVER, **more)


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_room_of_every_version_is_joined_and_talked_in(receiving, version):
    dag, last = room_elsewhere(receiving, version, [FRED])
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    assert await receiving.state(dag.room_id) == dag.after(join.event_id)
    assert await shown(receiving, dag.room_id) == [join.event_id]
    answer = await receiving.node.syncs(ALICE)
    room = answer["rooms"]["join"][dag.room_id]
    assert room["summary"]["m.joined_member_count"] == 3
    event = dag.make(EVE, "m.room.message", HELLO, [join.event_id])
    await receiving.gets(event)
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    assert await shown(receiving, dag.room_id) == [join.event_id, event.event_id, own]


async def test_a_room_that_was_left_is_joined_again(receiving):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    leave = dag.make(
        EVE, "m.room.member", {"membership": "leave"}, [join.event_id], state_key=ALICE.user_id
    )
    await receiving.gets(leave)
    name = dag.make(EVE, "m.room.name", {"name": "later"}, [leave.event_id], state_key="")
    assert await receiving.gets(name) == {}
    gone = dag.make(FRED, "m.room.member", {"membership": "leave"}, [name.event_id], state_key=FRED)
    again = join_of(receiving, dag, gone.event_id)
    await accept(receiving, dag, again, *answer_of(dag, again))
    assert await receiving.state(dag.room_id) == dag.after(again.event_id)
    assert await receiving.extremities(dag.room_id) == {again.event_id}
    event = dag.make(EVE, "m.room.message", HELLO, [again.event_id])
    await receiving.gets(event)
    assert (await shown(receiving, dag.room_id))[-1] == event.event_id


async def test_a_second_local_user_joins_like_anybody(receiving):
    dag, last = room_elsewhere(receiving, "11")
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    bob = join_of(receiving, dag, join.event_id, "@bob:localhost")
    await accept(receiving, dag, bob, [], [])
    assert await receiving.state(dag.room_id) == dag.after(bob.event_id)


async def test_answers_that_do_not_hold_together_are_refused(receiving):
    dag, last = room_elsewhere(receiving, "11")
    join = join_of(receiving, dag, last)
    state, chain = answer_of(dag, join)
    without_create = [pdu for pdu in state if pdu["type"] != "m.room.create"]
    without_create_at_all = [pdu for pdu in chain if pdu["type"] != "m.room.create"]
    other, _ = room_elsewhere(receiving, "10")
    for wrong_state, wrong_chain in (
        ([], []),
        (without_create, chain),
        (without_create, without_create_at_all),
        ([each.pdu for each in other.events.values()], []),
        (["nonsense", {}, 7], [None]),
    ):
        with pytest.raises(InvalidEvent):
            await accept(receiving, dag, join, wrong_state, wrong_chain)
    assert await receiving.node.rooms.heads.head(dag.room_id) is None
    with pytest.raises(InvalidEvent):
        await receiving.layer.new_rooms.accept(rules_of("10"), join, state, chain, server=SERVER)
    await accept(receiving, dag, join, state, chain)
    assert await receiving.state(dag.room_id) == dag.after(join.event_id)


async def test_a_join_that_the_state_does_not_allow_is_refused(receiving):
    dag, last = room_elsewhere(receiving, "11", rule="invite")
    join = join_of(receiving, dag, last)
    with pytest.raises(AuthRefusal):
        await accept(receiving, dag, join, *answer_of(dag, join))
    assert await receiving.node.rooms.heads.head(dag.room_id) is None


async def test_state_without_a_valid_signature_is_left_out(receiving):
    dag, last = room_elsewhere(receiving, "11", [FRED])
    join = join_of(receiving, dag, last)
    state, chain = answer_of(dag, join)
    (member,) = [pdu for pdu in state if pdu.get("state_key") == FRED]
    member["signatures"] = {"faraway.example": {"ed25519:test": "A" * 86}}
    with capture_logs() as lines:
        await accept(receiving, dag, join, state, chain)
    assert ("m.room.member", FRED) not in await receiving.state(dag.room_id)
    # Which may be for want of a key server.
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert (warning["count"], warning["servers"]) == (1, ["faraway.example"])


async def test_a_partial_join_is_talked_in_and_completed(receiving):
    members = [f"@user{number}:faraway.example" for number in range(20)]
    dag, last = room_elsewhere(receiving, "11", members)
    join = join_of(receiving, dag, last)
    state, chain = answer_of(dag, join)
    omitted = [pdu for pdu in state if pdu["type"] != "m.room.member" or pdu["state_key"] == EVE]
    await accept(receiving, dag, join, omitted, chain, servers_in_room=[SERVER], partial=True)
    head = await receiving.node.rooms.heads.head(dag.room_id)
    assert head.is_partial_state
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    # Somebody who is not in the state that is known here.
    stranger = dag.make(members[3], "m.room.message", HELLO, [join.event_id])
    leaves = dag.make(
        members[4], "m.room.member", {"membership": "leave"}, [stranger.event_id],
        state_key=members[4],
    )  # fmt: skip
    await receiving.gets(stranger, leaves)
    seen = await shown(receiving, dag.room_id, is_lazy=True)
    assert seen[-2:] == [stranger.event_id, leaves.event_id]
    assert own in seen
    async with receiving.node.base.database.connection() as connection:
        (partial,) = await joined_rooms.partial_joins(connection)
    assert (partial.room_id, list(partial.servers_in_room)) == (dag.room_id, [SERVER])
    await receiving.layer.new_rooms.complete(partial, state, chain)
    async with receiving.node.base.database.connection() as connection:
        assert await joined_rooms.partial_joins(connection) == []
    assert await receiving.state(dag.room_id) == dag.after(leaves.event_id)
    head = await receiving.node.rooms.heads.head(dag.room_id)
    assert (head.is_partial_state, head.joined) == (False, len(members) + 1)
    answer = await receiving.node.syncs(ALICE)
    summary = answer["rooms"]["join"][dag.room_id]["summary"]
    assert summary["m.joined_member_count"] == len(members) + 1
    last = dag.make(members[5], "m.room.message", HELLO, [leaves.event_id])
    await receiving.gets(last)
    assert (await receiving.flags(last.event_id)) == 0


async def test_a_thousand_members_take_little_time(receiving):
    members = [f"@user{number}:faraway.example" for number in range(1000)]

    dag, last = room_elsewhere(receiving, "11")
    state = dag.after(last)
    for member in members:
        # Not by Dag.make, whose model is slow with many members.
        event = dag.make(
            member, "m.room.member", JOIN, [last], state_key=member, state=state, is_added=False
        )
        dag.events[event.event_id] = event
        state = {**state, ("m.room.member", member): event.event_id}
    join = join_of(receiving, dag, last)
    chain = dag.auth_chain([join.event_id])
    pdus = [dag.events[each].pdu for each in state.values()]
    started = time.process_time()
    await accept(receiving, dag, join, pdus, [each.pdu for each in chain])
    assert time.process_time() - started < 5
    assert len(await receiving.state(dag.room_id)) == len(state) + 1
