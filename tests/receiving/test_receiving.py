"""Events of other servers: shown, kept back, or refused, each as the specification has it."""

import pytest

from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import ServerName
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.receive.outliers import Room
from tests.receiving.conftest import ALICE, EVE, FRED
from tests.support.node import user

HELLO = {"msgtype": "m.text", "body": "hello"}
REJECTED, SOFT_FAILED = 2, 4
# What servers answer that give no events away.
NOTHING = {"missing_events": [], "backfill": []}


async def shown(receiving, room_id, since=None, *, is_lazy=False):
    """Return the event IDs of the timeline in Alice's sync."""
    state = {"lazy_load_members": is_lazy}
    chosen = {"room": {"timeline": {"limit": 100}, "state": state}}
    answer = await receiving.node.syncs(ALICE, since, chosen=chosen)
    room = answer["rooms"]["join"].get(room_id, {"timeline": {"events": []}})
    return [event["event_id"] for event in room["timeline"]["events"]]


async def end_of(receiving, dag):
    (last,) = await receiving.extremities(dag.room_id)
    return last


async def local(receiving, room_id, event_type, content, state_key=None):
    """Have Alice send something, and return the event's ID."""
    draft = EventDraft(
        type=event_type,
        sender=ALICE.user_id,
        content=content,
        room_id=room_id,
        state_key=state_key,
    )
    writer = receiving.node.rooms.writer

    async def build(head):
        return [await writer.builder.build(head, draft)]

    (built,) = await writer.write(room_id, build)
    return built.event.event_id


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_message_of_every_room_version_is_shown_and_followed(receiving, make_room, version):
    dag = await make_room(version)
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    assert await receiving.gets(event) == {event.event_id: {}}
    assert (await shown(receiving, dag.room_id))[-1] == event.event_id
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    await receiving.add_all(dag)
    assert dag.events[own].prev_events == (event.event_id,)
    assert dag.events[own].depth == event.depth + 1
    assert await receiving.staged() == 0


async def test_a_long_run_is_shown_in_its_order_whatever_the_order_of_arrival(receiving, make_room):
    dag = await make_room()
    events = [dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])]
    for number in range(60):
        content = {"msgtype": "m.text", "body": f"{number}"}
        if number % 10 == 5:
            event = dag.make(
                EVE, "m.room.topic", {"topic": str(number)}, [events[-1].event_id], state_key=EVE
            )
        else:
            event = dag.make(EVE, "m.room.message", content, [events[-1].event_id])
        events.append(event)
    await receiving.gets(*reversed(events))
    expected = [each.event_id for each in events if each.event_id not in dag.rejected]
    assert (await shown(receiving, dag.room_id))[-len(expected) :] == expected


async def test_what_comes_twice_is_there_once(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    await receiving.gets(event, event)
    assert await receiving.gets(event, origin="faraway.example") == {event.event_id: {}}
    assert (await shown(receiving, dag.room_id)).count(event.event_id) == 1


async def test_a_wrong_signature_is_refused(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    event.pdu["signatures"]["elsewhere.example"] = {"ed25519:test": "A" * 86}
    told = await receiving.gets(event)
    assert "error" in told[event.event_id]
    assert await receiving.flags(event.event_id) is None


async def test_an_event_of_another_servers_user_is_refused(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)], is_added=False)
    forged = {**event.pdu, "sender": FRED}
    (told,) = (await receiving.layer.receive.stage(ServerName(EVE[5:]), [forged])).values()
    assert "error" in told


