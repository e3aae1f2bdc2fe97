"""Spec: client-server-api/#user-directory"""

import contextlib

import pytest

from homeserver.config.sections.user_directory import UserDirectorySection
from tests.support.client import Refusal, clients_of, refused
from tests.support.server import server_of

# The index follows the log: a search may come a moment too early.
ATTEMPTS = 500


async def search(client, term, **body):
    return await client.post("user_directory/search", {"search_term": term, **body})


async def finds(client, term, *others):
    """Search until exactly the others are found."""
    expected = {other.user_id for other in others}
    found = set()
    for _ in range(ATTEMPTS):
        found = {user["user_id"] for user in (await search(client, term))["results"]}
        if found == expected:
            return
    assert found == expected


@contextlib.asynccontextmanager
async def clients_with(database_dsn, tmp_path, **section):
    section = UserDirectorySection(**section)
    async with (
        server_of(database_dsn, tmp_path, user_directory=section) as server,
        clients_of(server.url) as clients,
    ):
        yield clients


async def test_those_who_share_a_room_find_each_other(alice, bob, carol):
    room = await alice.creates_room(invite=[bob.user_id])
    await finds(alice, "alice", alice)
    await finds(alice, "bob")
    await bob.joins(room)
    await finds(alice, "bob", bob)
    await finds(bob, "@alice:hs", alice)
    await finds(carol, "bob")
    await bob.leaves(room)
    await finds(alice, "bob")


@pytest.mark.parametrize(
    ("event_type", "open_content", "closed_content"),
    [
        ("m.room.join_rules", {"join_rule": "public"}, {"join_rule": "invite"}),
        (
            "m.room.history_visibility",
            {"history_visibility": "world_readable"},
            {"history_visibility": "shared"},
        ),
    ],
)
async def test_members_of_open_rooms_are_found_by_everybody(
    alice, bob, event_type, open_content, closed_content
):
    room = await alice.creates_room()
    await finds(bob, "alice")
    await alice.sets(room, event_type, open_content)
    await finds(bob, "alice", alice)
    await alice.sets(room, event_type, closed_content)
    await finds(bob, "alice")


async def test_results_are_limited(clients, alice):
    room = await alice.creates_room(preset="public_chat")
    others = [await clients.user(f"user{number}") for number in range(12)]
    for other in others:
        await other.joins(room)
    for _ in range(ATTEMPTS):
        answer = await search(alice, "user", limit=12)
        if len(answer["results"]) == 12:
            break
    assert answer["limited"] is False
    answer = await search(alice, "user")
    assert (len(answer["results"]), answer["limited"]) == (10, True)
    assert (await search(alice, "user", limit=0))["results"] == []
    best = {"user_id": others[1].user_id, "display_name": "user1"}
    assert (await search(alice, "user1", limit=1))["results"] == [best]


async def test_deactivated_users_are_not_found(clients, alice, bob):
    await bob.creates_room(preset="public_chat")
    await finds(alice, "bob", bob)
    password = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "bob"},
        "password": "wordpass-1",
    }
    await bob.post("account/deactivate", {"auth": password})
    await finds(alice, "bob")


async def test_terms_may_be_anything(alice):
    await alice.creates_room()
    for term in ("", " ", "%", "_", "'", "\\", "x" * 10_000, "é", "\U0010ffff", "@", ":", "\ud7ff"):
        found = (await search(alice, term))["results"]
        assert {user["user_id"] for user in found} <= {alice.user_id}
    with refused(400, "M_BAD_JSON"):
        await search(alice, 5)
    for body in ({}, {"search_term": "a", "limit": -1}, {"search_term": "a", "limit": "x"}):
        with pytest.raises(Refusal) as refusal:
            await alice.post("user_directory/search", body)
        assert refusal.value.status == 400


async def test_strangers_and_guests_do_not_search(clients, guest):
    with refused(401, "M_MISSING_TOKEN"):
        await search(clients.nobody(), "alice")
    with refused(403, "M_GUEST_ACCESS_FORBIDDEN"):
        await search(guest, "alice")


async def test_a_server_may_let_users_find_all_accounts(database_dsn, tmp_path):
    async with clients_with(database_dsn, tmp_path, finds_all_accounts=True) as clients:
        alice, bob = await clients.user("alice"), await clients.user("bob")
        await clients.guest()
        expected = {"user_id": bob.user_id, "display_name": "bob"}
        assert (await search(alice, "bob"))["results"] == [expected]


async def test_a_server_may_have_no_directory(database_dsn, tmp_path):
    async with clients_with(database_dsn, tmp_path, enabled=False) as clients:
        alice = await clients.user("alice")
        assert await search(alice, "alice") == {"results": [], "limited": False}
