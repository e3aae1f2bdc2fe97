"""Spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey"""

import pytest

from tests.support.client import quoted, refused
from tests.support.server import SERVER_NAME


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


def by_key(events):
    return {(event["type"], event["state_key"]): event for event in events}


async def test_state_is_set_and_read_by_type_and_key(alice, bob, room):
    await alice.sets(room, "m.example", {"a": 1}, "key")
    event_id = await alice.sets(room, "m.example", {"a": 2}, "key")
    assert await bob.reads_state(room, "m.example", "key") == {"a": 2}
    event = await bob.reads_state(room, "m.example", "key", format="event")
    assert (event["event_id"], event["content"]) == (event_id, {"a": 2})
    assert (event["room_id"], event["sender"]) == (room, alice.user_id)
    assert event["unsigned"]["prev_content"] == {"a": 1}
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_state(room, "m.example", "other")


async def test_an_empty_key_may_be_left_out_with_or_without_its_slash(alice, room):
    path = f"rooms/{quoted(room)}/state/m.example"
    await alice.put(path, {"a": 1})
    assert await alice.get(path) == await alice.get(f"{path}/") == {"a": 1}
    await alice.put(f"{path}/", {"a": 2})
    assert await alice.get(path) == {"a": 2}


async def test_keys_may_contain_anything(alice, room):
    for key in ("a/b", "ключ", "%2F", " ", "a?b#c", "..", "."):
        await alice.sets(room, "org/example", {"is": key}, key)
        assert await alice.reads_state(room, "org/example", key) == {"is": key}


async def test_setting_the_same_again_makes_no_event(alice, bob, room):
    first = await alice.sets(room, "m.example", {"a": 1})
    assert await alice.sets(room, "m.example", {"a": 1}) == first
    assert await alice.sets(room, "m.example", {"a": 2}) != first


async def test_members_without_power_cannot_set_state(alice, bob, carol, room):
    with refused(403, "M_FORBIDDEN"):
        await bob.sets(room, "m.room.name", {"name": "mine"})
    with refused(403, "M_FORBIDDEN"):
        await carol.sets(room, "m.room.name", {"name": "mine"})
    with refused(404, "M_NOT_FOUND"):
        await bob.reads_state(room, "m.room.name")


async def test_state_under_somebody_elses_user_id_is_refused(alice, bob, room):
    with refused(403, "M_FORBIDDEN"):
        await alice.sets(room, "m.example", {}, bob.user_id)
    await alice.sets(room, "m.example", {}, alice.user_id)


async def test_the_whole_state_is_listed(alice, bob, room):
    await alice.sets(room, "m.example", {"a": 1}, "key")
    state = by_key(await bob.get(f"rooms/{quoted(room)}/state"))
    assert state["m.example", "key"]["content"] == {"a": 1}
    assert state["m.room.member", bob.user_id]["content"]["membership"] == "join"
    assert {"m.room.create", "m.room.power_levels", "m.room.join_rules"} <= {
        event_type for event_type, _ in state
    }
    assert all(event["room_id"] == room for event in state.values())


async def test_former_members_see_the_state_that_they_left(alice, bob, room):
    await alice.sets(room, "m.room.name", {"name": "then"})
    await bob.leaves(room)
    await alice.sets(room, "m.room.name", {"name": "now"})
    assert await bob.reads_state(room, "m.room.name") == {"name": "then"}
    state = by_key(await bob.get(f"rooms/{quoted(room)}/state"))
    assert state["m.room.name", ""]["content"] == {"name": "then"}
    assert state["m.room.member", bob.user_id]["content"]["membership"] == "leave"


async def test_strangers_see_the_state_of_world_readable_rooms_only(alice, carol, room):
    with refused(403, "M_FORBIDDEN"):
        await carol.reads_state(room, "m.room.create")
    with refused(403, "M_FORBIDDEN"):
        await carol.get(f"rooms/{quoted(room)}/state")
    with refused(403, "M_FORBIDDEN"):
        await carol.reads_state(f"!nowhere:{SERVER_NAME}", "m.room.create")
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert "room_version" in await carol.reads_state(room, "m.room.create")
    assert await carol.get(f"rooms/{quoted(room)}/state")


