"""Spec: client-server-api/#discovering-rooms-within-spaces"""

import pytest

from tests.support.client import Refusal, quoted, refused
from tests.support.server import SERVER_NAME

SPACE = {"type": "m.space"}


async def makes_space(client, **body):
    return await client.creates_room(creation_content=SPACE, **body)


async def lists(client, space, child, **content):
    await client.sets(space, "m.space.child", {"via": [SERVER_NAME], **content}, child)


async def explores(client, space, **query):
    path = f"/_matrix/client/v1/rooms/{quoted(space)}/hierarchy"
    return await client.get(path, **query)


def ids(page):
    return [room["room_id"] for room in page["rooms"]]


@pytest.fixture
async def tree(alice):
    """Names of rooms: root -> (r1, ss1 -> (ss2 -> (r3, r4)), r2), in this order."""
    rooms = {
        name: await alice.creates_room(
            preset="public_chat",
            name=name,
            creation_content=SPACE if "s" in name or name == "root" else {},
        )
        for name in ("root", "r1", "ss1", "r2", "ss2", "r3", "r4")
    }
    for parent, *children in (("root", "r1", "ss1", "r2"), ("ss1", "ss2"), ("ss2", "r3", "r4")):
        for child in children:
            await lists(alice, rooms[parent], rooms[child], suggested=child in ("ss1", "r2"))
    return rooms


async def test_the_tree_is_walked_depth_first(alice, bob, tree):
    for member in (alice, bob):
        page = await explores(member, tree["root"])
        names = [room["name"] for room in page["rooms"]]
        assert names == ["root", "r1", "ss1", "ss2", "r3", "r4", "r2"]
        assert "next_batch" not in page


async def test_rooms_are_summarized_with_what_they_list(alice, tree):
    rooms = {room["name"]: room for room in (await explores(alice, tree["root"]))["rooms"]}
    space = rooms["ss1"]
    (child,) = space.pop("children_state")
    assert space == {
        "room_id": tree["ss1"],
        "name": "ss1",
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_type": "m.space",
        "room_version": "12",
    }
    assert child.pop("origin_server_ts") > 0
    assert child == {
        "type": "m.space.child",
        "state_key": tree["ss2"],
        "sender": alice.user_id,
        "content": {"via": [SERVER_NAME], "suggested": False},
    }
    assert rooms["r1"]["children_state"] == []
    assert "room_type" not in rooms["r1"]


async def test_pages_make_up_the_tree(alice, tree):
    whole = ids(await explores(alice, tree["root"]))
    page = await explores(alice, tree["root"], limit=3)
    gathered = ids(page)
    while "next_batch" in page:
        page = await explores(alice, tree["root"], limit=3, from_=page["next_batch"])
        gathered += ids(page)
    assert gathered == whole


async def test_pages_go_on_in_a_tree_that_changes(alice, tree):
    page = await explores(alice, tree["root"], limit=4)
    assert ids(page)[-1] == tree["ss2"]
    new = await alice.creates_room()
    await lists(alice, tree["root"], new, order=" ")
    rest = await explores(alice, tree["root"], from_=page["next_batch"])
    assert ids(rest) == [tree["r3"], tree["r4"], tree["r2"]]
    await alice.sets(tree["ss1"], "m.space.child", {}, tree["ss2"])
    rest = await explores(alice, tree["root"], from_=page["next_batch"])
    assert ids(rest) == [tree["r2"]]


async def test_depth_and_suggestion_narrow_the_tree(alice, tree):
    flat = await explores(alice, tree["root"], max_depth=1)
    assert ids(flat) == [tree[name] for name in ("root", "r1", "ss1", "r2")]
    assert flat["rooms"][2]["children_state"] != []
    assert ids(await explores(alice, tree["root"], max_depth=0)) == [tree["root"]]
    suggested = await explores(alice, tree["root"], suggested_only=True)
    assert ids(suggested) == [tree[name] for name in ("root", "ss1", "r2")]
    listed = {event["state_key"] for event in suggested["rooms"][0]["children_state"]}
    assert listed == {tree["ss1"], tree["r2"]}


async def test_depth_and_suggestion_stay_while_paging(alice, tree):
    page = await explores(alice, tree["root"], limit=1, max_depth=1, suggested_only=True)
    token = page["next_batch"]
    for changed in ({"max_depth": 2}, {"suggested_only": False}):
        with refused(400, "M_INVALID_PARAM"):
            await explores(alice, tree["root"], from_=token, **changed)
    same = await explores(alice, tree["root"], from_=token, max_depth=1, suggested_only=True)
    assert ids(same) == ids(await explores(alice, tree["root"], from_=token))


@pytest.mark.parametrize("query", [{"from_": "x"}, {"from_": ""}, {"limit": 0}, {"max_depth": -1}])
async def test_bad_queries_are_refused(alice, tree, query):
    with pytest.raises(Refusal) as refusal:
        await explores(alice, tree["root"], **query)
    assert refusal.value.status == 400