async def test_a_wrong_hash_costs_the_content(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    event.pdu["content"] = {"msgtype": "m.text", "body": "something else"}
    await receiving.gets(event)
    answer = await receiving.node.syncs(ALICE)
    last = answer["rooms"]["join"][dag.room_id]["timeline"]["events"][-1]
    assert (last["event_id"], last["content"]) == (event.event_id, {})


async def test_unsigned_of_other_servers_is_not_believed(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    event.pdu["unsigned"] = {"age": 1, "redacted_because": {}, "transaction_id": "x"}
    await receiving.gets(event)
    answer = await receiving.node.syncs(ALICE)
    last = answer["rooms"]["join"][dag.room_id]["timeline"]["events"][-1]
    assert last["event_id"] == event.event_id
    assert not {"redacted_because", "transaction_id"} & last.get("unsigned", {}).keys()


async def test_a_rejected_event_is_known_and_not_shown_and_its_children_are_judged(
    receiving, make_room
):
    dag = await make_room()
    last = await end_of(receiving, dag)
    rejected = dag.make(EVE, "m.room.name", {"name": "Eve's"}, [last], state_key="")
    assert rejected.event_id in dag.rejected
    child = dag.make(EVE, "m.room.message", HELLO, [rejected.event_id])
    await receiving.gets(rejected, child)
    assert await receiving.flags(rejected.event_id) == REJECTED
    timeline = await shown(receiving, dag.room_id)
    assert rejected.event_id not in timeline
    assert timeline[-1] == child.event_id
    # It covers what the rejected event had covered.
    assert await receiving.extremities(dag.room_id) == {child.event_id}
    assert await receiving.state(dag.room_id) == dag.after(child.event_id)


async def test_an_event_from_before_a_ban_is_soft_failed(receiving, make_room):
    dag = await make_room()
    before_ban = await end_of(receiving, dag)
    await local(receiving, dag.room_id, "m.room.member", {"membership": "ban"}, state_key=EVE)
    await receiving.add_all(dag)
    banned_at = await end_of(receiving, dag)
    evading = dag.make(EVE, "m.room.message", HELLO, [before_ban])
    await receiving.gets(evading)
    assert await receiving.flags(evading.event_id) == SOFT_FAILED
    assert evading.event_id not in await shown(receiving, dag.room_id)
    assert await receiving.extremities(dag.room_id) == {banned_at}
    # Who follows it covers nothing that it has not covered, and takes part.
    child = dag.make(FRED, "m.room.message", HELLO, [evading.event_id, banned_at])
    await receiving.gets(child, origin="faraway.example")
    assert await receiving.extremities(dag.room_id) == {child.event_id}


async def test_missing_events_are_asked_for(receiving, make_room):
    dag = await make_room()
    events = [dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])]
    for _ in range(30):
        events.append(dag.make(EVE, "m.room.message", HELLO, [events[-1].event_id]))
    await receiving.gets(events[-1])
    assert (await shown(receiving, dag.room_id))[-31:] == [each.event_id for each in events]
    assert "state_ids" not in receiving.peers.asked


async def test_the_state_at_a_gap_is_asked_for(receiving, make_room):
    dag = await make_room()
    old_end = await end_of(receiving, dag)
    hidden = dag.make(EVE, "m.room.message", HELLO, [old_end])
    name = {"displayname": "Eve", "membership": "join"}
    member = dag.make(EVE, "m.room.member", name, [hidden.event_id], state_key=EVE)
    later = dag.make(EVE, "m.room.message", HELLO, [member.event_id])
    receiving.peers.lies |= NOTHING
    receiving.peers.hidden = {hidden.event_id}
    await receiving.gets(later)
    assert await receiving.flags(later.event_id) == 0
    assert await receiving.flags(member.event_id) == 1
    assert (await receiving.state(dag.room_id))["m.room.member", EVE] == member.event_id
    assert await receiving.extremities(dag.room_id) == {old_end, later.event_id}


async def test_an_event_that_comes_after_its_children_is_shown_late(receiving, make_room):
    dag = await make_room()
    old_end = await end_of(receiving, dag)
    late = dag.make(EVE, "m.room.message", HELLO, [old_end])
    child = dag.make(EVE, "m.room.message", HELLO, [late.event_id])
    receiving.peers.lies |= NOTHING
    await receiving.gets(child)
    await receiving.gets(late)
    assert (await shown(receiving, dag.room_id))[-2:] == [child.event_id, late.event_id]
    assert await receiving.extremities(dag.room_id) == {child.event_id}
    assert await receiving.state(dag.room_id) == dag.after(child.event_id)


