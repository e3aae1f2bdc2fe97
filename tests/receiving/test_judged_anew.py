"""Events that were accepted while most members were unknown, when these are known."""

from typing import Any

import pytest

from tests.receiving.conftest import ALICE, EVE, FRED, Receiving
from tests.receiving.test_new_room import (
    JOIN,
    SERVER,
    accept,
    answer_of,
    join_of,
    room_elsewhere,
)
from tests.receiving.test_partial_rooms import BOB, LAZY, PartialRoom, joined
from tests.receiving.test_receiving import HELLO, local, shown
from tests.support.node import running_node

EVIL = "@evil:faraway.example"
CARL = "@carl:faraway.example"
DORA = "@dora:faraway.example"
NAMED = {"membership": "join", "displayname": "Carl"}
BAN, LEAVE = {"membership": "ban"}, {"membership": "leave"}
MEMBER = "m.room.member"


async def holds(room: PartialRoom, user_id: str) -> str | None:
    """Return the event that the current state has as a user's member event."""
    return (await room.receiving.state(room.dag.room_id)).get((MEMBER, user_id))


async def joins_citing(room: PartialRoom, who: str, state: dict[Any, Any]) -> Any:
    """Have a user join who cites another state than that of the room."""
    join = room.dag.make(
        who, MEMBER, JOIN, [room.join.event_id], state=state, state_key=who, is_added=False
    )
    await room.receiving.gets(join)
    assert await holds(room, who) == join.event_id
    return join


def says(room: PartialRoom, who: str, join: Any) -> Any:
    """Make a message of a user who cites an own join."""
    state = {**room.dag.after(room.join.event_id), (MEMBER, who): join.event_id}
    room.dag.events[join.event_id] = join
    return room.dag.make(
        who, "m.room.message", HELLO, [join.event_id], state=state, depth=90, is_added=False
    )


async def window(
    receiving: Receiving, *before: tuple[str, str, Any], rule: str = "public"
) -> PartialRoom:
    """Join a room without its members after member events of (sender, target, content)."""
    dag, last = room_elsewhere(receiving, "11", [FRED] if rule == "public" else [], rule)
    for sender, target, content in before:
        last = dag.make(sender, MEMBER, content, [last], state_key=target).event_id
    join = join_of(receiving, dag, last)
    state, chain = answer_of(dag, join)
    told = [pdu for pdu in state if pdu["type"] != MEMBER or pdu["state_key"] == EVE]
    await accept(receiving, dag, join, told, chain, servers_in_room=[SERVER], partial=True)
    return PartialRoom(receiving, dag, join, state, chain)


@pytest.fixture
async def banned(receiving: Receiving) -> PartialRoom:
    return await window(
        receiving, (EVIL, EVIL, JOIN), (CARL, CARL, JOIN), (CARL, CARL, NAMED), (EVE, EVIL, BAN)
    )


async def test_a_banned_user_who_joins_meanwhile_is_banned_afterwards(
    banned: PartialRoom, database_dsn: str, tmp_path: Any
) -> None:
    receiving, room_id, node = banned.receiving, banned.room_id, banned.receiving.node
    ban = banned.dag.before(banned.join.event_id)[MEMBER, EVIL]
    state = {**banned.dag.after(banned.join.event_id)}
    del state[MEMBER, EVIL]
    join = await joins_citing(banned, EVIL, state)
    said = says(banned, EVIL, join)
    await receiving.gets(said)
    own = await local(receiving, room_id, "m.room.message", HELLO)
    late = says(banned, EVIL, join)
    await receiving.gets(late)
    since = (await node.syncs(ALICE, chosen=LAZY))["next_batch"]
    assert await holds(banned, EVIL) == join.event_id
    assert said.event_id in await shown(receiving, room_id, is_lazy=True)
    async with running_node(database_dsn, tmp_path) as other:
        await other.syncs(ALICE, chosen=LAZY)
        await banned.completes()
        assert await holds(banned, EVIL) == ban
        assert await banned.members() == {ALICE.user_id, EVE, FRED, CARL}
        for event in (join, said, late):
            assert await receiving.flags(event.event_id)
        assert await shown(receiving, room_id) == [banned.join.event_id, own]
        assert await receiving.extremities(room_id) == {own}
        for each in (node, other):
            answer = await each.syncs(ALICE, since, chosen=LAZY, timeout_ms=30_000)
            told = joined(answer)[room_id]
            members = {e["state_key"]: e["content"] for e in told["state"]["events"]}
            assert members[EVIL]["membership"] == "ban"
            head = await each.rooms.heads.head(room_id)
            assert head is not None
            assert head.state[MEMBER, EVIL].event_id == ban
            assert head.joined == 4
    # The room goes on, and what follows an event that was hidden is judged by what is right.
    again = says(banned, EVIL, join)
    await receiving.gets(again)
    assert await receiving.flags(again.event_id) != 0
    news = banned.dag.make(EVE, "m.room.message", HELLO, [banned.join.event_id])
    await receiving.gets(news)
    last = await local(receiving, room_id, "m.room.message", HELLO)
    assert await shown(receiving, room_id) == [banned.join.event_id, own, news.event_id, last]
    assert await holds(banned, EVIL) == ban


