"""Spec: client-server-api/#room-upgrades"""

import asyncio

import pytest

from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.support.client import Refusal, quoted, refused
from tests.support.server import SERVER_NAME


async def upgrades(client, room, version, **body):
    answer = await client.post(f"rooms/{quoted(room)}/upgrade", {"new_version": version, **body})
    return answer["replacement_room"]


async def state_of(client, room):
    events = await client.get(f"rooms/{quoted(room)}/state")
    return {(event["type"], event["state_key"]): event["content"] for event in events}


async def test_the_new_room_continues_the_old_one(alice, bob):
    old = await alice.creates_room(
        preset="public_chat",
        room_version="10",
        name="Name",
        topic="Topic",
        creation_content={"type": "org.example.type", "m.federate": False},
    )
    await bob.joins(old)
    kept = {
        "m.room.avatar": {"url": "mxc://hs.example/avatar"},
        "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
        "m.room.history_visibility": {"history_visibility": "joined"},
        "m.room.guest_access": {"guest_access": "can_join"},
        "m.room.join_rules": {"join_rule": "knock"},
        "m.room.server_acl": {"allow": ["*"], "deny": ["bad.example"]},
    }
    for event_type, content in kept.items():
        await alice.sets(old, event_type, content)
    await alice.sets(old, "org.example.other", {"who": "sent it matters"})
    last = await alice.sends(old, "last words")

    new = await upgrades(alice, old, "11")

    before, after = await state_of(alice, old), await state_of(alice, new)
    assert before["m.room.tombstone", ""]["replacement_room"] == new
    created = after["m.room.create", ""]
    assert created["predecessor"] == {"room_id": old, "event_id": last}
    assert (created["room_version"], created["type"], created["m.federate"]) == (
        "11",
        "org.example.type",
        False,
    )
    assert after["m.room.name", ""] == {"name": "Name"}
    assert after["m.room.topic", ""]["topic"] == "Topic"
    assert {key: after[key, ""] for key in kept} == kept
    assert ("org.example.other", "") not in after
    members = {key[1] for key in after if key[0] == "m.room.member"}
    assert members == {alice.user_id}


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_every_version_can_be_upgraded_to(alice, version):
    old = await alice.creates_room(room_version="6", name="Name")
    new = await upgrades(alice, old, version)
    state = await state_of(alice, new)
    assert state["m.room.create", ""]["room_version"] == version
    assert state["m.room.name", ""] == {"name": "Name"}
    # The upgrader can go on administering, and upgrading, the room.
    await alice.sets(new, "m.room.name", {"name": "Other"})
    assert await upgrades(alice, new, "12")


@pytest.mark.parametrize("version", ["6", "11"])
async def test_every_version_can_be_upgraded_from(alice, version):
    for old_version in ROOM_VERSIONS:
        old = await alice.creates_room(room_version=old_version, name="Name")
        new = await upgrades(alice, old, version)
        assert (await state_of(alice, new))["m.room.name", ""] == {"name": "Name"}
        await alice.sets(new, "m.room.tombstone", {"body": "…", "replacement_room": old})


async def test_levels_are_those_of_the_old_room(alice, bob, carol):
    old = await alice.creates_room(
        room_version="10",
        preset="public_chat",
        power_level_content_override={
            "users": {alice.user_id: 100, bob.user_id: 50},
            "events_default": 5,
        },
    )
    new = await upgrades(alice, old, "11")
    levels = await alice.reads_state(new, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, bob.user_id: 50}
    assert levels["events_default"] == 5
    await carol.joins(new)
    with refused(403, "M_FORBIDDEN"):
        await carol.sends(new, "too low")


async def test_creators_above_all_levels_have_no_entry_in_the_levels(alice, bob):
    old = await alice.creates_room(room_version="11", preset="public_chat")
    levels = await alice.reads_state(old, "m.room.power_levels")
    levels["users"] |= {bob.user_id: 100, "@mod:hs.example": 50}
    await alice.sets(old, "m.room.power_levels", levels)
    new = await upgrades(alice, old, "12", additional_creators=[bob.user_id, alice.user_id])
    state = await state_of(alice, new)
    assert state["m.room.create", ""]["additional_creators"] == [bob.user_id]
    assert state["m.room.power_levels", ""]["users"] == {"@mod:hs.example": 50}
    assert ":" not in new
    again = await upgrades(alice, new, "12")
    assert "additional_creators" not in (await state_of(alice, again))["m.room.create", ""]


