"""Joins into rooms of other servers that meet an earlier stay, or each other."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from federation.membership.completion import CompleteJoins
from federation.policy import FederationPolicy
from homeserver.config.sections.federation import FederationSection
from homeserver.protocol.event import Event
from homeserver.protocol.identifiers import ServerName
from homeserver.run.receive_layer import receive_layer
from homeserver.storage import joined_rooms
from tests.receiving.conftest import ALICE, EVE, FRED, Receiving
from tests.receiving.test_new_room import SERVER, accept, answer_of, join_of, room_elsewhere
from tests.receiving.test_partial_rooms import joined, member_ids
from tests.receiving.test_receiving import HELLO, local
from tests.support.clock import FakeClock
from tests.support.dag import Dag
from tests.support.node import Node, running_node, user

BOB = user("bob")
MEMBERS = [f"@user{number}:faraway.example" for number in range(3)]
LEAVE = {"membership": "leave"}
OWN = ServerName("localhost")


async def accepts(
    receiving: Receiving,
    dag: Dag,
    join: Event,
    *,
    partial: bool = True,
    servers: Sequence[ServerName] = (SERVER,),
) -> None:
    """Have a join answered, with members omitted or not."""
    state, chain = answer_of(dag, join)
    if partial:
        state = [pdu for pdu in state if pdu["type"] != "m.room.member" or pdu["state_key"] == EVE]
    await accept(receiving, dag, join, state, chain, servers_in_room=servers, partial=partial)


async def completes(receiving: Receiving, dag: Dag) -> None:
    async with receiving.node.base.database.connection() as connection:
        (partial,) = await joined_rooms.partial_joins(connection)
    state, chain = answer_of(dag, dag.events[partial.join_event_id])
    await receiving.layer.new_rooms.complete(partial, state, chain)


async def members_in(node: Node, dag: Dag) -> set[str]:
    access = await node.rooms.access.to_members_only(ALICE.user_id, dag.room_id)
    return set(await node.rooms.read_state.joined_members(access))


async def test_members_of_an_earlier_stay_are_there_again_when_all_are_known(
    receiving: Receiving,
) -> None:
    dag, last = room_elsewhere(receiving, "11", [FRED, *MEMBERS])
    join = join_of(receiving, dag, last)
    await accept(receiving, dag, join, *answer_of(dag, join))
    kick = dag.make(EVE, "m.room.member", LEAVE, [join.event_id], state_key=ALICE.user_id)
    await receiving.gets(kick)
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    # One is gone when she comes back, and one has come.
    gone = dag.make(FRED, "m.room.member", LEAVE, [kick.event_id], state_key=FRED)
    new = "@new:faraway.example"
    come = dag.make(new, "m.room.member", {"membership": "join"}, [gone.event_id], state_key=new)
    again = join_of(receiving, dag, come.event_id)
    await accepts(receiving, dag, again)
    # One leaves before it is known here that she was there.
    left = dag.make(MEMBERS[0], "m.room.member", LEAVE, [again.event_id], state_key=MEMBERS[0])
    await receiving.gets(left)
    await completes(receiving, dag)
    assert await receiving.state(dag.room_id) == dag.after(left.event_id)
    everybody = {ALICE.user_id, EVE, new, *MEMBERS[1:]}
    assert await members_in(receiving.node, dag) == everybody
    told = joined(await receiving.node.syncs(ALICE, since))[dag.room_id]
    assert member_ids(told) >= everybody
    assert told["summary"]["m.joined_member_count"] == len(everybody)
    # What is built on the state before later events is right as well.
    event = dag.make(MEMBERS[1], "m.room.message", HELLO, [left.event_id])
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == 0


@pytest.mark.parametrize("partial", [(False, False), (True, True), (True, False)])
async def test_two_nodes_join_a_room_at_the_same_moment(
    receiving: Receiving, database_dsn: str, tmp_path: Path, partial: tuple[bool, bool]
) -> None:
    """The joins know nothing of each other; the node that comes second finds the room here."""
    dag, last = room_elsewhere(receiving, "11", MEMBERS)
    joins = [join_of(receiving, dag, last, who.user_id) for who in (ALICE, BOB)]
    async with running_node(database_dsn, tmp_path) as other:
        layer = receive_layer(
            other.base, other.rooms.writing, receiving.peers, receiving.signatures
        )
        nodes = [receiving, Receiving(other, layer, receiving.peers, receiving.signatures)]
        await asyncio.gather(
            *(
                accepts(node, dag, join, partial=is_partial)
                for node, join, is_partial in zip(nodes, joins, partial, strict=True)
            )
        )
        head = await receiving.node.rooms.heads.head(dag.room_id)
        assert head is not None
        if head.is_partial_state:
            await completes(receiving, dag)
        for node in nodes:
            assert await members_in(node.node, dag) == {
                ALICE.user_id, BOB.user_id, EVE, *MEMBERS,
            }  # fmt: skip
        assert await receiving.extremities(dag.room_id) == {each.event_id for each in joins}
        await local(receiving, dag.room_id, "m.room.message", HELLO)


async def test_forks_of_before_members_are_known_have_all_of_them_later(
    receiving: Receiving,
) -> None:
    dag, last = room_elsewhere(receiving, "11", MEMBERS)
    join = join_of(receiving, dag, last)
    await accepts(receiving, dag, join)
    fork = [dag.make(EVE, "m.room.message", {**HELLO, "n": n}, [join.event_id]) for n in range(2)]
    await receiving.gets(*fork)
    await completes(receiving, dag)
    for each in fork:
        by_member = dag.make(MEMBERS[0], "m.room.message", HELLO, [each.event_id])
        await receiving.gets(by_member)
        assert await receiving.flags(by_member.event_id) == 0
    assert await receiving.state(dag.room_id) == dag.after(join.event_id)


async def test_a_node_leaves_it_to_another_to_complete_what_that_has_just_joined(
    receiving: Receiving,
) -> None:
    dag, last = room_elsewhere(receiving, "11", MEMBERS)
    join = join_of(receiving, dag, last)
    await accepts(receiving, dag, join)
    clock = FakeClock(join.origin_server_ts)
    base, policy = receiving.node.base, FederationPolicy(FederationSection(), OWN)
    new_rooms, peers = receiving.layer.new_rooms, receiving.peers
    own, other = [
        CompleteJoins(base.database, new_rooms, peers, policy, base.tasks, clock) for _ in range(2)
    ]
    await other.begin_again()
    await other.attempted(dag.room_id)
    assert peers.asked == []
    peers.is_silent = True
    for begin in (own.begin, own.begin_again):
        await begin()
        await own.attempted(dag.room_id)
    assert peers.asked == ["state", "state"]
    # It may have died over it.
    peers.is_silent = False
    clock.tick(120)
    await other.begin_again()
    await other.attempted(dag.room_id)
    assert MEMBERS[0] in await members_in(receiving.node, dag)
