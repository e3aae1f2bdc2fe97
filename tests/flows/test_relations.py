"""Spec: client-server-api/#relationships-api"""

import pytest

from tests.support.client import quoted, refused
from tests.support.relations import edit, in_thread, reaction, reference, relating

V1 = "/_matrix/client/v1"


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def relations(client, room, event_id, *types, **query):
    return await client.get(
        f"{V1}/rooms/{quoted(room)}/relations/{quoted(event_id, *types)}", **query
    )


def ids(page):
    return [event["event_id"] for event in page["chunk"]]


async def all_pages(client, room, event_id, *types, **query):
    """Follow the tokens to the end; return the IDs."""
    found, token = [], None
    for _ in range(50):
        page = await relations(client, room, event_id, *types, from_=token, **query)
        assert page.get("prev_batch") == token
        found += ids(page)
        token = page.get("next_batch")
        if token is None:
            return found
    raise AssertionError("the pages do not end")


async def test_children_are_listed_newest_first(alice, bob, room):
    parent = await alice.sends(room, "parent")
    children = [
        await bob.sends(room, reaction(parent, "+1"), "m.reaction"),
        await alice.sends(room, edit(parent, "better")),
        await bob.sends(room, reference(parent)),
        await bob.sends(room, relating("org.example.own", parent), "org.example.event"),
    ]
    await bob.sends(room, {"body": "r", "m.relates_to": {"m.in_reply_to": {"event_id": parent}}})
    page = await relations(alice, room, parent)
    assert ids(page) == children[::-1]
    assert set(page) == {"chunk"}
    assert page["chunk"][0]["room_id"] == room


async def test_children_are_chosen_by_both_types(alice, bob, room):
    parent = await alice.sends(room, "parent")
    liked = await bob.sends(room, reaction(parent, "+1"), "m.reaction")
    annotated = await bob.sends(room, reaction(parent, "+1"), "org.example.vote")
    await alice.sends(room, edit(parent, "better"))
    assert ids(await relations(alice, room, parent, "m.annotation")) == [annotated, liked]
    assert ids(await relations(alice, room, parent, "m.annotation", "m.reaction")) == [liked]
    assert ids(await relations(alice, room, parent, "m.annotation", "m.none")) == []
    assert ids(await relations(alice, room, parent, "m.none")) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_pages_have_every_child_once_in_both_directions(alice, room, limit):
    parent = await alice.sends(room, "parent")
    sent = []
    for number in range(7):
        sent.append(await alice.sends(room, reference(parent, str(number))))
        await alice.sends(room, "in between")
    assert await all_pages(alice, room, parent, limit=limit) == sent[::-1]
    assert await all_pages(alice, room, parent, limit=limit, dir="f") == sent
    assert await all_pages(alice, room, parent, "m.reference", limit=limit) == sent[::-1]
    recursive = await all_pages(alice, room, parent, limit=limit, recurse=True)
    assert recursive == sent[::-1]


async def test_pages_begin_and_end_at_tokens_of_other_operations(alice, room):
    parent = await alice.sends(room, "parent")
    await alice.sends(room, reference(parent, "one"))
    first = (await alice.syncs())["next_batch"]
    two = await alice.sends(room, reference(parent, "two"))
    second = (await alice.reads_messages(room, "b", limit=1))["start"]
    three = await alice.sends(room, reference(parent, "three"))
    assert ids(await relations(alice, room, parent, from_=second, to=first)) == [two]
    assert ids(await relations(alice, room, parent, from_=first, to=second)) == []
    assert ids(await relations(alice, room, parent, dir="f", from_=first)) == [two, three]
    assert ids(await relations(alice, room, parent, dir="f", from_=first, to=second)) == [two]


async def test_a_page_of_none_goes_on_where_it_starts(alice, room):
    parent = await alice.sends(room, "parent")
    children = [await alice.sends(room, reference(parent, str(number))) for number in range(2)]
    for direction, wanted in (("b", children[::-1]), ("f", children)):
        page = await relations(alice, room, parent, dir=direction, limit=0)
        assert page["chunk"] == []
        token = page["next_batch"]
        rest = await relations(alice, room, parent, dir=direction, from_=token)
        assert ids(rest) == wanted


async def test_recursion_follows_relations_of_relations(alice, bob, room):
    root = await alice.sends(room, "root")
    reply = await bob.sends(room, in_thread(root, "reply"))
    liked = await alice.sends(room, reaction(reply, "+1"), "m.reaction")
    corrected = await bob.sends(room, edit(reply, "better"))
    about = await alice.sends(room, reference(corrected))
    beyond = await alice.sends(room, reference(about))
    page = await relations(alice, room, root, recurse=True)
    assert ids(page) == [about, corrected, liked, reply]
    assert page["recursion_depth"] == 3
    page = await relations(alice, room, root, recurse=False)
    assert (ids(page), page["recursion_depth"]) == ([reply], 1)
    assert ids(await relations(alice, room, corrected, recurse=True)) == [beyond, about]


async def test_recursion_does_not_lead_over_events_that_the_filter_leaves_out(alice, room):
    root = await alice.sends(room, "root")
    first = await alice.sends(room, reference(root))
    second = await alice.sends(room, reference(first))
    liked = await alice.sends(room, reaction(root, "+1"), "m.reaction")
    await alice.sends(room, reference(liked))
    found = await relations(alice, room, root, "m.reference", recurse=True)
    assert ids(found) == [second, first]
    found = await relations(alice, room, root, "m.reference", "m.room.message", recurse=True)
    assert ids(found) == [second, first]


