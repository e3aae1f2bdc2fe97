"""Forks: whatever two servers do apart, and however it comes here, the state is the model's."""

import random

import pytest

from tests.receiving.conftest import ALICE, EVE, FRED
from tests.receiving.test_receiving import HELLO, end_of, local, shown
from tests.support.node import user

GINA = "@gina:elsewhere.example"
MEMBERS = (EVE, FRED, GINA)


async def give_power(receiving, dag, **users):
    levels = {"users": {EVE: 90, FRED: 50, **users}}
    if not dag.rules.privileged_creators:
        levels["users"][ALICE.user_id] = 100
    await local(receiving, dag.room_id, "m.room.power_levels", levels, state_key="")
    await receiving.add_all(dag)
    return levels


@pytest.mark.parametrize("version", ["1", "2", "6", "11", "12"])
async def test_a_fork_over_power_and_bans_heals_as_prescribed(receiving, make_room, version):
    dag = await make_room(version)
    levels = await give_power(receiving, dag)
    since = (await receiving.node.syncs(ALICE))["next_batch"]
    start = await end_of(receiving, dag)
    # Here: Alice takes Eve's power away and bans her.
    lowered = {**levels, "users": {**levels["users"], EVE: 0}}
    await local(receiving, dag.room_id, "m.room.power_levels", lowered, state_key="")
    await local(receiving, dag.room_id, "m.room.member", {"membership": "ban"}, state_key=EVE)
    await local(receiving, dag.room_id, "m.room.topic", {"topic": "ours"}, state_key="")
    await receiving.add_all(dag)
    here = await end_of(receiving, dag)
    # There, at the same time: Eve bans Fred, raises Gina and names the room.
    ban = dag.make(EVE, "m.room.member", {"membership": "ban"}, [start], state_key=FRED)
    raised = {**levels, "users": {**levels["users"], GINA: 50}}
    raise_gina = dag.make(EVE, "m.room.power_levels", raised, [ban.event_id], state_key="")
    name = dag.make(EVE, "m.room.name", {"name": "theirs"}, [raise_gina.event_id], state_key="")
    await receiving.gets(ban, raise_gina, name)
    # The next event brings the branches together, by whoever is left in the room.
    state = dag.state_at([here, name.event_id])
    (sender,) = [each for each in (FRED, EVE) if dag.is_joined(each, state)]
    merge = dag.make(sender, "m.room.message", HELLO, [here, name.event_id])
    await receiving.gets(merge, origin="faraway.example")
    expected = dag.state_at([merge.event_id])
    assert merge.event_id not in dag.rejected
    assert await receiving.extremities(dag.room_id) == {merge.event_id}
    assert await receiving.state(dag.room_id) == expected
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    await receiving.add_all(dag)
    assert own not in dag.rejected
    assert dag.events[own].auth_events
    assert (await shown(receiving, dag.room_id, since))[-1] == own


async def test_local_events_join_the_ends_of_a_room(receiving, make_room):
    dag = await make_room()
    start = await end_of(receiving, dag)
    left = dag.make(EVE, "m.room.message", HELLO, [start])
    right = dag.make(FRED, "m.room.message", HELLO, [start])
    await receiving.gets(left, right)
    assert await receiving.extremities(dag.room_id) == {left.event_id, right.event_id}
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    await receiving.add_all(dag)
    assert set(dag.events[own].prev_events) == {left.event_id, right.event_id}
    assert await receiving.extremities(dag.room_id) == {own}


@pytest.mark.parametrize("ends", [11, 45])
async def test_many_ends_are_brought_down(receiving, make_room, ends):
    dag = await make_room()
    start = await end_of(receiving, dag)
    events = [dag.make(EVE, "m.room.message", HELLO, [start]) for _ in range(ends)]
    await receiving.gets(*events)
    assert len(await receiving.extremities(dag.room_id)) <= 10
    await receiving.add_all(dag)
    assert not dag.rejected
    assert len(await shown(receiving, dag.room_id)) >= ends