async def test_creators_get_the_highest_level_where_versions_know_only_levels(alice):
    old = await alice.creates_room(room_version="12")
    new = await upgrades(alice, old, "11", additional_creators=["not a user ID"])
    levels = await alice.reads_state(new, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: levels["events"]["m.room.tombstone"]}


async def test_levels_that_newer_versions_refuse_are_made_numbers(alice):
    old = await alice.creates_room(
        room_version="9", power_level_content_override={"ban": "60", "events": {"org.x": "30"}}
    )
    levels = await alice.reads_state(await upgrades(alice, old, "12"), "m.room.power_levels")
    assert (levels["ban"], levels["events"]["org.x"]) == (60, 30)


async def test_a_join_rule_that_the_version_does_not_have_becomes_invite(alice):
    old = await alice.creates_room(room_version="12")
    await alice.sets(old, "m.room.join_rules", {"join_rule": "knock_restricted", "allow": []})
    new = await upgrades(alice, old, "6")
    assert (await alice.reads_state(new, "m.room.join_rules"))["join_rule"] == "invite"


async def test_bans_hold_in_the_new_room(alice, bob):
    old = await alice.creates_room(preset="public_chat")
    await alice.bans(old, bob, reason="spam")
    new = await upgrades(alice, old, "12")
    assert await alice.reads_state(new, "m.room.member", bob.user_id) == {
        "membership": "ban",
        "reason": "spam",
    }
    with refused(403, "M_FORBIDDEN"):
        await bob.joins(new)