async def test_events_that_relate_to_each_other_in_a_circle_end(alice, server):
    room = await alice.creates_room(room_version="1")
    first = await alice.sends(room, "first")
    second = await alice.sends(room, reference(first))
    # In this version a server chooses its event IDs; such an event would come from outside.
    async with server.base.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, sender, type)
            SELECT event_nid, room_nid, $2, 'm.reference', sender, type FROM events
            WHERE event_id = $1
            """,
            first,
            second,
        )
    assert ids(await relations(alice, room, first, recurse=True)) == [second]
    assert ids(await relations(alice, room, second, recurse=True)) == [first]


async def test_a_redacted_child_is_a_child_no_more(alice, bob, room):
    parent = await alice.sends(room, "parent")
    child = await bob.sends(room, reference(parent))
    await bob.sends(room, reaction(child, "+1"), "m.reaction")
    await bob.redacts(room, child)
    assert ids(await relations(alice, room, parent)) == []
    assert ids(await relations(alice, room, parent, recurse=True)) == []


async def test_the_children_of_a_redacted_event_remain(alice, bob, room):
    parent = await alice.sends(room, "parent")
    child = await bob.sends(room, reaction(parent, "+1"), "m.reaction")
    await alice.redacts(room, parent)
    assert ids(await relations(alice, room, parent)) == [child]


async def test_an_event_of_another_room_is_no_parent(alice, room):
    other = await alice.creates_room()
    parent = await alice.sends(other, "parent")
    await alice.sends(room, reference(parent))
    assert ids(await relations(alice, other, parent)) == []
    with refused(404, "M_NOT_FOUND"):
        await relations(alice, room, parent)


async def test_state_events_have_children_too(alice, room):
    topic = await alice.sets(room, "m.room.topic", {"topic": "relations"})
    liked = await alice.sends(room, reaction(topic, "+1"), "m.reaction")
    assert ids(await relations(alice, room, topic)) == [liked]


async def test_children_come_with_their_own_children(alice, room):
    parent = await alice.sends(room, "parent")
    child = await alice.sends(room, reference(parent))
    await alice.sends(room, edit(child, "better"))
    page = await relations(alice, room, parent)
    bundle = page["chunk"][0]["unsigned"]["m.relations"]
    assert bundle["m.replace"]["content"]["m.new_content"]["body"] == "better"


async def test_only_visible_children_of_visible_events_are_listed(alice, bob, carol):
    room = await alice.creates_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        ],
    )
    unseen = await alice.sends(room, "before bob")
    await bob.joins(room)
    parent = await alice.sends(room, "parent")
    before = await alice.sends(room, reference(parent))
    await bob.leaves(room)
    await alice.sends(room, reference(parent, "while bob is away"))
    assert ids(await relations(bob, room, parent)) == [before]
    await bob.joins(room)
    after = await alice.sends(room, reference(parent))
    assert ids(await relations(bob, room, parent)) == [after, before]
    assert ids(await relations(bob, room, parent, dir="f", limit=1)) == [before]
    with refused(404, "M_NOT_FOUND"):
        await relations(bob, room, unseen)
    with refused(404, "M_NOT_FOUND"):
        await relations(carol, room, parent)


async def test_children_of_ignored_users_are_left_out(alice, bob, room):
    parent = await alice.sends(room, "parent")
    await bob.sends(room, reference(parent))
    own = await alice.sends(room, reference(parent))
    ignored = {"ignored_users": {bob.user_id: {}}}
    path = f"user/{quoted(alice.user_id)}/account_data/m.ignored_user_list"
    await alice.put(path, ignored)
    assert ids(await relations(alice, room, parent)) == [own]


@pytest.mark.parametrize(
    "query",
    [
        {"from_": "nonsense"},
        {"to": "t1_1"},
        {"from_": "t99999999999999999999_0"},
        {"dir": "x"},
        {"limit": -1},
        {"limit": "many"},
        {"recurse": "perhaps"},
    ],
)
async def test_bad_queries_are_refused(alice, room, query):
    parent = await alice.sends(room, "parent")
    with refused(400, "M_INVALID_PARAM"):
        await relations(alice, room, parent, **query)


@pytest.mark.parametrize(
    "relates_to",
    [
        None,
        "text",
        [],
        {},
        {"rel_type": "m.reference"},
        {"rel_type": "m.reference", "event_id": 7},
        {"rel_type": "m.reference", "event_id": "no ID"},
        {"rel_type": 7, "event_id": "PARENT"},
        {"rel_type": "", "event_id": "PARENT"},
        {"rel_type": "x" * 256, "event_id": "PARENT"},
        {"rel_type": ["m.reference"], "event_id": "PARENT"},
        {"m.in_reply_to": {"event_id": "PARENT"}},
        {"m.in_reply_to": "PARENT"},
    ],
)
async def test_what_is_no_relation_is_ignored(alice, room, relates_to):
    parent = await alice.sends(room, "parent")
    if isinstance(relates_to, dict) and relates_to.get("event_id") == "PARENT":
        relates_to = {**relates_to, "event_id": parent}
    await alice.sends(room, {"body": "child", "m.relates_to": relates_to})
    assert ids(await relations(alice, room, parent)) == []
    assert "m.relations" not in (await alice.reads_event(room, parent))["unsigned"]


async def test_a_relation_to_an_unknown_event_is_no_harm(alice, room):
    await alice.sends(room, reference("$unknown"))
    await alice.sends(room, in_thread("$unknown", "reply"))
    await alice.sends(room, edit("$unknown", "better"))
    with refused(404, "M_NOT_FOUND"):
        await relations(alice, room, "$unknown")