async def test_a_kicked_user_does_not_come_back_by_an_old_invite(receiving: Receiving) -> None:
    invite = {"membership": "invite"}
    room = await window(
        receiving,
        (EVE, ALICE.user_id, invite),
        (EVE, EVIL, invite),
        (EVIL, EVIL, JOIN),
        (EVE, EVIL, LEAVE),
        rule="invite",
    )
    kick = room.dag.before(room.join.event_id)[MEMBER, EVIL]
    join = room.dag.events[room.dag.events[kick].prev_events[0]]
    invited = join.prev_events[0]
    state = {**room.dag.after(room.join.event_id), (MEMBER, EVIL): invited}
    again = await joins_citing(room, EVIL, state)
    await room.completes()
    assert await holds(room, EVIL) == kick
    assert await room.members() == {ALICE.user_id, EVE}
    assert await receiving.flags(again.event_id) == 2
    assert await receiving.extremities(room.dag.room_id) == {room.join.event_id}
    assert await shown(receiving, room.room_id) == [room.join.event_id]


async def test_who_rightly_joins_meanwhile_stays(banned: PartialRoom) -> None:
    receiving = banned.receiving
    join = banned.dag.make(DORA, MEMBER, JOIN, [banned.join.event_id], state_key=DORA)
    said = banned.dag.make(DORA, "m.room.message", HELLO, [join.event_id])
    gone = banned.dag.make(FRED, MEMBER, LEAVE, [said.event_id], state_key=FRED)
    await receiving.gets(join, said, gone)
    await banned.completes()
    ids = [banned.join.event_id, join.event_id, said.event_id, gone.event_id]
    assert await shown(receiving, banned.room_id) == ids
    assert await receiving.state(banned.dag.room_id) == banned.dag.after(gone.event_id)
    assert await receiving.extremities(banned.dag.room_id) == {gone.event_id}


async def test_a_banned_users_message_from_before_the_ban_is_not_shown(banned: PartialRoom) -> None:
    receiving, dag = banned.receiving, banned.dag
    ban = dag.events[dag.before(banned.join.event_id)[MEMBER, EVIL]]
    named = ban.prev_events[0]
    # With this come the events before it, among them one that Carl has replaced since.
    said = dag.make(EVIL, "m.room.message", HELLO, dag.events[named].prev_events)
    renamed = dag.make(
        EVIL, MEMBER, {**JOIN, "displayname": "Evil"}, [said.event_id], state_key=EVIL
    )
    await receiving.gets(said, renamed)
    assert said.event_id in await shown(receiving, banned.room_id, is_lazy=True)
    await banned.completes()
    # Of what lay between, the others' part stays.
    assert not {said.event_id, renamed.event_id} & {*await shown(receiving, banned.room_id)}
    assert await receiving.flags(said.event_id) == await receiving.flags(renamed.event_id) == 4
    assert await holds(banned, EVIL) == ban.event_id
    assert await holds(banned, CARL) == named
    assert await banned.members() == {ALICE.user_id, EVE, FRED, CARL}
    assert banned.join.event_id in await receiving.extremities(dag.room_id)
    own = await local(receiving, banned.room_id, "m.room.message", HELLO)
    assert (await shown(receiving, banned.room_id))[-1] == own
    assert await holds(banned, EVIL) == ban.event_id


async def test_a_banned_local_user_who_joins_meanwhile_is_out_afterwards(
    receiving: Receiving,
) -> None:
    bob = BOB.user_id
    room = await window(receiving, (EVE, bob, BAN))
    node = receiving.node
    await node.rooms.memberships.join(BOB, room.dag.room_id)
    since = (await node.syncs(BOB, chosen=LAZY))["next_batch"]
    await room.completes()
    assert await holds(room, bob) == room.dag.before(room.join.event_id)[MEMBER, bob]
    answer = await node.syncs(BOB, since, chosen=LAZY)
    assert joined(answer) == {}
    assert room.room_id in answer["rooms"]["leave"]
    assert joined(await node.syncs(BOB)) == {}
    head = await node.rooms.heads.head(room.room_id)
    assert head is not None
    assert head.local_joined == {ALICE.user_id}
