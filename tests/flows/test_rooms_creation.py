"""Spec: client-server-api/#post_matrixclientv3createroom"""

import asyncio

import pytest

from homeserver.config.sections.room_directory import DirectoryRule, RoomDirectorySection
from homeserver.config.sections.rooms import RoomsSection
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.support.client import clients_of, quoted, refused
from tests.support.server import SERVER_NAME, server_of


async def timeline_of(client, room):
    answer = await client.reads_messages(room, "f", limit=100)
    return answer["chunk"]


async def test_rooms_made_in_the_same_millisecond_are_different_rooms(alice):
    rooms = await asyncio.gather(*(alice.creates_room(room_version="12") for _ in range(10)))
    assert len(set(rooms)) == 10


async def test_the_first_events_come_in_the_order_of_the_specification(alice, bob):
    room = await alice.creates_room(
        room_alias_name="den",
        name="The den",
        topic="Everything",
        preset="private_chat",
        initial_state=[{"type": "m.example", "state_key": "k", "content": {"a": 1}}],
        invite=[bob.user_id],
    )
    events = await timeline_of(alice, room)
    assert [(event["type"], event["state_key"]) for event in events] == [
        ("m.room.create", ""),
        ("m.room.member", alice.user_id),
        ("m.room.power_levels", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.join_rules", ""),
        ("m.room.history_visibility", ""),
        ("m.room.guest_access", ""),
        ("m.example", "k"),
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.member", bob.user_id),
    ]
    contents = {event["type"]: event["content"] for event in events}
    assert contents["m.room.canonical_alias"] == {"alias": f"#den:{SERVER_NAME}"}
    assert contents["m.room.name"] == {"name": "The den"}
    assert contents["m.room.topic"]["topic"] == "Everything"
    assert contents["m.room.topic"]["m.topic"]["m.text"][0]["body"] == "Everything"


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_rooms_of_every_version_can_be_made_and_used(alice, bob, version):
    room = await alice.creates_room(room_version=version, preset="public_chat")
    await bob.joins(room)
    await bob.sends(room, "hello")
    create = await alice.reads_state(room, "m.room.create")
    assert create["room_version"] == version
    assert ("creator" in create) == (not ROOM_VERSIONS[version].implicit_creator)


@pytest.mark.parametrize(
    ("body", "join_rule", "guest_access"),
    [
        ({}, "invite", "can_join"),
        ({"visibility": "private"}, "invite", "can_join"),
        ({"visibility": "public"}, "public", "forbidden"),
        ({"preset": "private_chat", "visibility": "public"}, "invite", "can_join"),
        ({"preset": "public_chat"}, "public", "forbidden"),
        ({"preset": "trusted_private_chat"}, "invite", "can_join"),
    ],
)
async def test_the_preset_follows_the_visibility_unless_it_is_given(
    alice, body, join_rule, guest_access
):
    room = await alice.creates_room(**body)
    assert await alice.reads_state(room, "m.room.join_rules") == {"join_rule": join_rule}
    assert await alice.reads_state(room, "m.room.guest_access") == {"guest_access": guest_access}
    assert await alice.reads_state(room, "m.room.history_visibility") == {
        "history_visibility": "shared"
    }


async def test_the_visibility_lists_the_room_in_the_directory(alice):
    listed = await alice.creates_room(visibility="public")
    hidden = await alice.creates_room(preset="public_chat")
    path = "directory/list/room"
    assert await alice.get(f"{path}/{quoted(listed)}") == {"visibility": "public"}
    assert await alice.get(f"{path}/{quoted(hidden)}") == {"visibility": "private"}


async def test_initial_state_overrides_the_preset_and_name_overrides_initial_state(alice):
    room = await alice.creates_room(
        preset="public_chat",
        name="by name",
        initial_state=[
            {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
            {"type": "m.room.name", "content": {"name": "by state"}},
        ],
    )
    assert await alice.reads_state(room, "m.room.join_rules") == {"join_rule": "knock"}
    assert await alice.reads_state(room, "m.room.name") == {"name": "by name"}


async def test_power_levels_are_overridden_key_by_key(alice):
    room = await alice.creates_room(
        room_version="11", power_level_content_override={"invite": 90, "events": {"m.x": 3}}
    )
    levels = await alice.reads_state(room, "m.room.power_levels")
    assert (levels["invite"], levels["events"]) == (90, {"m.x": 3})
    assert levels["users"] == {alice.user_id: 100}


async def test_invitees_of_a_trusted_chat_are_as_powerful_as_the_creator(alice, bob):
    body = {"preset": "trusted_private_chat", "invite": [bob.user_id]}
    old = await alice.creates_room(room_version="11", **body)
    levels = await alice.reads_state(old, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, bob.user_id: 100}
    new = await alice.creates_room(room_version="12", **body)
    create = await alice.reads_state(new, "m.room.create")
    assert create["additional_creators"] == [bob.user_id]


async def test_a_tombstone_needs_more_than_the_state_default_in_version_12(alice):
    room = await alice.creates_room(room_version="12")
    levels = await alice.reads_state(room, "m.room.power_levels")
    assert levels["events"]["m.room.tombstone"] > levels["state_default"]


async def test_creation_content_cannot_name_another_creator_or_version(alice, bob):
    room = await alice.creates_room(
        room_version="10",
        creation_content={"creator": bob.user_id, "room_version": "1", "type": "m.space"},
    )
    create = await alice.reads_state(room, "m.room.create")
    assert create == {"creator": alice.user_id, "room_version": "10", "type": "m.space"}


async def test_invitees_of_a_direct_chat_are_told_that_it_is_one(alice, bob):
    room = await alice.creates_room(is_direct=True, invite=[bob.user_id, bob.user_id])
    invite = await alice.reads_state(room, "m.room.member", bob.user_id)
    assert (invite["membership"], invite["is_direct"]) == ("invite", True)
    events = await timeline_of(alice, room)
    assert sum(event.get("state_key") == bob.user_id for event in events) == 1


async def test_an_empty_body_makes_a_private_room(alice):
    answer = await alice.request("POST", "createRoom")
    assert await alice.reads_state(answer["room_id"], "m.room.join_rules") == {
        "join_rule": "invite"
    }


async def test_nothing_is_made_when_the_state_does_not_pass_the_rules(alice):
    for body in (
        {"power_level_content_override": {"events": {"m.room.name": 101}}, "room_version": "11"},
        {"power_level_content_override": {"users": {"not a user": 1}}},
        {"initial_state": [{"type": "m.room.create", "content": {}}]},
        {"invite": [alice.user_id]},
    ):
        with refused(400, "M_INVALID_ROOM_STATE"):
            await alice.creates_room(name="n", room_alias_name="lost", **body)
    assert await alice.joined_rooms() == []
    with refused(404, "M_NOT_FOUND"):
        await alice.get(f"directory/room/{quoted(f'#lost:{SERVER_NAME}')}")


async def test_an_alias_is_taken_once(alice, bob):
    await alice.creates_room(room_alias_name="taken")
    with refused(400, "M_ROOM_IN_USE"):
        await bob.creates_room(room_alias_name="taken")
    assert await bob.joined_rooms() == []


async def test_an_unknown_room_version_is_refused(alice):
    with refused(400, "M_UNSUPPORTED_ROOM_VERSION"):
        await alice.creates_room(room_version="ahfgwjyerhgiuveisbruvybseyrugvi")


async def test_addresses_are_refused_before_the_room_is_made(alice):
    address = {
        "id_server": "id.example",
        "id_access_token": "t",
        "medium": "email",
        "address": "bob@mail.example",
    }
    with refused(403, "M_SERVER_NOT_TRUSTED"):
        await alice.creates_room(invite_3pid=[address])
    assert await alice.joined_rooms() == []


async def test_the_configuration_decides_version_aliases_and_publication(database_dsn, tmp_path):
    directory = RoomDirectorySection(
        alias_rules=(
            DirectoryRule(action="deny", alias="#admin*"),
            DirectoryRule(action="allow"),
        ),
        publication_rules=(DirectoryRule(action="allow", user="@alice:*"),),
    )
    async with (
        server_of(
            database_dsn,
            tmp_path,
            rooms=RoomsSection(default_version="9"),
            room_directory=directory,
        ) as server,
        clients_of(server.url) as clients,
    ):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        room = await alice.creates_room(visibility="public", room_alias_name="good")
        assert (await alice.reads_state(room, "m.room.create"))["room_version"] == "9"
        with refused(403, "M_FORBIDDEN"):
            await alice.creates_room(room_alias_name="admins")
        with refused(403, "M_FORBIDDEN"):
            await bob.creates_room(visibility="public")
        assert await bob.joined_rooms() == []