async def test_a_local_user_removed_by_state_resolution_has_left(receiving, make_room):
    dag = await make_room("11")
    await give_power(receiving, dag)
    start = await end_of(receiving, dag)
    bob = user("bob")
    closed = dag.make(EVE, "m.room.join_rules", {"join_rule": "invite"}, [start], state_key="")
    await receiving.node.rooms.memberships.join(bob, dag.room_id)
    await receiving.add_all(dag)
    since = (await receiving.node.syncs(bob))["next_batch"]
    await receiving.gets(closed)
    expected = dag.state_at(await receiving.extremities(dag.room_id))
    assert await receiving.state(dag.room_id) == expected
    assert ("m.room.member", bob.user_id) not in expected
    answer = await receiving.node.syncs(bob, since)
    assert dag.room_id in answer["rooms"]["leave"]
    (row,) = (await receiving.node.base.user_rooms.of_user(bob.user_id)).values()
    assert row.membership == "leave"


def act(dag, random_, ends, number):
    """Make one random event on random ends of a side."""
    sender = random_.choice(MEMBERS)
    after = sorted(ends)
    kind = random_.randrange(8)
    if kind < 2:
        content, event_type, key = (
            {"body": f"{number}", "msgtype": "m.text"},
            "m.room.message",
            None,
        )
    elif kind == 2:
        event_type, key, content = "m.room.topic", "", {"topic": f"{number}"}
    elif kind == 3:
        event_type, key, content = "m.room.name", "", {"name": f"{number}"}
    elif kind == 4:
        event_type, key = "m.room.join_rules", ""
        content = {"join_rule": random_.choice(["public", "invite"])}
    elif kind == 5:
        users = {each: random_.choice([0, 50, 80]) for each in MEMBERS}
        users[EVE] = 90
        if not dag.rules.privileged_creators:
            users[ALICE.user_id] = 100
        event_type, key, content = "m.room.power_levels", "", {"users": users}
    else:
        event_type, key = "m.room.member", random_.choice(MEMBERS)
        memberships = ["join"] if key == sender else ["ban", "leave", "invite"]
        content = {"membership": random_.choice(memberships)}
    return dag.make(sender, event_type, content, after, state_key=key)


@pytest.mark.parametrize("version", ["2", "6", "11", "12"])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_forks_in_random_order_come_to_the_state_of_the_model(
    receiving, make_room, version, seed
):
    random_ = random.Random(seed)
    dag = await make_room(version)
    await give_power(receiving, dag)
    start = await end_of(receiving, dag)
    sides = [{start}, {start}]
    made = []
    for number in range(40):
        side = random_.randrange(2)
        if random_.random() < 0.15:
            sides[side] |= sides[1 - side]
        event = act(dag, random_, sides[side], number)
        made.append(event)
        if event.event_id not in dag.rejected:
            sides[side] = {event.event_id}
    # Delivered in pieces, out of order and more than once.
    pieces = made + random_.sample(made, 10)
    if random_.random() < 0.7:
        random_.shuffle(pieces)
    while pieces:
        count = random_.randint(1, 8)
        piece, pieces = pieces[:count], pieces[count:]
        await receiving.gets(*piece)
    for event in made:
        flags = await receiving.flags(event.event_id)
        assert (flags == 2) == (event.event_id in dag.rejected), event
        assert flags in (0, 2, 4)
    expected = dag.state_at(sorted(await receiving.extremities(dag.room_id)))
    assert await receiving.state(dag.room_id) == expected
    own = await local(receiving, dag.room_id, "m.room.message", HELLO)
    await receiving.add_all(dag)
    assert own not in dag.rejected
    # Another node, that starts now, has the same head.
    head = await receiving.node.rooms.heads.head(dag.room_id)
    slot = receiving.node.rooms.heads.slot(dag.room_id)
    slot.forget()
    loaded = await receiving.node.rooms.heads.head(dag.room_id)
    assert loaded.state == head.state
    assert loaded.power_levels == head.power_levels
    assert loaded.join_rules == head.join_rules
    assert (loaded.joined, loaded.invited) == (head.joined, head.invited)
    assert loaded.local_joined == head.local_joined
    assert loaded.extremities == head.extremities
