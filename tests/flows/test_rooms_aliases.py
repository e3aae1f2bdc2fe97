"""Spec: client-server-api/#room-aliases, client-server-api/#published-room-directory"""

import pytest

from homeserver.config.sections.room_directory import DirectoryRule, RoomDirectorySection
from tests.support.client import clients_of, quoted, refused
from tests.support.server import SERVER_NAME, server_of

PUB = f"#pub:{SERVER_NAME}"


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def names(client, alias, room):
    assert await client.put(f"directory/room/{quoted(alias)}", {"room_id": room}) == {}


async def looks_up(client, alias):
    return await client.get(f"directory/room/{quoted(alias)}")


async def removes(client, alias):
    assert await client.delete(f"directory/room/{quoted(alias)}") == {}


async def aliases_of(client, room):
    return (await client.get(f"rooms/{quoted(room)}/aliases"))["aliases"]


async def shows(client, room):
    return (await client.get(f"directory/list/room/{quoted(room)}"))["visibility"]


async def lists(client, room, **body):
    assert await client.put(f"directory/list/room/{quoted(room)}", body) == {}


async def test_an_alias_leads_everybody_to_the_room(alice, clients, room):
    await names(alice, PUB, room)
    assert await looks_up(clients.nobody(), PUB) == {"room_id": room, "servers": [SERVER_NAME]}
    with refused(404, "M_NOT_FOUND"):
        await looks_up(alice, f"#other:{SERVER_NAME}")
    with refused(404, "M_NOT_FOUND"):
        await looks_up(alice, "#other:elsewhere.example")


async def test_aliases_may_have_any_characters(alice, room):
    for alias in (f"#a/b:{SERVER_NAME}", f"#кафе ☕:{SERVER_NAME}", f"#%23:{SERVER_NAME}"):
        await names(alice, alias, room)
        assert (await looks_up(alice, alias))["room_id"] == room


async def test_an_alias_can_be_made_once(alice, bob, room):
    await names(bob, PUB, room)
    with refused(409, "M_UNKNOWN"):
        await names(alice, PUB, room)


async def test_aliases_are_made_by_members_and_on_this_server(alice, carol, room):
    with refused(403, "M_FORBIDDEN"):
        await names(carol, PUB, room)
    with refused(403, "M_FORBIDDEN"):
        await names(alice, PUB, f"!nowhere:{SERVER_NAME}")
    with refused(400, "M_INVALID_PARAM"):
        await names(alice, "#pub:elsewhere.example", room)


async def test_an_alias_is_deleted_by_its_maker_or_by_a_moderator(alice, bob, carol, room):
    await names(alice, PUB, room)
    for stranger in (bob, carol):
        with refused(403, "M_FORBIDDEN"):
            await removes(stranger, PUB)
    await removes(alice, PUB)
    await names(bob, PUB, room)
    await bob.leaves(room)
    await removes(bob, PUB)
    await bob.joins(room)
    await names(bob, PUB, room)
    await removes(alice, PUB)
    with refused(404, "M_NOT_FOUND"):
        await removes(alice, PUB)
    with refused(404, "M_NOT_FOUND"):
        await looks_up(alice, PUB)


async def test_a_deleted_alias_is_taken_out_of_the_canonical_ones(alice, room):
    other = f"#other:{SERVER_NAME}"
    await names(alice, PUB, room)
    await names(alice, other, room)
    content = {"alias": PUB, "alt_aliases": [other, PUB], "org.example": 1}
    await alice.sets(room, "m.room.canonical_alias", content)
    await removes(alice, PUB)
    assert await alice.reads_state(room, "m.room.canonical_alias") == {
        "alt_aliases": [other],
        "org.example": 1,
    }


async def test_a_rooms_aliases_are_listed_for_its_members(alice, bob, carol, room):
    other = f"#other:{SERVER_NAME}"
    assert await aliases_of(bob, room) == []
    await names(alice, PUB, room)
    await names(alice, other, room)
    assert set(await aliases_of(bob, room)) == {PUB, other}
    with refused(403, "M_FORBIDDEN"):
        await aliases_of(carol, room)
    await bob.leaves(room)
    with refused(403, "M_FORBIDDEN"):
        await aliases_of(bob, room)
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    for reader in (bob, carol):
        assert set(await aliases_of(reader, room)) == {PUB, other}


async def test_moderators_list_and_hide_a_room(alice, bob, clients, room):
    with refused(403, "M_FORBIDDEN"):
        await lists(bob, room, visibility="public")
    assert await shows(clients.nobody(), room) == "private"
    await lists(alice, room, visibility="public")
    await lists(alice, room, visibility="public")
    assert await shows(clients.nobody(), room) == "public"
    with refused(403, "M_FORBIDDEN"):
        await lists(bob, room, visibility="private")
    await lists(alice, room, visibility="private")
    assert await shows(bob, room) == "private"
    await lists(alice, room)
    assert await shows(bob, room) == "public"


async def test_an_unknown_room_is_neither_shown_nor_listed(alice):
    nowhere = f"!nowhere:{SERVER_NAME}"
    with refused(404, "M_NOT_FOUND"):
        await shows(alice, nowhere)
    with refused(404, "M_NOT_FOUND"):
        await lists(alice, nowhere, visibility="public")


async def test_the_configuration_limits_aliases_and_publication(database_dsn, tmp_path):
    section = RoomDirectorySection(
        alias_rules=(
            DirectoryRule(action="deny", alias="#admin*"),
            DirectoryRule(action="allow"),
        ),
        publication_rules=(
            DirectoryRule(action="deny", alias="#hidden*"),
            DirectoryRule(action="allow"),
        ),
    )
    async with (
        server_of(database_dsn, tmp_path, room_directory=section) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        room = await alice.creates_room()
        with refused(403, "M_FORBIDDEN"):
            await names(alice, f"#admins:{SERVER_NAME}", room)
        await lists(alice, room)
        await lists(alice, room, visibility="private")
        await names(alice, f"#hidden:{SERVER_NAME}", room)
        with refused(403, "M_FORBIDDEN"):
            await lists(alice, room)
