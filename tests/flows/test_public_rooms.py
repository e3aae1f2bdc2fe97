"""Spec: client-server-api/#published-room-directory"""

import pytest

from homeserver.config.sections.room_directory import RoomDirectorySection
from tests.support.client import Refusal, clients_of, quoted, refused
from tests.support.server import SERVER_NAME, server_of


async def publishes(client, name, **body):
    return await client.creates_room(visibility="public", name=name, **body)


async def searches(client, term=None, **filters):
    if term is not None:
        filters["generic_search_term"] = term
    return names(await client.post("publicRooms", {"filter": filters}))


def names(page):
    return [room["name"] for room in page["chunk"]]


@pytest.fixture
async def rooms(alice, bob, carol):
    """Three published rooms of 3, 2 and 1 members, and one that is not published."""
    made = [await publishes(alice, name) for name in ("large", "middle", "small")]
    for room in made[:2]:
        await bob.joins(room)
    await carol.joins(made[0])
    await alice.creates_room(preset="public_chat", name="hidden")
    return made


async def test_published_rooms_are_listed_largest_first(clients, rooms):
    page = await clients.nobody().get("publicRooms")
    assert [room["room_id"] for room in page["chunk"]] == rooms
    assert page["chunk"][0] == {
        "room_id": rooms[0],
        "name": "large",
        "num_joined_members": 3,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
    }
    assert page["total_room_count_estimate"] == 3
    assert not {"next_batch", "prev_batch"} & set(page)


@pytest.mark.parametrize("method", ["get", "post"])
async def test_pages_lead_forth_and_back(alice, rooms, method):
    async def page(**query):
        if method == "get":
            return await alice.get("publicRooms", **query)
        return await alice.post("publicRooms", query)

    first = await page(limit=2)
    assert names(first) == ["large", "middle"]
    assert "prev_batch" not in first
    second = await page(limit=2, since=first["next_batch"])
    assert names(second) == ["small"]
    assert "next_batch" not in second
    assert names(await page(limit=1, since=second["prev_batch"])) == ["middle"]
    back = await page(limit=2, since=second["prev_batch"])
    assert (names(back), back["next_batch"]) == (names(first), first["next_batch"])


async def test_what_is_not_a_token_is_refused(alice, rooms):
    for token in ("x", "AAAA", "é", "n" * 5000):
        with refused(400, "M_INVALID_PARAM"):
            await alice.get("publicRooms", since=token)


async def test_names_topics_and_aliases_are_searched(alice):
    await publishes(alice, "Straße", topic="Über Autos")
    await publishes(alice, "b", room_alias_name="tea-house")
    assert await searches(alice, "STRASSE") == ["Straße"]
    assert await searches(alice, " über ") == ["Straße"]
    assert await searches(alice, "tea") == ["b"]
    assert await searches(alice, "nothing") == []
    assert sorted(await searches(alice, "")) == ["Straße", "b"]


async def test_room_types_are_chosen(alice):
    await publishes(alice, "plain")
    await publishes(alice, "space", creation_content={"type": "m.space"})
    await publishes(alice, "other", creation_content={"type": "org.example"})
    assert await searches(alice, room_types=["m.space"]) == ["space"]
    assert await searches(alice, room_types=[None]) == ["plain"]
    assert sorted(await searches(alice, room_types=[None, "m.space"])) == ["plain", "space"]
    assert len(await searches(alice)) == 3


async def test_null_stands_for_absent(alice, rooms):
    body = {"limit": None, "since": None, "filter": None, "third_party_instance_id": None}
    assert len((await alice.post("publicRooms", body))["chunk"]) == 3


async def test_rooms_are_listed_while_they_are_published_and_somebody_is_in_them(alice, rooms):
    listing = f"directory/list/room/{quoted(rooms[0])}"
    await alice.put(listing, {"visibility": "private"})
    assert names(await alice.get("publicRooms")) == ["middle", "small"]
    await alice.put(listing, {"visibility": "public"})
    await alice.leaves(rooms[2])
    assert names(await alice.get("publicRooms")) == ["large", "middle"]


async def test_the_list_follows_the_rooms(alice, bob, rooms):
    await alice.get("publicRooms")
    await alice.sets(rooms[2], "m.room.name", {"name": "renamed"})
    await alice.kicks(rooms[1], bob)
    sizes = {
        room["name"]: room["num_joined_members"]
        for room in (await alice.get("publicRooms"))["chunk"]
    }
    assert sizes == {"large": 3, "middle": 1, "renamed": 1}


async def test_networks_of_others_have_no_rooms_here(alice, rooms):
    body = {"third_party_instance_id": "irc"}
    assert (await alice.post("publicRooms", body))["chunk"] == []
    body = {"include_all_networks": True}
    assert len((await alice.post("publicRooms", body))["chunk"]) == 3


async def test_the_own_server_may_be_named_and_others_are_out_of_reach(alice, clients, rooms):
    assert len((await alice.get("publicRooms", server=SERVER_NAME))["chunk"]) == 3
    for ask in (alice.get, alice.post):
        with refused(403, "M_FORBIDDEN"):
            await ask("publicRooms", server="elsewhere.example")
        with pytest.raises(Refusal) as refusal:
            await ask("publicRooms", server="not a server")
        assert refusal.value.status == 400
    with refused(401, "M_MISSING_TOKEN"):
        await clients.nobody().get("publicRooms", server="elsewhere.example")


async def test_the_list_can_be_kept_from_strangers(database_dsn, tmp_path):
    section = RoomDirectorySection(requires_login=True)
    async with (
        server_of(database_dsn, tmp_path, room_directory=section) as server,
        clients_of(server.url) as clients,
    ):
        alice = await clients.user("alice")
        await publishes(alice, "room")
        with refused(401, "M_MISSING_TOKEN"):
            await clients.nobody().get("publicRooms")
        assert names(await alice.get("publicRooms")) == ["room"]