async def test_an_event_waits_for_a_silent_server(receiving, make_room):
    dag = await make_room()
    missing = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    event = dag.make(EVE, "m.room.message", HELLO, [missing.event_id])
    receiving.peers.is_silent = True
    assert await receiving.gets(event) == {event.event_id: {}}
    assert await receiving.staged() == 1
    assert await receiving.flags(event.event_id) is None
    receiving.peers.is_silent = False
    async with receiving.node.base.database.connection() as connection:
        await connection.execute("UPDATE inbound_pdus SET not_before = 0")
    await receiving.layer.inbox.poll()
    await receiving.layer.inbox.drained()
    assert await receiving.flags(event.event_id) == 0
    assert await receiving.staged() == 0


async def test_a_redaction_waits_for_what_it_redacts(receiving, make_room):
    for version in ("3", "11"):
        dag = await make_room(version)
        old_end = await end_of(receiving, dag)
        target = dag.make(EVE, "m.room.message", HELLO, [old_end])
        redaction = dag.make(EVE, "m.room.redaction", {}, [old_end], redacts=target.event_id)
        foreign = dag.make(FRED, "m.room.redaction", {}, [old_end], redacts=target.event_id)
        await receiving.gets(foreign)
        await receiving.gets(redaction)
        await receiving.gets(target)
        answer = await receiving.node.syncs(ALICE)
        last = answer["rooms"]["join"][dag.room_id]["timeline"]["events"][-1]
        assert (last["event_id"], last["content"]) == (target.event_id, {})
        assert last["unsigned"]["redacted_because"]["event_id"] == redaction.event_id


async def test_a_redaction_of_somebody_elses_event_has_no_effect(receiving, make_room):
    dag = await make_room()
    target = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    foreign = dag.make(FRED, "m.room.redaction", {}, [target.event_id], redacts=target.event_id)
    own = dag.make(EVE, "m.room.redaction", {}, [foreign.event_id], redacts=target.event_id)
    await receiving.gets(target, foreign)
    answer = await receiving.node.syncs(ALICE)
    events = answer["rooms"]["join"][dag.room_id]["timeline"]["events"]
    assert next(e for e in events if e["event_id"] == target.event_id)["content"] == HELLO
    await receiving.gets(own)
    answer = await receiving.node.syncs(ALICE)
    events = answer["rooms"]["join"][dag.room_id]["timeline"]["events"]
    assert next(e for e in events if e["event_id"] == target.event_id)["content"] == {}


async def test_a_second_create_event_is_not_taken(receiving, make_room):
    dag = await make_room("10")
    create = dag.make(
        EVE, "m.room.create", {"creator": EVE, "room_version": "10"}, [], state={},
        state_key="", depth=1, is_added=False,
    )  # fmt: skip
    await receiving.gets(create)
    assert await receiving.flags(create.event_id) is None


async def test_an_event_without_prev_events_is_rejected(receiving, make_room):
    dag = await make_room()
    state = await receiving.state(dag.room_id)
    event = dag.make(EVE, "m.room.message", HELLO, [], state=state, depth=1)
    await receiving.gets(event)
    assert await receiving.flags(event.event_id) == REJECTED


async def test_depths_that_lie_do_no_harm(receiving, make_room):
    dag = await make_room()
    last = await end_of(receiving, dag)
    deep = dag.make(EVE, "m.room.message", HELLO, [last], depth=2**53 - 1)
    flat = dag.make(EVE, "m.room.message", HELLO, [deep.event_id], depth=0)
    await receiving.gets(deep, flat)
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    assert (await shown(receiving, dag.room_id))[-3:] == [deep.event_id, flat.event_id, own]


async def test_servers_that_the_room_denies_are_refused(receiving, make_room):
    dag = await make_room()
    acl = {"allow": ["*"], "deny": ["ELSEWHERE.*"]}
    await local(receiving, dag.room_id, "m.room.server_acl", acl, state_key="")
    await receiving.add_all(dag)
    event = dag.make(FRED, "m.room.message", HELLO, [await end_of(receiving, dag)])
    refused = await receiving.gets(event, origin="Elsewhere.example")
    assert "error" in refused[event.event_id]
    assert await receiving.gets(event, origin="faraway.example") == {event.event_id: {}}