async def test_invited_users_do_not_see_the_state(alice, carol):
    room = await alice.creates_room(invite=[carol.user_id])
    with refused(403, "M_FORBIDDEN"):
        await carol.reads_state(room, "m.room.create")


async def test_memberships_can_be_set_as_state(alice, bob, carol, room):
    await alice.sets(room, "m.room.member", {"membership": "invite"}, carol.user_id)
    await carol.sets(
        room, "m.room.member", {"membership": "join", "displayname": "Caro"}, carol.user_id
    )
    members = (await alice.get(f"rooms/{quoted(room)}/joined_members"))["joined"]
    assert members[carol.user_id]["display_name"] == "Caro"
    await alice.sets(room, "m.room.member", {"membership": "ban", "reason": "r"}, bob.user_id)
    assert (await alice.reads_members(room))[bob.user_id] == "ban"
    with refused(403, "M_FORBIDDEN"):
        await carol.sets(room, "m.room.member", {"membership": "leave"}, alice.user_id)
    with refused(400, "M_INVALID_PARAM"):
        await alice.sets(room, "m.room.member", {"membership": "invite"}, "nobody")


async def test_the_canonical_alias_must_point_to_the_room(alice, room):
    own, other = f"#own:{SERVER_NAME}", f"#other:{SERVER_NAME}"
    elsewhere = await alice.creates_room()
    await alice.put(f"directory/room/{quoted(own)}", {"room_id": room})
    await alice.put(f"directory/room/{quoted(other)}", {"room_id": elsewhere})
    for content, errcode in (
        ({"alias": other}, "M_BAD_ALIAS"),
        ({"alias": f"#missing:{SERVER_NAME}"}, "M_BAD_ALIAS"),
        ({"alias": "#missing:elsewhere.example"}, "M_BAD_ALIAS"),
        ({"alias": own, "alt_aliases": [own, other]}, "M_BAD_ALIAS"),
        ({"alias": "own"}, "M_INVALID_PARAM"),
        ({"alias": 5}, "M_INVALID_PARAM"),
        ({"alt_aliases": own}, "M_INVALID_PARAM"),
        ({"alt_aliases": [None]}, "M_INVALID_PARAM"),
        ({"alt_aliases": ["%"]}, "M_INVALID_PARAM"),
        ({"alt_aliases": [f"#a{n}:{SERVER_NAME}" for n in range(51)]}, "M_INVALID_PARAM"),
    ):
        with refused(400, errcode):
            await alice.sets(room, "m.room.canonical_alias", content)
    await alice.sets(room, "m.room.canonical_alias", {"alias": own, "alt_aliases": [own]})
    await alice.sets(room, "m.room.canonical_alias", {"alias": None})
    await alice.sets(room, "m.room.canonical_alias", {"alias": ""})


async def test_aliases_that_are_there_already_are_not_checked_again(alice, bob, room):
    alias = f"#old:{SERVER_NAME}"
    levels = await alice.reads_state(room, "m.room.power_levels")
    await bob.put(f"directory/room/{quoted(alias)}", {"room_id": room})
    await alice.sets(room, "m.room.canonical_alias", {"alias": alias})
    # Bob may delete the alias that he made, but he may not change the event.
    assert levels["events"]["m.room.canonical_alias"] > 0
    await bob.delete(f"directory/room/{quoted(alias)}")
    assert await alice.reads_state(room, "m.room.canonical_alias") == {"alias": alias}
    await alice.sets(room, "m.room.canonical_alias", {"alias": alias, "alt_aliases": [alias]})


async def test_state_events_of_the_same_key_replace_each_other_for_all(alice, bob, room):
    await alice.sets(room, "m.room.topic", {"topic": "one"})
    await alice.sets(room, "m.room.topic", {"topic": "two"})
    state = await bob.get(f"rooms/{quoted(room)}/state")
    assert [e["content"] for e in state if e["type"] == "m.room.topic"] == [{"topic": "two"}]


async def test_a_room_cannot_be_created_a_second_time(alice):
    for version in ("11", "12"):
        room = await alice.creates_room(room_version=version)
        with refused(403, "M_FORBIDDEN"):
            await alice.sets(room, "m.room.create", {"room_version": version, "type": "t"})