async def test_only_moderators_go_on_in_the_old_room(alice, bob):
    old = await alice.creates_room(preset="public_chat", room_version="11")
    await bob.joins(old)
    await upgrades(alice, old, "12")
    with refused(403, "M_FORBIDDEN"):
        await bob.sends(old, "anybody here?")
    levels = await alice.reads_state(old, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (50, 50)
    await alice.sends(old, "go over there")


async def test_levels_of_the_old_room_are_never_lowered(alice):
    old = await alice.creates_room(
        room_version="11",
        power_level_content_override={"users_default": 70, "events_default": 80, "invite": 0},
    )
    await upgrades(alice, old, "12")
    levels = await alice.reads_state(old, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (80, 71)


async def test_aliases_and_the_listing_move(alice, clients):
    pub, other = f"#pub:{SERVER_NAME}", f"#other:{SERVER_NAME}"
    old = await alice.creates_room(visibility="public", room_alias_name="pub")
    await alice.put(f"directory/room/{quoted(other)}", {"room_id": old})
    await alice.sets(old, "m.room.canonical_alias", {"alias": pub, "alt_aliases": [other]})
    new = await upgrades(alice, old, "12")
    for alias in (pub, other):
        assert (await alice.get(f"directory/room/{quoted(alias)}"))["room_id"] == new
    content = {"alias": pub, "alt_aliases": [other]}
    assert await alice.reads_state(new, "m.room.canonical_alias") == content
    assert await alice.reads_state(old, "m.room.canonical_alias") == {"alt_aliases": []}
    listed = (await clients.nobody().get("publicRooms"))["chunk"]
    assert [room["room_id"] for room in listed] == [new]


async def test_spaces_list_the_new_room_instead(alice, bob):
    child = await alice.creates_room()
    space = await alice.creates_room(creation_content={"type": "m.space"})
    closed = await bob.creates_room(preset="public_chat", creation_content={"type": "m.space"})
    await alice.joins(closed)
    content = {"via": ["elsewhere.example", SERVER_NAME], "suggested": True, "order": "b"}
    await alice.sets(space, "m.space.child", content, child)
    await bob.sets(closed, "m.space.child", content, child)
    await alice.sets(child, "m.space.parent", {"via": [SERVER_NAME], "canonical": True}, space)

    new = await upgrades(alice, child, "12")

    assert await alice.reads_state(space, "m.space.child", new) == {
        **content,
        "via": [SERVER_NAME],
    }
    assert await alice.reads_state(space, "m.space.child", child) == {}
    assert await alice.reads_state(closed, "m.space.child", child) == content
    assert (await alice.reads_state(new, "m.space.parent", space))["canonical"] is True


async def test_a_new_space_has_the_children_of_the_old_one(alice):
    child, gone = await alice.creates_room(), await alice.creates_room()
    space = await alice.creates_room(creation_content={"type": "m.space"})
    await alice.sets(space, "m.space.child", {"via": [SERVER_NAME]}, child)
    await alice.sets(space, "m.space.child", {}, gone)
    await alice.sets(child, "m.space.parent", {"via": [SERVER_NAME]}, space)
    new = await upgrades(alice, space, "11")
    state = await state_of(alice, new)
    assert state["m.room.create", ""]["type"] == "m.space"
    assert state["m.space.child", child] == {"via": [SERVER_NAME]}
    assert ("m.space.child", gone) not in state
    assert await alice.reads_state(child, "m.space.parent", new) == {"via": [SERVER_NAME]}
    assert await alice.reads_state(child, "m.space.parent", space) == {}


async def test_only_those_who_may_close_the_room_upgrade_it(alice, bob, carol):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    for stranger in (bob, carol):
        with refused(403, "M_FORBIDDEN"):
            await upgrades(stranger, room, "12")
    with refused(403, "M_FORBIDDEN"):
        await upgrades(alice, f"!nowhere:{SERVER_NAME}", "12")
    with refused(404, "M_NOT_FOUND"):
        await alice.reads_state(room, "m.room.tombstone")
    assert await bob.joined_rooms() == [room]


async def test_versions_and_creators_are_checked_before_anything_happens(alice):
    room = await alice.creates_room()
    with refused(400, "M_UNSUPPORTED_ROOM_VERSION"):
        await upgrades(alice, room, "no such version")
    with refused(400, "M_INVALID_PARAM"):
        await upgrades(alice, room, "12", additional_creators=["not a user ID"])
    for body in ({}, {"new_version": 12}, {"new_version": "12", "additional_creators": [1]}):
        with pytest.raises(Refusal) as refusal:
            await alice.post(f"rooms/{quoted(room)}/upgrade", body)
        assert refusal.value.status == 400
    assert await alice.joined_rooms() == [room]


async def test_a_room_with_content_that_newer_versions_refuse_is_upgraded_without_it(alice):
    old = await alice.creates_room(room_version="5")
    await alice.sets(old, "m.room.avatar", {"url": "mxc://hs.example/a", "info": {"w": 1.5}})
    await alice.sets(old, "m.room.name", {"name": "Name"})
    state = await state_of(alice, await upgrades(alice, old, "12"))
    assert ("m.room.avatar", "") not in state
    assert state["m.room.name", ""] == {"name": "Name"}


async def test_who_upgrades_a_room_at_the_same_time_gets_the_same_new_room(alice, bob):
    old = await alice.creates_room(room_version="11", invite=[bob.user_id])
    await bob.joins(old)
    levels = await alice.reads_state(old, "m.room.power_levels")
    levels["users"][bob.user_id] = 100
    await alice.sets(old, "m.room.power_levels", levels)
    new, of_bob, of_alice = await asyncio.gather(
        upgrades(alice, old, "12"), upgrades(bob, old, "12"), upgrades(alice, old, "12")
    )
    assert new == of_bob == of_alice
    assert (await alice.reads_state(old, "m.room.tombstone"))["replacement_room"] == new
    rooms = {*await alice.joined_rooms(), *await bob.joined_rooms()}
    assert rooms == {old, new}


async def test_of_two_upgrades_to_different_versions_one_is_refused(alice):
    old = await alice.creates_room(room_version="10")
    answers = await asyncio.gather(
        upgrades(alice, old, "11"), upgrades(alice, old, "12"), return_exceptions=True
    )
    [refusal] = [each for each in answers if isinstance(each, Refusal)]
    assert (refusal.status, refusal.errcode) == (403, "M_BAD_STATE")
    [new] = [each for each in answers if isinstance(each, str)]
    assert set(await alice.joined_rooms()) == {old, new}
    # Afterwards it may be upgraded again, whatever for.
    assert await upgrades(alice, old, "12") != new