async def test_rooms_that_this_server_is_not_in_are_refused(receiving, make_room):
    dag = await make_room()
    event = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    elsewhere = {**event.pdu, "room_id": "!other:elsewhere.example"}
    for pdu in (elsewhere, {}, 1, None, {**event.pdu, "room_id": 5}):
        assert await receiving.layer.receive.stage(ServerName("elsewhere.example"), [pdu]) == {}


async def test_events_of_another_room_are_not_taken_as_prev_or_auth_events(receiving, make_room):
    dag, other = await make_room(), await make_room()
    foreign_end = await end_of(receiving, other)
    dag.events[foreign_end] = other.events[foreign_end]
    dag._before[foreign_end] = dag.before(await end_of(receiving, dag))
    mixed = dag.make(
        EVE, "m.room.message", HELLO, [foreign_end],
        state=await receiving.state(dag.room_id), is_added=False,
    )  # fmt: skip
    await receiving.gets(mixed)
    assert await receiving.flags(mixed.event_id) is None
    borrowed = dag.make(
        EVE, "m.room.message", HELLO, [await end_of(receiving, dag)],
        state=await receiving.state(other.room_id), is_added=False,
    )  # fmt: skip
    await receiving.gets(borrowed)
    assert await receiving.flags(borrowed.event_id) == REJECTED


async def test_missing_auth_events_are_had_as_outliers(receiving, make_room):
    dag = await make_room()
    last = await end_of(receiving, dag)
    gone = dag.make(EVE, "m.room.member", {"membership": "leave"}, [last], state_key=EVE)
    back = dag.make(EVE, "m.room.member", {"membership": "join"}, [gone.event_id], state_key=EVE)
    event = dag.make(EVE, "m.room.message", HELLO, [last], state=dag.after(back.event_id))
    await receiving.gets(event)
    assert await receiving.flags(back.event_id) == 1
    assert await receiving.flags(event.event_id) == 0


async def test_a_member_who_joins_elsewhere_is_a_member_here(receiving, make_room):
    dag = await make_room()
    gina = "@gina:elsewhere.example"
    join = {"membership": "join"}
    event = dag.make(gina, "m.room.member", join, [await end_of(receiving, dag)], state_key=gina)
    await receiving.gets(event)
    memberships = await receiving.node.base.user_rooms.of_user(gina)
    assert [row.membership for row in memberships.values()] == ["join"]


async def test_a_local_user_who_is_kicked_elsewhere_is_told(receiving, make_room):
    dag = await make_room()
    bob = user("bob")
    await receiving.node.rooms.memberships.join(bob, dag.room_id)
    await receiving.add_all(dag)
    levels = {"users": {ALICE.user_id: 100, EVE: 100}}
    await local(receiving, dag.room_id, "m.room.power_levels", levels, state_key="")
    await receiving.add_all(dag)
    since = (await receiving.node.syncs(bob))["next_batch"]
    kick = dag.make(
        EVE, "m.room.member", {"membership": "leave"}, [await end_of(receiving, dag)],
        state_key=bob.user_id,
    )  # fmt: skip
    await receiving.gets(kick)
    answer = await receiving.node.syncs(bob, since)
    assert dag.room_id in answer["rooms"]["leave"]


async def test_an_event_may_follow_backfilled_history(receiving, make_room):
    dag = await make_room()
    old = dag.make(EVE, "m.room.message", HELLO, [await end_of(receiving, dag)])
    event = dag.make(EVE, "m.room.message", HELLO, [old.event_id])
    receiving.peers.lies |= NOTHING
    await receiving.gets(event)
    await receiving.layer.outliers.store_pdus(
        Room(dag.room_id, (await receiving.node.rooms.heads.head(dag.room_id)).room_nid, dag.rules),
        [old.pdu],
    )
    async with receiving.node.base.database.connection() as connection:
        await connection.execute(
            "UPDATE events SET flags = 0, pos = 1, sub = -1 WHERE event_id = $1", old.event_id
        )
    late = dag.make(FRED, "m.room.message", HELLO, [old.event_id])
    await receiving.gets(late)
    assert await receiving.flags(late.event_id) == 0
    assert await receiving.state(dag.room_id) == dag.after(late.event_id)
    assert await receiving.layer.state_before.ids(dag.room_id, old.event_id) is None