async def test_children_stand_in_the_order_of_the_specification(alice):
    space = await makes_space(alice)
    rooms = [await alice.creates_room() for _ in range(5)]
    orders = [None, "first", "aaaa", "\x7f", " "]
    for room, order in zip(rooms, orders, strict=True):
        await lists(alice, space, room, **({} if order is None else {"order": order}))
    # "\x7f" is no valid order: by time, like the one without.
    expected = [rooms[4], rooms[2], rooms[1], rooms[0], rooms[3]]
    page = await explores(alice, space)
    assert ids(page)[1:] == expected
    assert [event["state_key"] for event in page["rooms"][0]["children_state"]] == expected


async def test_loops_end(alice):
    one, two = await makes_space(alice), await makes_space(alice)
    await lists(alice, one, two)
    await lists(alice, two, one)
    await lists(alice, one, one)
    assert ids(await explores(alice, one)) == [one, two]


async def test_what_is_no_child_is_left_out(alice):
    space, room = await makes_space(alice), await alice.creates_room()
    for via in ([], "hs.example", [1], None):
        await alice.sets(space, "m.space.child", {"via": via}, room)
        page = await explores(alice, space)
        assert ids(page) == [space]
        assert page["rooms"][0]["children_state"] == []
    await lists(alice, space, "not a room ID")
    await lists(alice, space, f"!unknown:{SERVER_NAME}")
    assert ids(await explores(alice, space)) == [space]


async def test_a_room_that_is_no_space_has_no_children(alice):
    room, other = await alice.creates_room(), await alice.creates_room()
    await lists(alice, room, other)
    page = await explores(alice, room)
    assert (ids(page), page["rooms"][0]["children_state"]) == ([room], [])


async def test_only_what_the_user_could_join_or_read_is_shown(alice, bob):
    space = await makes_space(alice, preset="public_chat")
    joined = await bob.creates_room(preset="public_chat")
    rooms = {
        "private": await alice.creates_room(),
        "invited": await alice.creates_room(invite=[bob.user_id]),
        "public": await alice.creates_room(preset="public_chat"),
        "knock": await alice.creates_room(),
        "readable": await alice.creates_room(),
        "for_space": await alice.creates_room(),
        "for_others": await alice.creates_room(),
        "banned": await alice.creates_room(preset="public_chat"),
    }
    await alice.sets(rooms["knock"], "m.room.join_rules", {"join_rule": "knock"})
    readable = {"history_visibility": "world_readable"}
    await alice.sets(rooms["readable"], "m.room.history_visibility", readable)
    for name, allowed in (("for_space", joined), ("for_others", space)):
        allow = [{"type": "m.room_membership", "room_id": allowed}]
        rule = {"join_rule": "restricted", "allow": allow}
        await alice.sets(rooms[name], "m.room.join_rules", rule)
    await alice.bans(rooms["banned"], bob)
    for room in rooms.values():
        await lists(alice, space, room)

    shown = ids(await explores(bob, space))
    names = {name for name, room in rooms.items() if room in shown}
    assert names == {"invited", "public", "knock", "readable", "for_space"}
    assert set(rooms.values()) <= set(ids(await explores(alice, space)))
    (restricted,) = [
        room
        for room in (await explores(bob, space))["rooms"]
        if room["room_id"] == rooms["for_space"]
    ]
    assert restricted["allowed_room_ids"] == [joined]


async def test_a_space_that_is_not_to_be_seen_is_refused(alice, bob, clients):
    space = await makes_space(alice)
    for room in (space, f"!unknown:{SERVER_NAME}"):
        with refused(403, "M_FORBIDDEN"):
            await explores(bob, room)
    with refused(401, "M_MISSING_TOKEN"):
        await explores(clients.nobody(), space)
    await alice.invites(space, bob)
    assert ids(await explores(bob, space)) == [space]
    await alice.kicks(space, bob)
    with refused(403, "M_FORBIDDEN"):
        await explores(bob, space)


async def test_summaries_follow_the_room(alice, bob, tree):
    async def r1():
        (found,) = [
            room
            for room in (await explores(alice, tree["root"]))["rooms"]
            if room["room_id"] == tree["r1"]
        ]
        return found

    assert (await r1())["num_joined_members"] == 1
    await bob.joins(tree["r1"])
    named = await alice.sets(tree["r1"], "m.room.name", {"name": "new"})
    found = await r1()
    assert (found["num_joined_members"], found["name"]) == (2, "new")
    await alice.redacts(tree["r1"], named)
    await bob.leaves(tree["r1"])
    found = await r1()
    assert (found["num_joined_members"], "name" in found) == (1, False)


async def test_the_name_of_the_proposal_answers_too(alice, tree):
    path = f"/_matrix/client/unstable/org.matrix.msc2946/rooms/{quoted(tree['ss1'])}/hierarchy"
    assert ids(await alice.get(path)) == ids(await explores(alice, tree["ss1"]))
